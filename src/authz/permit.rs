//! The proof that a decision allowed something: nothing but an allowing [`Decision`] makes an [`Allowed`].
//!
//! What takes an `Allowed<R>` cannot be called without authorization. The permit is for the resource that was decided
//! on; it does not remember for which action.

use super::eval::Decision;
use std::ops::Deref;

/// A resource on which a decision allowed the caller's operation.
#[derive(Debug)]
pub struct Allowed<R> {
    resource: R,
}

impl<R> Allowed<R> {
    /// The permit, if the decision allows.
    pub(crate) fn grant(resource: R, decision: &Decision<'_>) -> Option<Self> {
        decision.is_allowed().then_some(Self { resource })
    }

    /// The same permit for another form of the same resource, such as the row that a reference names.
    // INVARIANT: `load` returns the resource that was decided on; the gate, its only user, looks it up by that name.
    pub(crate) fn load<S, E>(self, load: impl FnOnce(R) -> Result<S, E>) -> Result<Allowed<S>, E> {
        Ok(Allowed { resource: load(self.resource)? })
    }
}

impl<R> Deref for Allowed<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.resource
    }
}

#[cfg(test)]
mod tests {
    use super::Allowed;
    use crate::authz::context::Context;
    use crate::authz::eval::{Caller, Policies, Request, evaluate};
    use crate::names::AccountId;

    #[test]
    fn only_an_allow_makes_a_permit_and_loading_keeps_it() {
        let account = AccountId::parse("111122223333").unwrap();
        let context = Context::new();
        let decide = |caller| {
            let request =
                Request { caller, action: "ecr:PutImage", resource: "*", resource_account: account, context: &context };
            evaluate(&request, &Policies::default())
        };
        let root = decide(Caller::Root { account, arn: "arn:aws:iam::111122223333:root" });
        let permit = Allowed::grant("team/app", &root).unwrap();
        let row: Allowed<usize> = permit.load(|name| Ok::<_, ()>(name.len())).unwrap();
        assert_eq!(*row, 8);
        assert!(Allowed::grant("team/app", &decide(Caller::Anonymous)).is_none());
    }
}

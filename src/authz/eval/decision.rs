//! The answer to a request, with the statement or the kind of policy behind it.
//!
//! Nothing outside the evaluation can make one.

use super::Attached;
use crate::authz::policy::Kind;

/// The three answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// It may.
    Allow,
    /// A statement denies it.
    ExplicitDeny,
    /// No statement that would be needed allows it.
    ImplicitDeny,
}

/// An answer and its ground; only [`evaluate`](super::evaluate) makes one.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'p> {
    outcome: Outcome,
    kind: Option<Kind>,
    matched: Option<Matched<'p>>,
}

/// The statement that decided.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'p> {
    pub(super) policy: Attached<'p>,
    pub(super) statement: usize,
}

impl Outcome {
    /// `allow`, `explicit_deny` or `implicit_deny`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::ExplicitDeny => "explicit_deny",
            Self::ImplicitDeny => "implicit_deny",
        }
    }
}

impl<'p> Decision<'p> {
    /// The answer.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether the answer is [`Outcome::Allow`].
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.outcome == Outcome::Allow
    }

    /// The kind of policy that decided, or that was missing; `None` when no policy was asked.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// The statement that allowed or denied; `None` for an implicit deny.
    #[must_use]
    pub fn matched(&self) -> Option<Matched<'p>> {
        self.matched
    }

    /// Allowed without asking a policy.
    pub(super) fn unasked() -> Self {
        Self { outcome: Outcome::Allow, kind: None, matched: None }
    }

    /// Not allowed by the kind of policy that would have to.
    pub(super) fn implicit(kind: Kind) -> Self {
        Self { outcome: Outcome::ImplicitDeny, kind: Some(kind), matched: None }
    }

    /// Decided by a statement.
    pub(super) fn by(outcome: Outcome, matched: Matched<'p>) -> Self {
        Self { outcome, kind: Some(matched.policy.document.kind()), matched: Some(matched) }
    }
}

impl<'p> Matched<'p> {
    /// The policy's name.
    #[must_use]
    pub fn policy_id(&self) -> &'p str {
        self.policy.id
    }

    /// The statement's `Sid`, if it has one.
    #[must_use]
    pub fn sid(&self) -> Option<&'p str> {
        self.policy.document.statements.get(self.statement).and_then(|statement| statement.sid.as_deref())
    }

    /// The statement's place in the document, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.statement
    }
}

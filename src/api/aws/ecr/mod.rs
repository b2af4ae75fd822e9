//! Amazon ECR: the operations that are offered so far, by the noun they are about.
//!
//! Fields that a request has and an operation does not know are passed over, as AWS does; a field that is known and asks
//! for what cannot be had yet is refused.

mod policies;
mod repositories;
mod token;

use super::Asking;
use crate::error::{Error, Reason, Result};
use crate::names::{AccountId, RepositoryName, RepositoryRef};
use crate::ops::Op;
use serde::Deserialize;
use serde_json::Value;

macro_rules! calls {
    ($($name:ident => $op:ident $module:ident::$function:ident;)*) => {
        /// An operation of Amazon ECR.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Call { $($name,)* }

        impl Call {
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The operation that a target names, after its service.
            pub(super) fn named(target: &str) -> Option<Self> {
                match target { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }

            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The product's operation, for the audit of who is not believed.
            pub(super) fn op(self) -> Op {
                match self { $(Self::$name => Op::$op,)* }
            }

            pub(super) async fn answer(self, asking: &Asking<'_>, body: &[u8]) -> Result<Value> {
                match self { $(Self::$name => $module::$function(asking, read(body)?).await,)* }
            }
        }
    };
}

calls! {
    CreateRepository => CreateRepository repositories::create;
    DeleteRegistryPolicy => DeleteRegistryPolicy policies::delete_registry;
    DeleteRepository => DeleteRepository repositories::delete;
    DeleteRepositoryPolicy => DeleteRepositoryPolicy policies::delete_repository;
    DescribeRepositories => ListRepositories repositories::describe;
    GetAuthorizationToken => GetAuthorizationToken token::get;
    GetRegistryPolicy => GetRegistryPolicy policies::get_registry;
    GetRepositoryPolicy => GetRepositoryPolicy policies::get_repository;
    PutImageTagMutability => PutImageTagMutability repositories::put_tag_mutability;
    PutRegistryPolicy => PutRegistryPolicy policies::put_registry;
    SetRepositoryPolicy => SetRepositoryPolicy policies::set_repository;
}

/// A request's fields by name; a list of them in order, which serde would take too, is none.
fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    let bad = |why: &dyn std::fmt::Display| {
        let text = format!("Invalid parameter: the request is no JSON of this operation: {why}");
        Error::new(Reason::InvalidArgument, text)
    };
    match body.trim_ascii_start() {
        [] => serde_json::from_slice(b"{}").map_err(|error| bad(&error)),
        [b'{', ..] => serde_json::from_slice(body).map_err(|error| bad(&error)),
        _ => Err(bad(&"it is not an object")),
    }
}

impl Asking<'_> {
    /// The registry that is asked for; the caller's own unless one is named.
    fn registry(&self, named: Option<&str>) -> Result<AccountId> {
        match named {
            Some(id) => Ok(AccountId::parse(id)?),
            None => self.ctx.caller.account().ok_or_else(|| Error::internal("a signed request has an account")),
        }
    }

    fn repository(&self, registry: Option<&str>, name: &str) -> Result<RepositoryRef> {
        let (account, region) = (self.registry(registry)?, self.app.settings().region.clone());
        Ok(RepositoryRef { account, region, name: RepositoryName::parse(name)? })
    }
}

#[cfg(test)]
mod tests {
    use super::{policies, read};

    #[test]
    fn a_request_is_an_object_with_each_field_once() {
        for good in ["", " ", "{}", " {\"other\": 1}"] {
            assert!(read::<policies::Nothing>(good.as_bytes()).is_ok(), "{good:?}");
        }
        for bad in ["[]", "null", "1", "\"x\"", "{", "{} {}"] {
            assert!(read::<policies::Nothing>(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(read::<policies::Put>(b"[\"{}\"]").is_err());
        assert!(read::<policies::Put>(b"{\"policyText\": \"a\", \"policyText\": \"b\"}").is_err());
    }
}

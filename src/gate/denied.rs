//! What a denial was about, for who asks later what it said.

use super::context::context;
use super::judge::Ruling;
use super::resource::Target;
use crate::authz::eval::Outcome;
use crate::authz::policy::Kind;
use crate::ctx::{Caller, Ctx};
use crate::names::AccountId;
use crate::ops::Op;

/// A request that was denied, as the cause of its error: never rendered with it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("denied: {ground}")]
pub struct Denied {
    /// Whether a statement denied it, as far as its caller may know; else none allowed it.
    pub told_explicit: bool,
    /// Whether a statement denied it, for the resource's account.
    pub explicit: bool,
    /// The caller, as it is displayed.
    pub principal: String,
    /// The caller's unique id, if it has one.
    pub principal_id: String,
    /// The caller's account, if it has one.
    pub principal_account: Option<AccountId>,
    /// The action.
    pub action: &'static str,
    /// The resource.
    pub resource: String,
    /// The resource's account.
    pub resource_account: Option<AccountId>,
    /// Policy and statement, or what was missing.
    pub ground: String,
    /// Whose policy that is, and so who may read it.
    pub ground_account: Option<AccountId>,
    /// What the request itself says, by condition key; nothing of the resource.
    pub conditions: Vec<(String, Vec<String>)>,
}

impl Denied {
    pub(super) fn new(ctx: &Ctx, op: Op, target: &Target, ruling: &Ruling) -> Self {
        let principal_id = match &ctx.caller {
            Caller::Principal(principal) => principal.user_id(),
            Caller::Anonymous | Caller::WebIdentity(_) | Caller::Replication { .. } | Caller::System(_) => {
                String::new()
            }
        };
        Self {
            told_explicit: ruling.told == Outcome::ExplicitDeny,
            explicit: ruling.outcome == Outcome::ExplicitDeny,
            principal: ctx.caller.display(),
            principal_id,
            principal_account: ctx.caller.account(),
            action: op.spec().action,
            resource: target.arn.clone(),
            resource_account: target.account,
            ground: ruling.detail.clone(),
            ground_account: match ruling.kind {
                Some(kind) => account_of(kind, ctx.caller.account(), target.account),
                None => target.account,
            },
            conditions: context(ctx, target).listed(),
        }
    }
}

/// Whose a policy of this kind is, that bears on a principal and a resource: what the organization bounds an account by, that
/// account may know.
#[must_use]
pub fn account_of<T>(kind: Kind, principal: T, resource: T) -> T {
    match kind {
        Kind::Identity | Kind::Boundary | Kind::Session | Kind::ServiceControl => principal,
        Kind::Resource | Kind::Trust | Kind::Key | Kind::ResourceControl => resource,
    }
}

//! The decision: all policies that bear on a request, reduced to allow, explicit deny or implicit deny.
//!
//! A pure function of its arguments. An explicit deny anywhere wins; naming an account delegates and does not grant;
//! there is no special caller and no mode that looks at denies only. It does not fetch policies, and trusts its caller
//! to bring all that apply: a policy left out is a policy that is not there.
//! SPEC: IAM User Guide, "Policy evaluation logic".

use super::action::Action;
use super::arn;
use super::context::Context;
use super::policy::{Asked, Document, Effect, Kind};
use super::principal::Hits;
use crate::names::AccountId;

mod decision;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod tests;

pub use super::principal::Caller;
pub use decision::{Decision, Matched, Outcome};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub caller: Caller<'a>,
    /// The IAM action, `service:Name`.
    pub action: &'a str,
    /// The resource's ARN, or `*` for an action without one.
    pub resource: &'a str,
    /// The account that owns the resource.
    pub resource_account: AccountId,
    /// The values of condition keys, complete.
    pub context: &'a Context,
}

impl<'a> Request<'a> {
    pub(super) fn asked(&self) -> Asked<'a> {
        let Self { caller, action, resource, context, .. } = *self;
        Asked { caller, action: Action::new(action), resource, fields: arn::fields(resource), context }
    }
}

/// A document and the name under which it is attached.
#[derive(Clone, Copy, Debug)]
pub struct Attached<'p> {
    /// The policy's name for explanations and audit rows.
    pub id: &'p str,
    /// The policy.
    pub document: &'p Document,
}

/// All policies that bear on a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policies<'p> {
    /// The caller's own and its groups'; for a session those of its role or user.
    pub identity: &'p [Attached<'p>],
    /// The caller's permissions boundary.
    pub boundary: Option<Attached<'p>>,
    /// Passed when the caller's session was made, OR-ed; `None` when none was passed.
    pub session: Option<&'p [Attached<'p>]>,
    /// Service control policies on the path to the caller's account, root first. Empty outside an organization and
    /// for its management account.
    pub scp: &'p [Vec<Attached<'p>>],
    /// Resource control policies on the path to the resource's account, root first; empty as above.
    pub rcp: &'p [Vec<Attached<'p>>],
    /// The resource's own and its registry's; for a role its trust policy, for a key its key policy.
    pub resource: &'p [Attached<'p>],
}

/// Decides a request.
#[must_use]
pub fn evaluate<'p>(request: &Request<'_>, policies: &Policies<'p>) -> Decision<'p> {
    if is_ungovernable(request) {
        return Decision::unasked();
    }
    let weighed = Weighed::new(request, policies);
    if let Some(deny) = weighed.deny() {
        return Decision::by(Outcome::ExplicitDeny, deny);
    }
    if weighed.scp.missing {
        return Decision::implicit(Kind::ServiceControl);
    }
    if weighed.rcp.missing {
        return Decision::implicit(Kind::ResourceControl);
    }
    if needs_no_permission(request) {
        return Decision::unasked();
    }
    match request.caller.account() {
        None => weighed.without_account(),
        Some(account) if account == request.resource_account => weighed.same_account(request),
        Some(_) => weighed.cross_account(request),
    }
}

/// One list of policies, reduced.
#[derive(Clone, Copy, Default)]
struct Sum<'p> {
    deny: Option<Matched<'p>>,
    /// The closest hit among the statements that allow.
    allow: Option<(Hits, Matched<'p>)>,
    /// All hits of statements that allow.
    hits: Hits,
}

/// The levels of an organization's policies, reduced.
#[derive(Clone, Copy, Default)]
struct Levels<'p> {
    deny: Option<Matched<'p>>,
    /// Some level allows nothing that covers the request.
    missing: bool,
}

/// Every list, reduced.
struct Weighed<'p> {
    scp: Levels<'p>,
    rcp: Levels<'p>,
    resource: Sum<'p>,
    boundary: Option<Sum<'p>>,
    session: Option<Sum<'p>>,
    identity: Sum<'p>,
    /// What the resource's own policy is called.
    resource_kind: Kind,
}

impl<'p> Weighed<'p> {
    fn new(request: &Request<'_>, policies: &Policies<'p>) -> Self {
        let asked = request.asked();
        let bounded = policies.boundary.is_some();
        let sum = |list: &[Attached<'p>]| reduce(&asked, list, bounded);
        let levels = |bind: bool, list: &[Vec<Attached<'p>>]| {
            if bind { reduce_levels(&asked, list) } else { Levels::default() }
        };
        let resource = if is_identity_only(request.action) { &[] } else { policies.resource };
        Self {
            scp: levels(is_bound_by_scp(&request.caller), policies.scp),
            rcp: levels(is_bound_by_rcp(&request.caller), policies.rcp),
            resource: sum(resource),
            boundary: policies.boundary.map(|policy| sum(&[policy])),
            session: policies.session.map(sum),
            identity: sum(policies.identity),
            resource_kind: resource_kind(request),
        }
    }

    /// The order in which one deny of several is named is ours; AWS documents none.
    fn deny(&self) -> Option<Matched<'p>> {
        let of = |sum: Option<Sum<'p>>| sum.and_then(|sum| sum.deny);
        self.scp
            .deny
            .or(self.rcp.deny)
            .or(self.resource.deny)
            .or(of(self.boundary))
            .or(of(self.session))
            .or(self.identity.deny)
    }

    fn without_account(&self) -> Decision<'p> {
        match self.resource.allow {
            Some((hits, matched)) if hits.meets(Hits::DIRECT.with(Hits::STAR)) => Decision::by(Outcome::Allow, matched),
            Some(_) | None => Decision::implicit(self.resource_kind),
        }
    }

    /// Both accounts must agree, and nothing crosses a partition.
    fn cross_account(&self, request: &Request<'_>) -> Decision<'p> {
        let Some((_, identity)) = self.identity.allow else { return Decision::implicit(Kind::Identity) };
        if self.resource.hits.is_none() || is_other_partition(request) {
            return Decision::implicit(self.resource_kind);
        }
        self.limit(request).map_or(Decision::by(Outcome::Allow, identity), Decision::implicit)
    }

    fn same_account(&self, request: &Request<'_>) -> Decision<'p> {
        let hits = self.resource.hits;
        let limit = self.limit(request);
        let by_resource = hits.meets(Hits::DIRECT.with(Hits::STAR))
            || limit.is_none() && hits.meets(Hits::ROLE_OF_SESSION.with(Hits::USER_OF_FEDERATED));
        if let Some((_, matched)) = self.resource.allow.filter(|_| by_resource) {
            return Decision::by(Outcome::Allow, matched);
        }
        if let Some(kind) = limit {
            return Decision::implicit(kind);
        }
        let is_root = matches!(request.caller, Caller::Root { .. });
        if !is_root && self.identity.allow.is_none() {
            return Decision::implicit(Kind::Identity);
        }
        // A role or key trusts nobody whom its own policy does not name, not even inside its account.
        if self.resource_kind != Kind::Resource && hits.is_none() {
            return Decision::implicit(self.resource_kind);
        }
        self.identity.allow.map_or_else(Decision::unasked, |(_, matched)| Decision::by(Outcome::Allow, matched))
    }

    /// The boundary or session policy that withholds its allow.
    fn limit(&self, request: &Request<'_>) -> Option<Kind> {
        let withholds = |sum: Option<Sum<'p>>| sum.is_some_and(|sum| sum.allow.is_none());
        let is_federated = matches!(request.caller, Caller::FederatedUser { .. });
        if withholds(self.boundary) {
            Some(Kind::Boundary)
        } else if withholds(self.session) || is_federated && self.session.is_none() {
            Some(Kind::Session)
        } else {
            None
        }
    }
}

fn reduce<'p>(asked: &Asked<'_>, list: &[Attached<'p>], bounded: bool) -> Sum<'p> {
    let mut sum = Sum::default();
    for policy in list {
        for (index, statement) in policy.document.statements.iter().enumerate() {
            let Ok(hits) = statement.cover(asked, bounded) else { continue };
            let matched = Matched { policy: *policy, statement: index };
            match statement.effect {
                Effect::Deny => sum.deny = sum.deny.or(Some(matched)),
                Effect::Allow => {
                    sum.hits = sum.hits.with(hits);
                    sum.allow = Some(sum.allow.filter(|(best, _)| *best >= hits).unwrap_or((hits, matched)));
                }
            }
        }
    }
    sum
}

fn reduce_levels<'p>(asked: &Asked<'_>, levels: &[Vec<Attached<'p>>]) -> Levels<'p> {
    let mut all = Levels::default();
    for level in levels {
        let sum = reduce(asked, level, false);
        all.deny = all.deny.or(sum.deny);
        all.missing |= sum.allow.is_none();
    }
    all
}

/// SPEC: Organizations, "SCPs do not affect" service-linked roles, nor what is no principal of the organization.
fn is_bound_by_scp(caller: &Caller<'_>) -> bool {
    match caller {
        Caller::User { .. }
        | Caller::RoleSession { .. }
        | Caller::FederatedUser { .. }
        | Caller::Root { .. }
        | Caller::WebIdentity(_) => true,
        Caller::ServiceLinkedRole { .. } | Caller::Service(_) | Caller::Anonymous => false,
    }
}

fn is_bound_by_rcp(caller: &Caller<'_>) -> bool {
    !matches!(caller, Caller::ServiceLinkedRole { .. })
}

/// SPEC: STS `GetCallerIdentity` is answered to every signed caller, even against an explicit deny.
fn is_ungovernable(request: &Request<'_>) -> bool {
    request.caller.account().is_some() && request.action.eq_ignore_ascii_case("sts:GetCallerIdentity")
}

/// SPEC: STS `GetSessionToken` needs no permission of a user; an explicit deny still counts.
fn needs_no_permission(request: &Request<'_>) -> bool {
    matches!(request.caller, Caller::User { .. } | Caller::Root { .. })
        && request.action.eq_ignore_ascii_case("sts:GetSessionToken")
}

/// SPEC: ECR `GetAuthorizationToken` is granted through identity policies only.
fn is_identity_only(action: &str) -> bool {
    action.eq_ignore_ascii_case("ecr:GetAuthorizationToken")
}

/// What the policy of the request's resource is: roles and keys have policies that must trust the caller.
fn resource_kind(request: &Request<'_>) -> Kind {
    let Some([_, _, service, _, _, resource]) = arn::fields(request.resource) else { return Kind::Resource };
    let action_service = request.action.split(':').next().unwrap_or("");
    let is = |of: &str, prefix: &str, action: &str| {
        service == of && resource.starts_with(prefix) && action_service.eq_ignore_ascii_case(action)
    };
    if is("iam", "role/", "sts") {
        Kind::Trust
    } else if is("kms", "key/", "kms") {
        Kind::Key
    } else {
        Kind::Resource
    }
}

fn is_other_partition(request: &Request<'_>) -> bool {
    let partition = arn::fields(request.resource).map(|fields| fields[1]);
    partition.is_some_and(|partition| request.caller.partition() != Some(partition))
}

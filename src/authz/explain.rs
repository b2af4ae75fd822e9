//! Decisions in words: AWS's sentence for the caller, and the ground for those who may know it.
//!
//! The sentence says nothing but the caller's own request and a kind of policy, so anybody may read it; the detail
//! names policies and statements and is for the resource's own account.

use super::eval::{Decision, Matched, Outcome, Request};
use super::policy::Kind;

/// The sentence with which AWS refuses, or its positive form.
///
/// A role that is missing and one whose trust policy refuses read the same, so `AssumeRole` gives no ground at all.
#[must_use]
pub fn sentence(request: &Request<'_>, decision: &Decision<'_>) -> String {
    let (caller, action, resource) = (request.caller.display(), request.action, request.resource);
    if decision.is_allowed() {
        return format!("User: {caller} is authorized to perform: {action} on resource: {resource}");
    }
    let is = |name: &str| action.eq_ignore_ascii_case(name);
    if is("sts:AssumeRoleWithWebIdentity") || is("sts:AssumeRoleWithSAML") {
        return format!("Not authorized to perform {action}");
    }
    let ground = if is("sts:AssumeRole") { String::new() } else { ground(action, decision) };
    format!("User: {caller} is not authorized to perform: {action} on resource: {resource}{ground}")
}

/// Policy and statement that decided, or the kind of policy that was missing; for the resource's account only.
#[must_use]
pub fn detail(decision: &Decision<'_>) -> String {
    let kind = decision.kind().map_or("no", Kind::as_str);
    match (decision.outcome(), decision.matched()) {
        (Outcome::Allow, Some(matched)) => format!("allowed by {}", place(kind, &matched)),
        (Outcome::Allow, None) => "allowed without a policy".to_owned(),
        (Outcome::ExplicitDeny | Outcome::ImplicitDeny, Some(matched)) => {
            format!("denied by {}", place(kind, &matched))
        }
        (Outcome::ExplicitDeny | Outcome::ImplicitDeny, None) => format!("no {kind} policy allows it"),
    }
}

fn ground(action: &str, decision: &Decision<'_>) -> String {
    let Some(kind) = decision.kind() else { return String::new() };
    // OBSERVED: AWS calls a missing allow of a service control policy an explicit deny.
    let explicit = decision.outcome() == Outcome::ExplicitDeny || kind == Kind::ServiceControl;
    if explicit {
        let policy = match kind {
            Kind::Identity => "an identity-based policy",
            Kind::Boundary => "a permissions boundary",
            Kind::Session => "a sessions policy",
            Kind::Trust => "the role trust policy",
            Kind::Resource | Kind::Key => "a resource-based policy",
            Kind::ServiceControl => "a service control policy",
            Kind::ResourceControl => "a resource control policy",
        };
        return format!(" with an explicit deny in {policy}");
    }
    let policy = match kind {
        Kind::Identity => "identity-based policy",
        Kind::Boundary => "permissions boundary",
        Kind::Session => "session policy",
        Kind::Trust => "role trust policy",
        Kind::Resource | Kind::Key => "resource-based policy",
        Kind::ServiceControl => "service control policy",
        Kind::ResourceControl => "resource control policy",
    };
    format!(" because no {policy} allows the {action} action")
}

fn place(kind: &str, matched: &Matched<'_>) -> String {
    let number = matched.index() + 1;
    let sid = matched.sid().map_or_else(String::new, |sid| format!(" ({sid})"));
    format!("{kind} policy {:?}, statement {number}{sid}", matched.policy_id())
}

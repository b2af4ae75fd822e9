//! Decisions in words: AWS's sentence for the caller, and the ground for those who may know it.
//!
//! The sentence says nothing but the caller's own request and a kind of policy, so anybody may read it; the detail
//! names policies and statements, and the request's values, and is for the resource's own account.

use super::condition::Condition;
use super::context::{Context, Value};
use super::eval::{Attached, Decision, Matched, Outcome, Policies, Request};
use super::policy::{Effect, Kind, Miss, Statement};
use std::fmt::Write as _;

/// How many values of a key are told.
const VALUES_TOLD: usize = 5;

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

/// The statement that came closest to allowing, and the first of its elements that did not fit.
///
/// `None` when the request is not refused for want of an allow, or no statement that could allow speaks of its action.
///
/// Names policies and the request's own values of condition keys, so it is for whoever may read the policies.
#[must_use]
pub fn closest(request: &Request<'_>, policies: &Policies<'_>, decision: &Decision<'_>) -> Option<String> {
    let missing = decision.kind().filter(|_| decision.outcome() == Outcome::ImplicitDeny)?;
    let (asked, bounded) = (request.asked(), policies.boundary.is_some());
    let mut best: Option<(Miss, &Attached<'_>, usize)> = None;
    for policy in lists(policies, missing) {
        for (index, statement) in policy.document.statements.iter().enumerate() {
            let Err(miss) = statement.cover(&asked, bounded) else { continue };
            let closer = miss > Miss::Action && best.is_none_or(|(found, ..)| miss > found);
            if statement.effect == Effect::Allow && closer {
                best = Some((miss, policy, index));
            }
        }
    }
    best.map(|(miss, policy, index)| words(request, miss, policy, index))
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

/// The policies of the kind that had to allow.
fn lists<'a, 'p>(policies: &'a Policies<'p>, kind: Kind) -> Vec<&'a Attached<'p>> {
    match kind {
        Kind::Identity => policies.identity.iter().collect(),
        Kind::Boundary => policies.boundary.iter().collect(),
        Kind::Session => policies.session.into_iter().flatten().collect(),
        Kind::ServiceControl => policies.scp.iter().flatten().collect(),
        Kind::ResourceControl => policies.rcp.iter().flatten().collect(),
        Kind::Resource | Kind::Trust | Kind::Key => policies.resource.iter().collect(),
    }
}

fn words(request: &Request<'_>, miss: Miss, policy: &Attached<'_>, index: usize) -> String {
    let statement = policy.document.statements.get(index);
    let sid = statement.and_then(|s| s.sid.as_deref()).map_or_else(String::new, |sid| format!(" ({sid})"));
    let condition = |at| statement.and_then(|s: &Statement| s.conditions.get(at));
    let why = match miss {
        Miss::Action => "it is about other actions".to_owned(),
        Miss::Resource => format!("it does not cover the resource {}", request.resource),
        Miss::Principal => format!("it does not name {}", request.caller.display()),
        Miss::Condition(at) => condition(at).map_or_else(String::new, |c| unmet(c, request.context)),
    };
    format!(
        "closest is {} policy {:?}, statement {}{sid}: {why}",
        policy.document.kind().as_str(),
        policy.id,
        index + 1
    )
}

fn unmet(condition: &Condition, context: &Context) -> String {
    let mut told = format!("its condition {} on {} does not hold: ", condition.operator, condition.key);
    // Writing to a string cannot fail.
    let _ = match context.folded(&condition.key) {
        None => write!(told, "the request has no such key"),
        Some(Value::One(text)) => write!(told, "the request has {text:?}"),
        Some(Value::Many(texts)) => {
            let more = if texts.len() > VALUES_TOLD { ", …" } else { "" };
            let some: Vec<String> = texts.iter().take(VALUES_TOLD).map(|text| format!("{text:?}")).collect();
            write!(told, "the request has the list [{}{more}]", some.join(", "))
        }
    };
    told
}

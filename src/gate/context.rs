//! What condition keys and policy variables stand for in a request: of the request, of its target, of its caller.

use super::resource::Target;
use crate::authz::context::Context;
use crate::clock::Timestamp;
use crate::ctx::{Caller, Claim, Ctx, Mfa, Principal, WebIdentity};
use crate::names::PrincipalKind;

/// Every condition key that some request has; a policy that names another is refused when it is written.
pub const CONTEXT_KEYS: &[&str] = &[
    "aws:CurrentTime",
    "aws:EpochTime",
    "aws:FederatedProvider",
    "aws:MultiFactorAuthAge",
    "aws:MultiFactorAuthPresent",
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:PrincipalIsAWSService",
    "aws:PrincipalTag/",
    "aws:PrincipalType",
    "aws:RequestTag/",
    "aws:RequestedRegion",
    "aws:ResourceAccount",
    "aws:SecureTransport",
    "aws:SourceIdentity",
    "aws:SourceIp",
    "aws:TagKeys",
    "aws:TokenIssueTime",
    "aws:UserAgent",
    "aws:userid",
    "aws:username",
    "ecr:ImageTag",
    "sts:ExternalId",
    "sts:RoleSessionName",
    "sts:SourceIdentity",
    "sts:TransitiveTagKeys",
];

/// The context of a request, but for what only some requests read.
pub(super) fn context(ctx: &Ctx, target: &Target) -> Context {
    let mut context = Context::with_room();
    context.set("aws:CurrentTime", ctx.now.to_string());
    context.set("aws:EpochTime", ctx.now.secs().to_string());
    context.set("aws:SecureTransport", ctx.secure.to_string());
    context.set("aws:RequestedRegion", ctx.region.as_str());
    context.set("aws:UserAgent", &*ctx.user_agent);
    if let Some(address) = ctx.source_ip {
        context.set("aws:SourceIp", address.to_canonical().to_string());
    }
    if let Some(account) = target.account {
        context.set("aws:ResourceAccount", account.as_str());
    }
    context.extend(&target.context);
    match &ctx.caller {
        Caller::Principal(principal) => principal_context(&mut context, principal, ctx.now),
        Caller::Anonymous => {
            context.set("aws:PrincipalType", "Anonymous");
            context.set("aws:PrincipalAccount", "anonymous");
            context.set("aws:userid", "anonymous");
        }
        Caller::WebIdentity(identity) => identity_context(&mut context, identity),
        Caller::Replication { .. } | Caller::System(_) => {
            context.set("aws:PrincipalType", "AssumedRole");
        }
    }
    context
}

/// All that a token says is known under its issuer's name; for whom it is, as the check of the audience found.
// SPEC: IAM user guide, "Available keys for AWS web identity federation".
fn identity_context(context: &mut Context, identity: &WebIdentity) {
    let issuer = identity.issuer.id();
    context.set("aws:FederatedProvider", identity.provider().as_str());
    for Claim { name, values, is_list } in &identity.claims {
        let key = format!("{issuer}:{name}");
        match values.first().filter(|_| !is_list) {
            Some(value) => context.set(&key, value.as_str()),
            None => context.set_many(&key, values.iter().map(String::as_str)),
        };
    }
    context.set(&format!("{issuer}:sub"), identity.subject.as_str());
    context.set(&format!("{issuer}:aud"), identity.audience.as_str());
}

const MFA_PRESENT: &str = "aws:MultiFactorAuthPresent";

/// What policies know of a second factor: nothing, where a user's own key says who calls.
pub(super) fn mfa_context(context: &mut Context, mfa: Mfa, now: Timestamp) {
    match mfa {
        Mfa::Unasked => {}
        Mfa::Absent => {
            context.set(MFA_PRESENT, "false");
        }
        Mfa::Given(at) => {
            context.set(MFA_PRESENT, "true");
            context.set("aws:MultiFactorAuthAge", now.since(at).as_secs().to_string());
        }
    }
}

// SPEC: IAM user guide, "AWS global condition context keys".
fn principal_context(context: &mut Context, principal: &Principal, now: Timestamp) {
    context.set("aws:PrincipalArn", principal.name.arn().as_str());
    context.set("aws:PrincipalAccount", principal.name.account.as_str());
    context.set("aws:PrincipalIsAWSService", "false");
    match principal.name.kind {
        PrincipalKind::User if principal.is_federated() => {
            context.set("aws:PrincipalArn", principal.arn().as_str());
            context.set("aws:PrincipalType", "FederatedUser");
            context.set("aws:userid", principal.user_id());
        }
        PrincipalKind::User => {
            context.set("aws:PrincipalType", "User");
            context.set("aws:username", &*principal.name.name);
            context.set("aws:userid", &*principal.unique_id);
        }
        PrincipalKind::Role => {
            let name = principal.session.as_ref().and_then(|s| s.name.as_ref());
            context.set("aws:PrincipalType", "AssumedRole");
            context.set("aws:userid", format!("{}:{}", principal.unique_id, name.map_or("", |name| name.as_str())));
        }
    }
    if let Some(session) = &principal.session {
        context.set("aws:TokenIssueTime", session.issued_at.to_string());
        // A code that is shown with the request itself counts before what the session had.
        if context.get(MFA_PRESENT).is_none() {
            mfa_context(context, session.mfa, now);
        }
        for tag in &session.tags {
            context.set(&format!("aws:PrincipalTag/{}", tag.key()), tag.value());
        }
        if let Some(identity) = &session.source_identity {
            context.set("aws:SourceIdentity", &**identity);
        }
        if let Some(provider) = &session.provider {
            context.set("aws:FederatedProvider", &**provider);
        }
    }
}

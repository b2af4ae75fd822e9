//! Every operation of the AWS wire, signed by each kind of caller, on things of dev's.

use super::{Callers, Section, walk};
use crate::aws::{Call, things};
use crate::harness::{Answer, Region};
use std::collections::BTreeSet;
use transship::api::aws::operations;

/// Nobody signs it, so a signature helps nobody; `tests/it/federation.rs` has who is served.
const WEB_IDENTITY: &str = "AssumeRoleWithWebIdentity";

/// Every operation, on things of dev's, in an order in which each succeeds for dev.
async fn calls(region: &Region) -> Vec<Call> {
    let dev = region.account("dev").to_string();
    let (app, policy) = (
        |more: serde_json::Value| {
            let mut body = serde_json::json!({"registryId": dev, "repositoryName": "app"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body.to_string()
        },
        serde_json::json!({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": "*",
            "Action": "ecr:ReplicateImage", "Resource": "*"}})
        .to_string(),
    );
    let none = serde_json::json!({});
    let ecr = |operation, body| Call { service: "ecr", operation, body };
    let sts = |operation, more: &str| Call {
        service: "sts",
        operation,
        body: format!("Action={operation}&Version=2011-06-15{more}"),
    };
    let role = format!("&RoleArn=arn%3Aaws%3Aiam%3A%3A{dev}%3Arole%2Fbuilder&RoleSessionName=night");
    let message = crate::denials::message(region, &region.admin("dev").await).await;
    vec![
        ecr("CreateRepository", serde_json::json!({"registryId": dev, "repositoryName": "fresh"}).to_string()),
        ecr("DescribeRepositories", serde_json::json!({"registryId": dev}).to_string()),
        ecr("PutImageTagMutability", app(serde_json::json!({"imageTagMutability": "IMMUTABLE"}))),
        ecr("SetRepositoryPolicy", app(serde_json::json!({"policyText": policy}))),
        ecr("GetRepositoryPolicy", app(none.clone())),
        ecr("DeleteRepositoryPolicy", app(none.clone())),
        ecr("PutRegistryPolicy", serde_json::json!({"policyText": policy}).to_string()),
        ecr("GetRegistryPolicy", "{}".to_owned()),
        ecr("DeleteRegistryPolicy", "{}".to_owned()),
        ecr("GetAuthorizationToken", "{}".to_owned()),
        ecr("DeleteRepository", app(serde_json::json!({"force": true}))),
        sts("GetCallerIdentity", ""),
        sts("AssumeRole", &role),
        sts("GetSessionToken", ""),
        sts("GetFederationToken", "&Name=carol"),
        sts("DecodeAuthorizationMessage", &format!("&EncodedMessage={message}")),
        sts("GetAccessKeyInfo", &format!("&AccessKeyId={}", region.access_key("dev").0)),
        sts(WEB_IDENTITY, &format!("{role}&WebIdentityToken=no.token.atall")),
    ]
}

/// What an answer says, in a word of the table.
fn word(answer: &Answer) -> String {
    let text = answer.text();
    let says = |codes: &[&str]| {
        codes.iter().any(|code| text.contains(&format!("\"{code}\"")) || text.contains(&format!("<Code>{code}</Code>")))
    };
    match answer.status.as_u16() {
        200 => "ok",
        400 | 403 if says(&["MissingAuthenticationTokenException", "MissingAuthenticationToken"]) => "unsigned",
        400 | 403 if says(&["InvalidSignatureException", "SignatureDoesNotMatch"]) => "signature",
        400 | 403 if says(&["UnrecognizedClientException", "InvalidClientTokenId", "InvalidIdentityToken"]) => {
            "unknown"
        }
        400 | 403 if says(&["ExpiredTokenException", "ExpiredToken"]) => "expired",
        400 | 403 if says(&["AccessDeniedException", "AccessDenied"]) => "denied",
        _ => return format!("{} {text}", answer.status),
    }
    .to_owned()
}

pub(super) async fn section() -> Section {
    let region = Region::start().await;
    let callers: Callers = super::callers(&region).await;
    things(&region).await;
    let calls = calls(&region).await;
    let named: BTreeSet<_> = calls.iter().map(|call| (call.service, call.operation)).collect();
    assert_eq!(named, operations().into_iter().collect(), "an operation is missing from this test");
    let calls: Vec<(String, Call)> =
        calls.into_iter().map(|call| (format!("{} {}", call.service, call.operation), call)).collect();
    let section = walk(&region, &callers, "aws", &calls, async |call, shown| {
        let answer = call.to(&region, shown.key.as_ref()).await;
        assert!(!answer.text().contains("statement"), "what decided is the owner's to know: {}", answer.text());
        word(&answer)
    })
    .await;
    let key = |column: &str| callers.columns.iter().find(|(name, _)| *name == column).unwrap().1.key.clone().unwrap();
    // Temporary credentials are good only with their token.
    let mut tokenless = key("forbidden");
    tokenless.token = None;
    let foreign = key("foreign");
    let signed = || calls.iter().filter(|(_, call)| call.operation != WEB_IDENTITY);
    for (name, call) in signed() {
        assert_eq!(word(&call.to(&region, Some(&tokenless)).await), "signature", "{name}");
    }
    // Who may take a role may not therefore tag its session, nor say who is behind it.
    let role = format!("&RoleArn=arn%3Aaws%3Aiam%3A%3A{}%3Arole%2Fplain&RoleSessionName=night", region.account("dev"));
    for (more, action) in [
        ("&Tags.member.1.Key=team&Tags.member.1.Value=a", "sts:TagSession"),
        ("&SourceIdentity=someone", "sts:SetSourceIdentity"),
    ] {
        let body = format!("Action=AssumeRole&Version=2011-06-15{role}{more}");
        let answer = Call { service: "sts", operation: "AssumeRole", body }.to(&region, Some(&foreign)).await;
        assert!(answer.text().contains("AccessDenied") && answer.text().contains(action), "{}", answer.text());
    }
    // Nor may who makes a federated user, who needs leave for that too.
    let body = "Action=GetFederationToken&Version=2011-06-15&Name=carol&Tags.member.1.Key=team&Tags.member.1.Value=a";
    for (name, actions, denied) in
        [("idle", &["ecr:*"], "sts:GetFederationToken"), ("federator", &["sts:GetFederationToken"], "sts:TagSession")]
    {
        let user = crate::tenants::user(&region, "prod", name, &crate::tenants::allow(actions, "*")).await;
        let made = region.app().create_access_key(&region.admin("prod").await, user).await.unwrap();
        let key = crate::aws::Key { id: made.id, secret: made.secret, token: None };
        let call = Call { service: "sts", operation: "GetFederationToken", body: body.to_owned() };
        let answer = call.to(&region, Some(&key)).await;
        assert!(answer.text().contains("AccessDenied") && answer.text().contains(denied), "{}", answer.text());
    }
    crate::operations::denied(&region, "prod", "refused-aws.txt").await;
    for (name, call) in signed() {
        let answer = call.to(&region, callers.owner.key.as_ref()).await;
        assert_eq!(answer.status, 200, "the owner: {name}: {}", answer.text());
    }
    section
}

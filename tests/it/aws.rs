//! The AWS wire: what is refused to whom, and the Rust SDK of AWS STS unmodified.

use crate::harness::{Answer, Region};
use crate::tenants::{allow, books, repository, role, trust, user};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use std::collections::BTreeSet;
use std::time::Duration;
use transship::api::aws::operations;
use transship::clock::Timestamp;
use transship::identity::canonical::sha256;
use transship::identity::sign::{Credentials, headers};
use transship::identity::sigv4::{Request, Target};
use transship::names::Region as RegionName;
use transship::secret::Secret;

/// Who signs: an access key, and the session token beside it if it is temporary.
#[derive(Clone)]
pub struct Key {
    pub id: String,
    pub secret: Secret<String>,
    pub token: Option<Secret<String>>,
}

/// A call of the AWS wire: its service, its operation, its body.
pub struct Call {
    pub service: &'static str,
    pub operation: &'static str,
    pub body: String,
}

impl Call {
    fn headers(&self, host: &str) -> Vec<(&'static str, String)> {
        let content =
            if self.service == "sts" { "application/x-www-form-urlencoded" } else { "application/x-amz-json-1.1" };
        let mut all = vec![("host", host.to_owned()), ("content-type", content.to_owned())];
        if self.service == "ecr" {
            all.push(("x-amz-target", format!("AmazonEC2ContainerRegistry_V20150921.{}", self.operation)));
        }
        all
    }

    /// Sends it as somebody, signed at a moment, or as nobody.
    pub async fn send(&self, base: &str, now: Timestamp, key: Option<&Key>) -> Answer {
        let host = base.strip_prefix("http://").unwrap();
        let mut sent: HeaderMap = HeaderMap::new();
        for (name, value) in self.headers(host) {
            sent.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
        }
        if let Some(key) = key {
            let (uri, name): (Uri, _) = ("/".parse().unwrap(), RegionName::parse("us-east-1").unwrap());
            let payload = sha256(self.body.as_bytes());
            let request = Request { method: &Method::POST, uri: &uri, headers: &sent, payload };
            let target = Target { region: &name, service: self.service };
            let by = Credentials { access_key_id: &key.id, secret: &key.secret, session_token: key.token.as_ref() };
            let added = headers(&request, &by, &target, now).unwrap();
            sent.extend(added);
        }
        let http = crate::harness::Http::new(base, None);
        let sent: Vec<(&str, &str)> = sent
            .iter()
            .filter(|(name, _)| *name != "host")
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        http.call(Method::POST, "/", &sent, Bytes::from(self.body.clone())).await
    }
}

impl Call {
    /// Sends it to a region, signed by its clock.
    async fn to(&self, region: &Region, key: Option<&Key>) -> Answer {
        self.send(&region.base, region.app().clock().now(), key).await
    }
}

/// Every operation, on things of dev's, in an order in which each succeeds for dev.
fn calls(region: &Region) -> Vec<Call> {
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
    ]
}

/// What names no other account: the caller's own registry, or the caller itself.
const OWN: &[&str] = &[
    "GetRegistryPolicy",
    "PutRegistryPolicy",
    "DeleteRegistryPolicy",
    "GetAuthorizationToken",
    "GetCallerIdentity",
    "GetSessionToken",
];

async fn things(region: &Region) -> Key {
    let (id, secret) = region.access_key("dev");
    region.http("dev").await.push_image(&format!("{}/app", region.account("dev")), "v1", &[b"layer"]).await;
    let me = format!("arn:aws:iam::{}:user/admin", region.account("dev"));
    role(region, "dev", "builder", &trust(&me, None), &allow(&["ecr:*"], "*")).await;
    let prod = format!("arn:aws:iam::{}:root", region.account("prod"));
    role(region, "dev", "plain", &trust(&prod, None), &allow(&["ecr:*"], "*")).await;
    Key { id, secret: Secret::new(secret), token: None }
}

/// A session that an owner takes of itself, as the AWS wire gives it.
async fn session(region: &Region, owner: &Key, call: &Call) -> Key {
    let answer = call.to(region, Some(owner)).await;
    let text = answer.text();
    let field = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{text}"));
        rest.split_once('<').unwrap().0.to_owned()
    };
    Key {
        id: field("AccessKeyId"),
        secret: Secret::new(field("SecretAccessKey")),
        token: Some(Secret::new(field("SessionToken"))),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_of_the_aws_wire_refuses_who_may_not_call_it_and_changes_nothing() {
    let region = Region::start().await;
    let owner = things(&region).await;
    let calls = calls(&region);
    let mut named: BTreeSet<_> = calls.iter().map(|call| (call.service, call.operation)).collect();
    // Nobody signs it; `tests/it/federation.rs` has all the ways in which its token is refused.
    named.insert(("sts", "AssumeRoleWithWebIdentity"));
    assert_eq!(named, operations().into_iter().collect(), "an operation is missing from this test");
    let (id, secret) = region.access_key("prod");
    let foreign = Key { id, secret: Secret::new(secret), token: None };
    let take = calls.iter().find(|call| call.operation == "GetSessionToken").unwrap();
    let revoked = session(&region, &owner, take).await;
    let admin = region.admin("dev").await;
    let issued = region
        .app()
        .list_sessions(&admin, region.account("dev"), None, transship::names::PageSize::clamp(1))
        .await
        .unwrap();
    region.app().revoke_session(&admin, region.account("dev"), issued[0].id).await.unwrap();
    let short =
        Call { service: "sts", operation: "GetSessionToken", body: format!("{}&DurationSeconds=900", take.body) };
    let expired = session(&region, &owner, &short).await;
    region.app().clock().advance(Duration::from_secs(901));
    let wrong = Key { secret: Secret::new("not the secret of this key at all......".to_owned()), ..owner.clone() };
    let unknown = Key { id: "AKIAAAAAAAAAAAAAAAAA".to_owned(), ..owner.clone() };
    let keyless = Key { token: None, ..expired.clone() };

    let before = books(&region);
    let unbelieved: [(&str, Option<&Key>); 6] = [
        ("nobody", None),
        ("a wrong secret", Some(&wrong)),
        ("an unknown key", Some(&unknown)),
        ("a session without its token", Some(&keyless)),
        ("a revoked session", Some(&revoked)),
        ("an expired session", Some(&expired)),
    ];
    for (name, key) in unbelieved {
        for call in &calls {
            let answer = call.to(&region, key).await;
            let text = answer.text();
            let known = [
                "MissingAuthenticationToken",
                "InvalidSignature",
                "SignatureDoesNotMatch",
                "UnrecognizedClient",
                "InvalidClientTokenId",
                "ExpiredToken",
                "IncompleteSignature",
            ];
            assert!(matches!(answer.status.as_u16(), 400 | 403), "{name}: {}: {text}", call.operation);
            assert!(known.iter().any(|code| text.contains(code)), "{name}: {}: {text}", call.operation);
        }
        before.unchanged(&books(&region), name);
    }
    for call in calls.iter().filter(|call| !OWN.contains(&call.operation)) {
        let answer = call.to(&region, Some(&foreign)).await;
        assert!(answer.text().contains("AccessDenied"), "{}: {}", call.operation, answer.text());
        assert!(!answer.text().contains("statement"), "what decided is the owner's to know: {}", answer.text());
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
    before.unchanged(&books(&region), "a foreign account");
    crate::operations::denied(&region, "prod", "refused-aws.txt").await;
    for call in &calls {
        let answer = call.to(&region, Some(&owner)).await;
        assert_eq!(answer.status, 200, "the owner: {}: {}", call.operation, answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_rights_is_refused_with_the_reason_and_what_is_missing_looks_forbidden() {
    let region = Region::start().await;
    things(&region).await;
    let idle = user(&region, "prod", "idle", &allow(&["ecr:*"], "*")).await;
    let admin = region.admin("prod").await;
    let made = region.app().create_access_key(&admin, idle).await.unwrap();
    let key = Key { id: made.id, secret: made.secret, token: None };
    let describe = |name: &str| Call {
        service: "ecr",
        operation: "DescribeRepositories",
        body: serde_json::json!({"registryId": region.account("dev"), "repositoryNames": [name]}).to_string(),
    };
    let told = |answer: &Answer, name: &str| answer.text().replace(name, "NAME");
    let (there, missing) =
        (describe("app").to(&region, Some(&key)).await, describe("none").to(&region, Some(&key)).await);
    assert_eq!(told(&there, "app"), told(&missing, "none"));
    assert!(
        there.text().contains("is not authorized to perform: ecr:DescribeRepositories on resource"),
        "{}",
        there.text()
    );
    let address = repository(&region, "dev", "app");
    assert!(region.app().get_repository(&region.admin("dev").await, &address).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
#[allow(deprecated, reason = "the field is still what AWS answers")]
async fn the_rust_sdk_of_sts_takes_a_role_and_its_session_is_what_it_was_given() {
    use aws_sdk_sts::config::{BehaviorVersion, Builder, Credentials as Sdk, Region as SdkRegion};
    let region = Region::start().await;
    let key = things(&region).await;
    let client = |id: &str, secret: &str, token: Option<&str>| {
        let credentials = Sdk::new(id, secret, token.map(ToOwned::to_owned), None, "test");
        let config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(SdkRegion::new("us-east-1"))
            .endpoint_url(&region.base)
            .credentials_provider(credentials);
        aws_sdk_sts::Client::from_conf(config.build())
    };
    let sts = client(&key.id, key.secret.expose(), None);
    let dev = region.account("dev");
    let role = format!("arn:aws:iam::{dev}:role/builder");
    let policy = allow(&["ecr:Describe*"], "*");
    let taken = sts.assume_role().role_arn(&role).role_session_name("night").policy(policy).send().await.unwrap();
    assert!(taken.packed_policy_size().is_some_and(|percent| (1..=100).contains(&percent)));
    let given = taken.credentials().unwrap();
    let as_role = client(given.access_key_id(), given.secret_access_key(), Some(given.session_token()));
    let who = as_role.get_caller_identity().send().await.unwrap();
    assert_eq!(who.arn(), Some(format!("arn:aws:sts::{dev}:assumed-role/builder/night").as_str()));
    assert!(who.user_id().is_some_and(|id| id.starts_with("AROA") && id.ends_with(":night")));
    let error = as_role.get_session_token().send().await.unwrap_err();
    assert_eq!(aws_sdk_sts::error::ProvideErrorMetadata::code(&error), Some("AccessDenied"));
    let missing = sts.assume_role().role_arn(format!("{role}s")).role_session_name("night").send().await.unwrap_err();
    assert_eq!(aws_sdk_sts::error::ProvideErrorMetadata::code(&missing), Some("AccessDenied"));
    let own = sts.get_session_token().duration_seconds(900).send().await.unwrap();
    assert!(own.credentials().unwrap().expiration().secs() > 0);
}

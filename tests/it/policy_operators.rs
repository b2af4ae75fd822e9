//! Every condition operator in every form, in a policy that is put over gRPC and then judged by on a real pull; in a
//! user's policy and in a repository's.

use crate::grpc::{channel, log_in, log_in_with, under};
use crate::harness::{Http, Region};
use crate::tenants::{allow, code, user};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tonic::transport::Channel;
use transship::identity::Kind;
use transship::names::PrincipalName;
use transship::pb::identity::PutPrincipalPolicyRequest;
use transship::pb::identity::identity_service_client::IdentityServiceClient;
use transship::pb::registry::SetRepositoryPolicyRequest;
use transship::pb::registry::registry_service_client::RegistryServiceClient;

/// What a pull was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Allowed,
    /// No statement allowed it.
    Missing,
    /// A statement denied it.
    Denied,
}

/// A user whose one policy changes, and who pulls `app:v1`.
struct Subject {
    admin: String,
    name: PrincipalName,
    http: Http,
    identity: IdentityServiceClient<Channel>,
    /// Every operator that was put, without its form.
    seen: BTreeSet<String>,
}

impl Subject {
    /// What the user is answered when the policy has these statements.
    async fn asks(&mut self, statements: &Value) -> Told {
        let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let parent = format!("accounts/{}/users/{}", self.name.account, self.name.name);
        let request = PutPrincipalPolicyRequest { parent, policy_id: "given".into(), document, ..Default::default() };
        self.identity.put_principal_policy(under(&self.admin, request)).await.unwrap();
        pull(&self.http, &self.name).await
    }

    /// An operator in an `Allow` and in a `Deny`.
    async fn finds(&mut self, operator: &str, key: &str, value: &str, expected: bool) {
        let base = operator.rsplit(':').next().unwrap();
        self.seen.insert(base.strip_suffix("IfExists").unwrap_or(base).to_owned());
        let statement = |effect: &str| json!({"Effect": effect, "Action": "ecr:BatchGetImage", "Resource": "*", "Condition": {operator: {key: [value]}}});
        let free = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
        let allowed = self.asks(&json!([statement("Allow")])).await;
        let denied = self.asks(&json!([free, statement("Deny")])).await;
        let wanted = if expected { (Told::Allowed, Told::Denied) } else { (Told::Missing, Told::Allowed) };
        assert_eq!((allowed, denied), wanted, "{operator} {key} {value}");
    }
}

/// What a pull of `app:v1` of the user's account is answered.
async fn pull(http: &Http, name: &PrincipalName) -> Told {
    let answer = http.get(&format!("/v2/{}/app/manifests/v1", name.account)).await;
    match answer.status.as_u16() {
        200 => Told::Allowed,
        403 if answer.text().contains("with an explicit deny in a") => Told::Denied,
        403 if code(&answer) == "DENIED" => Told::Missing,
        status => panic!("{status}: {}", answer.text()),
    }
}

/// The operators that the documents have, without `Null`.
fn documented() -> BTreeSet<String> {
    let text = std::fs::read_to_string(crate::source::root().join("docs/policies.md")).unwrap();
    let (_, rows) = text.split_once("| operators | compare |").unwrap();
    let rows = rows.lines().skip(2).take_while(|line| line.starts_with('|'));
    let first = rows.map(|row| row.split('|').nth(1).unwrap());
    let words = first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned);
    words.filter(|word| word != "Null").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_in_a_stored_policy_decides_as_its_name_says() {
    let region = Region::start().await;
    let (dev, app) = (region.account("dev"), region.app());
    region.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let name = user(&region, "dev", "eva", &allow(&["ecr:BatchGetImage"], "*")).await;
    let key = app.create_access_key(&region.admin("dev").await, name.clone()).await.unwrap();
    let bearer = log_in_with(&region, &key.id, key.secret.expose().clone()).await;
    let caller = app.caller_of_token(&bearer, Kind::ON_GRPC).await.unwrap();
    let transship::ctx::Caller::Principal(principal) = caller else { panic!("eva") };
    let issued = principal.session.as_ref().unwrap().issued_at;
    let (account, issued, second) = (dev.to_string(), issued.to_string(), (issued.secs() - 1).to_string());
    let (own, other) = (name.arn().to_string(), format!("arn:aws:iam::{account}:role/*"));
    let mut eva = Subject {
        admin: log_in(&region, "dev").await,
        name,
        http: Http::new(&region.base, Some(bearer)),
        identity: IdentityServiceClient::new(channel(&region).await),
        seen: BTreeSet::new(),
    };
    let [account, issued, second, own, other] = [&account, &issued, &second, &own, &other].map(String::as_str);
    let (who, number, when) = ("aws:username", "aws:PrincipalAccount", "aws:TokenIssueTime");
    let (long_ago, far_off, from) = ("2020-01-01", "2999-12-31T00:00:00Z", "aws:SourceIp");
    // An operator, a key of the request, and a value that makes it true and one that makes it false.
    let table = [
        ("StringEquals", who, "eva", "Eva"),
        ("StringNotEquals", who, "Eva", "eva"),
        ("StringEqualsIgnoreCase", who, "EVA", "evas"),
        ("StringNotEqualsIgnoreCase", who, "evas", "EVA"),
        ("StringLike", who, "e?*", "e?"),
        ("StringNotLike", who, "e?", "e?*"),
        ("NumericEquals", number, account, "1"),
        ("NumericNotEquals", number, "1", account),
        ("NumericLessThan", number, "1000000000000", account),
        ("NumericLessThanEquals", number, account, "1"),
        ("NumericGreaterThan", number, "1", account),
        ("NumericGreaterThanEquals", number, account, "1000000000000"),
        ("DateEquals", when, issued, long_ago),
        ("DateNotEquals", when, long_ago, issued),
        ("DateLessThan", when, far_off, issued),
        ("DateLessThanEquals", when, issued, second),
        ("DateGreaterThan", when, second, issued),
        ("DateGreaterThanEquals", "aws:EpochTime", "1577836800", far_off),
        ("Bool", "aws:SecureTransport", "false", "true"),
        ("BinaryEquals", who, "ZXZh", "RXZh"),
        ("IpAddress", from, "127.0.0.0/8", "203.0.114.0/24"),
        ("NotIpAddress", from, "2001:db8::/32", "127.0.0.1"),
        ("ArnEquals", "aws:PrincipalArn", own, other),
        ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:user/e*", other),
        ("ArnNotEquals", "aws:PrincipalArn", other, own),
        ("ArnNotLike", "aws:PrincipalArn", other, "arn:aws:iam::*:user/e*"),
    ];
    for (operator, key, yes, no) in table {
        // One value is a set of one, so a set operator decides as the operator alone.
        for prefix in ["", "ForAnyValue:", "ForAllValues:"] {
            for form in ["", "IfExists"] {
                eva.finds(&format!("{prefix}{operator}{form}"), key, yes, true).await;
                eva.finds(&format!("{prefix}{operator}{form}"), key, no, false).await;
            }
        }
        // Of a key that the request has not.
        let (missing, negated) = ("aws:SourceIdentity", operator.contains("Not"));
        for (written, expected) in [
            (operator.to_owned(), negated),
            (format!("{operator}IfExists"), true),
            (format!("ForAnyValue:{operator}"), false),
            (format!("ForAnyValue:{operator}IfExists"), true),
            (format!("ForAllValues:{operator}"), true),
            (format!("ForAllValues:{operator}IfExists"), true),
        ] {
            eva.finds(&written, missing, yes, expected).await;
        }
    }
    assert_eq!(eva.seen, documented(), "an operator is missing from this test, or from docs/policies.md");
    for (operator, key, value, expected) in [
        ("Null", "aws:SourceIdentity", "true", true),
        ("Null", "aws:SourceIdentity", "false", false),
        ("Null", who, "true", false),
        ("Null", who, "false", true),
        ("ForAnyValue:StringLike", "ecr:ImageTag", "v*", true),
        ("ForAnyValue:StringLike", "ecr:ImageTag", "dev-*", false),
        ("ForAllValues:StringEquals", "ecr:ImageTag", "v1", true),
        ("ForAllValues:StringEquals", "ecr:ImageTag", "v2", false),
        ("ForAllValues:StringNotLike", "ecr:ImageTag", "dev-*", true),
        ("ForAnyValue:StringNotLike", "ecr:ImageTag", "v*", false),
        // A key of many values needs a set operator, though it has one.
        ("StringEquals", "ecr:ImageTag", "v1", false),
        ("StringEquals", who, "${aws:username}", true),
        ("StringEquals", who, "${aws:SourceIdentity, 'eva'}", true),
        ("StringNotEquals", who, "${aws:SourceIdentity}", true),
    ] {
        eva.finds(operator, key, value, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_of_several_values_are_judged_whole_in_a_repositorys_policy() {
    let region = Region::start().await;
    let dev = region.account("dev");
    let http = region.http("dev").await;
    let image = http.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    http.push_image(&format!("{dev}/app"), "v2", &[b"layer"]).await;
    let foreign = user(&region, "prod", "eva", &allow(&["ecr:*"], "*")).await;
    let foreign = crate::tenants::http_of(&region, &foreign).await;
    let mut registry = RegistryServiceClient::new(channel(&region).await);
    let admin = log_in(&region, "dev").await;
    // The image has both tags; it is pulled by digest, so all of them are asked about.
    for (operator, values, expected) in [
        ("ForAnyValue:StringEquals", &["v1"][..], 200),
        ("ForAnyValue:StringEquals", &["v3"], 403),
        ("ForAllValues:StringEquals", &["v1"], 403),
        ("ForAllValues:StringEquals", &["v1", "v2"], 200),
        ("ForAnyValue:StringNotEquals", &["v1"], 200),
        ("ForAnyValue:StringNotEquals", &["v1", "v2"], 403),
        ("ForAllValues:StringNotEquals", &["v1"], 403),
        ("ForAllValues:StringNotEquals", &["v3"], 200),
        ("ForAnyValue:StringLike", &["*2"], 200),
        ("ForAllValues:StringLike", &["*2"], 403),
        ("ForAllValues:StringLike", &["v?"], 200),
        ("ForAnyValue:StringEqualsIgnoreCase", &["V2"], 200),
        ("ForAllValues:StringNotLike", &["*2"], 403),
        ("StringEquals", &["v1", "v2"], 403),
        ("StringNotEquals", &["v3"], 403),
        ("Null", &["false"], 200),
        ("Null", &["true"], 403),
    ] {
        let policy = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow",
            "Principal": {"AWS": region.account("prod").to_string()}, "Action": "ecr:BatchGetImage",
            "Condition": {operator: {"ecr:ImageTag": values}}}})
        .to_string();
        let name = format!("accounts/{dev}/repositories/app");
        let request = SetRepositoryPolicyRequest { name, policy, ..Default::default() };
        registry.set_repository_policy(under(&admin, request)).await.unwrap();
        let status = foreign.get(&format!("/v2/{dev}/app/manifests/{image}")).await.status.as_u16();
        assert_eq!(status, expected, "{operator} {values:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_other_services_may_stand_where_other_services_are_spoken_of() {
    let region = Region::start().await;
    let name = user(&region, "dev", "eva", &allow(&["ecr:BatchGetImage"], "*")).await;
    let (admin, app) = (region.admin("dev").await, region.app());
    let policy = |action: &str| {
        let condition = json!({"StringEquals": {"s3:prefix": "${aws:PrincipalTag/team}"}});
        json!({"Version": "2012-10-17", "Statement":
            {"Effect": "Allow", "Action": action, "Resource": "*", "Condition": condition}})
        .to_string()
    };
    app.put_principal_policy(&admin, name.clone(), "given", &policy("s3:ListBucket")).await.unwrap();
    for ours in ["ecr:PutImage", "*", "transship:*"] {
        let told = app.put_principal_policy(&admin, name.clone(), "given", &policy(ours)).await.unwrap_err();
        assert!(told.message.contains("\"s3:prefix\" is not supported"), "{ours}: {told}");
    }
}

//! Every condition operator, in a policy that is stored and then judged by: the server's own context, a user's policy,
//! the answer to a pull.

use crate::harness::Region;
use crate::tenants::{allow, repository, user};
use serde_json::{Value, json};
use transship::authz::eval::Outcome;
use transship::ctx::Ctx;
use transship::domain::repositories::NewRepositorySettings;
use transship::names::{PrincipalName, Tag};

/// A user whose one policy changes, and who asks to pull `app:v1`.
struct Subject<'r> {
    region: &'r Region,
    admin: Ctx,
    name: PrincipalName,
}

impl Subject<'_> {
    /// What the user is answered when the policy has these statements.
    async fn asks(&self, statements: &Value) -> Outcome {
        let (app, arn) = (self.region.app(), self.name.arn());
        let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        app.put_principal_policy(&self.admin, self.name.clone(), "given", &policy).await.unwrap();
        let (address, tag) = (repository(self.region, "dev", "app"), Tag::parse("v1").unwrap());
        app.explain_access(&self.admin, &arn, "pull", &address, Some(tag)).await.unwrap().outcome
    }

    /// An operator in an `Allow` and in a `Deny`.
    async fn finds(&self, operator: &str, key: &str, value: &str, expected: bool) {
        let statement = |effect: &str| json!({"Effect": effect, "Action": "ecr:BatchGetImage", "Resource": "*", "Condition": {operator: {key: [value]}}});
        let free = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
        let allowed = self.asks(&json!([statement("Allow")])).await;
        let denied = self.asks(&json!([free, statement("Deny")])).await;
        let wanted =
            if expected { (Outcome::Allow, Outcome::ExplicitDeny) } else { (Outcome::ImplicitDeny, Outcome::Allow) };
        assert_eq!((allowed, denied), wanted, "{operator} {key} {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_in_a_stored_policy_decides_as_its_name_says() {
    let region = Region::start().await;
    let name = user(&region, "dev", "eva", &allow(&["ecr:BatchGetImage"], "*")).await;
    let mut admin = region.admin("dev").await;
    region
        .app()
        .create_repository(&admin, &repository(&region, "dev", "app"), NewRepositorySettings::default())
        .await
        .unwrap();
    admin.source_ip = Some("203.0.113.7".parse().unwrap());
    let (account, now) = (region.account("dev").to_string(), admin.now.to_string());
    let (own, other) = (name.arn().to_string(), format!("arn:aws:iam::{account}:role/*"));
    let eva = Subject { region: &region, admin, name };
    let [account, now, own, other] = [&account, &now, &own, &other].map(String::as_str);
    let (who, number, when) = ("aws:username", "aws:PrincipalAccount", "aws:CurrentTime");
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
        ("DateEquals", when, now, long_ago),
        ("DateNotEquals", when, long_ago, now),
        ("DateLessThan", when, far_off, now),
        ("DateLessThanEquals", when, now, long_ago),
        ("DateGreaterThan", when, long_ago, now),
        ("DateGreaterThanEquals", "aws:EpochTime", "1577836800", far_off),
        ("Bool", "aws:PrincipalIsAWSService", "false", "true"),
        ("BinaryEquals", who, "ZXZh", "RXZh"),
        ("IpAddress", from, "203.0.113.0/24", "203.0.114.0/24"),
        ("NotIpAddress", from, "2001:db8::/32", "203.0.113.7"),
        ("ArnEquals", "aws:PrincipalArn", own, other),
        ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:user/e*", other),
        ("ArnNotEquals", "aws:PrincipalArn", other, own),
        ("ArnNotLike", "aws:PrincipalArn", other, "arn:aws:iam::*:user/e*"),
    ];
    for (operator, key, yes, no) in table {
        eva.finds(operator, key, yes, true).await;
        eva.finds(operator, key, no, false).await;
        eva.finds(&format!("{operator}IfExists"), key, no, false).await;
    }
    for (operator, key, value, expected) in [
        ("Null", "aws:SourceIdentity", "true", true),
        ("Null", "aws:SourceIdentity", "false", false),
        ("StringEquals", "aws:SourceIdentity", "x", false),
        ("StringEqualsIfExists", "aws:SourceIdentity", "x", true),
        ("ForAnyValue:StringLike", "ecr:ImageTag", "v*", true),
        ("ForAnyValue:StringLike", "ecr:ImageTag", "dev-*", false),
        ("ForAllValues:StringEquals", "ecr:ImageTag", "v1", true),
        ("ForAllValues:StringEquals", "ecr:ImageTag", "v2", false),
        ("StringEquals", "ecr:ImageTag", "v1", false),
        ("StringEquals", who, "${aws:username}", true),
        ("StringEquals", who, "${aws:SourceIdentity, 'eva'}", true),
        ("StringNotEquals", who, "${aws:SourceIdentity}", true),
    ] {
        eva.finds(operator, key, value, expected).await;
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

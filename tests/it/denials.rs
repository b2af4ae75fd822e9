//! Sealed messages of refusals: what each account may read of one.

use crate::aws::{Call, Key};
use crate::harness::Region;
use crate::tenants::{self, allow, asking, now, repository, trust};
use serde_json::Value;
use std::time::Duration;
use tonic_types::StatusExt;
use transship::ctx::Ctx;
use transship::error::{Error, Reason};
use transship::names::{AccountId, PrincipalKind, PrincipalName};
use transship::pb::trust as pb;
use transship::pb::trust::trust_service_client::TrustServiceClient;
use transship::secret::Secret;

/// The message of what dev is refused on a repository of prod's.
pub async fn message(region: &Region, ctx: &Ctx) -> String {
    let address = repository(region, "prod", "sealed");
    let refused = region.app().get_repository(ctx, &address).await.map(drop).unwrap_err();
    region.app().with_message(ctx, refused).metadata["encoded_message"].clone()
}

async fn decoded(region: &Region, ctx: &Ctx, message: &str) -> Result<Value, Error> {
    let text = region.app().decode_message(&now(region, ctx), message).await?;
    Ok(serde_json::from_str(&text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_read_by_the_two_accounts_it_concerns_and_the_ground_by_its_owner() {
    let region = Region::start().await;
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    let (caller, owner) = (region.admin("dev").await, region.admin("prod").await);
    let message = message(&region, &caller).await;
    let own = decoded(&region, &caller, &message).await.unwrap();
    assert_eq!((&own["allowed"], &own["explicitDeny"]), (&Value::Bool(false), &Value::Bool(false)));
    assert_eq!(own["context"]["principal"]["arn"], format!("arn:aws:iam::{dev}:user/admin"));
    assert_eq!(own["context"]["action"], "ecr:DescribeRepositories");
    assert_eq!(own["context"]["resource"], format!("arn:aws:ecr:us-east-1:{prod}:repository/sealed"));
    let keys: Vec<&str> = own["context"]["conditions"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["key"].as_str().unwrap())
        .collect();
    assert!(keys.contains(&"aws:username") && keys.contains(&"aws:currenttime"), "{keys:?}");
    assert!(own.get("ground").is_none(), "{own}");
    let theirs = decoded(&region, &owner, &message).await.unwrap();
    assert_eq!(theirs["ground"], "no resource policy allows it");
    assert_eq!(theirs["context"], own["context"]);

    // A third account, a caller without leave, another time, another text.
    let third = AccountId::parse("000000000003").unwrap();
    region.app().create_account(&caller, "third", Some(third)).await.unwrap();
    let name = PrincipalName { account: third, kind: PrincipalKind::User, name: "admin".into() };
    let stranger = region.caller(name).await;
    let invalid = |told: Result<Value, Error>| {
        let error = told.unwrap_err();
        (error.reason, error.message.clone()) == (Reason::InvalidArgument, "Message is not valid".to_owned())
    };
    assert!(invalid(decoded(&region, &stranger, &message).await));
    assert!(invalid(decoded(&region, &caller, "tm1.AAAA").await));
    let other = Region::start().await;
    assert!(invalid(decoded(&other, &other.admin("dev").await, &message).await), "another organization's");
    let idle = tenants::user(&region, "dev", "idle", &allow(&["ecr:*"], "*")).await;
    let refused = decoded(&region, &region.caller(idle).await, &message).await.unwrap_err();
    assert_eq!(refused.reason, Reason::AccessDenied);
    region.app().clock().advance(Duration::from_secs(24 * 3_600 + 1));
    assert!(invalid(decoded(&region, &caller, &message).await), "a day later");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_resource_denies_its_account_reads_and_what_the_caller_lacks_the_callers() {
    let region = Region::start().await;
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    let (caller, owner) = (region.admin("dev").await, region.admin("prod").await);
    region.http("prod").await.push_image(&format!("{prod}/sealed"), "v1", &[b"layer"]).await;
    let deny = serde_json::json!({"Version": "2012-10-17", "Statement": {"Sid": "NotDev", "Effect": "Deny",
        "Principal": {"AWS": dev.as_str()}, "Action": "ecr:DescribeRepositories"}})
    .to_string();
    region.app().set_repository_policy(&owner, &repository(&region, "prod", "sealed"), &deny, false).await.unwrap();
    let there = message(&region, &caller).await;
    let absent = repository(&region, "prod", "absent");
    let refused = region.app().get_repository(&caller, &absent).await.map(drop).unwrap_err();
    let absent = region.app().with_message(&caller, refused).metadata["encoded_message"].clone();
    let told = async |message: &str| {
        let mut told = decoded(&region, &caller, message).await.unwrap();
        told["context"]["conditions"].take();
        told.to_string().replace("absent", "sealed")
    };
    assert_eq!(told(&there).await, told(&absent).await, "the caller's account learns no policy of prod's");
    let theirs = decoded(&region, &owner, &there).await.unwrap();
    assert_eq!(theirs["explicitDeny"], true);
    assert!(theirs["ground"].as_str().unwrap().contains("(NotDev)"), "{theirs}");
    // The other way round: a policy of dev's own is dev's to read.
    region.app().delete_repository_policy(&owner, &repository(&region, "prod", "sealed")).await.unwrap();
    let own = serde_json::json!({"Version": "2012-10-17", "Statement": {"Sid": "NoProd", "Effect": "Deny",
        "Action": "ecr:DescribeRepositories", "Resource": "*"}});
    let ann = tenants::user(&region, "dev", "ann", &own.to_string()).await;
    let message = message(&region, &region.caller(ann).await).await;
    assert!(decoded(&region, &owner, &message).await.unwrap().get("ground").is_none());
    let ours = decoded(&region, &caller, &message).await.unwrap();
    assert!(ours["ground"].as_str().unwrap().contains("(NoProd)"), "{ours}");
    assert_eq!(ours["explicitDeny"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_does_not_tell_by_its_size_what_is_there() {
    let region = Region::start().await;
    let nobody = trust(&format!("arn:aws:iam::{}:user/admin", region.account("dev")), None);
    let role = tenants::role(&region, "prod", "runner", &nobody, &allow(&["*"], "*")).await;
    let mut absent = asking(&role);
    absent.role.name = "absent".into();
    let user = tenants::user(&region, "dev", "ann", &allow(&["*"], "*")).await;
    let ctx = region.caller(user).await;
    let mut sizes = Vec::new();
    for request in [asking(&role), absent] {
        let refused = region.app().assume_role(&ctx, request).await.map(drop).unwrap_err();
        sizes.push(region.app().with_message(&ctx, refused).metadata["encoded_message"].len());
    }
    assert_eq!(sizes[0], sizes[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_over_grpc_carries_its_message_whole_and_stock_clients_of_sts_read_it() {
    let region = Region::start().await;
    let prod = region.account("prod");
    let token = crate::grpc::log_in(&region, "dev").await;
    let mut trust = TrustServiceClient::new(crate::grpc::channel(&region).await);
    let asked = pb::ListSessionsRequest { parent: format!("accounts/{prod}"), ..Default::default() };
    let refused = trust.list_sessions(crate::grpc::under(&token, asked)).await.unwrap_err();
    let details = refused.get_error_details();
    let message = details.error_info().unwrap().metadata["encoded_message"].clone();
    let request = pb::DecodeAuthorizationMessageRequest { encoded_message: message.clone() };
    let answer = trust.decode_authorization_message(crate::grpc::under(&token, request)).await.unwrap().into_inner();
    assert!(answer.decoded_message.contains("transship:ListSessions"), "{}", answer.decoded_message);
    let (id, secret) = region.access_key("dev");
    let key = Key { id, secret: Secret::new(secret), token: None };
    let call = |message: &str| Call {
        service: "sts",
        operation: "DecodeAuthorizationMessage",
        body: format!("Action=DecodeAuthorizationMessage&Version=2011-06-15&EncodedMessage={message}"),
    };
    let told = call(&message).to(&region, Some(&key)).await;
    assert!(
        told.text().contains("<DecodedMessage>{") && told.text().contains("transship:ListSessions"),
        "{}",
        told.text()
    );
    let told = call("nonsense").to(&region, Some(&key)).await;
    assert!(told.text().contains("<Code>InvalidAuthorizationMessageException</Code>"), "{}", told.text());
    assert_eq!(told.status, 400);
}

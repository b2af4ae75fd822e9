//! Proofs of identity: whoever has one is let in about itself, whoever has none is not, and the audit has both.

use crate::audit::rows;
use crate::grpc::{channel, log_in_with, under};
use crate::harness::{Region, eventually};
use crate::tenants::{self, books};
use std::time::Duration;
use tonic::Code;
use transship::identity::{Endpoint, sign};
use transship::pb::trust::trust_service_client::TrustServiceClient;
use transship::pb::trust::{ExchangeTokenRequest, GetCallerIdentityRequest};
use transship::secret::Secret;

/// A proof for a region, signed at a moment.
fn proof(region: &Region, credentials: &sign::Credentials<'_>, at: transship::clock::Timestamp) -> String {
    let (app, endpoint) = (region.app(), Endpoint::parse(&region.base).unwrap());
    let organization = app.token_keys().unwrap().organization();
    let (name, lasting, nonce) = (app.settings().region.clone(), Duration::from_secs(60), app.clock().uid());
    sign::presign_get_caller_identity(&endpoint, &name, credentials, at, lasting, organization, Some(nonce))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_is_not_believed_is_refused_and_audited_under_the_key_it_claims() {
    let region = Region::start().await;
    let (id, secret) = region.access_key("dev");
    let (secret, wrong) = (Secret::new(secret), Secret::new("0".repeat(40)));
    let credentials = sign::Credentials { access_key_id: &id, secret: &secret, session_token: None };
    let now = region.app().clock().now();
    let elsewhere = Region::start().await;
    let (stranger, strange) = (elsewhere.access_key("dev").0, Secret::new(elsewhere.access_key("dev").1));
    let strange = sign::Credentials { access_key_id: &stranger, secret: &strange, session_token: None };
    let early = transship::clock::Timestamp::from_secs(now.secs() - 3_600);
    let good = proof(&region, &credentials, now);
    let confused = sign::Credentials { access_key_id: secret.expose(), secret: &secret, session_token: None };
    let unproven = format!("unproven:{id}");
    let refused = [
        ("nothing", String::new(), "anonymous".to_owned()),
        ("no URL", "hello".to_owned(), "unproven".to_owned()),
        ("a stranger's key", proof(&region, &strange, now), format!("unproven:{stranger}")),
        ("a wrong secret", proof(&region, &sign::Credentials { secret: &wrong, ..credentials }, now), unproven.clone()),
        ("an old proof", proof(&region, &credentials, early), unproven.clone()),
        ("a tampered proof", good.replace("Expires=60", "Expires=61"), unproven.clone()),
        ("a proof for elsewhere", good.replace(&region.base, &elsewhere.base), unproven),
        ("a secret in the place of the id", proof(&region, &confused, now), "unproven".to_owned()),
    ];
    let before = books(&region);
    let mut client = TrustServiceClient::new(channel(&region).await);
    for (what, presigned_url, caller) in refused {
        let known = rows(&region, "ExchangeToken", &caller).len();
        let status = client.exchange_token(ExchangeTokenRequest { presigned_url }).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{what}");
        let row = eventually(what, async || rows(&region, "ExchangeToken", &caller).into_iter().nth(known)).await;
        assert_eq!((row.outcome.as_str(), row.account.as_deref()), ("denied", None), "{what}");
        assert!(!format!("{row:?}").contains(secret.expose().as_str()), "{what}: {row:?}");
    }
    before.unchanged(&books(&region), "who was not believed");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_proves_its_identity_is_told_it_whatever_policies_say_and_audited() {
    let region = Region::start().await;
    let (admin, prod) = (region.admin("prod").await, region.account("prod"));
    let deny = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;
    let name = tenants::user(&region, "prod", "barred", deny).await;
    let arn = name.arn().to_string();
    let key = region.app().create_access_key(&admin, name.clone()).await.unwrap();
    let token = log_in_with(&region, &key.id, key.secret.expose().clone()).await;
    let mut client = TrustServiceClient::new(channel(&region).await);
    let me = client.get_caller_identity(under(&token, GetCallerIdentityRequest {})).await.unwrap().into_inner();
    assert_eq!((me.arn.as_str(), me.account.as_str()), (arn.as_str(), prod.as_str()));
    for op in ["ExchangeToken", "GetCallerIdentity"] {
        let row = eventually(op, async || rows(&region, op, &arn).into_iter().next()).await;
        assert_eq!((row.outcome.as_str(), row.account.as_deref()), ("allowed", Some(prod.as_str())), "{op}");
    }
    // Nor does it go on once there is nobody to be identified.
    region.app().delete_principal(&admin, name).await.unwrap();
    let refused = client.get_caller_identity(under(&token, GetCallerIdentityRequest {})).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let denied = async || rows(&region, "GetCallerIdentity", &arn).into_iter().find(|row| row.outcome == "denied");
    eventually("the refusal of who is gone", denied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_proves_nothing() {
    let region = Region::start().await;
    let admin = region.admin("dev").await;
    let me = format!("arn:aws:iam::{}:user/admin", region.account("dev"));
    let role = tenants::role(&region, "dev", "builder", &tenants::trust(&me, None), &tenants::allow(&["*"], "*")).await;
    let request = tenants::asking(&role);
    let assumed = region.app().assume_role(&admin, request).await.unwrap();
    region.app().clock().advance(Duration::from_secs(2 * 3_600));
    let credentials = sign::Credentials {
        access_key_id: &assumed.credentials.access_key_id,
        secret: &assumed.credentials.secret,
        session_token: Some(&assumed.credentials.session_token),
    };
    let presigned_url = proof(&region, &credentials, region.app().clock().now());
    let mut client = TrustServiceClient::new(channel(&region).await);
    let status = client.exchange_token(ExchangeTokenRequest { presigned_url }).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let caller = format!("unproven:{}", assumed.credentials.access_key_id);
    let row = eventually("its row", async || rows(&region, "ExchangeToken", &caller).into_iter().next()).await;
    assert!(row.detail.contains("expired"), "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_service_of_the_registry_is_audited_as_the_exchange_it_is() {
    let region = Region::start().await;
    let (http, dev) = (region.http("dev").await, region.account("dev"));
    let me = format!("arn:aws:iam::{dev}:user/admin");
    assert_eq!(http.get(&format!("/token?scope=repository:{dev}/app:pull")).await.status, 200);
    assert_eq!(http.get("/v2/").await.status, 200);
    for op in ["ExchangeToken", "GetCallerIdentity"] {
        let row = eventually(op, async || rows(&region, op, &me).into_iter().next()).await;
        assert_eq!(row.outcome, "allowed", "{op}");
    }
    let guess = crate::harness::Http::new(&region.base, Some("guess".to_owned()));
    assert_eq!(guess.get("/token").await.status, 401);
    let row = eventually("the guess", async || rows(&region, "ExchangeToken", "unproven").into_iter().next()).await;
    assert_eq!(row.outcome, "denied");
    assert!(!format!("{row:?}").contains("guess"), "{row:?}");
}

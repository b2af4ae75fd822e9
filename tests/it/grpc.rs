//! The gRPC surface as a client meets it: a proof, a token, and what it opens.

use crate::harness::Region;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_types::StatusExt;
use transship::identity::{Endpoint, sign};
use transship::names::{Region as RegionName, Uid};
use transship::pb::sharing::sharing_service_client::SharingServiceClient;
use transship::pb::trust::trust_service_client::TrustServiceClient;
use transship::pb::{sharing, trust};
use transship::secret::Secret;

/// A bearer token for an account's admin, by the whole handshake.
pub async fn log_in(region: &Region, account: &str) -> String {
    let (id, secret) = region.access_key(account);
    log_in_with(region, &id, secret).await
}

/// A bearer token for the holder of an access key.
pub async fn log_in_with(region: &Region, id: &str, secret: String) -> String {
    let mut client = TrustServiceClient::new(channel(region).await);
    let refused = client.exchange_token(trust::ExchangeTokenRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let details = refused.get_error_details();
    let told = &details.error_info().unwrap().metadata;
    let secret = Secret::new(secret);
    let credentials = sign::Credentials { access_key_id: id, secret: &secret, session_token: None };
    let presigned_url = sign::presign_get_caller_identity(
        &Endpoint::parse(&region.base).unwrap(),
        &RegionName::parse(&told["region"]).unwrap(),
        &credentials,
        region.app().clock().now(),
        Duration::from_secs(60),
        Uid::parse(&told["organization"]).unwrap(),
        transship::clock::Clock::system().uid(),
    );
    let request = trust::ExchangeTokenRequest { presigned_url };
    let token = client.exchange_token(request.clone()).await.unwrap().into_inner();
    let replayed = client.exchange_token(request).await.unwrap_err();
    assert_eq!(replayed.code(), Code::Unauthenticated, "a proof is accepted once");
    token.token
}

pub async fn channel(region: &Region) -> Channel {
    Channel::from_shared(region.base.clone()).unwrap().connect().await.unwrap()
}

/// A request under a token.
pub fn under<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_becomes_a_token_and_the_token_a_grant() {
    let region = Region::start().await;
    let token = log_in(&region, "dev").await;
    let mut trust = TrustServiceClient::new(channel(&region).await);
    let me = trust.get_caller_identity(under(&token, trust::GetCallerIdentityRequest {})).await.unwrap().into_inner();
    assert_eq!(me.account, region.account("dev").to_string());
    assert!(me.arn.ends_with(":user/admin"), "{}", me.arn);
    let mut sharing = SharingServiceClient::new(channel(&region).await);
    let request_id = region.app().clock().uid().to_string();
    let create = sharing::CreateGrantRequest {
        parent: format!("accounts/{}", region.account("dev")),
        grant: Some(sharing::Grant {
            grantee: region.account("prod").to_string(),
            repository_pattern: "team/*".to_owned(),
            tag_pattern: "v*".to_owned(),
            actions: vec![sharing::GrantAction::Pull.into()],
            ..sharing::Grant::default()
        }),
        request_id,
        validate_only: false,
    };
    let first = sharing.create_grant(under(&token, create.clone())).await.unwrap().into_inner().grant.unwrap();
    let again = sharing.create_grant(under(&token, create.clone())).await.unwrap().into_inner().grant.unwrap();
    assert_eq!(first.name, again.name, "a repeated call answers as the first");
    let dry = sharing::CreateGrantRequest { validate_only: true, request_id: String::new(), ..create };
    sharing.create_grant(under(&token, dry)).await.unwrap();
    let list =
        sharing::ListGrantsRequest { parent: format!("accounts/{}", region.account("dev")), ..Default::default() };
    let grants = sharing.list_grants(under(&token, list)).await.unwrap().into_inner().grants;
    assert_eq!(grants.len(), 1, "a dry run makes nothing");
    let stale = sharing::RevokeGrantRequest { name: first.name.clone(), etag: "7".to_owned(), ..Default::default() };
    assert_eq!(sharing.revoke_grant(under(&token, stale)).await.unwrap_err().code(), Code::Aborted);
    let revoke = sharing::RevokeGrantRequest { name: first.name, etag: first.etag, ..Default::default() };
    let revoked = sharing.revoke_grant(under(&token, revoke)).await.unwrap().into_inner().grant.unwrap();
    assert_eq!(revoked.state(), sharing::grant::State::Revoked);
}

//! The gRPC surface as a client meets it: a proof, a token, and what it opens.

use crate::harness::Region;
use prost::Message;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use transship::clock::Timestamp;
use transship::identity::{Endpoint, sign};
use transship::names::{Region as RegionName, Uid};
use transship::pb::registry as pb;
use transship::pb::registry::registry_service_client::RegistryServiceClient;
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
    log_in_at(&region.base, region.app().clock().now(), id, secret).await
}

/// The same at an address, by a moment.
pub async fn log_in_at(base: &str, now: Timestamp, id: &str, secret: String) -> String {
    let mut client = TrustServiceClient::new(channel_to(base).await);
    let refused = client.exchange_token(trust::ExchangeTokenRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let details = refused.get_error_details();
    let told = &details.error_info().unwrap().metadata;
    let secret = Secret::new(secret);
    let credentials = sign::Credentials { access_key_id: id, secret: &secret, session_token: None };
    let presigned_url = sign::presign_get_caller_identity(
        &Endpoint::parse(base).unwrap(),
        &RegionName::parse(&told["region"]).unwrap(),
        &credentials,
        now,
        Duration::from_secs(60),
        Uid::parse(&told["organization"]).unwrap(),
        Some(transship::clock::Clock::system().uid()),
    );
    let request = trust::ExchangeTokenRequest { presigned_url };
    let token = client.exchange_token(request.clone()).await.unwrap().into_inner();
    let replayed = client.exchange_token(request).await.unwrap_err();
    assert_eq!(replayed.code(), Code::Unauthenticated, "a proof is accepted once");
    token.token
}

pub async fn channel(region: &Region) -> Channel {
    channel_to(&region.base).await
}

pub async fn channel_to(base: &str) -> Channel {
    Channel::from_shared(base.to_owned()).unwrap().connect().await.unwrap()
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

/// The body of a call, in the framing of gRPC.
fn framed(message: &impl prost::Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    [&[0][..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), &bytes].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_says_which_field_was_wrong_in_few_words_and_under_which_id() {
    let region = Region::start().await;
    let (token, dev) = (log_in(&region, "dev").await, region.account("dev"));
    let mut registry = RegistryServiceClient::new(channel(&region).await);
    let long = pb::GetRepositoryRequest { name: "x".repeat(1 << 20) };
    let create = |parent: &str, id: &str| pb::CreateRepositoryRequest {
        parent: parent.to_owned(),
        repository_id: id.to_owned(),
        ..Default::default()
    };
    let parent = format!("accounts/{dev}");
    let grant = sharing::CreateGrantRequest {
        parent: parent.clone(),
        grant: Some(sharing::Grant {
            grantee: region.account("prod").to_string(),
            repository_pattern: "app".to_owned(),
            tag_pattern: "*".to_owned(),
            actions: vec![sharing::GrantAction::Pull.into()],
            expire_time: Some(prost_types::Timestamp { seconds: 253_402_300_800, nanos: 0 }),
            ..sharing::Grant::default()
        }),
        ..Default::default()
    };
    let policy = pb::SetRepositoryPolicyRequest {
        name: format!("{parent}/repositories/app"),
        policy: "{".to_owned(),
        ..Default::default()
    };
    region.http("dev").await.push_blob(&format!("{dev}/app"), b"layer").await;
    let mut sharing = SharingServiceClient::new(channel(&region).await);
    let wrong = [
        ("name", registry.get_repository(under(&token, long)).await.unwrap_err()),
        ("parent", registry.create_repository(under(&token, create("accounts/1", "app"))).await.unwrap_err()),
        ("repository_id", registry.create_repository(under(&token, create(&parent, "APP"))).await.unwrap_err()),
        ("grant.expire_time", sharing.create_grant(under(&token, grant)).await.unwrap_err()),
        ("policy", registry.set_repository_policy(under(&token, policy)).await.unwrap_err()),
    ];
    for (field, status) in wrong {
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field);
        assert!(status.message().len() < 400, "{}", status.message());
        let told = details.error_info().unwrap().metadata["request_id"].clone();
        assert_eq!(status.metadata().get("x-request-id").unwrap().to_str().unwrap(), told);
    }
    let missing = pb::GetRepositoryRequest { name: format!("{parent}/repositories/none") };
    let status = registry.get_repository(under(&token, missing)).await.unwrap_err();
    let details = status.get_error_details();
    let resource = details.resource_info().unwrap();
    assert_eq!((resource.resource_type.as_str(), resource.resource_name.as_str()), ("repository", "none"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_that_is_served_is_healthy_and_what_is_not_has_an_id_all_the_same() {
    let region = Region::start().await;
    let mut health = HealthClient::new(channel(&region).await);
    let set = prost_types::FileDescriptorSet::decode(transship::pb::DESCRIPTORS).unwrap();
    let names = set
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(move |service| format!("{}.{}", file.package(), service.name())));
    for service in names.chain([String::new()]) {
        let answer = health.check(HealthCheckRequest { service: service.clone() }).await;
        match answer {
            Ok(answer) => assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{service:?}"),
            // Served to peers, on a port of their own.
            Err(status) => {
                assert_eq!(
                    (status.code(), service.ends_with(".TransportService")),
                    (Code::NotFound, true),
                    "{service}"
                );
            }
        }
    }
    let mut client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new());
    let client: hyper_util::client::legacy::Client<_, http_body_util::Full<bytes::Bytes>> =
        client.http2_only(true).build_http();
    let body = http_body_util::Full::from(framed(&HealthCheckRequest::default()));
    let request = http::Request::post(format!("{}/transship.none.v1.None/None", region.base));
    let request = request.header("content-type", "application/grpc").body(body).unwrap();
    let answer = client.request(request).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], (Code::Unimplemented as i32).to_string());
    assert!(Uid::parse(answer.headers()["x-request-id"].to_str().unwrap()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_may_be_written_with_a_slash_at_its_end() {
    let region = Region::configured("endpoint = \"http://registry.example/\"").await;
    let (token, dev) = (log_in(&region, "dev").await, region.account("dev"));
    region.http("dev").await.push_blob(&format!("{dev}/app"), b"layer").await;
    let mut registry = RegistryServiceClient::new(channel(&region).await);
    let request = pb::GetRepositoryRequest { name: format!("accounts/{dev}/repositories/app") };
    let found = registry.get_repository(under(&token, request)).await.unwrap().into_inner().repository.unwrap();
    assert_eq!(found.uri, format!("registry.example/{dev}/app"));
}

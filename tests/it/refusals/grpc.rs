//! Every method of every service of the contract, on things of dev's, over gRPC without a client of its own.

use super::{Callers, Section, walk};
use crate::harness::Region;
use crate::tenants::{self, allow, grant, repository, trust};
use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use transship::domain::replication::rules::NewRule;
use transship::names::{PrincipalKind, PrincipalName, Region as RegionName, UserName};
use transship::pb::{identity, keys, registry, replication, sharing, storage, trust as trusting};
use transship::store::grants::GrantAction;
use transship::store::rules::Destination;

/// Every method of every service of the contract, as paths.
fn methods() -> BTreeSet<String> {
    let set = prost_types::FileDescriptorSet::decode(transship::pb::DESCRIPTORS).unwrap();
    let mut methods = BTreeSet::new();
    for file in set.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package().strip_prefix("transship.").unwrap(), service.name());
            methods.extend(service.method.iter().map(|method| format!("{name}/{}", method.name())));
        }
    }
    methods
}

/// A gRPC caller that knows no types, so that it can call whatever there is.
struct Raw {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Raw {
    fn new(region: &Region) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
        Self { client, base: region.base.clone() }
    }

    async fn call(&self, method: &str, token: Option<&str>, message: &[u8]) -> Status {
        // SPEC: gRPC over HTTP/2, "Length-Prefixed-Message": no compression, four bytes of length.
        let mut body = BytesMut::from(&[0][..]);
        body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend_from_slice(message);
        let mut request = Request::post(format!("{}{method}", self.base)).header("content-type", "application/grpc");
        request = request.header("te", "trailers");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = self.client.request(request.body(Full::new(body.freeze())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let collected = tokio::time::timeout(Duration::from_secs(10), body.collect()).await.expect("the call ends");
        let trailers = collected.unwrap().trailers().cloned().unwrap_or_default();
        let status = Status::from_header_map(&trailers).or_else(|| Status::from_header_map(&parts.headers));
        status.expect("every call has a status")
    }
}

/// A call of a method, on dev's things.
struct GrpcCall {
    method: &'static str,
    message: Vec<u8>,
}

/// What exists in dev's account for the calls to be about.
struct Things {
    dev: String,
    prod: String,
    key_id: String,
    key_name: String,
    grant: String,
    rule: String,
    session: String,
    message: String,
    /// Two codes of a device of the user without keys, `phone`.
    codes: (String, String),
    /// Where the broker takes roles of AWS.
    _aws: crate::aws_roles::Aws,
}

async fn things(region: &Region) -> Things {
    let (app, dev) = (region.app(), region.account("dev"));
    let admin = region.admin("dev").await;
    let http = region.http("dev").await;
    http.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    http.push_image(&format!("{dev}/victim"), "v1", &[b"layer"]).await;
    let me = format!("arn:aws:iam::{dev}:user/admin");
    let own = serde_json::json!({"Version": "2012-10-17", "Statement":
        {"Effect": "Allow", "Principal": {"AWS": me}, "Action": "ecr:BatchGetImage", "Resource": "*"}})
    .to_string();
    app.set_repository_policy(&admin, &repository(region, "dev", "app"), &own, false).await.unwrap();
    app.put_registry_policy(&admin, dev, &own, false).await.unwrap();
    let role = tenants::role(region, "dev", "builder", &trust(&me, None), &allow(&["ecr:*"], "*")).await;
    tenants::role(region, "dev", "victim", &trust(&me, None), &allow(&["ecr:*"], "*")).await;
    let victim = tenants::user(region, "dev", "victim", &allow(&["ecr:*"], "*")).await;
    app.create_user(&admin, dev, &UserName::parse("keyless").unwrap()).await.unwrap();
    let keyless = PrincipalName { account: dev, kind: PrincipalKind::User, name: "keyless".into() };
    let phone = crate::mfa::Device::made(region, &admin, &keyless, "phone").await;
    let aws = crate::aws_roles::Aws::of(region).await;
    aws.registered(region, "logs").await;
    let key_id = app.create_access_key(&admin, victim).await.unwrap().id;
    let key = app.create_key(&admin, dev, "a key of its own").await.unwrap();
    let given = app.create_grant(&admin, dev, grant(dev.as_str(), "app", "v*", &[GrantAction::Pull])).await.unwrap();
    let destination = Destination { region: RegionName::parse("eu-west-1").unwrap(), account: region.account("prod") };
    let rule =
        NewRule { repository_prefix: String::new(), tag_pattern: String::new(), destinations: vec![destination] };
    let rule = app.create_rule(&admin, dev, rule).await.unwrap();
    let request = tenants::asking(&role);
    let session = app.assume_role(&admin, request).await.unwrap().id;
    let parent = format!("accounts/{dev}");
    Things {
        prod: region.account("prod").to_string(),
        key_id,
        key_name: format!("{parent}/keys/{}", key.arn.resource().strip_prefix("key/").unwrap()),
        grant: format!("{parent}/grants/{}", given.id),
        rule: format!("{parent}/rules/{}", rule.id),
        session: format!("{parent}/sessions/{session}"),
        message: crate::denials::message(region, &admin).await,
        codes: (phone.code(region, 0), phone.code(region, 1)),
        _aws: aws,
        dev: dev.to_string(),
    }
}

/// Calls of the whole contract, in an order in which each succeeds for dev's admin.
fn grpc_calls(things: &Things) -> Vec<GrpcCall> {
    let parent = format!("accounts/{}", things.dev);
    let named = |name: &str| format!("{parent}/{name}");
    let mut calls = trust_calls(things, &parent);
    calls.extend(identity_calls(things, &parent));
    calls.extend(registry_calls(&parent));
    calls.extend(sharing_calls(things, &parent));
    calls.extend(replication_calls(things, &parent));
    calls.extend(storage_calls(&parent));
    let becomes = |state: keys::key::State| {
        let request =
            keys::SetKeyStateRequest { name: things.key_name.clone(), state: state.into(), ..Default::default() };
        call("keys.v1.KeyService/SetKeyState", &request)
    };
    calls.extend([
        call(
            "keys.v1.KeyService/CreateKey",
            &keys::CreateKeyRequest { parent: parent.clone(), description: "new".into(), ..Default::default() },
        ),
        call("keys.v1.KeyService/ListKeys", &keys::ListKeysRequest { parent: parent.clone(), ..Default::default() }),
        becomes(keys::key::State::Disabled),
        becomes(keys::key::State::Enabled),
    ]);
    // Last, because nothing is left of it.
    let gone =
        registry::DeleteRepositoryRequest { name: named("repositories/victim"), force: true, ..Default::default() };
    calls.push(call("registry.v1.RegistryService/DeleteRepository", &gone));
    calls
}

fn call(method: &'static str, message: &impl Message) -> GrpcCall {
    GrpcCall { method, message: message.encode_to_vec() }
}

fn trust_calls(things: &Things, parent: &str) -> Vec<GrpcCall> {
    let role_arn = format!("arn:aws:iam::{}:role/builder", things.dev);
    let assume = trusting::AssumeRoleRequest { role_arn, session_name: "day".into(), ..Default::default() };
    let logs = format!("{parent}/awsRoles/logs");
    let aws_role = trusting::PutAwsRoleRequest {
        parent: parent.to_owned(),
        aws_role_id: "fresh".into(),
        role_arn: "arn:aws:iam::210987654321:role/logs".into(),
        policy: allow(&["s3:GetObject"], "*"),
        ..Default::default()
    };
    let verify = trusting::VerifyAwsRoleRequest { name: logs.clone(), ..Default::default() };
    let aws_roles = trusting::ListAwsRolesRequest { parent: parent.to_owned(), ..Default::default() };
    let removed = trusting::DeleteAwsRoleRequest { name: format!("{parent}/awsRoles/fresh"), ..Default::default() };
    let federated = trusting::GetFederationTokenRequest { federated_name: "carol".into(), ..Default::default() };
    let whose = trusting::GetAccessKeyInfoRequest { access_key_id: things.key_id.clone() };
    let decoded = trusting::DecodeAuthorizationMessageRequest { encoded_message: things.message.clone() };
    let revoke = trusting::RevokeSessionRequest { name: things.session.clone(), ..Default::default() };
    let all = trusting::RevokeSessionsRequest {
        parent: parent.to_owned(),
        of: Some(trusting::revoke_sessions_request::Of::Principal(format!("{parent}/roles/victim"))),
        ..Default::default()
    };
    let sessions = trusting::ListSessionsRequest { parent: parent.to_owned(), ..Default::default() };
    let who = call("trust.v1.TrustService/GetCallerIdentity", &trusting::GetCallerIdentityRequest {});
    let password =
        call("trust.v1.TrustService/GetAuthorizationToken", &trusting::GetAuthorizationTokenRequest::default());
    vec![
        who,
        password,
        call("trust.v1.TrustService/DecodeAuthorizationMessage", &decoded),
        call("trust.v1.TrustService/GetSessionToken", &trusting::GetSessionTokenRequest::default()),
        call("trust.v1.TrustService/GetFederationToken", &federated),
        call("trust.v1.TrustService/GetAccessKeyInfo", &whose),
        call("trust.v1.TrustService/PutAwsRole", &aws_role),
        call("trust.v1.TrustService/VerifyAwsRole", &verify),
        call("trust.v1.TrustService/ListAwsRoles", &aws_roles),
        call("trust.v1.TrustService/GetAwsCredentials", &trusting::GetAwsCredentialsRequest { name: logs }),
        call("trust.v1.TrustService/DeleteAwsRole", &removed),
        call("trust.v1.TrustService/AssumeRole", &assume),
        call("trust.v1.TrustService/ListSessions", &sessions),
        call("trust.v1.TrustService/RevokeSession", &revoke),
        call("trust.v1.TrustService/RevokeSessions", &all),
    ]
}

fn identity_calls(things: &Things, parent: &str) -> Vec<GrpcCall> {
    use identity as pb;
    let (parent, victim) = (parent.to_owned(), format!("{parent}/users/victim"));
    let role = format!("{parent}/roles/victim");
    let trust_policy = trust(&format!("arn:aws:iam::{}:user/admin", things.dev), None);
    let policy = pb::PutPrincipalPolicyRequest {
        parent: format!("{parent}/users/keyless"),
        policy_id: "more".into(),
        document: allow(&["ecr:*"], "*"),
        ..Default::default()
    };
    let provider = pb::PutOidcProviderRequest {
        parent: parent.clone(),
        issuer: "https://issuer.example".into(),
        client_ids: vec!["transship".into()],
        ..Default::default()
    };
    let named = format!("{parent}/policies/fresh");
    let managed = pb::CreatePolicyRequest {
        parent: parent.clone(),
        policy_id: "fresh".into(),
        document: allow(&["ecr:*"], "*"),
        ..Default::default()
    };
    let changed =
        pb::UpdatePolicyRequest { name: named.clone(), document: allow(&["ecr:*"], "*"), ..Default::default() };
    let role_policy = pb::PutPrincipalPolicyRequest { parent: format!("{parent}/roles/builder"), ..policy.clone() };
    let attached = attachment_calls(&parent, &named);
    let control = pb::PutControlPolicyRequest {
        target: format!("accounts/{}", things.prod),
        kind: pb::control_policy::Kind::Service.into(),
        policy_id: "fresh".into(),
        document: r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"ecr:PutImage","Resource":"*"}}"#
            .into(),
        ..Default::default()
    };
    let uncontrol = pb::DeleteControlPolicyRequest {
        target: control.target.clone(),
        kind: control.kind,
        policy_id: control.policy_id.clone(),
        ..Default::default()
    };
    let providers = pb::ListOidcProvidersRequest { parent: parent.clone(), ..Default::default() };
    let untrusted =
        pb::DeleteOidcProviderRequest { name: format!("{parent}/oidcProviders/issuer.example"), ..Default::default() };
    let account = pb::CreateAccountRequest { display_name: "third".into(), ..Default::default() };
    let user = pb::CreateUserRequest { parent: parent.clone(), user_id: "fresh".into(), ..Default::default() };
    let made =
        pb::CreateRoleRequest { parent: parent.clone(), role_id: "fresh".into(), trust_policy, ..Default::default() };
    let key = pb::CreateAccessKeyRequest { parent: format!("{parent}/users/keyless"), ..Default::default() };
    let lost =
        pb::DeleteAccessKeyRequest { name: format!("{victim}/accessKeys/{}", things.key_id), ..Default::default() };
    let keyless = format!("{parent}/users/keyless");
    let device =
        pb::CreateMfaDeviceRequest { parent: keyless.clone(), device_id: "fresh".into(), ..Default::default() };
    let enabled = pb::EnableMfaDeviceRequest {
        name: format!("{keyless}/mfaDevices/phone"),
        authentication_code_1: things.codes.0.clone(),
        authentication_code_2: things.codes.1.clone(),
        ..Default::default()
    };
    let disabled = pb::DeleteMfaDeviceRequest { name: format!("{keyless}/mfaDevices/fresh"), ..Default::default() };
    let mut calls = vec![
        call("identity.v1.IdentityService/CreateMfaDevice", &device),
        call("identity.v1.IdentityService/EnableMfaDevice", &enabled),
        call("identity.v1.IdentityService/ListMfaDevices", &pb::ListMfaDevicesRequest { parent: keyless }),
        call("identity.v1.IdentityService/DeleteMfaDevice", &disabled),
        call("identity.v1.IdentityService/CreatePolicy", &managed),
        call("identity.v1.IdentityService/UpdatePolicy", &changed),
        call(
            "identity.v1.IdentityService/ListPolicies",
            &pb::ListPoliciesRequest { parent: parent.clone(), ..Default::default() },
        ),
    ];
    calls.extend(attached);
    calls.extend([
        call(
            "identity.v1.IdentityService/DeletePolicy",
            &pb::DeletePolicyRequest { name: named, ..Default::default() },
        ),
        call("identity.v1.IdentityService/PutControlPolicy", &control),
        call("identity.v1.IdentityService/ListControlPolicies", &pb::ListControlPoliciesRequest::default()),
        call("identity.v1.IdentityService/DeleteControlPolicy", &uncontrol),
        call("identity.v1.IdentityService/CreateAccount", &account),
        call("identity.v1.IdentityService/ListAccounts", &pb::ListAccountsRequest::default()),
        call("identity.v1.IdentityService/CreateUser", &user),
        call("identity.v1.IdentityService/PutPrincipalPolicy", &policy),
        call("identity.v1.IdentityService/PutPrincipalPolicy", &role_policy),
        call("identity.v1.IdentityService/CreateAccessKey", &key),
        call("identity.v1.IdentityService/DeleteAccessKey", &lost),
        call("identity.v1.IdentityService/DeleteUser", &pb::DeleteUserRequest { name: victim, ..Default::default() }),
        call("identity.v1.IdentityService/CreateRole", &made),
        call("identity.v1.IdentityService/DeleteRole", &pb::DeleteRoleRequest { name: role, ..Default::default() }),
        call("identity.v1.IdentityService/PutOidcProvider", &provider),
        call("identity.v1.IdentityService/ListOidcProviders", &providers),
        call("identity.v1.IdentityService/DeleteOidcProvider", &untrusted),
        call("identity.v1.IdentityService/ListPrincipals", &pb::ListPrincipalsRequest { parent, ..Default::default() }),
    ]);
    calls
}

/// What is done with a policy to a user and to a role, each kind of call beside its like.
fn attachment_calls(parent: &str, policy: &str) -> Vec<GrpcCall> {
    use identity as pb;
    let (names, policy) = ([format!("{parent}/users/keyless"), format!("{parent}/roles/builder")], policy.to_owned());
    let each = |make: &dyn Fn(String) -> GrpcCall| names.clone().map(make);
    [
        each(&|name| {
            let attach = pb::AttachPolicyRequest { name, policy: policy.clone(), ..Default::default() };
            call("identity.v1.IdentityService/AttachPolicy", &attach)
        }),
        each(&|name| {
            let detach = pb::DetachPolicyRequest { name, policy: policy.clone(), ..Default::default() };
            call("identity.v1.IdentityService/DetachPolicy", &detach)
        }),
        each(&|name| {
            let bound = pb::PutPermissionsBoundaryRequest { name, policy: policy.clone(), ..Default::default() };
            call("identity.v1.IdentityService/PutPermissionsBoundary", &bound)
        }),
        each(&|name| {
            let unbound = pb::DeletePermissionsBoundaryRequest { name, ..Default::default() };
            call("identity.v1.IdentityService/DeletePermissionsBoundary", &unbound)
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn registry_calls(parent: &str) -> Vec<GrpcCall> {
    use registry as pb;
    let (parent, app) = (parent.to_owned(), format!("{parent}/repositories/app"));
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement":
        {"Effect": "Deny", "Principal": "*", "Action": "ecr:DeleteRepositoryPolicy", "Resource": "*",
            "Condition": {"StringEquals": {"aws:username": "nobody"}}}})
    .to_string();
    let create =
        pb::CreateRepositoryRequest { parent: parent.clone(), repository_id: "fresh".into(), ..Default::default() };
    let sparse = pb::UpdateRepositoryRequest {
        name: app.clone(),
        sparse_manifests: pb::SparseManifests::Accepted.into(),
        ..Default::default()
    };
    let tags = pb::PutImageTagMutabilityRequest {
        name: app.clone(),
        tag_mutability: pb::TagMutability::Mutable.into(),
        ..Default::default()
    };
    let visible = pb::PutRepositoryVisibilityRequest {
        name: app.clone(),
        visibility: pb::Visibility::Private.into(),
        ..Default::default()
    };
    let lock = pb::CreateLockRequest { parent: app.clone(), reference: "v1".into(), ..Default::default() };
    let locks = pb::ListLocksRequest { parent: app.clone(), ..Default::default() };
    let unlock = pb::DeleteLockRequest { parent: app.clone(), reference: "v1".into(), ..Default::default() };
    let set = pb::SetRepositoryPolicyRequest { name: app.clone(), policy: policy.clone(), ..Default::default() };
    let put = pb::PutRegistryPolicyRequest { parent: parent.clone(), policy, ..Default::default() };
    let settings = pb::RegistrySettings {
        name: format!("{parent}/registry"),
        create_on_push: pb::registry_settings::CreateOnPush::Disabled.into(),
        ..Default::default()
    };
    let update = pb::UpdateRegistrySettingsRequest { settings: Some(settings), ..Default::default() };
    let image = pb::DeleteImageRequest { parent: app.clone(), reference: "v1".into(), ..Default::default() };
    let of = |name: &str| name.to_owned();
    vec![
        call("registry.v1.RegistryService/CreateRepository", &create),
        call("registry.v1.RegistryService/GetRepository", &pb::GetRepositoryRequest { name: of(&app) }),
        call(
            "registry.v1.RegistryService/ListRepositories",
            &pb::ListRepositoriesRequest { parent: of(&parent), ..Default::default() },
        ),
        call("registry.v1.RegistryService/UpdateRepository", &sparse),
        call("registry.v1.RegistryService/PutImageTagMutability", &tags),
        call("registry.v1.RegistryService/PutRepositoryVisibility", &visible),
        call("registry.v1.LockService/CreateLock", &lock),
        call("registry.v1.LockService/ListLocks", &locks),
        call("registry.v1.LockService/DeleteLock", &unlock),
        call("registry.v1.RegistryService/GetRepositoryPolicy", &pb::GetRepositoryPolicyRequest { name: of(&app) }),
        call("registry.v1.RegistryService/SetRepositoryPolicy", &set),
        call(
            "registry.v1.RegistryService/DeleteRepositoryPolicy",
            &pb::DeleteRepositoryPolicyRequest { name: of(&app), ..Default::default() },
        ),
        call("registry.v1.RegistryService/GetRegistryPolicy", &pb::GetRegistryPolicyRequest { parent: of(&parent) }),
        call("registry.v1.RegistryService/PutRegistryPolicy", &put),
        call(
            "registry.v1.RegistryService/DeleteRegistryPolicy",
            &pb::DeleteRegistryPolicyRequest { parent: of(&parent), ..Default::default() },
        ),
        call(
            "registry.v1.RegistryService/GetRegistrySettings",
            &pb::GetRegistrySettingsRequest { name: format!("{parent}/registry") },
        ),
        call("registry.v1.RegistryService/UpdateRegistrySettings", &update),
        call(
            "registry.v1.RegistryService/ListImages",
            &pb::ListImagesRequest { parent: of(&app), ..Default::default() },
        ),
        call("registry.v1.RegistryService/DeleteImage", &image),
    ]
}

fn sharing_calls(things: &Things, parent: &str) -> Vec<GrpcCall> {
    use sharing as pb;
    let given = pb::Grant {
        grantee: things.prod.clone(),
        repository_pattern: "app".into(),
        tag_pattern: "v*".into(),
        actions: vec![pb::GrantAction::Pull.into()],
        ..Default::default()
    };
    let create =
        pb::CreateGrantRequest { parent: format!("accounts/{}", things.dev), grant: Some(given), ..Default::default() };
    let explain = pb::ExplainAccessRequest {
        principal: format!("arn:aws:iam::{}:user/admin", things.dev),
        action: "pull".into(),
        repository: format!("{parent}/repositories/app"),
        ..Default::default()
    };
    let revoke = pb::RevokeGrantRequest { name: things.grant.clone(), ..Default::default() };
    vec![
        call("sharing.v1.SharingService/GetGrant", &pb::GetGrantRequest { name: things.grant.clone() }),
        call(
            "sharing.v1.SharingService/ListGrants",
            &pb::ListGrantsRequest { parent: parent.to_owned(), ..Default::default() },
        ),
        call("sharing.v1.SharingService/RevokeGrant", &revoke),
        call("sharing.v1.SharingService/ExplainAccess", &explain),
        // Only now, so that the foreign account has nothing of it: it is refused this very call.
        call("sharing.v1.SharingService/CreateGrant", &create),
    ]
}

fn replication_calls(things: &Things, parent: &str) -> Vec<GrpcCall> {
    use replication as pb;
    let (parent, app) = (parent.to_owned(), format!("{parent}/repositories/app"));
    let destination = pb::Destination { region: "eu-west-1".into(), account: things.prod.clone() };
    let rule = pb::Rule { repository_prefix: "team/".into(), destinations: vec![destination], ..Default::default() };
    let create = pb::CreateRuleRequest { parent: parent.clone(), rule: Some(rule), ..Default::default() };
    let gone = pb::DeleteRuleRequest { name: things.rule.clone(), ..Default::default() };
    let receipts = pb::ListReceiptsRequest { parent: app.clone(), ..Default::default() };
    let rules = pb::ListRulesRequest { parent: parent.clone(), ..Default::default() };
    vec![
        call("replication.v1.ReplicationService/CreateRule", &create),
        call("replication.v1.ReplicationService/ListRules", &rules),
        call("replication.v1.ReplicationService/GetStatus", &pb::GetStatusRequest { parent }),
        call("replication.v1.ReplicationService/ListReceipts", &receipts),
        call("replication.v1.ReplicationService/Verify", &pb::VerifyRequest { name: app }),
        call("replication.v1.ReplicationService/DeleteRule", &gone),
    ]
}

fn storage_calls(parent: &str) -> Vec<GrpcCall> {
    use storage as pb;
    let repository = format!("{parent}/repositories/app");
    vec![
        call("storage.v1.StorageService/GetReport", &pb::GetReportRequest {}),
        call("storage.v1.StorageService/Collect", &pb::CollectRequest::default()),
        call("storage.v1.StorageService/Scrub", &pb::ScrubRequest::default()),
        call("storage.v1.StorageService/Scrub", &pb::ScrubRequest { repository: repository.clone() }),
        call("storage.v1.StorageService/ListQuarantines", &pb::ListQuarantinesRequest::default()),
        call("storage.v1.StorageService/Repair", &pb::RepairRequest { repository, ..Default::default() }),
    ]
}

/// A bearer token of a user of prod without any rights.
async fn powerless(region: &Region) -> String {
    let (admin, prod) = (region.admin("prod").await, region.account("prod"));
    let name = region.app().create_user(&admin, prod, &UserName::parse("powerless").unwrap()).await.unwrap().name;
    let key = region.app().create_access_key(&admin, name).await.unwrap();
    crate::grpc::log_in_with(region, &key.id, key.secret.expose().clone()).await
}

/// Takes no token at all, for a token is what it gives.
const PROOF: &str = "trust.v1.TrustService/ExchangeToken";
/// Takes none either: the identity token is in the message. `tests/it/federation.rs` has who is served.
const WEB_IDENTITY: &str = "trust.v1.TrustService/AssumeRoleWithWebIdentity";
/// Served to peers on a port of their own, and to nobody here.
const PEERS: &str = "replication.v1.TransportService/";

/// What a status says, in a word of the table.
fn word(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    match (status.code(), reason.as_str()) {
        (Code::Ok, _) => "ok",
        (Code::Unauthenticated, "CALLER_UNKNOWN") => "unknown",
        (Code::Unauthenticated, "CREDENTIALS_EXPIRED") => "expired",
        (Code::PermissionDenied, "ACCESS_DENIED") => "denied",
        (Code::Unimplemented, _) => "absent",
        _ => return format!("{:?} {reason}: {}", status.code(), status.message()),
    }
    .to_owned()
}

pub(super) async fn section() -> Section {
    let region = Region::start().await;
    let callers: Callers = super::callers(&region).await;
    let things = things(&region).await;
    let calls = grpc_calls(&things);
    let (own, rest): (BTreeSet<String>, BTreeSet<String>) = methods()
        .into_iter()
        .partition(|method| ![PROOF, WEB_IDENTITY].contains(&method.as_str()) && !method.starts_with(PEERS));
    let paths: BTreeSet<String> = calls.iter().map(|call| call.method.to_owned()).collect();
    assert_eq!(paths, own, "a method is missing from this test");
    assert!(rest.len() == 6, "{rest:?}");
    let named = |method: &str| method.split_once(".v1.").unwrap().1.to_owned();
    let mut rows: Vec<(String, (String, Vec<u8>))> =
        calls.iter().map(|call| (named(call.method), (call.method.to_owned(), call.message.clone()))).collect();
    let forged = trusting::AssumeRoleWithWebIdentityRequest {
        role_arn: format!("arn:aws:iam::{}:role/builder", things.dev),
        session_name: "day".into(),
        web_identity_token: "no.token.atall".into(),
        ..Default::default()
    };
    let message = |method: &str| if method == WEB_IDENTITY { forged.encode_to_vec() } else { Vec::new() };
    rows.extend(rest.iter().map(|method| (named(method), (method.clone(), message(method)))));

    let raw = Raw::new(&region);
    let section = walk(&region, &callers, "grpc", &rows, async |(method, message), shown| {
        word(&raw.call(&format!("/transship.{method}"), shown.bearer.as_deref(), message).await)
    })
    .await;
    // The registry's password is for another door, but to be made into a narrower one.
    let (password, before) = (region.password("dev").await, tenants::books(&region));
    for call in calls.iter().filter(|call| !call.method.ends_with("/GetAuthorizationToken")) {
        let status = raw.call(&format!("/transship.{}", call.method), Some(&password), &call.message).await;
        assert_eq!(status.code(), Code::Unauthenticated, "a registry password: {}: {status:?}", call.method);
    }
    before.unchanged(&tenants::books(&region), "a registry password");
    let powerless = powerless(&region).await;
    let status = raw.call("/transship.trust.v1.TrustService/GetAuthorizationToken", Some(&powerless), &[]).await;
    assert_eq!(word(&status), "denied");
    crate::operations::denied(&region, "prod", "refused-grpc.txt").await;
    let holder = format!("arn:aws:iam::{}:user/admin", things.dev);
    // A proof is refused in other ways: tests/it/proofs.rs.
    let proof: &[&str] = &["ExchangeToken"];
    let callers_seen = ["anonymous".into(), "unproven".into(), holder];
    crate::operations::unbelieved(&region, "refused-grpc.txt", proof, &callers_seen).await;
    for call in &calls {
        let method = format!("/transship.{}", call.method);
        let status = raw.call(&method, callers.owner.bearer.as_deref(), &call.message).await;
        assert_eq!(status.code(), Code::Ok, "the owner: {}: {}", call.method, status.message());
    }
    section
}

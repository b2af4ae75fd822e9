//! Every OCI route and every gRPC method there is, called by those who may not: refused, and nothing has changed.
//!
//! Both lists are checked against the product's own, and each call is at last made by the resource's owner, who is
//! served: so a refusal is one of the caller, never of a malformed call.

use crate::harness::{Http, MANIFEST, Region};
use crate::tenants::{self, allow, books, code, grant, repository, trust};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::Code;
use transship::api::oci::route::{self, Action, Call, Start};
use transship::domain::replication::rules::NewRule;
use transship::domain::uploads::Started;
use transship::names::{Algorithm, Digest, Region as RegionName, UserName};
use transship::pb::{identity, keys, registry, replication, sharing, storage, trust as trusting};
use transship::store::grants::GrantAction;
use transship::store::rules::Destination;

/// Those who call and may not, with what they show.
struct Strangers {
    /// A proof of identity of each kind that nobody must believe.
    unbelieved: Vec<(&'static str, Option<String>)>,
    /// A known caller of another account, which may do everything there.
    foreign: String,
    owner: String,
}

impl Strangers {
    /// From a token of the owner that has expired, one in force, one of another organization, and a foreign one.
    fn new(expired: String, owner: String, strange: String, foreign: String) -> Self {
        let mut tampered = owner.clone().into_bytes();
        let middle = tampered.len() / 2;
        tampered[middle] = if tampered[middle] == b'x' { b'y' } else { b'x' };
        let tampered = String::from_utf8(tampered).unwrap();
        let unbelieved = vec![
            ("nobody", None),
            ("a stranger", Some(strange)),
            ("an expired session", Some(expired)),
            ("a tampered session", Some(tampered)),
        ];
        Self { unbelieved, foreign, owner }
    }
}

/// Names each kind of call once: a match that must name every variant, and the list of what it named.
macro_rules! kinds {
    ($($kind:ident: $pattern:pat,)*) => {
        const KINDS: &[&str] = &[$(stringify!($kind),)*];
        fn kind(call: &Call) -> &'static str {
            match call { $($pattern => stringify!($kind),)* }
        }
    };
}

kinds! {
    Ping: Call::Ping,
    Token: Call::Token { .. },
    Catalog: Call::Catalog,
    BlobGet: Call::Repository(_, Action::BlobGet { .. }),
    BlobHead: Call::Repository(_, Action::BlobHead { .. }),
    BlobDelete: Call::Repository(_, Action::BlobDelete { .. }),
    UploadSession: Call::Repository(_, Action::UploadStart(Start::Session { .. })),
    UploadWhole: Call::Repository(_, Action::UploadStart(Start::Whole { .. })),
    UploadMount: Call::Repository(_, Action::UploadStart(Start::Mount { .. })),
    UploadStatus: Call::Repository(_, Action::UploadStatus { .. }),
    UploadPatch: Call::Repository(_, Action::UploadPatch { .. }),
    UploadPut: Call::Repository(_, Action::UploadPut { .. }),
    UploadCancel: Call::Repository(_, Action::UploadCancel { .. }),
    ManifestGet: Call::Repository(_, Action::ManifestGet { .. }),
    ManifestHead: Call::Repository(_, Action::ManifestHead { .. }),
    ManifestPut: Call::Repository(_, Action::ManifestPut { .. }),
    ManifestDelete: Call::Repository(_, Action::ManifestDelete { .. }),
    Tags: Call::Repository(_, Action::Tags { .. }),
    Referrers: Call::Repository(_, Action::Referrers { .. }),
}

/// A call of the OCI surface, and how its owner is answered.
struct OciCall {
    method: Method,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Bytes,
    owner: u16,
}

/// Calls on dev's repository `app`, in an order in which each succeeds for dev.
async fn oci_calls(region: &Region, http: &Http) -> Vec<OciCall> {
    let dev = region.account("dev");
    let app = format!("{dev}/app");
    let image = http.push_image(&app, "v1", &[b"layer"]).await;
    http.push_image(&format!("{dev}/base"), "v1", &[b"base layer"]).await;
    let text = http.get(&format!("/v2/{app}/manifests/v1")).await.body;
    let digest = |bytes: &[u8]| Digest::of(bytes).to_string();
    let (layer, base, loose) = (digest(b"layer"), digest(b"base layer"), http.push_blob(&app, b"loose").await);
    let uploads = format!("/v2/{app}/blobs/uploads/");
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(http.call(Method::POST, &uploads, &[], "").await.header("location").to_owned());
    }
    let (fresh, whole) = (digest(b"fresh"), digest(b"whole"));
    let call = |method: Method, path: String, owner: u16| OciCall {
        method,
        path,
        headers: Vec::new(),
        body: Bytes::new(),
        owner,
    };
    let with = |call: OciCall, body: &Bytes| OciCall { body: body.clone(), ..call };
    let manifest = |call: OciCall| OciCall { headers: vec![("content-type", MANIFEST)], body: text.clone(), ..call };
    let range =
        OciCall { headers: vec![("range", "bytes=1-2")], ..call(Method::GET, format!("/v2/{app}/blobs/{layer}"), 206) };
    vec![
        call(Method::GET, "/v2/".to_owned(), 200),
        call(Method::GET, format!("/token?scope=repository:{app}:pull"), 200),
        call(Method::GET, "/v2/_catalog".to_owned(), 405),
        call(Method::GET, format!("/v2/{app}/blobs/{layer}"), 200),
        range,
        call(Method::HEAD, format!("/v2/{app}/blobs/{layer}"), 200),
        call(Method::GET, format!("/v2/{app}/manifests/v1"), 200),
        call(Method::GET, format!("/v2/{app}/manifests/{image}"), 200),
        call(Method::HEAD, format!("/v2/{app}/manifests/v1"), 200),
        call(Method::GET, format!("/v2/{app}/tags/list"), 200),
        call(Method::GET, format!("/v2/{app}/referrers/{image}"), 200),
        call(Method::POST, uploads.clone(), 202),
        with(call(Method::POST, format!("{uploads}?digest={whole}"), 201), &Bytes::from_static(b"whole")),
        call(Method::POST, format!("{uploads}?mount={base}&from={dev}/base"), 201),
        call(Method::POST, format!("{uploads}?mount={base}"), 201),
        call(Method::GET, open[0].clone(), 204),
        with(call(Method::PATCH, open[0].clone(), 202), &Bytes::from_static(b"part")),
        with(call(Method::PUT, format!("{}?digest={fresh}", open[1]), 201), &Bytes::from_static(b"fresh")),
        call(Method::DELETE, open[2].clone(), 204),
        manifest(call(Method::PUT, format!("/v2/{app}/manifests/v2"), 201)),
        manifest(call(Method::PUT, format!("/v2/{app}/manifests/{image}"), 201)),
        manifest(call(Method::PUT, format!("/v2/{app}/manifests/{image}?tag=v3&tag=v4"), 201)),
        call(Method::DELETE, format!("/v2/{app}/manifests/v1"), 202),
        call(Method::DELETE, format!("/v2/{app}/manifests/{image}"), 202),
        call(Method::DELETE, format!("/v2/{app}/blobs/{loose}"), 202),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_registry_refuses_who_may_not_call_it_and_changes_nothing() {
    let region = Region::start().await;
    let expired = region.password("dev").await;
    region.app().clock().advance(Duration::from_secs(13 * 3_600));
    let strange = Region::start().await.password("dev").await;
    let strangers = Strangers::new(expired, region.password("dev").await, strange, region.password("prod").await);
    let owner = Http::new(&region.base, Some(strangers.owner.clone()));
    let calls = oci_calls(&region, &owner).await;
    let named: BTreeSet<&str> = calls.iter().map(|call| kind(&parsed(call))).collect();
    assert_eq!(named, KINDS.iter().copied().collect(), "a route is missing from this test");

    let before = books(&region);
    let callers = strangers.unbelieved.iter().map(|(name, token)| (*name, token.clone()));
    for (name, token) in callers.chain([("a foreign account", Some(strangers.foreign.clone()))]) {
        let http = Http::new(&region.base, token);
        for call in &calls {
            let expected = match (name, parsed(call)) {
                // Nobody is let into what is not offered; the foreign caller may ask about itself.
                ("nobody" | "a foreign account", Call::Catalog) => StatusCode::METHOD_NOT_ALLOWED,
                // The token of nobody opens what is public.
                ("nobody", Call::Token { .. }) | ("a foreign account", Call::Ping | Call::Token { .. }) => {
                    StatusCode::OK
                }
                ("a foreign account", Call::Repository(..)) => StatusCode::FORBIDDEN,
                (_, Call::Ping | Call::Token { .. } | Call::Catalog | Call::Repository(..)) => StatusCode::UNAUTHORIZED,
            };
            let answer = http.call(call.method.clone(), &call.path, &call.headers, call.body.clone()).await;
            let what = format!("{name}: {} {}: {}", call.method, call.path, answer.text());
            assert_eq!(answer.status, expected, "{what}");
            if expected == StatusCode::UNAUTHORIZED {
                assert!(answer.header("www-authenticate").starts_with("Bearer realm="), "{what}");
            }
            if !answer.body.is_empty() && expected != StatusCode::OK {
                assert!(["UNAUTHORIZED", "DENIED", "UNSUPPORTED"].contains(&code(&answer).as_str()), "{what}");
            }
        }
        before.unchanged(&books(&region), name);
    }
    an_upload_that_may_be_written_and_not_finished(&region).await;
    crate::operations::denied(&region, "prod", "refused-oci.txt").await;
    let holder = format!("arn:aws:iam::{}:user/admin", region.account("dev"));
    // A client without credentials asks for a challenge and the token of nobody first, and that is no refusal; who closes
    // an upload is first asked whether it may add to it.
    let but = ["GetCallerIdentity", "ExchangeToken", "CompleteLayerUpload"];
    crate::operations::unbelieved(&region, "refused-oci.txt", &but, &["anonymous".into()]).await;
    crate::operations::unbelieved(&region, "refused-oci.txt", &[], &["unproven".into(), holder]).await;
    for call in &calls {
        let answer = owner.call(call.method.clone(), &call.path, &call.headers, call.body.clone()).await;
        assert_eq!(answer.status.as_u16(), call.owner, "the owner: {} {}: {}", call.method, call.path, answer.text());
    }
}

/// Prod may add bytes to an upload of dev's repository, and not close it.
async fn an_upload_that_may_be_written_and_not_finished(region: &Region) {
    let (dev, admin) = (region.account("dev"), region.admin("dev").await);
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow",
        "Principal": {"AWS": region.account("prod").to_string()},
        "Action": ["ecr:InitiateLayerUpload", "ecr:UploadLayerPart"]}})
    .to_string();
    let address = repository(region, "dev", "app");
    region.app().set_repository_policy(&admin, &address, &policy, false).await.unwrap();
    let prod = region.http("prod").await;
    let opened = prod.call(Method::POST, &format!("/v2/{dev}/app/blobs/uploads/"), &[], "").await;
    assert_eq!(opened.status, StatusCode::ACCEPTED, "{}", opened.text());
    let written = prod.call(Method::PATCH, opened.header("location"), &[], "part").await;
    assert_eq!(written.status, StatusCode::ACCEPTED, "{}", written.text());
    let finish = format!("{}?digest={}", written.header("location"), Digest::of(b"part"));
    let blobs = books(region).rows("links");
    let refused = prod.call(Method::PUT, &finish, &[], "").await;
    assert_eq!((refused.status, code(&refused).as_str()), (StatusCode::FORBIDDEN, "DENIED"), "{}", refused.text());
    assert_eq!(books(region).rows("links"), blobs);
    region.app().delete_repository_policy(&admin, &address).await.unwrap();
}

fn parsed(call: &OciCall) -> Call {
    route::parse(&call.method, &call.path.parse::<Uri>().unwrap(), "localhost").unwrap().call
}

/// Every method of every service of the contract, as paths.
fn methods() -> BTreeSet<String> {
    let set = prost_types::FileDescriptorSet::decode(transship::pb::DESCRIPTORS).unwrap();
    let mut methods = BTreeSet::new();
    for file in set.file {
        for service in &file.service {
            let name = format!("/{}.{}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| format!("{name}/{}", method.name())));
        }
    }
    methods
}

/// What a call over gRPC ended in: its code, its message, the bytes of its answer.
struct Ended {
    code: Code,
    message: String,
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

    async fn call(&self, method: &str, token: Option<&str>, message: &[u8]) -> Ended {
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
        let text = |headers: &HeaderMap, name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let find = |name: &str| text(&trailers, name).or_else(|| text(&parts.headers, name));
        let code = find("grpc-status").expect("every call has a status").parse::<i32>().unwrap();
        Ended { code: Code::from(code), message: find("grpc-message").unwrap_or_default() }
    }
}

/// A call of a method on dev's things, and how its owner is answered.
struct GrpcCall {
    method: &'static str,
    message: Vec<u8>,
    /// Whether a caller of another account asks for nothing but its own.
    own: bool,
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
    GrpcCall { method, message: message.encode_to_vec(), own: false }
}

fn trust_calls(things: &Things, parent: &str) -> Vec<GrpcCall> {
    let role_arn = format!("arn:aws:iam::{}:role/builder", things.dev);
    let assume = trusting::AssumeRoleRequest { role_arn, session_name: "day".into(), ..Default::default() };
    let revoke = trusting::RevokeSessionRequest { name: things.session.clone(), ..Default::default() };
    let sessions = trusting::ListSessionsRequest { parent: parent.to_owned(), ..Default::default() };
    let who = call("trust.v1.TrustService/GetCallerIdentity", &trusting::GetCallerIdentityRequest {});
    let password = call("trust.v1.TrustService/GetAuthorizationToken", &trusting::GetAuthorizationTokenRequest {});
    vec![
        GrpcCall { own: true, ..who },
        GrpcCall { own: true, ..password },
        call("trust.v1.TrustService/AssumeRole", &assume),
        call("trust.v1.TrustService/ListSessions", &sessions),
        call("trust.v1.TrustService/RevokeSession", &revoke),
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
    vec![
        call("identity.v1.IdentityService/CreateAccount", &account),
        call("identity.v1.IdentityService/ListAccounts", &pb::ListAccountsRequest::default()),
        call("identity.v1.IdentityService/CreateUser", &user),
        call("identity.v1.IdentityService/PutPrincipalPolicy", &policy),
        call("identity.v1.IdentityService/CreateAccessKey", &key),
        call("identity.v1.IdentityService/DeleteAccessKey", &lost),
        call("identity.v1.IdentityService/DeleteUser", &pb::DeleteUserRequest { name: victim, ..Default::default() }),
        call("identity.v1.IdentityService/CreateRole", &made),
        call("identity.v1.IdentityService/DeleteRole", &pb::DeleteRoleRequest { name: role, ..Default::default() }),
        call("identity.v1.IdentityService/PutOidcProvider", &provider),
        call("identity.v1.IdentityService/ListOidcProviders", &providers),
        call("identity.v1.IdentityService/DeleteOidcProvider", &untrusted),
        call("identity.v1.IdentityService/ListPrincipals", &pb::ListPrincipalsRequest { parent, ..Default::default() }),
    ]
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
const PROOF: &str = "/transship.trust.v1.TrustService/ExchangeToken";
/// Takes none either: the token is in the message. `tests/it/federation.rs` has all the ways in which it is refused.
const WEB_IDENTITY: &str = "/transship.trust.v1.TrustService/AssumeRoleWithWebIdentity";
/// Served to peers on a port of their own, and to nobody here.
const PEERS: &str = "/transship.replication.v1.TransportService/";

#[tokio::test(flavor = "multi_thread")]
async fn every_method_of_the_contract_refuses_who_may_not_call_it_and_changes_nothing() {
    let region = Region::start().await;
    let expired = crate::grpc::log_in(&region, "dev").await;
    region.app().clock().advance(Duration::from_secs(2 * 3_600));
    let strange = crate::grpc::log_in(&Region::start().await, "dev").await;
    let (owner, foreign) = (crate::grpc::log_in(&region, "dev").await, crate::grpc::log_in(&region, "prod").await);
    let things = things(&region).await;
    let powerless = powerless(&region).await;
    let calls = grpc_calls(&things);
    let strangers = Strangers::new(expired, owner, strange, foreign);
    let (own, rest): (BTreeSet<String>, BTreeSet<String>) = methods()
        .into_iter()
        .partition(|method| ![PROOF, WEB_IDENTITY].contains(&method.as_str()) && !method.starts_with(PEERS));
    let paths: BTreeSet<String> = calls.iter().map(|call| format!("/transship.{}", call.method)).collect();
    assert_eq!(paths, own, "a method is missing from this test");
    assert!(rest.len() == 6, "{rest:?}");

    let raw = Raw::new(&region);
    let before = books(&region);
    let mut unbelieved = strangers.unbelieved.clone();
    // The registry's password is for another door.
    unbelieved.push(("a registry password", Some(region.password("dev").await)));
    for (name, token) in &unbelieved {
        for call in &calls {
            let ended = raw.call(&format!("/transship.{}", call.method), token.as_deref(), &call.message).await;
            assert_eq!(ended.code, Code::Unauthenticated, "{name}: {}: {}", call.method, ended.message);
        }
        before.unchanged(&books(&region), name);
    }
    for call in &calls {
        let ended = raw.call(&format!("/transship.{}", call.method), Some(&strangers.foreign), &call.message).await;
        let expected = if call.own { Code::Ok } else { Code::PermissionDenied };
        assert_eq!(ended.code, expected, "a foreign account: {}: {}", call.method, ended.message);
    }
    let forged = trusting::AssumeRoleWithWebIdentityRequest {
        role_arn: format!("arn:aws:iam::{}:role/builder", things.dev),
        session_name: "day".into(),
        web_identity_token: "no.token.atall".into(),
        ..Default::default()
    };
    for token in [None, Some(strangers.owner.as_str()), Some(&strangers.foreign)] {
        for method in &rest {
            let shows = [PROOF, WEB_IDENTITY].contains(&method.as_str());
            let expected = if shows { Code::Unauthenticated } else { Code::Unimplemented };
            let message = if method == WEB_IDENTITY { forged.encode_to_vec() } else { Vec::new() };
            assert_eq!(raw.call(method, token, &message).await.code, expected, "{method}");
        }
    }
    let password = "/transship.trust.v1.TrustService/GetAuthorizationToken";
    let refused = raw.call(password, Some(&powerless), &[]).await;
    assert_eq!(refused.code, Code::PermissionDenied, "{}", refused.message);
    before.unchanged(&books(&region), "a foreign account");
    crate::operations::denied(&region, "prod", "refused-grpc.txt").await;
    let holder = format!("arn:aws:iam::{}:user/admin", things.dev);
    // A proof is refused in other ways: tests/it/proofs.rs.
    let proof: &[&str] = &["ExchangeToken"];
    let callers = ["anonymous".into(), "unproven".into(), holder];
    crate::operations::unbelieved(&region, "refused-grpc.txt", proof, &callers).await;
    for call in &calls {
        let ended = raw.call(&format!("/transship.{}", call.method), Some(&strangers.owner), &call.message).await;
        assert_eq!(ended.code, Code::Ok, "the owner: {}: {}", call.method, ended.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_belongs_to_who_began_it() {
    let region = Region::start().await;
    let dev = region.account("dev");
    let http = region.http("dev").await;
    http.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let colleague = tenants::user(&region, "dev", "colleague", &allow(&["ecr:*"], "*")).await;
    let other = tenants::http_of(&region, &colleague).await;
    let address = repository(&region, "dev", "app");
    let started =
        region.app().start_upload(&region.admin("dev").await, &address, Algorithm::Sha256, None).await.unwrap();
    let Started::Upload(upload) = started else { panic!("an upload was expected") };
    let path = format!("/v2/{dev}/app/blobs/uploads/{upload}");
    let before = books(&region);
    let finish = format!("{path}?digest={}", Digest::of(b"bytes"));
    for (method, path) in
        [(Method::GET, &path), (Method::PATCH, &path), (Method::PUT, &finish), (Method::DELETE, &path)]
    {
        let refused = other.call(method.clone(), path, &[], "bytes").await;
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            "{method}"
        );
    }
    // Nor does it belong to another repository of its owner.
    http.push_image(&format!("{dev}/base"), "v1", &[b"layer"]).await;
    let elsewhere = finish.replace("/app/", "/base/");
    assert_eq!(http.call(Method::PUT, &elsewhere, &[], "bytes").await.status, StatusCode::NOT_FOUND);
    assert_eq!(before.rows("uploads"), books(&region).rows("uploads"));
    assert_eq!(http.call(Method::PUT, &finish, &[], "bytes").await.status, StatusCode::CREATED);
}

//! Advisories about who is let in: proofs, signatures, sessions and what is made from them.

use crate::aws::{Call, Key, things};
use crate::grpc::{channel, log_in_with};
use crate::harness::{Authority, Http, MANIFEST, Region};
use crate::tenants::{self, PULL, allow, asking, books, code, grant, http_of, repository, told, trust, user};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use transship::ctx::{Caller, Ctx};
use transship::domain::sessions::AssumeRole;
use transship::error::Reason;
use transship::identity::canonical::{Payload, sha256};
use transship::identity::sigv4::{Request, Target};
use transship::identity::{Endpoint, sign};
use transship::names::{PrincipalKind, PrincipalName, Region as RegionName, UserName};
use transship::pb::identity::identity_service_client::IdentityServiceClient;
use transship::pb::keys::key_service_client::KeyServiceClient;
use transship::pb::storage::storage_service_client::StorageServiceClient;
use transship::pb::trust::trust_service_client::TrustServiceClient;
use transship::pb::{identity, keys, storage, trust as pb};
use transship::secret::Secret;
use transship::store::grants::GrantAction;

/// A proof for an endpoint, signed by the admin of dev.
fn proof(region: &Region, endpoint: &str) -> String {
    let (id, secret) = region.access_key("dev");
    let secret = Secret::new(secret);
    let credentials = sign::Credentials { access_key_id: &id, secret: &secret, session_token: None };
    let (app, endpoint) = (region.app(), Endpoint::parse(endpoint).unwrap());
    let (name, lasting) = (app.settings().region.clone(), Duration::from_secs(60));
    let (organization, nonce) = (app.token_keys().unwrap().organization(), app.clock().uid());
    sign::presign_get_caller_identity(
        &endpoint,
        &name,
        &credentials,
        app.clock().now(),
        lasting,
        organization,
        Some(nonce),
    )
}

/// Sends each of these as a proof; none may be believed, and none may change anything.
async fn none_is_believed(region: &Region, proofs: Vec<String>) {
    let before = books(region);
    let mut client = TrustServiceClient::new(channel(region).await);
    for presigned_url in proofs {
        let request = pb::ExchangeTokenRequest { presigned_url: presigned_url.clone() };
        let status = client.exchange_token(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{presigned_url}");
    }
    before.unchanged(&books(region), "a proof that was not believed");
    let good = pb::ExchangeTokenRequest { presigned_url: proof(region, &region.base) };
    assert!(client.exchange_token(good).await.is_ok(), "or nothing was shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2020_16250_a_proof_is_for_this_host_and_this_action_and_is_never_sent_anywhere() {
    let region = Region::start().await;
    let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = format!("http://{}", trap.local_addr().unwrap());
    let good = proof(&region, &region.base);
    let beside = region.base.replace("http://", "http://user@");
    none_is_believed(
        &region,
        vec![
            proof(&region, &elsewhere),
            good.replace(&region.base, &elsewhere),
            good.replace(&format!("{}/", region.base), &format!("{}/redirect/", region.base)),
            good.replace(&region.base, &beside),
            good.replace("Action=GetCallerIdentity", "Action=GetSessionToken"),
            good.replace("Action=GetCallerIdentity", "Action=AssumeRole"),
            good.replace("SignedHeaders=host", "SignedHeaders=accept%3Bhost"),
            good.replace("%3Bx-transship-organization", ""),
            format!("{good}&X-Amz-Server=1"),
            format!("{good}#<GetCallerIdentityResponse>"),
        ],
    )
    .await;
    let reached = tokio::time::timeout(Duration::from_millis(200), trap.accept()).await;
    assert!(reached.is_err(), "the host of a proof was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2022_2385_a_parameter_that_is_given_twice_in_any_spelling_makes_a_proof_none() {
    let region = Region::start().await;
    let key = region.access_key("prod").0;
    let twice = |more: &str| format!("{}&{more}", proof(&region, &region.base));
    let good = proof(&region, &region.base);
    let credential = good.split('&').find(|pair| pair.contains("Credential=")).unwrap().to_owned();
    let (_, scope) = credential.split_once("%2F").unwrap();
    none_is_believed(
        &region,
        vec![
            twice("Action=GetCallerIdentity"),
            twice("action=GetCallerIdentity"),
            twice("ACTION=AssumeRole"),
            twice("X-Amz-SignedHeaders=host"),
            twice("x-amz-signedheaders=host"),
            twice(&format!("x-amz-credential={key}%2F{scope}")),
            twice(&format!("X-Amz-Credential={key}%2F{scope}")),
            good.replace("Action=", "action="),
            good.replace("X-Amz-Credential=", "x-amz-credential="),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_11621_cve_2025_59048_a_role_is_its_account_and_its_id_and_never_its_name_alone() {
    let region = Region::start().await;
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    region.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let (admin, address) = (region.admin("dev").await, repository(&region, "dev", "app"));
    let mine = async |account: &str| {
        let me = format!("arn:aws:iam::{}:user/admin", region.account(account));
        tenants::role(&region, account, "runner", &trust(&me, None), &allow(&["ecr:*", "sts:*"], "*")).await
    };
    let theirs = mine("prod").await;
    // Trust in prod's role is none in dev's own of the same name, and the other way about.
    let trusting = trust(theirs.arn().as_str(), None);
    let target = tenants::role(&region, "dev", "target", &trusting, &allow(&["ecr:*"], "*")).await;
    let ours = mine("dev").await;
    let take = async |name: &PrincipalName| {
        let ctx = region.caller(name.clone()).await;
        region.app().assume_role(&ctx, asking(&target)).await.map(drop).map_err(|error| error.reason)
    };
    assert_eq!(take(&theirs).await, Ok(()));
    assert_eq!(take(&ours).await, Err(Reason::AccessDenied));
    // A grant to prod's role reaches nobody else who is called so.
    region
        .app()
        .create_grant(&admin, dev, grant(theirs.arn().as_str(), "app", "*", &[GrantAction::Pull]))
        .await
        .unwrap();
    let pull = async |name: &PrincipalName| {
        http_of(&region, name).await.get(&format!("/v2/{dev}/app/manifests/v1")).await.status.as_u16()
    };
    assert_eq!(pull(&theirs).await, 200);
    let user = user(&region, "prod", "runner", &allow(PULL, "*")).await;
    assert_eq!(pull(&user).await, 403, "a user of the role's name");
    // No principal is a pattern, so no name matches by itself.
    for pattern in ["arn:aws:iam::*:role/runner".to_owned(), format!("arn:aws:iam::{prod}:role/*"), "runner".to_owned()]
    {
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow",
            "Principal": {"AWS": pattern}, "Action": "ecr:BatchGetImage"}});
        let refused = region.app().set_repository_policy(&admin, &address, &policy.to_string(), false).await;
        assert_eq!(refused.map(drop).unwrap_err().reason, Reason::MalformedPolicy, "{pattern}");
        assert!(
            region.app().create_grant(&admin, dev, grant(&pattern, "app", "*", &[GrantAction::Pull])).await.is_err()
        );
    }
    // Made again it is another, with nothing of what the first was given.
    region.app().delete_principal(&region.admin("prod").await, theirs.clone()).await.unwrap();
    let again = mine("prod").await;
    assert_eq!((again.arn(), pull(&again).await), (theirs.arn(), 403));
    assert_eq!(take(&again).await, Err(Reason::AccessDenied));
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_62506_a_session_policy_bounds_what_its_holder_does_for_itself_as_well() {
    let region = Region::start().await;
    let (app, dev) = (region.app(), region.account("dev"));
    let me = format!("arn:aws:iam::{dev}:user/admin");
    let role = tenants::role(&region, "dev", "operator", &trust(&me, None), &allow(&["*"], "*")).await;
    let request = AssumeRole { policies: vec![allow(&["ecr:BatchGetImage"], "*")], ..asking(&role) };
    let issued = app.assume_role(&region.admin("dev").await, request).await.unwrap();
    let (_, ctx) = tenants::bearer(&region, &issued).await;
    let free = app.assume_role(&region.admin("dev").await, asking(&role)).await.unwrap();
    let (_, free) = tenants::bearer(&region, &free).await;
    let tries = async |ctx: &Ctx| {
        let all = allow(&["*"], "*");
        let user = PrincipalName { account: dev, kind: PrincipalKind::User, name: "admin".into() };
        [
            app.put_principal_policy(ctx, role.clone(), "own", &all).await.is_ok(),
            app.create_access_key(ctx, user).await.is_ok(),
            app.create_user(ctx, dev, &UserName::parse("puppet").unwrap()).await.is_ok(),
            app.authorization_token(ctx).await.is_ok(),
            app.list_sessions(ctx, dev, None, transship::names::PageSize::clamp(1)).await.is_ok(),
        ]
    };
    assert_eq!(tries(&ctx).await, [false; 5]);
    assert_eq!(tries(&free).await, [true; 5], "the role itself may");
    // Nor is there a way out by credentials of its own: a session takes none for itself.
    assert_eq!(app.session_token(&ctx, None, None).await.map(drop).unwrap_err().reason, Reason::AccessDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_55949_cve_2024_24747_what_is_made_for_somebody_has_no_more_than_it_has() {
    let region = Region::start().await;
    let (app, dev) = (region.app(), region.account("dev"));
    region.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let uploads = format!("/v2/{dev}/app/blobs/uploads/");
    let asks = async |http: &Http| {
        let pull = http.get(&format!("/v2/{dev}/app/manifests/v1")).await.status.as_u16();
        let push = http.call(Method::POST, &uploads, &[], "").await.status.as_u16();
        (pull, push)
    };
    // An access key that the admin makes is its user's, and gives nothing of the admin's.
    let puller = user(&region, "dev", "puller", &allow(PULL, "*")).await;
    let key = app.create_access_key(&region.admin("dev").await, puller.clone()).await.unwrap();
    let bearer = log_in_with(&region, &key.id, key.secret.expose().clone()).await;
    assert_eq!(asks(&Http::new(&region.base, Some(bearer))).await, (200, 403));
    let ctx = region.caller(puller.clone()).await;
    assert_eq!(app.create_access_key(&ctx, puller.clone()).await.map(drop).unwrap_err().reason, Reason::AccessDenied);
    // Session, password and token of a token: each generation under the bounds of the one before.
    let me = format!("arn:aws:iam::{dev}:user/admin");
    let role = tenants::role(&region, "dev", "operator", &trust(&me, None), &allow(&["*"], "*")).await;
    let mut narrow = PULL.to_vec();
    narrow.push("sts:AssumeRole");
    let request = AssumeRole { policies: vec![allow(&narrow, "*")], ..asking(&role) };
    let issued = app.assume_role(&region.admin("dev").await, request).await.unwrap();
    let (_, ctx) = tenants::bearer(&region, &issued).await;
    let password = app.authorization_token(&ctx).await.unwrap();
    let mut http = Http::new(&region.base, Some(password.text.expose().clone()));
    for generation in 0..3 {
        assert_eq!(asks(&http).await, (200, 403), "{generation}");
        let answer = http.get(&format!("/token?scope=repository:{dev}/app:pull,push,delete")).await;
        let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        http = Http::new(&region.base, Some(document["token"].as_str().unwrap().to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2017_11468_cve_2023_2253_manifests_and_pages_have_a_size() {
    let region = Region::start().await;
    let (dev, http) = (region.account("dev"), region.http("dev").await);
    http.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let text = http.get(&format!("/v2/{dev}/app/manifests/v1")).await.body;
    let put = async |reference: String, body: Bytes| {
        http.call(Method::PUT, &format!("/v2/{dev}/app/manifests/{reference}"), &[("content-type", MANIFEST)], body)
            .await
    };
    let big = put("big".into(), vec![b' '; (4 << 20) + 1].into()).await;
    assert_eq!((big.status, code(&big).as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"));
    for at in 0..1_001 {
        assert_eq!(put(format!("t{at}"), text.clone()).await.status, StatusCode::CREATED);
    }
    for n in ["1001", "1000000000", "4294967295", "99999999999999999999"] {
        let page = http.get(&format!("/v2/{dev}/app/tags/list?n={n}")).await;
        let document: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
        assert_eq!(document["tags"].as_array().unwrap().len(), 1_000, "{n}");
        assert!(page.header("link").contains("rel=\"next\""), "{n}");
    }
    for n in ["-1", "0x10", "1e9"] {
        assert_eq!(http.get(&format!("/v2/{dev}/app/tags/list?n={n}")).await.status, StatusCode::BAD_REQUEST, "{n}");
    }
    assert_eq!(http.get("/v2/_catalog?n=1000000000").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

/// Headers of a call to ECR, signed over what it claims its payload to be.
fn signed(region: &Region, key: &Key, payload: [u8; 32], more: &[(&'static str, &str)]) -> Vec<(String, String)> {
    signed_as(region, key, payload.into(), more)
}

/// The same for a body in chunks, which the request's own signature does not have.
fn signed_chunked(region: &Region, key: &Key, more: &[(&'static str, &str)]) -> Vec<(String, String)> {
    let headers = more.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    let mut headers: HeaderMap = headers.collect();
    headers.insert("x-amz-decoded-content-length", HeaderValue::from_static("0"));
    let empty = format!("0;chunk-signature={}\r\n\r\n", "0".repeat(64));
    let (_, chunks) = transship::identity::sigv4::chunked::read(&headers, empty.as_bytes()).unwrap();
    signed_as(region, key, Payload::Chunked(&chunks), more)
}

fn signed_as(region: &Region, key: &Key, payload: Payload<'_>, more: &[(&'static str, &str)]) -> Vec<(String, String)> {
    let host = region.base.strip_prefix("http://").unwrap();
    let mut sent = HeaderMap::new();
    let own = [
        ("host", host),
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", "AmazonEC2ContainerRegistry_V20150921.CreateRepository"),
    ];
    for (name, value) in own.iter().chain(more) {
        sent.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let (uri, name): (Uri, _) = ("/".parse().unwrap(), RegionName::parse("us-east-1").unwrap());
    let request = Request { method: &Method::POST, uri: &uri, headers: &sent, payload };
    let by = sign::Credentials { access_key_id: &key.id, secret: &key.secret, session_token: None };
    let target = Target { region: &name, service: "ecr" };
    let added = sign::headers(&request, &by, &target, region.app().clock().now()).unwrap();
    sent.extend(added);
    let kept = sent.iter().filter(|(name, _)| *name != "host");
    kept.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_31489_cve_2026_40344_cve_2026_41145_no_payload_goes_unsigned_and_no_credential_unverified() {
    let region = Region::start().await;
    let key = things(&region).await;
    let http = Http::new(&region.base, None);
    let body = serde_json::json!({"repositoryName": "smuggled"}).to_string();
    let send = async |path: &str, headers: &[(String, String)], body: &str| {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = http.call(Method::POST, path, &headers, Bytes::from(body.to_owned())).await;
        (answer.status.as_u16(), answer.text())
    };
    let before = books(&region);
    // Signed as if the payload were not part of it, in each mode that AWS has for that.
    for mode in [
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ] {
        let more = [("x-amz-content-sha256", mode), ("x-amz-trailer", "x-amz-checksum-crc32")];
        for payload in [sha256(b""), sha256(mode.as_bytes())] {
            let headers = signed(&region, &key, payload, &more);
            let (status, text) = send("/", &headers, &body).await;
            assert!(status == 400 && text.contains("Signature"), "{mode}: {status} {text}");
        }
    }
    // The bytes of the body are what was signed, to the last.
    let headers = signed(&region, &key, sha256(body.as_bytes()), &[]);
    for other in [format!("{body} "), body.replace("smuggled", "smuggler"), String::new()] {
        assert_eq!(send("/", &headers, &other).await.0, 400, "{other}");
    }
    // A credential beside no signature, or beside another's, or in both places.
    let plain: Vec<_> = headers.iter().filter(|(name, _)| name != "authorization").cloned().collect();
    let credential = format!("{}%2F20260101%2Fus-east-1%2Fecr%2Faws4_request", key.id);
    for query in [
        format!("/?X-Amz-Credential={credential}"),
        format!("/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}"),
        format!("/?AWSAccessKeyId={}&Signature=x", key.id),
        format!("/?X-Amz-Security-Token=x&X-Amz-Credential={credential}"),
    ] {
        for headers in [&plain, &headers] {
            let (status, text) = send(&query, headers, &body).await;
            assert!(status == 400 || status == 403, "{query}: {status} {text}");
        }
    }
    before.unchanged(&books(&region), "what was not signed");
    let headers = signed(&region, &key, sha256(body.as_bytes()), &[]);
    assert_eq!(send("/", &headers, &body).await.0, 200, "the same, signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_6004_cve_2025_6015_cve_2026_33419_guesses_count_together_however_they_are_spelled() {
    let region = Region::configured("[limits]\naddress_rate = 1\naddress_burst = 20\n").await;
    let (id, _) = region.access_key("dev");
    let began = tokio::time::Instant::now();
    let mut heard = 0;
    for at in 0..30 {
        // Another name, another case, another space, another surface: it is the address that is counted.
        let guess = Http::new(&region.base, Some(format!("{}{at}", " ".repeat(at % 3))));
        heard += usize::from(guess.get("/v2/").await.status == StatusCode::UNAUTHORIZED);
        let id = if at % 2 == 0 { id.to_ascii_lowercase() } else { id.clone() };
        let key = Key { id, secret: Secret::new(format!("guess {at}")), token: None };
        let call = Call {
            service: "sts",
            operation: "GetCallerIdentity",
            body: "Action=GetCallerIdentity&Version=2011-06-15".into(),
        };
        heard += usize::from(call.to(&region, Some(&key)).await.status == StatusCode::FORBIDDEN);
    }
    let more = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!((20..=20 + more).contains(&heard), "{heard} of 60 guesses were looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_6011_cve_2023_3462_cve_2020_35177_cve_2019_19030_cve_2020_13794_what_is_missing_reads_as_forbidden() {
    let region = Region::start().await;
    let (dev, owner) = (region.account("dev"), region.http("dev").await);
    owner.push_image(&format!("{dev}/vault"), "v1", &[b"layer"]).await;
    let foreign = region.http("prod").await;
    let layer = transship::names::Digest::of(b"layer");
    for (method, below) in [
        (Method::GET, "manifests/v1".to_owned()),
        (Method::HEAD, "manifests/v1".to_owned()),
        (Method::GET, format!("blobs/{layer}")),
        (Method::HEAD, format!("blobs/{layer}")),
        (Method::GET, "tags/list".to_owned()),
        (Method::POST, "blobs/uploads/".to_owned()),
        (Method::DELETE, "manifests/v1".to_owned()),
    ] {
        let there = foreign.call(method.clone(), &format!("/v2/{dev}/vault/{below}"), &[], "").await;
        let missing = foreign.call(method.clone(), &format!("/v2/{dev}/voids/{below}"), &[], "").await;
        assert_eq!(told(&there, &["vault"]), told(&missing, &["voids"]), "{method} {below}");
    }
    // Nor does an answer tell which keys there are: an unknown one and a wrong secret read the same.
    let (id, _) = region.access_key("dev");
    let wrong = Secret::new("0".repeat(40));
    let ask = async |id: &str| {
        let key = Key { id: id.to_owned(), secret: wrong.clone(), token: None };
        let call = Call {
            service: "sts",
            operation: "GetCallerIdentity",
            body: "Action=GetCallerIdentity&Version=2011-06-15".into(),
        };
        let answer = call.to(&region, Some(&key)).await;
        let text = answer.text();
        let (text, _) = text.split_once("<RequestId>").unwrap();
        (answer.status, text.to_owned())
    };
    assert_eq!(ask(&id).await, ask("AKIAAAAAAAAAAAAAAAAA").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_23208_cve_2026_2733_who_is_removed_or_loses_its_rights_is_given_no_more_tokens_of_any_kind() {
    let region = Region::start().await;
    let (app, dev, admin) = (region.app(), region.account("dev"), region.admin("dev").await);
    region.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let name = user(&region, "dev", "leaver", &allow(PULL, "*")).await;
    let made = app.create_access_key(&admin, name.clone()).await.unwrap();
    let key = Key { id: made.id.clone(), secret: made.secret.clone(), token: None };
    let bearer = log_in_with(&region, &made.id, made.secret.expose().clone()).await;
    let password = http_of(&region, &name).await;
    let issued = app.session_token(&region.caller(name.clone()).await, None, None).await.unwrap();
    let session = Key {
        id: issued.credentials.access_key_id.clone(),
        secret: issued.credentials.secret.clone(),
        token: Some(issued.credentials.session_token.clone()),
    };
    // Whether a token of the registry is still given: to each credential, at each door.
    let given = async || {
        let call = Call { service: "ecr", operation: "GetAuthorizationToken", body: "{}".into() };
        let mut grpc = TrustServiceClient::new(channel(&region).await);
        let asked = crate::grpc::under(&bearer, pb::GetAuthorizationTokenRequest::default());
        let pulled = password.get(&format!("/v2/{dev}/app/manifests/v1")).await.status == StatusCode::OK;
        [
            call.to(&region, Some(&key)).await.status == StatusCode::OK,
            call.to(&region, Some(&session)).await.status == StatusCode::OK,
            grpc.get_authorization_token(asked).await.is_ok(),
            pulled,
        ]
    };
    assert_eq!(given().await, [true; 4]);
    // Its rights are taken away, and its tokens do not remember them.
    app.put_principal_policy(&admin, name.clone(), "given", &allow(&["ecr:ListImages"], "*")).await.unwrap();
    assert_eq!(given().await, [false; 4]);
    app.put_principal_policy(&admin, name.clone(), "given", &allow(PULL, "*")).await.unwrap();
    assert_eq!(given().await, [true; 4]);
    app.delete_access_key(&admin, name.clone(), &made.id).await.unwrap();
    assert_eq!(given().await, [false, true, true, true], "a key's end is not its user's");
    app.delete_principal(&admin, name.clone()).await.unwrap();
    assert_eq!(given().await, [false; 4]);
    let refused = password.get(&format!("/token?scope=repository:{dev}/app:pull")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2020_25816_cve_2021_32923_a_token_ends_with_what_it_was_made_from_and_is_never_prolonged() {
    let region = Region::start().await;
    let (app, dev) = (region.app(), region.account("dev"));
    let me = format!("arn:aws:iam::{dev}:user/admin");
    let role = tenants::role(&region, "dev", "short", &trust(&me, None), &allow(&["*"], "*")).await;
    let admin = region.admin("dev").await;
    let request = AssumeRole { duration: Some(Duration::from_secs(900)), ..asking(&role) };
    let issued = app.assume_role(&admin, request).await.unwrap();
    let (bearer, ctx) = tenants::bearer(&region, &issued).await;
    let password = app.authorization_token(&ctx).await.unwrap();
    assert_eq!(password.expires_at, issued.expires_at, "twelve hours are cut to the session's");
    app.clock().advance(Duration::from_secs(880));
    let now = Ctx { caller: ctx.caller.clone(), ..app.system("test") };
    assert_eq!(app.authorization_token(&now).await.unwrap().expires_at, issued.expires_at, "asking again adds nothing");
    let http = Http::new(&region.base, Some(password.text.expose().clone()));
    let answer = http.get("/token").await;
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(document["expires_in"].as_u64().unwrap() <= 20, "{document}");
    let child = Http::new(&region.base, Some(document["token"].as_str().unwrap().to_owned()));
    assert_eq!(child.get("/v2/").await.status, StatusCode::OK);
    app.clock().advance(Duration::from_secs(21));
    for token in [&child, &http, &Http::new(&region.base, Some(bearer))] {
        assert_eq!(token.get("/v2/").await.status, StatusCode::UNAUTHORIZED);
    }
    let Caller::Principal(principal) = &ctx.caller else { panic!("a role") };
    let stale = Ctx { caller: Caller::Principal(Arc::clone(principal)), ..app.system("test") };
    assert_eq!(app.authorization_token(&stale).await.map(drop).unwrap_err().reason, Reason::CredentialsExpired);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_5807_cve_2025_52894_what_an_administrator_does_nobody_else_begins() {
    let region = Region::start().await;
    let (app, dev, admin) = (region.app(), region.account("dev"), region.admin("dev").await);
    let key = app.create_key(&admin, dev, "in use").await.unwrap();
    let parent = format!("accounts/{dev}");
    let before = books(&region);
    let channel = channel(&region).await;
    let disable = keys::SetKeyStateRequest {
        name: format!("{parent}/keys/{}", key.arn.resource().strip_prefix("key/").unwrap()),
        state: keys::key::State::Disabled.into(),
        ..Default::default()
    };
    let account = identity::CreateAccountRequest { display_name: "third".into(), ..Default::default() };
    let user = identity::CreateUserRequest { parent, user_id: "intruder".into(), ..Default::default() };
    let mut directory = IdentityServiceClient::new(channel.clone());
    let codes = [
        KeyServiceClient::new(channel.clone()).set_key_state(disable).await.unwrap_err().code(),
        directory.create_account(account).await.unwrap_err().code(),
        directory.create_user(user).await.unwrap_err().code(),
        StorageServiceClient::new(channel.clone())
            .collect(storage::CollectRequest::default())
            .await
            .unwrap_err()
            .code(),
        StorageServiceClient::new(channel).scrub(storage::ScrubRequest::default()).await.unwrap_err().code(),
    ];
    assert_eq!(codes, [Code::Unauthenticated; 5]);
    before.unchanged(&books(&region), "nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn ghsa_7qjx_an_exchanged_token_is_judged_by_the_whole_policy() {
    let region = Region::start().await;
    let (app, dev, admin) = (region.app(), region.account("dev"), region.admin("dev").await);
    region.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let deny = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;
    let name = user(&region, "dev", "barred", &allow(PULL, "*")).await;
    let key = app.create_access_key(&admin, name.clone()).await.unwrap();
    let http = async || {
        let bearer = log_in_with(&region, &key.id, key.secret.expose().clone()).await;
        let exchanged = Http::new(&region.base, Some(bearer));
        let answer = exchanged.get(&format!("/token?scope=repository:{dev}/app:pull")).await;
        let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let again = Http::new(&region.base, Some(document["token"].as_str().unwrap().to_owned()));
        let path = format!("/v2/{dev}/app/manifests/v1");
        (exchanged.get(&path).await.status.as_u16(), again.get(&path).await.status.as_u16())
    };
    assert_eq!(http().await, (200, 200));
    app.put_principal_policy(&admin, name.clone(), "barred", deny).await.unwrap();
    assert_eq!(http().await, (403, 403));
}

/// A `ClientHello` of a version before 1.3, which is read by its own version number.
fn client_hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.push(0);
    let suites: [u8; 12] = [0xc0, 0x2f, 0xc0, 0x2b, 0xc0, 0x13, 0xc0, 0x14, 0x00, 0x2f, 0x00, 0x35];
    body.extend([0, 12]);
    body.extend(suites);
    body.extend([1, 0]);
    // SPEC: RFC 8422 and RFC 5246: supported groups, point formats, signature algorithms; extended master secret.
    let extensions: [u8; 34] =
        [0, 10, 0, 6, 0, 4, 0, 29, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 10, 0, 8, 4, 1, 4, 3, 8, 4, 8, 7, 0, 23, 0, 0];
    body.extend([0, 34]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_23656_nothing_before_tls_1_2_is_spoken() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = Authority::new().server("localhost");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("chain.pem"), certificate).unwrap();
    std::fs::write(path("key.pem"), key).unwrap();
    let more = format!("[tls]\ncertificate = {:?}\nkey = {:?}", path("chain.pem"), path("key.pem"));
    let region = Region::configured(&more).await;
    for (minor, spoken) in [(0, false), (1, false), (2, false), (3, true)] {
        let mut socket = tokio::net::TcpStream::connect(region.server.address()).await.unwrap();
        socket.write_all(&client_hello(minor)).await.unwrap();
        let mut head = [0; 7];
        let read = tokio::time::timeout(Duration::from_secs(5), socket.read_exact(&mut head)).await;
        read.expect("an answer comes").expect("an answer comes");
        // SPEC: RFC 8446 section 6: record type 21 is an alert, 22 a handshake; alert 70 is protocol_version.
        let refused = head[0] == 21 && head[6] == 70;
        assert_eq!((head[0] == 22, refused), (spoken, !spoken), "TLS 1.{}: {head:?}", i32::from(minor) - 1);
    }
}

/// The body of a request that was signed for chunks, in chunks of so many bytes, each signed after the one before.
fn chunked(key: &Key, headers: &[(String, String)], body: &str, size: usize) -> String {
    let of = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone()).unwrap();
    let (date, mut before) = (of("x-amz-date"), of("authorization").rsplit_once("Signature=").unwrap().1.to_owned());
    let scope = format!("{}/us-east-1/ecr/aws4_request", &date[..8]);
    let mac = |key: &[u8], text: &str| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
        aws_lc_rs::hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
    };
    let first = mac(format!("AWS4{}", key.secret.expose()).as_bytes(), &date[..8]);
    let signing = ["us-east-1", "ecr", "aws4_request"].iter().fold(first, |key, part| mac(&key, part));
    let mut text = String::new();
    let pieces = body.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).unwrap());
    for data in pieces.chain([""]) {
        let hashes = format!("{}\n{}", hex::encode(sha256(b"")), hex::encode(sha256(data.as_bytes())));
        let signed = format!("AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}\n{before}\n{hashes}");
        before = hex::encode(mac(&signing, &signed));
        text += &format!("{:x};chunk-signature={before}\r\n{data}\r\n", data.len());
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_signed_chunks_is_believed_to_the_last_byte_and_no_other() {
    let region = Region::start().await;
    let key = things(&region).await;
    let http = Http::new(&region.base, None);
    let content = serde_json::json!({"repositoryName": "in-chunks"}).to_string();
    let length = content.len().to_string();
    let more = [
        ("content-encoding", "aws-chunked"),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("x-amz-decoded-content-length", length.as_str()),
    ];
    let headers = signed_chunked(&region, &key, &more);
    let given: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let send = async |body: String| http.call(Method::POST, "/", &given, Bytes::from(body)).await.status.as_u16();
    let good = chunked(&key, &headers, &content, 10);
    let before = books(&region);
    let (head, last) = good.split_at(good.rfind("0;chunk-signature").unwrap());
    for bad in [
        content.clone(),
        head.to_owned(),
        last.to_owned(),
        good.replace("n-chunks", "n-pieces"),
        good.replacen("a;", "b;", 1),
        format!("{good}\r\n"),
        format!("{head}{good}"),
        chunked(&key, &headers, &content.replace("chunks", "chunk"), 10),
        chunked(&key, &headers, &content, 10).replacen("chunk-signature=", "chunk-signature=0", 1),
        chunked(&key, &headers, &content, 10).to_uppercase(),
        String::new(),
    ] {
        let status = send(bad.clone()).await;
        assert_ne!(bad, good);
        assert!(status == 400 || status == 403, "{status}: {bad}");
    }
    before.unchanged(&books(&region), "what was not signed");
    assert_eq!(send(good).await, 200, "each chunk signed after the one before");
}

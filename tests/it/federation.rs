//! Identity tokens of other issuers: what they open, and every way in which they may not.

use crate::harness::{Http, Organization, Region, eventually};
use crate::issuer::{Issuer, encoded, rsa_signature};
use crate::tenants::{self, PULL, allow};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::RsaKeyPair;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;
use transship::error::Reason;
use transship::names::{PageSize, PrincipalName};
use transship::pb::trust as pb;
use transship::pb::trust::trust_service_client::TrustServiceClient;

/// This machine is inside, so it has to be allowed.
pub const LOCAL: &str = "[federation]\nprivate_networks = [\"127.0.0.0/8\"]\n";
const PUSH: &[&str] = &["ecr:*", "sts:GetCallerIdentity"];

pub fn now(region: &Region) -> i64 {
    region.app().clock().now().secs()
}

/// Has an account trust an issuer for AWS's usual audience.
async fn put_provider(region: &Region, account: &str, issuer: &Issuer) {
    let (ctx, id) = (region.admin(account).await, region.account(account));
    let url = transship::names::Issuer::parse(&issuer.url).unwrap();
    let clients = vec!["sts.amazonaws.com".to_owned()];
    region.app().put_oidc_provider(&ctx, id, url, clients, Some(issuer.ca.clone())).await.unwrap();
}

/// A trust policy for the bearers of an issuer's tokens of whom a condition holds.
fn trusting(region: &Region, account: &str, issuer: &Issuer, actions: &[&str], condition: &Value) -> String {
    let id = issuer.url.trim_start_matches("https://");
    let provider = format!("arn:aws:iam::{}:oidc-provider/{id}", region.account(account));
    let text = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow",
        "Principal": {"Federated": provider}, "Action": actions, "Condition": condition}});
    text.to_string().replace("ISSUER", id)
}

const WEB: &[&str] = &["sts:AssumeRoleWithWebIdentity"];

/// An issuer that dev trusts, and a role of dev's for what it signs on main.
pub async fn releases(region: &Region) -> (Issuer, PrincipalName) {
    let issuer = Issuer::start().await;
    put_provider(region, "dev", &issuer).await;
    let condition = json!({"StringEquals": {"ISSUER:aud": "sts.amazonaws.com", "ISSUER:repository_id": "1296269"},
        "StringLike": {"ISSUER:sub": "repo:acme/app:ref:refs/heads/main"}});
    let trust = trusting(region, "dev", &issuer, WEB, &condition);
    let role = tenants::role(region, "dev", "release", &trust, &allow(PUSH, "*")).await;
    (issuer, role)
}

/// What the wire of AWS answers to a token: status and text.
async fn assume(region: &Region, role: &PrincipalName, token: &str) -> (StatusCode, String) {
    assume_with(region, role, token, "").await
}

async fn assume_with(region: &Region, role: &PrincipalName, token: &str, more: &str) -> (StatusCode, String) {
    let body = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName=ci&WebIdentityToken={token}{more}",
        role.arn()
    );
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = Http::new(&region.base, None).call(Method::POST, "/", &headers, body).await;
    (answer.status, answer.text())
}

/// The code of AWS for a token, `ok` if it is taken.
pub async fn code(region: &Region, role: &PrincipalName, token: &str) -> String {
    let (status, text) = assume(region, role, token).await;
    if status == StatusCode::OK {
        assert!(text.contains("<SessionToken>"), "{text}");
        return "ok".to_owned();
    }
    assert!(token.len() < 10 || !text.contains(token), "the token is told again: {text}");
    let from = text.split("<Code>").nth(1).unwrap_or_default();
    format!("{} {}", status.as_u16(), from.split('<').next().unwrap_or_default())
}

/// A request of the registry with a role as user and a token as password.
pub async fn shown(region: &Region, role: &PrincipalName, token: &str, path: &str) -> StatusCode {
    let basic = format!("Basic {}", STANDARD.encode(format!("{}/{}:{token}", role.account, role.name)));
    let http = Http::new(&region.base, None);
    http.call(Method::GET, path, &[("authorization", &basic)], Bytes::new()).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_on_the_right_branch_takes_the_role_and_no_other_job_does() {
    let region = Region::configured(LOCAL).await;
    let (issuer, role) = releases(&region).await;
    let (status, text) = assume(&region, &role, &issuer.token(&issuer.github("main", now(&region)))).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    for part in [
        "<SubjectFromWebIdentityToken>repo:acme/app:ref:refs/heads/main</SubjectFromWebIdentityToken>".to_owned(),
        format!("<Provider>{}</Provider>", issuer.url),
        "<Audience>sts.amazonaws.com</Audience>".to_owned(),
        format!("<Arn>arn:aws:sts::{}:assumed-role/release/ci</Arn>", role.account),
    ] {
        assert!(text.contains(&part), "{part} is not in {text}");
    }
    let other = issuer.token(&issuer.github("feature", now(&region)));
    let (status, text) = assume(&region, &role, &other).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{text}");
    assert!(text.contains("<Code>AccessDenied</Code>"), "{text}");
    assert!(text.contains("<Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message>"), "{text}");
    // A role that is not there reads the same; so does one that trusts nobody of this issuer.
    let absent = PrincipalName { name: "absent".into(), ..role.clone() };
    let (absent, told) = assume(&region, &absent, &issuer.token(&issuer.github("main", now(&region)))).await;
    let same = |text: &str| text.split("<RequestId>").next().map(ToOwned::to_owned);
    assert_eq!((status, same(&text)), (absent, same(&told)));
    // Another repository under the same subject, as after a rename.
    let mut renamed = issuer.github("main", now(&region));
    renamed["repository_id"] = json!("666");
    assert_eq!(code(&region, &role, &issuer.token(&renamed)).await, "403 AccessDenied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_a_password_for_as_long_as_it_and_its_session_are_good() {
    let region = Region::configured(LOCAL).await;
    let (issuer, role) = releases(&region).await;
    let token = issuer.token(&issuer.github("main", now(&region)));
    assert_eq!(shown(&region, &role, &token, "/v2/").await, StatusCode::OK);
    // The token service takes it too, and what it gives pushes and pulls.
    let scope = format!("/token?service=x&scope=repository:{}/team/app:pull,push", role.account);
    let basic = format!("Basic {}", STANDARD.encode(format!("{}/release:{token}", role.account)));
    let http = Http::new(&region.base, None);
    let given = http.call(Method::GET, &scope, &[("authorization", &basic)], "").await;
    assert_eq!(given.status, StatusCode::OK, "{}", given.text());
    let bearer: Value = serde_json::from_str(&given.text()).unwrap();
    let pusher = Http::new(&region.base, Some(bearer["token"].as_str().unwrap().to_owned()));
    pusher.push_image(&format!("{}/team/app", role.account), "v1", &[b"layer"]).await;
    let path = format!("/v2/{}/team/app/manifests/v1", role.account);
    assert_eq!(shown(&region, &role, &token, &path).await, StatusCode::OK);
    // One session for all of it, and its end is the password's.
    let admin = region.admin("dev").await;
    let sessions = region.app().list_sessions(&admin, role.account, None, PageSize::clamp(10)).await.unwrap();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    assert_eq!(sessions[0].name, "repo-acme-app-ref-refs-heads-main");
    region.app().revoke_session(&admin, role.account, sessions[0].id).await.unwrap();
    assert_eq!(shown(&region, &role, &token, &path).await, StatusCode::UNAUTHORIZED);
    assert_eq!(shown(&region, &role, &token, "/v2/").await, StatusCode::UNAUTHORIZED);
    // Roles and tokens that do not fit each other.
    let fresh = issuer.token(&issuer.github("main", now(&region) + 1));
    assert_eq!(shown(&region, &role, &fresh, &path).await, StatusCode::OK);
    let absent = PrincipalName { name: "absent".into(), ..role.clone() };
    assert_eq!(shown(&region, &absent, &fresh, &path).await, StatusCode::UNAUTHORIZED);
    assert_eq!(shown(&region, &role, "x.y.z", &path).await, StatusCode::UNAUTHORIZED);
    // What let it in has to let it in still.
    assert_eq!(shown(&region, &role, &fresh, &path).await, StatusCode::OK);
    let url = transship::names::Issuer::parse(&issuer.url).unwrap();
    region.app().delete_oidc_provider(&admin, role.account, url).await.unwrap();
    assert_eq!(shown(&region, &role, &fresh, &path).await, StatusCode::UNAUTHORIZED);
    put_provider(&region, "dev", &issuer).await;
    assert_eq!(shown(&region, &role, &fresh, &path).await, StatusCode::OK);
    // A role that is made again under the name is another, and trusts whom it trusts.
    region.app().delete_principal(&admin, role.clone()).await.unwrap();
    assert_eq!(shown(&region, &role, &fresh, &path).await, StatusCode::UNAUTHORIZED);
    let trust = trusting(&region, "dev", &issuer, WEB, &json!({"StringLike": {"ISSUER:sub": "repo:acme/*"}}));
    tenants::role(&region, "dev", "release", &trust, &allow(PUSH, "*")).await;
    assert_eq!(shown(&region, &role, &fresh, &path).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_hangs_up_keeps_nobody_else_waiting() {
    use tokio::io::AsyncWriteExt;
    let region = Region::configured(LOCAL).await;
    let (issuer, role) = releases(&region).await;
    let claims = issuer.github("main", now(&region));
    let made_up = issuer.signed(&json!({"alg": "RS256", "kid": "made-up"}), &claims);
    let silence = issuer.silence().await;
    let body = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName=ci&WebIdentityToken={made_up}",
        role.arn()
    );
    let request = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut socket = tokio::net::TcpStream::connect(region.server.address()).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let discovery = "/.well-known/openid-configuration";
    eventually("the issuer is asked", async || (issuer.asked(discovery) == 1).then_some(())).await;
    drop(socket);
    // Time for the server to see that nobody waits any more.
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Many at once, before anything is known: each waits for the one answer.
    let region = Arc::new(region);
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let (region, role, token) = (region.clone(), role.clone(), issuer.token(&claims));
            tokio::spawn(async move { code(&region, &role, &token).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(silence);
    for waits in waiting {
        assert_eq!(waits.await.unwrap(), "ok");
    }
    assert_eq!(issuer.asked(discovery), 1, "what was asked for serves whoever comes next");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_takes_the_role_of_its_service_account() {
    let region = Region::configured(LOCAL).await;
    let issuer = Issuer::start().await;
    put_provider(&region, "prod", &issuer).await;
    let condition = json!({"StringEquals": {"ISSUER:sub": "system:serviceaccount:shop:web"}});
    let trust = trusting(&region, "prod", &issuer, WEB, &condition);
    let role = tenants::role(&region, "prod", "web", &trust, &allow(PULL, "*")).await;
    let header = json!({"alg": "ES256", "kid": "e"});
    let pod =
        |namespace: &str, account: &str| issuer.signed(&header, &issuer.kubernetes(namespace, account, now(&region)));
    assert_eq!(code(&region, &role, &pod("shop", "web")).await, "ok");
    assert_eq!(code(&region, &role, &pod("shop", "db")).await, "403 AccessDenied");
    assert_eq!(code(&region, &role, &pod("evil", "web")).await, "403 AccessDenied");
    // Over gRPC the same, with the words of gRPC.
    let mut trust = TrustServiceClient::connect(region.base.clone()).await.unwrap();
    let request = |token: String| pb::AssumeRoleWithWebIdentityRequest {
        role_arn: role.arn().to_string(),
        session_name: "pod".to_owned(),
        web_identity_token: token,
        duration: None,
        policies: Vec::new(),
        policy_arns: Vec::new(),
    };
    let given = trust.assume_role_with_web_identity(request(pod("shop", "web"))).await.unwrap().into_inner();
    assert_eq!((given.subject.as_str(), given.issuer), ("system:serviceaccount:shop:web", issuer.url.clone()));
    assert!(given.credentials.unwrap().access_key_id.starts_with("ASIA"));
    let refused = trust.assume_role_with_web_identity(request(pod("shop", "db"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(
        trust.assume_role_with_web_identity(request("x".to_owned())).await.unwrap_err().code(),
        Code::Unauthenticated
    );
}

/// Each attack, with the code that refuses it.
pub fn attacks(issuer: &Issuer, now: i64) -> Vec<(&'static str, String, &'static str)> {
    let claims = issuer.github("main", now);
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        issuer.token(&claims)
    };
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        issuer.token(&claims)
    };
    let unsigned = |algorithm: &str| {
        let header = encoded(json!({"alg": algorithm, "kid": "r"}).to_string());
        format!("{header}.{}.", encoded(claims.to_string()))
    };
    let keyed = |secret: &[u8], algorithm: &str| {
        let message =
            format!("{}.{}", encoded(json!({"alg": algorithm, "kid": "r"}).to_string()), encoded(claims.to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", encoded(tag))
    };
    let own = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let by_own_key = |more: Value| {
        let mut header = json!({"alg": "RS256", "kid": "r"});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        format!("{message}.{}", encoded(rsa_signature(&own, message.as_bytes())))
    };
    let own_jwk = {
        use aws_lc_rs::signature::KeyPair;
        let public = aws_lc_rs::rsa::PublicKeyComponents::<Vec<u8>>::from(own.public_key());
        json!({"kty": "RSA", "kid": "r", "n": encoded(public.n), "e": encoded(public.e)})
    };
    let good = issuer.token(&claims);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(issuer.rsa_der()));
    let cut = good.rsplit_once('.').unwrap().0.to_owned();
    vec![
        ("CVE-2026-33322: none", unsigned("none"), "400 InvalidIdentityToken"),
        ("CVE-2026-33322: none in capitals", unsigned("NONE"), "400 InvalidIdentityToken"),
        ("CVE-2026-33322: no signature", unsigned("RS256"), "400 InvalidIdentityToken"),
        (
            "CVE-2026-33322: hs256 with the public key as pem",
            keyed(pem.as_bytes(), "HS256"),
            "400 InvalidIdentityToken",
        ),
        (
            "CVE-2026-33322: hs256 with the public key as der",
            keyed(&issuer.rsa_der(), "HS256"),
            "400 InvalidIdentityToken",
        ),
        ("CVE-2026-33322: hs256 said to be rs256", keyed(pem.as_bytes(), "RS256"), "400 InvalidIdentityToken"),
        (
            "CVE-2026-33322: an rsa key for es256",
            issuer.signed(&json!({"alg": "ES256", "kid": "r"}), &claims),
            "400 InvalidIdentityToken",
        ),
        (
            "CVE-2026-33322: an elliptic key for rs256",
            issuer.signed(&json!({"alg": "RS256", "kid": "e"}), &claims),
            "400 InvalidIdentityToken",
        ),
        (
            "CVE-2025-24976: embedded jwk under a known kid",
            by_own_key(json!({"jwk": own_jwk})),
            "400 InvalidIdentityToken",
        ),
        ("CVE-2025-24976: jku", by_own_key(json!({"jku": "https://evil.example/keys"})), "400 InvalidIdentityToken"),
        ("CVE-2025-24976: x5u", by_own_key(json!({"x5u": "https://evil.example/x"})), "400 InvalidIdentityToken"),
        ("CVE-2025-24976: x5c", by_own_key(json!({"x5c": ["MIIB"]})), "400 InvalidIdentityToken"),
        ("CVE-2025-24976: another key under a known kid", by_own_key(json!({})), "400 InvalidIdentityToken"),
        ("CVE-2024-5798: wrong audience", with("aud", json!("https://github.com/acme")), "400 InvalidIdentityToken"),
        ("CVE-2024-5798: audience in a list of others", with("aud", json!(["a", "b"])), "400 InvalidIdentityToken"),
        ("CVE-2024-5798: no audience", without("aud"), "400 InvalidIdentityToken"),
        (
            "CVE-2024-5798: audience that begins alike",
            with("aud", json!("sts.amazonaws.com.evil")),
            "400 InvalidIdentityToken",
        ),
        ("an issuer that nobody trusts", with("iss", json!("https://evil.example")), "400 InvalidIdentityToken"),
        ("the issuer with a slash", with("iss", json!(format!("{}/", issuer.url))), "400 InvalidIdentityToken"),
        ("no issuer", without("iss"), "400 InvalidIdentityToken"),
        ("no subject", without("sub"), "400 InvalidIdentityToken"),
        ("no end", without("exp"), "400 InvalidIdentityToken"),
        ("ended", with("exp", json!(now - 61)), "400 ExpiredTokenException"),
        ("from tomorrow", with("nbf", json!(now + 86_400)), "400 InvalidIdentityToken"),
        ("issued tomorrow", with("iat", json!(now + 86_400)), "400 InvalidIdentityToken"),
        ("an end in text", with("exp", json!((now + 300).to_string())), "400 InvalidIdentityToken"),
        ("cut", cut, "400 InvalidIdentityToken"),
        ("no token", "x".to_owned(), "400 InvalidIdentityToken"),
        ("too long", "x".repeat(20_001), "400 InvalidIdentityToken"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_are_refused_and_change_nothing() {
    let region = Region::configured(LOCAL).await;
    let (issuer, role) = releases(&region).await;
    let token = issuer.token(&issuer.github("main", now(&region)));
    assert_eq!(code(&region, &role, &token).await, "ok", "the token from which the attacks are made is good");
    let admin = region.admin("dev").await;
    let issued =
        async || region.app().list_sessions(&admin, role.account, None, PageSize::clamp(100)).await.unwrap().len();
    let before = issued().await;
    // Those that are known by a number are in `tests/it/cves/jwt.rs`.
    for (attack, token, expected) in
        attacks(&issuer, now(&region)).into_iter().filter(|(name, ..)| !name.starts_with("CVE-"))
    {
        assert_eq!(code(&region, &role, &token).await, expected, "{attack}");
        let status = shown(&region, &role, &token, "/v2/").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{attack} as a password");
    }
    assert_eq!(issued().await, before);
    region.app().flush_audit().await;
    let unproven =
        |(op, caller): (String, String)| (caller.starts_with("unproven") && op.contains("Web")).then_some(op);
    let refused: BTreeSet<String> = crate::operations::denials(&region).into_iter().filter_map(unproven).collect();
    let text: String = refused.into_iter().map(|op| op + "\n").collect();
    crate::operations::golden("tests/golden/refused-tokens.txt", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_nothing_beyond_the_account_and_the_policy_that_name_its_issuer() {
    let region = Region::configured(LOCAL).await;
    let (issuer, role) = releases(&region).await;
    let token = issuer.token(&issuer.github("main", now(&region)));
    // Prod has a role that names dev's provider; prod itself trusts no issuer.
    let trust = trusting(&region, "dev", &issuer, WEB, &json!({"StringLike": {"ISSUER:sub": "repo:acme/*"}}));
    let foreign = tenants::role(&region, "prod", "release", &trust, &allow(PUSH, "*")).await;
    let (_, text) = assume(&region, &foreign, &token).await;
    let sentence = format!("No OpenIDConnect provider found in your account for {}", issuer.url);
    assert!(text.contains("<Code>InvalidIdentityToken</Code>") && text.contains(&sentence), "{text}");
    // Once it does, the policy still names another account's.
    put_provider(&region, "prod", &issuer).await;
    assert_eq!(code(&region, &foreign, &token).await, "403 AccessDenied");
    // Trust for users is no trust for tokens, and the action has to be the one.
    for (name, trust) in [
        ("people", tenants::trust(&format!("arn:aws:iam::{}:root", role.account), None)),
        ("action", trusting(&region, "dev", &issuer, &["sts:TagSession"], &json!({}))),
        (
            "anybody",
            json!({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": "*",
            "Action": "sts:AssumeRoleWithWebIdentity"}})
            .to_string(),
        ),
    ] {
        let other = tenants::role(&region, "dev", name, &trust, &allow(PUSH, "*")).await;
        assert_eq!(code(&region, &other, &token).await, "403 AccessDenied", "{name}");
    }
    // A session that was given for a token is still bound by its own policy.
    let narrow =
        json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ecr:ListImages", "Resource": "*"}});
    let (status, text) = assume_with(&region, &role, &token, &format!("&Policy={narrow}")).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let (_, text) = assume_with(&region, &role, &token, "&DurationSeconds=7201").await;
    assert!(text.contains("exceeds the 7200 s"), "{text}");
    // Trust that was taken back opens nothing more.
    let (admin, url) = (region.admin("dev").await, transship::names::Issuer::parse(&issuer.url).unwrap());
    region.app().delete_oidc_provider(&admin, role.account, url).await.unwrap();
    assert_eq!(code(&region, &role, &token).await, "400 InvalidIdentityToken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_keys_asks_the_issuer_once() {
    let region = Region::configured(LOCAL).await;
    let (issuer, role) = releases(&region).await;
    assert_eq!(code(&region, &role, &issuer.token(&issuer.github("main", now(&region)))).await, "ok");
    let before = issuer.asked("/keys");
    for attempt in 0..200 {
        let claims = issuer.github("main", now(&region));
        let token = issuer.signed(&json!({"alg": "RS256", "kid": format!("made-up-{attempt}")}), &claims);
        assert_eq!(code(&region, &role, &token).await, "400 InvalidIdentityToken");
    }
    assert_eq!(before, 1);
    assert!(issuer.asked("/keys") <= 2, "asked {} times", issuer.asked("/keys"));
    assert_eq!(issuer.asked("/.well-known/openid-configuration"), issuer.asked("/keys"));
    // Known keys go on serving meanwhile.
    assert_eq!(code(&region, &role, &issuer.token(&issuer.github("main", now(&region)))).await, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_hangs_holds_up_nobody_whose_key_is_known_and_its_keys_serve_an_hour() {
    let region = Arc::new(Region::configured(LOCAL).await);
    let (issuer, role) = releases(&region).await;
    let token = |branch: &str| issuer.token(&issuer.github(branch, now(&region)));
    assert_eq!(code(&region, &role, &token("main")).await, "ok");
    // The keys are due; who asks first waits for the issuer, and nobody else.
    region.app().clock().advance(Duration::from_secs(16 * 60));
    let silence = issuer.silence().await;
    let discovery = "/.well-known/openid-configuration";
    let (waiting, first) = ((region.clone(), role.clone()), token("main"));
    let waits = tokio::spawn(async move { code(&waiting.0, &waiting.1, &first).await });
    eventually("the issuer is asked", async || (issuer.asked(discovery) == 2).then_some(())).await;
    assert_eq!(code(&region, &role, &token("main")).await, "ok");
    assert!(!waits.is_finished());
    drop(silence);
    assert_eq!(waits.await.unwrap(), "ok");
    // An issuer that fails: what is known serves until it is an hour old.
    issuer.show(discovery, StatusCode::INTERNAL_SERVER_ERROR, "");
    for (minutes, expected) in [(16, "ok"), (30, "ok"), (30, "400 IDPCommunicationError")] {
        region.app().clock().advance(Duration::from_secs(minutes * 60));
        assert_eq!(code(&region, &role, &token("main")).await, expected, "after {minutes} minutes more");
    }
    // Once it answers again, all is well.
    issuer.publish(&issuer.url, &format!("{}/keys", issuer.url));
    region.app().clock().advance(Duration::from_secs(11));
    assert_eq!(code(&region, &role, &token("main")).await, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_issuer_may_answer_is_bounded() {
    let region = Region::configured(LOCAL).await;
    let elsewhere = Issuer::start().await;
    let discovery = "/.well-known/openid-configuration";
    type Spoil = fn(&Issuer, &Issuer);
    let table: [(&str, Spoil); 8] = [
        ("another issuer's name", |issuer, other| issuer.publish(&other.url, &format!("{}/keys", issuer.url))),
        ("keys without TLS", |issuer, _| issuer.publish(&issuer.url, &issuer.url.replace("https", "http"))),
        ("keys on disk", |issuer, _| issuer.publish(&issuer.url, "file:///etc/passwd")),
        ("keys beyond a redirect", |issuer, other| issuer.redirect("/keys", &format!("{}/keys", other.url))),
        ("keys of another root", |issuer, other| issuer.publish(&issuer.url, &format!("{}/keys", other.url))),
        ("too much", |issuer, _| issuer.show("/keys", StatusCode::OK, &" ".repeat(300 << 10))),
        ("no keys", |issuer, _| issuer.show("/keys", StatusCode::OK, "<html>")),
        ("an error", |issuer, _| issuer.show("/keys", StatusCode::INTERNAL_SERVER_ERROR, &issuer.keys().to_string())),
    ];
    for (at, (what, spoil)) in table.into_iter().enumerate() {
        let issuer = Issuer::start().await;
        put_provider(&region, "dev", &issuer).await;
        let trust = trusting(&region, "dev", &issuer, WEB, &json!({}));
        let role = tenants::role(&region, "dev", &format!("r{at}"), &trust, &allow(PULL, "*")).await;
        let token = issuer.token(&issuer.github("main", now(&region)));
        spoil(&issuer, &elsewhere);
        assert_eq!(code(&region, &role, &token).await, "400 IDPCommunicationError", "{what}");
        assert_eq!(issuer.asked(discovery), 1, "{what}");
        // A second attempt at once is not worth a second question.
        assert_eq!(code(&region, &role, &token).await, "400 IDPCommunicationError", "{what}");
        assert_eq!(issuer.asked(discovery), 1, "{what}");
    }
    assert_eq!(elsewhere.asked("/keys"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_inside_are_not_asked_unless_the_operator_allows_them() {
    let region = Region::start().await;
    let (issuer, role) = releases(&region).await;
    let token = issuer.token(&issuer.github("main", now(&region)));
    let (_, text) = assume(&region, &role, &token).await;
    assert!(text.contains("<Code>IDPCommunicationError</Code>"), "{text}");
    assert!(!text.contains("inside"), "who calls learns nothing of the network: {text}");
    assert_eq!(issuer.asked("/.well-known/openid-configuration"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_of_a_token_need_leave_and_are_the_sessions() {
    let region = Region::configured(LOCAL).await;
    let issuer = Issuer::start().await;
    put_provider(&region, "dev", &issuer).await;
    let condition = json!({"StringEquals": {"ISSUER:sub": "repo:acme/app:ref:refs/heads/main"}});
    let bare = trusting(&region, "dev", &issuer, WEB, &condition);
    let full = trusting(
        &region,
        "dev",
        &issuer,
        &["sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"],
        &condition,
    );
    let policy = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ecr:*", "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalTag/team": "blue", "aws:SourceIdentity": "octocat",
            "aws:FederatedProvider": format!("arn:aws:iam::{}:oidc-provider/{}", region.account("dev"),
                issuer.url.trim_start_matches("https://"))}}}});
    let untagged = tenants::role(&region, "dev", "untagged", &bare, &policy.to_string()).await;
    let tagged = tenants::role(&region, "dev", "tagged", &full, &policy.to_string()).await;
    let mut claims = issuer.github("main", now(&region));
    let plain = issuer.token(&claims);
    claims["https://aws.amazon.com/tags"] =
        json!({"principal_tags": {"team": ["blue"]}, "transitive_tag_keys": ["team"]});
    claims["https://aws.amazon.com/source_identity"] = json!("octocat");
    let token = issuer.token(&claims);
    assert_eq!(code(&region, &untagged, &plain).await, "ok");
    assert_eq!(code(&region, &untagged, &token).await, "403 AccessDenied");
    let (status, text) = assume(&region, &tagged, &token).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("<SourceIdentity>octocat</SourceIdentity>") && text.contains("<PackedPolicySize>"), "{text}");
    // With the tag the registry opens; without it, it does not.
    let catalog = format!("/v2/{}/team/none/tags/list", region.account("dev"));
    assert_eq!(shown(&region, &tagged, &token, &catalog).await, StatusCode::NOT_FOUND);
    assert_eq!(shown(&region, &tagged, &plain, &catalog).await, StatusCode::FORBIDDEN);
    claims["https://aws.amazon.com/tags"] = json!({"principal_tags": {"team": "blue"}});
    assert_eq!(code(&region, &tagged, &issuer.token(&claims)).await, "400 InvalidIdentityToken");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_region_knows_the_providers_and_lets_tokens_in_by_itself() {
    let limits = format!("sweep_secs = 1\n{LOCAL}");
    let organization = Organization::limited(&["us-east-1", "eu-west-1"], &limits).await;
    let [home, away] = organization.regions.as_slice() else { panic!("two regions") };
    let (issuer, role) = releases(home).await;
    let token = issuer.token(&issuer.github("main", now(home)));
    eventually("the other region knows role and provider", async || {
        (code(away, &role, &token).await == "ok").then_some(())
    })
    .await;
    let (ctx, id) = (away.admin("dev").await, away.account("dev"));
    let url = transship::names::Issuer::parse(&issuer.url).unwrap();
    let refused = away.app().delete_oidc_provider(&ctx, id, url.clone()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::NotHomeRegion);
    home.app().delete_oidc_provider(&home.admin("dev").await, id, url).await.unwrap();
    eventually("the other region forgets the provider", async || {
        (code(away, &role, &token).await == "400 InvalidIdentityToken").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_trusted_of_an_issuer_is_written_over_grpc_and_bad_input_is_named() {
    let region = Region::configured(LOCAL).await;
    let issuer = Issuer::start().await;
    let (ctx, id) = (region.admin("dev").await, region.account("dev"));
    let url = transship::names::Issuer::parse(&issuer.url).unwrap();
    let put = async |clients: Vec<&str>, ca: Option<&str>| {
        let clients = clients.into_iter().map(ToOwned::to_owned).collect();
        let put = region.app().put_oidc_provider(&ctx, id, url.clone(), clients, ca.map(ToOwned::to_owned)).await;
        put.map_err(|error| error.message)
    };
    let (long, many) = ("a".repeat(256), vec!["a"; 101]);
    for (clients, ca, told) in [
        (vec![], None, "client_ids"),
        (vec![""], None, "client_ids"),
        (vec![long.as_str()], None, "client_ids"),
        (many, None, "client_ids"),
        (vec!["a"], Some(""), "ca_certificate"),
        (vec!["a"], Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "ca_certificate"),
    ] {
        let refused = put(clients, ca).await.unwrap_err();
        assert!(refused.contains(told), "{refused}");
    }
    let first = put(vec!["a"], None).await.unwrap();
    let second = put(vec!["a", "b"], Some(&issuer.ca)).await.unwrap();
    assert_eq!(first.created_at, second.created_at, "what is trusted changed, not since when");
    let listed = region.app().list_oidc_providers(&ctx, id, "", PageSize::clamp(10)).await.unwrap();
    assert_eq!(listed, [second]);
}

#[tokio::test(flavor = "multi_thread")]
#[allow(deprecated, reason = "the field is still what AWS answers")]
async fn the_rust_sdk_of_sts_takes_a_role_with_a_token_and_reads_why_it_may_not() {
    use aws_sdk_sts::config::{BehaviorVersion, Builder, Credentials, Region as SdkRegion};
    use aws_sdk_sts::error::ProvideErrorMetadata;
    let region = Region::configured(LOCAL).await;
    let (issuer, role) = releases(&region).await;
    let builder = || {
        let version = Builder::new().behavior_version(BehaviorVersion::latest());
        version.region(SdkRegion::new("us-east-1")).endpoint_url(&region.base)
    };
    let sts = aws_sdk_sts::Client::from_conf(builder().allow_no_auth().build());
    let asked = |token: String| {
        sts.assume_role_with_web_identity()
            .role_arn(role.arn().as_str())
            .role_session_name("job")
            .web_identity_token(token)
    };
    let token = issuer.token(&issuer.github("main", now(&region)));
    let narrow = allow(&["ecr:ListImages"], "*");
    let given = asked(token).policy(narrow).duration_seconds(900).send().await.unwrap();
    assert_eq!(given.subject_from_web_identity_token(), Some("repo:acme/app:ref:refs/heads/main"));
    assert_eq!((given.provider(), given.audience()), (Some(issuer.url.as_str()), Some("sts.amazonaws.com")));
    assert!(given.packed_policy_size().is_some());
    let keys = given.credentials().unwrap();
    let token = keys.session_token().to_owned();
    let keys = Credentials::new(keys.access_key_id(), keys.secret_access_key(), Some(token), None, "test");
    let as_role = aws_sdk_sts::Client::from_conf(builder().credentials_provider(keys).build());
    let who = as_role.get_caller_identity().send().await.unwrap();
    assert_eq!(who.arn(), Some(format!("arn:aws:sts::{}:assumed-role/release/job", role.account).as_str()));
    let mut late = issuer.github("main", now(&region));
    late["exp"] = json!(now(&region) - 3_600);
    let expired = asked(issuer.token(&late)).send().await.unwrap_err().into_service_error();
    assert!(expired.is_expired_token_exception(), "{expired:?}");
    let forged = asked("a.b.c".to_owned()).send().await.unwrap_err().into_service_error();
    assert!(forged.is_invalid_identity_token_exception(), "{forged:?}");
    let feature = issuer.token(&issuer.github("feature", now(&region)));
    assert_eq!(asked(feature).send().await.unwrap_err().code(), Some("AccessDenied"));
}

/// Runs the command line against a region, or a helper by its name, with what it is told.
fn run(region: &Region, name: &str, words: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    use std::os::unix::process::CommandExt;
    let mut child = Command::new(env!("CARGO_BIN_EXE_transship"))
        .arg0(name)
        .args(words)
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("TRANSSHIP_ENDPOINT", &region.base)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who needs no input may have ended before it is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_and_the_helpers_log_in_with_a_token() {
    let region = Region::configured(LOCAL).await;
    let (issuer, role) = releases(&region).await;
    let admin = Http::new(&region.base, Some(region.password("dev").await));
    let image = format!("{}/team/app", role.account);
    admin.push_image(&image, "v1", &[b"layer"]).await;
    let file = region.folder.path().join("token");
    std::fs::write(&file, issuer.token(&issuer.github("main", now(&region)))).unwrap();
    let (arn, file) = (role.arn().to_string(), file.display().to_string());
    let proof = [("AWS_ROLE_ARN", arn.as_str()), ("AWS_WEB_IDENTITY_TOKEN_FILE", file.as_str())];
    let who = run(&region, "transship", &["whoami", "--output", "json"], &proof, "");
    assert!(said(&who).contains("assumed-role/release/transship"), "{who:?}");

    // Docker's helper: the words and the answers of the protocol.
    let docker = |word: &str, environment: &[(&str, &str)], input: &str| {
        run(&region, "docker-credential-transship", &[word], environment, input)
    };
    let host = region.base.trim_start_matches("http://");
    let got = docker("get", &proof, &format!("{host}\n"));
    let answer: Value = serde_json::from_str(&said(&got)).unwrap_or_else(|_| panic!("{got:?}"));
    assert_eq!((answer["ServerURL"].as_str(), answer["Username"].as_str()), (Some(host), Some("AWS")));
    let manifest = format!("/v2/{image}/manifests/v1");
    let puller = Http::new(&region.base, answer["Secret"].as_str().map(ToOwned::to_owned));
    assert_eq!(puller.get(&manifest).await.status, StatusCode::OK);
    let nothing = docker("get", &[], host);
    assert_eq!((nothing.status.code(), said(&nothing).as_str()), (Some(1), "credentials not found in native keychain"));
    assert_eq!(said(&docker("get", &proof, "")), "no credentials server URL");
    assert_eq!(
        (docker("list", &[], "unused").status.success(), said(&docker("list", &[], ""))),
        (true, "{}".to_owned())
    );
    assert!(docker("erase", &[], host).status.success());
    assert_eq!(docker("store", &[], "{}").status.code(), Some(1));
    assert_eq!(docker("steal", &[], "").status.code(), Some(1));

    // The kubelet's provider: the pod's own token for the role that its account names.
    let condition = json!({"StringEquals": {"ISSUER:sub": "system:serviceaccount:shop:web"}});
    let trust = trusting(&region, "dev", &issuer, WEB, &condition);
    let web = tenants::role(&region, "dev", "web", &trust, &allow(PUSH, "*")).await;
    let asked = |token: &str| {
        json!({"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest",
            "image": format!("{host}/{image}:v1"), "serviceAccountToken": token,
            "serviceAccountAnnotations": {"transship.dev/role-arn": web.arn().as_str()}})
        .to_string()
    };
    let token = issuer.token(&issuer.kubernetes("shop", "web", now(&region)));
    let given = run(&region, "transship", &["credential-provider"], &[], &asked(&token));
    let answer: Value = serde_json::from_str(&said(&given)).unwrap_or_else(|_| panic!("{given:?}"));
    assert_eq!(
        (answer["kind"].as_str(), answer["cacheKeyType"].as_str()),
        (Some("CredentialProviderResponse"), Some("Registry"))
    );
    assert_eq!(answer["apiVersion"], "credentialprovider.kubelet.k8s.io/v1");
    let lasting = answer["cacheDuration"].as_str().unwrap().trim_end_matches('s').parse::<u64>().unwrap();
    assert!((3_300..3_600).contains(&lasting), "{lasting}");
    let puller = Http::new(&region.base, answer["auth"][host]["password"].as_str().map(ToOwned::to_owned));
    assert_eq!(puller.get(&manifest).await.status, StatusCode::OK);
    let pushed = puller.call(Method::POST, &format!("/v2/{image}/blobs/uploads/"), &[], "").await;
    assert_eq!(pushed.status, StatusCode::FORBIDDEN, "what pulls a pod's image cannot push: {}", pushed.text());
    let other = issuer.token(&issuer.kubernetes("shop", "db", now(&region)));
    assert!(!run(&region, "transship", &["credential-provider"], &[], &asked(&other)).status.success());
    for bad in ["", "{}", r#"{"apiVersion":"v9","kind":"CredentialProviderRequest","image":"a/b"}"#] {
        assert_eq!(run(&region, "transship", &["credential-provider"], &[], bad).status.code(), Some(2), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_are_put_listed_and_deleted_by_the_command_line() {
    let region = Region::configured(LOCAL).await;
    let issuer = Issuer::start().await;
    let (id, secret) = region.access_key("dev");
    let keys = [("AWS_ACCESS_KEY_ID", id.as_str()), ("AWS_SECRET_ACCESS_KEY", secret.as_str())];
    let ca = region.folder.path().join("ca.pem");
    std::fs::write(&ca, &issuer.ca).unwrap();
    let ca = ca.display().to_string();
    let put =
        ["oidc-provider", "put", issuer.url.as_str(), "--client-id", "sts.amazonaws.com", "--ca-certificate", &ca];
    let output = run(&region, "transship", &put, &keys, "");
    assert!(output.status.success(), "{output:?}");
    let list = || said(&run(&region, "transship", &["oidc-provider", "list", "--output", "json"], &keys, ""));
    assert!(list().contains(&format!("oidc-provider/{}", issuer.url.trim_start_matches("https://"))), "{}", list());
    let deleted = run(&region, "transship", &["oidc-provider", "delete", issuer.url.as_str()], &keys, "");
    assert!(deleted.status.success(), "{deleted:?}");
    assert_eq!(list(), "[]");
    let bad = run(&region, "transship", &["oidc-provider", "put", "http://a.example", "--client-id", "x"], &keys, "");
    assert!(!bad.status.success() && String::from_utf8_lossy(&bad.stderr).contains("https://"), "{bad:?}");
}

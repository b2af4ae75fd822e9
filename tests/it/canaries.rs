//! No secret is in a log, an error, an audit row or anywhere else at rest in clear: all of it is searched for all of them.

use crate::aws::{Call, Key};
use crate::harness::{Answer, Http, Region};
use crate::tenants::{allow, asking, trust};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use std::path::Path;
use transship::names::{MfaDeviceName, MfaDeviceRef, PrincipalKind, PrincipalName};

/// What nobody else may read, and what to call it.
struct Canary {
    name: &'static str,
    text: String,
}

/// Everything that was answered: status lines aside, what a client could log.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn keep(&mut self, answer: &Answer) {
        self.0.push(format!("{:?}\n{}", answer.headers, answer.text()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_an_answer_an_audit_row_or_the_database() {
    let region = Region::configured(crate::federation::LOCAL).await;
    let (issuer, trusted) = crate::federation::releases(&region).await;
    let (dev, admin) = (region.account("dev"), region.admin("dev").await);
    let (id, secret) = region.access_key("dev");
    let me = format!("arn:aws:iam::{dev}:user/admin");
    let role = crate::tenants::role(&region, "dev", "builder", &trust(&me, None), &allow(&["ecr:*"], "*")).await;
    let request = asking(&role);
    let issued = region.app().assume_role(&admin, request).await.unwrap().credentials;
    let password = region.password("dev").await;
    let bearer = crate::grpc::log_in(&region, "dev").await;
    let scoped = region.http("dev").await.get(&format!("/token?scope=repository:{dev}/app:pull,push")).await;
    let scoped: serde_json::Value = serde_json::from_slice(&scoped.body).unwrap();
    let job = issuer.token(&issuer.github("main", region.app().clock().now().secs()));
    let forged = format!("{}AAAA", job.rsplit_once('.').unwrap().0.to_owned() + ".");
    let phone = MfaDeviceRef { account: dev, name: MfaDeviceName::parse("phone").unwrap() };
    let user = PrincipalName { account: dev, kind: PrincipalKind::User, name: "admin".into() };
    let device = region.app().create_mfa_device(&admin, user, phone.clone()).await.unwrap();
    let aws = crate::aws_roles::Aws::of(&region).await;
    let logs = aws.registered(&region, "logs").await;
    let elsewhere = region.app().aws_credentials(&crate::tenants::now(&region, &admin), &logs).await.unwrap();
    let canary = |name, text: &str| Canary { name, text: text.to_owned() };
    let mut canaries = vec![
        canary("the secret of an access key", &secret),
        canary("the secret of a session", issued.secret.expose()),
        canary("a session token", issued.session_token.expose()),
        canary("a registry password", &password),
        canary("a bearer token", &bearer),
        canary("a scoped token", scoped["token"].as_str().unwrap()),
        canary("the secret of a second factor", device.seed.expose()),
        canary("the secret of a session of AWS", elsewhere.secret.expose()),
        canary("a session token of AWS", elsewhere.session_token.expose()),
        canary("an identity token", &job),
        canary("an identity token that is none", &forged),
        canary("a password that is none", "CANARY-not-a-password-0123456789"),
        canary("a bearer token that is none", "CANARY-not-a-bearer-token-0123456789"),
        canary("the plaintext of a layer", "CANARY-the-plaintext-of-a-layer-0123456789"),
        canary("the plaintext of a manifest", "CANARY-in-a-manifest-0123456789"),
    ];

    let left = region.leave().await;
    let process = left.spawn_under(&[], &[("RUST_LOG", "trace")]).unwrap();
    let base = process.base.clone();
    let mut told = Told::default();
    for token in [&password, &bearer, "CANARY-not-a-password-0123456789"] {
        let http = Http::new(&base, Some(token.to_owned()));
        for path in ["/v2/".to_owned(), format!("/v2/{dev}/app/tags/list"), format!("/v2/{dev}/none/manifests/v1")] {
            told.keep(&http.get(&path).await);
        }
    }
    let nobody = Http::new(&base, None);
    for token in [&job, &forged] {
        let basic = format!("Basic {}", STANDARD.encode(format!("{dev}/release:{token}")));
        told.keep(&nobody.call(Method::GET, "/v2/", &[("authorization", &basic)], "").await);
        let body = format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=ci&RoleArn={}&WebIdentityToken={token}",
            trusted.arn()
        );
        told.keep(
            &nobody.call(Method::POST, "/", &[("content-type", "application/x-www-form-urlencoded")], body).await,
        );
    }
    for shown in [bearer.as_str(), issued.session_token.expose(), "CANARY-not-a-bearer-token-0123456789"] {
        told.keep(&nobody.call(Method::GET, "/v2/", &[("authorization", &format!("Bearer {shown}"))], "").await);
        told.keep(&nobody.call(Method::GET, &format!("/v2/{dev}/app/tags/list?token={shown}"), &[], "").await);
        told.keep(&nobody.call(Method::GET, "/v2/", &[("authorization", &format!("Other {shown}"))], "").await);
    }
    let who = Call {
        service: "sts",
        operation: "GetCallerIdentity",
        body: "Action=GetCallerIdentity&Version=2011-06-15".into(),
    };
    let wrong = transship::secret::Secret::new("wrong".to_owned());
    let who_id = id.clone();
    let own = Key { id, secret: transship::secret::Secret::new(secret.clone()), token: None };
    let session = Key {
        id: issued.access_key_id.clone(),
        secret: issued.secret.clone(),
        token: Some(issued.session_token.clone()),
    };
    for key in [
        Key { secret: wrong.clone(), ..own.clone() },
        Key { secret: wrong, ..session.clone() },
        Key { token: session.token.clone(), ..own.clone() },
        own,
        session,
    ] {
        told.keep(&who.send(&base, transship::clock::Clock::system().now(), Some(&key)).await);
    }
    let (id, secret) = (who_id.clone(), transship::secret::Secret::new(secret.clone()));
    let serial = phone.arn().to_string().replace(':', "%3A").replace('/', "%2F");
    let body = format!("Action=GetSessionToken&Version=2011-06-15&SerialNumber={serial}&TokenCode=123456");
    let key = Key { id, secret, token: None };
    let shows = Call { service: "sts", operation: "GetSessionToken", body };
    told.keep(&shows.send(&base, transship::clock::Clock::system().now(), Some(&key)).await);
    let http = Http::new(&base, Some(password.clone()));
    let layer = b"CANARY-the-plaintext-of-a-layer-0123456789";
    let digest = http.push_blob(&format!("{dev}/app"), layer).await;
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": crate::harness::MANIFEST,
        "config": {"mediaType": "application/json", "digest": digest, "size": layer.len()}, "layers": [],
        "annotations": {"secret": "CANARY-in-a-manifest-0123456789"}});
    http.put_manifest(&format!("{dev}/app"), "v1", crate::harness::MANIFEST, &manifest.to_string()).await;
    // What a client sends of its own in a broken manifest may not come back, nor be logged.
    let broken = http.call(Method::PUT, &format!("/v2/{dev}/app/manifests/v2"), &[], manifest.to_string() + "}").await;
    told.keep(&broken);
    process.stop();

    let encoded: Vec<Canary> = canaries
        .iter()
        .flat_map(|canary| {
            let shown = ["AWS".to_owned(), format!("{dev}/release")];
            shown.map(|user| Canary { name: canary.name, text: STANDARD.encode(format!("{user}:{}", canary.text)) })
        })
        .collect();
    canaries.extend(encoded);
    for answer in &told.0 {
        for canary in &canaries {
            assert!(!answer.contains(&canary.text), "{} is in an answer: {answer}", canary.name);
        }
    }
    let log = std::fs::read_to_string(left.folder.path().join("serve.log")).unwrap();
    assert!(log.contains("DEBUG") && log.contains("a request was refused"), "{log}");
    let annotations = "CANARY-in-a-manifest-0123456789";
    for (path, bytes) in files(left.folder.path()) {
        // The first keys of an account lie in a file of their own, which says so.
        if path.ends_with("bootstrap.json") {
            continue;
        }
        for canary in &canaries {
            // Annotations are an index of referrers, kept in clear beside digests and sizes.
            let known = canary.text == annotations
                && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("metadata.db"));
            let found = memchr(&bytes, canary.text.as_bytes());
            assert!(!found || known, "{} is in {}", canary.name, path.display());
        }
    }
}

fn files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let all = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let all = all.filter(|entry| entry.file_type().is_file());
    all.map(|entry| (entry.path().to_owned(), std::fs::read(entry.path()).unwrap())).collect()
}

fn memchr(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

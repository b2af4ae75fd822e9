//! What anybody may pull, and how often a stranger may ask.

use crate::harness::{Answer, Http, Region, eventually};
use crate::tenants::{allow, code, http_of, repository, user};
use http::{Method, StatusCode};
use std::time::Duration;

const ANYBODY: &[(&str, &str)] = &[("authorization", "Bearer anonymous")];

/// Everything that a pull of an image asks, and the list of tags.
fn pulls(app: &str, image: &str, layer: &str) -> Vec<(Method, String)> {
    let path = |path: &str| format!("/v2/{app}/{path}");
    vec![
        (Method::GET, path("manifests/v1")),
        (Method::HEAD, path(&format!("manifests/{image}"))),
        (Method::GET, path(&format!("blobs/{layer}"))),
        (Method::HEAD, path(&format!("blobs/{layer}"))),
        (Method::GET, path("tags/list")),
        (Method::GET, path(&format!("referrers/{image}"))),
    ]
}

async fn statuses(http: &Http, calls: &[(Method, String)], headers: &[(&str, &str)]) -> Vec<u16> {
    let mut all = Vec::new();
    for (method, path) in calls {
        all.push(http.call(method.clone(), path, headers, "").await.status.as_u16());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_pulls_from_a_public_repository_and_private_stays_private_whatever_its_policy_says() {
    let region = Region::start().await;
    let (dev, http, admin) = (region.account("dev"), region.http("dev").await, region.admin("dev").await);
    let nobody = Http::new(&region.base, None);
    let mut calls = Vec::new();
    for name in ["open", "closed"] {
        let app = format!("{dev}/{name}");
        let image = http.push_image(&app, "v1", &[b"layer"]).await;
        calls.push(pulls(&app, &image, &transship::names::Digest::of(b"layer").to_string()));
        // Everybody with an account: not who shows none.
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement":
            {"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}});
        let address = repository(&region, "dev", name);
        region.app().set_repository_policy(&admin, &address, &policy.to_string(), false).await.unwrap();
    }
    let (open, closed) = (&calls[0], &calls[1]);
    for headers in [&[], ANYBODY] {
        assert_eq!(statuses(&nobody, open, headers).await, [401; 6]);
    }
    let address = repository(&region, "dev", "open");
    assert!(region.app().set_visibility(&admin, &address, true).await.unwrap().public);
    for headers in [&[], ANYBODY] {
        assert_eq!(statuses(&nobody, open, headers).await, [200; 6]);
        assert_eq!(statuses(&nobody, closed, headers).await, [401; 6]);
    }
    let host = format!("{dev}.dkr.ecr.us-east-1.amazonaws.com");
    let as_ecr = nobody.call(Method::GET, "/v2/open/manifests/v1", &[("host", &host)], "").await;
    assert_eq!(as_ecr.status, StatusCode::OK, "{}", as_ecr.text());
    // It is for pulling: what the policy gives everybody to write is for those with an account.
    let app = format!("{dev}/open");
    for (method, path) in [
        (Method::POST, format!("/v2/{app}/blobs/uploads/")),
        (Method::PUT, format!("/v2/{app}/manifests/v2")),
        (Method::DELETE, format!("/v2/{app}/manifests/v1")),
    ] {
        assert_eq!(nobody.call(method, &path, ANYBODY, "{}").await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    region.app().set_visibility(&admin, &address, false).await.unwrap();
    assert_eq!(statuses(&nobody, open, ANYBODY).await, [401; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_credentials_get_the_token_of_nobody_which_opens_nothing_else() {
    let region = Region::start().await;
    let nobody = Http::new(&region.base, None);
    let given = nobody.get("/token?service=here&scope=repository:111122223333/app:pull").await;
    assert_eq!(given.status, StatusCode::OK);
    let token: serde_json::Value = serde_json::from_slice(&given.body).unwrap();
    assert_eq!(token["token"], "anonymous");
    let login = nobody.call(Method::GET, "/v2/", ANYBODY, "").await;
    assert_eq!(login.status, StatusCode::UNAUTHORIZED, "who is nobody has not logged in");
    assert!(login.header("www-authenticate").starts_with("Bearer "), "{:?}", login.headers);
    assert_eq!(Http::new(&region.base, Some("wrong".to_owned())).get("/token?service=here").await.status, 401);
    let mut trust =
        transship::pb::trust::trust_service_client::TrustServiceClient::new(crate::grpc::channel(&region).await);
    let asked = crate::grpc::under("anonymous", transship::pb::trust::GetCallerIdentityRequest {});
    assert_eq!(trust.get_caller_identity(asked).await.unwrap_err().code(), tonic::Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_account_pulls_what_anybody_pulls_unless_something_denies_it() {
    let region = Region::start().await;
    let (dev, http, admin) = (region.account("dev"), region.http("dev").await, region.admin("dev").await);
    let app = format!("{dev}/open");
    let image = http.push_image(&app, "v1", &[b"layer"]).await;
    let calls = pulls(&app, &image, &transship::names::Digest::of(b"layer").to_string());
    let address = repository(&region, "dev", "open");
    // Neither has a policy that speaks of this repository.
    let idle = allow(&["ecr:GetAuthorizationToken"], "*");
    let stranger = http_of(&region, &user(&region, "prod", "idle", &idle).await).await;
    let own = http_of(&region, &user(&region, "dev", "idle", &idle).await).await;
    for http in [&stranger, &own] {
        assert!(statuses(http, &calls, &[]).await.iter().all(|status| *status == 403));
    }
    region.app().set_visibility(&admin, &address, true).await.unwrap();
    for http in [&stranger, &own] {
        assert_eq!(statuses(http, &calls, &[]).await, [200; 6]);
    }
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Deny", "Principal": "*", "Action": "ecr:*",
        "Condition": {"StringEquals": {"aws:PrincipalAccount": region.account("prod")}}}});
    region.app().set_repository_policy(&admin, &address, &policy.to_string(), false).await.unwrap();
    assert!(statuses(&stranger, &calls, &[]).await.iter().all(|status| *status == 403));
    assert_eq!(statuses(&own, &calls, &[]).await, [200; 6]);
}

fn audit_rows(region: &Region) -> i64 {
    let path = region.folder.path().join("data/metadata.db");
    let database = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    database.query_row("SELECT count(*) FROM audit", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_asks_too_often_waits_and_leaves_no_more_rows_while_others_go_on() {
    let region = Region::configured("[limits]\naddress_rate = 1\naddress_burst = 20\n").await;
    let (dev, http) = (region.account("dev"), region.http("dev").await);
    let image = http.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let guesser = Http::new(&region.base, Some("a guess".to_owned()));
    let path = format!("/v2/{dev}/app/manifests/{image}");
    let mut answers: Vec<Answer> = Vec::new();
    for _ in 0..60 {
        answers.push(guesser.get(&path).await);
    }
    let refused = answers.iter().filter(|answer| answer.status == 401).count();
    assert!((20..=25).contains(&refused), "{refused} guesses were looked at");
    let last = answers.last().unwrap();
    assert_eq!((last.status, code(last)), (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS".to_owned()));
    let wait: u64 = last.header("retry-after").parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait} s");
    // Without credentials it is the same address; with them it is somebody.
    assert_eq!(Http::new(&region.base, None).get(&path).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(http.get(&path).await.status, StatusCode::OK);
    region.app().flush_audit().await;
    let before = audit_rows(&region);
    for _ in 0..40 {
        guesser.get(&path).await;
    }
    region.app().flush_audit().await;
    assert!(audit_rows(&region) - before <= 3, "who is told to wait leaves no row");
    region.app().clock().advance(Duration::from_secs(30));
    assert_eq!(guesser.get(&path).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_has_the_rate_that_its_operator_gives() {
    let region = Region::configured("[limits]\nprincipal_rate = 2\nprincipal_burst = 10\n").await;
    let (one, two) = (region.http("dev").await, region.http("prod").await);
    let ask = async |http: &Http| http.get("/v2/").await.status;
    let mut seen = Vec::new();
    for _ in 0..40 {
        seen.push(ask(&one).await);
    }
    let ok = seen.iter().filter(|status| **status == 200).count();
    assert!((10..30).contains(&ok), "{ok} of 40 at once");
    assert!(seen.contains(&StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(ask(&two).await, 200, "another is not its concern");
    eventually("its turn again", async || (ask(&one).await == 200).then_some(())).await;
}

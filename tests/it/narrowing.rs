//! Registry tokens for some repositories, tags and actions, from some addresses, for some minutes: what they open, and
//! that nothing made from one opens more.

use crate::grpc::{channel, log_in, log_in_with, under};
use crate::harness::{Http, Region};
use crate::tenants::{self, PULL, allow, asking, code, command, trust, user};
use bytes::Bytes;
use http::{Method, StatusCode};
use std::time::Duration;
use tonic::Code;
use transship::domain::sessions::AssumeRole;
use transship::names::Digest;
use transship::pb::trust::get_authorization_token_request::Action;
use transship::pb::trust::trust_service_client::TrustServiceClient;
use transship::pb::trust::{GetAuthorizationTokenRequest, GetAuthorizationTokenResponse};

/// Dev's repositories `team/app`, with tags `v1` and `dev-1`, and `other`.
async fn stocked() -> Region {
    let region = Region::start().await;
    let (dev, http) = (region.account("dev"), region.http("dev").await);
    http.push_image(&format!("{dev}/team/app"), "v1", &[b"shared", b"of v1"]).await;
    http.push_image(&format!("{dev}/team/app"), "dev-1", &[b"shared", b"of dev-1"]).await;
    http.push_image(&format!("{dev}/other"), "v1", &[b"other"]).await;
    region
}

/// Asks for a token that way with a bearer token.
async fn narrowed(
    region: &Region,
    bearer: &str,
    request: &GetAuthorizationTokenRequest,
) -> Result<GetAuthorizationTokenResponse, Code> {
    let mut client = TrustServiceClient::new(channel(region).await);
    let answer = client.get_authorization_token(under(bearer, request.clone())).await;
    answer.map(tonic::Response::into_inner).map_err(|status| status.code())
}

/// What a token is answered to each of these, below `/v2/<dev>/`.
async fn told(region: &Region, token: &str, calls: &[(Method, &str)]) -> Vec<u16> {
    let http = Http::new(&region.base, Some(token.to_owned()));
    let mut all = Vec::new();
    for (method, below) in calls {
        let path = format!("/v2/{}/{below}", region.account("dev"));
        let answer = http.call(method.clone(), &path, &[], Bytes::new()).await;
        if answer.status == StatusCode::FORBIDDEN && *method != Method::HEAD {
            assert_eq!(code(&answer), "DENIED");
        }
        all.push(answer.status.as_u16());
    }
    all
}

/// `transship token` as dev's admin.
async fn token(region: &Region, arguments: &[&str]) -> String {
    let output = command(region, "dev", &[&["token"], arguments].concat()).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_to_pull_opens_its_repositories_and_tags_and_nothing_else() {
    let region = stocked().await;
    let blob = |layer: &[u8]| format!("team/app/blobs/{}", Digest::of(layer));
    let (shared, of_v1, of_dev) = (blob(b"shared"), blob(b"of v1"), blob(b"of dev-1"));
    let arguments =
        ["--repository", "team/*", "--tag", "v*", "--action", "pull", "--cidr", "127.0.0.0/8", "--ttl", "5m"];
    let narrow = token(&region, &arguments).await;
    let open: Vec<(Method, &str)> = vec![
        (Method::GET, "team/app/manifests/v1"),
        (Method::HEAD, "team/app/manifests/v1"),
        (Method::GET, "team/app/tags/list"),
        (Method::GET, &shared),
        (Method::GET, &of_v1),
        (Method::HEAD, &of_v1),
    ];
    let shut: Vec<(Method, &str)> = vec![
        (Method::GET, "team/app/manifests/dev-1"),
        (Method::HEAD, "team/app/manifests/dev-1"),
        (Method::GET, &of_dev),
        (Method::HEAD, &of_dev),
        (Method::GET, "other/manifests/v1"),
        (Method::GET, "other/tags/list"),
        (Method::POST, "team/app/blobs/uploads/"),
        (Method::DELETE, "team/app/manifests/v1"),
        (Method::GET, "missing/manifests/v1"),
    ];
    assert_eq!(told(&region, &narrow, &open).await, [200; 6]);
    assert_eq!(told(&region, &narrow, &shut).await, [403; 9]);
    let http = Http::new(&region.base, Some(narrow.clone()));
    let tags = http.get(&format!("/v2/{}/team/app/tags/list", region.account("dev"))).await.text();
    assert!(tags.contains("\"v1\"") && !tags.contains("dev-1"), "{tags}");
    // Each part of the bound, by itself.
    let parts: [(&[&str], [u16; 4]); 4] = [
        (&["--repository", "team/app"], [200, 200, 403, 202]),
        (&["--tag", "dev-?"], [403, 200, 403, 202]),
        (&["--action", "pull"], [200, 200, 200, 403]),
        (&["--cidr", "10.0.0.0/8", "--cidr", "2001:db8::/32"], [403; 4]),
    ];
    for (arguments, expected) in parts {
        let calls = [
            (Method::GET, "team/app/manifests/v1"),
            (Method::GET, "team/app/manifests/dev-1"),
            (Method::GET, "other/manifests/v1"),
            (Method::POST, "team/app/blobs/uploads/"),
        ];
        let token = token(&region, arguments).await;
        assert_eq!(told(&region, &token, &calls).await, expected, "{arguments:?}");
    }
    region.app().clock().advance(Duration::from_secs(301));
    assert_eq!(told(&region, &narrow, &open[..2]).await, [401; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_to_push_stores_under_its_tags_and_one_to_delete_removes_them() {
    let region = stocked().await;
    let dev = region.account("dev");
    let push = token(&region, &["--repository", "team/*", "--tag", "v*", "--action", "push"]).await;
    let http = Http::new(&region.base, Some(push.clone()));
    http.push_image(&format!("{dev}/team/app"), "v2", &[b"of v2"]).await;
    http.push_image(&format!("{dev}/team/fresh"), "v1", &[b"fresh"]).await;
    // What its tags do not reach reads as missing, so that a push goes on with the bytes; before there is a repository too.
    let hidden = format!("team/app/blobs/{}", Digest::of(b"of dev-1"));
    let [none, other] = ["team/none", "other"].map(|name| hidden.replace("team/app", name));
    let calls = [&hidden, &none, &other].map(|path| (Method::HEAD, path.as_str()));
    assert_eq!(told(&region, &push, &calls).await, [404, 404, 403]);
    let owner = region.http("dev").await;
    let text = owner.get(&format!("/v2/{dev}/team/app/manifests/v2")).await.body;
    let typed = [("content-type", crate::harness::MANIFEST)];
    let second = Digest::of(&text);
    for (reference, status) in [
        ("v3".to_owned(), 201),
        ("dev-2".to_owned(), 403),
        (format!("{second}?tag=v4"), 201),
        (format!("{second}?tag=v5&tag=dev-3"), 403),
    ] {
        let path = format!("/v2/{dev}/team/app/manifests/{reference}");
        let put = http.call(Method::PUT, &path, &typed, text.clone()).await;
        assert_eq!(put.status.as_u16(), status, "{reference}: {}", put.text());
    }
    let tags = owner.get(&format!("/v2/{dev}/team/app/tags/list")).await.text();
    assert!(!tags.contains("dev-2") && !tags.contains("dev-3") && !tags.contains("v5"), "{tags}");
    let calls = [
        (Method::GET, "team/app/manifests/v2"),
        (Method::DELETE, "team/app/manifests/v2"),
        (Method::POST, "elsewhere/blobs/uploads/"),
        (Method::POST, "other/blobs/uploads/"),
    ];
    assert_eq!(told(&region, &push, &calls).await, [403; 4]);
    assert_eq!(owner.get(&format!("/v2/{dev}/elsewhere/tags/list")).await.status, StatusCode::NOT_FOUND, "not made");

    let delete = token(&region, &["--repository", "team/app", "--tag", "v*", "--action", "delete"]).await;
    let first = owner.get(&format!("/v2/{dev}/team/app/manifests/dev-1")).await;
    let first = format!("team/app/manifests/{}", first.header("docker-content-digest"));
    let calls = [
        (Method::DELETE, "team/app/manifests/dev-1"),
        (Method::DELETE, first.as_str()),
        (Method::DELETE, "other/manifests/v1"),
        (Method::GET, "team/app/manifests/v3"),
        (Method::DELETE, "team/app/manifests/v3"),
    ];
    assert_eq!(told(&region, &delete, &calls).await, [403, 403, 403, 403, 202]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_from_a_narrowed_token_is_never_wider() {
    let region = stocked().await;
    let dev = region.account("dev");
    let named = |pattern: &str| vec![format!("accounts/{dev}/repositories/{pattern}")];
    let bearer = log_in(&region, "dev").await;
    let request = GetAuthorizationTokenRequest {
        repositories: named("team/*"),
        tags: vec!["v*".into()],
        actions: vec![Action::Pull.into()],
        duration: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    let first = narrowed(&region, &bearer, &request).await.unwrap();
    let calls = [
        (Method::GET, "team/app/manifests/v1"),
        (Method::GET, "team/app/manifests/dev-1"),
        (Method::GET, "other/manifests/v1"),
        (Method::POST, "team/app/blobs/uploads/"),
        (Method::DELETE, "team/app/manifests/v1"),
    ];
    let opens = [200, 403, 403, 403, 403];
    assert_eq!(told(&region, &first.password, &calls).await, opens);
    let everything = GetAuthorizationTokenRequest {
        repositories: named("*"),
        tags: vec!["*".into()],
        actions: vec![Action::Pull.into(), Action::Push.into(), Action::Delete.into()],
        source_cidrs: vec!["0.0.0.0/0".into()],
        duration: Some(prost_types::Duration { seconds: 43_200, nanos: 0 }),
    };
    for wider in [&everything, &GetAuthorizationTokenRequest::default()] {
        let second = narrowed(&region, &first.password, wider).await.unwrap();
        assert_eq!(told(&region, &second.password, &calls).await, opens);
        assert_eq!(second.expire_time, first.expire_time);
    }
    // Narrower still, and beside the first: what both cover.
    let other = GetAuthorizationTokenRequest { repositories: named("other"), ..everything.clone() };
    let second = narrowed(&region, &first.password, &other).await.unwrap();
    assert_eq!(told(&region, &second.password, &calls).await, [403; 5]);
    let elsewhere = GetAuthorizationTokenRequest { source_cidrs: vec!["192.0.2.1".into()], ..everything.clone() };
    let second = narrowed(&region, &first.password, &elsewhere).await.unwrap();
    assert_eq!(told(&region, &second.password, &calls).await, [403; 5]);
    let third = narrowed(&region, &second.password, &everything).await;
    assert_eq!(third.map(drop), Err(Code::PermissionDenied), "not even a token is made from the wrong address");
    // The token service of the registry gives what was asked for within the bound, whatever is asked for.
    let http = Http::new(&region.base, Some(first.password.clone()));
    let answer = http.get(&format!("/token?scope=repository:{dev}/*:*&scope=repository:{dev}/team/app:*")).await;
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(document["expires_in"].as_u64().unwrap() <= 60, "{document}");
    assert_eq!(told(&region, document["token"].as_str().unwrap(), &calls).await, opens);
    // Such a token is for the registry, and for making another; over gRPC it opens nothing.
    let mut client = TrustServiceClient::new(channel(&region).await);
    let who =
        client.get_caller_identity(under(&first.password, transship::pb::trust::GetCallerIdentityRequest {})).await;
    assert_eq!(who.unwrap_err().code(), Code::Unauthenticated);
    region.app().clock().advance(Duration::from_secs(61));
    assert_eq!(told(&region, &first.password, &calls).await, [401; 5]);
    assert_eq!(narrowed(&region, &first.password, &everything).await.map(drop), Err(Code::Unauthenticated));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_gives_nothing_and_holds_beside_the_sessions_own_policies() {
    let region = stocked().await;
    let (app, dev, admin) = (region.app(), region.account("dev"), region.admin("dev").await);
    let calls = [(Method::GET, "team/app/manifests/v1"), (Method::GET, "other/manifests/v1")];
    let request = GetAuthorizationTokenRequest {
        repositories: vec![format!("accounts/{dev}/repositories/team/*")],
        ..Default::default()
    };
    let idle = user(&region, "dev", "idle", &allow(&["ecr:GetAuthorizationToken"], "*")).await;
    let key = app.create_access_key(&admin, idle.clone()).await.unwrap();
    let bearer = log_in_with(&region, &key.id, key.secret.expose().clone()).await;
    let token = narrowed(&region, &bearer, &request).await.unwrap().password;
    assert_eq!(told(&region, &token, &calls).await, [403, 403]);
    app.put_principal_policy(&admin, idle, "given", &allow(&["ecr:BatchGetImage"], "*")).await.unwrap();
    assert_eq!(
        narrowed(&region, &bearer, &request).await.map(drop),
        Err(Code::PermissionDenied),
        "it may make none now"
    );
    assert_eq!(told(&region, &token, &calls).await, [200, 403], "rights are judged at use, bounds are in the token");
    let me = format!("arn:aws:iam::{dev}:user/admin");
    let role = tenants::role(&region, "dev", "puller", &trust(&me, None), &allow(PULL, "*")).await;
    let login = allow(&["ecr:GetAuthorizationToken"], "*");
    let other = allow(&["ecr:BatchGetImage"], &format!("arn:aws:ecr:us-east-1:{dev}:repository/other"));
    let taken = AssumeRole { policies: vec![login, other], ..asking(&role) };
    let issued = app.assume_role(&admin, taken).await.unwrap();
    let (bearer, _) = tenants::bearer(&region, &issued).await;
    assert_eq!(told(&region, &bearer, &calls).await, [403, 200]);
    let token = narrowed(&region, &bearer, &request).await.unwrap().password;
    assert_eq!(told(&region, &token, &calls).await, [403, 403]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_that_is_none_is_refused_and_there_is_an_end_to_narrowing() {
    let region = Region::start().await;
    let dev = region.account("dev");
    let bearer = log_in(&region, "dev").await;
    let lasting = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let plain = GetAuthorizationTokenRequest::default();
    for bad in [
        GetAuthorizationTokenRequest { repositories: vec!["team/*".into()], ..plain.clone() },
        GetAuthorizationTokenRequest {
            repositories: vec![format!("accounts/{dev}/repositories/Team")],
            ..plain.clone()
        },
        GetAuthorizationTokenRequest {
            repositories: vec![format!("accounts/{dev}/repositories/${{a}}")],
            ..plain.clone()
        },
        GetAuthorizationTokenRequest { tags: vec!["v 1".into()], ..plain.clone() },
        GetAuthorizationTokenRequest { tags: vec![String::new()], ..plain.clone() },
        GetAuthorizationTokenRequest { tags: vec!["v".into(); 33], ..plain.clone() },
        GetAuthorizationTokenRequest { actions: vec![0], ..plain.clone() },
        GetAuthorizationTokenRequest { actions: vec![9], ..plain.clone() },
        GetAuthorizationTokenRequest { source_cidrs: vec!["10.0.0.0/40".into()], ..plain.clone() },
        GetAuthorizationTokenRequest { source_cidrs: vec!["here".into()], ..plain.clone() },
        GetAuthorizationTokenRequest { duration: lasting(59, 0), ..plain.clone() },
        GetAuthorizationTokenRequest { duration: lasting(43_201, 0), ..plain.clone() },
        GetAuthorizationTokenRequest { duration: lasting(-60, 0), ..plain.clone() },
    ] {
        assert_eq!(narrowed(&region, &bearer, &bad).await.map(drop), Err(Code::InvalidArgument), "{bad:?}");
    }
    let request = GetAuthorizationTokenRequest { actions: vec![Action::Pull.into()], ..plain };
    let mut token = bearer;
    for _ in 0..8 {
        token = narrowed(&region, &token, &request).await.unwrap().password;
    }
    assert_eq!(narrowed(&region, &token, &request).await.map(drop), Err(Code::InvalidArgument));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_maker_brought_a_narrower_token_may_not_name() {
    let region = stocked().await;
    let narrow =
        token(&region, &["--repository", "team/*", "--tag", "v*", "--action", "pull", "--action", "push"]).await;
    let (dev, http) = (region.account("dev"), Http::new(&region.base, Some(narrow)));
    let app = format!("{dev}/team/app");
    let config = http.push_blob(&app, b"{}").await;
    let of = |layer: &[u8]| {
        serde_json::json!({"schemaVersion": 2, "mediaType": crate::harness::MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": layer.len(),
                "digest": Digest::of(layer).to_string()}]})
        .to_string()
    };
    let put = async |tag: &str, text: String| {
        let path = format!("/v2/{app}/manifests/{tag}");
        http.call(Method::PUT, &path, &[("content-type", crate::harness::MANIFEST)], text).await
    };
    // Its maker pushed both a moment ago; what no covered tag reaches is not there for the token.
    let refused = put("v2", of(b"of dev-1")).await;
    assert_eq!((refused.status, code(&refused).as_str()), (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN"));
    let taken = put("v2", of(b"of v1")).await;
    assert_eq!(taken.status, StatusCode::CREATED, "{}", taken.text());
}

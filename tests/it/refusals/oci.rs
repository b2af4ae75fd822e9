//! Every route of the registry's HTTP surface, on dev's repository `app`, and what nobody but dev may do there.

use super::{Callers, Section, walk};
use crate::harness::{Answer, Http, MANIFEST, Region};
use crate::tenants::{books, code, repository};
use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use std::collections::BTreeSet;
use transship::api::oci::route::{self, Action, Call, Start};
use transship::names::Digest;

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

/// A path without the names that differ from call to call.
fn shape(path: &str, account: &str) -> String {
    let path = path.replace(account, "<account>");
    let mut text = String::new();
    let mut rest = path.as_str();
    while let Some((before, after)) = rest.split_once("sha256:") {
        text += before;
        text += "<digest>";
        rest = &after[64..];
    }
    text += rest;
    match text.split_once("/blobs/uploads/") {
        Some((before, after)) if !after.is_empty() && !after.starts_with('?') => {
            let query = after.split_once('?').map_or_else(String::new, |(_, query)| format!("?{query}"));
            format!("{before}/blobs/uploads/<upload>{query}")
        }
        _ => text,
    }
}

/// What an answer says, in a word of the table.
fn word(call: &OciCall, answer: &Answer) -> String {
    if answer.status == StatusCode::UNAUTHORIZED {
        assert!(answer.header("www-authenticate").starts_with("Bearer realm="), "{}", answer.text());
    }
    let code = code(answer);
    match answer.status.as_u16() {
        200..300 => "ok".to_owned(),
        status @ (401 | 403) if call.method == Method::HEAD => status.to_string(),
        401 if code == "UNAUTHORIZED" && answer.text().contains("has expired") => "expired".to_owned(),
        401 if code == "UNAUTHORIZED" => "unknown".to_owned(),
        403 if code == "DENIED" => "denied".to_owned(),
        405 if code == "UNSUPPORTED" => "absent".to_owned(),
        _ => format!("{} {code}", answer.status),
    }
}

pub(super) async fn section() -> Section {
    let region = Region::start().await;
    let callers: Callers = super::callers(&region).await;
    let owner = Http::new(&region.base, callers.owner.bearer.clone());
    let calls = oci_calls(&region, &owner).await;
    let named: BTreeSet<&str> = calls.iter().map(|call| kind(&parsed(call))).collect();
    assert_eq!(named, KINDS.iter().copied().collect(), "a route is missing from this test");
    let dev = region.account("dev").to_string();
    let calls: Vec<(String, OciCall)> =
        calls.into_iter().map(|call| (format!("{} {}", call.method, shape(&call.path, &dev)), call)).collect();
    let section = walk(&region, &callers, "registry", &calls, async |call, shown| {
        let http = Http::new(&region.base, shown.bearer.clone());
        word(call, &http.call(call.method.clone(), &call.path, &call.headers, call.body.clone()).await)
    })
    .await;
    an_upload_that_may_be_written_and_not_finished(&region).await;
    crate::operations::denied(&region, "prod", "refused-oci.txt").await;
    let holder = format!("arn:aws:iam::{dev}:user/admin");
    // A client without credentials asks for a challenge and the token of nobody first, and that is no refusal; who closes
    // an upload is first asked whether it may add to it.
    let but = ["GetCallerIdentity", "ExchangeToken", "CompleteLayerUpload"];
    crate::operations::unbelieved(&region, "refused-oci.txt", &but, &["anonymous".into()]).await;
    crate::operations::unbelieved(&region, "refused-oci.txt", &[], &["unproven".into(), holder]).await;
    for (name, call) in &calls {
        let answer = owner.call(call.method.clone(), &call.path, &call.headers, call.body.clone()).await;
        assert_eq!(answer.status.as_u16(), call.owner, "the owner: {name}: {}", answer.text());
    }
    section
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

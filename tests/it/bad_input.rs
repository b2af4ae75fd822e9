//! Input that is wrong: each kind has its own clear error, nothing of it is stored, and nothing that was there is lost.

use crate::harness::{Answer, Http, MANIFEST, Region, eventually};
use crate::tenants::{self, Books, books, code, repository};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, StatusCode};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_types::StatusExt;
use transship::domain::manifest::MAX_BYTES;
use transship::domain::registries::NewSettings;
use transship::error::Reason;
use transship::names::Digest;
use transship::pb::registry as pb;
use transship::pb::registry::registry_service_client::RegistryServiceClient;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Plaintext bytes after which a part is durable while its body is still coming.
const PART: usize = 32 << 20;

/// A region whose dev account has an image in `app`.
async fn region() -> (Region, Http, String) {
    let region = Region::start().await;
    let app = format!("{}/app", region.account("dev"));
    let http = region.http("dev").await;
    http.push_image(&app, "v1", &[b"a layer that must stay"]).await;
    (region, http, app)
}

async fn put_manifest(http: &Http, repository: &str, reference: &str, media_type: &str, text: &str) -> Answer {
    let path = format!("/v2/{repository}/manifests/{reference}");
    http.call(Method::PUT, &path, &[("content-type", media_type)], text.to_owned()).await
}

/// Opens an upload; answers its location.
async fn open(http: &Http, repository: &str) -> String {
    let opened = http.call(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], "").await;
    assert_eq!(opened.status, StatusCode::ACCEPTED, "{}", opened.text());
    opened.header("location").to_owned()
}

fn refused(answer: &Answer, status: StatusCode, expected: &str) {
    assert_eq!((answer.status, code(answer).as_str()), (status, expected), "{}", answer.text());
}

/// Sweeps as a day later would; what has no row or no use is gone then.
async fn swept(region: &Region) -> Books {
    region.app().clock().advance(Duration::from_secs(25 * 3_600));
    region.app().sweep().await.unwrap();
    books(region)
}

/// Fails unless a region keeps the rows and objects of a moment before, and no more.
async fn nothing_remains(region: &Region, before: &Books) {
    let after = swept(region).await;
    for table in ["uploads", "blobs", "links", "manifests", "edges", "tags", "repositories"] {
        assert_eq!(after.rows(table), before.rows(table), "{table}");
    }
    assert_eq!(after.objects(), before.objects());
    assert_eq!(after.objects(), after.rows("blobs"), "an object without a row, or a row without an object");
    let app = format!("{}/app", region.account("dev"));
    let layer = Digest::of(b"a layer that must stay");
    let kept = region.http("dev").await.get(&format!("/v2/{app}/blobs/{layer}")).await;
    assert_eq!(kept.body, "a layer that must stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_those_of_their_digest_are_not_kept() {
    let (region, http, app) = region().await;
    let before = books(&region);
    let wrong = Digest::of(b"other bytes");
    let at_once = format!("/v2/{app}/blobs/uploads/?digest={wrong}");
    refused(&http.call(Method::POST, &at_once, &[], "bytes").await, StatusCode::BAD_REQUEST, "DIGEST_INVALID");
    let finish = format!("{}?digest={wrong}", open(&http, &app).await);
    let told = http.call(Method::PUT, &finish, &[], "bytes").await;
    refused(&told, StatusCode::BAD_REQUEST, "DIGEST_INVALID");
    assert!(told.text().contains(&Digest::of(b"bytes").to_string()), "{}", told.text());
    let upload = open(&http, &app).await;
    assert_eq!(http.call(Method::PATCH, &upload, &[], "by").await.status, StatusCode::ACCEPTED);
    let finish = format!("{upload}?digest={wrong}");
    refused(&http.call(Method::PUT, &finish, &[], "tes").await, StatusCode::BAD_REQUEST, "DIGEST_INVALID");
    refused(&http.call(Method::PUT, &finish, &[], "").await, StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN");
    before.unchanged(&books(&region), "a wrong digest");
    let named = put_manifest(&http, &app, &wrong.to_string(), MANIFEST, &image(&[])).await;
    refused(&named, StatusCode::BAD_REQUEST, "DIGEST_INVALID");
    before.unchanged(&books(&region), "a manifest under a wrong digest");
    nothing_remains(&region, &before).await;
}

/// An image manifest with these layers.
fn image(layers: &[Digest]) -> String {
    let config = serde_json::json!({"mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": Digest::of(b"{}"), "size": 2});
    let layers: Vec<_> = layers
        .iter()
        .map(|digest| serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": 1}))
        .collect();
    serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_cannot_be_are_refused_whole() {
    let (region, http, app) = region().await;
    let before = books(&region);
    let missing = Digest::of(b"never pushed");
    let child = serde_json::json!({"mediaType": MANIFEST, "digest": missing, "size": 400});
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}).to_string();
    let padded = |bytes: usize| {
        let text = image(&[]);
        let padding = " ".repeat(bytes - text.len());
        text + &padding
    };
    let bad = StatusCode::BAD_REQUEST;
    for (reference, media_type, text, status, expected) in [
        ("v2", MANIFEST, image(&[missing]), bad, "MANIFEST_BLOB_UNKNOWN"),
        ("v2", INDEX, index, bad, "MANIFEST_BLOB_UNKNOWN"),
        ("v2", MANIFEST, padded(MAX_BYTES + 1), StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
        ("v2", MANIFEST, "{".to_owned(), bad, "MANIFEST_INVALID"),
        ("v2", MANIFEST, String::new(), bad, "MANIFEST_INVALID"),
        ("v2", MANIFEST, image(&[]).replace("sha256:", "sha257:"), bad, "MANIFEST_INVALID"),
        ("v2", INDEX, image(&[]), bad, "MANIFEST_INVALID"),
        ("-v2", MANIFEST, image(&[]), bad, "MANIFEST_INVALID"),
        ("v2", "not a type", image(&[]), bad, "MANIFEST_INVALID"),
    ] {
        let answer = put_manifest(&http, &app, reference, media_type, &text).await;
        refused(&answer, status, expected);
        before.unchanged(&books(&region), expected);
    }
    let told = put_manifest(&http, &app, "v2", MANIFEST, &image(&[missing])).await.text();
    assert!(told.contains(&missing.to_string()), "{told}");
    assert_eq!(put_manifest(&http, &app, "v2", MANIFEST, &padded(MAX_BYTES)).await.status, StatusCode::CREATED);
    assert_eq!(http.get(&format!("/v2/{app}/manifests/v1")).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_malformed_or_name_nothing_have_their_own_codes() {
    let (region, http, app) = region().await;
    let (dev, layer) = (region.account("dev"), Digest::of(b"a layer that must stay"));
    let off = NewSettings { create_on_push: Some(false), ..NewSettings::default() };
    region.app().set_registry_settings(&region.admin("dev").await, dev, off).await.unwrap();
    let before = books(&region);
    let (bad, missing) = (StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND);
    let get = |path: String| (Method::GET, path);
    let post = |path: String| (Method::POST, path);
    let upload = "11111111-2222-4333-8444-555555555555";
    for ((method, path), status, expected) in [
        (get(format!("/v2/{dev}/App/manifests/v1")), bad, "NAME_INVALID"),
        (get(format!("/v2/{dev}/a..b/manifests/v1")), bad, "NAME_INVALID"),
        (get(format!("/v2/{dev}/a%2fb/tags/list")), bad, "NAME_INVALID"),
        (get("/v2/team/app/manifests/v1".to_owned()), bad, "NAME_INVALID"),
        (get("/v2/1234/app/manifests/v1".to_owned()), bad, "NAME_INVALID"),
        (post(format!("/v2/{dev}/App/blobs/uploads/")), bad, "NAME_INVALID"),
        (get(format!("/v2/{dev}/absent/manifests/v1")), missing, "NAME_UNKNOWN"),
        (get(format!("/v2/{dev}/absent/tags/list")), missing, "NAME_UNKNOWN"),
        (get(format!("/v2/{dev}/absent/blobs/{layer}")), missing, "NAME_UNKNOWN"),
        (post(format!("/v2/{dev}/absent/blobs/uploads/")), missing, "NAME_UNKNOWN"),
        (get(format!("/v2/{app}/manifests/v9")), missing, "MANIFEST_UNKNOWN"),
        (get(format!("/v2/{app}/manifests/{layer}")), missing, "MANIFEST_UNKNOWN"),
        (get(format!("/v2/{app}/blobs/{}", Digest::of(b"x"))), missing, "BLOB_UNKNOWN"),
        (get(format!("/v2/{app}/blobs/sha256:12")), bad, "DIGEST_INVALID"),
        (get(format!("/v2/{app}/blobs/md5:{}", "0".repeat(32))), bad, "DIGEST_INVALID"),
        (post(format!("/v2/{app}/blobs/uploads/?digest=sha256:zz")), bad, "DIGEST_INVALID"),
        (get(format!("/v2/{app}/blobs/uploads/{upload}")), missing, "BLOB_UPLOAD_UNKNOWN"),
        (get(format!("/v2/{app}/blobs/uploads/../../etc")), missing, "NAME_UNKNOWN"),
        (get(format!("/v2/{app}/tags/list?n=-1")), bad, "PAGINATION_NUMBER_INVALID"),
    ] {
        let answer = http.call(method.clone(), &path, &[], Bytes::new()).await;
        assert_eq!((answer.status, code(&answer).as_str()), (status, expected), "{method} {path}: {}", answer.text());
    }
    let put = put_manifest(&http, &format!("{dev}/absent"), "v1", MANIFEST, &image(&[])).await;
    refused(&put, missing, "NAME_UNKNOWN");
    let beyond = format!("/v2/{app}/blobs/{layer}");
    let range = http.call(Method::GET, &beyond, &[("range", "bytes=100-200")], Bytes::new()).await;
    assert_eq!(range.status, StatusCode::RANGE_NOT_SATISFIABLE);
    before.unchanged(&books(&region), "a malformed name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_out_of_order_is_refused_and_the_upload_goes_on_from_where_it_was() {
    let (region, http, app) = region().await;
    let before = books(&region);
    let upload = open(&http, &app).await;
    let chunk = async |range: &str, bytes: &'static str| {
        http.call(Method::PATCH, &upload, &[("content-range", range)], bytes).await
    };
    let first = chunk("0-3", "0123").await;
    assert_eq!((first.status, first.header("range")), (StatusCode::ACCEPTED, "0-3"));
    for (range, from) in [("8-9", 8), ("0-1", 0), ("3-4", 3)] {
        let answer = chunk(range, "xx").await;
        refused(&answer, StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID");
        let text = format!("First byte of the layer part is {from} instead of 4");
        assert!(answer.text().contains(&text), "{}", answer.text());
    }
    for malformed in ["9-4", "4-6"] {
        refused(&chunk(malformed, "xx").await, StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID");
    }
    let late = format!("{upload}?digest={}", Digest::of(b"0123456789"));
    let answer = http.call(Method::PUT, &late, &[("content-range", "6-9")], "6789").await;
    refused(&answer, StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID");
    let status = http.get(&upload).await;
    assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, "0-3"));
    assert_eq!(chunk("4-6", "456").await.status, StatusCode::ACCEPTED);
    let done = http.call(Method::PUT, &late, &[("content-range", "7-9")], "789").await;
    assert_eq!(done.status, StatusCode::CREATED, "{}", done.text());
    assert_eq!(http.get(done.header("location")).await.body, "0123456789");
    nothing_remains(&region, &before).await;
}

/// Sends a PATCH that announces all of these bytes, sends only the first of them, and cuts the connection.
async fn cut_off(region: &Region, upload: &str, password: &str, bytes: &[u8], sent: usize) {
    let mut socket = TcpStream::connect(region.server.address()).await.unwrap();
    let basic = STANDARD.encode(format!("AWS:{password}"));
    let length = bytes.len();
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {basic}\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&bytes[..sent]).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // Whether the server still answers is its own affair; it must not say that all of it arrived.
    let _ = socket.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
}

/// Bytes in which no two places look alike.
fn pattern(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
}

/// How many bytes of an upload are durable.
async fn offset(http: &Http, upload: &str) -> usize {
    let status = http.get(upload).await;
    assert_eq!(status.status, StatusCode::NO_CONTENT, "{}", status.text());
    let last: usize = status.header("range").strip_prefix("0-").unwrap().parse().unwrap();
    // SPEC: an upload without any bytes says `0-0`, and no client sends a first chunk of one byte here.
    if last == 0 { 0 } else { last + 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_cut_keeps_its_durable_part_and_goes_on_from_there() {
    let (region, http, app) = region().await;
    let before = books(&region);
    let bytes = pattern(PART + (8 << 20));
    let password = region.password("dev").await;
    let upload = open(&http, &app).await;
    cut_off(&region, &upload, &password, &bytes, PART + (4 << 20)).await;
    // A part ends with the batch that fills it.
    let kept =
        eventually("the durable part", async || Some(offset(&http, &upload).await).filter(|kept| *kept >= PART)).await;
    assert!(kept < PART + (4 << 20), "{kept} of {} bytes", bytes.len());
    let rest = bytes[kept..].to_vec();
    let range = format!("{kept}-{}", bytes.len() - 1);
    let digest = Digest::of(&bytes);
    let finish = format!("{upload}?digest={digest}");
    let done = http.call(Method::PUT, &finish, &[("content-range", &range)], rest).await;
    assert_eq!(done.status, StatusCode::CREATED, "{}", done.text());
    assert!(http.get(&format!("/v2/{app}/blobs/{digest}")).await.body == bytes, "the blob is not what was sent");
    // One that is never resumed leaves nothing.
    let abandoned = open(&http, &app).await;
    cut_off(&region, &abandoned, &password, &bytes, 1 << 20).await;
    assert_eq!(offset(&http, &abandoned).await, 0);
    nothing_remains(&region, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resumes_in_the_very_moment_of_a_cut_never_damages_its_upload() {
    let (region, http, app) = region().await;
    let password = region.password("dev").await;
    for round in 0..3 {
        let mut bytes = pattern(PART + (1 << 20));
        bytes[0] = round;
        let upload = open(&http, &app).await;
        // Just past the end of the part: its sync and its commit are under way when the connection breaks.
        cut_off(&region, &upload, &password, &bytes, PART + (64 << 10)).await;
        let digest = Digest::of(&bytes);
        let (mut from, mut turned_away) = (0, 0);
        while from == 0 {
            let begin = offset(&http, &upload).await;
            let (end, range) = (begin + 1_024, format!("{begin}-{}", begin + 1_023));
            let answer =
                http.call(Method::PATCH, &upload, &[("content-range", &range)], bytes[begin..end].to_vec()).await;
            match answer.status {
                StatusCode::ACCEPTED => from = end,
                // Still being written, or further than it was when it was asked.
                StatusCode::TOO_MANY_REQUESTS | StatusCode::RANGE_NOT_SATISFIABLE => turned_away += 1,
                _ => panic!("{} {}", answer.status, answer.text()),
            }
            assert!(turned_away < 10_000, "the upload is never free again");
        }
        let range = format!("{from}-{}", bytes.len() - 1);
        let finish = format!("{upload}?digest={digest}");
        let done = http.call(Method::PUT, &finish, &[("content-range", &range)], bytes[from..].to_vec()).await;
        assert_eq!(done.status, StatusCode::CREATED, "{}", done.text());
        let got = http.try_get(&format!("/v2/{app}/blobs/{digest}")).await;
        assert!(got.expect("the blob can be read") == bytes, "the blob is not what was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_not_understood_is_refused_at_its_place_and_the_one_before_it_stays() {
    let (region, ..) = region().await;
    let (dev, app) = (region.account("dev"), region.app());
    let admin = region.admin("dev").await;
    let address = repository(&region, "dev", "app");
    let good = tenants::trust(&format!("arn:aws:iam::{dev}:root"), None).replace("sts:AssumeRole", "ecr:BatchGetImage");
    let good = good.replace("\"Action\"", "\"Resource\":\"*\",\"Action\"");
    app.set_repository_policy(&admin, &address, &good, false).await.unwrap();
    let before = books(&region);
    let bad = [
        "{",
        r#"  "Version": "2012-10-17","#,
        r#"  "Statement": {"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage", "Resource": "*","#,
        r#"    "Condition": {"StringResembles": {"aws:username": "x"}}}"#,
        "}",
    ]
    .join("\n");
    let told = app.set_repository_policy(&admin, &address, &bad, false).await.unwrap_err();
    assert_eq!(told.reason, Reason::MalformedPolicy);
    assert!(told.message.contains("line 4, column 19") && told.message.contains("StringResembles"), "{}", told.message);
    let mut grpc = RegistryServiceClient::new(crate::grpc::channel(&region).await);
    let token = crate::grpc::log_in(&region, "dev").await;
    let name = format!("accounts/{dev}/repositories/app");
    let request = pb::SetRepositoryPolicyRequest { name, policy: bad.clone(), ..Default::default() };
    let status = grpc.set_repository_policy(crate::grpc::under(&token, request)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("MALFORMED_POLICY", "transship.dev"));
    assert_eq!((info.metadata["line"].as_str(), info.metadata["column"].as_str()), ("4", "19"));
    let unsure = bad.replace("StringResembles", "StringEquals").replace("aws:username", "aws:ViaSomething");
    let told = app.set_repository_policy(&admin, &address, &unsure, false).await.unwrap_err();
    assert_eq!(told.reason, Reason::MalformedPolicy, "a key that no request has");
    assert!(told.message.contains("line 4, column 36"), "{}", told.message);
    app.put_registry_policy(&admin, dev, &bad, false).await.unwrap_err();
    let nobody = good.replace(":root", ":user/nobody");
    let told = app.set_repository_policy(&admin, &address, &nobody, false).await.unwrap_err();
    assert!(told.message.contains("Principal not found"), "{}", told.message);
    before.unchanged(&books(&region), "a malformed policy");
    assert_eq!(app.repository_policy(&admin, &address).await.unwrap(), good);
}

//! Blobs in a bucket, against a real S3 server: the same answers as from a disk, whole after every cut, from any node.
//!
//! Runs where `TRANSSHIP_TEST_S3` names a server that knows `AWS_ACCESS_KEY_ID` and has the bucket `transship`;
//! `tests/run` starts one.

use crate::harness::{Cut, Http, Region};
use bytes::Bytes;
use futures::TryStreamExt;
use http::{Method, StatusCode};
use transship::names::{Digest, Region as RegionName};
use transship::upstream::s3;

/// A prefix of its own in the tests' bucket, or none without a server.
pub fn bucket() -> Option<s3::Settings> {
    let Ok(endpoint) = std::env::var("TRANSSHIP_TEST_S3") else {
        println!("SKIPPED: TRANSSHIP_TEST_S3 names no server");
        return None;
    };
    Some(s3::Settings {
        bucket: "transship".to_owned(),
        prefix: transship::clock::Clock::system().uid().to_string(),
        region: RegionName::parse("us-east-1").unwrap(),
        endpoint: Some(endpoint),
    })
}

pub fn section(bucket: &s3::Settings) -> String {
    let endpoint = bucket.endpoint.as_ref().unwrap();
    format!(
        "[blobs]\nkind = \"s3\"\nbucket = {:?}\nprefix = {:?}\nendpoint = {endpoint:?}",
        bucket.bucket, bucket.prefix
    )
}

/// The names of all objects under the prefix.
async fn names(bucket: &s3::Settings) -> Vec<String> {
    let store = bucket.client(transship::clock::Clock::system()).await.unwrap();
    let mut names: Vec<String> = store.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
    names.sort();
    names
}

/// Bytes in which no range equals another.
fn content(length: usize) -> Vec<u8> {
    (0..length as u64 / 8 + 1).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()).take(length).collect()
}

async fn patch(http: &Http, location: &str, from: usize, bytes: &[u8]) -> crate::harness::Answer {
    let range = format!("{from}-{}", from + bytes.len() - 1);
    http.call(Method::PATCH, location, &[("content-range", &range)], bytes.to_vec()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_comes_back_whole_and_in_ranges_though_the_server_restarted_amid_its_upload() {
    let Some(bucket) = bucket() else { return };
    let region = Region::configured(&section(&bucket)).await;
    let app = format!("{}/app", region.account("dev"));
    let whole = content(20_000_000);
    let http = region.http("dev").await;
    let start = http.call(Method::POST, &format!("/v2/{app}/blobs/uploads/"), &[], "").await;
    let sent = patch(&http, start.header("location"), 0, &whole[..9_000_001]).await;
    assert_eq!((sent.status, sent.header("range")), (StatusCode::ACCEPTED, "0-9000000"));
    assert_eq!(names(&bucket).await.len(), 2, "a full part and the rest of the request");

    let region = region.restart().await;
    let http = region.http("dev").await;
    let early = patch(&http, start.header("location"), 9_000_000, b"x").await;
    assert_eq!(early.status, StatusCode::RANGE_NOT_SATISFIABLE);
    let sent = patch(&http, start.header("location"), 9_000_001, &whole[9_000_001..]).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.text());
    let digest = Digest::of(&whole);
    let put = format!("{}?digest={digest}", start.header("location"));
    let put = http.call(Method::PUT, &put, &[], "").await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());

    let path = format!("/v2/{app}/blobs/{digest}");
    assert!(http.get(&path).await.body == whole);
    for (first, last) in
        [(0, 0), (8_388_600, 8_388_620), (8_999_990, 9_000_010), (19_999_990, 19_999_999), (1, 19_999_998)]
    {
        let got = http.call(Method::GET, &path, &[("range", &format!("bytes={first}-{last}"))], "").await;
        assert_eq!(got.status, StatusCode::PARTIAL_CONTENT);
        assert!(got.body == whole[first..=last], "{first}-{last}");
    }
    let wrong = http.call(Method::POST, &format!("/v2/{app}/blobs/uploads/?digest={digest}"), &[], "other").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert_eq!(names(&bucket).await.len(), 4, "nothing of the refused one");
    assert_eq!(http.call(Method::DELETE, &path, &[], "").await.status, StatusCode::ACCEPTED);
    region.app().sweep().await.unwrap();
    assert_eq!(names(&bucket).await, Vec::<String>::new(), "an object goes with its last link");
    region.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pushed_pulled_verified_and_removed() {
    let Some(bucket) = bucket() else { return };
    let region = Region::configured(&section(&bucket)).await;
    let app = format!("{}/app", region.account("dev"));
    let http = region.http("dev").await;
    let image = http.push_image(&app, "v1", &[b"", b"layer", &content(300_000)]).await;
    let stored = names(&bucket).await;
    assert_eq!(stored.len(), 4, "config and layers, one part each: {stored:?}");
    let got = http.get(&format!("/v2/{app}/manifests/v1")).await;
    assert_eq!((got.status, got.header("docker-content-digest")), (StatusCode::OK, image.as_str()));
    for bytes in [&b""[..], b"layer", &content(300_000)] {
        assert!(http.get(&format!("/v2/{app}/blobs/{}", Digest::of(bytes))).await.body == bytes);
    }
    // What is gone from the bucket is told as lost, and not as missing.
    let store = bucket.client(transship::clock::Clock::system()).await.unwrap();
    for name in &stored {
        use object_store::ObjectStoreExt;
        store.delete(&object_store::path::Path::from(name.as_str())).await.unwrap();
    }
    let lost = http.try_get(&format!("/v2/{app}/blobs/{}", Digest::of(b"layer"))).await;
    assert!(lost.is_err(), "the answer breaks off: {lost:?}");
    region.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_does_not_answer_costs_a_push_its_last_part_at_most() {
    let Some(mut bucket) = bucket() else { return };
    let port: u16 = bucket.endpoint.as_ref().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let direct = bucket.clone();
    let cut = Cut::before(port);
    bucket.endpoint = Some(format!("http://127.0.0.1:{}", cut.port));
    let region = Region::configured(&section(&bucket)).await;
    let app = format!("{}/app", region.account("dev"));
    let http = region.http("dev").await;
    let start = http.call(Method::POST, &format!("/v2/{app}/blobs/uploads/"), &[], "").await;
    let location = start.header("location");
    assert_eq!(patch(&http, location, 0, b"durable").await.status, StatusCode::ACCEPTED);
    cut.cut();
    let refused = patch(&http, location, 7, b", and more").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());
    let status = http.call(Method::GET, location, &[], "").await;
    assert_eq!(status.header("range"), "0-6", "what was acknowledged stands");
    cut.mend();
    assert_eq!(patch(&http, location, 7, b", and more").await.status, StatusCode::ACCEPTED);
    let digest = Digest::of(b"durable, and more");
    let put = http.call(Method::PUT, &format!("{location}?digest={digest}"), &[], "").await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    assert_eq!(&http.get(&format!("/v2/{app}/blobs/{digest}")).await.body[..], b"durable, and more");
    assert_eq!(names(&direct).await.len(), 2);
    region.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_goes_on_with_an_upload_and_serves_what_another_took() {
    let Some(bucket) = bucket() else { return };
    let Some(url) = crate::push_pull::database().await else {
        return println!("SKIPPED: TRANSSHIP_TEST_POSTGRES names no server");
    };
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("url");
    std::fs::write(&secret, url).unwrap();
    let more = format!("[store]\nkind = \"postgres\"\nurl = \"file:{}\"\n{}", secret.display(), section(&bucket));
    let first = Region::configured(&more).await;
    let key = std::fs::read(first.folder.path().join("data/root.key")).unwrap();
    let second = Region::prepared(&more, &[("root.key", &key)]).await;

    let app = format!("{}/app", first.account("dev"));
    let password = first.password("dev").await;
    let one = Http::new(&first.base, Some(password.clone()));
    let two = Http::new(&second.base, Some(password));
    let start = one.call(Method::POST, &format!("/v2/{app}/blobs/uploads/"), &[], "").await;
    let path = start.header("location").rsplit_once("/v2/").map(|(_, path)| format!("/v2/{path}")).unwrap();
    assert_eq!(patch(&one, &path, 0, b"begun at one, ").await.status, StatusCode::ACCEPTED);
    assert_eq!(patch(&two, &path, 14, b"ended at the other").await.status, StatusCode::ACCEPTED);
    let digest = Digest::of(b"begun at one, ended at the other");
    assert_eq!(two.call(Method::PUT, &format!("{path}?digest={digest}"), &[], "").await.status, StatusCode::CREATED);
    for node in [&one, &two] {
        let got = node.get(&format!("/v2/{app}/blobs/{digest}")).await;
        assert_eq!(&got.body[..], b"begun at one, ended at the other");
    }
    let image = two.push_image(&app, "v1", &[b"from two"]).await;
    assert_eq!(one.get(&format!("/v2/{app}/manifests/v1")).await.header("docker-content-digest"), image);
    // Both at once: one of them has the upload, and nothing of the other's is mixed in.
    let start = one.call(Method::POST, &format!("/v2/{app}/blobs/uploads/"), &[], "").await;
    let path = start.header("location").rsplit_once("/v2/").map(|(_, path)| format!("/v2/{path}")).unwrap();
    let (a, b) = tokio::join!(patch(&one, &path, 0, b"aaaa"), patch(&two, &path, 0, b"bbbb"));
    let won: Vec<&[u8]> = [(a, &b"aaaa"[..]), (b, b"bbbb")]
        .into_iter()
        .filter(|(answer, _)| answer.status == StatusCode::ACCEPTED)
        .map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(won.len(), 1);
    let digest = Digest::of(won[0]);
    assert_eq!(one.call(Method::PUT, &format!("{path}?digest={digest}"), &[], "").await.status, StatusCode::CREATED);
    assert_eq!(two.get(&format!("/v2/{app}/blobs/{digest}")).await.body, Bytes::copy_from_slice(won[0]));
    first.server.stop().await;
    second.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_senders_are_slow_does_not_hold_up_another() {
    use tokio::io::AsyncWriteExt;
    let Some(bucket) = bucket() else { return };
    let region = Region::configured(&section(&bucket)).await;
    let (dev, http) = (region.account("dev"), region.http("dev").await);
    let password = region.password("dev").await;
    let mut held = Vec::new();
    // More than there are parts in memory, each begun and never ended.
    for _ in 0..40 {
        let start = http.call(Method::POST, &format!("/v2/{dev}/slow/blobs/uploads/"), &[], "").await;
        let path = start.header("location").rsplit_once("/v2/").unwrap().1.to_owned();
        let address = region.base.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!(
            "PATCH /v2/{path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {password}\r\ncontent-length: 9000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // What does not fit the socket while nobody reads is not waited for.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(50), stream.write_all(&content(1 << 20))).await;
        held.push(stream);
    }
    let (prod, other) = (region.account("prod"), region.http("prod").await);
    let (app, bytes) = (format!("{prod}/app"), content(9_000_000));
    let push = other.push_blob(&app, &bytes);
    let digest = tokio::time::timeout(std::time::Duration::from_secs(10), push).await.expect("the push is not held up");
    assert_eq!(other.get(&format!("/v2/{app}/blobs/{digest}")).await.body.len(), 9_000_000);
}

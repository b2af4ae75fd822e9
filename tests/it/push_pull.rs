//! Pushing and pulling over the OCI distribution API.

use crate::harness::Region;
use bytes::Bytes;
use http::{Method, StatusCode};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_back_as_it_was_pushed_and_survives_a_restart() {
    let region = Region::start().await;
    let repository = format!("{}/team/app", region.account("dev"));
    let layer = vec![7; 200_000];
    let image = region.http("dev").await.push_image(&repository, "v1", &[&layer]).await;

    let region = region.restart().await;
    let http = region.http("dev").await;
    let got = http.get(&format!("/v2/{repository}/manifests/v1")).await;
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(got.header("docker-content-digest"), image);
    let digest = transship::names::Digest::of(&layer);
    let path = format!("/v2/{repository}/blobs/{digest}");
    let blob = http.get(&path).await;
    assert_eq!((blob.status, blob.body.to_vec()), (StatusCode::OK, layer));
    let part = http.call(Method::GET, &path, &[("range", "bytes=65530-65545")], Bytes::new()).await;
    assert_eq!((part.status, part.body.len()), (StatusCode::PARTIAL_CONTENT, 16));
    let tags = http.get(&format!("/v2/{repository}/tags/list")).await;
    assert!(tags.text().contains("\"tags\":[\"v1\"]"), "{}", tags.text());
    region.server.stop().await;
}

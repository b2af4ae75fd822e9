//! Pushing and pulling over the OCI distribution API.

use crate::harness::{Http, Region};
use bytes::Bytes;
use http::{Method, StatusCode};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn image(config: &str, layers: &[(&str, usize)]) -> String {
    let layers: Vec<_> = layers
        .iter()
        .map(|(digest, size)| {
            serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size})
        })
        .collect();
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": layers,
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_back_as_it_was_pushed() {
    let region = Region::start().await;
    let http = Http::new(&region.base, Some(region.password("dev").await));
    let repository = format!("{}/team/app", region.account("dev"));
    let layer = vec![7; 200_000];
    let config = http.push_blob(&repository, b"{}").await;
    let digest = http.push_blob(&repository, &layer).await;
    let manifest = image(&config, &[(&digest, layer.len())]);
    let path = format!("/v2/{repository}/manifests/v1");
    let put = http.call(Method::PUT, &path, &[("content-type", MANIFEST)], manifest.clone()).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());

    let region = region.restart().await;
    let http = Http::new(&region.base, Some(region.password("dev").await));
    let got = http.get(&path).await;
    assert_eq!((got.status, got.text()), (StatusCode::OK, manifest));
    assert_eq!(got.header("docker-content-digest"), put.header("docker-content-digest"));
    let blob = http.get(&format!("/v2/{repository}/blobs/{digest}")).await;
    assert_eq!((blob.status, blob.body.to_vec()), (StatusCode::OK, layer));
    let part = http
        .call(Method::GET, &format!("/v2/{repository}/blobs/{digest}"), &[("range", "bytes=65530-65545")], Bytes::new())
        .await;
    assert_eq!((part.status, part.body.len()), (StatusCode::PARTIAL_CONTENT, 16));
    let tags = http.get(&format!("/v2/{repository}/tags/list")).await;
    assert!(tags.text().contains("\"tags\":[\"v1\"]"), "{}", tags.text());
    region.server.stop().await;
}

//! Pushing and pulling over the OCI distribution API.

use crate::harness::Region;
use bytes::Bytes;
use http::{Method, StatusCode};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_back_as_it_was_pushed_and_survives_a_restart() {
    Box::pin(round_trip(Region::start().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_a_setting() {
    let Some(url) = database().await else {
        return println!("SKIPPED: TRANSSHIP_TEST_POSTGRES names no server");
    };
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("url");
    std::fs::write(&secret, url).unwrap();
    let store = format!("[store]\nkind = \"postgres\"\nurl = \"file:{}\"", secret.display());
    Box::pin(round_trip(Region::configured(&store).await)).await;
}

/// The URL of a new database, if there is a server.
pub async fn database() -> Option<String> {
    let server = std::env::var("TRANSSHIP_TEST_POSTGRES").ok()?;
    let (client, connection) = tokio_postgres::connect(&server, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let name = format!("it_{}", transship::clock::Clock::system().uid().to_string().replace('-', ""));
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    Some(format!("{}/{name}", server.rsplit_once('/').unwrap().0))
}

async fn round_trip(region: Region) {
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

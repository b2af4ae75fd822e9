//! Content that is known by its SHA-512: resumed after a restart, verified at rest, replicated under its own name.

use crate::harness::{Http, MANIFEST, Organization, Region};
use crate::replication::{arrival, carry};
use crate::tenants;
use http::{Method, StatusCode};
use transship::names::{Algorithm, Digest};

fn named(bytes: &[u8]) -> Digest {
    Digest::hash(Algorithm::Sha512, bytes)
}

async fn open(http: &Http, repository: &str, query: &str) -> String {
    let opened = http.call(Method::POST, &format!("/v2/{repository}/blobs/uploads/{query}"), &[], "").await;
    assert_eq!(opened.status, StatusCode::ACCEPTED, "{}", opened.text());
    opened.header("location").to_owned()
}

async fn close(http: &Http, location: &str, digest: Digest, bytes: &[u8]) {
    let done = http.call(Method::PUT, &format!("{location}?digest={digest}"), &[], bytes.to_vec()).await;
    assert_eq!(done.status, StatusCode::CREATED, "{}", done.text());
    assert_eq!(done.header("docker-content-digest"), digest.to_string());
}

/// Pushes an image whose every digest is a SHA-512, under a tag; answers its digest.
async fn push_image(http: &Http, repository: &str, tag: &str, layer: &[u8]) -> Digest {
    for bytes in [b"{}", layer] {
        close(http, &open(http, repository, "").await, named(bytes), bytes).await;
    }
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": named(b"{}"), "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": named(layer), "size": layer.len()}],
    })
    .to_string();
    let digest = named(manifest.as_bytes());
    let path = format!("/v2/{repository}/manifests/{digest}?tag={tag}");
    let put = http.call(Method::PUT, &path, &[("content-type", MANIFEST)], manifest).await;
    assert_eq!((put.status, put.header("oci-tag")), (StatusCode::CREATED, tag), "{}", put.text());
    digest
}

/// Fails unless every byte of a repository is what its digest says; answers how many objects there are.
async fn verified(region: &Region, account: &str, repository: &str) -> u64 {
    let address = tenants::repository(region, account, repository);
    let mut reports = region.app().verify_repository(&region.admin(account).await, &address).await.unwrap();
    let mut total = 0;
    while let Some(report) = reports.recv().await {
        let report = report.unwrap();
        assert!(report.damage.is_empty(), "{:?}", report.damage);
        total = report.total;
    }
    total
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_after_a_restart_whether_or_not_its_algorithm_was_announced() {
    let region = Region::start().await;
    let repository = format!("{}/app", region.account("dev"));
    let http = region.http("dev").await;
    let bytes: Vec<u8> = (0..50_021_u32).flat_map(u32::to_le_bytes).collect();
    let (first, rest) = bytes.split_at(100_003);
    let mut locations = Vec::new();
    for query in ["", "?digest-algorithm=sha256", "?digest-algorithm=sha512"] {
        let location = open(&http, &repository, query).await;
        let sent = http.call(Method::PATCH, &location, &[], first.to_vec()).await;
        assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.text());
        locations.push(location);
    }
    let region = region.restart().await;
    let http = region.http("dev").await;
    for location in locations {
        let location = location.rsplit_once("/v2/").unwrap().1;
        close(&http, &format!("/v2/{location}"), named(&bytes), rest).await;
        let path = format!("/v2/{repository}/blobs/{}", named(&bytes));
        assert!(http.get(&path).await.body == bytes);
        assert_eq!(http.call(Method::DELETE, &path, &[], "").await.status, StatusCode::ACCEPTED);
    }
    let digest = Digest::of(&bytes);
    close(&http, &open(&http, &repository, "?digest-algorithm=sha512").await, digest, &bytes).await;
    let other = http.call(Method::HEAD, &format!("/v2/{repository}/blobs/{}", named(&bytes)), &[], "").await;
    assert_eq!(other.status, StatusCode::NOT_FOUND, "under another algorithm it is another object");
    assert_eq!(verified(&region, "dev", "app").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_arrives_elsewhere_under_the_digest_it_was_pushed_by() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    carry(home, away, "", "").await;
    let layer: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let image = push_image(&home.http("dev").await, &format!("{}/app", home.account("dev")), "v1", &layer).await;
    let (there, replica) = (away.http("prod").await, format!("{}/app", away.account("prod")));
    let got = arrival(&there, &replica, "v1").await;
    assert_eq!(got.header("docker-content-digest"), image.to_string());
    assert!(there.get(&format!("/v2/{replica}/blobs/{}", named(&layer))).await.body == layer);
    assert_eq!(verified(away, "prod", "app").await, 3);
}

//! Bytes that are not what they were: on the way, and at rest.

use crate::harness::{Organization, eventually};
use crate::replication::{arrival, carry};
use http::StatusCode;
use std::os::unix::fs::FileExt;
use transship::names::{Digest, PageSize, RepositoryName, RepositoryRef};

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_flipped_at_the_source_ends_in_data_loss_without_manifest_or_receipt() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    carry(home, away, "", "").await;
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    home.app().faults().flip_sent_bytes();
    home.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[&[9; 100_000]]).await;
    let status = eventually("the dead letter", async || {
        let status = home.app().replication_status(&home.admin("dev").await, dev).await.unwrap().remove(0);
        (status.failed == 1).then_some(status)
    })
    .await;
    let (message, _) = status.last_error.expect("an error in words");
    assert!(message.contains("did not arrive as it was sent"), "{message}");
    let there = away.http("prod").await;
    assert_eq!(there.get(&format!("/v2/{prod}/app/manifests/v1")).await.status, StatusCode::NOT_FOUND);
    let address = RepositoryRef {
        account: dev,
        region: home.app().settings().region.clone(),
        name: RepositoryName::parse("app").unwrap(),
    };
    let receipts = home.app().list_receipts(&home.admin("dev").await, &address, "", PageSize::clamp(10)).await.unwrap();
    assert!(receipts.is_empty(), "a receipt for damaged bytes");
    let letters = reasons(&home.folder.path().join("data/metadata.db"));
    assert_eq!(letters, ["DATA_LOSS"]);
}

fn reasons(database: &std::path::Path) -> Vec<String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(database, flags).unwrap();
    let mut statement = database.prepare("SELECT reason FROM dead_letters").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_flipped_at_rest_is_named_by_verify_never_served_and_repaired_from_the_source() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    carry(home, away, "", "").await;
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    let layer = vec![5; 300_000];
    home.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[&layer, b"another"]).await;
    let there = away.http("prod").await;
    arrival(&there, &format!("{prod}/app"), "v1").await;
    flip_largest(&away.folder.path().join("data/blobs"), 150_000);
    let address = RepositoryRef {
        account: prod,
        region: away.app().settings().region.clone(),
        name: RepositoryName::parse("app").unwrap(),
    };
    let mut reports = away.app().verify_repository(&away.admin("prod").await, &address).await.unwrap();
    let mut damaged = Vec::new();
    while let Some(report) = reports.recv().await {
        damaged.extend(report.unwrap().damage.into_iter().map(|damage| damage.digest));
    }
    let digest = Digest::of(&layer);
    assert_eq!(damaged, [digest]);
    eventually("the repair", async || {
        let pulled = there.get(&format!("/v2/{prod}/app/blobs/{digest}")).await;
        assert!(pulled.status == StatusCode::NOT_FOUND || pulled.body == layer, "a damaged blob was served whole");
        (pulled.status == StatusCode::OK).then_some(())
    })
    .await;
}

/// Flips one bit of the largest file below a folder.
fn flip_largest(folder: &std::path::Path, at: u64) {
    let mut largest = None;
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            largest = largest.max(Some((entry.metadata().unwrap().len(), entry.into_path())));
        }
    }
    let (_, path) = largest.unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

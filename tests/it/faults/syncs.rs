//! F04, when it repeats: a disk that does not sync ends writes, and the next start begins them again.

use super::{Acknowledged, Field, Image, SYNC, Site, WRITE, no_orphans};
use crate::aws::{Call, Key};
use crate::grpc::{channel_to, log_in_at, under};
use crate::harness::{Http, MANIFEST, Region};
use http::{Method, StatusCode};
use tonic::Code;
use transship::clock::Clock;
use transship::pb::registry as pb;
use transship::pb::registry::registry_service_client::RegistryServiceClient;
use transship::secret::Secret;

/// Errno value of Linux.
const EIO: i64 = 5;
/// What the log says when writes end.
const LOGGED: &str = "this node takes no more writes";

/// A site, and the access key of the admin who pushes there.
async fn site() -> (Site, Key) {
    let region = Region::configured("").await;
    let (id, secret) = region.access_key("dev");
    (Site::of(region).await, Key { id, secret: Secret::new(secret), token: None })
}

fn base(site: &Site) -> String {
    format!("http://127.0.0.1:{}", site.port)
}

/// Pushes until the server says that it is not ready; how many were acknowledged, and how many were not.
async fn push_until_writes_end(site: &Site, from: usize, kept: &mut Vec<Acknowledged>) -> (usize, usize) {
    let (http, mut pushed, mut failed) = (site.http(), 0, 0);
    for number in from..from + 300 {
        let mut done = Acknowledged::default();
        match Image::small(number).push(&http, &site.repository, &mut done).await {
            Ok(()) => pushed += 1,
            Err(error) => {
                assert!(error.to_string().starts_with("50"), "{error}");
                failed += 1;
            }
        }
        kept.push(done);
        if http.get("/readyz").await.status != StatusCode::OK {
            return (pushed, failed);
        }
    }
    panic!("writes did not end after {pushed} pushes and {failed} failed ones");
}

/// Every surface refuses writes in words, while reads and logins go on; nothing is written to the data any more.
async fn read_only(site: &Site, key: &Key, what: &str, kept: &[Acknowledged]) {
    let (http, base, repository) = (site.http(), base(site), &site.repository);
    site.control.arm(SYNC | WRITE, "/data/", 0, EIO);
    let ready = http.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    for word in ["no writes", what, "restart"] {
        assert!(ready.text().contains(word), "{}", ready.text());
    }
    assert_eq!(http.get("/livez").await.status, StatusCode::OK);
    let text = Image::small(1).manifest();
    let refused = [
        http.call(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], "").await,
        http.call(Method::PUT, &format!("/v2/{repository}/manifests/late"), &[("content-type", MANIFEST)], text).await,
        http.call(Method::DELETE, &format!("/v2/{repository}/manifests/v1"), &[], "").await,
    ];
    for answer in refused {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
        assert!(answer.text().contains("UNAVAILABLE") && answer.text().contains("must restart"), "{}", answer.text());
    }
    let now = Clock::system().now();
    let token = log_in_at(&base, now, &key.id, key.secret.expose().clone()).await;
    let mut grpc = RegistryServiceClient::new(channel_to(&base).await);
    let account = repository.split('/').next().unwrap();
    let asked = pb::CreateRepositoryRequest {
        parent: format!("accounts/{account}"),
        repository_id: "late".to_owned(),
        ..pb::CreateRepositoryRequest::default()
    };
    let status = grpc.create_repository(under(&token, asked)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains("must restart"), "{status:?}");
    let body = r#"{"repositoryName":"late"}"#.to_owned();
    let answer = Call { service: "ecr", operation: "CreateRepository", body }.send(&base, now, Some(key)).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.text().contains("ServerException") && answer.text().contains("must restart"), "{}", answer.text());
    let password = Call { service: "ecr", operation: "GetAuthorizationToken", body: "{}".to_owned() };
    assert_eq!(password.send(&base, now, Some(key)).await.status, StatusCode::OK);
    pull(&http, repository, kept).await;
    assert_eq!(http.get(&format!("/v2/{repository}/tags/list")).await.status, StatusCode::OK);
    // Longer than audit rows wait for each other.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(site.control.get(Field::Steps), 0, "something was written");
    site.control.disarm();
}

async fn pull(http: &Http, repository: &str, kept: &[Acknowledged]) {
    for done in kept {
        done.pull(http, repository).await;
    }
}

/// Syncs of objects, then of the metadata's log.
#[tokio::test(flavor = "multi_thread")]
async fn f04_syncs_that_fail_again_and_again_end_writes_until_a_restart_while_reads_go_on() {
    let (mut site, key) = site().await;
    let mut kept = Vec::new();
    for (round, (only, what)) in
        [("/data/blobs/", "the blob store"), ("metadata.db-wal$", "the metadata store")].into_iter().enumerate()
    {
        let process = site.spawn();
        let mut done = Acknowledged::default();
        Image::small(round * 1_000).push(&site.http(), &site.repository, &mut done).await.unwrap();
        kept.push(done);
        site.control.arm(SYNC, only, 1, EIO);
        site.control.set(Field::Stays, 1);
        let (pushed, failed) = push_until_writes_end(&site, round * 1_000 + 1, &mut kept).await;
        let met = site.control.get(Field::Met);
        // The disk is whole again, and nobody believes it.
        site.control.disarm();
        assert_eq!((pushed, met), (0, 3), "{what}: {failed} pushes failed");
        read_only(&site, &key, what, &kept).await;
        assert_eq!(site.log().matches(LOGGED).count(), round + 1, "it is said once");
        println!("F04: {failed} pushes met {met} failed syncs of {what}: then writes ended, and reads went on");
        process.kill();
        let process = site.spawn();
        assert_eq!(site.http().get("/readyz").await.status, StatusCode::OK);
        pull(&site.http(), &site.repository, &kept).await;
        Image::small(round * 1_000 + 500).push_and_pull(&site.http(), &site.repository).await;
        process.kill();
    }
    site.inside(no_orphans).await;
}

/// One is enough: after it SQLite would take pages for copied that may be lost, and let go of the log that has them.
#[tokio::test(flavor = "multi_thread")]
async fn f04_a_checkpoint_whose_sync_fails_ends_writes_at_once_and_the_log_stays_for_the_next_start() {
    let (mut site, key) = site().await;
    let process = site.spawn();
    let mut kept = Vec::new();
    site.control.arm(SYNC, "/metadata.db$", 1, EIO);
    let (pushed, _) = push_until_writes_end(&site, 1, &mut kept).await;
    assert_eq!(site.control.get(Field::Met), 1);
    assert!(pushed > 0, "what the log has is durable, and acknowledged");
    read_only(&site, &key, "the metadata store", &kept).await;
    assert_eq!(site.log().matches(LOGGED).count(), 1, "it is said once");
    let log = site.left().folder.path().join("data/metadata.db-wal");
    let before = std::fs::metadata(&log).unwrap().len();
    site.control.arm(SYNC | WRITE, "/metadata.db$", 0, EIO);
    process.stop();
    assert_eq!(site.control.get(Field::Steps), 0, "the log was copied at the end");
    assert_eq!(std::fs::metadata(&log).unwrap().len(), before);
    site.control.disarm();
    let process = site.spawn();
    pull(&site.http(), &site.repository, &kept).await;
    Image::small(5_000).push_and_pull(&site.http(), &site.repository).await;
    println!(
        "F04: a checkpoint's sync failed after {pushed} pushes: writes ended; {before} bytes of log were copied by the next start"
    );
    process.kill();
    site.inside(no_orphans).await;
}

//! kill -9 of either side while images are on their way: nothing is lost, doubled, damaged or left lying.
//!
//! CI size: 200 images of 3 MiB, 20 kills. Long size (`TRANSSHIP_LONG=1`): 1,000 images, 100 kills.

use crate::harness::{Left, MANIFEST, Organization, Region};
use crate::replication::consent;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use transship::domain::replication::rules::NewRule;
use transship::names::{RepositoryName, RepositoryRef};
use transship::store::rules::Destination;

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
/// Links and uploads without a manifest are given up after this.
const LEASE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_left_by_kills_of_either_side() {
    let long = std::env::var_os("TRANSSHIP_LONG").is_some();
    let (images, kills) = if long { (1_000, 100) } else { (200, 20) };
    let limits = format!("sweep_secs = 1\nlink_lease_secs = {0}\nupload_ttl_secs = {0}", LEASE.as_secs());
    let mut organization = Organization::limited(&REGIONS, &limits).await;
    push_all(&organization, images).await;
    let away = organization.regions.pop().unwrap();
    let home = organization.regions.pop().unwrap();
    let (home, away) = (home.leave().await, away.leave().await);
    let open = kill_and_restart(&home, &away, kills);
    assert!(open >= kills * 3 / 4, "only {open} of {kills} kills met an open blob stream: the run is void");
    // Undisturbed, the rest arrives.
    let processes = (home.spawn(), away.spawn());
    let deadline = Instant::now() + Duration::from_secs(120);
    while pending(&home) > 0 {
        assert!(Instant::now() < deadline, "{} changes never arrived", pending(&home));
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(processes);
    assert_eq!(tags(&home), tags(&away), "tags differ");
    assert_eq!(tags(&away).len(), images);
    let home = home.back().await;
    let away = away.back().await;
    assert_undamaged(&home, "dev").await;
    assert_undamaged(&away, "prod").await;
    tokio::time::sleep(LEASE).await;
    let away = settle(away).await;
    assert_no_strays(&away);
    println!("{images} images, {kills} kills, {open} with a blob stream open");
}

/// Pushes images before a rule exists would not carry them, so the rule comes first and the peer port is closed.
async fn push_all(organization: &Organization, images: usize) {
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    let http = home.http("dev").await;
    let repository = format!("{dev}/team-a/app");
    let mut manifests = Vec::new();
    let config = http.push_blob(&repository, b"{}").await;
    for number in 0..images {
        let mut layer = vec![u8::try_from(number % 251).unwrap(); 3 << 20];
        layer[..8].copy_from_slice(&number.to_le_bytes());
        let digest = http.push_blob(&repository, &layer).await;
        manifests.push(
            serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": layer.len()}],
            })
            .to_string(),
        );
    }
    let rule = NewRule {
        repository_prefix: String::new(),
        tag_pattern: String::new(),
        destinations: vec![Destination { region: away.app().settings().region.clone(), account: prod }],
    };
    home.app().create_rule(&home.admin("dev").await, dev, rule).await.unwrap();
    for (number, manifest) in manifests.iter().enumerate() {
        http.put_manifest(&repository, &format!("v{number}"), MANIFEST, manifest).await;
    }
    // Consent comes last: until now nothing could arrive, so that the kills meet all of it.
    away.app().put_registry_policy(&away.admin("prod").await, prod, &consent(dev), false).await.unwrap();
}

/// Kills sides in turn at random moments; answers how many kills met an open blob stream.
fn kill_and_restart(home: &Left, away: &Left, kills: usize) -> usize {
    let clock = transship::clock::Clock::system();
    let (mut source, mut destination) = (Some(home.spawn()), Some(away.spawn()));
    let mut open = 0;
    for round in 0..kills {
        std::thread::sleep(clock.jitter(Duration::from_millis(60)));
        let database = away.database();
        let deadline = Instant::now() + Duration::from_secs(3);
        while streams(&database) == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let victim = if round % 2 == 0 { &mut source } else { &mut destination };
        open += usize::from(streams(&database) > 0);
        victim.take().unwrap().kill();
        drop(database);
        if round % 2 == 0 { source = Some(home.spawn()) } else { destination = Some(away.spawn()) }
    }
    open
}

/// Blob streams that the destination is receiving.
fn streams(database: &rusqlite::Connection) -> i64 {
    let sql = "SELECT count(*) FROM uploads WHERE principal LIKE 'replication/%'";
    database.query_row(sql, [], |row| row.get(0)).unwrap_or(0)
}

fn pending(home: &Left) -> i64 {
    let sql = "SELECT h.head - c.seq FROM stream_heads h JOIN cursors c ON c.stream = h.stream AND c.shard = h.shard \
               WHERE h.stream LIKE 'registry/%' AND c.follower LIKE 'eu-west-1/%'";
    home.database().query_row(sql, [], |row| row.get(0)).unwrap_or(i64::MAX)
}

fn tags(region: &Left) -> BTreeSet<(String, String)> {
    let database = region.database();
    let mut statement = database.prepare("SELECT tag, digest FROM tags").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

async fn assert_undamaged(region: &Region, account: &str) {
    let address = RepositoryRef {
        account: region.account(account),
        region: region.app().settings().region.clone(),
        name: RepositoryName::parse("team-a/app").unwrap(),
    };
    let ctx = region.admin(account).await;
    let mut reports = region.app().verify_repository(&ctx, &address).await.unwrap();
    let mut last = None;
    while let Some(report) = reports.recv().await {
        let report = report.unwrap();
        assert!(report.damage.is_empty(), "{:?}", report.damage);
        last = Some((report.done, report.total));
    }
    let (done, total) = last.expect("something was verified");
    assert_eq!(done, total);
}

/// Lets the sweeper run until there is nothing more to sweep.
async fn settle(region: Region) -> Left {
    for _ in 0..5 {
        region.app().sweep().await.unwrap();
    }
    region.leave().await
}

/// Every file is an object, every object has a link, every link a manifest that names it.
fn assert_no_strays(region: &Left) {
    let database = region.database();
    let count = |sql: &str| -> i64 { database.query_row(sql, [], |row| row.get(0)).unwrap() };
    let unlinked = "SELECT count(*) FROM blobs b WHERE NOT EXISTS (SELECT 1 FROM links l WHERE l.blob = b.uid)";
    assert_eq!(count(unlinked), 0, "objects without a link");
    let unnamed = "SELECT count(*) FROM links l WHERE NOT EXISTS (SELECT 1 FROM edges e \
                   WHERE e.repository = l.repository AND e.child = l.digest AND e.kind = 'blob')";
    assert_eq!(count(unnamed), 0, "links without a manifest");
    assert_eq!(count("SELECT count(*) FROM uploads"), 0, "uploads left");
    let files = files(&region.folder.path().join("data/blobs"));
    assert_eq!(i64::try_from(files).unwrap(), count("SELECT count(*) FROM blobs"), "files without an object");
}

fn files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { files(&path) } else { usize::from(path.file_name().unwrap() != "node") })
        .sum()
}

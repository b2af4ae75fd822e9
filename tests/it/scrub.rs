//! Damage at rest is found, set aside, never served, and repaired from another copy.

use crate::certificates::{own, transport};
use crate::harness::{Http, Organization, Region, eventually};
use crate::replication::{arrival, carry};
use crate::tenants::{self, code};
use http::{Method, StatusCode};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use transship::clock::Clock;
use transship::domain::replication::rules::NewRule;
use transship::domain::repositories::NewRepositorySettings;
use transship::domain::scrub::{Finding, Progress};
use transship::error::Reason;
use transship::names::{Digest, PageSize, RepositoryName, Uid};
use transship::pb::replication::FetchBlobRequest;
use transship::store::quarantines::QuarantineRow;
use transship::store::receipts::Inbound;
use transship::store::rules::Destination;

/// Images of ten layers each: 100 blobs beside their configuration, or 1,000.
fn images() -> usize {
    if std::env::var_os("TRANSSHIP_LONG").is_some() { 100 } else { 10 }
}
const LAYERS: usize = 10;

/// Numbers that are told, so that a failure can be run again.
pub struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let mut seed = [0; 8];
        seed.copy_from_slice(&Clock::system().uid().bytes()[..8]);
        println!("dice: {seed:?}");
        Self(u64::from_be_bytes(seed) | 1)
    }

    fn roll(&mut self, below: u64) -> u64 {
        // xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.roll(256)).unwrap()).collect()
    }
}

/// The files of a region's objects, by digest.
pub fn files(region: &Region) -> BTreeMap<String, PathBuf> {
    let folder = region.folder.path().join("data");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(folder.join("metadata.db"), flags).unwrap();
    let text =
        "SELECT b.digest, b.account, b.uid FROM blobs b WHERE EXISTS (SELECT 1 FROM links l WHERE l.blob = b.uid)";
    let mut select = database.prepare(text).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        let (digest, account, uid): (String, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let name = Uid::from_bytes(uid.try_into().unwrap()).to_string();
        Ok((digest, folder.join("blobs").join(account).join(&name[..2]).join(&name)))
    };
    select.query_map([], row).unwrap().map(Result::unwrap).collect()
}

pub fn flip(path: &Path, bit: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << (bit % 8))], bit / 8).unwrap();
}

fn flip_any(path: &Path, dice: &mut Dice) {
    flip(path, dice.roll(std::fs::metadata(path).unwrap().len() * 8));
}

/// Reads all objects of a region as its operator; what was found.
pub async fn scrub(region: &Region) -> (Vec<Finding>, Progress) {
    let mut reports = region.app().scrub_storage(&region.admin("dev").await).await.unwrap();
    let (mut found, mut last) = (Vec::new(), Progress::default());
    while let Some(report) = reports.recv().await {
        last = report.unwrap();
        found.append(&mut last.damage);
    }
    (found, last)
}

/// What is, or was, set aside in a region.
pub async fn quarantines(region: &Region) -> Vec<QuarantineRow> {
    let first = (transship::clock::Timestamp::default(), Uid::from_bytes([0; 16]), Uid::from_bytes([0; 16]));
    let size = PageSize::clamp(PageSize::MAX);
    let mut all: Vec<QuarantineRow> = Vec::new();
    loop {
        let after = all.last().map_or(first, |row| (row.quarantined_at, row.blob, row.repository));
        let page = region.app().list_quarantines(&region.admin("dev").await, after, size).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Waits until all that was set aside is repaired.
async fn repaired(region: &Region, count: usize) -> Vec<QuarantineRow> {
    eventually("every damaged blob to be repaired", async || {
        let all = quarantines(region).await;
        (all.len() == count && all.iter().all(|row| row.repaired_at.is_some())).then_some(all)
    })
    .await
}

/// Repairs what can be repaired of dev's repository now.
async fn repair(region: &Region, name: &str) {
    let address = tenants::repository(region, "dev", name);
    let mut told = region.app().repair_repository(&region.admin("dev").await, &address).await.unwrap();
    while let Some(repaired) = told.recv().await {
        repaired.unwrap();
    }
}

/// How often an operation was carried out, as the audit has it.
async fn audited(region: &Region, op: &str) -> usize {
    region.app().flush_audit().await;
    crate::audit::all(region).into_iter().filter(|row| row.op == op && row.outcome == "allowed").count()
}

/// Layers that were pushed at `home` as `dev`, and have arrived at `away` in `prod`.
async fn carried(home: &Region, away: &Region, images: usize, dice: &mut Dice) -> Vec<Vec<u8>> {
    carry(home, away, "", "").await;
    let (source, replica) = (format!("{}/app", home.account("dev")), format!("{}/app", home.account("prod")));
    let (http, there) = (home.http("dev").await, away.http("prod").await);
    let mut all = Vec::new();
    for image in 0..images {
        let layers: Vec<Vec<u8>> = (0..LAYERS)
            .map(|_| {
                let length = 1 + dice.roll(150_000);
                dice.bytes(length)
            })
            .collect();
        let pushed: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
        http.push_image(&source, &format!("v{image}"), &pushed).await;
        all.extend(layers);
    }
    for image in 0..images {
        arrival(&there, &replica, &format!("v{image}")).await;
    }
    let admin = home.admin("dev").await;
    eventually("all receipts", async || {
        let status = home.app().replication_status(&admin, home.account("dev")).await.unwrap().remove(0);
        (status.pending == 0).then_some(())
    })
    .await;
    all.push(b"{}".to_vec());
    all
}

/// Pulls each of these; how many came whole. One that comes is the one that was asked for.
async fn pulled(http: &Http, repository: &str, blobs: &[Vec<u8>]) -> usize {
    let mut whole = 0;
    for blob in blobs {
        let path = format!("/v2/{repository}/blobs/{}", Digest::of(blob));
        // A transfer that breaks off is told as an error; an answer that is none is no blob.
        let Ok(answer) = http.try_call(Method::GET, &path, &[], "").await else { continue };
        if answer.status == StatusCode::OK {
            assert!(answer.body == *blob, "bad bytes were served whole");
            whole += 1;
        } else {
            assert_eq!((answer.status, code(&answer).as_str()), (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"));
        }
    }
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_flipped_in_each_blob_of_the_source_is_found_and_repaired_from_the_destination() {
    let organization = Organization::with_cuts(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let mut dice = Dice::new();
    let blobs = carried(home, away, images(), &mut dice).await;
    let stored = files(home);
    assert_eq!(stored.len(), blobs.len());
    // While the other region is away nothing can be repaired, and nothing bad is served.
    organization.cuts[1].cut();
    for path in stored.values() {
        flip_any(path, &mut dice);
    }
    let app = format!("{}/app", home.account("dev"));
    let http = home.http("dev").await;
    assert_eq!(pulled(&http, &app, &blobs[..blobs.len() / 2]).await, 0, "before they were looked for");
    scrub(home).await;
    let found: BTreeSet<String> = quarantines(home).await.iter().map(|row| row.digest.to_string()).collect();
    assert_eq!(found, stored.keys().cloned().collect(), "every flipped bit is found");
    assert_eq!(pulled(&http, &app, &blobs).await, 0, "while they are set aside");
    let head = http.call(Method::HEAD, &format!("/v2/{app}/blobs/{}", Digest::of(&blobs[0])), &[], "").await;
    assert_eq!(head.status, StatusCode::NOT_FOUND);

    organization.cuts[1].mend();
    let rows = eventually("every damaged blob to be repaired", async || {
        repair(home, "app").await;
        let all = quarantines(home).await;
        all.iter().all(|row| row.repaired_at.is_some()).then_some(all)
    })
    .await;
    for row in rows {
        let from = row.repaired_from.unwrap();
        assert!(from.contains("eu-west-1"), "{from}");
    }
    assert_eq!(pulled(&http, &app, &blobs).await, blobs.len());
    assert_eq!(audited(home, "QuarantineImages").await, blobs.len());
    assert!(audited(home, "RepairImages").await >= blobs.len());
    assert!(audited(away, "FetchBlob").await >= blobs.len());
    let (found, last) = scrub(home).await;
    assert_eq!((found.len(), last.done), (0, blobs.len() as u64), "{found:?}");
    // What was damaged goes as anything that nothing links.
    eventually("the damaged files to go", async || {
        home.app().sweep().await.unwrap();
        stored.values().all(|path| !path.exists()).then_some(())
    })
    .await;
    assert_eq!(home.app().storage_report(&home.admin("dev").await).await.unwrap().waiting, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_cut_or_swapped_at_the_destination_is_repaired_from_the_source_by_itself() {
    let organization = Organization::limited(
        &["us-east-1", "eu-west-1"],
        "sweep_secs = 1\nscrub_period_secs = 1\nscrub_bytes_per_sec = 1000000000",
    )
    .await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let mut dice = Dice::new();
    let blobs = carried(home, away, 1, &mut dice).await;
    let there = away.http("prod").await;
    let app = format!("{}/app", away.account("prod"));
    let stored: Vec<PathBuf> = files(away).into_values().collect();
    std::fs::remove_file(&stored[0]).unwrap();
    std::fs::File::options().write(true).open(&stored[1]).unwrap().set_len(20).unwrap();
    std::fs::File::options().write(true).open(&stored[2]).unwrap().set_len(0).unwrap();
    let aside = stored[3].with_extension("aside");
    std::fs::rename(&stored[3], &aside).unwrap();
    std::fs::rename(&stored[4], &stored[3]).unwrap();
    std::fs::rename(&aside, &stored[4]).unwrap();
    // Nobody asks for it: the scrubber finds all five.
    for row in repaired(away, 5).await {
        let from = row.repaired_from.unwrap();
        assert!(from.contains("us-east-1"), "{from}");
        assert_ne!(row.reason, "");
    }
    assert_eq!(pulled(&there, &app, &blobs).await, blobs.len());
    let report = away.app().storage_report(&away.admin("dev").await).await.unwrap();
    assert_eq!((report.sums["damaged"], report.sums["repaired"], report.waiting), (5, 5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_meets_damage_sets_the_blob_aside_and_a_push_of_it_heals_it() {
    let region = Region::start().await;
    let dev = region.account("dev");
    let http = region.http("dev").await;
    let (layer, other) = (vec![7; 200_000], vec![8; 100]);
    http.push_image(&format!("{dev}/app"), "v1", &[&layer, &other]).await;
    http.push_image(&format!("{dev}/twin"), "v1", &[&layer]).await;
    let digest = Digest::of(&layer).to_string();
    flip(&files(&region)[&digest], 8 * 150_000);
    let path = format!("/v2/{dev}/app/blobs/{digest}");
    assert!(http.try_get(&path).await.is_err(), "the transfer breaks off");
    let told = eventually("the pull's damage in the report", async || {
        let all = quarantines(&region).await;
        (all.len() == 2).then_some(all)
    })
    .await;
    let names: BTreeSet<&str> = told.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["app", "twin"]), "both repositories share the object");
    let answer = http.get(&path).await;
    assert_eq!((answer.status, code(&answer).as_str()), (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"));
    assert!(answer.text().contains("damaged at rest") && answer.text().contains("quarantined"), "{}", answer.text());
    assert_eq!(http.call(Method::HEAD, &path, &[], "").await.status, StatusCode::NOT_FOUND);
    // It is not mounted elsewhere, and no manifest is made of it.
    for from in [format!("&from={dev}/app"), String::new()] {
        let mount = format!("/v2/{dev}/new/blobs/uploads/?mount={digest}{from}");
        assert_eq!(http.call(Method::POST, &mount, &[], "").await.status, StatusCode::ACCEPTED);
    }
    let manifest = http.get(&format!("/v2/{dev}/app/manifests/v1")).await;
    let headers = [("content-type", crate::harness::MANIFEST)];
    let put = http.call(Method::PUT, &format!("/v2/{dev}/app/manifests/v2"), &headers, manifest.body.clone()).await;
    assert_eq!(code(&put), "MANIFEST_BLOB_UNKNOWN", "{}", put.text());
    // Alone it cannot be repaired, and says why.
    eventually("the reason why it waits", async || {
        repair(&region, "app").await;
        let waiting = quarantines(&region).await.into_iter().find(|row| row.name.as_str() == "app").unwrap();
        waiting.last_error.filter(|error| error.contains("no other copy is known")).map(drop)
    })
    .await;

    http.push_blob(&format!("{dev}/app"), &layer).await;
    assert!(http.get(&path).await.body == layer);
    // The other repository is healed from the first.
    eventually("the twin's repair", async || {
        repair(&region, "twin").await;
        quarantines(&region).await.iter().all(|row| row.repaired_at.is_some()).then_some(())
    })
    .await;
    assert!(http.get(&format!("/v2/{dev}/twin/blobs/{digest}")).await.body == layer);
    let from: BTreeMap<String, String> =
        quarantines(&region).await.into_iter().map(|row| (row.name.to_string(), row.repaired_from.unwrap())).collect();
    assert_eq!(from["app"], "a push");
    assert!(from["twin"].contains("repository app"), "{from:?}");
    assert_eq!(scrub(&region).await.0, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_under_another_key_of_the_account_is_sealed_anew_and_one_of_another_account_is_none() {
    let region = Region::start().await;
    let (app, dev, prod) = (region.app(), region.account("dev"), region.account("prod"));
    let (admin, layer) = (region.admin("dev").await, vec![9; 300_000]);
    let key = app.create_key(&admin, dev, "another").await.unwrap().arn;
    let other = tenants::repository(&region, "dev", "other");
    app.create_repository(&admin, &other, NewRepositorySettings { kms_key: Some(key), ..Default::default() })
        .await
        .unwrap();
    region.http("prod").await.push_image(&format!("{prod}/app"), "v1", &[&layer]).await;
    let http = region.http("dev").await;
    http.push_image(&format!("{dev}/app"), "v1", &[&layer]).await;
    let digest = Digest::of(&layer).to_string();
    let path = |account: &str| {
        let folder = region.folder.path().join("data/blobs").join(account);
        let files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
        files.into_iter().find(|entry| entry.file_type().is_file() && entry.metadata().unwrap().len() > 250_000)
    };
    flip(path(dev.as_str()).unwrap().path(), 8 * 200_000);
    let (found, _) = scrub(&region).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].account, found[0].name.as_str(), found[0].digest.to_string()), (dev, "app", digest.clone()));
    eventually("a first try", async || {
        repair(&region, "app").await;
        quarantines(&region).await[0].last_error.clone()
    })
    .await;
    assert_eq!(quarantines(&region).await[0].repaired_at, None, "prod's copy is prod's");

    http.push_image(&format!("{dev}/other"), "v1", &[&layer]).await;
    eventually("the repair", async || {
        repair(&region, "app").await;
        quarantines(&region).await[0].repaired_from.clone()
    })
    .await;
    assert!(http.get(&format!("/v2/{dev}/app/blobs/{digest}")).await.body == layer);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_read_a_disabled_key_and_a_disk_that_is_gone_are_no_damage() {
    let region = Region::start().await;
    let (app, dev) = (region.app(), region.account("dev"));
    let admin = region.admin("dev").await;
    region.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"one", b"two"]).await;
    app.faults().misread_once();
    let (found, last) = scrub(&region).await;
    assert_eq!((found.len(), last.done, last.bytes), (0, 3, 8), "it is read once more");
    let key = app.list_keys(&admin, dev).await.unwrap().remove(0).arn;
    app.set_key_enabled(&admin, dev, &key, false).await.unwrap();
    let (found, last) = scrub(&region).await;
    assert_eq!((found.len(), last.done, last.skipped, last.bytes), (0, 3, 3, 0));
    app.set_key_enabled(&admin, dev, &key, true).await.unwrap();
    let blobs = region.folder.path().join("data/blobs");
    std::fs::rename(&blobs, blobs.with_extension("aside")).unwrap();
    std::fs::create_dir(&blobs).unwrap();
    let (found, last) = scrub(&region).await;
    assert_eq!((found.len(), last.done, last.unreadable), (0, 3, 3));
    std::fs::remove_dir(&blobs).unwrap();
    std::fs::rename(blobs.with_extension("aside"), &blobs).unwrap();
    let (found, last) = scrub(&region).await;
    assert_eq!((found.len(), last.skipped, last.unreadable, last.bytes), (0, 0, 0, 8));
    assert_eq!(quarantines(&region).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_lends_a_blob_only_to_the_registry_that_had_it() {
    let organization = Organization::start(&["us-east-1", "eu-west-1", "ap-south-1"]).await;
    let [home, away, third] = &organization.regions[..] else { panic!("three regions") };
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    let mut dice = Dice::new();
    let blobs = carried(home, away, 1, &mut dice).await;
    home.http("dev").await.push_blob(&format!("{dev}/app"), b"never sent").await;
    home.http("dev").await.push_image(&format!("{dev}/secret"), "v1", &[b"of another repository"]).await;
    away.http("prod").await.push_blob(&format!("{prod}/app"), b"pushed there").await;
    let name = |name: &str| RepositoryName::parse(name).unwrap();
    let asks = async |holder: &Region, region: &Region, (asking, holding), repository: &str, bytes: &[u8]| {
        let source_region = region.app().settings().region.clone();
        let asking = Inbound { source_region, source: asking, destination: holding };
        holder.app().lend_blob(&asking, &name(repository), Digest::of(bytes)).await.map(drop).map_err(|e| e.reason)
    };
    assert_eq!(asks(home, away, (prod, dev), "app", &blobs[0]).await, Ok(()), "the destination of its source");
    assert_eq!(asks(away, home, (dev, prod), "app", &blobs[0]).await, Ok(()), "the source of its destination");
    let denied = Err(Reason::AccessDenied);
    assert_eq!(asks(home, third, (prod, dev), "app", &blobs[0]).await, denied, "another region");
    assert_eq!(asks(home, away, (dev, dev), "app", &blobs[0]).await, denied, "the same account elsewhere");
    assert_eq!(asks(home, away, (prod, dev), "app", b"never sent").await, denied, "another blob");
    assert_eq!(asks(home, away, (prod, dev), "secret", b"of another repository").await, denied, "another repository");
    assert_eq!(asks(home, away, (prod, dev), "none", &blobs[0]).await, denied, "one that is not there");
    assert_eq!(asks(away, home, (dev, prod), "app", b"pushed there").await, denied, "what came from nobody");
    assert_eq!(asks(away, home, (prod, prod), "app", &blobs[0]).await, denied, "another source");
    crate::operations::denied(home, "prod", "refused-repairs.txt").await;
    // Replication between regions of one account is proof for that account.
    let destinations = vec![Destination { region: away.app().settings().region.clone(), account: dev }];
    let rule = NewRule { repository_prefix: String::new(), tag_pattern: "own".to_owned(), destinations };
    home.app().create_rule(&home.admin("dev").await, dev, rule).await.unwrap();
    home.http("dev").await.push_image(&format!("{dev}/app"), "own", &[b"sent to itself"]).await;
    arrival(&away.http("dev").await, &format!("{dev}/app"), "own").await;
    eventually("the receipt", async || asks(home, away, (dev, dev), "app", b"sent to itself").await.ok()).await;
    assert_eq!(asks(away, home, (dev, dev), "app", b"sent to itself").await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_missing_or_changed_in_a_bucket_are_found_and_a_bucket_that_is_away_is_no_damage() {
    use object_store::{ObjectStoreExt, PutPayload, path::Path as Name};
    let Some(mut bucket) = crate::bucket::bucket() else { return };
    let port: u16 = bucket.endpoint.as_ref().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let store = bucket.client(Clock::system()).await.unwrap();
    let cut = crate::harness::Cut::before(port);
    bucket.endpoint = Some(format!("http://127.0.0.1:{}", cut.port));
    let region = Region::configured(&crate::bucket::section(&bucket)).await;
    let app = format!("{}/app", region.account("dev"));
    let http = region.http("dev").await;
    let layers: Vec<Vec<u8>> = (1..=4).map(|seed| vec![seed; 50_000 + usize::from(seed)]).collect();
    let pushed: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    http.push_image(&app, "v1", &pushed).await;
    let mut sizes = BTreeMap::new();
    let mut all = store.list(None);
    while let Some(meta) = futures::TryStreamExt::try_next(&mut all).await.unwrap() {
        sizes.insert(meta.size, meta.location);
    }
    drop(all);
    assert_eq!(sizes.len(), 5, "four layers and the configuration: {sizes:?}");
    let of: Vec<Name> = sizes.into_values().skip(1).collect();
    store.delete(&of[0]).await.unwrap();
    let mut bytes = store.get(&of[1]).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[30_000] ^= 4;
    store.put(&of[1], PutPayload::from(bytes)).await.unwrap();
    let short = store.get(&of[2]).await.unwrap().bytes().await.unwrap().slice(..100);
    store.put(&of[2], PutPayload::from(short)).await.unwrap();

    cut.cut();
    let (found, last) = scrub(&region).await;
    assert_eq!((found.len(), last.unreadable), (0, 5), "{found:?}");
    cut.mend();
    let (found, last) = scrub(&region).await;
    let found: BTreeSet<String> = found.into_iter().map(|found| found.digest.to_string()).collect();
    assert_eq!(found, layers[..3].iter().map(|layer| Digest::of(layer).to_string()).collect());
    assert_eq!(last.unreadable, 0);
    assert_eq!(pulled(&http, &app, &layers).await, 1);
    for layer in &layers {
        http.push_blob(&app, layer).await;
    }
    assert_eq!(pulled(&http, &app, &layers).await, 4);
    assert_eq!(scrub(&region).await.0, []);
    region.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_sets_aside_no_node_serves_and_what_one_is_sent_heals_it_for_all() {
    use object_store::ObjectStoreExt;
    let Some(bucket) = crate::bucket::bucket() else { return };
    let Some(url) = crate::push_pull::database().await else {
        return println!("SKIPPED: TRANSSHIP_TEST_POSTGRES names no server");
    };
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("url");
    std::fs::write(&secret, url).unwrap();
    let more = format!(
        "[store]\nkind = \"postgres\"\nurl = \"file:{}\"\n{}\n[limits]\nscrub_period_secs = 1",
        secret.display(),
        crate::bucket::section(&bucket)
    );
    let first = Region::configured(&more).await;
    let key = std::fs::read(first.folder.path().join("data/root.key")).unwrap();
    let second = Region::prepared(&more, &[("root.key", &key)]).await;
    let app = format!("{}/app", first.account("dev"));
    let password = first.password("dev").await;
    let nodes = [&first, &second].map(|node| Http::new(&node.base, Some(password.clone())));
    let layers = [vec![1; 70_000], vec![2; 70_001]];
    nodes[0].push_image(&app, "v1", &[&layers[0], &layers[1]]).await;
    let store = bucket.client(Clock::system()).await.unwrap();
    let mut all = store.list(None);
    let mut largest = None;
    while let Some(meta) = futures::TryStreamExt::try_next(&mut all).await.unwrap() {
        largest = largest.max(Some((meta.size, meta.location)));
    }
    store.delete(&largest.unwrap().1).await.unwrap();
    // Nobody asks for it: whichever node has the work finds it.
    let found = eventually("the missing part", async || quarantines(&first).await.pop()).await;
    assert_eq!(found.digest, Digest::of(&layers[1]));
    for node in &nodes {
        assert_eq!(pulled(node, &app, &layers).await, 1);
    }
    nodes[1].push_blob(&app, &layers[1]).await;
    for node in &nodes {
        assert_eq!(pulled(node, &app, &layers).await, 2);
    }
    let told = quarantines(&second).await;
    assert_eq!((told.len(), told[0].repaired_from.as_deref()), (1, Some("a push")));
    first.server.stop().await;
    second.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_fetched_from_where_the_asking_region_stands_and_by_the_region_of_the_certificate_only() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    carry(home, away, "", "").await;
    let layer = Dice::new().bytes(200_000);
    home.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[&layer]).await;
    arrival(&away.http("prod").await, &format!("{prod}/app"), "v1").await;
    let ca = organization.ca();
    let request = |offset| FetchBlobRequest {
        asking_account: dev.to_string(),
        holding_account: prod.to_string(),
        repository: "app".to_owned(),
        digest: Digest::of(&layer).to_string(),
        offset,
    };
    let mut client = transport(away, &ca, &own(home)).await.unwrap();
    for offset in [0, 1, 131_072, 199_999, 200_000] {
        let mut pieces = client.fetch_blob(request(offset)).await.unwrap().into_inner();
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.message().await.unwrap() {
            bytes.extend_from_slice(&piece.data);
        }
        assert!(bytes == layer[usize::try_from(offset).unwrap()..], "from {offset}");
    }
    for offset in [-1, 200_001] {
        let refused = client.fetch_blob(request(offset)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "from {offset}: {refused:?}");
    }
    // The same words from another region of the organization are another registry's.
    let mut other = transport(away, &ca, &own(away)).await.unwrap();
    let refused = other.fetch_blob(request(0)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
}

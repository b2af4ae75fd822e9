//! F04, F05 and F06: the disk fails, is full or may not be written; the process is short of descriptors.

use super::{Acknowledged, Field, Image, Line, NAME, PART, SYNC, Site, WRITE, bytes_of, no_orphans};
use crate::harness::{Answer, Http, Region, eventually};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transship::names::Digest;

/// Errno values of Linux.
const EIO: i64 = 5;
const ENOSPC: i64 = 28;
const EROFS: i64 = 30;

/// Each sync of a push fails once, one push after another.
#[tokio::test(flavor = "multi_thread")]
async fn f04_a_sync_that_fails_once_is_never_acknowledged_and_its_bytes_are_written_anew() {
    let mut site = Site::new("").await;
    let mut process = site.spawn();
    let http = site.http();
    let (mut kept, mut failed, mut audited) = (Vec::new(), 0, 0);
    for at in 1.. {
        let image = if at == 1 { Image::large(at) } else { Image::small(at) };
        let mut done = Acknowledged::default();
        site.control.arm(SYNC, "", i64::try_from(at).unwrap(), EIO);
        let pushed = image.push(&http, &site.repository, &mut done).await;
        let (met, path) = (site.control.get(Field::Met), site.control.path());
        site.control.disarm();
        if met == 0 {
            pushed.unwrap();
            kept.push(done);
            break;
        }
        match pushed {
            // The row of a refusal before this push, which is written a little later; its loss is told.
            Ok(()) => {
                audited += 1;
                let lost = || site.log().matches("audit rows were lost").count() >= audited;
                eventually(&format!("the loss of a row by {path}"), async || lost().then_some(())).await;
            }
            Err(error) => {
                assert!(error.to_string().starts_with("50"), "{path}: {error}");
                failed += 1;
            }
        }
        kept.push(done);
        // The same server takes the same image now.
        let mut again = Acknowledged::default();
        image.push(&http, &site.repository, &mut again).await.unwrap();
        kept.push(again);
        // What a third failure in one server does is another test.
        process.kill();
        process = site.spawn();
    }
    resumed_after_a_failed_sync(&site, &http).await;
    process.kill();
    let process = site.spawn();
    for done in &kept {
        done.pull(&http, &site.repository).await;
    }
    println!(
        "F04: {failed} syncs failed once each, {audited} of audit rows: 0 false acknowledgements, all pushed again"
    );
    assert!(failed > 10);
    process.kill();
    site.inside(no_orphans).await;
}

/// An upload whose sync failed goes on from what was durable before, and all after it is written once more.
async fn resumed_after_a_failed_sync(site: &Site, http: &Http) {
    let bytes = bytes_of(4_711, 3_000_000);
    let begun = http.call(Method::POST, &format!("/v2/{}/blobs/uploads/", site.repository), &[], "").await;
    let location = begun.header("location").to_owned();
    let first = http.call(Method::PATCH, &location, &[], bytes[..1_000_000].to_vec()).await;
    assert_eq!(first.header("range"), "0-999999");
    site.control.arm(SYNC, "/data/blobs/", 1, EIO);
    let second = http.call(Method::PATCH, &location, &[], bytes[1_000_000..2_000_000].to_vec()).await;
    assert_eq!((second.status.is_server_error(), site.control.get(Field::Met)), (true, 1), "{}", second.text());
    site.control.disarm();
    assert_eq!(http.get(&location).await.header("range"), "0-999999", "what may be lost was told as kept");
    site.control.set(Field::Written, 0);
    let finish = format!("{location}?digest={}", Digest::of(&bytes));
    let last =
        http.call(Method::PUT, &finish, &[("content-range", "1000000-2999999")], bytes[1_000_000..].to_vec()).await;
    assert_eq!(last.status, StatusCode::CREATED, "{}", last.text());
    assert!(site.control.get(Field::Written) >= 2_000_000, "bytes whose sync failed were not written anew");
}

/// Whether an answer says that there is no room, as a client understands it.
fn says_full(answer: &Answer) -> bool {
    [StatusCode::SERVICE_UNAVAILABLE, StatusCode::INSUFFICIENT_STORAGE].contains(&answer.status)
        && answer.text().contains("disk is full")
}

/// A file system of its own, which only root can have.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn at(folder: &'a Path, options: &str) -> Option<Self> {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder)
            .output()
            .ok()?;
        mounted.status.success().then_some(Self(folder))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_a_full_disk_refuses_pushes_in_words_serves_pulls_and_recovers_by_itself() {
    let disk = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mounted::at(disk.path(), "size=96m") else {
        println!("F05: SKIPPED: mounting a file system of 96 MiB takes root");
        return;
    };
    let site = Site::of(Region::beneath(disk.path()).await).await;
    let process = site.spawn();
    let http = site.http();
    let first = Image::small(1);
    first.push_and_pull(&http, &site.repository).await;
    let mut done = Acknowledged::default();
    first.push(&http, &site.repository, &mut done).await.unwrap();
    // More than fits: two parts and some.
    let large = bytes_of(5, 3 * PART);
    let (mut refused, mut pulls) = (0, 0);
    for _ in 0..3 {
        let begun = http.call(Method::POST, &format!("/v2/{}/blobs/uploads/", site.repository), &[], "").await;
        if begun.status != StatusCode::ACCEPTED {
            assert!(says_full(&begun), "{} {}", begun.status, begun.text());
            refused += 1;
            continue;
        }
        let finish = format!("{}?digest={}", begun.header("location"), Digest::of(&large));
        let answer = raw_put(&site, &finish, &large).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("disk is full"), "{answer}");
        refused += 1;
        done.pull(&http, &site.repository).await;
        pulls += 4;
    }
    // What was given up leaves room for small pushes at once, without a day's wait and without an operator.
    let ballast = disk.path().join("ballast");
    fill(&ballast);
    let mut full = 0;
    for number in 10..20 {
        let mut none = Acknowledged::default();
        let error = Image::small(number)
            .push(&http, &site.repository, &mut none)
            .await
            .expect_err("the disk is full")
            .to_string();
        assert!(error.starts_with("50") && error.contains("disk is full"), "{error}");
        done.pull(&http, &site.repository).await;
        (full, pulls) = (full + 1, pulls + 4);
    }
    std::fs::remove_file(&ballast).unwrap();
    let freed = Instant::now();
    let mut attempts = 0;
    let recovered = loop {
        attempts += 1;
        let mut again = Acknowledged::default();
        if Image::small(30).push(&http, &site.repository, &mut again).await.is_ok() {
            again.pull(&http, &site.repository).await;
            break freed.elapsed();
        }
        assert!(freed.elapsed() < Duration::from_secs(10), "not recovered after {attempts} pushes");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    println!(
        "F05: {refused} pushes of 96 MiB and {full} small ones refused for a full disk, {pulls} pulls meanwhile all good; recovered after {recovered:.0?} ({attempts} pushes)"
    );
    process.kill();
}

/// PUTs as clients do that read the answer while they send: a refusal comes before the end of a large body.
async fn raw_put(site: &Site, path: &str, body: &[u8]) -> String {
    let socket = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    let (mut from, mut to) = socket.into_split();
    let basic = STANDARD.encode(format!("AWS:{}", site.password));
    let length = body.len();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {basic}\r\ncontent-length: {length}\r\n\r\n"
    );
    let mut answer = Vec::new();
    let sending = async {
        // The server may stop listening; what it said counts.
        let _ = to.write_all(head.as_bytes()).await;
        let _ = to.write_all(body).await;
    };
    let reading = async {
        let _ = tokio::time::timeout(Duration::from_secs(30), from.read_to_end(&mut answer)).await;
    };
    tokio::join!(sending, reading);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Takes all room that is left.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1 << 20, 4_096, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_a_disk_without_inodes_or_write_access_refuses_pushes_and_serves_pulls() {
    let mut site = Site::new("").await;
    let process = site.spawn();
    let http = site.http();
    let image = Image::small(1);
    let mut done = Acknowledged::default();
    image.push(&http, &site.repository, &mut done).await.unwrap();
    let mut told = Vec::new();
    // Without inodes no file can be made; on a disk that became read-only nothing can be written at all.
    for (what, kinds, errno) in [("no inodes", NAME, ENOSPC), ("read-only", NAME | WRITE | SYNC, EROFS)] {
        site.control.arm(kinds, "/data/", 1, errno);
        site.control.set(Field::Stays, 1);
        for number in 0..5 {
            let mut none = Acknowledged::default();
            let image = Image::small(100 + number);
            let error = image.push(&http, &site.repository, &mut none).await.expect_err(what).to_string();
            assert!(error.starts_with("50"), "{what}: {error}");
            done.pull(&http, &site.repository).await;
            told.push(error);
        }
        site.control.disarm();
        Image::small(200 + told.len()).push_and_pull(&http, &site.repository).await;
    }
    println!(
        "F06: {} pushes refused without inodes or write access, 40 pulls meanwhile all good; then pushes go on",
        told.len()
    );
    println!("F06: no inodes: {}; read-only: {}", told[0], told[5]);
    process.kill();
    site.inside(no_orphans).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_connections_without_end_leave_the_descriptors_that_pushes_and_pulls_need() {
    let site = Site::new("").await;
    let process = site.spawn_under(&["prlimit", "--nofile=120:120"], &[]);
    let http = site.http();
    let mut done = Acknowledged::default();
    Image::small(1).push(&http, &site.repository, &mut done).await.unwrap();
    let mut line = Line::open(&site).await;
    let mut idle = Vec::new();
    let (mut good, mut wrong) = (0, Vec::new());
    for _ in 0..40 {
        // Three more each time; they say nothing, and are cut off after 10 s.
        for _ in 0..3 {
            idle.push(TcpStream::connect(("127.0.0.1", site.port)).await.unwrap());
        }
        for (digest, bytes) in &done.blobs {
            match line.call(Method::GET, &format!("/v2/{}/blobs/{digest}", site.repository), &[], "").await {
                Ok(answer) if answer.status == StatusCode::OK && answer.body == *bytes => good += 1,
                Ok(answer) => wrong.push(format!("{} {}", answer.status, answer.text())),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        match line.call(Method::POST, &format!("/v2/{}/blobs/uploads/", site.repository), &[], "").await {
            Ok(answer) if answer.status == StatusCode::ACCEPTED => {}
            Ok(answer) => wrong.push(format!("{} {}", answer.status, answer.text())),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    drop(idle);
    let log = std::fs::read_to_string(site.left().folder.path().join("serve.log")).unwrap();
    let starved = log.matches("Too many open files").count();
    println!(
        "F06: 120 connections against 120 descriptors: {good} pulls and 40 uploads over one that was there, {} failed ({:?}); out of descriptors {starved} times",
        wrong.len(),
        wrong.first()
    );
    assert_eq!((wrong.len(), starved), (0, 0));
    Image::small(3).push_and_pull(&site.http(), &site.repository).await;
    process.kill();
}

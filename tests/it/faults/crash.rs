//! F01 and F02: the server is killed, at random moments and at every durable step.

use super::{Acknowledged, Control, Field, Image, KILL, NAME, SEND, SYNC, Site, TEAR, WRITE, ended, long, no_orphans};
use crate::harness::{Left, Region};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use transship::clock::Clock;

const EVERYTHING: i64 = SYNC | WRITE | NAME | SEND;

/// 100 kills, long 1,000; debug builds 20.
#[tokio::test(flavor = "multi_thread")]
async fn f01_what_was_acknowledged_survives_kills_at_random_moments_of_a_push_load() {
    let kills = if long() {
        1_000
    } else if cfg!(debug_assertions) {
        20
    } else {
        100
    };
    let site = Arc::new(Site::new("").await);
    let (stop, number) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut process = Some(site.spawn());
    let pushers: Vec<_> =
        (0..4).map(|_| tokio::spawn(push_until(site.clone(), stop.clone(), number.clone()))).collect();
    let (clock, begun, mut slowest) = (Clock::system(), Instant::now(), Duration::ZERO);
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(100) + clock.jitter(Duration::from_millis(500))).await;
        process.take().unwrap().kill();
        let from = Instant::now();
        process = Some(site.spawn());
        slowest = slowest.max(from.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    let (mut kept, mut cut) = (Vec::new(), 0);
    for pusher in pushers {
        let (acknowledged, broken) = pusher.await.unwrap();
        kept.extend(acknowledged);
        cut += broken;
    }
    let (images, blobs) = (
        kept.iter().filter(|one| one.manifest.is_some()).count(),
        kept.iter().map(|one| one.blobs.len()).sum::<usize>(),
    );
    for acknowledged in &kept {
        acknowledged.pull(&site.http(), &site.repository).await;
    }
    println!(
        "F01: {kills} kills in {:.0?}, {cut} met a push; {images} images and {blobs} blobs acknowledged, all there; \
         ready within {slowest:.0?}",
        begun.elapsed()
    );
    assert!(cut >= kills / 2, "only {cut} of {kills} kills met a push: the run is void");
    assert!(slowest <= Duration::from_secs(3), "a start took {slowest:?}");
    process.take().unwrap().kill();
    let mut site = Arc::into_inner(site).unwrap();
    site.inside(no_orphans).await;
}

/// Pushes image after image; answers what was acknowledged, and how many pushes broke.
async fn push_until(site: Arc<Site>, stop: Arc<AtomicBool>, number: Arc<AtomicUsize>) -> (Vec<Acknowledged>, usize) {
    let (http, mut kept, mut broken) = (site.http(), Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let image = Image::small(number.fetch_add(1, Ordering::Relaxed));
        let mut done = Acknowledged::default();
        if image.push(&http, &site.repository, &mut done).await.is_err() {
            broken += usize::from(!done.blobs.is_empty());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        kept.push(done);
    }
    (kept, broken)
}

/// Every step, long; every seventh otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn f02_a_push_killed_at_each_durable_step_keeps_what_was_acknowledged_and_can_be_done_again() {
    let stride = if long() { 1 } else { 7 };
    let mut site = Site::new("").await;
    let (mut at, mut swept, mut torn) = (1, 0, 0);
    let last = loop {
        let number = usize::try_from(at).unwrap();
        let large = long() || number % 2 == 1;
        let image = if large { Image::large(number) } else { Image::small(number) };
        // A write is cut off in the middle on every second visit.
        let action = if swept % 2 == 1 { TEAR } else { KILL };
        site.control.disarm();
        let mut process = site.spawn();
        let (http, mut done) = (site.http(), Acknowledged::default());
        site.control.arm(EVERYTHING, "", at, action);
        let pushed = image.push(&http, &site.repository, &mut done).await;
        if pushed.is_ok() && site.control.get(Field::Met) == 0 {
            let steps = site.control.get(Field::Steps);
            process.kill();
            // The smaller image has fewer steps; the sweep ends where the larger has no more.
            if !large {
                at += stride;
                continue;
            }
            break steps;
        }
        assert!(ended(&mut process), "step {at} did not end the server: {pushed:?}");
        swept += 1;
        torn += usize::from(action == TEAR);
        let repository = site.repository.clone();
        site.inside(async |region| {
            let http = region.http("dev").await;
            done.pull(&http, &repository).await;
            image.push_and_pull(&http, &repository).await;
            let digest = transship::names::Digest::of(image.manifest().as_bytes());
            let gone = http.call(Method::DELETE, &format!("/v2/{repository}/manifests/{digest}"), &[], "").await;
            assert_eq!(gone.status, StatusCode::ACCEPTED);
            no_orphans(region).await;
        })
        .await;
        at += stride;
    };
    println!(
        "F02: a push of {last} durable steps: killed at {swept} of them, {torn} in the middle of a write: nothing lost, no orphan"
    );
    assert!(swept > 10);
}

/// Every step, long; otherwise every fifth, and every step on the files that are written once and for ever.
#[tokio::test(flavor = "multi_thread")]
async fn f02_a_first_start_killed_at_each_durable_step_is_followed_by_one_that_succeeds() {
    let mut swept = 0;
    for (only, stride) in [("", if long() { 1 } else { 5 }), ("blobs/node", 1), ("root-key", 1), ("bootstrap", 1)] {
        let (mut at, before) = (1, swept);
        while first_start(only, at, if swept % 2 == 1 { TEAR } else { KILL }).await {
            (at, swept) = (at + stride, swept + 1);
        }
        assert!(swept - before >= 2, "{only:?} was killed {} times", swept - before);
    }
    println!(
        "F02: a first start killed at {swept} of its durable steps: the next one succeeds, with the keys that were told"
    );
}

/// Starts a new region that meets a kill at a step, then starts it again; false if there was no such step.
async fn first_start(only: &str, at: i64, action: i64) -> bool {
    let (left, control) = (Left::fresh(), Control::new());
    let environment = control.environment();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    control.arm(EVERYTHING, only, at, action);
    if left.spawn_under(&[], &environment).is_ok() && control.get(Field::Met) == 0 {
        return false;
    }
    let region = left.back().await;
    let repository = format!("{}/app", region.account("dev"));
    Image::small(1).push_and_pull(&region.http("dev").await, &repository).await;
    let mut told = vec![region.access_key("dev").0, region.access_key("prod").0];
    told.sort();
    assert_eq!(told, access_keys(&region), "{only} step {at}: the keys in the file are not those of the accounts");
    true
}

/// A sweep meets every step only if every step is counted: the kernel sees the same syncs and writes.
#[tokio::test(flavor = "multi_thread")]
async fn f02_the_steps_that_are_counted_are_those_that_the_kernel_sees() {
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        println!("F02: SKIPPED: the count of steps is not compared, for there is no strace");
        return;
    }
    let site = Site::new("").await;
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    site.control.arm(SYNC | WRITE, "/data/", 0, KILL);
    // As a grandchild, so that the server is the child.
    let runner =
        ["strace", "-D", "-f", "-y", "-s", "0", "-e", "trace=fsync,fdatasync,write,pwrite64,writev,pwritev", "-o"];
    let runner: Vec<&str> = runner.into_iter().chain(trace.to_str()).collect();
    let process = site.spawn_under(&runner, &[]);
    Image::large(1).push_and_pull(&site.http(), &site.repository).await;
    let mut steps = 0;
    crate::harness::eventually("an end of the steps", async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = site.control.get(Field::Steps);
        (std::mem::replace(&mut steps, now) == now).then_some(())
    })
    .await;
    process.kill();
    let (mut syncs, mut writes) = (0, 0);
    for line in std::fs::read_to_string(&trace).unwrap().lines().filter(|line| line.contains("/data/")) {
        // A call that is told in two lines has its descriptor in the first.
        let call = line.split_whitespace().nth(1).unwrap();
        syncs += i64::from(call.starts_with("fsync(") || call.starts_with("fdatasync("));
        writes += i64::from(call.contains("write"));
    }
    println!("F02: {steps} steps of a start and a push are counted; the kernel sees {syncs} syncs and {writes} writes");
    assert_eq!(syncs + writes, steps);
    assert!(syncs > 10 && writes > 100);
}

fn access_keys(region: &Region) -> Vec<String> {
    let path = region.folder.path().join("data/metadata.db");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(path, flags).unwrap();
    let mut statement = database.prepare("SELECT id FROM access_keys ORDER BY id").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

//! Pushers with shared layers, mounts and deletes, while the collector runs every 50 ms: nobody is told that a blob is
//! missing which a moment ago was there, and everything that was acknowledged can be pulled.
//!
//! CI size: 32 pushers for 60 s; in a debug build 10 s. Long size (`TRANSSHIP_LONG=1`): 15 minutes.

use crate::harness::{Answer, Http, MANIFEST, Region};
use bytes::Bytes;
use http::{Method, StatusCode};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use transship::names::Digest;
use transship::store::collections::Swept;

const PUSHERS: u64 = 32;
/// Layers that all of them share; each lives for a few seconds at most, and comes back.
const SHARED: u64 = 150;
/// Images a pusher keeps before it deletes its oldest.
const KEPT: usize = 4;

fn duration() -> Duration {
    if std::env::var_os("TRANSSHIP_LONG").is_some() {
        return Duration::from_secs(15 * 60);
    }
    Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 60 })
}

#[derive(Default)]
struct Counts {
    pushed: AtomicU64,
    deleted: AtomicU64,
    uploaded: AtomicU64,
    present: AtomicU64,
    mounted: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One pusher: its own tag names, layers that others push, mount and lose at the same time.
struct Pusher {
    http: Http,
    account: String,
    number: u64,
    round: u64,
    state: u64,
    counts: Arc<Counts>,
    /// Repository, tag and digest of what must be there.
    alive: VecDeque<(String, String, String)>,
}

impl Pusher {
    /// A pseudo-random number below `n`; the seed is the pusher's number, so that a run can be repeated.
    fn below(&mut self, n: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % n
    }

    async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let answer = self.http.call(method.clone(), path, headers, body).await;
        assert!(!answer.status.is_server_error(), "{method} {path}: {} {}", answer.status, answer.text());
        answer
    }

    fn layer(shared: u64) -> Vec<u8> {
        format!("shared layer {shared} ").repeat(200 + usize::try_from(shared).unwrap() * 50).into_bytes()
    }

    /// Brings a layer into a repository as clients do: ask, mount, else upload.
    async fn bring(&mut self, repository: &str, from: &str, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes).to_string();
        let head = self.call(Method::HEAD, &format!("/v2/{repository}/blobs/{digest}"), &[], "").await;
        if head.status == StatusCode::OK {
            count(&self.counts.present);
            return digest;
        }
        let path = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
        let begun = self.call(Method::POST, &path, &[], "").await;
        if begun.status == StatusCode::CREATED {
            count(&self.counts.mounted);
            return digest;
        }
        assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text());
        let put = format!("{}?digest={digest}", begun.header("location"));
        let put = self.call(Method::PUT, &put, &[], bytes.to_vec()).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
        count(&self.counts.uploaded);
        digest
    }

    async fn push(&mut self) {
        self.round += 1;
        let (to, from) = (self.below(3), self.below(3));
        let repository = format!("{}/soak-{to}", self.account);
        let from = format!("{}/soak-{from}", self.account);
        let own = format!("pusher {} round {}", self.number, self.round).into_bytes();
        let (a, b) = (Self::layer(self.below(SHARED)), Self::layer(self.below(SHARED)));
        let mut layers = Vec::new();
        for bytes in [&a, &b, &own] {
            let digest = self.bring(&repository, &from, bytes).await;
            layers.push(serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest,
                "size": bytes.len()}));
        }
        let config = self.bring(&repository, &from, b"{}").await;
        let text = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2}});
        let text = text.to_string();
        let tag = format!("p{}-{}", self.number, self.round);
        let path = format!("/v2/{repository}/manifests/{tag}");
        let put = self.call(Method::PUT, &path, &[("content-type", MANIFEST)], text.clone()).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
        count(&self.counts.pushed);
        self.alive.push_back((repository, tag, Digest::of(text.as_bytes()).to_string()));
    }

    /// Pulls one of the images that must be there, whole.
    async fn pull(&self, image: &(String, String, String)) {
        let (repository, tag, digest) = image;
        let got = self.call(Method::GET, &format!("/v2/{repository}/manifests/{tag}"), &[], "").await;
        assert_eq!((got.status, got.header("docker-content-digest")), (StatusCode::OK, digest.as_str()));
        let manifest: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
        for layer in layers {
            let layer = layer["digest"].as_str().unwrap();
            let blob = self.call(Method::GET, &format!("/v2/{repository}/blobs/{layer}"), &[], "").await;
            assert_eq!(blob.status, StatusCode::OK, "{repository}:{tag} {layer}: {}", blob.text());
            assert_eq!(Digest::of(&blob.body).to_string(), layer);
        }
    }

    async fn delete(&mut self) {
        let Some((repository, _, digest)) = self.alive.pop_front() else { return };
        let path = format!("/v2/{repository}/manifests/{digest}");
        assert_eq!(self.call(Method::DELETE, &path, &[], "").await.status, StatusCode::ACCEPTED);
        count(&self.counts.deleted);
    }

    async fn run(mut self, until: Instant) -> Self {
        while Instant::now() < until {
            self.push().await;
            if let Some(newest) = self.alive.back() {
                self.pull(newest).await;
            }
            while self.alive.len() > KEPT {
                self.delete().await;
            }
        }
        self
    }
}

/// Collects every 50 ms until told to stop; answers how often, and what it did.
async fn collect(region: Arc<Region>, stop: tokio_util::sync::CancellationToken) -> (u64, Swept) {
    let (mut cycles, mut all) = (0, Swept::default());
    while !stop.is_cancelled() {
        let swept = region.app().sweep().await.unwrap();
        cycles += 1;
        all.links += swept.links;
        all.condemned += swept.condemned;
        all.objects += swept.objects;
        all.bytes += swept.bytes;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (cycles, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_collected_and_nothing_that_was_there_is_denied() {
    // A lease of 4 s is short enough to end many times, and long enough for one push on a busy machine.
    let limits = "[limits]\nlink_lease_secs = 4\ncollect_grace_secs = 1\nsweep_secs = 3600";
    let region = Arc::new(Region::configured(limits).await);
    let (counts, stop) = (Arc::new(Counts::default()), tokio_util::sync::CancellationToken::new());
    let collector = tokio::spawn(collect(region.clone(), stop.clone()));
    let until = Instant::now() + duration();
    let mut running = Vec::new();
    for number in 0..PUSHERS {
        let (http, account) = (region.http("dev").await, region.account("dev").to_string());
        let pusher =
            Pusher { http, account, number, round: 0, state: number, counts: counts.clone(), alive: VecDeque::new() };
        running.push(tokio::spawn(pusher.run(until)));
    }
    let mut pushers = Vec::new();
    for pusher in running {
        pushers.push(pusher.await.unwrap());
    }
    for pusher in &pushers {
        for image in &pusher.alive {
            pusher.pull(image).await;
        }
    }
    let held: usize = pushers.iter().map(|pusher| pusher.alive.len()).sum();
    for pusher in &mut pushers {
        while !pusher.alive.is_empty() {
            pusher.delete().await;
        }
    }
    region.app().clock().advance(Duration::from_secs(10));
    let files = region.folder.path().join("data/blobs");
    let left =
        || walkdir::WalkDir::new(&files).into_iter().filter(|e| e.as_ref().unwrap().file_type().is_file()).count();
    crate::harness::eventually("everything is collected but the node's id", async || {
        region.app().clock().advance(Duration::from_secs(10));
        (left() == 1).then_some(())
    })
    .await;
    stop.cancel();
    let (cycles, swept) = collector.await.unwrap();
    let told = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "soak: {} images pushed, {} deleted, {held} held at the end; layers: {} present, {} mounted, {} uploaded; \
         {cycles} collections, {} links, {} condemned, {} objects, {} bytes",
        told(&counts.pushed),
        told(&counts.deleted),
        told(&counts.present),
        told(&counts.mounted),
        told(&counts.uploaded),
        swept.links,
        swept.condemned,
        swept.objects,
        swept.bytes
    );
    // A run in which nothing met the collector proves nothing.
    assert!(cycles > 50 && swept.objects > 100 && told(&counts.present) > 100 && told(&counts.mounted) > 20);
}

//! The data plane beside its peers in one run: `cargo bench --bench dataplane`.
//!
//! Each server is a process of its own, and runs alternate between them. Printed are medians with their range, the ratio
//! ours/peer of each run, and CPU seconds of the servers; nothing is judged. Before each push the disk is let come to rest:
//! what a peer leaves unsynced would else be written while ours syncs. Clients are curl, wrk, ab and skopeo. The peers
//! are those of `rig::peers`. `RUNS` (5), `MIB` (1024), `SECONDS` (5) and `PART` (`blobs,parallel,tls,requests,copy,start`)
//! narrow a run.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use rig::{Registry, Tls, blob, manifest, median, megabytes, rate, seconds, setting, told};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

#[path = "../tests/it/harness.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "it is the tests' own, and they use all of it")]
mod harness;
mod rig;

fn free_port() -> u16 {
    harness::free_port()
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    runs: usize,
    mib: usize,
}

fn main() {
    let parts = std::env::var("PART").unwrap_or_else(|_| "blobs,parallel,tls,requests,copy,start".to_owned());
    let bench = Bench {
        runtime: tokio::runtime::Runtime::new().expect("a runtime"),
        folder: tempfile::tempdir().expect("a folder for the bench"),
        runs: setting("RUNS", 5),
        mib: setting("MIB", 1024),
    };
    let all: [(&str, fn(&Bench)); 6] = [
        ("blobs", Bench::blobs),
        ("parallel", Bench::parallel),
        ("tls", Bench::tls),
        ("requests", Bench::requests),
        ("copy", Bench::copy),
        ("start", Bench::start),
    ];
    for (name, part) in all.iter().filter(|(name, _)| parts.contains(name)) {
        part(&bench);
        std::fs::remove_dir_all(bench.path().join(name)).expect("the part's folder is ours");
    }
}

/// What each registry did in each run, ours first.
struct Row {
    what: String,
    values: Vec<Vec<f64>>,
}

impl Row {
    fn new(what: impl Into<String>, registries: &[Registry]) -> Self {
        Self { what: what.into(), values: vec![Vec::new(); registries.len()] }
    }

    fn print(&self, registries: &[Registry]) {
        println!("{}: {} {}", self.what, registries[0].name, told(&self.values[0]));
        for (registry, values) in registries.iter().zip(&self.values).skip(1) {
            let ratios: Vec<f64> = self.values[0].iter().zip(values).map(|(ours, theirs)| ours / theirs).collect();
            println!("{}: {} {}; ours/peer {}", self.what, registry.name, told(values), told(&ratios));
        }
    }
}

impl Bench {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn registries(&self, name: &str, tls: Tls<'_>) -> Vec<Registry> {
        let folder = self.path().join(name);
        std::fs::create_dir(&folder).expect("a folder for the part");
        std::iter::once(rig::ours(&self.runtime, &folder, tls)).chain(rig::peers(&folder, tls)).collect()
    }

    fn blob(&self, mib: usize, seed: usize) -> (PathBuf, String) {
        blob(self.path(), mib, u64::try_from(seed).unwrap_or(0))
    }

    /// Prints how much CPU the servers used for each GiB since they started.
    fn cpu(&self, what: &str, registries: &[Registry], mib: usize) {
        for registry in registries {
            let each = registry.cpu_seconds() * 1024.0 / megabytes(mib) * 1.048_576;
            println!("{what}, CPU seconds of the server for each GiB: {} {each:.2}", registry.name);
        }
    }

    /// One blob pushed, and pulled from the page cache.
    fn blobs(&self) {
        let registries = self.registries("blobs", None);
        let mut push = Row::new(format!("push of one {} MiB blob, MB/s", self.mib), &registries);
        let mut pull = Row::new(format!("pull of one {} MiB blob, MB/s", self.mib), &registries);
        let mut used = vec![(0.0, 0.0); registries.len()];
        for run in 0..self.runs {
            let (file, digest) = self.blob(self.mib, run);
            for (at, registry) in registries.iter().enumerate() {
                let before = registry.cpu_seconds();
                rig::settle();
                push.values[at].push(rate(self.mib, || registry.push(&file, &digest)));
                let between = registry.cpu_seconds();
                pull.values[at].push(rate(self.mib, || registry.pull(&digest)));
                used[at].0 += between - before;
                used[at].1 += registry.cpu_seconds() - between;
            }
            std::fs::remove_file(file).expect("the blob's file is ours");
        }
        push.print(&registries);
        pull.print(&registries);
        let gib = megabytes(self.mib * self.runs) / 1_073.741_824;
        for (registry, (push, pull)) in registries.iter().zip(used) {
            println!(
                "CPU seconds of the server for each GiB: {} push {:.2}, pull {:.2}",
                registry.name,
                push / gib,
                pull / gib
            );
        }
    }

    /// Sixteen blobs of 64 MiB at once.
    fn parallel(&self) {
        let registries = self.registries("parallel", None);
        let mut row = Row::new("push of 16 x 64 MiB at once, MB/s", &registries);
        for run in 0..self.runs {
            let blobs: Vec<_> = (0..16).map(|at| self.blob(64, 1_000 + run * 16 + at)).collect();
            for (at, registry) in registries.iter().enumerate() {
                rig::settle();
                row.values[at].push(rate(16 * 64, || {
                    std::thread::scope(|scope| {
                        for (file, digest) in &blobs {
                            scope.spawn(|| registry.push(file, digest));
                        }
                    });
                }));
            }
            for (file, _) in blobs {
                std::fs::remove_file(file).expect("the blob's file is ours");
            }
        }
        row.print(&registries);
        self.cpu("push of 16 x 64 MiB at once", &registries, 1024 * self.runs);
    }

    /// The pull again, with TLS on both.
    fn tls(&self) {
        let (certificate, key) = harness::Authority::new().server("localhost");
        let (certificate_file, key_file) = (self.path().join("server.pem"), self.path().join("server.key.pem"));
        std::fs::write(&certificate_file, certificate).expect("the certificate is written");
        std::fs::write(&key_file, key).expect("the key is written");
        std::fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("it is private");
        let registries = self.registries("tls", Some((&certificate_file, &key_file)));
        let mut row = Row::new(format!("pull of one {} MiB blob over TLS, MB/s", self.mib), &registries);
        let (file, digest) = self.blob(self.mib, 2_000);
        for registry in &registries {
            registry.push(&file, &digest);
        }
        for _ in 0..self.runs {
            for (at, registry) in registries.iter().enumerate() {
                row.values[at].push(rate(self.mib, || registry.pull(&digest)));
            }
        }
        std::fs::remove_file(file).expect("the blob's file is ours");
        row.print(&registries);
    }

    /// Small requests over 32 connections.
    fn requests(&self) {
        let registries = self.registries("requests", None);
        let small = self.path().join("small");
        std::fs::write(&small, "{}").expect("a file");
        let digest = transship::names::Digest::of(b"{}").to_string();
        for registry in &registries {
            registry.push(&small, &digest);
            registry.put_manifest(self.path(), "v1", &manifest(&digest, &digest, 2));
        }
        let by: [(&str, String, Load); 3] = [
            ("GET manifest by tag", "manifests/v1".to_owned(), wrk),
            ("GET a 2-byte blob", format!("blobs/{digest}"), wrk),
            ("HEAD a blob", format!("blobs/{digest}"), ab),
        ];
        for (what, path, load) in by {
            let mut rates = Row::new(format!("{what}, 32 connections, requests/s"), &registries);
            let mut tails = Row::new(format!("{what}, 32 connections, p99 ms"), &registries);
            for _ in 0..self.runs {
                for (at, registry) in registries.iter().enumerate() {
                    let (rate, p99) = load(registry, &path);
                    rates.values[at].push(rate);
                    tails.values[at].push(p99);
                }
            }
            rates.print(&registries);
            tails.print(&registries);
        }
    }

    /// An image of twenty layers, to a repository that has nothing.
    fn copy(&self) {
        let registries = self.registries("copy", None);
        let mut row = Row::new("skopeo copy of 20 x 8 MiB, cold, s", &registries);
        for run in 0..self.runs {
            let layout = self.layout(run);
            for (at, registry) in registries.iter().enumerate() {
                let host = registry.base.trim_start_matches("http://");
                let target = format!("docker://{host}/{}-{run}:v1", registry.repository);
                let mut command = Command::new("skopeo");
                command.args(["copy", "-q", "--insecure-policy", "--preserve-digests", "--dest-tls-verify=false"]);
                if let Some(password) = &registry.password {
                    command.args(["--dest-creds", &format!("AWS:{password}")]);
                }
                command.arg(format!("oci:{}:v1", layout.display())).arg(target);
                rig::settle();
                row.values[at].push(seconds(|| assert!(command.status().expect("skopeo runs").success())));
            }
            std::fs::remove_dir_all(layout).expect("the layout is ours");
        }
        row.print(&registries);
    }

    /// An OCI layout of one image of twenty layers that no other has.
    fn layout(&self, run: usize) -> PathBuf {
        let layout = self.path().join(format!("layout-{run}"));
        let blobs = layout.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("a folder");
        let keep = |bytes: &[u8]| {
            let digest = transship::names::Digest::of(bytes).to_string();
            std::fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes).expect("a file");
            (digest, bytes.len())
        };
        let layers: Vec<_> = (0..20)
            .map(|at| {
                let (file, digest) = self.blob(8, 3_000 + run * 20 + at);
                std::fs::rename(file, blobs.join(digest.trim_start_matches("sha256:"))).expect("one file system");
                serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": 8 << 20})
            })
            .collect();
        let (config, size) = keep(br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#);
        let image = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size},
            "layers": layers});
        let (image, size) = keep(image.to_string().as_bytes());
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [{"digest": image, "size": size,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "annotations": {"org.opencontainers.image.ref.name": "v1"}}]});
        std::fs::write(layout.join("index.json"), index.to_string()).expect("a file");
        std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
        layout
    }

    /// From the start of the process to its readiness, with 100,000 manifests stored.
    fn start(&self) {
        const MANIFESTS: usize = 100_000;
        let folder = self.path().join("start");
        std::fs::create_dir(&folder).expect("a folder for the part");
        let registry = rig::ours(&self.runtime, &folder, None);
        let (base, repository, password) = (&registry.base, &registry.repository, registry.password.clone());
        let http = Arc::new(harness::Http::new(base, password));
        let began = Instant::now();
        self.runtime.block_on(async {
            let digest = http.push_blob(repository, b"{}").await;
            let pushers = (0..32).map(|pusher| {
                let (http, repository, digest) = (http.clone(), repository.clone(), digest.clone());
                tokio::spawn(async move {
                    for at in 0..MANIFESTS / 32 {
                        let mut image: serde_json::Value =
                            serde_json::from_str(&manifest(&digest, &digest, 2)).expect("a manifest");
                        image["annotations"] = serde_json::json!({"n": format!("{pusher}-{at}")});
                        let tag = format!("v{pusher}-{at}");
                        http.put_manifest(&repository, &tag, harness::MANIFEST, &image.to_string()).await;
                    }
                })
            });
            for pusher in pushers.collect::<Vec<_>>() {
                pusher.await.expect("a pusher ends well");
            }
        });
        let each = MANIFESTS as f64 / began.elapsed().as_secs_f64();
        println!("{MANIFESTS} manifests with tags pushed over 32 connections: {each:.0} a second, each commit synced");
        drop(registry);
        let config = folder.join("ours.toml");
        let starts: Vec<f64> = (0..self.runs).map(|_| seconds(|| drop(rig::serve(&config)))).collect();
        println!(
            "start with {MANIFESTS} manifests, s: {} (from the start of the process, after kill -9)",
            told(&starts)
        );
        assert!(median(&starts) > 0.0);
    }
}

/// Requests a second and the 99th percentile in ms.
type Load = fn(&Registry, &str) -> (f64, f64);

/// By wrk, which knows no HEAD.
fn wrk(registry: &Registry, path: &str) -> (f64, f64) {
    let mut command = Command::new("wrk");
    command.args(["-t2", "-c32", "--latency", &format!("-d{}s", setting("SECONDS", 5))]);
    command.args(["-H", "Accept: application/vnd.oci.image.manifest.v1+json"]);
    if let Some(password) = &registry.password {
        command.args(["-H", &format!("Authorization: Bearer {password}")]);
    }
    let output = command.arg(format!("{}/v2/{}/{path}", registry.base, registry.repository)).output();
    let text = String::from_utf8_lossy(&output.expect("wrk is installed and runs").stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{}: {text}", registry.name);
    let field = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    let p99 = field("99%");
    let number: f64 = p99.trim_end_matches(|c: char| c.is_alphabetic()).parse().unwrap_or(0.0);
    let unit = if p99.ends_with("us") {
        0.001
    } else if p99.ends_with("ms") {
        1.0
    } else {
        1_000.0
    };
    (field("Requests/sec:").parse().unwrap_or(0.0), number * unit)
}

/// HEAD requests by ab.
fn ab(registry: &Registry, path: &str) -> (f64, f64) {
    let mut command = Command::new("ab");
    command.args(["-i", "-k", "-q", "-c32", "-n10000000", "-t", &setting("SECONDS", 5).to_string()]);
    if let Some(password) = &registry.password {
        command.args(["-H", &format!("Authorization: Bearer {password}")]);
    }
    let output = command.arg(format!("{}/v2/{}/{path}", registry.base, registry.repository)).output();
    let text = String::from_utf8_lossy(&output.expect("ab is installed and runs").stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{}: {text}", registry.name);
    let last = |name: &str, at: usize| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(at).and_then(|text| text.parse().ok()).unwrap_or(0.0)
    };
    (last("Requests per second:", 3), last("99%", 1))
}

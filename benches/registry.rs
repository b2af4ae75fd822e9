//! Memory and replication: `cargo bench --bench registry`; the data plane beside peers is `benches/dataplane.rs`.
//!
//! Servers are processes of their own; the client is curl. Medians and ratios are printed, nothing is judged. `RUNS` (5),
//! `MIB` (1024), `BIG` and `PART` (`memory,replicate`) narrow or widen a run.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[path = "../tests/it/harness.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "it is the tests' own, and they use all of it")]
mod harness;
mod rig;

use rig::{Process, Registry, blob, manifest, megabytes, rate, serve, setting, told};

fn main() {
    let runs: usize = setting("RUNS", 5);
    let mib: usize = setting("MIB", 1024);
    let parts = std::env::var("PART").unwrap_or_else(|_| "memory,replicate".to_owned());
    let work = tempfile::tempdir().expect("a folder for the bench");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if parts.contains("memory") {
        memory(&runtime, work.path());
    }
    if parts.contains("replicate") {
        replicate(&runtime, work.path(), runs, mib);
    }
}

/// Peak `RssAnon` of the server while 16 clients push at once, sampled every 50 ms.
fn memory(runtime: &tokio::runtime::Runtime, folder: &Path) {
    // The large size shares one file among the clients: the server seals each push anew all the same.
    let sizes: &[(u64, usize)] = if std::env::var_os("BIG").is_some() { &[(16, 256), (8, 4096)] } else { &[(16, 256)] };
    for (clients, mib) in sizes {
        let inner = tempfile::tempdir_in(folder).expect("a folder for the run");
        let registry = Arc::new(rig::ours(runtime, inner.path(), None));
        let (stop, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sampler = {
            let (stop, peak, pid) = (stop.clone(), peak.clone(), registry.process.0.id());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    peak.fetch_max(rss_anon_kib(pid), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(50));
                }
            })
        };
        let seed = |client| if *mib > 1024 { 1_000 } else { 1_000 + client };
        let mut made = BTreeMap::new();
        let blobs: Vec<(PathBuf, String)> = (0..*clients)
            .map(|client| made.entry(seed(client)).or_insert_with_key(|seed| blob(inner.path(), *mib, *seed)).clone())
            .collect();
        let began = Instant::now();
        let pushers: Vec<_> = blobs
            .into_iter()
            .map(|(file, digest)| {
                let registry = registry.clone();
                std::thread::spawn(move || registry.push(&file, &digest))
            })
            .collect();
        for pusher in pushers {
            pusher.join().expect("a pusher ends well");
        }
        let seconds = began.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        sampler.join().expect("the sampler ends");
        #[allow(clippy::cast_precision_loss)]
        let rate = (*clients as usize * mib) as f64 * 1.048_576 / seconds;
        println!(
            "{clients} pushes of {mib} MiB at once: peak RssAnon {:.1} MB, {rate:.0} MB/s together",
            peak.load(Ordering::Relaxed) as f64 / 1_000.0 * 1.024
        );
    }
}

fn rss_anon_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// One blob from one region to another, beside a bare pipeline: TLS over loopback, SHA-256, write and fdatasync.
fn replicate(runtime: &tokio::runtime::Runtime, folder: &Path, runs: usize, mib: usize) {
    use harness::Organization;
    use transship::domain::replication::rules::NewRule;
    use transship::store::rules::Destination;
    let organization = runtime.block_on(Organization::start(&["us-east-1", "eu-west-1"]));
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let (dev, prod) = (home.account("dev"), home.account("prod"));
    let (base, password) = runtime.block_on(async {
        let consent = serde_json::json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow",
            "Principal": {"AWS": format!("arn:aws:iam::{dev}:root")},
            "Action": ["ecr:ReplicateImage", "ecr:CreateRepository"], "Resource": "*"}});
        let policy = consent.to_string();
        away.app().put_registry_policy(&away.admin("prod").await, prod, &policy, false).await.expect("consent");
        let region = away.app().settings().region.clone();
        let rule = NewRule {
            repository_prefix: String::new(),
            tag_pattern: String::new(),
            destinations: vec![Destination { region, account: prod }],
        };
        home.app().create_rule(&home.admin("dev").await, dev, rule).await.expect("a rule");
        (home.base.clone(), home.password("dev").await)
    });
    let mut organization = organization;
    let away = organization.regions.pop().expect("two regions");
    let home = organization.regions.pop().expect("two regions");
    let port = base.rsplit(':').next().expect("the base has a port").to_owned();
    let (home, away) = runtime.block_on(async { (home.leave().await, away.leave().await) });
    pin_port(&home.folder.path().join("config.toml"), &port);
    let _processes = (serve(&home.folder.path().join("config.toml")), serve(&away.folder.path().join("config.toml")));
    let repository = format!("{dev}/bench");
    let password = Some(password);
    let (mut theirs, mut bare) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let (file, digest) = blob(folder, mib, 5_000 + u64::try_from(run).unwrap_or(0));
        let source = Registry {
            name: "source".to_owned(),
            base: base.clone(),
            repository: repository.clone(),
            password: password.clone(),
            process: idle(),
        };
        source.push(&file, &digest);
        let (config, config_digest) = blob(folder, 0, 1);
        source.push(&config, &config_digest);
        let (manifest, tag) = (manifest(&config_digest, &digest, mib << 20), format!("v{run}"));
        let began = Instant::now();
        source.put_manifest(folder, &tag, &manifest);
        while !arrived(&away.database(), &tag) {
            assert!(began.elapsed() < Duration::from_secs(120), "the image never arrived");
            std::thread::sleep(Duration::from_millis(5));
        }
        theirs.push(megabytes(mib) / began.elapsed().as_secs_f64());
        bare.push(rate(mib, || bare_pipeline(folder, &file)));
        std::fs::remove_file(file).expect("the blob's file is ours");
    }
    let ratios: Vec<f64> = theirs.iter().zip(&bare).map(|(a, b)| a / b).collect();
    println!(
        "replication of one {mib} MiB blob, MB/s: ours {} (from the manifest's PUT to the tag at the destination)",
        told(&theirs)
    );
    println!("bare pipeline TLS > SHA-256 > write + fdatasync, MB/s: {}; ours/bare {}", told(&bare), told(&ratios));
}

fn pin_port(config: &Path, port: &str) {
    let text = std::fs::read_to_string(config).expect("the configuration is there");
    std::fs::write(config, text.replacen("listen = \"127.0.0.1:0\"", &format!("listen = \"127.0.0.1:{port}\""), 1))
        .expect("the configuration is written");
}

/// A process that stands for none of ours.
fn idle() -> Process {
    Process(Command::new("sleep").arg("0").spawn().expect("sleep runs"))
}

fn arrived(database: &rusqlite::Connection, tag: &str) -> bool {
    let sql = "SELECT count(*) FROM tags WHERE tag = ?1";
    database.query_row(sql, [tag], |row| row.get::<_, i64>(0)).unwrap_or(0) > 0
}

/// What the hardware allows a verified copy over TLS: two threads, the same cipher and hash libraries.
fn bare_pipeline(folder: &Path, file: &Path) {
    use sha2::Digest;
    let authority = harness::Authority::new();
    let organization = transship::clock::Clock::system().uid();
    let (certificate, key) = authority.region(organization, "us-east-1");
    let (server, client) = tls(&certificate, &key, authority.certificate());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let target = folder.join("bare");
    let receiver = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let mut session = rustls::ServerConnection::new(server).expect("a session");
        let mut stream = rustls::Stream::new(&mut session, &mut socket);
        let mut out = std::fs::File::create(&target).expect("a file");
        let (mut hash, mut buffer) = (sha2::Sha256::new(), vec![0; 1 << 20]);
        loop {
            let count = stream.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            out.write_all(&buffer[..count]).expect("the disk takes it");
        }
        out.sync_data().expect("the disk syncs");
        std::fs::remove_file(target).expect("the file is ours");
        hash.finalize()
    });
    let mut socket = TcpStream::connect(address).expect("a connection");
    let name = "us-east-1.region.transship.internal".try_into().expect("a name");
    let mut session = rustls::ClientConnection::new(client, name).expect("a session");
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    let mut source = std::fs::File::open(file).expect("the blob's file");
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = source.read(&mut buffer).expect("the file reads");
        if count == 0 {
            break;
        }
        stream.write_all(&buffer[..count]).expect("the socket takes it");
    }
    session.send_close_notify();
    let _ = session.complete_io(&mut socket);
    drop(socket);
    receiver.join().expect("the receiver ends well");
}

fn tls(certificate: &str, key: &str, ca: &str) -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let leaf = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("a root")).expect("a root");
    let server =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf], key).expect("a server");
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn free_port() -> u16 {
    harness::free_port()
}

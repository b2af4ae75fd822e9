//! Push, pull, memory and replication beside peers in one run: `cargo bench --bench registry`.
//!
//! Servers are processes of their own; the client is curl. Ours and the peer's runs alternate, medians and ratios are
//! printed, nothing is judged. The peer is Debian's docker-registry (it neither encrypts nor syncs), if it is installed.
//! `RUNS` (5), `MIB` (1024) and `PART` (`push,memory,replicate`) narrow a run.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use transship::config::Settings;
use transship::ctx::{Caller, Ctx, Principal};
use transship::names::{PrincipalKind, PrincipalName};
use transship::server::{Server, account_id};

#[path = "../tests/it/harness.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "it is the tests' own, and they use all of it")]
mod harness;

fn main() {
    let runs: usize = setting("RUNS", 5);
    let mib: usize = setting("MIB", 1024);
    let parts = std::env::var("PART").unwrap_or_else(|_| "push,memory,replicate".to_owned());
    let work = tempfile::tempdir().expect("a folder for the bench");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if parts.contains("push") {
        push_and_pull(&runtime, work.path(), runs, mib);
    }
    if parts.contains("memory") {
        memory(&runtime, work.path());
    }
    if parts.contains("replicate") {
        replicate(&runtime, work.path(), runs, mib);
    }
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A server process that dies with its value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A registry that is running: where, and with which user and password.
struct Registry {
    base: String,
    repository: String,
    login: Option<String>,
    process: Process,
}

fn ours(runtime: &tokio::runtime::Runtime, folder: &Path) -> Registry {
    let port = free_port();
    let data = folder.join("ours");
    let config = folder.join("ours.toml");
    let text = format!(
        "listen = \"127.0.0.1:{port}\"\ndata = {data:?}\naccounts = [\"dev\"]\n[registry]\ncreate_on_push = true\n"
    );
    std::fs::write(&config, text).expect("the configuration is written");
    let settings = Settings::load(Some(&config), &BTreeMap::new()).expect("the configuration is good");
    let password = runtime.block_on(async {
        let server = Server::start(settings).await.expect("the server starts");
        let name = PrincipalName { account: account_id("dev"), kind: PrincipalKind::User, name: "admin".into() };
        let app = server.app().clone();
        let unique_id = app.unique_id(&name).await.expect("the store answers").expect("the admin is there");
        let principal = Arc::new(Principal { name, unique_id, session: None });
        let ctx = Ctx { caller: Caller::Principal(principal), ..app.system("bench") };
        let password = app.authorization_token(&ctx).await.expect("a password").text.expose().clone();
        drop(app);
        server.stop().await;
        password
    });
    let process = serve(&config);
    let repository = format!("{}/bench", account_id("dev"));
    Registry { base: format!("http://127.0.0.1:{port}"), repository, login: Some(format!("AWS:{password}")), process }
}

fn serve(config: &Path) -> Process {
    let mut child = Command::new(env!("CARGO_BIN_EXE_transship"))
        .args(["serve", "--config"])
        .arg(config)
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server runs");
    let mut line = String::new();
    let out = child.stdout.take().expect("its output is piped");
    BufReader::new(out).read_line(&mut line).expect("it says that it is ready");
    assert!(line.starts_with("ready"), "{line:?}");
    Process(child)
}

fn peer(folder: &Path) -> Option<Registry> {
    let port = free_port();
    let data = folder.join("peer");
    let config = folder.join("peer.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: 127.0.0.1:{port}}}\n",
        data.display()
    );
    std::fs::write(&config, &text).expect("the peer's configuration is written");
    let version = Command::new("docker-registry").arg("--version").output().ok()?;
    println!(
        "peer: {}, filesystem driver, no fsync, no TLS, no authentication",
        String::from_utf8_lossy(&version.stdout).trim()
    );
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let process = Process(child);
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "the peer does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(Registry { base: format!("http://127.0.0.1:{port}"), repository: "bench".to_owned(), login: None, process })
}

fn push_and_pull(runtime: &tokio::runtime::Runtime, folder: &Path, runs: usize, mib: usize) {
    let registries: Vec<Registry> = std::iter::once(ours(runtime, folder)).chain(peer(folder)).collect();
    let (mut pushes, mut pulls) = (vec![Vec::new(); registries.len()], vec![Vec::new(); registries.len()]);
    for run in 0..runs {
        let (file, digest) = blob(folder, mib, u64::try_from(run).unwrap_or(0));
        for (at, registry) in registries.iter().enumerate() {
            pushes[at].push(rate(mib, || registry.push(&file, &digest)));
            pulls[at].push(rate(mib, || registry.pull(&digest)));
        }
        std::fs::remove_file(file).expect("the blob's file is ours");
    }
    for (what, rates) in [("push", &pushes), ("pull", &pulls)] {
        println!("{what} of one {mib} MiB blob, MB/s: ours {}", told(&rates[0]));
        if let Some(theirs) = rates.get(1) {
            let ratios: Vec<f64> = rates[0].iter().zip(theirs).map(|(a, b)| a / b).collect();
            println!("{what} of one {mib} MiB blob, MB/s: peer {}; ours/peer {}", told(theirs), told(&ratios));
        }
    }
    println!("CPU seconds: ours {:.1}", cpu_seconds(&registries[0].process));
    if let Some(peer) = registries.get(1) {
        println!("CPU seconds: peer {:.1}", cpu_seconds(&peer.process));
    }
}

impl Registry {
    fn curl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("curl");
        command.args(["-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download} %header{location}"]);
        if let Some(login) = &self.login {
            command.args(["-u", login]);
        }
        let output = command.args(arguments).output().expect("curl runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn push(&self, file: &Path, digest: &str) {
        let start = format!("{}/v2/{}/blobs/uploads/", self.base, self.repository);
        let answer = self.curl(&["-X", "POST", "-H", "Content-Length: 0", &start]);
        let location = answer.rsplit(' ').next().unwrap_or_default();
        let location =
            if location.starts_with("http") { location.to_owned() } else { format!("{}{location}", self.base) };
        let joint = if location.contains('?') { '&' } else { '?' };
        let url = format!("{location}{joint}digest={digest}");
        let file = file.to_string_lossy();
        let answer = self.curl(&[
            "-X",
            "PUT",
            "-H",
            "Content-Type: application/octet-stream",
            "-H",
            "Expect:",
            "-T",
            &*file,
            &url,
        ]);
        assert!(answer.starts_with("201"), "push: {answer}");
    }

    fn pull(&self, digest: &str) {
        let answer = self.curl(&["-L", &format!("{}/v2/{}/blobs/{digest}", self.base, self.repository)]);
        assert!(answer.starts_with("200"), "pull: {answer}");
    }
}

/// Peak `RssAnon` of the server while 16 clients push at once, sampled every 50 ms.
fn memory(runtime: &tokio::runtime::Runtime, folder: &Path) {
    // The large size shares one file among the clients: the server seals each push anew all the same.
    let sizes: &[(u64, usize)] = if std::env::var_os("BIG").is_some() { &[(16, 256), (8, 4096)] } else { &[(16, 256)] };
    for (clients, mib) in sizes {
        let inner = tempfile::tempdir_in(folder).expect("a folder for the run");
        let registry = Arc::new(ours(runtime, inner.path()));
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

fn cpu_seconds(process: &Process) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0.id())).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
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
    let login = Some(format!("AWS:{password}"));
    let (mut theirs, mut bare) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let (file, digest) = blob(folder, mib, 5_000 + u64::try_from(run).unwrap_or(0));
        let source =
            Registry { base: base.clone(), repository: repository.clone(), login: login.clone(), process: idle() };
        source.push(&file, &digest);
        let (config, config_digest) = blob(folder, 0, 1);
        source.push(&config, &config_digest);
        let manifest = manifest(&config_digest, &digest, mib);
        let manifest_file = folder.join("manifest.json");
        std::fs::write(&manifest_file, &manifest).expect("the manifest is written");
        let url = format!("{base}/v2/{repository}/manifests/v{run}");
        let began = Instant::now();
        let content = "Content-Type: application/vnd.oci.image.manifest.v1+json";
        let data = format!("@{}", manifest_file.display());
        let answer = source.curl(&["-X", "PUT", "-H", content, "--data-binary", &data, &url]);
        assert!(answer.starts_with("201"), "manifest: {answer}");
        let tag = format!("v{run}");
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

fn manifest(config: &str, layer: &str, mib: usize) -> String {
    serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 0},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": mib << 20}]})
    .to_string()
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

/// A file of pseudo-random bytes and its digest, both warm.
fn blob(folder: &Path, mib: usize, seed: u64) -> (PathBuf, String) {
    use sha2::Digest;
    let path = folder.join(format!("blob-{mib}-{seed}"));
    let mut out = std::fs::File::create(&path).expect("a file");
    let mut hash = sha2::Sha256::new();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut block = vec![0; 1 << 20];
    for _ in 0..mib {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        hash.update(&block);
        out.write_all(&block).expect("the disk takes it");
    }
    (path, format!("sha256:{}", hex::encode(hash.finalize())))
}

fn rate(mib: usize, work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    megabytes(mib) / began.elapsed().as_secs_f64()
}

#[allow(clippy::cast_precision_loss)]
fn megabytes(mib: usize) -> f64 {
    mib as f64 * 1.048_576
}

fn told(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (sorted.first().copied().unwrap_or(0.0), sorted.last().copied().unwrap_or(0.0));
    format!("median {:.2} (from {first:.2} to {last:.2})", sorted.get(sorted.len() / 2).copied().unwrap_or(0.0))
}

fn free_port() -> u16 {
    harness::free_port()
}

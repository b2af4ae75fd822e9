//! What the benches share: registries as processes of their own, curl as their client, blobs, and how figures are told.

#![allow(dead_code, unreachable_pub, clippy::disallowed_methods, reason = "each bench uses its part, in real time")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use transship::config::Settings;
use transship::ctx::{Caller, Ctx, Principal};
use transship::names::{PrincipalKind, PrincipalName};
use transship::server::{Server, account_id};

pub fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A server process that dies with its value.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A registry that is running: where, and with which password of the user `AWS`.
pub struct Registry {
    pub name: String,
    pub base: String,
    pub repository: String,
    pub password: Option<String>,
    pub process: Process,
}

/// Certificate and key files of a server, if it speaks TLS.
pub type Tls<'a> = Option<(&'a Path, &'a Path)>;

/// Ours with its defaults: a login, SQLite, sealed blobs, every acknowledged byte synced.
pub fn ours(runtime: &tokio::runtime::Runtime, folder: &Path, tls: Tls<'_>) -> Registry {
    let (config, password) = prepared(runtime, folder, tls);
    let port = std::fs::read_to_string(&config).expect("the configuration is there");
    let port = port.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split_once('"')).expect("a port").0.to_owned();
    let process = serve(&config);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let repository = format!("{}/bench", account_id("dev"));
    let base = format!("{scheme}://127.0.0.1:{port}");
    Registry { name: "transship".to_owned(), base, repository, password: Some(password), process }
}

/// A data folder with an account `dev`, its configuration and its admin's password; nothing serves it yet.
pub fn prepared(runtime: &tokio::runtime::Runtime, folder: &Path, tls: Tls<'_>) -> (PathBuf, String) {
    let (data, config, port) = (folder.join("ours"), folder.join("ours.toml"), super::free_port());
    let tls = tls.map_or_else(String::new, |(cert, key)| format!("[tls]\ncertificate = {cert:?}\nkey = {key:?}\n"));
    let text = format!(
        "listen = \"127.0.0.1:{port}\"\ndata = {data:?}\naccounts = [\"dev\"]\n[registry]\ncreate_on_push = true\n{tls}"
    );
    std::fs::write(&config, text).expect("the configuration is written");
    let settings = Settings::load(Some(&config), &BTreeMap::new()).expect("the configuration is good");
    let password = runtime.block_on(async {
        let server = Box::pin(Server::start(settings)).await.expect("the server starts");
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
    (config, password)
}

pub fn serve(config: &Path) -> Process {
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

/// The peers that can be had: Debian's docker-registry, and the program that `DISTRIBUTION` names, which is built from
/// the sources of distribution v3. Filesystem driver, no cache, no login, no encryption; neither syncs what it acknowledges.
pub fn peers(folder: &Path, tls: Tls<'_>) -> Vec<Registry> {
    let named = std::env::var("DISTRIBUTION").ok();
    let programs = std::iter::once("docker-registry".to_owned()).chain(named);
    programs.filter_map(|program| peer(&program, folder, tls)).collect()
}

fn peer(program: &str, folder: &Path, tls: Tls<'_>) -> Option<Registry> {
    let version = Command::new(program).arg("--version").output().ok()?;
    let version = String::from_utf8_lossy(&version.stdout).split_whitespace().last().unwrap_or_default().to_owned();
    let (port, name) = (super::free_port(), format!("distribution {version}"));
    let place = Path::new(program).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let (data, config) = (folder.join(&place), folder.join(format!("{place}.yml")));
    let tls_text = tls.map_or_else(String::new, |(certificate, key)| {
        format!(", tls: {{certificate: {}, key: {}}}", certificate.display(), key.display())
    });
    let text = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: 127.0.0.1:{port}{tls_text}}}\n",
        data.display()
    );
    std::fs::write(&config, &text).expect("the peer's configuration is written");
    let child = Command::new(program)
        .arg("serve")
        .arg(&config)
        .env("OTEL_TRACES_EXPORTER", "none")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let process = Process(child);
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "{name} does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    let base = format!("{}://127.0.0.1:{port}", if tls.is_some() { "https" } else { "http" });
    Some(Registry { name, base, repository: "bench".to_owned(), password: None, process })
}

impl Registry {
    pub fn curl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("curl");
        command.args(["-sSk", "-o", "/dev/null", "-w", "%{http_code} %{size_download} %header{location}"]);
        if let Some(password) = &self.password {
            command.args(["-u", &format!("AWS:{password}")]);
        }
        let output = command.args(arguments).output().expect("curl runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn push(&self, file: &Path, digest: &str) {
        let start = format!("{}/v2/{}/blobs/uploads/", self.base, self.repository);
        let answer = self.curl(&["-X", "POST", "-H", "Content-Length: 0", &start]);
        let location = answer.rsplit(' ').next().unwrap_or_default();
        let location =
            if location.starts_with("http") { location.to_owned() } else { format!("{}{location}", self.base) };
        let joint = if location.contains('?') { '&' } else { '?' };
        let (url, file) = (format!("{location}{joint}digest={digest}"), file.to_string_lossy());
        let content = "Content-Type: application/octet-stream";
        let answer = self.curl(&["-X", "PUT", "-H", content, "-H", "Expect:", "-T", &*file, &url]);
        assert!(answer.starts_with("201"), "push to {}: {answer}", self.name);
    }

    pub fn pull(&self, digest: &str) {
        let answer = self.curl(&["-L", &format!("{}/v2/{}/blobs/{digest}", self.base, self.repository)]);
        assert!(answer.starts_with("200"), "pull from {}: {answer}", self.name);
    }

    pub fn put_manifest(&self, folder: &Path, tag: &str, manifest: &str) {
        let file = folder.join("manifest.json");
        std::fs::write(&file, manifest).expect("the manifest is written");
        let url = format!("{}/v2/{}/manifests/{tag}", self.base, self.repository);
        let content = "Content-Type: application/vnd.oci.image.manifest.v1+json";
        let answer = self.curl(&["-X", "PUT", "-H", content, "--data-binary", &format!("@{}", file.display()), &url]);
        assert!(answer.starts_with("201"), "manifest to {}: {answer}", self.name);
    }

    /// User and system seconds that the server has used.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.0.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / 100.0
    }
}

/// An image manifest of one layer.
pub fn manifest(config: &str, layer: &str, size: usize) -> String {
    serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 0},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size}]})
    .to_string()
}

/// A file of pseudo-random bytes and its digest, both warm.
pub fn blob(folder: &Path, mib: usize, seed: u64) -> (PathBuf, String) {
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

/// Waits until nothing is left to be written to the disk.
pub fn settle() {
    assert!(Command::new("sync").status().expect("sync runs").success());
}

pub fn rate(mib: usize, work: impl FnOnce()) -> f64 {
    megabytes(mib) / seconds(work)
}

pub fn seconds(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

#[allow(clippy::cast_precision_loss)]
pub fn megabytes(mib: usize) -> f64 {
    mib as f64 * 1.048_576
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

pub fn told(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (sorted.first().copied().unwrap_or(0.0), sorted.last().copied().unwrap_or(0.0));
    format!("{:.2} ({first:.2}-{last:.2})", median(values))
}

//! Faults of the machine, the disk and the clients, one row each: what was acknowledged stays, what was not can be done
//! again, nothing damaged is served, and the server comes back by itself.
//!
//! The server is a process of its own here. CI size, or long size (`TRANSSHIP_LONG=1`): each test tells its numbers.

mod bodies;
mod crash;
mod crowd;
mod disk;
mod rest;
mod syncs;

use crate::harness::{Answer, Http, Left, MANIFEST, Process, Region, free_port};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use transship::names::Digest;
use transship::store::collections::Swept;

/// Plaintext bytes after which a part is durable while its body is still coming.
const PART: usize = 32 << 20;

type Broken = Box<dyn std::error::Error + Send + Sync>;

fn long() -> bool {
    std::env::var_os("TRANSSHIP_LONG").is_some()
}

/// A region left to a process, at one port over all its starts, and who pushes there.
struct Site {
    left: Option<Left>,
    port: u16,
    password: String,
    repository: String,
    control: Control,
}

impl Site {
    async fn new(more: &str) -> Self {
        Self::of(Region::configured(more).await).await
    }

    async fn of(region: Region) -> Self {
        let (password, repository) = (region.password("dev").await, format!("{}/app", region.account("dev")));
        let left = Some(region.leave().await);
        Self { left, port: free_port(), password, repository, control: Control::new() }
    }

    fn left(&self) -> &Left {
        self.left.as_ref().expect("the region is left")
    }

    /// Starts the process, under the control of the faults.
    fn spawn(&self) -> Process {
        self.spawn_under(&[], &[])
    }

    fn spawn_under(&self, runner: &[&str], more: &[(&str, &str)]) -> Process {
        let listen = format!("127.0.0.1:{}", self.port);
        let mut environment = self.control.environment();
        environment.push(("TRANSSHIP__LISTEN".to_owned(), listen));
        let mut all: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
        all.extend(more);
        let started = self.left().spawn_under(runner, &all);
        started.unwrap_or_else(|said| panic!("the process said {said:?} and logged: {}", self.log()))
    }

    fn http(&self) -> Http {
        Http::new(&format!("http://127.0.0.1:{}", self.port), Some(self.password.clone()))
    }

    /// What the processes have logged so far.
    fn log(&self) -> String {
        std::fs::read_to_string(self.left().folder.path().join("serve.log")).unwrap_or_default()
    }

    /// The region inside the test for a while; the process must be gone.
    async fn inside(&mut self, work: impl AsyncFnOnce(&Region)) {
        let region = self.left.take().expect("the region is left").back().await;
        work(&region).await;
        self.left = Some(region.leave().await);
    }
}

/// What of a push was acknowledged.
#[derive(Default)]
struct Acknowledged {
    blobs: Vec<(String, Vec<u8>)>,
    /// Tag and text.
    manifest: Option<(String, String)>,
}

/// An image with a tag, whose bytes no other image has.
struct Image {
    tag: String,
    layers: Vec<Vec<u8>>,
}

impl Image {
    /// One layer that goes in chunks, one that goes at once.
    fn small(number: usize) -> Self {
        let layer = |which: u8, length: usize| bytes_of(number as u64 * 2 + u64::from(which), length);
        Self { tag: format!("v{number}"), layers: vec![layer(0, 60_000), layer(1, 150_000)] }
    }

    /// The same, and a layer of more than a part.
    fn large(number: usize) -> Self {
        let mut image = Self::small(number);
        image.layers.push(bytes_of(1 << 40 | number as u64, PART + 700_000));
        image
    }

    fn manifest(&self) -> String {
        let config = config_of(&self.tag);
        let layers: Vec<_> = self
            .layers
            .iter()
            .map(|layer| {
                serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": Digest::of(layer), "size": layer.len()})
            })
            .collect();
        serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(&config),
                "size": config.len()}})
        .to_string()
    }

    /// Pushes it until something goes wrong; notes what was acknowledged.
    async fn push(&self, http: &Http, repository: &str, done: &mut Acknowledged) -> Result<(), Broken> {
        for (at, bytes) in self.layers.iter().enumerate() {
            push_blob(http, repository, bytes, at == 0).await?;
            done.blobs.push((Digest::of(bytes).to_string(), bytes.clone()));
        }
        let config = config_of(&self.tag);
        push_blob(http, repository, &config, false).await?;
        done.blobs.push((Digest::of(&config).to_string(), config));
        let (path, text) = (format!("/v2/{repository}/manifests/{}", self.tag), self.manifest());
        let put = http.try_call(Method::PUT, &path, &[("content-type", MANIFEST)], text.clone()).await?;
        expect(&put, StatusCode::CREATED)?;
        done.manifest = Some((self.tag.clone(), text));
        Ok(())
    }

    /// Pushes what must go well, and pulls it.
    async fn push_and_pull(&self, http: &Http, repository: &str) {
        let mut done = Acknowledged::default();
        self.push(http, repository, &mut done).await.unwrap();
        done.pull(http, repository).await;
    }
}

impl Acknowledged {
    /// Everything that was acknowledged is there, byte for byte.
    async fn pull(&self, http: &Http, repository: &str) {
        for (digest, bytes) in &self.blobs {
            let got = http.get(&format!("/v2/{repository}/blobs/{digest}")).await;
            assert_eq!(got.status, StatusCode::OK, "{digest} was acknowledged: {}", got.text());
            assert!(got.body == *bytes, "{digest} is not what was pushed");
        }
        if let Some((tag, text)) = &self.manifest {
            let got = http.get(&format!("/v2/{repository}/manifests/{tag}")).await;
            assert_eq!(got.status, StatusCode::OK, "{tag} was acknowledged: {}", got.text());
            assert!(got.body == text.as_bytes(), "{tag} is not what was pushed");
        }
    }
}

fn config_of(tag: &str) -> Vec<u8> {
    format!("{{\"comment\":{tag:?}}}").into_bytes()
}

/// Pushes a blob, at once or in three chunks.
async fn push_blob(http: &Http, repository: &str, bytes: &[u8], chunked: bool) -> Result<(), Broken> {
    let begun = http.try_call(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], "").await?;
    expect(&begun, StatusCode::ACCEPTED)?;
    let location = begun.header("location").to_owned();
    let mut rest = bytes;
    while chunked && rest.len() > bytes.len() / 3 {
        let (chunk, more) = rest.split_at(bytes.len() / 3);
        expect(&http.try_call(Method::PATCH, &location, &[], chunk.to_vec()).await?, StatusCode::ACCEPTED)?;
        rest = more;
    }
    let finish = format!("{location}?digest={}", Digest::of(bytes));
    expect(&http.try_call(Method::PUT, &finish, &[], rest.to_vec()).await?, StatusCode::CREATED)
}

fn expect(answer: &Answer, status: StatusCode) -> Result<(), Broken> {
    if answer.status == status { Ok(()) } else { Err(format!("{}: {}", answer.status, answer.text()).into()) }
}

/// Bytes that do not compress and repeat nowhere; the same for the same seed.
fn bytes_of(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// One connection over HTTP/1.1 that stays.
struct Line {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    basic: String,
}

impl Line {
    async fn open(site: &Site) -> Self {
        let socket = tokio::net::TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(socket);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let basic = format!("Basic {}", STANDARD.encode(format!("AWS:{}", site.password)));
        Self { sender, basic }
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, hyper::Error> {
        self.sender.ready().await?;
        let mut request = http::Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("authorization", &self.basic).body(Full::new(body.into())).unwrap();
        let (parts, body) = self.sender.send_request(request).await?.into_parts();
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.collect().await?.to_bytes() })
    }
}

/// Waits until a process has ended by itself.
fn ended(process: &mut Process) -> bool {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        if process.ended() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// Sweeps as a day later would: every object has its row and every row its use.
async fn no_orphans(region: &Region) {
    region.app().clock().advance(Duration::from_secs(25 * 3_600));
    // One collection: rounds, each of a bounded number of objects, until one finds nothing.
    let mut rounds = 0;
    while region.app().sweep().await.unwrap() != Swept::default() {
        rounds += 1;
        assert!(rounds < 100, "the sweep does not come to an end");
    }
    let books = crate::tenants::books(region);
    assert_eq!(books.rows("uploads"), 0, "an upload is left");
    assert_eq!(books.objects(), books.rows("blobs"), "an object without a row, or a row without an object");
    let path = region.folder.path().join("data/metadata.db");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(path, flags).unwrap();
    let sql = "SELECT count(*) FROM blobs b WHERE NOT EXISTS (SELECT 1 FROM links l WHERE l.blob = b.uid)";
    let unlinked: i64 = database.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(unlinked, 0, "objects without a link");
}

/// Kinds of steps; `fault.c` has the same.
const SYNC: i64 = 1;
const WRITE: i64 = 2;
const NAME: i64 = 4;
const SEND: i64 = 8;
const KILL: i64 = -1;
const TEAR: i64 = -2;

/// The steps of a process, counted and disturbed by `fault.c`.
struct Control {
    folder: TempDir,
    file: File,
}

/// A number in `fault.c`'s struct control.
#[derive(Clone, Copy)]
enum Field {
    Kinds,
    At,
    Action,
    Stays,
    Steps,
    Met,
    Read,
    Written,
}

impl Control {
    const ONLY: u64 = 64;
    const WHERE: u64 = 128;

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = File::options().create_new(true).read(true).write(true).open(folder.path().join("control")).unwrap();
        file.set_len(4_096).unwrap();
        Self { folder, file }
    }

    fn environment(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let control = text(self.folder.path().join("control"));
        vec![("LD_PRELOAD".to_owned(), text(library().clone())), ("FAULT_CONTROL".to_owned(), control)]
    }

    fn get(&self, field: Field) -> i64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, field as u64 * 8).unwrap();
        i64::from_ne_bytes(bytes)
    }

    fn set(&self, field: Field, value: i64) {
        self.file.write_all_at(&value.to_ne_bytes(), field as u64 * 8).unwrap();
    }

    /// Counts from now on the steps of these kinds on paths with `only` in them; the step `at` meets the action.
    fn arm(&self, kinds: i64, only: &str, at: i64, action: i64) {
        self.disarm();
        let mut path = [0; 64];
        path[..only.len()].copy_from_slice(only.as_bytes());
        self.file.write_all_at(&path, Self::ONLY).unwrap();
        for (field, value) in [(Field::Steps, 0), (Field::Met, 0), (Field::Kinds, kinds), (Field::Action, action)] {
            self.set(field, value);
        }
        self.set(Field::At, at);
    }

    fn disarm(&self) {
        self.set(Field::At, 0);
        self.set(Field::Kinds, 0);
        self.set(Field::Stays, 0);
    }

    /// The path of the first step that met the fault.
    fn path(&self) -> String {
        let mut bytes = [0; 256];
        self.file.read_exact_at(&mut bytes, Self::WHERE).unwrap();
        String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap()).into_owned()
    }
}

/// The shared library that counts, compiled once.
fn library() -> &'static PathBuf {
    static LIBRARY: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    &LIBRARY
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("fault.so");
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/faults/fault.c");
            let compiled = std::process::Command::new("cc")
                .args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O1", source, "-ldl", "-o"])
                .arg(&path)
                .status()
                .unwrap();
            assert!(compiled.success(), "fault.c does not compile");
            (folder, path)
        })
        .1
}

//! People and their rights, and what the tests of isolation compare: answers without their ids, a region's whole state.

use crate::harness::{Answer, Http, Region};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::Digest as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transship::ctx::{Caller, Ctx};
use transship::domain::grants::NewGrant;
use transship::domain::sessions::{AssumeRole, Issued};
use transship::identity::{Endpoint, sign};
use transship::names::{
    PrincipalKind, PrincipalName, RepositoryName, RepositoryRef, RoleName, SessionName, TagPattern, UserName,
};
use transship::store::grants::GrantAction;

/// What a workload that pulls needs.
pub const PULL: &[&str] = &[
    "ecr:GetAuthorizationToken",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "ecr:BatchCheckLayerAvailability",
    "ecr:ListImages",
];

/// A policy of one statement.
pub fn allow(actions: &[&str], resource: &str) -> String {
    let statement = serde_json::json!({"Sid": "Given", "Effect": "Allow", "Action": actions, "Resource": resource});
    serde_json::json!({"Version": "2012-10-17", "Statement": statement}).to_string()
}

/// A trust policy for one principal, under a condition if there is one.
pub fn trust(principal: &str, condition: Option<serde_json::Value>) -> String {
    let mut statement =
        serde_json::json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"});
    if let Some(condition) = condition {
        statement["Condition"] = condition;
    }
    serde_json::json!({"Version": "2012-10-17", "Statement": statement}).to_string()
}

/// Makes a user with one policy.
pub async fn user(region: &Region, account: &str, name: &str, policy: &str) -> PrincipalName {
    let (admin, id) = (region.admin(account).await, region.account(account));
    region.app().create_user(&admin, id, &UserName::parse(name).unwrap()).await.unwrap();
    let name = PrincipalName { account: id, kind: PrincipalKind::User, name: name.into() };
    region.app().put_principal_policy(&admin, name.clone(), "given", policy).await.unwrap();
    name
}

/// Makes a role with one policy.
pub async fn role(region: &Region, account: &str, name: &str, trust: &str, policy: &str) -> PrincipalName {
    let (admin, id) = (region.admin(account).await, region.account(account));
    region.app().create_role(&admin, id, &RoleName::parse(name).unwrap(), trust, 7_200).await.unwrap();
    let name = PrincipalName { account: id, kind: PrincipalKind::Role, name: name.into() };
    region.app().put_principal_policy(&admin, name.clone(), "given", policy).await.unwrap();
    name
}

/// What is asked to take a role, without constraints.
pub fn asking(role: &PrincipalName) -> AssumeRole {
    AssumeRole {
        role: role.clone(),
        session_name: SessionName::parse("night").unwrap(),
        duration: None,
        policies: Vec::new(),
        managed: Vec::new(),
        external_id: None,
        tags: Vec::new(),
        source_identity: None,
        mfa: None,
    }
}

/// A caller of the registry's HTTP surface for a user or role.
pub async fn http_of(region: &Region, name: &PrincipalName) -> Http {
    let ctx = region.caller(name.clone()).await;
    let token = region.app().authorization_token(&ctx).await.unwrap();
    Http::new(&region.base, Some(token.text.expose().clone()))
}

/// A repository of an account in a region.
pub fn repository(region: &Region, account: &str, name: &str) -> RepositoryRef {
    let name = RepositoryName::parse(name).unwrap();
    RepositoryRef { account: region.account(account), region: region.app().settings().region.clone(), name }
}

/// A grant in force from now on, for ever.
pub fn grant(grantee: &str, repository: &str, tags: &str, actions: &[GrantAction]) -> NewGrant {
    NewGrant {
        grantee: grantee.to_owned(),
        repository_pattern: repository.to_owned(),
        tag_pattern: TagPattern::parse(tags).unwrap(),
        actions: actions.to_vec(),
        not_before: None,
        not_after: None,
        reason: "a test".to_owned(),
    }
}

/// The bearer token and the context of temporary credentials, by the whole handshake in some region.
pub async fn bearer(region: &Region, assumed: &Issued) -> (String, Ctx) {
    let (app, endpoint) = (region.app(), Endpoint::parse(&region.base).unwrap());
    let credentials = sign::Credentials {
        access_key_id: &assumed.credentials.access_key_id,
        secret: &assumed.credentials.secret,
        session_token: Some(&assumed.credentials.session_token),
    };
    let organization = app.token_keys().unwrap().organization();
    let (name, now, lasting) = (app.settings().region.clone(), app.clock().now(), Duration::from_secs(60));
    let nonce = app.clock().uid();
    let url =
        sign::presign_get_caller_identity(&endpoint, &name, &credentials, now, lasting, organization, Some(nonce));
    let (token, _) = app.exchange_token(&app.system("test"), &url, &[endpoint]).await.unwrap();
    let text = token.text.expose().clone();
    let caller = app.caller_of_token(&text, transship::identity::Kind::ON_GRPC).await.unwrap();
    (text, Ctx { caller, ..app.system("test") })
}

/// A user's context by a bearer token, as every call over gRPC has it.
pub async fn signed_in(region: &Region, account: &str) -> Ctx {
    let token = crate::grpc::log_in(region, account).await;
    let caller: Caller = region.app().caller_of_token(&token, transship::identity::Kind::ON_GRPC).await.unwrap();
    Ctx { caller, ..region.app().system("test") }
}

/// Status, headers and body of an answer, without the request's id, the date, and these names.
pub fn told(answer: &Answer, names: &[&str]) -> String {
    let ids = ["x-request-id", "docker-upload-uuid"].map(|name| answer.header(name).to_owned());
    let varying = ["date", "x-request-id", "x-amzn-requestid", "docker-upload-uuid"];
    let headers = answer.headers.iter().filter(|(name, _)| !varying.contains(&name.as_str()));
    let mut lines: Vec<String> = headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    let mut text = format!("{}\n{}\n\n{}", answer.status, lines.join("\n"), answer.text());
    for id in ids.iter().filter(|id| !id.is_empty()) {
        text = text.replace(id, "<id>");
    }
    for name in names {
        text = text.replace(name, "<name>");
    }
    text
}

/// The code of an OCI error.
pub fn code(answer: &Answer) -> String {
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    document["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
}

/// Everything a region keeps but its audit: rows and contents of each table, and the objects on its disk.
#[derive(PartialEq, Eq, Debug)]
pub struct Books {
    tables: BTreeMap<String, (usize, String)>,
    files: BTreeSet<PathBuf>,
}

/// Reads a region's state as of now, beside the server.
pub fn books(region: &Region) -> Books {
    let data = region.folder.path().join("data");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(data.join("metadata.db"), flags).unwrap();
    let mut list = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").unwrap();
    let names: Vec<String> = list.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(names.len() > 20, "this is not the whole schema: {names:?}");
    let kept = names.into_iter().filter(|name| name != "audit" && !name.starts_with("sqlite_"));
    let tables = kept.map(|name| (name.clone(), contents(&database, &name))).collect();
    let files = walkdir::WalkDir::new(data.join("blobs")).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect();
    Books { tables, files }
}

fn contents(database: &rusqlite::Connection, table: &str) -> (usize, String) {
    let mut all = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let width = all.column_count();
    let read = |row: &rusqlite::Row<'_>| Ok((0..width).map(|at| format!("{:?}", row.get_ref(at).unwrap())).collect());
    let mut rows: Vec<Vec<String>> = all.query_map([], read).unwrap().map(Result::unwrap).collect();
    rows.sort();
    let mut hash = sha2::Sha256::new();
    for field in rows.iter().flatten() {
        hash.update(field.len().to_be_bytes());
        hash.update(field);
    }
    (rows.len(), hex::encode(hash.finalize()))
}

impl Books {
    /// Rows of a table.
    pub fn rows(&self, table: &str) -> usize {
        self.tables[table].0
    }

    /// Objects on the disk; the node's own id is no object.
    pub fn objects(&self) -> usize {
        self.files.iter().filter(|path| !path.ends_with("node")).count()
    }

    /// Fails, naming what differs.
    pub fn unchanged(&self, now: &Self, what: &str) {
        self.changed_only(now, &BTreeSet::new(), what);
    }

    /// Fails, naming what differs beside these tables.
    pub fn changed_only(&self, now: &Self, tables: &BTreeSet<&str>, what: &str) {
        let differs = |name: &&String| self.tables[*name] != now.tables[*name] && !tables.contains(name.as_str());
        let changed: Vec<&String> = self.tables.keys().filter(differs).collect();
        assert!(changed.is_empty(), "{what} changed {changed:?}");
        assert_eq!(self.files, now.files, "{what} changed the objects on disk");
    }
}

/// A pull over a bare socket that reads 4 MiB a second.
pub struct Slow {
    socket: TcpStream,
    /// Bytes of the blob that have come.
    pub received: usize,
    /// Bytes that were announced.
    pub length: usize,
}

impl Slow {
    /// Asks for a path and reads the head of the answer, which must be 200.
    pub async fn open(region: &Region, path: &str, password: &str) -> Self {
        let mut socket = TcpStream::connect(region.server.address()).await.unwrap();
        let basic = STANDARD.encode(format!("AWS:{password}"));
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {basic}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(socket.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 200"), "{answer}");
        let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        Self { socket, received: 0, length: length.parse().unwrap() }
    }

    /// Reads on until this many bytes have come; false when the connection broke before.
    pub async fn until(&mut self, enough: usize) -> bool {
        let mut pace = tokio::time::interval(Duration::from_millis(25));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut buffer = vec![0; (4 << 20) / 40];
        while self.received < enough {
            pace.tick().await;
            match self.socket.read(&mut buffer).await {
                Ok(0) | Err(_) => return false,
                Ok(count) => self.received += count,
            }
        }
        true
    }

    /// Reads on to a break, which must come within five seconds and before the end.
    pub async fn breaks_within_five_seconds(&mut self) {
        let length = self.length;
        let whole = tokio::time::timeout(Duration::from_secs(5), self.until(length)).await;
        assert_eq!(whole.ok(), Some(false), "the pull went on: {} of {length} bytes came", self.received);
        assert!(self.received < length, "nothing was missing");
    }
}

/// The digest of a gibibyte of zeros.
pub const GIBIBYTE: &str = "sha256:49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14";

/// Pushes a gibibyte of zeros as a blob, without ever holding it.
pub async fn push_gibibyte(region: &Region, repository: &str, password: &str) {
    static PIECE: [u8; 1 << 20] = [0; 1 << 20];
    let uploads = format!("/v2/{repository}/blobs/uploads/");
    let http = region.http("dev").await;
    let started = http.call(http::Method::POST, &uploads, &[], bytes::Bytes::new()).await;
    let path = format!("{}?digest={}", started.header("location"), GIBIBYTE.replace(':', "%3A"));
    let basic = STANDARD.encode(format!("AWS:{password}"));
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {basic}\r\ncontent-length: {}\r\n\r\n",
        1 << 30
    );
    let mut socket = TcpStream::connect(region.server.address()).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..1_024 {
        socket.write_all(&PIECE).await.unwrap();
    }
    let mut status = [0; 12];
    socket.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 201");
}

/// A context for the same caller as of now.
pub fn now(region: &Region, ctx: &Ctx) -> Ctx {
    let caller = match &ctx.caller {
        Caller::Principal(principal) => Caller::Principal(Arc::clone(principal)),
        other => other.clone(),
    };
    Ctx { caller, ..region.app().system("test") }
}

/// Runs the command line as the admin of an account.
pub async fn command(region: &Region, account: &str, arguments: &[&str]) -> std::process::Output {
    let (id, secret) = region.access_key(account);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_transship"));
    command.args(["--endpoint", &region.base, "--output", "json"]).args(arguments);
    command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret).env_remove("AWS_SESSION_TOKEN");
    command.output().await.unwrap()
}

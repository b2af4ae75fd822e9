//! A region that runs inside the test, and a plain HTTP client for it.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use transship::clock::Clock;
use transship::config::Settings;
use transship::ctx::{Caller, Ctx, Principal};
use transship::domain::App;
use transship::names::{AccountId, PrincipalKind, PrincipalName, Uid};
use transship::server::Server;

/// A region with accounts `dev` and `prod`, in a folder of its own.
pub struct Region {
    pub server: Server,
    pub base: String,
    pub folder: Arc<TempDir>,
    settings: Settings,
}

/// What a request was answered.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Region {
    pub async fn start() -> Self {
        Self::configured("").await
    }

    /// A region with more lines in its configuration.
    pub async fn configured(more: &str) -> Self {
        Self::prepared(more, &[]).await
    }

    /// A region whose data lies on another disk.
    pub async fn beneath(disk: &std::path::Path) -> Self {
        let folder = Arc::new(tempfile::tempdir_in(disk).unwrap());
        let text = configuration(&folder, "");
        Self::open(folder, &text).await
    }

    /// The same with these private files in its data folder.
    pub async fn prepared(more: &str, files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        for (name, bytes) in files {
            let path = folder.path().join("data").join(name);
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        let text = configuration(&folder, more);
        Self::open(Arc::new(folder), &text).await
    }

    async fn open(folder: Arc<TempDir>, text: &str) -> Self {
        let config = folder.path().join("config.toml");
        std::fs::write(&config, text).unwrap();
        let settings = Settings::load(Some(&config), &grace(text)).unwrap();
        Self::serve(folder, settings).await
    }

    async fn serve(folder: Arc<TempDir>, settings: Settings) -> Self {
        let mut server = Box::pin(Server::start(settings.clone())).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), server.ready()).await.expect("the region becomes ready");
        let base = format!("http://{}", server.address());
        Self { server, base, folder, settings }
    }

    /// Stops the region here, so that a process of its own can serve its folder.
    pub async fn leave(self) -> Left {
        let Self { server, folder, settings, .. } = self;
        server.stop().await;
        Left { folder, settings }
    }

    /// Stops the region and starts it again on the same data.
    pub async fn restart(self) -> Self {
        let Self { server, folder, settings, .. } = self;
        server.stop().await;
        Self::serve(folder, settings).await
    }

    /// A caller with the registry password of an account's admin.
    pub async fn http(&self, account: &str) -> Http {
        Http::new(&self.base, Some(self.password(account).await))
    }

    pub fn app(&self) -> &Arc<App> {
        self.server.app()
    }

    /// An account's number, by its name; the same in every organization.
    pub fn account(&self, name: &str) -> AccountId {
        transship::server::account_id(name)
    }

    /// A registry password for an account's admin.
    pub async fn password(&self, account: &str) -> String {
        let ctx = self.admin(account).await;
        self.app().authorization_token(&ctx).await.unwrap().text.expose().clone()
    }

    /// The access key of an account's admin: id and secret.
    pub fn access_key(&self, account: &str) -> (String, String) {
        let bytes = std::fs::read(self.folder.path().join("data/bootstrap.json")).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let known = document["accounts"].as_array().unwrap();
        let found = known.iter().find(|known| known["name"] == account).unwrap();
        let text = |field: &str| found[field].as_str().unwrap().to_owned();
        (text("access_key_id"), text("secret_access_key"))
    }

    /// The context of an account's admin, as of now.
    pub async fn admin(&self, account: &str) -> Ctx {
        let name = PrincipalName { account: self.account(account), kind: PrincipalKind::User, name: "admin".into() };
        self.caller(name).await
    }

    /// The context of a user, or of a role by a session without constraints.
    pub async fn caller(&self, name: PrincipalName) -> Ctx {
        let unique_id = self.app().unique_id(&name).await.unwrap().expect("the principal is there");
        let principal = Principal { name, unique_id, session: None };
        Ctx { caller: Caller::Principal(Arc::new(principal)), ..self.app().system("test") }
    }
}

/// The configuration of a region of its own.
fn configuration(folder: &TempDir, more: &str) -> String {
    let data = folder.path().join("data");
    format!(
        "listen = \"127.0.0.1:0\"\ndata = {data:?}\naccounts = [\"dev\", \"prod\"]\n{more}\n[registry]\ncreate_on_push = true\n"
    )
}

/// Objects go at once where a test does not speak of their grace.
fn grace(text: &str) -> BTreeMap<String, String> {
    let none = ("TRANSSHIP__LIMITS__COLLECT_GRACE_SECS".to_owned(), "0".to_owned());
    if text.contains("collect_grace") { BTreeMap::new() } else { BTreeMap::from([none]) }
}

/// A region that is served by a process of its own, or by nobody.
pub struct Left {
    pub folder: Arc<TempDir>,
    settings: Settings,
}

impl Left {
    /// A process that serves the region; waits until it is ready. Its port is its own choice.
    pub fn spawn(&self) -> Process {
        self.spawn_under(&[], &[]).unwrap_or_else(|said| {
            panic!("the process said {said:?}; see {}", self.folder.path().join("serve.log").display())
        })
    }

    /// The same behind a program that runs others, and with more environment; what it said instead of being ready.
    pub fn spawn_under(&self, runner: &[&str], environment: &[(&str, &str)]) -> Result<Process, String> {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("serve.log")).unwrap();
        let mut words = runner.iter().copied().chain([env!("CARGO_BIN_EXE_transship"), "serve", "--config"]);
        let mut child = std::process::Command::new(words.next().unwrap())
            .args(words)
            .arg(self.folder.path().join("config.toml"))
            .envs(environment.iter().copied())
            .stdout(std::process::Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        let base = line.trim_start_matches("ready ").trim().to_owned();
        let process = Process { child, base };
        if line.starts_with("ready ") { Ok(process) } else { Err(line) }
    }

    /// A region that was never started, and its folder.
    pub fn fresh() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let text = configuration(&folder, "");
        std::fs::write(folder.path().join("config.toml"), &text).unwrap();
        let settings = Settings::load(Some(&folder.path().join("config.toml")), &grace(&text)).unwrap();
        Self { folder, settings }
    }

    /// The region inside the test again.
    pub async fn back(self) -> Region {
        Region::serve(self.folder, self.settings).await
    }

    /// Its database, read from outside.
    pub fn database(&self) -> rusqlite::Connection {
        let path = self.folder.path().join("data/metadata.db");
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
    }
}

/// A server process that dies with its value.
pub struct Process {
    child: std::process::Child,
    /// Where it serves.
    pub base: String,
}

impl Process {
    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its end.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Several regions of one organization, the first its home.
pub struct Organization {
    pub regions: Vec<Region>,
    /// Keeps the file of the root while regions may read it again.
    _folder: TempDir,
    /// Who signs its regions' certificates.
    pub authority: Authority,
    pub uid: Uid,
    /// What stands before each region's peer port, if it was asked for.
    pub cuts: Vec<Cut>,
}

impl Organization {
    pub async fn start(names: &[&str]) -> Self {
        Self::limited(names, "sweep_secs = 1").await
    }

    /// The organization's root, PEM.
    pub fn ca(&self) -> String {
        self.authority.certificate().to_owned()
    }

    /// Regions whose peer ports can be cut off.
    pub async fn with_cuts(names: &[&str]) -> Self {
        Self::build(names, "sweep_secs = 1", true, "").await
    }

    /// The same with these lines, of its store and blobs, for the first region, which has so many nodes; those
    /// beside its first stand behind the other regions.
    pub async fn with_nodes(names: &[&str], first: &str, nodes: usize) -> Self {
        let mut organization = Self::build(names, "sweep_secs = 1", true, first).await;
        let home = &organization.regions[0];
        let key = std::fs::read(home.folder.path().join("data/root.key")).unwrap();
        let text = std::fs::read_to_string(home.folder.path().join("config.toml")).unwrap();
        let mut more = Vec::new();
        for _ in 1..nodes {
            let own = Arc::new(tempfile::tempdir().unwrap());
            let (old, data) = (home.folder.path().join("data"), own.path().join("data"));
            std::fs::create_dir(&data).unwrap();
            std::fs::write(data.join("root.key"), &key).unwrap();
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(data.join("root.key"), private).unwrap();
            let (_, port) = text.split_once("[peer]\nlisten = \"127.0.0.1:").unwrap();
            let port = port.split('"').next().unwrap();
            let text = text
                .replace(&format!("{old:?}"), &format!("{data:?}"))
                .replace(&format!("127.0.0.1:{port}\""), &format!("127.0.0.1:{}\"", free_port()));
            more.push(Region::open(own, &text).await);
        }
        organization.regions.extend(more);
        organization
    }

    /// Regions with these lines under `[limits]`.
    pub async fn limited(names: &[&str], limits: &str) -> Self {
        Self::build(names, limits, false, "").await
    }

    async fn build(names: &[&str], limits: &str, cuttable: bool, first: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let uid = Clock::system().uid();
        let authority = Authority::new();
        std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
        let ports: Vec<u16> = names.iter().map(|_| free_port()).collect();
        let cuts: Vec<Cut> = if cuttable { ports.iter().map(|port| Cut::before(*port)).collect() } else { Vec::new() };
        let reached: Vec<u16> = if cuttable { cuts.iter().map(|cut| cut.port).collect() } else { ports.clone() };
        let mut regions = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let own = Arc::new(tempfile::tempdir().unwrap());
            let (certificate, key) = authority.region(uid, name);
            std::fs::write(own.path().join("region.pem"), certificate).unwrap();
            std::fs::write(own.path().join("region.key.pem"), key).unwrap();
            let peers: String = (0..names.len())
                .filter(|other| *other != at)
                .map(|other| {
                    format!("[[peers]]\nregion = {:?}\naddress = \"127.0.0.1:{}\"\n", names[other], reached[other])
                })
                .collect();
            let text = format!(
                "region = {name:?}\nlisten = \"127.0.0.1:0\"\ndata = {:?}\naccounts = [\"dev\", \"prod\"]\n\
                 [organization]\nuid = \"{uid}\"\nhome = {:?}\n[registry]\ncreate_on_push = true\n\
                 [limits]\n{limits}\n{}\n\
                 [peer]\nlisten = \"127.0.0.1:{}\"\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n{peers}",
                own.path().join("data"),
                names[0],
                if at == 0 { first } else { "" },
                ports[at],
                folder.path().join("ca.pem"),
                own.path().join("region.pem"),
                own.path().join("region.key.pem"),
            );
            regions.push(Region::open(own, &text).await);
        }
        Self { regions, _folder: folder, authority, uid, cuts }
    }
}

/// A wire to a port, which can be cut.
pub struct Cut {
    pub port: u16,
    /// Where it leads, while it is whole.
    open: tokio::sync::watch::Sender<Option<u16>>,
    behind: u16,
}

impl Cut {
    pub fn before(port: u16) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let own = listener.local_addr().unwrap().port();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let (open, watched) = tokio::sync::watch::channel(Some(port));
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut watched = watched.clone();
                tokio::spawn(async move {
                    let Some(port) = *watched.borrow_and_update() else { return };
                    let Ok(mut far) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = watched.changed() => {}
                    }
                });
            }
        });
        Self { port: own, open, behind: port }
    }

    /// Breaks every connection and lets no new one through.
    pub fn cut(&self) {
        self.open.send_replace(None);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.lead_to(self.behind);
    }

    /// Breaks every connection and leads new ones to another port.
    pub fn lead_to(&self, port: u16) {
        self.open.send_replace(Some(port));
    }
}

/// A certificate authority for tests.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Certificate and key of a server that clients know by this name, PEM.
    pub fn server(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Certificate and key of a region, PEM.
    pub fn region(&self, organization: Uid, region: &str) -> (String, String) {
        self.region_until(organization, region, rcgen::date_time_ymd(2100, 1, 1))
    }

    /// The same with an end.
    pub fn region_until(&self, organization: Uid, region: &str, end: time::OffsetDateTime) -> (String, String) {
        let uri = transship::peer::region_uri(organization, &transship::names::Region::parse(region).unwrap());
        self.named(region, &[uri], end)
    }

    /// A certificate under the DNS name of a region, with these URIs and this end.
    pub fn named(&self, region: &str, uris: &[String], end: time::OffsetDateTime) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![format!("{region}.region.transship.internal")]).unwrap();
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.clone().try_into().unwrap()));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = end;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A port that nobody has just now. It lies below those that Linux gives to connections, one of which could else have it
/// while its server is started again.
pub fn free_port() -> u16 {
    let clock = transship::clock::Clock::system();
    loop {
        let [a, b, ..] = *clock.uid().bytes();
        let port = 12_000 + u16::from_be_bytes([a, b]) % 20_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until a condition holds; says what it waited for when it never does.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited 30 s for: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A caller of the registry with a password, or none.
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    password: Option<String>,
}

impl Http {
    pub fn new(base: &str, password: Option<String>) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, base: base.to_owned(), password }
    }

    pub async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.try_call(method, path, headers, body).await.unwrap()
    }

    /// As `call`, for servers that may go away.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let uri = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(password) = &self.password {
            request = request.header("authorization", format!("Basic {}", STANDARD.encode(format!("AWS:{password}"))));
        }
        let response = self.client.request(request.body(Full::new(body.into()))?).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], Bytes::new()).await
    }

    /// As `get`, for answers that may break off.
    pub async fn try_get(&self, path: &str) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.try_call(Method::GET, path, &[], "").await?.body)
    }

    /// Pushes a blob by POST and PUT; answers its digest.
    pub async fn push_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = transship::names::Digest::of(bytes).to_string();
        let started = self.call(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], Bytes::new()).await;
        assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.text());
        let path = format!("{}?digest={}", started.header("location"), digest.replace(':', "%3A"));
        let done = self.call(Method::PUT, &path, &[], bytes.to_vec()).await;
        assert_eq!(done.status, StatusCode::CREATED, "{}", done.text());
        digest
    }

    /// Pushes an image of these layers under a tag or digest; answers its digest.
    pub async fn push_image(&self, repository: &str, reference: &str, layers: &[&[u8]]) -> String {
        let config = self.push_blob(repository, b"{}").await;
        let mut described = Vec::new();
        for layer in layers {
            let digest = self.push_blob(repository, layer).await;
            described.push(serde_json::json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": layer.len(),
            }));
        }
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": described,
        });
        self.put_manifest(repository, reference, MANIFEST, &manifest.to_string()).await
    }

    /// Puts a manifest; answers its digest.
    pub async fn put_manifest(&self, repository: &str, reference: &str, media_type: &str, text: &str) -> String {
        let digest = transship::names::Digest::of(text.as_bytes()).to_string();
        let reference = if reference.is_empty() { &digest } else { reference };
        let path = format!("/v2/{repository}/manifests/{reference}");
        let put = self.call(Method::PUT, &path, &[("content-type", media_type)], text.to_owned()).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
        digest
    }
}

/// The media type of an OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

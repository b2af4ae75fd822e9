//! A region that runs inside the test, and a plain HTTP client for it.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;
use transship::config::Settings;
use transship::ctx::{Caller, Principal};
use transship::domain::App;
use transship::names::{AccountId, PrincipalKind, PrincipalName};
use transship::server::Server;

/// A region with accounts `dev` and `prod`, in a folder that goes with it.
pub struct Region {
    pub server: Server,
    pub base: String,
    pub folder: TempDir,
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
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        let text = format!(
            "listen = \"127.0.0.1:0\"\ndata = {:?}\naccounts = [\"dev\", \"prod\"]\n[registry]\ncreate_on_push = true\n",
            folder.path().join("data")
        );
        std::fs::write(&config, text).unwrap();
        let settings = Settings::load(Some(&config), &BTreeMap::new()).unwrap();
        let server = Server::start(settings.clone()).await.unwrap();
        let base = format!("http://{}", server.address());
        Self { server, base, folder, settings }
    }

    /// Stops the region and starts it again on the same data.
    pub async fn restart(self) -> Self {
        let Self { server, folder, settings, .. } = self;
        server.stop().await;
        let server = Server::start(settings.clone()).await.unwrap();
        let base = format!("http://{}", server.address());
        Self { server, base, folder, settings }
    }

    pub fn app(&self) -> &Arc<App> {
        self.server.app()
    }

    /// An account's number, by its name.
    pub fn account(&self, name: &str) -> AccountId {
        let bytes = std::fs::read(self.folder.path().join("data/bootstrap.json")).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let accounts = document["accounts"].as_array().unwrap();
        let found = accounts.iter().find(|account| account["name"] == name).unwrap();
        AccountId::parse(found["id"].as_str().unwrap()).unwrap()
    }

    /// A registry password for an account's admin.
    pub async fn password(&self, account: &str) -> String {
        let name = PrincipalName {
            account: self.account(account),
            kind: PrincipalKind::User,
            name: "admin".into(),
        };
        let mut ctx = self.app().system("bootstrap");
        let row = self
            .app()
            .list_principals(&self.as_admin(account).await, name.account, "", transship::names::PageSize::clamp(10))
            .await
            .unwrap();
        let unique_id = row.iter().find(|row| row.name == name).unwrap().unique_id.clone();
        ctx.caller = Caller::Principal(Arc::new(Principal { name, unique_id, session: None }));
        self.app().authorization_token(&ctx).await.unwrap().text.expose().clone()
    }

    /// The context of an account's admin.
    pub async fn as_admin(&self, account: &str) -> transship::ctx::Ctx {
        use transship::identity::Directory;
        let bytes = std::fs::read(self.folder.path().join("data/bootstrap.json")).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let accounts = document["accounts"].as_array().unwrap();
        let found = accounts.iter().find(|known| known["name"] == account).unwrap();
        let key = self.app().access_key(found["access_key_id"].as_str().unwrap()).await.unwrap().unwrap();
        let principal = Principal { name: key.principal, unique_id: key.unique_id, session: None };
        let mut ctx = self.app().system("bootstrap");
        ctx.caller = Caller::Principal(Arc::new(principal));
        ctx
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
        use base64::{Engine, engine::general_purpose::STANDARD};
        let uri = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(password) = &self.password {
            request = request.header("authorization", format!("Basic {}", STANDARD.encode(format!("AWS:{password}"))));
        }
        let response = self.client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], Bytes::new()).await
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
}

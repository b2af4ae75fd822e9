//! AWS STS, asked who somebody is.
//!
//! It is at one address, the operator's word; no redirect is followed, no answer is larger than [`ANSWER_BYTES_MAX`], no
//! question takes longer than [`ASK_TIMEOUT`].

use super::exchange::{exchange, system_roots, tls_client};
use crate::identity::aws::{AwsSts, Identity, Place, Proof};
use crate::identity::proof::ORGANIZATION_HEADER;
use crate::identity::{Endpoint, Error};
use crate::names::Uid;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

/// An answer is some hundred bytes.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Connection and answer; a turn included.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Questions at once: AWS answers some hundred a second of one account.
const ASKS_MAX: usize = 32;

/// AWS STS over the network.
pub struct RemoteSts {
    place: Place,
    tls: Arc<ClientConfig>,
    turns: Semaphore,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl RemoteSts {
    /// STS at that place.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self { place, tls: Arc::new(tls_client(system_roots())), turns: Semaphore::new(ASKS_MAX) }
    }

    async fn ask(&self, proof: &Proof, organization: Uid) -> Result<Response<Bytes>, Failure> {
        let _turn = self.turns.acquire().await?;
        let uri: Uri = proof.url().parse()?;
        let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, self.place.endpoint.host())
            .header(ORGANIZATION_HEADER, organization.to_string())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("transship/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())?;
        let (host, port) = host_and_port(&self.place.endpoint)?;
        let socket = TcpStream::connect((host.as_str(), port)).await?;
        if !self.place.endpoint.as_str().starts_with("https:") {
            return exchange(socket, request, ANSWER_BYTES_MAX).await;
        }
        let stream = TlsConnector::from(self.tls.clone()).connect(ServerName::try_from(host)?, socket).await?;
        exchange(stream, request, ANSWER_BYTES_MAX).await
    }

    fn silent(&self, why: &dyn std::fmt::Display) -> Error {
        Error::IssuerSilent { issuer: self.place.endpoint.to_string(), why: why.to_string() }
    }
}

#[async_trait]
impl AwsSts for RemoteSts {
    fn place(&self) -> &Place {
        &self.place
    }

    async fn caller_identity(&self, proof: &Proof, organization: Uid) -> Result<Identity, Error> {
        let asked = tokio::time::timeout(ASK_TIMEOUT, self.ask(proof, organization)).await;
        let answer = asked.map_err(|late| self.silent(&late))?.map_err(|failure| self.silent(&failure))?;
        match answer.status() {
            StatusCode::OK => {}
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                return Err(Error::InvalidIdentityToken { what: "AWS STS does not believe its signature" });
            }
            status => return Err(self.silent(&format!("it answered {status}"))),
        }
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if kind.split(';').next().map(str::trim) != Some("application/json") {
            return Err(self.silent(&format!("it answered {kind:?} instead of JSON")));
        }
        let none = Error::InvalidIdentityToken { what: "it is of no user, role or federated user of AWS" };
        Identity::parse(answer.body()).ok_or(none)
    }
}

fn host_and_port(endpoint: &Endpoint) -> Result<(String, u16), Failure> {
    let uri: Uri = endpoint.as_str().parse()?;
    let authority = uri.authority().ok_or("the endpoint has no host")?;
    let port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), authority.port_u16().unwrap_or(port)))
}

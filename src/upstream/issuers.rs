//! The keys of issuers of identity tokens, fetched over HTTPS and kept for a while.
//!
//! The address of an issuer is a tenant's word, so asking it is an open door to our own network unless it is watched:
//! a name is resolved here, addresses inside are refused unless the operator allows them, and the connection goes to the
//! very address that was judged. No redirect is followed, no answer is larger than [`ANSWER_BYTES_MAX`], no question takes
//! longer than [`FETCH_TIMEOUT`]. A key that is not known is asked for at most once a minute, so a flood of made-up key ids
//! costs the issuer nothing.
//!
//! SPEC: OpenID Connect Discovery 1.0, section 4; RFC 7517 section 5.

use super::exchange::{exchange, system_roots, tls_client};
use crate::clock::{Clock, Timestamp};
use crate::identity;
use crate::identity::issuers::{Issuers, Provider};
use crate::identity::jwk::{Jwk, KeySet};
use crate::names::{Issuer, Network};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use ipnet::IpNet;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio_rustls::TlsConnector;

#[cfg(test)]
mod tests;

/// A key set of a hundred large keys is some 100 KiB.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Discovery and keys together, so that a login does not wait longer than people do.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long keys serve without being asked for again: a key that its issuer withdrew serves no longer than that.
const FRESH: Duration = Duration::from_secs(15 * 60);
/// How long they serve while the issuer does not answer: logins survive its short outages.
const STALE_MAX: Duration = Duration::from_secs(60 * 60);
/// How often an issuer is asked for a key that it did not have.
const UNKNOWN_EVERY: Duration = Duration::from_secs(60);
/// How often an issuer is asked that did not answer.
const RETRY_EVERY: Duration = Duration::from_secs(10);
/// Issuers that are asked at once: a name that does not resolve holds a thread for as long as the system tries.
const FETCHES_MAX: usize = 8;
/// Issuers whose keys are kept; the one asked longest ago gives way. No more than an answer is kept of each.
const ISSUERS_MAX: usize = 256;

/// Networks that are nobody's on the internet: this machine, this site, and what only looks like an address.
// SPEC: IANA IPv4 and IPv6 Special-Purpose Address Registries.
const INSIDE: [&str; 29] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// Which addresses may be asked.
#[derive(Clone, Debug)]
pub struct Egress {
    inside: Arc<[IpNet]>,
    allowed: Arc<[IpNet]>,
}

impl Egress {
    /// All addresses of the internet, and these networks inside.
    #[must_use]
    pub fn new(allowed: &[Network]) -> Self {
        let inside = INSIDE.iter().map(|text| text.parse().expect("a network by construction"));
        Self { inside: inside.collect(), allowed: allowed.iter().filter_map(net).collect() }
    }

    fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        within(&self.allowed) || !within(&self.inside)
    }
}

/// A network as its addresses are compared; every [`Network`] is one.
fn net(network: &Network) -> Option<IpNet> {
    let text = network.as_str();
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// What came of asking an issuer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0} is no https URL that is asked")]
    Address(String),
    #[error("{0} does not resolve")]
    Name(String),
    #[error("{host} is at {address}, an address inside that the configuration does not allow")]
    Inside { host: String, address: IpAddr },
    #[error("the provider's certificates cannot be used")]
    Certificates,
    #[error("{url} cannot be reached")]
    Unreachable { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{url} answered {status}; no redirect is followed")]
    Status { url: String, status: StatusCode },
    #[error("{0} answered something else than asked for")]
    Answer(String),
    #[error("the issuer did not answer within {} s", FETCH_TIMEOUT.as_secs())]
    Late,
}

/// The keys of one issuer.
#[derive(Default)]
struct Kept {
    keys: KeySet,
    /// When they were fetched.
    fetched_at: Option<Timestamp>,
    /// When they were last asked for, with or without success.
    asked_at: Option<Timestamp>,
}

/// The keys of issuers, over HTTPS.
pub struct HttpsIssuers {
    clock: Clock,
    fetcher: Arc<Fetcher>,
    issuers: Mutex<HashMap<Provider, Arc<Asked>>>,
}

/// What asks.
struct Fetcher {
    egress: Egress,
    /// The certificates of the system, read once.
    system: Arc<ClientConfig>,
    /// Turns of those who ask some issuer.
    turns: Semaphore,
}

/// An issuer, what is known of it, and the turn of who asks it.
#[derive(Default)]
struct Asked {
    kept: Mutex<Kept>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Asked {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpsIssuers {
    /// Keys of issuers at the addresses that `egress` permits.
    #[must_use]
    pub fn new(clock: Clock, egress: Egress) -> Self {
        let roots = system_roots();
        if roots.is_empty() {
            tracing::warn!(
                "this system has no root certificates; only issuers with certificates of their own are known"
            );
        }
        let fetcher = Fetcher { egress, system: Arc::new(tls_client(roots)), turns: Semaphore::new(FETCHES_MAX) };
        Self { clock, fetcher: Arc::new(fetcher), issuers: Mutex::default() }
    }

    fn asked(&self, provider: &Provider) -> Arc<Asked> {
        let mut all = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = all.get(provider) {
            return asked.clone();
        }
        if all.len() >= ISSUERS_MAX {
            // Whoever holds it goes on with it; the next to ask begins anew.
            let oldest =
                all.iter().min_by_key(|(_, asked)| asked.kept().asked_at).map(|(provider, _)| provider.clone());
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        all.entry(provider.clone()).or_default().clone()
    }
}

impl Fetcher {
    /// Asks an issuer and keeps what it says; why it could not, for the log. Whoever waits for this may go away: it is done to
    /// its end, or one who asks and hangs up would make every other wait for the next turn.
    async fn ask(
        self: Arc<Self>,
        provider: Provider,
        asked: Arc<Asked>,
        now: Timestamp,
        _turn: OwnedMutexGuard<()>,
    ) -> Result<(), String> {
        let fetched = async {
            let _turn = self.turns.acquire().await.map_err(|_| Failure::Late)?;
            self.fetch(&provider).await
        };
        let outcome = tokio::time::timeout(FETCH_TIMEOUT, fetched).await.unwrap_or(Err(Failure::Late));
        let mut kept = asked.kept();
        // Only now: until there is an answer, whoever comes waits for the turn instead of being told that there is none.
        kept.asked_at = Some(now);
        match outcome {
            Ok(keys) => {
                (kept.keys, kept.fetched_at) = (keys, Some(now));
                Ok(())
            }
            Err(failure) => {
                let why = described(&failure);
                tracing::warn!(issuer = %provider.issuer, why, "an issuer's keys could not be fetched");
                Err(why)
            }
        }
    }

    async fn fetch(&self, provider: &Provider) -> Result<KeySet, Failure> {
        let tls = match &provider.ca_pem {
            Some(pem) => Arc::new(tls_client(roots(pem)?)),
            None => self.system.clone(),
        };
        let base = provider.issuer.as_str();
        let url = format!("{}/.well-known/openid-configuration", base.strip_suffix('/').unwrap_or(base));
        let document: Discovery =
            serde_json::from_slice(&self.get(&url, &tls).await?).map_err(|_| Failure::Answer(url.clone()))?;
        if document.issuer != base {
            return Err(Failure::Answer(url));
        }
        let answer = self.get(&document.jwks_uri, &tls).await?;
        KeySet::parse(&answer).ok_or(Failure::Answer(document.jwks_uri))
    }

    async fn get(&self, url: &str, tls: &Arc<ClientConfig>) -> Result<Bytes, Failure> {
        let (uri, host, port) = https(url).ok_or_else(|| Failure::Address(url.chars().take(200).collect()))?;
        let addresses = self.resolve(&host, port).await?;
        let unreachable =
            |source: Box<dyn std::error::Error + Send + Sync>| Failure::Unreachable { url: url.to_owned(), source };
        let socket = TcpStream::connect(addresses.as_slice()).await.map_err(|e| unreachable(e.into()))?;
        let name = ServerName::try_from(host).map_err(|e| unreachable(e.into()))?;
        let stream = TlsConnector::from(tls.clone()).connect(name, socket).await.map_err(|e| unreachable(e.into()))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(path)
            .header(HOST, authority)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("transship/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|e| unreachable(e.into()))?;
        let answer = exchange(stream, request, ANSWER_BYTES_MAX).await.map_err(unreachable)?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status => Err(Failure::Status { url: url.to_owned(), status }),
        }
    }

    /// The addresses of a host, all of which must be permitted: which of them answers is not ours to choose.
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let found = tokio::net::lookup_host((host, port)).await.map_err(|_| Failure::Name(host.to_owned()))?;
        let addresses: Vec<SocketAddr> = found.collect();
        if let Some(inside) = addresses.iter().find(|address| !self.egress.permits(address.ip())) {
            return Err(Failure::Inside { host: host.to_owned(), address: inside.ip() });
        }
        if addresses.is_empty() { Err(Failure::Name(host.to_owned())) } else { Ok(addresses) }
    }
}

#[async_trait]
impl Issuers for HttpsIssuers {
    async fn key(&self, provider: &Provider, key_id: &str) -> Result<Option<Jwk>, identity::Error> {
        let asked = self.asked(provider);
        if let Some(answer) = asked.kept().answer_now(key_id, self.clock.now()) {
            return answer.ok_or_else(|| silent(&provider.issuer, RESTING));
        }
        let known = asked.kept().answer(key_id, self.clock.now());
        let turn = match (asked.turn.clone().try_lock_owned(), known) {
            (Ok(turn), _) => turn,
            // Somebody asks already. Who knows a key that still serves does not wait for what comes of it.
            (Err(_), Some(Some(key))) => return Ok(Some(key)),
            (Err(_), Some(None) | None) => asked.turn.clone().lock_owned().await,
        };
        let now = self.clock.now();
        // Who waited finds what came of it.
        if let Some(answer) = asked.kept().answer_now(key_id, now) {
            return answer.ok_or_else(|| silent(&provider.issuer, RESTING));
        }
        let task = tokio::spawn(self.fetcher.clone().ask(provider.clone(), asked.clone(), now, turn));
        let outcome = task.await.unwrap_or_else(|error| Err(error.to_string()));
        let kept = asked.kept();
        match outcome {
            Ok(()) => Ok(kept.keys.get(key_id).cloned()),
            Err(why) => kept.answer(key_id, now).ok_or_else(|| silent(&provider.issuer, &why)),
        }
    }
}

/// Why an issuer is not asked.
const RESTING: &str = "it did not answer a moment ago";

impl Kept {
    /// Whether the issuer is to be asked.
    fn is_due(&self, found: bool, now: Timestamp) -> bool {
        let passed = |at: Option<Timestamp>, wait: Duration| at.is_none_or(|at| now.since(at) >= wait || at > now);
        let answered = self.fetched_at.is_some() && self.fetched_at == self.asked_at;
        match (found, answered) {
            (true, true) => passed(self.fetched_at, FRESH),
            (false, true) => passed(self.asked_at, UNKNOWN_EVERY),
            (_, false) => passed(self.asked_at, RETRY_EVERY),
        }
    }

    /// What can be said without asking: a key, or that there is none; `None` when what is kept is too old to say.
    fn answer(&self, key_id: &str, now: Timestamp) -> Option<Option<Jwk>> {
        self.fetched_at.filter(|at| now.since(*at) < STALE_MAX).map(|_| self.keys.get(key_id).cloned())
    }

    /// The same, `None` when the issuer is to be asked first, and `Some(None)` when that is too early.
    fn answer_now(&self, key_id: &str, now: Timestamp) -> Option<Option<Option<Jwk>>> {
        let found = self.keys.get(key_id).is_some();
        (!self.is_due(found, now)).then(|| self.answer(key_id, now))
    }
}

#[derive(serde::Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// An https URL with its host and port; a host in brackets is none that issuers have.
fn https(url: &str) -> Option<(Uri, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?;
    let plain = uri.scheme_str() == Some("https") && !authority.as_str().contains(['@', '[']);
    let (host, port) = (authority.host().to_owned(), authority.port_u16().unwrap_or(443));
    plain.then_some((uri, host, port))
}

fn roots(pem: &str) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| Failure::Certificates)?;
        roots.add(certificate).map_err(|_| Failure::Certificates)?;
    }
    Ok(roots)
}

fn silent(issuer: &Issuer, why: &str) -> identity::Error {
    identity::Error::IssuerSilent { issuer: issuer.to_string(), why: why.to_owned() }
}

/// A failure with its causes, for the log.
fn described(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut next = std::error::Error::source(failure);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

//! Settings: one TOML file, overridden by `TRANSSHIP__…` variables; with neither, a registry on a laptop.
//!
//! A [`File`] is text as its author wrote it; [`Settings`] are parsed names, addresses and durations. All problems are
//! reported together, each with its key and what is accepted.

use crate::names::{Network, Profile, Region, RoleArn, SessionName, Uid};
use crate::secret::Secret;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a laptop's registry listens; the port that registries use.
const DEFAULT_LISTEN: &str = "127.0.0.1:5000";
/// The region of a registry that was not told one.
const DEFAULT_REGION: &str = "us-east-1";
/// How long an upload without progress is kept.
const DEFAULT_UPLOAD_TTL_SECS: u64 = 24 * 3_600;
/// How long a region that hears nothing of home honours sessions: who was removed meanwhile is let in no longer than so.
const DEFAULT_DIRECTORY_STALENESS_MAX_SECS: u64 = 3_600;
/// How long a blob may stay without a manifest: a client pushes blobs first and the manifest within a day.
const DEFAULT_LINK_LEASE_SECS: u64 = 24 * 3_600;
/// How long an object that nothing links is kept for those who are reading it: a pull of many gigabytes ends in an hour.
const DEFAULT_COLLECT_GRACE_SECS: u64 = 3_600;
/// How often the sweeper looks.
const DEFAULT_SWEEP_SECS: u64 = 60;
/// Strangers from one address: a cluster's nodes behind one address pull an image at once, a guesser is slowed down.
const ADDRESS_RATE: Rate = Rate { per_second: 100, burst: 1_000 };
/// A user or role: as fast as this server can, unless its operator says otherwise.
const PRINCIPAL_RATE: Rate = Rate { per_second: 0, burst: 0 };
/// A stored object is read again so long after it was: a week, as disks are commonly scrubbed.
const DEFAULT_SCRUB_PERIOD_SECS: u64 = 7 * 24 * 3_600;
/// How fast: 10 TB in a week, and a tenth of what a slow disk reads.
const DEFAULT_SCRUB_BYTES_PER_SEC: u64 = 16 << 20;
/// Shards of a new registry's stream: one writer needs one, many need a few.
const SHARDS: (u32, u32) = (1, 16);
/// The name of the session in which this server uses AWS KMS; AWS's log shows it.
const DEFAULT_SESSION: &str = "transship";
/// Connections to a PostgreSQL server.
const DEFAULT_POOL: usize = 16;

/// What a configuration says that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used:\n{}", problems.join("\n"))]
pub struct Error {
    /// One line for each problem: key, value, what is accepted.
    pub problems: Vec<String>,
}

/// Where text for overrides comes from; a map in tests.
pub trait Strings {
    /// All variables.
    fn all(&self) -> Vec<(String, String)>;
}

/// The process environment.
pub struct Environment;

impl Strings for Environment {
    fn all(&self) -> Vec<(String, String)> {
        std::env::vars().collect()
    }
}

impl Strings for BTreeMap<String, String> {
    fn all(&self) -> Vec<(String, String)> {
        self.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// A configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    region: Option<String>,
    listen: Option<String>,
    endpoint: Option<String>,
    data: Option<PathBuf>,
    accounts: Option<Vec<String>>,
    organization: OrganizationFile,
    store: StoreFile,
    blobs: BlobsFile,
    kms: KmsFile,
    sts: sts::StsFile,
    registry: RegistryFile,
    tls: Option<TlsFile>,
    peer: Option<PeerFile>,
    peers: Vec<OtherFile>,
    federation: FederationFile,
    limits: LimitsFile,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OrganizationFile {
    uid: Option<String>,
    home: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
enum StoreFile {
    #[default]
    Sqlite,
    Postgres {
        url: String,
        pool: Option<usize>,
    },
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
enum BlobsFile {
    #[default]
    Disk,
    S3 {
        bucket: String,
        prefix: Option<String>,
        region: Option<String>,
        endpoint: Option<String>,
    },
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
enum KmsFile {
    #[default]
    Embedded,
    Aws(AwsFile),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AwsFile {
    endpoint: Option<String>,
    role_arn: Option<String>,
    external_id: Option<String>,
    session_name: Option<String>,
    sts_endpoint: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RegistryFile {
    create_on_push: bool,
    sparse_manifests: bool,
    profile: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFile {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerFile {
    listen: String,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OtherFile {
    region: String,
    address: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FederationFile {
    private_networks: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsFile {
    upload_ttl_secs: Option<u64>,
    link_lease_secs: Option<u64>,
    collect_grace_secs: Option<u64>,
    sweep_secs: Option<u64>,
    address_rate: Option<u32>,
    address_burst: Option<u32>,
    principal_rate: Option<u32>,
    principal_burst: Option<u32>,
    directory_staleness_max_secs: Option<u64>,
    scrub_period_secs: Option<u64>,
    scrub_bytes_per_sec: Option<u64>,
}

/// A rate with room for a burst; a burst of a second's worth unless it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second in the long run; 0 is no limit.
    pub per_second: u32,
    /// Requests at once after a rest.
    pub burst: u32,
}

impl Rate {
    fn chosen(self, per_second: Option<u32>, burst: Option<u32>) -> Self {
        let burst = burst.or(per_second).unwrap_or(self.burst);
        Self { per_second: per_second.unwrap_or(self.per_second), burst }
    }
}

/// Where metadata lies.
#[derive(Clone, Debug)]
pub enum Store {
    /// A file in the data folder.
    Sqlite,
    /// A PostgreSQL database.
    Postgres {
        /// Its URL, password included.
        url: Secret<String>,
        /// Connections.
        pool: usize,
    },
}

/// Where blobs lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blobs {
    /// In the data folder.
    Disk,
    /// In an S3 bucket.
    S3 {
        /// Its name.
        bucket: String,
        /// What the names of all objects begin with.
        prefix: String,
        /// The region it lies in.
        region: Region,
        /// The endpoint, unless it is the region's own.
        endpoint: Option<String>,
    },
}

/// Who keeps KMS keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kms {
    /// The keyring in the store.
    Embedded,
    /// AWS KMS, or what answers at another endpoint in its stead.
    Aws {
        /// The endpoint, unless it is the region's own.
        endpoint: Option<String>,
        /// The role to assume, unless the credentials that are found use the keys themselves.
        role: Option<KmsRole>,
    },
}

/// The client listener's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The chain, leaf first, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// The role under which AWS KMS is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsRole {
    /// Its ARN.
    pub arn: RoleArn,
    /// What its trust policy may ask for.
    pub external_id: Option<String>,
    /// The name of the sessions.
    pub session_name: SessionName,
    /// The endpoint of STS, unless it is the region's own.
    pub sts_endpoint: Option<String>,
}

/// The peer listener and its certificate.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The organization's root, PEM.
    pub ca: PathBuf,
    /// This region's certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// Parsed settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This region.
    pub region: Region,
    /// Where clients are served.
    pub listen: SocketAddr,
    /// How clients know this region.
    pub endpoint: String,
    /// The data folder.
    pub data: PathBuf,
    /// Accounts to make at the first start of the home region.
    pub accounts: Vec<String>,
    /// The organization, if it is given.
    pub organization: Option<Uid>,
    /// The region where the directory is written.
    pub home: Region,
    /// Where blobs lie.
    pub blobs: Blobs,
    /// Where metadata lies.
    pub store: Store,
    /// Who keeps KMS keys.
    pub kms: Kms,
    /// Who says whose proof an AWS identity's is; nobody unless configured.
    pub sts: Option<Sts>,
    /// Whether new registries make repositories on push.
    pub create_on_push: bool,
    /// The client listener's certificate; without one it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Whether their repositories take manifests that name what is not there.
    pub sparse_manifests: bool,
    /// Whose answers they give where Amazon ECR and the OCI specification differ.
    pub profile: Profile,
    /// The peer listener.
    pub peer: Option<Peer>,
    /// The other regions' peer addresses.
    pub peers: BTreeMap<Region, String>,
    /// Networks inside in which issuers of identity tokens may be asked for their keys; the internet always is.
    pub private_networks: Vec<Network>,
    /// How long an upload without progress is kept.
    pub upload_ttl: Duration,
    /// How long a blob may stay without a manifest.
    pub link_lease: Duration,
    /// How long an object that nothing links is kept.
    pub collect_grace: Duration,
    /// Of one address, for requests without credentials that are believed.
    pub address_rate: Rate,
    /// Of one user or role.
    pub principal_rate: Rate,
    /// How long sessions are honoured by a region that hears nothing of home; nothing is for ever.
    pub directory_staleness_max: Option<Duration>,
    /// How often the sweeper looks.
    pub sweep: Duration,
    /// How long after it was hashed a stored object is read again.
    pub scrub_period: Duration,
    /// How fast that goes; 0 turns it off.
    pub scrub_bytes_per_sec: u64,
}

impl Settings {
    /// Reads a file, if one is given, and the overrides.
    ///
    /// # Errors
    /// All problems at once.
    pub fn load(path: Option<&Path>, strings: &dyn Strings) -> Result<Self, Error> {
        let one = |problem: String| Error { problems: vec![problem] };
        let text = match path {
            Some(path) => std::fs::read_to_string(path).map_err(|e| one(format!("{}: {e}", path.display())))?,
            None => String::new(),
        };
        let mut table: toml::Table = text.parse().map_err(|e| one(format!("{e}")))?;
        for (key, value) in strings.all() {
            if let Some(path) = key.strip_prefix("TRANSSHIP__") {
                set(&mut table, &path.to_ascii_lowercase(), &value)
                    .map_err(|problem| one(format!("{key}: {problem}")))?;
            }
        }
        let file: File = table.try_into().map_err(|e| one(format!("{e}")))?;
        Self::parse(file, strings)
    }

    /// Parses a file.
    ///
    /// # Errors
    /// All problems at once.
    pub fn parse(file: File, strings: &dyn Strings) -> Result<Self, Error> {
        let mut problems = Problems::default();
        let region = problems.region("region", file.region.as_deref().unwrap_or(DEFAULT_REGION));
        let home = problems.region("organization.home", file.organization.home.as_deref().unwrap_or(region.as_str()));
        let listen = problems.address("listen", file.listen.as_deref().unwrap_or(DEFAULT_LISTEN));
        let uid = file.organization.uid.as_deref();
        let organization = uid.and_then(|text| problems.keep("organization.uid", Uid::parse(text)));
        let peers =
            file.peers.iter().map(|other| (problems.region("peers.region", &other.region), other.address.clone()));
        let peers: BTreeMap<Region, String> = peers.collect();
        if file.peer.is_some() && organization.is_none() {
            problems.0.push("organization.uid: must be given where there is a peer listener".to_owned());
        }
        let peer = file.peer.map(|peer| Peer {
            listen: problems.address("peer.listen", &peer.listen),
            ca: peer.ca,
            certificate: peer.certificate,
            key: peer.key,
        });
        let profile = file.registry.profile.as_deref().map(Profile::parse);
        let profile = profile.and_then(|profile| problems.keep("registry.profile", profile)).unwrap_or_default();
        let store = match file.store {
            StoreFile::Sqlite => Store::Sqlite,
            StoreFile::Postgres { url, pool } => Store::Postgres {
                url: problems.secret("store.url", &url, strings),
                pool: pool.unwrap_or(DEFAULT_POOL).clamp(2, 200),
            },
        };
        let blobs = match file.blobs {
            BlobsFile::Disk => Blobs::Disk,
            BlobsFile::S3 { bucket, prefix, region: lies_in, endpoint } => Blobs::S3 {
                bucket,
                prefix: prefix.unwrap_or_default(),
                region: lies_in.map_or_else(|| region.clone(), |text| problems.region("blobs.region", &text)),
                endpoint,
            },
        };
        let private_networks = problems.networks("federation.private_networks", &file.federation.private_networks);
        let scheme = if file.tls.is_some() { "https" } else { "http" };
        let settings = Self {
            endpoint: file
                .endpoint
                .map_or_else(|| format!("{scheme}://{listen}"), |text| text.trim_end_matches('/').to_owned()),
            tls: file.tls.map(|TlsFile { certificate, key }| Tls { certificate, key }),
            data: file.data.unwrap_or_else(|| PathBuf::from("transship-data")),
            accounts: file.accounts.unwrap_or_else(|| vec!["main".to_owned()]),
            kms: match file.kms {
                KmsFile::Embedded => Kms::Embedded,
                KmsFile::Aws(file) => problems.aws_kms(file),
            },
            sts: problems.sts(file.sts, &region),
            create_on_push: file.registry.create_on_push,
            sparse_manifests: file.registry.sparse_manifests,
            profile,
            private_networks,
            upload_ttl: Duration::from_secs(file.limits.upload_ttl_secs.unwrap_or(DEFAULT_UPLOAD_TTL_SECS)),
            link_lease: Duration::from_secs(file.limits.link_lease_secs.unwrap_or(DEFAULT_LINK_LEASE_SECS)),
            collect_grace: Duration::from_secs(file.limits.collect_grace_secs.unwrap_or(DEFAULT_COLLECT_GRACE_SECS)),
            address_rate: ADDRESS_RATE.chosen(file.limits.address_rate, file.limits.address_burst),
            principal_rate: PRINCIPAL_RATE.chosen(file.limits.principal_rate, file.limits.principal_burst),
            directory_staleness_max: match file.limits.directory_staleness_max_secs {
                Some(0) => None,
                secs => Some(Duration::from_secs(secs.unwrap_or(DEFAULT_DIRECTORY_STALENESS_MAX_SECS))),
            },
            sweep: Duration::from_secs(file.limits.sweep_secs.unwrap_or(DEFAULT_SWEEP_SECS).max(1)),
            scrub_period: Duration::from_secs(
                file.limits.scrub_period_secs.unwrap_or(DEFAULT_SCRUB_PERIOD_SECS).max(1),
            ),
            scrub_bytes_per_sec: file.limits.scrub_bytes_per_sec.unwrap_or(DEFAULT_SCRUB_BYTES_PER_SEC),
            region,
            listen,
            organization,
            home,
            store,
            blobs,
            peer,
            peers,
        };
        if problems.0.is_empty() { Ok(settings) } else { Err(Error { problems: problems.0 }) }
    }

    /// Shards of a new registry's stream.
    #[must_use]
    pub fn shards(&self) -> u32 {
        match self.store {
            Store::Sqlite => SHARDS.0,
            Store::Postgres { .. } => SHARDS.1,
        }
    }
}

/// Sets a value by its path of lower-case keys joined by double underscores.
fn set(table: &mut toml::Table, path: &str, value: &str) -> Result<(), String> {
    match path.split_once("__") {
        Some((head, rest)) => match table.entry(head).or_insert_with(|| toml::Table::new().into()) {
            toml::Value::Table(inner) => set(inner, rest, value),
            _ => Err(format!("{head} is no section")),
        },
        None => {
            // A value that is no TOML literal is text.
            let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
            table.insert(path.to_owned(), parsed.unwrap_or_else(|| value.into()));
            Ok(())
        }
    }
}

#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn keep<T, E: std::fmt::Display>(&mut self, key: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|e| self.0.push(format!("{key}: {e}"))).ok()
    }

    fn region(&mut self, key: &str, text: &str) -> Region {
        let fallback = Region::parse(DEFAULT_REGION).expect("the default is a region");
        self.keep(key, Region::parse(text)).unwrap_or(fallback)
    }

    fn address(&mut self, key: &str, text: &str) -> SocketAddr {
        let parsed = text.parse::<SocketAddr>().map_err(|_| format!("{text:?} is not <address>:<port>"));
        self.keep(key, parsed).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn networks(&mut self, key: &str, texts: &[String]) -> Vec<Network> {
        texts.iter().filter_map(|text| self.keep(key, Network::parse(text))).collect()
    }

    fn aws_kms(&mut self, file: AwsFile) -> Kms {
        self.http("kms.endpoint", file.endpoint.as_deref());
        self.http("kms.sts_endpoint", file.sts_endpoint.as_deref());
        // SPEC: STS `AssumeRole`, `ExternalId`.
        let of_id = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
        if file.external_id.as_ref().is_some_and(|id| !(2..=1_224).contains(&id.len()) || !id.chars().all(of_id)) {
            self.0.push("kms.external_id: must be 2-1224 characters A-Z a-z 0-9 _ + = , . @ : / -".to_owned());
        }
        let session = SessionName::parse(file.session_name.as_deref().unwrap_or(DEFAULT_SESSION));
        let session = self.keep("kms.session_name", session);
        let of_role = [
            ("external_id", file.external_id.is_some()),
            ("session_name", file.session_name.is_some()),
            ("sts_endpoint", file.sts_endpoint.is_some()),
        ];
        if file.role_arn.is_none() {
            let told = of_role.iter().filter(|(_, given)| *given);
            self.0.extend(told.map(|(key, _)| format!("kms.{key}: says nothing without kms.role_arn")));
        }
        let arn = file.role_arn.and_then(|text| self.keep("kms.role_arn", RoleArn::parse(&text)));
        let role = arn.zip(session).map(|(arn, session_name)| KmsRole {
            arn,
            external_id: file.external_id,
            session_name,
            sts_endpoint: file.sts_endpoint,
        });
        Kms::Aws { endpoint: file.endpoint, role }
    }

    fn http(&mut self, key: &str, url: Option<&str>) {
        let host =
            |url: &str| url.strip_prefix("http://").or(url.strip_prefix("https://")).is_some_and(|h| !h.is_empty());
        if let Some(url) = url.filter(|url| !host(url)) {
            self.0.push(format!("{key}: {url:?} is not http://<host> or https://<host>"));
        }
    }

    /// A reference to a secret: `file:/…` or `env:NAME`; a literal would end up in backups and tickets.
    fn secret(&mut self, key: &str, text: &str, strings: &dyn Strings) -> Secret<String> {
        let found = if let Some(path) = text.strip_prefix("file:") {
            std::fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(|e| format!("{path}: {e}"))
        } else if let Some(name) = text.strip_prefix("env:") {
            let value = strings.all().into_iter().find(|(key, _)| key == name).map(|(_, value)| value);
            value.ok_or_else(|| format!("the variable {name} is not set"))
        } else {
            Err("must be file:<path> or env:<NAME>; secrets do not stand in the configuration".to_owned())
        };
        Secret::new(self.keep(key, found).unwrap_or_default())
    }
}

mod sts;
#[cfg(test)]
mod tests;

pub use sts::Sts;

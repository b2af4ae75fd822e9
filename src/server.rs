//! The composition root: puts a region together from its settings, opens its listeners, and takes it down again.

use crate::api::grpc;
use crate::api::service::{Clients, PeersOnly};
use crate::blobs::{BlobStore, Bucket, Disk};
use crate::clock::{Clock, Timestamp};
use crate::config::{self, Settings};
use crate::domain::directory::NewAccessKey;
use crate::domain::follow::Stream;
use crate::domain::rates::{Rate, Rates};
use crate::domain::{self, App};
use crate::error::{Error, Result};
use crate::identity::Endpoint;
use crate::identity::aws::Place;
use crate::jobs;
use crate::keys::{BranchCache, EmbeddedKms, Kms, RootKey};
use crate::listen::{self, Limits, tls};
use crate::names::AccountId;
use crate::pb::replication::transport_service_server::TransportServiceServer;
use crate::peer::{self, Peers, Transport};
use crate::secret::Secret;
use crate::store::{self, Store};
use crate::upstream::{self, AwsKms, Broker, Egress, HttpsIssuers, RemoteSts};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long shutdown waits for work in flight.
const DRAIN: Duration = Duration::from_secs(30);
/// How long shutdown waits for peers: their streams never end by themselves, and resume where they were.
const PEER_DRAIN: Duration = Duration::from_secs(1);
/// How long a follower waits for the directory before it says so.
const CATCH_UP: Duration = Duration::from_secs(5);

/// A region that serves.
pub struct Server {
    app: Arc<App>,
    address: SocketAddr,
    peer_address: Option<SocketAddr>,
    ready: watch::Receiver<bool>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Starts a region.
    ///
    /// # Errors
    /// When the data folder is in use, an address is taken, or a certificate is not this region's.
    pub async fn start(mut settings: Settings) -> Result<Self> {
        let listener = bind(settings.listen).await?;
        let address = listener.local_addr().map_err(Error::internal)?;
        settings.endpoint = chosen(settings.endpoint, address);
        let app = assemble(&settings).await?;
        let organization = app.found(settings.organization, &settings.home).await?;
        if organization.home_region == settings.region {
            first_accounts(&app, &settings).await?;
        }
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let descriptors = listen::descriptors::raise();
        let endpoints = endpoints(&settings, address)?;
        let service = Clients::new(app.clone(), grpc::routes(app.clone(), endpoints).await?);
        let tls = match &settings.tls {
            Some(config::Tls { certificate, key }) => {
                let files = tls::Files { certificate: certificate.clone(), key: key.clone() };
                let certificate = tls::Certificate::load(files)?;
                tasks.spawn(certificate.clone().follow(stop.clone()));
                Some(certificate.acceptor())
            }
            None => None,
        };
        tasks.spawn(listen::serve(listener, tls, Limits::client().within(descriptors), service, stop.clone()));
        tasks.spawn(jobs::sweep(app.clone(), settings.sweep, stop.clone()));
        tasks.spawn(jobs::scrub(app.clone(), stop.clone()));
        tasks.spawn(jobs::repair(app.clone(), stop.clone()));
        let (ready, peer_address) = match &settings.peer {
            Some(peer) => join(&app, &settings, peer, &tasks, &stop).await?,
            None => (watch::channel(true).1, None),
        };
        Ok(Self { app, address, peer_address, ready, stop, tasks })
    }

    /// Where clients are served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where peers are served, if they are.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.peer_address
    }

    /// The region's domain.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Waits until the region knows its directory: at once at home, elsewhere once it has caught up with home. A region
    /// that knew it before does not wait for home, which may be gone.
    pub async fn ready(&mut self) {
        let known = self.app.token_keys().is_ok();
        let caught_up = self.ready.wait_for(|ready| *ready);
        if known {
            // The deadline is all that can go wrong, and then what is known serves.
            let _ = tokio::time::timeout(CATCH_UP, caught_up).await;
        } else {
            let _ = caught_up.await;
        }
    }

    /// Stops taking connections, waits for work in flight, writes what is waiting to be written.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("work in flight was cut after {} seconds", DRAIN.as_secs());
        }
        self.app.close().await;
    }
}

async fn assemble(settings: &Settings) -> Result<Arc<App>> {
    let clock = Clock::system();
    make_private(&settings.data)?;
    let store = Store::open(&store_settings(settings), clock.clone()).await?;
    let blobs = match &settings.blobs {
        config::Blobs::Disk => BlobStore::Disk(Disk::open(&settings.data.join("blobs"), store.syncs().clone())?),
        config::Blobs::S3 { bucket, prefix, region, endpoint } => {
            let settings = upstream::s3::Settings {
                bucket: bucket.clone(),
                prefix: prefix.clone(),
                region: region.clone(),
                endpoint: endpoint.clone(),
            };
            BlobStore::Bucket(Bucket::new(settings.client(clock.clone()).await?, settings.place()))
        }
    };
    let founded = store.snapshot().await?.tx().organization().await?.is_some();
    let root = Arc::new(root_key(&settings.data, founded)?);
    let kms: Arc<dyn Kms> = match &settings.kms {
        config::Kms::Embedded => Arc::new(EmbeddedKms::new(Arc::new(store.clone()), root.clone(), clock.clone())),
        config::Kms::Aws { endpoint, role } => {
            let role = role.clone().map(|role| upstream::Role {
                arn: role.arn,
                external_id: role.external_id,
                session_name: role.session_name,
                sts_endpoint: role.sts_endpoint,
            });
            let (region, endpoint) = (settings.region.clone(), endpoint.clone());
            // What loads the credentials is large, and most regions never do.
            Arc::new(Box::pin(AwsKms::new(upstream::Settings { region, endpoint, credentials: None, role })).await)
        }
    };
    let domain = domain::Settings {
        region: settings.region.clone(),
        registry: crate::store::registries::Settings {
            create_on_push: settings.create_on_push,
            sparse_manifests: settings.sparse_manifests,
            profile: settings.profile,
        },
        shards: settings.shards(),
        upload_ttl: settings.upload_ttl,
        link_lease: settings.link_lease,
        collect_grace: settings.collect_grace,
        directory_staleness_max: settings.directory_staleness_max,
        rates: Rates { address: rate(settings.address_rate), principal: rate(settings.principal_rate) },
        scrub: domain::Scrub { period: settings.scrub_period, bytes_per_sec: settings.scrub_bytes_per_sec },
        endpoint: settings.endpoint.clone(),
    };
    let branches = BranchCache::new(kms.clone(), clock.clone());
    let issuers = HttpsIssuers::new(clock.clone(), Egress::new(&settings.private_networks));
    let app = App::new(store, blobs, kms, branches, root, clock, domain);
    app.issuers_from(Arc::new(issuers));
    if let Some(sts) = &settings.sts {
        let place = Place { endpoint: aws_endpoint(&sts.endpoint)?, region: sts.region.clone() };
        app.aws_roles_from(Arc::new(Box::pin(Broker::new(&place, None)).await));
        app.aws_identities_from(Arc::new(RemoteSts::new(place)));
    }
    app.claim_node().await?;
    Ok(Arc::new(app))
}

fn aws_endpoint(text: &str) -> Result<Endpoint> {
    Endpoint::parse(text).map_err(|_| Error::invalid("sts.endpoint", "http(s)://<host>[:<port>], without a path"))
}

/// The root key; made only beside a store that is made too, for a lost key must not be replaced in silence.
fn root_key(data: &Path, founded: bool) -> Result<RootKey> {
    let path = data.join("root.key");
    Ok(if founded { RootKey::load(&path)? } else { RootKey::load_or_create(&path)? })
}

fn store_settings(settings: &Settings) -> store::Settings {
    match &settings.store {
        config::Store::Sqlite => store::Settings::Sqlite { path: settings.data.join("metadata.db") },
        config::Store::Postgres { url, pool } => store::Settings::Postgres { url: url.clone(), pool: *pool },
    }
}

/// The data folder, readable by its owner alone.
fn make_private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)))
        .map_err(|e| Error::invalid("data", format!("{}: {e}", folder.display())))
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| Error::invalid("listen", format!("{address}: {e}")))
}

/// The endpoint with the port that the system chose, if the choice was left to it.
fn chosen(endpoint: String, address: SocketAddr) -> String {
    match endpoint.strip_suffix(":0") {
        Some(host) => format!("{host}:{}", address.port()),
        None => endpoint,
    }
}

/// The addresses a proof may be made for: the configured one, and the loopback names of the port that was bound.
fn endpoints(settings: &Settings, address: SocketAddr) -> Result<Vec<Endpoint>> {
    let mut texts = vec![settings.endpoint.clone()];
    if address.ip().is_loopback() {
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        texts.push(format!("{scheme}://{address}"));
        texts.push(format!("{scheme}://localhost:{}", address.port()));
    }
    texts.iter().map(|text| Endpoint::parse(text).map_err(Into::into)).collect()
}

/// Opens the peer listener and starts what flows between regions.
async fn join(
    app: &Arc<App>,
    settings: &Settings,
    peer: &config::Peer,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(watch::Receiver<bool>, Option<SocketAddr>)> {
    let organization = settings.organization.ok_or_else(|| Error::invalid("organization.uid", "must be given"))?;
    let identity = peer::Identity::load(organization, &settings.region, &peer.ca, &peer.certificate, &peer.key)?;
    let listener = bind(peer.listen).await?;
    let address = listener.local_addr().map_err(Error::internal)?;
    let mut addresses = settings.peers.clone();
    // A registry may replicate to another account of its own region: the same path, over our own listener.
    addresses.insert(settings.region.clone(), address.to_string());
    let peers = Peers::new(identity.clone(), addresses)?;
    let transport = TransportServiceServer::new(Transport::new(app.clone(), peers.clone())?)
        .max_decoding_message_size(peer::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(peer::MESSAGE_BYTES_MAX);
    let acceptor = tokio_rustls::TlsAcceptor::from(identity.server()?);
    let service = PeersOnly::new(transport);
    tasks.spawn(listen::serve(
        listener,
        Some(acceptor),
        Limits { drain_grace: PEER_DRAIN, ..Limits::peer() },
        service,
        stop.clone(),
    ));
    app.repair_from(Arc::new(peers.clone()));
    tasks.spawn(jobs::replicate(app.clone(), peers.clone(), tasks.clone(), stop.clone()));
    let at_home = settings.home == settings.region;
    let (told, ready) = watch::channel(at_home);
    if !at_home {
        let home = settings.home.clone();
        tasks.spawn(peer::follow(app.clone(), peers.clone(), Stream::Directory, home, Some(told), stop.clone()));
    }
    for region in settings.peers.keys().cloned() {
        tasks.spawn(peer::follow(app.clone(), peers.clone(), Stream::Revocations, region, None, stop.clone()));
    }
    Ok((ready, Some(address)))
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Bootstrap {
    accounts: Vec<BootstrapAccount>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct BootstrapAccount {
    name: String,
    id: String,
    access_key_id: String,
    secret_access_key: String,
}

/// Makes the accounts of the configuration that are not there yet, and leaves their keys in a private file.
async fn first_accounts(app: &App, settings: &Settings) -> Result<()> {
    let path = settings.data.join("bootstrap.json");
    let mut known: Bootstrap = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::invalid("bootstrap.json", e))?,
        Err(_) => Bootstrap { accounts: Vec::new() },
    };
    for name in &settings.accounts {
        let id = account_id(name);
        if app.account_exists(id).await? {
            continue;
        }
        // The file first: an account whose key was lost in a crash would have an admin that nobody can be.
        let key = match known.accounts.iter().find(|account| account.id == id.as_str()) {
            Some(account) => account.key(app.clock().now()),
            None => {
                let key = NewAccessKey::random(app.clock().now())?;
                known.accounts.push(BootstrapAccount::new(name, id, &key));
                known.write(&path)?;
                key
            }
        };
        if app.first_account(name, id, &key).await?.is_some() {
            tracing::info!(account = %id, name, path = %path.display(), "made an account; its first key is in the file");
        } else {
            // Another node of the region was faster, and its file has the key.
            known.accounts.retain(|account| account.id != id.as_str());
            known.write(&path)?;
        }
    }
    Ok(())
}

impl Bootstrap {
    fn write(&self, path: &Path) -> Result<()> {
        write_private(path, &serde_json::to_vec_pretty(self).map_err(Error::internal)?)
    }
}

impl BootstrapAccount {
    fn new(name: &str, id: AccountId, key: &NewAccessKey) -> Self {
        let secret_access_key = key.secret.expose().clone();
        Self { name: name.to_owned(), id: id.to_string(), access_key_id: key.id.clone(), secret_access_key }
    }

    fn key(&self, now: Timestamp) -> NewAccessKey {
        let secret = Secret::new(self.secret_access_key.clone());
        NewAccessKey { id: self.access_key_id.clone(), secret, created_at: now }
    }
}

/// The number of an account that is made by name: the same name has the same number in every new organization.
#[must_use]
pub fn account_id(name: &str) -> AccountId {
    let digest = crate::names::Digest::of(name.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest.bytes()[..8]);
    AccountId::from_seed(u64::from_be_bytes(first))
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let staged = path.with_extension("new");
    let write = || {
        let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&staged, path)?;
        // SPEC: fsync(2): the name is in the folder, and lost with it.
        std::fs::File::open(path.parent().unwrap_or(path))?.sync_all()
    };
    write().map_err(|e| Error::internal(std::io::Error::new(e.kind(), format!("{}: {e}", path.display()))))
}

fn rate(chosen: config::Rate) -> Rate {
    Rate { per_second: chosen.per_second, burst: chosen.burst }
}

//! The rules of the product: what it means to push, pull, share and replicate.
//!
//! A surface calls one function here; the function does slow work (KMS, blobs) after a check and outside any
//! transaction, then hands the gate a change. No wire format and no SQL below this line.

pub mod access;
pub mod aws_roles;
pub mod blobs;
pub mod bootstrap;
pub mod control_policies;
pub mod denials;
pub mod directory;
pub mod federated_users;
pub mod federation;
pub mod follow;
pub mod grants;
pub mod images;
pub mod keyring;
pub mod lists;
pub mod locks;
pub mod managed_policies;
pub mod manifest;
pub mod mfa_devices;
pub mod narrowing;
pub mod oidc_providers;
pub mod policies;
pub mod quarantine;
pub mod rates;
pub mod registries;
pub mod repair;
pub mod replication;
pub mod repositories;
pub mod revocations;
pub mod scrub;
pub mod sessions;
pub mod storage;
pub mod sweep;
mod tags;
pub mod trust;
pub mod uploads;

use crate::blobs::BlobStore;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::identity::aws::AwsSts;
use crate::identity::aws_roles::AwsRoles;
use crate::identity::issuers::Issuers;
use crate::identity::{ReplayCache, TokenKeys};
use crate::keys::{BranchCache, Kms, RootKey};
use crate::names::{AccountId, Region, RepositoryName, Uid};
use crate::store::Store;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

/// What the domain needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The region this server is.
    pub region: Region,
    /// The settings of new registries.
    pub registry: crate::store::registries::Settings,
    /// Shards of a new registry's change stream: 1 on SQLite, 16 on PostgreSQL (decision 27).
    pub shards: u32,
    /// How long an upload without progress is kept; registries commonly allow a day.
    pub upload_ttl: Duration,
    /// How long a blob stays without a manifest that names it.
    pub link_lease: Duration,
    /// How long an object that nothing links is kept for those who are reading it.
    pub collect_grace: Duration,
    /// How long sessions are honoured while nothing is heard of home; `None` is for ever.
    pub directory_staleness_max: Option<Duration>,
    /// How many requests a second a caller may make.
    pub rates: rates::Rates,
    /// How often stored objects are read again, and how fast.
    pub scrub: Scrub,
    /// Where clients reach this region, as printed in repository addresses.
    pub endpoint: String,
}

impl Settings {
    /// Where clients push to and pull from a repository: `<host>/<account>/<name>`.
    #[must_use]
    pub fn repository_uri(&self, account: AccountId, name: &RepositoryName) -> String {
        let host = self.endpoint.split_once("://").map_or(self.endpoint.as_str(), |(_, host)| host);
        format!("{host}/{account}/{name}")
    }
}

/// How stored objects are read again by themselves.
#[derive(Clone, Copy, Debug)]
pub struct Scrub {
    /// An object is due so long after it was hashed.
    pub period: Duration,
    /// How fast is read; 0 turns it off.
    pub bytes_per_sec: u64,
}

/// One region's domain: everything a request or job works with.
pub struct App {
    pub(crate) gate: Gate,
    pub(crate) store: Store,
    pub(crate) blobs: BlobStore,
    pub(crate) kms: Arc<dyn Kms>,
    pub(crate) branches: BranchCache,
    pub(crate) root: Arc<RootKey>,
    pub(crate) clock: Clock,
    pub(crate) settings: Settings,
    pub(crate) tokens: RwLock<Option<Arc<TokenKeys>>>,
    pub(crate) proofs: ReplayCache,
    logins: federation::Logins,
    mfa_attempts: mfa_devices::Attempts,
    issuers: OnceLock<Arc<dyn Issuers>>,
    aws: OnceLock<Arc<dyn AwsSts>>,
    aws_roles: OnceLock<Arc<dyn AwsRoles>>,
    aws_sessions: aws_roles::Sessions,
    meter: rates::Meter,
    pub(crate) home_heard: follow::Heard,
    pub(crate) faults: replication::Faults,
    /// Held by the run of the collector.
    pub(crate) sweeping: tokio::sync::Mutex<()>,
    /// Held while an object is set aside.
    pub(crate) setting_aside: tokio::sync::Mutex<()>,
    /// Told when something was set aside.
    pub(crate) damaged: tokio::sync::Notify,
    pub(crate) replicas: OnceLock<Arc<dyn repair::Replicas>>,
    writing: Mutex<HashSet<Uid>>,
    node: OnceLock<Uid>,
}

impl App {
    /// Puts the parts together. Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(
        store: Store,
        blobs: BlobStore,
        kms: Arc<dyn Kms>,
        branches: BranchCache,
        root: Arc<RootKey>,
        clock: Clock,
        settings: Settings,
    ) -> Self {
        Self {
            gate: Gate::new(store.clone(), clock.clone()),
            store,
            blobs,
            kms,
            branches,
            root,
            clock,
            meter: rates::Meter::new(settings.rates),
            settings,
            home_heard: follow::Heard::default(),
            tokens: RwLock::default(),
            proofs: ReplayCache::default(),
            logins: federation::Logins::default(),
            mfa_attempts: mfa_devices::Attempts::default(),
            issuers: OnceLock::new(),
            aws: OnceLock::new(),
            aws_roles: OnceLock::new(),
            aws_sessions: aws_roles::Sessions::default(),
            faults: replication::Faults::default(),
            sweeping: tokio::sync::Mutex::default(),
            setting_aside: tokio::sync::Mutex::default(),
            damaged: tokio::sync::Notify::default(),
            replicas: OnceLock::new(),
            writing: Mutex::default(),
            node: OnceLock::new(),
        }
    }

    /// Writes the audit rows that wait, and lets go of the store; what is asked after it is refused.
    pub async fn close(&self) {
        self.gate.flush().await;
        match self.audit_rows_lost() {
            0 => {}
            rows => tracing::warn!(rows, "audit rows were lost since the start"),
        }
        self.store.clone().close().await;
    }

    /// Writes the audit rows of reads and refusals that wait.
    pub async fn flush_audit(&self) {
        self.gate.flush().await;
    }

    /// Audit rows of reads and refusals that were lost since the start.
    #[must_use]
    pub fn audit_rows_lost(&self) -> u64 {
        self.gate.audit_loss().rows
    }

    /// Whether clients are to be sent here: the region knows its organization, and its disk takes writes.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<()> {
        self.token_keys()?;
        self.store.syncs().check()
    }

    /// Whether this node's disk takes no more writes, which was logged when they ended.
    #[must_use]
    pub fn writes_ended(&self) -> bool {
        self.store.syncs().ended()
    }

    /// The node that this is, once it has claimed its store.
    pub(crate) fn node(&self) -> Result<Uid> {
        self.node.get().copied().ok_or_else(|| Error::internal("the store was not claimed"))
    }

    /// The faults that tests inject.
    #[must_use]
    pub fn faults(&self) -> &replication::Faults {
        &self.faults
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes the right to write to an upload, or to judge or repair an object; `None` while another request has it.
    pub(crate) fn writing(self: &Arc<Self>, upload: Uid) -> Option<Writing> {
        let taken = self.writing.lock().unwrap_or_else(PoisonError::into_inner).insert(upload);
        taken.then(|| Writing { app: self.clone(), upload })
    }
}

/// The right to write to an upload, given back on drop.
pub(crate) struct Writing {
    app: Arc<App>,
    upload: Uid,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.app.writing.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.upload);
    }
}

//! The metadata store: one SQL text, and behind it SQLite in this process or PostgreSQL.
//!
//! A write is a value ([`Apply`](tx::Apply)) that runs in one serializable transaction; it is answered only after its
//! commit is durable. A read is a [`Snapshot`] of one instant. The store decides nothing: it knows no caller and no
//! policy. SQL stands only in this folder, in one file per noun.

pub mod audit;
pub mod aws_roles;
pub mod blobs;
pub mod claims;
pub mod collections;
#[cfg(test)]
mod conformance;
pub mod control_policies;
mod counters;
mod dialect;
pub mod directory;
mod error;
mod fault;
pub mod grants;
pub mod images;
mod keyring;
mod leases;
pub mod locks;
pub mod managed_policies;
pub mod mfa_devices;
mod migrate;
mod nodes;
pub mod oidc_providers;
mod postgres;
pub mod quarantines;
pub mod receipts;
pub mod registries;
pub mod repositories;
pub mod rules;
pub mod sessions;
mod snapshot;
mod sqlite;
pub mod streams;
mod tx;
pub mod uploads;
mod value;

pub use error::{Error, Kind};
pub use snapshot::Snapshot;
pub(crate) use tx::Apply;
pub use tx::{Done, Tx};

use crate::clock::{Clock, Timestamp};
use crate::secret::Secret;
use crate::syncs::Syncs;
use fault::Faults;
use snapshot::Reading;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where the metadata lives.
#[derive(Clone, Debug)]
pub enum Settings {
    /// A file of this process alone; its folder exists.
    Sqlite {
        /// The database file; `<path>.lock` beside it is the lock.
        path: PathBuf,
    },
    /// A server that several nodes share.
    Postgres {
        /// `postgres://user:password@host:port/database`.
        url: Secret<String>,
        /// The most connections that this node opens.
        pool: usize,
    },
}

/// The metadata store; clones share it.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
    clock: Clock,
    faults: Arc<Faults>,
    syncs: Syncs,
}

#[derive(Clone)]
enum Engine {
    Sqlite(sqlite::Engine),
    Postgres(postgres::Engine),
}

impl Store {
    /// Opens the store and brings its schema to this release's version.
    ///
    /// # Errors
    /// `Locked` when another server holds the file, `Schema` when a newer release wrote it, `Url`, and whatever the
    /// engine says.
    pub async fn open(settings: &Settings, clock: Clock) -> Result<Self, Error> {
        Self::open_with(settings, clock, migrate::MIGRATIONS).await
    }

    async fn open_with(settings: &Settings, clock: Clock, migrations: &'static [&'static str]) -> Result<Self, Error> {
        let (faults, syncs) = (Arc::new(Faults::default()), Syncs::new(clock.clone()));
        let engine = match settings {
            Settings::Sqlite { path } => {
                Engine::Sqlite(sqlite::Engine::open(path.clone(), faults.clone(), syncs.clone()).await?)
            }
            Settings::Postgres { url, pool } => Engine::Postgres(postgres::Engine::open(url, *pool)?),
        };
        let store = Self { engine, clock, faults, syncs };
        migrate::run(&store, migrations).await?;
        Ok(store)
    }

    /// Runs a change in a transaction of its own and answers after its commit.
    ///
    /// # Errors
    /// The change's own, after which nothing of it remains; or the store's, turned into the change's. `CommitUnknown`
    /// is the only one after which the change may have happened.
    pub(crate) async fn write<A: Apply>(&self, change: Arc<A>) -> Result<A::Out, A::Error> {
        self.write_within(change, WRITE_WAIT).await
    }

    async fn write_within<A: Apply>(&self, change: Arc<A>, patience: Duration) -> Result<A::Out, A::Error> {
        match &self.engine {
            Engine::Sqlite(engine) => engine.write(change, patience).await,
            Engine::Postgres(engine) => engine.write(&*change, patience, &self.clock, &self.faults).await,
        }
    }

    /// Begins a read of one instant.
    ///
    /// # Errors
    /// `Busy` when all connections read already, `Unavailable` when there is none.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        self.faults.meet("SNAPSHOT")?;
        let reading = match &self.engine {
            Engine::Sqlite(engine) => Reading::Sqlite(engine.read().await?),
            Engine::Postgres(engine) => Reading::Postgres(engine.read().await?),
        };
        Ok(Snapshot::new(reading, self.faults.clone()))
    }

    /// Finishes the writes that wait, refuses later ones (also through clones), and lets go of the database.
    pub async fn close(self) {
        match self.engine {
            Engine::Sqlite(engine) => engine.close().await,
            Engine::Postgres(engine) => engine.close(),
        }
    }

    /// Orders an error for the next statement that begins with that label, or for the next `SNAPSHOT`, `COMMIT`
    /// (nothing is committed) or `COMMITTED` (the commit happens, its answer is lost). For tests.
    pub fn inject(&self, label: &'static str, error: Error) {
        self.faults.inject(label, error);
    }

    /// The failed syncs of this node: of SQLite's files, and of whoever else shares them.
    #[must_use]
    pub fn syncs(&self) -> &Syncs {
        &self.syncs
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pause(&self, base: Duration) {
        tokio::time::sleep(self.clock.jitter(base)).await;
    }
}

/// How long one statement may take on PostgreSQL and one change on SQLite.
const WRITE_WAIT: Duration = Duration::from_secs(30);

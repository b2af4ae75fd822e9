//! The connections that read: bounded, opened when first needed, the last one used is the first one used again.

use super::{Error, Kind, classify, connect};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// The connections at rest, and the permits for all.
pub(super) struct Readers {
    path: PathBuf,
    permits: Arc<Semaphore>,
    rest: Mutex<Option<Rest>>,
}

/// What is let go at closing, or when the last reader is gone.
struct Rest {
    idle: Vec<Connection>,
    lock: Arc<File>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, lock: Arc<File>) -> Self {
        let permits = Arc::new(Semaphore::new(READERS_MAX));
        Self { path, permits, rest: Mutex::new(Some(Rest { idle: Vec::new(), lock })) }
    }

    /// Begins a read transaction; its instant is that of its first statement.
    pub(super) async fn begin(readers: &Arc<Self>) -> Result<Reader, Error> {
        let permit = readers.permit().await?;
        let (resting, lock) = match &mut *readers.rest() {
            Some(rest) => (rest.idle.pop(), rest.lock.clone()),
            None => return Err(Error::new("SNAPSHOT", Kind::Unavailable)),
        };
        let connection = match resting {
            Some(connection) => connection,
            None => readers.open()?,
        };
        transact(&connection, "BEGIN DEFERRED")?;
        Ok(Reader { connection: Some(connection), readers: readers.clone(), _lock: lock, _permit: permit })
    }

    /// Refuses later reads, closes the connections at rest and lets go of the lock.
    pub(super) fn close(&self) {
        self.permits.close();
        *self.rest() = None;
    }

    fn rest(&self) -> MutexGuard<'_, Option<Rest>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        match self.permits.clone().try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(TryAcquireError::Closed) => Err(Error::new("SNAPSHOT", Kind::Unavailable)),
            Err(TryAcquireError::NoPermits) => {
                let waited = tokio::time::timeout(READER_WAIT, self.permits.clone().acquire_owned()).await;
                let acquired = waited.map_err(|_| Error::new("SNAPSHOT", Kind::Busy))?;
                acquired.map_err(|_| Error::new("SNAPSHOT", Kind::Unavailable))
            }
        }
    }

    fn open(&self) -> Result<Connection, Error> {
        let connection = connect(&self.path)?;
        let prepare = || {
            connection.execute_batch("PRAGMA query_only = ON")?;
            // The last connection to close would copy the log, unseen.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        };
        prepare().map_err(|error| classify("open", error))?;
        Ok(connection)
    }
}

/// A connection inside a read transaction.
pub(in crate::store) struct Reader {
    /// `None` only while dropping.
    connection: Option<Connection>,
    readers: Arc<Readers>,
    /// Held until the connection is closed or at rest.
    _lock: Arc<File>,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// The connection.
    pub(in crate::store) fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a reader has its connection until it is dropped")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // A connection that cannot end its transaction would show the next reader an old instant: it is closed.
        if transact(&connection, "COMMIT").is_ok()
            && let Some(rest) = &mut *self.readers.rest()
        {
            rest.idle.push(connection);
        }
    }
}

fn transact(connection: &Connection, sql: &'static str) -> Result<(), Error> {
    let run = || connection.prepare_cached(sql)?.raw_execute();
    run().map(|_| ()).map_err(|error| classify(sql, error))
}

/// Reads in progress at once; each may hold a page cache of 2 MiB.
const READERS_MAX: usize = 32;
/// How long a read waits for a connection.
const READER_WAIT: Duration = Duration::from_secs(5);

//! The thread that writes: changes that wait at the same time share one transaction, hence one sync of the disk.
//!
//! Each change has a savepoint, so a failing one is undone alone. No answer leaves before the commit; if that fails,
//! every change of the batch fails, also one that had failed by itself, since it may have seen its neighbours' rows.

use super::{Error, Kind, WHAT, classify, is_failed_sync};
use crate::store::fault::{COMMIT, COMMITTED, Faults};
use crate::store::tx::{Apply, Executor, Fate, Tx};
use crate::syncs::Syncs;
use futures::FutureExt;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// The way to the writer.
#[derive(Clone)]
pub(super) struct Handle {
    queue: mpsc::Sender<Message>,
}

enum Message {
    Change(Box<dyn Job>),
    /// Stop after the changes before this one; answered when the connection is closed.
    Stop(oneshot::Sender<()>),
}

/// Starts the writer; it ends when all its handles are gone or one says stop.
pub(super) fn start(
    connection: Connection,
    faults: Arc<Faults>,
    syncs: Syncs,
    lock: Arc<File>,
) -> Result<Handle, Error> {
    let (queue, waiting) = mpsc::channel(QUEUE_MAX);
    let writer = Writer { connection, faults, syncs, _lock: lock };
    let thread = std::thread::Builder::new().name("metadata".to_owned());
    thread.spawn(move || writer.run(waiting)).map_err(|error| Error::new("open", Kind::Unavailable).because(error))?;
    Ok(Handle { queue })
}

impl Handle {
    /// Hands a change to the writer and waits for its commit.
    pub(super) async fn write<A: Apply>(&self, change: Arc<A>, patience: Duration) -> Result<A::Out, A::Error> {
        let (reply, answer) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Waiting { change, outcome: None, reply });
        match timeout(QUEUE_WAIT, self.queue.send(Message::Change(job))).await {
            Err(_elapsed) => return Err(Error::new("BEGIN", Kind::Busy).into()),
            Ok(Err(_closed)) => return Err(Error::new("BEGIN", Kind::Unavailable).into()),
            Ok(Ok(())) => {}
        }
        match timeout(patience, answer).await {
            Ok(Ok(answer)) => answer,
            Err(_) | Ok(Err(_)) => Err(Error::new(COMMIT, Kind::CommitUnknown).into()),
        }
    }

    /// Lets the writer finish what waits, then waits for it to let go of the file.
    pub(super) async fn stop(&self) {
        let (closed, wait) = oneshot::channel();
        let stopped = async {
            if self.queue.send(Message::Stop(closed)).await.is_ok() {
                // An error means that the thread has ended, which is what was asked for.
                let _ = wait.await;
            }
        };
        if timeout(STOP_WAIT, stopped).await.is_err() {
            tracing::warn!("the metadata writer did not stop in time");
        }
    }
}

/// A change in the queue, whatever its type.
trait Job: Send {
    /// Whether nobody waits for its answer any more.
    fn is_abandoned(&self) -> bool;
    /// Runs the change; whether it is to be kept.
    fn run(&mut self, connection: &mut Connection, faults: &Faults) -> bool;
    /// Answers: with what `run` left, or with the error of the batch.
    fn answer(self: Box<Self>, batch: Result<(), Error>);
}

struct Waiting<A: Apply> {
    change: Arc<A>,
    outcome: Option<Result<A::Out, A::Error>>,
    reply: oneshot::Sender<Result<A::Out, A::Error>>,
}

impl<A: Apply> Job for Waiting<A> {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, connection: &mut Connection, faults: &Faults) -> bool {
        let mut failed = None;
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let mut tx = Tx::new(Executor::Sqlite(connection), faults, &mut failed);
            self.change
                .apply(&mut tx)
                .now_or_never()
                .unwrap_or_else(|| Err(Error::defect("apply", "a change awaits nothing but its transaction").into()))
        }));
        let (keep, outcome) = match Fate::<A>::of(ended, failed) {
            Fate::Keep(out) => (true, Ok(out)),
            Fate::Undo(outcome) => (false, outcome),
            Fate::Again(error) => (false, Err(error.into())),
        };
        self.outcome = Some(outcome);
        keep
    }

    fn answer(self: Box<Self>, batch: Result<(), Error>) {
        let Self { outcome, reply, .. } = *self;
        let answer = match (batch, outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(Error::new("BEGIN", Kind::Unavailable).into()),
            (Err(error), _) => Err(error.into()),
        };
        // Whoever asked may have gone; the commit stands all the same.
        let _ = reply.send(answer);
    }
}

struct Writer {
    connection: Connection,
    faults: Arc<Faults>,
    syncs: Syncs,
    /// Held until the connection is closed.
    _lock: Arc<File>,
}

impl Writer {
    fn run(mut self, mut waiting: mpsc::Receiver<Message>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut next = Some(first);
            let mut batch = Vec::new();
            let mut stop = None;
            while let Some(message) = next {
                match message {
                    Message::Change(job) => batch.push(job),
                    Message::Stop(closed) => {
                        stop = Some(closed);
                        break;
                    }
                }
                next = if batch.len() < BATCH_MAX { waiting.try_recv().ok() } else { None };
            }
            if self.batch(batch) {
                self.checkpoint();
            }
            if let Some(closed) = stop {
                waiting.close();
                refuse(&mut waiting);
                drop(self);
                let _ = closed.send(());
                return;
            }
        }
    }

    /// Runs changes in one transaction and answers them; whether it was committed.
    fn batch(&mut self, mut jobs: Vec<Box<dyn Job>>) -> bool {
        jobs.retain(|job| !job.is_abandoned());
        if jobs.is_empty() {
            return false;
        }
        let verdict = self.transaction(&mut jobs);
        if verdict.is_err() {
            self.roll_back();
        }
        for job in jobs {
            let verdict = verdict.clone();
            // A value whose destructor panics must not take the thread along.
            let _ = catch_unwind(AssertUnwindSafe(|| job.answer(verdict)));
        }
        verdict.is_ok()
    }

    fn transaction(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Error> {
        if self.syncs.ended() {
            return Err(Error::new("BEGIN", Kind::Ended));
        }
        self.roll_back();
        self.sql("BEGIN IMMEDIATE")?;
        for job in jobs {
            self.sql("SAVEPOINT change")?;
            let (connection, faults) = (&mut self.connection, &*self.faults);
            let keep = catch_unwind(AssertUnwindSafe(|| job.run(connection, faults))).unwrap_or(false);
            // A full disk or a failing one ends the whole transaction, and with it the savepoint.
            if self.connection.is_autocommit() {
                return Err(Error::new("SAVEPOINT", Kind::Unavailable));
            }
            if !keep {
                self.sql("ROLLBACK TO change")?;
            }
            self.sql("RELEASE change")?;
        }
        self.faults.meet(COMMIT)?;
        self.commit()?;
        self.faults.meet(COMMITTED)
    }

    fn commit(&self) -> Result<(), Error> {
        let run = || self.connection.prepare_cached(COMMIT)?.raw_execute();
        run().map(|_| ()).map_err(|error| {
            // A failed sync says nothing about what a restart will find in the log.
            let unknown = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
            if is_failed_sync(&error) {
                self.syncs.failed(WHAT, &error);
            }
            let mut error = classify(COMMIT, error);
            if unknown {
                error.kind = Kind::CommitUnknown;
            }
            error
        })
    }

    /// Copies the log into the database once it is long. Pages that an earlier copy left to be synced by this one are not
    /// copied again when its sync fails, and the next sync would succeed without them: so there is no next one.
    fn checkpoint(&self) {
        if self.syncs.ended() {
            return;
        }
        let frames = |sql| self.connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(1));
        let copied = frames("PRAGMA wal_checkpoint(NOOP)")
            .and_then(|log| if log < LOG_FRAMES { Ok(log) } else { frames("PRAGMA wal_checkpoint(PASSIVE)") });
        match copied {
            Ok(_) => {}
            Err(error) if is_failed_sync(&error) => self.syncs.end(WHAT, &error),
            Err(error) => tracing::warn!(%error, "the metadata's log cannot be copied into the database"),
        }
    }

    /// Ends a transaction that is still open.
    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.sql("ROLLBACK")
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the metadata store cannot roll back");
        }
    }

    fn sql(&self, sql: &'static str) -> Result<(), Error> {
        let run = || self.connection.prepare_cached(sql)?.raw_execute();
        run().map(|_| ()).map_err(|error| classify(sql, error))
    }
}

impl Drop for Writer {
    /// The last connection to close copies the log, which must not be done once syncs have failed.
    fn drop(&mut self) {
        if self.syncs.ended()
            && let Err(error) = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        {
            tracing::error!(%error, "the metadata's log cannot be kept as it is");
        }
    }
}

/// Answers the changes that came after the end.
fn refuse(waiting: &mut mpsc::Receiver<Message>) {
    while let Ok(message) = waiting.try_recv() {
        match message {
            Message::Change(job) => job.answer(Err(Error::new("BEGIN", Kind::Unavailable))),
            Message::Stop(closed) => drop(closed),
        }
    }
}

/// Changes that share one commit: enough that the sync no longer counts, few enough that nobody waits long.
const BATCH_MAX: usize = 256;
/// Pages in the log from which on it is copied into the database: SQLite's own measure.
const LOG_FRAMES: i64 = 1_000;
/// Changes that may wait.
const QUEUE_MAX: usize = 1_024;
/// How long a change waits for a place in the queue.
const QUEUE_WAIT: Duration = Duration::from_secs(5);
/// How long closing waits for the changes before it.
const STOP_WAIT: Duration = Duration::from_secs(60);

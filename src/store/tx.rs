//! One transaction, whatever the engine: the only way to a statement.
//!
//! A transaction ends with its first failed statement: later ones are refused and it cannot commit, on SQLite as on
//! PostgreSQL. A change that expects a row to be there already says `ON CONFLICT … DO NOTHING` and counts.

use super::error::{Error, Kind};
use super::fault::Faults;
use super::value::{Row, Value};
use super::{postgres, sqlite};
use std::future::Future;

/// A write as a value: run inside a transaction, and run again from the start when that one loses against another.
///
/// `apply` awaits nothing but the transaction's own methods: on SQLite it runs on the writer's thread.
pub(crate) trait Apply: Send + Sync + 'static {
    /// What it answers.
    type Out: Send + 'static;
    /// How it fails.
    type Error: From<Error> + Send + 'static;

    /// Makes the change.
    fn apply(&self, tx: &mut Tx<'_>) -> impl Future<Output = Result<Done<Self::Out>, Self::Error>> + Send;
}

/// How a change that succeeded wants to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done<T> {
    /// Keep what it wrote.
    Commit(T),
    /// Undo what it wrote and answer all the same.
    RollBack(T),
}

/// A transaction in progress.
pub struct Tx<'a> {
    executor: Executor<'a>,
    faults: &'a Faults,
    failed: &'a mut Option<Error>,
}

/// Where the statements go.
pub(super) enum Executor<'a> {
    /// `&mut`, because a shared connection could not cross an await.
    Sqlite(&'a mut rusqlite::Connection),
    Postgres(&'a mut postgres::Session),
}

impl<'a> Tx<'a> {
    /// A transaction that has begun; `failed` keeps the first error of a statement.
    pub(super) fn new(executor: Executor<'a>, faults: &'a Faults, failed: &'a mut Option<Error>) -> Self {
        Self { executor, faults, failed }
    }

    /// Runs a statement and says how many rows it changed.
    pub(super) async fn execute(&mut self, sql: &'static str, args: &[Value]) -> Result<u64, Error> {
        self.admit(sql)?;
        let changed = match &mut self.executor {
            Executor::Sqlite(connection) => sqlite::execute(connection, sql, args),
            Executor::Postgres(session) => session.execute(sql, args).await,
        };
        self.note(changed)
    }

    /// All rows of a statement's answer; the statement bounds them.
    pub(super) async fn all(&mut self, sql: &'static str, args: &[Value]) -> Result<Vec<Row>, Error> {
        self.admit(sql)?;
        let rows = match &mut self.executor {
            Executor::Sqlite(connection) => sqlite::all(connection, sql, args),
            Executor::Postgres(session) => session.all(sql, args).await,
        };
        self.note(rows)
    }

    /// The row of a statement that answers one or none.
    pub(super) async fn opt(&mut self, sql: &'static str, args: &[Value]) -> Result<Option<Row>, Error> {
        let mut rows = self.all(sql, args).await?;
        let row = rows.pop();
        if rows.is_empty() { Ok(row) } else { Err(Error::defect(sql, "the statement answers at most one row")) }
    }

    /// The row of a statement that always answers one.
    pub(super) async fn one(&mut self, sql: &'static str, args: &[Value]) -> Result<Row, Error> {
        let row = self.opt(sql, args).await?;
        row.ok_or_else(|| Error::defect(sql, "the statement always answers one row"))
    }

    /// Runs the statements of a schema file, in the engine's dialect.
    pub(super) async fn schema(&mut self, text: &'static str) -> Result<(), Error> {
        self.admit("schema")?;
        let made = match &mut self.executor {
            Executor::Sqlite(connection) => sqlite::schema(connection, text),
            Executor::Postgres(session) => session.schema(text).await,
        };
        self.note(made)
    }

    /// Refuses a statement after a failed one, and meets the fault that a test ordered for it.
    fn admit(&mut self, sql: &'static str) -> Result<(), Error> {
        if let Some(first) = &*self.failed {
            return Err(Error::defect(sql, "no statement follows a failed one").because(first.clone()));
        }
        let met = self.faults.meet(sql);
        self.note(met)
    }

    fn note<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            self.failed.get_or_insert_with(|| error.clone());
        }
        result
    }
}

/// What becomes of a change that has run.
pub(super) enum Fate<A: Apply> {
    /// Commit, then answer this.
    Keep(A::Out),
    /// Roll back and answer this.
    Undo(Result<A::Out, A::Error>),
    /// Roll back; another transaction won, the change may run again.
    Again(Error),
}

impl<A: Apply> Fate<A> {
    /// Judges a change by how it ended and by the first of its statements that failed.
    pub(super) fn of(ended: std::thread::Result<Result<Done<A::Out>, A::Error>>, failed: Option<Error>) -> Self {
        match (ended, failed) {
            (Err(_panic), _) => Self::Undo(Err(Error::new("apply", Kind::Panicked).into())),
            (Ok(_), Some(error)) if error.kind == Kind::Conflict => Self::Again(error),
            (Ok(Err(error)), _) => Self::Undo(Err(error)),
            (Ok(Ok(_)), Some(error)) => {
                let defect = Error::defect("apply", "a change whose statement failed cannot succeed");
                Self::Undo(Err(defect.because(error).into()))
            }
            (Ok(Ok(Done::RollBack(out))), None) => Self::Undo(Ok(out)),
            (Ok(Ok(Done::Commit(out))), None) => Self::Keep(out),
        }
    }
}

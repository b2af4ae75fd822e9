//! PostgreSQL: a pool of connections, serializable writes that run again when they lose, read-only snapshots.
//!
//! A connection goes back to the pool only when no statement is under way on it and its transaction has ended or its
//! end is the next thing the server reads. A commit whose answer is lost is reported, never repeated.

use super::dialect;
use super::error::{ARGUMENTS, Error, Kind};
use super::fault::{COMMIT, COMMITTED, Faults};
use super::tx::{Apply, Executor, Fate, Tx};
use super::value::{Row, Value};
use crate::clock::Clock;
use crate::secret::Secret;
use bytes::{BufMut, Bytes, BytesMut};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Config, NoTls, Statement};

/// The pool.
#[derive(Clone)]
pub(super) struct Engine {
    pool: Pool,
}

impl Engine {
    /// Reads the URL; connections are opened when first needed.
    pub(super) fn open(url: &Secret<String>, pool: usize) -> Result<Self, Error> {
        let mut config: Config = url
            .expose()
            .parse()
            .map_err(|error: tokio_postgres::Error| Error::new("open", Kind::Url).because(error))?;
        let own = config.get_options().unwrap_or_default();
        let options = format!(
            "{own} -c statement_timeout={} -c idle_in_transaction_session_timeout={}",
            STATEMENT_WAIT.as_millis(),
            IDLE_WAIT.as_millis()
        );
        config.options(options).application_name("transship").connect_timeout(CONNECT_WAIT);
        config.tcp_user_timeout(STATEMENT_WAIT).keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(pool)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(POOL_WAIT))
            .create_timeout(Some(CONNECT_WAIT))
            .recycle_timeout(Some(CONNECT_WAIT))
            .build()
            .map_err(|error| Error::new("open", Kind::Unavailable).because(error))?;
        Ok(Self { pool })
    }

    /// Runs a change until it commits, fails by itself or has lost too often.
    pub(super) async fn write<A: Apply>(
        &self,
        change: &A,
        patience: Duration,
        clock: &Clock,
        faults: &Faults,
    ) -> Result<A::Out, A::Error> {
        let mut lost = 0;
        loop {
            match self.attempt(change, patience, faults).await {
                Attempt::Over(answer) => return answer,
                Attempt::Lost(error) if lost == TRIES_MAX => return Err(error.into()),
                Attempt::Lost(error) => tracing::debug!(error = &error as &dyn std::error::Error, "a write runs again"),
            }
            lost += 1;
            tokio::time::sleep(clock.jitter(BACK_OFF.saturating_mul(1 << lost).min(BACK_OFF_MAX))).await;
        }
    }

    async fn attempt<A: Apply>(&self, change: &A, patience: Duration, faults: &Faults) -> Attempt<A> {
        let mut session = match self.begin(WRITE, patience).await {
            Ok(session) => session,
            Err(error) => return Attempt::Over(Err(error.into())),
        };
        let mut failed = None;
        let mut tx = Tx::new(Executor::Postgres(&mut session), faults, &mut failed);
        let ended = AssertUnwindSafe(change.apply(&mut tx)).catch_unwind().await;
        // A session that is dropped rolls back.
        match Fate::<A>::of(ended, failed) {
            Fate::Undo(answer) => Attempt::Over(answer),
            Fate::Again(error) => Attempt::Lost(error),
            Fate::Keep(out) => match session.commit(faults).await {
                Ok(()) => Attempt::Over(Ok(out)),
                Err(error) if error.kind == Kind::Conflict => Attempt::Lost(error),
                Err(error) => Attempt::Over(Err(error.into())),
            },
        }
    }

    /// Begins a read.
    pub(super) async fn read(&self) -> Result<Session, Error> {
        self.begin(READ, STATEMENT_WAIT).await
    }

    /// Closes the pool; sessions in progress end by themselves.
    pub(super) fn close(&self) {
        self.pool.close();
    }

    /// Begins a transaction within a bounded time.
    async fn begin(&self, begin: &'static str, patience: Duration) -> Result<Session, Error> {
        match timeout(BEGIN_WAIT, self.begin_on_any(begin, patience)).await {
            Ok(begun) => begun,
            Err(elapsed) => Err(Error::new("BEGIN", Kind::Unavailable).because(elapsed)),
        }
    }

    /// Begins a transaction, passing over connections that died while they rested.
    async fn begin_on_any(&self, begin: &'static str, patience: Duration) -> Result<Session, Error> {
        let mut last = Error::new("BEGIN", Kind::Unavailable);
        for _ in 0..=self.pool.status().max_size {
            let client = self.pool.get().await.map_err(unpooled)?;
            let mut session = Session { client: Some(client), spoiled: false, patience };
            match session.batch("BEGIN", &start(begin, patience)).await {
                Ok(()) => return Ok(session),
                Err(error) if session.spoiled => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

/// How one run of a change ended.
enum Attempt<A: Apply> {
    Over(Result<A::Out, A::Error>),
    Lost(Error),
}

/// A connection inside a transaction; dropping it rolls back.
pub(super) struct Session {
    /// `None` after the end.
    client: Option<Object>,
    /// A statement is under way, or was when the connection failed: nobody else may use it.
    spoiled: bool,
    patience: Duration,
}

impl Session {
    /// Runs a statement and says how many rows it changed.
    pub(super) async fn execute(&mut self, sql: &'static str, args: &[Value]) -> Result<u64, Error> {
        let statement = self.prepare(sql, args).await?;
        self.call(sql, async |client| client.execute(&statement, &borrowed(args)).await).await
    }

    /// All rows of a statement's answer.
    pub(super) async fn all(&mut self, sql: &'static str, args: &[Value]) -> Result<Vec<Row>, Error> {
        let statement = self.prepare(sql, args).await?;
        let rows = self.call(sql, async |client| client.query(&statement, &borrowed(args)).await).await?;
        rows.iter().map(|row| read(sql, row)).collect()
    }

    /// Runs the statements of a schema file.
    pub(super) async fn schema(&mut self, text: &str) -> Result<(), Error> {
        for statement in dialect::schema_for_postgres(text) {
            self.batch("schema", &statement).await?;
        }
        Ok(())
    }

    async fn prepare(&mut self, sql: &'static str, args: &[Value]) -> Result<Statement, Error> {
        let statement = self.call(sql, async |client| client.prepare_cached(sql).await).await?;
        if statement.params().len() == args.len() { Ok(statement) } else { Err(Error::defect(sql, ARGUMENTS)) }
    }

    async fn commit(mut self, faults: &Faults) -> Result<(), Error> {
        faults.meet(COMMIT)?;
        let committed = self.batch(COMMIT, COMMIT).await;
        if !self.spoiled {
            // The transaction has ended either way: back to the pool, without a rollback.
            self.client = None;
        }
        committed?;
        faults.meet(COMMITTED)
    }

    async fn batch(&mut self, operation: &'static str, sql: &str) -> Result<(), Error> {
        self.call(operation, async |client| client.batch_execute(sql).await).await
    }

    /// Sends something and waits for its answer, within the session's patience.
    async fn call<T>(
        &mut self,
        operation: &'static str,
        send: impl AsyncFnOnce(&Object) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        let Self { client: Some(client), spoiled, patience } = self else {
            return Err(Error::new(operation, Kind::Unavailable));
        };
        *spoiled = true;
        let answer = match timeout(patience.saturating_add(ANSWER_GRACE), send(client)).await {
            Ok(answer) => answer.map_err(|error| classify(operation, error)),
            Err(elapsed) => {
                let kind = if operation == COMMIT { Kind::CommitUnknown } else { Kind::Unavailable };
                Err(Error::new(operation, kind).because(elapsed))
            }
        };
        *spoiled = matches!(&answer, Err(Error { kind: Kind::Unavailable | Kind::CommitUnknown, .. }));
        answer
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        // The first poll sends, and the server answers in order: whoever gets this connection next speaks after the
        // rollback. A connection in the middle of something is not waited for but closed.
        let sent = !self.spoiled && !matches!(client.batch_execute("ROLLBACK").now_or_never(), Some(Err(_)));
        if !sent {
            drop(Object::take(client));
        }
    }
}

fn start(begin: &str, patience: Duration) -> String {
    if patience == STATEMENT_WAIT {
        return begin.to_owned();
    }
    format!("{begin}; SET LOCAL statement_timeout = {}", patience.as_millis())
}

fn borrowed(args: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    args.iter().map(|arg| arg as &(dyn ToSql + Sync)).collect()
}

fn read(sql: &'static str, row: &tokio_postgres::Row) -> Result<Row, Error> {
    let value = |column| {
        let value = row.try_get::<_, Option<Value>>(column);
        value.map_err(|error| Error::new(sql, Kind::Corrupt { column }).because(error))
    };
    let values = (0..row.len()).map(|column| value(column).map(|value| value.unwrap_or(Value::Null)));
    Ok(Row::new(sql, values.collect::<Result<_, _>>()?))
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Int(number) if *ty == Type::INT8 => out.put_i64(*number),
            Self::Int(number) if *ty == Type::INT4 => out.put_i32(i32::try_from(*number)?),
            Self::Int(number) if *ty == Type::INT2 => out.put_i16(i16::try_from(*number)?),
            Self::Text(text) if is_text(ty) => out.put_slice(text.as_bytes()),
            Self::Blob(bytes) if *ty == Type::BYTEA => out.put_slice(bytes),
            Self::Overflow(number) => return Err(format!("{number} is more than a column holds").into()),
            Self::Int(_) | Self::Text(_) | Self::Blob(_) => return Err(format!("not a value of type {ty}").into()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'r> FromSql<'r> for Value {
    fn from_sql(ty: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *ty {
            Type::INT8 => Self::Int(i64::from_sql(ty, raw)?),
            Type::INT4 => Self::Int(i64::from(i32::from_sql(ty, raw)?)),
            Type::INT2 => Self::Int(i64::from(i16::from_sql(ty, raw)?)),
            Type::BOOL => Self::Int(i64::from(bool::from_sql(ty, raw)?)),
            Type::BYTEA => Self::Blob(Bytes::copy_from_slice(raw)),
            ref text if is_text(text) => Self::Text(std::str::from_utf8(raw)?.to_owned()),
            ref other => return Err(format!("the store does not use type {other}; cast it").into()),
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn is_text(ty: &Type) -> bool {
    [Type::TEXT, Type::VARCHAR, Type::NAME, Type::UNKNOWN].contains(ty)
}

/// What an error of PostgreSQL means.
fn classify(operation: &'static str, error: tokio_postgres::Error) -> Error {
    let kind = match error.code() {
        _ if operation == COMMIT && !tells_outcome(&error) => Kind::CommitUnknown,
        Some(code) => kind(code),
        None if error.is_closed() || is_io(&error) => Kind::Unavailable,
        None => Kind::Sql,
    };
    Error::new(operation, kind).because(error)
}

fn kind(code: &SqlState) -> Kind {
    match code {
        c if *c == SqlState::T_R_SERIALIZATION_FAILURE || *c == SqlState::T_R_DEADLOCK_DETECTED => Kind::Conflict,
        c if *c == SqlState::UNIQUE_VIOLATION => Kind::Unique,
        c if *c == SqlState::FOREIGN_KEY_VIOLATION => Kind::ForeignKey,
        c if *c == SqlState::QUERY_CANCELED || *c == SqlState::LOCK_NOT_AVAILABLE => Kind::Busy,
        // Connection exceptions, insufficient resources, operator intervention.
        c if ["08", "53", "57"].iter().any(|class| c.code().starts_with(class)) => Kind::Unavailable,
        c if *c == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => Kind::Unavailable,
        _ => Kind::Sql,
    }
}

/// Whether an error that met a commit says how it ended: nothing is known after a lost connection, and a session that
/// the server ends may be ended after its commit.
fn tells_outcome(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|answer| {
        let fatal = matches!(answer.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        let unknown = [SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN, SqlState::TRANSACTION_RESOLUTION_UNKNOWN];
        !fatal && !unknown.contains(answer.code())
    })
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

fn unpooled(error: PoolError) -> Error {
    let kind = match &error {
        PoolError::Timeout(_) => Kind::Busy,
        PoolError::Backend(_) | PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            Kind::Unavailable
        }
    };
    Error::new("BEGIN", kind).because(error)
}

const WRITE: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE";
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// The server ends a statement after this.
const STATEMENT_WAIT: Duration = super::WRITE_WAIT;
/// We end the connection when the server did not answer this long after.
const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// The server ends a transaction that sends nothing for this long.
const IDLE_WAIT: Duration = Duration::from_secs(60);
const CONNECT_WAIT: Duration = Duration::from_secs(5);
const POOL_WAIT: Duration = Duration::from_secs(5);
/// How long it may take to find a connection that begins a transaction.
const BEGIN_WAIT: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Re-runs of a write that loses against others.
const TRIES_MAX: u32 = 20;
/// Doubled by every loss, and jittered.
const BACK_OFF: Duration = Duration::from_millis(4);
const BACK_OFF_MAX: Duration = Duration::from_millis(250);

//! SQLite in this process: one thread writes, a bounded set of connections reads.
//!
//! Every commit is synced before its answer. A lock file keeps a second server away. Statements run inline, also on
//! asynchronous threads: a read takes microseconds, less than handing it to another thread would.
//!
//! The writer alone copies the log into the database, where it can see a sync that failed: after that SQLite takes pages
//! for copied that may be lost, and only the whole log, copied anew at the next start, makes up for them (ADR 0021).

mod readers;
mod writer;

pub(super) use readers::Reader;

use super::dialect;
use super::error::{ARGUMENTS, Error, Kind};
use super::fault::Faults;
use super::tx::Apply;
use super::value::{Row, Value};
use crate::syncs::Syncs;
use readers::Readers;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, ToSql, ffi};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The file and its connections.
#[derive(Clone)]
pub(super) struct Engine {
    writer: writer::Handle,
    readers: Arc<Readers>,
}

impl Engine {
    /// Takes the lock, opens the file and starts the writer.
    pub(super) async fn open(path: PathBuf, faults: Arc<Faults>, syncs: Syncs) -> Result<Self, Error> {
        let opened = tokio::task::spawn_blocking(move || {
            let lock = Arc::new(lock(&path)?);
            let connection = connect(&path)?;
            empty_log(&connection)?;
            let writer = writer::start(connection, faults, syncs, lock.clone())?;
            Ok(Self { writer, readers: Arc::new(Readers::new(path, lock)) })
        });
        opened.await.map_err(|panic| Error::new("open", Kind::Panicked).because(panic))?
    }

    /// Runs a change on the writer's thread.
    pub(super) async fn write<A: Apply>(&self, change: Arc<A>, patience: Duration) -> Result<A::Out, A::Error> {
        self.writer.write(change, patience).await
    }

    /// Begins a read.
    pub(super) async fn read(&self) -> Result<Reader, Error> {
        Readers::begin(&self.readers).await
    }

    /// Finishes the writes that wait and closes the connections that no snapshot holds.
    pub(super) async fn close(self) {
        // The writer's is the last connection, and the one that copies what is in the log.
        self.readers.close();
        self.writer.stop().await;
    }
}

/// Runs a statement and says how many rows it changed.
pub(super) fn execute(connection: &Connection, sql: &'static str, args: &[Value]) -> Result<u64, Error> {
    let run = || prepare(connection, sql, args)?.raw_execute();
    run().map(|changed| changed as u64).map_err(|error| classify(sql, error))
}

/// All rows of a statement's answer.
pub(super) fn all(connection: &Connection, sql: &'static str, args: &[Value]) -> Result<Vec<Row>, Error> {
    let run = || {
        let mut statement = prepare(connection, sql, args)?;
        let columns = statement.column_count();
        let mut answer = statement.raw_query();
        let mut rows = Vec::new();
        while let Some(row) = answer.next()? {
            let mut values = Vec::with_capacity(columns);
            for column in 0..columns {
                values.push(value(row.get_ref(column)?, column)?);
            }
            rows.push(Row::new(sql, values));
        }
        Ok(rows)
    };
    run().map_err(|error| classify(sql, error))
}

/// Runs the statements of a schema file.
pub(super) fn schema(connection: &Connection, text: &str) -> Result<(), Error> {
    let mut statements = dialect::schema_for_sqlite(text).into_iter();
    statements.try_for_each(|sql| connection.execute_batch(&sql)).map_err(|error| classify("schema", error))
}

/// Prepares a statement and binds its arguments by name: SQLite numbers `$2` by where it first stands.
fn prepare<'c>(
    connection: &'c Connection,
    sql: &'static str,
    args: &[Value],
) -> Result<CachedStatement<'c>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(&dialect::statement_for_sqlite(sql))?;
    let count = statement.parameter_count();
    if count != args.len() {
        return Err(rusqlite::Error::InvalidParameterCount(args.len(), count));
    }
    for at in 1..=count {
        let name = statement.parameter_name(at).unwrap_or_default();
        let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        let arg = number.and_then(|number| args.get(number.checked_sub(1)?));
        let arg = arg.ok_or_else(|| rusqlite::Error::InvalidParameterName(name.to_owned()))?;
        statement.raw_bind_parameter(at, arg)?;
    }
    Ok(statement)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Null => Ok(ToSqlOutput::Borrowed(ValueRef::Null)),
            Self::Int(number) => Ok(ToSqlOutput::Borrowed(ValueRef::Integer(*number))),
            Self::Text(text) => Ok(ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))),
            Self::Blob(bytes) => Ok(ToSqlOutput::Borrowed(ValueRef::Blob(bytes))),
            Self::Overflow(number) => {
                let text = format!("{number} is more than a column holds");
                Err(rusqlite::Error::ToSqlConversionFailure(text.into()))
            }
        }
    }
}

fn value(value: ValueRef<'_>, column: usize) -> Result<Value, rusqlite::Error> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::Int(number)),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Ok(Value::Text(text.to_owned())),
            Err(error) => Err(rusqlite::Error::Utf8Error(column, error)),
        },
        ValueRef::Blob(bytes) => Ok(Value::Blob(bytes.to_vec().into())),
        ValueRef::Real(_) => {
            let kind = rusqlite::types::Type::Real;
            Err(rusqlite::Error::InvalidColumnType(column, "fractions have no column".to_owned(), kind))
        }
    }
}

/// What an error of SQLite means.
fn classify(operation: &'static str, error: rusqlite::Error) -> Error {
    let kind = match &error {
        rusqlite::Error::SqliteFailure(failure, _) => kind(*failure),
        rusqlite::Error::Utf8Error(column, _) | rusqlite::Error::InvalidColumnType(column, _, _) => {
            Kind::Corrupt { column: *column }
        }
        rusqlite::Error::InvalidParameterCount(..) | rusqlite::Error::InvalidParameterName(_) => {
            Kind::Defect { rule: ARGUMENTS }
        }
        _ => Kind::Sql,
    };
    Error::new(operation, kind).because(error)
}

fn kind(failure: ffi::Error) -> Kind {
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Kind::Busy,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Kind::Damaged,
        ErrorCode::SystemIoFailure | ErrorCode::DiskFull | ErrorCode::CannotOpen | ErrorCode::ReadOnly => {
            Kind::Unavailable
        }
        ErrorCode::ConstraintViolation => match failure.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
                Kind::Unique
            }
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Kind::ForeignKey,
            _ => Kind::Sql,
        },
        _ => Kind::Sql,
    }
}

/// Opens a connection; the write-ahead log is synced at every commit.
fn connect(path: &Path) -> Result<Connection, Error> {
    create(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        // Else a statement is prepared anew whenever an argument is bound that its plan could depend on.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA secure_delete = ON; PRAGMA journal_size_limit = {WAL_BYTES_MAX}; PRAGMA trusted_schema = OFF; \
             PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 0;"
        ))?;
        Ok(connection)
    };
    open().map_err(|error| classify("open", error))
}

/// Copies what an earlier process left in the log into the database, all of it anew, and empties the log: what that
/// process could not sync is as if it had been written now.
fn empty_log(connection: &Connection) -> Result<(), Error> {
    match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)) {
        Ok(0) => Ok(()),
        Ok(_busy) => {
            tracing::warn!("another program reads the metadata; its log is left as it is");
            Ok(())
        }
        // A full disk keeps nobody from reading.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            tracing::warn!(%error, "the metadata's log cannot be copied into the database");
            Ok(())
        }
        Err(error) => Err(classify("open", error)),
    }
}

/// Whether a sync failed, and not what comes before it.
fn is_failed_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|failure| failure.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

/// Takes the lock file; it is held as long as the file is open, and let go by the system when the process dies.
fn lock(path: &Path) -> Result<File, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let file = create(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new("lock", Kind::Locked { path })),
        Err(TryLockError::Error(error)) => Err(Error::new("lock", Kind::Unavailable).because(error)),
    }
}

/// Opens a file, making it readable by its owner alone if it is not there; SQLite gives its log the same mode.
fn create(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .map_err(|error| Error::new("open", Kind::Unavailable).because(format!("{}: {error}", path.display())))
}

/// How long a statement waits for another process, such as a backup, that holds the file.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Prepared statements per connection: more than the store has.
const STATEMENTS_MAX: usize = 512;
/// The log is cut to this after a checkpoint.
const WAL_BYTES_MAX: u32 = 64 << 20;
/// The disk that fails, as an operator calls it.
const WHAT: &str = "the metadata store";

//! What went wrong in the store, by meaning rather than by engine.
//!
//! `Display` names the statement and the kind; the engine's own words are the source, for the log only.

use crate::error::{self, Reason};
use std::path::PathBuf;
use std::sync::Arc;

/// A failure of the metadata store.
#[derive(Clone, Debug, thiserror::Error)]
#[error("store: {operation}: {kind}")]
pub struct Error {
    /// The beginning of the statement that failed, or the step: `BEGIN`, `COMMIT`, `open`.
    pub operation: &'static str,
    /// What the failure means.
    pub kind: Kind,
    #[source]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What a failure of the store means, the same on every engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kind {
    /// The database cannot be reached, has been closed, or its disk fails; nothing was committed.
    #[error("the database does not answer")]
    Unavailable,
    /// A bounded wait ran out: for a connection, a place in the queue, a lock or a statement; nothing was committed.
    #[error("the database is busy")]
    Busy,
    /// Another transaction won, also after every re-run; nothing was committed.
    #[error("the write met concurrent writes too often")]
    Conflict,
    /// The connection or disk failed while committing: the change may or may not have happened.
    #[error("the outcome of the commit is unknown")]
    CommitUnknown,
    /// Another server holds the database.
    #[error("{} is held by another running server; stop it, or use PostgreSQL for more than one node", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The database was written by a newer release.
    #[error("the database has schema version {found}, this release knows up to {known}: run a newer release")]
    Schema {
        /// The version that the database has.
        found: i64,
        /// The newest version that this release knows.
        known: i64,
    },
    /// A stored value is not what its column holds.
    #[error("column {column} does not hold what it should")]
    Corrupt {
        /// The column's index in the statement's answer, from 0.
        column: usize,
    },
    /// The disk of the database does not sync; nothing is written any more.
    #[error("the database takes no writes until the server is started again")]
    Ended,
    /// The database file itself is damaged.
    #[error("the database file is damaged")]
    Damaged,
    /// A row with the same key is there already.
    #[error("a unique constraint is violated")]
    Unique,
    /// A row that another one refers to is missing, or still referred to.
    #[error("a foreign key is violated")]
    ForeignKey,
    /// The engine refuses the statement.
    #[error("the statement failed")]
    Sql,
    /// A change panicked; it was rolled back.
    #[error("the change panicked")]
    Panicked,
    /// The code that uses the store breaks one of its rules.
    #[error("{rule}")]
    Defect {
        /// The rule.
        rule: &'static str,
    },
    /// The settings cannot be understood.
    #[error("the PostgreSQL URL cannot be read")]
    Url,
}

impl Error {
    /// A failure without a cause of its own.
    #[must_use]
    pub fn new(operation: &'static str, kind: Kind) -> Self {
        Self { operation: label(operation), kind, source: None }
    }

    /// Whether a row with the same key is there already.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        self.kind == Kind::Unique
    }

    /// Whether a row that another one refers to is missing, or still referred to.
    #[must_use]
    pub fn is_foreign_key_violation(&self) -> bool {
        self.kind == Kind::ForeignKey
    }

    /// A broken rule of the store.
    pub(super) fn defect(operation: &'static str, rule: &'static str) -> Self {
        Self::new(operation, Kind::Defect { rule })
    }

    /// Keeps the cause for the log.
    /// A value that cannot be written as text.
    pub(super) fn encode(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::defect("encode", "a value to be stored as text can be written as text").because(source)
    }

    /// A stored text that is not what it should be.
    pub(super) fn decode(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new("decode", Kind::Corrupt { column: 0 }).because(source)
    }

    pub(super) fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        match error.kind {
            Kind::Unavailable => {
                let text = "the metadata store cannot be reached, or its disk is full; nothing was stored";
                Self::new(Reason::Unavailable, text).because(error)
            }
            Kind::Ended => {
                let text = "the metadata store takes no writes: its disk does not sync them; reads go on; once the disk \
                            is sound, its operator must restart the server";
                Self::new(Reason::Unavailable, text).because(error)
            }
            Kind::Busy | Kind::Conflict => {
                Self::new(Reason::Unavailable, "the metadata store does not answer in time; try again").because(error)
            }
            Kind::CommitUnknown => {
                let text =
                    "the metadata store failed while committing; look whether the change happened before repeating it";
                Self::new(Reason::Unavailable, text).because(error)
            }
            Kind::Locked { .. }
            | Kind::Schema { .. }
            | Kind::Corrupt { .. }
            | Kind::Damaged
            | Kind::Unique
            | Kind::ForeignKey
            | Kind::Sql
            | Kind::Panicked
            | Kind::Defect { .. }
            | Kind::Url => Self::internal(error),
        }
    }
}

/// The first line of a statement, at most [`LABEL_BYTES_MAX`] bytes of it.
fn label(sql: &'static str) -> &'static str {
    let line = sql.trim_start().lines().next().unwrap_or_default();
    line.get(..LABEL_BYTES_MAX).unwrap_or(line).trim_end()
}

/// The rule about arguments, which both engines check.
pub(super) const ARGUMENTS: &str = "the arguments of a statement are $1 to $n, each used";
/// Enough to find the statement in the source; a statement never contains data.
const LABEL_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::{Error, Kind, Reason, error};
    use std::error::Error as _;

    #[test]
    fn an_error_names_its_statement_and_hides_its_cause() {
        let error = Error::new("\n  SELECT a,\n  b FROM c", Kind::Sql).because("password=hunter2");
        assert_eq!(error.to_string(), "store: SELECT a,: the statement failed");
        assert_eq!(error.source().unwrap().to_string(), "password=hunter2");
    }

    #[test]
    fn what_may_succeed_later_is_unavailable_and_the_rest_is_internal() {
        let reason = |kind| error::Error::from(Error::new("COMMIT", kind)).reason;
        for kind in [Kind::Unavailable, Kind::Ended, Kind::Busy, Kind::Conflict, Kind::CommitUnknown] {
            assert_eq!(reason(kind), Reason::Unavailable);
        }
        for kind in [Kind::Sql, Kind::Panicked, Kind::Corrupt { column: 1 }, Kind::Unique] {
            assert_eq!(reason(kind), Reason::Internal);
        }
    }
}

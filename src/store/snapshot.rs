//! A read transaction that its holder owns: everything read through it is of one instant.
//!
//! The instant is that of the first statement. It cannot write. Dropping it ends the transaction before its
//! connection serves anyone else.

use super::error::Error;
use super::fault::Faults;
use super::tx::{Executor, Tx};
use super::{postgres, sqlite};
use std::sync::Arc;

/// A consistent view of the store.
pub struct Snapshot {
    reading: Reading,
    faults: Arc<Faults>,
    failed: Option<Error>,
}

/// The connection that reads.
pub(super) enum Reading {
    Sqlite(sqlite::Reader),
    Postgres(postgres::Session),
}

impl Snapshot {
    pub(super) fn new(reading: Reading, faults: Arc<Faults>) -> Self {
        Self { reading, faults, failed: None }
    }

    /// The transaction, for statements that read.
    pub fn tx(&mut self) -> Tx<'_> {
        let executor = match &mut self.reading {
            Reading::Sqlite(reader) => Executor::Sqlite(reader.connection()),
            Reading::Postgres(session) => Executor::Postgres(session),
        };
        Tx::new(executor, &self.faults, &mut self.failed)
    }
}

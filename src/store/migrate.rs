//! The schema's history: each file runs once, in order, in a transaction of its own; there is no way back.
//!
//! Two nodes that start at once on one PostgreSQL are safe: the row that claims a version is written before its
//! tables are, so the second node waits for it, loses, looks again and finds the work done.

use super::Store;
use super::error::{Error, Kind};
use super::tx::{Apply, Done, Tx};
use super::value::args;
use std::sync::Arc;
use std::time::Duration;

/// The schema files in order; the first is version 1. A released file is never edited, only followed.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_locks.sql"),
    include_str!("migrations/0003_storage.sql"),
    include_str!("migrations/0004_oidc.sql"),
    include_str!("migrations/0005_managed_policies.sql"),
    include_str!("migrations/0006_mfa.sql"),
    include_str!("migrations/0007_aws_roles.sql"),
];

/// Brings the database to the newest version.
///
/// # Errors
/// `Schema` when the database is of a newer release.
pub(super) async fn run(store: &Store, migrations: &'static [&'static str]) -> Result<(), Error> {
    establish(store).await?;
    let found = version(store).await?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(Error::new("migrate", Kind::Schema { found, known }));
    }
    for (version, text) in (1..).zip(migrations).filter(|(version, _)| *version > found) {
        store.write_within(Arc::new(Step { version, text, now: store.now() }), MIGRATION_WAIT).await?;
    }
    Ok(())
}

/// The newest version whose file ran.
async fn version(store: &Store) -> Result<i64, Error> {
    let mut snapshot = store.snapshot().await?;
    snapshot.tx().one("SELECT coalesce(max(version), 0) FROM schema_version", args![]).await?.get(0)
}

/// Makes the table of versions; PostgreSQL's `IF NOT EXISTS` may fail when two nodes ask it at once, so ask again.
async fn establish(store: &Store) -> Result<(), Error> {
    let mut last = Ok(());
    for _ in 0..ESTABLISH_TRIES {
        last = store.write_within(Arc::new(Establish), MIGRATION_WAIT).await;
        match &last {
            Err(error) if error.is_unique_violation() || error.kind == Kind::Sql => store.pause(ESTABLISH_PAUSE).await,
            Ok(()) | Err(_) => break,
        }
    }
    last
}

struct Establish;

impl Apply for Establish {
    type Out = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, Error> {
        tx.schema(
            "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL);\n",
        )
        .await
        .map(Done::Commit)
    }
}

struct Step {
    version: i64,
    text: &'static str,
    now: crate::clock::Timestamp,
}

impl Apply for Step {
    type Out = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, Error> {
        let claim = "INSERT INTO schema_version (version, applied_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        if tx.execute(claim, args![self.version, self.now]).await? == 1 {
            tx.schema(self.text).await?;
        }
        Ok(Done::Commit(()))
    }
}

/// A migration may rewrite large tables.
const MIGRATION_WAIT: Duration = Duration::from_secs(900);
/// Each loss means that another node just made the table.
const ESTABLISH_TRIES: u32 = 5;
const ESTABLISH_PAUSE: Duration = Duration::from_millis(50);

//! What the collector did, run by run.

use super::value::{Row, args};
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::Uid;
use std::time::Duration;

/// What the collector did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Uploads given up.
    pub uploads: u64,
    /// Links without a manifest whose lease was over.
    pub links: u64,
    /// Objects that nothing links any more, and to which no link will be added.
    pub condemned: u64,
    /// Condemned objects whose grace was over and that were removed.
    pub objects: u64,
    /// Plaintext bytes of these.
    pub bytes: u64,
    /// Things that could not be removed.
    pub errors: u64,
    /// Why the last of them could not.
    pub last_error: Option<String>,
}

/// A run of the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionRow {
    /// Its id.
    pub id: Uid,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What it did.
    pub swept: Swept,
}

impl Tx<'_> {
    pub(crate) async fn collection_insert(&mut self, run: &CollectionRow) -> Result<(), Error> {
        self.execute(
            "INSERT INTO collections (id, started_at, took, uploads, links, condemned, objects, bytes, errors, last_error) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            args![
                run.id,
                run.started_at,
                u64::try_from(run.took.as_micros()).unwrap_or(u64::MAX),
                run.swept.uploads,
                run.swept.links,
                run.swept.condemned,
                run.swept.objects,
                run.swept.bytes,
                run.swept.errors,
                run.swept.last_error.as_deref()
            ],
        )
        .await?;
        Ok(())
    }

    /// Forgets all runs but the newest.
    pub(crate) async fn collection_trim(&mut self, kept: u32) -> Result<u64, Error> {
        self.execute(
            "DELETE FROM collections WHERE id NOT IN \
             (SELECT id FROM collections ORDER BY started_at DESC, id DESC LIMIT $1)",
            args![kept],
        )
        .await
    }

    /// The newest runs, the newest first.
    pub async fn collection_list(&mut self, limit: u32) -> Result<Vec<CollectionRow>, Error> {
        let rows = self
            .all(
                "SELECT id, started_at, took, uploads, links, condemned, objects, bytes, errors, last_error \
                 FROM collections ORDER BY started_at DESC, id DESC LIMIT $1",
                args![limit],
            )
            .await?;
        rows.iter().map(collection).collect()
    }
}

fn collection(row: &Row) -> Result<CollectionRow, Error> {
    Ok(CollectionRow {
        id: row.get(0)?,
        started_at: row.get(1)?,
        took: Duration::from_micros(row.get(2)?),
        swept: Swept {
            uploads: row.get(3)?,
            links: row.get(4)?,
            condemned: row.get(5)?,
            objects: row.get(6)?,
            bytes: row.get(7)?,
            errors: row.get(8)?,
            last_error: row.get(9)?,
        },
    })
}

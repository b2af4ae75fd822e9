//! What is set aside because its stored bytes are damaged, and what became of it.

use super::value::{Row, args};
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, Digest, RepositoryName, Uid};

/// A repository's blob whose object is, or was, damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineRow {
    /// The damaged object.
    pub blob: Uid,
    /// The repository.
    pub repository: Uid,
    /// Its account.
    pub account: AccountId,
    /// Its name.
    pub name: RepositoryName,
    /// The blob's digest.
    pub digest: Digest,
    /// Its plaintext bytes.
    pub size: u64,
    /// What is wrong with the object, in words.
    pub reason: String,
    /// When it was set aside.
    pub quarantined_at: Timestamp,
    /// When a repair was tried last.
    pub tried_at: Option<Timestamp>,
    /// Why that did not succeed.
    pub last_error: Option<String>,
    /// When a sound object took its place.
    pub repaired_at: Option<Timestamp>,
    /// Where that came from, in words.
    pub repaired_from: Option<String>,
}

/// A place in the list of quarantines: when, the object, the repository.
pub type Place = (Timestamp, Uid, Uid);

/// A statement that reads quarantines `q` with their repositories `r`, from its `WHERE` on.
macro_rules! select_quarantine {
    ($where:literal) => {
        concat!(
            "SELECT q.blob, q.repository, r.account, r.name, q.digest, q.size, q.reason, q.quarantined_at, q.tried_at, ",
            "q.last_error, q.repaired_at, q.repaired_from FROM quarantines q JOIN repositories r ON r.uid = q.repository ",
            $where
        )
    };
}

impl Tx<'_> {
    /// Marks an object as damaged; false when it was, or is condemned or gone.
    pub(crate) async fn blob_quarantine(&mut self, blob: Uid, at: Timestamp) -> Result<bool, Error> {
        let marked = self
            .execute(
                "UPDATE blobs SET quarantined_at = $2 WHERE uid = $1 AND quarantined_at IS NULL AND condemned_at IS NULL",
                args![blob, at],
            )
            .await?;
        Ok(marked > 0)
    }

    /// Notes a repository's blob whose object is marked as damaged; false when the repository no longer links it, or it
    /// was noted before.
    pub(crate) async fn quarantine_insert(
        &mut self,
        blob: Uid,
        repository: Uid,
        reason: &str,
        at: Timestamp,
    ) -> Result<bool, Error> {
        let noted = self
            .execute(
                "INSERT INTO quarantines (blob, repository, digest, size, reason, quarantined_at) \
                 SELECT l.blob, l.repository, l.digest, b.size, CAST($3 AS TEXT), CAST($4 AS BIGINT) \
                 FROM links l JOIN blobs b ON b.uid = l.blob \
                 WHERE l.blob = $1 AND l.repository = $2 AND b.quarantined_at IS NOT NULL \
                 ON CONFLICT (blob, repository) DO NOTHING",
                args![blob, repository, reason, at],
            )
            .await?;
        Ok(noted > 0)
    }

    /// The quarantines after a place, the oldest first, with those that were repaired.
    pub async fn quarantine_list(&mut self, after: Place, limit: u32) -> Result<Vec<QuarantineRow>, Error> {
        let rows = self
            .all(
                select_quarantine!(
                    "WHERE q.quarantined_at > $1 OR (q.quarantined_at = $1 AND (q.blob > $2 \
                 OR (q.blob = $2 AND q.repository > $3))) ORDER BY q.quarantined_at, q.blob, q.repository LIMIT $4"
                ),
                args![after.0, after.1, after.2, limit],
            )
            .await?;
        rows.iter().map(quarantine).collect()
    }

    /// Blobs of any repository, or of one, that wait for their repair and for which none was tried since a moment.
    pub async fn quarantine_waiting(
        &mut self,
        repository: Option<Uid>,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<QuarantineRow>, Error> {
        let rows = self
            .all(
                select_quarantine!(
                    "WHERE q.repaired_at IS NULL AND (q.tried_at IS NULL OR q.tried_at < $1) \
                 AND (CAST($2 AS BYTEA) IS NULL OR q.repository = $2) \
                 AND EXISTS (SELECT 1 FROM links l WHERE l.blob = q.blob AND l.repository = q.repository) \
                 ORDER BY coalesce(q.tried_at, 0), q.quarantined_at LIMIT $3"
                ),
                args![since, repository, limit],
            )
            .await?;
        rows.iter().map(quarantine).collect()
    }

    /// How many blobs wait for their repair.
    pub async fn quarantine_count(&mut self) -> Result<u64, Error> {
        self.one("SELECT count(*) FROM quarantines WHERE repaired_at IS NULL", args![]).await?.get(0)
    }

    /// Notes that a repair was tried, and why it did not succeed.
    pub(crate) async fn quarantine_tried(
        &mut self,
        blob: Uid,
        repository: Uid,
        error: &str,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.execute(
            "UPDATE quarantines SET tried_at = $4, last_error = $3 \
             WHERE blob = $1 AND repository = $2 AND repaired_at IS NULL",
            args![blob, repository, error, at],
        )
        .await?;
        Ok(())
    }

    /// Notes that a sound object took the place of a damaged one.
    pub(super) async fn quarantine_settle(
        &mut self,
        repository: Uid,
        digest: &Digest,
        from: &str,
        at: Timestamp,
    ) -> Result<(), Error> {
        let settled = self
            .execute(
                "UPDATE quarantines SET repaired_at = $4, repaired_from = $3, last_error = NULL \
                 WHERE repository = $1 AND digest = $2 AND repaired_at IS NULL",
                args![repository, digest, from, at],
            )
            .await?;
        self.counter_add("repaired", settled).await
    }

    /// Forgets what nothing links any more, and what was repaired up to a moment.
    pub(crate) async fn quarantine_sweep(&mut self, before: Timestamp) -> Result<u64, Error> {
        self.execute(
            "DELETE FROM quarantines WHERE repaired_at <= $1 OR (repaired_at IS NULL AND NOT EXISTS \
             (SELECT 1 FROM links l WHERE l.blob = quarantines.blob AND l.repository = quarantines.repository))",
            args![before],
        )
        .await
    }
}

fn quarantine(row: &Row) -> Result<QuarantineRow, Error> {
    Ok(QuarantineRow {
        blob: row.get(0)?,
        repository: row.get(1)?,
        account: row.get(2)?,
        name: row.get(3)?,
        digest: row.get(4)?,
        size: row.get(5)?,
        reason: row.get(6)?,
        quarantined_at: row.get(7)?,
        tried_at: row.get(8)?,
        last_error: row.get(9)?,
        repaired_at: row.get(10)?,
        repaired_from: row.get(11)?,
    })
}

//! Locks: what must not be deleted.

use super::value::{Row, args};
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{Digest, Protected, Tag, Uid};

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LockRow {
    /// What it protects.
    pub object: Protected,
    /// Why.
    pub reason: String,
    /// Who set it.
    pub creator: String,
    /// When it was set.
    pub created_at: Timestamp,
}

impl Tx<'_> {
    /// Sets a lock; false when there is one on the same object.
    pub(crate) async fn lock_insert(&mut self, repository: Uid, lock: &LockRow) -> Result<bool, Error> {
        let new = self
            .execute(
                "INSERT INTO locks (repository, object, reason, creator, created_at) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (repository, object) DO NOTHING",
                args![repository, &lock.object, lock.reason.as_str(), lock.creator.as_str(), lock.created_at],
            )
            .await?;
        Ok(new > 0)
    }

    /// Removes a lock; false when there is none.
    pub(crate) async fn lock_delete(&mut self, repository: Uid, object: &Protected) -> Result<bool, Error> {
        let gone =
            self.execute("DELETE FROM locks WHERE repository = $1 AND object = $2", args![repository, object]).await?;
        Ok(gone > 0)
    }

    /// A repository's locks after an object, in order; the repository's own comes first.
    pub async fn lock_list(&mut self, repository: Uid, after: Option<&str>, limit: u32) -> Result<Vec<LockRow>, Error> {
        let rows = self
            .all(
                "SELECT object, reason, creator, created_at FROM locks WHERE repository = $1 \
                 AND (CAST($2 AS TEXT) IS NULL OR object > $2) ORDER BY object LIMIT $3",
                args![repository, after, limit],
            )
            .await?;
        rows.iter().map(lock_row).collect()
    }

    /// The lock on a tag itself.
    pub async fn lock_of_tag(&mut self, repository: Uid, tag: &Tag) -> Result<Option<LockRow>, Error> {
        let row = self
            .opt(
                "SELECT object, reason, creator, created_at FROM locks WHERE repository = $1 AND object = $2",
                args![repository, tag],
            )
            .await?;
        row.as_ref().map(lock_row).transpose()
    }

    /// A lock on the repository itself.
    pub async fn lock_of_repository(&mut self, repository: Uid) -> Result<Option<LockRow>, Error> {
        let row = self
            .opt(
                "SELECT object, reason, creator, created_at FROM locks WHERE repository = $1 AND object = ''",
                args![repository],
            )
            .await?;
        row.as_ref().map(lock_row).transpose()
    }

    /// A lock that a manifest's deletion would break: on the repository, on the manifest or an index that contains it,
    /// or on a tag of one of them.
    pub async fn lock_reaching_manifest(&mut self, repository: Uid, digest: &Digest) -> Result<Option<LockRow>, Error> {
        const SQL: &str = "WITH RECURSIVE up (digest) AS (SELECT m.digest FROM manifests m \
            WHERE m.repository = $1 AND m.digest = $2 UNION SELECT e.parent FROM up JOIN edges e \
            ON e.repository = $1 AND e.kind = 'child' AND e.child = up.digest) \
            SELECT l.object, l.reason, l.creator, l.created_at FROM locks l WHERE l.repository = $1 \
            AND (l.object = '' OR l.object IN (SELECT digest FROM up) OR l.object IN \
            (SELECT t.tag FROM up JOIN tags t ON t.repository = $1 AND t.digest = up.digest)) \
            ORDER BY l.object LIMIT 1";
        let row = self.opt(SQL, args![repository, digest]).await?;
        row.as_ref().map(lock_row).transpose()
    }
}

fn lock_row(row: &Row) -> Result<LockRow, Error> {
    Ok(LockRow { object: row.get(0)?, reason: row.get(1)?, creator: row.get(2)?, created_at: row.get(3)? })
}

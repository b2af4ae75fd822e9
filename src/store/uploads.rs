//! Uploads in progress: how far each is durable, and what is needed to go on after a restart.

use super::blobs::WrappedKey;
use super::value::{Row, args};
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, Digest, Uid};

/// An upload in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRow {
    /// Its id.
    pub uid: Uid,
    /// The repository it will belong to.
    pub repository: Uid,
    /// Who may go on with it: a caller's unique id, or a replication source.
    pub principal: String,
    /// The object that is being written.
    pub blob: Uid,
    /// Its data key, wrapped.
    pub key: WrappedKey,
    /// Durable plaintext bytes.
    pub size: u64,
    /// The parts table so far.
    pub parts: Vec<u8>,
    /// The hash state at `size`; empty at the beginning.
    pub hash_state: Vec<u8>,
    /// Whether SHA-512 is computed beside SHA-256.
    pub sha512: bool,
    /// The digest it must have, if that is known in advance.
    pub digest: Option<Digest>,
    /// When it is given up.
    pub expires_at: Timestamp,
}

/// How far an upload has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Durable plaintext bytes.
    pub size: u64,
    /// The parts table.
    pub parts: Vec<u8>,
    /// The hash state at `size`.
    pub hash_state: Vec<u8>,
}

impl Tx<'_> {
    pub(crate) async fn upload_insert(&mut self, upload: &UploadRow, at: Timestamp) -> Result<(), Error> {
        self.execute(
            "INSERT INTO uploads (uid, repository, principal, blob, branch_version, salt, wrapped, size, parts, \
             hash_state, digest, expires_at, created_at, sha512) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
            args![
                upload.uid,
                upload.repository,
                upload.principal.as_str(),
                upload.blob,
                upload.key.branch_version,
                upload.key.salt.as_slice(),
                upload.key.wrapped.as_slice(),
                upload.size,
                upload.parts.as_slice(),
                upload.hash_state.as_slice(),
                upload.digest,
                upload.expires_at,
                at,
                upload.sha512
            ],
        )
        .await?;
        Ok(())
    }

    /// An upload of a repository.
    pub async fn upload(&mut self, repository: Uid, uid: Uid) -> Result<Option<UploadRow>, Error> {
        let row = self
            .opt(
                "SELECT uid, repository, principal, blob, branch_version, salt, wrapped, size, parts, hash_state, \
                 digest, expires_at, sha512 FROM uploads WHERE repository = $1 AND uid = $2",
                args![repository, uid],
            )
            .await?;
        row.as_ref().map(upload_row).transpose()
    }

    /// The unfinished upload of a blob by one principal, the furthest first.
    pub async fn upload_of_digest(
        &mut self,
        repository: Uid,
        principal: &str,
        digest: &Digest,
    ) -> Result<Option<UploadRow>, Error> {
        let row = self
            .opt(
                "SELECT uid, repository, principal, blob, branch_version, salt, wrapped, size, parts, hash_state, \
                 digest, expires_at, sha512 FROM uploads WHERE repository = $1 AND principal = $2 AND digest = $3 \
                 ORDER BY size DESC LIMIT 1",
                args![repository, principal, digest],
            )
            .await?;
        row.as_ref().map(upload_row).transpose()
    }

    /// How many uploads a principal has open in a repository.
    pub async fn upload_count(&mut self, repository: Uid, principal: &str) -> Result<i64, Error> {
        self.one("SELECT count(*) FROM uploads WHERE repository = $1 AND principal = $2", args![repository, principal])
            .await?
            .get(0)
    }

    /// Moves an upload forward; false when it is gone or not where it was thought to be.
    pub(crate) async fn upload_advance(
        &mut self,
        uid: Uid,
        from: u64,
        to: &Progress,
        expires_at: Timestamp,
    ) -> Result<bool, Error> {
        let moved = self
            .execute(
                "UPDATE uploads SET size = $3, parts = $4, hash_state = $5, expires_at = $6 WHERE uid = $1 AND size = $2",
                args![uid, from, to.size, to.parts.as_slice(), to.hash_state.as_slice(), expires_at],
            )
            .await?;
        Ok(moved > 0)
    }

    /// Ends an upload; false when it is gone already.
    pub(crate) async fn upload_delete(&mut self, uid: Uid) -> Result<bool, Error> {
        Ok(self.execute("DELETE FROM uploads WHERE uid = $1", args![uid]).await? > 0)
    }

    /// Uploads whose time is over, with the account and object of each.
    pub(crate) async fn upload_expired(
        &mut self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Uid, AccountId, Uid)>, Error> {
        let rows = self
            .all(
                "SELECT u.uid, r.account, u.blob FROM uploads u JOIN repositories r ON r.uid = u.repository \
                 WHERE u.expires_at < $1 ORDER BY u.expires_at LIMIT $2",
                args![now, limit],
            )
            .await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).collect()
    }

    /// How many uploads' time is over.
    pub async fn upload_expired_count(&mut self, now: Timestamp) -> Result<u64, Error> {
        self.one("SELECT count(*) FROM uploads WHERE expires_at < $1", args![now]).await?.get(0)
    }

    /// Whether an upload is still open.
    pub async fn upload_exists(&mut self, uid: Uid) -> Result<bool, Error> {
        Ok(self.opt("SELECT 1 FROM uploads WHERE uid = $1", args![uid]).await?.is_some())
    }
}

fn upload_row(row: &Row) -> Result<UploadRow, Error> {
    Ok(UploadRow {
        uid: row.get(0)?,
        repository: row.get(1)?,
        principal: row.get(2)?,
        blob: row.get(3)?,
        key: WrappedKey { branch_version: row.get(4)?, salt: row.get(5)?, wrapped: row.get(6)? },
        size: row.get(7)?,
        parts: row.get(8)?,
        hash_state: row.get(9)?,
        digest: row.get(10)?,
        expires_at: row.get(11)?,
        sha512: row.get(12)?,
    })
}

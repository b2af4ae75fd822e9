//! Blob objects and the (repository, blob) edges through which alone they are reached.

use super::value::{Row, args};
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, Arn, Digest, RepositoryName, Uid};

/// A sealed object at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRow {
    /// Names the object on disk.
    pub uid: Uid,
    /// The account whose object it is.
    pub account: AccountId,
    /// The KMS key under which it was sealed.
    pub kms_key: Arn,
    /// The digest under which its plaintext is known.
    pub digest: Digest,
    /// The SHA-256 of its plaintext, if `digest` is another.
    pub sha256: Option<Digest>,
    /// Plaintext bytes.
    pub size: u64,
    /// Ciphertext segment size in bytes.
    pub segment: u32,
    /// The parts table: `header[40] | u32be plain_len` for each part.
    pub parts: Vec<u8>,
    /// Binds the data key to digest, size and parts.
    pub commitment: [u8; 32],
    /// When its bytes were last hashed.
    pub verified_at: Timestamp,
    /// Since when it is known to be damaged: no link is added to it, and nobody is served it.
    pub quarantined_at: Option<Timestamp>,
}

/// A data key, wrapped by a branch key of a repository for one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// The branch key's version.
    pub branch_version: u32,
    /// The wrapping's salt.
    pub salt: [u8; 16],
    /// The wrapped data key.
    pub wrapped: [u8; 48],
}

/// The edge from a repository to a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRow {
    /// The repository.
    pub repository: Uid,
    /// The digest under which the repository holds it.
    pub digest: Digest,
    /// The object.
    pub blob: Uid,
    /// The data key, wrapped for this edge.
    pub key: WrappedKey,
    /// The account from which its bytes arrived by replication, if they did.
    pub source_account: Option<AccountId>,
    /// Until then it needs no manifest to stay.
    pub lease_until: Timestamp,
}

/// A statement that reads links `l` with their blobs `b`, from its `FROM` on.
macro_rules! select_link {
    ($from:literal) => {
        concat!(
            "SELECT l.repository, l.digest, l.blob, l.branch_version, l.salt, l.wrapped, l.source_account, ",
            "l.lease_until, b.account, b.kms_key, b.size, b.segment, b.parts, b.commitment, b.verified_at, b.sha256, ",
            "b.quarantined_at ",
            $from
        )
    };
}

impl Tx<'_> {
    /// The blob that a repository holds under a digest.
    pub async fn link(&mut self, repository: Uid, digest: &Digest) -> Result<Option<(LinkRow, BlobRow)>, Error> {
        let row = self
            .opt(
                select_link!("FROM links l JOIN blobs b ON b.uid = l.blob WHERE l.repository = $1 AND l.digest = $2"),
                args![repository, digest],
            )
            .await?;
        row.as_ref().map(link_and_blob).transpose()
    }

    /// Whether a repository holds a blob under a digest, and its object is not known to be damaged.
    pub async fn link_exists(&mut self, repository: Uid, digest: &Digest) -> Result<bool, Error> {
        let row = self
            .opt(
                "SELECT 1 FROM links l JOIN blobs b ON b.uid = l.blob \
                 WHERE l.repository = $1 AND l.digest = $2 AND b.quarantined_at IS NULL",
                args![repository, digest],
            )
            .await?;
        Ok(row.is_some())
    }

    /// How many blobs a repository holds.
    pub async fn link_count(&mut self, repository: Uid) -> Result<u64, Error> {
        self.one("SELECT count(*) FROM links WHERE repository = $1", args![repository]).await?.get(0)
    }

    /// The repositories after one that link an object, with accounts and names, and whether its damage was noted there.
    pub async fn link_repositories(
        &mut self,
        blob: Uid,
        after: Uid,
        limit: u32,
    ) -> Result<Vec<(Uid, AccountId, RepositoryName, bool)>, Error> {
        let rows = self
            .all(
                "SELECT r.uid, r.account, r.name, CASE WHEN EXISTS (SELECT 1 FROM quarantines q \
                 WHERE q.blob = l.blob AND q.repository = l.repository) THEN 1 ELSE 0 END \
                 FROM links l JOIN repositories r ON r.uid = l.repository \
                 WHERE l.blob = $1 AND r.uid > $2 ORDER BY r.uid LIMIT $3",
                args![blob, after, limit],
            )
            .await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).collect()
    }

    /// A link to each other object with the same content that an account holds, whatever key it is sealed under.
    pub async fn link_copies(
        &mut self,
        account: AccountId,
        digest: &Digest,
        but: Uid,
        limit: u32,
    ) -> Result<Vec<(LinkRow, BlobRow)>, Error> {
        let rows = self
            .all(
                select_link!(
                    "FROM blobs b JOIN links l ON l.blob = b.uid WHERE b.account = $1 AND b.digest = $2 AND b.uid <> $3 \
                 AND b.condemned_at IS NULL AND b.quarantined_at IS NULL AND NOT EXISTS (SELECT 1 FROM links o \
                 WHERE o.blob = b.uid AND o.repository < l.repository) ORDER BY b.uid LIMIT $4"
                ),
                args![account, digest, but, limit],
            )
            .await?;
        rows.iter().map(link_and_blob).collect()
    }

    /// Linked objects that were last hashed before a moment, the oldest first, after one of them; a link of each.
    pub async fn blob_unverified(
        &mut self,
        before: Timestamp,
        after: (Timestamp, Uid),
        limit: u32,
    ) -> Result<Vec<(LinkRow, BlobRow)>, Error> {
        let rows = self
            .all(
                select_link!(
                    "FROM blobs b JOIN links l ON l.blob = b.uid WHERE b.verified_at < $1 \
                 AND (b.verified_at > $2 OR (b.verified_at = $2 AND b.uid > $3)) \
                 AND b.condemned_at IS NULL AND b.quarantined_at IS NULL AND NOT EXISTS (SELECT 1 FROM links o \
                 WHERE o.blob = b.uid AND o.repository < l.repository) ORDER BY b.verified_at, b.uid LIMIT $4"
                ),
                args![before, after.0, after.1, limit],
            )
            .await?;
        rows.iter().map(link_and_blob).collect()
    }

    /// How many linked objects were last hashed before a moment, and when the oldest of all was.
    pub async fn blob_unverified_count(&mut self, before: Timestamp) -> Result<(u64, Option<Timestamp>), Error> {
        let row = self
            .one(
                "SELECT count(CASE WHEN verified_at < $1 THEN 1 END), min(verified_at) FROM blobs b \
                 WHERE condemned_at IS NULL AND quarantined_at IS NULL \
                 AND EXISTS (SELECT 1 FROM links l WHERE l.blob = b.uid)",
                args![before],
            )
            .await?;
        Ok((row.get(0)?, row.get(1)?))
    }

    /// A repository's links after a digest, with their blobs.
    pub async fn link_list(
        &mut self,
        repository: Uid,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(LinkRow, BlobRow)>, Error> {
        let rows = self
            .all(
                select_link!(
                    "FROM links l JOIN blobs b ON b.uid = l.blob WHERE l.repository = $1 AND l.digest > $2 \
                 ORDER BY l.digest LIMIT $3"
                ),
                args![repository, after, limit],
            )
            .await?;
        rows.iter().map(link_and_blob).collect()
    }

    /// A link of another repository to the same content under the same account and key; any one of them.
    pub async fn link_elsewhere(
        &mut self,
        account: AccountId,
        kms_key: &Arn,
        digest: &Digest,
        source: Option<AccountId>,
    ) -> Result<Option<(LinkRow, BlobRow)>, Error> {
        let row = self
            .opt(
                select_link!(
                    "FROM blobs b JOIN links l ON l.blob = b.uid \
                 WHERE b.account = $1 AND b.kms_key = $2 AND b.digest = $3 AND b.condemned_at IS NULL \
                 AND b.quarantined_at IS NULL \
                 AND (CAST($4 AS TEXT) IS NULL OR l.source_account = $4) LIMIT 1"
                ),
                args![account, kms_key, digest, source],
            )
            .await?;
        row.as_ref().map(link_and_blob).transpose()
    }

    /// The repositories of an account that hold a digest under a key, by name.
    pub async fn link_holders(
        &mut self,
        account: AccountId,
        kms_key: &Arn,
        digest: &Digest,
        limit: u32,
    ) -> Result<Vec<RepositoryName>, Error> {
        let rows = self
            .all(
                "SELECT DISTINCT r.name FROM blobs b JOIN links l ON l.blob = b.uid \
                 JOIN repositories r ON r.uid = l.repository WHERE b.account = $1 AND b.kms_key = $2 \
                 AND b.digest = $3 AND b.condemned_at IS NULL AND b.quarantined_at IS NULL AND r.account = $1 ORDER BY r.name LIMIT $4",
                args![account, kms_key, digest, limit],
            )
            .await?;
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub(crate) async fn blob_insert(&mut self, blob: &BlobRow, at: Timestamp) -> Result<(), Error> {
        self.execute(
            "INSERT INTO blobs (uid, account, kms_key, digest, size, segment, parts, commitment, created_at, verified_at, \
             sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            args![
                blob.uid,
                blob.account,
                &blob.kms_key,
                blob.digest,
                blob.size,
                blob.segment,
                blob.parts.as_slice(),
                blob.commitment.as_slice(),
                at,
                blob.verified_at,
                blob.sha256
            ],
        )
        .await?;
        Ok(())
    }

    /// Adds a link; false when its object is gone, condemned or damaged. One that is there already keeps its object,
    /// unless that is damaged, and gains the longer lease and the source account. `from` says where the bytes come from,
    /// should this be a repair.
    pub(crate) async fn link_insert(&mut self, link: &LinkRow, from: &str, at: Timestamp) -> Result<bool, Error> {
        let sound = "SELECT 1 FROM blobs WHERE uid = $1 AND condemned_at IS NULL AND quarantined_at IS NULL";
        if self.opt(sound, args![link.blob]).await?.is_none() {
            return Ok(false);
        }
        if self.link_replace(link).await? {
            self.quarantine_settle(link.repository, &link.digest, from, at).await?;
        }
        self.execute(
            "INSERT INTO links (repository, digest, blob, branch_version, salt, wrapped, source_account, lease_until, \
             created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
             ON CONFLICT (repository, digest) DO UPDATE SET lease_until = \
             CASE WHEN links.lease_until > $8 THEN links.lease_until ELSE $8 END, \
             source_account = coalesce($7, links.source_account)",
            args![
                link.repository,
                link.digest,
                link.blob,
                link.key.branch_version,
                link.key.salt.as_slice(),
                link.key.wrapped.as_slice(),
                link.source_account,
                link.lease_until,
                at
            ],
        )
        .await?;
        Ok(true)
    }

    /// Leads a link to another object if its own is damaged; false when it is not, or there is no such link.
    async fn link_replace(&mut self, link: &LinkRow) -> Result<bool, Error> {
        let replaced = self
            .execute(
                "UPDATE links SET blob = $3, branch_version = $4, salt = $5, wrapped = $6 \
                 WHERE repository = $1 AND digest = $2 AND blob IN \
                 (SELECT uid FROM blobs WHERE quarantined_at IS NOT NULL)",
                args![
                    link.repository,
                    link.digest,
                    link.blob,
                    link.key.branch_version,
                    link.key.salt.as_slice(),
                    link.key.wrapped.as_slice()
                ],
            )
            .await?;
        Ok(replaced > 0)
    }

    /// Keeps a link until a moment even if no manifest names it; false when there is no such link, or its object is
    /// damaged.
    pub(crate) async fn link_lease(
        &mut self,
        repository: Uid,
        digest: &Digest,
        until: Timestamp,
        source: Option<AccountId>,
    ) -> Result<bool, Error> {
        let found = self
            .execute(
                "UPDATE links SET lease_until = CASE WHEN lease_until > $3 THEN lease_until ELSE $3 END, \
                 source_account = coalesce($4, source_account) WHERE repository = $1 AND digest = $2 \
                 AND blob IN (SELECT uid FROM blobs WHERE quarantined_at IS NULL)",
                args![repository, digest, until, source],
            )
            .await?;
        Ok(found > 0)
    }

    /// Removes a link.
    pub(crate) async fn link_delete(&mut self, repository: Uid, digest: &Digest) -> Result<(), Error> {
        self.execute("DELETE FROM links WHERE repository = $1 AND digest = $2", args![repository, digest]).await?;
        Ok(())
    }

    /// Removes links that no manifest names and whose lease is over; says how many.
    pub(crate) async fn link_sweep(&mut self, now: Timestamp) -> Result<u64, Error> {
        self.execute(
            "DELETE FROM links WHERE lease_until < $1 AND NOT EXISTS (SELECT 1 FROM edges e \
             WHERE e.repository = links.repository AND e.child = links.digest AND e.kind = 'blob')",
            args![now],
        )
        .await
    }

    /// Gives the blobs of a manifest, which is about to go, a lease: a client that was told a moment ago that one of them
    /// is here can still name it.
    pub(crate) async fn link_lease_of_manifest(
        &mut self,
        repository: Uid,
        manifest: &Digest,
        until: Timestamp,
    ) -> Result<(), Error> {
        self.execute(
            "UPDATE links SET lease_until = $3 WHERE repository = $1 AND lease_until < $3 AND digest IN \
             (SELECT child FROM edges WHERE repository = $1 AND parent = $2 AND kind = 'blob')",
            args![repository, manifest, until],
        )
        .await?;
        Ok(())
    }

    /// Condemns objects without a link, so that no link is added to them any more; says how many.
    pub(crate) async fn blob_condemn(&mut self, now: Timestamp) -> Result<u64, Error> {
        self.execute(
            "UPDATE blobs SET condemned_at = $1 WHERE condemned_at IS NULL \
             AND NOT EXISTS (SELECT 1 FROM links l WHERE l.blob = blobs.uid)",
            args![now],
        )
        .await
    }

    /// Objects that were condemned up to a moment, with their sizes.
    pub async fn blob_condemned(&mut self, before: Timestamp, limit: u32) -> Result<Vec<(AccountId, Uid, u64)>, Error> {
        let rows = self
            .all(
                "SELECT account, uid, size FROM blobs WHERE condemned_at IS NOT NULL AND condemned_at <= $1 \
                 ORDER BY condemned_at LIMIT $2",
                args![before, limit],
            )
            .await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).collect()
    }

    /// How many objects were condemned up to a moment, and their plaintext bytes.
    pub async fn blob_condemned_count(&mut self, before: Timestamp) -> Result<(u64, u64), Error> {
        let row = self
            .one(
                "SELECT count(*), CAST(coalesce(sum(size), 0) AS BIGINT) FROM blobs \
                 WHERE condemned_at IS NOT NULL AND condemned_at <= $1",
                args![before],
            )
            .await?;
        Ok((row.get(0)?, row.get(1)?))
    }

    /// Forgets a condemned object whose file is gone.
    pub(crate) async fn blob_forget(&mut self, uid: Uid) -> Result<(), Error> {
        self.execute("DELETE FROM blobs WHERE uid = $1 AND condemned_at IS NOT NULL", args![uid]).await?;
        Ok(())
    }

    /// Notes that an object's bytes were hashed and found right.
    pub(crate) async fn blob_verified(&mut self, uid: Uid, at: Timestamp) -> Result<(), Error> {
        self.execute("UPDATE blobs SET verified_at = $2 WHERE uid = $1", args![uid, at]).await?;
        Ok(())
    }
}

fn link_and_blob(row: &Row) -> Result<(LinkRow, BlobRow), Error> {
    let link = LinkRow {
        repository: row.get(0)?,
        digest: row.get(1)?,
        blob: row.get(2)?,
        key: WrappedKey { branch_version: row.get(3)?, salt: row.get(4)?, wrapped: row.get(5)? },
        source_account: row.get(6)?,
        lease_until: row.get(7)?,
    };
    let blob = BlobRow {
        uid: link.blob,
        account: row.get(8)?,
        kms_key: row.get(9)?,
        digest: link.digest,
        size: row.get(10)?,
        segment: row.get(11)?,
        parts: row.get(12)?,
        commitment: row.get(13)?,
        verified_at: row.get(14)?,
        sha256: row.get(15)?,
        quarantined_at: row.get(16)?,
    };
    Ok((link, blob))
}

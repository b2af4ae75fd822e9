//! Manifests, the edges they make, and tags.

use super::blobs::WrappedKey;
use super::value::{Row, args};
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{Digest, MediaType, PageSize, Tag, Uid};

/// A manifest: its facts in clear, its bytes sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRow {
    /// The repository.
    pub repository: Uid,
    /// The digest under which its bytes are known.
    pub digest: Digest,
    /// The SHA-256 of its bytes, if `digest` is another.
    pub sha256: Option<Digest>,
    /// Its media type.
    pub media_type: MediaType,
    /// The artifact's type, if it is one.
    pub artifact_type: Option<String>,
    /// Its annotations as a JSON object, kept for referrers.
    pub annotations: Option<String>,
    /// The manifest it refers to.
    pub subject: Option<Digest>,
    /// Its bytes.
    pub size: u64,
    /// Its bytes plus those of the blobs and manifests it names, as it states them.
    pub total_size: u64,
    /// Names the sealed object.
    pub uid: Uid,
    /// Its data key, wrapped.
    pub key: WrappedKey,
    /// The parts table of the sealed bytes.
    pub parts: Vec<u8>,
    /// Binds the data key to digest, size and parts.
    pub commitment: [u8; 32],
    /// The sealed bytes.
    pub sealed: Vec<u8>,
    /// When it arrived.
    pub pushed_at: Timestamp,
}

/// What a list of referrers says of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferrerRow {
    /// The digest under which its bytes are known.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// The artifact's type, if it is one.
    pub artifact_type: Option<String>,
    /// Its annotations as a JSON object.
    pub annotations: Option<String>,
    /// Its bytes.
    pub size: u64,
}

/// Why a manifest names another digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EdgeKind {
    /// A config or layer.
    Blob,
    /// A manifest of an index.
    Child,
    /// The manifest it refers to.
    Subject,
}

impl EdgeKind {
    /// The word in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Child => "child",
            Self::Subject => "subject",
        }
    }
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRow {
    /// The tag.
    pub tag: Tag,
    /// Where it points.
    pub digest: Digest,
    /// Rises with every move.
    pub version: i64,
    /// The registry that set it: `<account>/<region>`.
    pub origin: String,
}

/// A statement that reads manifests `m`, from its `FROM` on.
macro_rules! select_manifest {
    ($from:literal) => {
        concat!(
            "SELECT m.repository, m.digest, m.media_type, m.artifact_type, m.annotations, m.subject, m.size, ",
            "m.total_size, m.uid, m.branch_version, m.salt, m.wrapped, m.parts, m.commitment, m.sealed, m.pushed_at, m.sha256 ",
            $from
        )
    };
}

impl Tx<'_> {
    /// A manifest by digest.
    pub async fn manifest(&mut self, repository: Uid, digest: &Digest) -> Result<Option<ManifestRow>, Error> {
        const SQL: &str = select_manifest!("FROM manifests m WHERE m.repository = $1 AND m.digest = $2");
        let row = self.opt(SQL, args![repository, digest]).await?;
        row.as_ref().map(manifest_row).transpose()
    }

    /// A manifest by tag, in one statement.
    pub async fn manifest_by_tag(&mut self, repository: Uid, tag: &Tag) -> Result<Option<ManifestRow>, Error> {
        const SQL: &str = select_manifest!(
            "FROM tags t JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest \
            WHERE t.repository = $1 AND t.tag = $2"
        );
        let row = self.opt(SQL, args![repository, tag]).await?;
        row.as_ref().map(manifest_row).transpose()
    }

    /// Whether a repository holds a manifest.
    pub async fn manifest_exists(&mut self, repository: Uid, digest: &Digest) -> Result<bool, Error> {
        let row = self
            .opt("SELECT 1 FROM manifests WHERE repository = $1 AND digest = $2", args![repository, digest])
            .await?;
        Ok(row.is_some())
    }

    /// A repository's manifests after a digest.
    pub async fn manifest_list(
        &mut self,
        repository: Uid,
        after: &str,
        size: PageSize,
    ) -> Result<Vec<ManifestRow>, Error> {
        const SQL: &str =
            select_manifest!("FROM manifests m WHERE m.repository = $1 AND m.digest > $2 ORDER BY m.digest LIMIT $3");
        let rows = self.all(SQL, args![repository, after, size.rows()]).await?;
        rows.iter().map(manifest_row).collect()
    }

    /// The digests and sizes of the manifests that name another as their subject, after a digest and in order; those of
    /// one artifact type, if it is given.
    pub async fn referrer_sizes(
        &mut self,
        repository: Uid,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(Digest, u64)>, Error> {
        const SQL: &str = "SELECT digest, size FROM manifests WHERE repository = $1 AND subject = $2 \
            AND (CAST($3 AS TEXT) IS NULL OR artifact_type = $3) AND digest > $4 ORDER BY digest LIMIT $5";
        let rows = self.all(SQL, args![repository, subject, artifact_type, after, limit]).await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
    }

    /// The same manifests after a digest, up to and with another.
    pub async fn referrer_list(
        &mut self,
        repository: Uid,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: &str,
        last: &Digest,
    ) -> Result<Vec<ReferrerRow>, Error> {
        const SQL: &str = "SELECT digest, media_type, artifact_type, annotations, size FROM manifests \
            WHERE repository = $1 AND subject = $2 AND (CAST($3 AS TEXT) IS NULL OR artifact_type = $3) \
            AND digest > $4 AND digest <= $5 ORDER BY digest";
        let rows = self.all(SQL, args![repository, subject, artifact_type, after, last]).await?;
        rows.iter().map(referrer_row).collect()
    }

    /// Stores a manifest with its edges; one that is there already is left as it is.
    pub(crate) async fn manifest_insert(
        &mut self,
        row: &ManifestRow,
        edges: &[(EdgeKind, Digest)],
    ) -> Result<(), Error> {
        let new = self
            .execute(
                "INSERT INTO manifests (repository, digest, media_type, artifact_type, annotations, subject, size, \
                 total_size, uid, branch_version, salt, wrapped, parts, commitment, sealed, pushed_at, sha256) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
                 ON CONFLICT (repository, digest) DO NOTHING",
                args![
                    row.repository,
                    row.digest,
                    &row.media_type,
                    row.artifact_type.as_deref(),
                    row.annotations.as_deref(),
                    row.subject,
                    row.size,
                    row.total_size,
                    row.uid,
                    row.key.branch_version,
                    row.key.salt.as_slice(),
                    row.key.wrapped.as_slice(),
                    row.parts.as_slice(),
                    row.commitment.as_slice(),
                    row.sealed.as_slice(),
                    row.pushed_at,
                    row.sha256
                ],
            )
            .await?;
        if new == 0 {
            return Ok(());
        }
        for (kind, child) in edges {
            self.execute(
                "INSERT INTO edges (repository, parent, kind, child) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (repository, parent, kind, child) DO NOTHING",
                args![row.repository, row.digest, kind.as_str(), child],
            )
            .await?;
        }
        Ok(())
    }

    /// Removes a manifest with its edges and tags; false when there was none.
    pub(crate) async fn manifest_delete(&mut self, repository: Uid, digest: &Digest) -> Result<bool, Error> {
        self.execute("DELETE FROM tags WHERE repository = $1 AND digest = $2", args![repository, digest]).await?;
        self.execute("DELETE FROM edges WHERE repository = $1 AND parent = $2", args![repository, digest]).await?;
        let gone = self
            .execute("DELETE FROM manifests WHERE repository = $1 AND digest = $2", args![repository, digest])
            .await?;
        Ok(gone > 0)
    }

    /// What a manifest names in one way.
    pub async fn edge_children(
        &mut self,
        repository: Uid,
        parent: &Digest,
        kind: EdgeKind,
    ) -> Result<Vec<Digest>, Error> {
        let rows = self
            .all(
                "SELECT child FROM edges WHERE repository = $1 AND parent = $2 AND kind = $3 ORDER BY child",
                args![repository, parent, kind.as_str()],
            )
            .await?;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Whether some manifest names this digest as a blob or child.
    pub async fn edge_parent_exists(&mut self, repository: Uid, child: &Digest, kind: EdgeKind) -> Result<bool, Error> {
        let row = self
            .opt(
                "SELECT 1 FROM edges WHERE repository = $1 AND child = $2 AND kind = $3 LIMIT 1",
                args![repository, child, kind.as_str()],
            )
            .await?;
        Ok(row.is_some())
    }

    /// A tag.
    pub async fn tag(&mut self, repository: Uid, tag: &Tag) -> Result<Option<TagRow>, Error> {
        let row = self
            .opt(
                "SELECT tag, digest, version, origin FROM tags WHERE repository = $1 AND tag = $2",
                args![repository, tag],
            )
            .await?;
        row.as_ref().map(tag_row).transpose()
    }

    /// Sets a tag.
    pub(crate) async fn tag_put(&mut self, repository: Uid, row: &TagRow, at: Timestamp) -> Result<(), Error> {
        self.execute(
            "INSERT INTO tags (repository, tag, digest, version, origin, updated_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (repository, tag) DO UPDATE SET digest = $3, version = $4, origin = $5, updated_at = $6",
            args![repository, &row.tag, row.digest, row.version, row.origin.as_str(), at],
        )
        .await?;
        Ok(())
    }

    /// Removes a tag; false when there was none.
    pub(crate) async fn tag_delete(&mut self, repository: Uid, tag: &Tag) -> Result<bool, Error> {
        Ok(self.execute("DELETE FROM tags WHERE repository = $1 AND tag = $2", args![repository, tag]).await? > 0)
    }

    /// A repository's tags after one, in order.
    pub async fn tag_list(&mut self, repository: Uid, after: &str, limit: u32) -> Result<Vec<TagRow>, Error> {
        let rows = self
            .all(
                "SELECT tag, digest, version, origin FROM tags WHERE repository = $1 AND tag > $2 ORDER BY tag LIMIT $3",
                args![repository, after, limit],
            )
            .await?;
        rows.iter().map(tag_row).collect()
    }

    /// The tags that point at a manifest.
    pub async fn tags_of_manifest(&mut self, repository: Uid, digest: &Digest) -> Result<Vec<Tag>, Error> {
        let rows = self
            .all("SELECT tag FROM tags WHERE repository = $1 AND digest = $2 ORDER BY tag", args![repository, digest])
            .await?;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The tags by which a manifest is reached: its own, those of every index that contains it, those of its subject.
    pub async fn tags_reaching_manifest(&mut self, repository: Uid, digest: &Digest) -> Result<Vec<Tag>, Error> {
        const SQL: &str = "WITH RECURSIVE up (digest) AS (SELECT m.digest FROM manifests m \
            WHERE m.repository = $1 AND m.digest = $2 UNION \
            SELECT CASE WHEN e.kind = 'subject' THEN e.child ELSE e.parent END FROM up JOIN edges e \
            ON e.repository = $1 AND ((e.kind = 'child' AND e.child = up.digest) \
            OR (e.kind = 'subject' AND e.parent = up.digest))) \
            SELECT DISTINCT t.tag FROM up JOIN tags t ON t.repository = $1 AND t.digest = up.digest ORDER BY t.tag";
        let rows = self.all(SQL, args![repository, digest]).await?;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The tags by which a blob is reached: those of all manifests of the repository that name it.
    pub async fn tags_reaching_blob(&mut self, repository: Uid, digest: &Digest) -> Result<Vec<Tag>, Error> {
        const SQL: &str = "WITH RECURSIVE up (digest) AS (SELECT e.parent FROM edges e WHERE e.repository = $1 \
            AND e.kind = 'blob' AND e.child = $2 UNION \
            SELECT CASE WHEN e.kind = 'subject' THEN e.child ELSE e.parent END FROM up JOIN edges e \
            ON e.repository = $1 AND ((e.kind = 'child' AND e.child = up.digest) \
            OR (e.kind = 'subject' AND e.parent = up.digest))) \
            SELECT DISTINCT t.tag FROM up JOIN tags t ON t.repository = $1 AND t.digest = up.digest ORDER BY t.tag";
        let rows = self.all(SQL, args![repository, digest]).await?;
        rows.iter().map(|row| row.get(0)).collect()
    }
}

fn manifest_row(row: &Row) -> Result<ManifestRow, Error> {
    Ok(ManifestRow {
        repository: row.get(0)?,
        digest: row.get(1)?,
        media_type: row.get(2)?,
        artifact_type: row.get(3)?,
        annotations: row.get(4)?,
        subject: row.get(5)?,
        size: row.get(6)?,
        total_size: row.get(7)?,
        uid: row.get(8)?,
        key: WrappedKey { branch_version: row.get(9)?, salt: row.get(10)?, wrapped: row.get(11)? },
        parts: row.get(12)?,
        commitment: row.get(13)?,
        sealed: row.get(14)?,
        pushed_at: row.get(15)?,
        sha256: row.get(16)?,
    })
}

fn referrer_row(row: &Row) -> Result<ReferrerRow, Error> {
    Ok(ReferrerRow {
        digest: row.get(0)?,
        media_type: row.get(1)?,
        artifact_type: row.get(2)?,
        annotations: row.get(3)?,
        size: row.get(4)?,
    })
}

fn tag_row(row: &Row) -> Result<TagRow, Error> {
    Ok(TagRow { tag: row.get(0)?, digest: row.get(1)?, version: row.get(2)?, origin: row.get(3)? })
}

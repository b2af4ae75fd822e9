//! Repositories and their branch keys.

use super::registries::StoredPolicy;
use super::value::{Row, args};
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, Arn, PageSize, Region, RepositoryName, RepositoryRef, TagMutability, Uid};

/// A repository of this region.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RepositoryRow {
    /// Its id; another after it is deleted and made again.
    pub uid: Uid,
    /// The account.
    pub account: AccountId,
    /// The name.
    pub name: RepositoryName,
    /// The KMS key that wraps its branch keys.
    pub kms_key: Arn,
    /// The branch key in use for new objects.
    pub branch_version: u32,
    /// Whether a manifest may name what is not here; `None` leaves it to the registry.
    pub sparse_manifests: Option<bool>,
    /// Whether its tags may be moved.
    pub tag_mutability: TagMutability,
    /// Whether anybody may pull from it.
    pub public: bool,
    /// The repository policy.
    pub policy: Option<StoredPolicy>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A branch key of a repository, wrapped by a KMS key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchKeyRow {
    /// The version.
    pub version: u32,
    /// The KMS key that wraps it.
    pub kms_key: Arn,
    /// What the KMS gave.
    pub wrapped: Vec<u8>,
}

/// A statement that reads repositories, from its `WHERE` on.
macro_rules! select_repository {
    ($where:literal) => {
        concat!(
            "SELECT uid, account, name, kms_key, branch_version, policy, policy_bindings, created_at, ",
            "sparse_manifests, tag_mutability, is_public FROM repositories ",
            $where
        )
    };
}

impl Tx<'_> {
    /// A repository by name.
    pub async fn repository(
        &mut self,
        account: AccountId,
        name: &RepositoryName,
    ) -> Result<Option<RepositoryRow>, Error> {
        let row = self.opt(select_repository!("WHERE account = $1 AND name = $2"), args![account, name]).await?;
        row.as_ref().map(repository_row).transpose()
    }

    /// A repository by id.
    pub async fn repository_by_uid(&mut self, uid: Uid) -> Result<Option<RepositoryRow>, Error> {
        let row = self.opt(select_repository!("WHERE uid = $1"), args![uid]).await?;
        row.as_ref().map(repository_row).transpose()
    }

    /// An account's repositories after a name.
    pub async fn repository_list(
        &mut self,
        account: AccountId,
        after: &str,
        size: PageSize,
    ) -> Result<Vec<RepositoryRow>, Error> {
        let rows = self
            .all(
                select_repository!("WHERE account = $1 AND name > $2 ORDER BY name LIMIT $3"),
                args![account, after, size.rows()],
            )
            .await?;
        rows.iter().map(repository_row).collect()
    }

    /// Makes a repository with its first branch key; false when the name is taken.
    pub(crate) async fn repository_insert(
        &mut self,
        repository: &RepositoryRow,
        branch: &BranchKeyRow,
    ) -> Result<bool, Error> {
        let new = self
            .execute(
                "INSERT INTO repositories (uid, account, name, kms_key, branch_version, created_at, \
                 sparse_manifests, tag_mutability, is_public) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (account, name) DO NOTHING",
                args![
                    repository.uid,
                    repository.account,
                    &repository.name,
                    &repository.kms_key,
                    repository.branch_version,
                    repository.created_at,
                    repository.sparse_manifests,
                    &repository.tag_mutability,
                    repository.public
                ],
            )
            .await?;
        if new == 0 {
            return Ok(false);
        }
        self.execute(
            "INSERT INTO branch_keys (repository, version, kms_key, wrapped, created_at) VALUES ($1, $2, $3, $4, $5)",
            args![repository.uid, branch.version, &branch.kms_key, branch.wrapped.as_slice(), repository.created_at],
        )
        .await?;
        Ok(true)
    }

    /// Whether a repository holds any manifest.
    pub async fn repository_has_images(&mut self, uid: Uid) -> Result<bool, Error> {
        Ok(self.opt("SELECT 1 FROM manifests WHERE repository = $1 LIMIT 1", args![uid]).await?.is_some())
    }

    /// Removes a repository with its images, links, uploads and branch keys; its objects lose their edges, and those of
    /// its uploads are condemned, so that the sweeper finds them.
    pub(crate) async fn repository_delete(&mut self, uid: Uid) -> Result<(), Error> {
        for sql in [
            "INSERT INTO blobs (uid, account, kms_key, digest, size, segment, parts, commitment, created_at, \
             verified_at, condemned_at) SELECT u.blob, r.account, r.kms_key, '', u.size, 0, u.parts, u.salt, \
             u.created_at, u.created_at, u.created_at FROM uploads u JOIN repositories r ON r.uid = u.repository \
             WHERE u.repository = $1",
            "DELETE FROM tags WHERE repository = $1",
            "DELETE FROM edges WHERE repository = $1",
            "DELETE FROM manifests WHERE repository = $1",
            "DELETE FROM receipts WHERE repository = $1",
            "DELETE FROM repositories WHERE uid = $1",
        ] {
            self.execute(sql, args![uid]).await?;
        }
        Ok(())
    }

    pub(crate) async fn repository_policy_set(&mut self, uid: Uid, policy: Option<&StoredPolicy>) -> Result<(), Error> {
        let (text, bindings) = StoredPolicy::columns(policy)?;
        self.execute(
            "UPDATE repositories SET policy = $2, policy_bindings = $3 WHERE uid = $1",
            args![uid, text.as_deref(), bindings.as_deref()],
        )
        .await?;
        Ok(())
    }

    pub(crate) async fn repository_sparse_set(&mut self, uid: Uid, sparse: Option<bool>) -> Result<(), Error> {
        self.execute("UPDATE repositories SET sparse_manifests = $2 WHERE uid = $1", args![uid, sparse]).await?;
        Ok(())
    }

    pub(crate) async fn repository_mutability_set(
        &mut self,
        uid: Uid,
        mutability: &TagMutability,
    ) -> Result<(), Error> {
        self.execute("UPDATE repositories SET tag_mutability = $2 WHERE uid = $1", args![uid, mutability]).await?;
        Ok(())
    }

    pub(crate) async fn repository_public_set(&mut self, uid: Uid, public: bool) -> Result<(), Error> {
        self.execute("UPDATE repositories SET is_public = $2 WHERE uid = $1", args![uid, public]).await?;
        Ok(())
    }

    /// A branch key of a repository.
    pub async fn branch_key(&mut self, repository: Uid, version: u32) -> Result<Option<BranchKeyRow>, Error> {
        let row = self
            .opt(
                "SELECT version, kms_key, wrapped FROM branch_keys WHERE repository = $1 AND version = $2",
                args![repository, version],
            )
            .await?;
        row.map(|row| Ok(BranchKeyRow { version: row.get(0)?, kms_key: row.get(1)?, wrapped: row.get(2)? })).transpose()
    }
}

fn repository_row(row: &Row) -> Result<RepositoryRow, Error> {
    Ok(RepositoryRow {
        uid: row.get(0)?,
        account: row.get(1)?,
        name: row.get(2)?,
        kms_key: row.get(3)?,
        branch_version: row.get(4)?,
        policy: StoredPolicy::read(row.get(5)?, row.get(6)?)?,
        created_at: row.get(7)?,
        sparse_manifests: row.get(8)?,
        tag_mutability: row.get(9)?,
        public: row.get(10)?,
    })
}

impl RepositoryRow {
    /// Its full address in this region.
    #[must_use]
    pub fn into_address(self, region: &Region) -> RepositoryRef {
        RepositoryRef { account: self.account, region: region.clone(), name: self.name }
    }
}

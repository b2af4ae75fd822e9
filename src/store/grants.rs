//! Grants: stored as grants and compiled to statements on load, never written as policy text.

use super::value::{Row, args};
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, PageSize, TagPattern, Uid};

/// What a grant allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum GrantAction {
    /// Read images.
    Pull,
    /// Write images.
    Push,
}

impl GrantAction {
    /// The word in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "PULL",
            Self::Push => "PUSH",
        }
    }
}

/// A grant.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GrantRow {
    /// Its id.
    pub id: Uid,
    /// The account that gives.
    pub account: AccountId,
    /// Who receives: an account id or the ARN of an account, user or role.
    pub grantee: String,
    /// The unique id of the user or role that receives.
    pub grantee_id: Option<String>,
    /// Repositories by name, with `*` and `?`.
    pub repository_pattern: String,
    /// Tags, with `*` and `?`.
    pub tag_pattern: TagPattern,
    /// What it allows.
    pub actions: Vec<GrantAction>,
    /// In force from here.
    pub not_before: Timestamp,
    /// In force until here.
    pub not_after: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// Who gave it.
    pub creator: String,
    /// When it was given.
    pub created_at: Timestamp,
    /// When it was ended by its giver.
    pub revoked_at: Option<Timestamp>,
    /// Rises with every change.
    pub version: i64,
}

impl Tx<'_> {
    /// A grant of an account.
    pub async fn grant(&mut self, account: AccountId, id: Uid) -> Result<Option<GrantRow>, Error> {
        let row = self
            .opt(
                "SELECT id, account, grantee, grantee_id, repository_pattern, tag_pattern, actions, not_before, \
                 not_after, reason, creator, created_at, revoked_at, version FROM grants \
                 WHERE account = $1 AND id = $2",
                args![account, id],
            )
            .await?;
        row.as_ref().map(grant_row).transpose()
    }

    /// An account's grants after one, ended ones included.
    pub async fn grant_list(
        &mut self,
        account: AccountId,
        after: Option<Uid>,
        size: PageSize,
    ) -> Result<Vec<GrantRow>, Error> {
        let rows = self
            .all(
                "SELECT id, account, grantee, grantee_id, repository_pattern, tag_pattern, actions, not_before, \
                 not_after, reason, creator, created_at, revoked_at, version FROM grants \
                 WHERE account = $1 AND id > $2 ORDER BY id LIMIT $3",
                args![account, after.map_or_else(Vec::new, |id| id.bytes().to_vec()), size.rows()],
            )
            .await?;
        rows.iter().map(grant_row).collect()
    }

    /// An account's grants in force at a moment.
    pub async fn grants_in_force(&mut self, account: AccountId, now: Timestamp) -> Result<Vec<GrantRow>, Error> {
        let rows = self
            .all(
                "SELECT id, account, grantee, grantee_id, repository_pattern, tag_pattern, actions, not_before, \
                 not_after, reason, creator, created_at, revoked_at, version FROM grants \
                 WHERE account = $1 AND revoked_at IS NULL AND not_before <= $2 \
                 AND (not_after IS NULL OR not_after > $2) ORDER BY id",
                args![account, now],
            )
            .await?;
        rows.iter().map(grant_row).collect()
    }

    pub(crate) async fn grant_insert(&mut self, grant: &GrantRow) -> Result<(), Error> {
        let actions: Vec<&str> = grant.actions.iter().map(|a| a.as_str()).collect();
        self.execute(
            "INSERT INTO grants (id, account, grantee, grantee_id, repository_pattern, tag_pattern, actions, \
             not_before, not_after, reason, creator, created_at, version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            args![
                grant.id,
                grant.account,
                grant.grantee.as_str(),
                grant.grantee_id.as_deref(),
                grant.repository_pattern.as_str(),
                grant.tag_pattern.as_str(),
                actions.join(","),
                grant.not_before,
                grant.not_after,
                grant.reason.as_str(),
                grant.creator.as_str(),
                grant.created_at,
                grant.version
            ],
        )
        .await?;
        Ok(())
    }

    /// Ends a grant; one that was ended before keeps its moment.
    pub(crate) async fn grant_revoke(&mut self, account: AccountId, id: Uid, at: Timestamp) -> Result<(), Error> {
        self.execute(
            "UPDATE grants SET revoked_at = $3, version = version + 1 \
             WHERE account = $1 AND id = $2 AND revoked_at IS NULL",
            args![account, id, at],
        )
        .await?;
        Ok(())
    }
}

fn grant_row(row: &Row) -> Result<GrantRow, Error> {
    let actions: String = row.get(6)?;
    Ok(GrantRow {
        id: row.get(0)?,
        account: row.get(1)?,
        grantee: row.get(2)?,
        grantee_id: row.get(3)?,
        repository_pattern: row.get(4)?,
        tag_pattern: TagPattern::parse(&row.get::<String>(5)?).map_err(Error::decode)?,
        actions: actions
            .split(',')
            .filter_map(|word| [GrantAction::Pull, GrantAction::Push].into_iter().find(|a| a.as_str() == word))
            .collect(),
        not_before: row.get(7)?,
        not_after: row.get(8)?,
        reason: row.get(9)?,
        creator: row.get(10)?,
        created_at: row.get(11)?,
        revoked_at: row.get(12)?,
        version: row.get(13)?,
    })
}

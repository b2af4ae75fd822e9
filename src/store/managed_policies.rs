//! Policies of accounts by name, and the users and roles they are attached to: a part of the directory, and followed with it.

use super::value::{Row, args};
use super::{Error, Kind, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, PageSize, PolicyName, PolicyRef};
use std::collections::BTreeMap;

/// A policy of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedPolicyRow {
    /// Its account and name.
    pub policy: PolicyRef,
    /// The document, as written.
    pub document: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// What a policy is to a user or role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// It gives.
    Permissions,
    /// It bounds all that others give.
    Boundary,
}

impl Purpose {
    /// The word in the store and on the stream.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permissions => "permissions",
            Self::Boundary => "boundary",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Permissions, Self::Boundary].into_iter().find(|purpose| purpose.as_str() == word)
    }
}

/// A policy that is attached to a user or role of its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// What for.
    pub purpose: Purpose,
    /// The policy's name.
    pub policy: PolicyName,
}

/// A policy that bears on a user or role; without a document where this region has not heard of it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// What for, and the name.
    pub attachment: Attachment,
    /// The document.
    pub document: Option<String>,
}

impl Tx<'_> {
    /// A policy of an account.
    pub async fn managed_policy(&mut self, policy: &PolicyRef) -> Result<Option<ManagedPolicyRow>, Error> {
        let row = self
            .opt(
                "SELECT account, name, document, created_at, updated_at FROM managed_policies \
                 WHERE account = $1 AND name = $2",
                args![policy.account, &policy.name],
            )
            .await?;
        row.as_ref().map(policy_row).transpose()
    }

    /// An account's policies after a name.
    pub async fn managed_policy_list(
        &mut self,
        account: AccountId,
        after: &str,
        size: PageSize,
    ) -> Result<Vec<ManagedPolicyRow>, Error> {
        let rows = self
            .all(
                "SELECT account, name, document, created_at, updated_at FROM managed_policies \
                 WHERE account = $1 AND name > $2 ORDER BY name LIMIT $3",
                args![account, after, size.rows()],
            )
            .await?;
        rows.iter().map(policy_row).collect()
    }

    /// How many policies an account has.
    pub async fn managed_policy_count(&mut self, account: AccountId) -> Result<u64, Error> {
        self.one("SELECT count(*) FROM managed_policies WHERE account = $1", args![account]).await?.get(0)
    }

    /// Inserts a policy, or replaces its document.
    pub(crate) async fn managed_policy_put(&mut self, row: &ManagedPolicyRow) -> Result<(), Error> {
        self.execute(
            "INSERT INTO managed_policies (account, name, document, created_at, updated_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (account, name) DO UPDATE SET document = $3, updated_at = $5",
            args![row.policy.account, &row.policy.name, row.document.as_str(), row.created_at, row.updated_at],
        )
        .await?;
        Ok(())
    }

    /// Removes a policy; false when there was none.
    pub(crate) async fn managed_policy_delete(&mut self, policy: &PolicyRef) -> Result<bool, Error> {
        let sql = "DELETE FROM managed_policies WHERE account = $1 AND name = $2";
        Ok(self.execute(sql, args![policy.account, &policy.name]).await? > 0)
    }

    /// How many users and roles a policy is attached to.
    pub async fn managed_policy_uses(&mut self, policy: &PolicyRef) -> Result<u64, Error> {
        self.one(
            "SELECT count(*) FROM attachments a JOIN principals p ON p.unique_id = a.unique_id \
             WHERE p.account = $1 AND a.policy = $2",
            args![policy.account, &policy.name],
        )
        .await?
        .get(0)
    }

    /// The policies attached to a user or role, by name.
    pub async fn attachment_list(&mut self, unique_id: &str) -> Result<Vec<Attachment>, Error> {
        let sql = "SELECT purpose, policy FROM attachments WHERE unique_id = $1 ORDER BY purpose, policy";
        self.all(sql, args![unique_id]).await?.iter().map(attachment_row).collect()
    }

    /// The policies attached to the users and roles of an account whose keys `kind/name` are above one and up to another,
    /// by unique id.
    pub async fn attachment_map(
        &mut self,
        account: AccountId,
        after: &str,
        until: &str,
    ) -> Result<BTreeMap<String, Vec<Attachment>>, Error> {
        let rows = self
            .all(
                "SELECT a.purpose, a.policy, a.unique_id FROM attachments a JOIN principals p ON p.unique_id = a.unique_id \
                 WHERE p.account = $1 AND p.kind || '/' || p.name > $2 AND p.kind || '/' || p.name <= $3 \
                 ORDER BY a.purpose, a.policy",
                args![account, after, until],
            )
            .await?;
        let mut map: BTreeMap<String, Vec<Attachment>> = BTreeMap::new();
        for row in &rows {
            map.entry(row.get(2)?).or_default().push(attachment_row(row)?);
        }
        Ok(map)
    }

    /// The policies attached to a user or role, with their documents.
    pub async fn attached(&mut self, account: AccountId, unique_id: &str) -> Result<Vec<Attached>, Error> {
        let rows = self
            .all(
                "SELECT a.purpose, a.policy, m.document FROM attachments a \
                 LEFT JOIN managed_policies m ON m.account = $1 AND m.name = a.policy \
                 WHERE a.unique_id = $2 ORDER BY a.purpose, a.policy",
                args![account, unique_id],
            )
            .await?;
        rows.iter().map(|row| Ok(Attached { attachment: attachment_row(row)?, document: row.get(2)? })).collect()
    }

    /// Attaches a policy; a boundary takes the place of the one before it.
    pub(crate) async fn attachment_put(&mut self, unique_id: &str, attachment: &Attachment) -> Result<(), Error> {
        let Attachment { purpose, policy } = attachment;
        if *purpose == Purpose::Boundary {
            self.attachment_delete(unique_id, Purpose::Boundary, None).await?;
        }
        self.execute(
            "INSERT INTO attachments (unique_id, purpose, policy) VALUES ($1, $2, $3) \
             ON CONFLICT (unique_id, purpose, policy) DO NOTHING",
            args![unique_id, purpose.as_str(), policy],
        )
        .await?;
        Ok(())
    }

    /// Detaches a policy, or all of a purpose; false when there was none.
    pub(crate) async fn attachment_delete(
        &mut self,
        unique_id: &str,
        purpose: Purpose,
        policy: Option<&PolicyName>,
    ) -> Result<bool, Error> {
        let gone = match policy {
            Some(policy) => {
                let sql = "DELETE FROM attachments WHERE unique_id = $1 AND purpose = $2 AND policy = $3";
                self.execute(sql, args![unique_id, purpose.as_str(), policy]).await?
            }
            None => {
                let sql = "DELETE FROM attachments WHERE unique_id = $1 AND purpose = $2";
                self.execute(sql, args![unique_id, purpose.as_str()]).await?
            }
        };
        Ok(gone > 0)
    }

    /// Makes a principal's attachments exactly these.
    pub(crate) async fn attachment_replace_all(&mut self, unique_id: &str, all: &[Attachment]) -> Result<(), Error> {
        self.execute("DELETE FROM attachments WHERE unique_id = $1", args![unique_id]).await?;
        for attachment in all {
            self.attachment_put(unique_id, attachment).await?;
        }
        Ok(())
    }
}

fn policy_row(row: &Row) -> Result<ManagedPolicyRow, Error> {
    Ok(ManagedPolicyRow {
        policy: PolicyRef { account: row.get(0)?, name: row.get(1)? },
        document: row.get(2)?,
        created_at: row.get(3)?,
        updated_at: row.get(4)?,
    })
}

fn attachment_row(row: &Row) -> Result<Attachment, Error> {
    let purpose = Purpose::from_word(&row.get::<String>(0)?);
    let purpose = purpose.ok_or_else(|| Error::new("attachments", Kind::Corrupt { column: 0 }))?;
    Ok(Attachment { purpose, policy: row.get(1)? })
}

/// How the directory stream names a policy: `<account>/<name>`.
pub(crate) fn managed_policy_subject(policy: &PolicyRef) -> String {
    format!("{}/{}", policy.account, policy.name)
}

/// The policy that the directory stream names.
pub(crate) fn managed_policy_of(subject: &str) -> Option<PolicyRef> {
    let (account, name) = subject.split_once('/')?;
    Some(PolicyRef { account: AccountId::parse(account).ok()?, name: PolicyName::parse(name).ok()? })
}

//! The organization's bounds on its accounts: a part of the directory, and followed with it.

use super::value::{Row, args};
use super::{Error, Kind, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, PageSize, PolicyName};

/// What a control policy bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Controlled {
    /// What is done with resources of its accounts, by whomever.
    Resources,
    /// What principals of its accounts do.
    Principals,
}

impl Controlled {
    /// The word in the store and on the stream: the policy's kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resources => "resource",
            Self::Principals => "service",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Resources, Self::Principals].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Where a control policy is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum ControlTarget {
    /// The root: all accounts.
    Organization,
    /// One account.
    Account(AccountId),
}

/// The word of the root.
const ORGANIZATION: &str = "organization";

impl ControlTarget {
    /// `organization`, or the account's number.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Organization => ORGANIZATION,
            Self::Account(account) => account.as_str(),
        }
    }

    /// Reads it.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        if word == ORGANIZATION { Some(Self::Organization) } else { AccountId::parse(word).ok().map(Self::Account) }
    }
}

/// Which control policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPolicyKey {
    /// Where it is attached.
    pub target: ControlTarget,
    /// What it bounds.
    pub controlled: Controlled,
    /// Its name there.
    pub name: PolicyName,
}

/// A control policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPolicyRow {
    /// Which one.
    pub key: ControlPolicyKey,
    /// The document, as written.
    pub document: String,
    /// When it was first attached.
    pub created_at: Timestamp,
}

impl ControlPolicyKey {
    /// How the directory stream and pages name it: `<target>/<kind>/<name>`.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("{}/{}/{}", self.target.as_str(), self.controlled.as_str(), self.name)
    }

    /// The one that is named so.
    #[must_use]
    pub fn of_subject(subject: &str) -> Option<Self> {
        let (target, rest) = subject.split_once('/')?;
        let (kind, name) = rest.split_once('/')?;
        Some(Self {
            target: ControlTarget::from_word(target)?,
            controlled: Controlled::from_word(kind)?,
            name: PolicyName::parse(name).ok()?,
        })
    }
}

impl Tx<'_> {
    /// A control policy.
    pub async fn control_policy(&mut self, key: &ControlPolicyKey) -> Result<Option<ControlPolicyRow>, Error> {
        let row = self
            .opt(
                "SELECT target, kind, name, document, created_at FROM control_policies \
                 WHERE target = $1 AND kind = $2 AND name = $3",
                args![key.target.as_str(), key.controlled.as_str(), &key.name],
            )
            .await?;
        row.as_ref().map(control_row).transpose()
    }

    /// Control policies after a key of the form `target/kind/name`.
    pub async fn control_policy_list(&mut self, after: &str, size: PageSize) -> Result<Vec<ControlPolicyRow>, Error> {
        let rows = self
            .all(
                "SELECT target, kind, name, document, created_at FROM control_policies \
                 WHERE target || '/' || kind || '/' || name > $1 ORDER BY target || '/' || kind || '/' || name LIMIT $2",
                args![after, size.rows()],
            )
            .await?;
        rows.iter().map(control_row).collect()
    }

    /// All that bear on these accounts, those of the organization included.
    pub async fn control_policies_on(
        &mut self,
        one: Option<AccountId>,
        other: Option<AccountId>,
    ) -> Result<Vec<ControlPolicyRow>, Error> {
        let target = |account: Option<AccountId>| account.map_or(ORGANIZATION.to_owned(), |id| id.to_string());
        let rows = self
            .all(
                "SELECT target, kind, name, document, created_at FROM control_policies \
                 WHERE target IN ($1, $2, $3) ORDER BY target, kind, name",
                args![ORGANIZATION, target(one), target(other)],
            )
            .await?;
        rows.iter().map(control_row).collect()
    }

    /// How many of a kind are attached there.
    pub async fn control_policy_count(&mut self, key: &ControlPolicyKey) -> Result<u64, Error> {
        let sql = "SELECT count(*) FROM control_policies WHERE target = $1 AND kind = $2";
        self.one(sql, args![key.target.as_str(), key.controlled.as_str()]).await?.get(0)
    }

    /// Inserts a control policy, or replaces its document.
    pub(crate) async fn control_policy_put(&mut self, row: &ControlPolicyRow) -> Result<(), Error> {
        let ControlPolicyKey { target, controlled, name } = &row.key;
        self.execute(
            "INSERT INTO control_policies (target, kind, name, document, created_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (target, kind, name) DO UPDATE SET document = $4",
            args![target.as_str(), controlled.as_str(), name, row.document.as_str(), row.created_at],
        )
        .await?;
        Ok(())
    }

    /// Removes a control policy; false when there was none.
    pub(crate) async fn control_policy_delete(&mut self, key: &ControlPolicyKey) -> Result<bool, Error> {
        let sql = "DELETE FROM control_policies WHERE target = $1 AND kind = $2 AND name = $3";
        Ok(self.execute(sql, args![key.target.as_str(), key.controlled.as_str(), &key.name]).await? > 0)
    }
}

fn control_row(row: &Row) -> Result<ControlPolicyRow, Error> {
    let (target, kind): (String, String) = (row.get(0)?, row.get(1)?);
    let corrupt = |column| Error::new("control_policies", Kind::Corrupt { column });
    Ok(ControlPolicyRow {
        key: ControlPolicyKey {
            target: ControlTarget::from_word(&target).ok_or_else(|| corrupt(0))?,
            controlled: Controlled::from_word(&kind).ok_or_else(|| corrupt(1))?,
            name: row.get(2)?,
        },
        document: row.get(3)?,
        created_at: row.get(4)?,
    })
}

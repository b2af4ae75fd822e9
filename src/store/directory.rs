//! The organization, its accounts, users, roles, their policies and keys.
//!
//! Rows are written in the home region with a change on the directory stream, and by followers that apply it.

use super::value::{Row, args};
use super::{Error, Tx, streams};
use crate::clock::Timestamp;
use crate::names::{AccountId, PageSize, PrincipalKind, PrincipalName, Region, RoleName, Uid, UserName};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The organization this deployment belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Its id.
    pub uid: Uid,
    /// Where its directory is written.
    pub home_region: Region,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// What people call it.
    pub display_name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A user or role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalRow {
    /// Account, kind and name.
    pub name: PrincipalName,
    /// The id that survives no re-creation.
    pub unique_id: Arc<str>,
    /// A role's trust policy, as written.
    pub trust_policy: Option<String>,
    /// The unique ids of the principals that policy names, by ARN.
    pub trust_bindings: BTreeMap<String, String>,
    /// A role's longest session in seconds.
    pub max_session_secs: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A named identity policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// The document, as written.
    pub document: String,
}

/// A user's access key with its secret sealed under the region's root key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKeyRow {
    /// `AKIA…`.
    pub id: String,
    /// The user's unique id.
    pub unique_id: String,
    /// The sealed secret.
    pub sealed_secret: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key that seals tokens, itself sealed under the region's root key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKeyRow {
    /// Its id.
    pub id: u32,
    /// The sealed key.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Tx<'_> {
    /// The organization, once this region knows it.
    pub async fn organization(&mut self) -> Result<Option<Organization>, Error> {
        let row = self.opt("SELECT uid, home_region FROM organization", args![]).await?;
        row.map(|row| Ok(Organization { uid: row.get(0)?, home_region: row.get(1)? })).transpose()
    }

    pub(crate) async fn organization_insert(
        &mut self,
        organization: &Organization,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.execute(
            "INSERT INTO organization (uid, home_region, created_at) VALUES ($1, $2, $3) ON CONFLICT (uid) DO NOTHING",
            args![organization.uid, &organization.home_region, at],
        )
        .await?;
        Ok(())
    }

    /// An account by number.
    pub async fn account(&mut self, id: AccountId) -> Result<Option<Account>, Error> {
        let row = self.opt("SELECT id, display_name, created_at FROM accounts WHERE id = $1", args![id]).await?;
        row.as_ref().map(account_row).transpose()
    }

    /// The account that was made first.
    pub async fn account_first(&mut self) -> Result<Option<AccountId>, Error> {
        let row = self.opt("SELECT id FROM accounts ORDER BY created_at, id LIMIT 1", args![]).await?;
        row.map(|row| row.get(0)).transpose()
    }

    /// Accounts after one, by number.
    pub async fn account_list(&mut self, after: &str, size: PageSize) -> Result<Vec<Account>, Error> {
        let rows = self
            .all(
                "SELECT id, display_name, created_at FROM accounts WHERE id > $1 ORDER BY id LIMIT $2",
                args![after, size.rows()],
            )
            .await?;
        rows.iter().map(account_row).collect()
    }

    /// Inserts or replaces an account; false when its display name belongs to another.
    pub(crate) async fn account_put(&mut self, account: &Account) -> Result<bool, Error> {
        let taken = self
            .opt(
                "SELECT id FROM accounts WHERE display_name = $1 AND id <> $2",
                args![account.display_name.as_str(), account.id],
            )
            .await?;
        if taken.is_some() {
            return Ok(false);
        }
        self.execute(
            "INSERT INTO accounts (id, display_name, created_at) VALUES ($1, $2, $3) \
             ON CONFLICT (id) DO UPDATE SET display_name = $2",
            args![account.id, account.display_name.as_str(), account.created_at],
        )
        .await?;
        Ok(true)
    }

    /// A user or role by name.
    pub async fn principal(&mut self, name: &PrincipalName) -> Result<Option<PrincipalRow>, Error> {
        let row = self
            .opt(
                "SELECT account, kind, name, unique_id, trust_policy, trust_bindings, max_session_secs, created_at \
                 FROM principals WHERE account = $1 AND kind = $2 AND name = $3",
                args![name.account, name.kind.as_str(), &*name.name],
            )
            .await?;
        row.as_ref().map(principal_row).transpose()
    }

    /// A user or role by unique id.
    pub async fn principal_by_id(&mut self, unique_id: &str) -> Result<Option<PrincipalRow>, Error> {
        let row = self
            .opt(
                "SELECT account, kind, name, unique_id, trust_policy, trust_bindings, max_session_secs, created_at \
                 FROM principals WHERE unique_id = $1",
                args![unique_id],
            )
            .await?;
        row.as_ref().map(principal_row).transpose()
    }

    /// An account's users and roles after a key of the form `kind/name`.
    pub async fn principal_list(
        &mut self,
        account: AccountId,
        after: &str,
        size: PageSize,
    ) -> Result<Vec<PrincipalRow>, Error> {
        let rows = self
            .all(
                "SELECT account, kind, name, unique_id, trust_policy, trust_bindings, max_session_secs, created_at \
                 FROM principals WHERE account = $1 AND kind || '/' || name > $2 ORDER BY kind || '/' || name LIMIT $3",
                args![account, after, size.rows()],
            )
            .await?;
        rows.iter().map(principal_row).collect()
    }

    /// Inserts a principal, or replaces the one with the same unique id; one of the same name and another id is removed.
    pub(crate) async fn principal_put(&mut self, row: &PrincipalRow) -> Result<(), Error> {
        if let Some(old) = self.principal(&row.name).await?
            && old.unique_id != row.unique_id
        {
            self.principal_delete(&old.unique_id).await?;
        }
        let bindings = serde_json::to_string(&row.trust_bindings).map_err(Error::encode)?;
        self.execute(
            "INSERT INTO principals (account, kind, name, unique_id, trust_policy, trust_bindings, max_session_secs, \
             created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (account, kind, name) DO UPDATE SET trust_policy = $5, trust_bindings = $6, max_session_secs = $7",
            args![
                row.name.account,
                row.name.kind.as_str(),
                &*row.name.name,
                &*row.unique_id,
                row.trust_policy.as_deref(),
                bindings.as_str(),
                row.max_session_secs,
                row.created_at
            ],
        )
        .await?;
        Ok(())
    }

    /// Removes a principal with its policies and keys.
    pub(crate) async fn principal_delete(&mut self, unique_id: &str) -> Result<(), Error> {
        self.execute("DELETE FROM access_keys WHERE unique_id = $1", args![unique_id]).await?;
        self.execute("DELETE FROM principal_policies WHERE unique_id = $1", args![unique_id]).await?;
        self.execute("DELETE FROM attachments WHERE unique_id = $1", args![unique_id]).await?;
        self.execute("DELETE FROM mfa_devices WHERE unique_id = $1", args![unique_id]).await?;
        self.execute("DELETE FROM principals WHERE unique_id = $1", args![unique_id]).await?;
        Ok(())
    }

    /// A principal's identity policies by name.
    pub async fn policy_list(&mut self, unique_id: &str) -> Result<Vec<Policy>, Error> {
        let rows = self
            .all("SELECT name, document FROM principal_policies WHERE unique_id = $1 ORDER BY name", args![unique_id])
            .await?;
        rows.iter().map(|row| Ok(Policy { name: row.get(0)?, document: row.get(1)? })).collect()
    }

    pub(crate) async fn policy_put(&mut self, unique_id: &str, policy: &Policy) -> Result<(), Error> {
        self.execute(
            "INSERT INTO principal_policies (unique_id, name, document) VALUES ($1, $2, $3) \
             ON CONFLICT (unique_id, name) DO UPDATE SET document = $3",
            args![unique_id, policy.name.as_str(), policy.document.as_str()],
        )
        .await?;
        Ok(())
    }

    /// Makes a principal's policies exactly these.
    pub(crate) async fn policy_replace_all(&mut self, unique_id: &str, policies: &[Policy]) -> Result<(), Error> {
        self.execute("DELETE FROM principal_policies WHERE unique_id = $1", args![unique_id]).await?;
        for policy in policies {
            self.policy_put(unique_id, policy).await?;
        }
        Ok(())
    }

    /// An access key by id.
    pub async fn access_key(&mut self, id: &str) -> Result<Option<AccessKeyRow>, Error> {
        let row = self
            .opt("SELECT id, unique_id, sealed_secret, created_at FROM access_keys WHERE id = $1", args![id])
            .await?;
        row.map(|row| {
            Ok(AccessKeyRow {
                id: row.get(0)?,
                unique_id: row.get(1)?,
                sealed_secret: row.get(2)?,
                created_at: row.get(3)?,
            })
        })
        .transpose()
    }

    pub(crate) async fn access_key_put(&mut self, key: &AccessKeyRow) -> Result<(), Error> {
        self.execute(
            "INSERT INTO access_keys (id, unique_id, sealed_secret, created_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (id) DO UPDATE SET sealed_secret = $3",
            args![key.id.as_str(), key.unique_id.as_str(), key.sealed_secret.as_slice(), key.created_at],
        )
        .await?;
        Ok(())
    }

    /// Removes an access key; false when there was none.
    pub(crate) async fn access_key_delete(&mut self, id: &str) -> Result<bool, Error> {
        Ok(self.execute("DELETE FROM access_keys WHERE id = $1", args![id]).await? > 0)
    }

    /// The token keys, oldest first.
    pub async fn token_key_list(&mut self) -> Result<Vec<TokenKeyRow>, Error> {
        let rows = self.all("SELECT id, sealed, created_at FROM token_keys ORDER BY id", args![]).await?;
        rows.iter()
            .map(|row| Ok(TokenKeyRow { id: row.get(0)?, sealed: row.get(1)?, created_at: row.get(2)? }))
            .collect()
    }

    pub(crate) async fn token_key_put(&mut self, key: &TokenKeyRow) -> Result<(), Error> {
        self.execute(
            "INSERT INTO token_keys (id, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
            args![key.id, key.sealed.as_slice(), key.created_at],
        )
        .await?;
        Ok(())
    }

    /// Notes on the directory stream that something changed.
    pub(crate) async fn directory_note(
        &mut self,
        kind: &'static str,
        subject: &str,
        at: Timestamp,
    ) -> Result<(), Error> {
        let change = streams::NewChange { kind, subject: subject.to_owned(), image: None };
        self.stream_append(streams::DIRECTORY, 0, at, &change).await?;
        Ok(())
    }
}

fn account_row(row: &Row) -> Result<Account, Error> {
    Ok(Account { id: row.get(0)?, display_name: row.get(1)?, created_at: row.get(2)? })
}

fn principal_row(row: &Row) -> Result<PrincipalRow, Error> {
    let bindings: Option<String> = row.get(5)?;
    Ok(PrincipalRow {
        name: principal_name(row.get(0)?, &row.get::<String>(1)?, &row.get::<String>(2)?)?,
        unique_id: row.get::<String>(3)?.into(),
        trust_policy: row.get(4)?,
        trust_bindings: bindings
            .map_or(Ok(BTreeMap::new()), |text| serde_json::from_str(&text).map_err(Error::decode))?,
        max_session_secs: row.get(6)?,
        created_at: row.get(7)?,
    })
}

/// A principal's name from its three columns.
pub(crate) fn principal_name(account: AccountId, kind: &str, name: &str) -> Result<PrincipalName, Error> {
    let (kind, name) = match kind {
        "user" => (PrincipalKind::User, UserName::parse(name).map(|n| n.as_str().into())),
        _ => (PrincipalKind::Role, RoleName::parse(name).map(|n| n.as_str().into())),
    };
    Ok(PrincipalName { account, kind, name: name.map_err(Error::decode)? })
}

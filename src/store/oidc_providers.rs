//! The issuers of identity tokens that accounts trust: a part of the directory, and followed with it.

use super::value::{Row, args};
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, Issuer, PageSize};

/// An issuer that an account trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcProviderRow {
    /// The account.
    pub account: AccountId,
    /// The issuer.
    pub issuer: Issuer,
    /// For whom its tokens may be: the values of `aud` that are accepted.
    pub client_ids: Vec<String>,
    /// The certificates that vouch for its servers, PEM; those of the system unless given.
    pub ca_pem: Option<String>,
    /// When it was first trusted.
    pub created_at: Timestamp,
}

impl Tx<'_> {
    /// An account's provider by its issuer.
    pub async fn oidc_provider(
        &mut self,
        account: AccountId,
        issuer: &Issuer,
    ) -> Result<Option<OidcProviderRow>, Error> {
        let row = self
            .opt(
                "SELECT account, issuer, client_ids, ca_pem, created_at FROM oidc_providers \
                 WHERE account = $1 AND issuer = $2",
                args![account, issuer],
            )
            .await?;
        row.as_ref().map(provider_row).transpose()
    }

    /// An account's providers after an issuer.
    pub async fn oidc_provider_list(
        &mut self,
        account: AccountId,
        after: &str,
        size: PageSize,
    ) -> Result<Vec<OidcProviderRow>, Error> {
        let rows = self
            .all(
                "SELECT account, issuer, client_ids, ca_pem, created_at FROM oidc_providers \
                 WHERE account = $1 AND issuer > $2 ORDER BY issuer LIMIT $3",
                args![account, after, size.rows()],
            )
            .await?;
        rows.iter().map(provider_row).collect()
    }

    /// Inserts a provider, or replaces what is trusted of it.
    pub(crate) async fn oidc_provider_put(&mut self, row: &OidcProviderRow) -> Result<(), Error> {
        let client_ids = serde_json::to_string(&row.client_ids).map_err(Error::encode)?;
        self.execute(
            "INSERT INTO oidc_providers (account, issuer, client_ids, ca_pem, created_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (account, issuer) DO UPDATE SET client_ids = $3, ca_pem = $4",
            args![row.account, &row.issuer, client_ids.as_str(), row.ca_pem.as_deref(), row.created_at],
        )
        .await?;
        Ok(())
    }

    /// Removes a provider; false when there was none.
    pub(crate) async fn oidc_provider_delete(&mut self, account: AccountId, issuer: &Issuer) -> Result<bool, Error> {
        let sql = "DELETE FROM oidc_providers WHERE account = $1 AND issuer = $2";
        Ok(self.execute(sql, args![account, issuer]).await? > 0)
    }
}

fn provider_row(row: &Row) -> Result<OidcProviderRow, Error> {
    Ok(OidcProviderRow {
        account: row.get(0)?,
        issuer: row.get(1)?,
        client_ids: serde_json::from_str(&row.get::<String>(2)?).map_err(Error::decode)?,
        ca_pem: row.get(3)?,
        created_at: row.get(4)?,
    })
}

/// How the directory stream names a provider: `<account>/<issuer>`.
pub(crate) fn oidc_provider_subject(account: AccountId, issuer: &Issuer) -> String {
    format!("{account}/{issuer}")
}

/// The provider that the directory stream names.
pub(crate) fn oidc_provider_of(subject: &str) -> Option<(AccountId, Issuer)> {
    let (account, issuer) = subject.split_once('/')?;
    Some((AccountId::parse(account).ok()?, Issuer::parse(issuer).ok()?))
}

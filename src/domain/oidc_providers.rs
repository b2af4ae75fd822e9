//! The issuers of identity tokens that an account trusts, such as a CI service or a cluster. Written in the home region.

use super::App;
use super::directory::{Home, at_home};
use crate::authz::permit::Allowed;
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Directory, DirectoryEntry, EntryAddress};
use crate::names::{AccountId, Issuer, PageSize};
use crate::ops::Op;
use crate::store::Tx;
use crate::store::oidc_providers::{OidcProviderRow, oidc_provider_subject};

/// Client ids of one provider.
// SPEC: IAM API, `CreateOpenIDConnectProvider`, `ClientIDList`.
const CLIENT_IDS_MAX: usize = 100;
/// Characters of one.
const CLIENT_ID_CHARS_MAX: usize = 255;
/// Bytes of the certificates of one provider: some ten roots.
const CA_PEM_BYTES_MAX: usize = 32 << 10;
/// Providers of one account, as IAM.
const PROVIDERS_MAX: u32 = 100;

struct PutOidcProvider {
    home: Home,
    row: OidcProviderRow,
    now: Timestamp,
}

impl Change for PutOidcProvider {
    type Resource = DirectoryEntry;
    /// When it was first trusted.
    type Out = Timestamp;

    async fn apply(&self, _: &Allowed<DirectoryEntry>, tx: &mut Tx<'_>) -> Result<Timestamp> {
        at_home(tx, &self.home).await?;
        let OidcProviderRow { account, issuer, .. } = &self.row;
        let known = tx.oidc_provider(*account, issuer).await?;
        let present = tx.oidc_provider_list(*account, "", PageSize::clamp(PROVIDERS_MAX)).await?;
        if known.is_none() && present.len() >= PROVIDERS_MAX as usize {
            return Err(Error::invalid("issuer", format!("account {account} has {PROVIDERS_MAX} providers, the most")));
        }
        tx.oidc_provider_put(&self.row).await?;
        tx.directory_note("oidc-provider", &oidc_provider_subject(*account, issuer), self.now).await?;
        Ok(known.map_or(self.row.created_at, |known| known.created_at))
    }

    fn fingerprint(&self) -> Vec<u8> {
        let OidcProviderRow { issuer, client_ids, ca_pem, .. } = &self.row;
        format!("{issuer:?}{client_ids:?}{ca_pem:?}").into_bytes()
    }
}

struct DeleteOidcProvider {
    home: Home,
    account: AccountId,
    issuer: Issuer,
    now: Timestamp,
}

impl Change for DeleteOidcProvider {
    type Resource = DirectoryEntry;
    type Out = ();

    async fn apply(&self, _: &Allowed<DirectoryEntry>, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.home).await?;
        if !tx.oidc_provider_delete(self.account, &self.issuer).await? {
            let text = format!("account {} has no identity provider {}", self.account, self.issuer);
            return Err(Error::new(Reason::NotFound, text).with("issuer", &self.issuer));
        }
        Ok(tx.directory_note("oidc-provider", &oidc_provider_subject(self.account, &self.issuer), self.now).await?)
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.issuer.as_str().as_bytes().to_vec()
    }
}

impl App {
    /// Trusts an issuer, or replaces what is trusted of it. What its tokens open is in the trust policies of roles.
    ///
    /// # Errors
    /// When the caller may not, a client id or certificate is malformed, or this is not the home region.
    pub async fn put_oidc_provider(
        &self,
        ctx: &Ctx,
        account: AccountId,
        issuer: Issuer,
        client_ids: Vec<String>,
        ca_pem: Option<String>,
    ) -> Result<OidcProviderRow> {
        let address = EntryAddress { account, arn: issuer.arn(account) };
        self.gate.check::<DirectoryEntry>(ctx, Op::PutOidcProvider, std::slice::from_ref(&address)).await?;
        check_client_ids(&client_ids)?;
        if let Some(pem) = &ca_pem {
            check_certificates(pem)?;
        }
        let row = OidcProviderRow { account, issuer, client_ids, ca_pem, created_at: ctx.now };
        let change = PutOidcProvider { home: self.home(), row: row.clone(), now: ctx.now };
        let created_at = self.gate.write(ctx, Op::PutOidcProvider, &address, change).await?;
        Ok(OidcProviderRow { created_at, ..row })
    }

    /// A page of an account's identity providers after an issuer.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn list_oidc_providers(
        &self,
        ctx: &Ctx,
        account: AccountId,
        after: &str,
        size: PageSize,
    ) -> Result<Vec<OidcProviderRow>> {
        let mut view = self.gate.read::<Directory>(ctx, Op::ListOidcProviders, &account).await?;
        Ok(view.parts().1.oidc_provider_list(account, after, size).await?)
    }

    /// Trusts an issuer no longer: its tokens open nothing more. Sessions that were given for them last until their end,
    /// unless they are revoked.
    ///
    /// # Errors
    /// When the caller may not, there is none, or this is not the home region.
    pub async fn delete_oidc_provider(&self, ctx: &Ctx, account: AccountId, issuer: Issuer) -> Result<()> {
        let address = EntryAddress { account, arn: issuer.arn(account) };
        let change = DeleteOidcProvider { home: self.home(), account, issuer, now: ctx.now };
        self.gate.write(ctx, Op::DeleteOidcProvider, &address, change).await
    }
}

fn check_client_ids(client_ids: &[String]) -> Result<()> {
    if client_ids.is_empty() || client_ids.len() > CLIENT_IDS_MAX {
        return Err(Error::invalid("client_ids", format!("1 to {CLIENT_IDS_MAX}")));
    }
    let fits = |id: &String| (1..=CLIENT_ID_CHARS_MAX).contains(&id.chars().count()) && !id.contains(char::is_control);
    if client_ids.iter().all(fits) {
        return Ok(());
    }
    Err(Error::invalid("client_ids", format!("each 1 to {CLIENT_ID_CHARS_MAX} printable characters")))
}

fn check_certificates(pem: &str) -> Result<()> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let is_anchor = |certificate: &CertificateDer<'_>| webpki::anchor_from_trusted_cert(certificate).is_ok();
    if pem.len() <= CA_PEM_BYTES_MAX && read.is_ok_and(|list| !list.is_empty() && list.iter().all(is_anchor)) {
        return Ok(());
    }
    Err(Error::invalid("ca_certificate", format!("certificates as PEM, at most {CA_PEM_BYTES_MAX} bytes")))
}

//! Following: how a region learns the directory from home, and revocations from everywhere.
//!
//! The stream names what changed; an entry is the whole present state of that thing, or its absence. So entries may be
//! skipped, repeated or reordered between two states without harm, and a follower that lost its store begins at 0.

use super::App;
use super::directory::{ACCESS_KEY, TOKEN_KEY};
use super::mfa_devices::MFA_DEVICE;
use crate::clock::Timestamp;
use crate::error::{Error, Reason, Result};
use crate::names::{AccountId, PageSize, Region, Uid};
use crate::secret::Secret;
use crate::store::aws_roles::{AwsRoleRow, aws_role_of};
use crate::store::control_policies::{ControlPolicyKey, ControlPolicyRow};
use crate::store::directory::{AccessKeyRow, Account, Organization, Policy, PrincipalRow, TokenKeyRow};
use crate::store::managed_policies::{Attachment, ManagedPolicyRow, managed_policy_of};
use crate::store::mfa_devices::{MfaDeviceRow, mfa_device_of, mfa_device_subject};
use crate::store::oidc_providers::{OidcProviderRow, oidc_provider_of};
use crate::store::sessions::Revocation;
use crate::store::streams::{self, Change};
use crate::store::{Apply, Done, Tx};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Entries of one message.
const BATCH: u32 = 200;
/// Bytes of control policies in the first message; a peer takes 16 MiB.
const BOUNDS_BYTES: usize = 4 << 20;

/// What can be followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// The directory, at home.
    Directory,
    /// Revocations made in the answering region.
    Revocations,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Directory => streams::DIRECTORY,
            Self::Revocations => streams::REVOCATIONS,
        }
    }

    /// The follower's own name for the stream of a region, under which its cursor is kept.
    fn followed(self, region: &Region) -> String {
        format!("{}@{region}", self.name())
    }
}

/// The whole state of one thing.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The organization.
    Organization(Organization),
    /// An account.
    Account(Account),
    /// A user or role with its policies, and the managed ones attached to it.
    Principal(PrincipalRow, Vec<Policy>, Vec<Attachment>),
    /// A managed policy.
    ManagedPolicy(ManagedPolicyRow),
    /// A bound of the organization on its accounts.
    ControlPolicy(ControlPolicyRow),
    /// A role of AWS that an account has.
    AwsRole(AwsRoleRow),
    /// An issuer of identity tokens that an account trusts.
    OidcProvider(OidcProviderRow),
    /// An access key: id, owner, secret, when it was made.
    AccessKey(String, String, Secret<Vec<u8>>, Timestamp),
    /// A second factor, and its secret in the place of the sealed one.
    MfaDevice(MfaDeviceRow, Secret<Vec<u8>>),
    /// A token key: id, secret, when it was made.
    TokenKey(u32, Secret<Vec<u8>>, Timestamp),
    /// A revocation.
    Revocation(Revocation),
    /// A thing that is gone: its kind and key.
    Removed(String, String),
}

/// What comes after a cursor.
#[derive(Debug)]
pub struct News {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where a follower stands once they are applied.
    pub until: i64,
    /// The head of the stream.
    pub head: i64,
}

/// When a region last heard of home; nothing where home is not followed.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Option<Timestamp>>);

struct Learn {
    stream: String,
    entries: Vec<Learned>,
    until: i64,
    now: Timestamp,
}

/// An entry whose secret is sealed under this region's own root key.
enum Learned {
    Plain(Entry),
    AccessKey(AccessKeyRow),
    MfaDevice(MfaDeviceRow),
    TokenKey(TokenKeyRow),
}

impl Apply for Learn {
    type Out = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>> {
        for entry in &self.entries {
            match entry {
                Learned::AccessKey(row) => tx.access_key_put(row).await?,
                Learned::MfaDevice(row) => tx.mfa_device_put(row).await?,
                Learned::TokenKey(row) => tx.token_key_put(row).await?,
                Learned::Plain(entry) => learn(tx, entry, self.now).await?,
            }
        }
        tx.cursor_set(&self.stream, 0, "here", self.until, self.now).await?;
        Ok(Done::Commit(()))
    }
}

async fn learn(tx: &mut Tx<'_>, entry: &Entry, now: Timestamp) -> Result<()> {
    match entry {
        Entry::Organization(organization) => tx.organization_insert(organization, now).await?,
        Entry::Account(account) => {
            tx.account_put(account).await?;
        }
        Entry::Principal(row, policies, attachments) => {
            tx.principal_put(row).await?;
            tx.policy_replace_all(&row.unique_id, policies).await?;
            tx.attachment_replace_all(&row.unique_id, attachments).await?;
        }
        Entry::ManagedPolicy(row) => tx.managed_policy_put(row).await?,
        Entry::ControlPolicy(row) => tx.control_policy_put(row).await?,
        Entry::AwsRole(row) => tx.aws_role_put(row).await?,
        Entry::OidcProvider(row) => tx.oidc_provider_put(row).await?,
        Entry::Revocation(revocation) => {
            let foreign = Revocation { local_origin: false, ..revocation.clone() };
            tx.revocation_insert(&foreign, now).await?;
        }
        Entry::Removed(kind, subject) => forget(tx, kind, subject).await?,
        // Secrets are sealed before they come here.
        Entry::AccessKey(..) | Entry::MfaDevice(..) | Entry::TokenKey(..) => {}
    }
    Ok(())
}

/// The organization's control policies and those of its accounts, as many as a message may have: a new region hears of them
/// before whom they bound. The others it hears of in their order.
async fn bounds(tx: &mut Tx<'_>) -> Result<Vec<Entry>> {
    let mut rows = tx.control_policies_on(None, None).await?;
    rows.extend(tx.control_policy_list("", PageSize::clamp(PageSize::MAX)).await?);
    let mut bytes = 0;
    let fits = |row: &ControlPolicyRow| {
        bytes += row.document.len();
        bytes <= BOUNDS_BYTES
    };
    Ok(rows.into_iter().take_while(fits).map(Entry::ControlPolicy).collect())
}

async fn forget(tx: &mut Tx<'_>, kind: &str, subject: &str) -> Result<()> {
    match kind {
        "principal" => tx.principal_delete(subject).await?,
        "access-key" => {
            tx.access_key_delete(subject).await?;
        }
        "oidc-provider" => {
            if let Some((account, issuer)) = oidc_provider_of(subject) {
                tx.oidc_provider_delete(account, &issuer).await?;
            }
        }
        "mfa-device" => {
            if let Some(device) = mfa_device_of(subject) {
                tx.mfa_device_delete(&device).await?;
            }
        }
        "managed-policy" => {
            if let Some(policy) = managed_policy_of(subject) {
                tx.managed_policy_delete(&policy).await?;
            }
        }
        "aws-role" => {
            if let Some(role) = aws_role_of(subject) {
                tx.aws_role_delete(&role).await?;
            }
        }
        "control-policy" => {
            if let Some(key) = ControlPolicyKey::of_subject(subject) {
                tx.control_policy_delete(&key).await?;
            }
        }
        _ => {}
    }
    Ok(())
}

impl App {
    /// Notes that home was heard of, or that listening to it begins.
    pub fn hear_of_home(&self) {
        *self.home_heard.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.now());
    }

    /// How long nothing was heard of home; nothing at home itself.
    #[must_use]
    pub fn directory_staleness(&self) -> Duration {
        let heard = *self.home_heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map_or(Duration::ZERO, |heard| self.clock.now().since(heard))
    }

    /// Refuses to honour sessions of which home may have said long ago that they have ended (decision 15).
    pub(super) fn check_freshness(&self) -> Result<()> {
        let (stale, most) = (self.directory_staleness(), self.settings.directory_staleness_max);
        if most.is_none_or(|most| stale <= most) {
            return Ok(());
        }
        let text = format!(
            "this region has heard nothing of the home region for {} s, and honours no session until it does",
            stale.as_secs()
        );
        Err(Error::new(Reason::Unavailable, text).with("directory_staleness", stale.as_secs()))
    }

    /// What comes after a cursor of one of this region's streams.
    ///
    /// # Errors
    /// When the store does not answer, or a secret does not open.
    pub async fn news(&self, stream: Stream, after: i64) -> Result<News> {
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        let head = tx.stream_head(stream.name(), 0).await?;
        let changes = tx.stream_after(stream.name(), 0, after, BATCH).await?;
        let until = changes.last().map_or(after, |change| change.seq);
        let mut entries = Vec::with_capacity(changes.len() + 1);
        if after == 0 && stream == Stream::Directory {
            entries.extend(tx.organization().await?.map(Entry::Organization));
            entries.extend(bounds(&mut tx).await?);
        }
        for change in &changes {
            entries.extend(self.entry(&mut tx, change).await?);
        }
        Ok(News { entries, until, head })
    }

    async fn entry(&self, tx: &mut Tx<'_>, change: &Change) -> Result<Option<Entry>> {
        let subject = change.subject.as_str();
        let found = match change.kind.as_str() {
            "account" => tx.account(AccountId::parse(subject)?).await?.map(Entry::Account),
            "principal" => match tx.principal_by_id(subject).await? {
                Some(row) => {
                    let policies = tx.policy_list(subject).await?;
                    Some(Entry::Principal(row, policies, tx.attachment_list(subject).await?))
                }
                None => None,
            },
            "access-key" => match tx.access_key(subject).await? {
                Some(key) => {
                    let secret = self.root.open(ACCESS_KEY, subject.as_bytes(), &key.sealed_secret)?;
                    Some(Entry::AccessKey(key.id, key.unique_id, secret, key.created_at))
                }
                None => None,
            },
            "token-key" => {
                let row = tx.token_key_list().await?.into_iter().find(|row| row.id.to_string() == subject);
                row.map(|row| {
                    let secret = self.root.open(TOKEN_KEY, &row.id.to_be_bytes(), &row.sealed)?;
                    Ok::<_, Error>(Entry::TokenKey(row.id, secret, row.created_at))
                })
                .transpose()?
            }
            "oidc-provider" => match oidc_provider_of(subject) {
                Some((account, issuer)) => tx.oidc_provider(account, &issuer).await?.map(Entry::OidcProvider),
                None => return Ok(None),
            },
            "mfa-device" => {
                let Some(device) = mfa_device_of(subject) else { return Ok(None) };
                let row = tx.mfa_device(&device).await?;
                row.map(|row| {
                    let secret = self.root.open(MFA_DEVICE, subject.as_bytes(), &row.sealed_secret)?;
                    Ok::<_, Error>(Entry::MfaDevice(MfaDeviceRow { sealed_secret: Vec::new(), ..row }, secret))
                })
                .transpose()?
            }
            "managed-policy" => match managed_policy_of(subject) {
                Some(policy) => tx.managed_policy(&policy).await?.map(Entry::ManagedPolicy),
                None => return Ok(None),
            },
            "aws-role" => match aws_role_of(subject) {
                Some(role) => tx.aws_role(&role).await?.map(Entry::AwsRole),
                None => return Ok(None),
            },
            "control-policy" => match ControlPolicyKey::of_subject(subject) {
                Some(key) => tx.control_policy(&key).await?.map(Entry::ControlPolicy),
                None => return Ok(None),
            },
            "revocation" => return Ok(tx.revocation(Uid::parse(subject)?).await?.map(Entry::Revocation)),
            _ => return Ok(None),
        };
        Ok(Some(found.unwrap_or_else(|| Entry::Removed(change.kind.clone(), subject.to_owned()))))
    }

    /// Where this region stands in another region's stream.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn followed_until(&self, stream: Stream, region: &Region) -> Result<i64> {
        let mut snapshot = self.store.snapshot().await?;
        let cursor = snapshot.tx().cursor(&stream.followed(region), 0, "here").await?;
        Ok(cursor.map_or(0, |(seq, _)| seq))
    }

    /// Applies what came from another region, and moves the cursor, in one transaction.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn learn(&self, stream: Stream, region: &Region, entries: Vec<Entry>, until: i64) -> Result<()> {
        let new_token_key = entries.iter().any(|entry| matches!(entry, Entry::TokenKey(..)));
        let entries = entries.into_iter().map(|entry| self.sealed(entry)).collect::<Result<_>>()?;
        let learn = Learn { stream: stream.followed(region), entries, until, now: self.clock.now() };
        self.store.write(Arc::new(learn)).await?;
        if new_token_key {
            self.reload_token_keys().await?;
        }
        Ok(())
    }

    fn sealed(&self, entry: Entry) -> Result<Learned> {
        Ok(match entry {
            Entry::AccessKey(id, unique_id, secret, created_at) => {
                let sealed_secret = self.root.seal(ACCESS_KEY, id.as_bytes(), secret.expose())?;
                Learned::AccessKey(AccessKeyRow { id, unique_id, sealed_secret, created_at })
            }
            Entry::MfaDevice(row, secret) => {
                let subject = mfa_device_subject(&row.device);
                let sealed_secret = self.root.seal(MFA_DEVICE, subject.as_bytes(), secret.expose())?;
                Learned::MfaDevice(MfaDeviceRow { sealed_secret, ..row })
            }
            Entry::TokenKey(id, secret, created_at) => {
                let sealed = self.root.seal(TOKEN_KEY, &id.to_be_bytes(), secret.expose())?;
                Learned::TokenKey(TokenKeyRow { id, sealed, created_at })
            }
            other @ (Entry::Organization(_)
            | Entry::Account(_)
            | Entry::Principal(..)
            | Entry::OidcProvider(_)
            | Entry::ManagedPolicy(_)
            | Entry::ControlPolicy(_)
            | Entry::AwsRole(_)
            | Entry::Revocation(_)
            | Entry::Removed(..)) => Learned::Plain(other),
        })
    }
}

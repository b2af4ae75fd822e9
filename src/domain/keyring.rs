//! KMS keys of accounts, branch keys of repositories, and the data keys they wrap.

use super::App;
use crate::authz::permit::Allowed;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Key, KeyAddress, Keyring, Repository};
use crate::keys::{self, BranchKey, Context, DataKey, KeyInfo, KeyState, Link, Refusal, WrappedBranchKey};
use crate::names::{AccountId, Arn, RepositoryRef, Uid};
use crate::ops::Op;
use crate::store::Tx;
use crate::store::blobs::WrappedKey;
use crate::store::repositories::{BranchKeyRow, RepositoryRow};
use std::sync::Arc;

/// In the place of a key's id, where a key would be made and nothing is to be changed.
pub const UNMADE: &str = "key/unmade";
/// What the default key of an account's registry is called.
const DEFAULT_KEY: &str = "default key of the account's registry";

/// A key that the KMS is about to make: nothing to change in the store, but to authorize and audit.
struct KeyToMake;

impl Change for KeyToMake {
    type Resource = Keyring;
    type Out = ();

    async fn apply(&self, _: &Allowed<Keyring>, _: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}

/// A key whose state the KMS is about to change, if the account has it: only the KMS knows, and was asked before.
struct KeyToSwitch {
    address: KeyAddress,
    held: bool,
}

impl Change for KeyToSwitch {
    type Resource = Key;
    type Out = ();

    async fn apply(&self, _: &Allowed<Key>, _: &mut Tx<'_>) -> Result<()> {
        if self.held { Ok(()) } else { Err(Key::not_held(&self.address)) }
    }
}

impl App {
    /// Makes a KMS key in an account.
    ///
    /// # Errors
    /// When the caller may not, or the KMS does not answer.
    pub async fn create_key(&self, ctx: &Ctx, account: AccountId, description: &str) -> Result<KeyInfo> {
        if description.chars().count() > 256 {
            return Err(Error::invalid("description", "at most 256 characters"));
        }
        self.gate.write(ctx, Op::CreateKey, &account, KeyToMake).await?;
        if ctx.mutation.validate_only {
            let (arn, description) = (self.unmade(account), description.to_owned());
            return Ok(KeyInfo { arn, state: KeyState::Enabled, description, created_at: ctx.now });
        }
        Ok(self.kms.create_key(account, &self.settings.region, description).await?)
    }

    /// Stands for a key that is not made, because nothing is to be changed.
    fn unmade(&self, account: AccountId) -> Arn {
        Arn::new("kms", self.settings.region.as_str(), Some(account), UNMADE)
    }

    /// An account's KMS keys.
    ///
    /// # Errors
    /// When the caller may not, or the KMS does not answer.
    pub async fn list_keys(&self, ctx: &Ctx, account: AccountId) -> Result<Vec<KeyInfo>> {
        self.gate.read::<Keyring>(ctx, Op::ListKeys, &account).await?;
        Ok(self.kms.list_keys(account).await?)
    }

    /// Enables or disables a KMS key; a disabled one stops opening anything at once.
    ///
    /// # Errors
    /// When the caller may not, the key is missing, or the KMS does not answer.
    pub async fn set_key_enabled(&self, ctx: &Ctx, account: AccountId, key: &Arn, enabled: bool) -> Result<KeyInfo> {
        let op = if enabled { Op::EnableKey } else { Op::DisableKey };
        let address = KeyAddress { account, key: key.clone() };
        self.gate.look::<Key>(ctx, op, &address).await?;
        let found = self.key_of(key, account).await?;
        let change = KeyToSwitch { address: address.clone(), held: found.is_some() };
        self.gate.write(ctx, op, &address, change).await?;
        let found = found.ok_or_else(|| Key::not_held(&address))?;
        if ctx.mutation.validate_only {
            let state = if enabled { KeyState::Enabled } else { KeyState::Disabled };
            return Ok(KeyInfo { state, ..found });
        }
        self.kms.set_enabled(key, enabled).await?;
        self.branches.forget_key(key);
        Ok(self.kms.describe_key(key).await?)
    }

    /// What the KMS says of a key, if it is the account's.
    async fn key_of(&self, key: &Arn, account: AccountId) -> Result<Option<KeyInfo>> {
        if !self.kms.belongs_to(key, account).await? {
            return Ok(None);
        }
        match self.kms.describe_key(key).await {
            Err(keys::Error::Kms { refusal: Refusal::NotFound, .. }) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// The KMS key for a new repository: the one asked for, else the account's default, made when it is missing.
    pub(super) async fn key_for(
        &self,
        ctx: &Ctx,
        account: AccountId,
        asked: Option<Arn>,
        default: Option<Arn>,
    ) -> Result<Arn> {
        let region = &self.settings.region;
        match (asked, default) {
            (Some(key), _) => {
                if key.region() != region.as_str() || !self.kms.belongs_to(&key, account).await? {
                    let text = format!("{key} is not a key of account {account} in {region}");
                    return Err(Error::invalid("kms_key_arn", text));
                }
                self.kms.describe_key(&key).await?;
                Ok(key)
            }
            // It was asked for or made when the account's first repository was.
            (None, Some(key)) => Ok(key),
            (None, None) if ctx.mutation.validate_only => Ok(self.unmade(account)),
            (None, None) => Ok(self.kms.create_key(account, region, DEFAULT_KEY).await?.arn),
        }
    }

    /// A new branch key for a repository, wrapped by its KMS key.
    pub(super) async fn new_branch(&self, key: &Arn, repository: &RepositoryRef) -> Result<BranchKeyRow> {
        if key.resource() == UNMADE {
            return Ok(BranchKeyRow { version: 1, kms_key: key.clone(), wrapped: Vec::new() });
        }
        let (_, wrapped) = self.kms.generate_data_key(key, &context(repository)).await?;
        Ok(BranchKeyRow { version: 1, kms_key: key.clone(), wrapped })
    }

    /// A repository's branch key, from the cache or by one call to the KMS.
    pub(crate) async fn branch(
        &self,
        repository: &RepositoryRow,
        address: &RepositoryRef,
        version: u32,
    ) -> Result<Arc<BranchKey>> {
        let mut snapshot = self.store.snapshot().await?;
        let wrapped = wrapped_branch(&mut snapshot.tx(), repository, address, version).await?;
        drop(snapshot);
        Ok(self.branches.get(&wrapped).await?)
    }

    /// The branch key for new objects of a repository.
    pub(crate) async fn current_branch(&self, repository: &Repository) -> Result<Arc<BranchKey>> {
        self.branch(&repository.row, &repository.address, repository.branch_version).await
    }
}

/// A repository's branch key as the store has it, to be opened once the transaction is over.
pub(crate) async fn wrapped_branch(
    tx: &mut Tx<'_>,
    repository: &RepositoryRow,
    address: &RepositoryRef,
    version: u32,
) -> Result<WrappedBranchKey> {
    let row = tx.branch_key(repository.uid, version).await?.ok_or_else(|| {
        Error::new(Reason::DataLoss, format!("branch key {version} of repository {} is missing", repository.name))
    })?;
    let (repository, repository_arn) = (repository.uid, address.arn());
    Ok(WrappedBranchKey { repository, repository_arn, version, key: row.kms_key, wrapped: row.wrapped })
}

/// The encryption context of a repository's branch keys, as ECR's: existing key policies keep working.
fn context(repository: &RepositoryRef) -> Context {
    Context::repository(&repository.arn())
}

/// Wraps an object's data key for a repository.
pub(crate) fn wrap(
    branch: &BranchKey,
    branch_version: u32,
    data_key: &DataKey,
    repository: &Repository,
    object: Uid,
    commitment: &[u8; 32],
) -> Result<WrappedKey> {
    let link = keys::wrap_link(branch, data_key, &repository.arn(), repository.uid, object, commitment)?;
    Ok(WrappedKey { branch_version, salt: link.salt, wrapped: link.wrapped })
}

/// Unwraps an object's data key through a repository's link.
pub(crate) fn unwrap(
    branch: &BranchKey,
    key: &WrappedKey,
    repository: &RepositoryRef,
    repository_uid: Uid,
    object: Uid,
    commitment: &[u8; 32],
) -> Result<DataKey> {
    let link = Link { salt: key.salt, wrapped: key.wrapped };
    Ok(keys::unwrap_link(branch, &link, &repository.arn(), repository_uid, object, commitment)?)
}

//! An account's registry in this region: its settings and its policy.

use super::value::{Row, args};
use super::{Error, Tx};
use crate::clock::Timestamp;
use crate::names::{AccountId, Arn, Profile};
use std::collections::BTreeMap;

/// A policy as its author wrote it, with the unique ids of the principals it names.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredPolicy {
    /// The document.
    pub text: String,
    /// Unique ids by ARN.
    pub bindings: BTreeMap<String, String>,
}

impl StoredPolicy {
    /// Reads the two columns of a policy.
    pub(crate) fn read(text: Option<String>, bindings: Option<String>) -> Result<Option<Self>, Error> {
        let Some(text) = text else { return Ok(None) };
        let bindings = serde_json::from_str(&bindings.unwrap_or_else(|| "{}".to_owned())).map_err(Error::decode)?;
        Ok(Some(Self { text, bindings }))
    }

    /// The two columns of a policy, or two nulls.
    pub(crate) fn columns(policy: Option<&Self>) -> Result<(Option<String>, Option<String>), Error> {
        let Some(policy) = policy else { return Ok((None, None)) };
        let bindings = serde_json::to_string(&policy.bindings).map_err(Error::encode)?;
        Ok((Some(policy.text.clone()), Some(bindings)))
    }
}

/// What an account may choose for its registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// Whether a push makes the repository it names.
    pub create_on_push: bool,
    /// Whether a manifest may name what its repository does not hold, where the repository does not say.
    pub sparse_manifests: bool,
    /// Whose answers are given where they differ.
    pub profile: Profile,
}

/// An account's registry in this region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The account.
    pub account: AccountId,
    /// Shards of its change stream; fixed when the registry is made.
    pub shards: u32,
    /// Its settings.
    pub settings: Settings,
    /// The account's default KMS key, once it has one.
    pub kms_key: Option<Arn>,
    /// The registry policy.
    pub policy: Option<StoredPolicy>,
}

impl Registry {
    /// The registry of an account that has not used this region yet.
    #[must_use]
    pub fn unmade(account: AccountId) -> Self {
        Self { account, shards: 1, settings: Settings::default(), kms_key: None, policy: None }
    }
}

impl Tx<'_> {
    /// The registry of an account, if it was made.
    pub async fn registry(&mut self, account: AccountId) -> Result<Option<Registry>, Error> {
        let row = self
            .opt(
                "SELECT account, shards, create_on_push, sparse_manifests, profile, kms_key, policy, policy_bindings \
                 FROM registries WHERE account = $1",
                args![account],
            )
            .await?;
        row.as_ref().map(registry_row).transpose()
    }

    /// Makes a registry unless it is there.
    pub(crate) async fn registry_insert(&mut self, registry: &Registry, at: Timestamp) -> Result<(), Error> {
        self.execute(
            "INSERT INTO registries (account, shards, create_on_push, sparse_manifests, profile, kms_key, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (account) DO NOTHING",
            args![
                registry.account,
                registry.shards,
                registry.settings.create_on_push,
                registry.settings.sparse_manifests,
                registry.settings.profile.as_str(),
                registry.kms_key.as_ref(),
                at
            ],
        )
        .await?;
        Ok(())
    }

    pub(crate) async fn registry_settings_set(&mut self, account: AccountId, settings: &Settings) -> Result<(), Error> {
        let Settings { create_on_push, sparse_manifests, profile } = *settings;
        self.execute(
            "UPDATE registries SET create_on_push = $2, sparse_manifests = $3, profile = $4 WHERE account = $1",
            args![account, create_on_push, sparse_manifests, profile.as_str()],
        )
        .await?;
        Ok(())
    }

    /// Makes a key the account's default unless it has one.
    pub(crate) async fn registry_key_set(&mut self, account: AccountId, key: &Arn) -> Result<(), Error> {
        self.execute("UPDATE registries SET kms_key = $2 WHERE account = $1 AND kms_key IS NULL", args![account, key])
            .await?;
        Ok(())
    }

    pub(crate) async fn registry_policy_set(
        &mut self,
        account: AccountId,
        policy: Option<&StoredPolicy>,
    ) -> Result<(), Error> {
        let (text, bindings) = StoredPolicy::columns(policy)?;
        self.execute(
            "UPDATE registries SET policy = $2, policy_bindings = $3 WHERE account = $1",
            args![account, text.as_deref(), bindings.as_deref()],
        )
        .await?;
        Ok(())
    }
}

fn registry_row(row: &Row) -> Result<Registry, Error> {
    Ok(Registry {
        account: row.get(0)?,
        shards: row.get(1)?,
        settings: Settings { create_on_push: row.get(2)?, sparse_manifests: row.get(3)?, profile: row.get(4)? },
        kms_key: row.get(5)?,
        policy: StoredPolicy::read(row.get(6)?, row.get(7)?)?,
    })
}

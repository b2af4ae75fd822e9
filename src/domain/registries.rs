//! An account's registry in this region: its settings and its policy.

use super::App;
use super::policies::Written;
use crate::authz::permit::Allowed;
use crate::authz::policy::Kind;
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Registry};
use crate::names::{AccountId, Profile};
use crate::ops::Op;
use crate::store::{Tx, registries};

struct SetPolicy {
    policy: Option<Written>,
    force: bool,
    new: registries::Registry,
    now: Timestamp,
}

impl Change for SetPolicy {
    type Resource = Registry;
    /// The text that was there before.
    type Out = Option<String>;

    async fn apply(&self, registry: &Allowed<Registry>, tx: &mut Tx<'_>) -> Result<Option<String>> {
        tx.registry_insert(&self.new, self.now).await?;
        let stored = match &self.policy {
            Some(policy) => Some(policy.bind(tx, self.force).await?),
            None if registry.policy.is_none() => return Err(no_policy(registry.account)),
            None => None,
        };
        tx.registry_policy_set(registry.account, stored.as_ref()).await?;
        Ok(registry.policy.as_ref().map(|policy| policy.text.clone()))
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.policy.as_ref().map_or_else(Vec::new, |policy| policy.text().as_bytes().to_vec())
    }
}

/// The settings that a caller changes; the others stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewSettings {
    /// Whether a push makes the repository it names.
    pub create_on_push: Option<bool>,
    /// Whether a manifest may name what its repository does not hold, where the repository does not say.
    pub sparse_manifests: Option<bool>,
    /// Whose answers are given where they differ.
    pub profile: Option<Profile>,
}

struct SetSettings {
    wanted: NewSettings,
    new: registries::Registry,
    now: Timestamp,
}

impl Change for SetSettings {
    type Resource = Registry;
    type Out = registries::Settings;

    async fn apply(&self, registry: &Allowed<Registry>, tx: &mut Tx<'_>) -> Result<registries::Settings> {
        tx.registry_insert(&self.new, self.now).await?;
        let before = tx.registry(registry.account).await?.map_or(self.new.settings, |row| row.settings);
        let settings = registries::Settings {
            create_on_push: self.wanted.create_on_push.unwrap_or(before.create_on_push),
            sparse_manifests: self.wanted.sparse_manifests.unwrap_or(before.sparse_manifests),
            profile: self.wanted.profile.unwrap_or(before.profile),
        };
        tx.registry_settings_set(registry.account, &settings).await?;
        Ok(settings)
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{:?}", self.wanted).into_bytes()
    }
}

impl App {
    /// A registry's settings.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn registry_settings(&self, ctx: &Ctx, account: AccountId) -> Result<registries::Registry> {
        let mut view = self.gate.read::<Registry>(ctx, Op::DescribeRegistry, &account).await?;
        let row = view.parts().1.registry(account).await?;
        Ok(row.unwrap_or_else(|| self.new_registry(account)))
    }

    /// Changes a registry's settings; says what they are then.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn set_registry_settings(
        &self,
        ctx: &Ctx,
        account: AccountId,
        wanted: NewSettings,
    ) -> Result<registries::Settings> {
        let change = SetSettings { wanted, new: self.new_registry(account), now: ctx.now };
        self.gate.write(ctx, Op::PutRegistrySettings, &account, change).await
    }

    /// A registry's policy, as its author wrote it.
    ///
    /// # Errors
    /// When the caller may not, or there is none.
    pub async fn registry_policy(&self, ctx: &Ctx, account: AccountId) -> Result<String> {
        let view = self.gate.read::<Registry>(ctx, Op::GetRegistryPolicy, &account).await?;
        view.allowed().policy.as_ref().map(|policy| policy.text.clone()).ok_or_else(|| no_policy(account))
    }

    /// Replaces a registry's policy; says what looks wrong but is legal.
    ///
    /// # Errors
    /// When the caller may not, or the text is no registry policy.
    pub async fn put_registry_policy(
        &self,
        ctx: &Ctx,
        account: AccountId,
        text: &str,
        force: bool,
    ) -> Result<Vec<String>> {
        self.gate.check::<Registry>(ctx, Op::PutRegistryPolicy, &[account]).await?;
        let policy = Written::parse(Kind::Resource, text)?;
        let warnings = policy.warnings();
        let change = SetPolicy { policy: Some(policy), force, new: self.new_registry(account), now: ctx.now };
        self.gate.write(ctx, Op::PutRegistryPolicy, &account, change).await?;
        Ok(warnings)
    }

    /// Removes a registry's policy; answers what it was.
    ///
    /// # Errors
    /// When the caller may not, or there is none.
    pub async fn delete_registry_policy(&self, ctx: &Ctx, account: AccountId) -> Result<String> {
        let change = SetPolicy { policy: None, force: false, new: self.new_registry(account), now: ctx.now };
        Ok(self.gate.write(ctx, Op::DeleteRegistryPolicy, &account, change).await?.unwrap_or_default())
    }

    /// A registry as it is made on first use.
    pub(super) fn new_registry(&self, account: AccountId) -> registries::Registry {
        registries::Registry {
            shards: self.settings.shards,
            settings: self.settings.registry,
            ..registries::Registry::unmade(account)
        }
    }
}

fn no_policy(account: AccountId) -> Error {
    let text = format!("Registry policy does not exist in the registry with id '{account}'");
    Error::new(Reason::NotFound, text).with("policy", account)
}

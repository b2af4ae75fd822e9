//! The directory: accounts, users, roles, their policies and keys. Written in the home region only.

use super::App;
use super::policies::Written;
use crate::authz::permit::Allowed;
use crate::authz::policy::Kind;
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Directory, DirectoryEntry, EntryAddress, Organization};
use crate::identity::ids;
use crate::keys;
use crate::names::{AccountId, PageSize, PrincipalKind, PrincipalName, UserName};
use crate::ops::Op;
use crate::secret::{Secret, secret_access_key};
use crate::store::Tx;
use crate::store::directory::{AccessKeyRow, Account, Policy, PrincipalRow};
use crate::store::managed_policies::Attachment;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The user that every account begins with.
pub const ADMIN: &str = "admin";
/// What that user may do in its account.
const ADMINISTRATOR: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
/// A role's longest session unless its maker says otherwise, as IAM.
pub const DEFAULT_SESSION_SECS: i64 = 3_600;

/// An access key with its secret, which is shown once.
#[derive(Debug)]
pub struct NewAccessKey {
    /// `AKIA…`.
    pub id: String,
    /// The secret.
    pub secret: Secret<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl NewAccessKey {
    /// A key that nobody has.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn random(now: Timestamp) -> Result<Self> {
        let id = ids::access_key_id(*keys::random()?.expose());
        Ok(Self { id, secret: secret_access_key(*keys::random()?.expose()), created_at: now })
    }
}

/// Refuses a write to the directory outside the home region.
pub(super) async fn at_home(tx: &mut Tx<'_>, app: &Home) -> Result<()> {
    let organization = tx.organization().await?.ok_or_else(|| {
        Error::new(Reason::Unavailable, "this region does not know its organization yet; try again shortly")
    })?;
    if organization.home_region == app.0 {
        return Ok(());
    }
    let text = format!("the directory is written in its home region {}; call there", organization.home_region);
    Err(Error::new(Reason::NotHomeRegion, text).with("home_region", organization.home_region))
}

/// The region a change runs in.
#[derive(Clone)]
pub(super) struct Home(crate::names::Region);

/// A principal with the policies it begins with.
struct PutPrincipal {
    home: Home,
    row: PrincipalRow,
    trust: Option<Written>,
    now: Timestamp,
}

impl PutPrincipal {
    async fn put(&self, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.home).await?;
        let name = &self.row.name;
        if tx.principal(name).await?.is_some() {
            let text = format!("{} {} already exists in account {}", name.kind.as_str(), name.name, name.account);
            return Err(Error::new(Reason::AlreadyExists, text).with("name", &name.name));
        }
        let mut row = self.row.clone();
        if let Some(trust) = &self.trust {
            let stored = trust.bind(tx, false).await?;
            (row.trust_policy, row.trust_bindings) = (Some(stored.text), stored.bindings);
        }
        tx.principal_put(&row).await?;
        Ok(tx.directory_note("principal", &row.unique_id, self.now).await?)
    }
}

impl Change for PutPrincipal {
    type Resource = DirectoryEntry;
    /// What the server chose, which a repeated call must hear again: the unique id, and when it was made.
    type Out = (String, Timestamp);

    async fn apply(&self, _: &Allowed<DirectoryEntry>, tx: &mut Tx<'_>) -> Result<Self::Out> {
        self.put(tx).await?;
        Ok((self.row.unique_id.to_string(), self.row.created_at))
    }

    fn fingerprint(&self) -> Vec<u8> {
        let PrincipalRow { name, max_session_secs, .. } = &self.row;
        format!("{name:?}{max_session_secs}{:?}", self.trust.as_ref().map(Written::text)).into_bytes()
    }
}

struct DeletePrincipal {
    home: Home,
    name: PrincipalName,
    now: Timestamp,
}

impl Change for DeletePrincipal {
    type Resource = DirectoryEntry;
    type Out = ();

    async fn apply(&self, _: &Allowed<DirectoryEntry>, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.home).await?;
        let row = existing(tx, &self.name).await?;
        tx.principal_delete(&row.unique_id).await?;
        Ok(tx.directory_note("principal", &row.unique_id, self.now).await?)
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{:?}", self.name).into_bytes()
    }
}

struct PutPolicy {
    home: Home,
    name: PrincipalName,
    policy: Policy,
    now: Timestamp,
}

impl Change for PutPolicy {
    type Resource = DirectoryEntry;
    type Out = ();

    async fn apply(&self, _: &Allowed<DirectoryEntry>, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.home).await?;
        let row = existing(tx, &self.name).await?;
        tx.policy_put(&row.unique_id, &self.policy).await?;
        Ok(tx.directory_note("principal", &row.unique_id, self.now).await?)
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{:?}{:?}", self.name, self.policy).into_bytes()
    }
}

struct PutAccessKey {
    home: Home,
    user: PrincipalName,
    id: String,
    sealed_secret: Vec<u8>,
    now: Timestamp,
}

impl PutAccessKey {
    async fn put(&self, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.home).await?;
        let user = existing(tx, &self.user).await?;
        let row = AccessKeyRow {
            id: self.id.clone(),
            unique_id: user.unique_id.to_string(),
            sealed_secret: self.sealed_secret.clone(),
            created_at: self.now,
        };
        tx.access_key_put(&row).await?;
        Ok(tx.directory_note("access-key", &row.id, self.now).await?)
    }
}

impl Change for PutAccessKey {
    type Resource = DirectoryEntry;
    type Out = ();

    async fn apply(&self, _: &Allowed<DirectoryEntry>, tx: &mut Tx<'_>) -> Result<()> {
        self.put(tx).await
    }
}

struct DeleteAccessKey {
    home: Home,
    user: PrincipalName,
    id: String,
    now: Timestamp,
}

impl Change for DeleteAccessKey {
    type Resource = DirectoryEntry;
    type Out = ();

    async fn apply(&self, _: &Allowed<DirectoryEntry>, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.home).await?;
        let owner = existing(tx, &self.user).await?;
        let key = tx.access_key(&self.id).await?.filter(|key| *key.unique_id == *owner.unique_id);
        if key.is_none() {
            let text = format!("user {} has no access key {}", self.user.name, self.id);
            return Err(Error::new(Reason::NotFound, text).with("access_key", &self.id));
        }
        tx.access_key_delete(&self.id).await?;
        Ok(tx.directory_note("access-key", &self.id, self.now).await?)
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }
}

struct CreateAccount {
    account: Account,
    admin: PutPrincipal,
    key: PutAccessKey,
}

impl Change for CreateAccount {
    type Resource = Organization;
    type Out = ();

    async fn apply(&self, _: &Allowed<Organization>, tx: &mut Tx<'_>) -> Result<()> {
        at_home(tx, &self.admin.home).await?;
        if tx.account(self.account.id).await?.is_some() || !tx.account_put(&self.account).await? {
            let text =
                format!("account {} or its name {:?} already exists", self.account.id, self.account.display_name);
            return Err(Error::new(Reason::AlreadyExists, text).with("account", self.account.id));
        }
        tx.directory_note("account", self.account.id.as_str(), self.account.created_at).await?;
        self.admin.put(tx).await?;
        let policy = Policy { name: "AdministratorAccess".to_owned(), document: ADMINISTRATOR.to_owned() };
        tx.policy_put(&self.admin.row.unique_id, &policy).await?;
        self.key.put(tx).await
    }
}

impl App {
    /// Makes an account with a user `admin` that may do everything in it, and that user's key.
    ///
    /// # Errors
    /// When the caller may not, the number or name is taken, or this is not the home region.
    pub async fn create_account(
        &self,
        ctx: &Ctx,
        display_name: &str,
        id: Option<AccountId>,
    ) -> Result<(Account, NewAccessKey)> {
        let key = NewAccessKey::random(ctx.now)?;
        let account = self.create_account_with(ctx, display_name, id, &key).await?;
        Ok((account, key))
    }

    /// As `create_account`, with a key that was made before.
    pub(super) async fn create_account_with(
        &self,
        ctx: &Ctx,
        display_name: &str,
        id: Option<AccountId>,
        key: &NewAccessKey,
    ) -> Result<Account> {
        if display_name.is_empty() || display_name.chars().count() > 64 || display_name.contains(char::is_control) {
            return Err(Error::invalid("display_name", "1-64 printable characters"));
        }
        let id = id.unwrap_or_else(|| AccountId::from_seed(u64::from_be_bytes(first_eight(&self.clock.uid()))));
        let account = Account { id, display_name: display_name.to_owned(), created_at: ctx.now };
        let admin = self.new_principal(id, PrincipalKind::User, ADMIN.into(), None, DEFAULT_SESSION_SECS, ctx.now)?;
        let put = self.put_access_key(admin.row.name.clone(), key)?;
        let owner = self.management_account().await?.unwrap_or(id);
        let change = CreateAccount { account: account.clone(), admin, key: put };
        self.gate.write(ctx, Op::CreateAccount, &owner, change).await?;
        Ok(account)
    }

    /// A page of accounts after one.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn list_accounts(&self, ctx: &Ctx, after: &str, size: PageSize) -> Result<Vec<Account>> {
        let owner = self.organization_owner().await?;
        let mut view = self.gate.read::<Organization>(ctx, Op::ListAccounts, &owner).await?;
        Ok(view.parts().1.account_list(after, size).await?)
    }

    /// Makes a user.
    ///
    /// # Errors
    /// When the caller may not, the name is taken, or this is not the home region.
    pub async fn create_user(&self, ctx: &Ctx, account: AccountId, name: &UserName) -> Result<PrincipalRow> {
        let change = self.new_principal(
            account,
            PrincipalKind::User,
            name.as_str().into(),
            None,
            DEFAULT_SESSION_SECS,
            ctx.now,
        )?;
        let row = change.row.clone();
        let (unique_id, created_at) = self.gate.write(ctx, Op::CreateUser, &entry(&row.name), change).await?;
        Ok(PrincipalRow { unique_id: unique_id.into(), created_at, ..row })
    }

    /// Makes a role with its trust policy.
    ///
    /// # Errors
    /// When the caller may not, the name is taken, the policy is none, or this is not the home region.
    pub async fn create_role(
        &self,
        ctx: &Ctx,
        account: AccountId,
        name: &crate::names::RoleName,
        trust_policy: &str,
        max_session_secs: i64,
    ) -> Result<PrincipalRow> {
        let made = PrincipalName { account, kind: PrincipalKind::Role, name: name.as_str().into() };
        self.gate.check::<DirectoryEntry>(ctx, Op::CreateRole, &[entry(&made)]).await?;
        if !(3_600..=43_200).contains(&max_session_secs) {
            return Err(Error::invalid("max_session_duration", "1 to 12 hours"));
        }
        let trust = Written::parse(Kind::Trust, trust_policy)?;
        let change =
            self.new_principal(account, PrincipalKind::Role, made.name, Some(trust), max_session_secs, ctx.now)?;
        let row = change.row.clone();
        let (unique_id, created_at) = self.gate.write(ctx, Op::CreateRole, &entry(&row.name), change).await?;
        let trust_policy = Some(trust_policy.to_owned());
        Ok(PrincipalRow { unique_id: unique_id.into(), created_at, trust_policy, ..row })
    }

    /// Removes a user or role with its policies and keys; its sessions end with it.
    ///
    /// # Errors
    /// When the caller may not, there is none, or this is not the home region.
    pub async fn delete_principal(&self, ctx: &Ctx, name: PrincipalName) -> Result<()> {
        let op = match name.kind {
            PrincipalKind::User => Op::DeleteUser,
            PrincipalKind::Role => Op::DeleteRole,
        };
        let address = entry(&name);
        self.gate.write(ctx, op, &address, DeletePrincipal { home: self.home(), name, now: ctx.now }).await
    }

    /// A page of an account's users and roles after a key `kind/name`, each with the managed policies attached to it.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn list_principals(
        &self,
        ctx: &Ctx,
        account: AccountId,
        after: &str,
        size: PageSize,
    ) -> Result<Vec<(PrincipalRow, Vec<Attachment>)>> {
        let mut view = self.gate.read::<Directory>(ctx, Op::ListPrincipals, &account).await?;
        let (_, mut tx) = view.parts();
        let rows = tx.principal_list(account, after, size).await?;
        let last = rows.last().map_or_else(String::new, |row| row.name.key());
        let mut attached = tx.attachment_map(account, after, &last).await?;
        let with = |row: PrincipalRow| {
            let attachments = attached.remove(&*row.unique_id).unwrap_or_default();
            (row, attachments)
        };
        Ok(rows.into_iter().map(with).collect())
    }

    /// Attaches or replaces an identity policy; says what looks wrong but is legal.
    ///
    /// # Errors
    /// When the caller may not, the text is no identity policy, or this is not the home region.
    pub async fn put_principal_policy(
        &self,
        ctx: &Ctx,
        name: PrincipalName,
        policy: &str,
        document: &str,
    ) -> Result<Vec<String>> {
        let op = match name.kind {
            PrincipalKind::User => Op::PutUserPolicy,
            PrincipalKind::Role => Op::PutRolePolicy,
        };
        let address = entry(&name);
        self.gate.check::<DirectoryEntry>(ctx, op, std::slice::from_ref(&address)).await?;
        UserName::parse(policy)?;
        let written = Written::parse(Kind::Identity, document)?;
        let policy = Policy { name: policy.to_owned(), document: document.to_owned() };
        let change = PutPolicy { home: self.home(), name, policy, now: ctx.now };
        self.gate.write(ctx, op, &address, change).await?;
        Ok(written.warnings())
    }

    /// Makes an access key for a user.
    ///
    /// # Errors
    /// When the caller may not, there is no such user, or this is not the home region.
    pub async fn create_access_key(&self, ctx: &Ctx, user: PrincipalName) -> Result<NewAccessKey> {
        let (address, key) = (entry(&user), NewAccessKey::random(ctx.now)?);
        let change = self.put_access_key(user, &key)?;
        self.gate.write(ctx, Op::CreateAccessKey, &address, change).await?;
        Ok(key)
    }

    /// Removes an access key.
    ///
    /// # Errors
    /// When the caller may not, the user has no such key, or this is not the home region.
    pub async fn delete_access_key(&self, ctx: &Ctx, user: PrincipalName, id: &str) -> Result<()> {
        let address = entry(&user);
        let change = DeleteAccessKey { home: self.home(), user, id: id.to_owned(), now: ctx.now };
        self.gate.write(ctx, Op::DeleteAccessKey, &address, change).await
    }

    /// The account that administers the organization: the first that was made.
    pub(super) async fn management_account(&self) -> Result<Option<AccountId>> {
        Ok(self.store.snapshot().await?.tx().account_first().await?)
    }

    pub(super) fn home(&self) -> Home {
        Home(self.settings.region.clone())
    }

    fn new_principal(
        &self,
        account: AccountId,
        kind: PrincipalKind,
        name: Arc<str>,
        trust: Option<Written>,
        max_session_secs: i64,
        now: Timestamp,
    ) -> Result<PutPrincipal> {
        let unique_id = match kind {
            PrincipalKind::User => ids::user_id(*keys::random()?.expose()),
            PrincipalKind::Role => ids::role_id(*keys::random()?.expose()),
        };
        let row = PrincipalRow {
            name: PrincipalName { account, kind, name },
            unique_id: unique_id.into(),
            trust_policy: None,
            trust_bindings: BTreeMap::new(),
            max_session_secs,
            created_at: now,
        };
        Ok(PutPrincipal { home: self.home(), row, trust, now })
    }

    fn put_access_key(&self, user: PrincipalName, key: &NewAccessKey) -> Result<PutAccessKey> {
        let sealed_secret = self.root.seal(ACCESS_KEY, key.id.as_bytes(), key.secret.expose().as_bytes())?;
        Ok(PutAccessKey { home: self.home(), user, id: key.id.clone(), sealed_secret, now: key.created_at })
    }
}

/// What an access key's secret is sealed for.
pub(crate) const ACCESS_KEY: &str = "access-key";
/// What a token key is sealed for.
pub(crate) const TOKEN_KEY: &str = "token-key";

/// A user or role, as policies are asked about it.
pub(super) fn entry(name: &PrincipalName) -> EntryAddress {
    EntryAddress { account: name.account, arn: name.arn() }
}

pub(super) async fn existing(tx: &mut Tx<'_>, name: &PrincipalName) -> Result<PrincipalRow> {
    tx.principal(name).await?.ok_or_else(|| {
        let text = format!("account {} has no {} {}", name.account, name.kind.as_str(), name.name);
        Error::new(Reason::NotFound, text).with("name", &name.name)
    })
}

fn first_eight(uid: &crate::names::Uid) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *uid.bytes();
    [a, b, c, d, e, f, g, h]
}

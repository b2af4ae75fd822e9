//! What operations are authorized on: how each is named, found, and reported missing.

use super::context::mfa_context;
use crate::authz::context::Context;
use crate::clock::Timestamp;
use crate::ctx::{Caller, Ctx, Mfa, Principal};
use crate::error::{Error, Reason, Result};
use crate::names::{
    AccountId, Arn, AwsRoleRef, Digest, FederatedName, PrincipalName, RepositoryRef, SessionName, SessionTag, Tag,
};
use crate::store::{self, Tx, aws_roles, directory, registries, repositories};
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

/// The part of a repository a request is about; its tags become `ecr:ImageTag` (decision 17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// The repository itself.
    Whole,
    /// A tag named by the request.
    Tag(Tag),
    /// A manifest by digest: its tags, those of every index that contains it, those of its subject.
    Image(Digest),
    /// A blob: the tags of all manifests of the repository that link it.
    Blob(Digest),
    /// The list of tags: any tag of the repository.
    AnyTag,
}

/// What a policy is asked about.
#[derive(Clone, Debug)]
pub struct Target {
    /// The ARN, or `*` for operations without a resource type.
    pub arn: String,
    /// The account that owns the resource.
    pub account: Option<AccountId>,
    /// The repository, whose policy, registry policy and grants apply.
    pub repository: Option<(RepositoryRef, Object)>,
    /// Whether the registry policy of `account` applies.
    pub registry: bool,
    /// The role whose trust policy applies.
    pub role: Option<PrincipalName>,
    /// Whether it is a KMS key of `account`, which has the policy that every key begins with.
    pub key: bool,
    /// Context keys only this request has.
    pub context: Context,
}

impl Target {
    /// Of a call whose caller was not believed: nothing was looked at.
    pub(super) fn unjudged() -> Self {
        Self::new("*", None)
    }

    fn new(arn: impl Into<String>, account: Option<AccountId>) -> Self {
        Self {
            arn: arn.into(),
            account,
            repository: None,
            registry: false,
            role: None,
            key: false,
            context: Context::new(),
        }
    }
}

/// Something an operation is authorized on.
pub trait Resource: Sized + Send + Sync + 'static {
    /// How a request names it.
    type Address: Clone + Send + Sync + 'static;

    /// What policies are asked about.
    fn target(address: &Self::Address) -> Target;

    /// Reads it.
    fn load(
        tx: &mut Tx<'_>,
        address: &Self::Address,
    ) -> impl Future<Output = Result<Option<Self>, store::Error>> + Send;

    /// The resource, if it is the repository whose row was read to judge.
    fn judged(_row: &repositories::RepositoryRow, _address: &Self::Address) -> Option<Self> {
        None
    }

    /// What an authorized caller hears when it is not there.
    fn missing(address: &Self::Address, ctx: &Ctx) -> Error;
}

/// A repository and the part of it a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryAddress {
    /// The repository.
    pub repository: RepositoryRef,
    /// The part.
    pub object: Object,
}

impl RepositoryAddress {
    /// The repository itself.
    #[must_use]
    pub fn whole(repository: &RepositoryRef) -> Self {
        Self::of(repository, Object::Whole)
    }

    /// A part of a repository.
    #[must_use]
    pub fn of(repository: &RepositoryRef, object: Object) -> Self {
        Self { repository: repository.clone(), object }
    }
}

/// A repository that is there.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Its row.
    pub row: repositories::RepositoryRow,
    /// Its address.
    pub address: RepositoryRef,
}

impl Deref for Repository {
    type Target = repositories::RepositoryRow;
    fn deref(&self) -> &Self::Target {
        &self.row
    }
}

impl Repository {
    /// Its ARN.
    #[must_use]
    pub fn arn(&self) -> Arn {
        self.address.arn()
    }
}

fn repository_target(address: &RepositoryAddress) -> Target {
    let mut target = Target::new(address.repository.arn().as_str(), Some(address.repository.account));
    target.repository = Some((address.repository.clone(), address.object.clone()));
    target.registry = true;
    target
}

impl Resource for Repository {
    type Address = RepositoryAddress;

    fn target(address: &Self::Address) -> Target {
        repository_target(address)
    }

    async fn load(tx: &mut Tx<'_>, address: &Self::Address) -> Result<Option<Self>, store::Error> {
        let row = tx.repository(address.repository.account, &address.repository.name).await?;
        Ok(row.map(|row| Self { row, address: address.repository.clone() }))
    }

    fn judged(row: &repositories::RepositoryRow, address: &Self::Address) -> Option<Self> {
        Some(Self { row: row.clone(), address: address.repository.clone() })
    }

    fn missing(address: &Self::Address, _: &Ctx) -> Error {
        let RepositoryRef { account, name, .. } = &address.repository;
        // SPEC: Amazon ECR user guide, text of NAME_UNKNOWN.
        let text = format!("The repository with name '{name}' does not exist in the registry with id '{account}'");
        Error::new(Reason::RepositoryNotFound, text).with("repository", name).with("registry", account)
    }
}

/// A repository that is to be made: its name is free to be judged before it exists.
#[derive(Clone, Debug)]
pub struct NewRepository {
    /// Its address.
    pub address: RepositoryRef,
}

impl Resource for NewRepository {
    type Address = RepositoryAddress;

    fn target(address: &Self::Address) -> Target {
        repository_target(address)
    }

    async fn load(tx: &mut Tx<'_>, address: &Self::Address) -> Result<Option<Self>, store::Error> {
        let account = tx.account(address.repository.account).await?;
        Ok(account.map(|_| Self { address: address.repository.clone() }))
    }

    fn missing(address: &Self::Address, _: &Ctx) -> Error {
        account_missing(address.repository.account)
    }
}

/// An account's registry in this region; made on first use.
#[derive(Clone, Debug)]
pub struct Registry(pub registries::Registry);

impl Deref for Registry {
    type Target = registries::Registry;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Resource for Registry {
    type Address = AccountId;

    fn target(address: &Self::Address) -> Target {
        let mut target = Target::new("*", Some(*address));
        target.registry = true;
        target
    }

    async fn load(tx: &mut Tx<'_>, address: &Self::Address) -> Result<Option<Self>, store::Error> {
        if let Some(row) = tx.registry(*address).await? {
            return Ok(Some(Self(row)));
        }
        Ok(tx.account(*address).await?.map(|_| Self(registries::Registry::unmade(*address))))
    }

    fn missing(address: &Self::Address, _: &Ctx) -> Error {
        account_missing(*address)
    }
}

/// A role, judged by its trust policy.
#[derive(Clone, Debug)]
pub struct Role(pub directory::PrincipalRow);

/// A role and what the request to assume it says.
#[derive(Clone, Debug)]
pub struct RoleAddress {
    /// The role.
    pub role: PrincipalName,
    /// The session's name.
    pub session_name: SessionName,
    /// The external id.
    pub external_id: Option<String>,
    /// The tags that are passed.
    pub tags: Vec<SessionTag>,
    /// The source identity that is passed, or inherited.
    pub source_identity: Option<Arc<str>>,
    /// The second factor that is shown with the request, if one is.
    pub mfa: Option<Timestamp>,
}

impl Resource for Role {
    type Address = RoleAddress;

    fn target(address: &Self::Address) -> Target {
        let mut target = Target::new(address.role.arn().as_str(), Some(address.role.account));
        target.role = Some(address.role.clone());
        let context = &mut target.context;
        context.set("sts:RoleSessionName", address.session_name.as_str());
        if let Some(id) = &address.external_id {
            context.set("sts:ExternalId", id.as_str());
        }
        if let Some(identity) = &address.source_identity {
            context.set("sts:SourceIdentity", &**identity);
        }
        if let Some(at) = address.mfa {
            mfa_context(context, Mfa::Given(at), at);
        }
        tag_context(context, &address.tags);
        target
    }

    async fn load(tx: &mut Tx<'_>, address: &Self::Address) -> Result<Option<Self>, store::Error> {
        Ok(tx.principal(&address.role).await?.map(Self))
    }

    fn missing(address: &Self::Address, ctx: &Ctx) -> Error {
        // A missing role and a refusing trust policy look the same.
        let text = match &ctx.caller {
            Caller::WebIdentity(_) => "Not authorized to perform sts:AssumeRoleWithWebIdentity".to_owned(),
            caller => format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
                caller.display(),
                address.role.arn()
            ),
        };
        Error::new(Reason::AccessDenied, text)
    }
}

/// Somebody for whom a user makes credentials; it is nobody before that, and only a name after it.
#[derive(Clone, Debug)]
pub struct FederatedUser;

/// A federated user, and what its session will be tagged with.
#[derive(Clone, Debug)]
pub struct FederatedUserAddress {
    /// The account of the user that makes the credentials.
    pub account: AccountId,
    /// The name.
    pub name: FederatedName,
    /// The tags that are passed.
    pub tags: Vec<SessionTag>,
}

impl Resource for FederatedUser {
    type Address = FederatedUserAddress;

    fn target(address: &Self::Address) -> Target {
        let arn = Arn::new("sts", "", Some(address.account), &format!("federated-user/{}", address.name));
        let mut target = Target::new(arn.as_str(), Some(address.account));
        tag_context(&mut target.context, &address.tags);
        target
    }

    async fn load(_: &mut Tx<'_>, _: &Self::Address) -> Result<Option<Self>, store::Error> {
        Ok(Some(Self))
    }

    fn missing(address: &Self::Address, _: &Ctx) -> Error {
        account_missing(address.account)
    }
}

/// What policies know of tags that are passed.
fn tag_context(context: &mut Context, tags: &[SessionTag]) {
    let keys = |tags: &mut dyn Iterator<Item = &SessionTag>| tags.map(|tag| tag.key().to_owned()).collect::<Vec<_>>();
    if !tags.is_empty() {
        context.set_many("aws:TagKeys", keys(&mut tags.iter()));
        context.set_many("sts:TransitiveTagKeys", keys(&mut tags.iter().filter(|tag| tag.is_transitive())));
    }
    for tag in tags {
        context.set(&format!("aws:RequestTag/{}", tag.key()), tag.value());
    }
}

/// An account's users, roles and access keys.
#[derive(Clone, Debug)]
pub struct Directory(pub AccountId);

impl Resource for Directory {
    type Address = AccountId;

    fn target(address: &Self::Address) -> Target {
        Target::new(Arn::new("iam", "", Some(*address), "*").as_str(), Some(*address))
    }

    async fn load(tx: &mut Tx<'_>, address: &Self::Address) -> Result<Option<Self>, store::Error> {
        Ok(tx.account(*address).await?.map(|account| Self(account.id)))
    }

    fn missing(address: &Self::Address, _: &Ctx) -> Error {
        account_missing(*address)
    }
}

/// A user of an account, itself: what concerns it may be permitted for `user/${aws:username}` alone.
#[derive(Clone, Debug)]
pub struct User(pub directory::PrincipalRow);

impl Resource for User {
    type Address = PrincipalName;

    fn target(address: &Self::Address) -> Target {
        Target::new(address.arn().as_str(), Some(address.account))
    }

    async fn load(tx: &mut Tx<'_>, address: &Self::Address) -> Result<Option<Self>, store::Error> {
        Ok(tx.principal(address).await?.map(Self))
    }

    fn missing(address: &Self::Address, _: &Ctx) -> Error {
        let text = format!("account {} has no user {}", address.account, address.name);
        Error::new(Reason::NotFound, text).with("name", &address.name)
    }
}

/// A role of AWS that an account has.
#[derive(Clone, Debug)]
pub struct AwsRole(pub aws_roles::AwsRoleRow);

impl Resource for AwsRole {
    type Address = AwsRoleRef;

    fn target(address: &Self::Address) -> Target {
        Target::new(address.arn().as_str(), Some(address.account))
    }

    async fn load(tx: &mut Tx<'_>, address: &Self::Address) -> Result<Option<Self>, store::Error> {
        Ok(tx.aws_role(address).await?.map(Self))
    }

    fn missing(address: &Self::Address, _: &Ctx) -> Error {
        let text = format!("account {} has no AWS role {}", address.account, address.name);
        Error::new(Reason::NotFound, text).with("name", &address.name)
    }
}

/// Something in an account's directory, by its ARN; whether it is there is not asked here.
#[derive(Clone, Debug)]
pub struct DirectoryEntry;

/// The ARN of something in an account's directory.
#[derive(Clone, Debug)]
pub struct EntryAddress {
    /// The account.
    pub account: AccountId,
    /// The ARN.
    pub arn: Arn,
}

impl Resource for DirectoryEntry {
    type Address = EntryAddress;

    fn target(address: &Self::Address) -> Target {
        Target::new(address.arn.as_str(), Some(address.account))
    }

    async fn load(tx: &mut Tx<'_>, address: &Self::Address) -> Result<Option<Self>, store::Error> {
        Ok(tx.account(address.account).await?.map(|_| Self))
    }

    fn missing(address: &Self::Address, _: &Ctx) -> Error {
        account_missing(address.account)
    }
}

/// An account's KMS keys in this region.
#[derive(Clone, Debug)]
pub struct Keyring(pub AccountId);

impl Resource for Keyring {
    type Address = AccountId;

    fn target(address: &Self::Address) -> Target {
        Target::new("*", Some(*address))
    }

    async fn load(tx: &mut Tx<'_>, address: &Self::Address) -> Result<Option<Self>, store::Error> {
        Ok(tx.account(*address).await?.map(|account| Self(account.id)))
    }

    fn missing(address: &Self::Address, _: &Ctx) -> Error {
        account_missing(*address)
    }
}

/// One KMS key of an account. Whether it is the account's, or there at all, is not known here: only the KMS knows.
#[derive(Clone, Debug)]
pub struct Key(pub Arn);

/// A KMS key and the account whose key it is said to be.
#[derive(Clone, Debug)]
pub struct KeyAddress {
    /// The account.
    pub account: AccountId,
    /// The key.
    pub key: Arn,
}

impl Resource for Key {
    type Address = KeyAddress;

    fn target(address: &Self::Address) -> Target {
        Target { key: true, ..Target::new(address.key.as_str(), Some(address.account)) }
    }

    async fn load(_: &mut Tx<'_>, address: &Self::Address) -> Result<Option<Self>, store::Error> {
        Ok(Some(Self(address.key.clone())))
    }

    fn missing(address: &Self::Address, _: &Ctx) -> Error {
        Self::not_held(address)
    }
}

impl Key {
    /// What an authorized caller hears of a key that the account does not have.
    pub fn not_held(address: &KeyAddress) -> Error {
        let KeyAddress { account, key } = address;
        Error::new(Reason::NotFound, format!("account {account} has no key {key}; `ListKeys` has those there are"))
            .with("key", key)
    }
}

/// The organization's list of accounts; it belongs to the management account, the first that was made.
#[derive(Clone, Debug)]
pub struct Organization;

impl Resource for Organization {
    type Address = AccountId;

    fn target(address: &Self::Address) -> Target {
        Target::new("*", Some(*address))
    }

    async fn load(_: &mut Tx<'_>, _: &Self::Address) -> Result<Option<Self>, store::Error> {
        Ok(Some(Self))
    }

    fn missing(_: &Self::Address, _: &Ctx) -> Error {
        Error::new(Reason::Unavailable, "this region does not know its organization yet; try again shortly")
    }
}

/// A caller who has proven who it is, and asks about nothing but itself.
#[derive(Clone, Debug)]
pub struct Identified(pub Arc<Principal>);

impl Resource for Identified {
    type Address = Caller;

    fn target(address: &Self::Address) -> Target {
        Target::new("*", address.account())
    }

    async fn load(_: &mut Tx<'_>, address: &Self::Address) -> Result<Option<Self>, store::Error> {
        Ok(match address {
            Caller::Principal(principal) => Some(Self(principal.clone())),
            Caller::Anonymous | Caller::WebIdentity(_) | Caller::Replication { .. } | Caller::System(_) => None,
        })
    }

    fn missing(_: &Self::Address, _: &Ctx) -> Error {
        unidentified()
    }
}

/// What a call about the caller itself answers to nobody.
pub(super) fn unidentified() -> Error {
    Error::new(Reason::CallerUnknown, "this call needs the credentials of a user or role session")
}

fn account_missing(account: AccountId) -> Error {
    Error::new(Reason::NotFound, format!("there is no account {account} in this organization")).with("account", account)
}

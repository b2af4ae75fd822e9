//! Repositories: made with their first branch key, found, listed, removed; and their policies.

use super::App;
use super::policies::Written;
use crate::authz::permit::Allowed;
use crate::authz::policy::Kind;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, NewRepository, Object, Registry, Repository, RepositoryAddress};
use crate::names::{AccountId, Arn, PageSize, RepositoryRef, TagMutability};
use crate::ops::Op;
use crate::store::Tx;
use crate::store::registries;
use crate::store::repositories::{BranchKeyRow, RepositoryRow};

/// What a caller chooses when it makes a repository.
#[derive(Clone, Debug, Default)]
pub struct NewRepositorySettings {
    /// The KMS key; the account's default unless set.
    pub kms_key: Option<Arn>,
    /// Whether tags may be moved.
    pub tag_mutability: TagMutability,
}

struct CreateRepository {
    row: RepositoryRow,
    branch: BranchKeyRow,
    registry: registries::Registry,
}

impl Change for CreateRepository {
    type Resource = NewRepository;
    type Out = RepositoryRow;

    async fn apply(&self, _: &Allowed<NewRepository>, tx: &mut Tx<'_>) -> Result<RepositoryRow> {
        tx.registry_insert(&self.registry, self.row.created_at).await?;
        tx.registry_key_set(self.row.account, &self.row.kms_key).await?;
        if tx.repository_insert(&self.row, &self.branch).await? {
            return Ok(self.row.clone());
        }
        let RepositoryRow { account, name, .. } = &self.row;
        let text = format!("The repository with name '{name}' already exists in the registry with id '{account}'");
        Err(Error::new(Reason::AlreadyExists, text).with("repository", name))
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{} {}", self.row.name, self.row.tag_mutability).into_bytes()
    }
}

struct DeleteRepository {
    force: bool,
}

impl Change for DeleteRepository {
    type Resource = Repository;
    type Out = RepositoryRow;

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<RepositoryRow> {
        repository.check_removable(tx).await?;
        if !self.force && tx.repository_has_images(repository.uid).await? {
            let text = format!(
                "The repository with name '{}' in registry with id '{}' cannot be deleted because it still contains images; \
                 delete them first, or force",
                repository.name, repository.account
            );
            return Err(Error::new(Reason::RepositoryNotEmpty, text).with("repository", &repository.name));
        }
        tx.repository_delete(repository.uid).await?;
        Ok(repository.row.clone())
    }

    fn fingerprint(&self) -> Vec<u8> {
        vec![u8::from(self.force)]
    }
}

struct SetPolicy {
    policy: Option<Written>,
    force: bool,
}

impl Change for SetPolicy {
    type Resource = Repository;
    /// The text that was there before.
    type Out = Option<String>;

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<Option<String>> {
        let stored = match &self.policy {
            Some(policy) => Some(policy.bind(tx, self.force).await?),
            None if repository.policy.is_none() => {
                let text =
                    format!("Repository policy does not exist for the repository with name '{}'", repository.name);
                return Err(Error::new(Reason::NotFound, text).with("policy", &repository.name));
            }
            None => None,
        };
        tx.repository_policy_set(repository.uid, stored.as_ref()).await?;
        Ok(repository.policy.as_ref().map(|policy| policy.text.clone()))
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.policy.as_ref().map_or_else(Vec::new, |policy| policy.text().as_bytes().to_vec())
    }
}

struct SetSparse {
    sparse: Option<bool>,
}

impl Change for SetSparse {
    type Resource = Repository;
    type Out = RepositoryRow;

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<RepositoryRow> {
        tx.repository_sparse_set(repository.uid, self.sparse).await?;
        Ok(RepositoryRow { sparse_manifests: self.sparse, ..repository.row.clone() })
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{:?}", self.sparse).into_bytes()
    }
}

struct SetMutability {
    mutability: TagMutability,
}

impl Change for SetMutability {
    type Resource = Repository;
    type Out = RepositoryRow;

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<RepositoryRow> {
        tx.repository_mutability_set(repository.uid, &self.mutability).await?;
        Ok(RepositoryRow { tag_mutability: self.mutability.clone(), ..repository.row.clone() })
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.mutability.to_string().into_bytes()
    }
}

struct SetVisibility {
    public: bool,
}

impl Change for SetVisibility {
    type Resource = Repository;
    type Out = RepositoryRow;

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<RepositoryRow> {
        tx.repository_public_set(repository.uid, self.public).await?;
        Ok(RepositoryRow { public: self.public, ..repository.row.clone() })
    }

    fn fingerprint(&self) -> Vec<u8> {
        vec![u8::from(self.public)]
    }
}

impl Repository {
    /// Whether a manifest may name blobs and manifests that are not here.
    pub(super) async fn takes_sparse_manifests(&self, tx: &mut Tx<'_>) -> Result<bool> {
        if let Some(own) = self.sparse_manifests {
            return Ok(own);
        }
        Ok(tx.registry(self.account).await?.is_some_and(|registry| registry.settings.sparse_manifests))
    }
}

impl App {
    /// Chooses whether a repository takes manifests that name what it does not hold; `None` leaves it to the registry.
    ///
    /// # Errors
    /// When the caller may not, or there is no such repository.
    pub async fn set_sparse_manifests(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        sparse: Option<bool>,
    ) -> Result<RepositoryRow> {
        let asked = RepositoryAddress::whole(address);
        self.gate.write(ctx, Op::PutRepositorySettings, &asked, SetSparse { sparse }).await
    }

    /// Chooses whether a repository's tags may be moved.
    ///
    /// # Errors
    /// When the caller may not, or there is no such repository.
    pub async fn set_tag_mutability(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        mutability: TagMutability,
    ) -> Result<RepositoryRow> {
        let asked = RepositoryAddress::whole(address);
        self.gate.write(ctx, Op::PutImageTagMutability, &asked, SetMutability { mutability }).await
    }

    /// Chooses whether anybody may pull from a repository, without credentials too.
    ///
    /// # Errors
    /// When the caller may not, or there is no such repository.
    pub async fn set_visibility(&self, ctx: &Ctx, address: &RepositoryRef, public: bool) -> Result<RepositoryRow> {
        let asked = RepositoryAddress::whole(address);
        self.gate.write(ctx, Op::PutRepositoryVisibility, &asked, SetVisibility { public }).await
    }

    /// Makes a repository under the account's key or the one asked for.
    ///
    /// # Errors
    /// When the caller may not, the name is taken, or the key cannot be used.
    pub async fn create_repository(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        new: NewRepositorySettings,
    ) -> Result<RepositoryRow> {
        let asked = RepositoryAddress::whole(address);
        self.gate.look::<NewRepository>(ctx, Op::CreateRepository, &asked).await?;
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        if ctx.mutation.request_id.is_none() && tx.repository(address.account, &address.name).await?.is_some() {
            let text = format!(
                "The repository with name '{}' already exists in the registry with id '{}'",
                address.name, address.account
            );
            return Err(Error::new(Reason::AlreadyExists, text).with("repository", &address.name));
        }
        let registry = tx.registry(address.account).await?;
        drop(snapshot);
        let default = registry.as_ref().and_then(|registry| registry.kms_key.clone());
        let key = self.key_for(ctx, address.account, new.kms_key, default).await?;
        let branch = self.new_branch(&key, address).await?;
        let row = RepositoryRow {
            uid: self.clock.uid(),
            account: address.account,
            name: address.name.clone(),
            kms_key: key,
            branch_version: branch.version,
            sparse_manifests: None,
            tag_mutability: new.tag_mutability,
            public: false,
            policy: None,
            created_at: ctx.now,
        };
        let registry = registry.unwrap_or_else(|| self.new_registry(address.account));
        let change = CreateRepository { row, branch, registry };
        self.gate.write(ctx, Op::CreateRepository, &asked, change).await
    }

    /// Reads a repository.
    ///
    /// # Errors
    /// When the caller may not, or there is none.
    pub async fn get_repository(&self, ctx: &Ctx, address: &RepositoryRef) -> Result<RepositoryRow> {
        let asked = RepositoryAddress::whole(address);
        Ok(self.gate.read::<Repository>(ctx, Op::DescribeRepositories, &asked).await?.allowed().row.clone())
    }

    /// A page of a registry's repositories after a name.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn list_repositories(
        &self,
        ctx: &Ctx,
        account: AccountId,
        after: &str,
        size: PageSize,
    ) -> Result<Vec<RepositoryRow>> {
        let mut view = self.gate.read::<Registry>(ctx, Op::ListRepositories, &account).await?;
        let (_, mut tx) = view.parts();
        Ok(tx.repository_list(account, after, size).await?)
    }

    /// Removes a repository and answers what it was; its objects lose their edges and are swept.
    ///
    /// # Errors
    /// When the caller may not, there is none, or it holds images and `force` is not set.
    pub async fn delete_repository(&self, ctx: &Ctx, address: &RepositoryRef, force: bool) -> Result<RepositoryRow> {
        let asked = RepositoryAddress::whole(address);
        self.gate.write(ctx, Op::DeleteRepository, &asked, DeleteRepository { force }).await
    }

    /// A repository's policy, as its author wrote it.
    ///
    /// # Errors
    /// When the caller may not, or there is none.
    pub async fn repository_policy(&self, ctx: &Ctx, address: &RepositoryRef) -> Result<String> {
        let asked = RepositoryAddress::whole(address);
        let view = self.gate.read::<Repository>(ctx, Op::GetRepositoryPolicy, &asked).await?;
        view.allowed().policy.as_ref().map(|policy| policy.text.clone()).ok_or_else(|| {
            let text = format!("Repository policy does not exist for the repository with name '{}'", address.name);
            Error::new(Reason::NotFound, text).with("policy", &address.name)
        })
    }

    /// Replaces a repository's policy; says what looks wrong but is legal.
    ///
    /// # Errors
    /// When the caller may not, or the text is no repository policy.
    pub async fn set_repository_policy(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        text: &str,
        force: bool,
    ) -> Result<Vec<String>> {
        let asked = RepositoryAddress::whole(address);
        self.gate.check::<Repository>(ctx, Op::SetRepositoryPolicy, std::slice::from_ref(&asked)).await?;
        let policy = Written::parse(Kind::Resource, text)?;
        let warnings = policy.warnings();
        self.gate.write(ctx, Op::SetRepositoryPolicy, &asked, SetPolicy { policy: Some(policy), force }).await?;
        Ok(warnings)
    }

    /// Removes a repository's policy; answers what it was.
    ///
    /// # Errors
    /// When the caller may not, or there is none.
    pub async fn delete_repository_policy(&self, ctx: &Ctx, address: &RepositoryRef) -> Result<String> {
        let asked = RepositoryAddress::whole(address);
        let change = SetPolicy { policy: None, force: false };
        Ok(self.gate.write(ctx, Op::DeleteRepositoryPolicy, &asked, change).await?.unwrap_or_default())
    }

    /// The repository a push goes to; made on the way if the registry says so and the caller may.
    pub(super) async fn repository_for_push(
        &self,
        ctx: &Ctx,
        op: Op,
        address: &RepositoryRef,
        object: Object,
    ) -> Result<Allowed<Repository>> {
        let asked = RepositoryAddress::of(address, object);
        let missing = match self.gate.look::<Repository>(ctx, op, &asked).await {
            Ok(view) => return Ok(view.into_allowed()),
            Err(error) if error.reason == Reason::RepositoryNotFound => error,
            Err(error) => return Err(error),
        };
        if !self.creates_on_push(ctx, address).await? {
            return Err(missing);
        }
        match self.create_repository(ctx, address, NewRepositorySettings::default()).await {
            Ok(_) => {}
            // Another push made it meanwhile; both go on.
            Err(error) if error.reason == Reason::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(self.gate.look::<Repository>(ctx, op, &asked).await?.into_allowed())
    }

    async fn creates_on_push(&self, ctx: &Ctx, address: &RepositoryRef) -> Result<bool> {
        let asked = RepositoryAddress::whole(address);
        if self.gate.look::<NewRepository>(ctx, Op::CreateRepository, &asked).await.is_err() {
            return Ok(false);
        }
        self.makes_on_push(address).await
    }
}

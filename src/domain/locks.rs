//! Locks: delete protection of a tag, an image or a whole repository.
//!
//! A locked tag stays, and stays where it points. A locked image stays, and so does what an index needs of it; its tags
//! may go. A locked repository stays, and so does every image in it; its tags may move. Only removing the lock ends it.

use super::App;
use super::images::Reference;
use crate::authz::permit::Allowed;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Object, Repository, RepositoryAddress};
use crate::names::{PageSize, Protected, RepositoryRef};
use crate::ops::Op;
use crate::store::Tx;
use crate::store::locks::LockRow;

/// Characters of a lock's reason.
const REASON_MAX: usize = 256;

struct CreateLock(LockRow);

impl Change for CreateLock {
    type Resource = Repository;
    type Out = LockRow;

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<LockRow> {
        check_there(repository, tx, &self.0.object).await?;
        if tx.lock_insert(repository.uid, &self.0).await? {
            return Ok(self.0.clone());
        }
        let text = format!("{} of {} is locked already", words(&self.0.object), repository.name);
        Err(Error::new(Reason::AlreadyExists, text).with("repository", &repository.name))
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{:?}{}", self.0.object, self.0.reason).into_bytes()
    }
}

struct DeleteLock(Protected);

impl Change for DeleteLock {
    type Resource = Repository;
    type Out = ();

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<()> {
        if tx.lock_delete(repository.uid, &self.0).await? {
            return Ok(());
        }
        let text = format!("{} of {} has no lock of its own", words(&self.0), repository.name);
        Err(Error::new(Reason::NotFound, text).with("repository", &repository.name))
    }

    fn fingerprint(&self) -> Vec<u8> {
        format!("{:?}", self.0).into_bytes()
    }
}

async fn check_there(repository: &Repository, tx: &mut Tx<'_>, object: &Protected) -> Result<()> {
    let reference = match object {
        Protected::Repository => return Ok(()),
        Protected::Tag(tag) if tx.tag(repository.uid, tag).await?.is_some() => return Ok(()),
        Protected::Digest(digest) if tx.manifest_exists(repository.uid, digest).await? => return Ok(()),
        Protected::Tag(tag) => Reference::Tag(tag.clone()),
        Protected::Digest(digest) => Reference::Digest(*digest),
    };
    Err(super::images::missing(&reference))
}

impl Repository {
    /// Refuses to delete an image or tag that a lock keeps.
    pub(super) async fn check_deletable(&self, tx: &mut Tx<'_>, reference: &Reference) -> Result<()> {
        let lock = match reference {
            Reference::Digest(digest) => tx.lock_reaching_manifest(self.uid, digest).await?,
            Reference::Tag(tag) => match tx.lock_of_tag(self.uid, tag).await? {
                None => tx.lock_of_repository(self.uid).await?,
                lock => lock,
            },
        };
        let object = match reference {
            Reference::Digest(digest) => Protected::Digest(*digest),
            Reference::Tag(tag) => Protected::Tag(tag.clone()),
        };
        lock.map_or(Ok(()), |lock| Err(self.locked(&object, &lock)))
    }

    /// Refuses to delete the repository while anything in it is locked.
    pub(super) async fn check_removable(&self, tx: &mut Tx<'_>) -> Result<()> {
        let locks = tx.lock_list(self.uid, None, 1).await?;
        locks.first().map_or(Ok(()), |lock| Err(self.locked(&Protected::Repository, lock)))
    }

    /// What is heard of something that a lock keeps.
    pub(super) fn locked(&self, object: &Protected, lock: &LockRow) -> Error {
        let (object, holder) = (words(object), words(&lock.object));
        let reason = if lock.reason.is_empty() { String::new() } else { format!(" ({})", lock.reason) };
        let text = format!("{object} of {} is kept by a lock on {holder}{reason}; remove the lock first", self.name);
        Error::new(Reason::Locked, text).with("repository", &self.name).with("lock", holder)
    }
}

fn words(object: &Protected) -> String {
    match object {
        Protected::Repository => "the repository".to_owned(),
        Protected::Tag(tag) => format!("tag {tag}"),
        Protected::Digest(digest) => format!("image {digest}"),
    }
}

fn part(object: &Protected) -> Object {
    match object {
        Protected::Repository => Object::Whole,
        Protected::Tag(tag) => Object::Tag(tag.clone()),
        Protected::Digest(digest) => Object::Image(*digest),
    }
}

impl App {
    /// Protects a tag, an image or a repository from deletion; `reason` is for those who meet the lock, at most 256
    /// characters.
    ///
    /// # Errors
    /// When the caller may not, there is no such object, or it is locked already.
    pub async fn create_lock(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        object: Protected,
        reason: String,
    ) -> Result<LockRow> {
        let asked = RepositoryAddress::of(address, part(&object));
        self.gate.check::<Repository>(ctx, Op::CreateLock, std::slice::from_ref(&asked)).await?;
        if reason.chars().count() > REASON_MAX {
            return Err(Error::invalid("reason", "at most 256 characters"));
        }
        let lock = LockRow { object, reason, creator: ctx.caller.display(), created_at: ctx.now };
        self.gate.write(ctx, Op::CreateLock, &asked, CreateLock(lock)).await
    }

    /// A page of a repository's locks after an object.
    ///
    /// # Errors
    /// When the caller may not, or there is no such repository.
    pub async fn list_locks(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        after: Option<&str>,
        size: PageSize,
    ) -> Result<Vec<LockRow>> {
        let asked = RepositoryAddress::whole(address);
        let mut view = self.gate.read::<Repository>(ctx, Op::ListLocks, &asked).await?;
        let (repository, mut tx) = view.parts();
        Ok(tx.lock_list(repository.uid, after, size.rows()).await?)
    }

    /// Ends a lock.
    ///
    /// # Errors
    /// When the caller may not, or the object has no lock of its own.
    pub async fn delete_lock(&self, ctx: &Ctx, address: &RepositoryRef, object: Protected) -> Result<()> {
        let asked = RepositoryAddress::of(address, part(&object));
        self.gate.write(ctx, Op::DeleteLock, &asked, DeleteLock(object)).await
    }
}

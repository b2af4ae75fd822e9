//! The one gate: every operation is authorized, audited and metered here, and nowhere else.
//!
//! - [`Gate::write`] authorizes and changes in one transaction, with the audit row in it.
//! - [`Gate::read`] authorizes on a snapshot and hands it over, so that what is read is what was judged.
//! - [`Gate::stream`] authorizes at open and again on a timer, so that a revocation ends a transfer in flight.
//! - [`Gate::check`] is a cheap pre-check, so that slow work is never done for a stranger.
//!
//! A change is a value that may run again; nothing here or below it waits on a network.

mod audit;
mod bounds;
mod context;
mod denied;
mod documents;
mod grants;
mod judge;
mod limits;
mod resource;

use crate::authz::eval::Outcome;
use crate::authz::permit::Allowed;
use crate::clock::{Clock, Timestamp};
use crate::ctx::{Caller, Ctx};
use crate::error::{Error, Reason, Result};
use crate::names::{AccountId, PrincipalName, Tag, Uid};
use crate::ops::{Class, Op};
use crate::store::sessions::Standing;
use crate::store::{Apply, Done, Snapshot, Store, Tx, audit::Answer, audit::AuditRow};
pub use audit::Loss;
pub use context::CONTEXT_KEYS;
pub use denied::{Denied, account_of};
use documents::Documents;
use judge::Judge;
pub use judge::Ruling;
pub use resource::{
    AwsRole, Directory, DirectoryEntry, EntryAddress, FederatedUser, FederatedUserAddress, Identified, Key, KeyAddress,
    Keyring, NewRepository, Object, Organization, Registry, Repository, RepositoryAddress, Resource, Role, RoleAddress,
    Target, User,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Digest as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How often an open transfer is judged again; half of the five seconds within which a revocation must bite.
pub const RENEW_EVERY: Duration = Duration::from_secs(2);

/// A change to one resource: pure, so that it may run again on a conflict.
pub trait Change: Send + Sync + 'static {
    /// What it is authorized on.
    type Resource: Resource;
    /// Its answer; stored when the call carries a request id.
    type Out: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Does it, inside the transaction in which it was authorized.
    fn apply(
        &self,
        resource: &Allowed<Self::Resource>,
        tx: &mut Tx<'_>,
    ) -> impl Future<Output = Result<Self::Out>> + Send;

    /// What else the change is, on the same resource; each is authorized in the same transaction.
    fn also(&self) -> &[Op] {
        &[]
    }

    /// The present version of the thing it changes, for calls that carry an etag.
    fn etag(&self, _: &Allowed<Self::Resource>, _: &mut Tx<'_>) -> impl Future<Output = Result<Option<String>>> + Send {
        async { Ok(None) }
    }

    /// Bytes that tell this change from another, for calls that carry a request id.
    fn fingerprint(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// The gate of one region.
#[derive(Clone)]
pub struct Gate {
    store: Store,
    clock: Clock,
    documents: Arc<Documents>,
    audit: audit::Channel,
}

impl Gate {
    /// A gate before a store. Must be called inside a tokio runtime: it starts the writer of batched audit rows.
    #[must_use]
    pub fn new(store: Store, clock: Clock) -> Self {
        let audit = audit::Channel::start(store.clone());
        Self { store, clock, documents: Arc::default(), audit }
    }

    /// Now, by the gate's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Audit rows of reads and denials that could not be written.
    #[must_use]
    pub fn audit_loss(&self) -> Loss {
        self.audit.loss()
    }

    /// Audits a call whose caller was not believed, and so never came to be judged. `claimed` is whom it said it was,
    /// never what it showed.
    pub fn unbelieved(&self, ctx: &Ctx, op: Op, claimed: &str, error: &Error) {
        self.audit.unbelieved(ctx, op, claimed, error);
    }

    /// Writes what batched audit rows are waiting; for shutdown and tests.
    pub async fn flush(&self) {
        self.audit.flush().await;
    }

    /// A cheap pre-check without an audit row when allowed: may the caller do this to each of these?
    ///
    /// # Errors
    /// The denial, audited, of the first that may not.
    pub async fn check<R: Resource>(&self, ctx: &Ctx, op: Op, addresses: &[R::Address]) -> Result<()> {
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        for address in addresses {
            let target = R::target(address);
            let judged = authorize(&self.documents, &mut tx, ctx, op, &target, None).await;
            if let Err(error) = judged {
                self.audit.refused(ctx, op, &target, &error);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Authorizes on a snapshot and hands both over.
    ///
    /// # Errors
    /// The denial, or that the resource is missing.
    pub async fn read<R: Resource>(&self, ctx: &Ctx, op: Op, address: &R::Address) -> Result<View<R>> {
        self.read_on(ctx, op, address, None).await
    }

    /// As [`Gate::read`], on the snapshot on which the caller was found, if there is one.
    ///
    /// # Errors
    /// As [`Gate::read`].
    pub async fn read_on<R: Resource>(
        &self,
        ctx: &Ctx,
        op: Op,
        address: &R::Address,
        stood: Option<Stood>,
    ) -> Result<View<R>> {
        let target = R::target(address);
        let opened = self.open(ctx, op, address, &target, stood).await;
        match &opened {
            Ok(_) => self.audit.allowed(ctx, op, &target),
            Err(error) => self.audit.refused(ctx, op, &target, error),
        }
        opened
    }

    async fn open<R: Resource>(
        &self,
        ctx: &Ctx,
        op: Op,
        address: &R::Address,
        target: &Target,
        stood: Option<Stood>,
    ) -> Result<View<R>> {
        let (mut snapshot, known) = match stood {
            Some(stood) => stood.of(&ctx.caller),
            None => (self.store.snapshot().await?, None),
        };
        let mut tx = snapshot.tx();
        let (judge, permit) = authorize(&self.documents, &mut tx, ctx, op, target, known).await?;
        let resource = load::<R>(&judge, &mut tx, address).await?;
        let allowed = permit.load(|()| resource.ok_or_else(|| R::missing(address, ctx)))?;
        Ok(View { op, target: target.clone(), snapshot, judge, allowed })
    }

    /// As [`Gate::check`], and hands over the resource: for a change that is prepared from it.
    ///
    /// # Errors
    /// The denial, audited, or that the resource is missing.
    pub async fn look<R: Resource>(&self, ctx: &Ctx, op: Op, address: &R::Address) -> Result<View<R>> {
        let target = R::target(address);
        let opened = self.open::<R>(ctx, op, address, &target, None).await;
        opened.inspect_err(|error| self.audit.refused(ctx, op, &target, error))
    }

    /// Whether the caller may do something else here, on which the words of an answer depend; never audited.
    pub async fn may<R: Resource>(&self, ctx: &Ctx, op: Op, address: &R::Address) -> bool {
        self.open::<R>(ctx, op, address, &R::target(address), None).await.is_ok()
    }

    /// Authorizes a transfer; the lease that comes with the view judges again on a timer.
    ///
    /// # Errors
    /// The denial, or that the resource is missing.
    pub async fn stream<R: Resource>(&self, ctx: &Ctx, op: Op, address: &R::Address) -> Result<(View<R>, Lease)> {
        self.stream_on(ctx, op, address, None).await
    }

    /// As [`Gate::stream`], on the snapshot on which the caller was found, if there is one.
    ///
    /// # Errors
    /// As [`Gate::stream`].
    pub async fn stream_on<R: Resource>(
        &self,
        ctx: &Ctx,
        op: Op,
        address: &R::Address,
        stood: Option<Stood>,
    ) -> Result<(View<R>, Lease)> {
        let view = self.read_on::<R>(ctx, op, address, stood).await?;
        let lease = Lease { gate: self.clone(), ctx: ctx.clone(), op, target: R::target(address) };
        Ok((view, lease))
    }

    /// Authorizes and applies a change in one transaction, with its audit row.
    ///
    /// # Errors
    /// The denial, that the resource is missing, a stale etag, or what the change itself says.
    pub async fn write<C: Change>(
        &self,
        ctx: &Ctx,
        op: Op,
        address: &<C::Resource as Resource>::Address,
        change: C,
    ) -> Result<C::Out> {
        debug_assert!(op.spec().class == Class::Write, "{op:?} writes but is not declared to");
        let target = C::Resource::target(address);
        let authorized = Authorized {
            documents: self.documents.clone(),
            ctx: ctx.clone(),
            op,
            target: target.clone(),
            address: address.clone(),
            audit_id: self.clock.uid_in_order(),
            change,
        };
        let answer = match self.store.syncs().check() {
            Ok(()) => self.store.write(Arc::new(authorized)).await,
            Err(ended) => Err(ended),
        };
        if let Err(error) = &answer {
            self.audit.refused(ctx, op, &target, error);
        }
        answer
    }

    /// Whether the scope of the caller's token reaches all repositories of an account, for a search among them whose
    /// finds are then authorized each. Asked before the search, so that the answer says nothing of what it would find.
    ///
    /// # Errors
    /// `SCOPE_INSUFFICIENT` when it does not.
    pub fn check_reach(&self, ctx: &Ctx, op: Op, account: AccountId) -> Result<()> {
        judge::check_reach(ctx, op, account)
    }

    /// Audits a call that was judged and then failed for what the gate knows nothing of.
    pub fn failed<R: Resource>(&self, ctx: &Ctx, op: Op, address: &R::Address, error: &Error) {
        self.audit.refused(ctx, op, &R::target(address), error);
    }

    /// Says what the gate would answer, for a caller who need not be the one asking.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn explain<R: Resource>(&self, ctx: &Ctx, op: Op, address: &R::Address) -> Result<Ruling> {
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        let target = R::target(address);
        let judge = Judge::load(&self.documents, &mut tx, ctx, &target, None).await?;
        judge.explain(&mut tx, op, &target).await
    }
}

async fn authorize(
    documents: &Documents,
    tx: &mut Tx<'_>,
    ctx: &Ctx,
    op: Op,
    target: &Target,
    known: Option<Standing>,
) -> Result<(Judge, Allowed<()>)> {
    let judge = Judge::load(documents, tx, ctx, target, known).await?;
    let mut ruling = judge.decide(tx, op, target).await?;
    match ruling.permit.take().filter(|_| judge::in_scope(ctx, op, target)) {
        Some(permit) => Ok((judge, permit)),
        None => Err(judge::denial(ctx, op, target, ruling)),
    }
}

/// A principal as it stands on a snapshot, from when its token was opened: the read that answers its request is done on
/// that snapshot, and need not look for the principal again.
pub struct Stood {
    snapshot: Snapshot,
    name: PrincipalName,
    /// Its session, and when that was issued.
    session: (Uid, Timestamp),
    standing: Standing,
}

impl Stood {
    /// What the snapshot says of a principal that calls under a session.
    #[must_use]
    pub fn new(snapshot: Snapshot, name: PrincipalName, session: (Uid, Timestamp), standing: Standing) -> Self {
        Self { snapshot, name, session, standing }
    }

    /// The snapshot, and what it says of this caller, if that is the one it was asked about.
    fn of(self, caller: &Caller) -> (Snapshot, Option<Standing>) {
        let Caller::Principal(principal) = caller else { return (self.snapshot, None) };
        let session = principal.session.as_ref().map(|session| (session.id, session.issued_at));
        let is_it = principal.name == self.name && session == Some(self.session);
        (self.snapshot, is_it.then_some(self.standing))
    }
}

/// The resource: what was judged, where that is the resource itself, else what the transaction has.
async fn load<R: Resource>(judge: &Judge, tx: &mut Tx<'_>, address: &R::Address) -> Result<Option<R>> {
    match judge.repository().and_then(|row| R::judged(row, address)) {
        Some(resource) => Ok(Some(resource)),
        None => Ok(R::load(tx, address).await?),
    }
}

/// A snapshot, and the permit that was given on it.
pub struct View<R> {
    op: Op,
    target: Target,
    snapshot: Snapshot,
    judge: Judge,
    allowed: Allowed<R>,
}

impl<R> View<R> {
    /// The permit.
    #[must_use]
    pub fn allowed(&self) -> &Allowed<R> {
        &self.allowed
    }

    /// The permit and the snapshot it was given on.
    pub fn parts(&mut self) -> (&Allowed<R>, Tx<'_>) {
        (&self.allowed, self.snapshot.tx())
    }

    /// Gives up the snapshot and keeps the permit, before slow work.
    #[must_use]
    pub fn into_allowed(self) -> Allowed<R> {
        self.allowed
    }

    /// Of these tags, those that the same operation is allowed on.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn visible_tags(&mut self, tags: Vec<Tag>) -> Result<Vec<Tag>> {
        if !self.judge.wants_tags() {
            return Ok(tags);
        }
        let mut visible = Vec::with_capacity(tags.len());
        for tag in tags {
            if self.allows(self.op, Object::Tag(tag.clone())).await? {
                visible.push(tag);
            }
        }
        Ok(visible)
    }

    /// Whether the operation is allowed on another part of the same repository.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn allows_object(&mut self, object: Object) -> Result<bool> {
        self.allows(self.op, object).await
    }

    /// Whether some operation is allowed on a part of the same repository.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn allows(&mut self, op: Op, object: Object) -> Result<bool> {
        let mut target = self.target.clone();
        let Some((_, part)) = &mut target.repository else { return Ok(false) };
        *part = object;
        let ruling = self.judge.decide(&mut self.snapshot.tx(), op, &target).await?;
        Ok(ruling.outcome == Outcome::Allow)
    }
}

/// The right to go on with a transfer, to be renewed every [`RENEW_EVERY`].
pub struct Lease {
    gate: Gate,
    ctx: Ctx,
    op: Op,
    target: Target,
}

impl Lease {
    /// Judges again, as of now.
    ///
    /// # Errors
    /// The denial, audited: the transfer must end.
    pub async fn renew(&self) -> Result<()> {
        let mut ctx = self.ctx.clone();
        ctx.now = self.gate.now();
        let mut snapshot = self.gate.store.snapshot().await?;
        let judged = authorize(&self.gate.documents, &mut snapshot.tx(), &ctx, self.op, &self.target, None).await;
        judged.map(drop).inspect_err(|error| self.gate.audit.refused(&ctx, self.op, &self.target, error))
    }
}

/// A change together with what it takes to authorize, audit and answer it.
struct Authorized<C: Change> {
    documents: Arc<Documents>,
    ctx: Ctx,
    op: Op,
    target: Target,
    address: <C::Resource as Resource>::Address,
    audit_id: Uid,
    change: C,
}

impl<C: Change> Apply for Authorized<C> {
    type Out = C::Out;
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<C::Out>> {
        let (judge, permit) = authorize(&self.documents, tx, &self.ctx, self.op, &self.target, None).await?;
        for op in self.change.also() {
            authorize(&self.documents, tx, &self.ctx, *op, &self.target, None).await?;
        }
        let resource = load::<C::Resource>(&judge, tx, &self.address).await?;
        let allowed = permit.load(|()| resource.ok_or_else(|| C::Resource::missing(&self.address, &self.ctx)))?;
        if let Some(answer) = self.earlier_answer(tx).await? {
            return Ok(Done::Commit(answer));
        }
        self.check_etag(&allowed, tx).await?;
        let out = self.change.apply(&allowed, tx).await?;
        if self.ctx.mutation.validate_only {
            return Ok(Done::RollBack(out));
        }
        tx.audit_insert(&self.audit_row()).await?;
        self.keep_answer(tx, &out).await?;
        Ok(Done::Commit(out))
    }
}

impl<C: Change> Authorized<C> {
    fn audit_row(&self) -> AuditRow {
        audit::row(&self.ctx, self.audit_id, self.op, &self.target, "allowed", "")
    }

    fn fingerprint(&self) -> Vec<u8> {
        let mut hash = sha2::Sha256::new();
        for field in [self.op.name().as_bytes(), self.target.arn.as_bytes(), &self.change.fingerprint()] {
            hash.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(field);
        }
        hash.finalize().to_vec()
    }

    async fn earlier_answer(&self, tx: &mut Tx<'_>) -> Result<Option<C::Out>> {
        let Some(id) = self.ctx.mutation.request_id else { return Ok(None) };
        let Some(answer) = tx.answer(&self.ctx.caller.display(), &id.to_string()).await? else { return Ok(None) };
        if answer.fingerprint != self.fingerprint() {
            let text = format!("request id {id} was used for another call; choose a new one");
            return Err(Error::new(Reason::AlreadyExists, text).with("request_id", id));
        }
        serde_json::from_slice(&answer.result).map(Some).map_err(Error::internal)
    }

    async fn keep_answer(&self, tx: &mut Tx<'_>, out: &C::Out) -> Result<()> {
        let Some(id) = self.ctx.mutation.request_id else { return Ok(()) };
        let result = serde_json::to_vec(out).map_err(Error::internal)?;
        let answer = Answer { fingerprint: self.fingerprint(), result };
        let (caller, op) = (self.ctx.caller.display(), self.op.name());
        Ok(tx.answer_insert(&caller, &id.to_string(), op, &answer, self.ctx.now).await?)
    }

    async fn check_etag(&self, allowed: &Allowed<C::Resource>, tx: &mut Tx<'_>) -> Result<()> {
        let Some(wanted) = &self.ctx.mutation.etag else { return Ok(()) };
        match self.change.etag(allowed, tx).await? {
            Some(present) if present != *wanted => {
                let text = format!("etag {wanted} is stale, the present one is {present}; read it again and repeat");
                Err(Error::new(Reason::EtagMismatch, text).with("etag", present))
            }
            Some(_) | None => Ok(()),
        }
    }
}

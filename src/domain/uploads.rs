//! Uploads: opened, fed in order, closed under a digest; resumable from the last durable part.
//!
//! Bytes are hashed, sealed and written once, in hops to the blocking pool. A part is acknowledged after its bytes are
//! synced and its row is committed; a blob after its file, its folder and the database are synced, in this order.

mod changes;
mod mount;
mod origin;

use self::changes::{AdvanceUpload, CancelUpload, CompleteUpload, StartUpload};
pub(crate) use self::origin::Origin;
use super::blobs::LinkBlob;
use super::{App, Writing, keyring};
use crate::authz::permit::Allowed;
use crate::blobs::{BATCH_BYTES, Unsynced, VerifiedBlob, Writer};
use crate::ctx::{Caller, Ctx, Principal};
use crate::error::{Error, Reason, Result};
use crate::gate::{Gate, Object, Repository, RepositoryAddress};
use crate::keys::{self, BranchKey, DataKey, Part, RootKey, SEGMENT_SIZE, Sealer, UploadWrap};
use crate::names::{Algorithm, Digest, RepositoryRef, Uid};
use crate::ops::Op;
use crate::store::blobs::{BlobRow, LinkRow, WrappedKey};
use crate::store::claims::ClaimRow;
use crate::store::uploads::{Progress, UploadRow};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Uploads that one principal may have open in one repository; registries see a handful.
const OPEN_MAX: i64 = 1_000;
/// How long the next bytes of a body may take; slow networks send something in half a minute.
const IDLE: Duration = Duration::from_secs(30);

/// What an upload's hash state is sealed for.
const HASH_STATE: &str = "upload-hash-state";

/// What a request to open an upload led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// An upload to send bytes to.
    Upload(Uid),
    /// The blob is in the repository already.
    Mounted(Digest),
}

/// The operations under which an upload is authorized.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ops {
    pub(crate) start: Op,
    pub(crate) part: Op,
    pub(crate) complete: Op,
}

impl Ops {
    /// One operation for all of it.
    fn one(op: Op) -> Self {
        Self { start: op, part: op, complete: op }
    }
}

/// An upload whose next bytes are expected.
pub(crate) struct Open {
    repository: Allowed<Repository>,
    row: UploadRow,
    data_key: DataKey,
    /// Shared with every task that still writes or commits: a request that is dropped does not end these, and the next
    /// one must not begin before they did.
    writing: Arc<Writing>,
}

impl Open {
    /// Durable bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.row.size
    }
}

/// Bytes that were received, up to the end of the body.
pub(crate) struct Received {
    open: Open,
    writer: Writer,
    durable: u64,
}

impl App {
    /// Opens an upload, or mounts a blob that the caller may read from another repository, or from any of the registry;
    /// `named` is the algorithm of the digest to come, as far as the caller knows it.
    ///
    /// # Errors
    /// When the caller may not push here, or the repository is missing. A mount that cannot be is no error, but for a
    /// token that was not asked for its source.
    pub async fn start_upload(
        self: &Arc<Self>,
        ctx: &Ctx,
        address: &RepositoryRef,
        named: Algorithm,
        mount: Option<(Digest, Option<RepositoryRef>)>,
    ) -> Result<Started> {
        let repository = self.repository_for_push(ctx, Op::InitiateLayerUpload, address, Object::Whole).await?;
        if let Some((digest, from)) = mount
            && self.mounted(ctx, &repository, digest, from.as_ref()).await?
        {
            return Ok(Started::Mounted(digest));
        }
        self.new_upload(ctx, Origin::Push.ops(), &repository, named, None).await.map(Started::Upload)
    }

    /// Opens an upload in a repository; `digest` when it is known in advance.
    pub(crate) async fn new_upload(
        &self,
        ctx: &Ctx,
        ops: Ops,
        repository: &Repository,
        named: Algorithm,
        digest: Option<Digest>,
    ) -> Result<Uid> {
        let branch = self.current_branch(repository).await?;
        let (uid, blob) = (self.clock.uid(), self.clock.uid());
        let link = keys::wrap_upload(&branch, &DataKey::random()?, &repository.arn(), repository.uid, blob)?;
        let row = UploadRow {
            uid,
            repository: repository.uid,
            principal: principal(ctx)?,
            blob,
            key: WrappedKey { branch_version: repository.branch_version, salt: link.salt, wrapped: link.wrapped },
            size: 0,
            parts: Vec::new(),
            hash_state: Vec::new(),
            sha512: named == Algorithm::Sha512,
            digest,
            expires_at: self.clock.now().plus(self.settings.upload_ttl),
        };
        self.gate
            .write(ctx, ops.start, &RepositoryAddress::whole(&repository.address), StartUpload(row, ctx.now))
            .await?;
        Ok(uid)
    }

    /// How many bytes of an upload are durable.
    ///
    /// # Errors
    /// When the caller may not push here, or the upload is not the caller's.
    pub async fn upload_offset(&self, ctx: &Ctx, address: &RepositoryRef, uid: Uid) -> Result<u64> {
        let asked = RepositoryAddress::whole(address);
        let repository = self.gate.look::<Repository>(ctx, Op::UploadLayerPart, &asked).await?.into_allowed();
        let row = self.store.snapshot().await?.tx().upload(repository.uid, uid).await?;
        Ok(own_upload(ctx, row, uid)?.size)
    }

    /// Adds a body to an upload; the answer is how many bytes are durable then.
    ///
    /// # Errors
    /// `UPLOAD_OUT_OF_ORDER` when `from` is not where the upload ends; the upload goes on from there.
    pub async fn append_upload(
        self: &Arc<Self>,
        ctx: &Ctx,
        address: &RepositoryRef,
        uid: Uid,
        from: Option<u64>,
        body: impl Stream<Item = Result<Bytes>> + Send + Unpin,
    ) -> Result<u64> {
        let ops = Origin::Push.ops();
        let open = self.open_upload(ctx, ops, address, uid).await?;
        check_order(&open, from)?;
        let received = self.receive(ctx, ops, open, body, None).await?;
        self.acknowledge(ctx, ops, received).await
    }

    /// Adds the last body, if any, and closes an upload under its digest.
    ///
    /// # Errors
    /// `DIGEST_MISMATCH` when the bytes are not those of the digest; the upload is dropped.
    pub async fn finish_upload(
        self: &Arc<Self>,
        ctx: &Ctx,
        address: &RepositoryRef,
        uid: Uid,
        from: Option<u64>,
        body: impl Stream<Item = Result<Bytes>> + Send + Unpin,
        digest: Digest,
    ) -> Result<()> {
        let ops = Origin::Push.ops();
        let open = self.open_upload(ctx, ops, address, uid).await?;
        check_order(&open, from)?;
        let received = self.receive(ctx, ops, open, body, None).await?;
        self.complete(ctx, received, digest, &Origin::Push).await
    }

    /// Drops an upload with its bytes.
    ///
    /// # Errors
    /// When the caller may not push here, or the upload is not the caller's.
    pub async fn cancel_upload(self: &Arc<Self>, ctx: &Ctx, address: &RepositoryRef, uid: Uid) -> Result<()> {
        let open = self.open_upload(ctx, Origin::Push.ops(), address, uid).await?;
        self.drop_upload(ctx, Origin::Push.ops(), open).await
    }

    async fn drop_upload(&self, ctx: &Ctx, ops: Ops, open: Open) -> Result<()> {
        // The file goes first: a row without a file is swept, a file without a row would stay.
        self.blobs.remove(open.repository.account, open.row.blob).await?;
        let asked = RepositoryAddress::whole(&open.repository.address);
        self.gate.write(ctx, ops.part, &asked, CancelUpload { uid: open.row.uid }).await?;
        Ok(())
    }

    /// Takes an upload for writing.
    pub(crate) async fn open_upload(
        self: &Arc<Self>,
        ctx: &Ctx,
        ops: Ops,
        address: &RepositoryRef,
        uid: Uid,
    ) -> Result<Open> {
        let asked = RepositoryAddress::whole(address);
        let repository = self.gate.look::<Repository>(ctx, ops.part, &asked).await?.into_allowed();
        self.store.syncs().check()?;
        let writing = self.writing(uid).ok_or_else(|| {
            Error::new(Reason::Throttled, format!("upload {uid} is being written by another request; wait for it"))
        })?;
        // Read once the right to write is ours: what an earlier request committed until then is in it.
        let row = self.store.snapshot().await?.tx().upload(repository.uid, uid).await?;
        let row = own_upload(ctx, row, uid)?;
        let branch = self.branch(&repository.row, &repository.address, row.key.branch_version).await?;
        let link = UploadWrap { salt: row.key.salt, wrapped: row.key.wrapped };
        let data_key = keys::unwrap_upload(&branch, &link, &repository.arn(), repository.uid, row.blob)?;
        Ok(Open { repository, row, data_key, writing: Arc::new(writing) })
    }

    /// Receives a body to its end. Full parts are committed on the way, and told to `durable`.
    pub(crate) async fn receive(
        &self,
        ctx: &Ctx,
        ops: Ops,
        open: Open,
        mut body: impl Stream<Item = Result<Bytes>> + Send + Unpin,
        told: Option<&watch::Sender<u64>>,
    ) -> Result<Received> {
        let parts = Part::decode_table(&open.row.parts)?;
        let sealer = self.sealer(&open, &parts)?;
        let account = open.repository.account;
        let (blobs, object) = (self.blobs.clone(), open.row.blob);
        let appending = async move { blobs.append(account, object, sealer, &parts).await };
        let mut writer = kept(&open.writing, appending).await?;
        let mut ledger = Ledger::new(self, ctx, ops, &open, told);
        let mut batch = next_batch(&mut body).await?;
        while !batch.is_empty() {
            writer.ready().await?;
            let writing = open.writing.clone();
            let sealing: JoinHandle<Result<(Writer, Option<Unsynced>)>> = tokio::task::spawn_blocking(move || {
                let full = writer.write(&batch)?;
                drop(writing);
                Ok((writer, full))
            });
            // The next bytes are taken from the socket while these are sealed and written.
            let next = next_batch(&mut body).await;
            let (returned, full) = sealing.await.map_err(Error::internal)??;
            writer = returned;
            if let Some(unsynced) = full {
                ledger.commit(unsynced).await?;
            }
            batch = next?;
        }
        let durable = ledger.settled().await?;
        Ok(Received { open, writer, durable })
    }

    fn sealer(&self, open: &Open, parts: &[Part]) -> Result<Sealer> {
        let (account, blob, state) = (open.repository.account, open.row.blob, &open.row.hash_state);
        if state.is_empty() {
            let named = if open.row.sha512 { Algorithm::Sha512 } else { Algorithm::Sha256 };
            return Ok(Sealer::new(&open.data_key, account, blob, named));
        }
        let state = self.root.open(HASH_STATE, open.row.uid.bytes(), state)?;
        Ok(Sealer::resume(&open.data_key, account, blob, state.expose(), parts.to_vec())?)
    }

    /// Makes the rest of a received body durable; answers how far the upload is.
    async fn acknowledge(&self, ctx: &Ctx, ops: Ops, received: Received) -> Result<u64> {
        let Received { open, mut writer, durable } = received;
        if writer.size() == durable {
            return Ok(durable);
        }
        writer.ready().await?;
        let ended = kept(&open.writing, crate::blobs::blocking(move || writer.end())).await?;
        let mut ledger = Ledger::new(self, ctx, ops, &open, None);
        ledger.durable = durable;
        if let Some(unsynced) = ended {
            ledger.commit(unsynced).await?;
        }
        ledger.settled().await
    }

    /// Verifies a received upload and links it into the repository.
    pub(crate) async fn complete(&self, ctx: &Ctx, received: Received, digest: Digest, origin: &Origin) -> Result<()> {
        let Received { open, writer, .. } = received;
        let ops = origin.ops();
        let account = open.repository.account;
        let (blobs, object) = (self.blobs.clone(), open.row.blob);
        let finishing = async move { blobs.finish(account, object, writer, digest).await };
        let verified = match kept(&open.writing, finishing).await {
            Ok(verified) => verified,
            Err(error) if error.reason == Reason::DigestMismatch => {
                self.drop_upload(ctx, ops, open).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let claim = origin.is_claimed().then(|| self.claim(ctx, open.repository.uid, digest)).transpose()?;
        let change = self.completion(&open, &verified, origin, claim).await?;
        let asked = RepositoryAddress::of(&open.repository.address, Object::Whole);
        let (gate, ctx) = (self.gate.clone(), ctx.clone());
        kept(&open.writing, async move { gate.write(&ctx, ops.complete, &asked, change).await }).await
    }

    async fn completion(
        &self,
        open: &Open,
        verified: &VerifiedBlob,
        origin: &Origin,
        claim: Option<ClaimRow>,
    ) -> Result<CompleteUpload> {
        let repository = &open.repository;
        let sealing = verified.sealing();
        let branch = self.current_branch(repository).await?;
        let now = self.clock.now();
        let wrap = |key: &DataKey, object, commitment: &[u8; 32]| {
            keyring::wrap(&branch, repository.branch_version, key, repository, object, commitment)
        };
        let blob = BlobRow {
            uid: verified.uid(),
            account: verified.account(),
            kms_key: repository.kms_key.clone(),
            digest: sealing.digest(),
            sha256: sealing.hashes().beside_name(),
            size: sealing.size(),
            segment: SEGMENT_SIZE,
            parts: Part::encode_table(sealing.parts()),
            commitment: *sealing.commit(),
            verified_at: now,
            quarantined_at: None,
        };
        let link = LinkRow {
            repository: repository.uid,
            digest: blob.digest,
            blob: blob.uid,
            key: wrap(&open.data_key, blob.uid, &blob.commitment)?,
            source_account: origin.source(),
            lease_until: now.plus(self.settings.link_lease),
        };
        let elsewhere = self.same_content(repository, &blob.digest, &link, origin).await?;
        Ok(CompleteUpload { uid: open.row.uid, blob, link, claim, elsewhere, from: origin.words() })
    }

    /// A link to the same content that the account holds under the same key, if its branch key is at hand
    /// (decision 29: opportunistic, and the caller cannot tell).
    async fn same_content(
        &self,
        repository: &Repository,
        digest: &Digest,
        link: &LinkRow,
        origin: &Origin,
    ) -> Result<Option<LinkBlob>> {
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        let found = tx.link_elsewhere(repository.account, &repository.kms_key, digest, None).await?;
        let Some((other, blob)) = found.filter(|(other, _)| other.repository != repository.uid) else {
            return Ok(None);
        };
        let Some(holder) = tx.repository_by_uid(other.repository).await? else { return Ok(None) };
        drop(snapshot);
        let Some(branch) = self.branches.at_hand(other.repository, other.key.branch_version, &holder.kms_key) else {
            return Ok(None);
        };
        let address = holder.into_address(&self.settings.region);
        self.relink(repository, &branch, (&address, &other, &blob), link, origin).await.map(Some)
    }

    /// Wraps another repository's object for this one.
    async fn relink(
        &self,
        repository: &Repository,
        other_branch: &BranchKey,
        (other_address, other, blob): (&RepositoryRef, &LinkRow, &BlobRow),
        link: &LinkRow,
        origin: &Origin,
    ) -> Result<LinkBlob> {
        let data_key =
            keyring::unwrap(other_branch, &other.key, other_address, other.repository, blob.uid, &blob.commitment)?;
        let branch = self.current_branch(repository).await?;
        let key = keyring::wrap(&branch, repository.branch_version, &data_key, repository, blob.uid, &blob.commitment)?;
        Ok(LinkBlob {
            digest: blob.digest,
            blob: blob.uid,
            key,
            link: link.clone(),
            claim: None,
            from: origin.words(),
            now: self.clock.now(),
        })
    }

    /// That the caller has brought these bytes into a repository, and so may name them in a manifest.
    pub(crate) fn claim(&self, ctx: &Ctx, repository: Uid, digest: Digest) -> Result<ClaimRow> {
        let expires_at = self.clock.now().plus(self.settings.link_lease);
        Ok(ClaimRow { repository, digest, principal: principal(ctx)?, expires_at })
    }

    /// Links a blob of another repository that the caller may read; false when it cannot be.
    async fn mount(&self, ctx: &Ctx, repository: &Repository, digest: Digest, from: &RepositoryRef) -> Result<bool> {
        let source = RepositoryAddress::of(from, Object::Blob(digest));
        self.gate.check::<Repository>(ctx, Op::BatchCheckLayerAvailability, std::slice::from_ref(&source)).await?;
        let mut view = self.gate.read::<Repository>(ctx, Op::GetDownloadUrlForLayer, &source).await?;
        let (holder, mut tx) = view.parts();
        let found = tx.link(holder.uid, &digest).await?;
        let holder = view.into_allowed();
        self.link_from(ctx, repository, &holder, found, &Origin::Mount).await
    }

    /// Links an object that another repository of the same account holds under the same key.
    pub(crate) async fn link_from(
        &self,
        ctx: &Ctx,
        repository: &Repository,
        holder: &Repository,
        found: Option<(LinkRow, BlobRow)>,
        origin: &Origin,
    ) -> Result<bool> {
        let Some((other, blob)) = found.filter(|(_, blob)| blob.quarantined_at.is_none()) else { return Ok(false) };
        if blob.account != repository.account || blob.kms_key != repository.kms_key {
            return Ok(false);
        }
        let lease_until = self.clock.now().plus(self.settings.link_lease);
        let link = LinkRow { source_account: origin.source(), lease_until, ..other.clone() };
        let branch = self.branch(&holder.row, &holder.address, other.key.branch_version).await?;
        let mut change = self.relink(repository, &branch, (&holder.address, &other, &blob), &link, origin).await?;
        change.claim = origin.is_claimed().then(|| self.claim(ctx, repository.uid, blob.digest)).transpose()?;
        let asked = RepositoryAddress::whole(&repository.address);
        self.gate.write(ctx, origin.ops().start, &asked, change).await
    }
}

/// Commits parts one after another while the next is being written.
struct Ledger<'a> {
    gate: Gate,
    root: Arc<RootKey>,
    ctx: &'a Ctx,
    op: Op,
    address: RepositoryAddress,
    uid: Uid,
    writing: Arc<Writing>,
    ttl: Duration,
    durable: u64,
    committing: Option<JoinHandle<Result<u64>>>,
    told: Option<&'a watch::Sender<u64>>,
}

impl<'a> Ledger<'a> {
    fn new(app: &App, ctx: &'a Ctx, ops: Ops, open: &Open, told: Option<&'a watch::Sender<u64>>) -> Self {
        Self {
            gate: app.gate.clone(),
            root: app.root.clone(),
            ctx,
            op: ops.part,
            address: RepositoryAddress::whole(&open.repository.address),
            uid: open.row.uid,
            writing: open.writing.clone(),
            ttl: app.settings.upload_ttl,
            durable: open.row.size,
            committing: None,
            told,
        }
    }

    async fn commit(&mut self, unsynced: Unsynced) -> Result<()> {
        self.settled().await?;
        let (gate, mut ctx, op, address) = (self.gate.clone(), self.ctx.clone(), self.op, self.address.clone());
        let (uid, from, ttl, root) = (self.uid, self.durable, self.ttl, self.root.clone());
        let writing = self.writing.clone();
        self.committing = Some(tokio::spawn(async move {
            let (parts, size, hash_state) = unsynced.sync().await?;
            // Judged as of now: a right that ended in the middle of an upload ends it.
            ctx.now = gate.now();
            // The hash state holds up to 63 bytes of plaintext, and nothing unsealed is kept.
            let hash_state = root.seal(HASH_STATE, uid.bytes(), &hash_state)?;
            let to = Progress { size, parts: Part::encode_table(&parts), hash_state };
            let change = AdvanceUpload { uid, from, to, expires_at: ctx.now.plus(ttl) };
            let written = gate.write(&ctx, op, &address, change).await;
            drop(writing);
            written.map(|()| size)
        }));
        Ok(())
    }

    async fn settled(&mut self) -> Result<u64> {
        if let Some(committing) = self.committing.take() {
            self.durable = committing.await.map_err(Error::internal)??;
            if let Some(told) = self.told {
                told.send_replace(self.durable);
            }
        }
        Ok(self.durable)
    }
}

/// Runs work on an upload to its end, whatever becomes of the request, and keeps the right to write until then.
async fn kept<T: Send + 'static>(
    writing: &Arc<Writing>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let writing = writing.clone();
    let working = tokio::spawn(async move {
        let done = work.await;
        drop(writing);
        done
    });
    working.await.map_err(Error::internal)?
}

/// Bytes from a body, up to a batch; none at its end.
async fn next_batch(body: &mut (impl Stream<Item = Result<Bytes>> + Unpin)) -> Result<Vec<Bytes>> {
    let (mut batch, mut size) = (Vec::new(), 0);
    while size < BATCH_BYTES {
        let next = tokio::time::timeout(IDLE, body.next()).await.map_err(|_| {
            Error::new(Reason::Truncated, "no bytes came for 30 seconds; go on from the upload's offset")
        })?;
        let Some(bytes) = next else { break };
        let bytes = bytes?;
        size += bytes.len();
        if !bytes.is_empty() {
            batch.push(bytes);
        }
    }
    Ok(batch)
}

fn check_order(open: &Open, from: Option<u64>) -> Result<()> {
    match from {
        // OBSERVED: ECR's text, apple/containerization issue 790.
        Some(from) if from != open.row.size => {
            let text = format!("First byte of the layer part is {from} instead of {}", open.row.size);
            Err(Error::new(Reason::UploadOutOfOrder, text).with("offset", open.row.size))
        }
        Some(_) | None => Ok(()),
    }
}

fn own_upload(ctx: &Ctx, row: Option<UploadRow>, uid: Uid) -> Result<UploadRow> {
    let owner = principal(ctx)?;
    row.filter(|row| row.principal == owner && row.expires_at > ctx.now).ok_or_else(|| unknown(uid))
}

/// Who has brought something: a principal, but for what it gave away with less than its own rights, which is another each.
fn owner(principal: &Principal) -> String {
    let id = &principal.unique_id;
    let Some(session) = &principal.session else { return id.to_string() };
    if session.bounds.is_empty() && session.policies.is_none() && !principal.is_federated() {
        return id.to_string();
    }
    let name = session.name.as_ref().filter(|_| principal.is_federated());
    let less = Digest::of(format!("{name:?}{:?}{:?}", session.policies, session.bounds).as_bytes());
    format!("{id}/{less}")
}

/// Who an upload belongs to.
pub(crate) fn principal(ctx: &Ctx) -> Result<String> {
    match &ctx.caller {
        Caller::Principal(principal) => Ok(owner(principal)),
        Caller::Replication { account, region } => Ok(format!("replication/{region}/{account}")),
        Caller::System(job) => Ok(format!("system/{job}")),
        Caller::Anonymous | Caller::WebIdentity(_) => {
            Err(Error::new(Reason::CallerUnknown, "pushing needs credentials; log in first"))
        }
    }
}

fn unknown(uid: Uid) -> Error {
    let text = format!("upload {uid} is unknown, finished or expired; start a new one");
    Error::new(Reason::UploadNotFound, text).with("upload", uid)
}

//! The destination's side: what arrives is verified, sealed under our key, and committed whole or not at all.
//!
//! The peer's certificate says which region speaks; it may act only as the replication service of registries there,
//! and only where the destination's registry policy consents, judged again at every step.

use super::receipt::{How, Receipt, ReceiptBlob};
use super::{ImageChange, NeededBlob};
use crate::authz::permit::Allowed;
use crate::clock::Timestamp;
use crate::ctx::{Caller, Ctx, Mutation};
use crate::domain::App;
use crate::domain::images::SealedManifest;
use crate::domain::manifest::{Manifest, RawManifest};
use crate::domain::repositories::NewRepositorySettings;
use crate::domain::uploads::{Origin, principal};
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Object, Repository, RepositoryAddress, View};
use crate::names::{AccountId, Digest, MediaType, RepositoryName, RepositoryRef, Tag};
use crate::ops::Op;
use crate::store::blobs::LinkRow;
use crate::store::images::TagRow;
use crate::store::receipts::Inbound;
use crate::store::{Apply, Done, Tx};
use bytes::Bytes;
use futures::Stream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// A source that speaks to one of our registries.
#[derive(Clone, Debug)]
pub struct Arriving {
    /// From where to where.
    pub inbound: Inbound,
    /// The slot's epoch.
    pub epoch: i64,
}

struct Fence(Arriving);

impl Apply for Fence {
    type Out = bool;
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<bool>> {
        Ok(Done::Commit(tx.inbound_fence(&self.0.inbound, self.0.epoch).await?))
    }
}

/// Keeps blobs that are held until the images that name them are committed.
struct Hold {
    digests: Vec<Digest>,
    until: Timestamp,
}

impl Change for Hold {
    type Resource = Repository;
    type Out = ();

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<()> {
        for digest in &self.digests {
            tx.link_lease(repository.uid, digest, self.until, None).await?;
        }
        Ok(())
    }
}

struct ApplyImage {
    arriving: Arriving,
    shard: u32,
    seq: i64,
    manifests: Vec<SealedManifest>,
    tag: Option<(Tag, i64)>,
    origin: String,
    now: Timestamp,
}

impl Change for ApplyImage {
    type Resource = Repository;
    type Out = ();

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<()> {
        let Arriving { inbound, epoch } = &self.arriving;
        if !tx.inbound_fence(inbound, *epoch).await? {
            return Err(fenced());
        }
        if tx.inbound_applied(inbound, self.shard).await? >= self.seq {
            return Ok(());
        }
        for manifest in &self.manifests {
            self.check_brought(repository, tx, &manifest.blobs).await?;
            manifest.store(tx, &manifest.edges).await?;
        }
        self.set_tag(repository, tx).await?;
        Ok(tx.inbound_advance(inbound, self.shard, self.seq).await?)
    }
}

impl ApplyImage {
    /// What another tenant brought here is not linked for a source that did not bring it too; whether it is here reads
    /// the same as that it is not (decision 21).
    async fn check_brought(&self, repository: &Repository, tx: &mut Tx<'_>, blobs: &[Digest]) -> Result<()> {
        let Inbound { source, destination, .. } = self.arriving.inbound;
        for digest in blobs {
            let link = tx.link(repository.uid, digest).await?;
            let brought = |link: &LinkRow| source == destination || link.source_account == Some(source);
            if !link.is_some_and(|(link, blob)| brought(&link) && blob.quarantined_at.is_none()) {
                let text = format!("blob {digest} has not come from account {source} yet; its bytes must travel");
                return Err(Error::new(Reason::Unavailable, text).with("digest", digest));
            }
        }
        Ok(())
    }

    /// A replicated move applies if the tag is absent or of the same origin (decision 32).
    async fn set_tag(&self, repository: &Repository, tx: &mut Tx<'_>) -> Result<()> {
        let (Some((tag, version)), Some(image)) = (&self.tag, self.manifests.last()) else { return Ok(()) };
        let digest = image.row.digest;
        match tx.tag(repository.uid, tag).await? {
            Some(row) if row.origin != self.origin && row.digest != digest => {
                let text = format!(
                    "tag {tag} of {} was set here by {}; the replicated move from {} was refused: delete the tag here \
                     or rename it at the source",
                    repository.name, row.origin, self.origin
                );
                Err(Error::new(Reason::TagConflict, text).with("tag", tag))
            }
            Some(row) if row.origin == self.origin && row.version >= *version => Ok(()),
            before => {
                repository.check_movable(tx, before.as_ref(), &digest).await.map_err(conflict)?;
                let row = TagRow { tag: tag.clone(), digest, version: *version, origin: self.origin.clone() };
                Ok(tx.tag_put(repository.uid, &row, self.now).await?)
            }
        }
    }
}

impl App {
    /// Greets a source: raises its epoch, and says how far each shard has been applied.
    ///
    /// # Errors
    /// `FENCED` when a later epoch was seen.
    pub async fn welcome(&self, arriving: &Arriving) -> Result<Vec<(u32, i64)>> {
        if !self.store.write(Arc::new(Fence(arriving.clone()))).await? {
            return Err(fenced());
        }
        Ok(self.store.snapshot().await?.tx().inbound_list(&arriving.inbound).await?)
    }

    /// Which blobs of a batch must travel. Makes missing repositories, and holds what is here.
    ///
    /// # Errors
    /// When the destination does not consent, or a manifest cannot be read.
    pub async fn needed_blobs(
        self: &Arc<Self>,
        arriving: &Arriving,
        changes: &[ImageChange],
    ) -> Vec<(i64, Result<Vec<NeededBlob>>)> {
        let mut asked = BTreeSet::new();
        let mut all = Vec::with_capacity(changes.len());
        for change in changes {
            let needed = self.needed_by(arriving, change).await.map(|needed| {
                needed.into_iter().filter(|blob| asked.insert((blob.repository.clone(), blob.digest))).collect()
            });
            all.push((change.seq, needed));
        }
        all
    }

    async fn needed_by(self: &Arc<Self>, arriving: &Arriving, change: &ImageChange) -> Result<Vec<NeededBlob>> {
        let ctx = self.replication(&arriving.inbound);
        let repository = self.replica_repository(&ctx, arriving, &change.repository).await?;
        let mut wanted = BTreeMap::new();
        for sent in &change.manifests {
            let raw = raw(sent)?;
            let manifest = Manifest::parse(&raw)?;
            let descriptors = manifest.config.iter().chain(manifest.layers.iter().filter(|l| l.distributable()));
            wanted.extend(descriptors.map(|descriptor| (descriptor.digest, descriptor.size)));
        }
        let (mut needed, mut held) = (Vec::new(), Vec::new());
        for (digest, size) in wanted {
            if self.holds(&ctx, arriving, &repository, &digest).await? {
                held.push(digest);
            } else {
                needed.push(NeededBlob { repository: change.repository.clone(), digest, size });
            }
        }
        let until = self.clock.now().plus(self.settings.link_lease);
        let address = RepositoryAddress::whole(&repository.address);
        self.gate.write(&ctx, Op::ReplicateImage, &address, Hold { digests: held, until }).await?;
        Ok(needed)
    }

    /// Whether a blob counts as held: the accounts are one, or it arrived from that source account before
    /// (decision 21). What another tenant brought here is no proof that this source has the bytes.
    async fn holds(
        self: &Arc<Self>,
        ctx: &Ctx,
        arriving: &Arriving,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool> {
        let Inbound { source, destination, .. } = arriving.inbound;
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        if let Some((link, blob)) = tx.link(repository.uid, digest).await? {
            // What is damaged here is not held: its bytes travel again, and take its place.
            let sound = blob.quarantined_at.is_none();
            return Ok(sound && (source == destination || link.source_account == Some(source)));
        }
        let origin = (source != destination).then_some(source);
        let found = tx.link_elsewhere(destination, &repository.kms_key, digest, origin).await?;
        let Some((link, blob)) = found else { return Ok(false) };
        let Some(holder) = tx.repository_by_uid(link.repository).await? else { return Ok(false) };
        drop(snapshot);
        let address = holder.clone().into_address(&self.settings.region);
        let holder = Repository { row: holder, address };
        let origin = Origin::Replica(arriving.inbound.source_region.clone(), link.source_account);
        self.link_from(ctx, repository, &holder, Some((link, blob)), &origin).await
    }

    /// The repository an image arrives in; made under our default key when it is missing and the policy consents.
    async fn replica_repository(
        &self,
        ctx: &Ctx,
        arriving: &Arriving,
        name: &RepositoryName,
    ) -> Result<Allowed<Repository>> {
        let address = self.replica_address(arriving, name);
        let asked = RepositoryAddress::of(&address, Object::Whole);
        match self.gate.look::<Repository>(ctx, Op::ReplicateImage, &asked).await.map(View::into_allowed) {
            Err(error) if error.reason == Reason::RepositoryNotFound => {}
            found => return found,
        }
        match self.create_repository(ctx, &address, NewRepositorySettings::default()).await {
            Ok(_) => {}
            Err(error) if error.reason == Reason::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(self.gate.look::<Repository>(ctx, Op::ReplicateImage, &asked).await?.into_allowed())
    }

    fn replica_address(&self, arriving: &Arriving, name: &RepositoryName) -> RepositoryRef {
        let (account, region) = (arriving.inbound.destination, self.settings.region.clone());
        RepositoryRef { account, region, name: name.clone() }
    }

    /// Opens the way for a blob's bytes: how many are durable here already; `None` when it is complete.
    ///
    /// # Errors
    /// When the destination does not consent, or the slot is fenced.
    pub async fn open_blob_arrival(
        self: &Arc<Self>,
        arriving: &Arriving,
        blob: &NeededBlob,
    ) -> Result<Option<Arrival>> {
        self.welcome(arriving).await?;
        let ctx = self.replication(&arriving.inbound);
        let repository = self.replica_repository(&ctx, arriving, &blob.repository).await?;
        if self.holds(&ctx, arriving, &repository, &blob.digest).await? {
            return Ok(None);
        }
        let origin = Origin::Replica(arriving.inbound.source_region.clone(), Some(arriving.inbound.source));
        self.open_arrival(ctx, &repository, blob.digest, origin).await.map(Some)
    }

    /// Opens the way for bytes that come without a client: goes on with what an earlier attempt left.
    pub(crate) async fn open_arrival(
        self: &Arc<Self>,
        ctx: Ctx,
        repository: &Repository,
        digest: Digest,
        origin: Origin,
    ) -> Result<Arrival> {
        let (owner, ops) = (principal(&ctx)?, origin.ops());
        let earlier = self.store.snapshot().await?.tx().upload_of_digest(repository.uid, &owner, &digest).await?;
        let uid = match earlier.filter(|upload| upload.expires_at > ctx.now) {
            Some(upload) => upload.uid,
            None => self.new_upload(&ctx, ops, repository, digest.algorithm(), Some(digest)).await?,
        };
        let open = self.open_upload(&ctx, ops, &repository.address, uid).await?;
        Ok(Arrival { open, digest, origin, ctx })
    }

    /// Receives a blob's bytes from the arrival's offset to their end, verifies and links it.
    ///
    /// # Errors
    /// `DATA_LOSS` when the bytes do not hash to the digest; nothing is kept then.
    pub async fn receive_blob(
        &self,
        arrival: Arrival,
        body: impl Stream<Item = Result<Bytes>> + Send + Unpin,
        durable: &watch::Sender<u64>,
    ) -> Result<()> {
        let Arrival { open, digest, origin, ctx } = arrival;
        let received = self.receive(&ctx, origin.ops(), open, body, Some(durable)).await?;
        self.complete(&ctx, received, digest, &origin).await.map_err(|error| match error.reason {
            Reason::DigestMismatch => {
                let text = format!("blob {digest} arrived damaged: {}", error.message);
                Error::new(Reason::DataLoss, text).with("digest", digest)
            }
            _ => error,
        })
    }

    /// Commits a change whose blobs came from its source, and answers with the receipt. `unsent` are the blobs that
    /// the source says it cannot send.
    ///
    /// # Errors
    /// When the destination does not consent, a blob did not come, the tag was set here, or the slot is fenced.
    pub async fn apply_change(
        &self,
        arriving: &Arriving,
        shard: u32,
        change: &ImageChange,
        unsent: &BTreeSet<Digest>,
    ) -> Result<Receipt> {
        let ctx = self.replication(&arriving.inbound);
        let address = self.replica_address(arriving, &change.repository);
        let asked = RepositoryAddress::of(&address, Object::Whole);
        let repository = self.gate.look::<Repository>(&ctx, Op::ReplicateImage, &asked).await?.into_allowed();
        let mut manifests = Vec::with_capacity(change.manifests.len());
        for sent in &change.manifests {
            manifests.push(self.seal_manifest(&repository, &raw(sent)?, ctx.now).await?);
        }
        let image = change
            .manifests
            .last()
            .map(|manifest| manifest.digest)
            .ok_or_else(|| Error::new(Reason::ManifestInvalid, "a change came without its manifest"))?;
        let blobs: BTreeSet<Digest> = manifests.iter().flat_map(|manifest| manifest.blobs.iter().copied()).collect();
        if let Some(digest) = blobs.intersection(unsent).next() {
            let text = format!("the source cannot send blob {digest}, which the image needs");
            return Err(Error::new(Reason::ReferenceNotFound, text).with("digest", digest));
        }
        let Inbound { source_region, source, .. } = &arriving.inbound;
        let apply = ApplyImage {
            arriving: arriving.clone(),
            shard,
            seq: change.seq,
            manifests,
            tag: change.tag.clone(),
            origin: format!("{source}/{source_region}"),
            now: ctx.now,
        };
        self.gate.write(&ctx, Op::ReplicateImage, &asked, apply).await?;
        Ok(Receipt {
            source_region: source_region.clone(),
            source: *source,
            destination: address,
            digest: image,
            tag: change.tag.as_ref().map_or_else(String::new, |(tag, _)| tag.to_string()),
            committed_at: ctx.now,
            blobs: self.receipt_blobs(&repository, *source, blobs).await?,
        })
    }

    async fn receipt_blobs(
        &self,
        repository: &Repository,
        source: AccountId,
        digests: BTreeSet<Digest>,
    ) -> Result<Vec<ReceiptBlob>> {
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        let mut blobs = Vec::with_capacity(digests.len());
        for digest in digests {
            let Some((link, blob)) = tx.link(repository.uid, &digest).await? else { continue };
            let how = if link.source_account == Some(source) { How::Received } else { How::Held };
            blobs.push(ReceiptBlob {
                digest,
                size: blob.size,
                kms_key: blob.kms_key,
                how,
                verified_at: blob.verified_at,
            });
        }
        Ok(blobs)
    }

    /// The context in which a peer's replication is judged.
    pub(super) fn replication(&self, inbound: &Inbound) -> Ctx {
        let caller = Caller::Replication { account: inbound.source, region: inbound.source_region.clone() };
        Ctx {
            caller,
            user_agent: "replication.ecr.amazonaws.com".into(),
            mutation: Mutation::default(),
            ..self.system("peer")
        }
    }
}

/// A blob whose bytes are expected.
pub struct Arrival {
    open: crate::domain::uploads::Open,
    digest: Digest,
    origin: Origin,
    ctx: Ctx,
}

impl Arrival {
    /// Bytes that are durable here already.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.open.offset()
    }
}

fn raw(sent: &super::SentManifest) -> Result<RawManifest> {
    let media_type = MediaType::parse(&sent.media_type)?;
    RawManifest::new(sent.bytes.clone(), Some(media_type), Some(sent.digest)).map_err(|error| {
        let error = Error::from(error);
        match error.reason {
            Reason::DigestMismatch => {
                Error::new(Reason::DataLoss, format!("a manifest arrived damaged: {}", error.message))
            }
            _ => error,
        }
    })
}

/// A tag that is immutable or locked here is in conflict with a move at its source; the image does not come without it.
fn conflict(error: Error) -> Error {
    match error.reason {
        Reason::TagImmutable | Reason::Locked => Error { reason: Reason::TagConflict, ..error },
        _ => error,
    }
}

fn fenced() -> Error {
    Error::new(Reason::Fenced, "another node of the source has taken this stream over")
}

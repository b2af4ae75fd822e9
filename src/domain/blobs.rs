//! Blobs as a repository's callers see them: existence by the (repository, blob) edge, reading under a lease.

use super::quarantine::Suspect;
use super::{App, keyring};
use crate::authz::permit::Allowed;
use crate::blobs::Reader;
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Lease, NewRepository, Object, RENEW_EVERY, Repository, RepositoryAddress, Stood};
use crate::keys::{BranchKey, DataKey, Envelope, Hashes, Opener, Part, WrappedBranchKey};
use crate::names::{Digest, Profile, RepositoryRef, Uid};
use crate::ops::Op;
use crate::store::blobs::{BlobRow, LinkRow, WrappedKey};
use crate::store::claims::ClaimRow;
use crate::store::images::EdgeKind;
use crate::store::{self, Apply, Done, Tx};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Segments of 64 KiB that wait between disk and socket for each pull: one read.
const SEGMENTS_WAITING: usize = 16;

/// A blob that may be read.
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    reader: Reader,
    lease: Lease,
    suspect: Suspect,
}

struct DeleteBlob {
    digest: Digest,
}

impl Change for DeleteBlob {
    type Resource = Repository;
    type Out = ();

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<()> {
        if tx.registry(repository.account).await?.is_some_and(|registry| registry.settings.profile == Profile::Ecr) {
            let text = "this registry answers as Amazon ECR, which deletes no blobs: they go when no image names them";
            return Err(Error::new(Reason::Unsupported, text).with("allow", "GET, HEAD"));
        }
        if tx.link(repository.uid, &self.digest).await?.is_none() {
            return Err(missing(&self.digest));
        }
        if tx.edge_parent_exists(repository.uid, &self.digest, EdgeKind::Blob).await? {
            let text = format!("blob {} is part of an image of this repository; delete the image first", self.digest);
            return Err(Error::new(Reason::Unsupported, text).with("digest", self.digest));
        }
        Ok(tx.link_delete(repository.uid, &self.digest).await?)
    }
}

/// Adds a link to an object that another repository of the account holds under the same key.
pub(super) struct LinkBlob {
    pub(super) digest: Digest,
    pub(super) blob: Uid,
    pub(super) key: WrappedKey,
    pub(super) link: LinkRow,
    /// That the caller brought it, if a caller did.
    pub(super) claim: Option<ClaimRow>,
    /// Where the bytes come from, in words.
    pub(super) from: String,
    pub(super) now: Timestamp,
}

impl Change for LinkBlob {
    type Resource = Repository;
    /// Whether the object was still there.
    type Out = bool;

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<bool> {
        let link = LinkRow {
            repository: repository.uid,
            digest: self.digest,
            blob: self.blob,
            key: self.key.clone(),
            ..self.link.clone()
        };
        if let Some(claim) = &self.claim {
            tx.claim_put(claim).await?;
        }
        Ok(tx.link_insert(&link, &self.from, self.now).await?)
    }
}

/// Keeps a link for a while; nobody's change, and so not the gate's.
struct KeepLink {
    repository: Uid,
    digest: Digest,
    until: Timestamp,
}

impl Apply for KeepLink {
    /// Whether the link is there.
    type Out = bool;
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<bool>, store::Error> {
        tx.link_lease(self.repository, &self.digest, self.until, None).await.map(Done::Commit)
    }
}

impl App {
    /// The size of a blob, if the repository holds it. Who may upload here is told of a blob that is hidden by its tags
    /// what it would be told of a missing one, so that a push goes on with the bytes.
    ///
    /// # Errors
    /// When the caller may not, or the repository does not hold it.
    pub async fn head_blob(
        &self,
        ctx: &Ctx,
        address: &RepositoryRef,
        digest: Digest,
        stood: Option<Stood>,
    ) -> Result<u64> {
        let asked = RepositoryAddress::of(address, Object::Blob(digest));
        let opened = self.gate.read_on::<Repository>(ctx, Op::BatchCheckLayerAvailability, &asked, stood).await;
        let mut view = match opened {
            Err(error) if error.reason == Reason::AccessDenied => {
                let whole = RepositoryAddress::whole(address);
                // As a new one: what a push is to make first is asked about like what is there.
                let pushes = self.gate.may::<NewRepository>(ctx, Op::InitiateLayerUpload, &whole).await;
                return Err(if pushes { missing(&digest) } else { error });
            }
            opened => opened?,
        };
        let (repository, mut tx) = view.parts();
        let (link, blob) = tx.link(repository.uid, &digest).await?.ok_or_else(|| missing(&digest))?;
        sound(&blob)?;
        let soon = ctx.now.plus(self.settings.link_lease / 2);
        if link.lease_until < soon && !tx.edge_parent_exists(link.repository, &digest, EdgeKind::Blob).await? {
            drop(view);
            self.keep_named(link).await?;
        }
        Ok(blob.size)
    }

    /// Renews the lease of a link that only its lease keeps: what was answered as present can be named a while.
    async fn keep_named(&self, link: LinkRow) -> Result<()> {
        let until = self.clock.now().plus(self.settings.link_lease);
        let change = KeepLink { repository: link.repository, digest: link.digest, until };
        let kept = self.store.write(Arc::new(change)).await?;
        if kept { Ok(()) } else { Err(missing(&link.digest)) }
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// When the caller may not, the repository does not hold it, or its key cannot be used.
    pub async fn get_blob(
        self: &Arc<Self>,
        ctx: &Ctx,
        address: &RepositoryRef,
        digest: Digest,
        stood: Option<Stood>,
    ) -> Result<Blob> {
        self.get_blob_under(ctx, Op::GetDownloadUrlForLayer, address, digest, stood).await
    }

    /// As [`App::get_blob`], under another operation.
    pub(crate) async fn get_blob_under(
        self: &Arc<Self>,
        ctx: &Ctx,
        op: Op,
        address: &RepositoryRef,
        digest: Digest,
        stood: Option<Stood>,
    ) -> Result<Blob> {
        let asked = RepositoryAddress::of(address, Object::Blob(digest));
        let (mut view, lease) = self.gate.stream_on::<Repository>(ctx, op, &asked, stood).await?;
        let (repository, mut tx) = view.parts();
        let (link, blob) = tx.link(repository.uid, &digest).await?.ok_or_else(|| missing(&digest))?;
        let branch =
            keyring::wrapped_branch(&mut tx, &repository.row, &repository.address, link.key.branch_version).await?;
        let repository = view.into_allowed();
        let suspect = Suspect::new(self, &repository, &link, &blob);
        match self.open_blob_by(&branch, &repository, &link, &blob).await {
            Ok(reader) => Ok(Blob { digest, size: blob.size, reader, lease, suspect }),
            Err(error) if error.reason == Reason::DataLoss && suspect.judge().await => Err(damaged(&digest)),
            Err(error) => Err(error),
        }
    }

    /// Removes a blob from a repository; the object goes when nothing links it.
    ///
    /// # Errors
    /// When the caller may not, the repository does not hold it, or an image names it.
    pub async fn delete_blob(&self, ctx: &Ctx, address: &RepositoryRef, digest: Digest) -> Result<()> {
        let asked = RepositoryAddress::of(address, Object::Blob(digest));
        self.gate.write(ctx, Op::BatchDeleteImage, &asked, DeleteBlob { digest }).await
    }

    /// Opens a blob through a repository's link.
    pub(crate) async fn open_blob(&self, repository: &Repository, link: &LinkRow, blob: &BlobRow) -> Result<Reader> {
        sound(blob)?;
        let data_key = self.data_key(repository, link, blob).await?;
        self.reader(&data_key, blob).await
    }

    /// As [`App::open_blob`], with the branch key at hand as the store has it.
    async fn open_blob_by(
        &self,
        branch: &WrappedBranchKey,
        repository: &Repository,
        link: &LinkRow,
        blob: &BlobRow,
    ) -> Result<Reader> {
        sound(blob)?;
        let branch = self.branches.get(branch).await?;
        self.reader(&data_key(&branch, repository, link, blob)?, blob).await
    }

    /// Opens an object with its data key, whatever is known of it.
    pub(super) async fn reader(&self, data_key: &DataKey, blob: &BlobRow) -> Result<Reader> {
        let envelope = Envelope {
            account: blob.account,
            blob: blob.uid,
            hashes: Hashes::of_name(blob.digest, blob.sha256)?,
            size: blob.size,
            css: blob.segment,
            parts: Part::decode_table(&blob.parts)?,
            commit: blob.commitment,
        };
        self.blobs.reader(blob.account, blob.uid, Opener::new(data_key, envelope)?).await
    }

    /// A blob's data key, through a repository's link.
    pub(crate) async fn data_key(&self, repository: &Repository, link: &LinkRow, blob: &BlobRow) -> Result<DataKey> {
        let branch = self.branch(&repository.row, &repository.address, link.key.branch_version).await?;
        data_key(&branch, repository, link, blob)
    }
}

fn data_key(branch: &BranchKey, repository: &Repository, link: &LinkRow, blob: &BlobRow) -> Result<DataKey> {
    keyring::unwrap(branch, &link.key, &repository.address, repository.uid, blob.uid, &blob.commitment)
}

impl Blob {
    /// The bytes of a range, in order. The stream ends with an error, never early, when bytes at rest are damaged or
    /// the caller's right ends.
    #[must_use]
    pub fn stream(self, range: Range<u64>) -> mpsc::Receiver<Result<Bytes>> {
        let (sender, receiver) = mpsc::channel(SEGMENTS_WAITING);
        tokio::spawn(async move {
            let failed = self.pump(range, &sender).await;
            if let Err(error) = failed {
                tracing::warn!(blob = %self.digest, error = ?error, "a blob's transfer was cut");
                if error.reason == Reason::DataLoss {
                    tokio::spawn(self.suspect.judged());
                }
                // The receiver may be gone; then nobody is left to be told.
                let _ = sender.send(Err(error)).await;
            }
        });
        receiver
    }

    async fn pump(&self, range: Range<u64>, sender: &mpsc::Sender<Result<Bytes>>) -> Result<()> {
        let mut renewal = tokio::time::interval_at(tokio::time::Instant::now() + RENEW_EVERY, RENEW_EVERY);
        renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reading = self.reader.read(range)?;
        while let Some(pieces) = reading.next().await? {
            for piece in pieces {
                let sent = loop {
                    tokio::select! {
                        sent = sender.reserve() => break sent.map(|place| place.send(Ok(piece))),
                        _ = renewal.tick() => self.lease.renew().await?,
                    }
                };
                // The client went away; nobody is left to be served.
                if sent.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Refuses an object that is known to be damaged.
pub(in crate::domain) fn sound(blob: &BlobRow) -> Result<()> {
    if blob.quarantined_at.is_some() { Err(damaged(&blob.digest)) } else { Ok(()) }
}

/// What an authorized caller hears of a blob whose stored bytes are damaged. It reads as missing to programs, so that a
/// client which has the bytes sends them again.
fn damaged(digest: &Digest) -> Error {
    let text = format!(
        "blob {digest} is damaged at rest and set aside until it is repaired from another copy; pushing it again \
         repairs it at once"
    );
    Error::new(Reason::LayerNotFound, text).with("digest", digest).with("state", "quarantined")
}

/// What an authorized caller hears of a blob that the repository does not hold.
pub(crate) fn missing(digest: &Digest) -> Error {
    Error::new(Reason::LayerNotFound, format!("blob {digest} is unknown to this repository")).with("digest", digest)
}

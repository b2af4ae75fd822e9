//! Repair: a damaged object's place is taken by a sound one with the same digest.
//!
//! Copies are looked for in this order: another object of the account here; then the regions to which an image with the
//! blob went, and from which it came. Whatever comes is hashed before it is linked, and sealed anew under the
//! repository's own key, exactly as a push. Nothing is made up: without a copy the blob waits for a push.

use super::App;
use super::quarantine::JOB;
use super::scrub::Pace;
use super::uploads::Origin;
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Repository, RepositoryAddress};
use crate::names::{AccountId, Digest, RepositoryRef, Uid};
use crate::ops::Op;
use crate::store::blobs::{BlobRow, LinkRow};
use crate::store::quarantines::QuarantineRow;
use crate::store::{self, Apply, Done, Tx};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Blobs that are repaired in one round.
const ROUND: u32 = 200;
/// How long a blob waits after a repair that did not succeed.
const AGAIN: Duration = Duration::from_secs(60);
/// Other objects of the account that are tried.
const COPIES_MAX: u32 = 16;

/// A blob that another region is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The account whose repository here lacks it.
    pub account: AccountId,
    /// The repository there.
    pub holder: RepositoryRef,
    /// The blob.
    pub digest: Digest,
    /// Bytes that are here already.
    pub from: u64,
}

/// The bytes of a blob on their way.
pub type Body = BoxStream<'static, Result<Bytes>>;

/// The way to other regions, which is no rule of the product.
pub trait Replicas: Send + Sync {
    /// Asks a region for a blob's bytes.
    ///
    /// # Errors
    /// When the region does not answer, or does not hold it, or may not give it.
    fn fetch(&self, wanted: Wanted) -> BoxFuture<'_, Result<Body>>;
}

/// What became of a repair.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// What was damaged.
    pub row: QuarantineRow,
    /// Where the sound bytes came from, in words; else why there are none.
    pub outcome: Result<String, String>,
}

struct Tried {
    row: QuarantineRow,
    error: String,
    at: Timestamp,
}

impl Apply for Tried {
    type Out = ();
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, store::Error> {
        tx.quarantine_tried(self.row.blob, self.row.repository, &self.error, self.at).await?;
        Ok(Done::Commit(()))
    }
}

impl App {
    /// Lets repairs ask other regions.
    pub fn repair_from(&self, replicas: Arc<dyn Replicas>) {
        // Set once, when the region joins its peers.
        let _ = self.replicas.set(replicas);
    }

    /// Waits until damage is found.
    pub async fn damage_found(&self) {
        self.damaged.notified().await;
    }

    /// Repairs what waits for it.
    ///
    /// # Errors
    /// When the store does not answer; a repair that does not succeed is noted and tried again.
    pub async fn repair_waiting(self: &Arc<Self>) -> Result<Vec<Repaired>> {
        let since = self.clock.now().minus(AGAIN);
        let waiting = self.store.snapshot().await?.tx().quarantine_waiting(None, since, ROUND).await?;
        let mut all = Vec::with_capacity(waiting.len());
        for row in waiting {
            all.extend(self.try_repair(row).await?);
        }
        Ok(all)
    }

    /// Repairs a repository's damaged blobs now, or with `validate_only` names them; tells what became of each.
    ///
    /// # Errors
    /// When the caller may not, or there is no such repository.
    pub async fn repair_repository(
        self: &Arc<Self>,
        ctx: &Ctx,
        address: &RepositoryRef,
    ) -> Result<mpsc::Receiver<Result<Repaired>>> {
        let asked = RepositoryAddress::whole(address);
        let view = self.gate.read::<Repository>(ctx, Op::RepairImages, &asked).await?;
        let (repository, since) = (view.allowed().uid, self.clock.now());
        drop(view);
        let (sender, receiver) = mpsc::channel(16);
        let (app, tried) = (self.clone(), !ctx.mutation.validate_only);
        tokio::spawn(async move {
            if let Err(error) = app.repair_rounds(repository, since, tried, &sender).await {
                // The receiver may be gone; then nobody is left to be told.
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(receiver)
    }

    async fn repair_rounds(
        self: &Arc<Self>,
        repository: Uid,
        since: Timestamp,
        tried: bool,
        told: &mpsc::Sender<Result<Repaired>>,
    ) -> Result<()> {
        loop {
            let waiting = self.store.snapshot().await?.tx().quarantine_waiting(Some(repository), since, ROUND).await?;
            let mut any = false;
            for row in waiting {
                let outcome = match tried {
                    true => self.try_repair(row).await?,
                    false => Some(Repaired { row, outcome: Err("not tried".to_owned()) }),
                };
                let Some(repaired) = outcome else { continue };
                any = tried;
                let gone = |_| Error::new(Reason::Unavailable, "the caller went away");
                told.send(Ok(repaired)).await.map_err(gone)?;
            }
            if !any {
                return Ok(());
            }
        }
    }

    /// Repairs a blob, and notes why it could not be; nothing, when another task has it or its place is taken already.
    async fn try_repair(self: &Arc<Self>, row: QuarantineRow) -> Result<Option<Repaired>> {
        let Some(_one) = self.writing(row.blob) else { return Ok(None) };
        let Some(outcome) = self.repair(&row).await.transpose() else { return Ok(None) };
        let outcome = outcome.map_err(|error| error.message);
        match &outcome {
            Ok(from) => tracing::warn!(account = %row.account, repository = %row.name, digest = %row.digest, from,
                "a damaged blob was repaired"),
            Err(error) => {
                tracing::warn!(account = %row.account, repository = %row.name, digest = %row.digest, error,
                    "a damaged blob could not be repaired yet");
                let tried = Tried { row: row.clone(), error: error.clone(), at: self.clock.now() };
                self.store.write(Arc::new(tried)).await?;
            }
        }
        Ok(Some(Repaired { row, outcome }))
    }

    /// Puts a sound object in the place of a damaged one; says where its bytes came from, or nothing when its place is
    /// taken already.
    async fn repair(self: &Arc<Self>, row: &QuarantineRow) -> Result<Option<String>> {
        let address =
            RepositoryRef { account: row.account, region: self.settings.region.clone(), name: row.name.clone() };
        let asked = RepositoryAddress::whole(&address);
        let ctx = self.system(JOB);
        let repository = self.gate.look::<Repository>(&ctx, Op::RepairImages, &asked).await?.into_allowed();
        let (copies, holders) = {
            let mut snapshot = self.store.snapshot().await?;
            let mut tx = snapshot.tx();
            if tx.link(row.repository, &row.digest).await?.is_none_or(|(link, _)| link.blob != row.blob) {
                return Ok(None);
            }
            let copies = tx.link_copies(row.account, &row.digest, row.blob, COPIES_MAX).await?;
            (copies, tx.replica_holders(row.repository, &row.digest).await?)
        };
        let mut problems = Vec::new();
        for (link, blob) in copies {
            match self.repair_from_copy(&ctx, &repository, &link, &blob).await {
                Ok(from) => return Ok(Some(from)),
                Err(error) => problems.push(error.message),
            }
        }
        for there in holders {
            let holder = RepositoryRef { account: there.account, region: there.region.clone(), name: row.name.clone() };
            let wanted = Wanted { account: row.account, holder, digest: row.digest, from: 0 };
            match self.repair_from_region(&ctx, &repository, wanted, row.size).await {
                Ok(from) => return Ok(Some(from)),
                Err(error) => problems.push(format!("{}: {}", there.region, error.message)),
            }
        }
        if problems.is_empty() {
            problems.push("no other copy is known, here or in another region; push the blob again".to_owned());
        }
        Err(Error::new(Reason::Unavailable, problems.join("; ")).with("digest", row.digest))
    }

    /// Repairs from another object of the account: by a link if that is sealed under the same key, else by its bytes.
    async fn repair_from_copy(
        self: &Arc<Self>,
        ctx: &Ctx,
        repository: &Repository,
        link: &LinkRow,
        blob: &BlobRow,
    ) -> Result<String> {
        let row = self.store.snapshot().await?.tx().repository_by_uid(link.repository).await?;
        let row = row.ok_or_else(|| Error::new(Reason::Unavailable, "a copy is gone meanwhile"))?;
        let holder = Repository { address: row.clone().into_address(&self.settings.region), row };
        if let Some(reason) = self.examine(&holder, link, blob, &mut Pace::unbounded()).await? {
            self.set_aside(blob, &reason).await?;
            return Err(Error::new(Reason::DataLoss, format!("the copy of {} is damaged too", holder.address.name)));
        }
        let from = format!("another object of the account, of repository {}", holder.address.name);
        let origin = Origin::Repair(from.clone());
        if self.link_from(ctx, repository, &holder, Some((link.clone(), blob.clone())), &origin).await? {
            return Ok(from);
        }
        let arrival = self.open_arrival(ctx.clone(), repository, blob.digest, origin).await?;
        let copied = self.open_blob(&holder, link, blob).await?.read(arrival.offset()..blob.size)?;
        let body = stream::try_unfold(copied, async |mut copied| {
            let pieces: Option<Vec<Bytes>> = copied.next().await?;
            Ok::<_, Error>(pieces.map(|pieces| (stream::iter(pieces.into_iter().map(Ok)), copied)))
        })
        .try_flatten()
        .fuse();
        self.receive_blob(arrival, Box::pin(body), &watch::channel(0).0).await?;
        Ok(from)
    }

    /// Repairs by the bytes that another region holds.
    async fn repair_from_region(
        self: &Arc<Self>,
        ctx: &Ctx,
        repository: &Repository,
        wanted: Wanted,
        size: u64,
    ) -> Result<String> {
        let replicas = self.replicas.get().ok_or_else(|| {
            Error::new(Reason::Unavailable, "this region has no peers to ask; its configuration names none")
        })?;
        let RepositoryRef { account, region, name } = &wanted.holder;
        let from = format!("region {region}, repository {account}/{name}");
        let arrival = self.open_arrival(ctx.clone(), repository, wanted.digest, Origin::Repair(from.clone())).await?;
        let offset = arrival.offset();
        let body = replicas.fetch(Wanted { from: offset, ..wanted }).await?;
        let body = bounded(body, size.saturating_sub(offset));
        self.receive_blob(arrival, Box::pin(body), &watch::channel(0).0).await?;
        Ok(from)
    }
}

/// A blob's bytes; more of them than there are ends the stream with an error.
fn bounded(body: Body, mut left: u64) -> impl Stream<Item = Result<Bytes>> + Send {
    body.map(move |bytes| {
        let bytes = bytes?;
        let beyond = || Error::new(Reason::DataLoss, "the region sent more bytes than the blob has");
        left = left.checked_sub(bytes.len() as u64).ok_or_else(beyond)?;
        Ok(bytes)
    })
}

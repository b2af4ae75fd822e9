//! The source's side: what a destination has yet to be told, in order, and what it answered.
//!
//! The source's cursor is the truth of what has arrived: it moves in the transaction that stores the receipt.

use super::{ImageChange, SentManifest};
use crate::blobs::Reader;
use crate::clock::Timestamp;
use crate::domain::App;
use crate::domain::blobs::sound;
use crate::domain::images::required_blobs;
use crate::domain::manifest::{Manifest, RawManifest};
use crate::error::{Error, Reason, Result};
use crate::gate::{Object, Repository, RepositoryAddress};
use crate::names::{AccountId, Digest, PageSize, RepositoryName, RepositoryRef, Uid};
use crate::ops::Op;
use crate::store::images::EdgeKind;
use crate::store::receipts::ReceiptRow;
use crate::store::rules::{DeadLetter, Destination, RuleRow};
use crate::store::streams::{self, Change, ImageRef};
use crate::store::{self, Apply, Done, Tx};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Changes of one batch.
const BATCH: u32 = 100;
/// Manifest bytes of one batch; the rest waits for the next.
const BATCH_BYTES: usize = 1 << 20;
/// How long a slot is held without a sign of life.
pub const LEASE: Duration = Duration::from_secs(15);
/// Nesting of indexes that is followed.
const DEPTH_MAX: usize = 4;

/// What comes after a cursor in one shard.
#[derive(Debug, Default)]
pub struct Batch {
    /// The shard.
    pub shard: u32,
    /// Changes to send, in order.
    pub changes: Vec<ImageChange>,
    /// Changes that cannot be sent, and why.
    pub unsendable: Vec<DeadLetter>,
    /// Where the cursor stands once all of this is settled.
    pub until: i64,
}

struct Lease {
    account: AccountId,
    destination: Destination,
    owner: Uid,
    renewed: Option<i64>,
    now: Timestamp,
}

impl Apply for Lease {
    type Out = Option<i64>;
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<Option<i64>>, store::Error> {
        let until = self.now.plus(LEASE);
        let Self { account, destination, owner, renewed, now } = self;
        tx.slot_lease(*account, destination, *owner, *renewed, (*now, until)).await.map(Done::Commit)
    }
}

/// What a destination answered to one change.
#[derive(Clone, Debug)]
pub enum Settled {
    /// It is durable there.
    Applied(Option<ReceiptRow>),
    /// It cannot succeed and is set aside.
    Refused(DeadLetter),
    /// Nothing had to be sent.
    Skipped,
}

struct Settle {
    account: AccountId,
    destination: Destination,
    shard: u32,
    seq: i64,
    settled: Settled,
    now: Timestamp,
}

impl Apply for Settle {
    type Out = ();
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, store::Error> {
        match &self.settled {
            Settled::Applied(receipt) => {
                if let Some(receipt) = receipt {
                    tx.receipt_put(receipt).await?;
                }
                tx.slot_success(self.account, &self.destination, self.now).await?;
            }
            Settled::Refused(letter) => {
                tx.dead_letter_insert(self.account, &self.destination, letter, self.now).await?;
                tx.slot_error(self.account, &self.destination, &letter.message, self.now).await?;
            }
            Settled::Skipped => {}
        }
        let stream = streams::registry(self.account);
        tx.cursor_set(&stream, self.shard, &self.destination.follower(), self.seq, self.now).await?;
        Ok(Done::Commit(()))
    }
}

struct NoteError {
    account: AccountId,
    destination: Destination,
    message: String,
    now: Timestamp,
}

impl Apply for NoteError {
    type Out = ();
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, store::Error> {
        tx.slot_error(self.account, &self.destination, &self.message, self.now).await?;
        Ok(Done::Commit(()))
    }
}

impl App {
    /// Every way that some rule opens.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn routes(&self) -> Result<Vec<(AccountId, Destination)>> {
        Ok(self.store.snapshot().await?.tx().rule_routes().await?)
    }

    /// Takes a slot for a new session of this node, or renews that session; its epoch while it is ours. A node that
    /// was killed takes its own slots again at once; those of another node when their lease is over.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn lease_slot(
        &self,
        account: AccountId,
        destination: &Destination,
        renewed: Option<i64>,
    ) -> Result<Option<i64>> {
        let (owner, now) = (self.node()?, self.clock.now());
        let lease = Lease { account, destination: destination.clone(), owner, renewed, now };
        Ok(self.store.write(Arc::new(lease)).await?)
    }

    /// The shards of a registry's stream.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn stream_shards(&self, account: AccountId) -> Result<u32> {
        Ok(self.store.snapshot().await?.tx().registry(account).await?.map_or(0, |registry| registry.shards))
    }

    /// What a destination has yet to be told of one shard.
    ///
    /// # Errors
    /// When the store, the KMS or the disk does not answer.
    pub async fn next_batch(&self, account: AccountId, destination: &Destination, shard: u32) -> Result<Batch> {
        let (rules, changes) = {
            let mut snapshot = self.store.snapshot().await?;
            let mut tx = snapshot.tx();
            let stream = streams::registry(account);
            let cursor = tx.cursor(&stream, shard, &destination.follower()).await?.map_or(0, |(seq, _)| seq);
            let rules = tx.rule_list(account, None, PageSize::clamp(PageSize::MAX)).await?;
            (rules, tx.stream_after(&stream, shard, cursor, BATCH).await?)
        };
        let mut batch = Batch { shard, ..Batch::default() };
        let mut bytes = 0;
        for change in changes {
            if bytes > BATCH_BYTES {
                break;
            }
            batch.until = change.seq;
            match self.image_change(account, destination, &rules, &change).await {
                Ok(Some(image)) => {
                    bytes += image.manifests.iter().map(|manifest| manifest.bytes.len()).sum::<usize>();
                    batch.changes.push(image);
                }
                Ok(None) => {}
                Err(error) if error.reason.retryable() => return Err(error),
                Err(error) => batch.unsendable.push(DeadLetter {
                    shard,
                    seq: change.seq,
                    reason: error.reason.as_str().to_owned(),
                    message: error.message,
                }),
            }
        }
        Ok(batch)
    }

    /// A change as it is sent; `None` when no rule covers it or its image is gone.
    async fn image_change(
        &self,
        account: AccountId,
        destination: &Destination,
        rules: &[RuleRow],
        change: &Change,
    ) -> Result<Option<ImageChange>> {
        let Some(image) = &change.image else { return Ok(None) };
        let name = RepositoryName::parse(&change.subject)?;
        let address = RepositoryRef { account, region: self.settings.region.clone(), name: name.clone() };
        let ctx = self.system("replicate");
        let asked = RepositoryAddress::of(&address, Object::Whole);
        let mut view = match self.gate.read::<Repository>(&ctx, Op::BatchGetImage, &asked).await {
            Ok(view) if view.allowed().uid == image.repository => view,
            Ok(_) => return Ok(None),
            Err(error) if error.reason == Reason::RepositoryNotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let tags = carried_tags(&mut view.parts().1, image).await?;
        if !rules.iter().any(|rule| rule.covers(destination, name.as_str(), &tags)) {
            return Ok(None);
        }
        let repository = view.into_allowed();
        let mut manifests = Vec::new();
        let mut seen = BTreeSet::new();
        let found = self.collect(&repository, image.digest, &mut manifests, &mut seen, 0).await?;
        Ok(found.then(|| ImageChange { seq: change.seq, repository: name, tag: image.tag.clone(), manifests }))
    }

    /// Collects an image's manifests, children first; false when the image itself is gone.
    async fn collect(
        &self,
        repository: &Repository,
        digest: Digest,
        manifests: &mut Vec<SentManifest>,
        seen: &mut BTreeSet<Digest>,
        depth: usize,
    ) -> Result<bool> {
        if depth > DEPTH_MAX {
            let text = format!("index {digest} is nested more than {DEPTH_MAX} deep");
            return Err(Error::new(Reason::ManifestInvalid, text));
        }
        if !seen.insert(digest) {
            return Ok(true);
        }
        let (row, children) = {
            let mut snapshot = self.store.snapshot().await?;
            let mut tx = snapshot.tx();
            let row = tx.manifest(repository.uid, &digest).await?;
            (row, tx.edge_children(repository.uid, &digest, EdgeKind::Child).await?)
        };
        let Some(row) = row else { return Ok(false) };
        for child in children {
            Box::pin(self.collect(repository, child, manifests, seen, depth + 1)).await?;
        }
        let bytes = self.open_manifest(repository, &row).await?;
        self.check_blobs(repository, &RawManifest::new(bytes.clone(), Some(row.media_type.clone()), Some(digest))?)
            .await?;
        manifests.push(SentManifest { digest, media_type: row.media_type.to_string(), bytes });
        Ok(true)
    }

    /// A source never offers a manifest whose blobs have no edge in that repository (decision 21).
    async fn check_blobs(&self, repository: &Repository, raw: &RawManifest) -> Result<()> {
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        for digest in required_blobs(&Manifest::parse(raw)?) {
            let Some((_, blob)) = tx.link(repository.uid, &digest).await? else {
                let text = format!("image {} names blob {digest}, which its repository no longer holds", raw.digest);
                return Err(Error::new(Reason::LayerNotFound, text).with("digest", digest));
            };
            sound(&blob)?;
        }
        Ok(())
    }

    /// Opens a blob of a source repository for sending, with its size.
    ///
    /// # Errors
    /// When the repository does not hold it, or it cannot be opened.
    pub async fn blob_to_send(
        &self,
        account: AccountId,
        name: &RepositoryName,
        digest: Digest,
    ) -> Result<(Reader, u64)> {
        let address = RepositoryRef { account, region: self.settings.region.clone(), name: name.clone() };
        let asked = RepositoryAddress::of(&address, Object::Whole);
        let ctx = self.system("replicate");
        let mut view = self.gate.read::<Repository>(&ctx, Op::GetDownloadUrlForLayer, &asked).await?;
        let (repository, mut tx) = view.parts();
        let found = tx.link(repository.uid, &digest).await?;
        let repository = view.into_allowed();
        let (link, blob) = found.ok_or_else(|| crate::domain::blobs::missing(&digest))?;
        Ok((self.open_blob(&repository, &link, &blob).await?, blob.size))
    }

    /// Records what a destination answered to one change, and moves the cursor over it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn settle(
        &self,
        account: AccountId,
        destination: &Destination,
        shard: u32,
        seq: i64,
        settled: Settled,
    ) -> Result<()> {
        let now = self.clock.now();
        let settle = Settle { account, destination: destination.clone(), shard, seq, settled, now };
        Ok(self.store.write(Arc::new(settle)).await?)
    }

    /// Records why a destination could not be reached or did not answer.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn note_error(&self, account: AccountId, destination: &Destination, message: String) -> Result<()> {
        let note = NoteError { account, destination: destination.clone(), message, now: self.clock.now() };
        Ok(self.store.write(Arc::new(note)).await?)
    }

    /// The uid of a source repository, for the receipts of its images.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn repository_uid(&self, account: AccountId, name: &RepositoryName) -> Result<Option<Uid>> {
        Ok(self.store.snapshot().await?.tx().repository(account, name).await?.map(|row| row.uid))
    }
}

/// The tags by which rules see a change: the one that was set, else those that reach the image.
async fn carried_tags(tx: &mut Tx<'_>, image: &ImageRef) -> Result<Vec<String>> {
    Ok(match &image.tag {
        Some((tag, _)) => vec![tag.to_string()],
        None => {
            let reaching = tx.tags_reaching_manifest(image.repository, &image.digest).await?;
            reaching.iter().map(ToString::to_string).collect()
        }
    })
}

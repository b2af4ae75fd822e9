//! Sweeping: uploads whose time is over, links whose lease is, objects that nothing links, answers nobody will ask for.
//!
//! Each step is safe to repeat and safe to be cut anywhere: files go before the rows that name them. An object is
//! condemned, so that no link can be added to it, and goes when its grace is over. A digest that was answered as present
//! stays nameable for half a lease at least: deleting a manifest leases its blobs, and so does asking for one that has
//! neither manifest nor much time left.

use super::App;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::names::Uid;
use crate::store::{self, Apply, Done, Tx};
use std::sync::Arc;
use std::time::Duration;

/// Rows handled in one round.
const ROUND: u32 = 500;
/// How long an answer to a request id is kept (decision 25).
const ANSWERS_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Uploads given up.
    pub uploads: usize,
    /// Links without a manifest whose lease was over.
    pub links: u64,
    /// Objects that nothing links any more, and to which no link will be added.
    pub condemned: u64,
    /// Condemned objects whose grace was over and that were removed.
    pub objects: usize,
    /// Plaintext bytes of these.
    pub bytes: u64,
}

struct Links {
    now: Timestamp,
}

impl Apply for Links {
    /// Links removed, objects condemned.
    type Out = (u64, u64);
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<Self::Out>, store::Error> {
        let links = tx.link_sweep(self.now).await?;
        let condemned = tx.blob_condemn(self.now).await?;
        tx.claim_sweep(self.now).await?;
        tx.session_sweep(self.now).await?;
        tx.answer_sweep(self.now.minus(ANSWERS_KEPT)).await?;
        Ok(Done::Commit((links, condemned)))
    }
}

struct ForgetBlob(Uid);

impl Apply for ForgetBlob {
    type Out = ();
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, store::Error> {
        tx.blob_forget(self.0).await?;
        Ok(Done::Commit(()))
    }
}

struct ForgetUpload(Uid);

impl Apply for ForgetUpload {
    type Out = ();
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, store::Error> {
        tx.upload_delete(self.0).await?;
        Ok(Done::Commit(()))
    }
}

impl App {
    /// One round of sweeping.
    ///
    /// # Errors
    /// When the store or the disk fails; the next round begins again.
    pub async fn sweep(self: &Arc<Self>) -> Result<Swept> {
        self.branches.sweep();
        let now = self.clock.now();
        let expired = self.store.snapshot().await?.tx().upload_expired(now, ROUND).await?;
        let mut swept = Swept::default();
        for (upload, account, object) in expired {
            // An upload that is being written is in nobody's way.
            let Some(_writing) = self.writing(upload) else { continue };
            // It may have been completed before the right to write was ours; then its object is a blob.
            if !self.store.snapshot().await?.tx().upload_exists(upload).await? {
                continue;
            }
            self.blobs.remove(account, object).await?;
            self.store.write(Arc::new(ForgetUpload(upload))).await?;
            swept.uploads += 1;
        }
        (swept.links, swept.condemned) = self.store.write(Arc::new(Links { now })).await?;
        // Whoever began to read an object before it was condemned has the grace to end.
        let due = now.minus(self.settings.collect_grace);
        for (account, object, size) in self.store.snapshot().await?.tx().blob_condemned(due, ROUND).await? {
            self.blobs.remove(account, object).await?;
            self.store.write(Arc::new(ForgetBlob(object))).await?;
            swept.objects += 1;
            swept.bytes += size;
        }
        Ok(swept)
    }
}

//! Sweeping: uploads whose time is over, links whose lease is, objects that nothing links, answers nobody will ask for.
//!
//! Each step is safe to repeat and safe to be cut anywhere: files go before the rows that name them, and an object is
//! condemned, so that no link can be added to it, before its file goes.

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
    /// Objects removed.
    pub objects: usize,
}

struct Links {
    now: Timestamp,
}

impl Apply for Links {
    type Out = (u64, Vec<(crate::names::AccountId, Uid)>);
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<Self::Out>, store::Error> {
        let links = tx.link_sweep(self.now).await?;
        let condemned = tx.blob_condemn(self.now, ROUND).await?;
        tx.claim_sweep(self.now).await?;
        tx.session_sweep(self.now).await?;
        let old = self.now.micros().saturating_sub(i64::try_from(ANSWERS_KEPT.as_micros()).unwrap_or(i64::MAX));
        tx.answer_sweep(Timestamp::from_micros(old)).await?;
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
        let (links, condemned) = self.store.write(Arc::new(Links { now })).await?;
        swept.links = links;
        for (account, object) in condemned {
            self.blobs.remove(account, object).await?;
            self.store.write(Arc::new(ForgetBlob(object))).await?;
            swept.objects += 1;
        }
        Ok(swept)
    }
}

//! Sweeping: uploads whose time is over, links whose lease is, objects that nothing links, answers nobody will ask for.
//!
//! Each step is safe to repeat and safe to be cut anywhere: files go before the rows that name them. An object is
//! condemned, so that no link can be added to it, and goes when its grace is over. A digest that was answered as present
//! stays nameable for half a lease at least: deleting a manifest leases its blobs, and so does asking for one that has
//! neither manifest nor much time left. What cannot be removed is counted and passed over; the next run tries it again.

use super::App;
use super::storage::RUNS_MAX;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::names::{AccountId, Uid};
use crate::store::collections::{CollectionRow, Swept};
use crate::store::{self, Apply, Done, Tx};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Uploads, and objects, handled in one round.
const ROUND: u32 = 500;
/// How long an answer to a request id is kept (decision 25).
const ANSWERS_KEPT: Duration = Duration::from_secs(24 * 3_600);
/// How long it is told that a blob was repaired.
const REPAIRS_KEPT: Duration = Duration::from_secs(90 * 24 * 3_600);

impl Swept {
    fn failed(&mut self, error: &Error) {
        tracing::error!(error = ?error, "something could not be swept and will be tried again");
        self.errors += 1;
        self.last_error = Some(error.message.clone());
    }
}

struct Links {
    now: Timestamp,
    /// Whether it is only to be counted.
    counted: bool,
}

impl Apply for Links {
    /// Links removed, objects condemned.
    type Out = (u64, u64);
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<Self::Out>, store::Error> {
        let links = tx.link_sweep(self.now).await?;
        let condemned = tx.blob_condemn(self.now).await?;
        if self.counted {
            return Ok(Done::RollBack((links, condemned)));
        }
        tx.quarantine_sweep(self.now.minus(REPAIRS_KEPT)).await?;
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

/// Notes a run that did something.
struct Ran(CollectionRow);

impl Apply for Ran {
    type Out = ();
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, store::Error> {
        let run = &self.0;
        tx.collection_insert(run).await?;
        tx.collection_trim(RUNS_MAX).await?;
        let sums = [
            ("runs", 1),
            ("uploads", run.swept.uploads),
            ("links", run.swept.links),
            ("condemned", run.swept.condemned),
            ("objects", run.swept.objects),
            ("bytes", run.swept.bytes),
            ("errors", run.swept.errors),
        ];
        for (name, count) in sums {
            tx.counter_add(name, count).await?;
        }
        Ok(Done::Commit(()))
    }
}

impl App {
    /// One run of the collector, until nothing is left that is due; noted if it did something.
    ///
    /// # Errors
    /// When the store does not answer; the next run begins again.
    pub async fn sweep(self: &Arc<Self>) -> Result<Swept> {
        self.sweep_telling(None).await
    }

    /// As [`App::sweep`]; tells how far it is after each round.
    pub(super) async fn sweep_telling(self: &Arc<Self>, told: Option<&mpsc::Sender<Result<Swept>>>) -> Result<Swept> {
        // What was lost on a failing disk is not known yet: nothing is given up.
        self.store.syncs().check()?;
        let _one = self.sweeping.lock().await;
        self.branches.sweep();
        let (started_at, began) = (self.clock.now(), tokio::time::Instant::now());
        let mut swept = Swept::default();
        let ended = self.rounds(&mut swept, told).await;
        if let Err(error) = &ended {
            swept.failed(error);
        }
        if swept != Swept::default() {
            let run = CollectionRow { id: self.clock.uid(), started_at, took: began.elapsed(), swept: swept.clone() };
            self.store.write(Arc::new(Ran(run))).await?;
        }
        ended.map(|()| swept)
    }

    async fn rounds(self: &Arc<Self>, swept: &mut Swept, told: Option<&mpsc::Sender<Result<Swept>>>) -> Result<()> {
        loop {
            let before = swept.uploads + swept.objects;
            let more = self.round(swept).await?;
            // A round that removed nothing met only what cannot be removed now.
            if !more || swept.uploads + swept.objects == before {
                return Ok(());
            }
            if let Some(sender) = told {
                // Who asked may be gone; the run goes on all the same.
                let _ = sender.send(Ok(swept.clone())).await;
            }
        }
    }

    /// One round; whether there may be more to do.
    async fn round(self: &Arc<Self>, swept: &mut Swept) -> Result<bool> {
        let now = self.clock.now();
        let expired = self.store.snapshot().await?.tx().upload_expired(now, ROUND).await?;
        let mut more = expired.len() >= ROUND as usize;
        for (upload, account, object) in expired {
            match self.give_up(upload, account, object).await {
                Ok(given_up) => swept.uploads += u64::from(given_up),
                Err(error) => swept.failed(&error),
            }
        }
        let (links, condemned) = self.store.write(Arc::new(Links { now, counted: false })).await?;
        (swept.links, swept.condemned) = (swept.links + links, swept.condemned + condemned);
        // Whoever began to read an object before it was condemned has the grace to end.
        let due = now.minus(self.settings.collect_grace);
        let condemned = self.store.snapshot().await?.tx().blob_condemned(due, ROUND).await?;
        more |= condemned.len() >= ROUND as usize;
        for (account, object, size) in condemned {
            if let Err(error) = self.blobs.remove(account, object).await {
                swept.failed(&error);
                continue;
            }
            self.store.write(Arc::new(ForgetBlob(object))).await?;
            swept.objects += 1;
            swept.bytes += size;
        }
        Ok(more)
    }

    /// Gives an expired upload up; false when it is in use, or not there any more.
    async fn give_up(self: &Arc<Self>, upload: Uid, account: AccountId, object: Uid) -> Result<bool> {
        // An upload that is being written is in nobody's way.
        let Some(_writing) = self.writing(upload) else { return Ok(false) };
        // It may have been completed before the right to write was ours; then its object is a blob.
        if !self.store.snapshot().await?.tx().upload_exists(upload).await? {
            return Ok(false);
        }
        self.blobs.remove(account, object).await?;
        self.store.write(Arc::new(ForgetUpload(upload))).await?;
        Ok(true)
    }

    /// What a run would do now, changing nothing.
    pub(super) async fn would_sweep(&self) -> Result<Swept> {
        let now = self.clock.now();
        let (links, condemned) = self.store.write(Arc::new(Links { now, counted: true })).await?;
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        let uploads = tx.upload_expired_count(now).await?;
        let (objects, bytes) = tx.blob_condemned_count(now.minus(self.settings.collect_grace)).await?;
        Ok(Swept { uploads, links, condemned, objects, bytes, ..Swept::default() })
    }
}

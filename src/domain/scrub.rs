//! Scrubbing: stored objects are read again, those first that were not for the longest, and hashed.
//!
//! A pass never holds more than a page of rows, goes at a bounded rate when nobody asked for it, and passes over objects
//! whose KMS key cannot be used, each key asked once a pass. Manifests are rows of the database and are not read here;
//! `VerifyImages` reads them.

use super::App;
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Lease, Organization, Repository, RepositoryAddress};
use crate::names::{AccountId, Arn, Digest, RepositoryName, RepositoryRef, Uid};
use crate::ops::Op;
use crate::store::blobs::{BlobRow, LinkRow};
use crate::store::{self, Apply, Done, Tx};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Objects of one page: their results are written together.
const PAGE: u32 = 64;
/// How long a node keeps the work of its region without a sign of life.
const LEASE: Duration = Duration::from_secs(600);
/// The shortest and the longest wait for the next object that is due.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How fast is read.
#[derive(Debug)]
pub struct Pace {
    /// Nothing is unbounded.
    bytes_per_sec: Option<u64>,
    free_at: Instant,
}

impl Pace {
    /// As fast as it goes.
    #[must_use]
    pub fn unbounded() -> Self {
        Self { bytes_per_sec: None, free_at: Instant::now() }
    }

    /// So many bytes a second on the average.
    #[must_use]
    pub fn bounded(bytes_per_sec: u64) -> Self {
        Self { bytes_per_sec: Some(bytes_per_sec.max(1)), free_at: Instant::now() }
    }

    /// Notes that bytes were read.
    pub(super) fn took(&mut self, bytes: u64) {
        if let Some(rate) = self.bytes_per_sec {
            let cost = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
            let cost = Duration::from_nanos(u64::try_from(cost).unwrap_or(u64::MAX));
            self.free_at = self.free_at.max(Instant::now()) + cost;
        }
    }

    /// Waits until more may be read.
    pub(super) async fn wait(&self) {
        if self.bytes_per_sec.is_some() {
            tokio::time::sleep_until(self.free_at).await;
        }
    }
}

/// A damaged blob that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The account.
    pub account: AccountId,
    /// The repository through which it was read.
    pub name: RepositoryName,
    /// The blob.
    pub digest: Digest,
    /// What is wrong with it, in words.
    pub reason: String,
}

/// How far a scrub is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Objects looked at.
    pub done: u64,
    /// Objects to look at, as counted at the beginning.
    pub total: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Objects passed over because their KMS key could not be used.
    pub skipped: u64,
    /// Objects that the disk or bucket did not give.
    pub unreadable: u64,
    /// Damage found since the last report.
    pub damage: Vec<Finding>,
}

/// What a page of objects turned out to be.
#[derive(Default)]
struct Scrubbed {
    sound: Vec<Uid>,
    bytes: u64,
    at: Timestamp,
    unreadable: u64,
    /// Objects passed over in the whole pass, at its end.
    skipped: Option<u64>,
}

impl Apply for Scrubbed {
    type Out = ();
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, store::Error> {
        for blob in &self.sound {
            tx.blob_verified(*blob, self.at).await?;
        }
        tx.counter_add("verified", self.sound.len() as u64).await?;
        tx.counter_add("verified bytes", self.bytes).await?;
        tx.counter_add("unreadable", self.unreadable).await?;
        if let Some(skipped) = self.skipped {
            tx.counter_set("skipped", skipped).await?;
        }
        Ok(Done::Commit(()))
    }
}

struct TakeWork {
    owner: Uid,
    now: Timestamp,
}

impl Apply for TakeWork {
    type Out = bool;
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<bool>, store::Error> {
        tx.lease_take("scrub", self.owner, self.now, self.now.plus(LEASE)).await.map(Done::Commit)
    }
}

/// What is gone through.
#[derive(Clone)]
enum Scope {
    /// Objects that were last hashed before a moment; behind this one.
    Region { before: Timestamp, after: (Timestamp, Uid) },
    /// A repository's objects, behind this digest.
    Repository { repository: Box<Repository>, after: String },
}

/// A pass over objects.
struct Walk {
    scope: Scope,
    pace: Pace,
    progress: Progress,
    /// Keys that could not be used in this pass.
    blocked: HashSet<Arn>,
}

impl Walk {
    fn new(scope: Scope, pace: Pace, total: u64) -> Self {
        Self { scope, pace, progress: Progress { total, ..Progress::default() }, blocked: HashSet::new() }
    }
}

/// The scrubber of a region: passes over what is due, one after another.
pub struct Scrubber {
    app: Arc<App>,
    walk: Walk,
    period: Duration,
}

impl Scrubber {
    /// Looks at the next page of objects that are due; false when none is, or another node does this.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn page(&mut self) -> Result<bool> {
        // Looked for first: a region at rest writes nothing.
        if self.app.next_objects(&self.walk.scope).await?.0.is_empty() {
            self.end_pass().await?;
            return Ok(false);
        }
        let work = TakeWork { owner: self.app.node()?, now: self.app.clock.now() };
        if !self.app.store.write(Arc::new(work)).await? {
            return Ok(false);
        }
        self.app.scrub_page(&mut self.walk, None).await
    }

    /// Begins anew with what is due now, and notes what could not be read in the pass that ended.
    async fn end_pass(&mut self) -> Result<()> {
        let skipped = self.walk.progress.skipped;
        let pace = std::mem::replace(&mut self.walk.pace, Pace::unbounded());
        self.walk = Walk::new(due(self.app.clock.now(), self.period), pace, 0);
        let noted = self.app.store.snapshot().await?.tx().counters().await?.get("skipped").copied().unwrap_or(0);
        if skipped == noted {
            return Ok(());
        }
        tracing::warn!(skipped, "stored objects that could not be verified, since their KMS keys cannot be used");
        Ok(self.app.store.write(Arc::new(Scrubbed { skipped: Some(skipped), ..Scrubbed::default() })).await?)
    }

    /// How long to wait when nothing was due.
    #[must_use]
    pub fn look(&self) -> Duration {
        (self.period / 10).clamp(LOOK.0, LOOK.1)
    }
}

impl App {
    /// The region's scrubber, unless the settings turn it off.
    #[must_use]
    pub fn scrubber(self: &Arc<Self>) -> Option<Scrubber> {
        let super::Scrub { period, bytes_per_sec } = self.settings.scrub;
        let pace = (bytes_per_sec > 0).then(|| Pace::bounded(bytes_per_sec))?;
        let walk = Walk::new(due(self.clock.now(), period), pace, 0);
        Some(Scrubber { app: self.clone(), walk, period })
    }

    /// Reads all objects of the region now, as fast as it goes; reports after each, the last with `done` equal to
    /// `total` or more.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn scrub_storage(self: &Arc<Self>, ctx: &Ctx) -> Result<mpsc::Receiver<Result<Progress>>> {
        let owner = self.organization_owner().await?;
        let (view, lease) = self.gate.stream::<Organization>(ctx, Op::ScrubStorage, &owner).await?;
        drop(view);
        let before = self.clock.now();
        let (total, _) = self.store.snapshot().await?.tx().blob_unverified_count(before).await?;
        let scope = Scope::Region { before, after: (Timestamp::default(), Uid::from_bytes([0; 16])) };
        Ok(self.scrub_now(Walk::new(scope, Pace::unbounded(), total), lease))
    }

    /// Reads all objects of a repository now, as [`App::scrub_storage`]; names those too that are set aside already.
    ///
    /// # Errors
    /// When the caller may not, or there is no such repository.
    pub async fn scrub_repository(
        self: &Arc<Self>,
        ctx: &Ctx,
        address: &RepositoryRef,
    ) -> Result<mpsc::Receiver<Result<Progress>>> {
        let asked = RepositoryAddress::whole(address);
        let (view, lease) = self.gate.stream::<Repository>(ctx, Op::QuarantineImages, &asked).await?;
        let repository = (**view.allowed()).clone();
        drop(view);
        let total = self.store.snapshot().await?.tx().link_count(repository.uid).await?;
        let scope = Scope::Repository { repository: Box::new(repository), after: String::new() };
        Ok(self.scrub_now(Walk::new(scope, Pace::unbounded(), total), lease))
    }

    fn scrub_now(self: &Arc<Self>, mut walk: Walk, lease: Lease) -> mpsc::Receiver<Result<Progress>> {
        let (sender, receiver) = mpsc::channel(16);
        let app = self.clone();
        tokio::spawn(async move {
            let ended = async {
                while app.scrub_page(&mut walk, Some((&sender, &lease))).await? {}
                Ok(())
            };
            let last = ended.await.map(|()| walk.progress);
            // The receiver may be gone; then nobody is left to be told.
            let _ = sender.send(last).await;
        });
        receiver
    }

    /// Looks at the next page of a walk; false at its end.
    async fn scrub_page(
        self: &Arc<Self>,
        walk: &mut Walk,
        told: Option<(&mpsc::Sender<Result<Progress>>, &Lease)>,
    ) -> Result<bool> {
        let (page, behind) = self.next_objects(&walk.scope).await?;
        if page.is_empty() {
            return Ok(false);
        }
        walk.scope = behind;
        let mut scrubbed = Scrubbed { at: self.clock.now(), ..Scrubbed::default() };
        for (repository, link, blob) in page {
            self.scrub_object(walk, &mut scrubbed, (&repository, &link, &blob)).await?;
            walk.progress.done += 1;
            if let Some((sender, lease)) = told {
                lease.renew().await?;
                let damage = std::mem::take(&mut walk.progress.damage);
                let sent = sender.send(Ok(Progress { damage, ..walk.progress.clone() })).await;
                sent.map_err(|_| Error::new(Reason::Unavailable, "the caller went away"))?;
            }
        }
        walk.progress.damage.clear();
        self.store.write(Arc::new(scrubbed)).await?;
        Ok(true)
    }

    async fn scrub_object(
        self: &Arc<Self>,
        walk: &mut Walk,
        scrubbed: &mut Scrubbed,
        (repository, link, blob): (&Repository, &LinkRow, &BlobRow),
    ) -> Result<()> {
        let progress = &mut walk.progress;
        let finding = |reason: String| {
            let (account, name) = (repository.account, repository.name.clone());
            Finding { account, name, digest: blob.digest, reason }
        };
        if let Some(since) = blob.quarantined_at {
            progress.damage.push(finding(format!("set aside since {since}, and not repaired yet")));
            return Ok(());
        }
        if walk.blocked.contains(&blob.kms_key) {
            progress.skipped += 1;
            return Ok(());
        }
        let reason = match self.examine(repository, link, blob, &mut walk.pace).await {
            Ok(None) => {
                progress.bytes += blob.size;
                scrubbed.sound.push(blob.uid);
                scrubbed.bytes += blob.size;
                return Ok(());
            }
            Ok(Some(reason)) => reason,
            Err(error) if matches!(error.reason, Reason::KeyUnavailable | Reason::Throttled) => {
                walk.blocked.insert(blob.kms_key.clone());
                progress.skipped += 1;
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(object = %blob.uid, error = ?error, "a stored object could not be read again");
                progress.unreadable += 1;
                scrubbed.unreadable += 1;
                return Ok(());
            }
        };
        if self.set_aside(blob, &reason).await? {
            progress.damage.push(finding(reason));
        }
        Ok(())
    }

    /// The next objects of a scope, each with a repository through which its key is reached, and what is behind them.
    async fn next_objects(&self, scope: &Scope) -> Result<(Vec<(Repository, LinkRow, BlobRow)>, Scope)> {
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        let (mut found, mut behind) = (Vec::new(), scope.clone());
        match &mut behind {
            Scope::Region { before, after } => {
                for (link, blob) in tx.blob_unverified(*before, *after, PAGE).await? {
                    *after = (blob.verified_at, blob.uid);
                    let Some(row) = tx.repository_by_uid(link.repository).await? else { continue };
                    let address = row.clone().into_address(&self.settings.region);
                    found.push((Repository { row, address }, link, blob));
                }
            }
            Scope::Repository { repository, after } => {
                for (link, blob) in tx.link_list(repository.uid, after, PAGE).await? {
                    *after = link.digest.to_string();
                    found.push(((**repository).clone(), link, blob));
                }
            }
        }
        Ok((found, behind))
    }
}

fn due(now: Timestamp, period: Duration) -> Scope {
    Scope::Region { before: now.minus(period), after: (Timestamp::default(), Uid::from_bytes([0; 16])) }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, Pace};

    #[test]
    fn a_bounded_pace_costs_time_by_its_bytes_and_saves_up_none() {
        let began = Instant::now();
        let mut pace = Pace::bounded(1_000);
        // Long ago was nothing to do; that time is gone.
        pace.free_at = began - Duration::from_secs(60);
        for _ in 0..10 {
            pace.took(500);
        }
        let cost = pace.free_at - began;
        assert!(cost >= Duration::from_secs(5), "5,000 bytes at 1,000 a second cost {cost:?}");
        assert!(pace.free_at - Instant::now() <= Duration::from_secs(5));
        let mut free = Pace::unbounded();
        free.took(u64::MAX);
        assert!(free.free_at <= Instant::now());
    }
}

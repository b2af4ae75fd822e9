//! What stands behind a region's registries, for who runs it: the collector's runs, the scrubber's sums, what is damaged.
//!
//! All of it is about the whole region, so it is authorized on the organization: a tenant learns nothing of another.

use super::App;
use crate::authz::permit::Allowed;
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Organization};
use crate::names::{AccountId, PageSize};
use crate::ops::Op;
use crate::store::Tx;
use crate::store::collections::{CollectionRow, Swept};
use crate::store::quarantines::{Place, QuarantineRow};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Runs of the collector that are kept and told.
pub const RUNS_MAX: u32 = 100;

/// A run of the collector that somebody asked for: what it changes, it changes outside of this transaction.
struct Collect;

impl Change for Collect {
    type Resource = Organization;
    type Out = ();

    async fn apply(&self, _: &Allowed<Organization>, _: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}

/// What the collector and the scrubber did.
#[derive(Clone, Debug)]
pub struct Report {
    /// Runs of the collector that did something, the newest first.
    pub runs: Vec<CollectionRow>,
    /// Sums since the region was made, by name.
    pub sums: BTreeMap<String, u64>,
    /// Objects that are due for the scrubber.
    pub due: u64,
    /// When the object was hashed that was not for the longest.
    pub oldest: Option<Timestamp>,
    /// Damaged blobs that wait for their repair.
    pub waiting: u64,
}

impl App {
    /// What the collector and the scrubber of this region did.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn storage_report(&self, ctx: &Ctx) -> Result<Report> {
        let owner = self.organization_owner().await?;
        let mut view = self.gate.read::<Organization>(ctx, Op::GetStorageReport, &owner).await?;
        let (_, mut tx) = view.parts();
        let (due, oldest) = tx.blob_unverified_count(self.clock.now().minus(self.settings.scrub.period)).await?;
        Ok(Report {
            runs: tx.collection_list(RUNS_MAX).await?,
            sums: tx.counters().await?,
            due,
            oldest,
            waiting: tx.quarantine_count().await?,
        })
    }

    /// The region's damaged blobs after a place, with those that were repaired lately.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn list_quarantines(&self, ctx: &Ctx, after: Place, size: PageSize) -> Result<Vec<QuarantineRow>> {
        let owner = self.organization_owner().await?;
        let mut view = self.gate.read::<Organization>(ctx, Op::ListQuarantines, &owner).await?;
        Ok(view.parts().1.quarantine_list(after, size.rows()).await?)
    }

    /// Runs the collector, or with `validate_only` counts what a run would do; reports after each round, the last time
    /// when the channel closes.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn collect_storage(self: &Arc<Self>, ctx: &Ctx) -> Result<mpsc::Receiver<Result<Swept>>> {
        let owner = self.organization_owner().await?;
        self.gate.write(ctx, Op::CollectStorage, &owner, Collect).await?;
        let (sender, receiver) = mpsc::channel(16);
        let (app, counted) = (self.clone(), ctx.mutation.validate_only);
        tokio::spawn(async move {
            let ended = if counted { app.would_sweep().await } else { app.sweep_telling(Some(&sender)).await };
            // The receiver may be gone; then nobody is left to be told.
            let _ = sender.send(ended).await;
        });
        Ok(receiver)
    }

    /// The account that what concerns the whole region is authorized on.
    pub(super) async fn organization_owner(&self) -> Result<AccountId> {
        self.management_account().await?.ok_or_else(|| {
            Error::new(Reason::Unavailable, "this region does not know its organization yet; try again shortly")
        })
    }
}

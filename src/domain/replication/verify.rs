//! Verification at rest: every stored byte of a repository is read, opened and hashed again.

use crate::ctx::Ctx;
use crate::domain::App;
use crate::domain::blobs::sound;
use crate::domain::quarantine::matches;
use crate::domain::scrub::Pace;
use crate::error::{Error, Reason, Result};
use crate::gate::{Object, Repository, RepositoryAddress};
use crate::names::{Digest, PageSize, RepositoryRef, Uid};
use crate::ops::Op;
use crate::store::blobs::{BlobRow, LinkRow};
use crate::store::images::ManifestRow;
use crate::store::{self, Apply, Done, Tx};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Rows read at a time.
const PAGE: u32 = 500;

/// A blob or manifest whose stored bytes are not what its digest says.
#[derive(Clone, Debug)]
pub struct Damage {
    /// The digest that should be there.
    pub digest: Digest,
    /// What is wrong, in words.
    pub problem: String,
}

/// How far a verification is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Objects read.
    pub done: u64,
    /// Objects to read.
    pub total: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Damage found since the last report.
    pub damage: Vec<Damage>,
}

struct Verified {
    blob: Uid,
    at: crate::clock::Timestamp,
}

impl Apply for Verified {
    type Out = ();
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, store::Error> {
        tx.blob_verified(self.blob, self.at).await?;
        Ok(Done::Commit(()))
    }
}

impl App {
    /// Verifies a repository; reports after each object, the last with `done` equal to `total`.
    ///
    /// # Errors
    /// When the caller may not, or there is no such repository.
    pub async fn verify_repository(
        self: &Arc<Self>,
        ctx: &Ctx,
        address: &RepositoryRef,
    ) -> Result<mpsc::Receiver<Result<Progress>>> {
        let asked = RepositoryAddress::of(address, Object::Whole);
        let (view, lease) = self.gate.stream::<Repository>(ctx, Op::VerifyImages, &asked).await?;
        let repository = view.into_allowed();
        let (sender, receiver) = mpsc::channel(16);
        let app = self.clone();
        tokio::spawn(async move {
            let outcome = async {
                let (links, manifests) = app.everything(&repository).await?;
                let total = (links.len() + manifests.len()) as u64;
                let mut progress = Progress { total, ..Progress::default() };
                for (link, blob) in links {
                    lease.renew().await?;
                    progress.damage.extend(
                        app.verify_blob(&repository, &link, &blob).await.err().map(|e| damage(blob.digest, &e)),
                    );
                    progress.bytes += blob.size;
                    report(&sender, &mut progress).await?;
                }
                for row in manifests {
                    progress
                        .damage
                        .extend(app.verify_manifest(&repository, &row).await.err().map(|e| damage(row.digest, &e)));
                    progress.bytes += row.size;
                    report(&sender, &mut progress).await?;
                }
                if total == 0 {
                    // The receiver may be gone; then nobody is left to be told.
                    let _ = sender.send(Ok(progress)).await;
                }
                Ok(())
            };
            if let Err(error) = outcome.await {
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(receiver)
    }

    async fn everything(&self, repository: &Repository) -> Result<(Vec<(LinkRow, BlobRow)>, Vec<ManifestRow>)> {
        let mut snapshot = self.store.snapshot().await?;
        let mut tx = snapshot.tx();
        let (mut links, mut manifests) = (Vec::new(), Vec::new());
        let mut after = String::new();
        loop {
            let page = tx.link_list(repository.uid, &after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = last.digest.to_string();
            links.extend(page);
        }
        after.clear();
        loop {
            let page = tx.manifest_list(repository.uid, &after, PageSize::clamp(PAGE)).await?;
            let Some(last) = page.last() else { break };
            after = last.digest.to_string();
            manifests.extend(page);
        }
        Ok((links, manifests))
    }

    async fn verify_blob(&self, repository: &Repository, link: &LinkRow, blob: &BlobRow) -> Result<()> {
        sound(blob)?;
        if let Some(reason) = self.examine(repository, link, blob, &mut Pace::unbounded()).await? {
            self.set_aside(blob, &reason).await?;
            return Err(Error::new(Reason::DataLoss, reason));
        }
        let verified = Verified { blob: blob.uid, at: self.clock.now() };
        Ok(self.store.write(Arc::new(verified)).await?)
    }

    async fn verify_manifest(&self, repository: &Repository, row: &ManifestRow) -> Result<()> {
        matches(Digest::hash(row.digest.algorithm(), &self.open_manifest(repository, row).await?), row.digest)
    }
}

fn damage(digest: Digest, error: &Error) -> Damage {
    Damage { digest, problem: error.message.clone() }
}

async fn report(sender: &mpsc::Sender<Result<Progress>>, progress: &mut Progress) -> Result<()> {
    progress.done += 1;
    let told = Progress { damage: std::mem::take(&mut progress.damage), ..progress.clone() };
    sender.send(Ok(told)).await.map_err(|_| Error::new(Reason::Unavailable, "the caller went away"))
}

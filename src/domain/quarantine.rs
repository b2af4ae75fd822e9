//! Damage at rest: how it is told from a read that failed, and how what is damaged is set aside.
//!
//! An object is judged by all of its bytes: each segment is opened and all are hashed. What looks damaged is read once
//! more before it is set aside; a key that cannot be used, or a disk or bucket that does not answer, is no damage. From
//! then on nobody is served the object and no link is added to it; its bytes stay until every link has a sound object
//! again (`repair`), and then go as any object that nothing links.

use super::App;
use super::scrub::Pace;
use crate::authz::permit::Allowed;
use crate::clock::Timestamp;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Repository, RepositoryAddress};
use crate::keys::DataKey;
use crate::names::{Digest, Hasher, RepositoryRef, Uid};
use crate::ops::Op;
use crate::store::Tx;
use crate::store::blobs::{BlobRow, LinkRow};
use std::sync::Arc;

/// Repositories that are read at a time.
const HOLDERS: u32 = 500;

/// The job that reads, sets aside and repairs.
pub(super) const JOB: &str = "scrub";

/// Marks an object as damaged, and notes that it was a repository's.
struct SetAside {
    blob: Uid,
    repository: Uid,
    reason: String,
    at: Timestamp,
}

impl Change for SetAside {
    type Resource = Repository;
    /// Whether this is news.
    type Out = bool;

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<bool> {
        if repository.uid != self.repository {
            return Ok(false);
        }
        if tx.blob_quarantine(self.blob, self.at).await? {
            tx.counter_add("damaged", 1).await?;
        }
        Ok(tx.quarantine_insert(self.blob, self.repository, &self.reason, self.at).await?)
    }
}

/// An object that is being read, should it turn out to be damaged.
#[derive(Clone)]
pub(super) struct Suspect {
    app: Arc<App>,
    repository: Arc<Repository>,
    link: LinkRow,
    blob: BlobRow,
}

impl Suspect {
    pub(super) fn new(app: &Arc<App>, repository: &Repository, link: &LinkRow, blob: &BlobRow) -> Self {
        let repository = Arc::new(repository.clone());
        Self { app: app.clone(), repository, link: link.clone(), blob: blob.clone() }
    }

    /// Reads the object again and sets it aside if it is damaged; whether it was.
    pub(super) async fn judge(&self) -> bool {
        // Many pulls may meet one damaged object; one of them is enough.
        let Some(_one) = self.app.writing(self.blob.uid) else { return false };
        let mut pace = Pace::unbounded();
        let judged = async {
            match self.app.examine(&self.repository, &self.link, &self.blob, &mut pace).await? {
                Some(reason) => self.app.set_aside(&self.blob, &reason).await,
                None => Ok(false),
            }
        };
        judged.await.unwrap_or_else(|error| {
            tracing::warn!(blob = %self.blob.digest, error = ?error, "a blob that looked damaged could not be judged");
            false
        })
    }

    /// The same as a task of its own.
    pub(super) fn judged(&self) -> impl Future<Output = ()> + Send + 'static {
        let suspect = self.clone();
        async move {
            suspect.judge().await;
        }
    }
}

impl App {
    /// Reads all of an object: what is wrong with it, or `None` when it is what was sealed.
    ///
    /// # Errors
    /// When that cannot be told: its key cannot be used, the disk or bucket does not answer.
    pub(in crate::domain) async fn examine(
        &self,
        repository: &Repository,
        link: &LinkRow,
        blob: &BlobRow,
        pace: &mut Pace,
    ) -> Result<Option<String>> {
        let data_key = self.data_key(repository, link, blob).await.map_err(|error| match error.reason {
            // The key's rows are damaged, which no copy of the object repairs.
            Reason::DataLoss => Error { reason: Reason::Internal, ..error },
            _ => error,
        })?;
        let mut problem = None;
        for _ in 0..2 {
            match self.reread(&data_key, blob, pace).await {
                Ok(()) => return Ok(None),
                Err(error) if error.reason == Reason::DataLoss => problem = Some(error.message),
                Err(error) => return Err(error),
            }
        }
        Ok(problem)
    }

    async fn reread(&self, data_key: &DataKey, blob: &BlobRow, pace: &mut Pace) -> Result<()> {
        let mut hash = Hasher::new(blob.digest.algorithm());
        let mut reading = self.reader(data_key, blob).await?.read(0..blob.size)?;
        while let Some(pieces) = reading.next().await? {
            for piece in pieces {
                pace.took(piece.len() as u64);
                hash.update(&piece);
            }
            pace.wait().await;
        }
        if self.faults.misreads() {
            hash.update(b"misread");
        }
        matches(hash.finish(), blob.digest)
    }

    /// Sets an object aside for all repositories that link it, each with its audit row; false when none does.
    pub(in crate::domain) async fn set_aside(&self, blob: &BlobRow, reason: &str) -> Result<bool> {
        // A pull and the scrubber may find the same; one of them tells it.
        let _one = self.setting_aside.lock().await;
        let (mut after, mut linked) = (Uid::from_bytes([0; 16]), false);
        loop {
            let holders = self.store.snapshot().await?.tx().link_repositories(blob.uid, after, HOLDERS).await?;
            let Some((last, ..)) = holders.last() else { return Ok(linked) };
            (after, linked) = (*last, true);
            for (repository, account, name, _) in holders.into_iter().filter(|(.., noted)| !noted) {
                let address = RepositoryRef { account, region: self.settings.region.clone(), name };
                self.set_aside_for(blob, repository, &address, reason).await?;
            }
        }
    }

    async fn set_aside_for(
        &self,
        blob: &BlobRow,
        repository: Uid,
        address: &RepositoryRef,
        reason: &str,
    ) -> Result<()> {
        let ctx = self.system(JOB);
        let change = SetAside { blob: blob.uid, repository, reason: reason.to_owned(), at: ctx.now };
        match self.gate.write(&ctx, Op::QuarantineImages, &RepositoryAddress::whole(address), change).await {
            Ok(true) => {
                tracing::error!(repository = %address.arn(), digest = %blob.digest, object = %blob.uid, reason,
                    "a stored blob is damaged and was set aside");
                self.damaged.notify_one();
                Ok(())
            }
            Ok(false) => Ok(()),
            // It was deleted meanwhile.
            Err(error) if error.reason == Reason::RepositoryNotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Compares what was hashed with what it should be.
pub(in crate::domain) fn matches(found: Digest, wanted: Digest) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::new(Reason::DataLoss, format!("the stored bytes hash to {found}")))
}

//! What uploads change in the store: values that the gate applies, as often as it takes.

use super::{OPEN_MAX, unknown};
use crate::authz::permit::Allowed;
use crate::clock::Timestamp;
use crate::domain::blobs::LinkBlob;
use crate::error::{Error, Reason, Result};
use crate::gate::{Change, Repository};
use crate::names::Uid;
use crate::store::Tx;
use crate::store::blobs::{BlobRow, LinkRow};
use crate::store::claims::ClaimRow;
use crate::store::uploads::{Progress, UploadRow};

/// Opens an upload, unless too many are open.
pub(super) struct StartUpload(pub(super) UploadRow, pub(super) Timestamp);

impl Change for StartUpload {
    type Resource = Repository;
    type Out = ();

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<()> {
        if tx.upload_count(repository.uid, &self.0.principal).await? >= OPEN_MAX {
            let text = format!("more than {OPEN_MAX} uploads are open in {}; finish or cancel some", repository.name);
            return Err(Error::new(Reason::Throttled, text).with("repository", &repository.name));
        }
        let row = UploadRow { repository: repository.uid, ..self.0.clone() };
        Ok(tx.upload_insert(&row, self.1).await?)
    }
}

/// Acknowledges bytes that are on the disk.
pub(super) struct AdvanceUpload {
    pub(super) uid: Uid,
    pub(super) from: u64,
    pub(super) to: Progress,
    pub(super) expires_at: Timestamp,
}

impl Change for AdvanceUpload {
    type Resource = Repository;
    type Out = ();

    async fn apply(&self, _: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<()> {
        if tx.upload_advance(self.uid, self.from, &self.to, self.expires_at).await? {
            return Ok(());
        }
        Err(unknown(self.uid))
    }
}

/// Forgets an upload; false when it was gone already.
pub(super) struct CancelUpload {
    pub(super) uid: Uid,
}

impl Change for CancelUpload {
    type Resource = Repository;
    type Out = bool;

    async fn apply(&self, _: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<bool> {
        Ok(tx.upload_delete(self.uid).await?)
    }
}

/// Turns an upload into a blob of its repository.
pub(super) struct CompleteUpload {
    pub(super) uid: Uid,
    pub(super) blob: BlobRow,
    pub(super) link: LinkRow,
    pub(super) claim: Option<ClaimRow>,
    pub(super) elsewhere: Option<LinkBlob>,
    /// Where its bytes come from, in words.
    pub(super) from: String,
}

impl Change for CompleteUpload {
    type Resource = Repository;
    type Out = ();

    async fn apply(&self, repository: &Allowed<Repository>, tx: &mut Tx<'_>) -> Result<()> {
        if !tx.upload_delete(self.uid).await? {
            return Err(unknown(self.uid));
        }
        let LinkRow { digest, lease_until, source_account, .. } = &self.link;
        // The new object gets its row in any case: without a link it is condemned and swept, never forgotten.
        tx.blob_insert(&self.blob, self.blob.verified_at).await?;
        if let Some(claim) = &self.claim {
            tx.claim_put(claim).await?;
        }
        if tx.link_lease(repository.uid, digest, *lease_until, *source_account).await? {
            return Ok(());
        }
        if let Some(other) = &self.elsewhere
            && other.apply(repository, tx).await?
        {
            return Ok(());
        }
        tx.link_insert(&self.link, &self.from, self.blob.verified_at).await?;
        Ok(())
    }
}

//! Lending: another region asks for a blob that it sent here, or that was sent to it, because its own is damaged.
//!
//! Who asks is the region of its certificate, for registries there. The gate wants proof for each blob, from any account:
//! a receipt of that registry for an image with the blob, or the blob's arrival from it (ADR 0018).

use crate::domain::App;
use crate::domain::blobs::Blob;
use crate::error::Result;
use crate::names::{Digest, RepositoryName, RepositoryRef};
use crate::ops::Op;
use crate::store::receipts::Inbound;
use std::sync::Arc;

impl App {
    /// Opens a blob of a repository here for the registry that asks: `asking` has its region and account as the source,
    /// and the account here as the destination.
    ///
    /// # Errors
    /// When there is no proof that the asking registry had the blob, or the blob cannot be opened.
    pub async fn lend_blob(self: &Arc<Self>, asking: &Inbound, name: &RepositoryName, digest: Digest) -> Result<Blob> {
        let (account, region) = (asking.destination, self.settings.region.clone());
        let address = RepositoryRef { account, region, name: name.clone() };
        self.get_blob_under(&self.replication(asking), Op::FetchBlob, &address, digest, None).await
    }
}

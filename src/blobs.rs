//! Sealed bytes at rest: one file for each object, named `<account>/<first two of uid>/<uid>`.
//!
//! Only sealed bytes are written and only verified objects become blobs: [`BlobStore::finish`] is the one maker of
//! [`VerifiedBlob`]. A file that is named is synced, and so is its folder, before anything refers to it. What a crash
//! leaves past the last durable part is cut off when the upload goes on.

use crate::error::{Error, Reason, Result};
use crate::keys::{Chunk, Opener, Part, Plan, Sealer, Sealing};
use crate::names::{AccountId, Digest, Uid};
use bytes::{Bytes, BytesMut};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Plaintext bytes of a part on local disk: what a cut connection or a crash costs at most.
pub const PART_BYTES: u64 = 32 << 20;
/// Plaintext bytes sealed and written in one hop to the blocking pool.
pub const BATCH_BYTES: usize = 512 << 10;

/// The objects of one region on a local disk.
#[derive(Clone, Debug)]
pub struct BlobStore {
    root: Arc<Path>,
}

/// Proof that the bytes of an object hash to its digest and are durable.
#[derive(Clone, Debug)]
pub struct VerifiedBlob {
    account: AccountId,
    uid: Uid,
    sealing: Sealing,
}

impl VerifiedBlob {
    /// The object.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// The account whose object it is.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// Digest, size, parts and commitment.
    #[must_use]
    pub fn sealing(&self) -> &Sealing {
        &self.sealing
    }
}

impl BlobStore {
    /// Opens the folder, making it if need be.
    ///
    /// # Errors
    /// When the folder cannot be made or synced.
    pub fn open(root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root)
            .and_then(|()| sync_folder(root))

//! Replication: which images of a registry go where, what has arrived, and the proof of it.
//!
//! - `rules`: rules and their status at the source.
//! - `source`: what a destination has yet to be told, and what it answered.
//! - `destination`: what arrives here, committed whole or not at all.
//! - `lend`: what another region may have back.
//! - `receipt`: a destination's signed word for an image.
//! - `verify`: stored bytes read again and hashed.
//!
//! The transport between regions is `peer`; nothing here knows a connection.

pub mod destination;
pub mod lend;
pub mod receipt;
pub mod rules;
pub mod source;
pub mod verify;

use crate::names::{Digest, RepositoryName, Tag};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};

/// An image on its way: everything a destination needs but the blobs.
#[derive(Clone, Debug)]
pub struct ImageChange {
    /// Its number in the shard of the source's stream.
    pub seq: i64,
    /// The repository.
    pub repository: RepositoryName,
    /// The tag that was set and its version at the source.
    pub tag: Option<(Tag, i64)>,
    /// Children before parents, the image itself last.
    pub manifests: Vec<SentManifest>,
}

/// A manifest, byte for byte.
#[derive(Clone, Debug)]
pub struct SentManifest {
    /// Its digest as the source has it.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A blob that a destination asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NeededBlob {
    /// The repository that needs it.
    pub repository: RepositoryName,
    /// Its digest.
    pub digest: Digest,
    /// Its size by the manifest that names it.
    pub size: u64,
}

/// Faults that tests inject; none unless set.
#[derive(Debug, Default)]
pub struct Faults {
    flip_sent_byte: AtomicBool,
    misread: AtomicBool,
}

impl Faults {
    /// From now on one plaintext byte of every replicated blob is flipped before it is sent.
    pub fn flip_sent_bytes(&self) {
        self.flip_sent_byte.store(true, Ordering::Relaxed);
    }

    /// The next stored object that is read again comes out wrong, once.
    pub fn misread_once(&self) {
        self.misread.store(true, Ordering::Relaxed);
    }

    /// Whether a stored object is to come out wrong.
    pub(crate) fn misreads(&self) -> bool {
        self.misread.swap(false, Ordering::Relaxed)
    }

    /// Applies the faults to the first bytes of a blob.
    #[must_use]
    pub(crate) fn on_send(&self, bytes: Bytes) -> Bytes {
        if !self.flip_sent_byte.load(Ordering::Relaxed) || bytes.is_empty() {
            return bytes;
        }
        let mut flipped = bytes.to_vec();
        flipped[0] ^= 1;
        flipped.into()
    }
}

//! Keys and sealed bytes: what makes stored bytes unreadable without a KMS key, and readable again with it.
//!
//! A KMS key wraps one *branch key* per repository ([`Kms`], [`BranchCache`]); the branch key wraps one *data key*
//! per blob and repository ([`wrap_link`]); the data key seals the blob part by part ([`Sealer`]) and commits to its
//! digest, size and parts ([`Opener`] checks that before anything else). The bytes are described in
//! `docs/formats.md`. Nothing here stores anything, and nothing here is ever released unauthenticated.

mod branch;
mod checkpoint;
mod embedded;
mod envelope;
mod error;
mod hashes;
pub mod insecure;
mod kms;
mod link;
mod open;
mod plan;
mod reread;
mod root;
mod seal;
mod stream;
mod wrap;

pub use branch::{BRANCH_CACHE_LIMIT, BRANCH_KEY_TTL, BranchCache, WrappedBranchKey};
pub use embedded::{EmbeddedKms, KeyRow, KeyRows, Material};
pub use envelope::{BranchKey, DataKey, Envelope, MAX_PARTS, Part};
pub use error::Error;
pub use hashes::Hashes;
pub use kms::{Context, KeyInfo, KeyState, Kms, Refusal};
pub use link::{Link, UploadWrap, unwrap_link, unwrap_upload, wrap_link, wrap_upload};
pub use open::{Opener, open_bytes};
pub use plan::{Chunk, Plan, SEGMENTS_PER_CHUNK};
pub use root::RootKey;
pub use seal::{Sealer, Sealing, seal_bytes};
pub use stream::{Header, SEGMENT_SIZE, cipher_len};

/// Random key material from the cryptographic library's own source.
///
/// # Errors
/// When the system's random source does not answer.
pub fn random<const N: usize>() -> Result<crate::secret::Secret<[u8; N]>> {
    wrap::random().map(crate::secret::Secret::new)
}

/// Result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
#[path = "../../tests/it/conformance_kms.rs"]
mod conformance;
#[cfg(test)]
mod vectors;

//! Hashing a sealed object again: for a digest of an algorithm that nobody announced before the bytes came.
//!
//! Every byte is opened, hence authenticated, and hashed with SHA-256 beside the other algorithm: what is read back has to
//! be what was written.

use super::envelope::{DataKey, Envelope};
use super::hashes::{Hashes, Hashing};
use super::open::Opener;
use super::plan::Chunk;
use super::{Error, Result};
use crate::names::Algorithm;
use bytes::BytesMut;

/// The hashes of an object that was just sealed, `named` among them; `read` reads the sealed bytes of a chunk.
pub(super) fn hashes<E: From<Error>>(
    data_key: &DataKey,
    envelope: &Envelope,
    named: Algorithm,
    mut read: impl FnMut(&Chunk) -> Result<BytesMut, E>,
) -> Result<Hashes, E> {
    let opener = Opener::new(data_key, envelope.clone())?;
    let mut hash = Hashing::new(named);
    for chunk in opener.plan(0..envelope.size)? {
        for piece in opener.open_chunk(&chunk, read(&chunk)?)? {
            hash.update(&piece);
        }
    }
    let found = hash.finish();
    if found.sha256() != envelope.hashes.sha256() {
        return Err(Error::Tampered { what: "the object that was just written" }.into());
    }
    Ok(found)
}

//! Deflated bytes inside of tokens and messages.

use flate2::Compression;
use flate2::bufread::DeflateDecoder;
use flate2::write::DeflateEncoder;
use std::io::{Read, Write};

/// Deflates bytes.
pub(super) fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.expect("writing to a Vec does not fail")
}

/// Inflates bytes; `None` when there are more than `limit`, whatever the input claims, or it is none, or not all.
pub(super) fn inflate(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut decoder = DeflateDecoder::new(bytes);
    let mut plain = Vec::new();
    decoder.by_ref().take(u64::try_from(limit).ok()? + 1).read_to_end(&mut plain).ok()?;
    (plain.len() <= limit && decoder.get_ref().is_empty()).then_some(plain)
}

//! One part as a Tink AES256-GCM-HKDF-SHA256 stream: segments sealed and opened in place, one at a time.
//!
//! SPEC: Tink streaming AEAD, AES-GCM-HKDF, with a 32-byte derived key, SHA-256 and 64 KiB ciphertext segments.
//! The stream is `header ‖ segment 0 ‖ segment 1 …`; the header counts into segment 0, so every segment border in
//! the ciphertext is a multiple of [`SEGMENT_SIZE`]. Which segment is the last is the caller's knowledge.

use super::wrap::{TAG_LEN, derive_cipher, random};
use super::{Error, Result};
use crate::names::{AccountId, Uid};
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};

/// Bytes of one ciphertext segment (`css`), tag included: a 4 KiB range read costs one of them.
pub const SEGMENT_SIZE: u32 = 65_536;

/// Bytes of a part's header.
pub(super) const HEADER_LEN: usize = 40;

const SEGMENT_LEN: usize = SEGMENT_SIZE as usize;

/// Plaintext bytes in a full first segment.
pub(super) const FIRST_PLAIN: usize = SEGMENT_LEN - HEADER_LEN - TAG_LEN;

/// Plaintext bytes in any other full segment.
pub(super) const NEXT_PLAIN: usize = SEGMENT_LEN - TAG_LEN;

/// The header of a part: its length byte, 32 random bytes of salt, 7 random bytes of nonce prefix.
///
/// A header seals one plaintext, ever: sealing another one under it would give both away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Header([u8; HEADER_LEN]);

impl Header {
    /// A header that no part has.
    pub(super) fn random() -> Result<Self> {
        let mut bytes = random::<HEADER_LEN>()?;
        bytes[0] = Self::LENGTH_BYTE;
        Ok(Self(bytes))
    }

    /// Reads a stored header.
    ///
    /// # Errors
    /// When the first byte is not the header's length.
    pub fn parse(bytes: [u8; HEADER_LEN]) -> Result<Self> {
        if bytes[0] == Self::LENGTH_BYTE {
            Ok(Self(bytes))
        } else {
            Err(Error::Malformed { what: "part header", rule: "40 bytes, the first of them 0x28" })
        }
    }

    /// The 40 bytes, as they stand in the object and in the parts table.
    #[must_use]
    pub fn bytes(&self) -> &[u8; HEADER_LEN] {
        &self.0
    }

    const LENGTH_BYTE: u8 = 0x28;

    fn salt(&self) -> &[u8] {
        &self.0[1..33]
    }

    fn nonce(&self, segment: u32, last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..7].copy_from_slice(&self.0[33..]);
        nonce[7..11].copy_from_slice(&segment.to_be_bytes());
        nonce[11] = u8::from(last);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// The cipher of one part: its own key, derived from the data key, the header and the part's place.
#[derive(Debug)]
pub(super) struct PartCipher {
    key: LessSafeKey,
    header: Header,
}

impl PartCipher {
    /// Derives the key of part number `part` of a blob.
    pub(super) fn new(data_key: &[u8; 32], account: AccountId, blob: Uid, part: u32, header: Header) -> Result<Self> {
        let aad = format!("v1|acct={account}|blob={blob}|css={SEGMENT_SIZE}|part={part}");
        Ok(Self { key: derive_cipher(data_key, header.salt(), &[aad.as_bytes()])?, header })
    }

    /// The header the key was derived from.
    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Appends one sealed segment to `out`: one copy of the plaintext, then sealed where it lies.
    pub(super) fn seal(&self, segment: u32, last: bool, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        out.reserve(plain.len() + TAG_LEN);
        out.extend_from_slice(plain);
        match self.key.seal_in_place_separate_tag(self.header.nonce(segment, last), Aad::empty(), &mut out[start..]) {
            Ok(tag) => {
                out.extend_from_slice(tag.as_ref());
                Ok(())
            }
            Err(_) => {
                out.truncate(start);
                Err(Error::Crypto { what: "sealing a segment" })
            }
        }
    }

    /// Opens one segment where it lies; the plaintext is all but the last 16 bytes of it.
    pub(super) fn open(&self, segment: u32, last: bool, sealed: &mut [u8]) -> Result<()> {
        match self.key.open_in_place(self.header.nonce(segment, last), Aad::empty(), sealed) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Tampered { what: "a segment of the blob" }),
        }
    }
}

/// The plaintext bytes that a full segment holds.
pub(super) fn segment_capacity(segment: u32) -> usize {
    if segment == 0 { FIRST_PLAIN } else { NEXT_PLAIN }
}

/// How many segments a part of that many plaintext bytes has: at least one.
pub(super) fn segments(plain_len: u32) -> u32 {
    1 + plain_len.saturating_sub(FIRST_PLAIN as u32).div_ceil(NEXT_PLAIN as u32)
}

/// The segment that holds the plaintext byte at `offset` of its part.
pub(super) fn segment_at(offset: u32) -> u32 {
    match offset.checked_sub(FIRST_PLAIN as u32) {
        None => 0,
        Some(beyond) => 1 + beyond / NEXT_PLAIN as u32,
    }
}

/// Where a segment's plaintext begins in its part.
pub(super) fn plain_start(segment: u32) -> u64 {
    match segment.checked_sub(1) {
        None => 0,
        Some(full) => FIRST_PLAIN as u64 + u64::from(full) * NEXT_PLAIN as u64,
    }
}

/// Where a segment begins in its part; the header belongs to the first.
pub(super) fn read_start(segment: u32) -> u64 {
    u64::from(segment) * u64::from(SEGMENT_SIZE)
}

/// The bytes that a part of `plain_len` plaintext bytes takes in the object: header, segments and tags.
#[must_use]
pub fn cipher_len(plain_len: u32) -> u64 {
    HEADER_LEN as u64 + u64::from(plain_len) + u64::from(segments(plain_len)) * TAG_LEN as u64
}

#[cfg(test)]
mod tests {
    use super::{FIRST_PLAIN, NEXT_PLAIN, cipher_len, plain_start, read_start, segment_at, segments};

    #[test]
    fn segment_borders_are_those_of_tink() {
        let (first, next) = (FIRST_PLAIN as u32, NEXT_PLAIN as u32);
        assert_eq!((first, next), (65_480, 65_520));
        // plain length, segments, ciphertext length
        let cases = [
            (0, 1, 56),
            (1, 1, 57),
            (first - 1, 1, 65_535),
            (first, 1, 65_536),
            (first + 1, 2, 65_553),
            (first + next, 2, 131_072),
            (first + next + 1, 3, 131_089),
        ];
        for (plain, count, sealed) in cases {
            assert_eq!((segments(plain), cipher_len(plain)), (count, sealed), "{plain}");
        }
        for segment in 0..4 {
            let start = u32::try_from(plain_start(segment)).unwrap();
            assert_eq!(segment_at(start), segment);
            assert_eq!(segment_at(start.saturating_sub(1)), segment.saturating_sub(1));
            assert_eq!(read_start(segment), u64::from(segment) * 65_536);
        }
        assert_eq!(segments(u32::MAX), segment_at(u32::MAX - 1) + 1);
    }
}

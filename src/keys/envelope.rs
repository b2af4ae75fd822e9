//! What is known of a sealed blob besides its bytes: keys, the parts table and the commitment that ties them together.
//!
//! The commitment is what the stream format lacks: without it, one ciphertext can be made to open under two keys to
//! two contents. It is a function of the data key, so only its holder can make or check it.

use super::hashes::Hashes;
use super::stream::{HEADER_LEN, Header, SEGMENT_SIZE, cipher_len};
use super::wrap::{derive, random};
use super::{Error, Result};
use crate::names::{AccountId, Uid};
use crate::secret::Secret;
use sha2::{Digest as _, Sha256};

/// The most parts a blob may have: 512 GiB of 8 MiB parts, and a parts table of 2.9 MB.
pub const MAX_PARTS: usize = 65_536;

/// The key that seals one blob, and no other.
#[derive(Clone, Debug)]
pub struct DataKey(Secret<[u8; 32]>);

impl DataKey {
    /// A new key.
    ///
    /// # Errors
    /// When the system's random source does not answer.
    pub fn random() -> Result<Self> {
        random().map(Self::from_bytes)
    }

    pub(in crate::keys) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::new(bytes))
    }

    pub(in crate::keys) fn material(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

/// The key that wraps the data keys of one repository; it lives wrapped by a KMS key.
#[derive(Debug)]
pub struct BranchKey(Secret<[u8; 32]>);

impl BranchKey {
    /// The branch key that a KMS generated or decrypted.
    #[must_use]
    pub fn new(secret: Secret<[u8; 32]>) -> Self {
        Self(secret)
    }

    pub(in crate::keys) fn material(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

/// One part of a blob, as the parts table has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// The part's header.
    pub header: Header,
    /// Its plaintext bytes.
    pub plain_len: u32,
}

impl Part {
    /// The bytes this part takes in the object.
    #[must_use]
    pub fn cipher_len(&self) -> u64 {
        cipher_len(self.plain_len)
    }

    /// The parts table: 44 bytes a part, `header[40] ‖ u32be plain_len`.
    #[must_use]
    pub fn encode_table(parts: &[Self]) -> Vec<u8> {
        let mut table = Vec::with_capacity(parts.len() * ROW_LEN);
        for part in parts {
            table.extend_from_slice(part.header.bytes());
            table.extend_from_slice(&part.plain_len.to_be_bytes());
        }
        table
    }

    /// Reads a parts table.
    ///
    /// # Errors
    /// When it is not a whole number of rows, has more than [`MAX_PARTS`] of them, or a header is malformed.
    pub fn decode_table(table: &[u8]) -> Result<Vec<Self>> {
        let (rows, rest) = table.as_chunks::<ROW_LEN>();
        if !rest.is_empty() || rows.len() > MAX_PARTS {
            return Err(Error::Malformed { what: "parts table", rule: "rows of 44 bytes, at most 65,536 of them" });
        }
        rows.iter().map(Self::decode).collect()
    }

    fn decode(row: &[u8; ROW_LEN]) -> Result<Self> {
        let (mut header, mut plain_len) = ([0; HEADER_LEN], [0; 4]);
        header.copy_from_slice(&row[..HEADER_LEN]);
        plain_len.copy_from_slice(&row[HEADER_LEN..]);
        Ok(Self { header: Header::parse(header)?, plain_len: u32::from_be_bytes(plain_len) })
    }
}

const ROW_LEN: usize = HEADER_LEN + 4;

/// Everything the store knows of a sealed blob; nothing of it is secret, all of it is committed to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The account that owns the blob.
    pub account: AccountId,
    /// The blob's id, which also names its object.
    pub blob: Uid,
    /// What the plaintext hashes to.
    pub hashes: Hashes,
    /// Bytes of plaintext.
    pub size: u64,
    /// Bytes of a ciphertext segment; [`SEGMENT_SIZE`] is the only value in use.
    pub css: u32,
    /// The parts, in order.
    pub parts: Vec<Part>,
    /// The commitment of the data key to all of the above.
    pub commit: [u8; 32],
}

impl Envelope {
    /// The commitment that the holder of `data_key` computes over this envelope.
    ///
    /// # Errors
    /// When the envelope has a form that this release does not make.
    pub(super) fn commitment(&self, data_key: &DataKey) -> Result<[u8; 32]> {
        commitment(data_key, self.account, self.blob, &self.hashes, self.size, self.css, &self.parts)
    }
}

/// HKDF-SHA256(data key, empty salt, `"transship/commit/v1\0"` ‖ SHA-256(canonical)).
pub(super) fn commitment(
    data_key: &DataKey,
    account: AccountId,
    blob: Uid,
    hashes: &Hashes,
    size: u64,
    css: u32,
    parts: &[Part],
) -> Result<[u8; 32]> {
    if css != SEGMENT_SIZE {
        return Err(Error::Malformed { what: "envelope", rule: "segments are 65,536 bytes" });
    }
    let count = u32::try_from(parts.len()).ok().filter(|_| parts.len() <= MAX_PARTS);
    let count = count.ok_or(Error::Malformed { what: "envelope", rule: "at most 65,536 parts" })?;
    let sha512 = hashes.sha512();
    let canonical = Sha256::new()
        .chain_update([VERSION, ALGORITHM])
        .chain_update(account.as_str())
        .chain_update(blob.bytes())
        .chain_update(hashes.sha256().bytes())
        .chain_update([if sha512.is_some() { SHA512_LEN } else { 0 }])
        .chain_update(sha512.as_ref().map_or(&[][..], |digest| digest.bytes()))
        .chain_update(size.to_be_bytes())
        .chain_update(css.to_be_bytes())
        .chain_update(count.to_be_bytes())
        .chain_update(Part::encode_table(parts))
        .finalize();
    Ok(*derive(data_key.material(), &[], &[b"transship/commit/v1\0", &canonical])?)
}

/// Version of the canonical form.
const VERSION: u8 = 1;
/// Algorithm 1: Tink AES256-GCM-HKDF-SHA256 parts with this commitment.
const ALGORITHM: u8 = 1;
/// The length of a SHA-512 hash; 0 stands for one that is absent.
const SHA512_LEN: u8 = 64;

#[cfg(test)]
mod tests {
    use super::{DataKey, Hashes, Header, MAX_PARTS, Part, ROW_LEN, commitment};
    use crate::names::{AccountId, Algorithm, Digest, Uid};

    #[test]
    fn a_parts_table_reads_back_as_it_was_written() {
        let parts: Vec<_> = (0..3).map(|i| Part { header: Header::random().unwrap(), plain_len: i * 70_000 }).collect();
        let table = Part::encode_table(&parts);
        assert_eq!(table.len(), 3 * 44);
        assert_eq!(Part::decode_table(&table).unwrap(), parts);
    }

    #[test]
    fn malformed_parts_tables_are_refused() {
        let row = Part::encode_table(&[Part { header: Header::random().unwrap(), plain_len: 1 }]);
        let mut bad_header = row.clone();
        bad_header[0] = 0x18;
        let at_limit = row.repeat(MAX_PARTS);
        assert_eq!(Part::decode_table(&at_limit).unwrap().len(), MAX_PARTS);
        for bad in [&row[..ROW_LEN - 1], &[&row[..], &[0]].concat(), &bad_header, &row.repeat(MAX_PARTS + 1)] {
            assert!(Part::decode_table(bad).is_err(), "{} bytes", bad.len());
        }
    }

    #[test]
    fn every_field_changes_the_commitment() {
        let (account, blob) = (AccountId::from_seed(1), Uid::from_bytes([1; 16]));
        let digest = Hashes::of_name(Digest::of(b"a"), None).unwrap();
        let long = |name: &[u8], beside: &[u8]| {
            Hashes::of_name(Digest::hash(Algorithm::Sha512, name), Some(Digest::of(beside))).unwrap()
        };
        let part = Part { header: Header::random().unwrap(), plain_len: 1 };
        let other = Part { header: part.header, plain_len: 2 };
        let key = DataKey::random().unwrap();
        let commit = |key: &DataKey, account, blob, digest, size, parts: &[Part]| {
            commitment(key, account, blob, &digest, size, 65_536, parts).unwrap()
        };
        let mut all = vec![
            commit(&key, account, blob, digest, 1, &[part]),
            commit(&DataKey::random().unwrap(), account, blob, digest, 1, &[part]),
            commit(&key, AccountId::from_seed(2), blob, digest, 1, &[part]),
            commit(&key, account, Uid::from_bytes([2; 16]), digest, 1, &[part]),
            commit(&key, account, blob, Hashes::of_name(Digest::of(b"b"), None).unwrap(), 1, &[part]),
            commit(&key, account, blob, long(b"a", b"a"), 1, &[part]),
            commit(&key, account, blob, long(b"b", b"a"), 1, &[part]),
            commit(&key, account, blob, long(b"a", b"b"), 1, &[part]),
            commit(&key, account, blob, digest, 2, &[part]),
            commit(&key, account, blob, digest, 1, &[other]),
            commit(&key, account, blob, digest, 1, &[part, part]),
            commit(&key, account, blob, digest, 1, &[]),
        ];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 12);
        assert!(commitment(&key, account, blob, &digest, 1, 4_096, &[part]).is_err());
    }
}

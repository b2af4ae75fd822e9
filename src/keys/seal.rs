//! Sealing a blob while hashing it: one pass over the plaintext, part by part, each under a header never used before.
//!
//! A [`Sealing`] is the proof that these bytes were hashed by the same pass that sealed them; nothing else can make
//! one. A part that was not ended is worth nothing: its bytes are dropped and the upload goes on from the checkpoint
//! before it, in a new sealer and under a new header.

use super::envelope::{DataKey, Envelope, MAX_PARTS, Part, commitment};
use super::hashes::{Hashes, Hashing};
use super::plan::Chunk;
use super::stream::{Header, PartCipher, SEGMENT_SIZE, segment_capacity};
use super::{Error, Result, checkpoint, reread};
use crate::names::{AccountId, Algorithm, Digest, Uid};
use bytes::BytesMut;

/// Hashes and seals one blob; `out` is where the sealed bytes go, in the order in which they stand in the object.
pub struct Sealer {
    data_key: DataKey,
    account: AccountId,
    blob: Uid,
    hash: Hashing,
    size: u64,
    parts: Vec<Part>,
    open: Option<OpenPart>,
    /// Plaintext of the current segment, kept back because the last segment is sealed as such.
    pending: Vec<u8>,
}

struct OpenPart {
    header: Header,
    cipher: PartCipher,
    segment: u32,
    plain_len: u32,
}

impl Sealer {
    /// A sealer for a new blob under a data key that seals no other; `named` is the algorithm of the digest under which
    /// it is expected to be known, so that it need not be read again.
    #[must_use]
    pub fn new(data_key: &DataKey, account: AccountId, blob: Uid, named: Algorithm) -> Self {
        let (data_key, hash) = (data_key.clone(), Hashing::new(named));
        Self { data_key, account, blob, hash, size: 0, parts: Vec::new(), open: None, pending: Vec::new() }
    }

    /// A sealer that goes on after the parts that are already stored.
    ///
    /// # Errors
    /// When the checkpoint is malformed or was not taken after these parts.
    pub fn resume(
        data_key: &DataKey,
        account: AccountId,
        blob: Uid,
        checkpoint: &[u8],
        parts: Vec<Part>,
    ) -> Result<Self> {
        let (hash, size) = checkpoint::decode(checkpoint)?;
        if size != parts.iter().map(|part| u64::from(part.plain_len)).sum::<u64>() || parts.len() > MAX_PARTS {
            return Err(Error::Malformed { what: "upload checkpoint", rule: "taken after the parts of the upload" });
        }
        Ok(Self { hash, size, parts, ..Self::new(data_key, account, blob, Algorithm::Sha256) })
    }

    /// Opens the next part and appends its header to `out`.
    ///
    /// # Errors
    /// When a part is open, the blob has [`MAX_PARTS`], or the random source does not answer.
    pub fn begin_part(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.begin_part_under(Header::random()?, out)
    }

    pub(super) fn begin_part_under(&mut self, header: Header, out: &mut Vec<u8>) -> Result<()> {
        if self.open.is_some() {
            return Err(Error::OutOfOrder { rule: "a part ends before the next begins" });
        }
        let too_many = Error::TooLarge { what: "number of parts", limit: MAX_PARTS as u64 };
        let number = u32::try_from(self.parts.len()).ok().filter(|_| self.parts.len() < MAX_PARTS).ok_or(too_many)?;
        let cipher = PartCipher::new(self.data_key.material(), self.account, self.blob, number, header)?;
        out.extend_from_slice(header.bytes());
        self.open = Some(OpenPart { header, cipher, segment: 0, plain_len: 0 });
        Ok(())
    }

    /// Hashes `plain` and appends to `out` each segment that is complete and not the last.
    ///
    /// # Errors
    /// When no part is open, or the part would exceed 4 GiB; nothing is hashed then.
    pub fn write(&mut self, mut plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let part = self.open.as_mut().ok_or(Error::OutOfOrder { rule: "bytes belong to an open part" })?;
        part.plain_len = part.grown_by(plain.len())?;
        self.size += plain.len() as u64;
        while !plain.is_empty() {
            let room = segment_capacity(part.segment) - self.pending.len();
            if room == 0 {
                part.seal(false, &self.pending, out)?;
                self.pending.clear();
                continue;
            }
            let (now, rest) = plain.split_at(room.min(plain.len()));
            // Hashed segment by segment, so that sealing finds the bytes in the cache.
            self.hash.update(now);
            if self.pending.is_empty() && !rest.is_empty() {
                part.seal(false, now, out)?;
            } else {
                self.pending.extend_from_slice(now);
            }
            plain = rest;
        }
        Ok(())
    }

    /// Appends the part's last segment to `out`; the part is whole now.
    ///
    /// # Errors
    /// When no part is open.
    pub fn end_part(&mut self, out: &mut Vec<u8>) -> Result<Part> {
        let mut open = self.open.take().ok_or(Error::OutOfOrder { rule: "a part begins before it ends" })?;
        open.seal(true, &self.pending, out)?;
        self.pending.clear();
        let part = Part { header: open.header, plain_len: open.plain_len };
        self.parts.push(part);
        Ok(part)
    }

    /// Plaintext bytes in the open part; 0 between parts.
    #[must_use]
    pub fn part_len(&self) -> u32 {
        self.open.as_ref().map_or(0, |part| part.plain_len)
    }

    /// Plaintext bytes so far, the open part's included.
    #[must_use]
    pub fn total_len(&self) -> u64 {
        self.size
    }

    /// The hash's state, from which [`Sealer::resume`] goes on.
    ///
    /// It ends with up to 63 bytes of the plaintext.
    ///
    /// # Errors
    /// When a part is open.
    pub fn checkpoint(&self) -> Result<Vec<u8>> {
        if self.open.is_some() {
            return Err(Error::OutOfOrder { rule: "a checkpoint is taken between parts" });
        }
        checkpoint::encode(&self.hash, self.size)
    }

    /// Closes the blob: its hashes, and the data key's commitment to them.
    ///
    /// # Errors
    /// When a part is open, or there is none: an empty blob is one empty part.
    pub fn finish(self) -> Result<Sealing> {
        let Self { data_key, account, blob, hash, size, parts, open, .. } = self;
        if open.is_some() || parts.is_empty() {
            return Err(Error::OutOfOrder { rule: "a blob is finished after its last part" });
        }
        Sealing::make(&data_key, account, blob, hash.finish(), size, parts)
    }

    /// As [`Sealer::finish`], under a digest of this algorithm. What was not hashed with it on the way is read back with
    /// `read`, opened and hashed once more (decision 7).
    ///
    /// # Errors
    /// As [`Sealer::finish`]; what `read` says; [`Error::Tampered`] when the object is not what was sealed.
    pub fn finish_as<E: From<Error>>(
        mut self,
        named: Algorithm,
        read: impl FnMut(&Chunk) -> Result<BytesMut, E>,
    ) -> Result<Sealing, E> {
        let missing = named == Algorithm::Sha512 && self.hash.sha512.is_none();
        if named == Algorithm::Sha256 {
            self.hash.sha512 = None;
        }
        let data_key = self.data_key.clone();
        let Sealing(envelope) = self.finish()?;
        if !missing {
            return Ok(Sealing(envelope));
        }
        let hashes = reread::hashes(&data_key, &envelope, named, read)?;
        let Envelope { account, blob, size, parts, .. } = envelope;
        Ok(Sealing::make(&data_key, account, blob, hashes, size, parts)?)
    }
}

impl OpenPart {
    fn grown_by(&self, more: usize) -> Result<u32> {
        let grown = u32::try_from(more).ok().and_then(|more| self.plain_len.checked_add(more));
        grown.ok_or(Error::TooLarge { what: "part", limit: u64::from(u32::MAX) })
    }

    fn seal(&mut self, last: bool, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.cipher.seal(self.segment, last, plain, out)?;
        // A part is shorter than 2^32 bytes, so the count of its segments does not overflow.
        self.segment += 1;
        Ok(())
    }
}

/// A blob that was hashed and sealed in one pass; only a [`Sealer`] makes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealing(Envelope);

impl Sealing {
    fn make(
        data_key: &DataKey,
        account: AccountId,
        blob: Uid,
        hashes: Hashes,
        size: u64,
        parts: Vec<Part>,
    ) -> Result<Self> {
        let commit = commitment(data_key, account, blob, &hashes, size, SEGMENT_SIZE, &parts)?;
        Ok(Self(Envelope { account, blob, hashes, size, css: SEGMENT_SIZE, parts, commit }))
    }

    /// The digest under which the plaintext is known.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.hashes.name()
    }

    /// What the plaintext hashes to.
    #[must_use]
    pub fn hashes(&self) -> Hashes {
        self.0.hashes
    }

    /// Bytes of plaintext.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// The parts, in order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0.parts
    }

    /// The data key's commitment.
    #[must_use]
    pub fn commit(&self) -> &[u8; 32] {
        &self.0.commit
    }

    /// All of it, as the store keeps it and [`super::Opener`] takes it.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.0
    }
}

/// Seals bytes that are in memory, such as a manifest, as a blob of one part, known by a digest of this algorithm.
///
/// # Errors
/// When there are 4 GiB or more of them, or the random source does not answer.
pub fn seal_bytes(
    data_key: &DataKey,
    account: AccountId,
    blob: Uid,
    plain: &[u8],
    named: Algorithm,
) -> Result<(Vec<u8>, Sealing)> {
    let mut sealer = Sealer::new(data_key, account, blob, named);
    let mut out = Vec::new();
    sealer.begin_part(&mut out)?;
    sealer.write(plain, &mut out)?;
    sealer.end_part(&mut out)?;
    Ok((out, sealer.finish()?))
}

#[cfg(test)]
mod tests {
    use super::{DataKey, Sealer, seal_bytes};
    use crate::keys::{Chunk, Error, open_bytes};
    use crate::names::{AccountId, Algorithm, Digest, Uid};
    use bytes::BytesMut;

    fn sealer(key: &DataKey) -> Sealer {
        Sealer::new(key, AccountId::from_seed(1), Uid::from_bytes([9; 16]), Algorithm::Sha256)
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn the_cut_of_the_writes_does_not_show_in_the_ciphertext() {
        let (key, plain) = (DataKey::random().unwrap(), bytes(200_000));
        let header = crate::keys::Header::random().unwrap();
        let seal = |step: usize| {
            let (mut sealer, mut out) = (sealer(&key), Vec::new());
            sealer.begin_part_under(header, &mut out).unwrap();
            for piece in plain.chunks(step) {
                sealer.write(piece, &mut out).unwrap();
            }
            assert_eq!((sealer.part_len(), sealer.total_len()), (200_000, 200_000));
            sealer.end_part(&mut out).unwrap();
            (out, sealer.finish().unwrap())
        };
        let whole = seal(200_000);
        assert_eq!(whole.1.digest(), Digest::of(&plain));
        assert_eq!(whole.0.len() as u64, whole.1.parts()[0].cipher_len());
        for step in [1, 7, 65_480, 65_520, 65_536, 65_481, 130_999] {
            assert!(seal(step) == whole, "written {step} bytes at a time");
        }
    }

    #[test]
    fn an_upload_resumed_after_each_part_has_the_digest_of_one_that_was_not() {
        let (key, plain) = (DataKey::random().unwrap(), bytes(5 * 70_001));
        let (account, blob) = (AccountId::from_seed(1), Uid::from_bytes([9; 16]));
        let (mut object, mut parts) = (Vec::new(), Vec::new());
        let mut checkpoint = sealer(&key).checkpoint().unwrap();
        for piece in plain.chunks(70_001) {
            // A part that is cut off leaves no trace in what follows.
            let mut lost = Sealer::resume(&key, account, blob, &checkpoint, parts.clone()).unwrap();
            lost.begin_part(&mut Vec::new()).unwrap();
            lost.write(b"bytes that never became durable", &mut Vec::new()).unwrap();

            let mut sealer = Sealer::resume(&key, account, blob, &checkpoint, parts.clone()).unwrap();
            sealer.begin_part(&mut object).unwrap();
            sealer.write(piece, &mut object).unwrap();
            parts.push(sealer.end_part(&mut object).unwrap());
            checkpoint = sealer.checkpoint().unwrap();
        }
        let sealing = Sealer::resume(&key, account, blob, &checkpoint, parts.clone()).unwrap().finish().unwrap();
        assert_eq!((sealing.digest(), sealing.size()), (Digest::of(&plain), plain.len() as u64));
        assert_eq!(open_bytes(&key, sealing.envelope().clone(), &object).unwrap(), plain);

        let mut headers: Vec<_> = parts.iter().map(|part| *part.header.bytes()).collect();
        headers.sort_unstable();
        headers.dedup();
        assert_eq!(headers.len(), 5, "all headers differ");
        assert!(Sealer::resume(&key, account, blob, &checkpoint, parts[..4].to_vec()).is_err());
    }

    #[test]
    fn steps_out_of_order_are_refused() {
        let (key, out) = (DataKey::random().unwrap(), &mut Vec::new());
        let mut sealer = sealer(&key);
        assert!(sealer.write(b"a", out).is_err());
        assert!(sealer.end_part(out).is_err());
        sealer.begin_part(out).unwrap();
        assert!(sealer.begin_part(out).is_err());
        sealer.write(b"a", out).unwrap();
        assert!(sealer.checkpoint().is_err());
        assert!(sealer.finish().is_err(), "a part is open");
        assert!(self::sealer(&key).finish().is_err(), "no part at all");
    }

    #[test]
    fn small_bytes_come_back_whole() {
        let key = DataKey::random().unwrap();
        for len in [0, 1, 4_096, 65_480, 65_481] {
            let plain = bytes(len);
            let (sealed, sealing) =
                seal_bytes(&key, AccountId::from_seed(1), Uid::from_bytes([9; 16]), &plain, Algorithm::Sha256).unwrap();
            assert_eq!(open_bytes(&key, sealing.envelope().clone(), &sealed).unwrap(), plain);
        }
    }

    #[test]
    fn a_blob_gets_the_name_it_is_claimed_under_whatever_was_announced() {
        let (key, plain) = (DataKey::random().unwrap(), bytes(200_000));
        let (account, blob) = (AccountId::from_seed(1), Uid::from_bytes([9; 16]));
        for announced in [Algorithm::Sha256, Algorithm::Sha512] {
            for claimed in [Algorithm::Sha256, Algorithm::Sha512] {
                let (mut sealer, mut object) = (Sealer::new(&key, account, blob, announced), Vec::new());
                sealer.begin_part(&mut object).unwrap();
                sealer.write(&plain, &mut object).unwrap();
                sealer.end_part(&mut object).unwrap();
                let mut reads = 0;
                let read = |chunk: &Chunk| {
                    reads += 1;
                    let start = chunk.file_offset() as usize;
                    Ok::<_, Error>(BytesMut::from(&object[start..start + chunk.file_len()]))
                };
                let sealing = sealer.finish_as(claimed, read).unwrap();
                assert_eq!(sealing.digest(), Digest::hash(claimed, &plain), "{announced:?}, {claimed:?}");
                assert_eq!(sealing.hashes().sha256(), Digest::of(&plain));
                assert_eq!(open_bytes(&key, sealing.envelope().clone(), &object).unwrap(), plain);
                let again = (announced, claimed) == (Algorithm::Sha256, Algorithm::Sha512);
                assert_eq!(reads > 0, again, "read again only when it must be: {announced:?}, {claimed:?}");
            }
        }
    }

    #[test]
    fn what_is_read_back_damaged_gets_no_name() {
        let key = DataKey::random().unwrap();
        let (mut sealer, mut object) = (sealer(&key), Vec::new());
        sealer.begin_part(&mut object).unwrap();
        sealer.write(b"some bytes", &mut object).unwrap();
        sealer.end_part(&mut object).unwrap();
        object[45] ^= 1;
        let read = |_: &Chunk| Ok::<_, Error>(BytesMut::from(&object[..]));
        assert!(matches!(sealer.finish_as(Algorithm::Sha512, read), Err(Error::Tampered { .. })));
    }
}

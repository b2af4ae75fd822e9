//! Opening a blob: the commitment first, then segments; what is not authentic is never handed out.
//!
//! The bytes are not hashed again: they were when they were sealed, and the segments' tags together with the
//! commitment tie them to that digest. A scrubber that distrusts the disk reads all of a blob through this.

use super::envelope::{DataKey, Envelope, MAX_PARTS};
use super::plan::{Chunk, Layout, Plan};
use super::stream::{HEADER_LEN, PartCipher, read_start, segments};
use super::wrap::TAG_LEN;
use super::{Error, Result};
use bytes::{Bytes, BytesMut};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use subtle::ConstantTimeEq;

/// Opens one blob with its data key.
#[derive(Debug)]
pub struct Opener {
    data_key: DataKey,
    envelope: Envelope,
    layout: Arc<Layout>,
    /// The cipher of the part that was read last: a stream reads many chunks of one part.
    current: Mutex<Option<(u32, Arc<PartCipher>)>>,
}

impl Opener {
    /// Verifies that this data key is the one that sealed a blob with this envelope.
    ///
    /// # Errors
    /// [`Error::Tampered`] when the commitment differs: another key, or another digest, size or parts table;
    /// [`Error::Malformed`] when the envelope is none that this release makes.
    pub fn new(data_key: &DataKey, envelope: Envelope) -> Result<Self> {
        if envelope.parts.is_empty() || envelope.parts.len() > MAX_PARTS {
            return Err(Error::Malformed { what: "envelope", rule: "1 to 65,536 parts" });
        }
        let commit = envelope.commitment(data_key)?;
        if !bool::from(commit.ct_eq(&envelope.commit)) {
            return Err(Error::Tampered { what: "the commitment of the blob" });
        }
        let layout = Arc::new(Layout::new(&envelope.parts));
        if layout.size != envelope.size {
            return Err(Error::Malformed { what: "envelope", rule: "the parts add up to the size" });
        }
        Ok(Self { data_key: data_key.clone(), envelope, layout, current: Mutex::new(None) })
    }

    /// What the blob was opened by.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The exact length of the object; one of another length is not the one that was stored.
    #[must_use]
    pub fn stored_len(&self) -> u64 {
        self.layout.stored_len
    }

    /// The reads for a range of the plaintext.
    ///
    /// # Errors
    /// [`Error::Range`] when the range is not inside the blob.
    pub fn plan(&self, range: Range<u64>) -> Result<Plan> {
        Plan::new(&self.layout, range)
    }

    /// Opens one read where it lies and gives the wanted plaintext as slices of it, one per segment, none copied.
    ///
    /// # Errors
    /// [`Error::Tampered`] when any of its segments, or its length, is not what was sealed; nothing of it is
    /// handed out then.
    pub fn open_chunk(&self, chunk: &Chunk, mut sealed: BytesMut) -> Result<Vec<Bytes>> {
        let (cipher, last) = self.part_cipher(chunk.part)?;
        if sealed.len() != chunk.file_len() {
            return Err(Error::Tampered { what: "the length of the object" });
        }
        let mut at = 0;
        if chunk.segments.start == 0 {
            // The key comes from the header in the table, which was committed to; the object's copy has to agree.
            if sealed.get(..HEADER_LEN) != Some(cipher.header().bytes()) {
                return Err(Error::Tampered { what: "the header of a part" });
            }
            at = HEADER_LEN;
        }
        let mut pieces = Vec::with_capacity(chunk.segments.len());
        let (mut skip, mut take) = (chunk.skip, chunk.take);
        for segment in chunk.segments.clone() {
            let end = sealed.len().min(read_start(segment + 1 - chunk.segments.start) as usize);
            cipher.open(segment, segment == last, &mut sealed[at..end])?;
            let plain = at + skip..(at + skip + take).min(end - TAG_LEN);
            (at, skip, take) = (end, 0, take - plain.len());
            pieces.push(plain);
        }
        let opened = sealed.freeze();
        Ok(pieces.into_iter().filter(|piece| !piece.is_empty()).map(|piece| opened.slice(piece)).collect())
    }

    /// The cipher of a part, and the number of its last segment.
    fn part_cipher(&self, number: u32) -> Result<(Arc<PartCipher>, u32)> {
        let foreign = Error::OutOfOrder { rule: "a chunk is opened by the opener that planned it" };
        let part = self.layout.part(number).ok_or(foreign)?.part;
        let last = segments(part.plain_len) - 1;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cipher)) = current.as_ref().filter(|(of, _)| *of == number) {
            return Ok((cipher.clone(), last));
        }
        let Envelope { account, blob, .. } = self.envelope;
        let cipher = Arc::new(PartCipher::new(self.data_key.material(), account, blob, number, part.header)?);
        *current = Some((number, cipher.clone()));
        Ok((cipher, last))
    }
}

/// Opens a whole object that is in memory, such as a manifest.
///
/// # Errors
/// As [`Opener::new`] and [`Opener::open_chunk`].
pub fn open_bytes(data_key: &DataKey, envelope: Envelope, object: &[u8]) -> Result<Vec<u8>> {
    let opener = Opener::new(data_key, envelope)?;
    if opener.stored_len() != object.len() as u64 {
        return Err(Error::Tampered { what: "the length of the object" });
    }
    let mut plain = Vec::with_capacity(object.len());
    for chunk in opener.plan(0..opener.envelope.size)? {
        let start = chunk.file_offset() as usize;
        for piece in opener.open_chunk(&chunk, BytesMut::from(&object[start..start + chunk.file_len()]))? {
            plain.extend_from_slice(&piece);
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::{BytesMut, DataKey, Opener};
    use crate::keys::{Sealer, Sealing};
    use crate::names::{AccountId, Algorithm, Digest, Uid};
    use proptest::prelude::*;

    const SEG: usize = 65_520;
    const FIRST: usize = 65_480;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 % 253) as u8).collect()
    }

    fn seal(key: &DataKey, parts: &[&[u8]]) -> (Vec<u8>, Sealing) {
        let mut sealer = Sealer::new(key, AccountId::from_seed(1), Uid::from_bytes([9; 16]), Algorithm::Sha256);
        let mut object = Vec::new();
        for part in parts {
            sealer.begin_part(&mut object).unwrap();
            sealer.write(part, &mut object).unwrap();
            sealer.end_part(&mut object).unwrap();
        }
        (object, sealer.finish().unwrap())
    }

    fn read(opener: &Opener, object: &[u8], range: std::ops::Range<u64>) -> Vec<u8> {
        let mut plain = Vec::new();
        for chunk in opener.plan(range).unwrap() {
            let start = usize::try_from(chunk.file_offset()).unwrap();
            let sealed = BytesMut::from(&object[start..start + chunk.file_len()]);
            let pieces = opener.open_chunk(&chunk, sealed).unwrap();
            assert_eq!(pieces.iter().map(bytes::Bytes::len).sum::<usize>(), chunk.plain_len());
            plain.extend(pieces.iter().flatten());
        }
        plain
    }

    #[test]
    fn blobs_of_every_border_length_come_back() {
        let key = DataKey::random().unwrap();
        for len in [0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST + SEG - 1, FIRST + SEG, FIRST + SEG + 1, 5 * SEG + 17] {
            let plain = bytes(len);
            let (object, sealing) = seal(&key, &[&plain]);
            assert_eq!(sealing.digest(), Digest::of(&plain));
            let opener = Opener::new(&key, sealing.envelope().clone()).unwrap();
            assert_eq!(opener.stored_len(), object.len() as u64);
            assert!(read(&opener, &object, 0..len as u64) == plain, "{len} bytes");
        }
    }

    #[test]
    fn a_blob_of_many_parts_comes_back() {
        let (key, plain) = (DataKey::random().unwrap(), bytes(2_500_000));
        let cuts = [&plain[..1], &plain[1..1], &plain[1..1_400_000], &plain[1_400_000..1_465_480], &plain[1_465_480..]];
        let (object, sealing) = seal(&key, &cuts);
        let opener = Opener::new(&key, sealing.envelope().clone()).unwrap();
        assert!(read(&opener, &object, 0..2_500_000) == plain);
    }

    #[test]
    fn opening_does_not_copy() {
        let (key, plain) = (DataKey::random().unwrap(), bytes(200_000));
        let (object, sealing) = seal(&key, &[&plain]);
        let opener = Opener::new(&key, sealing.envelope().clone()).unwrap();
        let chunk = opener.plan(0..200_000).unwrap().next().unwrap();
        let sealed = BytesMut::from(&object[..chunk.file_len()]);
        let start = sealed.as_ptr();
        let pieces = opener.open_chunk(&chunk, sealed).unwrap();
        assert_eq!(pieces.len(), 4);
        assert_eq!(pieces[0].as_ptr(), start.wrapping_add(40));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_range_equals_the_slice(
            lengths in prop::collection::vec(prop_oneof![0_usize..3, 65_400..65_600_usize, 0..1_300_000_usize], 1..5),
            from in any::<prop::sample::Index>(),
            to in any::<prop::sample::Index>(),
            close in any::<bool>(),
        ) {
            let key = DataKey::random().unwrap();
            let plain = bytes(lengths.iter().sum());
            let mut rest = plain.as_slice();
            let parts: Vec<_> = lengths.iter().map(|len| rest.split_off(..*len).unwrap()).collect();
            let (object, sealing) = seal(&key, &parts);
            let opener = Opener::new(&key, sealing.envelope().clone()).unwrap();
            let start = from.index(plain.len() + 1);
            let span = (plain.len() - start).min(if close { 40 } else { usize::MAX });
            let end = start + to.index(span + 1);
            prop_assert!(read(&opener, &object, start as u64..end as u64) == plain[start..end], "{start}..{end}");
        }
    }
}

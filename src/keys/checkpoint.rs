//! The state of the hashes between two parts, in an encoding of our own.
//!
//! The hash library serialises its states too, but promises that layout only within one minor series; an upload must
//! survive an upgrade of the server. The last bytes are up to 127 bytes of the *plaintext*: whoever stores a
//! checkpoint stores them.

use super::hashes::Hashing;
use super::{Error, Result};
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Sha256, Sha512};

/// `u8 1 | u8 1 | h[8] u32le | u64be length | the last (length mod 64) bytes`, or with SHA-512 beside it
/// `u8 1 | u8 2 | h[8] u32le | h[8] u64le | u64be length | the last (length mod 128) bytes`.
pub(super) fn encode(hash: &Hashing, length: u64) -> Result<Vec<u8>> {
    let (state, tail) = split(&hash.sha256.serialize(), &SHORT, length)?;
    let mut out = vec![VERSION, SHA256];
    out.extend_from_slice(&state);
    let mut tail = tail;
    if let Some(sha512) = &hash.sha512 {
        out[1] = SHA256_AND_SHA512;
        let (state, long) = split(&sha512.serialize(), &LONG, length)?;
        out.extend_from_slice(&state);
        tail = long;
    }
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&tail);
    Ok(out)
}

/// Reads what [`encode`] made: the hashes and how many bytes they have seen.
pub(super) fn decode(bytes: &[u8]) -> Result<(Hashing, u64)> {
    let malformed = |rule| Error::Malformed { what: "upload checkpoint", rule };
    let (head, rest) = bytes.split_first_chunk::<2>().ok_or(malformed("two bytes of version and algorithm"))?;
    let both = match head {
        [VERSION, SHA256] => false,
        [VERSION, SHA256_AND_SHA512] => true,
        _ => return Err(malformed("version 1, algorithm 1 or 2")),
    };
    let too_short = || malformed("the states, a length and a tail");
    let (short, rest) = rest.split_at_checked(SHORT.state).ok_or_else(too_short)?;
    let (long, rest) = rest.split_at_checked(if both { LONG.state } else { 0 }).ok_or_else(too_short)?;
    let (length, tail) = rest.split_first_chunk::<8>().ok_or_else(too_short)?;
    let length = u64::from_be_bytes(*length);
    if tail.len() != if both { LONG.tail_len(length) } else { SHORT.tail_len(length) } {
        return Err(malformed("a tail of the length modulo the block"));
    }
    let broken = Error::Crypto { what: "restoring the state of the hash" };
    let mut state = SerializedState::<Sha256>::default();
    join(&mut state, &SHORT, short, length, &tail[tail.len() - SHORT.tail_len(length)..]);
    let sha256 = Sha256::deserialize(&state).map_err(|_| broken.clone())?;
    let mut sha512 = None;
    if both {
        let mut state = SerializedState::<Sha512>::default();
        join(&mut state, &LONG, long, length, tail);
        sha512 = Some(Sha512::deserialize(&state).map_err(|_| broken)?);
    }
    Ok((Hashing { sha256, sha512 }, length))
}

/// How the library lays a hash's state out: `h`, the count of blocks, the tail's length, the tail.
struct Layout {
    state: usize,
    count: usize,
    block: u64,
}

impl Layout {
    fn tail_len(&self, length: u64) -> usize {
        (length % self.block) as usize
    }

    fn tail_at(&self) -> usize {
        self.state + self.count + 1
    }
}

const SHORT: Layout = Layout { state: 32, count: 8, block: 64 };
const LONG: Layout = Layout { state: 64, count: 16, block: 128 };

/// State and tail of a hash that has seen `length` bytes.
fn split(library: &[u8], layout: &Layout, length: u64) -> Result<(Vec<u8>, Vec<u8>)> {
    let (at, tail_len) = (layout.tail_at(), layout.tail_len(length));
    if usize::from(library[at - 1]) != tail_len {
        return Err(Error::Crypto { what: "reading the state of the hash" });
    }
    Ok((library[..layout.state].to_vec(), library[at..at + tail_len].to_vec()))
}

fn join(library: &mut [u8], layout: &Layout, state: &[u8], length: u64, tail: &[u8]) {
    let at = layout.tail_at();
    library[..layout.state].copy_from_slice(state);
    library[layout.state..layout.state + 8].copy_from_slice(&(length / layout.block).to_le_bytes());
    library[at - 1] = tail.len() as u8;
    library[at..at + tail.len()].copy_from_slice(tail);
}

const VERSION: u8 = 1;
const SHA256: u8 = 1;
const SHA256_AND_SHA512: u8 = 2;

#[cfg(test)]
mod tests {
    use super::{Hashing, decode, encode};
    use crate::names::{Algorithm, Digest};

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    fn hashed(named: Algorithm, bytes: &[u8]) -> Hashing {
        let mut hash = Hashing::new(named);
        hash.update(bytes);
        hash
    }

    #[test]
    fn a_hash_continues_from_any_checkpoint() {
        let all = bytes(400);
        for (named, fixed, block) in [(Algorithm::Sha256, 42, 64), (Algorithm::Sha512, 106, 128)] {
            for cut in [0, 1, 55, 56, 63, 64, 65, 111, 112, 127, 128, 129, 192, 200, 256, 400] {
                let checkpoint = encode(&hashed(named, &all[..cut]), cut as u64).unwrap();
                assert_eq!(checkpoint.len(), fixed + cut % block);
                let (mut hash, length) = decode(&checkpoint).unwrap();
                assert_eq!(length, cut as u64);
                hash.update(&all[cut..]);
                let hashes = hash.finish();
                assert_eq!(hashes.name(), Digest::hash(named, &all), "cut at {cut}");
                assert_eq!(hashes.sha256(), Digest::of(&all), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_stored_checkpoint_of_an_older_release_is_still_read() {
        // SHA-256 after 64 bytes `a` and with `bc` pending, computed without the hash library.
        let stored = hex::decode(include_str!("../../tests/vectors/checkpoint-v1.hex").trim()).unwrap();
        let (mut hash, length) = decode(&stored).unwrap();
        assert_eq!(length, 66);
        let text = [vec![b'a'; 64], b"bcdef".to_vec()].concat();
        hash.update(b"def");
        assert_eq!(hash.finish().name(), Digest::of(&text));
        assert_eq!(encode(&hashed(Algorithm::Sha256, &text[..66]), 66).unwrap(), stored);
    }

    #[test]
    fn malformed_checkpoints_are_refused() {
        for (named, fixed) in [(Algorithm::Sha256, 42), (Algorithm::Sha512, 106)] {
            let good = encode(&hashed(named, &bytes(70)), 70).unwrap();
            assert!(decode(&good).is_ok());
            let edit = |at: usize, to: u8| {
                let mut bad = good.clone();
                bad[at] = to;
                bad
            };
            let cut = |at: usize| good[..at].to_vec();
            for bad in [
                vec![],
                cut(1),
                cut(fixed - 1),
                cut(fixed + 5),
                [&good[..], &[0]].concat(),
                edit(0, 2),
                edit(1, 3),
                edit(fixed - 1, 7),
            ] {
                assert!(decode(&bad).is_err(), "{} bytes", bad.len());
            }
            assert!(encode(&hashed(named, &bytes(70)), 71).is_err());
        }
    }
}

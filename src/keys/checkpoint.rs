//! The state of a SHA-256 computation between two parts, in an encoding of our own.
//!
//! The hash library serialises its state too, but promises that layout only within one minor series; an upload must
//! survive an upgrade of the server. The last bytes are up to 63 bytes of the *plaintext*: whoever stores a
//! checkpoint stores them.

use super::{Error, Result};
use sha2::Sha256;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

/// `u8 1 | u8 1 | h[8] u32le | u64be length | the last (length mod 64) bytes`.
pub(super) fn encode(hash: &Sha256, length: u64) -> Result<Vec<u8>> {
    let state = hash.serialize();
    let tail_len = usize::from(state[LIBRARY_TAIL_LEN]);
    if tail_len != tail_len_of(length) {
        return Err(Error::Crypto { what: "reading the state of the hash" });
    }
    let mut out = Vec::with_capacity(FIXED_LEN + tail_len);
    out.extend_from_slice(&[VERSION, SHA256]);
    out.extend_from_slice(&state[..STATE_LEN]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&state[LIBRARY_TAIL..LIBRARY_TAIL + tail_len]);
    Ok(out)
}

/// Reads what [`encode`] made: the hash and how many bytes it has seen.
pub(super) fn decode(bytes: &[u8]) -> Result<(Sha256, u64)> {
    let malformed = |rule| Error::Malformed { what: "upload checkpoint", rule };
    let (fixed, tail) = bytes.split_first_chunk::<FIXED_LEN>().ok_or(malformed("at least 42 bytes"))?;
    if fixed[..2] != [VERSION, SHA256] {
        return Err(malformed("version 1, algorithm 1"));
    }
    let mut length = [0; 8];
    length.copy_from_slice(&fixed[2 + STATE_LEN..]);
    let length = u64::from_be_bytes(length);
    let tail_len = u8::try_from(tail.len()).ok().filter(|_| tail.len() == tail_len_of(length));
    let tail_len = tail_len.ok_or(malformed("a tail of the length modulo 64 bytes"))?;

    let mut state = SerializedState::<Sha256>::default();
    state[..STATE_LEN].copy_from_slice(&fixed[2..2 + STATE_LEN]);
    state[STATE_LEN..LIBRARY_TAIL_LEN].copy_from_slice(&(length / BLOCK_LEN).to_le_bytes());
    state[LIBRARY_TAIL_LEN] = tail_len;
    state[LIBRARY_TAIL..LIBRARY_TAIL + tail.len()].copy_from_slice(tail);
    let hash = Sha256::deserialize(&state).map_err(|_| Error::Crypto { what: "restoring the state of the hash" })?;
    Ok((hash, length))
}

fn tail_len_of(length: u64) -> usize {
    (length % BLOCK_LEN) as usize
}

const VERSION: u8 = 1;
const SHA256: u8 = 1;
const BLOCK_LEN: u64 = 64;
/// Bytes of `h`.
const STATE_LEN: usize = 32;
/// Bytes before the tail in our encoding.
const FIXED_LEN: usize = 2 + STATE_LEN + 8;
/// In the library's layout: after `h` and the count of blocks comes the tail's length, then the tail.
const LIBRARY_TAIL_LEN: usize = STATE_LEN + 8;
const LIBRARY_TAIL: usize = LIBRARY_TAIL_LEN + 1;

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use sha2::{Digest, Sha256};

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn a_hash_continues_from_any_checkpoint() {
        let all = bytes(300);
        for cut in [0, 1, 55, 56, 63, 64, 65, 127, 128, 200, 300] {
            let checkpoint = encode(&Sha256::new_with_prefix(&all[..cut]), cut as u64).unwrap();
            assert_eq!(checkpoint.len(), 42 + cut % 64);
            let (hash, length) = decode(&checkpoint).unwrap();
            assert_eq!(length, cut as u64);
            assert_eq!(hash.chain_update(&all[cut..]).finalize(), Sha256::digest(&all), "cut at {cut}");
        }
    }

    #[test]
    fn a_stored_checkpoint_of_an_older_release_is_still_read() {
        // SHA-256 after 64 bytes `a` and with `bc` pending, computed without the hash library.
        let stored = hex::decode(include_str!("../../tests/vectors/checkpoint-v1.hex").trim()).unwrap();
        let (hash, length) = decode(&stored).unwrap();
        assert_eq!(length, 66);
        let text = [vec![b'a'; 64], b"bcdef".to_vec()].concat();
        assert_eq!(hash.chain_update(b"def").finalize(), Sha256::digest(&text));
        assert_eq!(encode(&Sha256::new_with_prefix(&text[..66]), 66).unwrap(), stored);
    }

    #[test]
    fn malformed_checkpoints_are_refused() {
        let good = encode(&Sha256::new_with_prefix(bytes(70)), 70).unwrap();
        assert!(decode(&good).is_ok());
        let edit = |at: usize, to: u8| {
            let mut bad = good.clone();
            bad[at] = to;
            bad
        };
        for bad in
            [vec![], good[..41].to_vec(), good[..47].to_vec(), [&good[..], &[0]].concat(), edit(0, 2), edit(1, 2)]
        {
            assert!(decode(&bad).is_err(), "{} bytes", bad.len());
        }
        assert!(decode(&edit(41, 7)).is_err(), "a length that disagrees with the tail");
        assert!(encode(&Sha256::new_with_prefix(bytes(70)), 71).is_err());
    }
}

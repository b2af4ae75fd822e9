//! Sealed messages: what a refusal was about, for who may know it.
//!
//! The text is `tm1.` and base64url of the same form as a token's, under a key of another purpose, so that no message is a
//! token. What is sealed has one size, whatever it says: `u16be length | deflated | zeros`. Nothing of it can be told from
//! its length.

use super::deflated::{deflate, inflate};
use super::token::{Purpose, TokenKeys};

/// What every message's text begins with.
const PREFIX: &str = "tm1.";
/// The longest text that is read, in bytes.
// SPEC: STS API, `DecodeAuthorizationMessage`, `EncodedMessage`.
pub const MESSAGE_BYTES_MAX: usize = 10_240;
/// Bytes of every message inside the seal.
const SEALED_BYTES: usize = 1_536;
/// The longest message that is opened, in bytes.
const OPENED_BYTES_MAX: usize = 64 << 10;

impl TokenKeys {
    /// Seals a message; `None` when it does not fit.
    #[must_use]
    pub fn seal_message(&self, message: &[u8]) -> Option<String> {
        let deflated = deflate(message);
        let length = u16::try_from(deflated.len()).ok().filter(|_| deflated.len() + 2 <= SEALED_BYTES)?;
        let mut padded = length.to_be_bytes().to_vec();
        padded.extend(deflated);
        padded.resize(SEALED_BYTES, 0);
        Some(format!("{PREFIX}{}", self.seal_for(Purpose::Message, padded)))
    }

    /// Opens a message; `None` for whatever this organization did not seal as one.
    #[must_use]
    pub fn open_message(&self, text: &str) -> Option<Vec<u8>> {
        let encoded = text.strip_prefix(PREFIX).filter(|_| text.len() <= MESSAGE_BYTES_MAX)?;
        let (padded, _) = self.unseal_for(Purpose::Message, encoded, SEALED_BYTES)?;
        let (length, rest) = padded.split_first_chunk::<2>()?;
        inflate(rest.get(..usize::from(u16::from_be_bytes(*length)))?, OPENED_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{TokenKey, TokenKeys};
    use crate::clock::Clock;
    use crate::secret::Secret;

    fn keys() -> TokenKeys {
        let clock = Clock::system();
        TokenKeys::new(clock.uid(), TokenKey { id: 1, secret: Secret::new([7; 32]) }, Vec::new(), clock)
    }

    #[test]
    fn a_message_comes_back_and_its_length_says_nothing() {
        let keys = keys();
        let long = "no statement allows it; ".repeat(200);
        let sealed: Vec<String> =
            ["", "a", long.as_str()].iter().map(|text| keys.seal_message(text.as_bytes()).unwrap()).collect();
        assert!(sealed.iter().all(|text| text.len() == sealed[0].len()));
        assert_eq!(keys.open_message(&sealed[2]).unwrap(), long.as_bytes());
        assert_eq!(keys.open_message(&sealed[0]).unwrap(), b"");
        let noise: Vec<u8> = (0..4_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_be_bytes()).collect();
        assert_eq!(keys.seal_message(&noise), None);
    }

    #[test]
    fn a_message_that_was_changed_or_is_another_organizations_or_a_token_opens_nothing() {
        let (ours, theirs) = (keys(), keys());
        let sealed = ours.seal_message(b"secret").unwrap();
        assert_eq!(theirs.open_message(&sealed), None);
        for at in 4..sealed.len() - 1 {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(ours.open_message(std::str::from_utf8(&bytes).unwrap()), None, "changed at {at}");
        }
        for bad in ["", "tm1.", &sealed[4..], &sealed[..sealed.len() - 4], &sealed.replacen("tm1.", "ts1.", 1)] {
            assert_eq!(ours.open_message(bad), None, "{bad}");
        }
        // The other way round: no message is a token.
        let as_token = sealed.replacen("tm1.", "ts1.", 1);
        assert!(ours.open(&as_token, Clock::system().now()).is_err());
    }
}

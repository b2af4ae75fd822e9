//! The ids by which AWS clients know keys and principals.
//!
//! An id is public: it carries no secret and proves nothing.

/// The prefix of a user's own access keys.
pub const LONG_TERM_KEY: &str = "AKIA";
/// The prefix of a session's access keys.
pub const TEMPORARY_KEY: &str = "ASIA";

/// Characters of an access key id.
pub const ACCESS_KEY_ID_LENGTH: usize = 20;

/// An access key id for a user: `AKIA` and 16 characters.
#[must_use]
pub fn access_key_id(random: [u8; 10]) -> String {
    id(LONG_TERM_KEY, &random, 16)
}

/// An access key id for a session: `ASIA` and 16 characters; `token` derives the bytes from the session.
#[must_use]
pub(super) fn temporary_key_id(derived: [u8; 10]) -> String {
    id(TEMPORARY_KEY, &derived, 16)
}

/// A user's unique id: `AIDA` and 17 characters.
#[must_use]
pub fn user_id(random: [u8; 11]) -> String {
    id("AIDA", &random, 17)
}

/// A role's unique id: `AROA` and 17 characters.
#[must_use]
pub fn role_id(random: [u8; 11]) -> String {
    id("AROA", &random, 17)
}

/// Whether a text is an access key id and so may be written down; a secret in its place is not.
#[must_use]
pub fn is_access_key_id(text: &str) -> bool {
    let known = text.starts_with(LONG_TERM_KEY) || text.starts_with(TEMPORARY_KEY);
    known
        && text.len() == ACCESS_KEY_ID_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte))
}

/// Bytes as base32, without padding.
#[must_use]
pub(super) fn base32(bytes: &[u8]) -> String {
    id("", bytes, (bytes.len() * 8).div_ceil(5))
}

/// SPEC: RFC 4648 base32 without padding, cut to `length`.
fn id(prefix: &str, bytes: &[u8], length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    let digit = |at: usize| (0..5).fold(0, |digit, offset| digit * 2 + usize::from(bit(at * 5 + offset)));
    prefix.chars().chain((0..length).map(|at| char::from(ALPHABET[digit(at)]))).collect()
}

#[cfg(test)]
mod tests {
    use super::{access_key_id, id, is_access_key_id, role_id, user_id};

    #[test]
    fn ids_have_the_forms_clients_expect() {
        // SPEC: RFC 4648 section 10, "foobar".
        assert_eq!(id("", b"foobar", 10), "MZXW6YTBOI");
        assert_eq!(access_key_id([0; 10]), "AKIAAAAAAAAAAAAAAAAA");
        assert_eq!(access_key_id([255; 10]), "AKIA7777777777777777");
        assert_eq!(user_id([255; 11]), "AIDA77777777777777777");
        assert_eq!(role_id([0; 11]), "AROAAAAAAAAAAAAAAAAAA");
    }

    #[test]
    fn only_what_cannot_be_a_secret_is_an_access_key_id() {
        assert!(is_access_key_id(&access_key_id([77; 10])));
        assert!(is_access_key_id("ASIAAAAAAAAAAAAAAAAA"));
        for bad in [
            "",
            "AKIA",
            "AIDAAAAAAAAAAAAAAAAA",
            "AKIAAAAAAAAAAAAAAAAA7",
            "AKIAaaaaaaaaaaaaaaaa",
            "wJalrXUtnFEMIK7MDENG",
        ] {
            assert!(!is_access_key_id(bad), "{bad:?}");
        }
    }
}

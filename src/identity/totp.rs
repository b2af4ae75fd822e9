//! One-time codes of virtual MFA devices.
//!
//! SPEC: RFC 6238 with HMAC-SHA-1, 30 seconds and 6 digits, as authenticator programs have it and AWS's devices too.

use super::ids::base32;
use crate::clock::Timestamp;
use crate::names::MfaDeviceRef;
use crate::secret::Secret;
use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use subtle::ConstantTimeEq;

/// Bytes of a secret.
pub const SECRET_BYTES: usize = 20;
/// Digits of a code.
pub const DIGITS: usize = 6;
const STEP_SECS: i64 = 30;
/// Steps before and after the present one whose codes are taken, for clocks that differ.
const SKEW: i64 = 1;

/// The code of a step.
fn code(secret: &[u8], step: i64) -> String {
    let tag = sign(&Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret), &step.to_be_bytes());
    let bytes = tag.as_ref();
    let offset = usize::from(bytes.last().copied().unwrap_or_default() & 0xf);
    let four = bytes.iter().skip(offset).take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    format!("{:06}", (four & 0x7fff_ffff) % 1_000_000)
}

/// The time step of a code that is good now; every step is tried, so that the time says nothing.
#[must_use]
pub fn step_of(secret: &Secret<Vec<u8>>, shown: &str, now: Timestamp) -> Option<i64> {
    let present = now.secs().div_euclid(STEP_SECS);
    let mut found = None;
    for step in present - SKEW..=present + SKEW {
        if bool::from(code(secret.expose(), step).as_bytes().ct_eq(shown.as_bytes())) {
            found = Some(step);
        }
    }
    found
}

/// The time step of the second of two codes that follow each other, if it is good now: who shows them has the device.
#[must_use]
pub fn follow(secret: &Secret<Vec<u8>>, first: &str, second: &str, now: Timestamp) -> Option<i64> {
    let step = step_of(secret, second, now)?;
    bool::from(code(secret.expose(), step - 1).as_bytes().ct_eq(first.as_bytes())).then_some(step)
}

/// The secret as people type it into a device.
#[must_use]
pub fn seed(secret: &Secret<Vec<u8>>) -> Secret<String> {
    Secret::new(base32(secret.expose()))
}

/// The secret as a device reads it from a picture.
// SPEC: the key URI format of authenticator programs.
#[must_use]
pub fn uri(device: &MfaDeviceRef, user: &str, secret: &Secret<Vec<u8>>) -> Secret<String> {
    let label = format!("transship:{user}@{}", device.account);
    let label = utf8_percent_encode(&label, NON_ALPHANUMERIC);
    Secret::new(format!("otpauth://totp/{label}?secret={}&issuer=transship", seed(secret).expose()))
}

#[cfg(test)]
mod tests {
    use super::{follow, step_of};
    use crate::clock::Timestamp;
    use crate::secret::Secret;

    #[test]
    fn codes_are_those_of_the_standard() {
        // SPEC: RFC 6238, appendix B, SHA-1; the last six of its eight digits.
        let secret = Secret::new(b"12345678901234567890".to_vec());
        for (secs, shown) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let at = |secs| Timestamp::from_secs(secs);
            assert_eq!(step_of(&secret, shown, at(secs)), Some(secs / 30));
            assert_eq!(step_of(&secret, shown, at(secs + 30)), Some(secs / 30), "a slow clock");
            assert_eq!(step_of(&secret, shown, at(secs - 30)), Some(secs / 30), "a fast clock");
            assert_eq!(step_of(&secret, shown, at(secs + 60)), None);
            assert_eq!(step_of(&secret, shown, at(secs - 60)), None);
        }
        let followed = |first, second| follow(&secret, first, second, Timestamp::from_secs(1_111_111_111));
        assert_eq!(followed("081804", "050471"), Some(1_111_111_111 / 30));
        assert_eq!(followed("050471", "081804"), None);
        assert_eq!(followed("050471", "050471"), None);
        for bad in ["", "05047", "0504710", "abcdef"] {
            assert_eq!(step_of(&secret, bad, Timestamp::from_secs(1_111_111_111)), None, "{bad}");
        }
    }
}

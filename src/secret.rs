//! Secrets that cannot be printed, compared in variable time or left in memory.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret value: no `Display`, a redacted `Debug`, wiped on drop.
///
/// The only way to the value is [`Secret::expose`], so every use can be found by that word.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes a value under protection.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself; do not store, log or compare it with `==`.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

/// The secret half of an access key: 30 random bytes as 40 characters of base64.
#[must_use]
pub fn secret_access_key(random: [u8; 30]) -> Secret<String> {
    Secret::new(STANDARD_NO_PAD.encode(random))
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "Secret(…)");
    }
}

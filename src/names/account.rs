//! Account numbers.

use super::{Error, text_name};

/// A 12-digit account number, as AWS writes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId([u8; 12]);

impl AccountId {
    /// Parses exactly twelve ASCII digits.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match <[u8; 12]>::try_from(text.as_bytes()) {
            Ok(digits) if digits.iter().all(u8::is_ascii_digit) => Ok(Self(digits)),
            _ => Err(Error::new("account id", text, "exactly 12 digits")),
        }
    }

    /// The twelve digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // INVARIANT: `parse` admits ASCII digits only.
        std::str::from_utf8(&self.0).expect("account ids are ASCII digits")
    }

    /// The account number that a 64-bit seed denotes; for tests and `dev`, which number accounts by name.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let text = format!("{:012}", 100_000_000_000 + seed % 900_000_000_000);
        Self::parse(&text).expect("twelve digits by construction")
    }
}

text_name!(AccountId);

#[cfg(test)]
mod tests {
    use super::AccountId;

    #[test]
    fn twelve_digits_and_nothing_else() {
        assert_eq!(AccountId::parse("111122223333").unwrap().as_str(), "111122223333");
        for bad in ["", "11112222333", "1111222233334", "11112222333a", "１１１１", " 11122223333"] {
            assert!(AccountId::parse(bad).is_err(), "{bad:?}");
        }
    }
}

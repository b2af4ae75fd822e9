//! Names of regions; whether one is part of the organization is another question.

use super::{Error, text_name};
use std::sync::Arc;

/// The name of a region: lower-case letters, digits and inner hyphens, 2 to 32 characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region(Arc<str>);

impl Region {
    /// Parses a region name such as `us-east-1`.
    ///
    /// # Errors
    /// When the text has another form.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bytes = text.as_bytes();
        let shape = bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        let ends = bytes.first().is_some_and(u8::is_ascii_lowercase) && bytes.last() != Some(&b'-');
        if shape && ends && (2..=32).contains(&bytes.len()) {
            Ok(Self(text.into()))
        } else {
            Err(Error::new("region", text, "2-32 characters a-z, 0-9 and inner hyphens, a letter first"))
        }
    }

    /// The region's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(Region);

//! Tags, and patterns over them.

use super::{Error, text_name};
use std::sync::Arc;

/// An image tag.
///
/// SPEC: OCI distribution-spec 1.1, "Pulling manifests": `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

impl Tag {
    /// Parses a tag.
    ///
    /// # Errors
    /// When the text is empty, longer than 128 characters or holds another character.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bytes = text.as_bytes();
        let first = bytes.first().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let rest = bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b));
        if first && rest && bytes.len() <= 128 {
            Ok(Self(text.into()))
        } else {
            Err(Error::new("tag", text, "1-128 characters A-Z a-z 0-9 . _ -, not beginning with . or -"))
        }
    }

    /// The tag's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(Tag);

/// A pattern over tags: the characters of a tag plus `*` (any run) and `?` (one character), 1 to 128 long.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TagPattern(Arc<str>);

impl TagPattern {
    /// Parses a tag pattern.
    ///
    /// # Errors
    /// When the text is empty, too long or holds a character that no tag and no wildcard has.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-*?".contains(&b));
        if fits && (1..=128).contains(&text.len()) {
            Ok(Self(text.into()))
        } else {
            Err(Error::new("tag pattern", text, "1-128 characters of a tag, with * and ? as wildcards"))
        }
    }

    /// The pattern's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(TagPattern);

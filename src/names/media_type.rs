//! Media types as text that is well formed; nothing here knows what any of them means.

use super::{Error, text_name};
use std::sync::Arc;

/// The media type of a manifest, config or layer.
///
/// SPEC: RFC 6838 section 4.2: `type/subtype`, restricted characters, at most 127 each; parameters are refused.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaType(Arc<str>);

impl MediaType {
    /// Parses a media type without parameters.
    ///
    /// # Errors
    /// When the text has another form.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let part = |s: &str| {
            (1..=127).contains(&s.len())
                && s.as_bytes()[0].is_ascii_alphanumeric()
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        match text.split_once('/') {
            Some((kind, subtype)) if part(kind) && part(subtype) => Ok(Self(text.into())),
            _ => Err(Error::new("media type", text, "type/subtype by RFC 6838, without parameters")),
        }
    }

    /// The media type's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(MediaType);

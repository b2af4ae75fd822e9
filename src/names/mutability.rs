//! Whether the tags of a repository may be moved.

use super::{Error, text_name};
use std::fmt;
use std::sync::Arc;

/// Filters of one repository; Amazon ECR takes as many.
const FILTERS_MAX: usize = 5;

/// A filter over tags, in which `*` stands for any run of characters.
///
/// SPEC: Amazon ECR API, `ImageTagMutabilityExclusionFilter`: `[0-9a-zA-Z._*-]{1,128}`, of type `WILDCARD`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TagFilter(Arc<str>);

impl TagFilter {
    /// Parses a filter.
    ///
    /// # Errors
    /// When the text is empty, longer than 128 characters or holds another character.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._*-".contains(&b));
        if fits && (1..=128).contains(&text.len()) {
            Ok(Self(text.into()))
        } else {
            Err(Error::new("tag filter", text, "1-128 characters A-Z a-z 0-9 . _ - and * for any run of them"))
        }
    }

    /// The filter's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(TagFilter);

/// Whether the tags of a repository may be moved.
///
/// SPEC: Amazon ECR API, `PutImageTagMutability`. Its text is ECR's word, followed by the filters, if any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TagMutability {
    /// Every tag may.
    #[default]
    Mutable,
    /// No tag may.
    Immutable,
    /// Every tag may, except those that a filter matches.
    MutableExcept(Vec<TagFilter>),
    /// No tag may, except those that a filter matches.
    ImmutableExcept(Vec<TagFilter>),
}

impl TagMutability {
    /// ECR's word and the filters.
    ///
    /// # Errors
    /// When the word is unknown, or there are filters where there can be none, or not 1 to 5 where there must be.
    pub fn new(mode: &str, filters: Vec<TagFilter>) -> Result<Self, Error> {
        let rule = "MUTABLE or IMMUTABLE without filters, MUTABLE_WITH_EXCLUSION or IMMUTABLE_WITH_EXCLUSION with 1-5";
        match (mode, filters.len()) {
            ("MUTABLE", 0) => Ok(Self::Mutable),
            ("IMMUTABLE", 0) => Ok(Self::Immutable),
            ("MUTABLE_WITH_EXCLUSION", 1..=FILTERS_MAX) => Ok(Self::MutableExcept(filters)),
            ("IMMUTABLE_WITH_EXCLUSION", 1..=FILTERS_MAX) => Ok(Self::ImmutableExcept(filters)),
            _ => Err(Error::new("tag mutability", mode, rule)),
        }
    }

    /// Parses ECR's word followed by the filters, a space before each.
    ///
    /// # Errors
    /// As [`TagMutability::new`], or when a filter is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut words = text.split(' ');
        let mode = words.next().unwrap_or_default();
        Self::new(mode, words.map(TagFilter::parse).collect::<Result<_, _>>()?)
    }

    /// ECR's word.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match self {
            Self::Mutable => "MUTABLE",
            Self::Immutable => "IMMUTABLE",
            Self::MutableExcept(_) => "MUTABLE_WITH_EXCLUSION",
            Self::ImmutableExcept(_) => "IMMUTABLE_WITH_EXCLUSION",
        }
    }

    /// The filters.
    #[must_use]
    pub fn filters(&self) -> &[TagFilter] {
        match self {
            Self::Mutable | Self::Immutable => &[],
            Self::MutableExcept(filters) | Self::ImmutableExcept(filters) => filters,
        }
    }
}

impl fmt::Display for TagMutability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mode())?;
        self.filters().iter().try_for_each(|filter| write!(f, " {filter}"))
    }
}

impl std::str::FromStr for TagMutability {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

super::text_serde!(TagMutability);

#[cfg(test)]
mod tests {
    use super::TagMutability;

    #[test]
    fn the_four_modes_print_as_they_were_read() {
        for text in
            ["MUTABLE", "IMMUTABLE", "MUTABLE_WITH_EXCLUSION v*", "IMMUTABLE_WITH_EXCLUSION latest dev-* *-rc a_b c.d"]
        {
            assert_eq!(TagMutability::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_mode_has_filters_if_it_must_and_never_otherwise() {
        for text in [
            "",
            "mutable",
            "MUTABLE v*",
            "IMMUTABLE v*",
            "MUTABLE_WITH_EXCLUSION",
            "IMMUTABLE_WITH_EXCLUSION",
            "IMMUTABLE_WITH_EXCLUSION a b c d e f",
            "IMMUTABLE_WITH_EXCLUSION a?",
            "IMMUTABLE_WITH_EXCLUSION  a",
        ] {
            assert!(TagMutability::parse(text).is_err(), "{text:?}");
        }
    }
}

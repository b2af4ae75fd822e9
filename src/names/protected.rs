//! What a lock can be on.

use super::{Digest, Error, Tag, text_serde};
use std::fmt;

/// What a lock protects. Its text is the tag or the digest, which has a colon as no tag has, or empty for the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protected {
    /// The repository and every image in it.
    Repository,
    /// The tag, where it points, and the image it points at.
    Tag(Tag),
    /// The image.
    Digest(Digest),
}

impl Protected {
    /// Parses a tag, a digest, or nothing.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "" => Ok(Self::Repository),
            _ if text.contains(':') => Ok(Self::Digest(Digest::parse(text)?)),
            _ => Ok(Self::Tag(Tag::parse(text)?)),
        }
    }
}

impl fmt::Display for Protected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository => Ok(()),
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl std::str::FromStr for Protected {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

text_serde!(Protected);

#[cfg(test)]
mod tests {
    use super::{Digest, Protected};

    #[test]
    fn a_lock_is_on_a_tag_a_digest_or_all_and_prints_as_it_was_read() {
        let digest = Digest::of(b"image").to_string();
        for text in ["", "v1", digest.as_str()] {
            assert_eq!(Protected::parse(text).unwrap().to_string(), text);
        }
        for bad in ["-v1", "sha256:12", "v 1", ":"] {
            assert!(Protected::parse(bad).is_err(), "{bad:?}");
        }
    }
}

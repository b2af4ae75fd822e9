//! Session tags: what a session says of itself, for policies to ask about.

use super::Error;
use std::sync::Arc;

/// A session tag.
///
/// SPEC: AWS STS API, `Tag`: a key of 1-128 and a value of 0-256 characters `[\p{L}\p{Z}\p{N}_.:/=+\-@]`. A key that begins
/// with `aws:` is reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionTag {
    key: Arc<str>,
    value: Arc<str>,
    transitive: bool,
}

impl SessionTag {
    /// A tag; one that is transitive goes on to the sessions that are taken from its session.
    ///
    /// # Errors
    /// When key or value is too long or holds another character, or the key is empty or reserved.
    pub fn new(key: &str, value: &str, transitive: bool) -> Result<Self, Error> {
        let fits = |text: &str, most: usize| text.chars().count() <= most && text.chars().all(is_plain);
        let reserved = key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
        if key.is_empty() || reserved || !fits(key, 128) {
            let rule = "1-128 letters, digits, spaces and _ . : / = + - @, not beginning with aws:";
            return Err(Error::new("session tag key", key, rule));
        }
        if !fits(value, 256) {
            let rule = "0-256 letters, digits, spaces and _ . : / = + - @";
            return Err(Error::new("session tag value", value, rule));
        }
        Ok(Self { key: key.into(), value: value.into(), transitive })
    }

    /// The key, in the case in which it was given.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether it goes on to sessions taken from this one.
    #[must_use]
    pub fn is_transitive(&self) -> bool {
        self.transitive
    }

    /// Whether both have one key; keys ignore case.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        self.key.to_lowercase() == other.key.to_lowercase()
    }
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "_.:/=+-@".contains(c)
}

#[cfg(test)]
mod tests {
    use super::SessionTag;

    #[test]
    fn keys_and_values_are_of_awss_alphabet() {
        for (key, value) in [("team", ""), ("cost center", "A/1 = b"), ("größe", "né@x"), ("k", &"v".repeat(256))] {
            let tag = SessionTag::new(key, value, false).unwrap();
            assert_eq!((tag.key(), tag.value()), (key, value));
        }
        let long = "k".repeat(129);
        for (key, value) in [
            ("", "v"),
            ("aws:team", "v"),
            ("AWS:x", "v"),
            ("a*", "v"),
            ("k", "a\n"),
            ("k", "${x}"),
            (long.as_str(), "v"),
        ] {
            assert!(SessionTag::new(key, value, false).is_err(), "{key:?} {value:?}");
        }
        assert!(SessionTag::new("k", &"v".repeat(257), false).is_err());
    }
}

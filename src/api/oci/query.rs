//! Query strings, read strictly.
//!
//! Guarantees that every parameter a route reads is well-formed UTF-8 and given once, unless the route takes a list;
//! a doubtful value is an error, never a default. Parameters that no route reads are ignored, as clients add some
//! of their own.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Parameters in one query.
const MAX_PAIRS: usize = 64;

/// Why a query cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A broken escape or bytes that are no UTF-8.
    #[error("the query is not percent-encoded UTF-8")]
    Encoding,
    /// Too many parameters.
    #[error("the query has more than {MAX_PAIRS} parameters")]
    TooMany,
    /// A parameter that is read once, given more than once.
    #[error("the query has {name:?} more than once")]
    Repeated {
        /// The parameter.
        name: &'static str,
    },
}

/// The decoded parameters of a query, in order.
#[derive(Debug, Default)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads a query as a form writes it: `+` is a space, and escapes are `%` with two hex digits.
    ///
    /// # Errors
    /// When it is not well-formed or too long.
    pub fn parse(text: Option<&'a str>) -> Result<Self, Error> {
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let mut read = Vec::new();
        for pair in pairs {
            if read.len() == MAX_PAIRS {
                return Err(Error::TooMany);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            read.push((form_decode(name)?, form_decode(value)?));
        }
        Ok(Self(read))
    }

    /// A parameter's only value.
    ///
    /// # Errors
    /// When it is given more than once.
    pub fn one(&self, name: &'static str) -> Result<Option<&str>, Error> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Error::Repeated { name }),
            (value, None) => Ok(value),
        }
    }

    /// All values of a parameter, in order.
    pub fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_ref())
    }
}

/// Decodes the escapes of a path segment or value.
///
/// # Errors
/// When an escape is broken or the bytes are no UTF-8.
pub fn decode(text: &str) -> Result<Cow<'_, str>, Error> {
    let mut escapes = text.split('%').skip(1);
    let whole = |escape: &str| escape.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !escapes.all(whole) {
        return Err(Error::Encoding);
    }
    percent_decode_str(text).decode_utf8().map_err(|_| Error::Encoding)
}

fn form_decode(text: &str) -> Result<Cow<'_, str>, Error> {
    if !text.contains('+') {
        return decode(text);
    }
    decode(&text.replace('+', " ")).map(|text| Cow::Owned(text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Error, Query, decode};
    use proptest::prelude::*;

    #[test]
    fn values_are_decoded_and_unknown_ones_ignored() {
        let query = Query::parse(Some("digest=sha256%3Aab&&ns=x&scope=a+b&scope=c%2Bd&empty=&bare")).unwrap();
        assert_eq!(query.one("digest"), Ok(Some("sha256:ab")));
        assert_eq!(query.all("scope").collect::<Vec<_>>(), ["a b", "c+d"]);
        assert_eq!(query.one("scope"), Err(Error::Repeated { name: "scope" }));
        assert_eq!(query.one("empty"), Ok(Some("")));
        assert_eq!(query.one("bare"), Ok(Some("")));
        assert_eq!(query.one("missing"), Ok(None));
    }

    #[test]
    fn broken_queries_are_refused() {
        for bad in ["a=%", "a=%3", "a=%zz", "%=a", "a=%ff", "a=+%f"] {
            assert!(matches!(Query::parse(Some(bad)), Err(Error::Encoding)), "{bad:?}");
        }
        assert!(matches!(Query::parse(Some(&"a&".repeat(65))), Err(Error::TooMany)));
        assert!(Query::parse(Some(&"a&".repeat(64))).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*") {
            let _ = decode(&text);
            let _ = Query::parse(Some(&text));
        }
    }
}

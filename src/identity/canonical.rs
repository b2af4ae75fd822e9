//! The canonical form of a request that Signature Version 4 hashes.
//!
//! Pure text work: whether the right headers are signed, by whom and when, is `sigv4`'s question.
//! SPEC: AWS General Reference, "Create a signed AWS API request", for services other than S3: the path is
//! normalised and encoded once more than it is on the wire.

use super::error::{Error, incomplete};
use super::sigv4::chunked::Chunks;
use aws_lc_rs::digest;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Write as _;

/// The longest query text that is read, in bytes.
pub const QUERY_BYTES_MAX: usize = 16 * 1024;

/// The longest form that is read, in bytes: an identity token of 20,000 characters, or 50 tags with every character escaped.
pub const FORM_BYTES_MAX: usize = 128 * 1024;

/// The parts of a request that are signed.
#[derive(Clone, Copy, Debug)]
pub struct Canonical<'a> {
    /// The method, upper-case.
    pub method: &'a str,
    /// The path as on the wire, percent-encoded.
    pub path: &'a str,
    /// Decoded names and values of the query, without the signature itself.
    pub query: &'a [(String, String)],
    /// Signed headers in the order of their lower-case names, values joined by commas.
    pub headers: &'a [(String, String)],
    /// What of the body is signed with the head.
    pub payload: Payload<'a>,
}

/// What of a body is signed with the request's head.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// SHA-256 of the body as it was received.
    Whole([u8; 32]),
    /// That it comes in chunks, each signed after the one before it.
    Chunked(&'a Chunks),
}

impl From<[u8; 32]> for Payload<'_> {
    fn from(sha256: [u8; 32]) -> Self {
        Self::Whole(sha256)
    }
}

impl Payload<'_> {
    /// What is signed, which is also what `X-Amz-Content-Sha256` says.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Whole(sha256) => hex::encode(sha256),
            Self::Chunked(chunks) => chunks.payload().to_owned(),
        }
    }
}

impl Canonical<'_> {
    /// The names of the signed headers, joined by semicolons.
    #[must_use]
    pub fn signed_headers(&self) -> String {
        self.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";")
    }

    /// SHA-256 of the canonical request, in lower-case hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(sha256(self.text().as_bytes()))
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.method, path(self.path), query_text(self.query));
        for (name, value) in self.headers {
            text.push_str(name);
            text.push(':');
            push_header_value(&mut text, value);
            text.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}\n{}", self.signed_headers(), self.payload.text());
        text
    }
}

/// SHA-256 of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Splits a raw query into decoded names and values, in their order.
///
/// A plus sign is a space, as in a form: whoever reads the parameters afterwards must read them from here.
///
/// # Errors
/// When it is too long, has a broken percent escape, or is not UTF-8 once decoded.
pub fn query_pairs(raw: &str) -> Result<Vec<(String, String)>, Error> {
    if raw.len() > QUERY_BYTES_MAX {
        return Err(incomplete("the query is longer than 16 KiB"));
    }
    pairs(raw)
}

/// The parameters of a form, decoded, in order.
///
/// # Errors
/// As [`query_pairs`].
pub fn form_pairs(raw: &str) -> Result<Vec<(String, String)>, Error> {
    if raw.len() > FORM_BYTES_MAX {
        return Err(incomplete("the form is longer than 128 KiB"));
    }
    pairs(raw)
}

fn pairs(raw: &str) -> Result<Vec<(String, String)>, Error> {
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

/// The query in canonical form: encoded, sorted by name, then value.
#[must_use]
pub fn query_text(pairs: &[(String, String)]) -> String {
    let mut encoded: Vec<_> = pairs.iter().map(|(name, value)| (encode(name), encode(value))).collect();
    encoded.sort();
    encoded.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const ESCAPED_IN_PATH: &AsciiSet = &ESCAPED.remove(b'/');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn decode(text: &str) -> Result<String, Error> {
    const BAD: &str = "the query has a broken percent escape";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let value = high.zip(low).map(|(high, low)| high * 16 + low);
                value.and_then(|v| u8::try_from(v).ok()).ok_or(incomplete(BAD))?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| incomplete("the query is not UTF-8"))
}

/// Removes empty, `.` and `..` segments and encodes what is left once more.
fn path(raw: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            name => kept.push(name),
        }
    }
    let directory = ["/", "/.", "/.."].iter().any(|end| raw.ends_with(end));
    let mut normal = format!("/{}", kept.join("/"));
    if directory && !kept.is_empty() {
        normal.push('/');
    }
    utf8_percent_encode(&normal, ESCAPED_IN_PATH).to_string()
}

/// Trims a value and folds runs of spaces into one.
fn push_header_value(text: &mut String, value: &str) {
    let mut words = value.trim().split(' ').filter(|word| !word.is_empty());
    text.push_str(words.next().unwrap_or_default());
    for word in words {
        text.push(' ');
        text.push_str(word);
    }
}

#[cfg(test)]
mod tests {
    use super::{Canonical, FORM_BYTES_MAX, QUERY_BYTES_MAX, form_pairs, path, query_pairs, query_text, sha256};

    #[test]
    fn paths_lose_dots_and_are_encoded_twice() {
        let cases = [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/example/..", "/"),
            ("/example1/example2/../..", "/"),
            ("/./", "/"),
            ("/./example", "/example"),
            ("//example//", "/example/"),
            ("/../a/.", "/a/"),
            ("/a%20b/%E1%88%B4", "/a%2520b/%25E1%2588%25B4"),
            ("/-._~0aZ", "/-._~0aZ"),
            ("/a:b@c", "/a%3Ab%40c"),
        ];
        for (raw, canonical) in cases {
            assert_eq!(path(raw), canonical, "{raw:?}");
        }
    }

    #[test]
    fn queries_are_decoded_encoded_and_sorted() {
        let cases = [
            ("", ""),
            ("&&", ""),
            ("Param-3=Value3&Param=Value2&%E1%88%B4=Value1", "%E1%88%B4=Value1&Param=Value2&Param-3=Value3"),
            ("b=2&a=2&a=1&a", "a=&a=1&a=2&b=2"),
            ("a=b=c", "a=b%3Dc"),
            ("a=%7e+%2b", "a=~%20%2B"),
        ];
        for (raw, canonical) in cases {
            assert_eq!(query_text(&query_pairs(raw).unwrap()), canonical, "{raw:?}");
        }
    }

    #[test]
    fn broken_queries_are_refused() {
        for bad in ["a=%", "a=%4", "a=%zz", "%+1=b", "a=%ff"] {
            assert!(query_pairs(bad).is_err(), "{bad:?}");
        }
        assert!(query_pairs(&"a".repeat(QUERY_BYTES_MAX)).is_ok());
        assert!(query_pairs(&"a".repeat(QUERY_BYTES_MAX + 1)).is_err());
        assert!(form_pairs(&"a".repeat(FORM_BYTES_MAX)).is_ok());
        assert!(form_pairs(&"a".repeat(FORM_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn the_canonical_request_of_the_published_example() {
        // SPEC: AWS General Reference, signing example, ListUsers of 2015-08-30.
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let request = Canonical {
            method: "GET",
            path: "/",
            query: &[pair("Version", "2010-05-08"), pair("Action", "ListUsers")],
            headers: &[
                pair("content-type", " application/x-www-form-urlencoded;   charset=utf-8 "),
                pair("host", "iam.amazonaws.com"),
                pair("x-amz-date", "20150830T123600Z"),
            ],
            payload: sha256(b"").into(),
        };
        assert_eq!(request.digest(), "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59");
    }
}

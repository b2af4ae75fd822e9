//! Byte ranges: of a download (`Range`), of an upload's chunk (`Content-Range`), and as the answers write them.
//!
//! Reading never fails on a download's range: what is not understood is ignored, as RFC 9110 section 14.2 asks.
//! It does fail on a chunk's range, because bytes in the wrong place are a broken upload.

use crate::error::{Error as Envelope, Reason};

/// What part of a blob a download asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// All of it: 200.
    Whole,
    /// These bytes: 206.
    Part(Span),
    /// Nothing the blob has: 416.
    Unsatisfiable,
}

/// Bytes `first` to `last`, both included; `first <= last`, and the length fits 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    first: u64,
    last: u64,
}

/// Why a chunk's range cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Content-Range {text:?} is not valid: write <first>-<last>, or bytes <first>-<last>/<size or *>")]
pub struct Error {
    /// The offending text, cut to 80 characters.
    pub text: String,
}

impl From<Error> for Envelope {
    fn from(error: Error) -> Self {
        Self::new(Reason::RangeInvalid, error.to_string()).with("field", "Content-Range").with("value", error.text)
    }
}

impl Span {
    /// The span between two positions; `None` when they are the wrong way round or its length overflows.
    #[must_use]
    pub fn new(first: u64, last: u64) -> Option<Self> {
        last.checked_sub(first)?.checked_add(1).map(|_| Self { first, last })
    }

    /// The position of the first byte.
    #[must_use]
    pub fn first(self) -> u64 {
        self.first
    }

    /// The position of the last byte.
    #[must_use]
    pub fn last(self) -> u64 {
        self.last
    }

    /// How many bytes; at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a span is never empty")]
    pub fn len(self) -> u64 {
        self.last - self.first + 1
    }

    /// The `Content-Range` of a 206: `bytes <first>-<last>/<size>`.
    #[must_use]
    pub fn content_range(self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.first, self.last)
    }
}

/// Reads the `Range` header of a download of a blob of `size` bytes.
///
/// One range is honoured; several, another unit or a text that is no range give the whole. `500-0` is refused, which
/// the OCI conformance suite wants and RFC 9110 allows.
#[must_use]
pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    header.and_then(spec).map_or(Wanted::Whole, |spec| spec.of(size))
}

/// Reads the `Content-Range` of an upload's chunk: `0-1023`, `bytes 0-1023/*` or `bytes=0-1023`.
///
/// # Errors
/// When the text has another form, the positions are the wrong way round, or a total contradicts them.
pub fn chunk(text: &str) -> Result<Span, Error> {
    let bad = || Error { text: text.chars().take(80).collect() };
    let rest = after_unit(text).unwrap_or_else(|| text.trim());
    let (positions, total) = rest.split_once('/').map_or((rest, "*"), |(positions, total)| (positions, total));
    let (first, last) = positions.split_once('-').ok_or_else(bad)?;
    let exact = |text: &str| digits(text).and_then(|text| text.parse::<u64>().ok());
    let (first, last) = exact(first).zip(exact(last)).ok_or_else(bad)?;
    let span = Span::new(first, last).ok_or_else(bad)?;
    if total != "*" && exact(total).ok_or_else(bad)? <= last {
        return Err(bad());
    }
    Ok(span)
}

/// The `Range` header that tells how much an upload holds: `0-<last>`; `0-0` before the first byte, as clients
/// of every registry know it.
#[must_use]
pub fn held(bytes: u64) -> String {
    format!("0-{}", bytes.saturating_sub(1))
}

/// The `Content-Range` of a 416: `bytes */<size>`.
#[must_use]
pub fn unsatisfiable(size: u64) -> String {
    format!("bytes */{size}")
}

enum Spec {
    From(u64),
    Between(u64, u64),
    Suffix(u64),
}

impl Spec {
    fn of(self, size: u64) -> Wanted {
        let (first, last) = match self {
            // An empty blob has no last byte to name in a 206, so its suffix is the whole of it.
            Self::Suffix(length) if length > 0 && size == 0 => return Wanted::Whole,
            Self::Suffix(0) => return Wanted::Unsatisfiable,
            Self::Suffix(length) => (size.saturating_sub(length), u64::MAX),
            Self::From(first) => (first, u64::MAX),
            Self::Between(first, last) => (first, last),
        };
        let end = size.checked_sub(1).filter(|end| first <= *end);
        end.and_then(|end| Span::new(first, last.min(end))).map_or(Wanted::Unsatisfiable, Wanted::Part)
    }
}

fn spec(header: &str) -> Option<Spec> {
    let rest = after_unit(header)?;
    let (first, last) = rest.split_once('-')?;
    // Positions beyond 64 bits lie beyond any blob.
    let position = |text: &str| digits(text).map(|text| text.parse::<u64>().unwrap_or(u64::MAX));
    match (first.trim(), last.trim()) {
        ("", length) => position(length).map(Spec::Suffix),
        (first, "") => position(first).map(Spec::From),
        (first, last) => position(first).zip(position(last)).map(|(first, last)| Spec::Between(first, last)),
    }
}

/// What follows `bytes=` or `bytes `.
fn after_unit(text: &str) -> Option<&str> {
    let (unit, rest) = text.trim().split_once(['=', ' '])?;
    unit.eq_ignore_ascii_case("bytes").then(|| rest.trim())
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::{Span, Wanted, chunk, held, unsatisfiable, wanted};
    use proptest::prelude::*;

    fn part(first: u64, last: u64) -> Wanted {
        Wanted::Part(Span::new(first, last).unwrap())
    }

    #[test]
    fn downloads_get_the_range_they_ask_for() {
        let cases = [
            ("bytes=500-1499", 4_000, part(500, 1_499)),
            ("bytes=500-", 4_000, part(500, 3_999)),
            ("bytes=-500", 4_000, part(3_500, 3_999)),
            ("bytes=2000-5000", 4_000, part(2_000, 3_999)),
            ("bytes=500-0", 4_000, Wanted::Unsatisfiable),
            ("bytes=5000-10000", 4_000, Wanted::Unsatisfiable),
            ("bytes=4000-", 4_000, Wanted::Unsatisfiable),
            ("bytes=3999-", 4_000, part(3_999, 3_999)),
            ("bytes=-9000", 4_000, part(0, 3_999)),
            ("bytes=-0", 4_000, Wanted::Unsatisfiable),
            ("bytes=0-0", 1, part(0, 0)),
            ("bytes=0-", 0, Wanted::Unsatisfiable),
            ("bytes=-5", 0, Wanted::Whole),
            ("bytes=0-99999999999999999999999", 10, part(0, 9)),
            ("bytes=99999999999999999999999-", 10, Wanted::Unsatisfiable),
            (" Bytes = 1-2", 10, Wanted::Whole),
            ("BYTES=1-2 ", 10, part(1, 2)),
            ("bytes=0-1,3-4", 10, Wanted::Whole),
            ("lines=0-1", 10, Wanted::Whole),
            ("bytes=", 10, Wanted::Whole),
            ("bytes=-", 10, Wanted::Whole),
            ("bytes=a-b", 10, Wanted::Whole),
            ("bytes=+1-2", 10, Wanted::Whole),
            ("0-1", 10, Wanted::Whole),
            ("", 10, Wanted::Whole),
        ];
        for (header, size, expected) in cases {
            assert_eq!(wanted(Some(header), size), expected, "{header:?} of {size}");
        }
        assert_eq!(wanted(None, 10), Wanted::Whole);
    }

    #[test]
    fn chunks_say_where_they_belong() {
        for text in ["0-1023", "bytes 0-1023/*", "bytes 0-1023/2048", "bytes 0-1023/1024", "bytes=0-1023", " 0-1023 "] {
            assert_eq!(chunk(text).map(|span| (span.first(), span.len())), Ok((0, 1_024)), "{text:?}");
        }
        for text in [
            "",
            "-",
            "0",
            "0-",
            "-5",
            "5-4",
            "a-b",
            "+0-4",
            "0-1,2-3",
            "bytes */5",
            "bytes 0-1023/1023",
            "bytes 0-1023/x",
            "0-18446744073709551615",
            "0-99999999999999999999999",
            "lines 0-5",
        ] {
            assert!(chunk(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn answers_write_ranges_as_clients_read_them() {
        assert_eq!(held(0), "0-0");
        assert_eq!(held(1), "0-0");
        assert_eq!(held(1_024), "0-1023");
        assert_eq!(unsatisfiable(5), "bytes */5");
        assert_eq!(Span::new(2, 4).unwrap().content_range(9), "bytes 2-4/9");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*", size: u64) {
            let _ = wanted(Some(&text), size);
            let _ = chunk(&text);
        }

        #[test]
        fn a_part_lies_inside_the_blob(text in "bytes=[0-9]{0,21}-[0-9]{0,21}", size: u64) {
            if let Wanted::Part(span) = wanted(Some(&text), size) {
                prop_assert!(span.first() <= span.last() && span.last() < size);
                prop_assert!(span.len() <= size);
            }
        }

        #[test]
        fn a_chunk_is_read_as_it_was_written(first in 0..u64::MAX / 2, length in 1..u64::MAX / 2) {
            let span = Span::new(first, first + length - 1).unwrap();
            prop_assert_eq!(chunk(&format!("{first}-{}", span.last())), Ok(span));
            prop_assert_eq!(chunk(&format!("bytes {first}-{}/*", span.last())), Ok(span));
            prop_assert_eq!(span.len(), length);
        }
    }
}

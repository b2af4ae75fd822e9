//! Bodies that are signed chunk by chunk: `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`.
//!
//! Guarantees that a body is believed only if every chunk of it was signed, in this order, after this request, and nothing
//! follows the empty chunk at its end. Knows neither trailers nor unsigned chunks: such bodies are not read, and so refused
//! as any whose hash is not the one that was signed.
//!
//! SPEC: Amazon S3 API reference, "Transferring Payload in Multiple Chunks".

use super::{ALGORITHM, CONTENT_SHA256};
use crate::identity::canonical::sha256;
use crate::identity::error::Error;
use aws_lc_rs::hmac;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use subtle::ConstantTimeEq;

/// What stands in the place of the body's hash.
pub const PAYLOAD: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
/// The most chunks of one body, the empty one at its end included; each costs two hashes.
pub const CHUNKS_MAX: usize = 1_024;

const ENCODING: &str = "aws-chunked";
const DECODED_LENGTH: &str = "x-amz-decoded-content-length";
const SIGNATURE: &[u8] = b";chunk-signature=";
const SIGNATURE_DIGITS: usize = 64;
/// Digits of a chunk's size; a body is far below 4 GiB.
const SIZE_DIGITS_MAX: usize = 8;

/// The hashes and signatures of a body's chunks, in their order; not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks(Vec<Chunk>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Chunk {
    sha256: [u8; 32],
    signature: [u8; SIGNATURE_DIGITS],
}

/// Reads a body in chunks: its content, and what its chunks say to be signed with. `None` for a request that is not of this
/// form to the last byte: whoever takes such a body as a whole finds that its hash was not signed.
#[must_use]
pub fn read(headers: &HeaderMap, body: &[u8]) -> Option<(Vec<u8>, Chunks)> {
    let length: usize = only(headers, DECODED_LENGTH)?.parse().ok()?;
    if only(headers, CONTENT_SHA256)? != PAYLOAD || only(headers, CONTENT_ENCODING.as_str())? != ENCODING {
        return None;
    }
    let (mut content, mut chunks, mut rest) = (Vec::new(), Vec::new(), body);
    while chunks.len() < CHUNKS_MAX {
        let (data, signature, after) = chunk(rest)?;
        chunks.push(Chunk { sha256: sha256(data), signature });
        content.extend_from_slice(data);
        rest = after;
        if data.is_empty() {
            return (rest.is_empty() && content.len() == length).then_some((content, Chunks(chunks)));
        }
    }
    None
}

/// The data and signature of `<size>;chunk-signature=<signature>\r\n<data>\r\n`, and what follows it.
fn chunk(bytes: &[u8]) -> Option<(&[u8], [u8; SIGNATURE_DIGITS], &[u8])> {
    let digits = bytes.iter().take(SIZE_DIGITS_MAX + 1).position(|b| !b.is_ascii_hexdigit())?;
    let (size, rest) = bytes.split_at(digits);
    let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
    let (signature, rest) = rest.strip_prefix(SIGNATURE)?.split_first_chunk::<SIGNATURE_DIGITS>()?;
    let (data, rest) = rest.strip_prefix(b"\r\n")?.split_at_checked(size)?;
    Some((data, *signature, rest.strip_prefix(b"\r\n")?))
}

/// The value of a header that occurs once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

impl Chunks {
    /// Compares each signature, in constant time, with the one that follows from the signature before it; the first follows
    /// from the request's.
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`.
    pub(super) fn verify(&self, key: &hmac::Key, amz_date: &str, scope: &str, seed: &str) -> Result<(), Error> {
        let mut before = seed.to_owned();
        for chunk in &self.0 {
            let expected = signature(key, amz_date, scope, &before, &chunk.sha256);
            if !bool::from(expected.as_bytes().ct_eq(&chunk.signature)) {
                return Err(Error::SignatureDoesNotMatch);
            }
            before = expected;
        }
        Ok(())
    }
}

fn signature(key: &hmac::Key, amz_date: &str, scope: &str, before: &str, chunk: &[u8; 32]) -> String {
    let (nothing, chunk) = (hex::encode(sha256(b"")), hex::encode(chunk));
    let text = format!("{ALGORITHM}-PAYLOAD\n{amz_date}\n{scope}\n{before}\n{nothing}\n{chunk}");
    hex::encode(hmac::sign(key, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::sigv4::{scope, signing_key};
    use crate::secret::Secret;

    const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
    const FIRST: &str = "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648";
    const SECOND: &str = "400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497";
    const LAST: &str = "0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9";

    /// The published example "PUT Object": 65 KiB of `a` in chunks of 64 KiB.
    fn example() -> Vec<u8> {
        let (first, second) = ("a".repeat(65_536), "a".repeat(1_024));
        format!("{FIRST}\r\n{first}\r\n{SECOND}\r\n{second}\r\n{LAST}\r\n\r\n").into_bytes()
    }

    fn headers(length: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_SHA256, PAYLOAD.parse().unwrap());
        headers.insert(CONTENT_ENCODING, ENCODING.parse().unwrap());
        headers.insert(DECODED_LENGTH, length.parse().unwrap());
        headers
    }

    fn check(body: &[u8]) -> Option<bool> {
        let (content, chunks) = read(&headers("66560"), body)?;
        assert_eq!(content.len(), 66_560);
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned());
        let key = signing_key(&secret, "20130524", "us-east-1", "s3");
        let scope = scope("20130524", "us-east-1", "s3");
        Some(chunks.verify(&key, "20130524T000000Z", &scope, SEED).is_ok())
    }

    #[test]
    fn the_published_example_verifies() {
        assert_eq!(check(&example()), Some(true));
    }

    #[test]
    fn whatever_is_changed_in_a_body_is_refused() {
        let whole = example();
        for at in (0..whole.len()).step_by(1_009).chain(0..FIRST.len() + 4).chain(whole.len() - LAST.len()..whole.len())
        {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_ne!(check(&changed), Some(true), "{at}");
        }
        for cut in [1, 4, LAST.len() + 4, 2_000] {
            assert_eq!(check(&whole[..whole.len() - cut]), None, "{cut}");
        }
        let more = [whole.as_slice(), b"\r\n"].concat();
        assert_eq!(check(&more), None);
    }

    #[test]
    fn what_says_otherwise_in_its_headers_or_has_too_many_chunks_is_not_read() {
        let body = example();
        assert!(read(&headers("66560"), &body).is_some());
        for length in ["66559", "66561", "-1", ""] {
            assert_eq!(read(&headers(length), &body), None, "{length:?}");
        }
        for (name, value) in [(CONTENT_SHA256, "UNSIGNED-PAYLOAD"), (CONTENT_ENCODING.as_str(), "gzip")] {
            let mut other = headers("66560");
            other.insert(http::HeaderName::from_static(name), value.parse().unwrap());
            assert_eq!(read(&other, &body), None, "{value}");
        }
        let one = format!("1{}\r\na\r\n", &LAST[1..]);
        let many = |chunks: usize| format!("{}{LAST}\r\n\r\n", one.repeat(chunks));
        assert!(read(&headers(&(CHUNKS_MAX - 1).to_string()), many(CHUNKS_MAX - 1).as_bytes()).is_some());
        assert_eq!(read(&headers(&CHUNKS_MAX.to_string()), many(CHUNKS_MAX).as_bytes()), None);
        assert_eq!(read(&headers("0"), format!("000000000{}\r\n\r\n", &LAST[1..]).as_bytes()), None);
    }
}

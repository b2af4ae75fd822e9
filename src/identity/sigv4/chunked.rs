//! Bodies that are signed chunk by chunk: `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`, and `…-TRAILER` with headers behind them.
//!
//! Guarantees that a body is believed only if every chunk of it was signed, in this order, after this request, and its trailer
//! after them, and nothing follows. Unsigned chunks are not read, and so refused as any body whose hash is not the one that
//! was signed. Of the checksums that trailers have SHA-256 is computed; of the others it counts that they were signed.
//!
//! SPEC: Amazon S3 API reference, "Transferring Payload in Multiple Chunks", and the same "with trailing headers".

use super::{ALGORITHM, CONTENT_SHA256};
use crate::identity::canonical::sha256;
use crate::identity::error::Error;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use subtle::ConstantTimeEq;

/// What stands in the place of the body's hash.
pub const PAYLOAD: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
/// The same, where a trailer follows the chunks.
pub const PAYLOAD_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
/// The most chunks of one body, the empty one at its end included; each costs two hashes.
pub const CHUNKS_MAX: usize = 1_024;

const ALGORITHM_TRAILER: &str = "AWS4-HMAC-SHA256-TRAILER";
const ENCODING: &str = "aws-chunked";
const DECODED_LENGTH: &str = "x-amz-decoded-content-length";
const SIGNATURE: &[u8] = b";chunk-signature=";
const SIGNATURE_DIGITS: usize = 64;
/// Digits of a chunk's size; a body is far below 4 GiB.
const SIZE_DIGITS_MAX: usize = 8;

/// Names what the trailer has.
const TRAILER: &str = "x-amz-trailer";
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";
const CHECKSUM_SHA256: &str = "x-amz-checksum-sha256";
/// Bytes of a trailer: a name or two and their checksums.
const TRAILER_BYTES_MAX: usize = 2_048;

/// The hashes and signatures of a body's chunks, in their order, and of its trailer; not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    chunks: Vec<Chunk>,
    trailer: Option<Chunk>,
}

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
    let trailed = match only(headers, CONTENT_SHA256)? {
        PAYLOAD => false,
        PAYLOAD_TRAILER => true,
        _ => return None,
    };
    if only(headers, CONTENT_ENCODING.as_str())? != ENCODING {
        return None;
    }
    let (mut content, mut chunks, mut rest) = (Vec::new(), Vec::new(), body);
    while chunks.len() < CHUNKS_MAX {
        let (size, signature, after) = head(rest)?;
        let (data, after) = after.split_at_checked(size)?;
        chunks.push(Chunk { sha256: sha256(data), signature });
        content.extend_from_slice(data);
        if size == 0 && trailed {
            let trailer = Some(trailer(only(headers, TRAILER)?, after, &content)?);
            return (content.len() == length).then_some((content, Chunks { chunks, trailer }));
        }
        rest = after.strip_prefix(b"\r\n")?;
        if size == 0 {
            let whole = rest.is_empty() && content.len() == length;
            return whole.then_some((content, Chunks { chunks, trailer: None }));
        }
    }
    None
}

/// The hash and signature of a trailer that has these names, each once and in their order, and of which nothing is wrong.
fn trailer(names: &str, bytes: &[u8], content: &[u8]) -> Option<Chunk> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= TRAILER_BYTES_MAX)?;
    let mut lines = text.strip_suffix("\r\n\r\n").or_else(|| text.strip_suffix("\r\n"))?.split("\r\n");
    let mut canonical = String::new();
    for name in names.split(',').map(|name| name.trim().to_ascii_lowercase()) {
        let (said, value) = lines.next()?.split_once(':')?;
        let checked = name != CHECKSUM_SHA256 || STANDARD.decode(value).ok()? == sha256(content);
        if !said.eq_ignore_ascii_case(&name) || name == TRAILER_SIGNATURE || !checked {
            return None;
        }
        canonical += &format!("{name}:{}\n", value.trim());
    }
    let (last, signature) = lines.next()?.split_once(':')?;
    let ends = last.eq_ignore_ascii_case(TRAILER_SIGNATURE) && lines.next().is_none();
    let signature = signature.as_bytes().try_into().ok().filter(|_| ends)?;
    Some(Chunk { sha256: sha256(canonical.as_bytes()), signature })
}

/// The size and signature of `<size>;chunk-signature=<signature>\r\n`, and what follows it.
fn head(bytes: &[u8]) -> Option<(usize, [u8; SIGNATURE_DIGITS], &[u8])> {
    let digits = bytes.iter().take(SIZE_DIGITS_MAX + 1).position(|b| !b.is_ascii_hexdigit())?;
    let (size, rest) = bytes.split_at(digits);
    let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
    let (signature, rest) = rest.strip_prefix(SIGNATURE)?.split_first_chunk::<SIGNATURE_DIGITS>()?;
    Some((size, *signature, rest.strip_prefix(b"\r\n")?))
}

/// The value of a header that occurs once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

impl Chunks {
    /// What stands in the place of the body's hash.
    #[must_use]
    pub fn payload(&self) -> &'static str {
        if self.trailer.is_some() { PAYLOAD_TRAILER } else { PAYLOAD }
    }

    /// Compares each signature, in constant time, with the one that follows from the signature before it; the first follows
    /// from the request's.
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`.
    pub(super) fn verify(&self, key: &hmac::Key, amz_date: &str, scope: &str, seed: &str) -> Result<(), Error> {
        let mut before = seed.to_owned();
        let nothing = hex::encode(sha256(b""));
        for chunk in &self.chunks {
            let hash = hex::encode(chunk.sha256);
            let text = format!("{ALGORITHM}-PAYLOAD\n{amz_date}\n{scope}\n{before}\n{nothing}\n{hash}");
            before = chunk.verify(key, &text)?;
        }
        if let Some(trailer) = &self.trailer {
            let hash = hex::encode(trailer.sha256);
            trailer.verify(key, &format!("{ALGORITHM_TRAILER}\n{amz_date}\n{scope}\n{before}\n{hash}"))?;
        }
        Ok(())
    }
}

impl Chunk {
    /// The signature of a text, if it is this one's.
    fn verify(&self, key: &hmac::Key, text: &str) -> Result<String, Error> {
        let expected = hex::encode(hmac::sign(key, text.as_bytes()));
        let matches = bool::from(expected.as_bytes().ct_eq(&self.signature));
        if matches { Ok(expected) } else { Err(Error::SignatureDoesNotMatch) }
    }
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

    /// The published example with a trailer.
    // SPEC: "Signature calculations for trailing headers", where the same object has a CRC-32C.
    fn trailed() -> Vec<u8> {
        let (first, second) = ("a".repeat(65_536), "a".repeat(1_024));
        let signed = |size: &str, signature: &str| format!("{size};chunk-signature={signature}\r\n");
        let head = signed("10000", "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2");
        let middle = signed("400", "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7");
        let last = signed("0", "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992");
        format!("{head}{first}\r\n{middle}{second}\r\n{last}{TRAILED}\r\n\r\n").into_bytes()
    }

    const TRAILED: &str = "x-amz-checksum-crc32c:sOO8/Q==\r\n\
        x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";

    fn check_trailed(names: &str, body: &[u8]) -> Option<bool> {
        let mut headers = headers("66560");
        headers.insert(CONTENT_SHA256, PAYLOAD_TRAILER.parse().unwrap());
        headers.insert(TRAILER, names.parse().unwrap());
        let (content, chunks) = read(&headers, body)?;
        assert_eq!((content.len(), chunks.payload()), (66_560, PAYLOAD_TRAILER));
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned());
        let key = signing_key(&secret, "20130524", "us-east-1", "s3");
        let seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
        let scope = scope("20130524", "us-east-1", "s3");
        Some(chunks.verify(&key, "20130524T000000Z", &scope, seed).is_ok())
    }

    #[test]
    fn a_trailer_is_signed_after_the_chunks_and_is_what_was_announced() {
        let (body, name) = (trailed(), "x-amz-checksum-crc32c");
        assert_eq!(check_trailed(name, &body), Some(true));
        assert_eq!(check_trailed(name, &body[..body.len() - 2]), Some(true), "one end of a line is enough");
        for at in (0..body.len()).step_by(1_009).chain(body.len() - TRAILED.len() - 90..body.len()) {
            let mut changed = body.clone();
            changed[at] ^= 1;
            assert_ne!(check_trailed(name, &changed), Some(true), "{at}");
        }
        for cut in [3, 4, 70, TRAILED.len() + 4, TRAILED.len() + 2_000] {
            assert_ne!(check_trailed(name, &body[..body.len() - cut]), Some(true), "{cut}");
        }
        for names in ["", "x-amz-checksum-sha256", "x-amz-checksum-crc32c,x-amz-meta", "x-amz-trailer-signature"] {
            assert_eq!(check_trailed(names, &body), None, "{names}");
        }
        assert_eq!(check_trailed(name, &[body.as_slice(), b"\r\n"].concat()), None);
        assert_eq!(check_trailed(name, &example()), None, "no trailer");
        assert_ne!(check(&body), Some(true), "not announced as one with a trailer");
    }

    #[test]
    fn a_checksum_that_can_be_computed_is() {
        let trailed = |sum: &[u8]| {
            let (sum, signature) = (STANDARD.encode(sum), "0".repeat(64));
            format!("{CHECKSUM_SHA256}:{sum}\r\n{TRAILER_SIGNATURE}:{signature}\r\n").into_bytes()
        };
        assert!(trailer(CHECKSUM_SHA256, &trailed(&sha256(b"content")), b"content").is_some());
        assert!(trailer(CHECKSUM_SHA256, &trailed(&sha256(b"other")), b"content").is_none());
        assert!(trailer(CHECKSUM_SHA256, &trailed(b""), b"content").is_none());
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

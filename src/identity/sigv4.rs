//! Verifies Signature Version 4, in an `Authorization` header or in a presigned query.
//!
//! Guarantees that what is believed was signed: host, date, every `x-amz-*` header, the whole query and the body's
//! hash as computed here, or each chunk of it. Looks up no key (the functions of the parent module do) and knows no other
//! scheme of AWS, old or asymmetric.
//!
//! SPEC: AWS General Reference, "AWS Signature Version 4 for API requests".

pub mod chunked;

use super::canonical::{self, Canonical, Payload};
use super::error::{Error, incomplete};
use super::moment;
use crate::clock::Timestamp;
use crate::names::Region;
use crate::secret::Secret;
use aws_lc_rs::hmac;
use chunked::Chunks;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method, Uri};
use std::time::Duration;
use subtle::ConstantTimeEq;

/// How far the signer's clock may be from ours, either way (decision 8).
pub const SKEW_MAX: Duration = Duration::from_secs(300);
/// The longest life of a presigned request.
pub const EXPIRES_MAX: Duration = Duration::from_secs(900);
/// The most headers one request may sign.
pub const SIGNED_HEADERS_MAX: usize = 64;
/// The longest `Authorization` header of this scheme, in bytes.
pub const AUTHORIZATION_BYTES_MAX: usize = 4096;

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
pub(super) const DATE: &str = "x-amz-date";
pub(super) const TOKEN: &str = "x-amz-security-token";
const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// The parameters of the query form.
pub(super) mod parameter {
    pub(in crate::identity) const ALGORITHM: &str = "X-Amz-Algorithm";
    pub(in crate::identity) const CREDENTIAL: &str = "X-Amz-Credential";
    pub(in crate::identity) const DATE: &str = "X-Amz-Date";
    pub(in crate::identity) const EXPIRES: &str = "X-Amz-Expires";
    pub(in crate::identity) const TOKEN: &str = "X-Amz-Security-Token";
    pub(in crate::identity) const SIGNATURE: &str = "X-Amz-Signature";
    pub(in crate::identity) const SIGNED_HEADERS: &str = "X-Amz-SignedHeaders";
    pub(in crate::identity) const ALL: [&str; 7] =
        [ALGORITHM, CREDENTIAL, DATE, EXPIRES, TOKEN, SIGNATURE, SIGNED_HEADERS];
}

/// What of a request can be signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query as they came.
    pub uri: &'a Uri,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The body that was really received: its hash, or its chunks.
    pub payload: Payload<'a>,
}

/// For whom a signature must be made.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The region that serves the request.
    pub region: &'a Region,
    /// The service's name for signing, such as `ecr` or `sts`.
    pub service: &'a str,
}

/// A signature and what it covers, read but not yet verified.
#[derive(Clone, Debug)]
pub struct Presented {
    /// The access key that is claimed to have signed.
    pub access_key_id: String,
    /// The scope's region.
    pub region: String,
    /// The scope's service.
    pub service: String,
    /// The scope's date, `YYYYMMDD`.
    pub date: String,
    /// When it says it was signed.
    pub signed_at: Timestamp,
    /// For the query form: how long it may be used.
    pub expires: Option<Duration>,
    /// The session token that came along.
    pub security_token: Option<Secret<String>>,
    /// The signature, 64 lower-case hexadecimal digits.
    pub signature: String,
    string_to_sign: String,
    chunks: Option<Chunks>,
}

impl Presented {
    /// Reads the signature of a request, in whichever form it came.
    ///
    /// # Errors
    /// `MissingAuthenticationToken` when there is none; `IncompleteSignature` when it is malformed, comes in both
    /// forms, or leaves unsigned what must be signed.
    pub fn parse(request: &Request<'_>) -> Result<Self, Error> {
        let query = canonical::query_pairs(request.uri.query().unwrap_or_default())?;
        let in_query = query.iter().any(|(name, _)| is_parameter(name));
        match (single(request.headers, AUTHORIZATION.as_str())?, in_query) {
            (None, false) => Err(Error::MissingAuthenticationToken),
            (Some(_), true) => Err(incomplete("signed both in the Authorization header and in the query")),
            (Some(text), false) => Self::from_header(request, &query, text),
            (None, true) => Self::from_query(request, query),
        }
    }

    /// Checks region and service of the scope.
    ///
    /// # Errors
    /// `IncompleteSignature` when it was signed for another.
    pub fn check_target(&self, target: &Target<'_>) -> Result<(), Error> {
        if self.region != target.region.as_str() {
            return Err(incomplete("the credential is scoped to another region"));
        }
        if self.service != target.service {
            return Err(incomplete("the credential is scoped to another service"));
        }
        Ok(())
    }

    /// Checks that the signature may be used now.
    ///
    /// # Errors
    /// `RequestTimeTooSkewed` outside [`SKEW_MAX`] of the date, or for the query form after its own expiry.
    pub fn check_time(&self, now: Timestamp) -> Result<(), Error> {
        if now.plus(SKEW_MAX) < self.signed_at || now > self.usable_until() {
            return Err(Error::RequestTimeTooSkewed);
        }
        Ok(())
    }

    /// The last moment at which the signature may be used.
    #[must_use]
    pub fn usable_until(&self) -> Timestamp {
        self.signed_at.plus(self.expires.unwrap_or(SKEW_MAX))
    }

    /// Recomputes the signature, and those of the chunks if the body comes in such, and compares in constant time.
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`.
    pub fn verify(&self, secret: &Secret<String>) -> Result<(), Error> {
        let key = signing_key(secret, &self.date, &self.region, &self.service);
        let expected = hex::encode(hmac::sign(&key, self.string_to_sign.as_bytes()));
        if !bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes())) {
            return Err(Error::SignatureDoesNotMatch);
        }
        let Some(chunks) = &self.chunks else { return Ok(()) };
        let scope = scope(&self.date, &self.region, &self.service);
        chunks.verify(&key, &self.signed_at.civil().amz(), &scope, &expected)
    }

    fn from_header(request: &Request<'_>, query: &[(String, String)], text: &str) -> Result<Self, Error> {
        let [credential, signed_headers, signature] = authorization_fields(text)?;
        let date = single(request.headers, DATE)?.ok_or(incomplete("no X-Amz-Date header"))?;
        let headers = signed_values(request, signed_headers)?;
        let claim = Claim { credential, date, signature };
        let digest = canonical(request, query, &headers).digest();
        let presented = claim.present(&digest, None, single(request.headers, TOKEN)?)?;
        let chunks = match request.payload {
            Payload::Whole(_) => None,
            Payload::Chunked(chunks) => Some(chunks.clone()),
        };
        Ok(Self { chunks, ..presented })
    }

    fn from_query(request: &Request<'_>, query: Vec<(String, String)>) -> Result<Self, Error> {
        if matches!(request.payload, Payload::Chunked(_)) {
            return Err(incomplete("a presigned request has its body in chunks"));
        }
        for (at, (name, _)) in query.iter().enumerate() {
            let known = parameter::ALL.contains(&name.as_str());
            let again = query[..at].iter().any(|(earlier, _)| earlier == name);
            if is_parameter(name) && (!known || again) {
                return Err(incomplete("an X-Amz- parameter is repeated or misspelt"));
            }
        }
        if [DATE, TOKEN].iter().any(|name| request.headers.contains_key(*name)) {
            return Err(incomplete("a presigned request carries X-Amz-Date or X-Amz-Security-Token as a header"));
        }
        let (own, signed): (Vec<_>, Vec<_>) =
            query.into_iter().partition(|(name, _)| name.as_str() == parameter::SIGNATURE);
        let get = |wanted: &str| signed.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let need = |wanted: &str| get(wanted).ok_or(incomplete("an X-Amz- parameter is missing"));
        if need(parameter::ALGORITHM)? != ALGORITHM {
            return Err(incomplete("the algorithm is not AWS4-HMAC-SHA256"));
        }
        let signature = own.first().map(|(_, value)| value.as_str()).ok_or(incomplete("no X-Amz-Signature"))?;
        let headers = signed_values(request, need(parameter::SIGNED_HEADERS)?)?;
        let expires = parse_expires(need(parameter::EXPIRES)?)?;
        let claim = Claim { credential: need(parameter::CREDENTIAL)?, date: need(parameter::DATE)?, signature };
        claim.present(&canonical(request, &signed, &headers).digest(), Some(expires), get(parameter::TOKEN))
    }
}

/// The texts that say who signed and when.
pub(super) struct Claim<'a> {
    pub(super) credential: &'a str,
    pub(super) date: &'a str,
    pub(super) signature: &'a str,
}

impl Claim<'_> {
    /// Parses the claim and binds it to the digest of the canonical request that it is about.
    pub(super) fn present(
        &self,
        digest: &str,
        expires: Option<Duration>,
        token: Option<&str>,
    ) -> Result<Presented, Error> {
        // From the right: an access key id might hold a slash, the other four parts cannot.
        let parts: Vec<&str> = self.credential.rsplitn(5, '/').collect();
        let [terminator, service, region, date, access_key_id] = parts[..] else {
            return Err(incomplete("the credential is not key/date/region/service/aws4_request"));
        };
        let signed_at = moment::parse_amz(self.date).ok_or(incomplete("X-Amz-Date is not YYYYMMDDTHHMMSSZ"))?;
        if terminator != TERMINATOR || !self.date.starts_with(date) || date.len() != 8 {
            return Err(incomplete("the credential's date is not the request's, or its end is not aws4_request"));
        }
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if self.signature.len() != 64 || !self.signature.bytes().all(lower_hex) {
            return Err(incomplete("the signature is not 64 hexadecimal digits"));
        }
        let plain = access_key_id.bytes().all(|b| b.is_ascii_alphanumeric());
        if !plain || !(1..=128).contains(&access_key_id.len()) {
            return Err(incomplete("the access key id is not 1 to 128 letters and digits"));
        }
        Ok(Presented {
            access_key_id: access_key_id.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            date: date.to_owned(),
            signed_at,
            expires,
            security_token: token.map(|token| Secret::new(token.to_owned())),
            signature: self.signature.to_owned(),
            string_to_sign: string_to_sign(self.date, region, service, digest),
            chunks: None,
        })
    }
}

/// The text whose MAC is the signature.
pub(super) fn string_to_sign(amz_date: &str, region: &str, service: &str, digest: &str) -> String {
    let date = amz_date.get(..8).unwrap_or_default();
    format!("{ALGORITHM}\n{amz_date}\n{}\n{digest}", scope(date, region, service))
}

/// The scope of a signing key, as it is written in what is signed.
pub(super) fn scope(date: &str, region: &str, service: &str) -> String {
    format!("{date}/{region}/{service}/{TERMINATOR}")
}

/// The key that signs for one day, region and service.
pub(super) fn signing_key(secret: &Secret<String>, date: &str, region: &str, service: &str) -> hmac::Key {
    let start = Secret::new(format!("AWS4{}", secret.expose()));
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, start.expose().as_bytes());
    for part in [date, region, service, TERMINATOR] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    key
}

/// Reads `X-Amz-Expires`: 1 to 900 seconds.
pub(super) fn parse_expires(text: &str) -> Result<Duration, Error> {
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let seconds = text.parse::<u64>().ok().filter(|_| digits).map(Duration::from_secs);
    seconds
        .filter(|life| !life.is_zero() && *life <= EXPIRES_MAX)
        .ok_or(incomplete("X-Amz-Expires is not 1 to 900 seconds"))
}

fn is_parameter(name: &str) -> bool {
    parameter::ALL.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn canonical<'a>(
    request: &'a Request<'_>,
    query: &'a [(String, String)],
    headers: &'a [(String, String)],
) -> Canonical<'a> {
    let method = request.method.as_str();
    Canonical { method, path: request.uri.path(), query, headers, payload: request.payload }
}

/// The value of a header that may occur once; `None` if absent.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(incomplete("a header of authentication is repeated"));
    }
    first.map(text_of).transpose()
}

fn text_of(value: &http::HeaderValue) -> Result<&str, Error> {
    std::str::from_utf8(value.as_bytes()).map(str::trim).map_err(|_| incomplete("a signed header is not UTF-8"))
}

/// Splits `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`, each exactly once.
fn authorization_fields(text: &str) -> Result<[&str; 3], Error> {
    if text.len() > AUTHORIZATION_BYTES_MAX {
        return Err(incomplete("the Authorization header is longer than 4096 bytes"));
    }
    let (algorithm, fields) = text.split_once(' ').unwrap_or((text, ""));
    if algorithm != ALGORITHM {
        return Err(incomplete("the Authorization header does not begin with AWS4-HMAC-SHA256"));
    }
    let names = ["Credential", "SignedHeaders", "Signature"];
    let mut found = [None; 3];
    for field in fields.split(',') {
        let pair = field.trim().split_once('=');
        let at = pair.and_then(|(name, _)| names.iter().position(|known| *known == name));
        let (Some((_, value)), Some(at)) = (pair, at) else {
            return Err(incomplete("the Authorization header has an unknown field"));
        };
        if found[at].replace(value).is_some() {
            return Err(incomplete("the Authorization header repeats a field"));
        }
    }
    match found {
        [Some(credential), Some(signed_headers), Some(signature)] => Ok([credential, signed_headers, signature]),
        _ => Err(incomplete("the Authorization header lacks Credential, SignedHeaders or Signature")),
    }
}

/// Names and values of the signed headers, after checking that nothing that matters was left out.
fn signed_values(request: &Request<'_>, list: &str) -> Result<Vec<(String, String)>, Error> {
    let names: Vec<&str> = list.split(';').collect();
    let sorted = names.windows(2).all(|pair| pair[0] < pair[1]);
    let lower = list.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase());
    if !sorted || !lower || names.len() > SIGNED_HEADERS_MAX {
        return Err(incomplete("SignedHeaders is not a sorted list of at most 64 lower-case names"));
    }
    if !names.contains(&HOST.as_str()) {
        return Err(incomplete("the Host header is not signed"));
    }
    for name in request.headers.keys().map(http::HeaderName::as_str) {
        // The body's hash needs no signature of its own: it is compared with the real one below.
        if name.starts_with("x-amz-") && name != CONTENT_SHA256 && !names.contains(&name) {
            return Err(incomplete("an X-Amz- header is not signed"));
        }
    }
    if single(request.headers, CONTENT_SHA256)?.is_some_and(|hash| hash != request.payload.text()) {
        return Err(incomplete("X-Amz-Content-Sha256 is not the hash of the body"));
    }
    names.iter().map(|name| Ok(((*name).to_owned(), header_value(request, name)?))).collect()
}

fn header_value(request: &Request<'_>, name: &str) -> Result<String, Error> {
    if name == HOST.as_str() {
        return host(request);
    }
    let values: Vec<&str> = request.headers.get_all(name).iter().map(text_of).collect::<Result<_, _>>()?;
    if values.is_empty() {
        return Err(incomplete("a signed header is missing"));
    }
    Ok(values.join(","))
}

/// The host the client meant: HTTP/1.1 has it as a header, HTTP/2 in the URI; if both, they must agree.
fn host(request: &Request<'_>) -> Result<String, Error> {
    let header = single(request.headers, HOST.as_str())?;
    let authority = request.uri.authority().map(http::uri::Authority::as_str);
    match (header, authority) {
        (Some(header), Some(authority)) if header != authority => Err(incomplete("two different hosts")),
        (Some(host), _) | (None, Some(host)) => Ok(host.to_owned()),
        (None, None) => Err(incomplete("no Host header")),
    }
}

#[cfg(test)]
mod tests;

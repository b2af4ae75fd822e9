//! The client's half: signs requests and presigns the proof of identity that `proof` accepts.

use super::canonical::Canonical;
use super::endpoint::Endpoint;
use super::error::{Error, incomplete};
use super::proof::Statement;
use super::sigv4::{self, Request, Target};
use crate::clock::Timestamp;
use crate::names::{Region, Uid};
use crate::secret::Secret;
use aws_lc_rs::hmac;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue};
use std::collections::BTreeMap;
use std::time::Duration;

/// An access key, with the session's token if it is temporary.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// `AKIA…` or `ASIA…`.
    pub access_key_id: &'a str,
    /// The secret half.
    pub secret: &'a Secret<String>,
    /// The session token.
    pub session_token: Option<&'a Secret<String>>,
}

/// Signs a request with all its headers; returns the headers to add to it.
///
/// # Errors
/// `IncompleteSignature` when a header is not text, the query is broken, or there is no host.
pub fn headers(
    request: &Request<'_>,
    credentials: &Credentials<'_>,
    target: &Target<'_>,
    now: Timestamp,
) -> Result<HeaderMap, Error> {
    let date = now.civil().amz();
    let mut added = HeaderMap::new();
    if let Some(authority) = request.uri.authority().filter(|_| !request.headers.contains_key(HOST)) {
        added.insert(HOST, header(authority.as_str())?);
    }
    added.insert(sigv4::DATE, header(&date)?);
    if let Some(token) = credentials.session_token {
        let mut value = header(token.expose())?;
        value.set_sensitive(true);
        added.insert(sigv4::TOKEN, value);
    }
    let signed = joined(request.headers, &added)?;
    let query = super::canonical::query_pairs(request.uri.query().unwrap_or_default())?;
    let canonical = Canonical {
        method: request.method.as_str(),
        path: request.uri.path(),
        query: &query,
        headers: &signed,
        payload: request.payload,
    };
    let credential = credential(credentials.access_key_id, &date, target.region, target.service);
    let names = canonical.signed_headers();
    let signature = signature(credentials.secret, &date, target.region.as_str(), target.service, &canonical.digest());
    let algorithm = sigv4::ALGORITHM;
    let text = format!("{algorithm} Credential={credential}, SignedHeaders={names}, Signature={signature}");
    added.insert(AUTHORIZATION, header(&text)?);
    Ok(added)
}

/// A URL that proves to `endpoint`'s organization, and to no other, who holds the credentials.
///
/// `expires` is cut to whole seconds between 1 and 900; `nonce` makes two proofs of one second differ, for a service that
/// knows it.
#[must_use]
pub fn presign_get_caller_identity(
    endpoint: &Endpoint,
    region: &Region,
    credentials: &Credentials<'_>,
    now: Timestamp,
    expires: Duration,
    organization: Uid,
    nonce: Option<Uid>,
) -> String {
    let date = now.civil().amz();
    let statement = Statement {
        credential: credential(credentials.access_key_id, &date, region, super::proof::SERVICE),
        date,
        expires: Duration::from_secs(expires.as_secs().clamp(1, sigv4::EXPIRES_MAX.as_secs())),
        token: credentials.session_token.cloned(),
        nonce,
    };
    let digest = statement.digest(endpoint, organization);
    let signature = signature(credentials.secret, &statement.date, region.as_str(), super::proof::SERVICE, &digest);
    statement.url(endpoint, &signature)
}

fn credential(access_key_id: &str, amz_date: &str, region: &Region, service: &str) -> String {
    let date = amz_date.get(..8).unwrap_or_default();
    format!("{access_key_id}/{}", sigv4::scope(date, region.as_str(), service))
}

fn signature(secret: &Secret<String>, amz_date: &str, region: &str, service: &str, digest: &str) -> String {
    let key = sigv4::signing_key(secret, amz_date.get(..8).unwrap_or_default(), region, service);
    hex::encode(hmac::sign(&key, sigv4::string_to_sign(amz_date, region, service, digest).as_bytes()))
}

fn header(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(|_| incomplete("a credential cannot be written in a header"))
}

/// Every header of both maps by name, repeated values joined by commas.
fn joined(given: &HeaderMap, added: &HeaderMap) -> Result<Vec<(String, String)>, Error> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in given.iter().chain(added) {
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| incomplete("a header is not UTF-8"))?;
        all.entry(name.as_str().to_owned())
            .and_modify(|joined| {
                joined.push(',');
                joined.push_str(text.trim());
            })
            .or_insert_with(|| text.trim().to_owned());
    }
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::{Credentials, headers};
    use crate::clock::Timestamp;
    use crate::identity::canonical::sha256;
    use crate::identity::sigv4::{Presented, Request, Target};
    use crate::names::Region;
    use crate::secret::Secret;
    use http::{HeaderMap, Method, Uri};

    #[test]
    fn signed_headers_verify() {
        let (region, secret) = (Region::parse("us-east-1").unwrap(), Secret::new("secret".to_owned()));
        let token = Secret::new("ts1.token".to_owned());
        let uri: Uri = "https://registry.example/a%20b?x=1&y".parse().unwrap();
        let mut all = HeaderMap::new();
        all.append("x-amz-meta", " a   b ".parse().unwrap());
        all.append("x-amz-meta", "c".parse().unwrap());
        let request = Request { method: &Method::PUT, uri: &uri, headers: &all, payload: sha256(b"body").into() };
        let target = Target { region: &region, service: "ecr" };
        let credentials =
            Credentials { access_key_id: "ASIAAAAAAAAAAAAAAAAA", secret: &secret, session_token: Some(&token) };
        let added = headers(&request, &credentials, &target, Timestamp::from_secs(1_790_208_000)).unwrap();
        let mut sent = all.clone();
        sent.extend(added);
        let presented = Presented::parse(&Request { headers: &sent, ..request }).unwrap();
        assert_eq!(presented.verify(&secret), Ok(()));
        assert_eq!(presented.security_token.as_ref().unwrap(), &token);
    }
}

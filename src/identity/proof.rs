//! A presigned `GetCallerIdentity` for our own host, as the first credential of a caller (decision 16).
//!
//! The URL is taken apart into values that are each checked, and the request it speaks of is built anew from them,
//! with the organization's header put in by us. The text itself is never sent, forwarded or trusted, so a second
//! spelling of a parameter, another host or another action has nothing to act on (CVE-2022-2385, CVE-2020-16250).

use super::canonical::{Canonical, query_pairs, query_text, sha256};
use super::endpoint::Endpoint;
use super::error::{Error, incomplete};
use super::ids::{ACCESS_KEY_ID_LENGTH, is_access_key_id};
use super::sigv4::{self, Claim, Presented, Target, parameter};
use crate::names::{Region, Uid};
use crate::secret::Secret;
use std::time::Duration;

/// The longest URL that is read, in bytes.
pub const URL_BYTES_MAX: usize = 4096;
/// The header, signed but never sent, that binds a proof to one organization.
pub const ORGANIZATION_HEADER: &str = "x-transship-organization";
/// The service for which a proof is signed.
pub const SERVICE: &str = "sts";

const ACTION: (&str, &str) = ("Action", "GetCallerIdentity");
const VERSION: (&str, &str) = ("Version", "2011-06-15");
/// Makes proofs of one second differ; whoever signs may leave it out, and then makes one a second.
const NONCE: &str = "Nonce";
const SIGNED_HEADERS: &str = "host;x-transship-organization";

/// For whom a proof must be made.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The addresses by which callers may know this region.
    pub endpoints: &'a [Endpoint],
    /// This region.
    pub region: &'a Region,
    /// This organization.
    pub organization: Uid,
}

/// Reads a proof; who made it is not known until [`Presented::verify`].
///
/// # Errors
/// `IncompleteSignature` when the URL is not exactly a presigned `GetCallerIdentity` for one of the endpoints.
pub fn parse(url: &str, expected: &Expected<'_>) -> Result<Presented, Error> {
    if url.len() > URL_BYTES_MAX {
        return Err(incomplete("the URL is longer than 4096 bytes"));
    }
    let after = |endpoint: &Endpoint| url.strip_prefix(endpoint.as_str())?.strip_prefix("/?");
    let (endpoint, query) = expected
        .endpoints
        .iter()
        .find_map(|endpoint| Some((endpoint, after(endpoint)?)))
        .ok_or(incomplete("the URL is not one of this service's endpoints with path / and a query"))?;
    let (statement, signature) = Statement::parse(query)?;
    let claim = Claim { credential: &statement.credential, date: &statement.date, signature: &signature };
    let token = statement.token.as_ref().map(|token| token.expose().as_str());
    let digest = statement.digest(endpoint, expected.organization);
    let presented = claim.present(&digest, Some(statement.expires), token)?;
    presented.check_target(&Target { region: expected.region, service: SERVICE })?;
    Ok(presented)
}

/// The access key id that a URL claims to be signed with, if it has the form of one: for the audit of a refused proof,
/// which may be malformed in any other way.
#[must_use]
pub fn claimed_key(url: &str) -> Option<&str> {
    let (_, query) = url.get(..URL_BYTES_MAX.min(url.len()))?.split_once('?')?;
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix(parameter::CREDENTIAL)?.strip_prefix('='));
    values.next()?.get(..ACCESS_KEY_ID_LENGTH).filter(|id| is_access_key_id(id))
}

/// What a proof says, apart from its signature; everything else in it is constant.
pub(super) struct Statement {
    pub(super) credential: String,
    pub(super) date: String,
    pub(super) expires: Duration,
    pub(super) token: Option<Secret<String>>,
    pub(super) nonce: Option<Uid>,
}

impl Statement {
    /// The digest of the canonical request for an endpoint and an organization.
    pub(super) fn digest(&self, endpoint: &Endpoint, organization: Uid) -> String {
        let headers = [
            ("host".to_owned(), endpoint.host().to_owned()),
            (ORGANIZATION_HEADER.to_owned(), organization.to_string()),
        ];
        let query = self.parameters();
        Canonical { method: "GET", path: "/", query: &query, headers: &headers, payload: sha256(b"").into() }.digest()
    }

    /// The URL with its signature.
    pub(super) fn url(&self, endpoint: &Endpoint, signature: &str) -> String {
        let mut parameters = self.parameters();
        parameters.push((parameter::SIGNATURE.to_owned(), signature.to_owned()));
        format!("{endpoint}/?{}", query_text(&parameters))
    }

    /// Reads the query of a proof and its signature.
    pub(super) fn parse(query: &str) -> Result<(Self, String), Error> {
        // Nothing that two readers could decode differently: no plus sign, no fragment, no raw text.
        if !query.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~%&=".contains(&b)) {
            return Err(incomplete("the URL's query is not percent-encoded"));
        }
        let mut given = query_pairs(query)?;
        refuse_unknown(&given)?;
        let mut take = |wanted: &str| {
            let at = given.iter().position(|(name, _)| name == wanted)?;
            Some(given.swap_remove(at).1)
        };
        let constants =
            [ACTION, VERSION, (parameter::ALGORITHM, sigv4::ALGORITHM), (parameter::SIGNED_HEADERS, SIGNED_HEADERS)];
        for (name, value) in constants {
            if take(name).as_deref() != Some(value) {
                return Err(incomplete("the URL's action, version, algorithm or signed headers are not a proof's"));
            }
        }
        let mut need = |name| take(name).ok_or(incomplete("an X-Amz- parameter is missing"));
        let signature = need(parameter::SIGNATURE)?;
        let expires = sigv4::parse_expires(&need(parameter::EXPIRES)?)?;
        let (credential, date) = (need(parameter::CREDENTIAL)?, need(parameter::DATE)?);
        let token = take(parameter::TOKEN).map(Secret::new);
        let nonce = take(NONCE).map(|text| Uid::parse(&text).map_err(|_| incomplete("the URL's Nonce is no UUID")));
        Ok((Self { credential, date, expires, token, nonce: nonce.transpose()? }, signature))
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let expires = self.expires.as_secs().to_string();
        let mut parameters = vec![
            ACTION,
            VERSION,
            (parameter::ALGORITHM, sigv4::ALGORITHM),
            (parameter::CREDENTIAL, &self.credential),
            (parameter::DATE, &self.date),
            (parameter::EXPIRES, &expires),
            (parameter::SIGNED_HEADERS, SIGNED_HEADERS),
        ];
        if let Some(token) = &self.token {
            parameters.push((parameter::TOKEN, token.expose()));
        }
        let nonce = self.nonce.map(|nonce| nonce.to_string());
        parameters.extend(nonce.as_deref().map(|nonce| (NONCE, nonce)));
        parameters.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// Refuses every parameter outside the ten of a proof, and a second of any, in whatever case.
fn refuse_unknown(given: &[(String, String)]) -> Result<(), Error> {
    for (at, (name, _)) in given.iter().enumerate() {
        let known = [ACTION.0, VERSION.0, NONCE].contains(&name.as_str()) || parameter::ALL.contains(&name.as_str());
        let again = given[..at].iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(name));
        if !known || again {
            return Err(incomplete("the URL has an unknown, misspelt or repeated parameter"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

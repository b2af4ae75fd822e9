//! Identity tokens of other issuers: read, checked against the issuer's key, and then against the clock.
//!
//! An [`Unverified`] token says only whose key and which provider to look for; claims come out of it by
//! [`Unverified::verify`] alone. The header chooses among the issuer's keys and nothing else: a key that the token
//! brings along, or says where to fetch, makes it refused.
//!
//! SPEC: RFC 7515 (JWS, compact form), RFC 7519 (JWT), RFC 8725 (best current practices); AWS STS,
//! `AssumeRoleWithWebIdentity`.

use super::error::{Error, token};
use super::json;
use super::jwk::{Algorithm, Jwk};
use crate::clock::Timestamp;
use crate::ctx::Claim;
use crate::names::{SessionName, SessionTag};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// SPEC: AWS STS API, `WebIdentityToken`: 4 to 20,000 characters.
pub const TOKEN_CHARS_MAX: usize = 20_000;
/// How far an issuer's clock may be from ours.
pub const SKEW_MAX: Duration = Duration::from_secs(60);
/// Claims by which an issuer says something of the session.
const TAGS: &str = "https://aws.amazon.com/tags";
const SOURCE_IDENTITY: &str = "https://aws.amazon.com/source_identity";
/// Header members that would have the token bring its own key, or change what is to be checked.
const FORBIDDEN: [&str; 7] = ["jwk", "jku", "x5c", "x5u", "crit", "b64", "zip"];

/// A token that has the form of one, and whom it says it is of.
pub struct Unverified<'a> {
    algorithm: Algorithm,
    key_id: String,
    signed: &'a [u8],
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

/// What an issuer says of the bearer of its token; its signature was checked.
#[derive(Debug)]
pub struct Claims(Map<String, Value>);

impl<'a> Unverified<'a> {
    /// Reads a token in the compact form.
    ///
    /// # Errors
    /// `InvalidIdentityToken` when it is none, is not signed with a public key, or its header has what it may not.
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        if text.len() > TOKEN_CHARS_MAX {
            return Err(token("it has more than 20,000 characters"));
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(token("it is not a signed JWT in the compact form"));
        };
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let read = |part: &str| json::object(&decoded(part)?);
        let (Some(header), Some(claims), Some(signature)) = (read(header), read(payload), decoded(signature)) else {
            return Err(token("its header or payload is not JSON in base64url, or gives a member twice"));
        };
        if FORBIDDEN.iter().any(|member| header.contains_key(*member)) {
            return Err(token("its header has jwk, jku, x5c, x5u, crit, b64 or zip; keys come from the issuer alone"));
        }
        let name = |member: &str| header.get(member).and_then(Value::as_str);
        let algorithm = name("alg").and_then(Algorithm::named);
        let algorithm =
            algorithm.ok_or_else(|| token("its algorithm is none of RS256, RS384, RS512, ES256, ES384, ES512"))?;
        let key_id = name("kid").filter(|id| !id.is_empty()).ok_or_else(|| token("its header has no kid"))?.to_owned();
        let signed = &text.as_bytes()[..text.len() - 1 - text.rsplit('.').next().map_or(0, str::len)];
        Ok(Self { algorithm, key_id, signed, signature, claims })
    }

    /// Whose token it says it is.
    ///
    /// # Errors
    /// `InvalidIdentityToken` when it does not say.
    pub fn issuer(&self) -> Result<&str, Error> {
        self.claims.get("iss").and_then(Value::as_str).ok_or_else(|| token("it has no iss"))
    }

    /// The id of the key that it says it was signed with.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The claims, if the key's holder signed them.
    ///
    /// # Errors
    /// `InvalidIdentityToken`.
    pub fn verify(self, key: &Jwk) -> Result<Claims, Error> {
        if !key.verify(self.algorithm, self.signed, &self.signature) {
            return Err(token("its signature is not the issuer's"));
        }
        // Condition keys ignore case, so of two such claims it would be unclear which one a policy means.
        let names: HashSet<String> = self.claims.keys().map(|name| name.to_lowercase()).collect();
        if names.len() != self.claims.len() {
            return Err(token("it has two claims whose names differ in case alone"));
        }
        Ok(Claims(self.claims))
    }
}

impl Claims {
    /// Checks that the token is good now, and for one of these clients; gives the client it is for.
    ///
    /// # Errors
    /// `InvalidIdentityToken`; `IdentityTokenExpired`.
    pub fn check(&self, clients: &[String], now: Timestamp) -> Result<String, Error> {
        let expires_at = self.moment("exp")?.ok_or_else(|| token("it has no exp"))?;
        let issued_at = self.moment("iat")?.ok_or_else(|| token("it has no iat"))?;
        if expires_at.plus(SKEW_MAX) <= now {
            return Err(Error::IdentityTokenExpired { now: now.secs(), expired_at: expires_at.secs() });
        }
        let latest = now.plus(SKEW_MAX);
        if issued_at > latest || self.moment("nbf")?.is_some_and(|from| from > latest) {
            return Err(token("it is not valid yet"));
        }
        self.subject()?;
        self.audience(clients).ok_or(Error::AudienceUnknown)
    }

    /// When it ends, the skew included.
    ///
    /// # Errors
    /// `InvalidIdentityToken` when it does not say.
    pub fn expires_at(&self) -> Result<Timestamp, Error> {
        Ok(self.moment("exp")?.ok_or_else(|| token("it has no exp"))?.plus(SKEW_MAX))
    }

    /// The bearer's name at the issuer.
    ///
    /// # Errors
    /// `InvalidIdentityToken` when there is none.
    pub fn subject(&self) -> Result<&str, Error> {
        self.text("sub").filter(|text| !text.is_empty()).ok_or_else(|| token("it has no sub"))
    }

    /// A claim that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// The claims that are text, numbers or truth values, or lists of them, as condition keys know them. A name with a colon
    /// is left out: behind one issuer's name it would read as another's.
    #[must_use]
    pub fn plain(&self) -> Vec<Claim> {
        let read = |(name, value): (&String, &Value)| {
            let (values, is_list) = match value {
                Value::Array(list) => (list.iter().map(scalar).collect::<Option<_>>()?, true),
                value => (vec![scalar(value)?], false),
            };
            Some(Claim { name: name.clone(), values, is_list })
        };
        self.0.iter().filter(|(name, _)| !name.contains(':')).filter_map(read).collect()
    }

    /// The tags that the issuer gives the session.
    ///
    /// # Errors
    /// `InvalidIdentityToken` when the claim is not of AWS's form.
    // SPEC: IAM user guide, "Passing session tags using AssumeRoleWithWebIdentity".
    pub fn session_tags(&self) -> Result<Vec<SessionTag>, Error> {
        let Some(claim) = self.0.get(TAGS) else { return Ok(Vec::new()) };
        let read = || {
            let transitive: Vec<&str> = match claim.get("transitive_tag_keys") {
                Some(keys) => keys.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?,
                None => Vec::new(),
            };
            let tag = |(key, values): (&String, &Value)| {
                let [value] = values.as_array()?.as_slice() else { return None };
                SessionTag::new(key, value.as_str()?, transitive.contains(&key.as_str())).ok()
            };
            claim.get("principal_tags")?.as_object()?.iter().map(tag).collect::<Option<Vec<_>>>()
        };
        read().ok_or_else(|| token("its claim https://aws.amazon.com/tags is not of the form AWS describes"))
    }

    /// Who the issuer says is behind the session.
    ///
    /// # Errors
    /// `InvalidIdentityToken` when it is no name for that.
    pub fn source_identity(&self) -> Result<Option<SessionName>, Error> {
        let Some(claim) = self.0.get(SOURCE_IDENTITY) else { return Ok(None) };
        let name = claim.as_str().and_then(|text| SessionName::parse(text).ok());
        name.map(Some).ok_or_else(|| token("its claim https://aws.amazon.com/source_identity is no such name"))
    }

    /// The client among these that the token is for.
    // SPEC: IAM user guide: where `aud` is a list, `azp` says for which of them the token is.
    fn audience(&self, clients: &[String]) -> Option<String> {
        let known = |client: &str| clients.iter().any(|known| known == client);
        match self.0.get("aud")? {
            Value::String(client) => Some(client.clone()).filter(|client| known(client)),
            Value::Array(list) => {
                let named: Vec<&str> = list.iter().map(Value::as_str).collect::<Option<_>>()?;
                if let Some(party) = self.0.get("azp") {
                    return party.as_str().filter(|party| named.contains(party) && known(party)).map(ToOwned::to_owned);
                }
                let mut ours = named.into_iter().filter(|client| known(client));
                // With two of ours it is not clear whom the bearer talks to.
                ours.next().filter(|_| ours.next().is_none()).map(ToOwned::to_owned)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        }
    }

    /// A moment in whole seconds; anything else under that name is refused.
    fn moment(&self, name: &'static str) -> Result<Option<Timestamp>, Error> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let seconds = value.as_i64().filter(|seconds| (0..=MOMENT_MAX).contains(seconds));
        let seconds = seconds.ok_or_else(|| token("its exp, iat or nbf is not a number of whole seconds"))?;
        Ok(Some(Timestamp::from_secs(seconds)))
    }
}

/// The last moment that is believed, in the year 9999.
const MOMENT_MAX: i64 = 253_402_300_799;

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

//! Who is calling.
//!
//! Pure functions of a request's parts and a [`Directory`]. Each ends in a [`Caller`] or in an error that does not
//! say which keys, users or sessions exist: an unknown key costs the same work as a wrong signature and gets the
//! same answer. What the caller may do is not asked here.

pub mod aws;
pub mod aws_roles;
pub mod basic;
pub mod bearer;
mod bounds;
pub mod canonical;
mod claims;
mod deflated;
mod endpoint;
mod error;
pub mod ids;
pub mod issuers;
mod json;
pub mod jwk;
pub mod jwt;
mod message;
mod moment;
pub mod proof;
mod replay;
pub mod sign;
pub mod sigv4;
mod token;
pub mod totp;

pub use claims::{CONSTRAINTS_BYTES_MAX, Claims, Kind, PACKED_BYTES_MAX};
pub use endpoint::Endpoint;
pub use error::{Code, Error};
pub use message::MESSAGE_BYTES_MAX;
pub(crate) use moment::parse_amz;
pub use replay::{REPLAYS_MAX, ReplayCache};
pub use token::{PREFIX, TOKEN_BYTES_MAX, TemporaryCredentials, TokenKey, TokenKeys};

use crate::clock::Timestamp;
use crate::ctx::{Caller, Principal};
use crate::error::Result;
use crate::names::PrincipalName;
use crate::secret::Secret;
use async_trait::async_trait;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sigv4::{Presented, Request, Target};
use std::sync::Arc;

/// A user's access key, as the directory keeps it.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// The secret half.
    pub secret: Secret<String>,
    /// The user.
    pub principal: PrincipalName,
    /// The user's unique id.
    pub unique_id: Arc<str>,
}

/// What must be looked up to know a caller.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The access key of that id, if it is active and its user exists; removing a user removes its keys.
    async fn access_key(&self, id: &str) -> Result<Option<AccessKey>>;

    /// Whether claims still stand: their principal exists under that name **and** that unique id, and their session was
    /// not revoked, by itself or with others.
    async fn stand(&self, claims: &Claims) -> Result<bool>;
}

/// The caller whom a registry password or bearer token speaks for.
///
/// # Errors
/// `CallerUnknown` when the token is not ours, of another kind, revoked or its principal is gone;
/// `CredentialsExpired`; whatever the directory answers.
pub async fn from_token(
    text: &str,
    allowed: &[Kind],
    directory: &dyn Directory,
    keys: &TokenKeys,
    now: Timestamp,
) -> Result<Caller> {
    let claims = keys.open(text, now)?;
    if !allowed.contains(&claims.kind) {
        return Err(Error::InvalidClientTokenId.into());
    }
    from_claims(claims, directory).await
}

/// The caller who signed a request, in its header or its query.
///
/// # Errors
/// `CallerUnknown` with the metadata entry `code`; `CredentialsExpired`; whatever the directory answers.
pub async fn from_signature(
    request: &Request<'_>,
    target: &Target<'_>,
    directory: &dyn Directory,
    keys: &TokenKeys,
    now: Timestamp,
) -> Result<Caller> {
    let presented = Presented::parse(request)?;
    presented.check_target(target)?;
    presented.check_time(now)?;
    from_presented(&presented, directory, keys, now).await
}

/// The caller who presigned a proof of identity for us; each proof is accepted once.
///
/// # Errors
/// As [`from_signature`]; `Throttled` when no more proofs can be remembered.
pub async fn from_proof(
    url: &str,
    expected: &proof::Expected<'_>,
    replays: &ReplayCache,
    directory: &dyn Directory,
    keys: &TokenKeys,
    now: Timestamp,
) -> Result<Caller> {
    let presented = proof::parse(url, expected)?;
    presented.check_time(now)?;
    let caller = from_presented(&presented, directory, keys, now).await?;
    replays.admit(&presented, now)?;
    Ok(caller)
}

async fn from_presented(
    presented: &Presented,
    directory: &dyn Directory,
    keys: &TokenKeys,
    now: Timestamp,
) -> Result<Caller> {
    match &presented.security_token {
        Some(token) => from_temporary_key(presented, token, directory, keys, now).await,
        None => from_long_term_key(presented, directory).await,
    }
}

async fn from_long_term_key(presented: &Presented, directory: &dyn Directory) -> Result<Caller> {
    let found = directory.access_key(&presented.access_key_id).await?;
    let decoy = decoy();
    let verified = presented.verify(found.as_ref().map_or(&decoy, |key| &key.secret));
    // Only now may it matter whether there is such a key.
    let (Some(key), Ok(())) = (found, verified) else {
        return Err(Error::SignatureDoesNotMatch.into());
    };
    let principal = Principal { name: key.principal, unique_id: key.unique_id, session: None };
    Ok(Caller::Principal(Arc::new(principal)))
}

async fn from_temporary_key(
    presented: &Presented,
    token: &Secret<String>,
    directory: &dyn Directory,
    keys: &TokenKeys,
    now: Timestamp,
) -> Result<Caller> {
    let opened = keys.open_session(token.expose(), now);
    let decoy = decoy();
    let verified = presented.verify(opened.as_ref().map_or(&decoy, |opened| &opened.secret));
    let opened = opened?;
    if !opened.belongs_to(&presented.access_key_id) {
        return Err(Error::InvalidClientTokenId.into());
    }
    verified?;
    from_claims(opened.claims, directory).await
}

async fn from_claims(claims: Claims, directory: &dyn Directory) -> Result<Caller> {
    if !directory.stand(&claims).await? {
        return Err(Error::InvalidClientTokenId.into());
    }
    Ok(claims.into_caller())
}

/// What a request shows of its caller.
pub enum Shown {
    /// A token of ours, as password or bearer.
    Token(Secret<String>),
    /// The role that is wanted, and an identity token of another issuer.
    WebIdentity(PrincipalName, Secret<String>),
}

/// What a request of the registry's HTTP surface shows of its caller: the password of `Basic`, or a bearer token.
///
/// # Errors
/// `IncompleteSignature` when the header is repeated or malformed.
pub fn shown(headers: &HeaderMap) -> Result<Option<Shown>, Error> {
    match basic::credentials(headers)? {
        Some(shown) => Ok(Some(shown)),
        None => bearer_token(headers),
    }
}

/// The bearer token of a request, the only credential over gRPC.
///
/// # Errors
/// `IncompleteSignature` when the header is repeated or malformed.
pub fn bearer_token(headers: &HeaderMap) -> Result<Option<Shown>, Error> {
    Ok(bearer::token(headers)?.map(|token| Shown::Token(Secret::new(token.to_owned()))))
}

/// Stands in for the secret of a key that does not exist, so that verifying takes as long; it never admits anyone.
fn decoy() -> Secret<String> {
    Secret::new("no key has this secret: it is 40 letters".to_owned())
}

/// The credentials of an `Authorization` header of this scheme; `None` if there is no header or another scheme.
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(error::incomplete("the Authorization header is repeated"));
    }
    let text = value.to_str().map_err(|_| error::incomplete("the Authorization header is not ASCII"))?.trim();
    let (given, credentials) = text.split_once(' ').unwrap_or((text, ""));
    Ok(given.eq_ignore_ascii_case(scheme).then(|| credentials.trim_start()))
}

#[cfg(test)]
mod tests;

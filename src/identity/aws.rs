//! Who somebody is to AWS: a presigned `GetCallerIdentity` of AWS STS, shown as an identity token.
//!
//! The token is `transship-aws-v1.` and the presigned URL as base64url. As with [`super::proof`], the URL is taken apart
//! into values that are each checked, and the request that is sent is built anew from them, to the one endpoint of the
//! configuration, with the organization's header put in by us: a proof that was made for another service is none here
//! (CVE-2020-16250, CVE-2022-2385). AWS alone can say whose signature it is, so it is asked; its answer is read strictly.
//! SPEC: STS API, `GetCallerIdentity`; IAM User Guide, "IAM identifiers".

use super::endpoint::Endpoint;
use super::error::{Error, token as invalid};
use super::proof::{SERVICE, Statement};
use super::sigv4::{Claim, Presented, Target};
use crate::clock::Timestamp;
use crate::ctx::Claim as Said;
use crate::names::{AccountId, Region, Uid};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What such a token begins with; no JWT does.
pub const PREFIX: &str = "transship-aws-v1.";
/// The issuer whom an account trusts that lets identities of AWS in.
pub const ISSUER: &str = "https://sts.amazonaws.com";
/// For whom its tokens are, as the provider's client id.
pub const AUDIENCE: &str = "sts.amazonaws.com";
/// The longest token that is read: a URL of 4096 bytes as base64.
const TOKEN_CHARS_MAX: usize = PREFIX.len() + 5_464;

/// Where proofs must be for.
#[derive(Clone, Debug)]
pub struct Place {
    /// The endpoint of AWS STS.
    pub endpoint: Endpoint,
    /// The region for which it is signed.
    pub region: Region,
}

/// A presigned `GetCallerIdentity` that was taken apart and built anew.
#[derive(Debug)]
pub struct Proof {
    presented: Presented,
    url: String,
}

/// Who AWS says somebody is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The user, or the role without its path and session: `arn:aws:iam::<account>:role/<name>`.
    pub subject: String,
    account: AccountId,
    /// The ARN as AWS gives it.
    arn: String,
    /// The unique id: `AIDA…`, or `AROA…:<session>`.
    user_id: String,
}

/// AWS STS, as far as it says who somebody is.
#[async_trait]
pub trait AwsSts: Send + Sync {
    /// Where it is.
    fn place(&self) -> &Place;

    /// Whose proof it is, which was made for an organization.
    ///
    /// # Errors
    /// `InvalidIdentityToken` when AWS does not believe it, `IssuerSilent` when AWS cannot be asked.
    async fn caller_identity(&self, proof: &Proof, organization: Uid) -> Result<Identity, Error>;
}

/// Whether a token is of this kind.
#[must_use]
pub fn is_proof(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// The token of a presigned URL.
#[must_use]
pub fn token(url: &str) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(url))
}

impl Proof {
    /// Reads a token; whose it is, only AWS knows.
    ///
    /// # Errors
    /// `InvalidIdentityToken` when it is not exactly a presigned `GetCallerIdentity` for that place and organization, or
    /// cannot be used now; `IdentityTokenExpired` when it could be once.
    pub fn parse(token: &str, place: &Place, organization: Uid, now: Timestamp) -> Result<Self, Error> {
        let encoded = token.strip_prefix(PREFIX).filter(|_| token.len() <= TOKEN_CHARS_MAX);
        let url =
            encoded.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).and_then(|url| String::from_utf8(url).ok());
        let url = url.ok_or(invalid("it is no presigned URL as base64url, of at most 4096 bytes"))?;
        let query = url.strip_prefix(place.endpoint.as_str()).and_then(|rest| rest.strip_prefix("/?"));
        let query = query.ok_or(invalid("its URL is not for the STS endpoint of this service, path / and a query"))?;
        let read = || {
            let (statement, signature) = Statement::parse(query)?;
            let claim = Claim { credential: &statement.credential, date: &statement.date, signature: &signature };
            let session = statement.token.as_ref().map(|token| token.expose().as_str());
            let digest = statement.digest(&place.endpoint, organization);
            let presented = claim.present(&digest, Some(statement.expires), session)?;
            presented.check_target(&Target { region: &place.region, service: SERVICE })?;
            Ok((statement.url(&place.endpoint, &signature), presented))
        };
        let (url, presented) = read().map_err(|error| match error {
            Error::IncompleteSignature { what } => invalid(what),
            other => other,
        })?;
        let end = presented.usable_until();
        if now > end {
            return Err(Error::IdentityTokenExpired { now: now.secs(), expired_at: end.secs() });
        }
        presented.check_time(now).map_err(|_| invalid("its date is more than 5 minutes ahead"))?;
        Ok(Self { presented, url })
    }

    /// The request's URL, as it was built.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn presented(&self) -> &Presented {
        &self.presented
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    #[serde(rename = "GetCallerIdentityResponse")]
    response: Response,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    #[serde(rename = "GetCallerIdentityResult")]
    result: Answered,
    #[serde(rename = "ResponseMetadata")]
    _metadata: serde::de::IgnoredAny,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Answered {
    account: String,
    arn: String,
    user_id: String,
}

impl Identity {
    /// Reads AWS's answer, JSON and nothing else; the root of an account is nobody here.
    #[must_use]
    pub fn parse(answer: &[u8]) -> Option<Self> {
        let Answered { account, arn, user_id } = serde_json::from_slice::<Answer>(answer).ok()?.response.result;
        let account = AccountId::parse(&account).ok()?;
        let mut fields = arn.splitn(6, ':');
        let mut next = || fields.next();
        let (scheme, partition, service, region, of, what) = (next()?, next()?, next()?, next()?, next()?, next()?);
        let plain = |b: u8| b.is_ascii_lowercase() || b == b'-';
        if scheme != "arn" || !partition.starts_with("aws") || !partition.bytes().all(plain) || !region.is_empty() {
            return None;
        }
        // Ids that differ from what they stand in would speak for another account.
        if of != account.as_str() || user_id.is_empty() || user_id.contains(char::is_control) {
            return None;
        }
        let subject = match (service, what.split_once('/')?) {
            ("iam", ("user", name)) if !name.is_empty() => arn.clone(),
            ("sts", ("federated-user", name)) if !name.is_empty() => arn.clone(),
            ("sts", ("assumed-role", rest)) => {
                let (role, session) = rest.split_once('/')?;
                let fits = !role.is_empty() && !session.is_empty() && !session.contains('/');
                fits.then(|| format!("arn:{partition}:iam::{account}:role/{role}"))?
            }
            _ => return None,
        };
        Some(Self { subject, account, arn, user_id })
    }

    /// What policies can ask of it, under the issuer's name.
    #[must_use]
    pub fn claims(&self) -> Vec<Said> {
        let said =
            |name: &str, value: &str| Said { name: name.to_owned(), values: vec![value.to_owned()], is_list: false };
        vec![said("account", self.account.as_str()), said("arn", &self.arn), said("userid", &self.user_id)]
    }
}

#[cfg(test)]
mod tests;

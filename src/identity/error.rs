//! Why a caller is not believed.
//!
//! The variants are what programs tell apart. None of them says whether a key, principal or session exists.

use crate::error::Reason;

/// The codes of the AWS surfaces; each surface renders them in its own spelling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// The signature or the access key id is wrong.
    SignatureDoesNotMatch,
    /// The token is not one of this organization's, or no longer good here.
    InvalidClientTokenId,
    /// The token was good once.
    ExpiredToken,
    /// The request carries no credentials.
    MissingAuthenticationToken,
    /// The credentials are malformed, or leave something unsigned.
    IncompleteSignature,
    /// The request is too old or too new.
    RequestTimeTooSkewed,
    /// An identity token that is not believed.
    InvalidIdentityToken,
    /// An identity token that was good once.
    ExpiredTokenException,
    /// The keys of an issuer cannot be had.
    IdpCommunicationError,
}

impl Code {
    /// The code's text, as in the metadata entry `code`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignatureDoesNotMatch => "SignatureDoesNotMatch",
            Self::InvalidClientTokenId => "InvalidClientTokenId",
            Self::ExpiredToken => "ExpiredToken",
            Self::MissingAuthenticationToken => "MissingAuthenticationToken",
            Self::IncompleteSignature => "IncompleteSignature",
            Self::RequestTimeTooSkewed => "RequestTimeTooSkewed",
            Self::InvalidIdentityToken => "InvalidIdentityToken",
            Self::ExpiredTokenException => "ExpiredTokenException",
            Self::IdpCommunicationError => "IDPCommunicationError",
        }
    }
}

/// Why credentials were refused, or could not be issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No credentials at all.
    #[error("the request carries no credentials")]
    MissingAuthenticationToken,
    /// Credentials of the wrong shape; what is wrong follows from the caller's own text.
    #[error("the request's credentials are malformed or incomplete: {what}")]
    IncompleteSignature {
        /// What is wrong.
        what: &'static str,
    },
    /// Outside the time in which the signature may be used.
    #[error("the request was signed too long ago, or its date is more than 5 minutes ahead")]
    RequestTimeTooSkewed,
    /// Wrong signature or unknown access key: deliberately one answer.
    #[error("the access key id or the signature is not valid; check the key, the secret and the signing method")]
    SignatureDoesNotMatch,
    /// A token that does not open, is of the wrong kind, is revoked, or whose principal is gone: one answer.
    #[error("the security token included in the request is not valid")]
    InvalidClientTokenId,
    /// A token past its end.
    // OBSERVED: ECR's own sentence, which users and scripts know.
    #[error("Your authorization token has expired. Reauthenticate and try again.")]
    ExpiredToken,
    /// A proof of identity that was used before.
    #[error("this proof of identity was used before; sign a new one")]
    Replayed,
    /// Too many unexpired proofs are remembered to remember one more.
    #[error("too many proofs of identity at once; try again later")]
    ReplayCacheFull,
    /// The session's constraints do not fit a token.
    #[error("the session's policies, scope and names pack to {bytes} bytes, more than {limit}")]
    PackedPolicyTooLarge {
        /// The packed size, or the unpacked size of policies and scope if that is what is too large.
        bytes: usize,
        /// The limit it exceeds.
        limit: usize,
    },
    /// An identity token that cannot be believed; why follows from the token itself.
    #[error("the identity token is not valid: {what}")]
    InvalidIdentityToken {
        /// What is wrong with it.
        what: &'static str,
    },
    /// An identity token of an issuer that the role's account does not trust.
    // OBSERVED: AWS's own sentence, which people search for.
    #[error("No OpenIDConnect provider found in your account for {issuer}")]
    ProviderUnknown {
        /// The token's issuer, shortened.
        issuer: String,
    },
    /// An identity token that was issued for somebody else.
    #[error("Incorrect token audience")]
    AudienceUnknown,
    /// An identity token past its end.
    #[error("Token expired: current date/time {now} must be before the expiration date/time {expired_at}")]
    IdentityTokenExpired {
        /// Now, seconds since 1970.
        now: i64,
        /// Its end, seconds since 1970.
        expired_at: i64,
    },
    /// The issuer's keys cannot be had.
    #[error("Couldn't retrieve verification key from your identity provider {issuer}; the server's log says why")]
    IssuerSilent {
        /// The issuer.
        issuer: String,
        /// What came of asking it; for the log, for it tells of the server's network.
        why: String,
    },
}

impl Error {
    /// The AWS code; `None` for what is no matter of authentication.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::MissingAuthenticationToken => Some(Code::MissingAuthenticationToken),
            Self::IncompleteSignature { .. } => Some(Code::IncompleteSignature),
            Self::RequestTimeTooSkewed => Some(Code::RequestTimeTooSkewed),
            Self::SignatureDoesNotMatch | Self::Replayed => Some(Code::SignatureDoesNotMatch),
            Self::InvalidClientTokenId => Some(Code::InvalidClientTokenId),
            Self::ExpiredToken => Some(Code::ExpiredToken),
            Self::InvalidIdentityToken { .. } | Self::ProviderUnknown { .. } | Self::AudienceUnknown => {
                Some(Code::InvalidIdentityToken)
            }
            Self::IdentityTokenExpired { .. } => Some(Code::ExpiredTokenException),
            Self::IssuerSilent { .. } => Some(Code::IdpCommunicationError),
            Self::ReplayCacheFull | Self::PackedPolicyTooLarge { .. } => None,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::MissingAuthenticationToken
            | Self::IncompleteSignature { .. }
            | Self::RequestTimeTooSkewed
            | Self::SignatureDoesNotMatch
            | Self::InvalidClientTokenId
            | Self::Replayed
            | Self::InvalidIdentityToken { .. }
            | Self::ProviderUnknown { .. }
            | Self::AudienceUnknown => Reason::CallerUnknown,
            Self::ExpiredToken | Self::IdentityTokenExpired { .. } => Reason::CredentialsExpired,
            Self::IssuerSilent { .. } => Reason::Unavailable,
            Self::ReplayCacheFull => Reason::Throttled,
            Self::PackedPolicyTooLarge { .. } => Reason::PackedPolicyTooLarge,
        }
    }
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        let mut envelope = Self::new(error.reason(), error.to_string());
        if let Some(code) = error.code() {
            envelope = envelope.with("code", code.as_str());
        }
        match error {
            Error::IncompleteSignature { what } | Error::InvalidIdentityToken { what } => envelope.with("what", what),
            Error::ProviderUnknown { issuer } => envelope.with("issuer", issuer),
            Error::IssuerSilent { issuer, why } => envelope.with("issuer", issuer).because(why),
            Error::IdentityTokenExpired { now, expired_at } => envelope.with("now", now).with("expired_at", expired_at),
            Error::PackedPolicyTooLarge { bytes, limit } => envelope.with("bytes", bytes).with("limit", limit),
            Error::MissingAuthenticationToken
            | Error::RequestTimeTooSkewed
            | Error::SignatureDoesNotMatch
            | Error::InvalidClientTokenId
            | Error::ExpiredToken
            | Error::AudienceUnknown
            | Error::Replayed
            | Error::ReplayCacheFull => envelope,
        }
    }
}

/// Shorthand for what is wrong with an identity token.
pub(super) fn token(what: &'static str) -> Error {
    Error::InvalidIdentityToken { what }
}

/// Shorthand for what is wrong with credentials.
pub(super) fn incomplete(what: &'static str) -> Error {
    Error::IncompleteSignature { what }
}

#[cfg(test)]
mod tests {
    use super::{Code, Error};
    use crate::error::Reason;

    #[test]
    fn the_envelope_carries_reason_and_code() {
        let cases = [
            (Error::MissingAuthenticationToken, Reason::CallerUnknown, Some(Code::MissingAuthenticationToken)),
            (Error::IncompleteSignature { what: "x" }, Reason::CallerUnknown, Some(Code::IncompleteSignature)),
            (Error::RequestTimeTooSkewed, Reason::CallerUnknown, Some(Code::RequestTimeTooSkewed)),
            (Error::SignatureDoesNotMatch, Reason::CallerUnknown, Some(Code::SignatureDoesNotMatch)),
            (Error::InvalidClientTokenId, Reason::CallerUnknown, Some(Code::InvalidClientTokenId)),
            (Error::ExpiredToken, Reason::CredentialsExpired, Some(Code::ExpiredToken)),
            (Error::Replayed, Reason::CallerUnknown, Some(Code::SignatureDoesNotMatch)),
            (Error::ReplayCacheFull, Reason::Throttled, None),
            (Error::PackedPolicyTooLarge { bytes: 2, limit: 1 }, Reason::PackedPolicyTooLarge, None),
        ];
        for (error, reason, code) in cases {
            let envelope = crate::error::Error::from(error);
            assert_eq!(envelope.reason, reason);
            assert_eq!(envelope.metadata.get("code").map(String::as_str), code.map(Code::as_str));
        }
    }
}

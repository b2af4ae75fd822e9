//! The issuers of identity tokens, by the URL that their tokens carry.

use super::{AccountId, Arn, Error, text_name};
use std::sync::Arc;

/// Before every issuer: what is not sent under TLS says nothing of who sent it.
const SCHEME: &str = "https://";
/// SPEC: IAM API, `CreateOpenIDConnectProvider`, `Url`.
const CHARACTERS_MAX: usize = 255;

/// The `iss` of an identity token: `https://<host>[:<port>][/<path>]`, compared to the byte.
///
/// Unlike AWS we accept a port (ADR 0020). No query, no fragment, no user, no address in brackets.
// SPEC: OpenID Connect Core 1.0, section 2, "Issuer Identifier".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Issuer(Arc<str>);

impl Issuer {
    /// Parses an issuer's URL.
    ///
    /// # Errors
    /// When it is no https URL of at most 255 characters, or has parts that an issuer has not.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = || {
            Error::new(
                "issuer",
                text,
                "https://<host in lower case>[:<port>][/<path>], at most 255 characters, without query or fragment",
            )
        };
        let id = text.strip_prefix(SCHEME).filter(|_| text.len() <= CHARACTERS_MAX).ok_or_else(bad)?;
        let (authority, path) = id.split_once('/').map_or((id, None), |(authority, path)| (authority, Some(path)));
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let fits = is_host(host) && port.is_none_or(is_port) && path.is_none_or(is_path);
        if fits { Ok(Self(text.into())) } else { Err(bad()) }
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL without its scheme, as in ARNs and in front of condition keys.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0[SCHEME.len()..]
    }

    /// The ARN of this issuer as an identity provider of an account.
    #[must_use]
    pub fn arn(&self, account: AccountId) -> Arn {
        Arn::new("iam", "", Some(account), &format!("oidc-provider/{}", self.id()))
    }
}

/// A name with a dot, or this machine: no other key of a policy's conditions begins so.
fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(inside) && !label.starts_with('-')
    };
    (host.contains('.') || host == "localhost") && host.split('.').all(label)
}

fn is_port(port: &str) -> bool {
    !port.starts_with('0') && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// A path whose last segment may be empty, as some issuers end with a slash.
fn is_path(path: &str) -> bool {
    let segment = |segment: &str| {
        let inside = |b: u8| b.is_ascii_alphanumeric() || b"-._~+=@,%".contains(&b);
        !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(inside)
    };
    path.strip_suffix('/').unwrap_or(path).split('/').all(segment) || path.is_empty()
}

text_name!(Issuer);

#[cfg(test)]
mod tests {
    use super::Issuer;
    use crate::names::AccountId;

    #[test]
    fn urls_of_issuers_are_read_and_kept_as_they_are() {
        for text in [
            "https://token.actions.githubusercontent.com",
            "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE",
            "https://acme.eu.auth0.com/",
            "https://127.0.0.1:5556/dex",
            "https://localhost:8443",
        ] {
            assert_eq!(Issuer::parse(text).unwrap().as_str(), text);
        }
        let issuer = Issuer::parse("https://gitlab.example.com:8443/a").unwrap();
        assert_eq!(issuer.id(), "gitlab.example.com:8443/a");
        let account = AccountId::parse("111122223333").unwrap();
        assert_eq!(issuer.arn(account).as_str(), "arn:aws:iam::111122223333:oidc-provider/gitlab.example.com:8443/a");
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!("https://a.example/{}", "a".repeat(238));
        for text in [
            "",
            "https://",
            "http://a.example",
            "HTTPS://a.example",
            "https://A.example",
            "https://aws",
            "https://sts/x",
            "https://a.example:0",
            "https://a.example:65536",
            "https://a.example:",
            "https://user@a.example",
            "https://a.example?x",
            "https://a.example/x?y",
            "https://a.example/#x",
            "https://a.example//x",
            "https://a.example/../x",
            "https://a.example/ x",
            "https://[::1]",
            "https://a..example",
            "https://-a.example",
            "https://a.example/*",
            &long,
        ] {
            assert!(Issuer::parse(text).is_err(), "{text:?}");
        }
    }
}

//! Reads `Authorization: Basic` as docker sends it: user `AWS` and a token after `aws ecr get-login-password`, or a role,
//! `<account>/<role>`, and an identity token of an issuer that the account trusts.

use super::Shown;
use super::authorization;
use super::error::{Error, incomplete};
use super::jwt::TOKEN_CHARS_MAX;
use super::token::TOKEN_BYTES_MAX;
use crate::names::{AccountId, PrincipalKind, PrincipalName, RoleName};
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

/// The user name beside a registry password.
pub const USER: &str = "AWS";

/// Characters of `<account>/<role>`.
const ROLE_CHARS_MAX: usize = 12 + 1 + 64;
/// The longest credentials that are decoded, in bytes: a role and an identity token, as base64.
const ENCODED_BYTES_MAX: usize = (ROLE_CHARS_MAX + 1 + TOKEN_CHARS_MAX).div_ceil(3) * 4;

/// User and password of a request; `None` when it has no `Authorization` header, or one of another scheme.
///
/// # Errors
/// `IncompleteSignature` when the header is repeated or malformed, or the user is neither `AWS` nor a role.
pub(super) fn credentials(headers: &HeaderMap) -> Result<Option<Shown>, Error> {
    let Some(encoded) = authorization(headers, "Basic")? else { return Ok(None) };
    if encoded.len() > ENCODED_BYTES_MAX {
        return Err(incomplete("the Basic credentials are too long"));
    }
    let bytes = STANDARD.decode(encoded).map_err(|_| incomplete("the Basic credentials are not base64"))?;
    let text = String::from_utf8(bytes).map(Secret::new).map_err(|_| incomplete("the password is not text"))?;
    let Some((user, password)) = text.expose().split_once(':').filter(|(_, password)| !password.is_empty()) else {
        return Err(incomplete("the user name or the password is empty"));
    };
    let secret = Secret::new(password.to_owned());
    match role(user) {
        _ if user == USER && password.len() <= TOKEN_BYTES_MAX => Ok(Some(Shown::Token(secret))),
        Some(role) => Ok(Some(Shown::WebIdentity(role, secret))),
        None => Err(incomplete("the user name is neither AWS nor <account>/<role>, or the password is too long")),
    }
}

/// `<account>/<role>`; the colons of an ARN cannot stand in a user name.
fn role(user: &str) -> Option<PrincipalName> {
    let (account, name) = user.split_once('/')?;
    let name = RoleName::parse(name).ok()?.as_str().into();
    Some(PrincipalName { account: AccountId::parse(account).ok()?, kind: PrincipalKind::Role, name })
}

#[cfg(test)]
mod tests {
    use super::{TOKEN_BYTES_MAX, credentials};
    use crate::identity::Shown;
    use crate::secret::Secret;
    use base64::{Engine, engine::general_purpose::STANDARD};
    use http::{HeaderMap, header::AUTHORIZATION};

    fn read(value: &str) -> Result<Option<Secret<String>>, ()> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        match credentials(&headers) {
            Ok(Some(Shown::Token(token))) => Ok(Some(token)),
            Ok(Some(Shown::WebIdentity(role, token))) => {
                Ok(Some(Secret::new(format!("{} {}", role.arn(), token.expose()))))
            }
            Ok(None) => Ok(None),
            Err(_) => Err(()),
        }
    }

    #[test]
    fn user_aws_and_a_password_are_read() {
        let encoded = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(read(&encoded("AWS:ts1.abc")), Ok(Some(Secret::new("ts1.abc".to_owned()))));
        assert_eq!(read(&encoded("AWS:a:b")), Ok(Some(Secret::new("a:b".to_owned()))));
        assert_eq!(read("basic QVdTOng="), Ok(Some(Secret::new("x".to_owned()))));
        assert_eq!(read("Bearer x"), Ok(None));
        assert!(credentials(&HeaderMap::new()).unwrap().is_none());
        assert!(read(&encoded(&format!("AWS:{}", "a".repeat(TOKEN_BYTES_MAX)))).is_ok());
        assert!(read(&encoded(&format!("AWS:{}", "a".repeat(TOKEN_BYTES_MAX + 3)))).is_err());
    }

    #[test]
    fn a_role_and_an_identity_token_are_read() {
        let shown = read(&format!("Basic {}", STANDARD.encode("111122223333/ci:eyJ.a.b")));
        assert_eq!(shown, Ok(Some(Secret::new("arn:aws:iam::111122223333:role/ci eyJ.a.b".to_owned()))));
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in ["aws:x", "AWS", "AWS:", ":x", "root:x", "AWS x", "111122223333/:x", "1/ci:x", "111122223333/a/b:x"]
        {
            assert!(read(&format!("Basic {}", STANDARD.encode(bad))).is_err(), "{bad:?}");
        }
        // Not base64, without padding, with trailing bits, with a space, not UTF-8.
        for bad in ["Basic", "Basic !!!!", "Basic QVdTOng", "Basic QVdTOnh=", "Basic QVdT Ong=", "Basic QVdTOv8="] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}

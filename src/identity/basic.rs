//! Reads `Authorization: Basic` as docker sends it after `aws ecr get-login-password`: user `AWS`, a token as password.

use super::authorization;
use super::error::{Error, incomplete};
use super::token::TOKEN_BYTES_MAX;
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

/// The only user name.
pub const USER: &str = "AWS";

/// The longest credentials that are decoded, in bytes: `AWS:` and a token, as base64.
const ENCODED_BYTES_MAX: usize = (USER.len() + 1 + TOKEN_BYTES_MAX).div_ceil(3) * 4;

/// The password of a request; `None` when it has no `Authorization` header, or one of another scheme.
///
/// # Errors
/// `IncompleteSignature` when the header is repeated or malformed, or the user is not `AWS`.
pub fn password(headers: &HeaderMap) -> Result<Option<Secret<String>>, Error> {
    let Some(encoded) = authorization(headers, "Basic")? else { return Ok(None) };
    if encoded.len() > ENCODED_BYTES_MAX {
        return Err(incomplete("the Basic credentials are too long"));
    }
    let bytes = STANDARD.decode(encoded).map_err(|_| incomplete("the Basic credentials are not base64"))?;
    let text = String::from_utf8(bytes).map(Secret::new).map_err(|_| incomplete("the password is not text"))?;
    match text.expose().split_once(':') {
        Some((USER, password)) if !password.is_empty() => Ok(Some(Secret::new(password.to_owned()))),
        _ => Err(incomplete("the user name is not AWS, or the password is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::{TOKEN_BYTES_MAX, password};
    use crate::secret::Secret;
    use base64::{Engine, engine::general_purpose::STANDARD};
    use http::{HeaderMap, header::AUTHORIZATION};

    fn read(value: &str) -> Result<Option<Secret<String>>, ()> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        password(&headers).map_err(|_| ())
    }

    #[test]
    fn user_aws_and_a_password_are_read() {
        let encoded = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(read(&encoded("AWS:ts1.abc")), Ok(Some(Secret::new("ts1.abc".to_owned()))));
        assert_eq!(read(&encoded("AWS:a:b")), Ok(Some(Secret::new("a:b".to_owned()))));
        assert_eq!(read("basic QVdTOng="), Ok(Some(Secret::new("x".to_owned()))));
        assert_eq!(read("Bearer x"), Ok(None));
        assert_eq!(password(&HeaderMap::new()).unwrap(), None);
        assert!(read(&encoded(&format!("AWS:{}", "a".repeat(TOKEN_BYTES_MAX)))).is_ok());
        assert!(read(&encoded(&format!("AWS:{}", "a".repeat(TOKEN_BYTES_MAX + 3)))).is_err());
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in ["aws:x", "AWS", "AWS:", ":x", "root:x", "AWS x"] {
            assert!(read(&format!("Basic {}", STANDARD.encode(bad))).is_err(), "{bad:?}");
        }
        // Not base64, without padding, with trailing bits, with a space, not UTF-8.
        for bad in ["Basic", "Basic !!!!", "Basic QVdTOng", "Basic QVdTOnh=", "Basic QVdT Ong=", "Basic QVdTOv8="] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}

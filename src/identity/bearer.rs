//! Reads `Authorization: Bearer <token>`; what the token says is `token`'s matter.

use super::authorization;
use super::error::{Error, incomplete};
use super::token::TOKEN_BYTES_MAX;
use http::HeaderMap;

/// The bearer token of a request; `None` when it has no `Authorization` header, or one of another scheme.
///
/// # Errors
/// `IncompleteSignature` when the header is repeated, not text, too long or without a token.
pub fn token(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let Some(token) = authorization(headers, "Bearer")? else { return Ok(None) };
    // SPEC: RFC 6750 section 2.1, `b64token`.
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(fits) {
        return Err(incomplete("the bearer token is empty, too long or has characters that no token has"));
    }
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use super::{TOKEN_BYTES_MAX, token};
    use http::{HeaderMap, header::AUTHORIZATION};

    #[test]
    fn one_well_formed_token_is_read() {
        let longest = "a".repeat(TOKEN_BYTES_MAX);
        let too_long = "a".repeat(TOKEN_BYTES_MAX + 1);
        let cases: [(&[&str], Result<Option<&str>, ()>); 11] = [
            (&[], Ok(None)),
            (&["Basic QVdTOng="], Ok(None)),
            (&["Bearer ts1.abc-_"], Ok(Some("ts1.abc-_"))),
            (&["bearer  ts1.abc"], Ok(Some("ts1.abc"))),
            (&[&format!("BEARER {longest}")], Ok(Some(&longest))),
            (&[&format!("Bearer {too_long}")], Err(())),
            (&["Bearer"], Err(())),
            (&["Bearer "], Err(())),
            (&["Bearer a b"], Err(())),
            (&["Bearer a:b"], Err(())),
            (&["Bearer a", "Bearer a"], Err(())),
        ];
        for (values, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(token(&headers).map_err(|_| ()), expected, "{values:?}");
        }
    }
}

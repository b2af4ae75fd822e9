//! The address of a service as callers sign it.

use super::error::{Error, incomplete};
use std::fmt;

/// `http(s)://host[:port]`: lower-case, without default port, path or user information.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    text: String,
    host_at: usize,
}

impl Endpoint {
    /// Parses an endpoint; one slash at the end is allowed and dropped.
    ///
    /// # Errors
    /// When it is no such URL.
    pub fn parse(text: &str) -> Result<Self, Error> {
        const BAD: &str = "an endpoint is http(s)://host[:port]";
        let lower = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let (scheme, host) = lower.split_once("://").ok_or(incomplete(BAD))?;
        let default_port = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => return Err(incomplete(BAD)),
        };
        let host = host.strip_suffix(default_port).unwrap_or(host);
        let authority: http::uri::Authority = host.parse().map_err(|_| incomplete(BAD))?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
        if authority.host().is_empty() || !host.bytes().all(plain) || host.len() > 255 {
            return Err(incomplete(BAD));
        }
        Ok(Self { text: format!("{scheme}://{host}"), host_at: scheme.len() + 3 })
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host and port, as the `Host` header has them.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.text[self.host_at..]
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn endpoints_have_one_spelling() {
        for (text, canonical, host) in [
            ("https://Registry.Example:443/", "https://registry.example", "registry.example"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("http://[::1]:80", "http://[::1]", "[::1]"),
            ("https://a:80", "https://a:80", "a:80"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((endpoint.as_str(), endpoint.host()), (canonical, host));
        }
        for bad in
            ["", "a", "ftp://a", "https://", "https://a/b", "https://u@a", "https://a?b", "https://a#b", "https://a b"]
        {
            assert!(Endpoint::parse(bad).is_err(), "{bad:?}");
        }
    }
}

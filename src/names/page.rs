//! Sizes of pages and the tokens between them.

use super::Error;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// How many rows a page holds: 1 to 1,000, 100 unless asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// The largest page.
    pub const MAX: u32 = 1_000;
    /// The page when none is asked for: a screenful for people, few round trips for programs.
    pub const DEFAULT: u32 = 100;

    /// The size asked for, 0 meaning the default, cut to the largest.
    #[must_use]
    pub fn clamp(asked: u32) -> Self {
        Self(if asked == 0 { Self::DEFAULT } else { asked.min(Self::MAX) })
    }

    /// Rows per page.
    #[must_use]
    pub fn rows(self) -> u32 {
        self.0
    }
}

/// Where the next page begins: the key of the last row given, opaque to clients.
///
/// A token is never an authorization: the page it opens is authorized again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken(String);

impl PageToken {
    /// The token after the row with this key.
    #[must_use]
    pub fn after(key: &str) -> Self {
        Self(key.to_owned())
    }

    /// The token of the page after these rows; none when they do not fill one.
    #[must_use]
    pub fn of_next<T>(rows: &[T], size: PageSize, key: impl FnOnce(&T) -> String) -> Option<Self> {
        rows.last().filter(|_| rows.len() >= size.rows() as usize).map(|row| Self(key(row)))
    }

    /// Reads a token from the wire; empty is the first page.
    ///
    /// # Errors
    /// When the token was not made by [`PageToken::encode`].
    pub fn decode(text: &str) -> Result<Option<Self>, Error> {
        if text.is_empty() {
            return Ok(None);
        }
        let bad = || Error::new("page token", text, "a next_page_token of an earlier answer, unchanged");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
        match bytes.split_first() {
            Some((1, key)) => Ok(Some(Self(String::from_utf8(key.to_vec()).map_err(|_| bad())?))),
            _ => Err(bad()),
        }
    }

    /// The token's form on the wire: version byte 1, then the key, in base64url.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = vec![1];
        bytes.extend_from_slice(self.0.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The key of the last row given.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0
    }
}

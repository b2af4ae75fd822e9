//! Sealed, self-contained tokens, and the temporary credentials that go with them (decision 14).
//!
//! A token is `ts1.` and base64url of `u8 version=1 | u32be key id | salt[16] | ciphertext | tag[16]`. Its key is
//! HKDF-SHA256(ikm = token key, salt, info = `"transship/token/v1\0"`), used once, hence the nonce of zeros;
//! version, key id, salt and the organization's uid are bound as associated data.
//!
//! Any region with the token keys opens any token and recomputes any session's secret; nothing is stored.
//! Whether a token was revoked, or its principal removed, is not known here.

use super::claims::{Claims, Kind, PACKED_BYTES_MAX};
use super::error::Error;
use super::ids;
use crate::clock::{Clock, Timestamp};
use crate::names::Uid;
use crate::secret::{Secret, secret_access_key};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

/// The longest token text that is read, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// What every token's text begins with.
pub const PREFIX: &str = "ts1.";

const VERSION: u8 = 1;
const SALT_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + 4 + SALT_BYTES;
const TAG_BYTES: usize = 16;

/// What is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// A token.
    Token,
    /// A message that opens nothing.
    Message,
}

/// One of an organization's token keys.
#[derive(Clone, Debug)]
pub struct TokenKey {
    /// Names the key inside tokens.
    pub id: u32,
    /// The key.
    pub secret: Secret<[u8; 32]>,
}

/// An organization's token keys: one that seals, and those before it that still open.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    organization: Uid,
    current: TokenKey,
    older: Vec<TokenKey>,
    clock: Clock,
}

/// Temporary credentials, as STS issues them.
#[derive(Clone, Debug)]
pub struct TemporaryCredentials {
    /// `ASIA` and 16 characters, derived from the session's id.
    pub access_key_id: String,
    /// The secret half, derived from the session's id.
    pub secret: Secret<String>,
    /// The sealed session.
    pub session_token: Secret<String>,
    /// How much of a token's room it takes, in percent.
    pub packed_percent: usize,
}

/// A session token that opened, with the key pair it belongs to.
pub(super) struct Opened {
    pub(super) claims: Claims,
    access_key_id: String,
    pub(super) secret: Secret<String>,
}

impl TokenKeys {
    /// Keys of an organization; the clock gives each token its salt.
    #[must_use]
    pub fn new(organization: Uid, current: TokenKey, older: Vec<TokenKey>, clock: Clock) -> Self {
        Self { organization, current, older, clock }
    }

    /// The organization whose keys these are.
    #[must_use]
    pub fn organization(&self) -> Uid {
        self.organization
    }

    /// Seals claims under the current key.
    ///
    /// # Errors
    /// `PackedPolicyTooLarge` when they do not fit.
    pub fn seal(&self, claims: &Claims) -> Result<String, Error> {
        Ok(self.seal_packed(claims.pack()?))
    }

    fn seal_packed(&self, packed: Vec<u8>) -> String {
        format!("{PREFIX}{}", self.seal_for(Purpose::Token, packed))
    }

    /// Seals bytes under the current key, as base64url.
    pub(super) fn seal_for(&self, purpose: Purpose, mut sealed: Vec<u8>) -> String {
        let mut header = [VERSION; HEADER_BYTES];
        header[1..5].copy_from_slice(&self.current.id.to_be_bytes());
        header[5..].copy_from_slice(self.clock.uid().bytes());
        let cipher = self.current.cipher(purpose, &header);
        cipher
            .seal_in_place_append_tag(zero_nonce(), self.associated(&header), &mut sealed)
            .expect("AES-GCM seals messages of a few KiB");
        sealed.splice(..0, header);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// Opens a token and checks its end.
    ///
    /// # Errors
    /// `InvalidClientTokenId` for whatever was not sealed by this organization, `ExpiredToken` past its end.
    pub fn open(&self, text: &str, now: Timestamp) -> Result<Claims, Error> {
        self.unseal(text, now).map(|(claims, _)| claims)
    }

    /// Whom a token was made for, though it may have ended: for the audit, never to let anybody in.
    #[must_use]
    pub fn holder(&self, text: &str) -> Option<String> {
        self.read(text).map(|(claims, _)| claims.into_caller().display())
    }

    /// Seals a session and derives its key pair. The claims must be of kind [`Kind::Session`].
    ///
    /// # Errors
    /// As [`TokenKeys::seal`]; `InvalidClientTokenId` for claims of another kind.
    pub fn temporary_credentials(&self, claims: &Claims) -> Result<TemporaryCredentials, Error> {
        if claims.kind != Kind::Session {
            return Err(Error::InvalidClientTokenId);
        }
        let packed = claims.pack()?;
        let packed_percent = (packed.len() * 100).div_ceil(PACKED_BYTES_MAX);
        let session_token = Secret::new(self.seal_packed(packed));
        let (access_key_id, secret) = self.current.key_pair(self.organization, claims.session.id);
        Ok(TemporaryCredentials { access_key_id, secret, session_token, packed_percent })
    }

    /// Opens a session token together with the key pair derived for it.
    ///
    /// # Errors
    /// As [`TokenKeys::open`]; `InvalidClientTokenId` for a token of another kind.
    pub(super) fn open_session(&self, text: &str, now: Timestamp) -> Result<Opened, Error> {
        let (claims, key) = self.unseal(text, now)?;
        if claims.kind != Kind::Session {
            return Err(Error::InvalidClientTokenId);
        }
        // Under the key that sealed the token, so that rotation does not change a living session's secret.
        let (access_key_id, secret) = key.key_pair(self.organization, claims.session.id);
        Ok(Opened { claims, access_key_id, secret })
    }

    fn unseal(&self, text: &str, now: Timestamp) -> Result<(Claims, &TokenKey), Error> {
        let (claims, key) = self.read(text).ok_or(Error::InvalidClientTokenId)?;
        if now >= claims.session.expires_at {
            return Err(Error::ExpiredToken);
        }
        Ok((claims, key))
    }

    /// `None` for every reason alike.
    fn read(&self, text: &str) -> Option<(Claims, &TokenKey)> {
        let encoded = text.strip_prefix(PREFIX).filter(|_| text.len() <= TOKEN_BYTES_MAX)?;
        let (packed, key) = self.unseal_for(Purpose::Token, encoded, PACKED_BYTES_MAX)?;
        Some((Claims::unpack(&packed)?, key))
    }

    /// Opens what [`TokenKeys::seal_for`] made of at most so many bytes for the same purpose.
    pub(super) fn unseal_for(&self, purpose: Purpose, encoded: &str, longest: usize) -> Option<(Vec<u8>, &TokenKey)> {
        let mut bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let (header, sealed) = bytes.split_first_chunk_mut::<HEADER_BYTES>()?;
        if header[0] != VERSION || sealed.len() > longest + TAG_BYTES {
            return None;
        }
        let id = u32::from_be_bytes(header[1..5].try_into().ok()?);
        let key = std::iter::once(&self.current).chain(&self.older).find(|key| key.id == id)?;
        let cipher = key.cipher(purpose, header);
        let opened = cipher.open_in_place(zero_nonce(), self.associated(header), sealed).ok()?;
        Some((opened.to_vec(), key))
    }

    fn associated(&self, header: &[u8; HEADER_BYTES]) -> Aad<Vec<u8>> {
        Aad::from([header.as_slice(), self.organization.bytes()].concat())
    }
}

impl TokenKey {
    /// The cipher of one token or message.
    fn cipher(&self, purpose: Purpose, header: &[u8; HEADER_BYTES]) -> LessSafeKey {
        let info: &[u8] = match purpose {
            Purpose::Token => b"transship/token/v1\0",
            Purpose::Message => b"transship/message/v1\0",
        };
        let derived: Secret<[u8; 32]> = derive(&self.secret, &header[5..], &[info]);
        let unbound = UnboundKey::new(&AES_256_GCM, derived.expose()).expect("AES-256 keys have 32 bytes");
        LessSafeKey::new(unbound)
    }

    /// A session's access key id and secret, which share no bytes with each other or with any token's key.
    fn key_pair(&self, organization: Uid, session: Uid) -> (String, Secret<String>) {
        let (organization, session) = (organization.bytes().as_slice(), session.bytes().as_slice());
        let id: Secret<[u8; 10]> =
            derive(&self.secret, &[], &[b"transship/session-key-id/v1\0", organization, session]);
        let secret: Secret<[u8; 30]> =
            derive(&self.secret, &[], &[b"transship/session-secret/v1\0", organization, session]);
        (ids::temporary_key_id(*id.expose()), secret_access_key(*secret.expose()))
    }
}

impl Opened {
    /// Whether the token belongs to this access key id.
    pub(super) fn belongs_to(&self, access_key_id: &str) -> bool {
        self.access_key_id.as_bytes().ct_eq(access_key_id.as_bytes()).into()
    }
}

/// Each key seals one message only: the salt it is derived with is fresh.
fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// HKDF-SHA256 to `N` bytes.
fn derive<const N: usize>(key: &Secret<[u8; 32]>, salt: &[u8], info: &[&[u8]]) -> Secret<[u8; N]>
where
    [u8; N]: zeroize::Zeroize,
{
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut out = [0; N];
    let prk = Salt::new(HKDF_SHA256, salt).extract(key.expose());
    prk.expand(info, Length(N)).and_then(|okm| okm.fill(&mut out)).expect("HKDF gives up to 8160 bytes");
    Secret::new(out)
}

#[cfg(test)]
mod tests;

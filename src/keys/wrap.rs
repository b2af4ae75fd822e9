//! The salted wrap: a secret sealed once under a key of its own, derived from a longer-lived key and a fresh salt.
//!
//! Each derived key seals one message, so the nonce is zero; the salt is what must not repeat, and 16 random bytes
//! do not. SPEC: HKDF-SHA256 (RFC 5869), AES-256-GCM (NIST SP 800-38D).

use super::{Error, Result};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

/// Bytes of salt in front of, or beside, every salted wrap.
pub(super) const SALT_LEN: usize = 16;

/// Bytes of a GCM tag.
pub(super) const TAG_LEN: usize = 16;

/// Random bytes that may serve as key, salt or nonce.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Crypto { what: "reading the system's random source" })?;
    Ok(bytes)
}

/// HKDF-SHA256 with 32 bytes of output; the pieces of `info` are concatenated.
pub(super) fn derive(ikm: &[u8; 32], salt: &[u8], info: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>> {
    let failed = |_| Error::Crypto { what: "deriving a key" };
    let mut out = Zeroizing::new([0; 32]);
    let prk = Salt::new(HKDF_SHA256, salt).extract(ikm);
    prk.expand(info, Bytes32).and_then(|okm| okm.fill(&mut out[..])).map_err(failed)?;
    Ok(out)
}

/// An AES-256-GCM key derived as [`derive`] does.
pub(super) fn derive_cipher(ikm: &[u8; 32], salt: &[u8], info: &[&[u8]]) -> Result<LessSafeKey> {
    let key = derive(ikm, salt, info)?;
    let key = UnboundKey::new(&AES_256_GCM, &key[..]).map_err(|_| Error::Crypto { what: "setting up a key" })?;
    Ok(LessSafeKey::new(key))
}

/// Seals `plain` under the key derived from `ikm`, a salt that was never used before, and `info`; appends the tag.
pub(super) fn seal(ikm: &[u8; 32], salt: &[u8; SALT_LEN], info: &[&[u8]], aad: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    // The capacity is exact: a reallocation would leave a copy of the secret behind.
    let mut sealed = Vec::with_capacity(plain.len() + TAG_LEN);
    sealed.extend_from_slice(plain);
    derive_cipher(ikm, salt, info)?
        .seal_in_place_append_tag(zero_nonce(), Aad::from(aad), &mut sealed)
        .map_err(|_| Error::Crypto { what: "sealing a secret" })?;
    Ok(sealed)
}

/// Opens what [`seal`] made, or says that `what` is not authentic.
pub(super) fn open(
    ikm: &[u8; 32],
    salt: &[u8; SALT_LEN],
    info: &[&[u8]],
    aad: &[u8],
    sealed: &[u8],
    what: &'static str,
) -> Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let len = derive_cipher(ikm, salt, info)?
        .open_in_place(zero_nonce(), Aad::from(aad), &mut buffer)
        .map_err(|_| Error::Tampered { what })?
        .len();
    buffer.truncate(len);
    Ok(buffer)
}

/// [`open`] for a wrapped 32-byte key.
pub(super) fn open_key(
    ikm: &[u8; 32],
    salt: &[u8; SALT_LEN],
    info: &[&[u8]],
    aad: &[u8],
    sealed: &[u8],
    what: &'static str,
) -> Result<[u8; 32]> {
    let plain = open(ikm, salt, info, aad, sealed, what)?;
    <[u8; 32]>::try_from(plain.as_slice()).map_err(|_| Error::Malformed { what, rule: "a key of 32 bytes" })
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Thirty-two bytes of HKDF output.
struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

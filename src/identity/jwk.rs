//! The public keys of an issuer.
//!
//! A key says by its type which algorithms it can check; a token's header never decides that alone. Keys for
//! encryption, symmetric keys and keys of unknown kinds are as good as absent.
//!
//! SPEC: RFC 7517 (JSON Web Key), RFC 7518 section 3 (algorithms) and section 6 (parameters).

use super::json;
use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Keys of one set: issuers publish a handful.
const KEYS_MAX: usize = 100;
/// Bytes of an RSA key that is checked with: 8,192 bits.
const MODULUS_BYTES_MAX: usize = 1_024;

/// The algorithms in which a token may be signed: those with a public key, and none else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
    Es512,
}

impl Algorithm {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Rs256, "RS256"),
        (Self::Rs384, "RS384"),
        (Self::Rs512, "RS512"),
        (Self::Es256, "ES256"),
        (Self::Es384, "ES384"),
        (Self::Es512, "ES512"),
    ];

    /// The algorithm of that name, spelled as it is written in the standard.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(algorithm, _)| algorithm)
    }
}

/// A public key that checks signatures.
#[derive(Clone, Debug)]
pub struct Jwk {
    id: String,
    /// The one algorithm that the key is for, if its issuer says so.
    only: Option<String>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// The uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
    P521(Vec<u8>),
}

/// What an issuer publishes.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Jwk>);

impl KeySet {
    /// Reads a key set; `None` if the text is none. What is no key for checking signatures is left out.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let document = json::object(bytes)?;
        let keys = document.get("keys")?.as_array()?;
        Some(Self(keys.iter().take(KEYS_MAX).filter_map(|key| Jwk::read(key.as_object()?)).collect()))
    }

    /// The key of that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Jwk> {
        self.0.iter().find(|key| key.id == id)
    }
}

impl Jwk {
    fn read(key: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let for_signatures = key.get("use").is_none_or(|purpose| purpose == "sig");
        let verifies = |list: &Value| list.as_array().is_some_and(|list| list.iter().any(|op| op == "verify"));
        if !for_signatures || !key.get("key_ops").is_none_or(verifies) {
            return None;
        }
        let point = |length: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            (x.len() == length && y.len() == length).then(|| [vec![4], x, y].concat())
        };
        let material = match (text("kty")?, text("crv")) {
            ("RSA", None) => Material::Rsa { modulus: bytes("n")?, exponent: bytes("e")? },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("EC", Some("P-521")) => Material::P521(point(66)?),
            _ => return None,
        };
        Some(Self { id: text("kid")?.to_owned(), only: text("alg").map(ToOwned::to_owned), material })
    }

    /// Whether the signature over a message is the holder's of this key, in an algorithm that the key is for.
    pub(super) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let named = |only: &String| Algorithm::named(only) == Some(algorithm);
        if !self.only.as_ref().is_none_or(named) {
            return false;
        }
        let elliptic = |scheme: &'static signature::EcdsaVerificationAlgorithm, point: &[u8]| {
            UnparsedPublicKey::new(scheme, point).verify(message, signature).is_ok()
        };
        match (&self.material, algorithm) {
            (Material::Rsa { modulus, exponent }, Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512) => {
                let scheme = match algorithm {
                    Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    _ => &signature::RSA_PKCS1_2048_8192_SHA256,
                };
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                modulus.len() <= MODULUS_BYTES_MAX && key.verify(scheme, message, signature).is_ok()
            }
            (Material::P256(point), Algorithm::Es256) => elliptic(&signature::ECDSA_P256_SHA256_FIXED, point),
            (Material::P384(point), Algorithm::Es384) => elliptic(&signature::ECDSA_P384_SHA384_FIXED, point),
            (Material::P521(point), Algorithm::Es512) => elliptic(&signature::ECDSA_P521_SHA512_FIXED, point),
            (Material::Rsa { .. } | Material::P256(_) | Material::P384(_) | Material::P521(_), _) => false,
        }
    }
}

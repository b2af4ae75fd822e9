use super::{Claims, SKEW_MAX, TOKEN_CHARS_MAX, Unverified};
use crate::clock::Timestamp;
use crate::identity::Error;
use crate::identity::jwk::KeySet;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::time::Duration;

const NOW: i64 = 1_790_000_000;

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair of an issuer.
enum Signer {
    Rsa(RsaKeyPair),
    Elliptic(EcdsaKeyPair, &'static str, usize),
}

impl Signer {
    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn elliptic(scheme: &'static EcdsaSigningAlgorithm, curve: &'static str, bytes: usize) -> Self {
        Self::Elliptic(EcdsaKeyPair::generate(scheme).unwrap(), curve, bytes)
    }

    fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "kid": id, "use": "sig", "n": encoded(public.n), "e": encoded(public.e)})
            }
            Self::Elliptic(pair, curve, bytes) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(*bytes);
                json!({"kty": "EC", "kid": id, "crv": curve, "x": encoded(x), "y": encoded(y)})
            }
        }
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => {
                let scheme = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut bytes = vec![0; pair.public_modulus_len()];
                pair.sign(scheme, &SystemRandom::new(), message, &mut bytes).unwrap();
                bytes
            }
            Self::Elliptic(pair, ..) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let algorithm = header["alg"].as_str().unwrap_or_default();
        format!("{message}.{}", encoded(self.sign(algorithm, message.as_bytes())))
    }
}

fn claims() -> Value {
    json!({"iss": "https://issuer.example", "sub": "repo:acme/app", "aud": "transship", "iat": NOW - 5, "exp": NOW + 300})
}

fn keys(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// Whom a token of these claims is for, at a moment.
fn checked(claims: Value, now: i64) -> Result<String, Error> {
    let Value::Object(claims) = claims else { panic!("no object") };
    Claims(claims).check(&["transship".to_owned(), "other".to_owned()], Timestamp::from_secs(now))
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[test]
fn a_token_is_verified_in_each_algorithm_and_in_no_other_than_its_own() {
    let rsa = Signer::rsa();
    let curves = [
        Signer::elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32),
        Signer::elliptic(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", 48),
        Signer::elliptic(&ECDSA_P521_SHA512_FIXED_SIGNING, "P-521", 66),
    ];
    let table = [
        ("RS256", &rsa),
        ("RS384", &rsa),
        ("RS512", &rsa),
        ("ES256", &curves[0]),
        ("ES384", &curves[1]),
        ("ES512", &curves[2]),
    ];
    for (algorithm, signer) in table {
        let text = signer.token(&json!({"alg": algorithm, "kid": "k", "typ": "JWT"}), &claims());
        let set = keys(&[signer.jwk("k")]);
        let unverified = Unverified::parse(&text).unwrap();
        assert_eq!((unverified.issuer().unwrap(), unverified.key_id()), ("https://issuer.example", "k"));
        let verified = unverified.verify(set.get("k").unwrap()).unwrap();
        assert_eq!(verified.subject().unwrap(), "repo:acme/app", "{algorithm}");
        // Another's key, and the right key when its issuer keeps it for another algorithm.
        for (other, key) in table {
            let mut key = key.jwk("k");
            key["alg"] = json!(other);
            let refused = Unverified::parse(&text).unwrap().verify(keys(&[key]).get("k").unwrap());
            assert_eq!(refused.is_ok(), other == algorithm, "{algorithm} by {other}");
        }
        let twins = with("SUB", json!("repo:evil/app"));
        let twins = signer.token(&json!({"alg": algorithm, "kid": "k"}), &twins);
        assert!(Unverified::parse(&twins).unwrap().verify(set.get("k").unwrap()).is_err(), "SUB beside sub");
        // One bit of the payload.
        let mut parts: Vec<String> = text.split('.').map(ToOwned::to_owned).collect();
        parts[1] = encoded(with("sub", json!("repo:evil/app")).to_string());
        assert!(Unverified::parse(&parts.join(".")).unwrap().verify(set.get("k").unwrap()).is_err());
    }
}

#[test]
fn a_header_that_brings_or_names_a_key_or_an_algorithm_without_one_is_refused() {
    let signer = Signer::elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32);
    let good = json!({"alg": "ES256", "kid": "k"});
    assert!(Unverified::parse(&signer.token(&good, &claims())).is_ok());
    for (member, value) in [
        ("alg", json!("none")),
        ("alg", json!("None")),
        ("alg", json!("")),
        ("alg", json!("HS256")),
        ("alg", json!("es256")),
        ("alg", json!("PS256")),
        ("alg", json!(["ES256"])),
        ("kid", json!("")),
        ("kid", json!(7)),
        ("jwk", signer.jwk("k")),
        ("jku", json!("https://evil.example/keys")),
        ("x5c", json!(["MIIB"])),
        ("x5u", json!("https://evil.example/chain")),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
    ] {
        let mut header = good.clone();
        header[member] = value;
        assert!(Unverified::parse(&signer.token(&header, &claims())).is_err(), "{header}");
    }
}

#[test]
fn what_is_no_token_in_the_compact_form_is_refused() {
    let signer = Signer::elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32);
    let good = signer.token(&json!({"alg": "ES256", "kid": "k"}), &claims());
    let twice = encoded(r#"{"alg":"ES256","kid":"a","kid":"k"}"#);
    let parts: Vec<&str> = good.split('.').collect();
    for bad in [
        String::new(),
        "a.b".to_owned(),
        "a.b.c".to_owned(),
        format!("{good}.x"),
        format!(" {good}"),
        format!("{good}="),
        format!("{}.{}.", parts[0], parts[1]) + "!",
        format!("{twice}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], encoded("[]"), parts[2]),
        "a".repeat(TOKEN_CHARS_MAX + 1),
    ] {
        assert!(Unverified::parse(&bad).is_err(), "{bad}");
    }
}

#[test]
fn keys_that_are_not_for_signatures_are_as_good_as_absent() {
    let (signer, rsa) = (Signer::elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32), Signer::rsa());
    let altered = |member: &str, value: Value| {
        let mut key = signer.jwk("k");
        key[member] = value;
        key
    };
    assert!(keys(&[altered("key_ops", json!(["verify"]))]).get("k").is_some());
    for key in [
        altered("use", json!("enc")),
        altered("key_ops", json!(["sign"])),
        altered("kty", json!("oct")),
        altered("crv", json!("P-192")),
        altered("x", json!("AA")),
        altered("kid", json!(1)),
        json!({"kty": "oct", "kid": "k", "k": "c2VjcmV0"}),
        json!("k"),
    ] {
        assert!(keys(std::slice::from_ref(&key)).get("k").is_none(), "{key}");
    }
    // A key of 1,024 bits is published by nobody who should be believed.
    let text = rsa.token(&json!({"alg": "RS256", "kid": "k"}), &claims());
    let mut weak = rsa.jwk("k");
    weak["n"] = json!(encoded([0xf1; 128]));
    assert!(Unverified::parse(&text).unwrap().verify(keys(&[weak]).get("k").unwrap()).is_err());
    for bad in ["", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": [], "keys": []}"#] {
        assert!(KeySet::parse(bad.as_bytes()).is_none(), "{bad}");
    }
}

#[test]
fn a_token_is_good_between_its_moments_with_a_minute_for_the_clocks() {
    let skew = i64::try_from(SKEW_MAX.as_secs()).unwrap();
    assert_eq!(checked(claims(), NOW).as_deref(), Ok("transship"));
    assert!(checked(claims(), NOW + 300 + skew - 1).is_ok());
    let expired = checked(claims(), NOW + 300 + skew);
    assert_eq!(expired, Err(Error::IdentityTokenExpired { now: NOW + 300 + skew, expired_at: NOW + 300 }));
    assert!(checked(claims(), NOW - 5 - skew).is_ok());
    assert!(checked(claims(), NOW - 6 - skew).is_err());
    assert!(checked(with("nbf", json!(NOW + skew)), NOW).is_ok());
    assert!(checked(with("nbf", json!(NOW + skew + 1)), NOW).is_err());
    for name in ["exp", "iat", "nbf"] {
        for value in [json!("1790000300"), json!(1.79e9), json!(null), json!(-1), json!(i64::MAX), json!(u64::MAX)] {
            assert!(checked(with(name, value.clone()), NOW).is_err(), "{name} {value}");
        }
    }
    for name in ["exp", "iat", "sub", "aud"] {
        assert!(checked(without(name), NOW).is_err(), "{name}");
    }
    let Value::Object(read) = claims() else { panic!() };
    assert_eq!(Claims(read).expires_at().unwrap(), Timestamp::from_secs(NOW + 300).plus(Duration::from_secs(60)));
}

#[test]
fn a_token_is_for_exactly_one_of_ours() {
    let table = [
        (json!({"aud": "transship"}), Some("transship")),
        (json!({"aud": "Transship"}), None),
        (json!({"aud": "elsewhere"}), None),
        (json!({"aud": ""}), None),
        (json!({"aud": {}}), None),
        (json!({"aud": ["transship"]}), Some("transship")),
        (json!({"aud": ["elsewhere", "transship"]}), Some("transship")),
        (json!({"aud": ["other", "transship"]}), None),
        (json!({"aud": ["other", "transship"], "azp": "other"}), Some("other")),
        (json!({"aud": ["transship"], "azp": "elsewhere"}), None),
        (json!({"aud": ["elsewhere"], "azp": "transship"}), None),
        (json!({"aud": ["transship"], "azp": 1}), None),
        (json!({"aud": [1, "transship"]}), None),
        (json!({"aud": []}), None),
    ];
    for (parts, expected) in table {
        let mut claims = claims();
        for (name, value) in parts.as_object().unwrap() {
            claims[name] = value.clone();
        }
        assert_eq!(checked(claims, NOW).ok().as_deref(), expected, "{parts}");
    }
}

#[test]
fn tags_and_source_identity_are_read_as_aws_describes_them() {
    let read = |claim: Value| {
        let Value::Object(claims) = with("https://aws.amazon.com/tags", claim) else { panic!() };
        let tags = Claims(claims).session_tags().ok()?;
        Some(tags.iter().map(|tag| format!("{}={}{}", tag.key(), tag.value(), tag.is_transitive())).collect::<Vec<_>>())
    };
    let good = json!({"principal_tags": {"Project": ["a"], "Team": ["b"]}, "transitive_tag_keys": ["Team"]});
    assert_eq!(read(good), Some(vec!["Project=afalse".to_owned(), "Team=btrue".to_owned()]));
    for bad in [json!("x"), json!({}), json!({"principal_tags": {"a": "b"}}), json!({"principal_tags": {"a": []}})] {
        assert_eq!(read(bad.clone()), None, "{bad}");
    }
    let named = |claim: Value| {
        let Value::Object(claims) = with("https://aws.amazon.com/source_identity", claim) else { panic!() };
        Claims(claims).source_identity().map(|name| name.map(|name| name.to_string())).ok()
    };
    assert_eq!(named(json!("jane@example.com")), Some(Some("jane@example.com".to_owned())));
    assert_eq!(named(json!("a b")), None);
    let Value::Object(plain) =
        json!({"a": "x", "8443/x:sub": "y", "b": [1, "y"], "c": true, "d": {}, "e": null, "f": [{}]})
    else {
        panic!()
    };
    let shown: Vec<_> = Claims(plain).plain().into_iter().map(|claim| (claim.name, claim.values.join(","))).collect();
    assert_eq!(shown, [("a", "x"), ("b", "1,y"), ("c", "true")].map(|(a, b)| (a.to_owned(), b.to_owned())));
}

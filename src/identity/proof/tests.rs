use super::{Expected, URL_BYTES_MAX, claimed_key, parse};
use crate::clock::Timestamp;
use crate::identity::endpoint::Endpoint;
use crate::identity::error::{Code, Error};
use crate::identity::sign::{Credentials, presign_get_caller_identity};
use crate::names::{Region, Uid};
use crate::secret::Secret;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use proptest::prelude::*;
use std::time::{Duration, UNIX_EPOCH};

const KEY: &str = "AKIAAAAAAAAAAAAAAAAA";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NOW: i64 = 1_790_208_000;

fn organization() -> Uid {
    Uid::from_bytes([7; 16])
}

fn endpoint(text: &str) -> Endpoint {
    Endpoint::parse(text).unwrap()
}

fn url(host: &str, organization: Uid, token: Option<&str>) -> String {
    let secret = Secret::new(SECRET.to_owned());
    let token = token.map(|token| Secret::new(token.to_owned()));
    let credentials = Credentials { access_key_id: KEY, secret: &secret, session_token: token.as_ref() };
    let region = Region::parse("us-east-1").unwrap();
    let (now, expires) = (Timestamp::from_secs(NOW), Duration::from_secs(60));
    presign_get_caller_identity(
        &endpoint(host),
        &region,
        &credentials,
        now,
        expires,
        organization,
        Some(Uid::from_bytes([9; 16])),
    )
}

/// Parses and verifies as the server does.
fn check(url: &str) -> Result<Option<String>, Error> {
    let endpoints = [endpoint("https://registry.example"), endpoint("http://127.0.0.1:5000")];
    let region = Region::parse("us-east-1").unwrap();
    let presented = parse(url, &Expected { endpoints: &endpoints, region: &region, organization: organization() })?;
    presented.verify(&Secret::new(SECRET.to_owned()))?;
    Ok(presented.security_token.map(|token| token.expose().clone()))
}

fn code(url: &str) -> Option<Code> {
    check(url).expect_err("the tampered proof is refused").code()
}

fn good() -> String {
    url("https://registry.example", organization(), Some("ts1.token"))
}

#[test]
fn our_own_proofs_verify() {
    assert_eq!(check(&good()), Ok(Some("ts1.token".to_owned())));
    assert_eq!(check(&url("http://127.0.0.1:5000/", organization(), None)), Ok(None));
}

#[test]
fn proofs_of_an_independent_signer_verify() {
    let identity = aws_credential_types::Credentials::new(KEY, SECRET, Some("a+b/c=".to_owned()), None, "test").into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_secs(900));
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("sts")
        .time(UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs()))
        .settings(settings)
        .build()
        .unwrap();
    let mut request = http::Request::builder()
        .uri("https://registry.example/?Action=GetCallerIdentity&Version=2011-06-15")
        .body(())
        .unwrap();
    let bound = organization().to_string();
    let headers = [(super::ORGANIZATION_HEADER, bound.as_str())];
    let uri = request.uri().to_string();
    let signable = SignableRequest::new("GET", uri, headers.into_iter(), SignableBody::Bytes(b"")).unwrap();
    let (instructions, _) = sign(signable, &parameters.into()).unwrap().into_parts();
    instructions.apply_to_request_http1x(&mut request);
    assert_eq!(check(&request.uri().to_string()), Ok(Some("a+b/c=".to_owned())));
}

#[test]
fn cve_2022_2385_second_spellings_of_parameters_are_refused() {
    let good = good();
    for (name, _) in
        good.split_once('?').unwrap().1.split('&').map(|pair| pair.split_once('=').unwrap()).collect::<Vec<_>>()
    {
        for spelling in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
            for value in ["", "x"] {
                let after = format!("{good}&{spelling}={value}");
                let before = good.replacen('?', &format!("?{spelling}={value}&"), 1);
                assert_eq!(code(&after), Some(Code::IncompleteSignature), "{spelling}");
                assert_eq!(code(&before), Some(Code::IncompleteSignature), "{spelling}");
            }
        }
        let misspelt = good.replacen(&format!("{name}="), &format!("{}=", name.to_lowercase()), 1);
        assert_eq!(code(&misspelt), Some(Code::IncompleteSignature), "{name} in lower case");
        let gone: Vec<&str> = good.split(['?', '&']).filter(|part| !part.starts_with(&format!("{name}="))).collect();
        let gone = gone.join("&").replacen('&', "?", 1);
        assert!(check(&gone).is_err(), "without {name}");
    }
    assert_eq!(code(&format!("{good}&extra=1")), Some(Code::IncompleteSignature));
    // An escaped name is the same name.
    assert_eq!(code(&format!("{good}&%41ction=GetCallerIdentity")), Some(Code::IncompleteSignature));
}

#[test]
fn cve_2020_16250_other_hosts_and_actions_are_refused() {
    let foreign = [
        url("https://sts.amazonaws.com", organization(), None),
        url("https://registry.example:8443", organization(), None),
        url("http://registry.example", organization(), None),
        url("https://registry.example.evil.example", organization(), None),
        good().replacen("registry.example", "registry.example@evil.example", 1),
        good().replacen("registry.example", "evil.example#registry.example", 1),
        good().replacen("https://registry.example", "https://user@registry.example", 1),
        good().replacen("https://registry.example/", "https://registry.example", 1),
        good().replacen("example/?", "example/./?", 1),
        good().replacen("example/?", "example//?", 1),
        good().replacen("example/?", "example/sts?", 1),
        good().replacen("https", "HTTPS", 1),
        format!(" {}", good()),
        format!("{}#x", good()),
        format!("{} ", good()),
        format!("{}\n", good()),
        format!("{}+", good()),
        good().replacen("Action=GetCallerIdentity", "Action=AssumeRole", 1),
        good().replacen("Action=GetCallerIdentity", "Action=GetCallerIdentity%00", 1),
        good().replacen("Action=GetCallerIdentity", "Action=getcalleridentity", 1),
        good().replacen("2011-06-15", "2010-05-08", 1),
        String::new(),
        "https://registry.example/?".to_owned(),
    ];
    for url in foreign {
        assert_eq!(code(&url), Some(Code::IncompleteSignature), "{url}");
    }
}

#[test]
fn a_proof_is_bound_to_one_organization_and_endpoint() {
    let other = url("https://registry.example", Uid::from_bytes([8; 16]), None);
    assert_eq!(code(&other), Some(Code::SignatureDoesNotMatch));
    let moved = url("http://127.0.0.1:5000", organization(), None).replacen(
        "http://127.0.0.1:5000",
        "https://registry.example",
        1,
    );
    assert_eq!(code(&moved), Some(Code::SignatureDoesNotMatch));
    let unbound = good().replacen("host%3Bx-transship-organization", "host", 1);
    assert_eq!(code(&unbound), Some(Code::IncompleteSignature));
    let more = good().replacen("host%3B", "host%3Bx-other%3B", 1);
    assert_eq!(code(&more), Some(Code::IncompleteSignature));
}

#[test]
fn each_value_is_signed() {
    let good = good();
    let signature = good.split("X-Amz-Signature=").nth(1).unwrap()[..64].to_owned();
    let flipped = if signature.starts_with('0') { "1" } else { "0" };
    let mismatch = Some(Code::SignatureDoesNotMatch);
    let incomplete = Some(Code::IncompleteSignature);
    for (what, from, to, expected) in [
        ("key id", KEY, "AKIABBBBBBBBBBBBBBBB", mismatch),
        ("time", "T000000Z", "T000001Z", mismatch),
        ("life", "Expires=60", "Expires=900", mismatch),
        ("long life", "Expires=60", "Expires=901", incomplete),
        ("token", "ts1.token", "ts1.nekot", mismatch),
        ("region", "us-east-1", "us-east-2", incomplete),
        ("service", "%2Fsts%2F", "%2Fecr%2F", incomplete),
        ("signature", &signature, &format!("{flipped}{}", &signature[1..]), mismatch),
    ] {
        assert!(good.contains(from), "{what}");
        assert_eq!(code(&good.replacen(from, to, 1)), expected, "{what}");
    }
}

#[test]
fn a_refused_proof_names_the_key_it_claims_and_nothing_that_could_be_a_secret() {
    assert_eq!(claimed_key(&good()), Some(KEY));
    assert_eq!(claimed_key(&url("https://elsewhere.example", organization(), None)), Some(KEY));
    for bad in
        ["", "https://a/", "https://a/?X-Amz-Credential", &good().replace(KEY, SECRET), &good().replace(KEY, "AKIA")]
    {
        assert_eq!(claimed_key(bad), None, "{bad}");
    }
    let late = format!("https://a/?{}&X-Amz-Credential={KEY}", "a".repeat(URL_BYTES_MAX));
    assert_eq!(claimed_key(&late), None);
}

#[test]
fn long_urls_are_refused() {
    let room = URL_BYTES_MAX - url("https://registry.example", organization(), Some("")).len();
    let fits = url("https://registry.example", organization(), Some(&"a".repeat(room)));
    assert_eq!(fits.len(), URL_BYTES_MAX);
    assert!(check(&fits).is_ok());
    let long = url("https://registry.example", organization(), Some(&"a".repeat(room + 1)));
    assert_eq!(code(&long), Some(Code::IncompleteSignature));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic_or_pass(query in "(X-Amz-[A-Z][a-z]{0,8}=)?\\PC{0,80}") {
        let url = format!("https://registry.example/?{query}");
        prop_assert!(check(&url).is_err());
    }
}

use super::{AUTHORIZATION_BYTES_MAX, Presented, Request, Target};
use crate::clock::Timestamp;
use crate::identity::canonical::sha256;
use crate::identity::error::{Code, Error};
use crate::names::Region;
use crate::secret::Secret;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use std::time::{Duration, UNIX_EPOCH};

const KEY: &str = "AKIAAAAAAAAAAAAAAAAA";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SIGNED_AT: u64 = 1_440_938_160;

fn secret() -> Secret<String> {
    Secret::new(SECRET.to_owned())
}

/// A request as a server holds it.
type Sent = http::Request<Vec<u8>>;

fn parse(sent: &Sent) -> Result<Presented, Error> {
    let payload = sha256(sent.body()).into();
    Presented::parse(&Request { method: sent.method(), uri: sent.uri(), headers: sent.headers(), payload })
}

fn check(sent: &Sent) -> Result<(), Error> {
    parse(sent)?.verify(&secret())
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)], body: &[u8]) -> Sent {
    let mut sent = http::Request::builder().method(method).uri(uri).body(body.to_vec()).unwrap();
    for (name, value) in headers {
        sent.headers_mut().append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    sent
}

/// Signs with the signer of the AWS SDK.
fn signed(mut sent: Sent, form: SignatureLocation, token: Option<&str>) -> Sent {
    let identity = Credentials::new(KEY, SECRET, token.map(str::to_owned), None, "test").into();
    let mut settings = SigningSettings::default();
    settings.signature_location = form;
    settings.expires_in = (form == SignatureLocation::QueryParams).then(|| Duration::from_secs(900));
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("ecr")
        .time(UNIX_EPOCH + Duration::from_secs(SIGNED_AT))
        .settings(settings)
        .build()
        .unwrap();
    let headers = sent.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let uri = sent.uri().to_string();
    let signable =
        SignableRequest::new(sent.method().as_str(), uri, headers, SignableBody::Bytes(sent.body())).unwrap();
    let (instructions, _) = sign(signable, &parameters.into()).unwrap().into_parts();
    instructions.apply_to_request_http1x(&mut sent);
    sent
}

#[test]
fn published_examples_verify() {
    // SPEC: AWS Signature Version 4 test suite, and the signing example of the AWS General Reference (the first).
    let form = "application/x-www-form-urlencoded";
    type Case<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], &'a str);
    let cases: [Case<'_>; 8] = [
        (
            "iam",
            "GET",
            "/?Action=ListUsers&Version=2010-05-08",
            &[("content-type", "application/x-www-form-urlencoded; charset=utf-8"), ("host", "iam.amazonaws.com")],
            b"",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
        (
            "service",
            "GET",
            "/",
            &[("host", "example.amazonaws.com")],
            b"",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "service",
            "GET",
            "/example/..",
            &[("host", "example.amazonaws.com")],
            b"",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "service",
            "GET",
            "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
            &[("host", "example.amazonaws.com")],
            b"",
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        ),
        (
            "service",
            "POST",
            "/",
            &[("host", "example.amazonaws.com"), ("my-header1", "VALUE1")],
            b"",
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        ),
        (
            "service",
            "GET",
            "/",
            &[("host", "example.amazonaws.com"), ("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
            b"",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "service",
            "GET",
            "/",
            &[
                ("host", "example.amazonaws.com"),
                ("x-amz-security-token", "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"),
            ],
            b"",
            "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
        ),
        (
            "service",
            "POST",
            "/",
            &[
                ("content-length", "13"),
                ("content-type", form),
                ("host", "example.amazonaws.com"),
                ("x-amz-content-sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"),
            ],
            b"Param1=value1",
            "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
        ),
    ];
    for (service, method, uri, headers, body, signature) in cases {
        let mut names: Vec<&str> = headers.iter().map(|(name, _)| *name).chain(["x-amz-date"]).collect();
        names.sort_unstable();
        let names = names.join(";");
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, \
             SignedHeaders={names}, Signature={signature}"
        );
        let mut sent = request(method, uri, headers, body);
        sent.headers_mut().insert("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
        sent.headers_mut().insert("authorization", authorization.parse().unwrap());
        let presented = parse(&sent).unwrap();
        assert_eq!(presented.verify(&secret()), Ok(()), "{method} {uri} {names}");
        assert_eq!(presented.verify(&Secret::new("other".to_owned())), Err(Error::SignatureDoesNotMatch));
        assert_eq!(
            (presented.access_key_id.as_str(), presented.service.as_str(), presented.signed_at.secs()),
            ("AKIDEXAMPLE", service, 1_440_938_160)
        );
    }
}

const RAW: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn arbitrary_uri() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        8 => "\\PC{1,8}".prop_map(|text| utf8_percent_encode(&text, RAW).to_string()),
        1 => Just(".".to_owned()),
        1 => Just("..".to_owned()),
        1 => Just(String::new()),
        1 => Just("a:b@c!$'()*,;=".to_owned()),
    ];
    let text = prop_oneof![
        "\\PC{0,8}".prop_map(|text| utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string()),
        "[a-zA-Z0-9+*:@/?!$',;]{0,6}",
    ];
    let pair = (text.clone(), proptest::option::of(text));
    (prop::collection::vec(segment, 0..5), prop::collection::vec(pair, 0..5)).prop_map(|(path, query)| {
        let query: Vec<String> = query
            .into_iter()
            .map(|(name, value)| value.map_or(name.clone(), |value| format!("{name}={value}")))
            .collect();
        format!("https://registry.example:5000/{}?{}", path.join("/"), query.join("&"))
    })
}

fn arbitrary_request() -> impl Strategy<Value = Sent> {
    let method = prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("PATCH"), Just("DELETE")];
    let name = prop_oneof!["x-amz-test[a-z]", "x-test[a-z]", Just("content-type".to_owned())];
    let headers = prop::collection::vec((name, "[ -~]{0,16}"), 0..6);
    (method, arbitrary_uri(), headers, prop::collection::vec(any::<u8>(), 0..64)).prop_map(
        |(method, uri, headers, body)| {
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            request(method, &uri, &headers, &body)
        },
    )
}

fn both_forms() -> impl Strategy<Value = SignatureLocation> {
    prop_oneof![Just(SignatureLocation::Headers), Just(SignatureLocation::QueryParams)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_the_sdk_signs_verifies_and_nothing_else_does(
        sent in arbitrary_request(),
        form in both_forms(),
        token in proptest::option::of("[A-Za-z0-9+/=]{1,40}"),
        over_http_1 in any::<bool>(),
        other_body in prop::collection::vec(any::<u8>(), 0..64),
        other_uri in arbitrary_uri(),
    ) {
        let mut sent = signed(sent, form, token.as_deref());
        if over_http_1 {
            let origin = sent.uri().path_and_query().unwrap().as_str().parse().unwrap();
            *sent.uri_mut() = origin;
            sent.headers_mut().insert("host", HeaderValue::from_static("registry.example:5000"));
        }
        let presented = parse(&sent).unwrap();
        prop_assert_eq!(presented.verify(&secret()), Ok(()));
        prop_assert_eq!(presented.security_token.map(|token| token.expose().clone()), token);

        let mut method = sent.clone();
        *method.method_mut() = Method::OPTIONS;
        prop_assert!(check(&method).is_err());

        if other_body != *sent.body() {
            let mut body = sent.clone();
            *body.body_mut() = other_body;
            prop_assert!(check(&body).is_err());
        }

        let mut path = sent.clone();
        *path.uri_mut() = with_path(&sent, "/no/such/path");
        prop_assert!(check(&path).is_err());

        for added in ["x=1", "X-Amz-Other=1", other_uri.split_once("?").unwrap().1] {
            if added.chars().any(|c| c != '&') {
                let mut query = sent.clone();
                *query.uri_mut() = with_query(&sent, added);
                prop_assert!(check(&query).is_err());
            }
        }
    }

    #[test]
    fn no_input_makes_the_parser_panic(
        authorization in "(AWS4-HMAC-SHA256 )?[ -~]{0,80}",
        query in "(X-Amz-Signature=)?[!-~&&[^#<>\"`{}]]{0,80}",
        date in "\\PC{0,20}",
    ) {
        let mut sent = request("GET", &format!("/?{query}"), &[("host", "a"), ("authorization", &authorization)], b"");
        if let Ok(value) = HeaderValue::from_bytes(date.as_bytes()) {
            sent.headers_mut().insert("x-amz-date", value);
        }
        prop_assert!(check(&sent).is_err());
    }
}

fn with_path(sent: &Sent, path: &str) -> http::Uri {
    let text = sent.uri().query().map_or(path.to_owned(), |query| format!("{path}?{query}"));
    rebuild(sent, &text)
}

fn with_query(sent: &Sent, added: &str) -> http::Uri {
    let query = sent.uri().query().filter(|query| !query.is_empty());
    let query = query.map_or(added.to_owned(), |query| format!("{query}&{added}"));
    rebuild(sent, &format!("{}?{query}", sent.uri().path()))
}

fn rebuild(sent: &Sent, path_and_query: &str) -> http::Uri {
    let mut parts = sent.uri().clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().unwrap());
    http::Uri::from_parts(parts).unwrap()
}

/// A request with one signed and one unsigned ordinary header, in header form.
fn sample() -> Sent {
    let uri = "https://registry.example/v2/?a=1&b=2";
    let mut sent = signed(
        request("POST", uri, &[("x-amz-target", "Op"), ("x-test", "one")], b"{}"),
        SignatureLocation::Headers,
        Some("ts1.token"),
    );
    sent.headers_mut().insert("user-agent", HeaderValue::from_static("any"));
    sent
}

fn presigned() -> Sent {
    let uri = "https://registry.example/?Action=GetCallerIdentity&Version=2011-06-15";
    signed(request("GET", uri, &[], b""), SignatureLocation::QueryParams, Some("ts1.token"))
}

fn replaced(sent: &Sent, header: &'static str, from: &str, to: &str) -> Sent {
    let mut sent = sent.clone();
    let text = sent.headers()[header].to_str().unwrap().to_owned();
    assert!(text.contains(from), "{header} has {from}: {text}");
    sent.headers_mut().insert(header, text.replacen(from, to, 1).parse().unwrap());
    sent
}

fn replaced_in_uri(sent: &Sent, from: &str, to: &str) -> Sent {
    let mut sent = sent.clone();
    let text = sent.uri().to_string();
    assert!(text.contains(from), "the URI has {from}: {text}");
    *sent.uri_mut() = text.replacen(from, to, 1).parse().unwrap();
    sent
}

fn code(sent: &Sent) -> Option<Code> {
    check(sent).expect_err("the tampered request is refused").code()
}

#[test]
fn each_tampering_of_the_header_form_is_refused() {
    let good = sample();
    assert_eq!(check(&good), Ok(()));
    let mut free = good.clone();
    free.headers_mut().insert("user-agent", HeaderValue::from_static("other"));
    assert_eq!(check(&free), Ok(()), "an ordinary header that is not signed may change");

    let signature = parse(&good).unwrap().signature;
    let flipped = if signature.starts_with('0') { "1" } else { "0" };
    let other = format!("{flipped}{}", &signature[1..]);
    let mismatch = Some(Code::SignatureDoesNotMatch);
    let incomplete = Some(Code::IncompleteSignature);
    let auth = "authorization";
    let cases = [
        ("query", replaced_in_uri(&good, "a=1", "a=2"), mismatch),
        ("path", replaced_in_uri(&good, "/v2/", "/v3/"), mismatch),
        ("host", replaced_in_uri(&good, "registry.example", "evil.example"), mismatch),
        ("header", replaced(&good, "x-test", "one", "two"), mismatch),
        ("target", replaced(&good, "x-amz-target", "Op", "Po"), mismatch),
        ("token", replaced(&good, "x-amz-security-token", "token", "nekot"), mismatch),
        ("time", replaced(&good, "x-amz-date", "T123600Z", "T123601Z"), mismatch),
        ("date", replaced(&good, "x-amz-date", "20150830", "20150831"), incomplete),
        ("signature", replaced(&good, auth, &signature, &other), mismatch),
        ("signature in capitals", replaced(&good, auth, &signature, &signature.to_uppercase()), incomplete),
        ("short signature", replaced(&good, auth, &signature, &signature[..63]), incomplete),
        ("scope date", replaced(&good, auth, "/20150830/", "/20150829/"), incomplete),
        ("scope date cut", replaced(&good, auth, "/20150830/", "/2015083/"), incomplete),
        ("region", replaced(&good, auth, "/us-east-1/", "/us-east-2/"), mismatch),
        ("service", replaced(&good, auth, "/ecr/", "/sts/"), mismatch),
        ("terminator", replaced(&good, auth, "aws4_request", "aws4_requesu"), incomplete),
        ("credential parts", replaced(&good, auth, "/ecr/", "/"), incomplete),
        ("key id", replaced(&good, auth, KEY, "AKIA-AAAA"), incomplete),
        ("algorithm", replaced(&good, auth, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), incomplete),
        ("scheme", replaced(&good, auth, "AWS4-HMAC-SHA256", "Bearer"), incomplete),
        ("field twice", replaced(&good, auth, "Signature=", "Signature=x, Signature="), incomplete),
        ("unknown field", replaced(&good, auth, "Signature=", "Extra=x, Signature="), incomplete),
        ("missing field", replaced(&good, auth, "SignedHeaders=", "Signature="), incomplete),
        ("host unsigned", replaced(&good, auth, "=host;", "="), incomplete),
        ("target unsigned", replaced(&good, auth, ";x-amz-target", ""), incomplete),
        ("date unsigned", replaced(&good, auth, ";x-amz-date", ""), incomplete),
        ("token unsigned", replaced(&good, auth, ";x-amz-security-token", ""), incomplete),
        ("ordinary header unsigned", replaced(&good, auth, ";x-test", ""), mismatch),
        ("signed but absent", replaced(&good, auth, ";x-test", ";x-test;x-zero"), incomplete),
        ("names unsorted", replaced(&good, auth, ";x-amz-target;x-test", ";x-test;x-amz-target"), incomplete),
        ("names repeated", replaced(&good, auth, ";x-test", ";x-test;x-test"), incomplete),
        ("names in capitals", replaced(&good, auth, ";x-test", ";x-Test"), incomplete),
        ("no names", replaced(&good, auth, "SignedHeaders=host", "SignedHeaders=;host"), incomplete),
        ("both forms", replaced_in_uri(&good, "a=1", "x-amz-signature=1"), incomplete),
    ];
    for (what, sent, expected) in cases {
        assert_eq!(code(&sent), expected, "{what}");
    }
}

#[test]
fn headers_of_authentication_may_not_repeat_or_be_added() {
    let added = |name: &'static str, value: &str| {
        let mut sent = sample();
        sent.headers_mut().append(name, value.parse().unwrap());
        code(&sent)
    };
    let again = sample().headers()["authorization"].to_str().unwrap().to_owned();
    let hash = hex::encode(sha256(b"{}"));
    assert_eq!(added("authorization", &again), Some(Code::IncompleteSignature));
    assert_eq!(added("x-amz-date", "20150830T123600Z"), Some(Code::IncompleteSignature));
    assert_eq!(added("x-amz-security-token", "ts1.token"), Some(Code::IncompleteSignature));
    assert_eq!(added("x-amz-extra", "1"), Some(Code::IncompleteSignature));
    assert_eq!(added("x-test", "two"), Some(Code::SignatureDoesNotMatch));
    assert_eq!(added("host", "evil.example"), Some(Code::IncompleteSignature));
    for hash in ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", &hash.to_uppercase(), ""] {
        assert_eq!(added("x-amz-content-sha256", hash), Some(Code::IncompleteSignature), "{hash}");
    }
    let mut sent = sample();
    sent.headers_mut().append("x-amz-content-sha256", hash.parse().unwrap());
    assert_eq!(check(&sent), Ok(()), "the true hash needs no signature");
}

#[test]
fn a_request_without_what_is_needed_is_refused() {
    let without = |name: &str| {
        let mut sent = sample();
        sent.headers_mut().remove(name);
        code(&sent)
    };
    assert_eq!(without("authorization"), Some(Code::MissingAuthenticationToken));
    assert_eq!(without("x-amz-date"), Some(Code::IncompleteSignature));
    assert_eq!(without("x-amz-security-token"), Some(Code::IncompleteSignature));
    assert_eq!(without("x-test"), Some(Code::IncompleteSignature));
    let mut sent = sample();
    *sent.uri_mut() = "/v2/?a=1&b=2".parse().unwrap();
    assert_eq!(code(&sent), Some(Code::IncompleteSignature), "no host");
    let long = sample().headers()["authorization"].to_str().unwrap().to_owned();
    let pad = |length: usize| format!("{}{}", long, " ".repeat(length - long.len() - 1) + ",");
    let mut sent = sample();
    sent.headers_mut().insert("authorization", pad(AUTHORIZATION_BYTES_MAX + 1).parse().unwrap());
    let too_long = Error::IncompleteSignature { what: "the Authorization header is longer than 4096 bytes" };
    assert_eq!(check(&sent), Err(too_long.clone()));
    sent.headers_mut().insert("authorization", pad(AUTHORIZATION_BYTES_MAX).parse().unwrap());
    assert_ne!(check(&sent), Err(too_long));
}

#[test]
fn each_tampering_of_the_query_form_is_refused() {
    let good = presigned();
    assert_eq!(check(&good), Ok(()));
    let mismatch = Some(Code::SignatureDoesNotMatch);
    let incomplete = Some(Code::IncompleteSignature);
    let cases = [
        ("action", "GetCallerIdentity", "AssumeRole", mismatch),
        ("date", "Date=20150830T1236", "Date=20150830T1237", mismatch),
        ("scope date", "%2F20150830%2F", "%2F20150831%2F", incomplete),
        ("region", "us-east-1", "us-east-2", mismatch),
        ("service", "%2Fecr%2F", "%2Fsts%2F", mismatch),
        ("expires", "Expires=900", "Expires=899", mismatch),
        ("long life", "Expires=900", "Expires=901", incomplete),
        ("no life", "Expires=900", "Expires=0", incomplete),
        ("signed life", "Expires=900", "Expires=%2B90", incomplete),
        ("endless life", "Expires=900", "Expires=99999999999999999999", incomplete),
        ("token", "ts1.token", "ts1.nekot", mismatch),
        ("algorithm", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512", incomplete),
        ("signed headers", "SignedHeaders=host", "SignedHeaders=x", incomplete),
        ("repeated", "X-Amz-Expires=", "X-Amz-Expires=1&X-Amz-Expires=", incomplete),
        ("mixed case", "X-Amz-Expires=", "x-amz-expires=1&X-Amz-Expires=", incomplete),
        ("missing", "X-Amz-Expires=900", "x=1", incomplete),
        ("misspelt", "X-Amz-Expires=", "x-amz-expires=", incomplete),
        ("no signature", "X-Amz-Signature=", "x=", incomplete),
    ];
    for (what, from, to, expected) in cases {
        assert_eq!(code(&replaced_in_uri(&good, from, to)), expected, "{what}");
    }
    for (name, value) in [
        ("authorization", "Bearer x"),
        ("x-amz-date", "20150830T123600Z"),
        ("x-amz-security-token", "ts1.token"),
        ("x-amz-target", "Op"),
    ] {
        let mut sent = good.clone();
        sent.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(code(&sent), incomplete, "{name}");
    }
    // Not even signed: there would be two dates, or two tokens, to choose from.
    for name in ["x-amz-date", "x-amz-security-token"] {
        let twice = request("GET", "https://registry.example/", &[(name, "20150830T123600Z")], b"");
        assert_eq!(code(&signed(twice, SignatureLocation::QueryParams, None)), incomplete, "{name}");
    }
    let mut body = good.clone();
    *body.body_mut() = b"Action=AssumeRole".to_vec();
    assert_eq!(code(&body), mismatch, "the body of a presigned request is signed too");
}

#[test]
fn the_clock_may_be_five_minutes_off_and_no_second_more() {
    let start = i64::try_from(SIGNED_AT).unwrap();
    let header = parse(&sample()).unwrap();
    let query = parse(&presigned()).unwrap();
    let cases = [
        (&header, -301, false),
        (&header, -300, true),
        (&header, 0, true),
        (&header, 300, true),
        (&header, 301, false),
        (&query, -301, false),
        (&query, -300, true),
        (&query, 301, true),
        (&query, 900, true),
        (&query, 901, false),
    ];
    for (presented, offset, fine) in cases {
        let checked = presented.check_time(Timestamp::from_secs(start + offset));
        assert_eq!(checked, if fine { Ok(()) } else { Err(Error::RequestTimeTooSkewed) }, "{offset}");
    }
    assert!(header.check_time(Timestamp::from_micros((start + 300) * 1_000_000 + 1)).is_err());
}

#[test]
fn a_signature_for_another_region_or_service_is_refused() {
    let presented = parse(&sample()).unwrap();
    let (here, there) = (Region::parse("us-east-1").unwrap(), Region::parse("us-east-2").unwrap());
    assert_eq!(presented.check_target(&Target { region: &here, service: "ecr" }), Ok(()));
    assert!(presented.check_target(&Target { region: &there, service: "ecr" }).is_err());
    assert!(presented.check_target(&Target { region: &here, service: "sts" }).is_err());
}

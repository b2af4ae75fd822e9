//! Errors as the OCI surface tells them: one table from reason to status and code, one way to render.
//!
//! Guarantees that a 401 always carries a challenge, a 405 its methods, a retryable error a time to wait, and a HEAD
//! no body. The cause of an error is never rendered; the caller gets message and metadata only.

use super::address::EcrHost;
use crate::api::body::{self, Body};
use crate::error::{Error, Reason};
use crate::names::Uid;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const AMZN_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Seconds that a client waits before it tries again, unless the error's metadata has its own `retry_after`.
const RETRY_SECONDS: u32 = 1;

macro_rules! codes {
    ($($code:ident $wire:literal;)*) => {
        /// The code of an error.
        ///
        /// SPEC: OCI distribution-spec 1.1, "Error codes"; those below the line are its reference implementation's.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs, reason = "the names are the specification's")]
        pub enum Code { $($code,)* }

        impl Code {
            /// The code on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => $wire,)* }
            }
        }
    };
}

codes! {
    BlobUnknown "BLOB_UNKNOWN";
    BlobUploadInvalid "BLOB_UPLOAD_INVALID";
    BlobUploadUnknown "BLOB_UPLOAD_UNKNOWN";
    DigestInvalid "DIGEST_INVALID";
    ManifestBlobUnknown "MANIFEST_BLOB_UNKNOWN";
    ManifestInvalid "MANIFEST_INVALID";
    ManifestUnknown "MANIFEST_UNKNOWN";
    NameInvalid "NAME_INVALID";
    NameUnknown "NAME_UNKNOWN";
    SizeInvalid "SIZE_INVALID";
    Unauthorized "UNAUTHORIZED";
    Denied "DENIED";
    Unsupported "UNSUPPORTED";
    TooManyRequests "TOOMANYREQUESTS";
    // ---
    PaginationNumberInvalid "PAGINATION_NUMBER_INVALID";
    RangeInvalid "RANGE_INVALID";
    TagInvalid "TAG_INVALID";
    Unavailable "UNAVAILABLE";
    Unknown "UNKNOWN";
}

/// The status and code of an error: the table from [`Reason`], with the malformed field as its second key.
#[must_use]
pub fn classify(error: &Error) -> (StatusCode, Code) {
    use StatusCode as S;
    match error.reason {
        Reason::AccessDenied => (S::FORBIDDEN, Code::Denied),
        Reason::CallerUnknown | Reason::CredentialsExpired | Reason::ScopeInsufficient => {
            (S::UNAUTHORIZED, Code::Unauthorized)
        }
        Reason::InvalidArgument => (S::BAD_REQUEST, malformed(error.metadata.get("field").map(String::as_str))),
        Reason::MalformedPolicy | Reason::PackedPolicyTooLarge => (S::BAD_REQUEST, Code::Unsupported),
        Reason::NotFound | Reason::RepositoryNotFound => (S::NOT_FOUND, Code::NameUnknown),
        Reason::AlreadyExists | Reason::RepositoryNotEmpty | Reason::Locked | Reason::InUse => {
            (S::CONFLICT, Code::Denied)
        }
        Reason::ImageNotFound => (S::NOT_FOUND, Code::ManifestUnknown),
        Reason::LayerNotFound => (S::NOT_FOUND, Code::BlobUnknown),
        Reason::ReferenceNotFound => (S::BAD_REQUEST, Code::ManifestBlobUnknown),
        Reason::UploadNotFound => (S::NOT_FOUND, Code::BlobUploadUnknown),
        Reason::UploadOutOfOrder => (S::RANGE_NOT_SATISFIABLE, Code::BlobUploadInvalid),
        Reason::DigestMismatch => (S::BAD_REQUEST, Code::DigestInvalid),
        Reason::Truncated => (S::BAD_REQUEST, Code::SizeInvalid),
        Reason::ManifestInvalid => (S::BAD_REQUEST, Code::ManifestInvalid),
        Reason::TooLarge => (S::PAYLOAD_TOO_LARGE, Code::SizeInvalid),
        Reason::RangeInvalid => (S::RANGE_NOT_SATISFIABLE, Code::RangeInvalid),
        Reason::TagImmutable => (S::BAD_REQUEST, Code::TagInvalid),
        Reason::TagConflict => (S::CONFLICT, Code::TagInvalid),
        Reason::EtagMismatch => (S::PRECONDITION_FAILED, Code::Denied),
        Reason::NotHomeRegion | Reason::WrongRegion => (S::MISDIRECTED_REQUEST, Code::Unsupported),
        Reason::DataLoss | Reason::Internal => (S::INTERNAL_SERVER_ERROR, Code::Unknown),
        Reason::Fenced | Reason::KeyUnavailable | Reason::Unavailable => (S::SERVICE_UNAVAILABLE, Code::Unavailable),
        Reason::Throttled => (S::TOO_MANY_REQUESTS, Code::TooManyRequests),
        Reason::Unsupported => (S::METHOD_NOT_ALLOWED, Code::Unsupported),
    }
}

/// The code for a malformed field, by the kind of name or the parameter that is malformed.
fn malformed(field: Option<&str>) -> Code {
    match field {
        Some("digest") => Code::DigestInvalid,
        Some("repository name" | "account id") => Code::NameInvalid,
        Some("tag" | "media type") => Code::ManifestInvalid,
        Some("n") => Code::PaginationNumberInvalid,
        _ => Code::Unsupported,
    }
}

/// How a client that must prove itself is told to.
///
/// SPEC: RFC 9110 section 11.6.1; the Bearer form is the Docker registry token protocol's, the Basic form is ECR's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Challenge {
    /// Send the registry password with every request, as to ECR.
    Basic {
        /// The host as the client wrote it.
        host: String,
    },
    /// Get a token first.
    Bearer {
        /// The URL of the token service.
        realm: String,
        /// The service that the token is for.
        service: String,
        /// What to ask the token for.
        scope: Option<String>,
        /// What was wrong with the token sent, if one was: `invalid_token` or `insufficient_scope`.
        error: Option<&'static str>,
    },
}

impl Challenge {
    /// The challenge for a host: Basic under names of the ECR form, else Bearer with the token service beside it.
    #[must_use]
    pub fn for_host(host: &str, secure: bool, scope: Option<String>, error: Option<&'static str>) -> Self {
        if EcrHost::parse(host).is_some() {
            return Self::Basic { host: host.to_owned() };
        }
        let scheme = if secure { "https" } else { "http" };
        Self::Bearer { realm: format!("{scheme}://{host}/token"), service: host.to_owned(), scope, error }
    }

    fn header(&self) -> HeaderValue {
        // What no header can carry is escaped away by `Quoted`, so the fallback is for the type only.
        HeaderValue::from_str(&self.to_string()).unwrap_or(HeaderValue::from_static("Basic"))
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { host } => {
                write!(f, "Basic realm=\"https://{}/\",service=\"ecr.amazonaws.com\"", Quoted(host))
            }
            Self::Bearer { realm, service, scope, error } => {
                write!(f, "Bearer realm=\"{}\",service=\"{}\"", Quoted(realm), Quoted(service))?;
                if let Some(scope) = scope {
                    write!(f, ",scope=\"{}\"", Quoted(scope))?;
                }
                error.map_or(Ok(()), |error| write!(f, ",error=\"{error}\""))
            }
        }
    }
}

/// The inside of a quoted string. Hosts come from the client: what is not printable ASCII is left out.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().filter(|c| *c == ' ' || c.is_ascii_graphic()) {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

/// The request that an error answers.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Names the request in the log.
    pub request_id: Uid,
    /// Whether the answer must have no body.
    pub head: bool,
    /// The challenge, should the answer be a 401.
    pub challenge: &'a Challenge,
}

/// The answer to a request that did not succeed.
#[must_use]
pub fn render(error: &Error, asked: &Asked<'_>) -> Response<Body> {
    let (status, code) = classify(error);
    let (media_type, text) = match (status, asked.challenge) {
        // OBSERVED: ECR's answer to who has not logged in.
        (StatusCode::UNAUTHORIZED, Challenge::Basic { .. }) => {
            ("text/plain; charset=utf-8", "Not Authorized".to_owned())
        }
        _ => ("application/json", document(error, code)),
    };
    let mut response = Response::new(if asked.head { body::empty() } else { body::full(text) });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    identify(headers, asked.request_id);
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, asked.challenge.header());
    }
    if error.reason.retryable() {
        let own = error.metadata.get("retry_after").and_then(|seconds| seconds.parse::<u32>().ok());
        headers.insert(RETRY_AFTER, HeaderValue::from(own.unwrap_or(RETRY_SECONDS)));
    }
    if let Some(allow) = error.metadata.get("allow").and_then(|allow| HeaderValue::from_str(allow).ok()) {
        headers.insert(ALLOW, allow);
    }
    response
}

/// Adds what every answer of the OCI surface carries: the API version and the request's id under both its names.
pub fn identify(headers: &mut HeaderMap, request_id: Uid) {
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
        headers.insert(REQUEST_ID, id.clone());
        headers.insert(AMZN_REQUEST_ID, id);
    }
}

#[derive(Serialize)]
struct Document<'a> {
    errors: [Entry<'a>; 1],
}

#[derive(Serialize)]
struct Entry<'a> {
    code: &'static str,
    message: &'a str,
    detail: &'a BTreeMap<&'static str, String>,
}

fn document(error: &Error, code: Code) -> String {
    let entry = Entry { code: code.as_str(), message: &error.message, detail: &error.metadata };
    serde_json::to_string(&Document { errors: [entry] }).expect("maps of text are always JSON")
}

#[cfg(test)]
mod tests {
    use super::{Asked, Challenge, Code, classify, render};
    use crate::api::body::Body;
    use crate::error::{Error, Reason};
    use crate::names::{AccountId, Digest, RepositoryName, Tag, Uid};
    use http::{Response, StatusCode};
    use http_body_util::BodyExt;

    fn answer(error: &Error, head: bool) -> Response<Body> {
        let challenge = Challenge::for_host("localhost:5000", false, None, None);
        render(error, &Asked { request_id: Uid::from_bytes([7; 16]), head, challenge: &challenge })
    }

    async fn text(response: Response<Body>) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn an_answer_has_the_documents_form() {
        let error = Error::new(Reason::LayerNotFound, "no such \"blob\"").with("digest", "sha256:ab").because("secret");
        let response = answer(&error, false);
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["docker-distribution-api-version"], "registry/2.0");
        assert_eq!(response.headers()["x-request-id"], "07070707-0707-0707-0707-070707070707");
        assert_eq!(response.headers()["x-amzn-requestid"], response.headers()["x-request-id"]);
        assert_eq!(
            text(response).await,
            r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"no such \"blob\"","detail":{"digest":"sha256:ab"}}]}"#
        );
        let response = answer(&error, true);
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(text(response).await, "");
    }

    #[test]
    fn every_reason_has_the_headers_its_status_calls_for() {
        for reason in Reason::ALL {
            let response = answer(&Error::new(*reason, "x"), false);
            let (status, headers) = (response.status(), response.headers());
            assert!(status.is_client_error() || status.is_server_error(), "{reason:?}");
            assert_eq!(headers.contains_key("www-authenticate"), status == StatusCode::UNAUTHORIZED, "{reason:?}");
            assert_eq!(headers.contains_key("retry-after"), reason.retryable(), "{reason:?}");
        }
        let busy = answer(&Error::new(Reason::Throttled, "x").with("retry_after", 30), false);
        assert_eq!(busy.headers()["retry-after"], "30");
        let method = answer(&Error::new(Reason::Unsupported, "x").with("allow", "GET, HEAD"), false);
        assert_eq!(
            (method.status(), &method.headers()["allow"]),
            (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().unwrap())
        );
    }

    #[test]
    fn malformed_names_have_the_codes_of_the_specification() {
        let cases = [
            (Error::from(Digest::parse("x").unwrap_err()), Code::DigestInvalid),
            (Error::from(RepositoryName::parse("X").unwrap_err()), Code::NameInvalid),
            (Error::from(AccountId::parse("x").unwrap_err()), Code::NameInvalid),
            (Error::from(Tag::parse(".").unwrap_err()), Code::ManifestInvalid),
            (Error::invalid("n", "a number"), Code::PaginationNumberInvalid),
            (Error::invalid("other", "x"), Code::Unsupported),
        ];
        for (error, code) in cases {
            assert_eq!(classify(&error), (StatusCode::BAD_REQUEST, code), "{error}");
        }
    }

    #[tokio::test]
    async fn who_has_not_logged_in_reads_what_ecr_says_under_its_names() {
        let error = Error::new(Reason::CallerUnknown, "log in first");
        for (host, media_type, expected) in [
            ("111122223333.dkr.ecr.eu-west-1.example.com", "text/plain; charset=utf-8", "Not Authorized"),
            ("localhost:5000", "application/json", "{\"errors\":[{\"code\":\"UNAUTHORIZED\""),
        ] {
            let challenge = Challenge::for_host(host, false, None, None);
            let asked = Asked { request_id: Uid::from_bytes([7; 16]), head: false, challenge: &challenge };
            let response = render(&error, &asked);
            assert_eq!(
                (response.status(), &response.headers()["content-type"]),
                (StatusCode::UNAUTHORIZED, &media_type.parse().unwrap())
            );
            assert!(text(response).await.starts_with(expected), "{host}");
        }
    }

    #[test]
    fn challenges_follow_the_host() {
        let ecr = "111122223333.dkr.ecr.eu-west-1.example.com";
        let scope = || Some("repository:111122223333/app:pull".to_owned());
        let cases = [
            (
                Challenge::for_host(ecr, true, scope(), None),
                format!("Basic realm=\"https://{ecr}/\",service=\"ecr.amazonaws.com\""),
            ),
            (
                Challenge::for_host("localhost:5000", false, None, None),
                "Bearer realm=\"http://localhost:5000/token\",service=\"localhost:5000\"".to_owned(),
            ),
            (
                Challenge::for_host("r.example.com", true, scope(), Some("invalid_token")),
                "Bearer realm=\"https://r.example.com/token\",service=\"r.example.com\",\
                 scope=\"repository:111122223333/app:pull\",error=\"invalid_token\""
                    .to_owned(),
            ),
            (
                Challenge::for_host("a\",x=\"b\r\né", false, None, None),
                "Bearer realm=\"http://a\\\",x=\\\"b/token\",service=\"a\\\",x=\\\"b\"".to_owned(),
            ),
        ];
        for (challenge, text) in cases {
            assert_eq!(challenge.to_string(), text);
            assert_eq!(challenge.header(), text);
        }
    }
}

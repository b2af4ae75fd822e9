//! Errors as AWS tells them: one table from reason to code for each protocol.
//!
//! SPEC: the error lists of the Amazon ECR and AWS STS API references, and their common errors.

use super::tree::NAMESPACE;
use crate::api::body::{self, Body};
use crate::error::{Error, Reason};
use crate::names::Uid;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use quick_xml::escape::escape;

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The code of a message that is none.
const INVALID_MESSAGE: &str = "InvalidAuthorizationMessageException";

/// How an answer is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    /// JSON 1.1.
    Json,
    /// Query, answered in XML.
    QueryXml,
    /// Query, answered in JSON for who accepts nothing else.
    QueryJson,
}

impl Dialect {
    pub(super) fn of_query(headers: &HeaderMap) -> Self {
        let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        if accepts.starts_with("application/json") { Self::QueryJson } else { Self::QueryXml }
    }
}

/// The code of Amazon ECR for an error of an operation.
fn ecr(error: &Error) -> (StatusCode, &'static str) {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    let operation = error.metadata.get("operation").map(String::as_str).unwrap_or_default();
    match error.reason {
        Reason::AccessDenied | Reason::ScopeInsufficient => (BAD, "AccessDeniedException"),
        Reason::CallerUnknown => (BAD, unbelieved(error)),
        Reason::CredentialsExpired => (BAD, "ExpiredTokenException"),
        Reason::NotFound if operation.ends_with("RegistryPolicy") => (BAD, "RegistryPolicyNotFoundException"),
        Reason::NotFound if operation.ends_with("RepositoryPolicy") => (BAD, "RepositoryPolicyNotFoundException"),
        Reason::AlreadyExists => (BAD, "RepositoryAlreadyExistsException"),
        Reason::RepositoryNotFound => (BAD, "RepositoryNotFoundException"),
        Reason::RepositoryNotEmpty => (BAD, "RepositoryNotEmptyException"),
        Reason::ImageNotFound => (BAD, "ImageNotFoundException"),
        Reason::LayerNotFound => (BAD, "LayersNotFoundException"),
        Reason::ReferenceNotFound => (BAD, "ReferencedImagesNotFoundException"),
        Reason::UploadNotFound => (BAD, "UploadNotFoundException"),
        Reason::UploadOutOfOrder => (BAD, "InvalidLayerPartException"),
        Reason::DigestMismatch => (BAD, "ImageDigestDoesNotMatchException"),
        Reason::TagImmutable => (BAD, "ImageTagAlreadyExistsException"),
        Reason::KeyUnavailable => (BAD, "KmsException"),
        Reason::Throttled => (BAD, "ThrottlingException"),
        Reason::Unsupported if error.metadata.contains_key("unknown") => (BAD, "UnknownOperationException"),
        Reason::NotFound
        | Reason::InvalidArgument
        | Reason::MalformedPolicy
        | Reason::PackedPolicyTooLarge
        | Reason::ManifestInvalid
        | Reason::TooLarge
        | Reason::RangeInvalid
        | Reason::Locked
        | Reason::InUse
        | Reason::TagConflict
        | Reason::EtagMismatch
        | Reason::NotHomeRegion
        | Reason::WrongRegion
        | Reason::Unsupported => (BAD, "InvalidParameterException"),
        Reason::Truncated | Reason::DataLoss | Reason::Fenced | Reason::Unavailable | Reason::Internal => {
            (StatusCode::INTERNAL_SERVER_ERROR, "ServerException")
        }
    }
}

/// Why a signature was not believed, in the words of JSON services.
fn unbelieved(error: &Error) -> &'static str {
    match code(error) {
        Some("SignatureDoesNotMatch" | "RequestTimeTooSkewed") => "InvalidSignatureException",
        Some("MissingAuthenticationToken") => "MissingAuthenticationTokenException",
        Some("IncompleteSignature") => "IncompleteSignatureException",
        _ => "UnrecognizedClientException",
    }
}

/// Why a caller is not believed.
fn code(error: &Error) -> Option<&str> {
    error.metadata.get("code").map(String::as_str)
}

/// The code of AWS STS.
fn sts(error: &Error) -> (StatusCode, &'static str) {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    match error.reason {
        Reason::AccessDenied | Reason::ScopeInsufficient => (StatusCode::FORBIDDEN, "AccessDenied"),
        Reason::CallerUnknown => match code(error) {
            Some("SignatureDoesNotMatch" | "RequestTimeTooSkewed") => (StatusCode::FORBIDDEN, "SignatureDoesNotMatch"),
            Some("MissingAuthenticationToken") => (StatusCode::FORBIDDEN, "MissingAuthenticationToken"),
            Some("IncompleteSignature") => (BAD, "IncompleteSignature"),
            Some("InvalidIdentityToken") => (BAD, "InvalidIdentityToken"),
            _ => (StatusCode::FORBIDDEN, "InvalidClientTokenId"),
        },
        Reason::CredentialsExpired if code(error) == Some("ExpiredTokenException") => (BAD, "ExpiredTokenException"),
        Reason::CredentialsExpired => (StatusCode::FORBIDDEN, "ExpiredToken"),
        Reason::Unavailable if code(error) == Some("IDPCommunicationError") => (BAD, "IDPCommunicationError"),
        Reason::InvalidArgument if code(error) == Some(INVALID_MESSAGE) => (BAD, INVALID_MESSAGE),
        Reason::MalformedPolicy => (BAD, "MalformedPolicyDocument"),
        Reason::PackedPolicyTooLarge => (BAD, "PackedPolicyTooLarge"),
        Reason::Throttled => (BAD, "Throttling"),
        Reason::Unsupported if error.metadata.contains_key("unknown") => (BAD, "InvalidAction"),
        Reason::DataLoss | Reason::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure"),
        Reason::Truncated | Reason::Fenced | Reason::KeyUnavailable | Reason::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
        }
        Reason::InvalidArgument
        | Reason::NotFound
        | Reason::AlreadyExists
        | Reason::RepositoryNotFound
        | Reason::RepositoryNotEmpty
        | Reason::ImageNotFound
        | Reason::LayerNotFound
        | Reason::ReferenceNotFound
        | Reason::UploadNotFound
        | Reason::UploadOutOfOrder
        | Reason::DigestMismatch
        | Reason::ManifestInvalid
        | Reason::TooLarge
        | Reason::RangeInvalid
        | Reason::TagImmutable
        | Reason::Locked
        | Reason::InUse
        | Reason::TagConflict
        | Reason::EtagMismatch
        | Reason::NotHomeRegion
        | Reason::WrongRegion
        | Reason::Unsupported => (BAD, "ValidationError"),
    }
}

/// The answer to a request that did not succeed. The cause is never in it, nor is a statement of a policy.
pub(super) fn render(error: &Error, dialect: Dialect, request: Uid) -> Response<Body> {
    let (status, code) = if dialect == Dialect::Json { ecr(error) } else { sts(error) };
    let (text, media_type) = match dialect {
        Dialect::Json => {
            let document = serde_json::json!({ "__type": code, "message": error.message });
            (document.to_string(), "application/x-amz-json-1.1")
        }
        Dialect::QueryJson => {
            let fault = serde_json::json!({ "Type": fault(status), "Code": code, "Message": error.message });
            (serde_json::json!({ "Error": fault, "RequestId": request.to_string() }).to_string(), "application/json")
        }
        Dialect::QueryXml => (xml(code, status, &error.message, request), "text/xml"),
    };
    let mut response = Response::new(body::full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if dialect == Dialect::Json {
        response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(code));
    }
    response
}

/// Whose fault it is, in the protocol's words.
fn fault(status: StatusCode) -> &'static str {
    if status.is_server_error() { "Receiver" } else { "Sender" }
}

fn xml(code: &str, status: StatusCode, message: &str, request: Uid) -> String {
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\">\n  <Error>\n    <Type>{}</Type>\n    <Code>{code}</Code>\n    \
         <Message>{}</Message>\n  </Error>\n  <RequestId>{request}</RequestId>\n</ErrorResponse>\n",
        fault(status),
        escape(message)
    )
}

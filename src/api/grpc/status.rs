//! Errors as gRPC tells them: one table from reason to code, and the details of AIP-193.

use crate::error::{Error, Reason};
use crate::names::Uid;
use std::collections::HashMap;
use std::time::Duration;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Whose reasons these are.
const DOMAIN: &str = "transship.dev";
/// The header with the request's id.
const REQUEST_ID: &str = "x-request-id";
/// Bytes of a message. It travels twice in headers, percent-encoded, and peers commonly take 8 to 16 KiB of them.
const MESSAGE_MAX: usize = 1_024;
/// Bytes of a value of the metadata; ARNs of ours are shorter.
const VALUE_MAX: usize = 512;
/// Bytes of a sealed message, which is of no use when it is cut; it has one size.
const ENCODED_MAX: usize = 2_500;
/// What can be missing, by its key in the metadata, the thing itself before what it belongs to.
const RESOURCES: &[&str] = &[
    "tag",
    "digest",
    "reference",
    "upload",
    "grant",
    "rule",
    "session",
    "access_key",
    "key",
    "policy",
    "principal",
    "grantee",
    "name",
    "repository",
    "registry",
    "account",
];

/// How long a client waits before it tries again.
const RETRY: Duration = Duration::from_secs(1);

/// The code of a reason.
#[must_use]
pub fn code(reason: Reason) -> Code {
    match reason {
        Reason::AccessDenied | Reason::ScopeInsufficient => Code::PermissionDenied,
        Reason::CallerUnknown | Reason::CredentialsExpired => Code::Unauthenticated,
        Reason::InvalidArgument
        | Reason::MalformedPolicy
        | Reason::PackedPolicyTooLarge
        | Reason::ReferenceNotFound
        | Reason::DigestMismatch
        | Reason::ManifestInvalid
        | Reason::TooLarge
        | Reason::UploadOutOfOrder => Code::InvalidArgument,
        Reason::RangeInvalid => Code::OutOfRange,
        Reason::NotFound
        | Reason::RepositoryNotFound
        | Reason::ImageNotFound
        | Reason::LayerNotFound
        | Reason::UploadNotFound => Code::NotFound,
        Reason::AlreadyExists => Code::AlreadyExists,
        Reason::RepositoryNotEmpty
        | Reason::TagImmutable
        | Reason::Locked
        | Reason::InUse
        | Reason::TagConflict
        | Reason::NotHomeRegion
        | Reason::WrongRegion
        | Reason::Fenced => Code::FailedPrecondition,
        Reason::EtagMismatch => Code::Aborted,
        Reason::DataLoss => Code::DataLoss,
        Reason::KeyUnavailable | Reason::Unavailable | Reason::Truncated => Code::Unavailable,
        Reason::Throttled => Code::ResourceExhausted,
        Reason::Unsupported => Code::Unimplemented,
        Reason::Internal => Code::Internal,
    }
}

/// The status of an error; its cause goes to the log and nowhere else.
pub(super) fn status(error: &Error, request_id: Uid) -> Status {
    let request = request_id;
    match error.reason {
        Reason::Internal | Reason::DataLoss => tracing::error!(%request, error = ?error, "a call failed"),
        Reason::AccessDenied => tracing::debug!(%request, error = ?error, "a call was refused"),
        _ if error.source.is_some() => tracing::warn!(%request, error = ?error, "a call was not served"),
        _ => tracing::debug!(%request, error = ?error, "a call was refused"),
    }
    let message = cut(&error.message, MESSAGE_MAX);
    let mut metadata: HashMap<String, String> =
        error.metadata.iter().map(|(key, value)| ((*key).to_owned(), cut(value, longest(key)))).collect();
    metadata.insert("request_id".to_owned(), request_id.to_string());
    let mut details = ErrorDetails::new();
    if let Some(field) = error.metadata.get("field") {
        details.add_bad_request_violation(field, &message);
    }
    if error.reason.retryable() {
        details.set_retry_info(Some(RETRY));
    }
    let missing = RESOURCES.iter().find_map(|kind| Some((kind, error.metadata.get(kind)?)));
    if let Some((kind, name)) = missing.filter(|_| code(error.reason) == Code::NotFound) {
        details.set_resource_info(*kind, cut(name, VALUE_MAX), "", &message);
    }
    details.set_error_info(error.reason.as_str(), DOMAIN, metadata);
    let mut status = Status::with_error_details(code(error.reason), message, details);
    identify(status.metadata_mut(), request_id);
    status
}

/// Writes the request's id where logs and audit rows have it.
pub(super) fn identify(metadata: &mut MetadataMap, request_id: Uid) {
    if let Ok(value) = request_id.to_string().parse() {
        metadata.insert(REQUEST_ID, value);
    }
}

fn longest(key: &str) -> usize {
    if key == "encoded_message" { ENCODED_MAX } else { VALUE_MAX }
}

fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = (0..=longest).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::status;
    use crate::clock::Clock;
    use crate::error::{Error, Reason};
    use tonic_types::StatusExt;

    #[test]
    fn what_is_told_is_bounded_and_carries_the_requests_id() {
        let long = "ü".repeat(100_000);
        let error = Error::new(Reason::InvalidArgument, long.clone()).with("field", "parent").with("value", long);
        let id = Clock::system().uid();
        let status = status(&error, id);
        assert_eq!(status.message(), "ü".repeat(512) + "…");
        assert!(status.details().len() < 4 << 10, "{}", status.details().len());
        assert_eq!(status.metadata().get("x-request-id").unwrap().to_str().unwrap(), id.to_string());
    }

    #[test]
    fn what_is_missing_is_the_thing_and_not_where_it_was_sought() {
        let error = Error::new(Reason::RepositoryNotFound, "none").with("registry", "1").with("repository", "app");
        let status = status(&error, Clock::system().uid());
        let details = status.get_error_details();
        let info = details.resource_info().unwrap();
        assert_eq!((info.resource_type.as_str(), info.resource_name.as_str()), ("repository", "app"));
    }

    #[test]
    fn every_reason_travels_with_its_metadata_and_never_with_its_cause() {
        for reason in Reason::ALL {
            let error = Error::new(*reason, "told").with("field", "name").because("a secret cause");
            let status = status(&error, Clock::system().uid());
            let info = status.get_error_details();
            let info = info.error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.metadata["field"].as_str()), (reason.as_str(), "name"));
            assert!(!format!("{status:?}").contains("secret cause"));
        }
    }
}

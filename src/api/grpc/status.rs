//! Errors as gRPC tells them: one table from reason to code, and the details of AIP-193.

use crate::error::{Error, Reason};
use crate::names::Uid;
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Whose reasons these are.
const DOMAIN: &str = "transship.dev";
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
        _ if error.source.is_some() => tracing::warn!(%request, error = ?error, "a call was not served"),
        _ => tracing::debug!(%request, error = ?error, "a call was refused"),
    }
    let mut metadata: HashMap<String, String> =
        error.metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    metadata.insert("request_id".to_owned(), request_id.to_string());
    let mut details = ErrorDetails::new();
    if let Some(field) = error.metadata.get("field") {
        details.add_bad_request_violation(field, &*error.message);
    }
    if error.reason.retryable() {
        details.set_retry_info(Some(RETRY));
    }
    if code(error.reason) == Code::NotFound {
        let (kind, name) = error.metadata.iter().next().map_or(("", ""), |(key, value)| (*key, value.as_str()));
        details.set_resource_info(kind, name, "", &*error.message);
    }
    details.set_error_info(error.reason.as_str(), DOMAIN, metadata);
    Status::with_error_details(code(error.reason), &*error.message, details)
}

#[cfg(test)]
mod tests {
    use super::status;
    use crate::clock::Clock;
    use crate::error::{Error, Reason};
    use tonic_types::StatusExt;

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

//! What can go wrong with keys and sealed bytes, and what a caller is told of it.

use super::kms::Refusal;
use crate::error::{Error as Envelope, Reason};
use std::sync::Arc;

/// Why keys or sealed bytes cannot be used.
///
/// It can be cloned, because callers that wait for one KMS call share its outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A KMS did not do what was asked.
    #[error("KMS {operation} with key {key}: {}: {}", refusal.name(), refusal.sentence(key))]
    Kms {
        /// The KMS operation, e.g. `Decrypt`.
        operation: &'static str,
        /// The ARN of the key, or what stands for it.
        key: String,
        /// Why, in the terms of KMS.
        refusal: Refusal,
        /// The client's error, if there is one.
        #[source]
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },
    /// A KMS was not asked, for the role that may use its keys could not be assumed.
    #[error("KMS {operation} with key {key}: STS did not let this server assume {role}, the role for KMS: {code}")]
    Role {
        /// The KMS operation, e.g. `Decrypt`.
        operation: &'static str,
        /// The ARN of the key, or what stands for it.
        key: String,
        /// The role's ARN.
        role: String,
        /// The code of STS, or `Unreachable` when it gave none.
        code: String,
        /// The client's error.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Sealed bytes, or what is said about them, are not what was sealed.
    #[error("{what} is not authentic")]
    Tampered {
        /// What does not verify.
        what: &'static str,
    },
    /// Stored bytes do not have the form of what they should be.
    #[error("{what} is malformed: {rule}")]
    Malformed {
        /// What is malformed.
        what: &'static str,
        /// What is accepted.
        rule: &'static str,
    },
    /// A range that is not inside the blob.
    #[error("range {start}..{end} is outside a blob of {size} bytes")]
    Range {
        /// First byte asked for.
        start: u64,
        /// The byte after the last.
        end: u64,
        /// The blob's size.
        size: u64,
    },
    /// Something is larger than its limit.
    #[error("{what} exceeds {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its limit.
        limit: u64,
    },
    /// The steps of sealing were called in another order.
    #[error("sealing out of order: {rule}")]
    OutOfOrder {
        /// What has to hold.
        rule: &'static str,
    },
    /// The cryptographic library refused to work.
    #[error("{what} failed")]
    Crypto {
        /// The step that failed.
        what: &'static str,
    },
    /// The root key's file cannot be used.
    #[error("root key file {path}: {rule}")]
    RootKey {
        /// The file.
        path: String,
        /// What is wrong, and what to do.
        rule: &'static str,
        /// The system's error, if there is one.
        #[source]
        source: Option<Arc<std::io::Error>>,
    },
    /// The store that holds the embedded keyring did not answer.
    #[error("the rows of the keyring cannot be reached")]
    Rows {
        /// The store's error.
        #[source]
        source: Arc<Envelope>,
    },
}

impl Error {
    /// A KMS refusal without a cause of its own.
    #[must_use]
    pub fn refused(operation: &'static str, key: impl std::fmt::Display, refusal: Refusal) -> Self {
        Self::Kms { operation, key: key.to_string(), refusal, source: None }
    }
}

impl From<Error> for Envelope {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match &error {
            Error::Kms { operation, key, refusal, .. } => Self::new(refusal.reason(), message)
                .with("operation", operation)
                .with("key", key)
                .with("kms_error", refusal.name())
                .because(error),
            Error::Role { operation, key, role, code, .. } => Self::new(Reason::KeyUnavailable, message)
                .with("operation", operation)
                .with("key", key)
                .with("role", role)
                .with("sts_error", code)
                .because(error),
            Error::Tampered { what } | Error::Malformed { what, .. } => {
                Self::new(Reason::DataLoss, message).with("what", what).because(error)
            }
            Error::Range { start, end, size } => {
                Self::new(Reason::RangeInvalid, message).with("start", start).with("end", end).with("size", size)
            }
            Error::TooLarge { what, limit } => {
                Self::new(Reason::TooLarge, message).with("what", what).with("limit", limit)
            }
            Error::OutOfOrder { .. } | Error::Crypto { .. } | Error::RootKey { .. } => Self::internal(error),
            Error::Rows { source } => {
                let mut outer = Self::new(source.reason, source.message.clone());
                outer.metadata.clone_from(&source.metadata);
                outer.because(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Envelope, Error, Reason, Refusal};

    #[test]
    fn each_error_keeps_its_reason_and_the_name_kms_gives_it() {
        let kms = |refusal| Error::refused("Decrypt", "arn:aws:kms:r1:111122223333:key/k", refusal);
        let cases = [
            (kms(Refusal::Disabled), Reason::KeyUnavailable, Some("DisabledException")),
            (kms(Refusal::NotFound), Reason::KeyUnavailable, Some("NotFoundException")),
            (kms(Refusal::InvalidState), Reason::KeyUnavailable, Some("KMSInvalidStateException")),
            (kms(Refusal::Unreachable), Reason::KeyUnavailable, Some("Unreachable")),
            (kms(Refusal::InvalidCiphertext), Reason::DataLoss, Some("InvalidCiphertextException")),
            (kms(Refusal::IncorrectKey), Reason::DataLoss, Some("IncorrectKeyException")),
            (Error::Tampered { what: "segment" }, Reason::DataLoss, None),
            (Error::Range { start: 1, end: 3, size: 2 }, Reason::RangeInvalid, None),
            (Error::TooLarge { what: "part", limit: 1 }, Reason::TooLarge, None),
            (Error::OutOfOrder { rule: "a part is open" }, Reason::Internal, None),
        ];
        for (error, reason, kms_error) in cases {
            let envelope = Envelope::from(error);
            assert_eq!(envelope.reason, reason, "{envelope:?}");
            assert_eq!(envelope.metadata.get("kms_error").map(String::as_str), kms_error, "{envelope:?}");
        }
    }

    #[test]
    fn an_error_of_the_rows_reaches_the_caller_as_the_store_gave_it() {
        let store = Envelope::new(Reason::Unavailable, "the store is restarting").with("store", "sqlite");
        let envelope = Envelope::from(Error::Rows { source: store.into() });
        assert_eq!((envelope.reason, envelope.message.as_str()), (Reason::Unavailable, "the store is restarting"));
        assert_eq!(envelope.metadata["store"], "sqlite");
    }
}

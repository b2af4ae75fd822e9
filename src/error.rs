//! What a caller learns when something does not succeed.
//!
//! A module raises its own error where it can explain it and turns it into this envelope beside its definition;
//! each surface renders the envelope with one exhaustive match over [`Reason`].

use std::collections::BTreeMap;
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident $wire:literal $retryable:literal;)*) => {
        /// Why a call did not succeed: public, stable, never renamed.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Reason { $($(#[$doc])* $reason,)* }

        impl Reason {
            /// All reasons, in the order of the table.
            pub const ALL: &'static [Reason] = &[$(Reason::$reason,)*];

            /// The name on the wire, `UPPER_SNAKE`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$reason => $wire,)* }
            }

            /// Whether the same call may succeed later without any change by the caller.
            #[must_use]
            pub fn retryable(self) -> bool {
                match self { $(Reason::$reason => $retryable,)* }
            }
        }
    };
}

reasons! {
    /// The caller is known and may not do this.
    AccessDenied "ACCESS_DENIED" false;
    /// The caller may, but its token was not asked for this.
    ScopeInsufficient "SCOPE_INSUFFICIENT" false;
    /// No credentials, or none that can be believed.
    CallerUnknown "CALLER_UNKNOWN" false;
    /// Credentials that were good once.
    CredentialsExpired "CREDENTIALS_EXPIRED" false;
    /// A field of the request is malformed.
    InvalidArgument "INVALID_ARGUMENT" false;
    /// A policy document cannot be accepted; the message gives the position.
    MalformedPolicy "MALFORMED_POLICY" false;
    /// The session's policies, tags and scope do not fit a token.
    PackedPolicyTooLarge "PACKED_POLICY_TOO_LARGE" false;
    /// No such account, user, role, key, rule, grant or other resource without a reason of its own.
    NotFound "NOT_FOUND" false;
    /// The thing to be made is there already, and differs.
    AlreadyExists "ALREADY_EXISTS" false;
    /// No such repository.
    RepositoryNotFound "REPOSITORY_NOT_FOUND" false;
    /// The repository still holds images.
    RepositoryNotEmpty "REPOSITORY_NOT_EMPTY" false;
    /// No such manifest or tag.
    ImageNotFound "IMAGE_NOT_FOUND" false;
    /// No such blob in this repository.
    LayerNotFound "LAYER_NOT_FOUND" false;
    /// A manifest names a blob or manifest that this repository does not hold.
    ReferenceNotFound "REFERENCE_NOT_FOUND" false;
    /// No such upload, or not this caller's.
    UploadNotFound "UPLOAD_NOT_FOUND" false;
    /// A chunk does not begin where the upload ends.
    UploadOutOfOrder "UPLOAD_OUT_OF_ORDER" false;
    /// The bytes do not hash to the digest claimed.
    DigestMismatch "DIGEST_MISMATCH" false;
    /// The body ended before its announced length.
    Truncated "TRUNCATED" true;
    /// A manifest that cannot be read as one.
    ManifestInvalid "MANIFEST_INVALID" false;
    /// A body, list or name over its limit.
    TooLarge "TOO_LARGE" false;
    /// A range outside the blob.
    RangeInvalid "RANGE_INVALID" false;
    /// The tag may not be moved.
    TagImmutable "TAG_IMMUTABLE" false;
    /// A lock keeps it from being deleted or moved.
    Locked "LOCKED" false;
    /// Something else still needs it.
    InUse "IN_USE" false;
    /// A replicated tag meets one that was set here.
    TagConflict "TAG_CONFLICT" false;
    /// The row changed since its etag was read.
    EtagMismatch "ETAG_MISMATCH" false;
    /// A write to the directory in a region that only follows it.
    NotHomeRegion "NOT_HOME_REGION" false;
    /// The request was meant for another region.
    WrongRegion "WRONG_REGION" false;
    /// Bytes at rest or on a stream are not what they were.
    DataLoss "DATA_LOSS" false;
    /// A stale stream, lease or node, overtaken by another.
    Fenced "FENCED" false;
    /// A KMS key is disabled, missing or cannot be reached.
    KeyUnavailable "KEY_UNAVAILABLE" true;
    /// Too many at once; the same later.
    Throttled "THROTTLED" true;
    /// A part that should answer does not.
    Unavailable "UNAVAILABLE" true;
    /// The operation is not offered by this surface or profile.
    Unsupported "UNSUPPORTED" false;
    /// A defect or a failing disk; the log has the cause under the request id.
    Internal "INTERNAL" true;
}

/// The envelope: a reason for programs, a message for the caller, metadata for both, a source for the log.
pub struct Error {
    /// Why, for programs.
    pub reason: Reason,
    /// What was wrong, on which resource, and what to do.
    pub message: String,
    /// Every variable of the message, by name.
    pub metadata: BTreeMap<&'static str, String>,
    /// The cause; for the log only, never rendered to a caller.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a reason and a message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), metadata: BTreeMap::new(), source: None }
    }

    /// Adds a variable of the message.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.metadata.insert(key, value.to_string());
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A defect or failing disk: the caller learns nothing of the cause.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Reason::Internal, "internal error; the server's log has the cause under this request id")
            .because(source)
    }

    /// A malformed field.
    pub fn invalid(field: &'static str, message: impl fmt::Display) -> Self {
        Self::new(Reason::InvalidArgument, format!("{field}: {message}")).with("field", field)
    }
}

/// Result with the envelope.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.message)?;
        let mut next = self.source.as_deref().map(|e| e as &dyn std::error::Error);
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<crate::names::Error> for Error {
    fn from(error: crate::names::Error) -> Self {
        Self::new(Reason::InvalidArgument, error.to_string()).with("field", error.kind)
    }
}

//! Why a command did not succeed, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A failed command: a sentence for people, a code for programs.
///
/// 0 ok, 1 error, 2 usage, 3 not found, 4 denied, 5 conflict, 6 unavailable.
#[derive(Debug)]
pub struct Failure {
    message: String,
    code: u8,
    /// Where the server said more: its metadata.
    pub metadata: Vec<(String, String)>,
}

/// Result of a command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// An error without a better name.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1, metadata: Vec::new() }
    }

    /// Something was asked for in a way that cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// Something that was asked for is not there.
    pub fn missing(message: impl Into<String>) -> Self {
        Self { code: 3, ..Self::new(message) }
    }

    /// The server cannot be reached.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { code: 6, ..Self::new(message) }
    }

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same failure, saying where it happened.
    #[must_use]
    pub fn at(self, place: &impl fmt::Display) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }

    /// A variable of the server's message.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Prints the failure and gives the exit code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        eprintln!("transship: {}", self.message);
        for key in ["statement", "authorization_id", "request_id"] {
            if let Some(value) = self.metadata(key) {
                eprintln!("  {}: {value}", key.replace('_', " "));
            }
        }
        // Where the statement is not told, somebody else may be.
        if let (None, Some(message)) = (self.metadata("statement"), self.metadata("encoded_message")) {
            eprintln!("  encoded message: {message}");
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let code = match status.code() {
            Code::NotFound => 3,
            Code::PermissionDenied | Code::Unauthenticated => 4,
            Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => 5,
            // The client's own deadline arrives as Cancelled; this program cancels nothing else.
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled => 6,
            Code::InvalidArgument | Code::OutOfRange => 2,
            _ => 1,
        };
        let details = status.get_error_details();
        let metadata = details.error_info().map(|info| info.metadata.clone().into_iter().collect());
        Self { message: status.message().to_owned(), code, metadata: metadata.unwrap_or_default() }
    }
}

impl From<crate::error::Error> for Failure {
    fn from(error: crate::error::Error) -> Self {
        let metadata = error.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self { message: error.message, code: 1, metadata }
    }
}

impl From<crate::names::Error> for Failure {
    fn from(error: crate::names::Error) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::Failure;
    use tonic::{Code, Status};

    #[test]
    fn every_status_has_the_exit_code_that_scripts_were_promised() {
        for (status, code) in [
            (Code::Internal, 1),
            (Code::Unknown, 1),
            (Code::DataLoss, 1),
            (Code::Unimplemented, 1),
            (Code::InvalidArgument, 2),
            (Code::OutOfRange, 2),
            (Code::NotFound, 3),
            (Code::PermissionDenied, 4),
            (Code::Unauthenticated, 4),
            (Code::AlreadyExists, 5),
            (Code::Aborted, 5),
            (Code::FailedPrecondition, 5),
            (Code::Unavailable, 6),
            (Code::DeadlineExceeded, 6),
            (Code::ResourceExhausted, 6),
            (Code::Cancelled, 6),
        ] {
            assert_eq!(Failure::from(Status::new(status, "why")).code, code, "{status:?}");
        }
        assert_eq!((Failure::new("").code, Failure::usage("").code, Failure::unavailable("").code), (1, 2, 6));
    }
}

//! Errors that a test orders in advance, to be met by the next statement or commit they name.
//!
//! Empty unless a test fills it, and then one relaxed load per statement.

use super::error::Error;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The label of a commit that fails before it happens.
pub(super) const COMMIT: &str = "COMMIT";
/// The label of a commit that happens while its answer is lost.
pub(super) const COMMITTED: &str = "COMMITTED";

/// The ordered errors, oldest first.
#[derive(Debug, Default)]
pub(super) struct Faults {
    waiting: AtomicUsize,
    queue: Mutex<VecDeque<(&'static str, Error)>>,
}

impl Faults {
    /// Orders an error for the next statement that begins with that label.
    pub(super) fn inject(&self, label: &'static str, error: Error) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back((label, error));
        self.waiting.store(queue.len(), Ordering::Release);
    }

    /// Meets the oldest error ordered for this statement, if any.
    pub(super) fn meet(&self, statement: &str) -> Result<(), Error> {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let found = queue.iter().position(|(label, _)| begins(statement, label));
        let fault = found.and_then(|at| queue.remove(at));
        self.waiting.store(queue.len(), Ordering::Release);
        fault.map_or(Ok(()), |(_, error)| Err(error))
    }
}

/// Whether the label is the beginning of the statement and ends where a word does.
fn begins(statement: &str, label: &str) -> bool {
    let rest = statement.trim_start().strip_prefix(label);
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
}

#[cfg(test)]
mod tests {
    use super::super::error::{Error, Kind};
    use super::Faults;

    #[test]
    fn an_error_meets_the_first_statement_it_names_and_only_that() {
        let faults = Faults::default();
        faults.inject("INSERT INTO tag", Error::new("INSERT INTO tag", Kind::Busy));
        faults.inject("COMMIT", Error::new("COMMIT", Kind::CommitUnknown));
        assert!(faults.meet("SELECT 1").is_ok());
        assert!(faults.meet("INSERT INTO tag_history (a) VALUES ($1)").is_ok());
        assert!(faults.meet("COMMITTED").is_ok());
        assert_eq!(faults.meet("INSERT INTO tag (a) VALUES ($1)").unwrap_err().kind, Kind::Busy);
        assert!(faults.meet("INSERT INTO tag (a) VALUES ($1)").is_ok());
        assert_eq!(faults.meet("COMMIT").unwrap_err().kind, Kind::CommitUnknown);
        assert_eq!(faults.waiting.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}

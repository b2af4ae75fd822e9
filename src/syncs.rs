//! What this node's disk failed to sync, and the end of its writes when that repeats.
//!
//! Bytes that were not synced are never acknowledged, and are written anew when they come again: that does not hang on
//! this file. But a disk that fails again and again is lost, and every further write is work that will be lost with it.
//! So writes end, reads go on, and the server's next start is what begins writes again (ADR 0021).

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Reason, Result};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Failed syncs after which nothing more is written. A sound disk fails none. One may be a path to the disk that was
/// switched over, and a request that was under way beside it meets a second; a third is the disk.
pub const FAILURES_MAX: usize = 3;

/// Failures this far apart have nothing to do with each other.
const WITHIN: Duration = Duration::from_secs(3_600);

/// The failed syncs of one node; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Syncs {
    clock: Clock,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    failed_at: Mutex<Vec<Timestamp>>,
    /// Whose disk it was that ended the writes.
    ended: OnceLock<&'static str>,
}

impl Syncs {
    /// None has failed yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// Notes that something was not synced, which whoever asked for it is not told to be done; `what` is whose disk it is.
    pub fn failed(&self, what: &'static str, error: &dyn std::fmt::Display) {
        let now = self.clock.now();
        let count = {
            let mut failed = self.state.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
            failed.retain(|at| now.since(*at) < WITHIN);
            failed.push(now);
            failed.len()
        };
        if count >= FAILURES_MAX {
            self.end(what, error);
        } else {
            tracing::warn!(%error, what, count, "a sync failed; writes end at the third within an hour");
        }
    }

    /// Ends the writes at once: something that was acknowledged long ago is safe only while nothing more is written.
    pub fn end(&self, what: &'static str, error: &dyn std::fmt::Display) {
        if self.state.ended.set(what).is_ok() {
            tracing::error!(
                %error,
                what,
                "this node takes no more writes, since its disk does not sync them; reads go on, without their audit \
                 rows if these are kept on that disk; look at the disk, then restart the server"
            );
        }
    }

    /// Whether writes have ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.state.ended.get().is_some()
    }

    /// Says why nothing is written, if nothing is.
    ///
    /// # Errors
    /// `UNAVAILABLE` once writes have ended.
    pub fn check(&self) -> Result<()> {
        let Some(what) = self.state.ended.get() else { return Ok(()) };
        let text = format!(
            "this registry takes no writes: the disk of {what} does not sync them; reads go on; once the disk is sound, \
             its operator must restart the server"
        );
        Err(Error::new(Reason::Unavailable, text).with("state", "read-only"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Duration, Reason, Syncs};

    #[test]
    fn the_third_failure_within_an_hour_ends_writes_for_good() {
        let clock = Clock::system();
        let syncs = Syncs::new(clock.clone());
        for _ in 0..2 {
            syncs.failed("the blob store", &"EIO");
            syncs.check().unwrap();
        }
        clock.advance(Duration::from_secs(3_600));
        for _ in 0..2 {
            syncs.failed("the blob store", &"EIO");
            syncs.check().unwrap();
        }
        syncs.clone().failed("the metadata store", &"EIO");
        let refused = syncs.check().unwrap_err();
        assert_eq!(refused.reason, Reason::Unavailable);
        assert!(refused.message.contains("the metadata store") && refused.message.contains("restart"), "{refused}");
        clock.advance(Duration::from_secs(100 * 3_600));
        assert!(syncs.ended());
    }

    #[test]
    fn one_failure_can_be_enough() {
        let syncs = Syncs::default();
        syncs.end("the metadata store", &"EIO");
        assert!(syncs.check().unwrap_err().message.contains("the metadata store"));
    }
}

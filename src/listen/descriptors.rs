//! How many descriptors the process may have open: sockets, files and the database share them.
//!
//! Guarantees nothing about other processes; a container or an init system sets the most that this one may ask for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for what is no connection: the database and its readers, the log, peers, listeners.
pub(super) const RESERVED: u64 = 64;

/// Asks for as many as the process may have, and answers how many it has then.
///
/// The usual soft limit of 1,024 is for programs that use select(2), where higher numbers do damage; this one does not.
#[must_use]
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: maximum, maximum };
    if current != maximum && setrlimit(Resource::Nofile, wanted).is_ok() {
        return maximum.unwrap_or(u64::MAX);
    }
    current.unwrap_or(u64::MAX)
}

//! Remembers proofs of identity until they expire, so that each is accepted once.
//!
//! Holds for one process: nodes of a region do not share it, and a restart forgets it.

use super::error::Error;
use super::sigv4::Presented;
use crate::clock::Timestamp;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::{Mutex, PoisonError};

/// How many unexpired proofs a process remembers.
pub const REPLAYS_MAX: usize = 100_000;

/// Signatures that were used, until they expire.
#[derive(Debug)]
pub struct ReplayCache {
    used: Mutex<Used>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Used {
    signatures: HashSet<String>,
    by_expiry: BinaryHeap<Reverse<(Timestamp, String)>>,
}

impl Default for ReplayCache {
    fn default() -> Self {
        Self::with_capacity(REPLAYS_MAX)
    }
}

impl ReplayCache {
    /// A cache that refuses new proofs while it holds `capacity` unexpired ones.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { used: Mutex::default(), capacity }
    }

    /// Remembers a **verified** proof: an unverified one would let strangers fill the cache.
    ///
    /// # Errors
    /// `Replayed` when it was used before, `ReplayCacheFull` when it could not be remembered.
    pub fn admit(&self, proof: &Presented, now: Timestamp) -> Result<(), Error> {
        // A panic elsewhere leaves at worst an entry in one of the two collections, which is harmless.
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.forget_expired(now);
        if used.signatures.contains(&proof.signature) {
            return Err(Error::Replayed);
        }
        if used.by_expiry.len() >= self.capacity {
            return Err(Error::ReplayCacheFull);
        }
        used.signatures.insert(proof.signature.clone());
        used.by_expiry.push(Reverse((proof.usable_until(), proof.signature.clone())));
        Ok(())
    }
}

impl Used {
    fn forget_expired(&mut self, now: Timestamp) {
        while let Some(Reverse((until, _))) = self.by_expiry.peek()
            && *until < now
            && let Some(Reverse((_, signature))) = self.by_expiry.pop()
        {
            self.signatures.remove(&signature);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ReplayCache;
    use crate::clock::Timestamp;
    use crate::identity::error::Error;
    use crate::identity::sigv4::{Claim, Presented};
    use std::time::Duration;

    fn proof(number: usize) -> Presented {
        let claim = Claim {
            credential: "AKIAAAAAAAAAAAAAAAAA/20150830/us-east-1/sts/aws4_request",
            date: "20150830T123600Z",
            signature: &format!("{number:064x}"),
        };
        claim.present("digest", Some(Duration::from_secs(60)), None).unwrap()
    }

    #[test]
    fn a_proof_is_admitted_once_until_it_expires() {
        let (cache, start) = (ReplayCache::default(), proof(0).signed_at);
        assert_eq!(cache.admit(&proof(1), start), Ok(()));
        assert_eq!(cache.admit(&proof(1), start), Err(Error::Replayed));
        assert_eq!(cache.admit(&proof(1), start.plus(Duration::from_secs(60))), Err(Error::Replayed));
        assert_eq!(cache.admit(&proof(2), start), Ok(()));
    }

    #[test]
    fn a_full_cache_refuses_until_something_expires() {
        let (cache, start) = (ReplayCache::with_capacity(2), proof(0).signed_at);
        assert_eq!(cache.admit(&proof(1), start), Ok(()));
        assert_eq!(cache.admit(&proof(2), start), Ok(()));
        assert_eq!(cache.admit(&proof(3), start), Err(Error::ReplayCacheFull));
        assert_eq!(cache.admit(&proof(1), start), Err(Error::Replayed));
        let later = Timestamp::from_micros(start.plus(Duration::from_secs(60)).micros() + 1);
        assert_eq!(cache.admit(&proof(3), later), Ok(()));
        assert_eq!(cache.used.lock().unwrap().signatures.len(), 1);
    }
}

//! Branch keys in clear, for a few minutes: one KMS call per repository and branch-key version, not per blob.
//!
//! The cache fails closed: a key that cannot be decrypted again when its time is over is gone, whatever was cached.
//! Callers that want the same key at once share one KMS call and its outcome. Nothing here writes anything.

use super::envelope::BranchKey;
use super::kms::{Context, Kms, Refusal};
use super::{Error, Result};
use crate::clock::{Clock, Timestamp};
use crate::names::{Arn, Uid};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a branch key is used after it was decrypted.
///
/// S3 bucket keys and KES use five minutes as well: one call per repository, process and five minutes is far below
/// any KMS quota, and a key disabled at AWS is out of use after that time at the latest.
pub const BRANCH_KEY_TTL: Duration = Duration::from_mins(5);

/// The most branch keys in memory; beyond it the oldest leave first. At some 200 bytes each, 2 MB.
pub const BRANCH_CACHE_LIMIT: usize = 10_000;

/// How long callers wait for a KMS: longer than any client's own limit, so that the client's error is the one seen.
const KMS_TIMEOUT: Duration = Duration::from_secs(15);

/// A branch key as the store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrappedBranchKey {
    /// The repository it belongs to.
    pub repository: Uid,
    /// That repository's ARN, which is the encryption context.
    pub repository_arn: Arn,
    /// Counts the repository's branch keys.
    pub version: u32,
    /// The KMS key that wraps it.
    pub key: Arn,
    /// The KMS's ciphertext.
    pub wrapped: Vec<u8>,
}

/// Branch keys in clear.
pub struct BranchCache {
    kms: Arc<dyn Kms>,
    clock: Clock,
    limit: usize,
    timeout: Duration,
    calls: Arc<AtomicU64>,
    slots: Mutex<Slots>,
}

impl BranchCache {
    /// An empty cache.
    #[must_use]
    pub fn new(kms: Arc<dyn Kms>, clock: Clock) -> Self {
        Self::with_limits(kms, clock, BRANCH_CACHE_LIMIT, KMS_TIMEOUT)
    }

    fn with_limits(kms: Arc<dyn Kms>, clock: Clock, limit: usize, timeout: Duration) -> Self {
        Self { kms, clock, limit, timeout, calls: Arc::default(), slots: Mutex::default() }
    }

    /// The branch key in clear: from memory, or by one KMS call that everybody waiting for it shares.
    ///
    /// # Errors
    /// What the KMS says; [`Refusal::Unreachable`] when it says nothing in time, [`Refusal::Throttled`] when as many
    /// keys as the cache holds are being waited for. A failure is not remembered.
    pub async fn get(&self, branch: &WrappedBranchKey) -> Result<Arc<BranchKey>> {
        let (id, flight) = match self.find(branch)? {
            Found::Ready(key) => return Ok(key),
            Found::Flight { id, flight } => (id, flight),
        };
        let outcome = flight.await;
        self.land(branch, id, &outcome);
        outcome
    }

    /// Drops every branch key that this KMS key wraps, at once: it was disabled, or its state is not known any more.
    ///
    /// A call under way still answers those who wait for it, but its answer is not kept.
    pub fn forget_key(&self, key: &Arn) {
        self.slots().by_name.retain(|name, _| name.key != *key);
    }

    /// Drops the keys whose time is over; each miss does so too.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.slots().sweep(now);
    }

    /// How many KMS calls this cache has made.
    #[must_use]
    pub fn kms_calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// How many branch keys are in memory or under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots().by_name.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A branch key that is in memory, without asking anybody.
    #[must_use]
    pub fn at_hand(&self, repository: Uid, version: u32, key: &Arn) -> Option<Arc<BranchKey>> {
        match self.slots().by_name.get(&Name { repository, version, key: key.clone() }) {
            Some(Slot::Ready { key, since }) if is_fresh(*since, self.clock.now()) => Some(key.clone()),
            Some(Slot::Flight { .. } | Slot::Ready { .. }) | None => None,
        }
    }

    fn find(&self, branch: &WrappedBranchKey) -> Result<Found> {
        let (name, now) = (Name::of(branch), self.clock.now());
        let mut slots = self.slots();
        match slots.by_name.get(&name) {
            Some(Slot::Ready { key, since }) if is_fresh(*since, now) => return Ok(Found::Ready(key.clone())),
            Some(Slot::Flight { id, flight, .. }) if is_awaited(flight) => {
                return Ok(Found::Flight { id: *id, flight: flight.clone() });
            }
            Some(Slot::Flight { .. } | Slot::Ready { .. }) | None => {}
        }
        slots.sweep(now);
        if !slots.has_room(self.limit) {
            return Err(Error::refused("Decrypt", &branch.key, Refusal::Throttled));
        }
        slots.last_flight += 1;
        let (id, flight) = (slots.last_flight, self.take_off(branch));
        slots.by_name.insert(name, Slot::Flight { id, flight: flight.clone(), since: now });
        Ok(Found::Flight { id, flight })
    }

    /// The KMS call, not begun: whoever waits drives it, so it ends when nobody does.
    fn take_off(&self, branch: &WrappedBranchKey) -> Flight {
        let (kms, calls, timeout, branch) = (self.kms.clone(), self.calls.clone(), self.timeout, branch.clone());
        let call = async move {
            calls.fetch_add(1, Ordering::Relaxed);
            let context = Context::repository(&branch.repository_arn);
            match tokio::time::timeout(timeout, kms.decrypt(&branch.key, &branch.wrapped, &context)).await {
                Ok(decrypted) => decrypted.map(|secret| Arc::new(BranchKey::new(secret))),
                Err(_) => Err(Error::refused("Decrypt", &branch.key, Refusal::Unreachable)),
            }
        };
        call.boxed().shared()
    }

    /// Keeps the outcome, unless the key was forgotten meanwhile or another waiter has done so.
    fn land(&self, branch: &WrappedBranchKey, landed: u64, outcome: &Result<Arc<BranchKey>>) {
        let name = Name::of(branch);
        let mut slots = self.slots();
        let since = match slots.by_name.get(&name) {
            Some(Slot::Flight { id, since, .. }) if *id == landed => *since,
            Some(Slot::Flight { .. } | Slot::Ready { .. }) | None => return,
        };
        match outcome {
            Ok(key) => slots.by_name.insert(name, Slot::Ready { key: key.clone(), since }),
            Err(_) => slots.by_name.remove(&name),
        };
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Flight = Shared<BoxFuture<'static, Result<Arc<BranchKey>>>>;

enum Found {
    Ready(Arc<BranchKey>),
    Flight { id: u64, flight: Flight },
}

#[derive(Default)]
struct Slots {
    by_name: HashMap<Name, Slot>,
    last_flight: u64,
}

impl Slots {
    /// Dropping the last reference to a branch key wipes it.
    fn sweep(&mut self, now: Timestamp) {
        self.by_name.retain(|_, slot| match slot {
            Slot::Ready { since, .. } => is_fresh(*since, now),
            Slot::Flight { flight, .. } => is_awaited(flight),
        });
    }

    /// Makes room for one more by dropping the oldest key; false when all are under way.
    fn has_room(&mut self, limit: usize) -> bool {
        if self.by_name.len() < limit {
            return true;
        }
        let ready = |(name, slot): (&Name, &Slot)| match slot {
            Slot::Ready { since, .. } => Some((*since, name.clone())),
            Slot::Flight { .. } => None,
        };
        let oldest = self.by_name.iter().filter_map(ready).min_by_key(|(since, _)| *since);
        oldest.is_some_and(|(_, name)| self.by_name.remove(&name).is_some())
    }
}

enum Slot {
    Ready { key: Arc<BranchKey>, since: Timestamp },
    Flight { id: u64, flight: Flight, since: Timestamp },
}

/// The KMS key is part of the name: after a rewrap, the old wrapping says nothing about the new one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Name {
    repository: Uid,
    version: u32,
    key: Arn,
}

impl Name {
    fn of(branch: &WrappedBranchKey) -> Self {
        Self { repository: branch.repository, version: branch.version, key: branch.key.clone() }
    }
}

/// A clock that was set back makes a key stale rather than everlasting.
fn is_fresh(since: Timestamp, now: Timestamp) -> bool {
    since <= now && now.since(since) < BRANCH_KEY_TTL
}

/// A flight that nobody waits for any more stands still, and its time may be long over: it is not joined.
fn is_awaited(flight: &Flight) -> bool {
    flight.strong_count().is_some_and(|handles| handles > 1)
}

#[cfg(test)]
mod tests {
    use super::{BRANCH_KEY_TTL, BranchCache, Clock, Context, Error, Kms, Refusal, Result, WrappedBranchKey};
    use crate::keys::KeyInfo;
    use crate::names::{AccountId, Arn, Region, Uid};
    use crate::secret::Secret;
    use async_trait::async_trait;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tokio::sync::Semaphore;

    /// A KMS that answers when it is let, and as it is told.
    struct Slow {
        doors: Semaphore,
        refuse: AtomicBool,
        calls: AtomicU64,
        contexts: Mutex<Vec<Context>>,
    }

    impl Slow {
        fn with_open_doors(doors: usize) -> Arc<Self> {
            let (refuse, calls, contexts) = Default::default();
            Arc::new(Self { doors: Semaphore::new(doors), refuse, calls, contexts })
        }
    }

    #[async_trait]
    impl Kms for Slow {
        async fn decrypt(&self, arn: &Arn, ciphertext: &[u8], context: &Context) -> Result<Secret<[u8; 32]>> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            self.contexts.lock().unwrap().push(context.clone());
            self.doors.acquire().await.unwrap().forget();
            if self.refuse.load(Ordering::SeqCst) {
                return Err(Error::refused("Decrypt", arn, Refusal::Disabled));
            }
            Ok(Secret::new([ciphertext[0]; 32]))
        }
        async fn create_key(&self, _: AccountId, _: &Region, _: &str) -> Result<KeyInfo> {
            unreachable!("the cache only decrypts")
        }
        async fn describe_key(&self, _: &Arn) -> Result<KeyInfo> {
            unreachable!("the cache only decrypts")
        }
        async fn list_keys(&self, _: AccountId) -> Result<Vec<KeyInfo>> {
            unreachable!("the cache only decrypts")
        }
        async fn belongs_to(&self, _: &Arn, _: AccountId) -> Result<bool> {
            unreachable!("the cache only decrypts")
        }
        async fn set_enabled(&self, _: &Arn, _: bool) -> Result<()> {
            unreachable!("the cache only decrypts")
        }
        async fn generate_data_key(&self, _: &Arn, _: &Context) -> Result<(Secret<[u8; 32]>, Vec<u8>)> {
            unreachable!("the cache only decrypts")
        }
        async fn re_encrypt(&self, _: &Arn, _: &[u8], _: &Context, _: &Arn, _: &Context) -> Result<Vec<u8>> {
            unreachable!("the cache only decrypts")
        }
    }

    fn arn(service: &str, resource: &str) -> Arn {
        Arn::parse(&format!("arn:aws:{service}:us-east-1:111122223333:{resource}")).unwrap()
    }

    fn branch(repository: u8, key: &str) -> WrappedBranchKey {
        WrappedBranchKey {
            repository: Uid::from_bytes([repository; 16]),
            repository_arn: arn("ecr", &format!("repository/r{repository}")),
            version: 1,
            key: arn("kms", &format!("key/{key}")),
            wrapped: vec![repository],
        }
    }

    fn refusal<T>(result: Result<T>) -> Option<Refusal> {
        let Error::Kms { refusal, .. } = result.err()? else { return None };
        Some(refusal)
    }

    #[tokio::test]
    async fn one_kms_call_serves_a_repository_for_its_time() {
        let (kms, clock) = (Slow::with_open_doors(10), Clock::system());
        let cache = BranchCache::new(kms.clone(), clock.clone());
        for _ in 0..100 {
            assert_eq!(cache.get(&branch(1, "a")).await.unwrap().material(), &[1; 32]);
        }
        assert_eq!(cache.kms_calls(), 1);
        assert_eq!(*kms.contexts.lock().unwrap(), [Context::repository(&arn("ecr", "repository/r1"))]);

        clock.advance(BRANCH_KEY_TTL - Duration::from_secs(5));
        cache.get(&branch(1, "a")).await.unwrap();
        assert_eq!(cache.kms_calls(), 1);
        clock.advance(Duration::from_secs(5));
        cache.get(&branch(1, "a")).await.unwrap();
        assert_eq!(cache.kms_calls(), 2);
        cache.get(&WrappedBranchKey { version: 2, ..branch(1, "a") }).await.unwrap();
        cache.get(&branch(1, "b")).await.unwrap();
        assert_eq!(cache.kms_calls(), 4, "another version and another KMS key are other entries");
    }

    #[tokio::test]
    async fn callers_at_once_share_one_call_and_its_outcome() {
        for refuse in [false, true] {
            let kms = Slow::with_open_doors(0);
            kms.refuse.store(refuse, Ordering::SeqCst);
            let cache = Arc::new(BranchCache::new(kms.clone(), Clock::system()));
            let callers: Vec<_> = (0..50)
                .map(|_| {
                    let cache = cache.clone();
                    tokio::spawn(async move { cache.get(&branch(1, "a")).await })
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(20)).await;
            kms.doors.add_permits(50);
            for caller in callers {
                assert_eq!(caller.await.unwrap().is_err(), refuse);
            }
            assert_eq!((cache.kms_calls(), kms.calls.load(Ordering::SeqCst)), (1, 1));
        }
    }

    #[tokio::test]
    async fn it_fails_closed_and_remembers_no_failure() {
        let (kms, clock) = (Slow::with_open_doors(10), Clock::system());
        let cache = BranchCache::new(kms.clone(), clock.clone());
        cache.get(&branch(1, "a")).await.unwrap();
        kms.refuse.store(true, Ordering::SeqCst);
        clock.advance(BRANCH_KEY_TTL);
        assert_eq!(refusal(cache.get(&branch(1, "a")).await), Some(Refusal::Disabled));
        assert!(cache.is_empty());
        kms.refuse.store(false, Ordering::SeqCst);
        assert!(cache.get(&branch(1, "a")).await.is_ok());
    }

    #[tokio::test]
    async fn a_forgotten_key_is_gone_from_memory_at_once_and_others_stay() {
        let kms = Slow::with_open_doors(10);
        let cache = BranchCache::new(kms.clone(), Clock::system());
        let forgotten = Arc::downgrade(&cache.get(&branch(1, "a")).await.unwrap());
        let kept = Arc::downgrade(&cache.get(&branch(2, "b")).await.unwrap());
        assert!(forgotten.upgrade().is_some());
        cache.forget_key(&arn("kms", "key/a"));
        assert!(forgotten.upgrade().is_none(), "the last reference is dropped, which wipes it");
        assert!(kept.upgrade().is_some());
        kms.refuse.store(true, Ordering::SeqCst);
        assert_eq!(refusal(cache.get(&branch(1, "a")).await), Some(Refusal::Disabled));
        assert!(cache.get(&branch(2, "b")).await.is_ok());
    }

    #[tokio::test]
    async fn an_answer_that_comes_after_its_key_was_forgotten_is_not_kept() {
        let kms = Slow::with_open_doors(0);
        let cache = Arc::new(BranchCache::new(kms.clone(), Clock::system()));
        let get = || {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get(&branch(1, "a")).await })
        };
        let early = get();
        tokio::time::sleep(Duration::from_millis(20)).await;
        cache.forget_key(&arn("kms", "key/a"));
        let late = get();
        tokio::time::sleep(Duration::from_millis(20)).await;
        kms.doors.add_permits(1);
        assert!(early.await.unwrap().is_ok(), "it was asked for before");
        kms.refuse.store(true, Ordering::SeqCst);
        kms.doors.add_permits(1);
        assert_eq!(refusal(late.await.unwrap()), Some(Refusal::Disabled));
        assert!(cache.is_empty());
    }

    #[tokio::test]
    async fn a_call_that_its_callers_gave_up_is_made_anew() {
        let kms = Slow::with_open_doors(0);
        let cache = BranchCache::new(kms.clone(), Clock::system());
        let impatient = tokio::time::timeout(Duration::from_millis(10), cache.get(&branch(1, "a"))).await;
        assert!(impatient.is_err());
        kms.doors.add_permits(1);
        assert!(cache.get(&branch(1, "a")).await.is_ok());
        assert_eq!(cache.kms_calls(), 2);
    }

    #[tokio::test]
    async fn a_kms_that_never_answers_is_unreachable() {
        let kms = Slow::with_open_doors(0);
        let cache = BranchCache::with_limits(kms, Clock::system(), 10, Duration::from_millis(10));
        assert_eq!(refusal(cache.get(&branch(1, "a")).await), Some(Refusal::Unreachable));
    }

    #[tokio::test]
    async fn the_oldest_key_leaves_when_the_cache_is_full() {
        let (kms, clock) = (Slow::with_open_doors(10), Clock::system());
        let cache = BranchCache::with_limits(kms, clock.clone(), 2, Duration::from_secs(1));
        for repository in [1, 2, 1, 3] {
            clock.advance(Duration::from_secs(1));
            cache.get(&branch(repository, "a")).await.unwrap();
        }
        assert_eq!((cache.len(), cache.kms_calls()), (2, 3));
        cache.get(&branch(2, "a")).await.unwrap();
        assert_eq!(cache.kms_calls(), 3, "the second is still there");
        cache.get(&branch(1, "a")).await.unwrap();
        assert_eq!(cache.kms_calls(), 4, "the first had left");
        clock.advance(BRANCH_KEY_TTL);
        cache.sweep();
        assert!(cache.is_empty());
    }

    #[tokio::test]
    async fn a_cache_full_of_calls_under_way_refuses_one_more() {
        let kms = Slow::with_open_doors(0);
        let cache = Arc::new(BranchCache::with_limits(kms.clone(), Clock::system(), 1, Duration::from_secs(5)));
        let first = tokio::spawn({
            let cache = cache.clone();
            async move { cache.get(&branch(1, "a")).await.is_ok() }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(refusal(cache.get(&branch(2, "a")).await), Some(Refusal::Throttled));
        kms.doors.add_permits(1);
        assert!(first.await.unwrap());
    }

    #[tokio::test]
    async fn a_clock_set_back_makes_keys_stale() {
        let (kms, clock) = (Slow::with_open_doors(10), Clock::system());
        clock.advance(Duration::from_secs(3_600));
        let cache = BranchCache::new(kms.clone(), clock);
        cache.get(&branch(1, "a")).await.unwrap();
        let earlier = BranchCache { clock: Clock::system(), ..cache };
        earlier.get(&branch(1, "a")).await.unwrap();
        assert_eq!(earlier.kms_calls(), 2);
    }
}

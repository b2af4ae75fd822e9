//! Time and randomness: the only file that may read either.
//!
//! Key material does not come from here but from `keys`, which uses the cryptographic library's own source.

use crate::names::Uid;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment in microseconds since 1970-01-01 UTC, as the store keeps it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment that many microseconds after the epoch.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The moment that many seconds after the epoch.
    #[must_use]
    pub fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// How long after `earlier` this is; zero if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This moment less a duration, saturating.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This moment plus a duration, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// `YYYY-MM-DD`, `HH:MM:SS` fields in UTC.
    #[must_use]
    pub fn civil(self) -> Civil {
        let secs = self.secs();
        let (days, second) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
        // Days to civil date by Howard Hinnant's algorithm, eras of 400 years.
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        Civil {
            year: yoe + era * 400 + i64::from(month <= 2),
            month,
            day: doy - (153 * mp + 2) / 5 + 1,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }
}

/// Calendar fields of a moment in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Civil {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
}

impl Civil {
    /// `YYYYMMDDTHHMMSSZ`, the form of `X-Amz-Date`.
    #[must_use]
    pub fn amz(&self) -> String {
        let Self { year, month, day, hour, minute, second } = self;
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second } = self.civil();
        let millis = self.0.rem_euclid(1_000_000) / 1_000;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The source of time and of randomness that is not key material.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Microseconds added to the system clock; tests advance it.
    offset: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// Now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        Timestamp(micros.saturating_add(self.offset.load(Ordering::Relaxed)))
    }

    /// Moves this clock and its clones forward.
    pub fn advance(&self, by: Duration) {
        self.offset.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// A new id.
    #[must_use]
    pub fn uid(&self) -> Uid {
        Uid::from_bytes(random())
    }

    /// A new id that sorts after those made before, by this clock: rows under such ids stand together where they are
    /// kept in order. Half of it tells when it was made, and the other half is random.
    #[must_use]
    pub fn uid_in_order(&self) -> Uid {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.now().micros().to_be_bytes());
        bytes[8..].copy_from_slice(&random::<8>());
        Uid::from_bytes(bytes)
    }

    /// A duration between half of `base` and all of it, so that many retries do not march in step.
    #[must_use]
    pub fn jitter(&self, base: Duration) -> Duration {
        let part = u32::from(u16::from_le_bytes(random())) + 65_536;
        base.mul_f64(f64::from(part) / 131_072.0)
    }
}

/// Random bytes, each given once. They are drawn many at a time, since a draw of a few costs as much.
fn random<const N: usize>() -> [u8; N] {
    const { assert!(N <= DRAWN) };
    thread_local! {
        static LEFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    LEFT.with_borrow_mut(|left| {
        if left.len() < N {
            left.resize(DRAWN, 0);
            aws_lc_rs::rand::fill(left).expect("the system's random source answers");
        }
        let (rest, given) = left.split_last_chunk_mut::<N>().expect("so many were drawn");
        let bytes = std::mem::replace(given, [0; N]);
        let rest = rest.len();
        left.truncate(rest);
        bytes
    })
}

/// Random bytes drawn at a time: ids for some sixteen requests.
const DRAWN: usize = 512;

#[cfg(test)]
mod tests {
    use super::{Clock, Timestamp};
    use std::collections::BTreeSet;
    use std::time::Duration;

    #[test]
    fn moments_print_as_rfc_3339() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
            (1_790_208_000_123_000, "2026-09-24T00:00:00.123Z"),
            (-1_000, "1969-12-31T23:59:59.999Z"),
        ];
        for (micros, text) in cases {
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
        }
        assert_eq!(Timestamp::from_secs(1_440_938_160).civil().amz(), "20150830T123600Z");
    }

    #[test]
    fn ids_differ_however_many_are_made() {
        let clock = Clock::system();
        let mut made: Vec<_> = (0..1_000).map(|_| clock.uid()).collect();
        let others = std::thread::spawn(move || (0..1_000).map(|_| clock.uid()).collect::<Vec<_>>());
        made.extend(others.join().unwrap());
        assert_eq!(made.iter().collect::<BTreeSet<_>>().len(), 2_000);
        // No byte of what was drawn is left out, or filled with zeros.
        assert!((0..16).all(|at| made.iter().filter(|uid| uid.bytes()[at] == 0).count() < 100));
    }

    #[test]
    fn ids_in_order_sort_by_their_moments_and_differ_within_one() {
        let clock = Clock::system();
        let before: BTreeSet<_> = (0..100).map(|_| clock.uid_in_order()).collect();
        clock.advance(Duration::from_secs(1));
        assert_eq!(before.len(), 100);
        assert!(clock.uid_in_order() > *before.last().unwrap());
    }
}

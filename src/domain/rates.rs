//! How many requests a second one caller may make: a principal, or for who is nobody the address it calls from.
//!
//! Counted in this process and by this server's clock, so each node of a region allows as much. A count is a moment (the
//! generic cell rate algorithm): how far ahead of now the caller has asked. It is bounded like all memory here: over
//! [`CALLERS_MAX`] the callers that are not ahead are forgotten, and if none is, new ones share one count.

use crate::clock::Timestamp;
use crate::ctx::{Caller, Ctx};
use crate::error::{Error, Reason, Result};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Callers that are counted each.
const CALLERS_MAX: usize = 50_000;

/// How often those that are not ahead are forgotten, once there are so many.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A rate with room for a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second in the long run; 0 is no limit.
    pub per_second: u32,
    /// Requests at once after a rest; at least 1.
    pub burst: u32,
}

/// The rates of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Of one address, for requests without credentials and for those that are not believed. An IPv6 address counts as
    /// its first 64 bits.
    pub address: Rate,
    /// Of one user or role.
    pub principal: Rate,
}

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Counted {
    Address(Option<IpAddr>),
    Principal(Arc<str>),
    /// Everybody for whom there is no room.
    Rest,
}

/// The counts of one server.
pub(super) struct Meter {
    rates: Rates,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    /// For each caller the moment up to which it has used its rate.
    ahead: HashMap<Counted, Timestamp>,
    /// When those that are not ahead were last forgotten.
    swept_at: Timestamp,
}

impl Meter {
    pub(super) fn new(rates: Rates) -> Self {
        Self { rates, counts: Mutex::default() }
    }

    /// Counts a request of somebody who is known, or has shown nothing.
    ///
    /// # Errors
    /// `THROTTLED` with `retry_after` in seconds.
    pub(super) fn admit(&self, ctx: &Ctx, caller: &Caller) -> Result<()> {
        match caller {
            Caller::Principal(principal) => {
                self.count(Counted::Principal(principal.unique_id.clone()), self.rates.principal, ctx.now)
            }
            Caller::Anonymous | Caller::WebIdentity(_) => self.admit_address(ctx),
            Caller::Replication { .. } | Caller::System(_) => Ok(()),
        }
    }

    /// Counts a request of somebody who is not believed.
    ///
    /// # Errors
    /// As [`Meter::admit`].
    pub(super) fn admit_address(&self, ctx: &Ctx) -> Result<()> {
        self.count(Counted::Address(ctx.source_ip.map(network)), self.rates.address, ctx.now)
    }

    fn count(&self, who: Counted, rate: Rate, now: Timestamp) -> Result<()> {
        if rate.per_second == 0 {
            return Ok(());
        }
        let each = Duration::from_secs(1) / rate.per_second;
        let room = each * rate.burst.max(1);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let who = counts.place(who, now);
        let ahead = &mut counts.ahead;
        // A clock that was set back leaves nobody further ahead than a burst.
        let used = ahead.get(&who).map_or(now, |until| (*until).clamp(now, now.plus(room)));
        let next = used.plus(each);
        if next > now.plus(room) {
            ahead.insert(who, used);
            let wait = next.since(now.plus(room)).as_secs_f64().ceil().max(1.0);
            let text =
                format!("too many requests at once; at most {} a second, try again in {wait} s", rate.per_second);
            return Err(Error::new(Reason::Throttled, text).with("retry_after", wait));
        }
        ahead.insert(who, next);
        Ok(())
    }
}

impl Counts {
    /// The caller under which to count. Room is made for a new one at most once a second: to look through a full table
    /// for every stranger would be what a crowd of strangers wants.
    fn place(&mut self, who: Counted, now: Timestamp) -> Counted {
        if self.ahead.len() < CALLERS_MAX || self.ahead.contains_key(&who) {
            return who;
        }
        if now.since(self.swept_at) >= SWEEP_EVERY || now < self.swept_at {
            self.ahead.retain(|_, until| *until > now);
            self.swept_at = now;
        }
        if self.ahead.len() >= CALLERS_MAX { Counted::Rest } else { who }
    }
}

/// What counts as one address: a client has 64 bits of IPv6 to itself.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(per_second: u32, burst: u32) -> Meter {
        let rate = Rate { per_second, burst };
        Meter::new(Rates { address: rate, principal: rate })
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn from(address: &str) -> Counted {
        Counted::Address(Some(network(address.parse().unwrap())))
    }

    /// How many of so many requests at a moment are admitted.
    fn admitted_of(meter: &Meter, who: &Counted, requests: usize, now: Timestamp) -> usize {
        let rate = meter.rates.address;
        (0..requests).filter(|_| meter.count(who.clone(), rate, now).is_ok()).count()
    }

    #[test]
    fn a_burst_is_admitted_and_then_the_rate() {
        let (meter, who) = (meter(10, 5), from("10.0.0.1"));
        assert_eq!(admitted_of(&meter, &who, 50, at(0)), 5);
        assert_eq!(admitted_of(&meter, &who, 50, at(99_999)), 0, "a tenth of a second has not gone by");
        assert_eq!(admitted_of(&meter, &who, 50, at(300_000)), 3);
        assert_eq!(admitted_of(&meter, &who, 50, at(3_600_000_000)), 5, "rest gives no more than a burst");
        assert_eq!(admitted_of(&meter, &from("10.0.0.2"), 50, at(0)), 5, "another address has a count of its own");
    }

    #[test]
    fn a_refusal_says_how_long_to_wait_and_costs_nothing() {
        let (meter, who) = (meter(1, 1), from("10.0.0.1"));
        meter.count(who.clone(), meter.rates.address, at(0)).unwrap();
        for _ in 0..100 {
            let refused = meter.count(who.clone(), meter.rates.address, at(0)).unwrap_err();
            assert_eq!((refused.reason, refused.metadata["retry_after"].as_str()), (Reason::Throttled, "1"));
        }
        meter.count(who, meter.rates.address, at(1_000_000)).unwrap();
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        assert_eq!(from("2001:db8:1:2::1"), from("2001:db8:1:2:ffff::9"));
        assert_ne!(from("2001:db8:1:2::1"), from("2001:db8:1:3::1"));
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out() {
        let (meter, who) = (meter(10, 5), from("10.0.0.1"));
        assert_eq!(admitted_of(&meter, &who, 5, at(3_600_000_000)), 5);
        assert_eq!(admitted_of(&meter, &who, 5, at(1_000_000)), 0);
        assert_eq!(admitted_of(&meter, &who, 9, at(1_500_000)), 5);
    }

    #[test]
    fn callers_beyond_what_is_kept_share_one_count() {
        let meter = meter(1, 1);
        let who = |at: usize| Counted::Principal(at.to_string().into());
        for caller in 0..CALLERS_MAX {
            meter.count(who(caller), meter.rates.principal, at(0)).unwrap();
        }
        assert_eq!(
            (0..9).filter(|n| meter.count(who(CALLERS_MAX + n), meter.rates.principal, at(0)).is_ok()).count(),
            1
        );
        meter.count(who(CALLERS_MAX + 50), meter.rates.principal, at(2_000_000)).unwrap();
        assert!(meter.counts.lock().unwrap().ahead.len() <= 2, "who is not ahead is forgotten");
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(admitted_of(&meter(0, 0), &from("10.0.0.1"), 10_000, at(0)), 10_000);
    }
}

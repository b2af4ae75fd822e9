//! The typed values of conditions: decimals, dates, networks.
//!
//! Decimals compare as written, without floating point; dates to any fraction of a second.

use std::cmp::Ordering;
use std::net::IpAddr;

/// A decimal number of any length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Decimal {
    negative: bool,
    /// Digits before the point, without leading zeros.
    whole: String,
    /// Digits after the point, without trailing zeros.
    fraction: String,
}

impl Decimal {
    /// Reads `-?digits(.digits)?`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
        if !is_digits(whole) || fraction.is_some_and(|f| !is_digits(f)) {
            return None;
        }
        let whole = whole.trim_start_matches('0').to_owned();
        let fraction = fraction.unwrap_or("").trim_end_matches('0').to_owned();
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Self { negative: negative && !zero, whole, fraction })
    }

    fn magnitude(&self) -> (usize, &str, &str) {
        (self.whole.len(), &self.whole, &self.fraction)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.magnitude().cmp(&other.magnitude()),
            (true, true) => other.magnitude().cmp(&self.magnitude()),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A moment: whole seconds since 1970 and the digits of the fraction, without trailing zeros.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Moment {
    seconds: i64,
    fraction: String,
}

impl Moment {
    /// Reads a W3C date or time, or epoch seconds; four digits are a year.
    ///
    /// SPEC: W3C NOTE-datetime.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if is_digits(digits) && !(digits == text && text.len() == 4) {
            return Some(Self { seconds: text.parse().ok()?, fraction: String::new() });
        }
        let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
        let mut parts = date.split('-');
        let year = number(parts.next()?, 4)?;
        let (month, day) = (parts.next(), parts.next());
        if parts.next().is_some() || (time.is_some() && day.is_none()) {
            return None;
        }
        let month = month.map_or(Some(1), |m| number(m, 2))?;
        let day = day.map_or(Some(1), |d| number(d, 2))?;
        if !(1..=12).contains(&month) || !(1..=month_days(year, month)).contains(&day) {
            return None;
        }
        let midnight = days_since_1970(year, month, day) * 86_400;
        let (seconds, fraction) = time.map_or(Some((0, "")), clock)?;
        Some(Self { seconds: midnight + seconds, fraction: fraction.trim_end_matches('0').to_owned() })
    }
}

/// Seconds since midnight UTC, and the fraction's digits, of `hh:mm[:ss[.f]]` with `Z` or `±hh:mm`.
fn clock(text: &str) -> Option<(i64, &str)> {
    let (text, offset) = match text.strip_suffix('Z') {
        Some(text) => (text, 0),
        None => {
            let at = text.len().checked_sub(6)?;
            let (text, zone) = (text.get(..at)?, text.get(at..)?);
            let sign = if zone.starts_with('+') {
                1
            } else if zone.starts_with('-') {
                -1
            } else {
                return None;
            };
            let (hours, minutes) = zone[1..].split_once(':')?;
            (text, sign * (below(hours, 24)? * 3_600 + below(minutes, 60)? * 60))
        }
    };
    let mut parts = text.splitn(3, ':');
    let (hours, minutes) = (below(parts.next()?, 24)?, below(parts.next()?, 60)?);
    let (seconds, fraction) = match parts.next().map(|s| s.split_once('.').map_or((s, None), |(s, f)| (s, Some(f)))) {
        None => (0, ""),
        Some((seconds, None)) => (below(seconds, 60)?, ""),
        Some((seconds, Some(fraction))) if is_digits(fraction) => (below(seconds, 60)?, fraction),
        Some((_, Some(_))) => return None,
    };
    Some((hours * 3_600 + minutes * 60 + seconds - offset, fraction))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && is_digits(text)).then(|| text.parse().ok()).flatten()
}

fn below(text: &str, limit: i64) -> Option<i64> {
    number(text, 2).filter(|n| *n < limit)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar, years 0 to 9999.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Counted from 0000-01-01: 366 days in year 0, and 719,528 days before 1970.
    let leap_days = if year == 0 { 0 } else { (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 + 1 };
    let months: i64 = (1..month).map(|m| month_days(year, m)).sum();
    year * 365 + leap_days + months + day - 1 - 719_528
}

/// A network in CIDR form; a host without prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Network {
    V4 { bits: u32, mask: u32 },
    V6 { bits: u128, mask: u128 },
}

impl Network {
    /// Reads an address with or without `/prefix`; host bits beyond the prefix are ignored.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let prefix = match prefix {
            Some(p) if is_digits(p) && p.len() <= 3 => Some(p.parse::<u32>().ok()?),
            Some(_) => return None,
            None => None,
        };
        Some(match address.parse().ok()? {
            IpAddr::V4(address) => {
                let host = 32_u32.checked_sub(prefix.unwrap_or(32))?;
                let mask = u32::MAX.checked_shl(host).unwrap_or(0);
                Self::V4 { bits: u32::from(address) & mask, mask }
            }
            IpAddr::V6(address) => {
                let host = 128_u32.checked_sub(prefix.unwrap_or(128))?;
                let mask = u128::MAX.checked_shl(host).unwrap_or(0);
                Self::V6 { bits: u128::from(address) & mask, mask }
            }
        })
    }

    /// Whether the address lies inside; an IPv4 network never holds an IPv6 address, nor the reverse.
    pub(super) fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4 { bits, mask }, IpAddr::V4(address)) => u32::from(address) & mask == bits,
            (Self::V6 { bits, mask }, IpAddr::V6(address)) => u128::from(address) & mask == bits,
            (Self::V4 { .. }, IpAddr::V6(_)) | (Self::V6 { .. }, IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Decimal, Moment, Network};
    use std::cmp::Ordering;

    #[test]
    fn decimals_compare_by_value() {
        use Ordering::{Equal, Greater, Less};
        let table = [
            ("3600", "3600.0", Equal),
            ("-0", "0.00", Equal),
            ("007", "7", Equal),
            ("9", "10", Less),
            ("0.45", "0.5", Less),
            ("0.4", "0.45", Less),
            ("-1", "1", Less),
            ("-2", "-10", Greater),
            ("0.1", "0.10000000000000000001", Less),
            ("9007199254740993", "9007199254740992", Greater),
            ("100000000000000000000000000000000001", "100000000000000000000000000000000000", Greater),
        ];
        for (a, b, expected) in table {
            assert_eq!(Decimal::parse(a).unwrap().cmp(&Decimal::parse(b).unwrap()), expected, "{a} {b}");
        }
        for bad in ["", "-", "1.", ".5", "+1", "1e3", " 1", "0x1", "1,0", "١"] {
            assert!(Decimal::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn dates_are_moments_in_any_of_their_forms() {
        let same = [
            ("1970", "0"),
            ("1970-01-01T00:00Z", "0"),
            ("2026-05-01T12:00:00Z", "1777636800"),
            ("2026-05-01T14:00:00+02:00", "2026-05-01T12:00:00Z"),
            ("2026-05-01T00:30:00+01:00", "2026-04-30T23:30:00Z"),
            ("2026-05-01T07:00:00-05:00", "2026-05-01T12:00Z"),
            ("2026-05", "2026-05-01"),
            ("2000-02-29", "951782400"),
            ("1969-12-31T23:59:59Z", "-1"),
            ("1969-12-31T23:57:57Z", "-123"),
            ("2026-05-01T12:00:00.500Z", "2026-05-01T12:00:00.5Z"),
            ("0000-01-01", "-62167219200"),
        ];
        for (a, b) in same {
            assert_eq!(Moment::parse(a).unwrap(), Moment::parse(b).unwrap(), "{a} {b}");
        }
        assert!(Moment::parse("2026-05-01T12:00:00.25Z") < Moment::parse("2026-05-01T12:00:00.5Z"));
        assert!(Moment::parse("2026-05-01T12:00:00Z") < Moment::parse("2026-05-01T12:00:00.000001Z"));
        let bad = [
            "",
            "2026-13",
            "2026-02-29",
            "2026-05-01T12:00:00",
            "2026-05-01T24:00Z",
            "2026-05-01T12:60Z",
            "2026-05-01T12:00:60Z",
            "2026-05T12:00Z",
            "2026-5-1",
            "2026-05-01T12Z",
            "2026-05-01 12:00Z",
            "2026-05-01T12:00:00.Z",
            "2026-05-01T12:00é01:00",
            "99999999999999999999",
            "2026-05-01T12:00:00+0200",
            "tomorrow",
        ];
        for text in bad {
            assert!(Moment::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn networks_hold_addresses_of_their_family() {
        let table = [
            ("203.0.113.0/24", "203.0.113.77", true),
            ("10.20.28.0/22", "10.20.31.254", true),
            ("10.20.28.0/22", "10.20.32.0", false),
            ("10.20.28.9/22", "10.20.30.1", true),
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.8", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::ffff:1.2.3.4", false),
            ("::/0", "1.2.3.4", false),
            ("::/0", "2001:db8::1", true),
            ("2001:DB8:1234:5678::/64", "2001:db8:1234:5678::1", true),
            ("2001:DB8:1234:5678::/64", "2001:db8:1234:5679::1", false),
            ("2001:db8::1", "2001:db8::1", true),
        ];
        for (network, address, expected) in table {
            assert_eq!(
                Network::parse(network).unwrap().contains(address.parse().unwrap()),
                expected,
                "{network} {address}"
            );
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.*",
            "10.0.0.0/8/8",
            "010.0.0.1",
            "fe80::1%eth0",
        ] {
            assert!(Network::parse(bad).is_none(), "{bad}");
        }
    }
}

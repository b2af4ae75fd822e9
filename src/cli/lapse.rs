//! Lengths of time and ends of time as people write them on a command line; always with a unit or a zone.

use super::failure::Failure;
use crate::clock::Timestamp;
use crate::identity::parse_amz;
use std::time::Duration;

/// When something ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expiry {
    /// So long from now.
    After(Duration),
    /// At that moment.
    At(Timestamp),
}

impl Expiry {
    /// Reads `12h` or `2030-01-31T12:00:00Z`.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let moment = rfc3339(text).map(Self::At);
        moment.or_else(|| duration(text).map(Self::After)).ok_or_else(|| {
            Failure::usage("a number and s, m, h or d, such as 12h, or a moment in UTC, such as 2030-01-31T12:00:00Z")
        })
    }

    /// The moment it ends, if it begins at `now`.
    pub(super) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::After(duration) => now.plus(duration),
            Self::At(moment) => moment,
        }
    }
}

/// Reads the length of a session in seconds: `900`, as AWS clients say it, or `15m`.
pub(super) fn session_length(text: &str) -> Result<i64, Failure> {
    let seconds = text.parse::<u32>().map(u64::from).ok().or_else(|| duration(text).map(|length| length.as_secs()));
    seconds
        .and_then(|seconds| i64::try_from(seconds).ok())
        .ok_or_else(|| Failure::usage("seconds, or a number and s, m, h or d, such as 15m"))
}

/// A number and its unit: s, m, h or d.
fn duration(text: &str) -> Option<Duration> {
    let (at, unit) = text.char_indices().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let count = text.get(..at).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(Duration::from_secs(count.parse::<u64>().ok()?.checked_mul(seconds)?))
}

/// `YYYY-MM-DDTHH:MM:SSZ`, the one form of RFC 3339 whose moment nobody can mistake.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let bytes = text.as_bytes();
    if bytes.len() != 20 || separators.iter().any(|(at, separator)| bytes[*at] != *separator) {
        return None;
    }
    let is_separator = |at: usize| separators.iter().any(|(known, _)| *known == at);
    let basic: String = text.char_indices().filter(|(at, _)| !is_separator(*at)).map(|(_, digit)| digit).collect();
    parse_amz(&basic)
}

#[cfg(test)]
mod tests {
    use super::{Expiry, session_length};
    use crate::clock::Timestamp;
    use std::time::Duration;

    #[test]
    fn an_end_is_a_length_with_a_unit_or_a_moment_in_utc() {
        let day = Expiry::After(Duration::from_secs(86_400));
        assert_eq!([Expiry::parse("24h").unwrap(), Expiry::parse("1d").unwrap()], [day, day]);
        let moment = Timestamp::from_secs(1_440_938_160);
        assert_eq!(Expiry::parse("2015-08-30T12:36:00Z").unwrap(), Expiry::At(moment));
        assert_eq!(day.from(moment), Timestamp::from_secs(1_440_938_160 + 86_400));
        assert_eq!(Expiry::At(moment).from(Timestamp::from_secs(5)), moment);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for bad in [
            "",
            "12",
            "h",
            "1y",
            "-1h",
            "+1h",
            "1hh",
            "1é",
            "99999999999999999999d",
            "999999999999999999d",
            "2015-08-30",
            "2015-08-30T12:36:00",
            "2015-08-30T12:36:00+02:00",
            "2015-02-30T12:36:00Z",
            "2015-08-30 12:36:00Z",
            "2015-08-30T12:36:0éZ",
            "20150830T123600Z",
        ] {
            assert!(Expiry::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_session_is_as_long_as_seconds_or_a_length_say() {
        assert_eq!([session_length("900").unwrap(), session_length("15m").unwrap()], [900, 900]);
        for bad in ["", "-1", "1.5h", "fifteen", "99999999999999999999"] {
            assert!(session_length(bad).is_err(), "{bad:?}");
        }
    }
}

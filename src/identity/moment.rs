//! Reads the date form of Signature Version 4, strictly.

use crate::clock::Timestamp;

/// Parses `YYYYMMDDTHHMMSSZ`, the inverse of `Civil::amz`; `None` for any other text.
pub(crate) fn parse_amz(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 16
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 => *byte == b'T',
            15 => *byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    if !shape {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    let secs = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let moment = Timestamp::from_secs(secs);
    // A 30th of February or a 25th hour would print as another date.
    (moment.civil().amz() == text).then_some(moment)
}

/// Days from 1970-01-01, counting years from March in eras of 400 years.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::parse_amz;
    use crate::clock::Timestamp;
    use proptest::prelude::*;

    #[test]
    fn only_real_dates_in_the_one_form_are_read() {
        assert_eq!(parse_amz("20150830T123600Z"), Some(Timestamp::from_secs(1_440_938_160)));
        assert_eq!(parse_amz("19700101T000000Z"), Some(Timestamp::from_secs(0)));
        assert!(parse_amz("20240229T235959Z").is_some());
        for bad in [
            "",
            "20150830T123600",
            "20150830t123600z",
            "2015-08-30T12:36Z",
            "20230229T000000Z",
            "20151301T000000Z",
            "20150800T000000Z",
            "20150830T240000Z",
            "20150830T236000Z",
            "20150830T235960Z",
            "+2150830T123600Z",
            "2015083éT123600",
        ] {
            assert_eq!(parse_amz(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_second_survives_the_round_trip(secs in 0i64..253_402_300_799) {
            let moment = Timestamp::from_secs(secs);
            prop_assert_eq!(parse_amz(&moment.civil().amz()), Some(moment));
        }
    }
}

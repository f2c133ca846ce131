//! Owns dates and times in the one form that every DateStyle and TimeZone reads alike: ISO 8601
//! with years of four digits, and an offset from UTC where there is a time.

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_DAYS: i64 = 10_957;
/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;
/// Largest offset from UTC that is read, in hours.
const MAX_OFFSET_HOURS: u32 = 14;
/// The first day that can be written: 0001-01-01.
const FIRST_DAY: i64 = -730_119;
/// The last day that can be written: 9999-12-31.
const LAST_DAY: i64 = 2_921_939;

/// Reads `YYYY-MM-DD` as days since 2000-01-01.
pub(super) fn read_date(text: &str) -> Option<i32> {
    match infinity(text) {
        Some(true) => Some(i32::MAX),
        Some(false) => Some(i32::MIN),
        None => i32::try_from(day(text.as_bytes())?).ok(),
    }
}

/// Reads `YYYY-MM-DD HH:MM:SS[.ffffff]` with `Z`, `±HH`, `±HH:MM` or `±HH:MM:SS` as microseconds
/// since 2000-01-01 UTC. A `T` may stand for the space.
pub(super) fn read_timestamptz(text: &str) -> Option<i64> {
    match infinity(text) {
        Some(true) => return Some(i64::MAX),
        Some(false) => return Some(i64::MIN),
        None => {}
    }
    let (date, rest) = text.as_bytes().split_at_checked(10)?;
    let (separator, rest) = rest.split_first()?;
    let (time, rest) = rest.split_at_checked(8)?;
    if !matches!(separator, b' ' | b'T') {
        return None;
    }
    let seconds = clock(time, 23)?;
    let (fraction_us, zone) = match rest.strip_prefix(b".") {
        None => (0, rest),
        Some(rest) => fraction(rest)?,
    };
    let offset = i64::from(offset_seconds(zone)?);
    let whole = day(date)? * DAY_US + i64::from(seconds) * 1_000_000 + i64::from(fraction_us);
    Some(whole - offset * 1_000_000)
}

/// What [`read_date`] reads; `None` when the day has no such form.
pub(super) fn write_date(days: i32) -> Option<String> {
    match days {
        i32::MAX => Some("infinity".into()),
        i32::MIN => Some("-infinity".into()),
        days => date_text(i64::from(days)),
    }
}

/// What [`read_timestamptz`] reads; `None` when the moment has no such form.
pub(super) fn write_timestamptz(microseconds: i64) -> Option<String> {
    match microseconds {
        i64::MAX => return Some("infinity".into()),
        i64::MIN => return Some("-infinity".into()),
        _ => {}
    }
    let date = date_text(microseconds.div_euclid(DAY_US))?;
    let rest = microseconds.rem_euclid(DAY_US);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
    Some(format!("{date} {hours:02}:{minutes:02}:{:02}{fraction}+00", seconds % 60))
}

fn infinity(text: &str) -> Option<bool> {
    match text {
        "infinity" => Some(true),
        "-infinity" => Some(false),
        _ => None,
    }
}

/// `YYYY-MM-DD` as days since 2000-01-01.
fn day(text: &[u8]) -> Option<i64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return None };
    let year = number(&[*y1, *y2, *y3, *y4])?;
    let (month, day) = (number(&[*m1, *m2])?, number(&[*d1, *d2])?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || day == 0 || day > days {
        return None;
    }
    Some(days_from_civil(i64::from(year), i64::from(month), i64::from(day)) - EPOCH_DAYS)
}

/// `HH:MM:SS` as seconds.
fn clock(text: &[u8], max_hours: u32) -> Option<u32> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = text else { return None };
    let hours = number(&[*h1, *h2])?;
    let (minutes, seconds) = (number(&[*m1, *m2])?, number(&[*s1, *s2])?);
    let fits = hours <= max_hours && minutes <= 59 && seconds <= 59;
    fits.then_some(hours * 3_600 + minutes * 60 + seconds)
}

/// One to six digits as microseconds, and what follows them.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(count)?;
    if !(1..=6).contains(&count) {
        return None;
    }
    let scale = [100_000, 10_000, 1_000, 100, 10, 1].get(count - 1)?;
    Some((number(digits)? * scale, rest))
}

/// `Z`, `±HH`, `±HH:MM` or `±HH:MM:SS` as seconds east of UTC.
fn offset_seconds(text: &[u8]) -> Option<i32> {
    if text == b"Z" {
        return Some(0);
    }
    let (sign, rest) = text.split_first()?;
    let mut padded = *b"00:00:00";
    if !matches!(rest.len(), 2 | 5 | 8) {
        return None;
    }
    padded.get_mut(..rest.len())?.copy_from_slice(rest);
    let seconds = i32::try_from(clock(&padded, MAX_OFFSET_HOURS)?).ok()?;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0'))
    })
}

/// Days since 1970-01-01 of a day in the Gregorian calendar, which PostgreSQL uses for all times.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here: the leap day is their last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// A number of days since 2000-01-01 as `YYYY-MM-DD`.
fn date_text(days: i64) -> Option<String> {
    if !(FIRST_DAY..=LAST_DAY).contains(&days) {
        return None;
    }
    let days = days + EPOCH_DAYS + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leaps = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    Some(format!("{year:04}-{month:02}-{day:02}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_that_can_be_written_is_read_again() {
        for days in FIRST_DAY..=LAST_DAY {
            let days = i32::try_from(days).unwrap();
            assert_eq!(read_date(&write_date(days).unwrap()), Some(days));
        }
        assert_eq!(read_date("0001-01-01"), i32::try_from(FIRST_DAY).ok());
        assert_eq!(read_date("9999-12-31"), i32::try_from(LAST_DAY).ok());
        assert_eq!(write_date(i32::try_from(LAST_DAY).unwrap() + 1), None);
        assert_eq!(write_date(i32::try_from(FIRST_DAY).unwrap() - 1), None);
    }

    #[test]
    fn moments_are_read_as_postgresql_reads_them() {
        // Made with `extract(epoch from '…'::timestamptz - '2000-01-01Z') * 1000000`.
        let cases = [
            ("2000-01-01 00:00:00Z", 0),
            ("2000-01-01 00:00:00+00", 0),
            ("2026-11-22 15:04:05.123456+01:30", 848_669_645_123_456),
            ("2026-11-22T15:04:05.1-05", 848_693_045_100_000),
            ("1999-12-31 23:59:59.999999+00", -1),
            ("0001-01-01 00:00:00+00", -63_082_281_600_000_000),
        ];
        for (text, expected) in cases {
            assert_eq!(read_timestamptz(text), Some(expected), "{text}");
        }
        assert_eq!(read_timestamptz("infinity"), Some(i64::MAX));
        assert_eq!(write_timestamptz(-1).as_deref(), Some("1999-12-31 23:59:59.999999+00"));
        assert_eq!(write_timestamptz(0).as_deref(), Some("2000-01-01 00:00:00+00"));
        assert_eq!(write_timestamptz(i64::MAX - 1), None);
    }

    #[test]
    fn what_depends_on_settings_or_is_wrong_is_not_read() {
        for text in [
            "2000-1-1",
            "01-02-2000",
            "2000/01/01",
            "20000101",
            "0000-01-01",
            "2000-13-01",
            "2001-02-29",
            "1900-02-29",
            "2000-04-31",
            "2000-01-00",
            "12000-01-01",
            " 2000-01-01",
            "2000-01-01 BC",
            "today",
            "Infinity ",
            "",
            "-",
        ] {
            assert_eq!(read_date(text), None, "{text}");
        }
        for text in [
            "2000-01-01",
            "2000-01-01 00:00:00",
            "2000-01-01 24:00:00Z",
            "2000-01-01 00:00:60Z",
            "2000-01-01 00:00Z",
            "2000-01-01 00:00:00.Z",
            "2000-01-01 00:00:00.1234567Z",
            "2000-01-01 00:00:00 UTC",
            "2000-01-01 00:00:00+15",
            "2000-01-01 00:00:00+1",
            "2000-01-01 00:00:00+01:60",
            "2000-01-01  00:00:00Z",
            "2000-01-01 00:00:00+0100",
            "2000-01-01 00:00:00+-1",
            "now",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}00 00:00:00Z",
        ] {
            assert_eq!(read_timestamptz(text), None, "{text}");
        }
    }
}

//! Owns how times look in the console's tables.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DAY_S: u64 = 86_400;

/// `2026-11-22 17:13:41 UTC`; times before 1970 are taken for its beginning.
pub(super) fn utc(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = date(seconds / DAY_S);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The same of a moment before or after now.
pub(super) fn utc_of(at: Instant) -> String {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let moved = match at.checked_duration_since(now) {
        Some(later) => wall.checked_add(later),
        None => wall.checked_sub(now.saturating_duration_since(at)),
    };
    utc(moved.unwrap_or(wall))
}

/// The same of milliseconds since 1970.
pub(super) fn utc_of_ms(ms: u64) -> String {
    utc(UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(UNIX_EPOCH))
}

/// The date so many days after 1970-01-01, counted from March as the first month, so that the day
/// a leap year adds is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_date_prints_them() {
        for (seconds, wanted) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_795_367_621, "2026-11-22 17:13:41 UTC"),
            (4_102_444_800, "2100-01-01 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc_of_ms(seconds * 1000 + 999), wanted);
        }
    }

    #[test]
    fn moments_are_told_by_the_clock_on_the_wall() {
        let hour = Duration::from_secs(3600);
        let near = |at: Instant, wanted: SystemTime| {
            let around = [0, 1].map(|second| utc(wanted + Duration::from_secs(second)));
            assert!(around.contains(&utc_of(at)), "{} not in {around:?}", utc_of(at));
        };
        near(Instant::now() + hour, SystemTime::now() + hour);
        near(Instant::now(), SystemTime::now());
    }
}

//! Owns numbers as people read them.

use super::rate::Rate;
use super::{Now, percent};
use std::time::Duration;

/// `12.3 MB`: powers of 1000.
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    // What would be shown as 1000.0 of a unit is 1.0 of the next one.
    while value >= 999.95 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1000.0, next);
    }
    format!("{value:.1} {unit}")
}

/// `1,234,567`
pub fn count_text(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 h 5 min`: the two largest units.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

/// `50 of 200 rows (25.0 %), 5.0 kB, 10 rows/s, 15 s left, waiting: …`
pub(super) fn now_text(now: &Now, rate: Rate) -> String {
    let mut text = count_text(now.rows);
    if let Some(total) = now.rows_total {
        text += &format!(" of {}", count_text(total));
    }
    text += " rows";
    if let Some(percent) = percent(now) {
        text += &format!(" ({percent:.1} %)");
    }
    text += &format!(", {}{}", bytes_text(now.bytes), rest_text(now, rate));
    text
}

/// What follows rows and bytes.
pub(super) fn rest_text(now: &Now, rate: Rate) -> String {
    let mut text = String::new();
    if rate.rows_per_s >= 1.0 {
        text += &format!(", {} rows/s", count_text(rate.rows_per_s as u64));
    }
    if let Some(left) = rate.left {
        text += &format!(", {} left", duration_text(left));
    }
    if let Some(lag_bytes) = now.lag_bytes {
        text += &format!(", {} behind", bytes_text(lag_bytes));
    }
    if let Some(waiting) = &now.waiting {
        text += &format!(", waiting: {waiting}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        let bytes = [0, 999, 1000, 999_949, 999_950, 12_345_678, u64::MAX];
        let texts = ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "12.3 MB", "18.4 EB"];
        assert_eq!(bytes.map(bytes_text), texts);
        let counts = [0, 999, 1000, 1_234_567].map(count_text);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        let texts = [59, 60, 3661, 90_061].map(|s| duration_text(Duration::from_secs(s)));
        assert_eq!(texts, ["59 s", "1 min 0 s", "1 h 1 min", "1 d 1 h"]);
        let now = Now { rows: 5, lag_bytes: Some(10), ..Now::default() };
        let rate =
            Rate { rows_per_s: 1234.5, left: Some(Duration::from_secs(3)), bytes_per_s: 1.0 };
        assert_eq!(now_text(&now, rate), "5 rows, 0 B, 1,234 rows/s, 3 s left, 10 B behind");
    }
}

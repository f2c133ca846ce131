//! Owns how numbers are written on the page: short for the eye, whole for machines.

use maud::{Markup, html};
use std::time::Duration;

/// A number with its exact value in `<data>`.
pub(super) fn exact(value: f64, text: &str) -> Markup {
    html! { data value=(value) { (text) } }
}

/// How many: `12,345`, above ten million `12.3 M`.
pub(super) fn count(value: f64) -> String {
    if value >= 1e7 {
        let (divisor, unit) = if value >= 1e10 { (1e9, "G") } else { (1e6, "M") };
        return format!("{} {unit}", short(value / divisor));
    }
    let digits = format!("{:.0}", value.max(0.0));
    let mut text = String::with_capacity(digits.len() + 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How often per second, without the unit.
pub(super) fn rate(value: f64) -> String {
    if value >= 1000.0 { count(value) } else { short(value) }
}

/// A time: `420 µs`, `1.2 ms`, `3.4 s`, `12 min`.
pub(super) fn micros(us: f64) -> String {
    if us < 0.5 {
        "0".into()
    } else if us < 999.5 {
        format!("{us:.0} µs")
    } else if us < 999_500.0 {
        format!("{} ms", short(us / 1e3))
    } else if us < 120e6 {
        format!("{} s", short(us / 1e6))
    } else {
        age(us / 1e6)
    }
}

/// Bytes: `512 B`, `1.5 MB`.
pub(super) fn bytes(value: f64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let fitting = units.iter().find(|(size, _)| value >= *size);
    fitting.map_or_else(
        || format!("{value:.0} B"),
        |(size, unit)| format!("{} {unit}", short(value / size)),
    )
}

/// A share of a whole.
pub(super) fn percent(part: f64, whole: f64) -> String {
    if whole <= 0.0 { "0 %".into() } else { format!("{} %", short(100.0 * part / whole)) }
}

/// A long time: `45 s`, `12 min`, `3 h 20 min`, `4 d 2 h`.
pub(super) fn age(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match whole {
        0..120 => format!("{whole} s"),
        120..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn trimmed(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Two or three digits that tell something.
fn short(value: f64) -> String {
    if value == 0.0 {
        "0".into()
    } else if value < 0.01 {
        "<0.01".into()
    } else if value < 1.0 {
        trimmed(format!("{value:.2}"))
    } else if value < 9.95 {
        trimmed(format!("{value:.1}"))
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_right() {
        let counts = [0.0, 999.0, 1000.0, 1_234_567.0, 12_345_678.0, 4e10].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567", "12 M", "40 G"]);
        assert_eq!(
            [0.0, 0.001, 0.25, 3.21, 9.96, 1234.0].map(rate),
            ["0", "<0.01", "0.25", "3.2", "10", "1,234"]
        );
        let times = [0.0, 7.0, 999.9, 1500.0, 2.5e6, 130e6].map(micros);
        assert_eq!(times, ["0", "7 µs", "1 ms", "1.5 ms", "2.5 s", "2 min"]);
        assert_eq!([0.0, 999.0, 1e3, 2.5e9].map(bytes), ["0 B", "999 B", "1 kB", "2.5 GB"]);
        assert_eq!(
            [59.0, 600.0, 7300.0, 90_000.0].map(age),
            ["59 s", "10 min", "2 h 1 min", "1 d 1 h"]
        );
        assert_eq!(percent(1.0, 8.0), "12 %");
        assert_eq!(percent(1.0, 0.0), "0 %");
    }
}

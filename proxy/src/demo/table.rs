//! Owns the look of the demo's numbers: the table of where statements went.

use super::workload::{Kind, Tally};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::time::Duration;

/// Renders the table: one line per kind of statement, one column per server.
pub(super) fn render(tally: &Tally, servers: &[&str]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Disabled);
    let mut header = vec!["what the application sent".to_owned()];
    header.extend(servers.iter().map(|name| (*name).to_owned()));
    header.extend(["p50".to_owned(), "p99".to_owned()]);
    table.set_header(header);
    for kind in Kind::ALL {
        let counts = tally.counts(kind);
        let total: u64 = counts.iter().sum();
        let mut row = vec![kind.label().to_owned()];
        row.extend(counts.iter().map(|count| share(*count, total)));
        row.extend([0.5, 0.99].map(|quantile| milliseconds(tally.latency(kind, quantile))));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// `1,234  97 %`, or a dot for nothing. Never rounded to 0 % or 100 % when it is not.
fn share(count: u64, total: u64) -> String {
    if count == 0 {
        return "·".into();
    }
    let percent = 100.0 * count as f64 / total as f64;
    let percent = match percent {
        small if small < 1.0 => "<1".to_owned(),
        large if large > 99.0 && count < total => ">99".to_owned(),
        other => format!("{other:.0}"),
    };
    format!("{}  {percent:>3} %", grouped(count))
}

/// `1.23 ms`.
pub(super) fn milliseconds(latency: Duration) -> String {
    format!("{:.2} ms", latency.as_secs_f64() * 1000.0)
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"].map(String::from)
        );
    }

    #[test]
    fn shares_are_never_rounded_to_nothing_or_all() {
        assert_eq!(share(0, 10), "·");
        assert_eq!(share(1, 1000), "1   <1 %");
        assert_eq!(share(999, 1000), "999  >99 %");
        assert_eq!(share(1000, 1000), "1,000  100 %");
        assert_eq!(share(1, 3), "1   33 %");
    }
}

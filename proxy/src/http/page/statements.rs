//! Owns the statements on the page: where the time is. Their texts come from clients by way of the
//! digests: without literals, and hostile all the same.

use super::grid::Line;
use super::number::{self, exact};
use super::plot::bar;
use super::table::{Column, number as numbers, table, wide};
use super::view::View;
use maud::{Markup, html};

/// Statements that are shown.
const SHOWN_MAX: usize = 15;
/// Most characters of a text that are shown.
const TEXT_MAX: usize = 400;

const STATEMENTS: &[Column] = &[
    wide("Statement", "Without its literals"),
    numbers("Share of time", "Of the time of all statements since the start or RESET STATS"),
    numbers("Calls", ""),
    numbers("Mean", ""),
    numbers("p95", "95 % of the executions took no longer"),
    numbers("p99", "99 % of the executions took no longer"),
    numbers("Pool wait", "Of its time, waiting for a server connection"),
    numbers("Errors", ""),
    numbers("Rows", ""),
    numbers("Shards", "On average, and at most"),
];

/// The statements that take most of the time.
pub(super) fn draw(view: &View) -> Markup {
    let mut lines: Vec<Line<'_>> = view.statements.lines().collect();
    let total: f64 = lines.iter().map(|line| line.count("total_us")).sum();
    lines.sort_by(|a, b| b.count("total_us").total_cmp(&a.count("total_us")));
    let rows: Vec<_> = lines.iter().take(SHOWN_MAX).map(|line| row(*line, total)).collect();
    html! {
        @if let Some((_, last)) = view.recent.last(0) && last.queries > 0 {
            p.lead { "Of the time of all requests in the last 10 s, "
                b { (number::percent(last.wait_sum_us.into(), last.total_sum_us.into())) }
                " was waiting for a server connection." }
        }
        @if rows.is_empty() { p.none { "No statement was counted yet." } }
        @else {
            (table("Statements by their share of the time", STATEMENTS, &rows))
            @if lines.len() > SHOWN_MAX {
                p.hint { "The first " (SHOWN_MAX) " of " (lines.len()) ": "
                    code { "SELECT * FROM statements ORDER BY total_us DESC" } }
            }
        }
    }
}

fn row(line: Line<'_>, total: f64) -> Vec<Markup> {
    let us = |column: &str| match line.number(column) {
        Some(us) => exact(us, &number::micros(us)),
        None => html! { "–" },
    };
    let count = |column: &str| exact(line.count(column), &number::count(line.count(column)));
    let (own, waited) = (line.count("total_us"), line.count("pool_wait_us"));
    vec![
        html! {
            code.sql { (cut(line.text("text"))) }
            small { (line.text("database")) " · " (line.text("route").replace('_', " ")) }
        },
        bar(own, total),
        count("calls"),
        us("mean_us"),
        us("p95_us"),
        us("p99_us"),
        html! { (number::percent(waited, own)) },
        count("errors"),
        count("rows"),
        html! { (number::rate(line.count("shards_mean"))) " / " (line.count("shards_max")) },
    ]
}

/// The beginning of a long text. Controls, and signs that turn the direction of writing, would
/// make a text look like another: they are shown as what they are.
fn cut(text: &str) -> String {
    let mut shown = String::new();
    for sign in text.chars().take(TEXT_MAX) {
        match sign {
            '\n' | '\t' | '\r' => shown.push(' '),
            '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => shown.push('\u{fffd}'),
            sign if sign.is_control() => shown.push('\u{fffd}'),
            sign => shown.push(sign),
        }
    }
    if text.chars().nth(TEXT_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_show_what_they_hide() {
        assert_eq!(cut("select\n1"), "select 1");
        assert_eq!(cut("a\u{202e}b\0c"), "a\u{fffd}b\u{fffd}c");
        let long = "ä".repeat(TEXT_MAX + 1);
        assert_eq!(cut(&long).chars().count(), TEXT_MAX + 1);
        assert!(cut(&long).ends_with('…') && !cut(&"x".repeat(TEXT_MAX)).ends_with('…'));
    }
}

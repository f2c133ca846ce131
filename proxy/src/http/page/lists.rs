//! Owns the short lists of the page: pools, prepared transactions, moves.

use super::grid::Line;
use super::number::{self, exact};
use super::plot::bar;
use super::table::{Column, number as numbers, table, text, wide};
use super::topology::mark;
use super::view::View;
use maud::{Markup, html};

/// Most rows of each list; the console has all of them.
const ROWS_MAX: usize = 50;

const POOLS: &[Column] = &[
    text("Pool", "Database and user"),
    text("Mode", ""),
    numbers("Clients", "That have a server, or want none now"),
    numbers("Waiting", "Clients that wait for a server"),
    numbers("Longest wait", "Of those that wait now"),
    numbers("Servers in use", ""),
    numbers("Idle", "Servers"),
    numbers("Logging in", "Servers"),
];

const TRANSACTIONS: &[Column] = &[
    text("Transaction", "As pg_prepared_xacts names it"),
    text("Database", ""),
    text("Shards", "With a prepared part"),
    text("Home", "The shard that keeps the decision"),
    text("State", ""),
    text("Outcome", ""),
    numbers("Age", ""),
];

const MOVES: &[Column] = &[
    text("Move", "Its number and what it moves"),
    text("From, to", "Shards"),
    text("State", "The step it is at"),
    numbers("Done", "Part of the estimated rows"),
    numbers("Rows/s", ""),
    numbers("Left", "Estimate of the time"),
    numbers("Lag", "Changes that are not applied yet"),
    wide("Last error", ""),
];

/// The pools, those with waiting clients first.
pub(super) fn pools(view: &View) -> Markup {
    let mut lines: Vec<Line<'_>> = view.pools.lines().collect();
    let rank = |line: &Line<'_>| (line.count("cl_waiting"), line.count("cl_active"));
    lines.sort_by(|a, b| {
        let ((a_waits, a_active), (b_waits, b_active)) = (rank(a), rank(b));
        b_waits.total_cmp(&a_waits).then(b_active.total_cmp(&a_active))
    });
    let row = |line: &Line<'_>| {
        let count = |column: &str| exact(line.count(column), &number::count(line.count(column)));
        let wait_us = line.count("maxwait") * 1e6 + line.count("maxwait_us");
        vec![
            html! { (line.text("database")) " · " (line.text("user")) },
            html! { (line.text("pool_mode")) },
            count("cl_active"),
            count("cl_waiting"),
            html! {
                @if wait_us > 0.0 { (exact(wait_us, &number::micros(wait_us))) } @else { "–" }
            },
            count("sv_active"),
            count("sv_idle"),
            count("sv_login"),
        ]
    };
    let rows: Vec<_> = lines.iter().take(ROWS_MAX).map(row).collect();
    list("Pools", POOLS, &rows, lines.len(), "No pool was needed yet.")
}

/// The prepared transactions, the oldest first.
pub(super) fn transactions(view: &View) -> Markup {
    let mut lines: Vec<Line<'_>> = view.transactions.lines().collect();
    lines.sort_by(|a, b| b.count("age_ms").total_cmp(&a.count("age_ms")));
    let row = |line: &Line<'_>| {
        let state = line.text("state");
        vec![
            html! { code { (line.text("name")) } },
            html! { (line.text("database")) },
            html! { (line.text("shards")) },
            html! { (line.text("home")) },
            mark(state != "in_doubt", &state.replace('_', " ")),
            html! { (line.text("outcome")) },
            exact(line.count("age_ms"), &number::age(line.count("age_ms") / 1e3)),
        ]
    };
    let rows: Vec<_> = lines.iter().take(ROWS_MAX).map(row).collect();
    let none = "No transaction over several shards is prepared.";
    list("Prepared transactions", TRANSACTIONS, &rows, lines.len(), none)
}

/// The moves of key ranges.
pub(super) fn moves(view: &View) -> Markup {
    let row = |line: Line<'_>| {
        let (distribution, range) = (line.text("distribution"), line.text("range"));
        vec![
            html! {
                (line.count("id"))
                small { (line.text("database")) " · " (distribution) " " (range) }
            },
            html! { (line.text("from_shard")) " → " (line.text("to_shard")) },
            html! { (line.text("state")) },
            bar(line.count("done_percent"), 100.0),
            exact(line.count("rows_per_s"), &number::rate(line.count("rows_per_s"))),
            html! {
                @if let Some(left_s) = line.number("left_s") { (number::age(left_s)) }
                @else { "–" }
            },
            html! { (number::bytes(line.count("lag_bytes"))) },
            html! { (line.text("last_error")) },
        ]
    };
    let rows: Vec<_> = view.moves.lines().take(ROWS_MAX).map(row).collect();
    list("Moves", MOVES, &rows, view.moves.len(), "No key range is being moved.")
}

fn list(
    caption: &str,
    columns: &[Column],
    rows: &[Vec<Markup>],
    count: usize,
    none: &str,
) -> Markup {
    let rest = count.saturating_sub(rows.len());
    html! {
        @if rows.is_empty() { p.none { (none) } } @else { (table(caption, columns, rows)) }
        @if rest > 0 { p.hint { "and " (rest) " more" } }
    }
}

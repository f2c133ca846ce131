//! Owns the shards and hosts on the page: who is what, and how it does.

use super::grid::Line;
use super::number::{self, exact};
use super::plot::bar;
use super::signals::{host_last, host_spark, latency_of};
use super::table::{Column, number as numbers, table, text, wide};
use super::view::View;
use maud::{Markup, html};

/// Most hosts that are shown; the console has all of them.
const HOSTS_SHOWN_MAX: usize = 200;

const HOSTS: &[Column] = &[
    text("Host", "Address, as configured"),
    text("Shard", ""),
    text("Role", "By the last health check"),
    text("State", "The worst of what holds"),
    numbers("Lag", "Age of a replica's data, and WAL it has not replayed"),
    numbers("Queries/s", "Requests it has answered in the last 10 s, per second"),
    numbers("p95", "95 % of its answers took no longer, in the last 10 s"),
    numbers("In use", "Server connections lent to clients, of those that pools may open"),
    numbers("Idle", "Open server connections that nobody uses"),
    numbers("Waiting", "Clients that wait for a connection to it"),
    numbers("Probe", "Smoothed time of a health check"),
    wide("Queries/s over time", ""),
];

const SHARDS: &[Column] = &[
    text("Shard", ""),
    text("Primary", "Where its writes go"),
    text("State", "Of the primary"),
    numbers("Hosts up", ""),
    numbers("Readable replicas", "Up, not banned, on the primary's timeline"),
    numbers("Primary changes", "Times another host or timeline became the primary"),
    numbers("In doubt", "Prepared parts of transactions that no commit here is about to end"),
    wide("Databases", "That live on it"),
];

/// The shards.
pub(super) fn shards(view: &View) -> Markup {
    let row = |line: Line<'_>| {
        let primary = line.text("primary_host");
        let state = line.text("primary_state");
        let changes = line.count("generation");
        let doubt = line.count("in_doubt");
        vec![
            html! { (line.text("shard")) },
            html! { @if primary.is_empty() { "none" } @else { (primary) } },
            mark(state == "up", state),
            html! { (line.count("hosts_up")) " of " (line.count("hosts")) },
            exact(line.count("replicas_usable"), &number::count(line.count("replicas_usable"))),
            exact(changes, &number::count(changes)),
            exact(doubt, &number::count(doubt)),
            html! { (line.text("databases")) },
        ]
    };
    let rows: Vec<_> = view.shards.lines().take(HOSTS_SHOWN_MAX).map(row).collect();
    html! {
        (table("Shards", SHARDS, &rows))
        (rest(view.shards.len(), "shards"))
    }
}

/// The hosts.
pub(super) fn hosts(view: &View) -> Markup {
    let rows: Vec<_> =
        view.hosts.lines().take(HOSTS_SHOWN_MAX).map(|line| host(view, line)).collect();
    html! {
        (table("Hosts", HOSTS, &rows))
        (rest(view.hosts.len(), "hosts"))
    }
}

fn host(view: &View, line: Line<'_>) -> Vec<Markup> {
    let (shard, host) = (line.text("shard"), line.text("host"));
    let (active, size) = (line.count("active"), line.count("size"));
    let count = |column: &str| exact(line.count(column), &number::count(line.count(column)));
    let wait_us = line.count("oldest_wait_us");
    let last = host_last(view, shard, host);
    vec![
        html! { (host) },
        html! { (shard) },
        html! { span.role.(class(line.text("role"))) { (line.text("role")) } },
        state(line),
        lag(line),
        html! { @if let Some((rate, _)) = last { (exact(rate, &number::rate(rate))) } @else { "–" } },
        latency_of(last.and_then(|(_, latency)| latency), |latency| latency.p95_us),
        html! {
            (exact(active, &number::count(active)))
            @if size > 0.0 { (bar(active, size)) }
        },
        count("idle"),
        html! {
            (count("waiting"))
            @if wait_us > 0.0 { small { "oldest " (number::micros(wait_us)) } }
        },
        html! {
            @if let Some(us) = line.number("probe_us") { (exact(us, &number::micros(us))) }
            @else { "–" }
        },
        host_spark(view, shard, host),
    ]
}

/// Class of a role: the words of the table only.
fn class(role: &str) -> &'static str {
    match role {
        "primary" => "primary",
        "replica" => "replica",
        _ => "unknown",
    }
}

fn state(line: Line<'_>) -> Markup {
    let (state, circuit, until) =
        (line.text("state"), line.text("circuit"), line.text("banned_until"));
    let error = line.text("last_error");
    html! {
        (mark(state == "up", state))
        @if !matches!(circuit, "" | "closed") { small { "breaker " (circuit.replace('_', " ")) } }
        @if !until.is_empty() { small { "banned until " (until) } }
        @if !error.is_empty() { small.error { (error) } }
    }
}

fn lag(line: Line<'_>) -> Markup {
    html! {
        @if let Some(ms) = line.number("lag_ms") {
            (exact(ms, &number::micros(ms * 1e3)))
            @if line.count("lag_bytes") > 0.0 { small { (number::bytes(line.count("lag_bytes"))) } }
        } @else { "–" }
    }
}

/// A word that is good or bad, in more than its colour.
pub(super) fn mark(good: bool, word: &str) -> Markup {
    html! {
        span.mark.(if good { "good" } else { "bad" }) {
            span aria-hidden="true" { (if good { "✓ " } else { "✗ " }) } (word)
        }
    }
}

fn rest(count: usize, what: &str) -> Markup {
    let rest = count.saturating_sub(HOSTS_SHOWN_MAX);
    html! { @if rest > 0 { p.hint { "and " (rest) " more " (what) ": SHOW " (what.to_uppercase()) } } }
}

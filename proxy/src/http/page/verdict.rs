//! Owns the first lines of the page: is all well, and if not, what is wrong, the worst first.

use super::number;
use super::view::View;
use maud::{Markup, html};

/// A client that waits longer for a server is worth a line.
const WAIT_NOTED_US: f64 = 1e6;
/// A replica whose data is older is worth a line.
const LAG_NOTED_MS: f64 = 30_000.0;
/// A transaction that is in doubt for longer is worth a line: recovery ends them within seconds.
const DOUBT_NOTED_MS: f64 = 60_000.0;
/// A share of errors among requests that is worth a line, when there were that many.
const ERRORS_NOTED_SHARE: f64 = 0.05;
const ERRORS_NOTED: u32 = 10;
/// Most lines; the rest is counted.
const LINES_MAX: usize = 20;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Clients are refused, or data is in danger.
    Grave,
    /// It works, with less than it should have.
    Note,
}

/// Something that is wrong.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trouble {
    pub(super) weight: Weight,
    pub(super) text: String,
}

/// The verdict in two words.
pub(super) fn word(view: &View, troubles: &[Trouble]) -> (&'static str, &'static str) {
    if !view.ready.missing.is_empty() {
        return ("grave", "Not ready");
    }
    match troubles.first().map(|trouble| trouble.weight) {
        Some(Weight::Grave) => ("grave", "In trouble"),
        Some(Weight::Note) => ("note", "Needs a look"),
        None => ("good", "Healthy"),
    }
}

/// Everything that is wrong, the worst first.
pub(super) fn troubles(view: &View) -> Vec<Trouble> {
    let mut all = Vec::new();
    let mut add = |weight, text| all.push(Trouble { weight, text });
    view.ready.missing.iter().for_each(|line| add(Weight::Grave, line.clone()));
    view.ready.notes.iter().for_each(|line| add(Weight::Note, line.clone()));
    shards(view, &mut add);
    hosts(view, &mut add);
    let old = |age_ms: f64| age_ms > DOUBT_NOTED_MS;
    let ages = view.transactions.lines().map(|line| line.count("age_ms"));
    let (stuck, oldest) = ages
        .filter(|age| old(*age))
        .fold((0u32, 0.0), |(count, oldest), age| (count + 1, f64::max(oldest, age)));
    if stuck > 0 {
        let age = number::age(oldest / 1e3);
        add(
            Weight::Grave,
            format!(
                "{stuck} prepared transactions do not end, the oldest since {age}: they keep locks"
            ),
        );
    }
    if let Some((_, point)) = view.recent.last(0) {
        let share = f64::from(point.errors) / f64::from(point.queries.max(1));
        if point.errors >= ERRORS_NOTED && share >= ERRORS_NOTED_SHARE {
            let percent = number::percent(point.errors.into(), point.queries.into());
            add(Weight::Note, format!("{percent} of requests end with an error"));
        }
    }
    all.sort();
    all.dedup();
    all
}

fn shards(view: &View, add: &mut dyn FnMut(Weight, String)) {
    for line in view.shards.lines() {
        let (shard, state) = (line.text("shard"), line.text("primary_state"));
        match state {
            "up" => {}
            "not_checked" => add(Weight::Note, format!("shard {shard}: not checked yet")),
            _ => {
                add(Weight::Grave, format!("shard {shard}: writes wait, the primary is {state}"));
            }
        }
        let waiting = line.count("waiting");
        if waiting > 0.0 {
            let text = format!("shard {shard}: {waiting} statements wait for a server to be there");
            add(Weight::Grave, text);
        }
        match line.text("two_phase") {
            "" | "ready" => {}
            why => {
                let text = format!("shard {shard} cannot take part in commits over shards: {why}");
                add(Weight::Note, text);
            }
        }
    }
}

fn hosts(view: &View, add: &mut dyn FnMut(Weight, String)) {
    for line in view.hosts.lines() {
        let name = format!("{} ({})", line.text("host"), line.text("shard"));
        let error = match line.text("last_error") {
            "" => String::new(),
            error => format!(": {error}"),
        };
        match line.text("state") {
            "up" => {}
            "fenced" => add(
                Weight::Grave,
                format!("{name} is fenced: it claims to be the primary and is not"),
            ),
            state => add(Weight::Note, format!("{name} is {state}{error}")),
        }
        let wait_us = line.count("oldest_wait_us");
        if wait_us > WAIT_NOTED_US {
            let (waiting, wait) = (line.count("waiting"), number::micros(wait_us));
            let text = format!("{waiting} clients wait for {name}, the first for {wait}");
            add(Weight::Note, text);
        }
        let lag_ms = line.count("lag_ms");
        if lag_ms > LAG_NOTED_MS {
            let lag = number::age(lag_ms / 1e3);
            add(Weight::Note, format!("the data of {name} is {lag} old"));
        }
    }
}

/// The verdict, and what it rests on.
pub(super) fn draw(view: &View, troubles: &[Trouble]) -> Markup {
    let (class, word) = word(view, troubles);
    let (grave, notes): (Vec<_>, Vec<_>) =
        troubles.iter().take(LINES_MAX).partition(|trouble| trouble.weight == Weight::Grave);
    let rest = troubles.len().saturating_sub(LINES_MAX);
    html! {
        div.verdict.(class) role="status" {
            h2 { span.lamp aria-hidden="true" {} (word) }
            @if troubles.is_empty() {
                p { "Every shard has its primary, every host is up, nobody waits for long." }
            } @else {
                ul {
                    @for trouble in grave { li { strong { "Grave: " } (trouble.text) } }
                    @for trouble in notes { li { (trouble.text) } }
                    @if rest > 0 { li { "and " (rest) " more" } }
                }
            }
        }
    }
}

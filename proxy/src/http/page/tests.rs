//! Tests of the page on made-up tables: everything hostile is text, what is wrong comes first, and
//! any number of viewers cost one rendering per second.

use super::*;
use crate::http::Ready;
use crate::metrics::{Metrics, Origin, RouteKind};
use pgmanifold_console::value::Row;
use pgmanifold_console::{Table, Value, tables};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

const HOSTILE: &str = "select '<img src=x onerror=alert(1)>' \"&amp;</code></main><script>alert(2)//";

/// Rows by the name of their table.
#[derive(Default)]
struct Made {
    rows: HashMap<&'static str, Vec<Row>>,
    asked: AtomicUsize,
}

impl Source for Made {
    fn rows(&self, table: &'static Table) -> Vec<Row> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.rows.get(table.name).cloned().unwrap_or_default()
    }
}

impl Made {
    /// Adds a row; columns that are not named are NULL. A table that is not there yet is left out.
    fn row(&mut self, name: &'static str, values: &[(&str, Value)]) {
        let Some(table) = tables::find(name) else { return };
        let mut row = vec![Value::Null; table.columns.len()];
        for (column, value) in values {
            let place = table.column(column);
            row[place.unwrap_or_else(|| panic!("{name} has no column {column}"))] = value.clone();
        }
        self.rows.entry(name).or_default().push(row);
    }

    fn host(&mut self, host: &str, role: &str, state: &str) {
        self.row("hosts", &[
            ("shard", "main".into()),
            ("host", host.into()),
            ("role", role.into()),
            ("state", state.into()),
            ("circuit", "closed".into()),
            ("active", 3.into()),
            ("idle", 7.into()),
            ("size", 20.into()),
            ("lag_ms", (role == "replica").then_some(40).into()),
        ]);
    }

    fn shard(&mut self, primary_state: &str) {
        let primary = (primary_state == "up").then_some("a:5432");
        self.row("shards", &[
            ("shard", "main".into()),
            ("primary_host", primary.into()),
            ("primary_state", primary_state.into()),
            ("hosts", 2.into()),
            ("hosts_up", 2.into()),
        ]);
    }

    fn healthy() -> Self {
        let mut made = Self::default();
        made.host("a:5432", "primary", "up");
        made.host("b:5432", "replica", "up");
        made.shard("up");
        made
    }
}

fn page(made: Made, ready: Ready, history: History) -> Page {
    Page::new(Facts {
        name: "test:1".into(),
        source: Arc::new(made),
        history: Arc::new(history),
        ready: Arc::new(move || ready.clone()),
        enabled: Arc::new(|| true),
    })
}

fn document(made: Made) -> String {
    let rendered = page(made, Ready::default(), History::default()).rendered();
    String::from_utf8(rendered.document.to_vec()).unwrap()
}

#[test]
fn a_healthy_page_says_so_without_any_outside_thing() {
    let text = document(Made::healthy());
    assert!(text.contains("<title>Healthy · pgmanifold</title>"), "{text}");
    for word in ["a:5432", "b:5432", "40 ms", "test:1", env!("CARGO_PKG_VERSION")] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    for outside in ["http:", "https:", "//cdn", "@import", "url(", " style=", "onload", "onclick"] {
        assert!(!text.contains(outside), "{outside} is in {text}");
    }
    assert_eq!(text.matches("<script").count(), 1);
}

#[test]
fn what_a_client_wrote_is_text() {
    let mut made = Made::healthy();
    made.row("statements", &[
        ("text", HOSTILE.into()),
        ("database", HOSTILE.into()),
        ("route", HOSTILE.into()),
        ("total_us", 10.into()),
    ]);
    let names = ["database", "user", "pool_mode"].map(|name| (name, HOSTILE.into()));
    made.row("pools", &names);
    let names = ["name", "database", "shards", "state", "outcome"];
    made.row("transactions", &names.map(|name| (name, HOSTILE.into())));
    made.row("moves", &[("range", HOSTILE.into()), ("last_error", HOSTILE.into())]);
    let names = ["host", "shard", "role", "state", "circuit", "banned_until", "last_error"];
    made.row("hosts", &names.map(|name| (name, HOSTILE.into())));
    let names = ["shard", "primary_host", "primary_state", "databases", "two_phase"];
    made.row("shards", &names.map(|name| (name, HOSTILE.into())));
    let ready = Ready { missing: vec![HOSTILE.into()], notes: vec![HOSTILE.into()] };
    let (history, metrics) = (History::default(), Metrics::new());
    metrics.worker(0, HOSTILE).query(RouteKind::Write, Duration::from_millis(1));
    metrics.host(0, HOSTILE, HOSTILE).connect_failed();
    history.add(&metrics.gather(), SystemTime::now(), Duration::from_secs(10));
    let page = page(made, ready, history);
    let rendered = page.rendered();
    for part in [rendered.document, rendered.live] {
        let text = String::from_utf8(part.to_vec()).unwrap();
        assert!(!text.contains("<img") && !text.contains("alert(2)//\""), "{text}");
        assert!(text.contains("&lt;img src=x onerror=alert(1)&gt;"));
        assert!(text.matches("<script").count() <= 1 && text.matches("</main>").count() == 1);
    }
}

#[test]
fn what_is_wrong_comes_first() {
    let mut made = Made::default();
    made.host("a:5432", "primary", "fenced");
    made.host("b:5432", "replica", "down");
    made.shard("conflict");
    made.row("transactions", &[("state", "in_doubt".into()), ("age_ms", 3_600_000.into())]);
    let text = document(made);
    assert!(text.contains("<title>In trouble"), "{text}");
    let place = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} is not in {text}"));
    let grave =
        ["a:5432 (main) is fenced", "1 prepared transactions", "the primary is conflict"];
    for word in grave {
        assert!(place(word) < place("b:5432 (main) is down"), "{word}");
    }
    assert!(place("b:5432 (main) is down") < place("<h2>Hosts</h2>"));

    let ready = Ready { missing: vec!["draining".into()], notes: Vec::new() };
    let rendered = page(Made::healthy(), ready, History::default()).rendered();
    let text = String::from_utf8(rendered.document.to_vec()).unwrap();
    assert!(text.contains("<title>Not ready") && text.contains("draining"), "{text}");
}

#[test]
fn errors_of_now_are_noted() {
    let (history, metrics) = (History::default(), Metrics::new());
    let counters = metrics.worker(0, "app");
    (0..100).for_each(|_| counters.query(RouteKind::Write, Duration::from_millis(2)));
    (0..25).for_each(|_| counters.error("40001", Origin::Server));
    history.add(&metrics.gather(), SystemTime::now(), Duration::from_secs(10));
    let rendered = page(Made::healthy(), Ready::default(), history).rendered();
    let text = String::from_utf8(rendered.document.to_vec()).unwrap();
    assert!(text.contains("25 % of requests end with an error"), "{text}");
    assert!(text.contains("<data value=\"10\">10</data>"), "queries per second: {text}");
    assert!(text.contains("Needs a look"));
}

#[test]
fn many_viewers_cost_one_rendering() {
    let made = Made::healthy();
    let page = page(made, Ready::default(), History::default());
    let first = page.rendered();
    for _ in 0..1000 {
        assert_eq!(page.rendered().live.as_ptr(), first.live.as_ptr(), "the same copy");
    }
}

#[test]
fn the_policy_has_the_hashes_of_what_is_sent() {
    let page = page(Made::healthy(), Ready::default(), History::default());
    let text = String::from_utf8(page.rendered().document.to_vec()).unwrap();
    let policy = page.policy();
    let policy = policy.to_str().unwrap();
    for tag in ["style", "script"] {
        let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap();
        let (inside, _) = rest.split_once(&format!("</{tag}>")).unwrap();
        let hash = BASE64_STANDARD.encode(Sha256::digest(inside));
        assert!(policy.contains(&format!("{tag}-src 'sha256-{hash}'")), "{tag}: {policy}");
    }
    assert!(!policy.contains("unsafe") && policy.starts_with("default-src 'none'"), "{policy}");
}

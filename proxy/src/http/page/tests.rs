//! Tests of the page on made-up tables: everything hostile is text, what is wrong comes first, and
//! any number of viewers cost one rendering per second.

use super::*;
use crate::http::Ready;
use crate::metrics::{Metrics, Origin, RouteKind};
use pgmanifold_console::value::Row;
use pgmanifold_console::{Table, Value, tables};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

const HOSTILE: &str =
    "select '<img src=x onerror=alert(1)>' \"&amp;</code></main><script>alert(2)//";

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
        self.row(
            "hosts",
            &[
                ("shard", "main".into()),
                ("host", host.into()),
                ("role", role.into()),
                ("state", state.into()),
                ("circuit", "closed".into()),
                ("active", 3.into()),
                ("idle", 7.into()),
                ("size", 20.into()),
                ("lag_ms", (role == "replica").then_some(40).into()),
            ],
        );
    }

    fn shard(&mut self, primary_state: &str) {
        let primary = (primary_state == "up").then_some("a:5432");
        self.row(
            "shards",
            &[
                ("shard", "main".into()),
                ("primary_host", primary.into()),
                ("primary_state", primary_state.into()),
                ("hosts", 2.into()),
                ("hosts_up", 2.into()),
            ],
        );
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
    made.row(
        "statements",
        &[
            ("text", HOSTILE.into()),
            ("database", HOSTILE.into()),
            ("route", HOSTILE.into()),
            ("total_us", 10.into()),
        ],
    );
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
    let grave = ["a:5432 (main) is fenced", "1 prepared transactions", "the primary is conflict"];
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

/// An hour of made-up traffic: a slope, a peak of errors, a replica that falls behind.
fn made_hour() -> History {
    let (history, metrics) = (History::default(), Metrics::new());
    let second = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&second);
    let _source = metrics.register_source(move |samples| {
        let second = now.load(Ordering::Relaxed) as f64;
        let busy = 4.0 + (second / 300.0).sin() * 3.0;
        for host in ["a:5432", "b:5432"] {
            samples.gauge(&crate::metrics::table::SERVERS, &["main", host, "active"], busy);
        }
        let lag = if (1800.0..2400.0).contains(&second) { second / 40.0 - 44.0 } else { 0.02 };
        samples.gauge(&crate::metrics::table::REPLICA_LAG_SECONDS, &["main", "b:5432"], lag);
    });
    let end = SystemTime::now();
    let clients: Vec<_> = (0..40).map(|_| metrics.worker(0, "app").client()).collect();
    for step in 0..crate::history::SAMPLES_MAX {
        second.store(step * 10, Ordering::Relaxed);
        let (app, shop) = (metrics.worker(0, "app"), metrics.worker(1, "shop"));
        for query in 0..200 + step % 50 + step {
            let us = 300 + (query * 37 % 100) as u64 * if query % 40 == 0 { 900 } else { 9 };
            app.query(RouteKind::ReplicaRead, Duration::from_micros(us));
        }
        (0..60).for_each(|us| shop.query(RouteKind::Write, Duration::from_micros(2000 + us * 40)));
        if (100..130).contains(&step) {
            (0..30).for_each(|_| app.error("40001", Origin::Server));
            (0..9).for_each(|ms| app.pool_wait(Duration::from_millis(20 + ms)));
        }
        let ago = Duration::from_secs((crate::history::SAMPLES_MAX - 1 - step) as u64 * 10);
        history.add(&metrics.gather(), end - ago, Duration::from_secs(10));
    }
    drop(clients);
    history
}

/// Statements of all kinds.
fn made_statements(made: &mut Made) {
    for (place, text) in [
        "SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id \
         WHERE o.created_at > $1 AND o.state = $2 ORDER BY o.created_at DESC LIMIT $3",
        "UPDATE stock SET amount = amount - $1 WHERE item_id = $2",
        "SELECT * FROM events WHERE session_id = $1",
        HOSTILE,
    ]
    .into_iter()
    .enumerate()
    {
        made.row(
            "statements",
            &[
                ("text", text.into()),
                ("database", "app".into()),
                ("route", "replica_read".into()),
                ("calls", (120_000 / (place as u64 + 1)).into()),
                ("total_us", (9_000_000_000 / (place as u64 * 3 + 1)).into()),
                ("mean_us", 1234.5.into()),
                ("p95_us", 4200.into()),
                ("p99_us", 18_000.into()),
                ("pool_wait_us", 120_000_000.into()),
                ("errors", 3.into()),
                ("rows", 2_345_678.into()),
                ("shards_mean", 1.0.into()),
                ("shards_max", 4.into()),
            ],
        );
    }
}

/// A row of everything else.
fn made_lists(made: &mut Made) {
    for (database, waiting) in [("app", 3), ("shop", 0)] {
        made.row(
            "pools",
            &[
                ("database", database.into()),
                ("user", "web".into()),
                ("pool_mode", "transaction".into()),
                ("cl_active", 37.into()),
                ("cl_waiting", waiting.into()),
                ("maxwait_us", (waiting * 41_000).into()),
                ("sv_active", 8.into()),
                ("sv_idle", 2.into()),
            ],
        );
    }
    made.row(
        "transactions",
        &[
            ("name", "pgm_0f3a9c1be2_1".into()),
            ("database", "shop".into()),
            ("shards", "s1,s2".into()),
            ("home", "s0".into()),
            ("state", "in_doubt".into()),
            ("outcome", "undecided".into()),
            ("age_ms", 4200.into()),
        ],
    );
    made.row(
        "moves",
        &[
            ("id", 7.into()),
            ("database", "shop".into()),
            ("distribution", "by_customer".into()),
            ("range", "0..1073741823".into()),
            ("from_shard", "s0".into()),
            ("to_shard", "s2".into()),
            ("state", "copy".into()),
            ("done_percent", 61.5.into()),
            ("rows_per_s", 48_000.0.into()),
            ("left_s", 340.into()),
            ("lag_bytes", 1_200_000.into()),
        ],
    );
}

#[test]
fn moves_are_shown_while_there_are_any() {
    let text = |made: Made| {
        let rendered = page(made, Ready::default(), History::default()).rendered();
        String::from_utf8(rendered.document.to_vec()).unwrap()
    };
    let without = text(Made::healthy());
    assert!(without.contains("data-part=\"moves\"") && !without.contains(">Moves<"));
    let mut made = Made::healthy();
    made_lists(&mut made);
    let with = text(made);
    assert!(with.contains("<h2>Moves</h2>") && with.contains("s0 → s2"));
}

/// With `PAGE_SAMPLE=file` the page is written there, to be looked at.
#[test]
fn a_full_hour_is_drawn_and_stays_small() {
    let mut made = Made::healthy();
    made.host("[2001:db8:1234:5678::10]:5432", "replica", "banned");
    made_statements(&mut made);
    made_lists(&mut made);
    let page = page(made, Ready::default(), made_hour());
    let began = Instant::now();
    let rendered = page.rendered();
    println!("{} bytes of page in {:?}", rendered.live.len(), began.elapsed());
    if let Some(file) = std::env::var_os("PAGE_SAMPLE") {
        std::fs::write(file, &rendered.document).unwrap();
    }
    let text = String::from_utf8(rendered.document.to_vec()).unwrap();
    let longest =
        text.split(" d=\"").map(|path| path.split('"').next().unwrap()).max_by_key(|p| p.len());
    assert!(longest.unwrap().matches('L').count() > 300, "an hour of points");
    assert!(text.contains("Age of replicas"), "there is a replica");
    assert!(text.len() < 200_000, "{} bytes", text.len());
}

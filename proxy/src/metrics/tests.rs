//! Tests of the registry: what was counted comes out, and the documentation matches.

mod monitoring;

use super::table::{BUCKETS_US, FAMILIES, Kind};
use super::*;
use pgmanifold_router::plan::PinReason;
use std::fmt::Write;
use std::time::Duration;

/// The value of the series whose line starts with `series`.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{series} ")));
    line.unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
}

#[test]
fn counters_of_several_workers_add_up() {
    let metrics = Metrics::new();
    for worker in 0..3 {
        let counters = metrics.worker(worker, "app");
        counters.query(RouteKind::ReplicaRead, Duration::from_micros(70));
        counters.query(RouteKind::Write, Duration::from_millis(3));
        counters.bytes_in(10);
    }
    metrics.worker(0, "app").error("PGM03", Origin::Proxy);
    metrics.worker(0, "app").error("23505", Origin::Server);
    metrics.worker(0, "app").error("??", Origin::Server);
    metrics.worker(1, "app").pin(PinReason::Listen);
    let text = metrics.scrape();
    let app = "database=\"app\"";
    assert_eq!(value(&text, &format!("pgmanifold_queries_total{{{app},route=\"write\"}}")), 3.0);
    assert_eq!(value(&text, &format!("pgmanifold_client_received_bytes_total{{{app}}}")), 30.0);
    for (class, origin) in [("PG", "pgmanifold"), ("23", "server"), ("other", "server")] {
        let labels = format!("{app},class=\"{class}\",origin=\"{origin}\"");
        assert_eq!(value(&text, &format!("pgmanifold_errors_total{{{labels}}}")), 1.0);
    }
    assert_eq!(value(&text, &format!("pgmanifold_pins_total{{{app},reason=\"listen\"}}")), 1.0);
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn latencies_fall_into_their_buckets() {
    let metrics = Metrics::new();
    for (worker, micros) in [(0, 20), (0, 70), (1, 500), (1, 20_000_000)] {
        metrics.worker(worker, "app").query(RouteKind::Write, Duration::from_micros(micros));
    }
    let text = metrics.scrape();
    let labels = "database=\"app\",route=\"write\"";
    let bucket = |le: &str| {
        value(&text, &format!("pgmanifold_query_seconds_bucket{{le=\"{le}\",{labels}}}"))
    };
    let counts = ["0.00005", "0.0001", "0.0005", "10.0", "+Inf"].map(bucket);
    assert_eq!(counts, [1.0, 2.0, 3.0, 3.0, 4.0]);
    assert_eq!(value(&text, &format!("pgmanifold_query_seconds_count{{{labels}}}")), 4.0);
    let sum = value(&text, &format!("pgmanifold_query_seconds_sum{{{labels}}}"));
    assert!((sum - 20.00059).abs() < 1e-6, "{sum}");
    assert!(!text.contains("pgmanifold_pool_wait_seconds_count"), "nothing waited");
}

#[test]
fn gauges_follow_their_guards() {
    let metrics = Metrics::new();
    let clients = |state: &str| {
        let series = format!("pgmanifold_clients{{database=\"app\",state=\"{state}\"}}");
        value(&metrics.scrape(), &series)
    };
    let mut client = metrics.worker(0, "app").client();
    let other = metrics.worker(1, "app").client();
    client.set(ClientState::Waiting);
    assert_eq!((clients("idle"), clients("waiting")), (1.0, 1.0));
    client.set(ClientState::Active);
    client.set(ClientState::Active);
    assert_eq!((clients("waiting"), clients("active")), (0.0, 1.0));
    let login = metrics.login();
    assert_eq!(value(&metrics.scrape(), "pgmanifold_clients_login"), 1.0);
    drop((client, other, login));
    let text = metrics.scrape();
    assert_eq!((clients("idle"), clients("active")), (0.0, 0.0));
    assert_eq!(value(&text, "pgmanifold_clients_login"), 0.0);
    assert_eq!(value(&text, "pgmanifold_client_connections_total{database=\"app\"}"), 2.0);
}

#[test]
fn sources_add_their_samples_until_they_are_dropped() {
    let metrics = Metrics::new();
    let source = metrics.register_source(|samples| {
        samples.gauge(&table::REPLICA_LAG_BYTES, &["main", "h\"1"], 42.0);
    });
    let series = "pgmanifold_replica_lag_bytes{shard=\"main\",host=\"h\\\"1\"}";
    assert_eq!(value(&metrics.scrape(), series), 42.0);
    drop(source);
    assert!(!metrics.scrape().contains("replica_lag_bytes"));
}

#[test]
fn names_end_in_their_unit_and_stand_once() {
    let mut seen = std::collections::HashSet::new();
    for family in FAMILIES {
        assert!(seen.insert(family.name), "{} stands twice", family.name);
        assert!(family.name.starts_with("pgmanifold_"), "{}", family.name);
        assert_eq!(
            family.name.ends_with("_total"),
            family.kind == Kind::Counter,
            "{}",
            family.name
        );
        assert!(family.kind != Kind::Histogram || family.name.ends_with("_seconds"));
    }
}

#[test]
fn documentation_matches_the_table() {
    let mut out = String::from(
        "# Metrics\n\n\
         <!-- Made from proxy/src/metrics/table.rs by `UPDATE_DOCS=1 cargo test -p \
         pgmanifold`. -->\n\n\
         `GET /metrics` on the `[http]` address answers with OpenMetrics text. Every family is \
         below. Labels take their\nvalues from the configuration (`database`, `shard`, `host`) and \
         from the fixed lists under the table, so the number of\nseries is bounded. A histogram \
         appears once something was recorded in it.\n\n\
         | name | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for family in FAMILIES {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        writeln!(out, "| `{}` | {kind} | {labels} | {} |", family.name, family.help).unwrap();
    }
    out += "\n## Label values\n\n| family | label | values |\n|---|---|---|\n";
    for (family, label, values) in worker::LABEL_VALUES.iter().chain(LABEL_VALUES) {
        let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
        writeln!(out, "| `{family}` | `{label}` | {} |", values.join(", ")).unwrap();
    }
    let bounds: Vec<String> =
        BUCKETS_US.iter().map(|micros| format!("{}", *micros as f64 / 1e6)).collect();
    write!(
        out,
        "\n## Buckets\n\nHistograms have buckets up to {} seconds and `+Inf`. Durations are kept \
         with two significant\ndigits: one up to 1 % above a bound may be counted below it; sums \
         are exact.\n",
        bounds.join(", ")
    )
    .unwrap();
    crate::tests::check_document("metrics.md", &out);
}

const LABEL_VALUES: &[(&str, &str, &[&str])] = &[
    ("pgmanifold_login_failures_total", "reason", &LOGIN_FAILURES),
    ("pgmanifold_limit_refusals_total", "limit", &LIMITS),
    ("pgmanifold_tasks", "loop", &["worker", "login", "control"]),
    ("pgmanifold_config_reloads_total", "result", &["ok", "refused"]),
    ("pgmanifold_servers", "state", &["connecting", "idle", "active"]),
];

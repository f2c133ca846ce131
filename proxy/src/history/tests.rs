//! Tests of the last hour: what is shown was counted, and it does not grow.

use super::*;
use crate::metrics::{Metrics, Origin, RouteKind, table};

const TEN: Duration = SAMPLE_INTERVAL;

fn look(history: &History, metrics: &Metrics, second: u64) {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    history.add(&metrics.gather(), at, TEN);
}

#[test]
fn a_sample_holds_what_came_since_the_one_before() {
    let (history, metrics) = (History::default(), Metrics::new());
    for worker in 0..2 {
        let counters = metrics.worker(worker, "app");
        (0..50).for_each(|_| counters.query(RouteKind::Write, Duration::from_millis(900)));
    }
    look(&history, &metrics, 10);
    for worker in 0..2 {
        let counters = metrics.worker(worker, "app");
        (1..=100).for_each(|ms| counters.query(RouteKind::ReplicaRead, Duration::from_millis(ms)));
        counters.pool_wait(Duration::from_millis(3));
    }
    metrics.worker(1, "shop").query(RouteKind::Write, Duration::from_millis(1));
    metrics.worker(1, "shop").error("23505", Origin::Server);
    let _client = metrics.worker(0, "app").client();
    look(&history, &metrics, 20);
    look(&history, &metrics, 30);

    let recent = history.recent();
    assert_eq!(recent.databases, [ALL, "app", "shop"]);
    let of = |sample: usize, database: usize| recent.samples[sample].databases[database];
    assert_eq!(of(0, 1).queries, 100);
    assert_eq!((of(1, 1).queries, of(1, 1).waits, of(1, 1).clients), (200, 2, 1));
    assert_eq!((of(1, 2).queries, of(1, 2).errors), (1, 1));
    assert_eq!((of(1, 0).queries, of(1, 0).errors), (201, 1));
    let near = |found: u32, us: f64| (f64::from(found) - us).abs() <= us * 0.01;
    let latency = of(1, 1).latency.unwrap();
    assert!(near(latency.p50_us, 50e3) && near(latency.p99_us, 99e3), "{latency:?}");
    assert!(near(of(1, 1).wait_p95_us, 3e3) && of(1, 1).wait_sum_us.round() == 6000.0);
    assert!(near(of(1, 0).latency.unwrap().p95_us, 95e3), "percentiles of all, not of one");
    assert_eq!((of(2, 1).queries, of(2, 1).latency, of(2, 1).clients), (0, None, 1));
    assert_eq!(recent.samples[1].per_second(of(1, 1).queries), 20.0);
}

#[test]
fn hosts_have_their_own_points() {
    let (history, metrics) = (History::default(), Metrics::new());
    let _source = metrics.register_source(|samples| {
        samples.gauge(&table::SERVERS, &["main", "a:1", "active"], 3.0);
        samples.gauge(&table::SERVERS, &["main", "a:1", "idle"], 9.0);
        samples.gauge(&table::SERVERS, &["main", "b:1", "active"], 1.0);
        samples.gauge(&table::REPLICA_LAG_SECONDS, &["main", "b:1"], 0.25);
    });
    metrics.host(0, "main", "a:1").connect_failed();
    look(&history, &metrics, 10);
    let host = metrics.host(1, "main", "a:1");
    host.connect_failed();
    host.connect_failed();
    host.served(Duration::from_millis(7));
    look(&history, &metrics, 20);
    let recent = history.recent();
    let host = |address: &str| recent.samples[1].hosts[recent.host("main", address).unwrap()];
    assert_eq!((host("a:1").active, host("a:1").failures, host("a:1").lag_ms), (3, 2, None));
    let latency = host("a:1").latency.unwrap();
    assert!((f64::from(latency.p95_us) - 7e3).abs() < 70.0, "{latency:?}");
    assert_eq!((host("a:1").queries, host("b:1").latency), (1, None));
    assert_eq!((host("b:1").active, host("b:1").failures, host("b:1").lag_ms), (1, 0, Some(250)));
}

#[test]
fn what_is_too_many_is_one_row_and_sums_hold() {
    let (history, metrics) = (History::default(), Metrics::new());
    let count = DATABASES_MAX + 10;
    for round in 1..=2 {
        for database in 0..count {
            let counters = metrics.worker(0, &format!("db{database:03}"));
            counters.query(RouteKind::Write, Duration::from_millis(round));
        }
        for host in 0..HOSTS_MAX + 5 {
            metrics.host(0, "main", &format!("h:{host}")).connect_failed();
        }
        look(&history, &metrics, round * 10);
    }
    let recent = history.recent();
    assert_eq!(recent.databases.len(), DATABASES_MAX + 2);
    assert_eq!(recent.databases.last().unwrap(), OTHER);
    assert_eq!(recent.hosts.len(), HOSTS_MAX + 1);
    for sample in &recent.samples {
        assert_eq!(sample.databases[DATABASES_MAX + 1].queries, 10);
        assert_eq!(sample.databases[0].queries as usize, count);
        assert_eq!(sample.hosts[HOSTS_MAX].failures, 5);
    }
}

#[test]
fn an_hour_is_kept_and_no_more() {
    let (history, metrics) = (History::default(), Metrics::new());
    metrics.worker(0, "app").query(RouteKind::Write, Duration::from_millis(1));
    for second in 0..SAMPLES_MAX as u64 + 7 {
        look(&history, &metrics, second * 10);
    }
    let recent = history.recent();
    assert_eq!(recent.samples.len(), SAMPLES_MAX);
    let first = recent.samples[0].at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(first, Duration::from_secs(70));
}

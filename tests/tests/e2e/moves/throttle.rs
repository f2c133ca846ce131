//! What work waits for: replicas that are behind, primaries that are slow, disks that fill up.

use super::sides::Sides;
use pgmanifold_rebalancer::config::Limits;
use pgmanifold_rebalancer::error::Error;
use pgmanifold_rebalancer::throttle::{Throttle, Watched};
use pgmanifold_tests::{eventually, run};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

async fn watch(sides: &Sides, limits: &Limits, slot: Option<&str>) -> Throttle {
    let source = Watched { session: sides.session(0).await, slot: slot.map(str::to_owned) };
    let target = Watched { session: sides.session(1).await, slot: None };
    Throttle::start(limits, vec![source, target])
}

async fn waits_for(throttle: &Throttle, what: &str) {
    eventually(what, LIMIT, async || throttle.reason().is_some_and(|reason| reason.contains(what)))
        .await;
    let pass = tokio::time::timeout(Duration::from_millis(300), throttle.pass(1)).await;
    assert!(pass.is_err(), "somebody who asks waits");
}

#[test]
fn work_waits_for_replicas_and_primaries() {
    run(90, async {
        let sides = Sides::new("throttle_waits", 1);
        let limits = Limits {
            replica_lag_bytes: 100_000,
            primary_latency: Duration::from_millis(500),
            ..Limits::default()
        };
        let throttle = watch(&sides, &limits, None).await;
        throttle.pass(1).await.unwrap_or_else(|error| panic!("{error}"));
        eventually("the lag is known", LIMIT, async || throttle.replica_lag_bytes().is_some())
            .await;

        sides.cluster.replicas[0].pause_replay().expect("it pauses");
        sides
            .run(0, "create table filler as select repeat('x', 1000) from generate_series(1, 999)");
        waits_for(&throttle, "bytes behind (at most 100000)").await;
        let reason = throttle.reason().expect("a reason");
        assert!(reason.contains("replica ") && reason.contains("north (127.0.0.1"), "{reason}");
        sides.cluster.replicas[0].resume_replay().expect("it goes on");
        throttle.pass(1).await.unwrap_or_else(|error| panic!("{error}"));

        sides.cluster.primary.freeze();
        waits_for(&throttle, "a trivial query on").await;
        sides.cluster.primary.thaw();
        throttle.pass(1).await.unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn work_stops_when_too_much_is_kept_or_nobody_knows() {
    run(90, async {
        let sides = Sides::new("throttle_stops", 0);
        sides.run(0, "select pg_create_logical_replication_slot('pgm_move_1', 'pgoutput')");
        let limits = Limits {
            retained_wal_bytes: 1_000_000,
            primary_latency: Duration::from_secs(5),
            ..Limits::default()
        };
        let throttle = watch(&sides, &limits, Some("pgm_move_1")).await;
        throttle.pass(1).await.unwrap_or_else(|error| panic!("{error}"));
        sides.run(
            0,
            "create table filler as select repeat('x', 1000) from generate_series(1, 2999)",
        );
        let stopped = async |throttle: &Throttle| {
            eventually("it stops", LIMIT, async || throttle.pass(0).await.is_err()).await;
            throttle.pass(0).await.expect_err("it has stopped")
        };
        let error = stopped(&throttle).await;
        assert!(matches!(error, Error::Stopped(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains("WAL for the replication slot pgm_move_1"), "{text}");
        assert!(text.contains("retained_wal_bytes = 1000000"), "{text}");

        let lost = watch(&sides, &Limits::default(), Some("pgm_move_2")).await;
        let text = stopped(&lost).await.to_string();
        assert!(text.contains("has lost the replication slot pgm_move_2"), "{text}");

        let blind = watch(&sides, &limits, None).await;
        blind.pass(1).await.unwrap_or_else(|error| panic!("{error}"));
        sides.run(
            1,
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and pid <> pg_backend_pid()",
        );
        let error = stopped(&blind).await;
        assert!(matches!(error, Error::Server { .. }), "{error}");
        assert!(error.to_string().starts_with("south (127.0.0.1"), "{error}");
    });
}

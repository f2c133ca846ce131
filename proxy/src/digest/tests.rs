//! Tests of a table of statements: bounds, sums, copies.

use super::*;
use crate::metrics::RouteKind;
use pgmanifold_router::lexer::Dialect;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

fn shape(sql: &str) -> Arc<Shape> {
    Arc::new(Shape::read(sql.as_bytes(), Dialect::default()))
}

fn call<'a>(shape: &'a Arc<Shape>, total_us: u64) -> Call<'a> {
    Call {
        shape: Some(shape),
        kind: RouteKind::ReplicaRead,
        why: "only reads",
        total: Duration::from_micros(total_us),
        waited: Duration::ZERO,
        rows: 2,
        bytes: 10,
        failed: false,
        shards: 1,
    }
}

/// Calls, errors, rows, bytes and time of everything.
fn sums(copied: &Copied) -> (u64, u64, u64, u64, Duration) {
    let all = copied.shapes.iter().map(|shape| &shape.stats).chain([&copied.other]);
    all.fold(Default::default(), |(calls, errors, rows, bytes, total), stats| {
        (
            calls + stats.calls,
            errors + stats.errors,
            rows + stats.rows,
            bytes + stats.bytes,
            total + stats.total,
        )
    })
}

#[test]
fn eviction_keeps_sums_and_what_is_used() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let digests = Digests::default();
    let shapes: Vec<_> = (0..500).map(|index| shape(&format!("select a{index}"))).collect();
    let hot = shape("select hot");
    let (mut calls, mut errors, mut total) = (0, 0, Duration::ZERO);
    for step in 0..20_000 {
        let one = if step % 3 == 0 { &hot } else { &shapes[random.random_range(0..500)] };
        let failed = random.random_range(0..10) == 0;
        let done = Call { failed, ..call(one, random.random_range(1..100_000)) };
        digests.record(100, &done);
        (calls, errors) = (calls + 1, errors + u64::from(failed));
        total += done.total;
    }
    let copied = digests.copy();
    assert!(copied.shapes.len() <= 100 && copied.shapes.len() >= 90, "{}", copied.shapes.len());
    assert_eq!(sums(&copied), (calls, errors, 2 * calls, 10 * calls, total));
    let kept = copied.shapes.iter().find(|one| one.shape == hot).expect("the hot one stays");
    assert_eq!(kept.stats.calls, 6_667, "it was never evicted");
    assert_eq!(copied.routes.iter().map(|route| route.count).sum::<u64>(), calls);
    digests.reset();
    let copied = digests.copy();
    assert_eq!((copied.shapes.len(), copied.other.calls), (0, 0));
    assert_eq!(copied.routes.len(), 1, "counters go on");
    // The limit may be lowered at any time.
    for one in &shapes[..100] {
        digests.record(100, &call(one, 1));
    }
    digests.record(10, &call(&hot, 1));
    let copied = digests.copy();
    assert!(copied.shapes.len() <= 10);
    assert_eq!(sums(&copied).0, 101);
    digests.record(0, &call(&hot, 1));
    assert_eq!(sums(&digests.copy()).0, 101, "switched off");
}

#[test]
fn what_ran_where_is_told_apart() {
    let digests = Digests::default();
    let one = shape("select a from t where k = 1");
    digests.record(10, &call(&one, 100));
    let scatter = RouteKind::Scatter;
    digests.record(10, &Call { kind: scatter, shards: 3, ..call(&one, 300) });
    let waited = Duration::from_micros(40);
    digests.record(10, &Call { waited, ..call(&one, 200) });
    let refused = RouteKind::Refused;
    digests
        .record(10, &Call { kind: refused, why: "no", shards: 0, failed: true, ..call(&one, 0) });
    digests.record(10, &Call { kind: RouteKind::Local, shards: 0, ..call(&one, 1) });
    digests.record(10, &Call { shape: None, ..call(&one, 5) });
    let merged = merge(vec![digests.copy(), digests.copy()], 10);
    let [row] = merged.rows.as_slice() else { panic!("{merged:?}") };
    let stats = &row.stats;
    assert_eq!((stats.calls, stats.errors, stats.single, stats.scatter), (10, 2, 4, 2));
    assert_eq!((stats.local, stats.refused, stats.shards_max), (2, 2, 3));
    assert_eq!((stats.min_us, stats.max_us), (0, 300));
    assert!((stats.shards_mean() - 5.0 / 3.0).abs() < 1e-9);
    assert_eq!(stats.pool_wait, Duration::from_micros(80));
    assert_eq!(stats.server, Duration::from_micros(2 * 560));
    assert_eq!(row.route, Some((RouteKind::Local, "only reads".into())));
    assert_eq!(merged.other.calls, 2);
    let refused = merged.routes.iter().find(|route| route.kind == RouteKind::Refused).unwrap();
    assert_eq!((&*refused.why, refused.count), ("no", 2));
}

#[test]
fn what_is_merged_is_bounded_too() {
    let (one, two) = (Digests::default(), Digests::default());
    for index in 0..10 {
        one.record(10, &call(&shape(&format!("select a{index}")), 10));
        two.record(10, &call(&shape(&format!("select b{index}")), 10));
    }
    let merged = merge(vec![one.copy(), two.copy()], 10);
    assert_eq!((merged.rows.len(), merged.other.calls), (10, 10));
}

//! Cost of a statement on its way to a cached plan: scan + cache hit, and of a miss: plan.
//!
//! `cargo bench -p pgmanifold-router` prints nanoseconds. For instructions, which are free of
//! noise, run the built binary with a case and a count under `valgrind --tool=callgrind`, twice
//! with different counts, and divide the difference.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // A benchmark needs a clock.

use pgmanifold_router::fingerprint::Scan;
use pgmanifold_router::golden;
use pgmanifold_router::key::KeyType;
use pgmanifold_router::lexer::Dialect;
use pgmanifold_router::plan_cache::PlanCache;
use pgmanifold_router::planner::plan;
use pgmanifold_router::shard_map::{MapParts, ShardMap};
use pgmanifold_router::sharding::{
    self, Bound, Condition, KeyFilter, Operand, Placing, Values, choose_by_key,
};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// Batches measured; the fastest one counts.
const BATCHES: usize = 15;
/// Bytes of SQL in a batch.
const BATCH_BYTES: usize = 2_000_000;
/// Choices of a shard in a batch.
const CHOICES: usize = 100_000;

const ORM_JOIN: &str = "SELECT \"posts\".\"id\", \"posts\".\"title\", \"posts\".\"body\", \
     \"posts\".\"author_id\", \"posts\".\"created_at\", \"authors\".\"name\" FROM \
     \"posts\" INNER JOIN \"authors\" ON \"authors\".\"id\" = \"posts\".\"author_id\" LEFT \
     OUTER JOIN \"tags\" ON \"tags\".\"post_id\" = \"posts\".\"id\" WHERE \
     \"posts\".\"published\" = TRUE AND \"authors\".\"country\" = 'NL' AND \
     \"posts\".\"created_at\" > '2024-01-01' ORDER BY \"posts\".\"id\" LIMIT 20";

fn cases() -> Vec<(&'static str, String)> {
    let numbers: Vec<String> = (0..100).map(|i| (i * 7_919).to_string()).collect();
    let rows: Vec<String> = (0..100)
        .map(|i| format!("({i}, 'name of {i}', 'some text that is longer', {}.5, true)", i * 3))
        .collect();
    vec![
        ("pgbench select", "SELECT abalance FROM pgbench_accounts WHERE aid = 5423891;".into()),
        (
            "pgbench update",
            "UPDATE pgbench_accounts SET abalance = abalance + 1453 WHERE aid = 5423891;".into(),
        ),
        (
            "extended select",
            "SELECT id, name, email FROM users WHERE id = $1 AND tenant = $2".into(),
        ),
        ("orm join", ORM_JOIN.into()),
        ("in list 100", format!("SELECT id FROM t WHERE id IN ({})", numbers.join(", "))),
        ("insert 100 rows x5", format!("INSERT INTO t (a, b, c, d, e) VALUES {}", rows.join(", "))),
    ]
}

/// The choice of a shard by one parameter, without and with its key's hash.
fn choices() {
    let map = ShardMap::build(MapParts::new(&["s0", "s1", "s2", "s3"]).hash("a", &[KeyType::Int8]));
    let map = map.expect("invariant: this is a map");
    let conditions = vec![(0, Condition::OneOf(vec![Operand::Parameter(1)]))];
    let filters = vec![KeyFilter { distribution: 0, conditions }];
    let placing = Placing::Keyed { distribution: 0, filters, also: Vec::new(), writes: false };
    let keys: Vec<[u8; 8]> = (0..1024_i64).map(|key| (key * 7_919).to_be_bytes()).collect();
    let mut at = 0;
    let mut choose = |by_key: bool| {
        at = (at + 1) % keys.len();
        let value = [Some(&keys[at][..])];
        let bound = Bound { types: &[20], formats: &[1], values: &value };
        let (sql, dialect, literals) = (&b""[..], Dialect::default(), &[][..]);
        let values = Values { sql, literals, dialect, bound: Some(&bound) };
        if by_key {
            let mut decides = None;
            let _ = black_box(choose_by_key(black_box(&placing), &map, &values, &mut decides));
            black_box(decides);
        } else {
            let _ = black_box(sharding::choose(black_box(&placing), &map, &values));
        }
    };
    let plain = fastest(CHOICES, || choose(false));
    let by_key = fastest(CHOICES, || choose(true));
    println!("choose by one key {plain:.1} ns, with its hash {by_key:.1} ns");
}

fn fastest(per_batch: usize, mut work: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..per_batch {
            work();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / per_batch as f64);
    }
    best
}

fn main() {
    let facts = golden::facts().expect("invariant: the dump is checked by tests");
    let dialect = Dialect::default();
    let mut scan = Scan::new(42);
    let mut cache = PlanCache::default();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let cases = cases();
    for (_, sql) in &cases {
        scan.scan(sql.as_bytes(), dialect).expect("invariant: the cases can be read");
        assert!(scan.cacheable());
        cache.insert(&scan, 1, Arc::new(plan(sql.as_bytes(), &facts, dialect)));
    }
    let mut hit = |sql: &str| {
        let _ = black_box(scan.scan(black_box(sql.as_bytes()), dialect));
        black_box(cache.get(&scan, 1)).is_some()
    };
    if let [name, count] = arguments.as_slice() {
        let sql = &cases.iter().find(|case| case.0 == name).expect("a case by name").1;
        let count: usize = count.parse().expect("a number of runs");
        for _ in 0..count {
            assert!(hit(sql));
        }
        return;
    }
    choices();
    println!("{:<20} {:>6} {:>10} {:>8} {:>10}", "case", "bytes", "hit ns", "ns/byte", "plan ns");
    for (name, sql) in &cases {
        let per_batch = (BATCH_BYTES / sql.len()).max(1);
        let hit_ns = fastest(per_batch, || assert!(hit(sql)));
        let plan_ns = fastest(per_batch / 20 + 1, || {
            black_box(plan(black_box(sql.as_bytes()), &facts, dialect));
        });
        let per_byte = hit_ns / sql.len() as f64;
        println!("{name:<20} {:>6} {hit_ns:>10.0} {per_byte:>8.2} {plan_ns:>10.0}", sql.len());
    }
}

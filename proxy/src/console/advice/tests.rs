//! Each rule with numbers that lead to it, and with numbers that do not.

use super::columns::compared;
use super::keys::{Keys, better};
use super::seen::{Host, Pool, Rate, Seen, Shard, Statement, Way};
use super::{Advice, Kind, ranked};
use pgmanifold_router::golden;

/// What is known of keys, for tests.
#[derive(Default)]
struct Known {
    better: Option<(String, String)>,
}

impl Keys for Known {
    fn better(&self, _: &str, _: &str) -> Option<(String, String)> {
        self.better.clone()
    }

    fn present(&self, _: &str, _: &str) -> Option<(String, String)> {
        Some(("customers".into(), "customer_id".into()))
    }
}

fn advice(seen: &Seen) -> Vec<Advice> {
    ranked(seen, &Known::default())
}

fn kinds(seen: &Seen) -> Vec<Kind> {
    advice(seen).iter().map(|one| one.kind).collect()
}

/// A statement that a server has worked at for so long in all.
fn statement(fingerprint: &str, calls: u64, rows: u64, server_ms: u64) -> Statement {
    Statement {
        fingerprint: fingerprint.into(),
        database: "app".into(),
        text: format!("SELECT * FROM {fingerprint} WHERE v = $1"),
        calls,
        rows,
        total_us: server_ms * 1000,
        server_us: server_ms * 1000,
        ..Statement::default()
    }
}

fn of(statements: impl IntoIterator<Item = Statement>) -> Seen {
    Seen { statements: statements.into_iter().collect(), ..Seen::default() }
}

/// Statements that are well, with this time in all.
fn background(server_ms: u64) -> Statement {
    statement("fine", 1000, 1000 * 500, server_ms.max(2000))
}

#[test]
fn a_slow_statement_with_few_rows_wants_an_index() {
    let seen = of([statement("scan", 200, 200, 8000), background(2000)]);
    let found = advice(&seen);
    assert_eq!(found[0].kind, Kind::Index);
    assert_eq!((&*found[0].subject, found[0].share_percent), ("scan", 80.0));
    assert!(found[0].advice.contains("index on v "), "{}", found[0].advice);
    let wanted =
        "calls=200 server_ms=8000 mean_ms=40.00 rows_per_call=1.0 share=80% of server time";
    assert_eq!(found[0].evidence, wanted);
}

#[test]
fn without_enough_calls_or_time_nothing_is_said() {
    assert_eq!(kinds(&of([statement("scan", 99, 99, 8000)])), []);
    assert_eq!(kinds(&of([statement("scan", 100, 100, 999)])), []);
    assert_eq!(kinds(&of([statement("scan", 100, 100, 1000)])), [Kind::Index]);
    assert_eq!(kinds(&of([statement("other", 100, 100, 8000)])), []);
    // Less than a fifth of the time.
    assert_eq!(kinds(&of([statement("scan", 200, 200, 2000), background(9000)])), []);
    assert_eq!(kinds(&Seen::default()), []);
}

#[test]
fn statements_are_costly_for_different_reasons() {
    let many = statement("many", 100, 100 * 5000, 8000);
    assert_eq!(kinds(&of([many])), [Kind::Rows]);
    let often = statement("often", 100_000, 100_000, 8000);
    assert_eq!(kinds(&of([often])), [Kind::Calls]);
    // Long, and with rows for it.
    assert_eq!(kinds(&of([statement("report", 100, 100 * 900, 3000)])), []);
    let insert =
        Statement { text: "INSERT INTO t VALUES ($1)".into(), ..statement("i", 200, 200, 8000) };
    assert_eq!(kinds(&of([insert])), []);
}

fn waiting(statement: Statement, pool_wait_ms: u64) -> Statement {
    let total_us = statement.server_us + pool_wait_ms * 1000;
    Statement { pool_wait_us: pool_wait_ms * 1000, total_us, ..statement }
}

#[test]
fn waits_come_first_unless_a_statement_is_their_reason() {
    let seen = of([waiting(background(5000), 5000)]);
    let found = advice(&seen);
    assert_eq!((found[0].kind, found[0].share_percent), (Kind::PoolSmall, 50.0));
    assert_eq!(
        found[0].evidence,
        "calls=1000 total_ms=10000 pool_wait_ms=5000 share=50% of the time"
    );
    let seen = of([waiting(statement("scan", 200, 200, 8000), 9000), background(2000)]);
    assert_eq!(kinds(&seen), [Kind::Index, Kind::PoolHeld]);
    let held = &advice(&seen)[1];
    assert!(held.advice.contains("statement scan holds"), "{}", held.advice);
    assert_eq!(kinds(&of([waiting(background(20_000), 1500)])), [], "7 % is no reason");
}

fn host(shard: &str, role: &str, queries: u64, served_ms: u64) -> Host {
    Host {
        shard: shard.into(),
        host: format!("{shard}-{role}:5432"),
        role: role.into(),
        size: 20,
        queries,
        served_us: served_ms * 1000,
        ..Host::default()
    }
}

fn shard(name: &str, hosts: u64, replicas_usable: u64) -> Shard {
    Shard { shard: name.into(), databases: vec!["app".into()], replicas_usable, hosts }
}

#[test]
fn a_full_host_is_named_and_one_full_of_reads_wants_a_replica() {
    let full = Host { active: 19, waiting: 4, ..host("main", "primary", 5000, 9000) };
    let way = |route: &str, count| Way {
        database: "app".into(),
        route: route.into(),
        reason: "no replica is up".into(),
        count,
    };
    let mut seen = Seen {
        hosts: vec![full],
        shards: vec![shard("main", 1, 0)],
        ways: vec![way("pinned_read", 4000), way("write", 1000)],
        ..Seen::default()
    };
    assert_eq!(kinds(&seen), [Kind::HostFull, Kind::AddReplica]);
    assert_eq!(advice(&seen)[1].share_percent, 80.0);
    seen.ways = vec![way("pinned_read", 400), way("write", 1000)];
    assert_eq!(kinds(&seen), [Kind::HostFull], "writes are not helped by replicas");
    seen.hosts[0].waiting = 0;
    assert_eq!(kinds(&seen), []);
}

#[test]
fn reads_that_replicas_could_not_have() {
    let way = |route: &str, reason: &str, count| Way {
        database: "app".into(),
        route: route.into(),
        reason: reason.into(),
        count,
    };
    let own = "no replica has replayed the session's own write";
    let mut seen = Seen {
        hosts: vec![Host { lag_ms: 700, ..host("main", "replica", 100, 100) }],
        shards: vec![shard("main", 2, 1)],
        ways: vec![way("replica_read", "reads only", 600), way("pinned_read", own, 400)],
        ..Seen::default()
    };
    let found = advice(&seen);
    assert_eq!((found[0].kind, found[0].share_percent), (Kind::ReplicaLag, 40.0));
    assert!(found[0].evidence.starts_with("calls=400 of 1000 reads"), "{}", found[0].evidence);
    assert!(found[0].advice.contains("causality=off"), "{}", found[0].advice);
    seen.shards = vec![shard("main", 1, 0)];
    assert_eq!(kinds(&seen), [], "there is no replica to be stale");
    seen.shards = vec![shard("main", 2, 1)];
    seen.ways[1].count = 60;
    assert_eq!(kinds(&seen), []);
}

#[test]
fn scatters_name_a_key_that_would_help() {
    let scatter =
        Statement { scatter: 500, shards_mean: 4.0, ..statement("scatter", 500, 500 * 20, 1500) };
    let seen = of([scatter, background(9000)]);
    let without = advice(&seen);
    assert_eq!(without[0].kind, Kind::Scatter);
    assert!(without[0].advice.contains("customer_id = …"), "{}", without[0].advice);
    let keys = Known { better: Some(("customers".into(), "email".into())) };
    let with = ranked(&seen, &keys);
    assert_eq!(with[0].kind, Kind::ShardKey);
    assert!(with[0].advice.contains("With email as the key"), "{}", with[0].advice);
    assert!(with[0].evidence.contains("calls=500 scatter=500 shards_mean=4.0"));
}

#[test]
fn a_shard_with_most_of_the_work_is_hot() {
    let ranges = ["s0", "s1", "s2"].map(|shard| (("app".to_owned(), shard.to_owned()), 2));
    let mut seen = Seen {
        hosts: vec![
            host("s0", "primary", 100, 1000),
            host("s1", "primary", 900, 8000),
            host("s2", "primary", 100, 900),
        ],
        ranges: ranges.into(),
        ..Seen::default()
    };
    let found = advice(&seen);
    assert_eq!((found[0].kind, &*found[0].subject), (Kind::HotShard, "s1"));
    assert!(found[0].advice.contains("give one to s2"), "{}", found[0].advice);
    seen.hosts[1].served_us = 1_100_000;
    assert_eq!(kinds(&seen), []);
}

#[test]
fn pools_that_lie_idle() {
    let rate = Rate {
        database: "app".into(),
        transactions: 50_000,
        transactions_per_s: 100.0,
        transaction_us: 2000.0,
    };
    let mut seen = Seen {
        pools: vec![Pool { database: "app".into(), user: "u".into(), open: 40 }],
        rates: vec![rate],
        ..Seen::default()
    };
    let found = advice(&seen);
    assert_eq!((found[0].kind, &*found[0].subject), (Kind::PoolIdle, "app/u"));
    assert!(found[0].evidence.contains("open=40 busy=0.2"), "{}", found[0].evidence);
    seen.rates[0].transaction_us = 100_000.0;
    assert_eq!(kinds(&seen), [], "ten of forty are busy");
    seen.rates[0] = Rate { transactions: 9_999, ..seen.rates[0].clone() };
    assert_eq!(kinds(&seen), []);
}

#[test]
fn the_order_is_bottleneck_index_replica_shard() {
    let way = |route: &str, count| Way {
        database: "app".into(),
        route: route.into(),
        reason: "no replica is within the allowed lag".into(),
        count,
    };
    let scatter =
        Statement { scatter: 900, shards_mean: 2.0, ..statement("sc", 900, 90_000, 3000) };
    let mut seen = of([
        waiting(statement("scan", 300, 300, 3500), 5000),
        scatter,
        waiting(background(4000), 5000),
    ]);
    seen.ways = vec![way("replica_read", 500), way("pinned_read", 500)];
    seen.shards = vec![shard("main", 2, 1)];
    assert_eq!(kinds(&seen), [Kind::PoolSmall, Kind::Index, Kind::ReplicaLag, Kind::Scatter]);
}

#[test]
fn columns_are_read_from_the_text() {
    for (sql, wanted) in [
        ("select a from t where b = $1 and c > $2", &["b"][..]),
        ("select a from t where t.b = $1 and \"C\" in ($2, $3)", &["b", "C"]),
        ("update t set a = $1 where B = 7", &["b"]),
        ("select * from t join u on t.x = u.y where u.z = 'q'", &["z"]),
        ("select a = 1 from t", &[]),
        ("select '", &[]),
    ] {
        assert_eq!(compared(sql.as_bytes()), wanted, "{sql}");
    }
}

#[test]
fn the_planner_says_which_key_would_be_better() {
    let (map, facts) = (golden::shards_map().unwrap(), golden::shards_facts().unwrap());
    let found = |sql: &str| better(&map, &facts, sql).map(|(_, column)| column);
    assert_eq!(found("select * from orders where id = $1").as_deref(), Some("id"));
    assert_eq!(found("select * from orders where customer_id = $1"), None, "it is the key");
    assert_eq!(found("select count(*) from orders"), None);
    assert_eq!(found("select * from countries where code = $1"), None, "it is on every shard");
}

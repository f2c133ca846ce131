//! Failovers under load, one after the other: the primary is killed, a replica is promoted, the
//! old primary comes back as it was, and is made a replica again.

use super::load::{Crew, Load};
use pgmanifold::demo::postgres::{PgCluster, Postgres};
use pgmanifold_tests::client::exec;
use pgmanifold_tests::cluster;
use pgmanifold_tests::fixture::{Fixture, WHERE, is_direct};
use std::time::{Duration, Instant};

/// Rounds without `PGM_FAILOVERS`.
const ROUNDS: usize = 2;
/// Of the proxy under test.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
/// Writes go on so soon after the promotion is complete.
const RESUME_LIMIT: Duration = Duration::from_secs(1);
/// Acknowledgements of the old primary that clients may still note after its end; a promotion takes
/// longer.
const ON_ITS_WAY: Duration = Duration::from_millis(50);
/// Longest wait for anything else.
const LIMIT: Duration = Duration::from_secs(20);

/// What one round measured.
struct Round {
    /// From the kill to the end of the promotion.
    promoted: Duration,
    /// From the kill to the moment when the new primary can complete commits.
    able: Duration,
    /// From then to the first acknowledged write.
    resumed: Duration,
    /// From the kill to the first acknowledged write.
    outage: Duration,
    from: Instant,
    to: Instant,
}

#[test]
fn no_acknowledged_write_is_lost_by_failovers() {
    if is_direct() {
        return;
    }
    let rounds = std::env::var("PGM_FAILOVERS").ok().and_then(|text| text.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS);
    // With one synchronous replica the servers lose nothing: what is lost, the proxy has lost.
    let servers = cluster::private_with(2, &[("synchronous_standby_names", "ANY 1 (*)")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let fixture = runtime.expect("an event loop").block_on(async {
        let fixture = Fixture::on(servers.clone(), "rounds", |config| {
            let config = config.shard("health_interval_ms = 1000");
            config.shard("health_timeout_ms = 1000").pool("pool_size = 8").general("workers = 2")
        });
        let fixture = fixture.await;
        exec(&fixture.direct().await, "create table t (id bigint)").await;
        fixture.wait_replicas().await;
        fixture
    });
    let crew = Crew { autocommit: 8, transactions: 8, readers: 8 };
    let load = Load::start(&fixture.address, &fixture.database, crew, WHERE);
    std::thread::sleep(Duration::from_secs(1));
    let mut order: Vec<&Postgres> = servers.servers().collect();
    let measured: Vec<Round> =
        (0..rounds).map(|_| fail_over(&servers, &mut order, &fixture, &load)).collect();
    std::thread::sleep(Duration::from_secs(1));
    let seen = load.finish();
    let rows = order[0].query_in(&fixture.database, "select id from t").expect("rows");
    let rows: Vec<i64> =
        rows.iter().flatten().flatten().map(|id| id.parse().expect("a number")).collect();
    let unknown = seen.check(&rows);
    println!(
        "{rounds} failovers: {} writes acknowledged, 0 lost; {} refused, none of them there; \
         {unknown} there whose outcome was not known; {} reads",
        seen.acknowledged.len(),
        seen.refused.len(),
        seen.reads.len()
    );
    println!("write errors: {:#?}\nread errors: {:#?}", seen.write_errors, seen.read_errors);
    let gaps: Vec<_> = measured.iter().map(|round| seen.read_gap(round.from, round.to)).collect();
    let column = |value: fn(&Round) -> Duration| measured.iter().map(value).collect::<Vec<_>>();
    println!("| ms | p50 | max |\n|---|---|---|");
    row("kill to promotion complete", column(|round| round.promoted));
    row("kill to commits possible", column(|round| round.able));
    let resumed = row("commits possible to first write", column(|round| round.resumed));
    row("kill to first write", column(|round| round.outage));
    let gap = row("longest gap between reads", gaps);
    assert!(resumed <= RESUME_LIMIT, "writes resumed after {resumed:?}");
    assert!(gap <= HEALTH_TIMEOUT, "no read for {gap:?}");
}

/// Prints a row of the table; returns the largest value.
fn row(name: &str, mut values: Vec<Duration>) -> Duration {
    values.sort();
    let (middle, max) = (values[values.len() / 2], values[values.len() - 1]);
    println!("| {name} | {} | {} |", middle.as_millis(), max.as_millis());
    max
}

/// `order` is the primary and then its replicas, before and after.
fn fail_over(
    servers: &PgCluster,
    order: &mut Vec<&Postgres>,
    fixture: &Fixture,
    load: &Load,
) -> Round {
    let old = order.remove(0);
    old.kill();
    let from = Instant::now();
    // What the replicas have received is written down when their receivers have ended.
    for replica in order.iter() {
        replica.wait_for("select count(*) from pg_stat_wal_receiver", "0").expect("ended");
    }
    order.sort_by_key(|replica| std::cmp::Reverse(received(replica)));
    let (new, other) = (order[0], order[1]);
    other.configure("primary_conninfo", &conninfo(new, other)).expect("follows the next one");
    new.query("select pg_promote(false)").expect("promotes");
    new.wait_for("select pg_is_in_recovery()", "f").expect("promoted");
    let promoted = Instant::now();
    // Before another server streams from it, the new primary itself completes no commit. That is
    // mostly at once; now and then the other one takes many seconds to leave the old timeline.
    let streams = "select count(*) > 0 from pg_stat_replication where state = 'streaming'";
    new.wait_for(streams, "t").expect("the other one follows");
    let able = Instant::now();
    let mut told = false;
    let resumed = until("a write is acknowledged", || {
        if !told && able.elapsed() > RESUME_LIMIT {
            told = true;
            say_why(new, other, fixture);
        }
        load.first_write_after(from + ON_ITS_WAY)
    });
    std::thread::sleep(Duration::from_millis(500));
    comes_back_as_it_was(old, fixture);
    servers.clone_again(old, new).expect("a new copy");
    new.wait_for("select count(*) from pg_stat_replication where state = 'streaming'", "2")
        .expect("both stream");
    order.push(old);
    let round = Round {
        promoted: promoted - from,
        able: able - from,
        resumed: resumed.saturating_duration_since(able),
        outage: resumed - from,
        from,
        to: Instant::now(),
    };
    println!(
        "{} is the primary after {:?}, can commit after {:?}, first write after {:?}",
        new.name(),
        round.promoted,
        round.able,
        round.outage
    );
    round
}

/// Writes do not go on: whether the servers or the proxy are to blame.
fn say_why(new: &Postgres, other: &Postgres, fixture: &Fixture) {
    let streams = "select application_name, state, sync_state from pg_stat_replication";
    println!("{} streams to {:?}", new.name(), new.query(streams));
    let sessions = "select state, wait_event, left(query, 30), count(*) from pg_stat_activity \
                    where usename = 'app' group by 1, 2, 3";
    println!("{} has {:?}", new.name(), new.query(sessions));
    println!("{} says:\n{}", other.name(), other.log_tail());
    for series in ["failover_waiting{shard=\"main\"}", "primary_state{shard=\"main\",state=\"up\"}"]
    {
        println!("{series} {}", fixture.metric(&format!("pgmanifold_{series}")));
    }
}

fn until<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn received(replica: &Postgres) -> i64 {
    let sql = "select (pg_last_wal_receive_lsn() - '0/0')::bigint";
    replica.value(sql).expect("a position").parse().expect("a number")
}

fn conninfo(leader: &Postgres, follower: &Postgres) -> String {
    let socket = leader.socket_dir().display();
    let (port, name) = (leader.port(), follower.name());
    format!("host={socket} port={port} user=postgres application_name={name}")
}

/// The old primary is started and still believes to be one: nobody writes to it.
fn comes_back_as_it_was(old: &Postgres, fixture: &Fixture) {
    old.start().expect("starts as it was");
    let count = || {
        let rows = old.query_in(&fixture.database, "select count(*) from t").expect("a count");
        rows[0][0].clone()
    };
    let before = count();
    let fenced = format!("pgmanifold_host_fenced{{shard=\"main\",host=\"{}\"}}", old.address());
    until("it is fenced", || (fixture.metric(&fenced) == 1.0).then_some(()));
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(count(), before, "the old primary was written to");
    let sessions = "select count(*) from pg_stat_activity where usename = 'app'";
    assert_eq!(old.value(sessions).expect("activity"), "0", "sessions on the old primary");
}

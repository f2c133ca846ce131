//! Servers that are stopped (SIGSTOP): connections stay open and nothing answers.

use super::load::{Crew, Load};
use crate::failure::breakable;
use futures_util::future::join_all;
use pgmanifold::config::model::Address;
use pgmanifold::demo::postgres::{PgCluster, Postgres};
use pgmanifold_tests::client::{self, code, exec, text, value};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, WHERE, is_direct};
use pgmanifold_tests::{cluster, eventually, run};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Error};

const HEALTH_TIMEOUT: Duration = Duration::from_millis(800);
const HEALTH_INTERVAL: Duration = Duration::from_millis(400);
/// One failed check, and the next one: the bound of docs/operations.md, with what a busy machine
/// may add.
const GIVEN_UP_LIMIT: Duration = Duration::from_millis(400 + 800 + 100 + 800 + 1000);
const NOTICE_LIMIT: Duration = Duration::from_secs(15);

async fn setup(servers: Arc<PgCluster>, name: &str) -> Fixture {
    let fixture = Fixture::on(servers, name, |config| {
        let config = config.pool("pool_size = 8");
        let config = config.shard(&format!("health_timeout_ms = {}", HEALTH_TIMEOUT.as_millis()));
        let config = config.shard(&format!("health_interval_ms = {}", HEALTH_INTERVAL.as_millis()));
        let config = config.shard("health_failures_max = 2");
        config.shard("failover_wait_ms = 20000")
    })
    .await;
    exec(&fixture.direct().await, "create table t (id bigint)").await;
    fixture.cluster.wait_caught_up().expect("replicas follow");
    fixture.wait_replicas().await;
    fixture
}

/// The error of a statement that was on its way to a stopped server, and when it came.
async fn fails(began: Instant, what: &str, result: Result<(), Error>) -> (String, Duration) {
    let error = result.expect_err(what);
    println!("{what}: after {:?}: {}", began.elapsed(), text(&error));
    (code(&error), began.elapsed())
}

/// Statements of every kind that run on the primary while it stops.
struct UnderWay {
    write: Client,
    transaction: Client,
    commit_only: Client,
    read: Client,
    idle: Client,
}

impl UnderWay {
    async fn connect(fixture: &Fixture) -> UnderWay {
        let clients = join_all((0..5).map(|_| fixture.client())).await;
        let [write, transaction, commit_only, read, idle] =
            clients.try_into().unwrap_or_else(|_| panic!("five clients"));
        exec(&transaction, "begin; insert into t values (1)").await;
        exec(&commit_only, "begin; insert into t values (2)").await;
        exec(&idle, "begin; insert into t values (3)").await;
        UnderWay { write, transaction, commit_only, read, idle }
    }

    /// Has two connections at hand, so that a write and a read are sent at once.
    async fn two_connections(&self) {
        let sql = "/* pgm: primary */ select pg_sleep(0.3)";
        tokio::join!(exec(&self.write, sql), exec(&self.read, sql));
    }

    /// Sends a statement on each and checks what each is told.
    async fn fail(&self) {
        let began = Instant::now();
        let write = self.write.batch_execute("insert into t values (4)");
        let transaction = self.transaction.batch_execute("insert into t values (5)");
        let commit = self.commit_only.batch_execute("commit");
        let (write, transaction, commit) = tokio::join!(write, transaction, commit);
        let write = fails(began, "a write", write).await;
        let transaction = fails(began, "in a transaction", transaction).await;
        let commit = fails(began, "a commit", commit).await;
        // Also a write that has no server yet has waited, or failed, or is waiting now.
        assert_eq!(write.0, "08007");
        assert_eq!(transaction.0, "40001");
        assert_eq!(commit.0, "08007");
        for (_, took) in [write, transaction, commit] {
            assert!(took < GIVEN_UP_LIMIT, "{took:?}");
        }
        let failed = self.transaction.batch_execute("select 1").await.expect_err("has failed");
        assert_eq!(code(&failed), "25P02");
        exec(&self.transaction, "rollback").await;
        let idle = self.idle.batch_execute("commit").await;
        assert_eq!(fails(began, "idle in a transaction", idle).await.0, "40001");
    }

    /// All sessions work, and get their own answers.
    async fn work(&self) {
        let all = [&self.write, &self.transaction, &self.commit_only, &self.read, &self.idle];
        for round in 0..20 {
            for (number, client) in all.iter().enumerate() {
                let marker = format!("{number}-{round}");
                let sql = format!("/* pgm: primary */ select '{marker}'");
                assert_eq!(value(client, &sql).await, marker);
            }
        }
    }
}

#[test]
fn a_stopped_primary_fails_what_runs_there_in_time_and_goes_on_when_it_returns() {
    breakable(90, async |servers| {
        let fixture = setup(servers, "stopped").await;
        let clients = UnderWay::connect(&fixture).await;
        // A connection is at hand for the write, so that it is sent.
        clients.two_connections().await;
        fixture.cluster.primary.freeze();
        let read = async {
            let began = Instant::now();
            // A read that can be repeated goes to the primary again when there is one.
            assert_eq!(value(&clients.read, "/* pgm: primary */ select 'read'").await, "read");
            began.elapsed()
        };
        let rest = async {
            clients.fail().await;
            // Not sent: it waits, and is no error.
            let late = clients.write.batch_execute("insert into t values (6)");
            let waited = tokio::time::timeout(Duration::from_secs(1), late).await;
            assert!(waited.is_err(), "the primary is stopped");
            assert_ne!(value(&clients.idle, WHERE).await, "primary");
            fixture.cluster.primary.thaw();
        };
        let (took, ()) = tokio::join!(read, rest);
        println!("the read was answered after {took:?}");
        eventually("writes run again", NOTICE_LIMIT, async || {
            clients.idle.batch_execute("insert into t values (7)").await.is_ok()
        })
        .await;
        clients.work().await;
        // What was rolled back is not there; what was not known may be.
        let rows =
            "select string_agg(id::text, ' ' order by id) from t where id in (1, 3, 5, 6, 7)";
        assert_eq!(value(&clients.write, rows).await, "6 7");
        let lost = format!(
            "pgmanifold_host_losses_total{{shard=\"main\",host=\"{}\"}}",
            fixture.cluster.primary.address()
        );
        assert_eq!(fixture.metric(&lost), 1.0);
    });
}

#[test]
fn a_stopped_primary_that_was_replaced_is_fenced_when_it_returns() {
    if is_direct() {
        return;
    }
    let servers = cluster::private(2);
    run(120, async {
        let fixture = setup(servers.clone(), "replaced").await;
        let clients = UnderWay::connect(&fixture).await;
        let (old, new, other) = (&servers.primary, &servers.replicas[0], &servers.replicas[1]);
        clients.two_connections().await;
        old.freeze();
        clients.fail().await;
        let crew = Crew { autocommit: 4, transactions: 4, readers: 4 };
        let load = Load::start(&fixture.address, &fixture.database, crew, WHERE);
        new.promote().expect("promoted");
        let promoted = Instant::now();
        eventually("writes go on", NOTICE_LIMIT, async || {
            load.first_write_after(promoted).is_some()
        })
        .await;
        println!("writes go on {:?} after the promotion", promoted.elapsed());
        servers.follow(other, new).expect("follows");
        old.thaw();
        let fenced = format!("pgmanifold_host_fenced{{shard=\"main\",host=\"{}\"}}", old.address());
        eventually("it is fenced", NOTICE_LIMIT, async || fixture.metric(&fenced) == 1.0).await;
        let count = || old.query_in(&fixture.database, "select count(*) from t").expect("a count");
        let before = count();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(count(), before, "the old primary was written to");
        assert_eq!(fixture.metric("pgmanifold_primary_state{shard=\"main\",state=\"up\"}"), 1.0);
        // Its table is another one from now on, so reads would tell.
        for _ in 0..50 {
            assert_ne!(value(&clients.idle, WHERE).await, "primary");
        }
        clients.work().await;
        let seen = load.finish();
        let rows = "select id from t where id > 1000";
        let rows = new.query_in(&fixture.database, rows).expect("rows");
        let there: Vec<i64> = rows.iter().flatten().flatten().flat_map(|id| id.parse()).collect();
        println!("{} writes acknowledged, errors {:?}", seen.acknowledged.len(), seen.write_errors);
        let late = seen.acknowledged.keys().filter(|id| **id > 1000);
        assert!(late.clone().count() > 10 && late.clone().all(|id| there.contains(id)));

        // A proxy that knows nothing of all this, and cannot reach the new primary: the replica
        // tells it that the old one is not to be written to.
        let hosts: Vec<Address> = [old, other].map(|server| server.address()).into();
        let config = ConfigText::new(&hosts, &fixture.database).shard("failover_wait_ms = 500");
        let second = Fixture::with_config(servers.clone(), fixture.database.clone(), &config);
        let client = second.client().await;
        eventually("the replica is read from", NOTICE_LIMIT, async || {
            let place = client::rows(&client, WHERE).await.unwrap_or_default();
            place == [[Some("replica2".to_owned())]]
        })
        .await;
        let error = client.batch_execute("insert into t values (9)").await.expect_err("fenced");
        println!("a new proxy: {}", text(&error));
        assert_eq!(code(&error), "55000");
    });
}

#[test]
fn what_runs_on_a_primary_that_was_replaced_alive_is_not_committed_there() {
    if is_direct() {
        return;
    }
    let servers = cluster::private(1);
    run(60, async {
        let fixture = setup(servers.clone(), "alive").await;
        let (open, sleeping) = (fixture.client().await, fixture.client().await);
        exec(&open, "begin; insert into t values (1)").await;
        let write = sleeping.batch_execute("insert into t select 2 from pg_sleep(6)");
        let promotion = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let servers = servers.clone();
            let promoted = tokio::task::spawn_blocking(move || servers.replicas[0].promote());
            promoted.await.expect("no panic").expect("promoted");
            Instant::now()
        };
        let (result, promoted) = tokio::join!(write, promotion);
        let (state, _) = fails(promoted, "a write on the old primary", result).await;
        assert_eq!(state, "08007");
        assert!(promoted.elapsed() < HEALTH_INTERVAL + Duration::from_secs(1));
        let commit = open.batch_execute("commit").await;
        assert_eq!(fails(promoted, "its transaction", commit).await.0, "40001");
        exec(&open, "insert into t values (3)").await;
        let rows = |server: &Postgres| {
            let rows = "select string_agg(id::text, ' ') from t";
            server.query_in(&fixture.database, rows).expect("rows")[0][0].clone()
        };
        assert_eq!(rows(&servers.replicas[0]).as_deref(), Some("3"));
        tokio::time::sleep(Duration::from_secs(6)).await;
        // The server went on with the statement and could tell nobody: that is what 08007 says.
        println!("on the old primary: {:?}", rows(&servers.primary));
        assert!(!rows(&servers.primary).unwrap_or_default().contains(['1', '3']));
    });
}

/// Reads that take longer than this wait for something.
const SLOW: Duration = Duration::from_millis(600);

/// One reader's slow reads: when they began, and how long they took.
async fn slow_reads(client: &Client, time: Duration) -> Vec<(Duration, Duration)> {
    let (mut slow, began) = (Vec::new(), Instant::now());
    while began.elapsed() < time {
        let (offset, asked) = (began.elapsed(), Instant::now());
        value(client, WHERE).await;
        if asked.elapsed() > SLOW {
            slow.push((offset, asked.elapsed()));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    slow
}

#[test]
fn stopped_replicas_cost_reads_one_timeout_once() {
    breakable(120, async |servers| {
        let fixture = setup(servers, "slow").await;
        let readers = join_all((0..8).map(|_| fixture.client())).await;
        // One check, its timeout, and what a busy machine may add.
        let limit = HEALTH_INTERVAL + HEALTH_TIMEOUT + Duration::from_millis(500);
        for replica in &fixture.cluster.replicas {
            replica.freeze();
            let time = Duration::from_secs(6);
            let all = join_all(readers.iter().map(|reader| slow_reads(reader, time))).await;
            println!("slow reads (begun at, took) after {} stopped: {all:?}", replica.name());
            assert!(all.iter().all(|slow| slow.len() <= 1), "more than once: {all:?}");
            assert!(all.iter().flatten().all(|(_, took)| *took < limit), "{all:?}");
        }
        // Both are stopped: reads run on the primary.
        assert_eq!(value(&readers[0], WHERE).await, "primary");
        fixture.cluster.replicas.iter().for_each(|replica| replica.thaw());
        fixture.wait_replicas().await;
    });
}

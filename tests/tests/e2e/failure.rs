//! Servers that are down, die, hang and come back: reads go on wherever a server is left, writes
//! fail at once and clearly (what waits instead is tested in `failover`), and everything returns by
//! itself.

use pgmanifold::config::model::Address;
use pgmanifold::demo::postgres::{PgCluster, Stop};
use pgmanifold_tests::client::{self, code, exec, text, value};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, WHERE, is_direct};
use pgmanifold_tests::raw;
use pgmanifold_tests::relay::{Fault, Relay};
use pgmanifold_tests::{cluster, eventually, run};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// Longest time until the proxy has noticed what happened to a server.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(15);

/// Runs a test on a cluster it may break, one test at a time; afterwards it is whole again.
pub(crate) fn breakable(limit_seconds: u64, test: impl AsyncFnOnce(Arc<PgCluster>)) {
    if is_direct() {
        return;
    }
    static CLUSTER: OnceLock<Arc<PgCluster>> = OnceLock::new();
    static IN_USE: Mutex<()> = Mutex::new(());
    let _guard = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = CLUSTER.get_or_init(|| cluster::private(2)).clone();
    for server in cluster.servers() {
        server.thaw();
        if !server.is_running() {
            server.start().expect("a broken server starts again");
        }
    }
    cluster.wait_caught_up().expect("the cluster is whole");
    run(limit_seconds, test(cluster));
}

fn write_sql(number: u32) -> String {
    format!("insert into t values ({number})")
}

async fn setup(cluster: Arc<PgCluster>, test: &str) -> Fixture {
    let fixture = Fixture::on(cluster, test, |config| {
        config.pool("pool_size = 8").shard("failover_wait_ms = 0")
    })
    .await;
    exec(&fixture.direct().await, "create table t (n int)").await;
    fixture.cluster.wait_caught_up().expect("replicas follow");
    fixture.wait_replicas().await;
    fixture
}

/// A write that must fail at once, with an error that says why.
async fn write_fails_fast(client: &Client) {
    let began = Instant::now();
    let error = client.batch_execute(&write_sql(0)).await.expect_err("no primary");
    let waited = began.elapsed();
    println!("write without primary after {waited:?}: {}", text(&error));
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    let db = error.as_db_error().expect("an error message, not a lost connection");
    assert!(db.code().code().starts_with("08") || db.code().code().starts_with("57"), "{db}");
}

#[test]
fn starts_and_serves_reads_while_the_primary_is_down() {
    breakable(90, async |cluster| {
        let database = cluster::create_database(&cluster, "start_down");
        cluster.primary.stop(Stop::Fast).expect("stop");
        let hosts: Vec<Address> = cluster.servers().map(|server| server.address()).collect();
        let config = ConfigText::new(&hosts, &database).shard("failover_wait_ms = 0");
        let fixture = Fixture::with_config(cluster.clone(), database, &config);
        let client = fixture.client().await;
        eventually("reads run on replicas", NOTICE_TIMEOUT, async || {
            client.simple_query("select 1").await.is_ok()
        })
        .await;
        for _ in 0..50 {
            value(&client, "select count(*) from pg_class").await;
        }
        write_fails_fast(&client).await;
        cluster.primary.start().expect("start");
        eventually("writes run", NOTICE_TIMEOUT, async || {
            client.batch_execute("create table if not exists t (n int)").await.is_ok()
        })
        .await;
    });
}

#[test]
fn starts_while_every_server_is_down() {
    breakable(90, async |cluster| {
        let database = cluster::create_database(&cluster, "all_down");
        for server in cluster.servers() {
            server.stop(Stop::Immediate).expect("stop");
        }
        let hosts: Vec<Address> = cluster.servers().map(|server| server.address()).collect();
        let config = ConfigText::new(&hosts, &database).shard("failover_wait_ms = 0");
        let fixture = Fixture::with_config(cluster.clone(), database, &config);
        let began = Instant::now();
        let config = client::config(&fixture.address, cluster::USER, &fixture.database);
        if let Ok(client) = client::try_connect(&config).await {
            let error = client.batch_execute("select 1").await.expect_err("no server");
            println!("all servers down: {}", text(&error));
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        for server in cluster.servers() {
            server.start().expect("start");
        }
        fixture.wait_replicas().await;
        exec(&fixture.client().await, "create table t (n int)").await;
    });
}

#[test]
fn reads_go_on_while_the_primary_is_down_and_writes_return() {
    breakable(90, async |cluster| {
        let fixture = setup(cluster, "primary_down").await;
        let client = fixture.client().await;
        exec(&client, &write_sql(1)).await;
        let reader = fixture.client().await;
        fixture.cluster.primary.kill();
        let end = Instant::now() + Duration::from_secs(3);
        let (mut reads, mut slowest) = (0, Duration::ZERO);
        while Instant::now() < end {
            let began = Instant::now();
            assert_ne!(value(&reader, WHERE).await, "primary");
            slowest = slowest.max(began.elapsed());
            reads += 1;
        }
        println!("{reads} reads while the primary is down, slowest {slowest:?}");
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        write_fails_fast(&reader).await;
        fixture.cluster.primary.start().expect("start");
        eventually("writes run again", NOTICE_TIMEOUT, async || {
            reader.batch_execute(&write_sql(2)).await.is_ok()
        })
        .await;
        // The client that wrote before the failure is still connected and reads its write.
        let found = "select count(*) from t where n = 1";
        eventually("the old session works", NOTICE_TIMEOUT, async || {
            client.simple_query("select 1").await.is_ok()
        })
        .await;
        assert_eq!(value(&client, found).await, "1");
    });
}

#[test]
fn a_transaction_on_a_dying_primary_fails_and_its_session_lives() {
    breakable(90, async |cluster| {
        let fixture = setup(cluster, "dying").await;
        let client = fixture.client().await;
        exec(&client, "begin").await;
        exec(&client, &write_sql(1)).await;
        fixture.cluster.primary.kill();
        let error = client.batch_execute(&write_sql(2)).await.expect_err("the server died");
        println!("in a transaction: {}", text(&error));
        let state = code(&error);
        assert!(state == "40001" || state.starts_with("57P"), "{state}");
        // A client that did not look does not write outside of its transaction.
        let error = client.batch_execute(&write_sql(2)).await.expect_err("it has failed");
        assert_eq!(code(&error), "25P02");
        fixture.cluster.primary.start().expect("start");
        exec(&client, "rollback").await;
        eventually("the session writes again", NOTICE_TIMEOUT, async || {
            client.batch_execute(&write_sql(3)).await.is_ok()
        })
        .await;
        assert_eq!(value(&client, "select min(n) from t").await, "3");
    });
}

#[test]
fn a_session_that_a_server_ends_ends_as_on_postgres() {
    breakable(60, async |cluster| {
        let fixture = setup(cluster, "ended").await;
        for raw in [fixture.raw().await, fixture.raw_direct().await] {
            let mut raw = raw;
            raw.ask(&raw::query("begin"), 1).await;
            raw.send(&raw::query("select pg_terminate_backend(pg_backend_pid())")).await;
            let mut last = None;
            while let Some(message) = raw.next().await {
                last = Some(message);
            }
            let last = last.expect("a last message");
            let field = |name| raw::field(&last.body, name);
            let said = (last.tag, field(b'S'), field(b'C'));
            assert_eq!(said, (b'E', Some("FATAL".into()), Some("57P01".into())));
        }
        // Who has nothing there goes on.
        let client = fixture.client().await;
        exec(&client, &write_sql(1)).await;
        let sql = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}' \
             and usename = current_user and pid <> pg_backend_pid()",
            fixture.database
        );
        exec(&fixture.direct().await, &sql).await;
        // The pool must have had the time to hear of it.
        tokio::time::sleep(Duration::from_millis(200)).await;
        exec(&client, &write_sql(2)).await;
    });
}

#[test]
fn a_setting_is_not_lost_in_silence_with_its_server() {
    breakable(60, async |cluster| {
        let database = cluster::create_database(&cluster, "setting");
        let relay = Relay::start(cluster.primary.port()).await;
        let config = ConfigText::new(&[relay.address()], &database);
        let fixture = Fixture::with_config(cluster, database, &config);
        let client = fixture.client().await;
        exec(&client, "set application_name = 'before'").await;
        // pgmanifold reads back what was set; here it cannot before the server is lost.
        relay.set(Fault::Delay(Duration::from_millis(300)));
        exec(&client, "set application_name = 'after'").await;
        relay.set(Fault::Cut);
        let error = client.simple_query("show application_name").await.expect_err("it is lost");
        println!("after the loss: {}", text(&error));
        assert_eq!(code(&error), "08006");
    });
}

/// Reads until `end`; returns reads done, errors, and the slowest read.
async fn read_until(client: &Client, end: Instant) -> (u32, Vec<String>, Duration) {
    let (mut reads, mut errors, mut slowest) = (0, Vec::new(), Duration::ZERO);
    while Instant::now() < end {
        let began = Instant::now();
        match client.simple_query("select count(*) from t").await {
            Ok(_) => reads += 1,
            Err(error) => errors.push(text(&error)),
        }
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (reads, errors, slowest)
}

/// Reads by 8 clients for some seconds while `fault` happens after one of them.
async fn reads_during(fixture: &Fixture, seconds: u64, fault: impl FnOnce()) -> Vec<String> {
    let clients = (0..8).map(|_| fixture.client());
    let clients = futures_util::future::join_all(clients).await;
    let end = Instant::now() + Duration::from_secs(seconds);
    let reading = futures_util::future::join_all(clients.iter().map(|c| read_until(c, end)));
    let faulting = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        fault();
    };
    let (outcomes, ()) = futures_util::future::join(reading, faulting).await;
    let reads: u32 = outcomes.iter().map(|outcome| outcome.0).sum();
    let slowest = outcomes.iter().map(|outcome| outcome.2).max().unwrap_or_default();
    let errors: Vec<String> = outcomes.into_iter().flat_map(|outcome| outcome.1).collect();
    println!("{reads} reads, {} errors, slowest {slowest:?}", errors.len());
    // Every client still has its connection and reads.
    for client in &clients {
        value(client, "select 1").await;
    }
    errors
}

#[test]
fn a_killed_replica_costs_at_most_the_statements_under_way() {
    breakable(90, async |cluster| {
        let fixture = setup(cluster, "killed").await;
        let errors = reads_during(&fixture, 4, || fixture.cluster.replicas[0].kill()).await;
        assert!(errors.len() <= 8, "{} errors:\n{}", errors.len(), errors.join("\n"));
        assert!(
            errors.iter().all(|error| error.contains("08") || error.contains("57P")),
            "{errors:?}"
        );

        // It returns by itself.
        fixture.cluster.replicas[0].start().expect("start");
        fixture.wait_replicas().await;
    });
}

#[test]
fn a_restarted_replica_is_not_noticed_by_idle_sessions() {
    breakable(90, async |cluster| {
        let fixture = setup(cluster, "restarted").await;
        let client = fixture.client().await;
        for _ in 0..20 {
            value(&client, WHERE).await;
        }
        fixture.cluster.replicas[0].restart().expect("restart");
        fixture.cluster.replicas[1].restart().expect("restart");
        tokio::time::sleep(Duration::from_millis(500)).await;
        for _ in 0..20 {
            value(&client, "select count(*) from t").await;
        }
    });
}

#[test]
fn a_frozen_replica_is_left_alone_after_a_moment() {
    breakable(90, async |cluster| {
        let fixture = setup(cluster, "frozen").await;
        let frozen = &fixture.cluster.replicas[0];
        let errors = reads_during(&fixture, 12, || frozen.freeze()).await;
        assert!(errors.len() <= 8, "{} errors:\n{}", errors.len(), errors.join("\n"));
        frozen.thaw();
        fixture.wait_replicas().await;
    });
}

#[test]
fn cut_and_stalled_networks_are_survived() {
    breakable(120, async |cluster| {
        let database = cluster::create_database(&cluster, "network");
        let mut relays = Vec::new();
        for server in cluster.servers() {
            relays.push(Relay::start(server.port()).await);
        }
        let hosts: Vec<Address> = relays.iter().map(Relay::address).collect();
        let config = ConfigText::new(&hosts, &database)
            .shard("connect_timeout_ms = 1000")
            .shard("failover_wait_ms = 0");
        let fixture = Fixture::with_config(cluster, database, &config);
        exec(&fixture.direct().await, "create table t (n int)").await;
        fixture.wait_replicas().await;

        let errors = reads_during(&fixture, 4, || relays[1].set(Fault::Cut)).await;
        assert!(errors.len() <= 8, "cut: {errors:?}");
        relays[1].set(Fault::None);
        fixture.wait_replicas().await;

        let client = fixture.client().await;
        relays[0].set(Fault::Cut);
        eventually("writes fail fast", NOTICE_TIMEOUT, async || {
            let began = Instant::now();
            let failed = client.batch_execute(&write_sql(1)).await.is_err();
            failed && began.elapsed() < Duration::from_secs(1)
        })
        .await;
        for _ in 0..20 {
            value(&fixture.client().await, "select count(*) from t").await;
        }
        relays[0].set(Fault::None);
        eventually("writes run again", NOTICE_TIMEOUT, async || {
            client.batch_execute(&write_sql(2)).await.is_ok()
        })
        .await;

        relays[2].set(Fault::Stall);
        let reader = fixture.client().await;
        eventually("reads avoid the stalled replica", Duration::from_secs(30), async || {
            let began = Instant::now();
            let ok = reader.simple_query("select count(*) from t").await.is_ok();
            ok && began.elapsed() < Duration::from_millis(500)
        })
        .await;
    });
}

#[test]
fn wrong_server_passwords_are_said_clearly() {
    breakable(60, async |cluster| {
        let user =
            "[[user]]\nname = \"app\"\nserver_user = \"by_scram\"\nserver_password = \"no\"\n";
        let database = cluster::create_database(&cluster, "badpass");
        let hosts: Vec<Address> = cluster.servers().map(|server| server.address()).collect();
        let config = ConfigText::new(&hosts, &database).users(user);
        let fixture = Fixture::with_config(cluster, database, &config);
        let began = Instant::now();
        let config = client::config(&fixture.address, cluster::USER, &fixture.database);
        let error = match client::try_connect(&config).await {
            Err(error) => error,
            Ok(client) => client.batch_execute("select 1").await.expect_err("no login"),
        };
        println!("wrong server password: {}", text(&error));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert!(error.as_db_error().is_some(), "{}", text(&error));
    });
}

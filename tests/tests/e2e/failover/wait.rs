//! Statements that were not sent wait for a primary: for how long, how many, and what ends it.

use crate::failure::breakable;
use futures_util::future::join_all;
use pgmanifold::config::model::Address;
use pgmanifold::demo::postgres::{PgCluster, Stop};
use pgmanifold_tests::client::{code, exec, text, value};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, WHERE};
use pgmanifold_tests::{cluster, eventually, raw};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::NoTls;

/// Longest time until the proxy has noticed something.
const NOTICE_LIMIT: Duration = Duration::from_secs(15);
const WAITING: &str = "pgmanifold_failover_waiting{shard=\"main\"}";

fn ended(word: &str) -> String {
    format!("pgmanifold_failover_waits_total{{shard=\"main\",result=\"{word}\"}}")
}

/// A proxy that waits so long, before servers of which the primary is down.
async fn without_primary(cluster: Arc<PgCluster>, name: &str, lines: &[&str]) -> Fixture {
    let adjust = |config: ConfigText| {
        lines.iter().fold(config.pool("pool_size = 4"), |config, line| config.shard(line))
    };
    let fixture = Fixture::on(cluster, name, adjust).await;
    exec(&fixture.direct().await, "create table t (n int)").await;
    fixture.cluster.wait_caught_up().expect("replicas follow");
    fixture.wait_replicas().await;
    fixture
}

/// Until then, what is sent may meet a connection that is about to end.
async fn noticed(fixture: &Fixture) {
    eventually("no primary", NOTICE_LIMIT, async || {
        fixture.metric("pgmanifold_primary_state{shard=\"main\",state=\"missing\"}") == 1.0
    })
    .await;
}

async fn waiting(fixture: &Fixture, count: usize) {
    eventually("so many wait", NOTICE_LIMIT, async || fixture.metric(WAITING) == count as f64)
        .await;
}

#[test]
fn statements_wait_for_the_primary_and_then_run() {
    breakable(90, async |servers| {
        let fixture = without_primary(servers, "waits", &["failover_wait_ms = 20000"]).await;
        // More clients than the pool has connections.
        let clients = join_all((0..12).map(|_| fixture.client())).await;
        let deferred = fixture.client().await;
        exec(&deferred, "begin").await;
        let started = fixture.client().await;
        exec(&started, "begin; insert into t values (-1)").await;
        fixture.cluster.primary.kill();
        // Began before: nothing of it can be saved, and the session goes on after ROLLBACK.
        let error = started.batch_execute("insert into t values (-2)").await.expect_err("lost");
        println!("begun before: {}", text(&error));
        assert_eq!(code(&error), "40001");
        assert_eq!(code(&started.batch_execute("commit; begin").await.unwrap_err()), "25P02");
        exec(&started, "rollback").await;

        noticed(&fixture).await;
        let writes = clients.iter().enumerate().map(|(n, client)| async move {
            if n % 2 == 0 {
                exec(client, &format!("insert into t values ({n})")).await;
            } else {
                let done = client.execute("insert into t values ($1)", &[&(n as i32)]).await;
                done.unwrap_or_else(|error| panic!("{}", text(&error)));
            }
        });
        let in_deferred = async {
            exec(&deferred, "insert into t values (100)").await;
            exec(&deferred, "insert into t values (101)").await;
            exec(&deferred, "commit").await;
        };
        let restart = async {
            waiting(&fixture, 13).await;
            // Reads need not wait.
            assert_ne!(value(&started, WHERE).await, "primary");
            let primary = Arc::clone(&fixture.cluster);
            let start = tokio::task::spawn_blocking(move || primary.primary.start());
            start.await.expect("no panic").expect("start");
        };
        tokio::join!(join_all(writes), in_deferred, restart);
        let rows = "select count(*) || ' ' || min(n) from t";
        assert_eq!(value(&fixture.direct().await, rows).await, "14 0");
        assert_eq!(fixture.metric(WAITING), 0.0);
        assert!(fixture.metric(&ended("served")) >= 13.0);
    });
}

#[test]
fn a_wait_has_a_deadline_and_a_queue_a_bound() {
    breakable(90, async |servers| {
        let lines = ["failover_wait_ms = 1500", "failover_queue_max = 3"];
        let fixture = without_primary(servers, "deadline", &lines).await;
        let clients = join_all((0..5).map(|_| fixture.client())).await;
        fixture.cluster.primary.stop(Stop::Fast).expect("stop");
        noticed(&fixture).await;
        let outcomes = join_all(clients.iter().map(|client| async move {
            let began = Instant::now();
            let error = client.batch_execute("insert into t values (1)").await.expect_err("none");
            (began.elapsed(), error)
        }));
        let (mut late, mut full) = (0, 0);
        for (took, error) in outcomes.await {
            println!("after {took:?}: {}", text(&error));
            assert_eq!(code(&error), "57P03");
            let detail = error.as_db_error().and_then(|db| db.detail()).unwrap_or_default();
            assert!(detail.contains("Hosts of shard \"main\": "), "{detail}");
            if detail.contains("3 clients wait already") {
                assert!(took < Duration::from_secs(1), "{took:?}");
                full += 1;
            } else {
                assert!(detail.contains("The statement waited 15") && took.as_millis() >= 1500);
                assert!(took < Duration::from_millis(2500), "{took:?}");
                late += 1;
            }
        }
        assert_eq!((late, full), (3, 2));
        let count = |word| fixture.metric(&ended(word));
        assert_eq!((count("timeout"), count("queue_full"), count("served")), (3.0, 2.0, 0.0));
        let clients_waiting =
            format!("pgmanifold_clients{{database=\"{}\",state=\"waiting\"}}", fixture.database);
        assert_eq!(fixture.metric(&clients_waiting), 0.0);
        // The sessions are as good as before.
        fixture.cluster.primary.start().expect("start");
        for client in &clients {
            exec(client, "insert into t values (2)").await;
        }
        assert_eq!(value(&clients[0], "select count(*) from t").await, "5");
    });
}

#[test]
fn a_wait_ends_with_the_request_the_client_or_the_proxy() {
    breakable(90, async |servers| {
        let fixture = without_primary(servers, "ends", &["failover_wait_ms = 60000"]).await;
        let (cancelled, told) = (fixture.client().await, fixture.client().await);
        let mut leaving = fixture.raw().await;
        fixture.cluster.primary.kill();
        noticed(&fixture).await;
        // A cancel request.
        let began = Instant::now();
        let cancel = async {
            waiting(&fixture, 1).await;
            cancelled.cancel_token().cancel_query(NoTls).await.expect("a cancel request");
        };
        let (result, ()) = tokio::join!(cancelled.batch_execute("delete from t"), cancel);
        assert_eq!(code(&result.expect_err("cancelled")), "57014");
        assert_ne!(value(&cancelled, WHERE).await, "primary");
        // The client goes away.
        leaving.send(&raw::query("delete from t")).await;
        waiting(&fixture, 1).await;
        drop(leaving);
        waiting(&fixture, 0).await;
        assert_eq!(fixture.metric(&ended("cancelled")), 2.0);
        // The proxy stops.
        let write = tokio::spawn(async move { told.batch_execute("delete from t").await });
        waiting(&fixture, 1).await;
        tokio::task::spawn_blocking(move || drop(fixture)).await.expect("stops");
        let error = write.await.expect("no panic").expect_err("closed");
        assert_eq!(code(&error), "57P01", "{}", text(&error));
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    });
}

/// A reload may be what ends the outage: who waits goes on with the new configuration.
#[test]
fn a_wait_goes_on_over_a_reload() {
    breakable(90, async |servers| {
        let fixture = without_primary(servers, "reload", &["failover_wait_ms = 20000"]).await;
        let client = fixture.client().await;
        fixture.cluster.primary.kill();
        noticed(&fixture).await;
        let write = client.batch_execute("insert into t values (1)");
        let reload = async {
            waiting(&fixture, 1).await;
            let hosts: Vec<Address> = fixture.cluster.servers().map(|one| one.address()).collect();
            let config = ConfigText::new(&hosts, &fixture.database)
                .shard("failover_wait_ms = 20000")
                .shard("health_timeout_ms = 900");
            fixture.reload(&config);
            waiting(&fixture, 1).await;
            let servers = Arc::clone(&fixture.cluster);
            let start = tokio::task::spawn_blocking(move || servers.primary.start());
            start.await.expect("no panic").expect("start");
            Instant::now()
        };
        let (done, started) = tokio::join!(write, reload);
        done.unwrap_or_else(|error| panic!("{}", text(&error)));
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    });
}

/// One statement by the extended protocol.
fn extended(sql: &str) -> Vec<u8> {
    [raw::parse("", sql), raw::bind("", "", &[]), raw::execute("", 0), raw::sync()].concat()
}

#[test]
fn a_lost_transaction_is_ended_by_the_extended_protocol_too() {
    breakable(90, async |servers| {
        let fixture = without_primary(servers, "extended", &[]).await;
        let mut clients = Vec::new();
        for number in 1..=3 {
            let mut client = fixture.raw().await;
            let begin = format!("begin; insert into t values ({number})");
            assert!(client.ask(&raw::query(&begin), 1).await.ends_with("Z T\n"));
            clients.push(client);
        }
        fixture.cluster.primary.kill();
        noticed(&fixture).await;
        fixture.cluster.primary.start().expect("start");
        let [rolls_back, commits, commits_late] = &mut clients[..] else { panic!("three") };
        let insert = extended("insert into t values (10)");
        for client in [&mut *rolls_back, &mut *commits_late] {
            let lost = client.ask(&insert, 1).await;
            assert!(lost.contains("E ERROR 40001") && lost.ends_with("Z E\n"), "{lost}");
            let failed = client.ask(&insert, 1).await;
            assert!(failed.contains("E ERROR 25P02") && failed.ends_with("Z E\n"), "{failed}");
        }
        let done = rolls_back.ask(&extended("rollback"), 1).await;
        assert!(done.contains("C ROLLBACK\\x00\n") && done.ends_with("Z I\n"), "{done}");
        let lost = commits.ask(&extended("commit"), 1).await;
        assert!(lost.contains("E ERROR 40001") && lost.ends_with("Z I\n"), "{lost}");
        let failed = commits_late.ask(&extended("commit"), 1).await;
        assert!(failed.contains("E ERROR 25P02") && failed.ends_with("Z I\n"), "{failed}");
        for client in &mut clients {
            let done = client.ask(&insert, 1).await;
            assert!(done.contains("C INSERT 0 1") && done.ends_with("Z I\n"), "{done}");
        }
        let rows = "select count(*) || ' ' || min(n) from t";
        assert_eq!(value(&fixture.direct().await, rows).await, "3 10");
    });
}

#[test]
fn reads_wait_too_while_no_server_is_up() {
    breakable(90, async |servers| {
        let fixture = without_primary(servers, "nothing", &["failover_wait_ms = 20000"]).await;
        let clients = join_all((0..3).map(|_| fixture.client())).await;
        for server in fixture.cluster.servers() {
            server.kill();
        }
        eventually("all are down", NOTICE_LIMIT, async || {
            let up = |port: u16| {
                let host = format!("shard=\"main\",host=\"127.0.0.1:{port}\"");
                fixture.metric(&format!("pgmanifold_host_up{{{host}}}")) == 1.0
            };
            !fixture.cluster.servers().any(|server| up(server.port()))
        })
        .await;
        let began = Instant::now();
        let reads = join_all(clients.iter().map(|client| value(client, WHERE)));
        let start = async {
            waiting(&fixture, 3).await;
            let servers = Arc::clone(&fixture.cluster);
            let start = tokio::task::spawn_blocking(move || servers.replicas[1].start());
            start.await.expect("no panic").expect("start");
            Instant::now()
        };
        let (places, started) = tokio::join!(reads, start);
        println!("{places:?} after {:?}, {:?} after the start", began.elapsed(), started.elapsed());
        assert!(places.iter().all(|place| place == "replica2"), "{places:?}");
    });
}

/// Facts come from a replica when there is no primary: functions of the user are reads there too.
#[test]
fn user_functions_are_read_on_replicas_from_the_start_without_a_primary() {
    breakable(90, async |servers| {
        let database = cluster::create_database(&servers, "facts_down");
        servers.primary.stop(Stop::Fast).expect("stop");
        let hosts: Vec<Address> = servers.servers().map(|server| server.address()).collect();
        let config = ConfigText::new(&hosts, &database)
            .shard("failover_wait_ms = 0")
            .shard("health_interval_ms = 10000");
        let fixture = Fixture::with_config(servers, database, &config);
        let began = Instant::now();
        let client = fixture.client().await;
        eventually("a function of the user is a read", NOTICE_LIMIT, async || {
            client.simple_query(WHERE).await.is_ok()
        })
        .await;
        println!("after {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        for _ in 0..20 {
            assert_ne!(value(&client, WHERE).await, "primary");
        }
    });
}

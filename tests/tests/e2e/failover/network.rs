//! Networks that are slow, cut, or silently lose everything, towards a primary and a replica.

use crate::failure::breakable;
use pgmanifold::config::model::Address;
use pgmanifold::demo::postgres::PgCluster;
use pgmanifold_tests::client::{code, exec, text, value};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, WHERE};
use pgmanifold_tests::relay::{Fault, Relay};
use pgmanifold_tests::{cluster, eventually};
use std::sync::Arc;
use std::time::{Duration, Instant};

const NOTICE_LIMIT: Duration = Duration::from_secs(15);
/// Interval and timeout of health checks are 200 and 600 ms: two failed checks, with what a busy
/// machine may add.
const GIVEN_UP_LIMIT: Duration = Duration::from_millis(200 + 600 + 100 + 600 + 1000);

async fn behind_relays(servers: Arc<PgCluster>, name: &str) -> (Fixture, Vec<Relay>) {
    let database = cluster::create_database(&servers, name);
    let mut relays = Vec::new();
    for server in servers.servers() {
        relays.push(Relay::start(server.port()).await);
    }
    let hosts: Vec<Address> = relays.iter().map(Relay::address).collect();
    let config = ConfigText::new(&hosts, &database)
        .shard("connect_timeout_ms = 1000")
        .shard("health_timeout_ms = 600")
        .shard("health_failures_max = 2")
        .shard("failover_wait_ms = 20000");
    let fixture = Fixture::with_config(servers, database, &config);
    exec(&fixture.direct().await, "create table t (n int)").await;
    fixture.wait_replicas().await;
    (fixture, relays)
}

#[test]
fn a_slow_network_is_no_outage() {
    breakable(90, async |servers| {
        let (fixture, relays) = behind_relays(servers, "delayed").await;
        let client = fixture.client().await;
        exec(&client, "begin; insert into t values (1)").await;
        relays.iter().for_each(|relay| relay.set(Fault::Delay(Duration::from_millis(120))));
        let end = Instant::now() + Duration::from_secs(3);
        let mut number = 1;
        while Instant::now() < end {
            number += 1;
            exec(&client, &format!("insert into t values ({number})")).await;
        }
        exec(&client, "commit").await;
        assert_eq!(value(&client, "select count(*) from t").await, number.to_string());
        for relay in &relays {
            let host = relay.address();
            let lost = format!("pgmanifold_host_losses_total{{shard=\"main\",host=\"{host}\"}}");
            assert_eq!(fixture.metric(&lost), 0.0, "{host}");
        }
    });
}

/// The network to the primary fails in some way, with statements under way and others coming.
async fn primary_lost(servers: Arc<PgCluster>, name: &str, fault: Fault, write_fails_with: &str) {
    let (fixture, relays) = behind_relays(servers, name).await;
    let (writer, open) = (fixture.client().await, fixture.client().await);
    let (late, reader) = (fixture.client().await, fixture.client().await);
    exec(&open, "begin; insert into t values (1)").await;
    let sleeping = writer.batch_execute("insert into t select 2 from pg_sleep(8)");
    let breaking = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        relays[0].set(fault);
        let began = Instant::now();
        let error = open.batch_execute("insert into t values (3)").await.expect_err("lost");
        println!("{fault:?}: in a transaction after {:?}: {}", began.elapsed(), text(&error));
        assert_eq!(code(&error), "40001");
        assert!(began.elapsed() < GIVEN_UP_LIMIT, "{:?}", began.elapsed());
        exec(&open, "rollback").await;
        for _ in 0..20 {
            assert_ne!(value(&reader, WHERE).await, "primary");
        }
        began
    };
    let (result, began) = tokio::join!(sleeping, breaking);
    let error = result.expect_err("lost");
    println!("{fault:?}: a write after {:?}: {}", began.elapsed(), text(&error));
    assert_eq!(code(&error), write_fails_with);
    // What comes now waits, and runs when the network is back.
    let waiting = async {
        exec(&late, "insert into t values (4)").await;
        Instant::now()
    };
    let healing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        relays[0].set(Fault::None);
        Instant::now()
    };
    let (written, healed) = tokio::join!(waiting, healing);
    println!("{fault:?}: written {:?} after the network was back", written - healed);
    assert!(written > healed);
    let written = "/* pgm: primary */ select string_agg(n::text, ' ') from t where n <> 2";
    assert_eq!(value(&open, written).await, "4");
    for (number, client) in [&writer, &open, &late, &reader].into_iter().enumerate() {
        let sql = format!("/* pgm: primary */ select {number}");
        assert_eq!(value(client, &sql).await, number.to_string());
    }
}

#[test]
fn a_cut_network_to_the_primary_is_a_wait() {
    breakable(90, async |servers| primary_lost(servers, "cut", Fault::Cut, "08007").await);
}

#[test]
fn a_half_open_network_to_the_primary_is_noticed() {
    breakable(90, async |servers| primary_lost(servers, "half", Fault::Vanish, "08007").await);
}

#[test]
fn a_half_open_network_to_a_replica_costs_one_timeout() {
    breakable(90, async |servers| {
        let (fixture, relays) = behind_relays(servers, "halfreplica").await;
        let clients = futures_util::future::join_all((0..6).map(|_| fixture.client())).await;
        relays[1].set(Fault::Vanish);
        let reads = clients.iter().map(|client| async move {
            let mut slow = Vec::new();
            let end = Instant::now() + Duration::from_secs(5);
            while Instant::now() < end {
                let began = Instant::now();
                value(client, WHERE).await;
                if began.elapsed() > Duration::from_millis(400) {
                    slow.push(began.elapsed());
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            slow
        });
        for slow in futures_util::future::join_all(reads).await {
            println!("slow reads: {slow:?}");
            assert!(slow.len() <= 1, "more than once: {slow:?}");
            assert!(slow.iter().all(|took| *took < GIVEN_UP_LIMIT), "{slow:?}");
        }
        relays[1].set(Fault::None);
        fixture.wait_replicas().await;
        eventually("its circuit is closed", NOTICE_LIMIT, async || {
            let (host, state) = (relays[1].address(), "closed");
            let labels = format!("shard=\"main\",host=\"{host}\",state=\"{state}\"");
            fixture.metric(&format!("pgmanifold_host_circuit{{{labels}}}")) == 1.0
        })
        .await;
    });
}

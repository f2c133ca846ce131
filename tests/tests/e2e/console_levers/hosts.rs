//! BAN, UNBAN and DRAIN: where reads run, by the servers' own word.

use super::{Load, SOON, console, fixture, refused};
use pgmanifold_tests::client::{exec, value};
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::fixture::{Fixture, WHERE, is_direct};
use pgmanifold_tests::{eventually, run};
use std::time::{Duration, Instant};

/// Reads looked at to say that none runs somewhere.
const READS: usize = 120;

/// Where so many reads ran.
async fn places(fixture: &Fixture) -> Vec<String> {
    let client = fixture.client().await;
    let mut places = Vec::with_capacity(READS);
    for _ in 0..READS {
        places.push(value(&client, WHERE).await);
    }
    places
}

/// Server sessions of the test's clients on the first replica.
fn on_first_replica(fixture: &Fixture) -> u32 {
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = '{}' and usename = '{USER}'",
        fixture.database
    );
    fixture.cluster.replicas[0].value(&sql).expect("activity").parse().expect("a number")
}

/// Transactions the first replica has ended in the test's database.
fn ended_on_first_replica(fixture: &Fixture) -> u64 {
    let sql = format!(
        "select xact_commit + xact_rollback from pg_stat_database where datname = '{}'",
        fixture.database
    );
    fixture.cluster.replicas[0].value(&sql).expect("counters").parse().expect("a number")
}

#[test]
fn no_read_runs_on_a_banned_replica_until_its_time_is_over() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("ban").await;
        let (load, admin) = (Load::start(&fixture, 6).await, console(&fixture).await);
        let replica = fixture.cluster.replicas[0].address().to_string();
        assert!(places(&fixture).await.contains(&"replica1".to_owned()));
        exec(&admin, &format!("BAN '{replica}'")).await;
        assert!(!places(&fixture).await.contains(&"replica1".to_owned()));
        // Counters of a server may be late by up to a second.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let before = ended_on_first_replica(&fixture);
        places(&fixture).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(ended_on_first_replica(&fixture), before, "nothing has run there");
        exec(&admin, &format!("UNBAN '{replica}'")).await;
        eventually("reads come back", SOON, async || {
            places(&fixture).await.contains(&"replica1".to_owned())
        })
        .await;
        let began = Instant::now();
        exec(&admin, &format!("BAN '{replica}' 2")).await;
        assert!(!places(&fixture).await.contains(&"replica1".to_owned()));
        eventually("the ban ends", SOON, async || {
            places(&fixture).await.contains(&"replica1".to_owned())
        })
        .await;
        println!("a ban of 2 s was over after {:?}", began.elapsed());
        assert!(began.elapsed() >= Duration::from_secs(2));
        let (_, errors) = load.finish().await;
        assert!(errors.is_empty(), "{errors:?}");
    });
}

#[test]
fn with_every_replica_banned_the_primary_answers() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("banall").await;
        let admin = console(&fixture).await;
        for replica in &fixture.cluster.replicas {
            exec(&admin, &format!("BAN '{}'", replica.address())).await;
        }
        assert!(places(&fixture).await.iter().all(|place| place == "primary"));
        let primary = fixture.cluster.primary.address().to_string();
        for command in ["BAN", "DRAIN"] {
            let (code, text) = refused(&admin, &format!("{command} '{primary}'")).await;
            assert_eq!(code, "55000", "{text}");
            assert!(text.contains("Promote a replica first"), "{text}");
        }
        assert_eq!(refused(&admin, "BAN 'nowhere:1'").await.0, "42704");
        assert_eq!(refused(&admin, "BAN '127.0.0.1'").await.0, "42702", "three have this name");
        assert_eq!(refused(&admin, &format!("UNBAN '{primary}'")).await.0, "55000");
    });
}

#[test]
fn a_drained_replica_finishes_what_runs_and_keeps_no_connection() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("drain").await;
        let (load, admin) = (Load::start(&fixture, 9).await, console(&fixture).await);
        let replica = fixture.cluster.replicas[0].address().to_string();
        let reader = fixture.client().await;
        loop {
            exec(&reader, "begin read only").await;
            if value(&reader, WHERE).await == "replica1" {
                break;
            }
            exec(&reader, "commit").await;
        }
        let draining = tokio::spawn({
            let (console, drain) = (console(&fixture).await, format!("DRAIN '{replica}'"));
            async move { console.simple_query(&drain).await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!draining.is_finished(), "a transaction is open there");
        assert_eq!(on_first_replica(&fixture), 1);
        assert_eq!(value(&reader, WHERE).await, "replica1");
        exec(&reader, "commit").await;
        draining.await.expect("no panic").expect("drained");
        assert_eq!(on_first_replica(&fixture), 0);
        load.goes_on().await;
        assert!(!places(&fixture).await.contains(&"replica1".to_owned()));
        assert_eq!(on_first_replica(&fixture), 0);
        exec(&admin, &format!("UNBAN '{replica}'")).await;
        eventually("reads come back", SOON, async || {
            places(&fixture).await.contains(&"replica1".to_owned())
        })
        .await;
        let (_, errors) = load.finish().await;
        assert!(errors.is_empty(), "{errors:?}");
    });
}

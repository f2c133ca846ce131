//! What ends a command of the console, and a connection to it.

use super::{SOON, admin};
use pgmanifold_tests::client::{code, exec, value};
use pgmanifold_tests::config::CONSOLE_ADMIN;
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::raw::{self, Raw};
use pgmanifold_tests::{client, eventually, run};
use tokio_postgres::{Client, NoTls};

/// Someone in a transaction, for whom PAUSE waits.
async fn busy(fixture: &Fixture) -> Client {
    let client = fixture.client().await;
    exec(&client, "begin; create table busy (n int)").await;
    client
}

/// Connections to the console that are listed.
async fn consoles(client: &Client) -> usize {
    let rows = client::rows(client, "SHOW CLIENTS").await.expect("clients");
    rows.iter().filter(|row| row[2].as_deref() == Some("pgbouncer")).count()
}

#[test]
fn a_cancel_request_ends_a_waiting_pause() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let (busy, waits, other) =
            (busy(&fixture).await, admin(&fixture).await, admin(&fixture).await);
        let token = waits.cancel_token();
        let waiting = tokio::spawn(async move { (waits.simple_query("PAUSE").await, waits) });
        eventually("PAUSE waits", SOON, async || {
            let state = client::rows(&other, "SHOW STATE").await.expect("state");
            state.iter().any(|row| row.iter().flatten().eq(["paused", "yes"]))
        })
        .await;
        token.cancel_query(NoTls).await.expect("cancelled");
        let (ended, waits) = waiting.await.expect("no panic");
        assert_eq!(code(&ended.expect_err("cancelled")), "57014");
        exec(&waits, "RESUME").await;
        exec(&busy, "rollback").await;
    });
}

#[test]
fn statement_timeout_ends_a_waiting_pause() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let (busy, waits) = (busy(&fixture).await, admin(&fixture).await);
        exec(&waits, "SET statement_timeout = '100ms'").await;
        let ended = waits.simple_query("PAUSE").await.expect_err("it takes longer");
        assert_eq!(code(&ended), "57014");
        exec(&waits, "RESUME").await;
        exec(&busy, "rollback").await;
    });
}

#[test]
fn a_client_that_leaves_while_it_waits_is_gone() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let (busy, other) = (busy(&fixture).await, admin(&fixture).await);
        let mut leaves = Raw::connect(&fixture.address, CONSOLE_ADMIN, "pgmanifold").await;
        leaves.send(&raw::query("PAUSE")).await;
        assert_eq!(consoles(&other).await, 2);
        drop(leaves);
        eventually("it is gone", SOON, async || consoles(&other).await == 1).await;
        let _ = other.simple_query("RESUME").await;
        exec(&busy, "rollback").await;
    });
}

#[test]
fn idle_connections_are_closed() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| {
            let section = format!(
                "[console]\nadmin_users = {CONSOLE_ADMIN:?}\nclient_idle_timeout_ms = 300\n"
            );
            config.section(&section)
        })
        .await;
        let mut idle = Raw::connect(&fixture.address, CONSOLE_ADMIN, "pgmanifold").await;
        let told = idle.next().await.expect("an answer");
        assert_eq!(raw::field(&told.body, b'C').as_deref(), Some("57P05"));
        assert!(idle.is_closed().await);
    });
}

#[test]
fn kill_client_ends_a_console_connection() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let mut victim = Raw::connect(&fixture.address, CONSOLE_ADMIN, "pgmanifold").await;
        let other = admin(&fixture).await;
        exec(&other, &format!("KILL_CLIENT {}", victim.pid)).await;
        let told = victim.next().await.expect("an answer");
        assert_eq!(raw::field(&told.body, b'C').as_deref(), Some("57P01"));
        assert!(victim.is_closed().await);
        eventually("it is gone", SOON, async || consoles(&other).await == 1).await;
    });
}

#[test]
fn the_end_of_the_process_is_told() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let mut raw = Raw::connect(&fixture.address, CONSOLE_ADMIN, "pgmanifold").await;
        let watching = admin(&fixture).await;
        assert!(value(&watching, "SHOW VERSION").await.starts_with("pgmanifold"));
        tokio::task::spawn_blocking(move || drop(fixture)).await.expect("it stops");
        let told = raw.next().await.expect("an answer");
        assert_eq!(raw::field(&told.body, b'C').as_deref(), Some("57P01"));
        assert!(raw.is_closed().await);
    });
}

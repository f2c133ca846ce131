//! Two hundred clients over ten servers: advisory locks, temporary tables and LISTEN behave as on
//! one PostgreSQL.
//!
//! A session that waits for a lock holds a server while it waits. When all servers wait, the
//! holder of the lock still has its own: a session-level lock ties its session to the server it
//! was taken on, and so does a transaction. So whoever holds a lock can always release it, and
//! waiters never lock the holder out; others wait in the pool's queue, in the order they came.

use pgmanifold_tests::client::{code, exec, text, value};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::raw::{self, Raw, field, strings};
use pgmanifold_tests::run;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_postgres::Client;

/// Clients at once.
const CLIENTS: usize = 200;
/// Servers they share on the primary.
const POOL_SIZE: usize = 10;
/// Rounds of each client.
const ROUNDS: usize = 3;
/// Longest wait for the last notification.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(20);

fn ten_servers(config: ConfigText) -> ConfigText {
    config
        .pool(&format!("pool_size = {POOL_SIZE}"))
        // A turn comes when it comes: 199 others may be before it.
        .pool("checkout_timeout_ms = 90000")
}

async fn clients(fixture: &Fixture) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(fixture.client().await);
    }
    clients
}

/// What a lock protects: reads a number and writes the next one, not in one statement.
async fn add_one(client: &Client) {
    let number: u32 =
        value(client, "/* pgm: primary */ select n from counter").await.parse().expect("a number");
    exec(client, &format!("update counter set n = {}", number + 1)).await;
}

async fn counted(fixture: &Fixture) -> String {
    value(&fixture.direct().await, "select n from counter").await
}

#[test]
fn session_locks_exclude_two_hundred_clients() {
    run(240, async {
        let fixture = Fixture::shared("sessionlock", ten_servers).await;
        let make = "create table counter (n int); insert into counter values (0)";
        exec(&fixture.direct().await, make).await;
        let clients = clients(&fixture).await;
        let work = clients.iter().map(async |client| {
            for _ in 0..ROUNDS {
                exec(client, "select pg_advisory_lock(7)").await;
                add_one(client).await;
                assert_eq!(value(client, "select pg_advisory_unlock(7)").await, "t");
            }
        });
        futures_util::future::join_all(work).await;
        assert_eq!(counted(&fixture).await, (CLIENTS * ROUNDS).to_string(), "no update is lost");
        let held = "select count(*) from pg_locks where locktype = 'advisory' and database = \
                    (select oid from pg_database where datname = current_database())";
        assert_eq!(value(&fixture.direct().await, held).await, "0");
    });
}

#[test]
fn transaction_locks_exclude_two_hundred_clients() {
    run(240, async {
        let fixture = Fixture::shared("xactlock", ten_servers).await;
        let make = "create table counter (n int); insert into counter values (0)";
        exec(&fixture.direct().await, make).await;
        let clients = clients(&fixture).await;
        let work = clients.iter().map(async |client| {
            for round in 0..ROUNDS {
                exec(client, "begin").await;
                exec(client, "select pg_advisory_xact_lock(8)").await;
                add_one(client).await;
                exec(client, "commit").await;
                // One that fails lets go as well.
                exec(client, "begin; select pg_advisory_xact_lock(8)").await;
                let end = if round % 2 == 0 { "rollback" } else { "select 1; rollback" };
                exec(client, end).await;
            }
        });
        futures_util::future::join_all(work).await;
        assert_eq!(counted(&fixture).await, (CLIENTS * ROUNDS).to_string(), "no update is lost");
    });
}

#[test]
fn a_holder_releases_while_every_other_server_waits_for_it() {
    run(120, async {
        let fixture = Fixture::shared("waiters", ten_servers).await;
        let holder = fixture.client().await;
        exec(&holder, "select pg_advisory_lock(9)").await;
        let mut waiters = Vec::new();
        for _ in 0..CLIENTS / 4 {
            waiters.push(fixture.client().await);
        }
        let waiting = waiters.iter().map(async |client| {
            exec(client, "select pg_advisory_lock(9)").await;
            assert_eq!(value(client, "select pg_advisory_unlock(9)").await, "t");
        });
        let release = async {
            // All servers but the holder's wait for the lock, and the rest of the clients for them.
            let blocked = "wait_event_type = 'Lock'";
            for _ in 0..1000 {
                if fixture.server_sessions(blocked) as usize >= POOL_SIZE - 1 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(value(&holder, "select pg_advisory_unlock(9)").await, "t");
        };
        futures_util::future::join(futures_util::future::join_all(waiting), release).await;
    });
}

#[test]
fn temporary_tables_are_private_and_taken_in_turns() {
    run(240, async {
        let fixture = Fixture::shared("temptables", ten_servers).await;
        let clients = clients(&fixture).await;
        let work = clients.iter().enumerate().map(async |(number, client)| {
            for round in 0..ROUNDS {
                exec(client, &format!("create temp table mine as select {number} as n")).await;
                assert_eq!(value(client, "select n from mine").await, number.to_string());
                exec(client, &format!("insert into mine values ({round})")).await;
                assert_eq!(value(client, "select count(*) from mine").await, "2");
                exec(client, "drop table mine").await;
                let gone = client.batch_execute("select n from mine").await;
                let gone = gone.expect_err("dropped, and nobody else's is seen");
                assert_eq!(code(&gone), "42P01", "{}", text(&gone));
            }
        });
        futures_util::future::join_all(work).await;
    });
}

/// Payloads that have come on the channel, up to `last`.
async fn payloads(listener: &mut Raw, last: &str) -> Vec<String> {
    let mut found = Vec::new();
    while found.last().map(String::as_str) != Some(last) {
        let message = tokio::time::timeout(NOTIFY_TIMEOUT, listener.next()).await;
        let message = message.expect("a notification in time").expect("still connected");
        match message.tag {
            b'A' => found.push(strings(&message.body[4..]).swap_remove(1)),
            b'E' => panic!("{:?}", field(&message.body, b'M')),
            _ => {}
        }
    }
    found
}

#[test]
fn two_hundred_listeners_hear_everything_in_order() {
    run(240, async {
        let fixture = Fixture::shared("listeners", ten_servers).await;
        let mut listeners = Vec::new();
        for _ in 0..CLIENTS {
            let mut raw = fixture.raw().await;
            let answer = raw.ask(&raw::query("listen everybody"), 1).await;
            assert!(answer.contains("LISTEN"), "{answer}");
            listeners.push(raw);
        }
        let senders: Vec<Client> = {
            let mut senders = Vec::new();
            for _ in 0..POOL_SIZE {
                senders.push(fixture.client().await);
            }
            senders
        };
        let send = senders.iter().enumerate().map(async |(number, client)| {
            for round in 0..ROUNDS * 10 {
                exec(client, &format!("notify everybody, '{number}:{round}'")).await;
            }
        });
        futures_util::future::join_all(send).await;
        exec(&senders[0], "notify everybody, 'end'").await;
        let mut heard = Vec::new();
        for listener in &mut listeners {
            heard.push(payloads(listener, "end").await);
        }
        let first = &heard[0];
        let distinct: BTreeSet<&String> = first.iter().collect();
        assert_eq!((first.len(), distinct.len()), (301, 301), "each comes once");
        assert!(heard.iter().all(|one| one == first), "all hear the same in the same order");
        for sender in 0..POOL_SIZE {
            let prefix = format!("{sender}:");
            let rounds = first.iter().filter_map(|one| one.strip_prefix(&prefix));
            let rounds: Vec<usize> = rounds.map(|round| round.parse().unwrap()).collect();
            assert!(rounds.is_sorted(), "one sender's order: {rounds:?}");
        }
    });
}

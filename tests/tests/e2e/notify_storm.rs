//! LISTEN and NOTIFY with many clients, and with clients and servers that fail: nothing is lost
//! while a session lives, and one that would miss something is told.

use crate::failure::breakable;
use pgmanifold::config::model::Address;
use pgmanifold::demo::postgres::Stop;
use pgmanifold_tests::client::value;
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::raw::{self, Raw, field};
use pgmanifold_tests::{eventually, random, run};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::{Duration, Instant};

/// Longest time until what happened to a server or a session has been noticed.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(15);
/// Clients of the storm, over ten servers.
const STORM_CLIENTS: usize = 200;
/// Channels they share.
const STORM_CHANNELS: usize = 12;
/// Clients that notify.
const STORM_SENDERS: usize = 40;
/// Transactions of each sender.
const STORM_ROUNDS: usize = 30;

/// Sends notifications and returns, per channel, what was committed, in order.
async fn storm_sender(mut raw: Raw, sender: usize, mut random: StdRng) -> Vec<(usize, String)> {
    let mut sent = Vec::new();
    for round in 0..STORM_ROUNDS {
        let mut batch = Vec::new();
        for number in 0..random.random_range(1..4) {
            let channel = random.random_range(0..STORM_CHANNELS);
            batch.push((channel, format!("{sender}/{round}/{number}")));
        }
        let (commit, explicit) = (random.random_bool(0.8), random.random_bool(0.7));
        let notify = |(channel, payload): &(usize, String)| match round % 2 {
            0 => format!("NOTIFY storm_{channel}, '{payload}'"),
            _ => format!("SELECT pg_notify('storm_{channel}', '{payload}')"),
        };
        if explicit {
            raw.ask(&raw::query("BEGIN"), 1).await;
            for notification in &batch {
                raw.ask(&raw::query(&notify(notification)), 1).await;
            }
            raw.ask(&raw::query(if commit { "COMMIT" } else { "ROLLBACK" }), 1).await;
        } else {
            batch.truncate(1);
            raw.ask(&raw::query(&notify(&batch[0])), 1).await;
        }
        if commit || !explicit {
            sent.extend(batch);
        }
    }
    sent
}

/// Reads notifications until the last; returns channel and payload.
async fn storm_listener(mut raw: Raw) -> (Vec<(String, String)>, bool) {
    let mut had = Vec::new();
    let mut senders_known = true;
    loop {
        let message = raw.next().await.expect("the session lives");
        if message.tag != b'A' {
            continue;
        }
        let texts = raw::strings(&message.body[4..]);
        if texts[0] == "storm_end" {
            return (had, senders_known);
        }
        senders_known &= message.body[..4] != [0; 4];
        had.push((texts[0].clone(), texts[1].clone()));
    }
}

async fn storm_listen(address: &Address, database: &str, channels: &[usize]) -> Raw {
    let mut raw = Raw::connect(address, USER, database).await;
    for channel in channels {
        let answer = raw.ask(&raw::query(&format!("LISTEN storm_{channel}")), 1).await;
        assert_eq!(answer, "C LISTEN\\x00\nZ I\n");
    }
    raw.ask(&raw::query("LISTEN storm_end"), 1).await;
    raw
}

#[test]
fn a_storm_reaches_two_hundred_listeners_in_order_and_complete() {
    if is_direct() {
        return;
    }
    let mut random = random::seeded("notify storm");
    run(150, async move {
        let fixture = Fixture::shared("notify_storm", |config| config.pool("pool_size = 10")).await;
        let (address, database) = (fixture.address.clone(), fixture.database.clone());
        let direct = fixture.cluster.primary.address();
        let all: Vec<usize> = (0..STORM_CHANNELS).collect();
        let reference = storm_listen(&direct, &database, &all).await;
        let reference = tokio::spawn(storm_listener(reference));
        let mut listeners = Vec::new();
        for _ in 0..STORM_CLIENTS - STORM_SENDERS {
            let mut channels = all.clone();
            channels.retain(|_| random.random_bool(0.4));
            let raw = storm_listen(&address, &database, &channels).await;
            listeners.push((channels, tokio::spawn(storm_listener(raw))));
        }
        let mut senders = Vec::new();
        for sender in 0..STORM_SENDERS {
            let raw = Raw::connect(&address, USER, &database).await;
            let random = StdRng::seed_from_u64(random.random());
            senders.push(tokio::spawn(storm_sender(raw, sender, random)));
        }
        let mut sent = 0;
        for sender in senders {
            sent += sender.await.expect("a sender").len();
        }
        fixture.direct().await.batch_execute("notify storm_end").await.expect("the end");
        let (reference, _) = reference.await.expect("the direct listener");
        assert_eq!(reference.len(), sent, "the direct listener has everything");
        let (mut delivered, mut known) = (0, 0);
        for (channels, listener) in listeners {
            let (had, senders_known) = listener.await.expect("a listener");
            let names: Vec<String> =
                channels.iter().map(|channel| format!("storm_{channel}")).collect();
            let wanted: Vec<&(String, String)> =
                reference.iter().filter(|(channel, _)| names.contains(channel)).collect();
            assert_eq!(had.iter().collect::<Vec<_>>(), wanted, "of {names:?}");
            delivered += had.len();
            known += usize::from(senders_known);
        }
        println!("{sent} sent, {delivered} delivered, {known} listeners");
        let servers = fixture.server_sessions("query like '%storm%'");
        assert!(servers <= 10 + 2, "{servers} server connections");
    });
}

#[test]
fn a_client_that_does_not_read_is_closed_and_others_go_on() {
    if is_direct() {
        return;
    }
    run(100, async {
        let fixture = Fixture::shared("notify_full", |config| {
            config.pool("pool_size = 4").pool("notify_queue_bytes = 65536")
        })
        .await;
        let connect = async || Raw::connect(&fixture.address, USER, &fixture.database).await;
        let (mut stuck, mut reader, mut sender) =
            (connect().await, connect().await, connect().await);
        stuck.ask(&raw::query("LISTEN big"), 1).await;
        reader.ask(&raw::query("LISTEN big"), 1).await;
        stuck.ask(&raw::query("BEGIN; SELECT 1"), 1).await;
        let payload = "x".repeat(7000);
        for number in 0..20 {
            sender.ask(&raw::query(&format!("NOTIFY big, '{number}{payload}'")), 1).await;
            let message = reader.next().await.expect("a notification");
            assert_eq!(message.tag, b'A');
        }
        let last = stuck.until(b'E').await.pop().expect("an error");
        assert_eq!(field(&last.body, b'C').as_deref(), Some("53400"));
        assert!(stuck.is_closed().await);
    });
}

#[test]
fn listeners_are_closed_when_the_primary_restarts_and_can_listen_again() {
    breakable(100, async |cluster| {
        let fixture =
            Fixture::on(cluster, "notify_loss", |config| config.pool("pool_size = 4")).await;
        let connect = async || Raw::connect(&fixture.address, USER, &fixture.database).await;
        let (mut listener, mut other) = (connect().await, connect().await);
        listener.ask(&raw::query("LISTEN news"), 1).await;
        fixture.cluster.primary.stop(Stop::Immediate).expect("stop");
        let last = listener.until(b'E').await.pop().expect("an error");
        assert_eq!(field(&last.body, b'S').as_deref(), Some("FATAL"));
        assert_eq!(field(&last.body, b'C').as_deref(), Some("57P01"));
        assert!(listener.is_closed().await);
        fixture.cluster.primary.start().expect("start");
        // A session that did not listen is not concerned; one that comes back listens again.
        let mut listener = connect().await;
        works_again(&mut listener, "LISTEN news").await;
        works_again(&mut other, "NOTIFY news, 'back'").await;
        let message = listener.next().await.expect("a notification");
        assert_eq!((message.tag, &message.body[4..]), (b'A', &b"news\0back\0"[..]));
    });
}

#[test]
fn listening_costs_no_server_and_ends_with_the_session() {
    if is_direct() {
        return;
    }
    run(60, async {
        let fixture = Fixture::shared("notify_ends", |config| config.pool("pool_size = 1")).await;
        let connect = async || Raw::connect(&fixture.address, USER, &fixture.database).await;
        let mut listeners = Vec::new();
        for number in 0..5 {
            let mut raw = connect().await;
            raw.ask(&raw::query(&format!("LISTEN c{number}; ")), 1).await;
            // One server serves them all in turn.
            let answer = raw.ask(&raw::query("BEGIN; SELECT 1; COMMIT"), 1).await;
            assert!(answer.ends_with("Z I\n"), "{answer}");
            listeners.push(raw);
        }
        let heard = "select string_agg(c, ',') from pg_listening_channels() c";
        println!("own server listens to: {}", value(&fixture.client().await, heard).await);
        let listener = "application_name = 'pgmanifold listener'";
        assert_eq!(fixture.server_sessions(listener), 1);
        drop(listeners);
        let left = format!("{listener} and query like 'UNLISTEN%'");
        eventually("nobody listens", NOTICE_TIMEOUT, async || fixture.server_sessions(&left) == 1)
            .await;
    });
}

/// Sends a query until it succeeds.
async fn works_again(raw: &mut Raw, sql: &str) {
    let deadline = Instant::now() + NOTICE_TIMEOUT;
    loop {
        let answer = raw.ask(&raw::query(sql), 1).await;
        if answer.starts_with("C ") {
            return;
        }
        assert!(Instant::now() < deadline, "{sql}: {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

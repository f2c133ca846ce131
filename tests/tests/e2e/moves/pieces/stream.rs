//! What is copied and what is streamed are together everything, and nothing is in both.

use super::world::{Counting, LIMIT, LOCK_TIMEOUT, World, until_done};
use pgmanifold_rebalancer::connect::{Session, primary};
use pgmanifold_rebalancer::replicate::{self, Direction};
use pgmanifold_rebalancer::{cleanup, copy, snapshot};
use pgmanifold_tests::random::seeded;
use pgmanifold_tests::run;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::RwLock;

const WRITERS: usize = 6;
const ROUNDS: i64 = 8;
const KEYS: u32 = 600;

/// What writers and test share: who writes holds the gate for reading.
#[derive(Default)]
struct Shared {
    gate: RwLock<()>,
    over: AtomicBool,
    written: AtomicU64,
}

#[test]
fn snapshot_and_stream_are_everything_and_nothing_twice() {
    run(240, async {
        let mut random = seeded("stream");
        let world = World::private("stream").await;
        world.fill(KEYS).await;
        let shared = Arc::new(Shared::default());
        let mut writers = Vec::new();
        for number in 0..WRITERS {
            let session = primary(&world.configs[0].server, "writer").await.expect("a session");
            let random = StdRng::seed_from_u64(random.random());
            writers.push(tokio::spawn(write(session, number, random, shared.clone())));
        }
        for round in 1..=ROUNDS {
            one_round(&world, round, &shared).await;
        }
        shared.over.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.expect("a writer");
        }
        println!("{} transactions in {ROUNDS} rounds", shared.written.load(Ordering::Relaxed));
        assert!(world.leftovers(&world.source).await.is_empty());
        assert!(world.leftovers(&world.target).await.is_empty());
    });
}

async fn one_round(world: &World, round: i64, shared: &Shared) {
    let (scope, forward) = (world.scope(round), Direction::Forward);
    let [west, east] = &world.configs;
    replicate::publish(&world.source, scope, forward).await.expect("a publication");
    until_done("slot", || replicate::slot(&world.source, round, forward)).await;
    let taken = until_done("snapshot", || snapshot::exact(west, scope, LOCK_TIMEOUT)).await;
    let pace = Arc::new(Counting::default());
    let copied = copy::copy(west, east, scope, &taken, 2, pace.clone()).await.expect("a copy");
    assert_eq!(pace.rows.load(Ordering::Relaxed), copied.rows);
    let from = taken.lsn.clone();
    drop(taken);
    replicate::subscribe(&world.target, round, forward, &west.subscription, &from)
        .await
        .expect("a subscription");
    follow(world, round).await;
    {
        let _closed = shared.gate.write().await;
        follow(world, round).await;
        assert_eq!(
            world.rows(&world.source).await,
            world.rows(&world.target).await,
            "round {round}"
        );
    }
    let standing = replicate::standing(&world.source, round, forward).await.expect("a slot");
    assert!(standing.exists && standing.active && !standing.lost, "{standing:?}");
    replicate::remove_all(round, Some(&world.source), Some(&world.target)).await.expect("removal");
    let pace = Counting::default();
    let purged = cleanup::purge(&world.target, scope, 100, &pace).await.expect("a purge");
    assert_eq!(purged, pace.rows.load(Ordering::Relaxed));
    assert!(world.rows(&world.target).await.iter().all(|rows| rows.starts_with("0 ")));
}

async fn follow(world: &World, round: i64) {
    let forward = Direction::Forward;
    let number = replicate::mark(&world.source, round, forward).await.expect("a marker");
    let there = replicate::wait_marker(&world.target, round, forward, number, LIMIT).await;
    assert!(there.expect("the worker works"), "the marker of round {round} arrives");
}

/// Short transactions over all tables, some prepared, some not waiting for the disk.
async fn write(session: Session, number: usize, mut random: StdRng, shared: Arc<Shared>) {
    let relaxed = if number.is_multiple_of(2) { "off" } else { "on" };
    let settings = format!("set synchronous_commit = {relaxed}; set search_path = public");
    session.run(&settings).await.expect("settings");
    let mut count = 0_u64;
    while !shared.over.load(Ordering::Relaxed) {
        let _open = shared.gate.read().await;
        count += 1;
        let key = random.random_range(1..=KEYS);
        let day = random.random_range(0..20);
        let place = format!("{key} and pg_catalog.hashint8extended(id, 0) < 0");
        let change = match random.random_range(0..8) {
            0 => format!("update odd set price = price + 0.01 where id = {place}"),
            1 => format!("update odd set wide = repeat('{count}', 5000) where id = {place}"),
            2 => format!("delete from event where id = {place} and day = {day}"),
            3 => format!(
                "insert into event select id, {day}, 'w{number}' from acct where id = {place} \
                 on conflict (id, day) do update set note = event.note || '+', day = excluded.day"
            ),
            4 => format!(
                "update event set day = (day + 7) % 20 where id = {place} and not exists \
                 (select from event e where e.id = event.id and e.day = (event.day + 7) % 20)"
            ),
            5 => format!(
                "delete from acct where id = {place}; \
                 insert into acct select {key}, {count}, 'again' \
                 where pg_catalog.hashint8extended({key}, 0) < 0 on conflict do nothing"
            ),
            6 => "update acct set n = n + 1 where id % 7 = 3".to_owned(),
            _ => {
                format!("update acct set n = n + 1, last = 'w{number}-{count}' where id = {place}")
            }
        };
        let sql = match random.random_range(0..10) {
            0 => format!("begin; {change}; prepare transaction 'w{number}'"),
            1 => format!("begin; {change}; rollback"),
            _ => format!("begin; update acct set n = n + 1 where id = {place}; {change}; commit"),
        };
        match session.run(&sql).await {
            Ok(()) if sql.contains("prepare transaction") => {
                let commit = format!("commit prepared 'w{number}'");
                session.run(&commit).await.expect("a commit");
                shared.written.fetch_add(1, Ordering::Relaxed)
            }
            Ok(()) => shared.written.fetch_add(1, Ordering::Relaxed),
            Err(error)
                if error.sqlstate() == Some("40P01") || error.sqlstate() == Some("23505") =>
            {
                session.run("rollback").await.expect("rollback");
                0
            }
            Err(error) => panic!("{sql}: {error}"),
        };
    }
}

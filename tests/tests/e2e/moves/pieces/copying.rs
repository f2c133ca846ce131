//! What is copied arrives as it was, quickly; what is stopped or repeated leaves nothing behind.

use super::world::{Counting, World};
use pgmanifold_rebalancer::{cleanup, copy, sequences, snapshot};
use pgmanifold_tests::run;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Rows for the measurement; `PGM_COPY_ROWS` names others.
const ROWS: u64 = 200_000;

#[test]
fn rows_of_a_snapshot_arrive_as_they_were_at_some_rate() {
    run(300, async {
        let world = World::new("rate").await;
        let given = std::env::var("PGM_COPY_ROWS").ok().and_then(|text| text.parse().ok());
        let rows: u64 = given.unwrap_or(ROWS);
        let fill = format!(
            "insert into public.acct select g, g, 'a narrow row' from generate_series(1, {}) g \
             where hashint8extended(g, 0) < 0",
            rows * 4
        );
        world.source.run(&fill).await.expect("rows");
        let (scope, [west, east]) = (world.scope(1), &world.configs);
        let taken = snapshot::plain(west).await.expect("a snapshot");
        let begun = Instant::now();
        let pace = Arc::new(Counting::default());
        let copied = copy::copy(west, east, scope, &taken, 2, pace.clone()).await.expect("a copy");
        let took = begun.elapsed().as_secs_f64();
        println!(
            "copied {} rows, {} bytes in {took:.3} s: {:.0} rows/s",
            copied.rows,
            copied.bytes,
            copied.rows as f64 / took
        );
        assert_eq!(pace.bytes.load(Ordering::Relaxed), copied.bytes);
        assert_eq!(world.rows(&world.source).await, world.rows(&world.target).await);
        let begun = Instant::now();
        let purged = cleanup::purge(&world.target, scope, 5000, &Counting::default()).await;
        assert_eq!(purged.expect("a purge"), copied.rows);
        println!("purged them in {:.3} s", begun.elapsed().as_secs_f64());
    });
}

#[test]
fn a_copy_that_is_stopped_can_be_begun_again() {
    run(120, async {
        let world = World::new("again").await;
        world.fill(4000).await;
        let (scope, [west, east]) = (world.scope(1), &world.configs);
        let taken = snapshot::plain(west).await.expect("a snapshot");
        let pace = Arc::new(Counting::default());
        pace.stop_after.store(3000, Ordering::Relaxed);
        let stopped = copy::copy(west, east, scope, &taken, 2, pace).await;
        assert!(stopped.expect_err("it is stopped").to_string().contains("enough"));
        let other = "insert into public.acct select g, 7, 'own' from generate_series(1, 4000) g \
                     where hashint8extended(g, 0) >= 0";
        world.target.run(other).await.expect("rows of the target's own");
        // What the workers had under way is rolled back soon after.
        let pace = Counting::default();
        pace.stop_after.store(200, Ordering::Relaxed);
        let stopped = cleanup::purge(&world.target, scope, 100, &pace).await;
        assert!(stopped.is_err() || pace.rows.load(Ordering::Relaxed) < 200);
        pgmanifold_tests::eventually("nothing is left", super::world::LIMIT, async || {
            let purge = cleanup::purge(&world.target, scope, 100, &Counting::default()).await;
            purge.expect("a purge");
            world.rows(&world.target).await.iter().all(|rows| rows.starts_with("0 "))
        })
        .await;
        let pace = Arc::new(Counting::default());
        copy::copy(west, east, scope, &taken, 4, pace).await.expect("a copy");
        assert_eq!(world.rows(&world.source).await, world.rows(&world.target).await);
        let own = world.target.value("select count(*) from public.acct where n = 7").await;
        let all = "select count(*) from generate_series(1, 4000) g where \
                   hashint8extended(g, 0) >= 0";
        assert_eq!(own.expect("a count"), world.target.value(all).await.expect("a count"));
    });
}

#[test]
fn a_row_that_is_there_already_is_an_error_that_names_it() {
    run(60, async {
        let world = World::new("twice").await;
        world.fill(100).await;
        let (scope, [west, east]) = (world.scope(1), &world.configs);
        let taken = snapshot::plain(west).await.expect("a snapshot");
        let copy =
            async || copy::copy(west, east, scope, &taken, 1, Arc::new(Counting::default())).await;
        copy().await.expect("a copy");
        let error = copy().await.expect_err("they are there");
        assert_eq!(error.sqlstate(), Some("23505"), "{error}");
        assert!(error.to_string().starts_with("shard east ("), "{error}");
    });
}

#[test]
fn sequences_come_beyond_those_of_the_other_shard() {
    run(60, async {
        let world = World::new("sequences").await;
        let scope = world.scope(1);
        let sequence = "public.odd_seq_seq";
        let next = async || {
            let sql = format!("select nextval('{sequence}')");
            world.target.value(&sql).await.expect("a number").expect("a number")
        };
        let set = |value: i64| format!("select setval('{sequence}', {value})");
        sequences::carry(&world.source, &world.target, scope).await.expect("nothing to do");
        assert_eq!(next().await, "1");
        world.source.run(&set(5000)).await.expect("setval");
        sequences::carry(&world.source, &world.target, scope).await.expect("drawn");
        assert_eq!(next().await, "5001");
        world.source.run(&set(50_000_000)).await.expect("setval");
        sequences::carry(&world.source, &world.target, scope).await.expect("leapt");
        assert_eq!(next().await, "50000001");
        // Set apart: each shard keeps the numbers that leave its own rest.
        let apart = format!("alter sequence {sequence} increment by 1024 restart with ");
        world.source.run(&format!("{apart} {}", 1024 * 60_000)).await.expect("apart");
        world.target.run(&format!("{apart} {}", 1024 * 100 + 1)).await.expect("apart");
        world.source.run(&format!("select nextval('{sequence}')")).await.expect("a number");
        sequences::carry(&world.source, &world.target, scope).await.expect("carried");
        assert_eq!(next().await, (1024 * 60_000 + 1).to_string());
        sequences::carry(&world.source, &world.target, scope).await.expect("nothing to do");
        assert_eq!(next().await, (1024 * 60_001 + 1).to_string());
    });
}

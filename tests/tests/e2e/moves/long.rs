//! Transactions that stay open are the enemy of a change of hands: it happens all the same, and
//! nobody waits for long. Of 3 s; `PGM_LONG_S` sets another length.

use pgmanifold_tests::client;
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::moves::course::Wanted;
use pgmanifold_tests::moves::judge::assert_clean;
use pgmanifold_tests::moves::ownership::hash;
use pgmanifold_tests::moves::workload::{Load, Workload};
use pgmanifold_tests::moves::{Moves, Options};
use pgmanifold_tests::{random, run};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn transactions_of_800_ms() {
    with_transactions("moves_long", Duration::from_millis(800), Duration::ZERO, &[]);
}

/// They are waited for. One after the other without a gap they could be for long: who waits for a
/// lock gives up again and again, so that others go on.
#[test]
fn transactions_of_seconds() {
    with_transactions("moves_longer", long(), long() / 2, &[]);
}

#[test]
fn transactions_of_seconds_that_are_ended() {
    let limits = &["end_blockers_after_ms = 1000"];
    with_transactions("moves_ended", long(), Duration::ZERO, limits);
}

fn long() -> Duration {
    let seconds = std::env::var("PGM_LONG_S").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// A client keeps one row of the keys locked, again and again for so long, while they move.
fn with_transactions(
    test: &'static str,
    length: Duration,
    gap: Duration,
    limits: &'static [&'static str],
) {
    run(400, async move {
        let mut random = random::seeded(test);
        let mut options = Options::new(test);
        options.limits = super::quick_limits();
        // Transactions are waited for: no proxy is cut off because of one.
        options.limits.retain(|limit| !limit.starts_with("acknowledge_timeout_ms"));
        options.limits.extend(limits.iter().map(|limit| (*limit).to_owned()));
        let moves = Moves::start(options).await;
        let mut workload = Workload::new(&moves, Load::default()).await;
        workload.begin(&moves.backstage, &mut random);
        let wanted = Wanted::any(&moves, &mut random);
        workload.watch(Some((wanted.from, wanted.last)));
        let inside = |key: &i64| (wanted.from..=wanted.last).contains(&hash(*key));
        // One of the rows that no client of the workload changes.
        let key = (-1000..0_i64).find(inside).expect("there is one");
        let stop = Arc::new(AtomicBool::new(false));
        let address = moves.proxies[0].address();
        let locking = lock(address, moves.database.clone(), key, (length, gap), Arc::clone(&stop));
        let locking = moves.backstage.spawn(locking);
        tokio::time::sleep(Duration::from_millis(300)).await;
        workload.report();
        let began = Instant::now();
        let applied = moves.apply(&wanted, &[]).await;
        println!("{:?} after {:?}:\n{}", applied.code, began.elapsed(), applied.all());
        stop.store(true, Ordering::Relaxed);
        let row = moves.last_move().expect("a move");
        println!("{row:?}\n{}", workload.report());
        println!("transactions: {:?}", locking.await.expect("no panic"));
        if applied.code != Some(0) {
            // It has said so and let everybody go on; without such transactions it works.
            assert_eq!(applied.code, Some(4), "{}", applied.all());
            let why = ["update entries set filler", "no long transaction"];
            assert!(why.iter().any(|text| applied.all().contains(text)), "{}", applied.all());
            moves.rebalancer.run(&["resume"]).await.succeeds();
        }
        let row = moves.last_move().expect("a move");
        assert_eq!(row.state, "reversible");
        moves.rebalancer.run(&["cleanup", &row.id]).await.succeeds();
        workload.end().await;
        moves.assert_tidy().await;
        workload.assert_quiet();
        assert_clean(&moves, &workload);
    });
}

/// How many of the transactions were committed, and what the others were told.
async fn lock(
    address: pgmanifold::config::model::Address,
    database: String,
    key: i64,
    (length, gap): (Duration, Duration),
    stop: Arc<AtomicBool>,
) -> (u32, Vec<String>) {
    let (mut committed, mut errors) = (0, Vec::new());
    let mut client = client::connect(&address, USER, &database).await;
    while !stop.load(Ordering::Relaxed) {
        let touch = format!("update entries set filler = filler where customer = {key}");
        let result = async {
            client.batch_execute("begin").await?;
            client.batch_execute(&touch).await?;
            let until = Instant::now() + length;
            while Instant::now() < until && !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            client.batch_execute(&touch).await?;
            client.batch_execute("commit").await
        }
        .await;
        match result {
            Ok(()) => {
                committed += 1;
                tokio::time::sleep(gap).await;
            }
            Err(error) => {
                errors.push(client::text(&error));
                client = client::connect(&address, USER, &database).await;
            }
        }
    }
    (committed, errors)
}

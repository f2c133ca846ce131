//! The rebalancer, servers and proxies are killed at every step of a move; somebody goes on with
//! it or gives it up, and nothing is left behind. 6 kills; `PGM_MOVE_KILLS` sets another number,
//! `PGM_SEED` repeats a run's choices.

use pgmanifold::demo::postgres::Postgres;
use pgmanifold_rebalancer::engine::CHECKPOINTS;
use pgmanifold_tests::moves::course::Wanted;
use pgmanifold_tests::moves::judge::{assert_clean, told};
use pgmanifold_tests::moves::workload::{Load, Workload};
use pgmanifold_tests::moves::{Moves, Options};
use pgmanifold_tests::{eventually, random, run};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Without `PGM_MOVE_KILLS`.
const DEFAULT_KILLS: usize = 6;
/// Kills between two judgements.
const KILLS_PER_PHASE: usize = 10;

/// By which command the rebalancer comes to a place; one it would never come to is a mistake here.
fn command_to(place: &str) -> &'static str {
    let state = place.split('.').next().unwrap_or_default();
    match (state, place) {
        (_, "copying.paused" | "copying.fenced") => "offline",
        ("planned" | "announced" | "copying" | "catching_up", _) => "apply",
        ("verifying" | "ready" | "flipped", _) => "apply",
        ("reversible" | "cleaning", _) => "cleanup",
        ("aborting", _) => "abort",
        ("rolling_back" | "returning", _) => "rollback",
        _ => panic!("{place}: no command is known"),
    }
}

/// What is killed when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strike {
    /// The rebalancer, at a place it has come to by this command.
    At(&'static str, &'static str),
    /// The rebalancer, at any moment of this command.
    Rebalancer(&'static str),
    /// The source, the target, the catalog or a proxy, at any moment of this command.
    Other(&'static str, &'static str),
}

/// Every place once, and as many of the rest, in any order.
fn strikes(random: &mut StdRng, count: usize) -> Vec<Strike> {
    let mut all = Vec::new();
    while all.len() < count {
        let places = CHECKPOINTS.iter().map(|place| Strike::At(command_to(place), place));
        let mut round: Vec<Strike> = places.collect();
        for command in ["apply", "cleanup", "rollback", "abort"] {
            round.extend([Strike::Rebalancer(command); 5]);
            for other in ["source", "target", "catalog", "proxy"] {
                round.extend([Strike::Other(other, command); 2]);
            }
        }
        round.shuffle(random);
        all.extend(round);
    }
    all.truncate(count);
    all
}

#[test]
fn kills_leave_nothing_behind() {
    let kills = std::env::var("PGM_MOVE_KILLS").ok().and_then(|text| text.parse().ok());
    let kills = kills.unwrap_or(DEFAULT_KILLS);
    let limit = 180 + 30 * u64::try_from(kills).expect("a small number");
    run(limit, async move {
        let mut random = random::seeded("kills");
        let began = Instant::now();
        let mut options = Options::new("moves_kills");
        options.replicas = 1;
        options.limits = super::quick_limits();
        let mut moves = Moves::start(options).await;
        let load = Load {
            clients: 6,
            rows: 8000,
            pace: Duration::from_millis(15),
            replicas: true,
            ..Load::default()
        };
        let mut workload = Workload::new(&moves, load).await;
        let mut ends: BTreeMap<String, u32> = BTreeMap::new();
        for (number, phase) in strikes(&mut random, kills).chunks(KILLS_PER_PHASE).enumerate() {
            workload.begin(&moves.backstage, &mut random);
            for strike in phase {
                let since = Instant::now();
                println!("{strike:?} …");
                let end = one(&mut moves, *strike, &mut random).await;
                println!("{strike:?}: {end} after {:?}", since.elapsed());
                *ends.entry(end).or_default() += 1;
                workload.assert_quiet();
            }
            workload.end().await;
            settle(&moves).await;
            moves.assert_tidy().await;
            println!("phase {number} after {:?}: {}", began.elapsed(), told(workload.ledgers()));
            assert_clean(&moves, &workload);
        }
        println!("{kills} kills, moves ended: {ends:?}");
        println!("{}", workload.report());
    });
}

/// A move, killed once on its way, and brought to an end.
async fn one(moves: &mut Moves, strike: Strike, random: &mut StdRng) -> String {
    let wanted = Wanted::any(moves, random);
    let id_before = moves.last_move().map(|row| row.id);
    let (command, halt) = match strike {
        Strike::At(command, place) => (command, Some(place)),
        Strike::Rebalancer(command) | Strike::Other(_, command) => (command, None),
    };
    let mut running = match command {
        "apply" => moves.begin(&wanted, &[], halt),
        "offline" => moves.begin(&wanted, &["--mode", "offline"], halt),
        "abort" => {
            let places =
                ["announced.slot", "copying.copied", "catching_up.caught_up", "ready.fenced"];
            // Where nothing is copied, there is nothing to delete.
            let first = usize::from(halt == Some("aborting.batch"));
            let place = places[random.random_range(first..places.len())];
            moves.come_to(moves.begin(&wanted, &[], Some(place)), place).await.kill().await;
            let id = moves.last_move().expect("a move").id;
            moves.rebalancer.spawn(&["abort", &id], halt)
        }
        _ => {
            moves.reach_reversible(&wanted).await;
            let id = moves.last_move().expect("a move").id;
            moves.rebalancer.spawn(&[command, &id], halt)
        }
    };
    match strike {
        Strike::At(_, place) => running = moves.come_to(running, place).await,
        Strike::Other(..) => {
            // Who is not killed goes on: the move has to be there for another one to end it.
            let is_known = async || moves.last_move().map(|row| row.id) != id_before;
            eventually("the move is in the catalog", Duration::from_secs(30), is_known).await;
            any_moment(random).await;
        }
        Strike::Rebalancer(_) => any_moment(random).await,
    }
    if let Strike::Other(other, _) = strike {
        kill(moves, other, &wanted, random).await;
    } else {
        running.kill().await;
    }
    // Another one may go on before the first has ended.
    let end = moves.finish(random).await;
    moves.assert_tidy().await;
    end
}

async fn any_moment(random: &mut StdRng) {
    let pause = random.random_range(0..1200);
    tokio::time::sleep(Duration::from_millis(pause)).await;
}

async fn kill(moves: &mut Moves, other: &str, wanted: &Wanted, random: &mut StdRng) {
    let pause = Duration::from_millis(random.random_range(0..500));
    let restart = |server: &Postgres| {
        server.kill();
        std::thread::sleep(pause);
        server.start().expect("a server starts again");
    };
    match other {
        "source" => restart(moves.shard(wanted.source)),
        "target" => restart(moves.shard(wanted.target)),
        "catalog" => restart(&moves.catalog.primary),
        _ => {
            let at = random.random_range(0..moves.proxies.len());
            moves.proxies[at].kill(pause).await;
        }
    }
}

/// Waits until nothing is in doubt.
async fn settle(moves: &Moves) {
    eventually("nothing is in doubt", Duration::from_secs(30), async || {
        moves.shards.iter().all(|shard| {
            let count = shard.primary.value("select count(*) from pg_prepared_xacts");
            count.is_ok_and(|count| count == "0")
        })
    })
    .await;
}

//! Ranges go there and back under load, while a proxy stands still or does not reach the catalog
//! and comes back with an old map. 4 moves; `PGM_MOVES` sets another number.

use pgmanifold_tests::moves::course::Wanted;
use pgmanifold_tests::moves::judge::{assert_clean, told};
use pgmanifold_tests::moves::workload::{Load, Workload};
use pgmanifold_tests::moves::{Moves, Options};
use pgmanifold_tests::{random, run};
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::{Duration, Instant};

/// Without `PGM_MOVES`.
const DEFAULT_MOVES: u64 = 4;

#[test]
fn back_and_forth() {
    let moves = std::env::var("PGM_MOVES").ok().and_then(|text| text.parse().ok());
    let wanted: u64 = moves.unwrap_or(DEFAULT_MOVES);
    run(120 + 30 * wanted, async move {
        let mut random = random::seeded("back and forth");
        let mut options = Options::new("moves_back");
        // Reads on them see what was written, also before the keys had changed hands.
        options.replicas = 1;
        options.limits = super::quick_limits();
        let moves = Moves::start(options).await;
        let mut workload = Workload::new(&moves, Load { replicas: true, ..Load::default() }).await;
        workload.begin(&moves.backstage, &mut random);
        let mut pauses = Pauses::default();
        for number in 1..=wanted {
            one(&moves, &mut workload, &mut random, number, &mut pauses).await;
        }
        workload.end().await;
        println!("{}", told(workload.ledgers()));
        pauses.print();
        assert_clean(&moves, &workload);
    });
}

/// How long writes waited, by move: as the rebalancer says, and as clients felt it.
#[derive(Default)]
struct Pauses {
    said: Vec<f64>,
    felt: Vec<f64>,
}

impl Pauses {
    fn print(&mut self) {
        for (what, times) in [("said", &mut self.said), ("felt", &mut self.felt)] {
            times.sort_by(f64::total_cmp);
            let at = |part: usize| times.get(times.len() * part / 100).or(times.last()).copied();
            println!(
                "write pauses {what}, ms: p50 {:?}, p99 {:?}, max {:?}",
                at(50),
                at(99),
                times.last()
            );
        }
    }
}

async fn one(
    moves: &Moves,
    workload: &mut Workload,
    random: &mut StdRng,
    number: u64,
    pauses: &mut Pauses,
) {
    let wanted = Wanted::any(moves, random);
    workload.watch(Some((wanted.from, wanted.last)));
    workload.report();
    let began = Instant::now();
    let mut running = moves.begin(&wanted, &[], None);
    // Any moment of a move may be the one.
    tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
    let trouble = trouble(moves, random).await;
    let still_running = running.is_running();
    let applied = running.end().await.succeeds();
    let row = moves.last_move().expect("a move");
    assert_eq!(row.state, "reversible", "{applied}");
    let report = workload.report();
    moves.verify_map().await;
    let end = if random.random_bool(0.5) { "cleanup" } else { "rollback" };
    let second = trouble_meanwhile(moves, random, &[end, &row.id]).await;
    moves.assert_tidy().await;
    workload.assert_quiet();
    println!(
        "move {number}: s{} to s{}, {trouble} ({}), then {end} ({second}); {:?}; paused {:?} ms, \
         longest write {:?}",
        wanted.source,
        wanted.target,
        if still_running { "during" } else { "after" },
        began.elapsed(),
        row.write_pause_ms,
        report.longest_write_inside(),
    );
    println!("{report}");
    pauses.said.extend(row.write_pause_ms);
    if trouble == "nothing" {
        pauses.felt.push(report.longest_write_inside().as_secs_f64() * 1000.0);
    }
}

/// The end of a move, and something happens to a proxy meanwhile.
async fn trouble_meanwhile(moves: &Moves, random: &mut StdRng, arguments: &[&str]) -> &'static str {
    let running = moves.rebalancer.spawn(arguments, None);
    tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
    let trouble = trouble(moves, random).await;
    running.end().await.succeeds();
    trouble
}

/// Something happens to a proxy, and is over.
async fn trouble(moves: &Moves, random: &mut StdRng) -> &'static str {
    let proxy = &moves.proxies[random.random_range(0..moves.proxies.len())];
    let pause = Duration::from_millis(random.random_range(200..4000));
    match random.random_range(0..4) {
        0 => {
            proxy.freeze();
            tokio::time::sleep(pause).await;
            proxy.thaw();
            "a proxy stood still"
        }
        1 => {
            proxy.reach_catalog(false);
            tokio::time::sleep(pause).await;
            proxy.reach_catalog(true);
            "a proxy did not reach the catalog"
        }
        2 => {
            proxy.stall_catalog();
            tokio::time::sleep(pause).await;
            proxy.reach_catalog(true);
            "a proxy heard nothing of the catalog"
        }
        _ => "nothing",
    }
}

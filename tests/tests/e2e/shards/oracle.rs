//! Random statements on random tables: three shards behind the proxy answer as one plain server,
//! or refuse, also while keys are on their way.
//!
//! `PGM_ORACLE_SEED` repeats a run, `PGM_ORACLE_STATEMENTS` sets its length, `PGM_ORACLE_FIRST` is
//! the first of its worlds (the others are left out),
//! `PGM_ORACLE_REPLICAS=1` gives every shard a replica. `PGM_ORACLE_SELF=1` runs without the proxy
//! against another plain server, which tests the generator itself.

use pgmanifold_tests::oracle::generate::Dice;
use pgmanifold_tests::oracle::generate::world::World;
use pgmanifold_tests::oracle::{hunt, moves};
use pgmanifold_tests::run;
use pgmanifold_tests::shards::Shards;
use pgmanifold_tests::shards::layout::Layout;

/// Statements of a run without `PGM_ORACLE_STATEMENTS`.
const STATEMENTS: u32 = 3000;
/// The same while keys are on their way.
const MOVING_STATEMENTS: u32 = 1000;
/// Longest run, per statement.
const STATEMENT_MS: u64 = 300;
/// Of all statements so many are valid, when nothing is refused.
const VALID_PERCENT: u32 = 85;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Seed, statements and first world of a run.
fn asked(statements: u32) -> (u64, u32, u32) {
    let small = |name| number(name).and_then(|count| u32::try_from(count).ok());
    let seed = number("PGM_ORACLE_SEED").unwrap_or_else(rand::random);
    let statements = small("PGM_ORACLE_STATEMENTS").unwrap_or(statements);
    (seed, statements, small("PGM_ORACLE_FIRST").unwrap_or(0))
}

/// Rows of keys on their way lie on two shards, and only the owner's are seen and changed.
#[test]
fn random_statements_do_not_meet_hidden_rows() {
    let (seed, statements, first) = asked(MOVING_STATEMENTS);
    println!("moves: seed {seed} (repeat with PGM_ORACLE_SEED={seed}), {statements} statements");
    run(60 + u64::from(statements) * STATEMENT_MS / 1000, async {
        let start = |world: World, seed: u64| async move {
            let options = world.options("moves", world.layout());
            let shards = moves::start(&world, options, &mut Dice::new(seed ^ 4)).await;
            let front = shards.address.clone();
            (shards, front)
        };
        let report = hunt::run(seed, first, statements, start).await;
        println!("{} rows were hidden; {}", report.hidden_rows, report.text());
        assert!(report.differences.is_empty(), "{}", report.differences.join("\n"));
        assert!(report.hidden_rows > 0, "nothing was hidden");
    });
}

#[test]
fn random_statements_are_right_or_refused() {
    let (seed, statements, first) = asked(STATEMENTS);
    let alone = std::env::var_os("PGM_ORACLE_SELF").is_some();
    println!("oracle: seed {seed} (repeat with PGM_ORACLE_SEED={seed}), {statements} statements");
    run(60 + u64::from(statements) * STATEMENT_MS / 1000, async {
        let start = |world: World, _seed: u64| async move {
            // Where nothing is sharded, the first shard has everything.
            let layout = if alone { Layout::new() } else { world.layout() };
            let mut options = world.options("oracle", layout);
            options.without_proxy = alone;
            options.replicas = usize::from(std::env::var_os("PGM_ORACLE_REPLICAS").is_some());
            let shards = Shards::start(options, |config| config).await;
            let front = if alone { shards.shard(0).address() } else { shards.address.clone() };
            (shards, front)
        };
        let report = hunt::run(seed, first, statements, start).await;
        println!("{}", report.text());
        let failed: u32 = report.kinds.values().map(|count| count.failed).sum();
        let share = (report.statements() - failed) * 100 / report.statements().max(1);
        assert!(report.differences.is_empty(), "{}", report.differences.join("\n"));
        assert!(!alone || share >= VALID_PERCENT, "only {share} % of the statements are valid");
    });
}

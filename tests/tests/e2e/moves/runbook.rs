//! The commands of docs/moving-ranges.md are run as they stand there, one after the other.

use pgmanifold_tests::driver::root;
use pgmanifold_tests::moves::judge::assert_clean;
use pgmanifold_tests::moves::workload::{Load, Workload};
use pgmanifold_tests::moves::{Moves, Options};
use pgmanifold_tests::{eventually, random, run};
use std::time::Duration;

/// Before each command in the document.
const PROMPT: &str = "$ pgmanifold-rebalancer ";

/// The commands of the document, with the names of this test's shards.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs/moving-ranges.md")).expect("the document");
    let commands = text.lines().filter_map(|line| line.strip_prefix(PROMPT));
    let named = commands.map(|line| line.replace("north", "s0").replace("south", "s1"));
    named.collect()
}

#[test]
fn the_runbook_runs() {
    run(300, async {
        let mut random = random::seeded("runbook");
        let mut options = Options::new("moves_runbook");
        options.limits = super::quick_limits();
        // Copying takes some seconds, so that there is time to stop it.
        options.limits.push("copy_bytes_per_s = 100000".into());
        let moves = Moves::start(options).await;
        let mut workload = Workload::new(&moves, Load::default()).await;
        workload.begin(&moves.backstage, &mut random);
        let commands = commands();
        assert!(commands.len() > 10, "{commands:?}");
        let mut beside = None;
        for command in &commands {
            let words: Vec<&str> = command.split(' ').collect();
            println!("{PROMPT}{command}");
            match words.split_last() {
                Some((&"&", words)) => {
                    beside = Some(moves.rebalancer.spawn(words, None));
                    eventually("it copies", Duration::from_secs(60), async || {
                        moves.last_move().is_some_and(|row| row.state == "copying")
                    })
                    .await;
                }
                _ => println!("{}", moves.rebalancer.run(&words).await.succeeds()),
            }
            if matches!(words.first(), Some(&"pause" | &"abort"))
                && let Some(running) = beside.take()
            {
                println!("meanwhile: {}", running.end().await.succeeds());
            }
        }
        let ends = moves.in_catalog("select string_agg(state, ' ' order by id) from pgm.move");
        assert_eq!(ends[0][0].as_deref(), Some("done rolled_back done aborted"));
        workload.end().await;
        moves.assert_tidy().await;
        workload.assert_quiet();
        assert_clean(&moves, &workload);
    });
}

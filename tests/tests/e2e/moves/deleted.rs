//! A move ends when replicas, too, have deleted the rows that nothing hides afterwards.

use pgmanifold_tests::client;
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::moves::course::Wanted;
use pgmanifold_tests::moves::workload::{Load, Workload};
use pgmanifold_tests::moves::{Moves, Options};
use pgmanifold_tests::{eventually, random, run};
use std::time::Duration;

/// Longest wait for what is said to be soon.
const SOON: Duration = Duration::from_secs(30);
/// How often is looked.
const LOOKS: usize = 40;

#[test]
fn rows_that_a_replica_still_has_are_not_seen_twice() {
    run(240, async {
        let mut random = random::seeded("deleted rows");
        let mut options = Options::new("moves_deleted");
        options.replicas = 1;
        options.limits = super::quick_limits();
        let moves = Moves::start(options).await;
        let workload = Workload::new(&moves, Load { rows: 2000, ..Load::default() }).await;
        for (command, state) in [("cleanup", "done"), ("rollback", "rolled_back")] {
            let wanted = Wanted::any(&moves, &mut random);
            moves.reach_reversible(&wanted).await;
            let id = moves.last_move().expect("a move").id;
            // Where its rows are deleted, the replica stands still.
            let shard = if command == "cleanup" { wanted.source } else { wanted.target };
            let replica = &moves.shards[shard].replicas[0];
            replica.wait_caught_up(moves.shard(shard)).expect("it has the rows");
            replica.pause_replay().expect("it stands still");
            let mut running = moves.rebalancer.spawn(&[command, &id], None);
            let between = format!(
                "select count(*) from tags where hashint8extended(customer, 0) between {} and {}",
                wanted.from, wanted.last
            );
            eventually("the primary has deleted the rows", SOON, async || {
                moves.on_shard(shard, &between)[0][0].as_deref() == Some("0")
            })
            .await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(running.is_running(), "{}{}", running.stdout(), running.stderr());
            count(&moves, workload.load()).await;
            replica.resume_replay().expect("it goes on");
            running.end().await.succeeds();
            assert_eq!(moves.last_move().expect("a move").state, state);
            count(&moves, workload.load()).await;
            moves.assert_tidy().await;
        }
    });
}

/// Every row is seen once, whichever replica is asked.
async fn count(moves: &Moves, load: &Load) {
    for proxy in &moves.proxies {
        for _ in 0..LOOKS {
            let session = client::connect(&proxy.address(), USER, &moves.database).await;
            let count = client::value(&session, "select count(*) from tags").await;
            assert_eq!(count, load.keys.to_string());
        }
    }
}

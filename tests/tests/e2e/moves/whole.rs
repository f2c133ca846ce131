//! One move of each kind, from its beginning to its end, under load and with nothing broken.

use pgmanifold_tests::moves::course::Wanted;
use pgmanifold_tests::moves::judge::assert_clean;
use pgmanifold_tests::moves::rebalancer::Ended;
use pgmanifold_tests::moves::workload::{Load, Workload};
use pgmanifold_tests::moves::{Moves, Options};
use pgmanifold_tests::{random, run};

#[test]
fn from_beginning_to_end() {
    run(240, async {
        let mut random = random::seeded("whole moves");
        let mut options = Options::new("moves_whole");
        options.limits = super::quick_limits();
        let moves = Moves::start(options).await;
        let mut workload = Workload::new(&moves, Load::default()).await;
        workload.begin(&moves.backstage, &mut random);

        let wanted = Wanted::any(&moves, &mut random);
        let dry = moves.apply(&wanted, &["--dry-run"]).await.succeeds();
        assert!(dry.contains("possible"), "{dry}");
        assert!(moves.last_move().is_none(), "nothing is touched");

        applied(&moves, moves.apply(&wanted, &[]).await);
        ended(&moves, "rollback", "rolled_back").await;
        applied(&moves, moves.apply(&wanted, &[]).await);
        ended(&moves, "cleanup", "done").await;

        let wanted = Wanted::any(&moves, &mut random);
        applied(&moves, moves.apply(&wanted, &["--mode", "offline"]).await);
        let id = moves.last_move().expect("a move").id;
        let refused = moves.rebalancer.run(&["rollback", &id]).await;
        assert_eq!(refused.code, Some(3), "{}", refused.all());
        assert!(refused.all().contains("apply --distribution customer"), "{}", refused.all());
        ended(&moves, "cleanup", "done").await;

        workload.end().await;
        workload.assert_quiet();
        assert_clean(&moves, &workload);
    });
}

/// The last move has its keys on the target.
fn applied(moves: &Moves, ended: Ended) {
    println!("{}", ended.all());
    let applied = ended.succeeds();
    let row = moves.last_move().expect("a move");
    assert_eq!(row.state, "reversible", "{applied}");
    println!("writes waited {:?} ms", row.write_pause_ms);
}

/// The last move comes to its end by this command.
async fn ended(moves: &Moves, command: &str, state: &str) {
    moves.verify_map().await;
    let id = moves.last_move().expect("a move").id;
    let ended = moves.rebalancer.run(&[command, &id]).await;
    println!("{}", ended.all());
    ended.succeeds();
    assert_eq!(moves.last_move().expect("a move").state, state);
    moves.assert_tidy().await;
}

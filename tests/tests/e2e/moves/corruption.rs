//! What was copied wrongly is found before the keys change hands: the move stops, says where, and
//! can be given up.

use pgmanifold_tests::moves::course::Wanted;
use pgmanifold_tests::moves::judge::assert_clean;
use pgmanifold_tests::moves::ownership::{Ownership, hash};
use pgmanifold_tests::moves::workload::{Load, Workload};
use pgmanifold_tests::moves::{Moves, Options};
use pgmanifold_tests::{random, run};

#[test]
fn a_flipped_byte_stops_the_move() {
    run(180, async {
        let mut random = random::seeded("corruption");
        let mut options = Options::new("moves_corrupt");
        options.limits = super::quick_limits();
        let moves = Moves::start(options).await;
        let mut workload = Workload::new(&moves, Load::default()).await;
        workload.begin(&moves.backstage, &mut random);
        let wanted = Wanted::any(&moves, &mut random);
        let before = Ownership::read(&moves);

        let mut running = moves.begin(&wanted, &[], Some("catching_up.caught_up"));
        assert!(running.halts().await, "{}", running.stderr());
        // One of the rows that no client changes.
        let inside = |key: &i64| (wanted.from..=wanted.last).contains(&hash(*key));
        let key = (-1000..0_i64).rev().find(inside).expect("there is one");
        let flip = format!(
            "set session_replication_role = replica; \
             update entries set filler = 'y' || substr(filler, 2) where customer = {key} \
             and number = (select min(number) from entries where customer = {key}) \
             returning number"
        );
        let number = moves.on_shard(wanted.target, &flip)[0][0].clone().expect("a row");
        running.kill().await;

        let stopped = moves.rebalancer.run(&["resume"]).await;
        println!("{}", stopped.all());
        assert_eq!(stopped.code, Some(4), "{}", stopped.all());
        let row = moves.last_move().expect("a move");
        for text in [stopped.all(), row.last_error.clone().unwrap_or_default()] {
            assert!(text.contains("entries"), "the table is not in: {text}");
            assert!(text.contains(&key.to_string()), "key {key} is not in: {text}");
            assert!(text.contains(&number), "number {number} is not in: {text}");
        }
        assert!(row.can_abort(), "{row:?}");
        for range in &before.ranges {
            let now = Ownership::read(&moves);
            let owner = now.ranges.iter().find(|one| one.0 == range.0).expect("the same border");
            assert_eq!(owner.2, range.2, "the keys changed hands");
        }
        // Again and again.
        assert_eq!(moves.rebalancer.run(&["resume"]).await.code, Some(4));
        moves.rebalancer.run(&["abort", &row.id]).await.succeeds();
        assert_eq!(moves.last_move().expect("a move").state, "aborted");
        workload.end().await;
        moves.assert_tidy().await;
        workload.assert_quiet();
        assert_clean(&moves, &workload);
    });
}

//! The tests of moves are tested without one: the workload is judged clean though proxies are
//! killed, and the judge sees what somebody does by hand.

use pgmanifold_tests::moves::judge::{assert_clean, judge, told};
use pgmanifold_tests::moves::ownership::{Ownership, hash};
use pgmanifold_tests::moves::workload::{Load, Workload};
use pgmanifold_tests::moves::{Moves, Options, leftovers};
use pgmanifold_tests::{random, run};
use rand::RngExt;
use std::time::Duration;

#[test]
fn the_workload_is_judged() {
    run(180, async {
        let mut random = random::seeded("moves harness");
        let mut moves = Moves::start(Options::new("moves_harness")).await;
        let mut workload = Workload::new(&moves, Load::default()).await;
        workload.watch(Some((i64::MIN, 0)));
        workload.begin(&moves.backstage, &mut random);
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(1200)).await;
            let proxy = &mut moves.proxies[random.random_range(0..2)];
            proxy.kill(Duration::from_millis(200)).await;
            moves.proxies[1].freeze();
            tokio::time::sleep(Duration::from_millis(300)).await;
            moves.proxies[1].thaw();
            moves.proxies[0].reach_catalog(false);
            tokio::time::sleep(Duration::from_millis(300)).await;
            moves.proxies[0].reach_catalog(true);
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
        workload.end().await;
        workload.assert_quiet();
        let report = workload.report();
        println!("{}\n{report}", told(workload.ledgers()));
        assert!(report.operations() > 1000, "too little was done");
        for ledger in workload.ledgers() {
            assert!(ledger.told[0] > 50, "client {} did too little", ledger.client);
        }
        assert_clean(&moves, &workload);
        moves.verify_map().await;
        assert_eq!(leftovers::find(&moves), Vec::<String>::new());
        the_judge_sees(&moves, &workload);
    });
}

/// What must be seen is done by hand, and undone.
fn the_judge_sees(moves: &Moves, workload: &Workload) {
    let ownership = Ownership::read(moves);
    let own = workload.ledgers()[0].keys[3];
    let (owner, other) = (ownership.owner(own), 1 - ownership.owner(own));
    let shown = |shard: usize, sql: &str| moves.on_shard(shard, sql);
    let judged = || judge(moves, workload);

    let row = format!("from counters where customer = {own}");
    shown(owner, &format!("create table kept as select * {row}; delete {row}"));
    assert_eq!(judged().lost.len(), 1, "{}", judged());
    shown(owner, "insert into counters select * from kept");
    assert!(judged().is_clean(), "{}", judged());

    shown(other, &format!("insert into tags values ({own}, 7)"));
    let verdict = judged();
    assert_eq!((verdict.misplaced.len(), verdict.duplicated.len()), (1, 1), "{verdict}");
    shown(other, &format!("delete from tags where customer = {own}"));

    for (sql, back) in [
        ("set count = count - 1", "set count = count + 1"),
        ("set steps = steps + 1", "set steps = steps - 1"),
    ] {
        shown(owner, &format!("update counters {sql} where customer = {own}"));
        assert!(!judged().is_clean(), "{sql}");
        shown(owner, &format!("update counters {back} where customer = {own}"));
    }
    let money = "update accounts set balance = balance";
    shown(owner, &format!("{money} + 1 where customer = {own}"));
    assert_eq!(judged().lost.len(), 1, "{}", judged());
    shown(owner, &format!("{money} - 1 where customer = {own}"));

    let strange = (-50_i64..0).find(|key| hash(*key) < 0).expect("there is one");
    let shard = ownership.owner(strange);
    shown(shard, &format!("insert into entries values ({strange}, -5, 1, 'strange')"));
    assert_eq!(judged().invented.len(), 1, "{}", judged());
    shown(shard, "delete from entries where number = -5");
    assert!(judged().is_clean(), "{}", judged());
}

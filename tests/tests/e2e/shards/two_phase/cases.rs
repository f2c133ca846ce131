//! Commits over shards in single cases: what cannot be prepared, what needs no second phase, what
//! is forgotten and what must not be; and the ids of shards.

use super::{INTERVAL, RESOLVE, commit, insert, nothing_prepared, shown, start, told};
use pgmanifold::two_phase::Outcome;
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::shards::scissors::When;
use pgmanifold_tests::{eventually, run};
use std::time::Duration;

/// What each shard does in a transaction (nothing when empty), and how its commit ends.
const CASES: &[(&str, [&str; 3])] = &[
    ("committed", [ROW, TEMPORARY, ""]),
    ("0A000", [TEMPORARY, TEMPORARY, ""]),
    ("committed", ["insert into t values (1); notify n", ROW, ""]),
    ("0A000", [ROW, "insert into t values (1); notify n", ""]),
    ("0A000", [ROW, "insert into t values (1); declare c cursor with hold for select 1", ""]),
    ("0A000", [ROW, "insert into t values (1); select pg_export_snapshot()", ""]),
    // A constraint that is checked by PREPARE, and one that is by the home's COMMIT.
    ("23503", [ROW, "insert into child values (9)", ROW]),
    ("23503", ["insert into child values (9)", ROW, ROW]),
    (
        "committed",
        [SERIALIZABLE, SERIALIZABLE, "set transaction isolation level serializable; select from t"],
    ),
    ("committed", [ASYNCHRONOUS, ASYNCHRONOUS, ""]),
    // What is prepared belongs to the role of that moment.
    (
        "committed",
        [ROW, "grant insert on t to other; set local role other; insert into t values (1)", ""],
    ),
];
const ROW: &str = "insert into t values (1)";
const TEMPORARY: &str = "create temporary table x (a int) on commit drop; insert into t values (1)";
const SERIALIZABLE: &str = "set transaction isolation level serializable; insert into t values (1)";
const ASYNCHRONOUS: &str = "set local synchronous_commit to off; insert into t values (1)";

/// What cannot be prepared can still be committed last, and else is refused as a whole.
#[test]
fn what_cannot_be_prepared_is_committed_last_or_refused() {
    run(120, async {
        let (shards, commits) = start("refused", false).await;
        let process = commits.process(INTERVAL, RESOLVE);
        for number in 0..3 {
            let grant = format!("grant other to {USER}");
            shards.shard(number).query(&grant).expect("a role");
        }
        for (expected, texts) in CASES {
            let work: Vec<_> = (0_u16..).zip(*texts).filter(|(_, sql)| !sql.is_empty()).collect();
            let result = commit(&commits, &process, &work).await;
            let got = match &result {
                Ok(_) => "committed".into(),
                Err(error) => error.error.sqlstate.to_string(),
            };
            assert_eq!(got, *expected, "{work:?}: {}", told(&result));
            for unfinished in result.iter().flat_map(|committed| &committed.unfinished) {
                unfinished.wait().await.expect("recovery ends it");
            }
            let writes = texts.iter().filter(|sql| sql.contains("values (1)")).count();
            let there = if *expected == "committed" { writes } else { 0 };
            assert_eq!(shown(&shards, 1), there, "{work:?}");
            if let Err(error) = &result {
                assert_eq!(error.outcome, Outcome::RolledBack, "{work:?}");
                let hint = error.error.hint.as_deref().unwrap_or_default();
                assert_eq!(hint.contains("several shards"), got == "0A000", "{work:?}: {hint}");
            }
            nothing_prepared(&shards).await;
            shards.everywhere("delete from t");
        }
    });
}

/// With one writer nothing is prepared and nothing is decided.
#[test]
fn one_writer_needs_no_second_phase() {
    run(60, async {
        let (shards, commits) = start("single", false).await;
        let process = commits.process(INTERVAL, RESOLVE);
        let decisions = || {
            let rows = shards.on_shards("select count(*) from pgm.dtx");
            rows.iter().map(|rows| rows[0][0].clone().expect("a count")).collect::<String>()
        };
        let read = (1, "select count(*) from t");
        for work in [
            &[(0, "insert into t values (1)"), read][..],
            &[(2, "select count(*) from t"), read],
            &[(2, "insert into t values (2)")],
        ] {
            commit(&commits, &process, work).await.expect("it commits");
        }
        assert_eq!((shown(&shards, 1), shown(&shards, 2)), (1, 1));
        assert_eq!(decisions(), "000");
        let both = [(0, "insert into t values (3)"), (1, "insert into t values (3)"), (2, read.1)];
        commit(&commits, &process, &both).await.expect("it commits");
        assert_eq!((shown(&shards, 3), decisions()), (2, "100".to_owned()));
        // A transaction that has failed on one shard is rolled back on all.
        let work =
            [(0_u16, "begin; insert into t values (4)"), (1, "begin; insert into t values (4)")];
        let transaction = commits.begin(&work.map(|(on, sql)| (on, sql.to_owned()))).await;
        let transaction = transaction.fail(1).await;
        let error = transaction.commit(&process).await.expect_err("it has failed");
        assert_eq!((&*error.error.sqlstate, error.outcome), ("25P02", Outcome::RolledBack));
        assert_eq!(shown(&shards, 4), 0);
    });
}

/// Decisions are kept for a day, and longer while a part of theirs is still prepared.
#[test]
fn old_decisions_are_forgotten() {
    run(60, async {
        let (shards, commits) = start("old", false).await;
        let stamp = "lpad(to_hex((extract(epoch from now() - age) * 1000)::bigint), 12, '0')";
        let rows = format!(
            "insert into pgm.dtx select 'pgm:s0:' || {stamp} || repeat(digit, 32), 'c', \
             now() - age, '' from (values (interval '2 days', '0'), ('2 days', '1'), \
             ('23 hours', '2'), ('0', '3')) as rows(age, digit)"
        );
        let server = shards.shard(0);
        server.query_in(&shards.database, &rows).expect("decisions");
        let live = "select gid || ':s1' from pgm.dtx where gid like '%1111'";
        let live = server.query_in(&shards.database, live).expect("a name");
        let live = live[0][0].as_deref().expect("a name");
        let prepare = format!("begin; insert into t values (1); prepare transaction '{live}'");
        shards.shard(1).query_in(&shards.database, &prepare).expect("a part");
        let _process = commits.process(INTERVAL, RESOLVE);
        let left = "select string_agg(right(gid, 1), '' order by gid) from pgm.dtx";
        eventually("the oldest is forgotten", Duration::from_secs(10), async || {
            let rows = server.query_in(&shards.database, left).expect("decisions");
            rows[0][0].as_deref() == Some("123")
        })
        .await;
        // The decision still counts.
        nothing_prepared(&shards).await;
        assert_eq!(shown(&shards, 1), 1);
    });
}

/// A shard that has gone back behind a decided commit is told of.
#[test]
fn a_lost_part_is_an_alarm() {
    run(60, async {
        let (shards, commits) = start("lost", false).await;
        let process = commits.process(INTERVAL, RESOLVE);
        let transaction = commits.begin(&insert(&[0, 1], 1)).await;
        commits.relays[1].arm(3, When::Before);
        let mut commit = Box::pin(transaction.commit(&process));
        tokio::select! {
            result = &mut commit => panic!("{}", told(&result)),
            () = commits.relays[1].stopped() => {}
        }
        // As after a failover to a replica that was behind.
        let part = "select gid from pg_prepared_xacts where database = current_database()";
        let rows = shards.shard(1).query_in(&shards.database, part).expect("a part");
        let part = rows[0][0].as_deref().expect("a name");
        let forget = format!("rollback prepared '{part}'");
        shards.shard(1).query_in(&shards.database, &forget).expect("it is rolled back");
        commits.relays[1].resume();
        let committed = commit.await.expect("it is decided");
        assert_eq!(committed.unfinished.len(), 1);
        eventually("it is counted", Duration::from_secs(10), async || {
            let text = process.metrics();
            text.lines().any(|line| line.contains("outcome=\"lost\"} 1") && line.contains("s1"))
        })
        .await;
    });
}

/// Ids are unique and grow, also drawn by many at once, over steps of the clock and a crash.
#[test]
fn ids_never_come_twice() {
    run(120, async {
        let (shards, _) = start("ids", true).await;
        let draw = "select pgm.next_id() from generate_series(1, 5000)";
        let mut all: Vec<Vec<i64>> = Vec::new();
        for round in 0..3 {
            std::thread::scope(|scope| {
                let drawing: Vec<_> = (0..8)
                    .map(|of| {
                        let (server, database) = (shards.shard(of % 2), &shards.database);
                        scope.spawn(move || server.query_in(database, draw).expect("ids"))
                    })
                    .collect();
                for drawn in drawing {
                    let rows = drawn.join().expect("no panic");
                    let id = |row: &Vec<Option<String>>| {
                        row[0].as_deref().expect("an id").parse::<i64>().expect("a number")
                    };
                    all.push(rows.iter().map(id).collect());
                }
            });
            let behind = match round {
                // As if the clock had been an hour ahead, and the server had crashed in a step.
                0 => {
                    "select setval('pgm.id_next', last_value + (3600000::bigint << 10)) \
                      from pgm.id_next"
                }
                _ => "select setval('pgm.id_next', last_value + 1, false) from pgm.id_next",
            };
            shards.shard(0).query_in(&shards.database, behind).expect("a step");
            shards.shard(1).kill();
            shards.shard(1).start().expect("it starts again");
        }
        for drawn in &all {
            assert!(drawn.is_sorted_by(|one, next| one < next), "they grow");
        }
        let mut ids: Vec<i64> = all.concat();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "an id came twice");
        let of_shard = |id: &&i64| (**id >> 10) & 0xfff == 0;
        assert_eq!(ids.iter().filter(of_shard).count(), count / 2);
        // The first ones carry the time.
        let clock = "select (extract(epoch from clock_timestamp()) * 1000)::bigint";
        let now: i64 = shards.shard(1).value(clock).expect("a clock").parse().expect("a number");
        let newest = all.iter().flatten().filter(|id| (**id >> 10) & 0xfff == 1).max();
        let age = now - ((newest.expect("an id") >> 22) + 1_577_836_800_000);
        assert!((-2000..20_000).contains(&age), "{age} ms");
    });
}

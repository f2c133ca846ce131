//! Commits over shards, driven directly: whoever dies at whatever step, all shards show the
//! transaction or none does, and the client was told the truth.

use pgmanifold::two_phase::{CommitError, Committed, Outcome};
use pgmanifold_tests::shards::commits::{Commits, Process, Transaction, kill_backends};
use pgmanifold_tests::shards::scissors::When;
use pgmanifold_tests::shards::{Options, Shards};
use pgmanifold_tests::{eventually, run};
use std::time::Duration;

/// Long enough for a step of ours between two rounds of somebody else's recovery.
const INTERVAL: Duration = Duration::from_millis(400);
const RESOLVE: Duration = Duration::from_secs(5);
const SCHEMA: &str = "create table t (id int primary key); \
     create table parent (id int primary key); \
     create table child (id int references parent deferrable initially deferred)";

async fn start(test: &str, private: bool) -> (Shards, Commits) {
    let mut options = Options::new(test);
    (options.without_proxy, options.private, options.schema) = (true, private, SCHEMA.into());
    let shards = Shards::start(options, |config| config).await;
    let commits = Commits::start(&shards).await;
    (shards, commits)
}

/// What each of these shards does: one row of number `id`.
fn insert(on: &[u16], id: usize) -> Vec<(u16, String)> {
    on.iter().map(|shard| (*shard, format!("begin; insert into t values ({id})"))).collect()
}

/// On how many shards the row is.
fn shown(shards: &Shards, id: usize) -> usize {
    let rows = shards.on_shards(&format!("select count(*) from t where id = {id}"));
    rows.iter().filter(|rows| rows[0][0].as_deref() == Some("1")).count()
}

async fn nothing_prepared(shards: &Shards) {
    let what = "nothing is prepared";
    eventually(what, Duration::from_secs(20), async || {
        let prepared = "select gid from pg_prepared_xacts where database = current_database()";
        shards.on_shards(prepared).iter().all(Vec::is_empty)
    })
    .await;
}

/// What the client was told.
fn told(result: &Result<Committed, CommitError>) -> String {
    match result {
        Ok(_) => "committed".into(),
        Err(error) => format!("{:?} {}", error.outcome, error.error),
    }
}

/// Compares what the client was told with what the shards show in the end.
async fn check(
    shards: &Shards,
    id: usize,
    on: usize,
    result: &Option<Result<Committed, CommitError>>,
    case: &str,
) {
    nothing_prepared(shards).await;
    let shown = shown(shards, id);
    assert!(shown == 0 || shown == on, "{case}: on {shown} shards of {on}");
    match result {
        Some(Ok(_)) => assert_eq!(shown, on, "{case}: acknowledged and lost"),
        Some(Err(error)) if error.outcome == Outcome::RolledBack => {
            assert_eq!(shown, 0, "{case}: {} and yet there", error.error);
        }
        Some(Err(_)) | None => {}
    }
}

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Dies {
    /// The connection between coordinator and shard.
    Connection,
    /// The shard's backend.
    Backend,
    /// The coordinator, with all its connections.
    Coordinator,
}

/// Lets somebody die at a message and returns what the client was told; `None` by a dead proxy.
async fn dies(
    shards: &Shards,
    commits: &Commits,
    transaction: Transaction,
    (process, dies): (Process, Dies),
    at: (usize, usize, When),
) -> Option<Result<Committed, CommitError>> {
    let (shard, message, when) = at;
    commits.relays[shard].arm(message, when);
    let mut commit = Box::pin(transaction.commit(&process));
    tokio::select! {
        result = &mut commit => panic!("{at:?}: ended without that message: {}", told(&result)),
        () = commits.relays[shard].stopped() => {}
    }
    match dies {
        Dies::Connection => commits.relays[shard].cut(),
        Dies::Backend => {
            kill_backends(shards.shard(shard), &shards.database);
            commits.relays[shard].resume();
        }
        Dies::Coordinator => {
            drop(commit);
            drop(process);
            commits.relays.iter().for_each(|relay| relay.cut());
            return None;
        }
    }
    let result = commit.await;
    // What is not finished is shown as soon as the session has waited.
    if let Ok(committed) = &result {
        for unfinished in &committed.unfinished {
            unfinished.wait().await.unwrap_or_else(|error| panic!("{at:?}: {error}"));
        }
    }
    Some(result)
}

/// Every step, every party: 8 messages, before, within and after, 3 deaths.
#[test]
fn whoever_dies_at_any_step_all_is_there_or_nothing() {
    run(240, async {
        let (shards, commits) = start("steps", false).await;
        // The recovery of another proxy.
        let other = commits.process(INTERVAL, RESOLVE);
        let mut id = 0;
        let (mut committed, mut rolled_back) = (0, 0);
        for (shard, messages) in [(0, 2), (1, 3), (2, 3)] {
            for message in 1..=messages {
                for when in [When::Before, When::Sent, When::After] {
                    for who in [Dies::Connection, Dies::Backend, Dies::Coordinator] {
                        id += 1;
                        let case = format!("{who:?} of s{shard} at {message} {when:?}");
                        let process = commits.process(INTERVAL, RESOLVE);
                        let transaction = commits.begin(&insert(&[0, 1, 2], id)).await;
                        let at = (shard, message, when);
                        let result = dies(&shards, &commits, transaction, (process, who), at).await;
                        commits.relays.iter().for_each(|relay| relay.arm(0, When::Before));
                        if matches!(&result, Some(Ok(_))) {
                            assert_eq!(shown(&shards, id), 3, "{case}: own write not seen");
                        }
                        check(&shards, id, 3, &result, &case).await;
                        match shown(&shards, id) {
                            0 => rolled_back += 1,
                            _ => committed += 1,
                        }
                        let told = result.as_ref().map_or("nothing".into(), told);
                        println!("{case}: told {told}; on {} shards", shown(&shards, id));
                        assert!(!told.starts_with("Unknown"), "{case}: {told}");
                    }
                }
            }
        }
        drop(other);
        println!("{id} cases: {committed} committed, {rolled_back} rolled back");
        assert!(committed > 10 && rolled_back > 10, "{committed} {rolled_back}");
    });
}

/// What one transaction does, by shard.
type Work<'a> = &'a [(u16, &'a str)];

async fn commit(
    commits: &Commits,
    process: &Process,
    work: Work<'_>,
) -> Result<Committed, CommitError> {
    let work: Vec<_> = work.iter().map(|(on, sql)| (*on, format!("begin; {sql}"))).collect();
    commits.begin(&work).await.commit(process).await
}

/// What cannot be prepared can still be committed last, and else is refused as a whole.
#[test]
fn what_cannot_be_prepared_is_committed_last_or_refused() {
    run(120, async {
        let (shards, commits) = start("refused", false).await;
        let process = commits.process(INTERVAL, RESOLVE);
        let temporary = "create temporary table x (a int) on commit drop; insert into t values";
        let one_temporary = format!("{temporary} (1)");
        let cases: [(Work<'_>, &str); 11] = [
            (&[(0, "insert into t values (1)"), (1, &one_temporary)], "committed"),
            (&[(0, &one_temporary), (1, &one_temporary)], "0A000"),
            (
                &[(0, "insert into t values (1); notify n"), (1, "insert into t values (1)")],
                "committed",
            ),
            (
                &[(0, "insert into t values (1)"), (1, "insert into t values (1); notify n")],
                "0A000",
            ),
            (
                &[
                    (0, "insert into t values (1)"),
                    (1, "insert into t values (1); declare c cursor with hold for select 1"),
                ],
                "0A000",
            ),
            (
                &[
                    (0, "insert into t values (1)"),
                    (1, "insert into t values (1); select pg_export_snapshot()"),
                ],
                "0A000",
            ),
            (
                &[
                    (0, "insert into t values (1)"),
                    (1, "insert into child values (9)"),
                    (2, "insert into t values (1)"),
                ],
                "23503",
            ),
            (
                &[
                    (0, "insert into child values (9)"),
                    (1, "insert into t values (1)"),
                    (2, "insert into t values (1)"),
                ],
                "23503",
            ),
            (
                &[
                    (0, "set transaction isolation level serializable; insert into t values (1)"),
                    (1, "set transaction isolation level serializable; insert into t values (1)"),
                    (2, "set transaction isolation level serializable; select from t"),
                ],
                "committed",
            ),
            (
                &[
                    (0, "set local synchronous_commit to off; insert into t values (1)"),
                    (1, "set local synchronous_commit to off; insert into t values (1)"),
                ],
                "committed",
            ),
            // What is prepared belongs to the role of that moment.
            (
                &[
                    (0, "insert into t values (1)"),
                    (
                        1,
                        "grant insert on t to other; set local role other; insert into t values (1)",
                    ),
                ],
                "committed",
            ),
        ];
        let server = |number: usize| shards.shard(number);
        for number in 0..3 {
            server(number)
                .query(&format!("grant other to {}", pgmanifold_tests::cluster::USER))
                .expect("a role");
        }
        for (work, expected) in cases {
            let result = commit(&commits, &process, work).await;
            let got = match &result {
                Ok(_) => "committed".into(),
                Err(error) => error.error.sqlstate.to_string(),
            };
            assert_eq!(got, expected, "{work:?}: {}", told(&result));
            for unfinished in result.iter().flat_map(|committed| &committed.unfinished) {
                unfinished.wait().await.expect("recovery ends it");
            }
            let writes = work.iter().filter(|(_, sql)| sql.contains("values (1)")).count();
            let expected = if expected == "committed" { writes } else { 0 };
            assert_eq!(shown(&shards, 1), expected, "{work:?}");
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

/// A coordinator that sleeps too long finds its transaction rolled back, and says so.
#[test]
fn a_late_coordinator_aborts() {
    run(60, async {
        let (shards, commits) = start("late", false).await;
        let process = commits.process(INTERVAL, RESOLVE);
        let transaction = commits.begin(&insert(&[0, 1, 2], 1)).await;
        commits.relays[0].arm(2, When::Before);
        let mut commit = Box::pin(transaction.commit(&process));
        tokio::select! {
            result = &mut commit => panic!("{}", told(&result)),
            () = commits.relays[0].stopped() => {}
        }
        // Its own recovery leaves the transaction alone, however long it takes.
        tokio::select! {
            result = &mut commit => panic!("{}", told(&result)),
            () = tokio::time::sleep(INTERVAL * 4) => {}
        }
        let prepared = "select count(*) from pg_prepared_xacts where database = current_database()";
        let count = |rows: Vec<Vec<Vec<Option<String>>>>| -> Vec<String> {
            rows.iter().map(|rows| rows[0][0].clone().expect("a count")).collect()
        };
        assert_eq!(count(shards.on_shards(prepared)), ["0", "1", "1"]);
        // That of another process does not.
        let other = commits.process(INTERVAL, RESOLVE);
        nothing_prepared(&shards).await;
        commits.relays[0].resume();
        let error = commit.await.expect_err("it is too late");
        assert_eq!((&*error.error.sqlstate, error.outcome), ("40001", Outcome::RolledBack));
        assert!(error.error.message.contains("recovery"), "{}", error.error);
        assert_eq!(shown(&shards, 1), 0);
        drop(other);
    });
}

/// A whole server dies at a step and comes back; one that stays away leaves parts in doubt for as
/// long, and the client without an answer.
#[test]
fn shards_that_crash_come_back_with_the_decision() {
    run(180, async {
        let (shards, commits) = start("crash", true).await;
        let patient = Duration::from_secs(20);
        let _other = commits.process(INTERVAL, patient);
        // Acknowledged commits are durable, whatever the client set.
        let asynchronous = |id: usize| {
            let sql =
                format!("begin; set local synchronous_commit to off; insert into t values ({id})");
            [0, 1, 2].map(|shard| (shard, sql.clone()))
        };
        let points = [
            (0, 2, When::Before),
            (0, 2, When::Sent),
            (0, 2, When::After),
            (1, 2, When::After),
            (1, 3, When::Before),
            (2, 3, When::After),
        ];
        for (id, (shard, message, when)) in points.into_iter().enumerate() {
            let case = format!("s{shard} crashes at {message} {when:?}");
            let process = commits.process(INTERVAL, patient);
            let transaction = commits.begin(&asynchronous(id)).await;
            commits.relays[shard].arm(message, when);
            let mut commit = Box::pin(transaction.commit(&process));
            tokio::select! {
                result = &mut commit => panic!("{case}: {}", told(&result)),
                () = commits.relays[shard].stopped() => {}
            }
            let server = shards.shard(shard);
            server.kill();
            commits.relays[shard].resume();
            let restart = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                server.start().expect("it starts again");
            };
            let (result, ()) = tokio::join!(&mut commit, restart);
            for unfinished in result.iter().flat_map(|committed| &committed.unfinished) {
                unfinished.wait().await.unwrap_or_else(|error| panic!("{case}: {error}"));
            }
            println!("{case}: told {}; on {} shards", told(&result), shown(&shards, id));
            drop(commit);
            check(&shards, id, 3, &Some(result), &case).await;
        }
        let hasty = commits.process(INTERVAL, Duration::from_millis(300));
        let transaction = commits.begin(&insert(&[0, 1, 2], 100)).await;
        commits.relays[0].arm(2, When::Before);
        let mut commit = Box::pin(transaction.commit(&hasty));
        tokio::select! {
            result = &mut commit => panic!("{}", told(&result)),
            () = commits.relays[0].stopped() => {}
        }
        shards.shard(0).kill();
        commits.relays[0].resume();
        let error = commit.await.expect_err("nobody knows");
        assert_eq!((&*error.error.sqlstate, error.outcome), ("PGM06", Outcome::Unknown));
        assert!(error.error.detail.unwrap_or_default().contains("pgm:s0:"));
        tokio::time::sleep(INTERVAL * 4).await;
        let prepared = "select count(*) from pg_prepared_xacts";
        for number in [1, 2] {
            assert_eq!(shards.shard(number).value(prepared).expect("a count"), "1", "s{number}");
        }
        shards.shard(0).start().expect("it starts again");
        check(&shards, 100, 3, &None, "home away").await;
        without_prepared_transactions(&shards, &commits, &hasty).await;
    });
}

/// A shard that cannot prepare, or has no schema, is refused before anybody writes.
async fn without_prepared_transactions(shards: &Shards, commits: &Commits, process: &Process) {
    let refused = async |expected: &str| {
        eventually(expected, Duration::from_secs(20), async || {
            match process.two_phase.check_writable() {
                Ok(()) => expected.is_empty(),
                Err(error) => {
                    let detail = error.detail.as_deref().unwrap_or_default();
                    !expected.is_empty() && detail.contains(expected)
                }
            }
        })
        .await;
    };
    refused("").await;
    shards.shard(1).configure("max_prepared_transactions", "0").expect("a setting");
    shards.shard(1).restart().expect("a restart");
    let work = [(0_u16, "insert into t values (7)"), (1, "insert into t values (7)")];
    let error = commit(commits, process, &work).await.expect_err("it cannot be prepared");
    assert_eq!((&*error.error.sqlstate, error.outcome), ("55000", Outcome::RolledBack));
    assert_eq!(shown(shards, 7), 0);
    let again = commits.process(INTERVAL, RESOLVE);
    let expected = "On shard \"s1\", max_prepared_transactions is 0.";
    eventually(expected, Duration::from_secs(20), async || {
        let refused = again.two_phase.check_writable().err();
        refused.and_then(|error| error.detail).is_some_and(|detail| detail == expected)
    })
    .await;
    let drop_schema = "drop schema pgm cascade";
    shards.shard(0).query_in(&shards.database, drop_schema).expect("the schema is dropped");
    let work = [(0_u16, "insert into t values (7)"), (2, "insert into t values (7)")];
    let error = commit(commits, process, &work).await.expect_err("there is no schema");
    assert_eq!((&*error.error.sqlstate, error.outcome), ("3F000", Outcome::RolledBack));
    assert!(error.error.hint.as_deref().unwrap_or_default().contains("map init"));
    assert_eq!(shown(shards, 7), 0);
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

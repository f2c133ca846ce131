//! Commits over shards, driven directly: whoever dies at whatever step, all shards show the
//! transaction or none does, and the client was told the truth.

mod cases;

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
            kill_backends(shards.shard(shard), &shards.database).expect("they are ended");
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
        a_prepare_that_arrives_late(&shards, &commits, &hasty).await;
        without_prepared_transactions(&shards, &commits, &hasty).await;
    });
}

/// A server that hangs is given up; what it does when it goes on again is rolled back.
async fn a_prepare_that_arrives_late(shards: &Shards, commits: &Commits, process: &Process) {
    let transaction = commits.begin(&insert(&[0, 1, 2], 200)).await;
    commits.relays[1].arm(2, When::Before);
    let mut commit = Box::pin(transaction.commit(process));
    tokio::select! {
        result = &mut commit => panic!("{}", told(&result)),
        () = commits.relays[1].stopped() => {}
    }
    shards.shard(1).freeze();
    commits.relays[1].resume();
    let error = commit.await.expect_err("the server hangs");
    assert_eq!((&*error.error.sqlstate, error.outcome), ("40001", Outcome::RolledBack));
    commits.relays[1].arm(0, When::Before);
    shards.shard(1).thaw();
    check(shards, 200, 3, &Some(Err(error)), "late PREPARE").await;
    // It may have been prepared only now.
    tokio::time::sleep(INTERVAL).await;
    nothing_prepared(shards).await;
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

/// The steps above do prove something: without the decision, one of them splits a transaction.
#[test]
fn without_decisions_a_transaction_is_split() {
    run(60, async {
        let (shards, commits) = start("undecided", false).await;
        let forgetful = "create or replace function pgm.decide(gid text, secret text, parts text) \
                         returns void language plpgsql as $$ begin end $$";
        shards.shard(0).query_in(&shards.database, forgetful).expect("a function");
        let _other = commits.process(INTERVAL, RESOLVE);
        let process = commits.process(INTERVAL, RESOLVE);
        let transaction = commits.begin(&insert(&[0, 1, 2], 1)).await;
        let at = (1, 3, When::Before);
        dies(&shards, &commits, transaction, (process, Dies::Coordinator), at).await;
        nothing_prepared(&shards).await;
        assert!([1, 2].contains(&shown(&shards, 1)), "on {} shards", shown(&shards, 1));
    });
}

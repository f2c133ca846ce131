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

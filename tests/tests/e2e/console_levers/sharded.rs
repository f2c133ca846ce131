//! A sharded database is one: its pause holds for all shards, and lets a transaction that has begun
//! on one of them go on to the next.

use super::{SOON, console_at, with_console};
use pgmanifold_tests::client::{exec, value};
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::fixture::is_direct;
use pgmanifold_tests::shards::layout::Layout;
use pgmanifold_tests::shards::{Options, Shards};
use pgmanifold_tests::{eventually, run};
use std::time::Duration;

/// Server sessions of clients on all shards.
fn in_use(shards: &Shards) -> u32 {
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = '{}' and usename = '{USER}'",
        shards.database
    );
    (0..3).map(|n| shards.shard(n).value(&sql).expect("activity").parse::<u32>().expect("n")).sum()
}

#[test]
fn a_transaction_over_shards_outlives_the_beginning_of_a_pause() {
    run(90, async {
        if is_direct() {
            return;
        }
        let layout = Layout::new().range("d", "bigint", &["100", "200"]).table("t", &["id"]);
        let options = Options::new("pauseshards").tables(layout, "create table t (id bigint)");
        let shards = Shards::start(options, with_console).await;
        let (open, other) = (shards.client().await, shards.client().await);
        exec(&open, "begin").await;
        exec(&open, "select count(*) from t where id = 1").await;
        let pausing = tokio::spawn({
            let console = console_at(&shards.address).await;
            let pause = format!("PAUSE {}", shards.database);
            async move { console.simple_query(&pause).await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!pausing.is_finished());
        let scattered = tokio::spawn(async move { value(&other, "select count(*) from t").await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!scattered.is_finished(), "who begins now waits");
        // The transaction needs a shard that it has no server of yet.
        assert_eq!(value(&open, "select count(*) from t where id = 150").await, "0");
        assert_eq!(value(&open, "select count(*) from t").await, "0");
        exec(&open, "commit").await;
        pausing.await.expect("no panic").expect("paused");
        assert_eq!(in_use(&shards), 0);
        exec(&console_at(&shards.address).await, &format!("RESUME {}", shards.database)).await;
        assert_eq!(scattered.await.expect("no panic"), "0");
        eventually("it goes on", SOON, async || in_use(&shards) > 0).await;
    });
}

//! Advice from real traffic: what is wrong is named first, and no longer when it is mended.

use super::admin;
use super::own::{of, rows};
use pgmanifold_tests::client::exec;
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::run;
use tokio_postgres::Client;

/// Rows of the table that is scanned: enough for a scan to take more than 5 ms.
const ROWS: u32 = 600_000;

/// A workload of fast statements by key, and one that compares a column without index.
async fn work(client: &Client) {
    for round in 0..120 {
        exec(client, &format!("select id from big where v = {}", round * 97)).await;
        for id in 0..5 {
            exec(client, &format!("select v from big where id = {}", round * 5 + id)).await;
        }
    }
}

#[test]
fn a_scan_is_named_first_until_it_has_its_index() {
    run(180, async {
        let fixture = Fixture::shared("console_advice", |config| config).await;
        let (console, client) = (admin(&fixture).await, fixture.client().await);
        exec(&client, "create table big (id int primary key, v int not null, filler text)").await;
        let fill = format!(
            "insert into big select i, i * 7, repeat('x', 100) from generate_series(1, {ROWS}) i"
        );
        exec(&client, &fill).await;
        exec(&client, "analyze big").await;
        fixture.cluster.wait_caught_up().expect("replicas follow");
        exec(&client, "select 1").await;
        exec(&console, "RESET STATS").await;
        assert!(rows(&console, "SHOW ADVICE").await.is_empty(), "nothing was measured");
        work(&client).await;
        let advice = rows(&console, "SHOW ADVICE").await;
        let first = advice.first().unwrap_or_else(|| panic!("no advice"));
        assert_eq!((of(first, "rank"), of(first, "kind")), ("1", "index"), "{advice:?}");
        assert_eq!(of(first, "database"), fixture.database);
        assert!(of(first, "advice").contains("index on v "), "{first:?}");
        assert!(of(first, "evidence").starts_with("calls=120 server_ms="), "{first:?}");
        assert_eq!(of(first, "severity"), "high", "{first:?}");
        let statements = rows(&console, "SHOW STATEMENTS").await;
        let fingerprint = of(first, "subject");
        let named = statements.iter().find(|row| of(row, "fingerprint") == fingerprint);
        let named = named.unwrap_or_else(|| panic!("no statement {fingerprint}"));
        assert!(of(named, "text").contains("where v = $"), "{named:?}");

        exec(&client, "create index on big (v)").await;
        fixture.cluster.wait_caught_up().expect("replicas follow");
        exec(&console, "RESET STATS").await;
        work(&client).await;
        let advice = rows(&console, "SHOW ADVICE").await;
        assert!(!advice.iter().any(|row| of(row, "kind") == "index"), "{advice:?}");
    });
}

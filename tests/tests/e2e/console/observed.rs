//! The dry run of sharding rules: a shop whose statements have known shares is observed on one
//! server, and goes its way as if it were not.

use super::own::{Row, of, rows};
use super::{SOON, admin};
use pgmanifold_tests::client::{exec, value};
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::{eventually, run};
use std::collections::BTreeMap;

const RULES: &str = r#"observe_only = true
[[distribution]]
name = "customers"
key_types = ["integer"]
[[distribution]]
name = "everywhere"
kind = "reference"
[[table]]
name = "orders"
distribution = "customers"
key = "customer"
[[table]]
name = "country"
distribution = "everywhere"
"#;

const SCHEMA: &str = "create table orders (customer int, id int, body text, \
       primary key (customer, id)); \
     create table country (code text primary key); create table note (id int primary key); \
     insert into orders select i % 20, i, 'x' from generate_series(1, 200) i";

/// Calls by outcome.
fn calls(observed: &[Row]) -> BTreeMap<String, u64> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for row in observed {
        let calls: u64 = of(row, "calls").parse().expect("a number");
        *sums.entry(of(row, "outcome").to_owned()).or_default() += calls;
    }
    sums
}

#[test]
fn the_shares_of_a_shop_are_what_they_are() {
    run(90, async {
        let fixture = Fixture::shared("console_observed", |config| config.section(RULES)).await;
        let (console, client) = (admin(&fixture).await, fixture.client().await);
        exec(&client, SCHEMA).await;
        // What was observed before knew nothing of these tables.
        exec(&console, "RESET STATS").await;
        fixture.cluster.wait_caught_up().expect("replicas follow");
        eventually("the catalog is read and statements are observed", SOON, async || {
            exec(&client, "select * from orders where customer = 1").await;
            calls(&rows(&console, "SHOW OBSERVED").await).contains_key("single")
        })
        .await;
        exec(&console, "RESET STATS").await;
        assert!(rows(&console, "SHOW OBSERVED").await.is_empty());

        // Of 200 statements 70 % need one shard, 25 % several, and 5 % are refused.
        for number in 0..60 {
            let customer = number % 20;
            let sql = format!("select count(*) from orders where customer = {customer}");
            assert_eq!(value(&client, &sql).await, "10");
        }
        let by_key = client.prepare("select id from orders where customer = $1").await;
        let by_key = by_key.expect("it is prepared");
        for customer in 0..60_i32 {
            let found = client.query(&by_key, &[&(customer % 20)]).await.expect("rows");
            assert_eq!(found.len(), 10);
        }
        for _ in 0..10 {
            exec(&client, "select * from country").await;
            exec(&client, "begin").await;
            exec(&client, "select * from note").await;
            exec(&client, "commit").await;
        }
        for _ in 0..50 {
            assert_eq!(value(&client, "select count(*) from orders").await, "200");
        }
        for _ in 0..10 {
            exec(&client, "update orders set customer = 19 where id = 199").await;
        }
        let observed = rows(&console, "SHOW OBSERVED").await;
        let wanted = [("refused", 10), ("scatter", 50), ("single", 140)];
        let wanted = wanted.map(|(outcome, calls)| (outcome.to_owned(), calls));
        assert_eq!(calls(&observed), BTreeMap::from(wanted), "{observed:?}");
        assert!(observed.iter().all(|row| of(row, "database") == fixture.database));
        let shares: Vec<(&str, &str)> =
            observed.iter().map(|row| (of(row, "outcome"), of(row, "share_percent"))).collect();
        assert_eq!(shares, [("single", "70"), ("scatter", "25"), ("refused", "5")]);
        let refused = &observed[2];
        assert!(of(refused, "example").starts_with("update orders"), "{refused:?}");
        assert_ne!(of(refused, "construct"), "NULL", "{refused:?}");
        let advice = rows(&console, "SHOW ADVICE").await;
        let rules = advice.iter().find(|row| of(row, "kind") == "shard_rules");
        let rules = rules.unwrap_or_else(|| panic!("{advice:?}"));
        assert!(of(rules, "advice").contains(of(refused, "construct")), "{rules:?}");
        assert!(of(rules, "evidence").starts_with("calls=200 single=70.0%"), "{rules:?}");
    });
}

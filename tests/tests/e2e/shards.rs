//! Sharded databases: the answers of three shards behind the proxy are those of one server.

mod cases;
mod catalog_sql;
mod chaos;
mod hash;
pub(crate) mod map;
mod map_change;
mod oracle;
mod session;
mod two_phase;

use pgmanifold_tests::run;
use pgmanifold_tests::shards::layout::Layout;
use pgmanifold_tests::shards::servers::SHARDS;
use pgmanifold_tests::shards::{Options, Shards};

/// Every row belongs to exactly one shard, by the conditions that other tests trust.
#[test]
fn the_fixture_spreads_rows_without_loss() {
    run(120, async {
        let layout = Layout::new()
            .hash("number", &["bigint"])
            .table("n", &["id"])
            .hash("name", &["text"])
            .table("t", &["name"])
            .range("day", "date", &["2024-02-01", "2024-03-01"])
            .table("d", &["day"])
            .list("region", "text", &[("north", 0), ("south", 1), ("east", 2)])
            .table("r", &["region"])
            .reference("world")
            .table("w", &[]);
        let schema = "create table n (id bigint); create table t (name text); \
                      create table d (day date); create table r (region text); \
                      create table w (id int); create table h (id int)";
        let mut options = Options::new("fixture").tables(layout, schema);
        options.without_proxy = true;
        let shards = Shards::start(options, |config| config).await;
        let hundred = "generate_series(0, 99) g";
        shards.fill("n", &format!("select g - 50::bigint as id from {hundred}"));
        shards.fill("t", &format!("select 'ä' || g as name from {hundred}"));
        shards.fill("d", &format!("select date '2024-01-01' + g as day from {hundred}"));
        let regions = "(array['north', 'south', 'east'])[1 + g % 3]";
        shards.fill("r", &format!("select {regions} as region from {hundred}"));
        shards.fill("w", &format!("select g as id from {hundred}"));
        shards.fill("h", &format!("select g as id from {hundred}"));
        for (table, copies) in [("n", 1), ("t", 1), ("d", 1), ("r", 1), ("w", SHARDS), ("h", 1)] {
            let counts: Vec<usize> = shards
                .on_shards(&format!("select count(*) from {table}"))
                .iter()
                .map(|rows| rows[0][0].as_deref().expect("a count").parse().expect("a number"))
                .collect();
            assert_eq!(counts.iter().sum::<usize>(), 100 * copies, "{table}: {counts:?}");
            assert!(table == "h" || counts.iter().all(|count| *count > 20), "{table}: {counts:?}");
        }
    });
}

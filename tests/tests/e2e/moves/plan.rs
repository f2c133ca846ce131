//! Plans are made of what real shards say: rows are counted where they belong, a heavy key is
//! found, nothing is touched, and what is written is read back.

use super::by_hand::ByHand;
use pgmanifold::demo::postgres::PgCluster;
use pgmanifold_rebalancer::config::{Config, Limits, Server, ShardConfig};
use pgmanifold_rebalancer::plan::args::{Narrow, PlanArgs, Shown};
use pgmanifold_rebalancer::plan::parts::By;
use pgmanifold_rebalancer::plan::{Plan, make};
use pgmanifold_router::catalog::{self, Parameter};
use pgmanifold_router::key::{KeyType, KeyValue};
use pgmanifold_router::ownership::belongs_sql;
use pgmanifold_router::shard_map::{MapParts, ShardId, ShardMap};
use pgmanifold_tests::{cluster, eventually, run};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::types::{ToSql, Type};

const SHARDS: [&str; 4] = ["s0", "s1", "s2", "s3"];
const SUPERUSER: &str = "postgres";
const SCHEMA: &str = "\
create table orders (customer int8, id int8, note text, primary key (customer, id)); \
create table lines (customer int8, n int4); \
create table days (day date, n int4) partition by range (n); \
create table days_a partition of days for values from (0) to (500); \
create table days_b partition of days for values from (500) to (10000); \
create table regions (name varchar(20), n int4)";

/// Four databases that are shards, the last of which has nothing, and the catalog.
struct World {
    cluster: Arc<PgCluster>,
    config: Arc<Config>,
    map: ShardMap,
}

fn map() -> ShardMap {
    let day = |text| KeyValue::from_text(KeyType::Date, text);
    let text = |text: &str| KeyValue::Text(text.into());
    let mut parts = MapParts::new(&SHARDS)
        .hash("customer", &[KeyType::Int8])
        .range("day", KeyType::Date, &[(None, "s0"), (day("2024-02-01"), "s1")])
        .list(
            "region",
            KeyType::Varchar,
            &[(text("north"), "s0"), (text("o'east"), "s0"), (text("south"), "s1")],
        )
        .table("public", "orders", "customer", &["customer"])
        .table("public", "lines", "customer", &["customer"])
        .table("public", "days", "day", &["day"])
        .table("public", "regions", "region", &["name"]);
    let starts = ShardMap::even_split(3);
    let owners = SHARDS.iter().map(|name| Box::from(*name));
    parts.distributions[0].ranges = starts.into_iter().zip(owners).collect();
    ShardMap::build(parts).expect("a map")
}

impl World {
    async fn start() -> World {
        let cluster = cluster::private(0);
        for name in SHARDS.iter().chain([&"catalog"]) {
            cluster.primary.query(&format!("create database {name}")).expect("a database");
        }
        let server = |database: &str| {
            let mut login = tokio_postgres::Config::new();
            login.user(SUPERUSER).dbname(database);
            login.host("127.0.0.1").port(cluster.primary.port());
            Server { login, ca_file: None }
        };
        let shard = |name: &&str| ShardConfig {
            name: (*name).into(),
            server: server(name),
            subscription: String::new(),
        };
        let config = Config {
            database: "app".into(),
            catalog: server("catalog"),
            shards: SHARDS.iter().map(shard).collect(),
            limits: Limits::default(),
        };
        let world = World { cluster, config: Arc::new(config), map: map() };
        world.write_map().await;
        world.fill();
        world
    }

    async fn write_map(&self) {
        self.run("catalog", catalog::INSTALL_SQL);
        let login = &self.config.catalog.login;
        let (mut client, link) = login.connect(tokio_postgres::NoTls).await.expect("the catalog");
        tokio::spawn(link);
        let transaction = client.transaction().await.expect("a transaction");
        for command in catalog::create_map("app", &self.map.parts(), "test") {
            let parameters: Vec<&(dyn ToSql + Sync)> = command
                .parameters
                .iter()
                .map(|parameter| match parameter {
                    Parameter::Text(text) => text as &(dyn ToSql + Sync),
                    Parameter::Integer(number) => number,
                    Parameter::Texts(texts) => texts,
                })
                .collect();
            transaction.query(command.sql, &parameters).await.expect(command.sql);
        }
        transaction.commit().await.expect("a commit");
    }

    /// Thirty thousand orders of as many customers, and ten thousand more of customer 42; a line
    /// for every second of them. On s1 there are rows that belong to s0, as while keys move.
    fn fill(&self) {
        let rows = [
            (
                "orders",
                "select g % 30000 * (g / 30000 = 0)::int + 42 * (g / 30000)::int as customer, \
                 g as id, repeat('x', 50) as note from generate_series(0, 39999) g",
            ),
            ("lines", "select g * 2 as customer, g as n from generate_series(0, 14999) g"),
            (
                "days",
                "select date '2024-01-01' + g % 60 as day, g as n from \
                      generate_series(0, 5999) g",
            ),
            (
                "regions",
                "select (array['north', 'o''east', 'south'])[1 + g % 3] as name, g as n \
                         from generate_series(0, 2999) g",
            ),
        ];
        for (number, shard) in SHARDS.iter().enumerate() {
            self.run(shard, SCHEMA);
            for (name, query) in rows {
                let table = self.map.table(None, name).expect("a table");
                let own = belongs_sql(&self.map, table, ShardId(number as u16));
                self.run(
                    shard,
                    &format!("insert into {name} select * from ({query}) f where {own}"),
                );
            }
        }
        let orders = self.map.table(None, "orders").expect("a table");
        let others = belongs_sql(&self.map, orders, ShardId(0));
        let strange = format!(
            "insert into orders select g, -1, null from generate_series(0, 9999) g \
             cross join lateral (select g::int8 as customer) c where {others}"
        );
        self.run("s1", &strange);
    }

    fn run(&self, database: &str, sql: &str) {
        let done = self.cluster.primary.query_in(database, sql);
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn plan(&self, args: &PlanArgs) -> Plan {
        let plan = make(Arc::clone(&self.config), args).await;
        plan.unwrap_or_else(|error| panic!("{error}"))
    }
}

fn args() -> PlanArgs {
    PlanArgs {
        command: None,
        by: By::Rows,
        add_shard: Vec::new(),
        drain: Vec::new(),
        distribution: Vec::new(),
        threshold: 10.0,
        improvement: 50.0,
        shown: Shown { exact: true, output: None },
    }
}

#[test]
fn plans_are_made_of_what_shards_say() {
    run(180, async {
        let world = World::start().await;
        let map = &world.map;

        let plan = world.plan(&args()).await;
        println!("{plan}");
        let figures = |name: &str| {
            plan.distributions.iter().find(|one| one.name == name).expect("a distribution").clone()
        };
        // Rows that lie on a shard and are not its own are nobody's.
        assert_eq!(figures("customer").weight.rows, 55_000);
        assert_eq!((figures("day").weight.rows, figures("region").weight.rows), (6_000, 3_000));
        assert!(figures("customer").weight.bytes > 3_000_000, "{:?}", figures("customer"));
        // The smaller one makes up for what the larger one has left uneven, within the threshold.
        for (name, most) in [("customer", 0.05), ("day", 0.1)] {
            assert!(figures(name).imbalance_after <= most, "{name}: {plan}");
        }
        assert!(plan.moves.iter().any(|one| one.target == "s3"), "{plan}");
        let read = Plan::from_json(&plan.to_json()).expect("the plan");
        assert_eq!(read, plan);
        assert_eq!(read.moves_left("app", map).expect("moves").len(), plan.moves.len());
        assert!(read.moves_left("other", map).is_err());

        // The key of customer 42 is found: a fifth of all rows.
        let mut drain = args();
        drain.drain = vec!["s2".into(), "s1".into(), "s3".into()];
        drain.distribution = vec!["customer".into()];
        drain.command = None;
        let plan = world.plan(&drain).await;
        assert!(plan.moves.iter().all(|one| one.target == "s0"), "{plan}");
        let (from, to) = narrow_keys(&world).await;
        assert_eq!(to, from + 1);

        // Nothing was touched.
        let count = world.cluster.primary.query_in(
            "catalog",
            "select (select epoch from pgm.cluster), (select count(*) from pgm.move)",
        );
        let count = count.expect("the catalog");
        assert_eq!(count[0], [Some("1".into()), Some("0".into())]);

        // Somebody else gives keys of the plan away: it is refused.
        let first = &read.moves[0];
        let place = map.distributions.iter().position(|one| *one.name == *first.distribution);
        let place = place.expect("a distribution");
        let keys = first.keys.keys(&map.distributions[place]).expect("keys");
        let other = SHARDS.iter().find(|name| **name != first.source && **name != first.target);
        let other = other.expect("another shard");
        let next = map.announce(place, 1, &keys, other).expect("a map");
        let next = next.hand_over(1, other).and_then(|map| map.retire(1)).expect("a map");
        let refused = read.moves_left("app", &next).expect_err("it has changed").to_string();
        assert!(refused.contains("plan again"), "{refused}");
    });
}

/// Two reports are a minute apart, and the first one may come too soon.
const LOAD_LIMIT: Duration = Duration::from_secs(90);

/// Most executions that may have been repeated.
const REPEATED_MAX: i64 = 10;

/// Each execution that one key has sent to one shard is counted, whatever the protocol: once, and
/// again when it is repeated for want of a server.
#[test]
fn proxies_tell_the_catalog_where_load_comes_from() {
    run(180, async {
        let by_hand = ByHand::start("load", 0, |config| config).await;
        let client = by_hand.proxy.client().await;
        let prepared = client
            .prepare_typed("select note from notes where customer = $1", &[Type::INT8])
            .await
            .expect("a statement");
        let before = by_hand.load().await;
        for key in 0..30_i64 {
            client.query(&prepared, &[&key]).await.expect("rows");
            let sql = format!("select note from notes where customer = {key}");
            client.simple_query(&sql).await.expect("rows");
            let sql = format!("insert into notes values ({key}, '')");
            client.simple_query(&sql).await.expect("a row");
        }
        client.simple_query("select count(*) from notes").await.expect("rows of all shards");
        eventually("the catalog is told", LOAD_LIMIT, async || {
            let told = by_hand.load().await - before;
            assert!(told <= 90 + REPEATED_MAX, "{told}");
            told >= 90
        })
        .await;
    });
}

/// The borders of customer 42, isolated.
async fn narrow_keys(world: &World) -> (i64, i64) {
    let mut isolate = args();
    isolate.command = Some(Narrow::Isolate {
        distribution: "customer".into(),
        key: vec!["42".into()],
        target: Some("s3".into()),
        shown: Shown { exact: true, output: None },
    });
    let plan = world.plan(&isolate).await;
    let [only] = plan.moves.as_slice() else { panic!("{plan}") };
    assert_eq!((only.weight.rows, &*only.target), (10_002, "s3"), "{plan}");
    let number =
        |text: &Option<String>| text.as_deref().expect("a border").parse().expect("a hash");
    (number(&only.keys.from), number(&only.keys.to))
}

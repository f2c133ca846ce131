//! Tables of hosts, shards, the map, pins, transactions and the configuration, and EXPLAIN ROUTE:
//! what they say is compared with what the servers and the tests themselves know.

use super::{SOON, admin};
use pgmanifold_tests::client::{self, code, exec, value};
use pgmanifold_tests::cluster::{self, USER};
use pgmanifold_tests::config::CONSOLE_ADMIN;
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::shards::layout::Layout;
use pgmanifold_tests::shards::{Options, Shards};
use pgmanifold_tests::{eventually, run};
use std::collections::BTreeMap;
use tokio_postgres::{Client, SimpleQueryMessage};

/// A row by its columns' names.
pub(super) type Row = BTreeMap<String, Option<String>>;

/// The rows of a command.
pub(super) async fn rows(client: &Client, sql: &str) -> Vec<Row> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let names = row.columns().iter().map(|column| column.name().to_owned());
            let values = (0..row.len()).map(|at| row.get(at).map(str::to_owned));
            Some(names.zip(values).collect())
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

pub(super) fn of<'a>(row: &'a Row, column: &str) -> &'a str {
    row.get(column).unwrap_or_else(|| panic!("no {column}")).as_deref().unwrap_or("NULL")
}

fn number(row: &Row, column: &str) -> i64 {
    of(row, column).parse().unwrap_or_else(|error| panic!("{column}: {error}"))
}

/// A position as a number.
fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').expect("two halves");
    let half = |text: &str| u64::from_str_radix(text, 16).expect("hexadecimal");
    half(high) << 32 | half(low)
}

#[test]
fn hosts_are_what_the_servers_say() {
    run(60, async {
        let fixture = Fixture::shared("console_hosts", |config| config).await;
        fixture.wait_replicas().await;
        let (console, direct) = (admin(&fixture).await, fixture.direct().await);
        exec(&fixture.client().await, "create table t (id int)").await;
        let mut busy = Vec::new();
        for _ in 0..5 {
            let client = fixture.client().await;
            exec(&client, "begin; insert into t values (1)").await;
            busy.push(client);
        }
        let before = value(&direct, "select pg_current_wal_flush_lsn()").await;
        let primary = fixture.cluster.primary.address().to_string();
        eventually("the position was read again", SOON, async || {
            let hosts = rows(&console, "SHOW HOSTS").await;
            let found = hosts.iter().find(|row| of(row, "host") == primary).expect("it is there");
            lsn(of(found, "lsn")) >= lsn(&before)
        })
        .await;
        let hosts = rows(&console, "SHOW HOSTS").await;
        let after = value(&direct, "select pg_current_wal_flush_lsn()").await;
        assert_eq!(hosts.len(), fixture.cluster.servers().count());
        let timeline = "select timeline_id from pg_control_checkpoint()";
        let timeline = value(&direct, timeline).await;
        for row in &hosts {
            let role = if of(row, "host") == primary { "primary" } else { "replica" };
            assert_eq!((of(row, "role"), of(row, "state")), (role, "up"), "{row:?}");
            assert_eq!((of(row, "circuit"), of(row, "fenced")), ("closed", "f"), "{row:?}");
            assert_eq!(of(row, "timeline"), timeline, "{row:?}");
            assert!(lsn(of(row, "lsn")) <= lsn(&after), "{row:?} is beyond {after}");
            assert_eq!(of(row, "lag_ms") == "NULL", role == "primary", "{row:?}");
            let open = number(row, "active") + number(row, "idle") + number(row, "connecting");
            assert!(open <= number(row, "size"), "{row:?}");
            if role == "primary" {
                assert!(number(row, "active") >= 5, "{row:?}");
                let sql = format!(
                    "select count(*) from pg_stat_activity where usename = '{USER}' \
                     and datname = current_database() and pid <> pg_backend_pid()"
                );
                assert_eq!(value(&direct, &sql).await, open.to_string(), "{row:?}");
            }
        }
        drop(busy);
        let shards = rows(&console, "SHOW SHARDS").await;
        let [shard] = shards.as_slice() else { panic!("{shards:?}") };
        assert_eq!((of(shard, "primary_host"), of(shard, "primary_state")), (&*primary, "up"));
        let replicas = fixture.cluster.replicas.len().to_string();
        assert_eq!((of(shard, "replicas_usable"), of(shard, "two_phase")), (&*replicas, "NULL"));
        assert_eq!(of(shard, "databases"), fixture.database);
    });
}

#[test]
fn pins_name_sessions_and_what_they_wait_for() {
    run(120, async {
        let fixture = Fixture::on(cluster::private(1), "console_pins", |config| config).await;
        fixture.wait_replicas().await;
        let console = admin(&fixture).await;
        assert!(rows(&console, "SHOW PINS").await.is_empty());
        let (holder, writer) = (fixture.client().await, fixture.client().await);
        let holder_id = value(&holder, "select pg_backend_pid()").await;
        assert!(!holder_id.is_empty());
        exec(&holder, "create temporary table own (id int)").await;
        // What the session holds is asked after its answer; the replica needs a moment too.
        eventually("the temporary table alone ties it", SOON, async || {
            let pins = rows(&console, "SHOW PINS").await;
            pins.len() == 1 && of(&pins[0], "kind") == "server"
        })
        .await;
        let pins = rows(&console, "SHOW PINS").await;
        let [pin] = pins.as_slice() else { panic!("{pins:?}") };
        assert_eq!((of(pin, "kind"), of(pin, "reason")), ("server", "temporary object"));
        assert_eq!((of(pin, "user"), of(pin, "database")), (USER, &*fixture.database));
        assert!(of(pin, "since").ends_with(" UTC"), "{pin:?}");
        drop(holder);
        exec(&writer, "create table t (id int)").await;
        fixture.cluster.wait_caught_up().expect("the replica follows");
        fixture.cluster.replicas[0].pause_replay().expect("pause");
        exec(&writer, "insert into t values (1)").await;
        let direct = fixture.direct().await;
        let written = value(&direct, "select pg_current_wal_flush_lsn()").await;
        eventually("the write has a position", SOON, async || {
            let pins = rows(&console, "SHOW PINS").await;
            pins.iter().any(|pin| of(pin, "lsn") != "NULL")
        })
        .await;
        let pins = rows(&console, "SHOW PINS").await;
        let [pin] = pins.as_slice() else { panic!("{pins:?}") };
        assert_eq!((of(pin, "kind"), of(pin, "reason")), ("primary", "own write"));
        assert_eq!(of(pin, "shard"), "main");
        let replayed = "select pg_last_wal_replay_lsn()";
        let replayed = fixture.cluster.replicas[0].query(replayed).expect("the replica answers");
        let replayed = replayed[0][0].clone().expect("a position");
        assert!(lsn(of(pin, "lsn")) > lsn(&replayed), "{pin:?} and {replayed} replayed");
        assert!(lsn(of(pin, "lsn")) >= lsn(&written).saturating_sub(1 << 16), "{pin:?} {written}");
        fixture.cluster.replicas[0].resume_replay().expect("resume");
        eventually("nothing ties the writer any more", SOON, async || {
            rows(&console, "SHOW PINS").await.is_empty()
        })
        .await;
    });
}

const SCHEMA: &str = "create table orders (customer int, id int, body text, \
       primary key (customer, id)); \
     create table country (code text primary key); create table note (id int primary key)";

async fn sharded(test: &str) -> Shards {
    let layout = Layout::new()
        .hash("customers", &["integer"])
        .table("orders", &["customer"])
        .reference("everywhere")
        .table("country", &[]);
    let options = Options::new(test).tables(layout, SCHEMA);
    Shards::start(options, |config| config.pool("two_phase_recovery_interval_ms = 3000")).await
}

#[test]
fn the_map_and_its_tables_are_shown() {
    run(60, async {
        let shards = sharded("console_map").await;
        let console = client::connect(&shards.address, CONSOLE_ADMIN, "pgmanifold").await;
        let ranges = rows(&console, "SHOW MAP").await;
        let hashed: Vec<&Row> = ranges.iter().filter(|row| of(row, "kind") == "hash").collect();
        assert_eq!(hashed.len(), 3);
        let direct = shards.shard_client(0).await;
        for customer in 0..50 {
            let hash = value(&direct, &format!("select hashint4extended({customer}, 0)")).await;
            let hash: i64 = hash.parse().expect("a hash");
            let inside =
                |row: &&&Row| (number(row, "hash_from")..=number(row, "hash_to")).contains(&hash);
            let owners: Vec<&&Row> = hashed.iter().filter(inside).collect();
            let [owner] = owners.as_slice() else { panic!("{hash}: {owners:?}") };
            let sql = format!("EXPLAIN ROUTE SELECT * FROM orders WHERE customer = {customer}");
            assert_eq!(fact(&rows(&console, &sql).await, "shards"), of(owner, "shard"));
        }
        let tables = rows(&console, "SHOW TABLES").await;
        let shown: Vec<String> = tables
            .iter()
            .map(|row| {
                let words = ["table_name", "kind", "distribution", "key_columns", "shard"];
                words.map(|word| of(row, word)).join(" ")
            })
            .collect();
        assert_eq!(
            shown,
            [
                "orders sharded customers customer NULL",
                "country reference everywhere NULL NULL",
                "note unsharded NULL NULL s0",
            ]
        );
        assert!(tables.iter().all(|row| of(row, "is_there") == "t"), "{tables:?}");
        assert!(rows(&console, "SHOW MOVES").await.is_empty());
    });
}

#[test]
fn the_examples_of_the_documentation_run() {
    run(60, async {
        let shards = sharded("console_examples").await;
        let console = client::connect(&shards.address, CONSOLE_ADMIN, "pgmanifold").await;
        let text = include_str!("../../../../docs/console.md");
        let examples = text.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next());
        let mut count = 0;
        for example in examples {
            let answered = rows(&console, example).await;
            assert!(!example.contains("FROM ranges") || !answered.is_empty(), "{example}");
            count += 1;
        }
        assert!(count >= 5, "{count} examples");
    });
}

/// The value of an item of EXPLAIN ROUTE.
fn fact<'a>(rows: &'a [Row], item: &str) -> &'a str {
    let found = rows.iter().find(|row| of(row, "item") == item);
    of(found.unwrap_or_else(|| panic!("no {item} in {rows:?}")), "value")
}

#[test]
fn explained_routes_are_those_that_are_taken() {
    run(60, async {
        let shards = sharded("console_explain").await;
        let console = client::connect(&shards.address, CONSOLE_ADMIN, "pgmanifold").await;
        let client = shards.client().await;
        for (sql, route, error) in [
            ("insert into orders values (1, 1, 'a')", "single", None),
            ("select * from orders where customer = 1", "single", None),
            ("select count(*) from orders", "scatter", None),
            ("select * from orders order by id", "scatter", None),
            ("select * from country", "single", None),
            ("select * from note", "single", None),
            ("update orders set customer = 2", "refused", Some("PGM03")),
            ("/* pgm: shard=s9 */ select 1", "refused", Some("22023")),
            ("show pgm.role", "local", None),
        ] {
            let explained = rows(&console, &format!("EXPLAIN ROUTE {sql}")).await;
            assert_eq!(fact(&explained, "route"), route, "{sql}: {explained:?}");
            match (error, client.simple_query(sql).await) {
                (None, Ok(_)) => {}
                (Some(wanted), Err(error)) => {
                    assert_eq!(code(&error), wanted, "{sql}");
                    assert_eq!(fact(&explained, "sqlstate"), wanted, "{sql}");
                    let told = error.as_db_error().expect("an answer");
                    assert_eq!(fact(&explained, "reason"), told.message(), "{sql}");
                    if let Some(hint) = told.hint() {
                        assert_eq!(fact(&explained, "hint"), hint, "{sql}");
                    }
                }
                (wanted, other) => panic!("{sql}: {wanted:?}, {other:?}"),
            }
        }
        let sql = "EXPLAIN ROUTE SELECT * FROM orders WHERE customer = $1";
        assert_eq!(fact(&rows(&console, sql).await, "shards"), "one, by $1");
        for (sql, wanted) in [
            ("EXPLAIN ROUTE FOR nobody SELECT 1", "3D000"),
            (&format!("EXPLAIN ROUTE FOR {} AS nobody SELECT 1", shards.database), "42704"),
        ] {
            let error = console.simple_query(sql).await.expect_err(sql);
            assert_eq!(code(&error), wanted, "{sql}");
        }
    });
}

#[test]
fn a_prepared_transaction_is_shown_until_it_is_ended() {
    run(90, async {
        let shards = sharded("console_transactions").await;
        let console = client::connect(&shards.address, CONSOLE_ADMIN, "pgmanifold").await;
        eventually("shards can commit in two phases", SOON, async || {
            let shards = rows(&console, "SHOW SHARDS").await;
            shards.iter().all(|row| of(row, "two_phase") == "ready")
        })
        .await;
        assert!(rows(&console, "SHOW TRANSACTIONS").await.is_empty());
        // As a proxy that died would have left it.
        let direct = shards.shard_client(1).await;
        let now = "select floor(extract(epoch from clock_timestamp()) * 1000)::bigint";
        let now: u64 = value(&direct, now).await.parse().expect("a time");
        let name = format!("pgm:s0:{now:012x}{}", "a".repeat(32));
        let sql = "begin; insert into orders values (77, 1, 'x')";
        exec(&direct, &format!("{sql}; prepare transaction '{name}:s1'")).await;
        eventually("it is seen", SOON, async || {
            !rows(&console, "SHOW TRANSACTIONS").await.is_empty()
        })
        .await;
        let found = rows(&console, "SHOW TRANSACTIONS").await;
        let [row] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((of(row, "name"), of(row, "database")), (&*name, &*shards.database));
        assert_eq!((of(row, "home"), of(row, "shards")), ("s0", "s1"));
        assert_eq!((of(row, "state"), of(row, "outcome")), ("in_doubt", "undecided"));
        assert!((0..30_000).contains(&number(row, "age_ms")), "{row:?}");
        let shown = rows(&console, "SHOW SHARDS").await;
        let doubt: Vec<&str> = shown.iter().map(|row| of(row, "in_doubt")).collect();
        assert_eq!(doubt, ["0", "1", "0"]);
        eventually("recovery ends it", SOON, async || {
            rows(&console, "SHOW TRANSACTIONS").await.is_empty()
        })
        .await;
        let left = "select count(*) from pg_prepared_xacts where database = current_database()";
        assert_eq!(value(&direct, left).await, "0");
    });
}

#[test]
fn the_configuration_is_shown_without_secrets() {
    run(60, async {
        let secret = "very-hidden-word";
        let fixture = Fixture::shared("console_config", |config| {
            let user = format!("[[user]]\nname = \"hidden\"\npassword = {secret:?}\n");
            config.general("max_clients = 4321").section(&user)
        })
        .await;
        let console = admin(&fixture).await;
        let config = rows(&console, "SHOW CONFIG").await;
        let shown = |key: &str| {
            let found = config.iter().find(|row| of(row, "key") == key);
            of(found.unwrap_or_else(|| panic!("no {key}")), "value").to_owned()
        };
        for (key, wanted) in [
            ("max_client_conn", "4321"),
            ("max_user_connections", "0"),
            ("general.max_clients", "4321"),
            ("pool.checkout_timeout_ms", "20000"),
            ("query_wait_timeout", "20"),
            (&*format!("database.{}.checkout_timeout_ms", fixture.database), "20000"),
            ("user.hidden.password", "***"),
        ] {
            assert_eq!(shown(key), wanted, "{key}");
        }
        assert!(!format!("{config:?}").contains(secret));
        let memory = rows(&console, "SHOW MEM").await;
        let resident = memory.iter().find(|row| of(row, "name") == "resident").expect("a row");
        assert!(number(resident, "memtotal") > 1 << 20, "{resident:?}");
        let clients = memory.iter().find(|row| of(row, "name") == "client_cache").expect("a row");
        assert_eq!(number(clients, "memtotal"), number(clients, "size") * number(clients, "used"));
        for table in ["PEERS", "PEER_POOLS", "DNS_HOSTS", "DNS_ZONES"] {
            assert!(rows(&console, &format!("SHOW {table}")).await.is_empty());
        }
    });
}

//! The catalog's texts on a server: installed twice, written and read again, and what is not a
//! whole map refused.

use pgmanifold_router::catalog::{self, Command, Loaded, Parameter, Row};
use pgmanifold_router::key::{KeyType, KeyValue};
use pgmanifold_router::shard_map::{Bound, Keys, MapParts, ShardMap};
use pgmanifold_tests::cluster::{self, USER};
use pgmanifold_tests::{client, run};
use std::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

/// The catalog as programs installed it that knew nothing of moves.
const FIRST_VERSION: &str = include_str!("catalog_v1.sql");
/// What the catalog answers to something that is no map.
const NO_MAP: &str = "23000";

async fn catalog() -> (Client, Client) {
    let cluster = cluster::shared();
    let database = cluster::create_database(&cluster, "catalog");
    let address = cluster.primary.address();
    let one = client::connect(&address, USER, &database).await;
    for _ in 0..2 {
        client::exec(&one, catalog::INSTALL_SQL).await;
    }
    (one, client::connect(&address, USER, &database).await)
}

fn parts() -> MapParts {
    let text = |text: &str| KeyValue::Text(text.into());
    let day = KeyValue::from_text(KeyType::Date, "2026-01-01").expect("a day");
    MapParts::new(&["s0", "s1", "s 2"])
        .hash("orders", &[KeyType::Int8, KeyType::Text])
        .range("days", KeyType::Date, &[(None, "s0"), (Some(day), "s1")])
        .list("odd", KeyType::Text, &[(text(""), "s 2"), (text("a'\\\"{},"), "s1")])
        .reference("everywhere")
        .single("one", "s 2")
        .table("public", "orders", "orders", &["customer id", "a\"b\\c,{}"])
        .table("archive", "orders", "days", &["day"])
        .table("public", "vat", "everywhere", &[])
}

/// Runs commands as one transaction; false when the first one says that somebody was faster.
async fn write(client: &Client, commands: &[Command]) -> Result<bool, Error> {
    client.batch_execute("begin").await?;
    let done = write_all(client, commands).await;
    let end = if matches!(done, Ok(true)) { "commit" } else { "rollback" };
    client.batch_execute(end).await?;
    done
}

async fn write_all(client: &Client, commands: &[Command]) -> Result<bool, Error> {
    for command in commands {
        let parameters = command.parameters.iter().map(|parameter| match parameter {
            Parameter::Text(text) => text as &(dyn ToSql + Sync),
            Parameter::Integer(number) => number,
            Parameter::Texts(texts) => texts,
        });
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.collect();
        let rows = client.query(command.sql, &parameters).await?;
        if command.decides && rows.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn load(client: &Client) -> Loaded {
    let rows = client.query(catalog::LOAD_SQL, &[]).await.expect("the maps");
    let rows = rows.iter().map(|row| Row {
        what: row.get("what"),
        database: row.get("database"),
        fields: row.get("fields"),
    });
    catalog::read_rows(rows).expect("rows of a catalog")
}

async fn map(client: &Client, database: &str) -> ShardMap {
    let loaded = load(client).await;
    let found = loaded.maps.into_iter().find(|(name, _)| name == database);
    ShardMap::build(found.expect("a map").1).expect("a whole map")
}

async fn with_map() -> (Client, Client) {
    let (client, other) = catalog().await;
    let created = write(&client, &catalog::create_map("app", &parts(), "first")).await;
    assert!(created.expect("a first map"));
    (client, other)
}

#[test]
fn maps_are_written_and_read_again() {
    run(60, async {
        let (client, other) = with_map().await;
        let small = catalog::create_map("b", &MapParts::new(&["x"]), "first");
        assert!(write(&client, &small).await.expect("another database's"));
        let again = write(&other, &catalog::create_map("app", &parts(), "again")).await;
        assert!(!again.expect("no error"), "there is one");
        let name = load(&client).await.catalog;
        let first = ShardMap::build(parts()).expect("a map");
        assert_eq!(map(&other, "app").await, first);

        client::exec(&other, catalog::LISTEN_SQL).await;
        let second = first.split(0, Bound::Hash(7)).expect("a split");
        let second = second.assign(0, Some(&Bound::Hash(7)), "s0").expect("a change");
        let change = catalog::change_map("app", 1, &second.parts(), "split");
        assert!(write(&client, &change).await.expect("a change"));
        let second = second.with_epoch(2);
        assert_eq!(map(&other, "app").await, second);
        let late = catalog::change_map("app", 1, &first.parts(), "late");
        assert!(!write(&other, &late).await.expect("no error"), "the epoch is an old one");
        assert_eq!(map(&other, "app").await, second);

        client::exec(&client, catalog::INSTALL_SQL).await;
        assert_eq!(map(&client, "app").await, second, "installed over it");
        assert_eq!(load(&client).await.catalog, name, "the catalog stays the one it is");
        let epochs = client.query(catalog::EPOCHS_SQL, &[]).await.expect("epochs");
        let epochs: Vec<(String, i64)> = epochs.iter().map(|r| (r.get(0), r.get(1))).collect();
        assert_eq!(epochs, [("app".to_owned(), 2), ("b".to_owned(), 1)]);
        let history = "select string_agg(epoch || ' ' || note, ', ' order by id) from pgm.history";
        assert_eq!(client::value(&client, history).await, "1 first, 1 first, 2 split");
        client::exec(&client, "delete from pgm.cluster where database = 'app'").await;
        assert_eq!(load(&client).await.maps.len(), 1);
    });
}

/// Keys of all kinds on their way, announced in another order than that of their numbers.
fn with_moves(map: &ShardMap) -> ShardMap {
    let day = |day: &str| KeyValue::from_text(KeyType::Date, day).map(Bound::Value);
    let odd = |text: &str| Keys::Values(vec![KeyValue::Text(text.into())]);
    let middle = ShardMap::even_split(3).swap_remove(1);
    let map = map.announce(2, 12, &odd("a'\\\"{},"), "s 2").expect("a move");
    let map = map.announce(2, 3, &odd(""), "s0").expect("a move");
    let map = map.announce(1, 7, &Keys::Between(day("2026-03-01"), None), "s 2").expect("a move");
    let map = map.announce(1, 8, &Keys::Between(None, day("0044-03-15")), "s1").expect("a move");
    let map = map.announce(0, 1, &Keys::Between(None, middle), "s1").expect("a move");
    map.hand_over(7, "s 2").expect("a new owner").pause(12, true).expect("a pause")
}

#[test]
fn moves_are_written_and_read_again() {
    run(60, async {
        let (client, other) = with_map().await;
        let moving = with_moves(&map(&client, "app").await);
        let change = catalog::change_map("app", 1, &moving.parts(), "moves");
        assert!(write(&client, &change).await.expect("a change"));
        assert_eq!(map(&other, "app").await, moving.with_epoch(2));
        assert_eq!(client::value(&other, "select count(*) from pgm.moving").await, "5");
        let done = moving.retire(3).expect("an end").pause(12, false).expect("no pause");
        let change = catalog::change_map("app", 2, &done.parts(), "fewer");
        assert!(write(&client, &change).await.expect("a change"));
        assert_eq!(map(&other, "app").await, done.with_epoch(3));

        let raise = "update pgm.cluster set epoch = epoch + 1";
        let set = |what: &str| format!("{raise}; update pgm.moving set {what}");
        for (sql, code) in [
            (set("source = target"), "23514"),
            (set("source = 's9' where move = 1"), "23503"),
            (set("list_values = '{}', starts = null, ends = null where move = 7"), "23514"),
            (set("list_values = '{null}' where move = 12"), "23514"),
            (set("list_values = '{a}', starts = null, ends = null where move = 7"), NO_MAP),
            (set("list_values = null where move = 12"), NO_MAP),
            (set("list_values = '{a}' where move = 7"), "23514"),
            ("update pgm.moving set paused = true".into(), NO_MAP),
        ] {
            let refused = client.batch_execute(&format!("begin; {sql}; commit")).await;
            assert_eq!(client::code(&refused.expect_err(&sql)), code, "{sql}");
            client::exec(&client, "rollback").await;
        }
        client::exec(&client, "delete from pgm.cluster").await;
        assert_eq!(client::value(&client, "select count(*) from pgm.moving").await, "0");
    });
}

#[test]
fn a_catalog_of_the_first_version_goes_on() {
    run(60, async {
        let cluster = cluster::shared();
        let database = cluster::create_database(&cluster, "catalog");
        let client = client::connect(&cluster.primary.address(), USER, &database).await;
        client::exec(&client, FIRST_VERSION).await;
        let old = |commands: Vec<Command>| -> Vec<Command> {
            commands.into_iter().filter(|command| !command.sql.contains("pgm.moving")).collect()
        };
        let created = write(&client, &old(catalog::create_map("app", &parts(), "first"))).await;
        assert!(created.expect("a first map"));
        let id = client::value(&client, "select id from pgm.catalog").await;
        for _ in 0..2 {
            client::exec(&client, catalog::INSTALL_SQL).await;
        }
        assert_eq!(load(&client).await.catalog, id, "it stays the one it is");
        let first = map(&client, "app").await;
        assert_eq!(first, ShardMap::build(parts()).expect("a map"));
        let moving = with_moves(&first);
        let change = catalog::change_map("app", 1, &moving.parts(), "moves");
        assert!(write(&client, &change).await.expect("a change"));
        assert_eq!(map(&client, "app").await, moving.with_epoch(2));

        // Neither program changes what a newer one has installed.
        client::exec(&client, "update pgm.catalog set version = 9").await;
        client::exec(&client, catalog::INSTALL_SQL).await;
        client::exec(&client, FIRST_VERSION).await;
        assert_eq!(client::value(&client, "select version from pgm.catalog").await, "9");
    });
}

#[test]
fn two_writers_cannot_both_win() {
    run(60, async {
        let (client, other) = with_map().await;
        for isolation in ["read committed", "repeatable read"] {
            let now = map(&client, "app").await;
            let change = catalog::change_map("app", now.epoch, &now.parts(), "one");
            let set = format!("set default_transaction_isolation = '{isolation}'");
            client::exec(&other, &set).await;
            client::exec(&client, "begin").await;
            assert!(write_all(&client, &change).await.expect("a change"));
            // The second one waits for the first one's commit, then sees that it has lost.
            let commit = async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                client::exec(&client, "commit").await;
            };
            let (second, ()) = tokio::join!(write(&other, &change), commit);
            match second {
                Ok(won) => assert!(!won),
                Err(error) => assert_eq!(client::code(&error), "40001"),
            }
            assert_eq!(map(&client, "app").await.epoch, now.epoch + 1);
        }
    });
}

/// Statements that must be refused with this SQLSTATE, after the epoch was raised.
fn refused() -> Vec<(String, &'static str)> {
    let id = |name: &str| format!("(select id from pgm.distribution where name = '{name}')");
    let (orders, days, odd) = (id("orders"), id("days"), id("odd"));
    let first = format!("distribution = {orders} and lower_inf(hashes)");
    let last = format!("distribution = {orders} and upper_inf(hashes)");
    let set = |what: &str, of: &str| format!("update pgm.key_range set {what} where {of}");
    let drop = |of: &str| format!("delete from pgm.key_range where {of}");
    let add = |of: &str, more: &str| {
        format!("insert into pgm.key_range values ({of}, 'app', 's0'{more})")
    };
    let list = |of: &str, value: &str| {
        format!("insert into pgm.list_value values ({of}, 'app', '{value}', 's0')")
    };
    let hash_of = |ty: &str| {
        format!(
            "insert into pgm.distribution (database, place, name, kind, key_types) \
             values ('app', 9, 'n', 'hash', '{{{ty}}}')"
        )
    };
    let tables = |set: &str| format!("update pgm.sharded_table set {set} where place = 0");
    let at_once = "; set constraints pgm.ranges_do_not_overlap immediate".to_owned();
    vec![
        // Gaps at each end and between, an overlap, no ranges.
        (drop(&first), NO_MAP),
        (drop(&last), NO_MAP),
        (drop(&format!("distribution = {orders}")), NO_MAP),
        (set("hashes = int8range(null, -5000000000000000000)", &first), NO_MAP),
        (set("hashes = int8range(null, 0)", &first), NO_MAP),
        (set("hashes = int8range(null, 0)", &first) + &at_once, "23P01"),
        (set("hashes = 'empty'", &first), "23514"),
        (set("hashes = null", &first), NO_MAP),
        (add(&orders, ", null, 'x'"), NO_MAP),
        // Two beginnings, none, one value in two spellings, no value, hashes for values.
        (add(&days, ""), NO_MAP),
        (drop(&format!("distribution = {days} and starts is null")), NO_MAP),
        (add(&days, ", null, '20260101'"), NO_MAP),
        (add(&days, ", null, 'x'"), "22007"),
        (add(&days, ", '[1,2)'"), NO_MAP),
        (add(&id("everywhere"), ""), NO_MAP),
        (list(&odd, ""), "23505"),
        (list(&days, "x"), NO_MAP),
        (format!("delete from pgm.list_value where distribution = {odd}"), NO_MAP),
        // Shards that are not there.
        (set("shard = 's9'", "true"), "23503"),
        ("delete from pgm.shard where name = 's1'".into(), "23503"),
        ("update pgm.distribution set home = 's9' where name = 'one'".into(), "23503"),
        // Keys and their columns.
        (tables("key_columns = '{}'"), NO_MAP),
        (tables("distribution = 'x'"), "23503"),
        (hash_of("numeric"), "23514"),
        (hash_of("text"), NO_MAP),
        // The epoch again, and by more than one.
        ("update pgm.cluster set epoch = epoch + 2".into(), NO_MAP),
        ("update pgm.cluster set epoch = epoch + 1, home = 's9'".into(), NO_MAP),
    ]
}

#[test]
fn what_is_not_a_whole_map_is_refused() {
    run(60, async {
        let (client, _) = with_map().await;
        let before = map(&client, "app").await;
        let raise = "update pgm.cluster set epoch = epoch + 1";
        let raised = refused().into_iter().map(|(sql, code)| (format!("{raise}; {sql}"), code));
        let not_raised = [
            ("delete from pgm.key_range".to_owned(), NO_MAP),
            ("update pgm.cluster set epoch = 1, home = 's1'".to_owned(), NO_MAP),
            ("update pgm.sharded_table set place = place + 1".to_owned(), NO_MAP),
        ];
        for (sql, code) in raised.chain(not_raised) {
            let done = client.batch_execute(&format!("begin; {sql}; commit")).await;
            let error = done.expect_err(&sql);
            assert_eq!(client::code(&error), code, "{sql}: {}", client::text(&error));
            client::exec(&client, "rollback").await;
        }
        assert_eq!(map(&client, "app").await, before);
        client::exec(&client, raise).await;
        assert_eq!(map(&client, "app").await, before.with_epoch(2), "it is a whole map still");
    });
}

#[test]
fn processes_report_what_they_have() {
    run(60, async {
        let (client, _) = catalog().await;
        for (seen, acknowledged) in [(3_i64, 2_i64), (4, 4)] {
            let report: [&(dyn ToSql + Sync); 4] = [&"app", &"p1", &seen, &acknowledged];
            client.execute(catalog::REPORT_SQL, &report).await.expect("a report");
        }
        let reported = "select database || name || seen_epoch || acked_epoch from pgm.proxy";
        assert_eq!(client::value(&client, reported).await, "appp144");
    });
}

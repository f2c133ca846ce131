//! The console's tables of connections and counters say what is so: they are compared with what
//! the servers see, with what the drivers did, and with each other.

use pgmanifold_tests::client::{self, exec, value};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::raw::{Raw, bind, execute, parse, query, sync};
use pgmanifold_tests::shards::layout::Layout;
use pgmanifold_tests::shards::{Options, Shards};
use pgmanifold_tests::tables::TableRow;
use pgmanifold_tests::{eventually, run};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_postgres::Client;

const SOON: Duration = Duration::from_secs(10);

/// Logs in under a name of its own.
async fn named(fixture: &Fixture, name: &str) -> Client {
    let mut config = client::config(&fixture.address, "app", &fixture.database);
    config.application_name(name);
    client::try_connect(&config).await.expect("logs in")
}

/// The only row of which this holds.
fn only(rows: Vec<TableRow>, is: impl Fn(&TableRow) -> bool) -> TableRow {
    let mut found: Vec<TableRow> = rows.into_iter().filter(is).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn of_client(fixture: &Fixture, name: &str) -> TableRow {
    only(fixture.table("clients"), |row| row.has("application_name", name))
}

/// A counter of the test's database.
fn total(fixture: &Fixture, name: &str) -> i64 {
    only(fixture.table("stats_totals"), |row| row.has("database", &fixture.database)).number(name)
}

#[test]
fn a_client_is_shown_as_it_is() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = Fixture::shared("client_row", |config| config).await;
        let client = named(&fixture, "first").await;
        let row = of_client(&fixture, "first");
        for (column, wanted) in [
            ("type", "C"),
            ("user", "app"),
            ("database", &*fixture.database),
            ("replication", "none"),
            ("state", "idle"),
            ("addr", "127.0.0.1"),
            ("local_addr", "127.0.0.1"),
            ("wait_us", "0"),
            ("link", ""),
            ("remote_pid", "0"),
            ("tls", ""),
            ("prepared_statements", "0"),
        ] {
            assert_eq!(row.text(column), wanted, "{column}");
        }
        let fixture_port = match &fixture.address {
            pgmanifold::config::model::Address::Tcp(_, port) => i64::from(*port),
            other => panic!("{other}"),
        };
        assert_eq!(row.number("local_port"), fixture_port);
        assert!(row.text("connect_time").ends_with(" UTC"), "{row:?}");
        exec(&client, "set application_name = 'second'").await;
        // What a SET has done is asked after its answer.
        let known = |name: &str| {
            fixture.table("clients").iter().any(|row| row.has("application_name", name))
        };
        eventually("renamed", SOON, async || known("second")).await;
        let again = of_client(&fixture, "second");
        assert_eq!((again.text("ptr"), again.number("id")), (row.text("ptr"), row.number("id")));
        exec(&client, "reset application_name").await;
        eventually("renamed again", SOON, async || known("first")).await;
        of_client(&fixture, "first");
        let one = client.prepare("select 1").await.expect("prepared");
        let two = client.prepare("select 2").await.expect("prepared");
        assert_eq!(of_client(&fixture, "first").number("prepared_statements"), 2);
        drop(one);
        eventually("closed", SOON, async || {
            exec(&client, "select 1").await;
            of_client(&fixture, "first").number("prepared_statements") == 1
        })
        .await;
        exec(&client, "deallocate all").await;
        assert_eq!(of_client(&fixture, "first").number("prepared_statements"), 0);
        drop(two);
        drop(client);
        eventually("gone", SOON, async || {
            !fixture.table("clients").iter().any(|row| row.has("application_name", "first"))
        })
        .await;
        let raw = fixture.raw().await;
        let id = i64::from(raw.pid.cast_signed());
        only(fixture.table("clients"), |row| row.number("id") == id);
    });
}

#[test]
fn the_console_shows_itself() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = Fixture::shared("self", |config: ConfigText| {
            config.section("[console]\nadmin_users = [\"app\"]\n")
        })
        .await;
        let console = client::connect(&fixture.address, "app", "pgmanifold").await;
        let row = only(fixture.table("clients"), |row| row.has("database", "pgbouncer"));
        assert_eq!((row.text("user"), row.text("addr")), ("app".into(), "127.0.0.1".into()));
        let pool = only(fixture.table("pools"), |row| row.has("database", "pgbouncer"));
        assert_eq!((pool.number("cl_active"), pool.text("pool_mode")), (1, "statement".into()));
        let shown = client::rows(&console, "show clients").await.expect("shown");
        let own: Vec<_> =
            shown.iter().filter(|row| row[2].as_deref() == Some("pgbouncer")).collect();
        assert_eq!(own.len(), 1);
        assert_eq!(own[0][4].as_deref(), Some("active"), "it asks now");
    });
}

#[test]
fn clients_and_servers_are_linked_as_on_the_servers() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = Fixture::shared("links", |config| config).await;
        let mut clients = Vec::new();
        for number in 0..5 {
            let client = named(&fixture, &format!("worker {number}")).await;
            exec(&client, "begin; create temporary table if not exists x ()").await;
            exec(&client, "rollback").await;
            clients.push(client);
        }
        for client in &clients[..3] {
            exec(client, "begin; select 1").await;
        }
        for (number, client) in clients.iter().enumerate().take(3) {
            let pid = value(client, "select pg_backend_pid()").await;
            let row = of_client(&fixture, &format!("worker {number}"));
            assert_eq!(row.text("state"), "active");
            let server =
                only(fixture.table("servers"), |server| server.has("link", &row.text("ptr")));
            assert_eq!(server.text("ptr"), row.text("link"));
            assert_eq!((server.text("remote_pid"), server.text("state")), (pid, "active".into()));
            assert_eq!(server.text("application_name"), format!("worker {number}"));
            assert_eq!(server.text("addr"), "127.0.0.1");
        }
        let pids = |state: &str| -> BTreeSet<String> {
            let servers = fixture.table("servers").into_iter();
            let own = servers.filter(|row| row.has("database", &fixture.database));
            own.filter(|row| row.has("state", state)).map(|row| row.text("remote_pid")).collect()
        };
        let seen = |state: &str| -> BTreeSet<String> {
            let sql = format!(
                "select pid from pg_stat_activity where datname = '{}' and usename = 'app' \
                 and state = '{state}'",
                fixture.database
            );
            let every = fixture.cluster.servers();
            let rows = every.flat_map(|server| server.query(&sql).expect("activity"));
            rows.filter_map(|row| row.into_iter().next().flatten()).collect()
        };
        eventually("PostgreSQL sees the same", SOON, async || {
            pids("active") == seen("idle in transaction") && pids("idle") == seen("idle")
        })
        .await;
        let pool = only(fixture.table("pools"), |row| row.has("database", &fixture.database));
        assert_eq!((pool.number("cl_active"), pool.number("sv_active")), (5, 3));
        assert_eq!(pool.number("sv_idle"), pids("idle").len() as i64);
        let database = only(fixture.table("databases"), |row| row.has("name", &fixture.database));
        assert_eq!(database.number("current_client_connections"), 5);
        let servers = pids("active").len() + pids("idle").len();
        assert_eq!(database.number("current_connections"), servers as i64);
        for client in &clients[..3] {
            exec(client, "commit").await;
        }
        assert!(pids("active").is_empty());
        assert_eq!(of_client(&fixture, "worker 0").text("state"), "idle");
    });
}

#[test]
fn who_waits_is_seen_waiting() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture =
            Fixture::shared("waits", |config: ConfigText| config.pool("pool_size = 1")).await;
        let (holder, waiter) = (named(&fixture, "holder").await, named(&fixture, "waiter").await);
        exec(&holder, "/* pgm: primary */ begin; select 1").await;
        let before = total(&fixture, "wait_time");
        let waiting = tokio::spawn(async move {
            exec(&waiter, "/* pgm: primary */ select 1").await;
            waiter
        });
        eventually("it waits", SOON, async || {
            of_client(&fixture, "waiter").has("state", "waiting")
        })
        .await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let row = of_client(&fixture, "waiter");
        assert!(row.number("wait") >= 1 && row.number("wait_us") < 1_000_000, "{row:?}");
        assert_eq!(row.text("link"), "");
        let pool = only(fixture.table("pools"), |row| row.has("database", &fixture.database));
        assert_eq!((pool.number("cl_active"), pool.number("cl_waiting")), (1, 1));
        assert!(pool.number("maxwait") >= 1, "{pool:?}");
        exec(&holder, "commit").await;
        let _waiter = waiting.await.expect("served");
        let row = of_client(&fixture, "waiter");
        assert_eq!((row.text("state"), row.number("wait")), ("idle".into(), 0));
        let waited = total(&fixture, "wait_time") - before;
        assert!((1_100_000..10_000_000).contains(&waited), "{waited} µs");
        // The wait is not time of the query.
        assert!(total(&fixture, "query_time") < waited, "{}", total(&fixture, "query_time"));
    });
}

#[test]
fn counters_agree_with_driver_and_servers() {
    run(60, async {
        if is_direct() {
            return;
        }
        // A server process tells what it has counted when it ends, if not before.
        let fixture =
            Fixture::shared("counts", |config: ConfigText| config.pool("idle_timeout_ms = 1000"))
                .await;
        let mut raw = fixture.raw().await;
        let commits = || -> i64 {
            let sql = format!(
                "select pg_stat_clear_snapshot(); select sum(xact_commit + xact_rollback) \
                 from pg_stat_database where datname = '{}'",
                fixture.database
            );
            let every = fixture.cluster.servers();
            let of_one = |rows: Vec<Vec<Option<String>>>| -> i64 {
                rows.last().and_then(|row| row[0].as_ref()?.parse().ok()).expect("a number")
            };
            every.map(|server| of_one(server.query(&sql).expect("statistics"))).sum()
        };
        raw.ask(&query("create table t (n int)"), 1).await;
        let names = ["query_count", "xact_count", "bytes_received", "xact_time", "query_time"];
        let before = names.map(|name| total(&fixture, name));
        let seen_before = commits();
        let mut sent = 0;
        let mut ask = async |raw: &mut Raw, message: Vec<u8>| {
            sent += message.len();
            raw.ask(&message, 1).await
        };
        for number in 0..100 {
            ask(&mut raw, query(&format!("select {number}"))).await;
        }
        for number in 0..20 {
            ask(&mut raw, query("begin")).await;
            ask(&mut raw, query(&format!("insert into t values ({number})"))).await;
            ask(&mut raw, query("commit")).await;
        }
        ask(&mut raw, query("begin; select pg_sleep(0.2)")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        ask(&mut raw, query("rollback")).await;
        let done: Vec<i64> =
            names.iter().zip(before).map(|(name, before)| total(&fixture, name) - before).collect();
        println!("{names:?}: {done:?}");
        assert_eq!(done[0], 100 + 60 + 2, "queries");
        assert_eq!(done[1], 100 + 20 + 1, "transactions");
        assert_eq!(done[2], sent as i64, "bytes received");
        assert!((500_000..5_000_000).contains(&done[3]), "time in transactions: {}", done[3]);
        assert!((200_000..done[3]).contains(&done[4]), "time of queries: {}", done[4]);
        // PostgreSQL counts beside what pgmanifold asks it: five health checks a second, and more.
        let began = std::time::Instant::now();
        eventually("PostgreSQL has counted them", 3 * SOON, async || {
            let own = 30 + 10 * began.elapsed().as_secs() as i64;
            (121..121 + own).contains(&(commits() - seen_before))
        })
        .await;
        println!("{} transactions by PostgreSQL's statistics", commits() - seen_before);
    });
}

#[test]
fn prepared_statements_are_counted_on_both_sides() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = Fixture::shared("parses", |config: ConfigText| {
            config.pool("pool_size = 1").pool("read_replicas = false")
        })
        .await;
        let (mut one, mut two) = (fixture.raw().await, fixture.raw().await);
        let names = ["client_parse_count", "server_parse_count", "bind_count"];
        let before = names.map(|name| total(&fixture, name));
        for raw in [&mut one, &mut two] {
            raw.ask(&[parse("s", "select $1::int"), sync()].concat(), 1).await;
            for _ in 0..3 {
                let run = [bind("", "s", &[Some("7")]), execute("", 0), sync()].concat();
                raw.ask(&run, 1).await;
            }
        }
        // Unnamed statements are not prepared ones, as with PgBouncer.
        let unnamed = [parse("", "select 8"), bind("", "", &[]), execute("", 0), sync()].concat();
        one.ask(&unnamed, 1).await;
        let done: Vec<i64> =
            names.iter().zip(before).map(|(name, before)| total(&fixture, name) - before).collect();
        assert_eq!(done, [2, 1, 6], "{names:?}");
        let servers = fixture.table("servers");
        let server = only(servers, |row| row.has("database", &fixture.database));
        assert_eq!(server.number("prepared_statements"), 1);
    });
}

#[test]
fn averages_are_those_of_the_last_period() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture =
            Fixture::shared("averages", |config: ConfigText| config.general("stats_period_s = 1"))
                .await;
        let client = fixture.client().await;
        let average = |name: &str| {
            only(fixture.table("stats"), |row| row.has("database", &fixture.database)).number(name)
        };
        let mut best = 0;
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while std::time::Instant::now() < end {
            exec(&client, "select pg_sleep(0.01)").await;
            best = best.max(average("avg_query_count"));
        }
        println!("{best} queries per second, {} µs each", average("avg_query_time"));
        assert!((20..=100).contains(&best), "{best} queries per second");
        assert!((10_000..40_000).contains(&average("avg_query_time")));
        assert!((10_000..40_000).contains(&average("avg_xact_time")));
        let named =
            |name: &str| only(fixture.table("totals"), |row| row.has("name", name)).number("value");
        assert!(named("total_query_count") >= total(&fixture, "query_count"));
        assert!((20..=100).contains(&named("avg_query_count")));
        eventually("nothing is done any more", SOON, async || average("avg_query_count") == 0)
            .await;
    });
}

#[test]
fn a_thousand_clients_are_listed_in_no_time() {
    run(120, async {
        if is_direct() {
            return;
        }
        let fixture = Fixture::shared("thousand", |config| config).await;
        let mut clients = Vec::new();
        for _ in 0..1000 {
            clients.push(fixture.raw().await);
        }
        let cpu_us = || -> u64 {
            let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
            let spent = text.split(' ').next().and_then(|spent| spent.parse::<u64>().ok());
            spent.expect("nanoseconds") / 1000
        };
        for table in ["clients", "servers", "pools", "stats", "databases", "lists"] {
            fixture.table(table);
            let before = cpu_us();
            for _ in 0..10 {
                fixture.table(table);
            }
            let spent = (cpu_us() - before) / 10;
            println!("{table}: {spent} µs of CPU, {} rows", fixture.table(table).len());
            // Without optimisation, and beside other tests.
            assert!(spent < 200_000, "{table}: {spent} µs");
        }
        assert!(fixture.table("clients").len() >= 1000);
        let used = only(fixture.table("lists"), |row| row.has("list", "used_clients"));
        assert!(used.number("items") >= 1000);
    });
}

#[test]
fn a_statement_over_shards_is_one_query_and_several_assignments() {
    run(60, async {
        let schema = "create table item (id int primary key, body text);";
        let layout = Layout::new().hash("item", &["integer"]).table("item", &["id"]);
        let options = Options::new("shard_counts").tables(layout, schema);
        let shards = Shards::start(options, |config| config).await;
        let client = shards.client().await;
        client.simple_query("delete from item").await.expect("deletes");
        let row = || only(shards.table("stats"), |row| row.has("database", &shards.database));
        let names = ["total_query_count", "total_server_assignment_count", "total_xact_count"];
        let before = names.map(|name| row().number(name));
        for _ in 0..10 {
            client.simple_query("select count(*) from item").await.expect("counts");
        }
        let done: Vec<i64> =
            names.iter().zip(before).map(|(name, before)| row().number(name) - before).collect();
        assert_eq!(done, [10, 30, 10], "{names:?}");
        client.simple_query("begin").await.expect("begins");
        let rows: Vec<String> = (1..=12).map(|id| format!("({id}, 'x')")).collect();
        let insert = format!("insert into item values {}", rows.join(", "));
        client.simple_query(&insert).await.expect("writes");
        let own = |row: &TableRow| row.has("database", &shards.database);
        let clients: Vec<TableRow> = shards.table("clients").into_iter().filter(own).collect();
        let me = only(clients, |row| row.has("state", "active"));
        let servers = shards.table("servers").into_iter();
        let mine = servers.filter(|row| row.has("link", &me.text("ptr"))).count();
        assert_eq!(mine, 3, "servers of the transaction");
        let before = names.map(|name| row().number(name));
        client.simple_query("commit").await.expect("commits");
        assert_eq!(row().number("total_xact_count") - before[2], 1);
        let lent =
            shards.table("servers").into_iter().filter(|row| own(row) && !row.has("state", "idle"));
        assert_eq!(lent.count(), 0);
        let databases = shards.table("databases");
        let names: BTreeSet<String> = databases.iter().map(|row| row.text("name")).collect();
        assert_eq!(names.len(), databases.len(), "a row for each name");
        let known = only(databases, |row| row.has("name", &shards.database));
        println!("{known:?}");
        assert_eq!(known.text("host").split(',').count(), 3);
        assert!(known.number("current_connections") >= 3);
    });
}

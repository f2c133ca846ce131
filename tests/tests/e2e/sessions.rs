//! Sessions in pooling: what a client set is there for it and for nobody else, whichever server
//! it gets.

use pgmanifold_tests::client::{code, exec, rows, text, value};
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::fixture::{Fixture, WHERE, is_direct};
use pgmanifold_tests::raw::{self, Raw, field};
use pgmanifold_tests::{eventually, random, run};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// Clients of the random settings test, over two servers per host.
const CLIENTS: usize = 10;
/// Steps each of them does.
const STEPS: usize = 250;

/// Ordinary parameters and values that `SHOW` prints as they were set.
const SETTINGS: [(&str, [&str; 3]); 8] = [
    ("timezone", ["Asia/Tokyo", "Europe/Paris", "UTC"]),
    ("datestyle", ["SQL, DMY", "German, DMY", "ISO, YMD"]),
    ("search_path", ["pg_catalog", "public", "a, b"]),
    ("application_name", ["one", "two", "with 'quote"]),
    ("work_mem", ["1MB", "2MB", "3MB"]),
    ("statement_timeout", ["77s", "1h", "2min"]),
    ("my.setting", ["x", "y", ""]),
    ("bytea_output", ["escape", "hex", "escape"]),
];

/// One client's settings as they must be.
#[derive(Clone)]
struct Expected {
    now: BTreeMap<&'static str, String>,
}

fn defaults() -> Expected {
    let mut now = BTreeMap::new();
    for (name, value) in [
        ("timezone", "UTC"),
        ("datestyle", "ISO, MDY"),
        ("search_path", "\"$user\", public"),
        ("application_name", ""),
        ("work_mem", "4MB"),
        ("statement_timeout", "0"),
        ("my.setting", ""),
        ("bytea_output", "hex"),
    ] {
        now.insert(name, value.to_owned());
    }
    Expected { now }
}

fn set_text(random: &mut StdRng, name: &str, value: &str, local: bool) -> String {
    let quoted = value.replace('\'', "''");
    let list: Vec<String> =
        value.split(", ").map(|item| format!("'{}'", item.replace('\'', "''"))).collect();
    let scope = if local { "local" } else { "session" };
    match random.random_range(0..3) {
        0 => format!("set {scope} {name} to {}", list.join(", ")),
        1 => format!("set {scope} {name} = {}", list.join(", ")),
        _ => format!("select set_config('{name}', '{quoted}', {local})"),
    }
}

async fn check(client: &Client, expected: &Expected, log: &[String]) {
    for (name, want) in &expected.now {
        let got = value(client, &format!("select current_setting('{name}', true)")).await;
        let got = if got == "NULL" { String::new() } else { got };
        let recent = &log[log.len().saturating_sub(12)..];
        assert_eq!(&got, want, "{name} after {recent:#?}");
    }
}

/// One random step; returns nothing, but `expected` and `log` know of it.
async fn step(
    client: &Client,
    random: &mut StdRng,
    expected: &mut Expected,
    log: &mut Vec<String>,
) {
    let (name, values) = SETTINGS[random.random_range(0..SETTINGS.len())];
    let wanted = values[random.random_range(0..values.len())];
    let shown = wanted;
    let mut run = async |sql: String| {
        log.push(sql.clone());
        exec(client, &sql).await;
    };
    match random.random_range(0..8) {
        0..=2 => {
            run(set_text(random, name, wanted, false)).await;
            expected.now.insert(name, shown.to_owned());
        }
        3 => {
            run("begin".into()).await;
            run(set_text(random, name, wanted, true)).await;
            run("commit".into()).await;
        }
        4 => {
            run("begin".into()).await;
            run(set_text(random, name, wanted, false)).await;
            if random.random_bool(0.5) {
                run("rollback".into()).await;
            } else {
                run("commit".into()).await;
                expected.now.insert(name, shown.to_owned());
            }
        }
        5 => {
            run(format!("reset {name}")).await;
            let default = defaults().now.remove(name).expect("a default");
            expected.now.insert(name, default);
        }
        6 if random.random_bool(0.2) => {
            run("reset all".into()).await;
            *expected = defaults();
        }
        6 if random.random_bool(0.2) => {
            run("discard all".into()).await;
            *expected = defaults();
        }
        _ => {
            let read = value(client, &format!("select current_setting('{name}', true)")).await;
            let read = if read == "NULL" { String::new() } else { read };
            assert_eq!(Some(&read), expected.now.get(name), "{name} after {log:#?}");
        }
    }
}

#[test]
fn settings_follow_their_session_and_no_other() {
    run(200, async {
        let fixture = Fixture::shared("settings", |config| config.pool("pool_size = 2")).await;
        let mut random = random::seeded("settings");
        let seeds: Vec<u64> = (0..CLIENTS).map(|_| random.random()).collect();
        let clients = seeds.into_iter().map(|seed| {
            let fixture = &fixture;
            async move {
                let mut random = StdRng::seed_from_u64(seed);
                let (mut client, mut expected) = (fixture.client().await, defaults());
                let mut log = Vec::new();
                for number in 0..STEPS {
                    step(&client, &mut random, &mut expected, &mut log).await;
                    if number % 25 == 0 {
                        check(&client, &expected, &log).await;
                    }
                    if random.random_bool(0.02) {
                        // Somebody else gets the server: nothing of this session is left.
                        (client, expected) = (fixture.client().await, defaults());
                        log.clear();
                        check(&client, &expected, &log).await;
                    }
                }
                check(&client, &expected, &log).await;
            }
        });
        futures_util::future::join_all(clients).await;
    });
}

#[test]
fn startup_parameters_follow_the_session() {
    run(60, async {
        let fixture = Fixture::shared("startup", |config| config.pool("pool_size = 1")).await;
        let own = [
            ("user", USER),
            ("database", fixture.database.as_str()),
            ("application_name", "first"),
            ("TimeZone", "Asia/Tokyo"),
            ("options", "-c work_mem=3MB -c my.setting=a\\ b --statement-timeout=5s"),
        ];
        let mut first = Raw::connect_with(&fixture.address, raw::V3_0, &own).await;
        assert_eq!(first.parameter("TimeZone"), Some("Asia/Tokyo"));
        assert_eq!(first.parameter("application_name"), Some("first"));
        let mut second = fixture.raw().await;
        let show = "select current_setting('application_name') || ',' \
                    || current_setting('timezone') \
                    || ',' || current_setting('work_mem') \
                    || ',' || current_setting('my.setting', true) \
                    || ',' || current_setting('statement_timeout')";
        for _ in 0..4 {
            let answer = first.ask(&raw::query(show), 1).await;
            assert!(answer.contains("first,Asia/Tokyo,3MB,a b,5s"), "{answer}");
            let answer = second.ask(&raw::query("show timezone"), 1).await;
            assert!(answer.contains("UTC"), "{answer}");
            // RESET goes back to what the startup said.
            first.ask(&raw::query("set timezone = 'UTC'"), 1).await;
            first.ask(&raw::query("reset timezone"), 1).await;
        }
        let bad = [("user", USER), ("database", &fixture.database), ("TimeZone", "No/Where")];
        let mut raw = Raw::open(&fixture.address).await;
        raw.send(&raw::startup(raw::V3_0, &bad)).await;
        let mut answer = raw.until_ready().await;
        if answer.last().map(|message| message.tag) == Some(b'Z') {
            // Refused when the session first needs a server is as good as refused at login.
            raw.send(&raw::query("select 1")).await;
            answer = raw.until_ready().await;
        }
        let error = answer.iter().find(|message| message.tag == b'E').expect("an error");
        assert_eq!(field(&error.body, b'C').as_deref(), Some("22023"));
    });
}

#[test]
fn begin_takes_no_server_before_its_first_statement() {
    run(60, async {
        let fixture = Fixture::shared("begin", |config| config.pool("pool_size = 1")).await;
        if is_direct() {
            return;
        }
        let (idle, busy) = (fixture.client().await, fixture.client().await);
        exec(&idle, "begin").await;
        for _ in 0..5 {
            exec(&busy, "create table if not exists t (n int)").await;
        }
        assert_eq!(value(&idle, WHERE).await, "primary", "a read-write transaction");
        exec(&idle, "commit").await;

        fixture.wait_replicas().await;
        exec(&idle, "begin read only").await;
        assert_ne!(value(&idle, WHERE).await, "primary", "a read-only transaction");
        assert_ne!(value(&idle, WHERE).await, "primary", "stays where it is");
        exec(&idle, "commit").await;
        exec(&idle, "begin isolation level serializable read only").await;
        assert_eq!(value(&idle, WHERE).await, "primary", "impossible on a hot standby");
        exec(&idle, "commit").await;
    });
}

#[test]
fn hints_choose_the_server() {
    run(60, async {
        let fixture = Fixture::shared("hints", |config| config).await;
        if is_direct() {
            return;
        }
        fixture.wait_replicas().await;
        let client = fixture.client().await;
        for _ in 0..10 {
            assert_eq!(value(&client, &format!("/* pgm: primary */ {WHERE}")).await, "primary");
            let both = format!("/* pgm: role=primary, causality=off */ {WHERE}");
            assert_eq!(value(&client, &both).await, "primary");
        }
        exec(&client, "set pgm.role = 'primary'").await;
        assert_eq!(value(&client, WHERE).await, "primary");
        assert_eq!(value(&client, "show pgm.role").await, "primary");
        exec(&client, "set pgm.role = 'replica'").await;
        assert_ne!(value(&client, WHERE).await, "primary");
        exec(&client, "reset pgm.role").await;
        let error = client.batch_execute("set pgm.no_such_thing = 1").await.expect_err("refused");
        assert_eq!(code(&error), "42704", "{}", text(&error));
        exec(&client, "begin").await;
        exec(&client, "set local pgm.role = 'primary'").await;
        exec(&client, "commit").await;
        let mixed = client.batch_execute("set pgm.role = 'primary'; select 1").await;
        assert_eq!(code(&mixed.expect_err("not silently ignored")), "0A000");
        assert_ne!(value(&client, WHERE).await, "primary", "SET LOCAL ends with its transaction");
    });
}

#[test]
fn server_bound_state_stays_with_its_session() {
    run(60, async {
        let fixture = Fixture::shared("pinned", |config| config.pool("pool_size = 3")).await;
        let (one, two) = (fixture.client().await, fixture.client().await);
        exec(&one, "create temp table tmp as select 1 as n").await;
        exec(&two, "create temp table tmp as select 2 as n").await;
        for _ in 0..5 {
            assert_eq!(value(&one, "select n from tmp").await, "1");
            assert_eq!(value(&two, "select n from tmp").await, "2");
        }
        exec(&one, "select pg_advisory_lock(1)").await;
        for _ in 0..5 {
            assert_eq!(value(&two, "select pg_try_advisory_lock(1)").await, "f");
            assert_eq!(value(&one, "select 1").await, "1");
        }
        assert_eq!(value(&one, "select pg_advisory_unlock(1)").await, "t");
        drop((one, two));
        // The next sessions get servers without temporary tables.
        for _ in 0..6 {
            let next = fixture.client().await;
            let error = rows(&next, "select * from tmp").await.expect_err("no such table");
            assert_eq!(code(&error), "42P01");
            // Other tests hold locks in their databases.
            let locks = "select count(*) from pg_locks where locktype = 'advisory' and database = \
                         (select oid from pg_database where datname = current_database())";
            assert_eq!(value(&next, &format!("/* pgm: primary */ {locks}")).await, "0");
        }
    });
}

#[test]
fn notifications_arrive() {
    run(60, async {
        let fixture = Fixture::shared("listen", |config| config.pool("pool_size = 3")).await;
        let mut listener = fixture.raw().await;
        let answer = listener.ask(&raw::query("listen news"), 1).await;
        assert!(answer.contains("LISTEN"), "{answer}");
        exec(&fixture.client().await, "notify news, 'hello'").await;
        let news = listener.until(b'A').await;
        let body = news.last().expect("a notification").body.clone();
        assert!(String::from_utf8_lossy(&body).contains("news\0hello"), "{body:?}");
    });
}

/// A session that vanishes leaves no lock, no row and no busy server behind.
async fn leaves_nothing(fixture: &Fixture, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while fixture.server_sessions("(state <> 'idle' or wait_event_type = 'Lock')") > 0 {
        assert!(Instant::now() < deadline, "{what}:\n{}", fixture.activity());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let client = fixture.client().await;
    let found = value(&client, "/* pgm: primary */ select count(*) from t where n < 0").await;
    assert_eq!(found, "0", "{what}");
    exec(&client, "begin; lock table t in access exclusive mode nowait; commit").await;
}

#[test]
fn vanished_clients_are_rolled_back() {
    run(90, async {
        let fixture = Fixture::shared("vanish", |config| config.pool("pool_size = 2")).await;
        exec(&fixture.direct().await, "create table t (n int)").await;
        for round in 0..3 {
            for orderly in [true, false] {
                let mut raw = fixture.raw().await;
                raw.ask(&raw::query("begin; insert into t values (-1)"), 1).await;
                if orderly {
                    drop(raw)
                } else {
                    raw.vanish()
                }
                leaves_nothing(&fixture, "vanished inside a transaction").await;

                let mut raw = fixture.raw().await;
                let rows = "select repeat('x', 1000) from generate_series(1, 100000)";
                raw.send(&raw::query(rows)).await;
                raw.until(b'D').await;
                if orderly {
                    drop(raw)
                } else {
                    raw.vanish()
                }
                leaves_nothing(&fixture, "vanished inside a large result").await;

                let mut raw = fixture.raw().await;
                raw.send(&raw::query("copy t from stdin")).await;
                raw.until(b'G').await;
                raw.send(&raw::copy_data(b"-2\n")).await;
                if orderly {
                    drop(raw)
                } else {
                    raw.vanish()
                }
                leaves_nothing(&fixture, "vanished inside a COPY").await;

                let mut raw = fixture.raw().await;
                raw.send(&[raw::parse("", "insert into t values (-3)"), raw::flush()].concat())
                    .await;
                raw.until(b'1').await;
                raw.send(&[raw::bind("", "", &[]), raw::execute("", 0), raw::flush()].concat())
                    .await;
                raw.until(b'C').await;
                if orderly {
                    drop(raw)
                } else {
                    raw.vanish()
                }
                leaves_nothing(&fixture, "vanished before its Sync").await;

                // PostgreSQL itself would let the statement run to its end.
                if round == 0 && !is_direct() {
                    let mut raw = fixture.raw().await;
                    raw.send(&raw::query("select pg_sleep(60)")).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    if orderly {
                        drop(raw)
                    } else {
                        raw.vanish()
                    }
                    leaves_nothing(&fixture, "vanished while its statement runs").await;
                }
            }
        }
        if !is_direct() {
            assert!(fixture.server_sessions("usename = 'app'") <= 2 + 1, "servers are not leaked");
        }
    });
}

/// A COPY that fails while its client is inside a message: the server, which has the message's
/// beginning, must not get another client's bytes for its rest.
#[test]
fn an_unfinished_message_never_meets_another_client() {
    run(60, async {
        let fixture = Fixture::shared("unfinished", |config| config.pool("pool_size = 1")).await;
        exec(&fixture.direct().await, "create table t (n int)").await;
        let bad_row = raw::copy_data(b"not a number\n");
        let message = raw::copy_data(&[b'x'; 1000]);
        let (beginning, rest) = message.split_at(15);
        for leaves in [false, true] {
            let mut copier = fixture.raw().await;
            copier.send(&raw::query("copy t from stdin")).await;
            copier.until(b'G').await;
            copier.send(&[&bad_row, beginning].concat()).await;
            let answer = raw::transcript(&copier.until_ready().await);
            assert!(answer.starts_with("E ERROR 22P02"), "{answer}");

            let mut other = fixture.raw().await;
            other.send(&raw::query("insert into t values (7)")).await;
            let copier = if leaves {
                copier.vanish();
                None
            } else {
                copier.send(rest).await;
                Some(copier)
            };
            let answer = raw::transcript(&other.until_ready().await);
            assert!(answer.contains("INSERT 0 1"), "{answer}");
            if let Some(mut copier) = copier {
                let answer = copier.ask(&raw::query("select n from t for update"), 1).await;
                assert!(answer.contains("SELECT"), "{answer}");
            }
        }
        assert_eq!(value(&fixture.direct().await, "select count(*) from t").await, "2");
    });
}

#[test]
fn a_transaction_on_a_replica_knows_that_it_is_read_only() {
    run(60, async {
        let fixture = Fixture::shared("readonly", |config| config).await;
        let client = fixture.client().await;
        eventually("a replica runs it", Duration::from_secs(20), async || {
            exec(&client, "begin read only").await;
            let place = value(&client, WHERE).await;
            let asked = "select current_setting('transaction_read_only')";
            assert_eq!(value(&client, asked).await, "on", "on {place}");
            assert_eq!(value(&client, "show transaction_read_only").await, "on", "on {place}");
            exec(&client, "commit").await;
            assert_eq!(value(&client, "show transaction_read_only").await, "off");
            is_direct() || place != "primary"
        })
        .await;
    });
}

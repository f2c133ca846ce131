//! More asked than there is: limits over several pools, queues, and the time limits of sessions.

use pgmanifold_tests::client::{self, code, exec, text, value};
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::process::Process;
use pgmanifold_tests::raw::{self, Raw, field};
use pgmanifold_tests::relay::{Fault, Relay};
use pgmanifold_tests::{eventually, run};
use std::cell::Cell;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Error};

/// What a client is shown of an error: SQLSTATE, and whether the detail names the key.
fn assert_error(error: &Error, sqlstate: &str, key: &str) {
    println!("{}", text(error));
    assert_eq!(code(error), sqlstate);
    let detail = error.as_db_error().and_then(|error| error.detail()).unwrap_or_default();
    assert!(detail.contains(key), "{detail:?} does not name {key}");
}

#[test]
fn an_overdue_statement_is_cancelled_and_the_session_goes_on() {
    run(60, async {
        if is_direct() {
            return;
        }
        let pool = |config: ConfigText| config.pool("query_timeout_ms = 500");
        let fixture = Fixture::shared("query_timeout", pool).await;
        let client = fixture.client().await;
        exec(&client, "create table t (n int)").await;
        for sql in ["select pg_sleep(10)", "/* pgm: primary */ select pg_sleep(10)"] {
            let began = Instant::now();
            let error = client.batch_execute(sql).await.expect_err("too slow");
            let took = began.elapsed();
            assert_error(&error, "57014", "query_timeout_ms");
            assert!(took >= Duration::from_millis(500), "{took:?}");
            assert!(took < Duration::from_millis(1500), "{took:?}");
            assert_eq!(value(&client, "select 1").await, "1");
        }
        let error = client.query("select pg_sleep(10), $1::int", &[&1]).await;
        assert_error(&error.expect_err("too slow"), "57014", "query_timeout_ms");
        assert_eq!(value(&client, "select 1").await, "1");
        // Inside a transaction the transaction has failed, as after statement_timeout.
        exec(&client, "begin; insert into t values (1)").await;
        let error = client.batch_execute("select pg_sleep(10)").await.expect_err("too slow");
        assert_error(&error, "57014", "query_timeout_ms");
        let error = client.batch_execute("select 1").await.expect_err("failed");
        assert_eq!(code(&error), "25P02");
        exec(&client, "rollback").await;
        assert_eq!(value(&client, "select count(*) from t").await, "0");
        // Many statements that are each in time are not one that is late.
        let end = Instant::now() + Duration::from_millis(1200);
        while Instant::now() < end {
            exec(&client, "select pg_sleep(0.05)").await;
        }
        exec(&client, "begin").await;
        let end = Instant::now() + Duration::from_millis(1200);
        while Instant::now() < end {
            exec(&client, "select pg_sleep(0.05)").await;
        }
        exec(&client, "commit").await;
        eventually("nothing runs on", Duration::from_secs(5), async || {
            fixture.server_sessions("query like '%pg_sleep(10)%' and state = 'active'") == 0
        })
        .await;
    });
}

#[test]
fn an_overdue_batch_answers_in_order() {
    run(60, async {
        if is_direct() {
            return;
        }
        let pool = |config: ConfigText| config.pool("query_timeout_ms = 300");
        let fixture = Fixture::shared("query_timeout_batch", pool).await;
        let mut raw = fixture.raw().await;
        let one = |sql: &str| {
            [raw::parse("", sql), raw::bind("", "", &[]), raw::execute("", 0), raw::sync()].concat()
        };
        let bytes = [one("select 1"), one("select pg_sleep(5)"), one("select 3")].concat();
        let answer = raw.ask(&bytes, 3).await;
        println!("{answer}");
        let errors: Vec<&str> = answer.lines().filter(|line| line.starts_with("E ")).collect();
        assert_eq!(errors, ["E ERROR 57014 canceling statement due to query timeout"]);
        assert_eq!(answer.matches("C SELECT 1").count(), 2, "the others have run");
        // A batch that is left open is not a statement that runs.
        let open =
            [raw::parse("", "select 4"), raw::bind("", "", &[]), raw::execute("", 0)].concat();
        for _ in 0..2 {
            raw.send(&[open.clone(), raw::flush()].concat()).await;
            raw.until(b'C').await;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        assert_eq!(raw.ask(&raw::sync(), 1).await, "Z I\n");
    });
}

async fn closed_with(client: &Client, sqlstate: &str, key: &str) {
    // The error came unasked; the driver shows it with the next call.
    let error = client.batch_execute("select 1").await.expect_err("closed");
    println!("next call: {}", text(&error));
    assert!(client.is_closed(), "{sqlstate} {key}");
}

async fn fatal(raw: &mut Raw, within: Duration) -> (String, String) {
    let began = Instant::now();
    let message = raw.next().await.expect("a message");
    assert!(began.elapsed() < within, "{:?}", began.elapsed());
    assert_eq!(message.tag, b'E');
    assert_eq!(field(&message.body, b'S').as_deref(), Some("FATAL"));
    assert!(raw.is_closed().await);
    let part = |code| field(&message.body, code).unwrap_or_default();
    (part(b'C'), part(b'D'))
}

#[test]
fn sessions_that_idle_too_long_are_closed_as_by_postgres() {
    run(60, async {
        if is_direct() {
            return;
        }
        let pool = |config: ConfigText| {
            config.pool("idle_transaction_timeout_ms = 400").pool("client_idle_timeout_ms = 1500")
        };
        let fixture = Fixture::shared("idle_timeouts", pool).await;
        let client = fixture.client().await;
        exec(&client, "create table t (n int)").await;
        let limit = Duration::from_millis(1200);
        // A transaction that has a server, and one that has none yet.
        for sql in ["begin; insert into t values (1)", "begin"] {
            let mut raw = fixture.raw().await;
            raw.ask(&raw::query(sql), 1).await;
            let (sqlstate, detail) = fatal(&mut raw, limit).await;
            assert_eq!(sqlstate, "25P03");
            assert!(detail.contains("idle_transaction_timeout_ms"), "{detail}");
        }
        assert_eq!(value(&client, "select count(*) from t").await, "0", "rolled back");
        // Whoever does something is not idle.
        for _ in 0..10 {
            exec(&client, "begin; insert into t values (2)").await;
            tokio::time::sleep(Duration::from_millis(150)).await;
            exec(&client, "commit").await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        let mut raw = fixture.raw().await;
        raw.ask(&raw::query("select 1"), 1).await;
        let (sqlstate, detail) = fatal(&mut raw, Duration::from_secs(3)).await;
        assert_eq!(sqlstate, "57P05");
        assert!(detail.contains("client_idle_timeout_ms"), "{detail}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        closed_with(&client, "57P05", "client_idle_timeout_ms").await;
    });
}

#[test]
fn a_transaction_that_takes_too_long_is_ended() {
    run(60, async {
        if is_direct() {
            return;
        }
        let pool = |config: ConfigText| config.pool("transaction_timeout_ms = 600");
        let fixture = Fixture::shared("transaction_timeout", pool).await;
        let client = fixture.client().await;
        exec(&client, "create table t (n int)").await;
        let mut raw = fixture.raw().await;
        let began = Instant::now();
        raw.ask(&raw::query("begin; insert into t values (1)"), 1).await;
        let mut last = (String::new(), String::new());
        while began.elapsed() < Duration::from_secs(5) {
            raw.send(&raw::query("select pg_sleep(0.05)")).await;
            let answer = raw.until_ready().await;
            if let Some(error) = answer.iter().find(|message| message.tag == b'E') {
                let part = |code| field(&error.body, code).unwrap_or_default();
                last = (part(b'C'), part(b'D'));
                break;
            }
        }
        let took = began.elapsed();
        assert_eq!(last.0, "25P04", "{last:?}");
        assert!(last.1.contains("transaction_timeout_ms"), "{last:?}");
        assert!(took > Duration::from_millis(600) && took < Duration::from_secs(2), "{took:?}");
        assert_eq!(value(&client, "select count(*) from t").await, "0", "rolled back");
        // Many short transactions are not a long one.
        let end = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < end {
            exec(&client, "begin; select 1; commit").await;
        }
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert_eq!(value(&client, "select 1").await, "1", "idle sessions stay");
    });
}

#[test]
fn a_long_wait_is_announced_and_a_long_queue_refused() {
    run(60, async {
        if is_direct() {
            return;
        }
        let pool = |config: ConfigText| {
            config
                .pool("pool_size = 1")
                .pool("query_wait_notify_ms = 300")
                .pool("pool_queue_max = 2")
        };
        let fixture = Fixture::shared("waiting", pool).await;
        let (holder, mut waiter) = (fixture.client().await, fixture.raw().await);
        let (mut second, third) = (fixture.raw().await, fixture.client().await);
        exec(&holder, "begin; create table t (n int)").await;
        waiter.send(&raw::query("/* pgm: primary */ select 1")).await;
        second.send(&raw::query("/* pgm: primary */ select 2")).await;
        let notice = waiter.next().await.expect("a notice");
        assert_eq!(notice.tag, b'N');
        let message = field(&notice.body, b'M').unwrap_or_default();
        assert!(message.contains("waits for a server connection"), "{message}");
        let error = third.batch_execute("/* pgm: primary */ select 3").await.expect_err("full");
        assert_error(&error, "53400", "pool_queue_max");
        // A waiter that has left makes room in the queue.
        second.vanish();
        let limit = Duration::from_secs(5);
        let (mut third, fourth) = (fixture.raw().await, fixture.client().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
        third.send(&raw::query("/* pgm: primary */ select 3")).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let error = fourth.batch_execute("/* pgm: primary */ select 4").await.expect_err("full");
        assert_eq!(code(&error), "53400");
        exec(&holder, "commit").await;
        for (raw, answer) in [(&mut waiter, "1"), (&mut third, "3")] {
            let rows = tokio::time::timeout(limit, raw.until_ready()).await.expect("an answer");
            assert!(raw::transcript(&rows).contains(&format!("\\x01{answer}")), "{rows:?}");
        }
    });
}

/// Transactions after which a client has not starved.
const FED: u32 = 6;

/// Short transactions of each client, counted in `done`, until it is `over`.
async fn transactions(clients: &[Client], done: &[Cell<u32>], over: impl Fn() -> bool) {
    let over = &over;
    let each = clients.iter().zip(done).map(async |(client, done)| {
        while !over() {
            exec(client, "/* pgm: primary */ select pg_sleep(0.01)").await;
            done.set(done.get() + 1);
        }
    });
    futures_util::future::join_all(each).await;
}

/// Two users of a database, or databases of a user, under a common limit: nobody starves.
async fn share_a_limit(fixture: &Fixture, first: &[Client], second: &[Client], limit: u32) {
    let counts = |clients: &[Client]| vec![Cell::new(0); clients.len()];
    let (a, b) = (counts(first), counts(second));
    // How often a turn comes depends on how fast connections are made, so there is time for it.
    let (least, longest) = (Duration::from_secs(4), Duration::from_secs(40));
    let began = Instant::now();
    let over = || {
        let fed = a.iter().chain(&b).all(|done| done.get() >= FED);
        began.elapsed() > if fed { least } else { longest }
    };
    let mut most = 0;
    let watching = async {
        while !over() {
            most = most.max(fixture.server_sessions("usename in ('app', 'other')"));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    // The second group comes when the first has taken everything.
    let late = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        transactions(second, &b, over).await
    };
    tokio::join!(watching, transactions(first, &a, over), late);
    let [a, b] = [&a, &b].map(|group| group.iter().map(Cell::get).collect::<Vec<u32>>());
    let took = began.elapsed();
    println!("{limit} connections; {took:?}; first {a:?}, second {b:?}; at most {most} sessions");
    assert!(most <= limit, "{most} connections");
    for group in [&a, &b] {
        let (least, most) = (group.iter().min(), group.iter().max());
        let (least, most) = (*least.expect("clients"), *most.expect("clients"));
        assert!(least >= FED && 2 * least >= most, "somebody starved: {a:?} {b:?}");
    }
    let sum = |counts: &[u32]| f64::from(counts.iter().sum::<u32>());
    assert!(sum(&b) > 0.25 * sum(&a), "{a:?} {b:?}");
}

async fn clients(fixture: &Fixture, user: &str, database: &str, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(client::connect(&fixture.address, user, database).await);
    }
    clients
}

#[test]
fn users_share_the_connections_of_a_database() {
    run(150, async {
        if is_direct() {
            return;
        }
        for limit in [4, 1] {
            let pool = |config: ConfigText| {
                let most = format!("max_db_connections = {limit}");
                config.pool("read_replicas = false").pool("pool_size = 8").pool(&most)
            };
            let fixture = Fixture::shared("share_database", pool).await;
            let database = fixture.database.clone();
            let first = clients(&fixture, USER, &database, 8).await;
            let second = clients(&fixture, "other", &database, 8).await;
            share_a_limit(&fixture, &first, &second, limit).await;
        }
    });
}

#[test]
fn databases_share_the_connections_of_a_user() {
    run(90, async {
        if is_direct() {
            return;
        }
        let cluster = pgmanifold_tests::cluster::shared();
        let database = pgmanifold_tests::cluster::create_database(&cluster, "share_user");
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let alias = format!("[[database]]\nname = \"alias\"\nserver_database = {database:?}\n");
        let user = format!("[[user]]\nname = {USER:?}\nmax_user_connections = 3\n");
        let config = ConfigText::new(&hosts, &database)
            .pool("read_replicas = false")
            .section(&alias)
            .users(&user);
        let fixture = Fixture::with_config(cluster, database.clone(), &config);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let first = clients(&fixture, USER, &database, 6).await;
        let second = clients(&fixture, USER, "alias", 6).await;
        share_a_limit(&fixture, &first, &second, 3).await;
    });
}

#[test]
fn an_idle_connection_makes_room_for_another_user() {
    run(60, async {
        if is_direct() {
            return;
        }
        let pool = |config: ConfigText| config.pool("max_db_connections = 1");
        let fixture = Fixture::shared("evict", pool).await;
        let first = fixture.client().await;
        let second = client::connect(&fixture.address, "other", &fixture.database).await;
        for _ in 0..3 {
            for client in [&first, &second] {
                let began = Instant::now();
                assert_eq!(value(client, "/* pgm: primary */ select 1").await, "1");
                assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
            }
        }
    });
}

#[test]
fn the_reserve_is_opened_late_and_closed_again() {
    run(60, async {
        if is_direct() {
            return;
        }
        let pool = |config: ConfigText| {
            config
                .pool("pool_size = 1")
                .pool("reserve_pool_size = 1")
                .pool("reserve_pool_timeout_ms = 400")
                .pool("read_replicas = false")
        };
        let fixture = Fixture::shared("reserve", pool).await;
        let (holder, waiter) = (fixture.client().await, fixture.client().await);
        exec(&holder, "begin; create table t (n int)").await;
        let began = Instant::now();
        assert_eq!(value(&waiter, "select 1").await, "1");
        let waited = began.elapsed();
        println!("served from the reserve after {waited:?}");
        assert!(waited >= Duration::from_millis(400), "{waited:?}");
        assert!(waited < Duration::from_secs(3), "{waited:?}");
        exec(&holder, "commit").await;
        eventually("the reserve is closed", Duration::from_secs(5), async || {
            fixture.server_sessions("usename = 'app'") == 1
        })
        .await;
    });
}

#[test]
fn a_server_that_does_not_end_an_overdue_statement_is_given_up() {
    run(90, async {
        if is_direct() {
            return;
        }
        let cluster = pgmanifold_tests::cluster::shared();
        let database = pgmanifold_tests::cluster::create_database(&cluster, "grace");
        let relay = Relay::start(cluster.primary.port()).await;
        let config = ConfigText::new(&[relay.address()], &database)
            .pool("query_timeout_ms = 300")
            .shard("connect_timeout_ms = 500")
            // Health checks shall not be the ones to notice.
            .shard("health_timeout_ms = 8000");
        let fixture = Fixture::with_config(cluster, database, &config);
        let client = fixture.client().await;
        exec(&client, "create table t (n int)").await;
        // DDL is over when the server was asked what it left behind.
        exec(&client, "select 1").await;
        relay.set(Fault::Stall);
        let began = Instant::now();
        let error = client.batch_execute("insert into t values (1)").await.expect_err("stalled");
        let took = began.elapsed();
        assert_error(&error, "57014", "query_timeout_ms");
        let detail = error.as_db_error().and_then(|error| error.detail()).unwrap_or_default();
        assert!(detail.contains("is not known"), "{detail}");
        assert!(took > Duration::from_secs(5) && took < Duration::from_secs(9), "{took:?}");
        relay.set(Fault::None);
        eventually("the session goes on", Duration::from_secs(25), async || {
            client.batch_execute("select 1").await.is_ok()
        })
        .await;
    });
}

#[test]
fn silent_connections_make_room_for_logins() {
    run(60, async {
        if is_direct() {
            return;
        }
        let general = |config: ConfigText| config.general("max_logins = 5");
        let fixture = Fixture::shared("max_logins", general).await;
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(Raw::open(&fixture.address).await);
        }
        for _ in 0..5 {
            assert_eq!(value(&fixture.client().await, "select 1").await, "1");
        }
        // The oldest have gone long before login_timeout_ms.
        let began = Instant::now();
        for raw in &mut silent[..15] {
            assert!(raw.is_closed().await);
        }
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    });
}

#[test]
fn a_limit_of_open_files_that_is_too_low_is_said() {
    run(60, async {
        if is_direct() {
            return;
        }
        let hosts = [pgmanifold::config::model::Address::Tcp("127.0.0.1".into(), 1)];
        for (clients, said) in [(1_000_000, true), (10, false)] {
            let config = ConfigText::new(&hosts, "db")
                .general(&format!("max_clients = {clients}"))
                .general("max_logins = 10");
            let process = Process::start("files", &config.text()).await;
            let log = process.log();
            assert_eq!(log.contains("max_clients cannot be reached"), said, "{log}");
        }
    });
}

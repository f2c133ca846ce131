//! The binary as operators use it: signals, exit codes, reload, the check of configurations.

use pgmanifold_tests::client::{self, code, exec, text, value};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::is_direct;
use pgmanifold_tests::process::{Process, binary, scratch_file};
use pgmanifold_tests::{cluster, eventually, run};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio_postgres::Client;

struct Operated {
    process: Process,
    config: ConfigText,
    database: String,
}

impl Operated {
    async fn start(test: &str) -> Operated {
        let cluster = cluster::shared();
        let database = cluster::create_database(&cluster, test);
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let config = ConfigText::new(&hosts, &database).general("drain_timeout_ms = 10000");
        let process = Process::start(test, &config.text()).await;
        Operated { process, config, database }
    }

    async fn client(&self) -> Client {
        client::connect(&self.process.address(), cluster::USER, &self.database).await
    }

    async fn can_connect(&self, database: &str) -> bool {
        let config = client::config(&self.process.address(), cluster::USER, database);
        client::try_connect(&config).await.is_ok()
    }
}

#[test]
fn sighup_reloads_and_keeps_clients() {
    run(60, async {
        if is_direct() {
            return;
        }
        let operated = Operated::start("reload").await;
        let client = operated.client().await;
        exec(&client, "set timezone = 'Asia/Tokyo'; create table t (n int)").await;
        let statement =
            client.prepare("select current_setting('timezone')").await.expect("prepare");
        exec(&client, "begin; insert into t values (1)").await;

        let alias =
            format!("[[database]]\nname = \"alias\"\nserver_database = {:?}\n", operated.database);
        let changed = operated.config.clone().section(&alias).pool("pool_size = 3");
        operated.process.rewrite_config(&changed.text());
        operated.process.signal(Signal::HUP);
        eventually("the new database is there", Duration::from_secs(10), async || {
            operated.can_connect("alias").await
        })
        .await;
        // Inside its transaction and after it, the client has not noticed.
        exec(&client, "insert into t values (2); commit").await;
        let row = client.query_one(&statement, &[]).await.expect("the statement is there");
        assert_eq!(row.get::<_, String>(0), "Asia/Tokyo");
        assert_eq!(value(&client, "select count(*) from t").await, "2");

        // A broken file changes nothing.
        operated.process.rewrite_config("[general]\nno_such_key = 1\n");
        operated.process.signal(Signal::HUP);
        eventually("the log says so", Duration::from_secs(10), async || {
            operated.process.log().contains("no_such_key")
        })
        .await;
        assert!(operated.can_connect("alias").await);
        assert_eq!(value(&client, "select count(*) from t").await, "2");
    });
}

/// Sends a signal while one client is idle and one is inside a transaction.
async fn stops_after_transactions(signal: Signal) {
    let mut operated = Operated::start("stop").await;
    let (idle, busy) = (operated.client().await, operated.client().await);
    exec(&busy, "create table t (n int)").await;
    value(&idle, "select 1").await;
    exec(&busy, "begin").await;
    exec(&busy, "insert into t values (1)").await;
    operated.process.signal(signal);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(operated.process.is_running(), "a transaction is open");
    assert!(!operated.can_connect(&operated.database.clone()).await, "nobody new comes in");
    exec(&busy, "insert into t values (2)").await;
    exec(&busy, "commit").await;
    if signal == Signal::TERM {
        // A drain waits for clients to leave.
        assert_eq!(value(&idle, "select 1").await, "1");
        drop((idle, busy));
    }
    let ended = Instant::now();
    let status = operated.process.exit().await;
    println!("{signal:?}: {status} {:?} after the last commit", ended.elapsed());
    assert!(status.success(), "{status}\n{}", operated.process.log_tail());
    assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());
    let cluster = cluster::shared();
    let direct =
        client::connect(&cluster.primary.address(), cluster::USER, &operated.database).await;
    assert_eq!(value(&direct, "select count(*) from t").await, "2");
}

#[test]
fn sigterm_drains() {
    if !is_direct() {
        run(60, stops_after_transactions(Signal::TERM));
    }
}

#[test]
fn sigint_stops_after_transactions() {
    if !is_direct() {
        run(60, stops_after_transactions(Signal::INT));
    }
}

#[test]
fn a_drain_ends_when_its_time_is_over() {
    run(60, async {
        if is_direct() {
            return;
        }
        let mut operated = Operated::start("drain").await;
        let changed = operated.config.clone().general("drain_timeout_ms = 1000");
        operated.process.rewrite_config(&changed.text());
        operated.process.signal(Signal::HUP);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let busy = operated.client().await;
        exec(&busy, "create table t (n int)").await;
        exec(&busy, "begin; insert into t values (1)").await;
        operated.process.signal(Signal::TERM);
        let began = Instant::now();
        operated.process.exit().await;
        println!("a drain of 1 s took {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let error = busy.batch_execute("commit").await.expect_err("closed");
        println!("the client inside a transaction sees: {}", text(&error));
        assert_ne!(code(&error), "00000");
    });
}

async fn pgmanifold(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary()).args(arguments).output();
    let output = tokio::time::timeout(Duration::from_secs(20), output).await;
    let output = output.expect("ends by itself").expect("the binary runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn check_prints_all_errors_and_run_refuses_them() {
    run(60, async {
        let good = scratch_file("good.toml");
        let hosts = [pgmanifold::config::model::Address::Tcp("127.0.0.1".into(), 5432)];
        std::fs::write(&good, ConfigText::new(&hosts, "db").text()).expect("file");
        let (status, output) = pgmanifold(&["check", "--config", &good.to_string_lossy()]).await;
        assert_eq!(status, Some(0), "{output}");

        let bad = scratch_file("bad.toml");
        let text = ConfigText::new(&hosts, "db")
            .general("max_clients = \"many\"")
            .general("no_such_key = 1")
            .listener("auth = \"nonsense\"")
            .pool("pool_size = 0")
            .section("[[database]]\nname = \"db\"\nshard = \"nowhere\"\n")
            .text();
        std::fs::write(&bad, text).expect("file");
        let (status, output) = pgmanifold(&["check", "--config", &bad.to_string_lossy()]).await;
        assert!(status.is_some_and(|status| status != 0), "{status:?}");
        for word in ["max_clients", "no_such_key", "nonsense", "pool_size", "nowhere", "bad.toml"] {
            assert!(output.contains(word), "{word} is not in:\n{output}");
        }
        let (refused, output) = pgmanifold(&["run", "--config", &bad.to_string_lossy()]).await;
        assert_eq!(refused, status, "run and check agree:\n{output}");
        let (missing, output) = pgmanifold(&["run", "--config", "/nowhere/x.toml"]).await;
        assert!(
            missing.is_some_and(|status| status != 0) && output.contains("/nowhere/x.toml"),
            "{output}"
        );
        let (usage, _) = pgmanifold(&["no-such-command"]).await;
        assert_eq!(usage, Some(2));
        for file in [good, bad] {
            std::fs::remove_file(file).expect("file");
        }
    });
}

#[test]
fn a_taken_port_is_said_clearly() {
    run(60, async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let hosts = [pgmanifold::config::model::Address::Tcp("127.0.0.1".into(), 1)];
        let config = ConfigText::new(&hosts, "db").listener(&format!("address = {address:?}"));
        let file = scratch_file("taken.toml");
        std::fs::write(&file, config.text()).expect("file");
        let (status, output) = pgmanifold(&["run", "--config", &file.to_string_lossy()]).await;
        assert!(status.is_some_and(|status| status != 0), "{status:?}\n{output}");
        assert!(output.contains(&address), "{output}");
        std::fs::remove_file(file).expect("file");
    });
}

//! RELOAD, SHUTDOWN and signals: the binary, its configuration file and its end.

use super::{SOON, console_at, refused, with_console};
use pgmanifold_tests::client::{self, code, exec, rows, text, value};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::is_direct;
use pgmanifold_tests::process::Process;
use pgmanifold_tests::{cluster, eventually, run};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

struct Running {
    process: Process,
    config: ConfigText,
    database: String,
}

impl Running {
    async fn start(test: &str) -> Running {
        let cluster = cluster::shared();
        let database = cluster::create_database(&cluster, test);
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let config = ConfigText::new(&hosts, &database).general("drain_timeout_ms = 10000");
        let config = with_console(config);
        let process = Process::start(test, &config.text()).await;
        Running { process, config, database }
    }

    async fn client(&self) -> Client {
        client::connect(&self.process.address(), cluster::USER, &self.database).await
    }

    async fn console(&self) -> Client {
        console_at(&self.process.address()).await
    }

    async fn is_paused(&self) -> bool {
        let rows = rows(&self.console().await, "SHOW STATE").await.expect("state");
        rows[1][1].as_deref() == Some("yes")
    }
}

#[test]
fn a_reload_names_every_error_and_keeps_the_old_configuration() {
    run(60, async {
        if is_direct() {
            return;
        }
        let running = Running::start("reloadcommand").await;
        let (admin, client) = (running.console().await, running.client().await);
        running.process.rewrite_config("[general]\nno_such_key = 1\nmax_clients = 0\n");
        let (code, text) = refused(&admin, "RELOAD").await;
        println!("{text}");
        assert_eq!(code, "F0000");
        for word in ["no_such_key", "general.max_clients", "listener"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(value(&client, "select 1").await, "1");
        let section =
            format!("[[database]]\nname = \"alias\"\nserver_database = {:?}\n", running.database);
        let changed = running.config.clone().section(&section);
        running.process.rewrite_config(&changed.text());
        exec(&admin, "RELOAD").await;
        client::connect(&running.process.address(), cluster::USER, "alias").await;
        let restart = running.config.clone().general("workers = 7");
        running.process.rewrite_config(&restart.text());
        let (_, text) = refused(&admin, "RELOAD").await;
        assert!(text.contains("general.workers"), "{text}");
    });
}

#[test]
fn a_key_is_set_until_the_file_is_read_again() {
    run(60, async {
        if is_direct() {
            return;
        }
        let running = Running::start("setkey").await;
        let (admin, client) = (running.console().await, running.client().await);
        let shown = async |key: &str| {
            let all = rows(&admin, "SHOW CONFIG").await.expect("the configuration");
            let row = all.into_iter().find(|row| row[0].as_deref() == Some(key));
            row.expect("the key").into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>()
        };
        exec(&admin, "SET query_timeout = 0.3").await;
        assert_eq!(shown("pool.query_timeout_ms").await[1], "300");
        let error = client.simple_query("select pg_sleep(9)").await.expect_err("too long");
        assert_eq!(code(&error), "57014", "{}", text(&error));
        exec(&admin, "SET max_client_conn = 1").await;
        let config = client::config(&running.process.address(), cluster::USER, &running.database);
        let error = client::try_connect(&config).await.expect_err("one is in already");
        assert_eq!(code(&error), "53300", "{}", text(&error));
        exec(&admin, "SET log_level = 'pgmanifold=debug'").await;
        for (command, wanted) in [
            ("SET workers = 3", "55P02"),
            ("SET no_such_key = 3", "42704"),
            ("SET max_clients = 0", "22023"),
            ("SET log_level = 'a=b=c'", "22023"),
        ] {
            let (code, text) = refused(&admin, command).await;
            println!("{command}: {text}");
            assert_eq!(code, wanted, "{command}: {text}");
        }
        assert_eq!(shown("general.workers").await[3], "no");
        assert_eq!(shown("general.max_clients").await[1], "1", "what was refused changed nothing");
        exec(&admin, "RELOAD").await;
        assert_ne!(shown("general.max_clients").await[1], "1");
        assert_eq!(value(&running.client().await, "select 1").await, "1");
        exec(&client, "select pg_sleep(0.5)").await;
    });
}

/// Ends the process while one client is idle and one is inside a transaction.
async fn shut_down(command: &str) {
    let mut running = Running::start("shutdown").await;
    let (idle, busy) = (running.client().await, running.client().await);
    exec(&busy, "create table t (n int)").await;
    value(&idle, "select 1").await;
    exec(&busy, "begin; insert into t values (1)").await;
    exec(&running.console().await, command).await;
    let began = Instant::now();
    let waits = command != "SHUTDOWN";
    if waits {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(running.process.is_running(), "{command}: a transaction is open");
        let config = client::config(&running.process.address(), cluster::USER, &running.database);
        assert!(client::try_connect(&config).await.is_err(), "{command}: nobody new comes in");
        exec(&busy, "insert into t values (2)").await;
        exec(&busy, "commit").await;
        let idle_goes_on = idle.simple_query("select 1").await.is_ok();
        assert_eq!(idle_goes_on, command.ends_with("CLIENTS"), "{command}");
        drop((idle, busy));
    }
    let status = running.process.exit().await;
    println!("{command}: {status} after {:?}", began.elapsed());
    assert!(status.success(), "{command}: {status}\n{}", running.process.log_tail());
    assert!(began.elapsed() < Duration::from_secs(6), "{command}: {:?}", began.elapsed());
    let primary = cluster::shared().primary.address();
    let direct = client::connect(&primary, cluster::USER, &running.database).await;
    let rows = if waits { "2" } else { "0" };
    assert_eq!(value(&direct, "select count(*) from t").await, rows, "{command}");
}

#[test]
fn a_shutdown_waits_for_what_it_says() {
    run(120, async {
        if is_direct() {
            return;
        }
        for command in ["SHUTDOWN", "SHUTDOWN WAIT_FOR_SERVERS", "SHUTDOWN WAIT_FOR_CLIENTS"] {
            shut_down(command).await;
        }
    });
}

#[test]
fn a_second_shutdown_ends_a_drain() {
    run(60, async {
        if is_direct() {
            return;
        }
        let mut running = Running::start("shutdowntwice").await;
        let (admin, client) = (running.console().await, running.client().await);
        exec(&admin, "SHUTDOWN WAIT_FOR_CLIENTS").await;
        assert_eq!(value(&client, "select 1").await, "1");
        exec(&admin, "SHUTDOWN").await;
        let began = Instant::now();
        running.process.exit().await;
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        assert!(client.simple_query("select 1").await.is_err());
    });
}

#[test]
fn a_stop_after_transactions_does_not_wait_for_those_who_wait_for_a_resume() {
    run(60, async {
        if is_direct() {
            return;
        }
        let mut running = Running::start("stoppaused").await;
        let (admin, client) = (running.console().await, running.client().await);
        value(&client, "select 1").await;
        exec(&admin, "PAUSE").await;
        let waiting = tokio::spawn(async move { client.simple_query("select 1").await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!waiting.is_finished());
        exec(&admin, "SHUTDOWN WAIT_FOR_SERVERS").await;
        let error = waiting.await.expect("no panic").expect_err("ended");
        assert_eq!(code(&error), "57P01", "{}", text(&error));
        assert!(running.process.exit().await.success());
    });
}

#[test]
fn signals_pause_resume_and_quit() {
    run(60, async {
        if is_direct() {
            return;
        }
        let mut running = Running::start("usersignals").await;
        let client = running.client().await;
        value(&client, "select 1").await;
        running.process.signal(Signal::USR1);
        eventually("paused", SOON, async || running.is_paused().await).await;
        let waiting = tokio::spawn(async move {
            let seven = value(&client, "select 7").await;
            (client, seven)
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished());
        running.process.signal(Signal::USR1);
        running.process.signal(Signal::USR2);
        let (client, seven) = waiting.await.expect("no panic");
        assert_eq!(seven, "7");
        assert!(!running.is_paused().await);
        exec(&client, "begin; create table t (n int)").await;
        running.process.signal(Signal::QUIT);
        let began = Instant::now();
        let status = running.process.exit().await;
        assert!(status.success(), "{status}");
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        assert!(client.simple_query("commit").await.is_err());
    });
}

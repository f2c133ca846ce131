//! A rolling restart: a new process takes the addresses over while the old one drains. Nobody who
//! connects is refused or reset, no session is broken, a cancel request finds its session.

use pgmanifold::config::model::Address;
use pgmanifold_tests::client::{self, text, value};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::is_direct;
use pgmanifold_tests::process::{Process, scratch_file};
use pgmanifold_tests::raw::{self, Raw};
use pgmanifold_tests::{cluster, run};
use rustix::process::Signal;
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// Restarts in a row.
const RESTARTS: usize = 5;

/// Connects, asks and leaves, until told to stop.
struct Load {
    stop: Cell<bool>,
    connects: Cell<u32>,
    sessions: Cell<u32>,
    slowest: Cell<Duration>,
    problems: RefCell<Vec<String>>,
}

impl Load {
    fn problem(&self, what: &str, error: &tokio_postgres::Error) {
        self.problems.borrow_mut().push(format!("{what}: {}", text(error)));
    }

    /// Short sessions, one after the other: some with one query, some with transactions.
    async fn connect_again_and_again(&self, config: &tokio_postgres::Config, queries: u32) {
        while !self.stop.get() {
            let began = Instant::now();
            match client::try_connect(config).await {
                Ok(client) => {
                    self.connects.set(self.connects.get() + 1);
                    self.slowest.set(self.slowest.get().max(began.elapsed()));
                    for _ in 0..queries {
                        let sql = "begin; select pg_sleep(0.001); commit";
                        if let Err(error) = client.batch_execute(sql).await {
                            self.problem("session", &error);
                            break;
                        }
                    }
                    self.sessions.set(self.sessions.get() + 1);
                }
                Err(error) => self.problem("connect", &error),
            }
        }
    }
}

fn config(test: &str) -> (ConfigText, String) {
    let cluster = cluster::shared();
    let database = cluster::create_database(&cluster, test);
    let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
    let config = ConfigText::new(&hosts, &database)
        .general("reuse_port = true")
        .general("drain_timeout_ms = 20000");
    (config, database)
}

/// Starts a successor and lets the process go; how long the old one took to leave.
async fn succeed(process: &mut Process, number: usize) -> Duration {
    let mut next = process.start_beside(&format!("restart-{number}")).await;
    std::mem::swap(process, &mut next);
    next.signal(Signal::TERM);
    let began = Instant::now();
    let status = next.exit().await;
    assert!(status.success(), "{status}\n{}", next.log_tail());
    began.elapsed()
}

#[test]
fn a_rolling_restart_loses_nobody() {
    run(180, async {
        if is_direct() {
            return;
        }
        let (config, database) = config("rolling");
        let folder = scratch_file("rolling-sockets");
        std::fs::create_dir_all(&folder).expect("a folder");
        let unix = folder.join(".s.PGSQL.5432");
        let path = unix.to_string_lossy();
        let listener = format!("[[listener]]\naddress = {path:?}\nauth = \"trust\"\n");
        let config = config.section(&listener);
        let mut process = Process::start("restart-0", &config.text()).await;
        let load = Load {
            stop: Cell::new(false),
            connects: Cell::new(0),
            sessions: Cell::new(0),
            slowest: Cell::default(),
            problems: RefCell::default(),
        };
        let tcp = client::config(&process.address(), cluster::USER, &database);
        let unix = client::config(&Address::Unix(unix), cluster::USER, &database);
        let restarts = async {
            let mut leaving = Vec::new();
            for number in 1..=RESTARTS {
                tokio::time::sleep(Duration::from_millis(500)).await;
                leaving.push(succeed(&mut process, number).await);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            load.stop.set(true);
            leaving
        };
        let clients = (0..12).map(|number| {
            let config = if number % 3 == 0 { &unix } else { &tcp };
            load.connect_again_and_again(config, if number % 4 == 0 { 100 } else { 1 })
        });
        let (leaving, _) = tokio::join!(restarts, futures_util::future::join_all(clients));
        println!(
            "{RESTARTS} restarts: {} connects, {} sessions, slowest connect {:?}, old processes \
             left after {leaving:?}",
            load.connects.get(),
            load.sessions.get(),
            load.slowest.get()
        );
        assert!(load.problems.borrow().is_empty(), "{:#?}", load.problems.borrow());
        assert!(load.connects.get() > 100, "there was load");
        let _ = std::fs::remove_dir_all(&folder);
    });
}

#[test]
fn a_cancel_request_finds_its_session_in_the_old_process() {
    run(60, async {
        if is_direct() {
            return;
        }
        let (config, database) = config("cancel_peer");
        let mut old = Process::start("cancel-old", &config.text()).await;
        let address = old.address();
        let mut session = Raw::connect(&address, cluster::USER, &database).await;
        let new = old.start_beside("cancel-new").await;
        old.signal(Signal::TERM);
        // After that only the new process accepts.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        session.send(&raw::query("select pg_sleep(30)")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let began = Instant::now();
        let mut request = Raw::open(&address).await;
        request.send(&raw::cancel_request(session.pid, &session.secret)).await;
        let answer = raw::transcript(&session.until_ready().await);
        println!("{answer} after {:?}", began.elapsed());
        assert!(answer.contains("57014"), "{answer}");
        assert!(request.is_closed().await);
        // A wrong secret does nothing, wherever it arrives.
        let mut request = Raw::open(&address).await;
        request.send(&raw::cancel_request(session.pid, b"nope")).await;
        assert!(request.is_closed().await);
        assert!(session.ask(&raw::query("select 1"), 1).await.contains("SELECT 1"));
        let fresh = client::connect(&address, cluster::USER, &database).await;
        assert_eq!(value(&fresh, "select 1").await, "1");
        drop(session);
        assert!(old.exit().await.success());
        drop((fresh, new));
    });
}

//! Owns the order of the demo's acts and what is said between them.

use super::inlet::{Inlet, Logins};
use super::postgres::{LaunchError, PgCluster};
use super::shards::Fleet;
use super::workload::{self, Tally};
use super::{cluster, console, progress, proof, say, shards, table};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Longest load of the sample data, and longest proof.
const ACT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest second part.
const SHARDS_TIMEOUT: Duration = Duration::from_secs(120);
/// Time the sessions have to finish what they do when the workload ends.
const WIND_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the demo did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Ctrl-C or SIGTERM before the end.
    #[error("interrupted")]
    Interrupted,
    /// The servers did not do as asked.
    #[error("{0}")]
    Launch(#[from] LaunchError),
    /// Something else, in words.
    #[error("{0}")]
    Other(String),
    /// The promise was broken.
    #[error("{0} reads did not see the write that their own session had made before")]
    Stale(u64),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure::Other(text)
    }
}

/// Where the clients run, and how the user ends it all.
pub(super) struct Stage {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Stage {
    pub(super) fn new() -> std::io::Result<Stage> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        drop(guard);
        Ok(Stage { runtime, interrupt, terminate })
    }

    /// Runs `act` unless the user ends it.
    pub(super) fn play<T>(
        &mut self,
        limit: Duration,
        act: impl Future<Output = Result<T, String>>,
    ) -> Result<T, Failure> {
        let (interrupt, terminate) = (&mut self.interrupt, &mut self.terminate);
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupt.recv() => Err(Failure::Interrupted),
                _ = terminate.recv() => Err(Failure::Interrupted),
                result = tokio::time::timeout(limit, act) => match result {
                    Ok(result) => result.map_err(Failure::Other),
                    Err(_) => Err(Failure::Other(format!("no end after {} s", limit.as_secs()))),
                },
            }
        })
    }

    /// Waits for the user.
    fn wait_for_the_end(&mut self) {
        let (interrupt, terminate) = (&mut self.interrupt, &mut self.terminate);
        self.runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
    }
}

/// The whole demo. Whatever happens, everything is stopped and removed when this returns.
pub(super) fn run(workload: Duration, stays: bool) -> Result<(), Failure> {
    let mut stage = Stage::new().map_err(|error| error.to_string())?;
    let started = Instant::now();
    say("starting PostgreSQL: a primary and two streaming replicas, and two shards for later …");
    let (cluster, fleet) = start()?;
    let logins = Logins::new();
    logins.create(&cluster)?;
    let inlet = Inlet::start(&cluster, &logins)?;
    let dsn = logins.dsn(inlet.port);
    stage.play(ACT_TIMEOUT, workload::wait_ready(&dsn))?;
    for server in cluster.servers() {
        say(&format!("  {:<10} {}", server.name(), server.address()));
    }
    let took = started.elapsed().as_secs_f64();
    say(&format!("  {:<10} 127.0.0.1:{}   (ready after {took:.1} s)", "pgmanifold", inlet.port));
    stage.play(ACT_TIMEOUT, workload::load(&dsn))?;
    // The sessions of the workload are others than the one that loaded: nothing promises them its
    // tables before the replicas have replayed them.
    cluster.wait_caught_up()?;
    stage.play(ACT_TIMEOUT, workload::wait_for_replicas(&dsn))?;
    say(&format!(
        "  loaded a small shop through pgmanifold: {} customers, {} products, {} orders\n",
        table::grouped(workload::CUSTOMERS.unsigned_abs().into()),
        table::grouped(workload::PRODUCTS.unsigned_abs().into()),
        table::grouped(workload::ORDERS.unsigned_abs().into()),
    ));
    show_workload(&mut stage, &cluster, &dsn, workload)?;
    show_own_writes(&mut stage, &cluster, &logins, &dsn)?;
    let console_dsn = logins.console_dsn(inlet.port);
    stage.play(ACT_TIMEOUT, console::run(&console_dsn))?;
    let sharded = shards::open(&fleet, &cluster)?;
    let act = shards::run(&fleet, &sharded, (&logins, &cluster));
    let sharded_dsn = stage.play(SHARDS_TIMEOUT, act)?;
    if stays {
        say(&format!(
            "\nTry it yourself, with replicas, with shards, and in the console:\n\n    \
             psql \"{dsn}\"\n    psql \"{sharded_dsn}\"\n    psql \"{console_dsn}\"\n"
        ));
        if let Some(page) = inlet.proxy.http_address() {
            say(&format!("The status page is on http://{page}/\n"));
        }
        say("Ctrl-C stops everything and removes it.");
        stage.wait_for_the_end();
        say("\nstopping and removing everything …");
    }
    Ok(())
}

/// Starts all servers at the same time: mostly they wait for one another.
fn start() -> Result<(PgCluster, Fleet), LaunchError> {
    std::thread::scope(|scope| {
        let fleet = scope.spawn(Fleet::start);
        let cluster = cluster();
        let fleet = fleet.join().unwrap_or_else(|_| {
            let what = "the shards' thread panicked".to_owned();
            Err(LaunchError::Server { what, log_tail: String::new() })
        });
        Ok((cluster?, fleet?))
    })
}

fn show_workload(
    stage: &mut Stage,
    cluster: &PgCluster,
    dsn: &str,
    length: Duration,
) -> Result<(), Failure> {
    say(&format!(
        "{} sessions read and write for {} s; all of them speak to pgmanifold only",
        workload::SESSIONS,
        length.as_secs()
    ));
    let tally = Rc::new(RefCell::new(Tally::new(cluster)?));
    let stop = Rc::new(Cell::new(false));
    let clock = async {
        progress::show(length, || tally.borrow().statements).await;
        stop.set(true);
        Ok(())
    };
    let sessions = workload::run(dsn, tally.clone(), stop.clone());
    let both = async { futures_util::future::try_join(sessions, clock).await };
    stage.play(length + WIND_UP_TIMEOUT, both)?;
    let tally = tally.borrow();
    say(&table::render(&tally, &names(cluster)));
    say("(each answer carries the name of the server that gave it)\n");
    if tally.stale > 0 {
        return Err(Failure::Stale(tally.stale));
    }
    Ok(())
}

fn show_own_writes(
    stage: &mut Stage,
    cluster: &PgCluster,
    logins: &Logins,
    dsn: &str,
) -> Result<(), Failure> {
    let Some(paused) = cluster.replicas.last() else { return Ok(()) };
    cluster.wait_caught_up()?;
    paused.pause_replay()?;
    say(&format!("now {} stands still: its replay is paused", paused.name()));
    let proof = stage.play(ACT_TIMEOUT, proof::run(dsn, &logins.dsn(paused.port())))?;
    say(&proof.report(&names(cluster), paused.name()));
    paused.resume_replay()?;
    cluster.wait_caught_up()?;
    match proof.stale {
        0 => Ok(()),
        stale => Err(Failure::Stale(stale)),
    }
}

fn names(cluster: &PgCluster) -> Vec<&str> {
    cluster.servers().map(|server| server.name()).collect()
}

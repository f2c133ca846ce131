//! The soak: mixed clients and broken servers for a while, and afterwards, quiet again, nothing is
//! left of it. 25 seconds; `PGM_SOAK_S` sets another length and `PGM_BINARY` another binary, for
//! example `PGM_SOAK_S=1800 PGM_BINARY=target/release/pgmanifold cargo test -p pgmanifold-tests
//! --test e2e soak -- --nocapture`.

mod clients;
mod faults;
mod figures;

use clients::{ACCOUNTS, Crowd, KINDS};
use faults::Faults;
use figures::{Figure, slope_kib_per_minute};
use pgmanifold::demo::postgres::PgCluster;
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::is_direct;
use pgmanifold_tests::process::{Process, free_port};
use pgmanifold_tests::relay::Relay;
use pgmanifold_tests::{cluster, eventually, random, run};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Without `PGM_SOAK_S`.
const DEFAULT_SECONDS: u64 = 25;
/// Clients of each kind; together more than there are servers.
const CLIENTS_PER_KIND: usize = 3;
const POOL_SIZES: [u32; 2] = [6, 8];
/// Idle server connections are closed after this time, so that none is left at the end.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest time for everything to be quiet again.
const QUIET_TIMEOUT: Duration = Duration::from_secs(40);
/// A run this long judges the slope of the memory.
const LONG_SECONDS: u64 = 600;
const SLOPE_MAX_KIB_PER_MINUTE: f64 = 100.0;
/// Resident memory that a short run may take beyond that of its beginning.
const GROWTH_MAX_KIB: u64 = 64 * 1024;

struct Soak {
    cluster: Arc<PgCluster>,
    process: Process,
    http: String,
    crowd: Arc<Crowd>,
    faults: Faults,
    struck: BTreeMap<&'static str, u32>,
    figures: Vec<Figure>,
    began: Instant,
}

impl Soak {
    async fn start() -> Soak {
        let cluster = cluster::private(2);
        let database = cluster::create_database(&cluster, "soak");
        let tables = format!(
            "create table accounts as select n, 0 as amount from generate_series(1, {ACCOUNTS}) n;\
             create table soak_copied (n int);\
             alter table accounts owner to app; alter table soak_copied owner to app"
        );
        cluster.primary.query_in(&database, &tables).expect("tables");
        cluster.wait_caught_up().expect("replicas follow");
        let mut relays = Vec::new();
        for server in cluster.servers() {
            relays.push(Relay::start(server.port()).await);
        }
        let hosts: Vec<_> = relays.iter().map(Relay::address).collect();
        let http = format!("127.0.0.1:{}", free_port());
        let configs = POOL_SIZES.map(|size| {
            ConfigText::new(&hosts, &database)
                .http(&http)
                .general("log_level = \"warn\"")
                .general("drain_timeout_ms = 5000")
                .pool(&format!("pool_size = {size}"))
                .pool("query_timeout_ms = 10000")
                .pool("checkout_timeout_ms = 10000")
                .pool(&format!("idle_timeout_ms = {}", IDLE_TIMEOUT.as_millis()))
                .text()
        });
        let process = Process::start("soak", &configs[0]).await;
        let crowd = Arc::new(Crowd {
            address: process.address(),
            database,
            stop: AtomicBool::new(false),
            done: AtomicU64::new(0),
            connects: AtomicU64::new(0),
            errors: std::sync::Mutex::default(),
        });
        let faults = Faults { cluster: Arc::clone(&cluster), relays, configs, reloads: 0 };
        let (struck, figures, began) = (BTreeMap::new(), Vec::new(), Instant::now());
        Soak { cluster, process, http, crowd, faults, struck, figures, began }
    }

    async fn figure(&self) -> Figure {
        Figure::take(&self.process, &self.http, self.began.elapsed().as_secs_f64()).await
    }

    /// Server connections of clients that the servers know of.
    fn sessions(&self) -> Vec<u32> {
        let sql = "select count(*) from pg_stat_activity where usename = 'app' \
                   and backend_type = 'client backend'";
        let count = |server: &pgmanifold::demo::postgres::Postgres| {
            server.value(sql).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
        };
        self.cluster.servers().map(count).collect()
    }

    async fn wait_quiet(&self, what: &str, quiet: impl Fn(&Figure) -> bool) -> Figure {
        let deadline = Instant::now() + QUIET_TIMEOUT;
        loop {
            let figure = self.figure().await;
            if quiet(&figure) {
                return figure;
            }
            assert!(
                Instant::now() < deadline,
                "not within {QUIET_TIMEOUT:?}: {what}\nclients {}, leases {}, servers {}, waiting \
                 {}, tasks {}, files {}; servers see {:?}\n{}",
                figure.clients(),
                figure.leases(),
                figure.servers(),
                figure.sum("pgmanifold_pool_waiting", ""),
                figure.tasks(),
                figure.files,
                self.sessions(),
                self.process.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn disturb(&mut self, seconds: u64, random: &mut StdRng) {
        let end = self.began + Duration::from_secs(seconds);
        let period = Duration::from_secs((seconds / 30).clamp(5, 60));
        let (mut next, mut done) = (Instant::now() + period, 0);
        println!(
            "    s  calls/s  errors  connects  clients  leases  servers  RSS KiB  files  tasks"
        );
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(random.random_range(500..3000))).await;
            let what = self.faults.strike(&self.process, random).await;
            *self.struck.entry(what).or_default() += 1;
            assert!(self.process.is_running(), "the process has ended");
            if Instant::now() >= next {
                next += period;
                let figure = self.figure().await;
                self.row(&figure, &mut done);
                self.figures.push(figure);
            }
        }
    }

    fn row(&self, figure: &Figure, done: &mut u64) {
        let now = self.crowd.done.load(Ordering::Relaxed);
        let since = self.figures.last().map_or(0.0, |last| last.seconds);
        println!(
            "{:5.0}  {:7.0}  {:6}  {:8}  {:7}  {:6}  {:7}  {:7}  {:5}  {:5}",
            figure.seconds,
            (now - *done) as f64 / (figure.seconds - since).max(0.001),
            self.crowd.error_count(),
            self.crowd.connects.load(Ordering::Relaxed),
            figure.clients(),
            figure.leases(),
            figure.servers(),
            figure.resident_kib,
            figure.files,
            figure.tasks(),
        );
        *done = now;
        let most = 3 * POOL_SIZES[1];
        assert!(figure.servers() <= f64::from(2 * most), "{} servers", figure.servers());
    }
}

#[test]
fn nothing_is_left_after_a_soak() {
    if is_direct() {
        return;
    }
    let given = std::env::var("PGM_SOAK_S").ok().and_then(|text| text.parse().ok());
    let seconds: u64 = given.unwrap_or(DEFAULT_SECONDS);
    run(seconds + 180, soak(seconds));
}

async fn soak(seconds: u64) {
    let mut random = random::seeded("soak");
    let mut soak = Soak::start().await;
    eventually("the proxy knows its servers", Duration::from_secs(20), async || {
        soak.figure().await.sum("pgmanifold_host_up", "") == 3.0
    })
    .await;
    let config =
        pgmanifold_tests::client::config(&soak.crowd.address, cluster::USER, &soak.crowd.database);
    drop(pgmanifold_tests::client::try_connect(&config).await.expect("a client"));
    let at_start = soak
        .wait_quiet("quiet before", |figure| figure.clients() == 0.0 && figure.servers() == 0.0);
    let at_start = at_start.await;
    soak.began = Instant::now();
    let mut tasks = Vec::new();
    for kind in KINDS.into_iter().cycle().take(CLIENTS_PER_KIND * KINDS.len()) {
        tasks.push(tokio::spawn(Arc::clone(&soak.crowd).play(kind, random.random())));
    }
    soak.disturb(seconds, &mut random).await;
    soak.crowd.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no client has seen anything wrong");
    }
    println!("faults: {:?}", soak.struck);
    println!("errors: {:?}", soak.crowd.errors.lock().expect("invariant: nobody panicked"));
    judge(&soak, &at_start, seconds).await;
}

async fn judge(soak: &Soak, at_start: &Figure, seconds: u64) {
    let quiet = soak.wait_quiet("no clients and no leases", |figure| {
        let waiting = figure.sum("pgmanifold_pool_waiting", "");
        figure.clients() == 0.0 && figure.leases() == 0.0 && waiting == 0.0
    });
    let quiet = quiet.await;
    println!("quiet: servers {}, as they see it {:?}", quiet.servers(), soak.sessions());
    eventually("proxy and servers agree", QUIET_TIMEOUT, async || {
        let servers = soak.figure().await.servers();
        servers == f64::from(soak.sessions().iter().sum::<u32>())
    })
    .await;
    assert!(soak.sessions().iter().all(|count| *count <= POOL_SIZES[1]), "{:?}", soak.sessions());
    let last = soak.wait_quiet("files and tasks as at the start", |figure| {
        figure.servers() == 0.0
            && figure.files <= at_start.files
            && figure.tasks() <= at_start.tasks()
    });
    let last = last.await;
    let sum = "select sum(amount) from accounts";
    let sum = soak.cluster.primary.query_in(&soak.crowd.database, sum).expect("accounts");
    assert_eq!(sum, [[Some("0".to_owned())]], "money was made or lost");
    let warm = soak.figures.len() / 4;
    let slope = slope_kib_per_minute(&soak.figures[warm.min(soak.figures.len())..]);
    println!(
        "after {seconds} s: {} calls, {} connects, {} errors; files {} -> {}, tasks {} -> {}, RSS \
         {} -> {} KiB, slope {slope:.0} KiB per minute",
        soak.crowd.done.load(Ordering::Relaxed),
        soak.crowd.connects.load(Ordering::Relaxed),
        soak.crowd.error_count(),
        at_start.files,
        last.files,
        at_start.tasks(),
        last.tasks(),
        at_start.resident_kib,
        last.resident_kib
    );
    assert!(soak.crowd.done.load(Ordering::Relaxed) > 100, "there was load");
    assert!(last.resident_kib < at_start.resident_kib + GROWTH_MAX_KIB, "memory grew");
    if seconds >= LONG_SECONDS {
        assert!(slope < SLOPE_MAX_KIB_PER_MINUTE, "memory grows by {slope:.0} KiB per minute");
    }
}

//! Transfers and inserts over three shards through two proxies, while proxies, servers and single
//! backends are killed: no money is made or lost, no acknowledged row is missing, nothing is half
//! there, and nothing stays in doubt. 20 kills; `PGM_CHAOS_KILLS` sets another number, `PGM_SEED`
//! repeats a run's choices.

mod clients;
mod ledger;

use clients::Crowd;
use ledger::Ledger;
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::process::Process;
use pgmanifold_tests::shards::commits::kill_backends;
use pgmanifold_tests::shards::layout::Layout;
use pgmanifold_tests::shards::servers::SHARDS;
use pgmanifold_tests::shards::{Options, Shards};
use pgmanifold_tests::{client, eventually, random, run};
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Without `PGM_CHAOS_KILLS`.
const DEFAULT_KILLS: usize = 20;
/// Kills between two checks.
const KILLS_PER_PHASE: usize = 10;
/// Clients at work.
const CLIENTS: usize = 6;
/// Accounts, and what each has at first.
const ACCOUNTS: i64 = 60;
const BALANCE: i64 = 1000;
/// Longest time for everything to be decided once nothing is killed any more.
const SETTLE: Duration = Duration::from_secs(30);

const SCHEMA: &str = "\
    create table accounts (id bigint primary key, balance bigint not null); \
    create table moves (id bigint not null, operation bigint not null); \
    create table entries (id bigint primary key, operation bigint not null)";

/// The servers and the proxies.
struct Chaos {
    shards: Shards,
    proxies: Vec<Process>,
    config: String,
    crowd: Arc<Crowd>,
    struck: BTreeMap<&'static str, u32>,
    started: usize,
    /// Parts that recovery has ended.
    recovered: usize,
}

#[test]
fn kills_never_split_a_transaction() {
    let kills = std::env::var("PGM_CHAOS_KILLS").ok().and_then(|text| text.parse().ok());
    let kills = kills.unwrap_or(DEFAULT_KILLS);
    let limit = 120 + 6 * u64::try_from(kills).expect("a small number");
    run(limit, async move {
        let mut random = random::seeded("chaos");
        let began = Instant::now();
        let mut chaos = Chaos::start().await;
        let mut ledger = Ledger::default();
        let mut done = 0;
        while done < kills {
            let clients = chaos.crowd.begin(CLIENTS, random.random());
            for _ in 0..KILLS_PER_PHASE.min(kills - done) {
                tokio::time::sleep(Duration::from_millis(random.random_range(20..400))).await;
                chaos.strike(&mut random).await;
                done += 1;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            ledger.add(clients.end().await);
            chaos.settle().await;
            ledger.check(&chaos.shards, ACCOUNTS * BALANCE);
            println!("{done} kills after {:?}: {}", began.elapsed(), ledger.summary());
        }
        let recovered = chaos.recovered + chaos.proxies.iter().map(recovered).sum::<usize>();
        println!("struck: {:?}; recovered: {recovered} parts", chaos.struck);
        let figures = ledger.figures();
        if figures.acknowledged <= kills {
            println!("{}", chaos.proxies[0].log());
        }
        assert!(figures.acknowledged > kills, "too little was done: {}", ledger.summary());
    });
}

impl Chaos {
    async fn start() -> Chaos {
        let layout = Layout::new()
            .hash("number", &["bigint"])
            .table("accounts", &["id"])
            .table("moves", &["id"])
            .table("entries", &["id"]);
        let mut options = Options::new("chaos").tables(layout, SCHEMA);
        (options.private, options.without_proxy) = (true, true);
        let shards = Shards::start(options, adjust).await;
        let accounts = format!(
            "select g::bigint as id, {BALANCE} as balance from generate_series(1, {ACCOUNTS}) g"
        );
        shards.fill("accounts", &accounts);
        let config = shards.config.text();
        let mut proxies = Vec::new();
        for number in 0..2 {
            proxies.push(Process::start(&format!("chaos{number}"), &config).await);
        }
        let addresses = proxies.iter().map(Process::address).collect();
        let crowd = Crowd::new(&shards.database, ACCOUNTS, addresses);
        for proxy in &proxies {
            wait_ready(proxy, &shards.database).await;
        }
        Chaos { shards, proxies, config, crowd, struck: BTreeMap::new(), started: 2, recovered: 0 }
    }

    /// Kills something, and starts it again if it does not by itself.
    async fn strike(&mut self, random: &mut StdRng) {
        let shard = random.random_range(0..SHARDS);
        let kind = match random.random_range(0..10) {
            0..3 => {
                self.kill_proxy(random.random_range(0..2)).await;
                "proxy"
            }
            3..7 => {
                let server = self.shards.shard(shard);
                server.kill();
                let pause = random.random_range(0..300);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                server.start().expect("a server starts again");
                "server"
            }
            7 => {
                // A server that still recovers from the last crash has none.
                let _ = kill_backends(self.shards.shard(shard), &self.shards.database);
                "all backends of a server"
            }
            8 => {
                self.kill_one(shard, "pg_terminate_backend(pid)");
                "backend"
            }
            // The postmaster answers a crash of one by ending all, and recovers.
            _ => {
                self.crash_one(shard);
                "backend crash"
            }
        };
        *self.struck.entry(kind).or_default() += 1;
    }

    async fn kill_proxy(&mut self, number: usize) {
        let proxy = &mut self.proxies[number];
        proxy.signal(Signal::KILL);
        proxy.exit().await;
        self.recovered += recovered(proxy);
        let name = format!("chaos{}", self.started);
        self.started += 1;
        self.proxies[number] = Process::start(&name, &self.config).await;
        wait_ready(&self.proxies[number], &self.shards.database).await;
        self.crowd.set_address(number, self.proxies[number].address());
    }

    /// A function of one backend's pid, any one that works for a client.
    fn kill_one(&self, shard: usize, call: &str) -> Option<String> {
        let sql = format!(
            "select {call} from pg_stat_activity where datname = '{}' and usename = 'app' \
             and state <> 'idle' limit 1",
            self.shards.database
        );
        let rows = self.shards.shard(shard).query(&sql).ok()?;
        rows.into_iter().next()?.into_iter().next()?
    }

    fn crash_one(&self, shard: usize) {
        let pid = self.kill_one(shard, "pid").and_then(|pid| pid.parse().ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }

    /// Waits until all servers answer and nothing is in doubt.
    async fn settle(&self) {
        let prepared = "select count(*) from pg_prepared_xacts";
        eventually("nothing is in doubt", SETTLE, async || {
            (0..SHARDS).all(|shard| {
                let count = self.shards.shard(shard).value(prepared);
                count.is_ok_and(|count| count == "0")
            })
        })
        .await;
    }
}

/// Waits until a proxy knows the tables: until then it refuses everything.
async fn wait_ready(proxy: &Process, database: &str) {
    let config = client::config(&proxy.address(), "app", database);
    eventually("a proxy knows the tables", SETTLE, async || {
        let Ok(client) = client::try_connect(&config).await else { return false };
        client.simple_query("update accounts set balance = balance where id = 1").await.is_ok()
    })
    .await;
}

/// How many parts a proxy has ended that somebody had left.
fn recovered(proxy: &Process) -> usize {
    proxy.log().matches("prepared transaction ended").count()
}

fn adjust(config: ConfigText) -> ConfigText {
    config
        .pool("two_phase_recovery_interval_ms = 300")
        .pool("two_phase_resolve_timeout_ms = 5000")
        .shard("failover_wait_ms = 3000")
}

//! Owns what a test of commits over shards works on without a proxy: connections to three shards
//! through relays that stop at chosen messages, and whoever commits and recovers.

use super::scissors::Scissors;
use super::servers::SHARDS;
use super::{Shards, names};
use crate::cluster::USER;
use crate::config::ConfigText;
use pgmanifold::backend::connect::Connector;
use pgmanifold::backend::exec;
use pgmanifold::cluster::{self, Cluster};
use pgmanifold::config::model::{Address, Config, TwoPhaseTimes};
use pgmanifold::demo::postgres::{LaunchError, Postgres};
use pgmanifold::execute::Participant;
use pgmanifold::pool::budget::{BudgetKind, Budgets};
use pgmanifold::pool::{Claim, Lease, Levers, Pool};
use pgmanifold::two_phase::{CommitError, Committed, Place, Scope, TwoPhase};
use pgmanifold_router::shard_map::ShardId;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Three shards, reached by clients through relays and by recovery directly.
#[expect(missing_debug_implementations, reason = "a connector has secrets")]
pub struct Commits {
    /// Before each shard.
    pub relays: Vec<Scissors>,
    pools: Vec<Arc<Pool>>,
    clusters: Vec<Arc<Cluster>>,
    connector: Arc<Connector>,
    config: Config,
    database: String,
}

/// Somebody who commits and recovers, as one process does; dead when dropped.
#[derive(Debug)]
pub struct Process {
    /// What it commits with.
    pub two_phase: Arc<TwoPhase>,
    _stop: oneshot::Sender<()>,
}

/// A transaction on some shards.
#[derive(Debug)]
pub struct Transaction {
    leases: Vec<(ShardId, Lease)>,
}

impl Commits {
    /// Works on the databases of `shards`.
    ///
    /// # Panics
    /// When the configuration is wrong or a shard is not reached.
    pub async fn start(shards: &Shards) -> Commits {
        let mut relays = Vec::new();
        for number in 0..SHARDS {
            relays.push(Scissors::start(shards.shard(number).port()).await);
        }
        let relayed = config(shards, relays.iter().map(Scissors::address));
        let direct = config(shards, (0..SHARDS).map(|number| shards.shard(number).address()));
        let connector = Arc::new(Connector::new(&relayed).expect("a connector"));
        let (budgets, levers) = (Budgets::default(), Levers::default());
        let pool = |shard| {
            let cluster = Cluster::new(Arc::clone(shard));
            let traffic: Box<[_]> = Box::new([Arc::default()]);
            let means = (Arc::clone(&connector), traffic, Arc::default());
            let [database, user] =
                [BudgetKind::Database, BudgetKind::User].map(|kind| budgets.get(kind, "", "", 99));
            let (of, who) = (&relayed.databases[0], &relayed.users[0]);
            assert_eq!(who.name, USER);
            let (of, who, lever) = (Arc::clone(of), Arc::clone(who), levers.of(""));
            Pool::new(of, who, cluster, 0, means, [database, user], (lever, None))
        };
        let pools = relayed.shards.iter().map(pool).collect();
        let connector = Arc::new(Connector::new(&direct).expect("a connector"));
        let clusters: Vec<_> = direct.shards.iter().map(|s| Cluster::new(s.clone())).collect();
        for cluster in &clusters {
            let never = std::future::pending();
            tokio::spawn(cluster::monitor(cluster.clone(), connector.clone(), never));
        }
        for cluster in &clusters {
            cluster.checked().await;
        }
        let database = shards.database.clone();
        Commits { relays, pools, clusters, connector, config: direct, database }
    }

    /// Begins to commit and recover.
    pub fn process(&self, recovery_interval: Duration, resolve_timeout: Duration) -> Process {
        let place = |(shard, cluster): (&Arc<_>, &Arc<Cluster>)| {
            let shard: &pgmanifold::config::model::Shard = shard;
            let (name, login) = (shard.name.as_str().into(), shard.recovery.clone());
            Place { name, cluster: Arc::clone(cluster), login }
        };
        let scope = Scope {
            database: self.database.as_str().into(),
            server_database: self.database.clone(),
            shards: self.config.shards.iter().zip(&self.clusters).map(place).collect(),
            preferred_home: ShardId(0),
            times: TwoPhaseTimes { recovery_interval, resolve_timeout },
        };
        let two_phase = TwoPhase::new(scope, Arc::clone(&self.connector), Handle::current());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(Arc::clone(&two_phase).run(async move {
            let _ = stopped.await;
        }));
        Process { two_phase, _stop: stop }
    }

    /// Runs one query string on each of these shards; it begins with `begin`.
    ///
    /// # Panics
    /// When one of them fails.
    pub async fn begin(&self, work: &[(u16, String)]) -> Transaction {
        let mut leases = Vec::new();
        for (number, sql) in work {
            leases.push((ShardId(*number), self.opened(*number, sql).await));
        }
        Transaction { leases }
    }

    /// A server on which this has been run. One that was killed while it was idle may still lie in
    /// the pool: then it is the next one.
    async fn opened(&self, shard: u16, sql: &str) -> Lease {
        loop {
            let mut lease =
                self.pools[usize::from(shard)].get(0, Claim::Usual).await.expect("a server");
            match exec::run(&mut lease, sql).await {
                Ok(_) => return lease,
                Err(error) if ["08006", "57P01"].contains(&&*error.sqlstate) => {}
                Err(error) => panic!("{sql}: {error}"),
            }
        }
    }
}

impl Process {
    /// Its metrics.
    pub fn metrics(&self) -> String {
        let metrics = pgmanifold::metrics::Metrics::default();
        let two_phase = Arc::clone(&self.two_phase);
        let _source = metrics.register_source(move |samples| two_phase.collect(samples));
        metrics.scrape()
    }
}

impl Transaction {
    /// Lets a statement fail on one of its servers.
    ///
    /// # Panics
    /// When it succeeds.
    #[must_use]
    pub async fn fail(mut self, at: usize) -> Self {
        let (_, lease) = &mut self.leases[at];
        exec::run(lease, "select 1/0").await.expect_err("nothing is divided by zero");
        self
    }

    /// Commits, and checks that every server is then outside of a transaction or lost.
    ///
    /// # Errors
    /// Those of the commit.
    ///
    /// # Panics
    /// When a server is left in a transaction.
    pub async fn commit(mut self, process: &Process) -> Result<Committed, CommitError> {
        let names = names();
        let mut parts: Vec<Participant<'_>> = self
            .leases
            .iter_mut()
            .map(|(shard, lease)| Participant {
                shard: *shard,
                name: &names[usize::from(shard.0)],
                server: lease,
                lost: false,
            })
            .collect();
        let result = process.two_phase.commit(&mut parts).await;
        for part in &parts {
            assert!(part.lost || part.server.status == b'I', "{}: in a transaction", part.name);
        }
        let lost: Vec<bool> = parts.iter().map(|part| part.lost).collect();
        for ((_, lease), lost) in self.leases.into_iter().zip(lost) {
            if !lost {
                lease.give_back(0, std::time::Instant::now());
            }
        }
        result
    }
}

/// Ends the server processes that work for clients of a database, each by its own termination.
///
/// # Errors
/// When the server does not answer.
pub fn kill_backends(server: &Postgres, database: &str) -> Result<(), LaunchError> {
    let sql = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = '{database}' and usename = '{USER}'"
    );
    server.query(&sql).map(drop)
}

fn config(shards: &Shards, hosts: impl Iterator<Item = Address>) -> Config {
    let hosts: Vec<_> = names().into_iter().zip(hosts.map(|host| vec![host])).collect();
    let keys = format!("name = {:?}\nshards = {:?}\n", shards.database, names());
    let text = ConfigText::sharded(&hosts, &keys).text();
    pgmanifold::config::parse(&text, "test.toml").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

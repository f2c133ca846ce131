//! Owns the end of transactions that span several shards: all of it is committed or none, and the
//! client is told the truth about which. It does not choose shards and keeps no servers.
//!
//! Every participant but one is prepared. The last one, the *home* of the transaction, commits its
//! own part together with a row that says "committed": that one commit decides for all, and costs
//! no round trip of its own. Whoever finds a prepared part later (`recovery`) asks the home by
//! inserting the opposite row: the unique index lets only one of the two stand. Nothing depends on
//! the clocks of different machines, on leases, or on a proxy's memory.

mod commit;
mod explain;
mod look;
mod reach;
mod recovery;
mod report;
mod standing;
mod step;

pub use explain::UNKNOWN;
pub use look::{Known, home_and_time};

use crate::backend::connect::Connector;
use crate::cluster::Cluster;
use crate::config::model::{MonitorLogin, TwoPhaseTimes};
use crate::execute::Participant;
use crate::wire::error::SqlError;
use bytes::BytesMut;
use pgmanifold_router::shard_map::ShardId;
use reach::Reach;
use report::{Counts, ShardCounts};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

/// Most parts that commits have left to recovery and that are remembered here. Recovery finds the
/// others too, only later.
const HANDED_MAX: usize = 10_000;
/// Longest wait of a session for its own commit to show on a shard.
const UNFINISHED_WAIT: Duration = Duration::from_secs(10);
/// How often it looks itself meanwhile.
const UNFINISHED_LOOK: Duration = Duration::from_millis(500);

/// What ends the transactions of one sharded database. One per database and process.
pub struct TwoPhase {
    database: Box<str>,
    shards: Arc<[Place]>,
    preferred_home: ShardId,
    times: TwoPhaseTimes,
    control: Handle,
    reach: Arc<Reach>,
    /// Names of transactions whose commit runs in this process.
    active: Mutex<HashSet<String>>,
    /// Parts that commits of this process have left to recovery.
    handed: Mutex<Handed>,
    /// Prepared parts on each shard, as recovery saw them last.
    prepared: Mutex<Vec<Vec<String>>>,
    /// There is something in `handed`.
    wake: Notify,
    /// Changes when something has left `handed`.
    ended: watch::Sender<()>,
    counts: Counts,
    shard_counts: Vec<ShardCounts>,
}

/// What `TwoPhase` is made for.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Name of the database, for logs and metrics.
    pub database: Box<str>,
    /// Its name on the servers.
    pub server_database: String,
    /// Its shards, by `ShardId`.
    pub shards: Vec<Place>,
    /// Which shard is home of a transaction when several can be.
    pub preferred_home: ShardId,
    /// How long things may take.
    pub times: TwoPhaseTimes,
}

/// One shard, as recovery reaches it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its name: it becomes a part of the names of prepared transactions.
    pub name: Box<str>,
    /// Its hosts.
    pub cluster: Arc<Cluster>,
    /// Who ends prepared transactions there; the database it names is not used.
    pub login: MonitorLogin,
}

/// A transaction that is committed everywhere, or will be.
#[derive(Debug, Default)]
pub struct Committed {
    /// NoticeResponses and ParameterStatuses of the participants, as they came: they go to the
    /// client before CommandComplete.
    pub passing: BytesMut,
    /// Shards that have their part only prepared so far: the commit is decided and durable, and
    /// recovery brings it to them. The session must `wait` before it sends anything more to such a
    /// shard; else it would not see what it wrote itself.
    pub unfinished: Vec<Unfinished>,
}

/// A part that is decided and not yet visible on its shard.
#[derive(Debug)]
pub struct Unfinished {
    /// The shard.
    pub shard: ShardId,
    part: String,
    two_phase: Arc<TwoPhase>,
}

/// It is not committed, or nobody knows.
#[derive(Debug)]
pub struct CommitError {
    /// For the client.
    pub error: SqlError,
    /// What became of the transaction.
    pub outcome: Outcome,
    /// As `Committed::passing`: they go to the client before the error.
    pub passing: BytesMut,
}

/// What became of a transaction whose commit failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing of it is there, on any shard.
    RolledBack,
    /// It may be there as a whole, or not at all: recovery sees to it that it is one of the two.
    Unknown,
}

/// Parts left to recovery; those whose commit is decided with their transaction's number.
type Handed = HashMap<String, Option<String>>;

/// While it lives, recovery of this process leaves the transaction alone.
struct Active<'a> {
    two_phase: &'a TwoPhase,
    transaction: String,
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        lock(&self.two_phase.active).remove(&self.transaction);
    }
}

impl TwoPhase {
    /// Does nothing until it is asked, or `run`. Shards are reached from the event loop `control`.
    pub fn new(scope: Scope, connector: Arc<Connector>, control: Handle) -> Arc<Self> {
        let shards: Arc<[Place]> = scope.shards.into();
        let prepared = Mutex::new(vec![Vec::new(); shards.len()]);
        let shard_counts = shards.iter().map(|_| ShardCounts::default()).collect();
        let reach = Reach::new(Arc::clone(&shards), scope.server_database, connector);
        Arc::new(Self {
            database: scope.database,
            shards,
            preferred_home: scope.preferred_home,
            times: scope.times,
            control,
            reach: Arc::new(reach),
            active: Mutex::default(),
            handed: Mutex::default(),
            prepared,
            wake: Notify::new(),
            ended: watch::Sender::new(()),
            counts: Counts::default(),
            shard_counts,
        })
    }

    /// Whether transactions may write on several shards. To be asked before the second shard is
    /// written to, so that a transaction does not fail at its very end. A shard that was never
    /// reached is not objected to.
    ///
    /// # Errors
    /// 55000 when a shard cannot prepare transactions, or lacks the schema `pgm`.
    pub fn check_writable(&self) -> Result<(), SqlError> {
        let troubles = self.shard_counts.iter().filter_map(|counts| counts.trouble.load_full());
        match troubles.into_iter().next() {
            Some(trouble) => Err(SqlError::clone(&trouble)),
            None => Ok(()),
        }
    }

    /// Commits what these servers have done. Each is inside an open transaction that has not
    /// failed, and owes nothing; afterwards each is outside of a transaction, or `lost`.
    ///
    /// Not cancel safe for the servers: `lost` is set while something is under way and taken back
    /// at its end, so one that is `lost` after this was dropped must be closed. The transaction
    /// itself is all or nothing in any case.
    ///
    /// # Errors
    /// What the client is told; see `Outcome`.
    pub async fn commit(
        self: &Arc<Self>,
        parts: &mut [Participant<'_>],
    ) -> Result<Committed, CommitError> {
        self.commit_parts(parts).await
    }

    /// Rolls back what these servers have done, whatever state their transactions are in.
    /// Afterwards each is outside of a transaction, or `lost`. Returns what goes to the client
    /// before CommandComplete.
    pub async fn rollback(&self, parts: &mut [Participant<'_>]) -> BytesMut {
        self.rollback_parts(parts).await
    }

    /// Closes its connections, and makes no new one for a moment: somebody is about to drop the
    /// database.
    pub fn vacate(&self) {
        self.reach.vacate();
    }

    fn begin(&self, transaction: &str) -> Active<'_> {
        lock(&self.active).insert(transaction.to_owned());
        Active { two_phase: self, transaction: transaction.to_owned() }
    }

    /// Asks the home how the transaction ended, by connections of recovery: `Some(true)` when it
    /// is committed, `None` when that could not be found out in time.
    async fn find_out(&self, home: ShardId, transaction: &str) -> Option<bool> {
        let (reach, transaction) = (Arc::clone(&self.reach), transaction.to_owned());
        let limit = self.times.resolve_timeout;
        let asking = async move { reach.resolve_within(home, &transaction, limit).await };
        self.control.spawn(asking).await.ok().flatten()
    }

    /// Leaves a part to recovery, which sees to it at once. `committed`: its commit is decided, and
    /// this is the number of its transaction.
    fn hand_over(
        self: &Arc<Self>,
        shard: ShardId,
        part: String,
        committed: Option<String>,
    ) -> Unfinished {
        let mut handed = lock(&self.handed);
        if handed.len() < HANDED_MAX {
            handed.insert(part.clone(), committed);
        }
        self.wake.notify_one();
        Unfinished { shard, part, two_phase: Arc::clone(self) }
    }
}

impl Unfinished {
    /// Waits until the shard shows the transaction. Cancel safe.
    ///
    /// # Errors
    /// 57P03 when it does not for too long: the session cannot use the shard yet.
    pub async fn wait(&self) -> Result<(), SqlError> {
        let two_phase = &self.two_phase;
        let mut ended = two_phase.ended.subscribe();
        let shown = async {
            loop {
                // The news may be missed: another process may have ended it, or a reload may have
                // replaced whoever does.
                let told = crate::timer::timeout(UNFINISHED_LOOK, ended.changed()).await.is_ok();
                let known = lock(&two_phase.handed).contains_key(&self.part);
                if (told && !known) || self.is_ended().await {
                    return;
                }
            }
        };
        match crate::timer::timeout(UNFINISHED_WAIT, shown).await {
            Ok(()) => Ok(()),
            Err(_) => {
                Err(SqlError::error("57P03", "the shard does not show this session's commit yet")
                    .detail(format!("Part {} is committed, and still prepared.", self.part))
                    .hint("Repeat the statement."))
            }
        }
    }

    /// Whether the shard has the part no longer prepared, as far as it says.
    async fn is_ended(&self) -> bool {
        let (reach, shard) = (Arc::clone(&self.two_phase.reach), usize::from(self.shard.0));
        let asking = self.two_phase.control.spawn(async move { reach.prepared(shard).await });
        matches!(asking.await, Ok(Ok(parts)) if !parts.contains(&self.part))
    }
}

impl std::fmt::Debug for TwoPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TwoPhase").field("database", &self.database).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Owns the connections by which shards are asked about transactions that nobody is ending, and the
//! few commands sent there. It decides nothing.

use super::{Place, lock};
use crate::backend::connect::Connector;
use crate::cluster::control::{ControlPool, ControlTarget};
use pgmanifold_router::shard_map::ShardId;
use pgmanifold_router::shard_schema;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_postgres::SimpleQueryMessage;

/// Limit on one command, on both sides.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// The server ends a command that takes too long; this much later it is not waited for any more.
const GRACE: Duration = Duration::from_secs(1);
/// Between two attempts to find out how a commit ended.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long it stays away from a database that somebody wants for himself. PostgreSQL waits up to
/// 5 s for others to leave.
const VACATED_PAUSE: Duration = Duration::from_secs(5);

/// Why a shard gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The server refused.
    Refused {
        /// SQLSTATE.
        sqlstate: String,
        /// What it said.
        message: String,
    },
    /// It cannot be reached, or did not answer in time.
    Unreachable(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { sqlstate, message } => write!(f, "{message} (SQLSTATE {sqlstate})"),
            Self::Unreachable(why) => f.write_str(why),
        }
    }
}

/// What a shard says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    /// Number and version, when it has the schema.
    pub schema: Option<(String, String)>,
    /// `max_prepared_transactions` is not 0.
    pub can_prepare: bool,
    /// The login is a superuser.
    pub superuser: bool,
    /// The login may call `pgm.resolve`.
    pub may_resolve: bool,
}

/// What became of an attempt to end a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Done.
    Done,
    /// Somebody else has done it.
    Gone,
}

type Rows = Vec<Vec<Option<String>>>;

/// Reaches the primaries of all shards of one database.
pub(super) struct Reach {
    shards: Arc<[Place]>,
    server_database: String,
    connector: Arc<Connector>,
    /// By shard and host.
    pools: Mutex<HashMap<(usize, usize), ControlPool>>,
    vacated_until: Mutex<Option<Instant>>,
}

impl Reach {
    pub(super) fn new(
        shards: Arc<[Place]>,
        server_database: String,
        connector: Arc<Connector>,
    ) -> Self {
        let (pools, vacated_until) = (Mutex::default(), Mutex::default());
        Self { shards, server_database, connector, pools, vacated_until }
    }

    pub(super) fn vacate(&self) {
        *lock(&self.vacated_until) = Some(Instant::now() + VACATED_PAUSE);
        lock(&self.pools).clear();
    }

    /// `resolve`, again and again until it is answered or `limit` is over.
    pub(super) async fn resolve_within(
        &self,
        home: ShardId,
        transaction: &str,
        limit: Duration,
    ) -> Option<bool> {
        let asking = async {
            loop {
                match self.resolve(usize::from(home.0), transaction).await {
                    Ok(committed) => return committed,
                    Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
                }
            }
        };
        tokio::time::timeout(limit, asking).await.ok()
    }

    /// Whether the transaction is committed. If it is not decided, it is rolled back from now on:
    /// an answer is final.
    pub(super) async fn resolve(&self, home: usize, transaction: &str) -> Result<bool, Trouble> {
        // What roles and databases set by default must not weaken the answer.
        let sql = format!(
            "begin isolation level read committed read write; \
             set local synchronous_commit to on; \
             select pgm.resolve('{transaction}'); commit"
        );
        let rows = self.run(home, &sql).await?;
        match rows.first().and_then(|row| row.first()?.as_deref()) {
            Some("c") => Ok(true),
            Some("a") => Ok(false),
            _ => Err(Trouble::Unreachable("the decision is not understood".into())),
        }
    }

    /// Names of all parts that are prepared on the shard.
    pub(super) async fn prepared(&self, shard: usize) -> Result<Vec<String>, Trouble> {
        let sql = "select gid from pg_catalog.pg_prepared_xacts \
                   where database = pg_catalog.current_database() and gid like 'pgm:%' \
                   order by prepared";
        let rows = self.run(shard, sql).await?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next()?).collect())
    }

    /// Ends a part.
    pub(super) async fn end(&self, shard: usize, part: &str, commit: bool) -> Result<End, Trouble> {
        let how = if commit { "commit" } else { "rollback" };
        match self.run(shard, &format!("{how} prepared '{part}'")).await {
            Ok(_) => Ok(End::Done),
            Err(Trouble::Refused { sqlstate, .. }) if sqlstate == "42704" => Ok(End::Gone),
            Err(trouble) => Err(trouble),
        }
    }

    /// Deletes old decisions, except those of `live` transactions; up to `FORGET_MAX`.
    pub(super) async fn forget(&self, home: usize, live: &[&str]) -> Result<u64, Trouble> {
        let name = self.shards.get(home).map_or("", |place| &*place.name);
        let sql = format!("select pgm.forget('{name}', '{{{}}}')", live.join(","));
        let rows = self.run(home, &sql).await?;
        let deleted = rows.first().and_then(|row| row.first()?.as_deref()?.parse().ok());
        Ok(deleted.unwrap_or_default())
    }

    /// Whether a transaction of this number has been committed on the shard: `false` when its
    /// server has never heard of it, as after a failover that lost it.
    pub(super) async fn is_committed(&self, shard: usize, xid: &str) -> Result<bool, Trouble> {
        let sql = format!("select pg_catalog.txid_status('{xid}')");
        match self.run(shard, &sql).await {
            Ok(rows) => {
                let status = rows.first().and_then(|row| row.first()?.as_deref());
                Ok(status.is_none_or(|status| status == "committed"))
            }
            // It is in the future.
            Err(Trouble::Refused { sqlstate, .. }) if sqlstate == "22023" => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    /// What the shard has, and what the login may do there.
    pub(super) async fn check(&self, shard: usize) -> Result<Check, Trouble> {
        let rows = self.run(shard, shard_schema::CHECK).await?;
        let row: Vec<&str> = rows.first().into_iter().flatten().flatten().map(|v| &**v).collect();
        let [schema, prepared, superuser, may_resolve] = row.as_slice() else {
            return Err(Trouble::Unreachable("the answer to a check is not understood".into()));
        };
        let schema = match *schema == "t" {
            true => self.run(shard, shard_schema::IDENTIFY).await?.into_iter().next(),
            false => None,
        };
        let both = |row: Vec<Option<String>>| match <[_; 2]>::try_from(row) {
            Ok([Some(number), Some(version)]) => Some((number, version)),
            _ => None,
        };
        Ok(Check {
            schema: schema.and_then(both),
            can_prepare: *prepared != "0",
            superuser: *superuser == "t",
            may_resolve: *may_resolve == "t",
        })
    }

    /// Runs a command on the shard's primary.
    async fn run(&self, shard: usize, sql: &str) -> Result<Rows, Trouble> {
        let unreachable = |why: &dyn fmt::Display| Trouble::Unreachable(why.to_string());
        let pool = self.pool(shard)?;
        let mut connection = pool.get().await.map_err(|error| unreachable(&error))?;
        let limit = COMMAND_TIMEOUT + GRACE;
        let answer = tokio::time::timeout(limit, connection.client.simple_query(sql)).await;
        let trouble = match answer {
            Ok(Ok(messages)) => return Ok(rows(&messages)),
            Ok(Err(error)) => match error.as_db_error() {
                Some(said) => Trouble::Refused {
                    sqlstate: said.code().code().to_owned(),
                    message: said.message().to_owned(),
                },
                None => unreachable(&error),
            },
            Err(_) => unreachable(&format!("no answer within {} ms", limit.as_millis())),
        };
        // A transaction may be open on it.
        connection.abandon();
        Err(trouble)
    }

    fn pool(&self, shard: usize) -> Result<ControlPool, Trouble> {
        let unreachable = |why: &str| Trouble::Unreachable(why.to_owned());
        let mut vacated = lock(&self.vacated_until);
        if vacated.is_some_and(|until| Instant::now() < until) {
            return Err(unreachable("somebody is about to drop the database"));
        }
        *vacated = None;
        drop(vacated);
        let place = self.shards.get(shard).ok_or_else(|| unreachable("there is no such shard"))?;
        let primary = place.cluster.primary();
        let host = primary.map_err(|error| Trouble::Unreachable(error.to_string()))?;
        let new = || {
            let target = ControlTarget {
                host: Arc::clone(&place.cluster.hosts()[host].host),
                login: place.login.clone(),
                database: self.server_database.clone(),
                timeout: COMMAND_TIMEOUT,
            };
            ControlPool::new(Arc::clone(&self.connector), target, || {})
        };
        Ok(lock(&self.pools).entry((shard, host)).or_insert_with(new).clone())
    }
}

fn rows(messages: &[SimpleQueryMessage]) -> Rows {
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

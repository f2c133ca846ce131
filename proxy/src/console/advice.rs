//! Owns advice from measured traffic: what the console's own tables say is turned into sentences
//! about what would help most. It measures nothing itself, and says nothing without enough calls.

mod columns;
mod keys;
mod rules;
mod seen;
#[cfg(test)]
mod tests;

pub(super) use keys::{Keys, RunningKeys};
pub(super) use seen::Seen;

use pgmanifold_console::value::Row;

/// Least calls anything is said of.
const CALLS_MIN: u64 = 100;
/// Least time, in all, of anything that is said to take long.
const TIME_US_MIN: u64 = 1_000_000;
/// Most advice of one kind; the largest shares stay.
const SAME_KIND_MAX: usize = 5;

/// What advice is about, in the order in which following it saves most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Requests wait for connections, and no statement stands out as the reason.
    PoolSmall,
    /// A host's connections are all in use.
    HostFull,
    /// A statement takes long and returns little.
    Index,
    /// A statement returns very many rows.
    Rows,
    /// A fast statement is most of the work by its number.
    Calls,
    /// Requests wait for connections, which a statement named before holds.
    PoolHeld,
    /// Reads go to the primary because replicas are behind, or away.
    ReplicaLag,
    /// Reads fill a primary that has no replica.
    AddReplica,
    /// A scatter that another key would make single-shard.
    ShardKey,
    /// A scatter without such a key.
    Scatter,
    /// One shard has most of the traffic.
    HotShard,
    /// Connections lie idle.
    PoolIdle,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::PoolSmall | Self::PoolHeld => "pool_small",
            Self::HostFull => "host_full",
            Self::Index => "index",
            Self::Rows => "rows",
            Self::Calls => "calls",
            Self::ReplicaLag => "replica_lag",
            Self::AddReplica => "add_replica",
            Self::ShardKey => "shard_key",
            Self::Scatter => "scatter",
            Self::HotShard => "hot_shard",
            Self::PoolIdle => "pool_idle",
        }
    }
}

/// One piece of advice.
#[derive(Debug, Clone, PartialEq)]
struct Advice {
    kind: Kind,
    database: Option<String>,
    subject: String,
    advice: String,
    evidence: String,
    share_percent: f64,
}

/// The rows of ADVICE.
pub(super) fn rows(seen: &Seen, keys: &dyn Keys) -> Vec<Row> {
    let row = |(at, one): (usize, Advice)| {
        let severity = match one.share_percent {
            share if share >= 50.0 => "high",
            share if share >= 20.0 => "medium",
            _ => "low",
        };
        vec![
            i32::try_from(at + 1).unwrap_or(i32::MAX).into(),
            one.kind.word().into(),
            one.database.into(),
            one.subject.into(),
            one.advice.into(),
            one.evidence.into(),
            ((one.share_percent * 10.0).round() / 10.0).into(),
            severity.into(),
        ]
    };
    ranked(seen, keys).into_iter().enumerate().map(row).collect()
}

/// All advice, what saves most first.
fn ranked(seen: &Seen, keys: &dyn Keys) -> Vec<Advice> {
    let mut all = rules::all(seen, keys);
    all.sort_by(|one, other| {
        one.kind.cmp(&other.kind).then(other.share_percent.total_cmp(&one.share_percent))
    });
    let mut last: Option<(Kind, usize)> = None;
    all.retain(|one| {
        let count = match last {
            Some((kind, count)) if kind == one.kind => count + 1,
            _ => 1,
        };
        last = Some((one.kind, count));
        count <= SAME_KIND_MAX
    });
    all
}

//! Owns the reading of a `[[database]]` whose sharding rules are only tried.

use super::super::model::{Shard, Sharding};
use super::super::resolve::Reader;
use super::{MAX_SHARDS, list};
use pgmanifold_router::shard_map::ShardId;
use std::sync::Arc;

/// Names of the shards of a database whose rules are tried.
const OBSERVED_SHARDS: [&str; 4] = ["s0", "s1", "s2", "s3"];

/// The shards that a `[[database]]` with `observe_only` is thought to have.
pub(in crate::config) fn observed(
    reader: &Reader<'_>,
    shard: &Arc<Shard>,
    is_sharded: bool,
) -> Option<Arc<Sharding>> {
    if !reader.boolean("observe_only") {
        if reader.table.mention("observe_shards").is_some() {
            let help = "add `observe_only = true`, or leave it out";
            reader.error("observe_shards", "shards to observe without `observe_only`", help);
        }
        return None;
    }
    if is_sharded {
        let help = "leave one of them out";
        reader.error("observe_only", "`observe_only` and `shards` are both given", help);
        return None;
    }
    let given = list(reader, "observe_shards");
    let names: Vec<&str> = match given {
        Some(names) => names.iter().map(|(name, _)| name.as_str()).collect(),
        None => OBSERVED_SHARDS.into(),
    };
    let twice = names.iter().enumerate().any(|(at, name)| names.iter().take(at).any(|n| n == name));
    if names.len() < 2 || names.len() > MAX_SHARDS || twice {
        let help = format!("from 2 to {MAX_SHARDS} different names");
        reader.error("observe_shards", format!("{} shards", names.len()), help);
        return None;
    }
    // Nothing is ever sent to them; they only have names.
    let named = |name: &&str| Arc::new(Shard { name: (*name).to_owned(), ..Shard::clone(shard) });
    Some(Arc::new(Sharding { shards: names.iter().map(named).collect(), home: ShardId(0) }))
}

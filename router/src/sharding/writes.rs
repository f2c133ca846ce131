//! Owns how statements that are no queries are spread over several shards, once these are known.

use super::named::Refused;
use super::target::misread;
use super::{Catalog, Merge, Part, Placing, Refusal, Spread, Values, insert, reference};
use crate::planner::Text;
use crate::shard_map::ShardId;
use std::ops::Range;

/// What each shard is sent of a statement that is no query.
pub(super) fn spread(
    text: &Text<'_>,
    at: Range<usize>,
    placing: &Placing,
    shards: &[ShardId],
    catalog: Catalog<'_>,
    values: &Values<'_>,
) -> Refused<Spread> {
    let first = text.word(at.start);
    match placing {
        Placing::Rows { keys, .. } if first == "insert" => {
            insert::spread(text, at, catalog, keys, values)
        }
        // An UPDATE of the key, where the new key was to be on the old one's shard.
        Placing::Rows { .. } if first == "update" => Err(update_of_key()),
        Placing::Rows { .. } => Err(misread("writes of several shards in one statement")),
        Placing::Everywhere { .. } => {
            if matches!(first, "insert" | "update" | "delete" | "merge") {
                reference::check_values(text, at, catalog, values)?;
            }
            Ok(all_alike(shards, Merge::Same, values))
        }
        Placing::Keyed { writes: true, .. } => {
            super::modify::check_spread(text, at, catalog)?;
            Ok(all_alike(shards, Merge::Sum, values))
        }
        _ => Err(misread("several shards")),
    }
}

/// Every shard is sent the text as it is.
pub(super) fn all_alike(shards: &[ShardId], merge: Merge, values: &Values<'_>) -> Spread {
    let part = |shard: &ShardId| Part { shard: *shard, sql: values.sql.to_vec(), parameters: None };
    let parts = shards.iter().map(part).collect();
    Spread { parts, merge, writes: true, original: values.sql.to_vec() }
}

/// The refusal of a row that would have to move to another shard.
pub(super) fn update_of_key() -> Box<Refusal> {
    Box::new(
        Refusal::new("update-of-key", "the shard key of a row cannot be changed")
            .detail("The row would belong to another shard, or its new key is not known.")
            .hint("Delete the row and insert it anew, in one transaction."),
    )
}

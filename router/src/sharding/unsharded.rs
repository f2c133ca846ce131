//! Owns the placing of statements by the words they have, whatever their form: on one shard when
//! nothing in them is sharded.

use super::named::{Refused, touched};
use super::{Catalog, Placing, Refusal};
use crate::planner::Text;
use std::ops::Range;

/// Where a statement runs that names no sharded table; refused when it does, as `construct`.
pub(super) fn place(
    text: &Text<'_>,
    at: Range<usize>,
    catalog: Catalog<'_>,
    construct: &'static str,
) -> Refused<Placing> {
    let touched = touched(text, at, catalog);
    if let Some((table, word)) = touched.sharded {
        let through = match table == word {
            true => format!("It names \"{table}\", which is spread over shards."),
            false => format!("\"{word}\" reaches \"{table}\", which is spread over shards."),
        };
        return Err(Box::new(
            Refusal::new(construct, "the statement cannot be run over shards")
                .detail(through)
                .hint("Run it for one shard with SET pgm.shard, or write it another way."),
        ));
    }
    if let Some(word) = touched.unseen {
        return Err(Box::new(
            Refusal::new("unseen", "the statement runs SQL that is not seen")
                .detail(format!("\"{word}\" may read or write sharded tables."))
                .hint("Run it for one shard with SET pgm.shard."),
        ));
    }
    match (&*touched.elsewhere, touched.home) {
        ([], _) => Ok(Placing::On(catalog.map.home)),
        ([shard], false) => Ok(Placing::On(*shard)),
        _ => Err(Box::new(
            Refusal::new("tables-apart", "the statement's tables live on different shards")
                .hint("Read one of them first, or place the tables on one shard."),
        )),
    }
}

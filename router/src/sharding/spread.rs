//! Owns which part of the planner spreads a text over several shards.

use super::named::Refused;
use super::place::Form;
use super::{Catalog, Merge, Placing, Refusal, Spread, Values, copy_out, hidden, select, writes};
use crate::planner::{Text, split};
use crate::shard_map::ShardId;

/// What each of these shards is sent, and how their answers become one.
pub(super) fn spread(
    placing: &Placing,
    shards: &[ShardId],
    catalog: Catalog<'_>,
    values: &Values<'_>,
) -> Refused<Spread> {
    hidden::hide(with_hidden(placing, shards, catalog, values)?, placing, catalog, values)
}

/// The same with the rows that a shard has besides their owner.
fn with_hidden(
    placing: &Placing,
    shards: &[ShardId],
    catalog: Catalog<'_>,
    values: &Values<'_>,
) -> Refused<Spread> {
    let Ok(text) = Text::read(values.sql, values.dialect) else {
        return Err(Box::new(Refusal::new("unreadable", "the statement cannot be read")));
    };
    let (from, to) = match split(&text).as_slice() {
        [one] => *one,
        // Several statements that all shards run alike.
        [first, .., last] if matches!(placing, Placing::Everywhere { .. }) => (first.0, last.1),
        _ => {
            return Err(select::refused(
                "several-statements",
                "Several statements in one text concern several shards.",
                "Send them one by one.",
            ));
        }
    };
    let at = from..to;
    match Form::of(&text, at.clone()) {
        Form::Query => select::spread(&text, at, placing, shards, catalog, values),
        Form::Cursor { .. } => Err(select::refused(
            "cursor",
            "A cursor would have to read from several shards.",
            "Read all rows, or page by a key.",
        )),
        Form::Explain { inner, formatted } => {
            if formatted || Form::of(&text, inner..to) != Form::Query {
                let why = "EXPLAIN over several shards is for queries, and FORMAT TEXT.";
                return Err(select::refused("explain", why, "Choose a shard by SET pgm.shard."));
            }
            let spread = select::spread(&text, inner..to, placing, shards, catalog, values);
            // What PostgreSQL says of such numbers it says of queries that run.
            let mut spread = spread.map_err(|refusal| match refusal.sqlstate {
                "2201W" | "2201X" => {
                    let why = "EXPLAIN over several shards has a number of rows that is negative.";
                    select::refused("explain", why, "Give a number of rows.")
                }
                _ => refusal,
            })?;
            spread.merge = Merge::Headed;
            Ok(spread)
        }
        Form::CopyOut => copy_out::spread(&text, at, placing, shards, catalog, values),
        Form::Other => writes::spread(&text, at, placing, shards, catalog, values),
    }
}

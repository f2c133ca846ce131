//! Owns texts of several statements, and statements within statements: they run as one when they
//! all concern the same shard, whatever their values are, or all shards alike.

use super::named::Refused;
use super::{Catalog, Condition, KeyFilter, Operand, Placing, Refusal};
use crate::shard_map::ShardId;

/// Where several statements go that are sent as one text.
pub(super) fn combine(placings: Vec<Placing>, catalog: Catalog<'_>) -> Placing {
    let mut placings = placings;
    if placings.len() == 1
        && let Some(only) = placings.pop()
    {
        return only;
    }
    if let Some(at) = placings.iter().position(|placing| matches!(placing, Placing::Refused(_))) {
        return placings.swap_remove(at);
    }
    match together(&placings, catalog) {
        Ok(placing) => placing,
        Err(refusal) => Placing::Refused(refusal),
    }
}

fn together(placings: &[Placing], catalog: Catalog<'_>) -> Refused<Placing> {
    let mut shard: Option<ShardId> = None;
    let mut keys: Vec<Vec<Operand>> = Vec::new();
    let mut keyed: Option<usize> = None;
    let mut everywhere = None;
    let (mut session, mut transaction) = (false, false);
    for placing in placings {
        match placing {
            Placing::On(on) if shard.is_none_or(|shard| shard == *on) => shard = Some(*on),
            Placing::Anywhere => {}
            Placing::Session => session = true,
            Placing::Transaction => transaction = true,
            Placing::Everywhere { outside_transaction: false } => {
                everywhere = Some(Placing::Everywhere { outside_transaction: false });
            }
            Placing::Keyed { .. } | Placing::Rows { .. } => {
                let Some((distribution, more)) = single_keys(placing, catalog) else {
                    return Err(refused("One of them may need several shards."));
                };
                if keyed.replace(distribution).is_some_and(|known| known != distribution) {
                    return Err(refused("They concern different distributions."));
                }
                keys.extend(more);
            }
            _ => return Err(refused("One of them cannot run together with others.")),
        }
    }
    match (everywhere, keyed, shard) {
        (Some(placing), None, None) if !session && !transaction => Ok(placing),
        (None, Some(distribution), None) if !transaction => {
            Ok(Placing::Rows { distribution, keys })
        }
        (None, None, Some(shard)) => Ok(Placing::On(shard)),
        (None, None, None) if session && !transaction => Ok(Placing::Session),
        (None, None, None) if session || transaction => Ok(Placing::On(catalog.map.home)),
        (None, None, None) => Ok(Placing::Anywhere),
        _ => Err(refused("They do not all concern one shard, or all shards alike.")),
    }
}

/// The keys of a placing that needs the shard of these keys and no other.
pub(super) fn single_keys(
    placing: &Placing,
    catalog: Catalog<'_>,
) -> Option<(usize, Vec<Vec<Operand>>)> {
    match placing {
        Placing::Rows { distribution, keys } => Some((*distribution, keys.clone())),
        Placing::Keyed { distribution, filters, also, .. } if also.is_empty() => {
            let mut keys = Vec::with_capacity(filters.len());
            for filter in filters {
                if filter.distribution != *distribution {
                    return None;
                }
                keys.push(single_key(filter, catalog)?);
            }
            Some((*distribution, keys))
        }
        _ => None,
    }
}

/// The one key that a filter lets through.
fn single_key(filter: &KeyFilter, catalog: Catalog<'_>) -> Option<Vec<Operand>> {
    let columns = catalog.map.distributions.get(filter.distribution)?.key_types.len();
    let one = |column: usize| {
        filter.conditions.iter().find_map(|(at, condition)| match condition {
            Condition::OneOf(operands) if usize::from(*at) == column => match operands.as_slice() {
                [operand] => Some(*operand),
                _ => None,
            },
            _ => None,
        })
    };
    (0..columns).map(one).collect()
}

fn refused(detail: &'static str) -> Box<Refusal> {
    Box::new(
        Refusal::new(
            "several-statements",
            "several statements in one text cannot be run over shards",
        )
        .detail(detail)
        .hint("Send them one by one, in a transaction if they belong together."),
    )
}

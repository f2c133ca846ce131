//! Owns the step from a new row's key to its shard, with the values of one execution.

use super::named::Refused;
use super::{Bound, Operand, Refusal, Values};
use crate::key::{self, KeyType, KeyValue, Reading};
use crate::shard_map::{ShardId, ShardMap};

/// SQLSTATE of rows that no shard would have.
const NO_SHARD: &str = "PGM04";

/// The shard of a row with this key.
pub(super) fn shard_of(
    map: &ShardMap,
    distribution: usize,
    operands: &[Operand],
    values: &Values<'_>,
) -> Refused<ShardId> {
    shard_and_hash(map, distribution, operands, values).map(|(shard, _)| shard)
}

/// The same, with the key's hash where that decides.
pub(super) fn shard_and_hash(
    map: &ShardMap,
    distribution: usize,
    operands: &[Operand],
    values: &Values<'_>,
) -> Refused<(ShardId, Option<i64>)> {
    let Some(known) = map.distributions.get(distribution) else {
        return Err(Box::new(Refusal::new("map", "the shard map has changed")));
    };
    let value = |operand: Operand, ty: KeyType| match read(operand, ty, values) {
        Reading::Value(value) => Ok(value),
        Reading::Null => Err(no_shard("null-key", "the shard key of a new row is null")),
        Reading::Unknown => Err(unknown_key()),
    };
    let (shard, hash) = match (operands, known.key_types.as_slice()) {
        ([operand], [ty]) => map.shard_and_hash(distribution, &[value(*operand, *ty)?]),
        (operands, types) => {
            let pairs = operands.iter().zip(types);
            let key: Refused<Vec<KeyValue>> =
                pairs.map(|(operand, ty)| value(*operand, *ty)).collect();
            map.shard_and_hash(distribution, &key?)
        }
    };
    let shard = shard.ok_or_else(|| no_shard("no-shard", "no shard has the key of a new row"))?;
    Ok((shard, hash))
}

/// What an operand says of a column of the key.
pub(super) fn read(operand: Operand, ty: KeyType, values: &Values<'_>) -> Reading {
    match operand {
        Operand::Null => Reading::Null,
        Operand::Literal { at, negative } => {
            let Some(token) = values.literals.get(usize::from(at)) else { return Reading::Unknown };
            match key::literal_text(token, values.sql, values.dialect) {
                Some(text) => key::read_literal(ty, token.kind, &text, negative),
                None => Reading::Unknown,
            }
        }
        Operand::Parameter(number) => match values.bound {
            Some(bound) => read_bound(bound, number, ty, values),
            None => Reading::Unknown,
        },
    }
}

fn read_bound(bound: &Bound<'_>, number: u16, ty: KeyType, values: &Values<'_>) -> Reading {
    let Some(index) = usize::from(number).checked_sub(1) else { return Reading::Unknown };
    let Some(value) = bound.values.get(index) else { return Reading::Unknown };
    let declared = bound.types.get(index).copied().unwrap_or(0);
    let format = match bound.formats {
        [] => 0,
        [all] => *all,
        each => each.get(index).copied().unwrap_or(0),
    };
    key::read_parameter(ty, declared, format, *value, values.dialect.encoding)
}

fn no_shard(construct: &'static str, message: &'static str) -> Box<Refusal> {
    let mut refusal = Refusal::new(construct, message);
    refusal.sqlstate = NO_SHARD;
    Box::new(refusal)
}

/// A key that only a server could compute.
pub(super) fn unknown_key() -> Box<Refusal> {
    Box::new(
        Refusal::new("unknown-key", "the shard key of a new row is not known")
            .detail("It is not a literal or a parameter that can be read as its column's type.")
            .hint("Compute it first (SELECT …) and give it as a value."),
    )
}

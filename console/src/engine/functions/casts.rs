//! Owns explicit casts between the engine's types, as functions named `CAST`.

use super::{Call, Function, strict};
use crate::engine::cell::{self, Cell, as_text, checked_int, out_of_range, too_long};
use crate::engine::decimal::Decimal;
use crate::engine::error::{EngineError, Outcome};
use crate::engine::types::{Reg, Type};

/// Their name.
pub(crate) const CAST: &str = "CAST";

/// What casts start from, each as the list of arguments it is.
static FROM: &[[Type; 1]] = &[
    [Type::Bool],
    [Type::Int4],
    [Type::Int8],
    [Type::Numeric],
    [Type::Float8],
    [Type::Text],
    [Type::Oid],
    [Type::Texts],
    [Type::Ints],
    [Type::Reg(Reg::Class)],
    [Type::Reg(Reg::Type)],
    [Type::Reg(Reg::Proc)],
    [Type::Reg(Reg::Namespace)],
    [Type::Reg(Reg::Role)],
];

/// One for each pair of types that PostgreSQL casts.
pub(super) fn functions() -> impl Iterator<Item = Function> {
    FROM.iter().flat_map(|from| {
        let targets = FROM.iter().map(|[to]| *to).filter(|to| allowed(from[0], *to));
        targets.map(|to| strict(CAST, from, to, run))
    })
}

fn allowed(from: Type, to: Type) -> bool {
    let is_oid = |ty| matches!(ty, Type::Oid | Type::Reg(_));
    match (from, to) {
        (from, to) if from == to => false,
        (_, Type::Text)
        | (Type::Text, _)
        | (Type::Ints | Type::Texts, Type::Ints | Type::Texts) => true,
        (Type::Bool, Type::Int4) | (Type::Int4, Type::Bool) => true,
        (from, to) if is_oid(from) => is_oid(to) || matches!(to, Type::Int4 | Type::Int8),
        (Type::Int4 | Type::Int8, to) if is_oid(to) => true,
        (from, to) => from.is_number() && to.is_number(),
    }
}

fn run(call: &Call<'_>) -> Outcome<Cell> {
    let (value, from, to) = (call.arg(0), call.function.args[0], call.function.returns);
    match (from, to) {
        (Type::Reg(reg), Type::Text) => {
            Ok(Cell::Text(call.session.relations.name_of(reg, value.int())))
        }
        (_, Type::Text) => Ok(Cell::Text(as_text(value, from))),
        (Type::Text, Type::Reg(reg)) => {
            call.session.relations.oid_of(reg, value.str()).map(Cell::Int)
        }
        (Type::Text, _) => cell::parse(value.str(), to),
        (_, Type::Bool) => Ok(Cell::Int((value.int() != 0).into())),
        (Type::Bool, _) | (_, Type::Reg(_)) | (Type::Reg(_), Type::Oid) => Ok(value.clone()),
        (_, Type::Float8) => Ok(Cell::Real(match value {
            Cell::Text(_) => value.decimal()?.to_float(),
            _ => value.real(),
        })),
        (Type::Float8, Type::Numeric) => {
            let decimal = Decimal::of_float(value.real()).ok_or_else(too_long)?;
            Ok(Cell::text(decimal.to_string()))
        }
        (_, Type::Numeric) => Ok(Cell::text(value.decimal()?.to_string())),
        (Type::Float8, Type::Int4 | Type::Int8) => {
            let whole = value.real().round_ties_even();
            let fits = (-9.2e18..=9.2e18).contains(&whole);
            if fits { checked_int(whole as i64, to) } else { Err(out_of_range(to)) }
        }
        (Type::Numeric, Type::Int4 | Type::Int8) => {
            let whole = value.decimal()?.to_whole().ok_or_else(|| out_of_range(to))?;
            checked_int(whole, to)
        }
        (Type::Int4 | Type::Int8, Type::Oid) => match u32::try_from(value.int()) {
            Ok(oid) => Ok(Cell::Int(oid.into())),
            Err(_) => Err(EngineError::new("22003", "OID out of range")),
        },
        (_, Type::Int4) => checked_int(value.int(), to),
        _ => Ok(value.clone()),
    }
}

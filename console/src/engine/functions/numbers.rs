//! Owns arithmetic and functions of numbers. What does not fit is an error, as in PostgreSQL.

use super::{Call, Function, strict};
use crate::engine::cell::{Cell, checked_int, out_of_range, too_long};
use crate::engine::decimal::Decimal;
use crate::engine::error::{EngineError, Outcome};
use crate::engine::types::Type::{self, Float8, Int4, Int8, Numeric, Text};
use std::cmp::Ordering;

const I4: &[Type] = &[Int4, Int4];
const I8: &[Type] = &[Int8, Int8];
const N: &[Type] = &[Numeric, Numeric];
const F: &[Type] = &[Float8, Float8];

/// Those of this file.
pub(super) static FUNCTIONS: &[Function] = &[
    strict("+", I4, Int4, |call| ints(call, i64::checked_add)),
    strict("+", I8, Int8, |call| ints(call, i64::checked_add)),
    strict("+", N, Numeric, |call| decimals(call, Decimal::add)),
    strict("+", F, Float8, |call| floats(call, |one, other| one + other)),
    strict("-", I4, Int4, |call| ints(call, i64::checked_sub)),
    strict("-", I8, Int8, |call| ints(call, i64::checked_sub)),
    strict("-", N, Numeric, |call| decimals(call, |one, other| one.add(other.negated()))),
    strict("-", F, Float8, |call| floats(call, |one, other| one - other)),
    strict("*", I4, Int4, |call| ints(call, i64::checked_mul)),
    strict("*", I8, Int8, |call| ints(call, i64::checked_mul)),
    strict("*", N, Numeric, |call| decimals(call, Decimal::multiply)),
    strict("*", F, Float8, |call| floats(call, |one, other| one * other)),
    strict("/", I4, Int4, |call| ints_divided(call, i64::checked_div)),
    strict("/", I8, Int8, |call| ints_divided(call, i64::checked_div)),
    strict("/", N, Numeric, |call| decimals_divided(call, Decimal::divide)),
    strict("/", F, Float8, |call| floats_divided(call)),
    strict("%", I4, Int4, |call| ints_divided(call, remainder)),
    strict("%", I8, Int8, |call| ints_divided(call, remainder)),
    strict("%", N, Numeric, |call| decimals_divided(call, Decimal::remainder)),
    strict("mod", I4, Int4, |call| ints_divided(call, remainder)),
    strict("mod", I8, Int8, |call| ints_divided(call, remainder)),
    strict("mod", N, Numeric, |call| decimals_divided(call, Decimal::remainder)),
    strict("div", N, Numeric, |call| decimals_divided(call, whole_quotient)),
    strict("^", F, Float8, |call| floats(call, f64::powf)),
    strict("^", N, Numeric, |_| Err(as_float())),
    strict("power", F, Float8, |call| floats(call, f64::powf)),
    strict("power", N, Numeric, |_| Err(as_float())),
    strict("pow", F, Float8, |call| floats(call, f64::powf)),
    strict("pow", N, Numeric, |_| Err(as_float())),
    strict("&", I4, Int4, |call| ints(call, |one, other| Some(one & other))),
    strict("&", I8, Int8, |call| ints(call, |one, other| Some(one & other))),
    strict("|", I4, Int4, |call| ints(call, |one, other| Some(one | other))),
    strict("|", I8, Int8, |call| ints(call, |one, other| Some(one | other))),
    strict("#", I4, Int4, |call| ints(call, |one, other| Some(one ^ other))),
    strict("#", I8, Int8, |call| ints(call, |one, other| Some(one ^ other))),
    strict("-", &[Int4], Int4, |call| int(call, i64::checked_neg)),
    strict("-", &[Int8], Int8, |call| int(call, i64::checked_neg)),
    strict("-", &[Numeric], Numeric, |call| decimal(call, |number| Some(number.negated()))),
    strict("-", &[Float8], Float8, |call| Ok(Cell::Real(-call.real(0)))),
    strict("abs", &[Int4], Int4, |call| int(call, i64::checked_abs)),
    strict("abs", &[Int8], Int8, |call| int(call, i64::checked_abs)),
    strict("abs", &[Numeric], Numeric, |call| decimal(call, |number| Some(number.magnitude()))),
    strict("abs", &[Float8], Float8, |call| Ok(Cell::Real(call.real(0).abs()))),
    strict("sign", &[Numeric], Numeric, |call| {
        decimal(call, |number| Some(Decimal::whole(number.sign())))
    }),
    strict("sign", &[Float8], Float8, |call| {
        let number = call.real(0);
        Ok(Cell::Real(if number == 0.0 { 0.0 } else { number.signum() }))
    }),
    strict("round", &[Numeric], Numeric, |call| decimal(call, |number| number.round(0))),
    strict("round", &[Float8], Float8, |call| Ok(Cell::Real(call.real(0).round_ties_even()))),
    strict("round", &[Numeric, Int4], Numeric, |call| {
        let scale = call.int(1);
        text(call.arg(0).decimal()?.round(scale))
    }),
    strict("LIMIT", &[Int8], Int8, |call| match call.int(0) {
        number if number < 0 => Err(EngineError::new("2201W", "LIMIT must not be negative")),
        number => Ok(Cell::Int(number)),
    }),
    strict("NUMERIC", &[Numeric, Int4, Int4], Numeric, sized),
    strict("trunc", &[Numeric], Numeric, |call| decimal(call, |number| number.truncate(0))),
    strict("trunc", &[Float8], Float8, |call| Ok(Cell::Real(call.real(0).trunc()))),
    strict("trunc", &[Numeric, Int4], Numeric, |call| {
        let scale = call.int(1);
        text(call.arg(0).decimal()?.truncate(scale))
    }),
    strict("floor", &[Numeric], Numeric, |call| decimal(call, Decimal::floor)),
    strict("floor", &[Float8], Float8, |call| Ok(Cell::Real(call.real(0).floor()))),
    strict("ceil", &[Numeric], Numeric, |call| decimal(call, ceiling)),
    strict("ceil", &[Float8], Float8, |call| Ok(Cell::Real(call.real(0).ceil()))),
    strict("ceiling", &[Numeric], Numeric, |call| decimal(call, ceiling)),
    strict("ceiling", &[Float8], Float8, |call| Ok(Cell::Real(call.real(0).ceil()))),
    strict("sqrt", &[Float8], Float8, |call| defined(call, f64::sqrt)),
    strict("sqrt", &[Numeric], Numeric, |_| Err(as_float())),
    strict("exp", &[Float8], Float8, |call| defined(call, f64::exp)),
    strict("exp", &[Numeric], Numeric, |_| Err(as_float())),
    strict("ln", &[Float8], Float8, |call| defined(call, f64::ln)),
    strict("ln", &[Numeric], Numeric, |_| Err(as_float())),
    strict("log", &[Float8], Float8, |call| defined(call, f64::log10)),
    strict("log", &[Numeric], Numeric, |_| Err(as_float())),
    strict("greatest", &[Int8], Int8, greatest).loose().variadic(),
    strict("greatest", &[Numeric], Numeric, greatest).loose().variadic(),
    strict("greatest", &[Float8], Float8, greatest).loose().variadic(),
    strict("greatest", &[Text], Text, greatest).loose().variadic(),
    strict("least", &[Int8], Int8, least).loose().variadic(),
    strict("least", &[Numeric], Numeric, least).loose().variadic(),
    strict("least", &[Float8], Float8, least).loose().variadic(),
    strict("least", &[Text], Text, least).loose().variadic(),
    strict("pi", &[], Float8, |_| Ok(Cell::Real(std::f64::consts::PI))),
    strict("to_hex", &[Int4], Text, |call| Ok(Cell::text(format!("{:x}", call.int(0) as i32)))),
    strict("to_hex", &[Int8], Text, |call| Ok(Cell::text(format!("{:x}", call.int(0))))),
    strict("pg_size_pretty", &[Int8], Text, |call| Ok(Cell::text(pretty_size(call.int(0))))),
    strict("pg_size_pretty", &[Numeric], Text, |call| {
        let bytes = call.arg(0).decimal()?.truncate(0).and_then(Decimal::to_whole);
        Ok(Cell::text(pretty_size(bytes.ok_or_else(too_long)?)))
    }),
];

fn as_float() -> EngineError {
    EngineError::refused("this function of numeric").hint("Cast the argument to float8.")
}

fn division_by_zero() -> EngineError {
    EngineError::new("22012", "division by zero")
}

fn text(decimal: Option<Decimal>) -> Outcome<Cell> {
    decimal.map(|decimal| Cell::text(decimal.to_string())).ok_or_else(too_long)
}

fn int(call: &Call<'_>, run: fn(i64) -> Option<i64>) -> Outcome<Cell> {
    let ty = call.function.returns;
    run(call.int(0)).ok_or_else(|| out_of_range(ty)).and_then(|number| checked_int(number, ty))
}

fn ints(call: &Call<'_>, run: fn(i64, i64) -> Option<i64>) -> Outcome<Cell> {
    let ty = call.function.returns;
    let number = run(call.int(0), call.int(1)).ok_or_else(|| out_of_range(ty))?;
    checked_int(number, ty)
}

fn ints_divided(call: &Call<'_>, run: fn(i64, i64) -> Option<i64>) -> Outcome<Cell> {
    if call.int(1) == 0 { Err(division_by_zero()) } else { ints(call, run) }
}

/// The smallest number by -1 leaves 0, which the processor does not know.
fn remainder(one: i64, other: i64) -> Option<i64> {
    Some(one.wrapping_rem(other))
}

fn decimal(call: &Call<'_>, run: fn(Decimal) -> Option<Decimal>) -> Outcome<Cell> {
    text(run(call.arg(0).decimal()?))
}

fn decimals(call: &Call<'_>, run: fn(Decimal, Decimal) -> Option<Decimal>) -> Outcome<Cell> {
    text(run(call.arg(0).decimal()?, call.arg(1).decimal()?))
}

fn decimals_divided(
    call: &Call<'_>,
    run: fn(Decimal, Decimal) -> Option<Decimal>,
) -> Outcome<Cell> {
    let zero = call.arg(1).decimal()?.sign() == 0;
    if zero { Err(division_by_zero()) } else { decimals(call, run) }
}

fn greatest(call: &Call<'_>) -> Outcome<Cell> {
    extreme(call, Ordering::Greater)
}

fn least(call: &Call<'_>) -> Outcome<Cell> {
    extreme(call, Ordering::Less)
}

/// NULLs are passed over.
fn extreme(call: &Call<'_>, wanted: Ordering) -> Outcome<Cell> {
    let mut best = &Cell::Null;
    for arg in call.args.iter().filter(|arg| **arg != Cell::Null) {
        let order = match (call.function.returns, best) {
            (_, Cell::Null) => wanted,
            (Numeric, _) => arg.decimal()?.cmp(&best.decimal()?),
            (Float8, _) => arg.real().total_cmp(&best.real()),
            (Text, _) => arg.str().cmp(best.str()),
            _ => arg.int().cmp(&best.int()),
        };
        if order == wanted {
            best = arg;
        }
    }
    Ok(best.clone())
}

/// `numeric(precision, scale)`
fn sized(call: &Call<'_>) -> Outcome<Cell> {
    let (precision, scale) = (call.int(1), call.int(2));
    let rounded = call.arg(0).decimal()?.round(scale).ok_or_else(too_long)?;
    let whole = rounded.magnitude().truncate(0).ok_or_else(too_long)?.to_string();
    let digits = if whole == "0" { 0 } else { whole.len() };
    if i64::try_from(digits).unwrap_or(i64::MAX) > precision - scale {
        return Err(EngineError::new("22003", "numeric field overflow"));
    }
    Ok(Cell::text(rounded.to_string()))
}

fn whole_quotient(one: Decimal, by: Decimal) -> Option<Decimal> {
    one.add(one.remainder(by)?.negated())?.divide(by)?.round(0)
}

fn ceiling(number: Decimal) -> Option<Decimal> {
    number.negated().floor().map(Decimal::negated)
}

fn floats_divided(call: &Call<'_>) -> Outcome<Cell> {
    if call.real(1) == 0.0 {
        return Err(division_by_zero());
    }
    floats(call, |one, other| one / other)
}

fn floats(call: &Call<'_>, run: fn(f64, f64) -> f64) -> Outcome<Cell> {
    let (one, other) = (call.real(0), call.real(1));
    finite(run(one, other), one.is_infinite() || other.is_infinite())
}

fn defined(call: &Call<'_>, run: fn(f64) -> f64) -> Outcome<Cell> {
    let number = call.real(0);
    finite(run(number), number.is_infinite())
}

/// A result that became infinite is out of range; one that is no number is not for SQLite.
fn finite(result: f64, was_infinite: bool) -> Outcome<Cell> {
    if result.is_nan() {
        return Err(EngineError::new("22003", "the result is not a number"));
    }
    if result.is_infinite() && !was_infinite {
        return Err(EngineError::new("22003", "value out of range: overflow"));
    }
    Ok(Cell::Real(result))
}

/// As PostgreSQL's `pg_size_pretty`.
fn pretty_size(bytes: i64) -> String {
    let mut size = bytes;
    let units =
        [("bytes", 10 * 1024), ("kB", 20_479), ("MB", 20_479), ("GB", 20_479), ("TB", 20_479)];
    for (at, (unit, limit)) in units.iter().enumerate() {
        if size.unsigned_abs() < *limit {
            return format!("{} {unit}", half(size, at > 0));
        }
        size /= 1 << if at == 0 { 9 } else { 10 };
    }
    format!("{} PB", half(size, true))
}

/// Sizes above bytes are kept doubled, to be rounded at the end.
fn half(size: i64, is_doubled: bool) -> i64 {
    let away = if size < 0 { -1 } else { 1 };
    if is_doubled { (size + away) / 2 } else { size }
}

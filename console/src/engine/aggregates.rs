//! Owns the aggregates that SQLite has not, or has otherwise: exact sums and means, lists, and the
//! one row of a scalar subquery.

use super::cell::{Cell, too_long};
use super::decimal::Decimal;
use super::error::{EngineError, Outcome};
use super::session::Session;
use super::types::NUMERIC_COLLATION;
use rusqlite::functions::{Aggregate, Context, FunctionFlags, WindowAggregate};
use rusqlite::{Connection, Error};
use std::sync::Arc;

/// Makes them known to a connection.
pub(crate) fn register(connection: &Connection, session: &Arc<Session>) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let session = || Arc::clone(session);
    for (name, is_mean) in [("a_sum", false), ("a_avg", true)] {
        let sum = Exact { session: session(), is_mean };
        connection.create_window_function(name, 1, flags, sum)?;
    }
    for (name, is_mean) in [("a_float_sum", false), ("a_float_avg", true)] {
        let sum = Floats { session: session(), is_mean };
        connection.create_aggregate_function(name, 1, flags, sum)?;
    }
    connection.create_aggregate_function("a_string", 2, flags, Joined { session: session() })?;
    connection.create_aggregate_function("a_array", 1, flags, Listed { session: session() })?;
    connection.create_aggregate_function("a_single", 1, flags, Single { session: session() })?;
    connection.create_collation(NUMERIC_COLLATION, |one, other| {
        match (Decimal::parse(one), Decimal::parse(other)) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => one.cmp(other),
        }
    })
}

/// What SQLite is told when something fails; what failed stays with the session.
pub(crate) fn failed(session: &Session, error: EngineError) -> Error {
    let text = error.message.clone();
    session.fail(error);
    Error::UserFunctionError(text.into())
}

fn cell(context: &Context<'_>, at: usize) -> Cell {
    Cell::of(context.get_raw(at))
}

/// Of whole numbers and decimals.
struct Exact {
    session: Arc<Session>,
    is_mean: bool,
}

#[derive(Clone, Copy)]
struct Sum {
    total: Decimal,
    count: i64,
}

impl Exact {
    fn change(&self, context: &Context<'_>, sum: &mut Sum, is_added: bool) -> rusqlite::Result<()> {
        let value = cell(context, 0);
        if value == Cell::Null {
            return Ok(());
        }
        let step = || -> Outcome<Decimal> {
            let value = value.decimal()?;
            let value = if is_added { value } else { value.negated() };
            sum.total.add(value).ok_or_else(too_long)
        };
        sum.total = step().map_err(|error| failed(&self.session, error))?;
        sum.count += if is_added { 1 } else { -1 };
        Ok(())
    }

    fn result(&self, sum: Option<&Sum>) -> rusqlite::Result<Option<String>> {
        let Some(sum) = sum.filter(|sum| sum.count > 0) else { return Ok(None) };
        if !self.is_mean {
            return Ok(Some(sum.total.to_string()));
        }
        let mean = sum.total.divide(Decimal::whole(sum.count)).ok_or_else(too_long);
        mean.map(|mean| Some(mean.to_string())).map_err(|error| failed(&self.session, error))
    }
}

impl Aggregate<Sum, Option<String>> for Exact {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<Sum> {
        Ok(Sum { total: Decimal::whole(0), count: 0 })
    }

    fn step(&self, context: &mut Context<'_>, sum: &mut Sum) -> rusqlite::Result<()> {
        self.change(context, sum, true)
    }

    fn finalize(&self, _: &mut Context<'_>, sum: Option<Sum>) -> rusqlite::Result<Option<String>> {
        self.result(sum.as_ref())
    }
}

impl WindowAggregate<Sum, Option<String>> for Exact {
    fn value(&self, sum: Option<&mut Sum>) -> rusqlite::Result<Option<String>> {
        self.result(sum.as_deref())
    }

    fn inverse(&self, context: &mut Context<'_>, sum: &mut Sum) -> rusqlite::Result<()> {
        self.change(context, sum, false)
    }
}

/// Of floats, added in turn as PostgreSQL does; SQLite's own sum compensates.
struct Floats {
    session: Arc<Session>,
    is_mean: bool,
}

impl Aggregate<(f64, i64), Option<f64>> for Floats {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<(f64, i64)> {
        Ok((0.0, 0))
    }

    fn step(&self, context: &mut Context<'_>, sum: &mut (f64, i64)) -> rusqlite::Result<()> {
        let value = cell(context, 0);
        if value == Cell::Null {
            return Ok(());
        }
        let value = value.real();
        let total = sum.0 + value;
        let was_finite = sum.0.is_finite() && value.is_finite();
        if total.is_nan() || (total.is_infinite() && was_finite) {
            let error = EngineError::new("22003", "value out of range: overflow");
            return Err(failed(&self.session, error));
        }
        *sum = (total, sum.1 + 1);
        Ok(())
    }

    fn finalize(
        &self,
        _: &mut Context<'_>,
        sum: Option<(f64, i64)>,
    ) -> rusqlite::Result<Option<f64>> {
        let sum = sum.filter(|(_, count)| *count > 0);
        let divide = |(total, count)| if self.is_mean { total / count as f64 } else { total };
        Ok(sum.map(divide))
    }
}

/// `string_agg`
struct Joined {
    session: Arc<Session>,
}

impl Aggregate<Option<String>, Option<String>> for Joined {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<Option<String>> {
        Ok(None)
    }

    fn step(&self, context: &mut Context<'_>, all: &mut Option<String>) -> rusqlite::Result<()> {
        let Cell::Text(value) = cell(context, 0) else { return Ok(()) };
        match all {
            None => *all = Some(value),
            Some(text) => {
                text.push_str(cell(context, 1).str());
                text.push_str(&value);
            }
        }
        room(&self.session, all.as_ref().map_or(0, String::len))
    }

    fn finalize(
        &self,
        _: &mut Context<'_>,
        all: Option<Option<String>>,
    ) -> rusqlite::Result<Option<String>> {
        Ok(all.flatten())
    }
}

fn room(session: &Session, bytes: usize) -> rusqlite::Result<()> {
    let most = session.value_bytes_max;
    if bytes <= most {
        return Ok(());
    }
    let error = EngineError::limit(format!("a value is longer than {most} bytes"));
    Err(failed(session, error))
}

/// `array_agg`, of texts.
struct Listed {
    session: Arc<Session>,
}

/// The elements, and their bytes with some for each.
type List = (Vec<Option<String>>, usize);

impl Aggregate<List, Option<String>> for Listed {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<List> {
        Ok((Vec::new(), 0))
    }

    fn step(&self, context: &mut Context<'_>, (all, bytes): &mut List) -> rusqlite::Result<()> {
        let value = match cell(context, 0) {
            Cell::Text(text) => Some(text),
            _ => None,
        };
        *bytes += value.as_ref().map_or(0, String::len) + 8;
        all.push(value);
        room(&self.session, *bytes)
    }

    fn finalize(&self, _: &mut Context<'_>, all: Option<List>) -> rusqlite::Result<Option<String>> {
        Ok(all.map(|(all, _)| super::functions::array_text(all.into_iter())))
    }
}

/// The value of a scalar subquery, which has one row at most.
struct Single {
    session: Arc<Session>,
}

impl Aggregate<Option<Cell>, Cell> for Single {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<Option<Cell>> {
        Ok(None)
    }

    fn step(&self, context: &mut Context<'_>, value: &mut Option<Cell>) -> rusqlite::Result<()> {
        if value.is_some() {
            let message = "more than one row returned by a subquery used as an expression";
            return Err(failed(&self.session, EngineError::new("21000", message)));
        }
        *value = Some(cell(context, 0));
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, value: Option<Option<Cell>>) -> rusqlite::Result<Cell> {
        Ok(value.flatten().unwrap_or(Cell::Null))
    }
}

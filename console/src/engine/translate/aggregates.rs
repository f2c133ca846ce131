//! Owns aggregates: their types as PostgreSQL has them, and where they may stand.

use super::calls::Arguments;
use super::{Place, Translator, Typed};
use crate::engine::error::{EngineError, Outcome};
use crate::engine::types::Type;
use sqlparser::ast::Expr;

/// Whether a name is an aggregate's.
pub(super) fn is_aggregate(name: &str) -> bool {
    matches!(
        name,
        "count"
            | "sum"
            | "avg"
            | "min"
            | "max"
            | "bool_and"
            | "bool_or"
            | "every"
            | "string_agg"
            | "array_agg"
    )
}

/// An aggregate without its parentheses' content.
pub(super) struct Aggregate {
    /// Its name in SQLite.
    pub(super) name: &'static str,
    /// What it returns.
    pub(super) ty: Type,
    /// Its arguments, as they are given to SQLite.
    pub(super) args: Vec<Typed>,
    /// Whether it can also stand over a window.
    pub(super) in_windows: bool,
}

impl Translator<'_> {
    /// A call of an aggregate.
    pub(super) fn aggregate(
        &mut self,
        name: &str,
        arguments: &Arguments<'_>,
        filter: Option<&Expr>,
        place: Place<'_>,
    ) -> Outcome<Typed> {
        if let Some(clause) = place.no_aggregates {
            let message = format!("aggregate functions are not allowed in {clause}");
            return Err(EngineError::new("42803", message));
        }
        let inside = inside(place);
        let aggregate = self.aggregate_of(name, arguments, inside)?;
        let (order, ordering) = self.inner_order(arguments.order, inside)?;
        if arguments.is_distinct && (!order.is_empty() || aggregate.args.len() > 1) {
            return Err(EngineError::refused("DISTINCT with ORDER BY or more than one argument"));
        }
        let filtered = match filter {
            Some(filter) => {
                let filter = self.expression(filter, inside)?;
                Some(self.condition(filter, "FILTER")?)
            }
            None => None,
        };
        let parts: Vec<_> = aggregate.args.iter().chain(&ordering).chain(&filtered).collect();
        let sql = text(&aggregate, arguments, &order, filtered.as_ref());
        let mut value = Typed::of(sql, aggregate.ty, &parts);
        let level = place.scope.level;
        let mut own = value.free.iter().filter(|(of, _)| *of == level);
        if !value.free.is_empty() && own.next().is_none() {
            return Err(EngineError::refused("an aggregate over columns of the query around"));
        }
        value.free.retain(|(of, _)| *of < level);
        value.has_aggregate = true;
        Ok(value)
    }

    /// The aggregate of a name for its arguments.
    pub(super) fn aggregate_of(
        &mut self,
        name: &str,
        arguments: &Arguments<'_>,
        place: Place<'_>,
    ) -> Outcome<Aggregate> {
        let mut args = Vec::new();
        for arg in &arguments.exprs {
            args.push(self.expression(arg, place)?);
        }
        if arguments.is_star != (name == "count" && args.is_empty()) {
            return Err(no_such(name, &args));
        }
        let made = |name, ty, args| Aggregate { name, ty, args, in_windows: true };
        let only =
            |args: Vec<Typed>| <[Typed; 1]>::try_from(args).map_err(|args| no_such(name, &args));
        match name {
            "count" if arguments.is_star => Ok(made("count", Type::Int8, args)),
            "count" => {
                let [value] = only(args)?;
                let value = self.coerce_text(value)?;
                Ok(made("count", Type::Int8, vec![value]))
            }
            "min" | "max" => {
                let [value] = only(args)?;
                let value = self.coerce_text(value)?;
                let ordered = value.ty.is_number() || matches!(value.ty, Type::Text | Type::Oid);
                if !ordered {
                    return Err(no_such(name, &[value]));
                }
                Ok(made(if name == "min" { "min" } else { "max" }, value.ty, vec![value]))
            }
            "sum" | "avg" => {
                let [value] = only(args)?;
                self.summed(name, value)
            }
            "bool_and" | "every" | "bool_or" => {
                let [value] = only(args)?;
                let value = self.condition(value, name)?;
                Ok(made(if name == "bool_or" { "max" } else { "min" }, Type::Bool, vec![value]))
            }
            "string_agg" => {
                let [value, delimiter] =
                    <[Typed; 2]>::try_from(args).map_err(|args| no_such(name, &args))?;
                if !matches!(value.ty, Type::Text | Type::Unknown) {
                    return Err(no_such(name, &[value, delimiter]));
                }
                let args =
                    vec![self.coerce(value, Type::Text)?, self.coerce(delimiter, Type::Text)?];
                Ok(Aggregate { name: "a_string", ty: Type::Text, args, in_windows: false })
            }
            _ => {
                let [value] = only(args)?;
                let whole = matches!(value.ty, Type::Int4 | Type::Int8 | Type::Oid);
                let ty = if whole { Type::Ints } else { Type::Texts };
                let value = self.shown(value)?;
                Ok(Aggregate { name: "a_array", ty, args: vec![value], in_windows: false })
            }
        }
    }

    fn coerce_text(&mut self, value: Typed) -> Outcome<Typed> {
        let ty = if value.ty == Type::Unknown { Type::Text } else { value.ty };
        self.coerce(value, ty)
    }

    fn summed(&mut self, name: &str, value: Typed) -> Outcome<Aggregate> {
        let is_sum = name == "sum";
        let (name, ty) = match (value.ty, is_sum) {
            (Type::Int4, true) => ("sum", Type::Int8),
            (Type::Int8 | Type::Numeric, true) => ("a_sum", Type::Numeric),
            (Type::Int4 | Type::Int8 | Type::Numeric, false) => ("a_avg", Type::Numeric),
            (Type::Float8, true) => ("a_float_sum", Type::Float8),
            (Type::Float8, false) => ("a_float_avg", Type::Float8),
            _ => return Err(no_such(name, &[value])),
        };
        let in_windows = value.ty != Type::Float8;
        Ok(Aggregate { name, ty, args: vec![value], in_windows })
    }
}

/// Where an aggregate's arguments stand.
pub(super) fn inside(place: Place<'_>) -> Place<'_> {
    Place {
        grouping: &[],
        no_aggregates: Some("the arguments of an aggregate"),
        no_windows: Some("the arguments of an aggregate"),
        series: None,
        ..place
    }
}

/// A call as SQLite has it.
pub(super) fn text(
    aggregate: &Aggregate,
    arguments: &Arguments<'_>,
    order: &str,
    filter: Option<&Typed>,
) -> String {
    let keyed = matches!(aggregate.name, "min" | "max") || arguments.is_distinct;
    let arg = |arg: &Typed| if keyed { arg.key() } else { arg.sql.clone() };
    let args: Vec<_> = aggregate.args.iter().map(arg).collect();
    let distinct = if arguments.is_distinct { "DISTINCT " } else { "" };
    let star = if arguments.is_star { "*" } else { "" };
    let order = if order.is_empty() { String::new() } else { format!(" {order}") };
    let mut sql = format!("{}({distinct}{star}{}{order})", aggregate.name, args.join(", "));
    if let Some(filter) = filter {
        sql.push_str(&format!(" FILTER (WHERE {})", filter.sql));
    }
    sql
}

fn no_such(name: &str, args: &[Typed]) -> EngineError {
    let types: Vec<_> = args.iter().map(|arg| arg.ty.name()).collect();
    let message = format!("function {name}({}) does not exist", types.join(", "));
    EngineError::new("42883", message).hint("Add casts to the arguments.")
}

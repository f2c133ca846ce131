//! Owns calls of functions: which are aggregates, windows or special, and the arguments of all.

use super::aggregates::is_aggregate;
use super::windows::is_window;
use super::{Place, Translator, Typed, parts};
use crate::engine::error::{EngineError, Outcome};
use crate::engine::types::Type;
use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, OrderByExpr,
};

/// What stands in the parentheses of a call.
pub(super) struct Arguments<'e> {
    /// The expressions.
    pub(super) exprs: Vec<&'e Expr>,
    /// Whether it is a `*`.
    pub(super) is_star: bool,
    /// Whether DISTINCT stands before them.
    pub(super) is_distinct: bool,
    /// The ORDER BY after them.
    pub(super) order: &'e [OrderByExpr],
}

/// Whether a name is not of a plain function.
pub(super) fn is_special(name: &str) -> bool {
    is_aggregate(name) || is_window(name)
}

impl Translator<'_> {
    /// Any call.
    pub(super) fn function(&mut self, function: &Function, place: Place<'_>) -> Outcome<Typed> {
        let names = parts(&function.name)?;
        let name = match names.as_slice() {
            [name] => name,
            [.., schema, name] if schema == "pg_catalog" => name,
            _ => {
                let message = format!("function {}() does not exist", names.join("."));
                return Err(EngineError::new("42883", message));
            }
        };
        let plain = function.parameters == FunctionArguments::None
            && !function.uses_odbc_syntax
            && function.null_treatment.is_none();
        if !plain || !function.within_group.is_empty() {
            return Err(EngineError::refused(format!("this form of {name}()")));
        }
        if let (FunctionArguments::Subquery(query), "array") = (&function.args, name.as_str()) {
            return self.array_of(query, place);
        }
        let arguments = arguments(name, &function.args)?;
        if function.over.is_some() || is_window(name) {
            return self.window(name, function, &arguments, place);
        }
        if is_aggregate(name) {
            let filter = function.filter.as_deref();
            return self.aggregate(name, &arguments, filter, place);
        }
        if arguments.is_star
            || arguments.is_distinct
            || !arguments.order.is_empty()
            || function.filter.is_some()
        {
            let message = format!("{name} is not an aggregate function");
            return Err(EngineError::new("42809", message));
        }
        let args: Outcome<Vec<_>> =
            arguments.exprs.iter().map(|arg| self.expression(arg, place)).collect();
        self.plain(name, args?, place)
    }

    fn plain(&mut self, name: &str, args: Vec<Typed>, place: Place<'_>) -> Outcome<Typed> {
        match (name, args.as_slice()) {
            ("coalesce", [_, ..]) => {
                let args = self.unified(args, "COALESCE")?;
                if let [one] = args.as_slice() {
                    return Ok(one.clone());
                }
                Ok(of("coalesce", &args, false))
            }
            ("nullif", [_, _]) => {
                let args = self.unified(args, "NULLIF")?;
                Ok(of("nullif", &args, true))
            }
            ("greatest" | "least", [_, ..]) => {
                let what = if name == "greatest" { "GREATEST" } else { "LEAST" };
                let args = self.unified(args, what)?;
                self.extreme(name, args)
            }
            ("pg_typeof", [value]) => {
                // The value stays in it, for what it says of grouping.
                let sql = format!("CASE WHEN 1 THEN '{}' ELSE {} END", value.ty.name(), value.sql);
                Ok(Typed::of(sql, Type::Text, &[value]))
            }
            ("to_char" | "to_timestamp" | "to_date" | "to_number", _) => {
                Err(EngineError::refused(format!("{name}()"))
                    .hint("Times are texts already; round() and ::text show numbers."))
            }
            _ => match self.row_array(name, args.clone())? {
                Some((array, ty)) => in_series(name, &array, ty, place),
                None => self.call(name, args),
            },
        }
    }

    fn extreme(&mut self, name: &str, args: Vec<Typed>) -> Outcome<Typed> {
        let ty = args.first().map_or(Type::Text, |arg| arg.ty);
        if matches!(ty, Type::Bool | Type::Texts | Type::Ints) {
            return Err(EngineError::refused(format!("{name} of {}", ty.name())));
        }
        let value = self.call(name, args)?;
        Ok(value.with(value.sql.clone(), ty))
    }
}

/// The value of a function that returns rows, in a SELECT list: that of the row at hand.
fn in_series(name: &str, array: &Typed, ty: Type, place: Place<'_>) -> Outcome<Typed> {
    let Some(series) = place.series else {
        let message = format!("set-returning function {name}() is not allowed here");
        return Err(EngineError::new("0A000", message).hint("Use it in FROM."));
    };
    if array.has_aggregate || array.has_window {
        return Err(EngineError::refused("a set-returning function over an aggregate"));
    }
    let mut arrays = series.arrays.borrow_mut();
    if !arrays.contains(&array.sql) {
        arrays.push(array.sql.clone());
    }
    let sql = format!("({} ->> {}.key)", array.sql, series.alias);
    Ok(Typed::of(sql, ty, &[array]))
}

fn of(name: &str, args: &[Typed], by_key: bool) -> Typed {
    let text = |arg: &Typed| if by_key { arg.key() } else { arg.sql.clone() };
    let texts: Vec<_> = args.iter().map(text).collect();
    let ty = args.first().map_or(Type::Text, |arg| arg.ty);
    let sql = format!("{name}({})", texts.join(", "));
    Typed::of(sql, ty, &args.iter().collect::<Vec<_>>())
}

fn arguments<'e>(name: &str, args: &'e FunctionArguments) -> Outcome<Arguments<'e>> {
    let mut done = Arguments { exprs: Vec::new(), is_star: false, is_distinct: false, order: &[] };
    let list = match args {
        FunctionArguments::None => return Ok(done),
        FunctionArguments::Subquery(_) => {
            return Err(EngineError::refused(format!("a query as the argument of {name}()")));
        }
        FunctionArguments::List(list) => list,
    };
    done.is_distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
    for clause in &list.clauses {
        match clause {
            FunctionArgumentClause::OrderBy(order) => done.order = order,
            _ => return Err(EngineError::refused(format!("this clause in {name}()"))),
        }
    }
    for arg in &list.args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => done.exprs.push(expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => done.is_star = true,
            _ => return Err(EngineError::refused(format!("this argument of {name}()"))),
        }
    }
    Ok(done)
}

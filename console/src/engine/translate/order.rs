//! Owns ORDER BY: where NULLs stand, and what a number or a name in it means.

use super::selects::List;
use super::{Place, Sub, Translator, Typed, folded};
use crate::engine::error::{EngineError, Outcome};
use crate::engine::scope::Scope;
use crate::engine::types::{NUMERIC_COLLATION, Type};
use sqlparser::ast::{Expr, OrderBy, OrderByExpr, OrderByKind, OrderByOptions, OrderBySort, Value};

/// ORDER BY, translated.
pub(super) struct Order {
    /// Its text, without the words.
    pub(super) sql: String,
    /// Its expressions that are not of the list.
    pub(super) values: Vec<Typed>,
}

impl Translator<'_> {
    /// The ORDER BY of a SELECT.
    pub(super) fn order(
        &mut self,
        order: Option<&OrderBy>,
        list: &List,
        place: Place<'_>,
        distinct: bool,
    ) -> Outcome<Order> {
        let mut done = Order { sql: String::new(), values: Vec::new() };
        let mut keys = Vec::new();
        for item in items(order)? {
            let of_list = place_in_list(&item.expr, &list.names, &list.values)?;
            let key = match of_list {
                Some(at) => output_key(at, list.values[at].ty),
                None => {
                    let value = self.expression(&item.expr, place)?;
                    match list.values.iter().position(|known| known.sql == value.sql) {
                        Some(at) => output_key(at, value.ty),
                        None if distinct => {
                            let message = "for SELECT DISTINCT, ORDER BY expressions must appear \
                                           in select list";
                            return Err(EngineError::new("42P10", message));
                        }
                        None => {
                            // A constant would be taken for a place in the list.
                            let key = format!("({}) || ''", value.sql);
                            let is_constant =
                                value.constant.is_some() || value.sql.parse::<f64>().is_ok();
                            let key = if is_constant { key } else { value.key() };
                            done.values.push(value);
                            key
                        }
                    }
                }
            };
            keys.push(directed(&key, &item.options)?);
        }
        done.sql = keys.join(", ");
        Ok(done)
    }

    /// The ORDER BY of a set operation: it knows the columns of the result alone.
    pub(super) fn ordered(
        &mut self,
        sub: Sub,
        order: Option<&OrderBy>,
        _parent: Option<&Scope<'_>>,
    ) -> Outcome<Sub> {
        let mut keys = Vec::new();
        let names: Vec<_> = sub.columns.iter().map(|(name, _)| name.clone()).collect();
        for item in items(order)? {
            let at = place_in_list(&item.expr, &names, &[])?.ok_or_else(|| {
                EngineError::refused("ORDER BY with an expression after a set operation")
                    .hint("Order by the name or the place of a column.")
            })?;
            keys.push(directed(&output_key(at, sub.columns[at].1), &item.options)?);
        }
        if keys.is_empty() {
            return Ok(sub);
        }
        Ok(Sub { sql: format!("{} ORDER BY {}", sub.sql, keys.join(", ")), ..sub })
    }

    /// The ORDER BY in a window or an aggregate, with its words.
    pub(super) fn inner_order(
        &mut self,
        order: &[OrderByExpr],
        place: Place<'_>,
    ) -> Outcome<(String, Vec<Typed>)> {
        let mut keys = Vec::new();
        let mut values = Vec::new();
        for item in order {
            let value = self.expression(&item.expr, place)?;
            // Here a number is a value and not a place: it orders nothing.
            let is_constant = value.constant.is_some() || value.sql.parse::<f64>().is_ok();
            if !is_constant {
                keys.push(directed(&value.key(), &item.options)?);
                values.push(value);
            }
        }
        if keys.is_empty() {
            return Ok((String::new(), values));
        }
        Ok((format!("ORDER BY {}", keys.join(", ")), values))
    }
}

fn items(order: Option<&OrderBy>) -> Outcome<&[OrderByExpr]> {
    match order {
        None => Ok(&[]),
        Some(OrderBy { kind: OrderByKind::Expressions(items), interpolate: None }) => Ok(items),
        Some(_) => Err(EngineError::refused("this form of ORDER BY")),
    }
}

/// A column of the list, as what to sort by.
fn output_key(at: usize, ty: Type) -> String {
    let collate = match ty {
        Type::Numeric => format!(" COLLATE {NUMERIC_COLLATION}"),
        _ => String::new(),
    };
    format!("o{}{collate}", at + 1)
}

/// With its direction; NULLs are largest, as in PostgreSQL.
fn directed(key: &str, options: &OrderByOptions) -> Outcome<String> {
    let is_down = match &options.sort {
        None | Some(OrderBySort::Asc) => false,
        Some(OrderBySort::Desc) => true,
        Some(OrderBySort::Using(_)) => return Err(EngineError::refused("ORDER BY … USING")),
    };
    let nulls_first = options.nulls_first.unwrap_or(is_down);
    let direction = if is_down { "DESC" } else { "ASC" };
    Ok(format!("{key} {direction} NULLS {}", if nulls_first { "FIRST" } else { "LAST" }))
}

/// The column of the list that a number or a name is.
fn place_in_list(expr: &Expr, names: &[String], values: &[Typed]) -> Outcome<Option<usize>> {
    match expr {
        Expr::Nested(inner) if !matches!(inner.as_ref(), Expr::Value(_)) => {
            place_in_list(inner, names, values)
        }
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => {
                let at = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                at.filter(|at| *at < names.len()).map(Some).ok_or_else(|| {
                    let message = format!("ORDER BY position {number} is not in select list");
                    EngineError::new("42P10", message)
                })
            }
            _ => Ok(None),
        },
        Expr::Identifier(ident) => {
            let name = folded(ident);
            let mut found = (0..names.len()).filter(|at| names[*at] == name);
            let first = found.next();
            let same = |at: usize| {
                first.and_then(|first| values.get(first)).map(|value| &value.sql)
                    == values.get(at).map(|value| &value.sql)
            };
            if found.any(|at| !same(at)) {
                let message = format!("ORDER BY \"{name}\" is ambiguous");
                return Err(EngineError::new("42702", message));
            }
            Ok(first)
        }
        _ => Ok(None),
    }
}

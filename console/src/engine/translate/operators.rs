//! Owns operators and the forms of comparison.

use super::{Constant, Place, Translator, Typed};
use crate::engine::cell::Cell;
use crate::engine::error::{EngineError, Outcome};
use crate::engine::functions::{AMONG, array_elements};
use crate::engine::types::Type;
use sqlparser::ast::{BinaryOperator, Expr, Query};

impl Translator<'_> {
    /// An operator, or a predicate.
    pub(super) fn operation(&mut self, expr: &Expr, place: Place<'_>) -> Outcome<Typed> {
        match expr {
            Expr::BinaryOp { left, op, right } => {
                let left = self.expression(left, place)?;
                let right = self.expression(right, place)?;
                self.binary(sign(op)?, left, right)
            }
            Expr::IsNull(inner) => self.is(inner, "IS NULL", place),
            Expr::IsNotNull(inner) => self.is(inner, "IS NOT NULL", place),
            Expr::IsTrue(inner) => self.is_bool(inner, "IS 1", place),
            Expr::IsNotTrue(inner) => self.is_bool(inner, "IS NOT 1", place),
            Expr::IsFalse(inner) => self.is_bool(inner, "IS 0", place),
            Expr::IsNotFalse(inner) => self.is_bool(inner, "IS NOT 0", place),
            Expr::IsUnknown(inner) => self.is_bool(inner, "IS NULL", place),
            Expr::IsNotUnknown(inner) => self.is_bool(inner, "IS NOT NULL", place),
            Expr::IsDistinctFrom(left, right) => self.pair(left, "IS NOT", right, place),
            Expr::IsNotDistinctFrom(left, right) => self.pair(left, "IS", right, place),
            Expr::Between { expr, negated, low, high } => {
                let values = [expr, low, high].map(|value| self.expression(value, place));
                let values: Outcome<Vec<_>> = values.into_iter().collect();
                let values = self.unified(values?, "BETWEEN")?;
                let not = if *negated { "NOT " } else { "" };
                let (key, low, high) = (values[0].key(), &values[1].sql, &values[2].sql);
                let sql = format!("({key} {not}BETWEEN {low} AND {high})");
                Ok(Typed::of(sql, Type::Bool, &values.iter().collect::<Vec<_>>()))
            }
            Expr::InList { expr, list, negated } => {
                let mut values = vec![self.expression(expr, place)?];
                for value in list {
                    values.push(self.expression(value, place)?);
                }
                self.among(values, *negated)
            }
            Expr::InSubquery { expr, subquery, negated } => {
                let value = self.expression(expr, place)?;
                self.in_query(value, subquery, *negated, place)
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like("~~", *negated, [expr, pattern], escape_char.as_deref(), place)
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like("~~*", *negated, [expr, pattern], escape_char.as_deref(), place)
            }
            Expr::AnyOp { left, compare_op, right, .. } => {
                self.quantified(left, sign(compare_op)?, right, true, place)
            }
            Expr::AllOp { left, compare_op, right } => {
                self.quantified(left, sign(compare_op)?, right, false, place)
            }
            Expr::Like { negated: false, any: true, expr, pattern, escape_char: None } => {
                self.quantified(expr, "~~", pattern, true, place)
            }
            Expr::ILike { negated: false, any: true, expr, pattern, escape_char: None } => {
                self.quantified(expr, "~~*", pattern, true, place)
            }
            _ => Err(EngineError::refused("this form of an expression")),
        }
    }

    fn is(&mut self, inner: &Expr, what: &str, place: Place<'_>) -> Outcome<Typed> {
        let value = self.expression(inner, place)?;
        let value = self.coerce_unknown(value)?;
        Ok(value.with(format!("({} {what})", value.sql), Type::Bool))
    }

    fn is_bool(&mut self, inner: &Expr, what: &str, place: Place<'_>) -> Outcome<Typed> {
        let value = self.expression(inner, place)?;
        let value = self.condition(value, "IS")?;
        Ok(value.with(format!("({} {what})", value.sql), Type::Bool))
    }

    fn coerce_unknown(&mut self, value: Typed) -> Outcome<Typed> {
        let ty = if value.ty == Type::Unknown { Type::Text } else { value.ty };
        self.coerce(value, ty)
    }

    fn pair(&mut self, left: &Expr, op: &str, right: &Expr, place: Place<'_>) -> Outcome<Typed> {
        let left = self.expression(left, place)?;
        let right = self.expression(right, place)?;
        self.compared(op, left, right)
    }

    /// A comparison of two values of one type.
    pub(super) fn compared(&mut self, op: &str, left: Typed, right: Typed) -> Outcome<Typed> {
        let Some(ty) = left.ty.unify(right.ty) else {
            let (one, other) = (left.ty.name(), right.ty.name());
            let message = format!("operator does not exist: {one} {op} {other}");
            return Err(EngineError::new("42883", message).hint("Add a cast to one side."));
        };
        if ty.is_array() && !matches!(op, "=" | "<>" | "IS" | "IS NOT") {
            return Err(EngineError::refused("ordering of arrays"));
        }
        let ty = if ty == Type::Unknown { Type::Text } else { ty };
        let (left, right) = (self.coerce(left, ty)?, self.coerce(right, ty)?);
        let sql = format!("({} {op} {})", left.key(), right.sql);
        Ok(Typed::of(sql, Type::Bool, &[&left, &right]))
    }

    fn binary(&mut self, op: &str, left: Typed, right: Typed) -> Outcome<Typed> {
        match op {
            "AND" | "OR" => {
                let (left, right) = (self.condition(left, op)?, self.condition(right, op)?);
                let sql = format!("({} {op} {})", left.sql, right.sql);
                Ok(Typed::of(sql, Type::Bool, &[&left, &right]))
            }
            "=" | "<>" | "<" | "<=" | ">" | ">=" => self.compared(op, left, right),
            "!~" | "!~*" | "!~~" | "!~~*" => {
                let found = self.named(&op[1..], vec![left, right])?;
                Ok(found.with(format!("(NOT {})", found.sql), Type::Bool))
            }
            "||" => self.concatenated(left, right),
            _ => self.named(op, vec![left, right]),
        }
    }

    /// `||` takes anything beside a text, and two arrays.
    fn concatenated(&mut self, left: Typed, right: Typed) -> Outcome<Typed> {
        let known = |ty: Type| ty.is_array() || ty == Type::Unknown;
        if (left.ty.is_array() || right.ty.is_array()) && known(left.ty) && known(right.ty) {
            let ty = if left.ty.is_array() { left.ty } else { right.ty };
            let joined = self.named("||", vec![left, right])?;
            return Ok(joined.with(joined.sql.clone(), ty));
        }
        if left.ty.is_array() || right.ty.is_array() {
            return Err(EngineError::refused("joining arrays"));
        }
        let is_text = |value: &Typed| matches!(value.ty, Type::Text | Type::Unknown);
        if !is_text(&left) && !is_text(&right) {
            let (one, other) = (left.ty.name(), right.ty.name());
            let message = format!("operator does not exist: {one} || {other}");
            return Err(EngineError::new("42883", message).hint("Add a cast to text."));
        }
        let (left, right) = (self.as_text(left)?, self.as_text(right)?);
        self.named("||", vec![left, right])
    }

    /// The first value among the others.
    fn among(&mut self, values: Vec<Typed>, negated: bool) -> Outcome<Typed> {
        let values = self.unified(values, "IN")?;
        let Some((value, list)) = values.split_first() else {
            return Err(EngineError::new("42601", "IN has no list"));
        };
        let not = if negated { "NOT " } else { "" };
        let texts: Vec<_> = list.iter().map(|value| value.sql.as_str()).collect();
        let sql = format!("({} {not}IN ({}))", value.key(), texts.join(", "));
        Ok(Typed::of(sql, Type::Bool, &values.iter().collect::<Vec<_>>()))
    }

    fn in_query(
        &mut self,
        value: Typed,
        query: &Query,
        negated: bool,
        place: Place<'_>,
    ) -> Outcome<Typed> {
        let sub = self.query(query, Some(place.scope))?;
        let [(_, ty)] = sub.columns.as_slice() else {
            return Err(EngineError::new("42601", "subquery has too many columns"));
        };
        let Some(both) = value.ty.unify(*ty) else {
            let (one, other) = (value.ty.name(), ty.name());
            let message = format!("operator does not exist: {one} = {other}");
            return Err(EngineError::new("42883", message).hint("Add a cast to one side."));
        };
        let both = if both == Type::Unknown { Type::Text } else { both };
        let value = self.coerce(value, both)?;
        let column = self.coerce(Typed::of("o1".into(), *ty, &[]), both)?;
        let not = if negated { "NOT " } else { "" };
        let sql = format!("({} {not}IN (SELECT {} FROM ({})))", value.key(), column.sql, sub.sql);
        let mut done = Typed::of(sql, Type::Bool, &[&value]);
        done.free.extend(sub.free);
        Ok(done)
    }

    fn like(
        &mut self,
        op: &str,
        negated: bool,
        sides: [&Expr; 2],
        escape: Option<&Expr>,
        place: Place<'_>,
    ) -> Outcome<Typed> {
        let mut args = Vec::new();
        for side in sides {
            args.push(self.expression(side, place)?);
        }
        if let Some(escape) = escape {
            args.push(self.expression(escape, place)?);
        }
        let found = self.named(op, args)?;
        let not = if negated { "NOT " } else { "" };
        Ok(found.with(format!("({not}{})", found.sql), Type::Bool))
    }

    /// `value op ANY (…)` and `value op ALL (…)`
    fn quantified(
        &mut self,
        left: &Expr,
        op: &str,
        right: &Expr,
        any: bool,
        place: Place<'_>,
    ) -> Outcome<Typed> {
        let is_in = (any && op == "=") || (!any && op == "<>");
        let value = self.expression(left, place)?;
        let mut right = right;
        while let Expr::Nested(inner) = right {
            right = inner;
        }
        if let Expr::Subquery(query) = right {
            if is_in {
                return self.in_query(value, query, !any, place);
            }
            return Err(EngineError::refused("this operator with ANY or ALL of a query"));
        }
        if let Expr::Array(array) = right {
            let mut values = vec![value];
            for element in &array.elem {
                values.push(self.expression(element, place)?);
            }
            return self.over(op, values, any, is_in);
        }
        let array = self.expression(right, place)?;
        if let Some(Constant::Text(text)) = &array.constant {
            let elements = array_elements(text).filter(|_| text.trim_start().starts_with('{'));
            let elements = elements.ok_or_else(|| {
                EngineError::new("22P02", format!("malformed array literal: \"{text}\""))
            })?;
            let mut values = vec![value];
            for element in elements {
                let constant = element.map_or(Constant::Null, Constant::Text);
                let value = self.constant(&constant, Type::Unknown)?;
                values.push(value);
            }
            return self.over(op, values, any, is_in);
        }
        if !is_in {
            return Err(EngineError::refused("this operator with ANY or ALL of an array"));
        }
        let value = self.as_text(value)?;
        let found = self.named(AMONG, vec![value, array])?;
        let sql = if any { found.sql.clone() } else { format!("(NOT {})", found.sql) };
        Ok(found.with(sql, Type::Bool))
    }

    /// The first value by an operator with each of the others.
    fn over(&mut self, op: &str, values: Vec<Typed>, any: bool, is_in: bool) -> Outcome<Typed> {
        if values.len() == 1 {
            return Ok(values[0].with(Cell::Int((!any).into()).literal(), Type::Bool));
        }
        if is_in {
            return self.among(values, !any);
        }
        let mut all: Option<Typed> = None;
        for other in values.iter().skip(1) {
            let next = self.binary(op, values[0].clone(), other.clone())?;
            all = Some(match all {
                Some(all) => self.binary(if any { "OR" } else { "AND" }, all, next)?,
                None => next,
            });
        }
        all.ok_or_else(|| EngineError::new("42601", "an array has no elements"))
    }
}

/// An operator's sign, as its function is named.
fn sign(op: &BinaryOperator) -> Outcome<&str> {
    Ok(match op {
        BinaryOperator::PGCustomBinaryOperator(parts) => {
            let sign = parts.last().map_or("", String::as_str);
            let schema = parts.len() < 2 || parts[0] == "pg_catalog";
            return known(sign).filter(|_| schema).ok_or_else(|| refused(op));
        }
        BinaryOperator::PGStartsWith => "^@",
        BinaryOperator::And => "AND",
        BinaryOperator::Or => "OR",
        BinaryOperator::PGExp => "^",
        BinaryOperator::PGBitwiseXor => "#",
        other => return known(&other.to_string()).ok_or_else(|| refused(other)),
    })
}

fn refused(op: &BinaryOperator) -> EngineError {
    EngineError::refused(format!("operator {op}"))
}

fn known(sign: &str) -> Option<&'static str> {
    const SIGNS: &[&str] = &[
        "=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "||", "~", "~*", "!~", "!~*",
        "~~", "~~*", "!~~", "!~~*", "&", "|", "#", "^", "^@",
    ];
    let sign = if sign == "!=" { "<>" } else { sign };
    SIGNS.iter().find(|known| **known == sign).copied()
}

//! Owns expressions: each becomes SQL of SQLite with a type.

use super::{Constant, Free, Place, Translator, Typed, folded, parts};
use crate::engine::cell::Cell;
use crate::engine::error::{EngineError, Outcome};
use crate::engine::functions::{self, ARRAY, ELEMENT, EPOCH};
use crate::engine::types::Type;
use sqlparser::ast::{
    AccessExpr, CaseWhen, CeilFloorKind, DataType, DateTimeField, Expr, Ident, ObjectName, Query,
    Subscript, TrimWhereField, UnaryOperator, Value,
};

/// Collations that compare bytes, as the console does.
const BYTEWISE: &[&str] = &["default", "C", "POSIX", "ucs_basic", "c", "posix"];

impl Translator<'_> {
    /// Any expression.
    pub(super) fn expression(&mut self, expr: &Expr, place: Place<'_>) -> Outcome<Typed> {
        let mut value = self.deeper(|this| this.expression_of(expr, place))?;
        if place.grouping.contains(&value.sql) {
            value.free.retain(|(level, _)| *level != place.scope.level);
        }
        if value.sql.len() > super::SQL_BYTES_MAX {
            return Err(EngineError::new("54001", "statement is too complex"));
        }
        Ok(value)
    }

    fn expression_of(&mut self, expr: &Expr, place: Place<'_>) -> Outcome<Typed> {
        match expr {
            Expr::Identifier(ident) => self.column(ident, place),
            Expr::CompoundIdentifier(idents) => qualified(idents, place),
            Expr::Nested(inner) => self.expression(inner, place),
            Expr::Value(value) => self.value(&value.value),
            Expr::Cast { expr, data_type, format: None, .. } => {
                let value = match expr.as_ref() {
                    // Its digits may be too many for a numeric.
                    Expr::Value(value) if is_float(data_type) => self.digits(&value.value)?,
                    expr => self.expression(expr, place)?,
                };
                self.cast_named(value, data_type)
            }
            Expr::TypedString(typed) => {
                let value = self.value(&typed.value.value)?;
                self.cast_named(value, &typed.data_type)
            }
            Expr::Collate { expr, collation } => self.collated(expr, collation, place),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr, place),
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), place)
            }
            Expr::Exists { subquery, negated } => {
                let sub = self.query(subquery, Some(place.scope))?;
                let not = if *negated { "NOT " } else { "" };
                let sql = format!("({not}EXISTS ({}))", sub.sql);
                Ok(Typed { free: ungrouped(sub.free, place), ..Typed::of(sql, Type::Bool, &[]) })
            }
            Expr::Subquery(query) => self.scalar(query, place),
            Expr::Function(function) => self.function(function, place),
            Expr::Array(array) => {
                let mut elements = Vec::new();
                for element in &array.elem {
                    elements.push(self.expression(element, place)?);
                }
                self.array(elements)
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                self.access(root, access_chain, place)
            }
            _ => self.special(expr, place),
        }
    }

    /// Forms with words of their own.
    fn special(&mut self, expr: &Expr, place: Place<'_>) -> Outcome<Typed> {
        let of = |this: &mut Self, name: &str, args: &[&Expr]| {
            let args: Outcome<Vec<_>> =
                args.iter().map(|arg| this.expression(arg, place)).collect();
            this.call(name, args?)
        };
        match expr {
            Expr::Position { expr, r#in } => of(self, "position", &[r#in, expr]),
            Expr::Substring { expr, substring_from: None, substring_for: Some(count), .. } => {
                let first = Expr::Value(Value::Number("1".into(), false).with_empty_span());
                of(self, "substring", &[expr, &first, count])
            }
            Expr::Substring { expr, substring_from: Some(from), substring_for, .. } => {
                match substring_for {
                    Some(count) => of(self, "substring", &[expr, from, count]),
                    None => of(self, "substring", &[expr, from]),
                }
            }
            Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                of(self, "ceil", &[expr])
            }
            Expr::Floor {
                expr,
                field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime),
            } => of(self, "floor", &[expr]),
            Expr::Trim { expr, trim_where, trim_what, trim_characters } => {
                let name = trim_name(trim_where);
                let characters = trim_characters.as_ref().and_then(|all| all.first());
                match trim_what.as_deref().or(characters) {
                    Some(what) => of(self, name, &[expr, what]),
                    None => of(self, name, &[expr]),
                }
            }
            Expr::Extract { field: DateTimeField::Epoch, expr, .. } => of(self, EPOCH, &[expr]),
            Expr::Extract { .. } => Err(EngineError::refused("extract() of this field")
                .hint("Times are texts: take substr(), or extract(epoch from …).")),
            Expr::Interval(_) | Expr::AtTimeZone { .. } => {
                Err(EngineError::refused("arithmetic of times")
                    .hint("Times are texts: take extract(epoch from …) and count in seconds."))
            }
            Expr::Tuple(_) => Err(EngineError::refused("a row of values here")),
            _ => self.operation(expr, place),
        }
    }

    fn column(&mut self, ident: &Ident, place: Place<'_>) -> Outcome<Typed> {
        let name = folded(ident);
        let at = Some(ident.span.start);
        match place.scope.column(&name) {
            Ok((column, level)) => {
                let free = vec![(level, column.name.clone())];
                Ok(Typed { free, ..Typed::of(column.sql.clone(), column.ty, &[]) })
            }
            Err(error) if place.scope.relation(&name).is_ok() && error.sqlstate == "42703" => {
                Err(EngineError::refused("a whole row as a value").hint("Name its columns."))
            }
            Err(error) => {
                let start = at.and_then(|at| usize::try_from(at.column).ok());
                let on_first_line = at.is_some_and(|at| at.line == 1);
                Err(error.at(start.filter(|start| on_first_line && *start > 0)))
            }
        }
    }

    fn value(&mut self, value: &Value) -> Outcome<Typed> {
        let text = match value {
            Value::Number(digits, _) => return number(digits),
            Value::Boolean(is) => {
                return Ok(Typed::literal(&Cell::Int((*is).into()), Type::Bool));
            }
            Value::Null => {
                let constant = Some(Constant::Null);
                return Ok(Typed { constant, ..Typed::literal(&Cell::Null, Type::Unknown) });
            }
            Value::Placeholder(sign) => return self.parameter(sign),
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::UnicodeStringLiteral(text) => text,
            Value::DollarQuotedString(quoted) => &quoted.value,
            _ => return Err(EngineError::refused("this form of a constant")),
        };
        if text.contains('\0') {
            let message = "invalid byte sequence for encoding \"UTF8\": 0x00";
            return Err(EngineError::new("22021", message));
        }
        let constant = Some(Constant::Text(text.clone()));
        Ok(Typed { constant, ..Typed::literal(&Cell::text(text.as_str()), Type::Unknown) })
    }

    /// A number as text for a cast; any other constant as it is.
    fn digits(&mut self, value: &Value) -> Outcome<Typed> {
        match value {
            Value::Number(digits, _) => self.value(&Value::SingleQuotedString(digits.to_owned())),
            value => self.value(value),
        }
    }

    fn collated(&mut self, expr: &Expr, name: &ObjectName, place: Place<'_>) -> Outcome<Typed> {
        let name = parts(name)?.pop().unwrap_or_default();
        if !BYTEWISE.contains(&name.as_str()) {
            return Err(EngineError::refused(format!("collation \"{name}\""))
                .detail("The console compares text by its bytes, as collation \"C\" does."));
        }
        self.expression(expr, place)
    }

    fn unary(&mut self, op: UnaryOperator, expr: &Expr, place: Place<'_>) -> Outcome<Typed> {
        if let (UnaryOperator::Minus, Expr::Value(value)) = (op, expr)
            && let Value::Number(digits, _) = &value.value
        {
            return number(&format!("-{digits}"));
        }
        let value = self.expression(expr, place)?;
        match op {
            UnaryOperator::Not => {
                let value = self.condition(value, "NOT")?;
                Ok(value.with(format!("(NOT {})", value.sql), Type::Bool))
            }
            UnaryOperator::Plus if value.ty.is_number() => Ok(value),
            UnaryOperator::Minus => self.call("-", vec![value]),
            UnaryOperator::PGAbs => self.call("abs", vec![value]),
            _ => Err(EngineError::refused(format!("operator {op}"))),
        }
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
        place: Place<'_>,
    ) -> Outcome<Typed> {
        let mut results = Vec::new();
        let mut tests = Vec::new();
        for when in conditions {
            results.push(self.expression(&when.result, place)?);
            tests.push(self.expression(&when.condition, place)?);
        }
        if let Some(otherwise) = otherwise {
            results.push(self.expression(otherwise, place)?);
        }
        let operand = match operand {
            Some(operand) => {
                tests.insert(0, self.expression(operand, place)?);
                tests = self.unified(tests, "CASE/WHEN")?;
                Some(tests.remove(0))
            }
            None => {
                let all = tests.into_iter().map(|test| self.condition(test, "CASE/WHEN"));
                tests = all.collect::<Outcome<_>>()?;
                None
            }
        };
        let results = self.unified(results, "CASE")?;
        let mut sql = String::from("CASE");
        if let Some(operand) = &operand {
            sql.push_str(&format!(" {}", operand.key()));
        }
        for (test, result) in tests.iter().zip(&results) {
            sql.push_str(&format!(" WHEN {} THEN {}", test.sql, result.sql));
        }
        if otherwise.is_some() {
            let result = results.last().map_or("NULL", |result| &result.sql);
            sql.push_str(&format!(" ELSE {result}"));
        }
        sql.push_str(" END");
        let ty = results.first().map_or(Type::Text, |result| result.ty);
        let all: Vec<_> = operand.iter().chain(&tests).chain(&results).collect();
        Ok(Typed::of(format!("({sql})"), ty, &all))
    }

    /// `(SELECT …)` as a value.
    fn scalar(&mut self, query: &Query, place: Place<'_>) -> Outcome<Typed> {
        let sub = self.query(query, Some(place.scope))?;
        let [(_, ty)] = sub.columns.as_slice() else {
            return Err(EngineError::new("42601", "subquery must return only one column"));
        };
        let ty = if *ty == Type::Unknown { Type::Text } else { *ty };
        let sql = if sub.is_single {
            format!("({})", sub.sql)
        } else {
            format!("(SELECT a_single(o1) FROM ({}))", sub.sql)
        };
        Ok(Typed { free: ungrouped(sub.free, place), ..Typed::of(sql, ty, &[]) })
    }

    /// `ARRAY(SELECT …)`
    pub(super) fn array_of(&mut self, query: &Query, place: Place<'_>) -> Outcome<Typed> {
        let sub = self.query(query, Some(place.scope))?;
        let [(_, ty)] = sub.columns.as_slice() else {
            return Err(EngineError::new("42601", "subquery must return only one column"));
        };
        let element = self.shown(Typed::of("o1".into(), *ty, &[]))?;
        let sql = format!("(SELECT coalesce(a_array({}), '{{}}') FROM ({}))", element.sql, sub.sql);
        let ty = if matches!(ty, Type::Int4 | Type::Int8 | Type::Oid) {
            Type::Ints
        } else {
            Type::Texts
        };
        Ok(Typed { free: ungrouped(sub.free, place), ..Typed::of(sql, ty, &[]) })
    }

    fn array(&mut self, elements: Vec<Typed>) -> Outcome<Typed> {
        if elements.is_empty() {
            return Ok(Typed::literal(&Cell::text("{}"), Type::Texts));
        }
        let elements = self.unified(elements, "ARRAY")?;
        let whole = |ty| matches!(ty, Type::Int4 | Type::Int8 | Type::Oid);
        let ty = match elements.first().map(|element| element.ty) {
            Some(ty) if whole(ty) => Type::Ints,
            _ => Type::Texts,
        };
        let array = self.call(ARRAY, elements)?;
        Ok(array.with(array.sql.clone(), ty))
    }

    fn access(&mut self, root: &Expr, chain: &[AccessExpr], place: Place<'_>) -> Outcome<Typed> {
        // `a.b[1]` comes as a part of `a`.
        let mut idents: Vec<Ident> = match root {
            Expr::Identifier(ident) => vec![ident.clone()],
            Expr::CompoundIdentifier(idents) => idents.clone(),
            _ => Vec::new(),
        };
        let dots = chain.iter().map_while(|access| match access {
            AccessExpr::Dot(Expr::Identifier(ident)) if !idents.is_empty() => Some(ident.clone()),
            _ => None,
        });
        let dots: Vec<_> = dots.collect();
        let rest = &chain[dots.len()..];
        idents.extend(dots);
        let mut value = match idents.as_slice() {
            [] | [_] => self.expression(root, place)?,
            idents => qualified(idents, place)?,
        };
        for access in rest {
            let AccessExpr::Subscript(Subscript::Index { index }) = access else {
                return Err(EngineError::refused("this form of access to a part of a value"));
            };
            let Some(element) = value.ty.element() else {
                let message = format!("cannot subscript type {}", value.ty.name());
                return Err(EngineError::new("42804", message));
            };
            let index = self.expression(index, place)?;
            let text = self.call(ELEMENT, vec![value, index])?;
            value = self.cast(text, element)?;
        }
        Ok(value)
    }

    /// The place of a function by name, for operators that are functions.
    pub(super) fn named(&mut self, name: &str, args: Vec<Typed>) -> Outcome<Typed> {
        let types: Vec<_> = args.iter().map(|arg| arg.ty).collect();
        let at = functions::choose(name, &types)?;
        self.call_at(at, args)
    }
}

fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float8 | DataType::DoublePrecision | DataType::Double(_))
}

/// What a subquery uses of the queries around, without what this query is grouped by.
pub(super) fn ungrouped(free: Free, place: Place<'_>) -> Free {
    let is_grouped = |name: &str| {
        let columns = place.scope.rels.iter().flat_map(|rel| &rel.columns);
        let mut same = columns.filter(|column| column.name == name).peekable();
        same.peek().is_some() && same.all(|column| place.grouping.contains(&column.sql))
    };
    let level = place.scope.level;
    free.into_iter().filter(|(of, name)| *of != level || !is_grouped(name)).collect()
}

/// The function that TRIM is.
pub(super) fn trim_name(side: &Option<TrimWhereField>) -> &'static str {
    match side {
        Some(TrimWhereField::Leading) => "ltrim",
        Some(TrimWhereField::Trailing) => "rtrim",
        _ => "btrim",
    }
}

fn number(digits: &str) -> Outcome<Typed> {
    if let Ok(whole) = digits.parse::<i64>() {
        let ty = if i32::try_from(whole).is_ok() { Type::Int4 } else { Type::Int8 };
        return Ok(Typed::literal(&Cell::Int(whole), ty));
    }
    let cell = crate::engine::cell::parse(digits, Type::Numeric)?;
    Ok(Typed::literal(&cell, Type::Numeric))
}

fn qualified(idents: &[Ident], place: Place<'_>) -> Outcome<Typed> {
    let names: Vec<_> = idents.iter().map(folded).collect();
    let [.., relation, name] = names.as_slice() else {
        return Err(EngineError::new("42703", "a column has no name"));
    };
    let (column, level) = place.scope.qualified(relation, name)?;
    let free = vec![(level, column.name.clone())];
    Ok(Typed { free, ..Typed::of(column.sql, column.ty, &[]) })
}

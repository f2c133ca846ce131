//! Owns queries: WITH, set operations, VALUES, LIMIT.

use super::{Cte, Place, Sub, Translator, Typed, folded, outputs};
use crate::engine::error::{EngineError, Outcome};
use crate::engine::scope::Scope;
use crate::engine::types::{NUMERIC_COLLATION, Type};
use sqlparser::ast::{
    Expr, LimitClause, Query, SetExpr, SetOperator, SetQuantifier, TableAlias, Values, With,
};

impl Translator<'_> {
    /// A whole query, inside another when there is one.
    pub(super) fn query(&mut self, query: &Query, parent: Option<&Scope<'_>>) -> Outcome<Sub> {
        self.deeper(|this| {
            let known = this.ctes.len();
            let done = this.query_with(query, parent);
            this.ctes.truncate(known);
            done
        })
    }

    fn query_with(&mut self, query: &Query, parent: Option<&Scope<'_>>) -> Outcome<Sub> {
        if !query.locks.is_empty() || query.for_clause.is_some() {
            return Err(EngineError::refused("locking rows"));
        }
        if query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return Err(EngineError::refused("this clause"));
        }
        let with = match &query.with {
            Some(with) => self.with(with, parent)?,
            None => String::new(),
        };
        let mut sub = match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, query.order_by.as_ref(), parent)?,
            body => {
                let sub = self.body(body, parent)?;
                self.ordered(sub, query.order_by.as_ref(), parent)?
            }
        };
        let (limit, is_one) = self.limit(query, parent)?;
        sub.is_single |= is_one;
        sub.sql = format!("{with}{}{limit}", sub.sql);
        Ok(sub)
    }

    fn with(&mut self, with: &With, parent: Option<&Scope<'_>>) -> Outcome<String> {
        let mut parts = Vec::new();
        for cte in &with.cte_tables {
            let name = folded(&cte.alias.name);
            let sql_name = self.name('w');
            let sub = if with.recursive {
                self.recursive(&name, &sql_name, &cte.alias, &cte.query, parent)?
            } else {
                self.query(&cte.query, parent)?
            };
            let columns = renamed(sub.columns, &cte.alias)?;
            let list: Vec<_> = (1..=columns.len()).map(|number| format!("o{number}")).collect();
            parts.push(format!("{sql_name}({}) AS ({})", list.join(", "), sub.sql));
            self.ctes.push(Cte { name, sql_name, columns });
        }
        let recursive = if with.recursive { "RECURSIVE " } else { "" };
        Ok(format!("WITH {recursive}{} ", parts.join(", ")))
    }

    /// A WITH query that may name itself in the second half of its UNION.
    fn recursive(
        &mut self,
        name: &str,
        sql_name: &str,
        alias: &TableAlias,
        query: &Query,
        parent: Option<&Scope<'_>>,
    ) -> Outcome<Sub> {
        let plain =
            query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none();
        let SetExpr::SetOperation { left, op: SetOperator::Union, set_quantifier, right } =
            query.body.as_ref()
        else {
            return self.query(query, parent);
        };
        if !plain {
            return self.query(query, parent);
        }
        let first = self.body(left, parent)?;
        let first = self.with_types(first, None)?;
        let types: Vec<_> = first.columns.iter().map(|(_, ty)| *ty).collect();
        let columns = renamed(first.columns.clone(), alias)?;
        self.ctes.push(Cte { name: name.into(), sql_name: sql_name.into(), columns });
        let SetExpr::Select(select) = right.as_ref() else {
            return Err(EngineError::refused("this form of a recursive query"));
        };
        // SQLite wants the recursive name in the FROM of the very SELECT after UNION.
        self.wanted = Some(types);
        let second = self.select(select, None, parent);
        self.ctes.pop();
        let second = second?;
        let all = if *set_quantifier == SetQuantifier::All { " ALL" } else { "" };
        Ok(Sub {
            sql: format!("{} UNION{all} {}", first.sql, second.sql),
            columns: first.columns,
            free: [first.free, second.free].concat(),
            is_single: false,
        })
    }

    /// A query without ORDER BY and LIMIT, or one in parentheses with them.
    fn body(&mut self, body: &SetExpr, parent: Option<&Scope<'_>>) -> Outcome<Sub> {
        self.deeper(|this| match body {
            SetExpr::Select(select) => this.select(select, None, parent),
            SetExpr::Query(query) => {
                let sub = this.query(query, parent)?;
                Ok(this.wrapped(sub))
            }
            SetExpr::Values(values) => this.values(values, parent),
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                let left = this.body(left, parent)?;
                let right = this.body(right, parent)?;
                this.set_operation(*op, *set_quantifier, left, right)
            }
            SetExpr::Table(_) => {
                Err(EngineError::refused("TABLE inside a query").hint("Use SELECT * FROM."))
            }
            _ => Err(EngineError::refused("writing in a query")
                .hint("SHOW HELP lists the commands of the console.")),
        })
    }

    /// A query as a simple SELECT from it, which can stand anywhere.
    fn wrapped(&mut self, sub: Sub) -> Sub {
        let list: Vec<_> = (1..=sub.columns.len()).map(|number| format!("o{number}")).collect();
        Sub { sql: format!("SELECT {} FROM ({})", list.join(", "), sub.sql), ..sub }
    }

    fn values(&mut self, values: &Values, parent: Option<&Scope<'_>>) -> Outcome<Sub> {
        let scope = Scope::inside(parent);
        let mut rows: Vec<Vec<Typed>> = Vec::new();
        for row in &values.rows {
            let place = Place::plain(&scope, "VALUES");
            let cells: Outcome<Vec<_>> =
                row.content.iter().map(|value| self.expression(value, place)).collect();
            rows.push(cells?);
        }
        let width = rows.first().map_or(0, Vec::len);
        if width == 0 || rows.iter().any(|row| row.len() != width) {
            return Err(EngineError::new("42601", "VALUES lists must all be the same length"));
        }
        let mut types = vec![Type::Unknown; width];
        for (ty, cell) in
            rows.iter().flat_map(|row| types_of(row)).enumerate().map(|(at, ty)| (at % width, ty))
        {
            types[ty] =
                types[ty].unify(cell).ok_or_else(|| unmatched("VALUES", types[ty], cell))?;
        }
        let mut free = Vec::new();
        let mut selects = Vec::new();
        for row in rows {
            let mut list = Vec::new();
            for ((cell, ty), number) in row.into_iter().zip(&types).zip(1..) {
                let ty = if *ty == Type::Unknown { Type::Text } else { *ty };
                let cell = self.coerce(cell, ty)?;
                list.push(format!("{} AS o{number}", cell.sql));
                free.extend(cell.free);
            }
            selects.push(format!("SELECT {}", list.join(", ")));
        }
        let column = |(ty, number): (Type, usize)| {
            let ty = if ty == Type::Unknown { Type::Text } else { ty };
            (format!("column{number}"), ty)
        };
        let is_single = selects.len() == 1;
        let sql = if is_single {
            selects.concat()
        } else {
            let list: Vec<_> = (1..=width).map(|number| format!("o{number}")).collect();
            format!("SELECT {} FROM ({})", list.join(", "), selects.join(" UNION ALL "))
        };
        Ok(Sub { sql, columns: types.into_iter().zip(1..).map(column).collect(), free, is_single })
    }

    fn set_operation(
        &mut self,
        op: SetOperator,
        quantifier: SetQuantifier,
        left: Sub,
        right: Sub,
    ) -> Outcome<Sub> {
        let word = match (op, quantifier) {
            (SetOperator::Union, SetQuantifier::All) => "UNION ALL",
            (SetOperator::Union, SetQuantifier::None | SetQuantifier::Distinct) => "UNION",
            (SetOperator::Intersect, SetQuantifier::None | SetQuantifier::Distinct) => "INTERSECT",
            (SetOperator::Except, SetQuantifier::None | SetQuantifier::Distinct) => "EXCEPT",
            _ => return Err(EngineError::refused("this set operation")),
        };
        if left.columns.len() != right.columns.len() {
            let message = "each query of a set operation must have the same number of columns";
            return Err(EngineError::new("42601", message));
        }
        let mut types = Vec::new();
        for ((_, one), (_, other)) in left.columns.iter().zip(&right.columns) {
            types.push(one.unify(*other).ok_or_else(|| unmatched(word, *one, *other))?);
        }
        let left = self.with_types(left, Some(&types))?;
        let right = self.with_types(right, Some(&types))?;
        let list: Vec<_> = (1..=types.len()).map(|number| format!("o{number}")).collect();
        let list = list.join(", ");
        Ok(Sub {
            sql: format!("SELECT {list} FROM ({} {word} {})", left.sql, right.sql),
            columns: left.columns,
            free: [left.free, right.free].concat(),
            is_single: false,
        })
    }

    /// A query with its columns made of these types; of what they are, with unknown as text,
    /// when none are given.
    fn with_types(&mut self, sub: Sub, types: Option<&[Type]>) -> Outcome<Sub> {
        let alias = self.name('r');
        let mut list = Vec::new();
        let mut columns = Vec::new();
        for (at, (column, (name, from))) in
            outputs(&alias, &sub.columns).into_iter().zip(&sub.columns).enumerate()
        {
            let to = match types {
                Some(types) => types.get(at).copied().ok_or_else(|| {
                    EngineError::new("42601", "both queries must have the same number of columns")
                })?,
                None if *from == Type::Unknown => Type::Text,
                None => *from,
            };
            let value = self.coerce(Typed::of(column.sql, *from, &[]), to)?;
            let collate = match to {
                Type::Numeric => format!(" COLLATE {NUMERIC_COLLATION}"),
                _ => String::new(),
            };
            list.push(format!("{}{collate} AS o{}", value.sql, at + 1));
            columns.push((name.clone(), to));
        }
        let sql = format!("SELECT {} FROM ({}) AS {alias}", list.join(", "), sub.sql);
        Ok(Sub { sql, columns, ..sub })
    }

    /// LIMIT and OFFSET, and whether at most one row is left.
    fn limit(&mut self, query: &Query, parent: Option<&Scope<'_>>) -> Outcome<(String, bool)> {
        let (mut limit, mut offset): (Option<&Expr>, Option<&Expr>) = (None, None);
        match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit: most, offset: from, limit_by }) => {
                if !limit_by.is_empty() {
                    return Err(EngineError::refused("LIMIT BY"));
                }
                limit = most.as_ref();
                offset = from.as_ref().map(|from| &from.value);
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                return Err(EngineError::new("42601", "LIMIT #,# syntax is not supported")
                    .hint("Use separate LIMIT and OFFSET clauses."));
            }
            None => {}
        }
        let mut is_first = false;
        if let Some(fetch) = &query.fetch {
            if fetch.with_ties || fetch.percent || limit.is_some() {
                return Err(EngineError::refused("this form of FETCH"));
            }
            limit = fetch.quantity.as_ref();
            is_first = limit.is_none();
        }
        let scope = Scope::inside(parent);
        let number = |this: &mut Self, value: Option<&Expr>| -> Outcome<Option<String>> {
            let Some(value) = value else { return Ok(None) };
            let value = this.expression(value, Place::plain(&scope, "LIMIT"))?;
            if !value.free.is_empty() {
                let message = "argument of LIMIT must not contain variables";
                return Err(EngineError::new("42P10", message));
            }
            let value = this.coerce(value, Type::Int8)?;
            Ok(Some(this.call("LIMIT", vec![value])?.sql))
        };
        let is_one = is_first || limit.is_some_and(|limit| limit.to_string() == "1");
        let limit = if is_first { Some("1".into()) } else { number(self, limit)? };
        let offset = number(self, offset)?;
        let sql = match (limit, offset) {
            (None, None) => String::new(),
            (Some(limit), None) => format!(" LIMIT coalesce({limit}, -1)"),
            (limit, Some(offset)) => {
                let limit = limit.unwrap_or_else(|| "NULL".into());
                format!(" LIMIT coalesce({limit}, -1) OFFSET coalesce({offset}, 0)")
            }
        };
        Ok((sql, is_one))
    }
}

fn types_of(row: &[Typed]) -> impl Iterator<Item = Type> + '_ {
    row.iter().map(|cell| cell.ty)
}

fn unmatched(what: &str, one: Type, other: Type) -> EngineError {
    let message = format!("{what} types {} and {} cannot be matched", one.name(), other.name());
    EngineError::new("42804", message).hint("Add a cast to one side.")
}

/// Columns under the names an alias gives them.
pub(super) fn renamed(
    mut columns: Vec<(String, Type)>,
    alias: &TableAlias,
) -> Outcome<Vec<(String, Type)>> {
    if alias.columns.len() > columns.len() {
        let message = format!(
            "table \"{}\" has {} columns available but {} columns specified",
            folded(&alias.name),
            columns.len(),
            alias.columns.len()
        );
        return Err(EngineError::new("42P10", message));
    }
    for (column, given) in columns.iter_mut().zip(&alias.columns) {
        column.0 = folded(&given.name);
    }
    Ok(columns)
}

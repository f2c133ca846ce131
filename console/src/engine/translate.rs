//! Owns the translation of a parsed SELECT into SQL of SQLite, with the type of each expression.
//! What SQLite would answer otherwise than PostgreSQL is translated into what answers alike, or
//! refused.

mod aggregates;
mod calls;
mod expressions;
mod from;
mod operators;
mod order;
mod queries;
mod selects;
mod tablefunctions;
mod typenames;
mod windows;

use super::cell::{self, Cell};
use super::error::{EngineError, Outcome};
use super::functions::{self, CAST, FUNCTIONS, Function};
use super::scope::{Col, Scope};
use super::types::{NUMERIC_COLLATION, Reg, Type};
use crate::catalog::Relations;
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Query};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// How deep expressions and queries may lie in each other.
const DEPTH_MAX: usize = 300;
/// Of the SQL made from a statement.
const SQL_BYTES_MAX: usize = 4 << 20;
/// The most a parameter may be numbered.
const PARAMETERS_MAX: usize = 1_000;

/// A statement for SQLite.
#[derive(Debug)]
pub(crate) struct Translated {
    /// Its text.
    pub(crate) sql: String,
    /// Its columns.
    pub(crate) columns: Vec<(String, Type)>,
    /// The types of its parameters; those not used are text.
    pub(crate) parameters: Vec<Type>,
    /// The relations it reads, by their places.
    pub(crate) relations: BTreeSet<usize>,
    /// The functions it calls, by their places.
    pub(crate) functions: BTreeSet<usize>,
}

/// Translates a query, with the types the client gave its parameters.
pub(crate) fn translate(
    query: &Query,
    relations: &Relations,
    declared: &[Option<Type>],
) -> Outcome<Translated> {
    let mut translator = Translator {
        relations,
        parameters: declared.to_vec(),
        used: BTreeSet::new(),
        called: BTreeSet::new(),
        ctes: Vec::new(),
        wanted: None,
        names: 0,
        depth: 0,
    };
    let done = translator.query(query, None)?;
    let text_if_unknown = |ty: Type| if ty == Type::Unknown { Type::Text } else { ty };
    let columns = done.columns.into_iter().map(|(name, ty)| (name, text_if_unknown(ty)));
    let parameters = translator.parameters.into_iter().map(|ty| ty.unwrap_or(Type::Text));
    Ok(Translated {
        sql: done.sql,
        columns: columns.collect(),
        parameters: parameters.collect(),
        relations: translator.used,
        functions: translator.called,
    })
}

/// A constant whose type its surroundings decide.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    Null,
    Text(String),
    Parameter(usize),
}

/// An expression in SQLite's SQL.
#[derive(Debug, Clone)]
pub(crate) struct Typed {
    /// Its text.
    pub(crate) sql: String,
    /// Its type.
    pub(crate) ty: Type,
    /// Set when it is a constant of unknown type.
    pub(crate) constant: Option<Constant>,
    /// The columns in it that stand in no aggregate and are not grouped by, with their levels.
    pub(crate) free: Vec<(usize, String)>,
    /// Whether an aggregate of this level is in it.
    pub(crate) has_aggregate: bool,
    /// Whether a window function of this level is in it.
    pub(crate) has_window: bool,
}

impl Typed {
    /// One that is made of others.
    pub(crate) fn of(sql: String, ty: Type, parts: &[&Typed]) -> Self {
        let mut free: Vec<_> = parts.iter().flat_map(|part| part.free.iter().cloned()).collect();
        free.sort_unstable();
        free.dedup();
        Self {
            sql,
            ty,
            constant: None,
            free,
            has_aggregate: parts.iter().any(|part| part.has_aggregate),
            has_window: parts.iter().any(|part| part.has_window),
        }
    }

    /// A known value.
    pub(crate) fn literal(cell: &Cell, ty: Type) -> Self {
        Self::of(cell.literal(), ty, &[])
    }

    /// The same as a thing to compare or sort by: numerics as numbers.
    pub(crate) fn key(&self) -> String {
        match self.ty {
            Type::Numeric => format!("{} COLLATE {NUMERIC_COLLATION}", self.sql),
            _ => self.sql.clone(),
        }
    }

    fn with(&self, sql: String, ty: Type) -> Self {
        Self::of(sql, ty, &[self])
    }
}

/// A query in SQLite's SQL; its columns are `o1`, `o2`….
#[derive(Debug)]
pub(crate) struct Sub {
    /// Its text.
    pub(crate) sql: String,
    /// The names and types of its columns.
    pub(crate) columns: Vec<(String, Type)>,
    /// The columns of queries around that it uses.
    pub(crate) free: Vec<(usize, String)>,
    /// Whether it surely has no more than one row.
    pub(crate) is_single: bool,
}

/// Where an expression stands.
#[derive(Clone, Copy)]
pub(crate) struct Place<'c> {
    /// The columns it can name.
    pub(crate) scope: &'c Scope<'c>,
    /// The texts of what its query is grouped by.
    pub(crate) grouping: &'c [String],
    /// The clause it stands in, when aggregates are not allowed there.
    pub(crate) no_aggregates: Option<&'static str>,
    /// The same for window functions.
    pub(crate) no_windows: Option<&'static str>,
    /// Where functions that return rows leave their JSON arrays, where they are allowed.
    pub(crate) series: Option<&'c Series>,
}

impl<'c> Place<'c> {
    /// In a clause that has neither aggregates nor windows.
    pub(crate) fn plain(scope: &'c Scope<'c>, clause: &'static str) -> Self {
        Self {
            scope,
            grouping: &[],
            no_aggregates: Some(clause),
            no_windows: Some(clause),
            series: None,
        }
    }
}

/// Functions in a SELECT list that return rows.
pub(crate) struct Series {
    /// The alias of their rows.
    pub(crate) alias: String,
    /// Their JSON arrays.
    pub(crate) arrays: RefCell<Vec<String>>,
}

/// A WITH query that can be named.
struct Cte {
    name: String,
    sql_name: String,
    columns: Vec<(String, Type)>,
}

pub(crate) struct Translator<'t> {
    relations: &'t Relations,
    parameters: Vec<Option<Type>>,
    used: BTreeSet<usize>,
    called: BTreeSet<usize>,
    ctes: Vec<Cte>,
    /// The types of the columns that the next SELECT must have.
    wanted: Option<Vec<Type>>,
    names: usize,
    depth: usize,
}

impl Translator<'_> {
    /// A name nobody has.
    fn name(&mut self, prefix: char) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    /// Runs a step one level deeper, within the limit.
    fn deeper<T>(&mut self, step: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.depth == DEPTH_MAX {
            let message = format!("statement is nested deeper than {DEPTH_MAX} levels");
            return Err(EngineError::new("54001", message));
        }
        self.depth += 1;
        let done = step(self);
        self.depth -= 1;
        done
    }

    /// Calls the function that fits the arguments.
    fn call(&mut self, name: &str, args: Vec<Typed>) -> Outcome<Typed> {
        let types: Vec<_> = args.iter().map(|arg| arg.ty).collect();
        let at = functions::choose(name, &types)?;
        self.call_at(at, args)
    }

    fn call_at(&mut self, at: usize, args: Vec<Typed>) -> Outcome<Typed> {
        let function: Function = FUNCTIONS[at];
        let mut given = Vec::with_capacity(args.len());
        for (place, arg) in args.into_iter().enumerate() {
            let ty = function.arg(place).unwrap_or(Type::Text);
            given.push(if ty == Type::Unknown { self.shown(arg)? } else { self.coerce(arg, ty)? });
        }
        self.called.insert(at);
        let texts: Vec<_> = given.iter().map(|arg| arg.sql.as_str()).collect();
        let sql = format!("f{at}({})", texts.join(", "));
        if sql.len() > SQL_BYTES_MAX {
            return Err(EngineError::new("54001", "statement is too complex"));
        }
        Ok(Typed::of(sql, function.returns, &given.iter().collect::<Vec<_>>()))
    }

    /// As text, in the form of an output column.
    fn shown(&mut self, value: Typed) -> Outcome<Typed> {
        if value.ty == Type::Bool {
            let sql = format!("CASE {} WHEN 1 THEN 't' WHEN 0 THEN 'f' END", value.sql);
            return Ok(value.with(sql, Type::Text));
        }
        self.as_text(value)
    }

    /// As text, by a cast.
    fn as_text(&mut self, value: Typed) -> Outcome<Typed> {
        match value.ty {
            Type::Unknown => self.coerce(value, Type::Text),
            Type::Text => Ok(value),
            Type::Numeric | Type::Texts | Type::Ints => {
                Ok(value.with(value.sql.clone(), Type::Text))
            }
            _ => self.cast(value, Type::Text),
        }
    }

    /// By an explicit cast.
    fn cast(&mut self, value: Typed, to: Type) -> Outcome<Typed> {
        if value.ty == to || value.ty == Type::Unknown {
            return self.coerce(value, to);
        }
        let from = value.ty;
        let found = FUNCTIONS.iter().position(|function| {
            function.name == CAST && function.args == [from] && function.returns == to
        });
        let at = found.ok_or_else(|| {
            let message = format!("cannot cast type {} to {}", from.name(), to.name());
            EngineError::new("42846", message)
        })?;
        self.call_at(at, vec![value])
    }

    /// As PostgreSQL does without a cast.
    fn coerce(&mut self, value: Typed, to: Type) -> Outcome<Typed> {
        match (&value.constant, value.ty) {
            (Some(constant), Type::Unknown) => self.constant(&constant.clone(), to),
            (None, Type::Unknown) if to == Type::Text || to == Type::Unknown => {
                Ok(value.with(value.sql.clone(), to))
            }
            (None, Type::Unknown) => {
                let text = value.with(value.sql.clone(), Type::Text);
                self.cast(text, to)
            }
            (_, from) if from == to => Ok(value),
            (_, from) if from.implicit(to).is_none() => {
                let message = format!("{} cannot be taken for {}", from.name(), to.name());
                Err(EngineError::new("42804", message).hint("Add a cast."))
            }
            (_, Type::Int4 | Type::Int8 | Type::Numeric)
                if matches!(to, Type::Numeric | Type::Float8) =>
            {
                self.cast(value, to)
            }
            _ => Ok(value.with(value.sql.clone(), to)),
        }
    }

    fn constant(&mut self, constant: &Constant, to: Type) -> Outcome<Typed> {
        match constant {
            Constant::Null => Ok(Typed {
                constant: (to == Type::Unknown).then_some(Constant::Null),
                ..Typed::literal(&Cell::Null, to)
            }),
            Constant::Text(text) => {
                let cell = match to {
                    Type::Reg(reg) => Cell::Int(self.relations.oid_of(reg, text)?),
                    _ => cell::parse(text, to)?,
                };
                let constant = (to == Type::Unknown).then(|| constant.clone());
                Ok(Typed { constant, ..Typed::literal(&cell, to) })
            }
            Constant::Parameter(at) => {
                let ty = match to {
                    Type::Unknown => Type::Text,
                    Type::Reg(Reg::Class) => Type::Text,
                    to => to,
                };
                let ty = *self.parameters[*at].get_or_insert(ty);
                let value = Typed::of(format!("?{}", at + 1), ty, &[]);
                match ty.implicit(to) {
                    Some(_) => self.coerce(value, to),
                    None if to == Type::Unknown => Ok(value),
                    None => self.cast(value, to),
                }
            }
        }
    }

    /// A parameter by the text of its sign.
    fn parameter(&mut self, sign: &str) -> Outcome<Typed> {
        let number = sign.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
        let Some(at) = number.filter(|number| (1..=PARAMETERS_MAX).contains(number)) else {
            return Err(EngineError::new("42P02", format!("there is no parameter {sign}")));
        };
        if self.parameters.len() < at {
            self.parameters.resize(at, None);
        }
        let ty = self.parameters[at - 1];
        Ok(Typed {
            constant: ty.is_none().then_some(Constant::Parameter(at - 1)),
            ..Typed::of(format!("?{at}"), ty.unwrap_or(Type::Unknown), &[])
        })
    }

    /// All of one type, as in CASE and comparisons.
    fn unified(&mut self, values: Vec<Typed>, what: &str) -> Outcome<Vec<Typed>> {
        let mut ty = Type::Unknown;
        for value in &values {
            ty = ty.unify(value.ty).ok_or_else(|| {
                let message =
                    format!("{what} types {} and {} cannot be matched", ty.name(), value.ty.name());
                EngineError::new("42804", message).hint("Add a cast to one side.")
            })?;
        }
        let ty = if ty == Type::Unknown { Type::Text } else { ty };
        values.into_iter().map(|value| self.coerce(value, ty)).collect()
    }

    /// A condition.
    fn condition(&mut self, value: Typed, clause: &str) -> Outcome<Typed> {
        if !matches!(value.ty, Type::Bool | Type::Unknown) {
            let ty = value.ty.name();
            let message = format!("argument of {clause} must be type boolean, not type {ty}");
            return Err(EngineError::new("42804", message));
        }
        self.coerce(value, Type::Bool)
    }
}

/// A name as PostgreSQL reads it: lower case unless quoted.
pub(crate) fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The parts of a dotted name.
pub(crate) fn parts(name: &ObjectName) -> Outcome<Vec<String>> {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => Ok(folded(ident)),
        ObjectNamePart::Function(_) => Err(EngineError::refused("this form of a name")),
    };
    name.0.iter().map(part).collect()
}

/// The columns of a relation under an alias, as `alias.o1`….
pub(crate) fn outputs(alias: &str, columns: &[(String, Type)]) -> Vec<Col> {
    let columns = columns.iter().zip(1..);
    let column = |((name, ty), number): (&(String, Type), usize)| Col {
        name: name.clone(),
        ty: *ty,
        sql: format!("{alias}.o{number}"),
    };
    columns.map(column).collect()
}

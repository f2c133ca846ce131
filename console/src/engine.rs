//! Owns SQL over the console's tables: a SELECT in PostgreSQL's dialect is translated (`sqlparser`)
//! and run by SQLite over copies of the tables it names, within limits. What SQLite would answer
//! otherwise than PostgreSQL is made right or refused. It blocks: it is called off the runtimes.

mod aggregates;
pub(crate) mod cell;
mod decimal;
pub(crate) mod error;
pub(crate) mod functions;
mod guard;
mod run;
mod scope;
mod session;
mod translate;
pub(crate) mod types;

use crate::answer::{Answer, OutColumn};
use crate::catalog::{Filling, Relation, Relations};
use crate::schema::Table;
use crate::source::Source;
use crate::tables;
use crate::value::{Kind, Value};
use cell::Cell;
use error::Outcome;
use session::Session;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use translate::Translated;
use types::Type;

pub use error::EngineError;
pub use session::Who;

/// Of the thread a statement is read and run on: the parser and SQLite recurse.
const STACK_BYTES: usize = 32 << 20;

/// What a statement may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Of its text.
    pub text_bytes_max: usize,
    /// Of parentheses and CASE in each other.
    pub nesting_max: usize,
    /// Of operators and keywords.
    pub operators_max: usize,
    /// Of its run.
    pub time: Duration,
    /// Of its answer.
    pub rows_max: usize,
    /// Of its answer.
    pub answer_bytes_max: usize,
    /// Of SQLite, for copies and what is sorted or grouped; of all statements together.
    pub memory_bytes_max: usize,
    /// Of one value.
    pub value_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes_max: 64 << 10,
            nesting_max: 48,
            operators_max: 2_000,
            time: Duration::from_secs(5),
            rows_max: 100_000,
            answer_bytes_max: 64 << 20,
            memory_bytes_max: 128 << 20,
            value_bytes_max: 1 << 20,
        }
    }
}

/// What a statement will answer with, known without running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its columns.
    pub columns: Vec<OutColumn>,
    /// The types of `$1`, `$2`….
    pub parameters: Vec<Kind>,
}

/// Values of parameters, with the types the client gave some of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parameters<'p> {
    /// Those the client gave; none where it left the choice.
    pub types: &'p [Option<Kind>],
    /// The values, in their text form.
    pub values: &'p [Option<String>],
}

/// SQL over a set of tables.
#[derive(Debug)]
pub struct Engine {
    relations: Arc<Relations>,
    limits: Limits,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Engine {
    /// Over all tables of the console.
    pub fn new(limits: Limits) -> Self {
        Self::over(tables::all(), limits)
    }

    /// Over other tables.
    pub fn over(tables: impl Iterator<Item = &'static Table>, limits: Limits) -> Self {
        Self { relations: Arc::new(Relations::new(tables)), limits }
    }

    /// The columns and parameters of a SELECT.
    ///
    /// # Errors
    /// As `select`, but those that only its run shows.
    pub fn describe(&self, sql: &str, types: &[Option<Kind>]) -> Result<Described, EngineError> {
        on_deep_stack(|| {
            let translated = self.translated(sql, types)?;
            let parameters = translated.parameters.iter().map(|ty| ty.kind());
            Ok(Described { columns: columns(&translated), parameters: parameters.collect() })
        })
    }

    /// Runs a SELECT. It blocks for as long as `Limits::time`; `cancel` ends it earlier.
    ///
    /// # Errors
    /// What is wrong with it, what the console refuses, or which limit it met.
    pub fn select(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
        source: &dyn Source,
        who: &Who,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Answer, EngineError> {
        on_deep_stack(|| {
            let translated = self.translated(sql, parameters.types)?;
            let values = values(&translated, parameters.values)?;
            let session = Arc::new(Session {
                who: who.clone(),
                relations: Arc::clone(&self.relations),
                value_bytes_max: self.limits.value_bytes_max,
                failure: Mutex::new(None),
            });
            let copies = translated.relations.iter().map(|at| {
                let relation = &self.relations.all()[*at];
                (*at, relation.columns.len(), self.rows(relation, source, who))
            });
            let copies = copies.collect();
            let rows = run::run(&translated, copies, &values, &session, &self.limits, cancel)?;
            let tag = format!("SELECT {}", rows.len());
            Ok(Answer { columns: columns(&translated), rows, tag })
        })
    }

    fn translated(&self, sql: &str, types: &[Option<Kind>]) -> Outcome<Translated> {
        let query = guard::parse(sql, &self.limits)?;
        let declared: Vec<_> = types.iter().map(|kind| kind.map(Type::of_kind)).collect();
        translate::translate(&query, &self.relations, &declared)
    }

    fn rows(&self, relation: &Relation, source: &dyn Source, who: &Who) -> Vec<Vec<Cell>> {
        let Some(table) = relation.table else {
            return Filling { relations: &self.relations, source, who }.rows(relation);
        };
        let types: Vec<_> = relation.columns.iter().map(|column| column.ty).collect();
        let cells = |row: Vec<Value>| {
            let mut cells: Vec<_> =
                row.into_iter().zip(&types).map(|(value, ty)| cell(value, *ty)).collect();
            cells.resize(types.len(), Cell::Null);
            cells
        };
        source.rows(table).into_iter().map(cells).collect()
    }
}

/// Where recursion over a statement has room.
fn on_deep_stack<T: Send>(work: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("console-sql".into()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work);
        let thread = thread.map_err(|error| {
            EngineError::new("53000", "no thread for the statement").detail(format!("{error}."))
        })?;
        let died = || EngineError::new("XX000", "the console's engine failed");
        thread.join().unwrap_or_else(|_| Err(died()))
    })
}

fn columns(translated: &Translated) -> Vec<OutColumn> {
    let column =
        |(name, ty): &(String, Type)| OutColumn { name: name.as_str().into(), kind: ty.kind() };
    translated.columns.iter().map(column).collect()
}

fn values(translated: &Translated, given: &[Option<String>]) -> Outcome<Vec<Cell>> {
    let types = &translated.parameters;
    if given.len() < types.len() {
        let message = format!(
            "statement has {} parameters, but {} values were given",
            types.len(),
            given.len()
        );
        return Err(EngineError::new("08P01", message));
    }
    let value = |(ty, value): (&Type, &Option<String>)| match value {
        Some(text) => cell::parse(text, *ty),
        None => Ok(Cell::Null),
    };
    types.iter().zip(given).map(value).collect()
}

/// A value of a table in the form of its column's type; what has another form is not shown.
fn cell(value: Value, ty: Type) -> Cell {
    match (value, ty) {
        (Value::Null, _) => Cell::Null,
        (Value::Text(text), Type::Text) => Cell::Text(text.into_string()),
        (value, Type::Text | Type::Numeric) => {
            cell::parse(&value.to_string(), ty).unwrap_or(Cell::Null)
        }
        (Value::Int(number), Type::Int4 | Type::Int8) => Cell::Int(number),
        (Value::Int(number), Type::Float8) => Cell::Real(number as f64),
        (Value::Float(number), Type::Float8) if !number.is_nan() => Cell::Real(number),
        (Value::Bool(is), Type::Bool) => Cell::Int(is.into()),
        (Value::Text(text), _) => cell::parse(&text, ty).unwrap_or(Cell::Null),
        _ => Cell::Null,
    }
}

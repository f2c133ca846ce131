//! Owns SQLite: a database in memory for one statement, with copies of the relations it names,
//! the functions it calls, and limits on time, memory and rows. It reaches no file.

use super::Limits;
use super::aggregates::{self, failed};
use super::cell::Cell;
use super::error::{EngineError, Outcome};
use super::functions::{Call, FUNCTIONS};
use super::session::Session;
use super::translate::Translated;
use super::types::Type;
use crate::value::{Row, Value};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, params_from_iter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Of SQLite's steps, between two looks at the clock.
const STEPS_PER_LOOK: i32 = 1_000;
/// Bytes of a page, of which the limit on memory is counted.
const PAGE_BYTES: usize = 4_096;

/// A relation's rows, by its place.
pub(crate) type Copied = (usize, usize, Vec<Vec<Cell>>);

/// Runs a statement.
pub(crate) fn run(
    translated: &Translated,
    copies: Vec<Copied>,
    parameters: &[Cell],
    session: &Arc<Session>,
    limits: &Limits,
    cancel: &Arc<AtomicBool>,
) -> Outcome<Vec<Row>> {
    let stop = Stop { cancel: Arc::clone(cancel), deadline: Instant::now() + limits.time };
    let explain = |error| explained(error, session, limits, &stop);
    let mut connection = open(limits).map_err(explain)?;
    for (at, width, rows) in copies {
        copy(&mut connection, at, width, rows).map_err(explain)?;
    }
    functions(&connection, translated, session).map_err(explain)?;
    let look = stop.clone();
    connection.progress_handler(STEPS_PER_LOOK, Some(move || look.is_due())).map_err(explain)?;
    connection.authorizer(Some(reading_only)).map_err(explain)?;
    let mut statement = connection.prepare(&translated.sql).map_err(explain)?;
    let given = parameters.iter().take(statement.parameter_count());
    let mut rows = statement.query(params_from_iter(given)).map_err(explain)?;
    let mut answer = Vec::new();
    let mut bytes = 0_usize;
    while let Some(row) = rows.next().map_err(explain)? {
        if answer.len() == limits.rows_max {
            return Err(EngineError::limit(format!(
                "the answer has more than {} rows",
                limits.rows_max
            ))
            .hint("Add LIMIT, or a condition."));
        }
        let mut values = Row::with_capacity(translated.columns.len());
        for (at, (_, ty)) in translated.columns.iter().enumerate() {
            let cell = Cell::of(row.get_ref(at).map_err(explain)?);
            bytes += size_of::<Value>() + cell.str().len();
            values.push(out(cell, *ty, session));
        }
        if bytes > limits.answer_bytes_max {
            let most = limits.answer_bytes_max;
            return Err(EngineError::limit(format!("the answer is longer than {most} bytes")));
        }
        answer.push(values);
    }
    Ok(answer)
}

/// When a statement must end.
#[derive(Clone)]
struct Stop {
    cancel: Arc<AtomicBool>,
    deadline: Instant,
}

impl Stop {
    fn is_due(&self) -> bool {
        self.cancel.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

fn open(limits: &Limits) -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    let pages = limits.memory_bytes_max / PAGE_BYTES;
    connection.execute_batch(&format!(
        "PRAGMA page_size={PAGE_BYTES}; PRAGMA max_page_count={pages}; PRAGMA temp_store=MEMORY; \
         PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA hard_heap_limit={}; \
         PRAGMA trusted_schema=OFF;",
        limits.memory_bytes_max
    ))?;
    let length = i32::try_from(limits.value_bytes_max).unwrap_or(i32::MAX);
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, length.saturating_mul(2)),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, most)?;
    }
    Ok(connection)
}

/// Only reading, calling functions and recursion.
fn reading_only(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select
        | AuthAction::Read { .. }
        | AuthAction::Function { .. }
        | AuthAction::Recursive => Authorization::Allow,
        _ => Authorization::Deny,
    }
}

fn copy(
    connection: &mut Connection,
    at: usize,
    width: usize,
    rows: Vec<Vec<Cell>>,
) -> rusqlite::Result<()> {
    let names: Vec<_> = (1..=width).map(|number| format!("c{number}")).collect();
    let signs = vec!["?"; width].join(", ");
    let transaction = connection.transaction()?;
    transaction.execute_batch(&format!("CREATE TABLE t{at} ({})", names.join(", ")))?;
    let mut insert = transaction.prepare(&format!("INSERT INTO t{at} VALUES ({signs})"))?;
    for row in rows {
        insert.execute(params_from_iter(row))?;
    }
    drop(insert);
    transaction.commit()
}

fn functions(
    connection: &Connection,
    translated: &Translated,
    session: &Arc<Session>,
) -> rusqlite::Result<()> {
    aggregates::register(connection, session)?;
    for at in &translated.functions {
        let function = &FUNCTIONS[*at];
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        let session = Arc::clone(session);
        let run = move |context: &mut Context<'_>| {
            let args: Vec<_> = (0..context.len()).map(|at| Cell::of(context.get_raw(at))).collect();
            if function.is_strict && args.contains(&Cell::Null) {
                return Ok(Cell::Null);
            }
            let call = Call { session: &session, function, args: &args };
            (function.run)(&call).map_err(|error| failed(&session, error))
        };
        connection.create_scalar_function(format!("f{at}").as_str(), -1, flags, run)?;
    }
    Ok(())
}

/// A value as clients see it.
fn out(cell: Cell, ty: Type, session: &Session) -> Value {
    match (cell, ty) {
        (Cell::Null, _) => Value::Null,
        (Cell::Int(number), Type::Bool) => Value::Bool(number != 0),
        (Cell::Int(number), Type::Reg(reg)) => Value::from(session.relations.name_of(reg, number)),
        (Cell::Int(number), Type::Text | Type::Unknown) => Value::from(number.to_string()),
        (Cell::Int(number), _) => Value::Int(number),
        (Cell::Real(number), _) => Value::Float(number),
        (Cell::Text(text), Type::Numeric) => match text.parse() {
            Ok(number) => Value::Int(number),
            Err(_) => Value::from(text),
        },
        (Cell::Text(text), _) => Value::from(text),
    }
}

/// What SQLite's failure means to a client.
fn explained(
    error: rusqlite::Error,
    session: &Session,
    limits: &Limits,
    stop: &Stop,
) -> EngineError {
    if let Some(failure) = session.failed() {
        return failure;
    }
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) if stop.cancel.load(Ordering::Relaxed) => {
            EngineError::new("57014", "canceling statement due to user request")
        }
        Some(ErrorCode::OperationInterrupted) => {
            let seconds = limits.time.as_secs_f32();
            EngineError::new("57014", "canceling statement due to statement timeout")
                .detail(format!("A statement of the console may take {seconds} s."))
        }
        Some(ErrorCode::TooBig) => {
            let most = limits.value_bytes_max;
            EngineError::limit(format!("a value is longer than {most} bytes"))
        }
        Some(ErrorCode::OutOfMemory | ErrorCode::DiskFull) => {
            let most = limits.memory_bytes_max;
            EngineError::limit(format!(
                "the console's statements need more than {most} bytes of memory together"
            ))
        }
        _ if text.contains("integer overflow") => EngineError::new("22003", "bigint out of range"),
        _ => EngineError::refused("this statement")
            .detail(format!("The console's engine says: {text}.")),
    }
}

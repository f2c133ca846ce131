//! Owns who stands in the way: transactions that hold locks on tables, or that a slot waits for.

use crate::connect::Session;
use crate::error::Error;
use crate::tables::Scope;
use std::time::Duration;

/// What became of a try that does not wait for long.
#[derive(Debug)]
pub enum Attempt<T> {
    /// It is done.
    Done(T),
    /// Nothing was done: these stood in the way when it was given up. None are named when they
    /// had ended before anybody looked.
    Blocked(Vec<Blocker>),
}

/// A transaction that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Its server process; `None` for a prepared transaction, which has none.
    pub pid: Option<i32>,
    /// How long it is open.
    pub age: Duration,
    /// Who, and what: user, program and last statement, or the name of a prepared transaction.
    pub what: String,
}

/// Who holds locks on the tables that writers hold.
///
/// # Errors
/// What the server says.
pub async fn of_tables(_session: &Session, _scope: Scope<'_>) -> Result<Vec<Blocker>, Error> {
    Ok(Vec::new())
}

/// Who writes anywhere on the server: what the creation of a slot waits for.
///
/// # Errors
/// What the server says.
pub async fn of_server(_session: &Session) -> Result<Vec<Blocker>, Error> {
    Ok(Vec::new())
}

/// Ends those of them that are open longer; says how many. Prepared transactions stay.
///
/// # Errors
/// What the server says.
pub async fn end(_session: &Session, _who: &[Blocker], _after: Duration) -> Result<usize, Error> {
    Ok(0)
}

/// They, in a sentence for people.
pub fn describe(_who: &[Blocker]) -> String {
    String::new()
}

//! SELECT over a fixture's tables: against answers PostgreSQL gave to the same statements, against
//! the queries real clients send, and against hostile statements.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod answers;
mod clients;
mod fixture;
mod hostile;
mod interface;

//! SELECT over a fixture's tables: against answers PostgreSQL gave to the same statements, against
//! the queries real clients send, and against hostile statements.

mod answers;
mod clients;
mod fixture;
mod hostile;
mod interface;

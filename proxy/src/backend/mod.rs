//! Owns the server side: connecting and logging in to PostgreSQL servers, and cancelling there.

pub mod cancel;
pub mod connect;
pub mod error;
mod login;
mod scram;
pub mod tls;

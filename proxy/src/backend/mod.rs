//! Owns the server side: connecting and logging in to PostgreSQL servers, and cancelling there.

pub mod cancel;
pub mod connect;
pub mod connection;
pub mod error;
pub mod exec;
pub mod key_ring;
mod login;
pub mod prepared;
mod scram;
pub mod tls;

//! `pgmanifold demo`: real PostgreSQL servers on this machine, started, used and removed again.
//! The launcher is also what the end-to-end tests start their clusters with.

pub mod postgres;

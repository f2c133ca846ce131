//! Decides what a SQL statement does and where it goes.
//!
//! Pure: SQL text and catalog facts come in, values that can be printed come out. No sockets, no
//! clock, no async, no environment, no globals; what changes over time is an argument.

pub mod catalog;
pub mod dtx;
pub mod facts;
pub mod fingerprint;
pub mod golden;
pub mod hash;
pub mod hint;
pub mod key;
pub mod lexer;
pub mod ownership;
pub mod plan;
pub mod plan_cache;
pub mod planner;
pub mod route;
pub mod savepoint;
pub mod shape;
pub mod shard_map;
pub mod shard_schema;
pub mod sharding;

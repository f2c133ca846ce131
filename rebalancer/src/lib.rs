//! The rebalancer: moves key ranges between shards, as a process of its own beside the proxies.
//!
//! ```text
//! cli ─► plan ───────────────────────────────► journal (the catalog: map, moves, lease)
//!    └─► engine ─► copy, replicate, verify, fence, barrier ─► shards
//! ```
//!
//! A move is one row of the catalog and the state in it. `engine` reads the state, does its step,
//! and writes the next one; nothing that it would need after a crash is anywhere else. It must not
//! know the proxies: it meets them in the catalog and on the shards only.

pub mod barrier;
pub mod blockers;
pub mod checkpoint;
pub mod cleanup;
pub mod cli;
pub mod config;
pub mod connect;
pub mod copy;
pub mod engine;
pub mod error;
pub mod fence;
pub mod journal;
pub mod plan;
pub mod precheck;
pub mod progress;
pub mod replicas;
pub mod replicate;
pub mod sequences;
pub mod snapshot;
pub mod state;
pub mod status;
pub mod tables;
pub mod throttle;
pub mod verify;

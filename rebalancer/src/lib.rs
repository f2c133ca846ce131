//! The rebalancer: moves key ranges between shards, as a process of its own beside the proxies.
//!
//! This version has the types of a move's plan only. Nothing moves yet, and the binary says so.

pub mod plan;

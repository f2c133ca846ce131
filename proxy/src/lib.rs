//! The proxy: accepts PostgreSQL clients, decides where each request runs, and relays it.

pub mod backend;
pub mod cluster;
pub mod config;
pub mod console;
pub mod demo;
pub mod digest;
pub mod execute;
pub mod frontend;
#[doc(hidden)]
pub mod fuzzing;
pub mod history;
pub mod http;
pub mod metrics;
pub mod notify;
pub mod otlp;
pub mod pool;
pub mod routing;
pub mod server;
pub mod session;
pub mod shard_map;
pub mod telemetry;
pub mod timer;
pub mod two_phase;
pub mod wire;

#[cfg(test)]
mod tests;

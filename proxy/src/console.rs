//! Owns the console's side in the process: who is connected to it, what its tables are filled from,
//! and what its commands do. Their names, columns and SQL are in the crate `pgmanifold-console`.

mod advice;
pub mod commands;
#[cfg(test)]
mod docs;
mod explain;
pub mod session;
mod tables;
mod time;

pub use tables::{CONSOLE, ProcessSource};

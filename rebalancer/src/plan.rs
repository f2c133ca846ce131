//! Owns the planning of moves: which keys go where, so that shards are alike, in as few bytes as
//! can be. What decides is pure; `stats` reads shards, by SELECT only, and nothing here writes.

use pgmanifold_router::shard_map::Keys;

pub mod args;
pub mod balance;
mod dense;
pub mod document;
mod finish;
pub mod narrow;
pub mod parts;
mod run;
mod share;
mod show;
pub mod stats;
pub mod text;
pub mod together;
mod window;

#[cfg(test)]
mod tests;

pub use document::Plan;
pub use run::{make, run};

/// A move that is not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMove {
    /// Name of the distribution.
    pub distribution: String,
    /// Which keys.
    pub keys: Keys,
    /// Who has them.
    pub source: String,
    /// Who is to have them.
    pub target: String,
}

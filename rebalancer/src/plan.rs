//! Owns the planning of moves: which keys go where, so that shards are alike, in as few bytes as
//! can be. It must not touch a shard.

use pgmanifold_router::shard_map::Keys;

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

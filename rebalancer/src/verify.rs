//! Owns the exact comparison of what two shards hold of the same keys, at one moment, while
//! clients go on writing. It must not change a row of anybody's.
//!
//! ```text
//! pair     locks the tables for a moment, so that one snapshot on each side shows the same
//! compare  counts and hashes of sub-ranges in both snapshots; where they differ, the keys
//! command  `verify`: this for all moves, and whether rows of all shards are where they should be
//! ```

mod columns;
pub mod command;
mod compare;
mod narrow;
mod pair;
mod placement;
mod report;

pub use columns::{Unverifiable, unverifiable_columns};
pub use compare::{SUB_RANGES, Scope, compare};
pub use narrow::MAX_KEYS_NAMED;
pub use pair::{Ends, Pair, PairLimits, at_rest, pair};
pub use placement::Placed;
pub use report::{Difference, DifferingKey, Mismatch, Report, TableReport};

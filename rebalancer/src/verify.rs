//! Owns the exact comparison of what two shards hold of the same keys.

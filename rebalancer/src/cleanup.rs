//! Owns the deletion of rows that a shard holds of keys that are not its own.

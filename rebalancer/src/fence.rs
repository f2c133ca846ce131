//! Owns what refuses writes, TRUNCATE and DDL on a shard.

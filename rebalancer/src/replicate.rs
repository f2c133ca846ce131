//! Owns logical replication of keys from one shard to another.

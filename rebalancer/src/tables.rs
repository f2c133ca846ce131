//! Owns what the shards say about the tables of a distribution.

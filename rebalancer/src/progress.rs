//! Owns what a running command shows of its progress.

//! Owns the command `status`.

//! Owns how fast a copy may be.

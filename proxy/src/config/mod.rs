//! Owns the configuration: what may be said in the file, how it is checked, and what it means.

pub mod model;

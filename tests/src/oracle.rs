//! Owns the comparison of a sharded database with one plain server: every statement goes to both,
//! and the answers are equal, or the proxy refused the statement.
//!
//! It must not know how the proxy works. What counts as refused is an error with one of the
//! SQLSTATEs in [`compare::REFUSALS`]; any other difference is a fault.

pub mod answer;
pub mod cases;
pub mod compare;
pub mod generate;
pub mod hunt;
pub mod moves;
pub mod pair;
pub mod request;
pub mod shop;
pub mod tables;

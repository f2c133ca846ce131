//! Owns the comparison of sessions with PostgreSQL itself: every client has a connection through
//! the proxy and one of its own to a twin database, and does the same random steps on both.
//!
//! It must not know how the proxy works. Two outcomes are allowed: the answers are equal, or the
//! proxy refused a construct that stands in [`refusal`] with the SQLSTATE given there.

pub mod crowd;
pub mod member;
pub mod operations;
pub mod refusal;
pub mod request;
pub mod texts;

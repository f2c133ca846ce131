//! Owns the byte layer: streams, frames, the few messages that are written by hand.

pub mod derive;
pub mod error;
pub mod frame;
pub mod link;
pub mod protocol;
pub mod scram;
pub mod stream;
pub mod tls;

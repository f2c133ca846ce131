//! Owns server connections while no session uses them: how many there may be, who waits for one,
//! when they are too old.
//!
//! Why not bb8 here: a task that gives a connection back and asks again is served before those
//! who wait (64 tasks on 8 connections: some were served once in three seconds), and a connect
//! error is only seen when the checkout times out. bb8 carries the control connections.

mod attach;
pub mod budget;
pub mod lease;
pub mod lever;
mod limits;
pub mod manager;
mod pool_core;
pub mod servers;

pub use attach::Attach;
pub use lease::Lease;
pub use lever::{Claim, Lever, Levers};
pub use limits::{PoolLimits, PoolNumbers};
pub use pool_core::{Pool, Slot};

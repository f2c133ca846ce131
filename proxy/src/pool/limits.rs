//! Owns the limits of a pool, and its numbers at a moment.

use crate::config::model::{Database, User};
use std::time::Duration;

/// Limits of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLimits {
    /// Most connections, in use or idle.
    pub size: usize,
    /// Connections kept open when idle.
    pub min_idle: usize,
    /// An idle connection is closed after this time.
    pub idle_timeout: Duration,
    /// A connection older than this (less up to 10 %) is closed when it comes back.
    pub max_lifetime: Duration,
    /// Longest wait for a connection.
    pub checkout_timeout: Duration,
    /// Most prepared statements on one connection.
    pub prepared_statements: usize,
    /// Most who wait.
    pub queue_max: usize,
    /// Connections beyond `size`, for those who have waited `reserve_timeout`.
    pub reserve_size: usize,
    /// See `reserve_size`.
    pub reserve_timeout: Duration,
}

impl PoolLimits {
    /// The limits of a user's pools in a database.
    pub fn new(database: &Database, user: &User) -> Self {
        let size = user.pool_size.unwrap_or(database.pool_size).max(1);
        Self {
            size,
            min_idle: database.min_idle.min(size),
            idle_timeout: database.idle_timeout,
            max_lifetime: database.max_lifetime,
            checkout_timeout: database.checkout_timeout,
            prepared_statements: database.prepared_statements,
            queue_max: database.waiting.queue_max,
            reserve_size: database.waiting.reserve_size,
            reserve_timeout: database.waiting.reserve_timeout,
        }
    }
}

/// What a pool looks like at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolNumbers {
    /// Connections open or being opened.
    pub open: usize,
    /// Idle among them.
    pub idle: usize,
    /// Sessions that wait for one.
    pub waiting: usize,
    /// Being opened among them.
    pub connecting: usize,
    /// How long the first of those who wait has waited.
    pub oldest_wait: Duration,
}

impl PoolNumbers {
    /// Connections lent to sessions.
    pub fn in_use(&self) -> usize {
        self.open.saturating_sub(self.idle + self.connecting)
    }
}

impl std::iter::Sum for PoolNumbers {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        numbers.fold(Self::default(), |sum, next| Self {
            open: sum.open + next.open,
            idle: sum.idle + next.idle,
            connecting: sum.connecting + next.connecting,
            waiting: sum.waiting + next.waiting,
            oldest_wait: sum.oldest_wait.max(next.oldest_wait),
        })
    }
}

//! Owns what others may see of a pool.

use super::Pool;
use crate::config::model::{Database, User};
use std::sync::Arc;
use std::time::Instant;

impl Pool {
    /// The database.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// The user.
    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    /// Numbers of the connections that lie idle, and since when.
    pub fn idle_servers(&self) -> Vec<(u64, Instant)> {
        let inner = self.lock();
        inner.idle.iter().flatten().map(|server| (server.id, server.idle_since)).collect()
    }

    /// True when a reload has replaced the pool: what comes back is closed.
    pub fn closes_all(&self) -> bool {
        self.lock().retired
    }
}

//! Owns what others may see of a pool.

use super::{Pool, Slot};
use crate::backend::connection::ServerInfo;
use crate::config::model::{Database, User};
use std::sync::Arc;
use std::sync::atomic::Ordering;
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

    /// Whether a connection of it is closed when it comes back: a reload has replaced the pool, or
    /// all of them are to be made anew.
    pub fn closes(&self, info: &ServerInfo) -> bool {
        info.generation != self.generation.load(Ordering::Relaxed) || self.lock().retired
    }
}

impl Slot {
    /// Which generation of its pool it belongs to.
    pub fn generation(&self) -> u32 {
        self.generation
    }
}

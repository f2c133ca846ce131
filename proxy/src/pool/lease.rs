//! Owns `Lease`: the right of one session to use one server connection.

use crate::backend::connection::Server;
use crate::metrics::HostMetrics;
use crate::pool::Pool;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A checked-out server connection. Dropped without `give_back`, it closes the connection: that
/// is what must happen to one in an unknown state.
#[derive(Debug)]
pub struct Lease {
    server: Option<Box<Server>>,
    pool: Arc<Pool>,
}

impl Lease {
    pub(super) fn new(server: Box<Server>, pool: Arc<Pool>) -> Self {
        pool.outstanding().fetch_add(1, Ordering::Relaxed);
        Self { server: Some(server), pool }
    }

    /// Index of the host in its shard.
    pub fn host_index(&self) -> usize {
        self.pool.host_index()
    }

    /// The counters of a worker's requests to the host.
    pub fn traffic(&self, worker: usize) -> Option<&Arc<HostMetrics>> {
        self.pool.traffic(worker)
    }

    /// Returns the connection to its pool if it is clean; closes it otherwise.
    pub fn give_back(mut self, worker: usize, now: Instant) {
        if let Some(mut server) = self.server.take().filter(|server| server.is_clean()) {
            // What was not counted is of this session, and no business of the next one.
            server.owed.forget();
            self.pool.put(server, worker, now);
        }
    }
}

impl Deref for Lease {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.server.as_deref().expect("invariant: only give_back and drop take the server")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Server {
        self.server.as_deref_mut().expect("invariant: only give_back and drop take the server")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.outstanding().fetch_sub(1, Ordering::Relaxed);
    }
}

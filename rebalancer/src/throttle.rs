//! Owns how fast work may be: between chunks of a copy and batches of a clean-up it says whether to
//! wait, and why. It must not know what the work is.

use crate::config::Limits;
use crate::connect::Session;
use crate::error::Error;
use std::sync::Arc;

/// A shard's primary that is watched, over a session of the throttle's own.
#[derive(Debug)]
pub struct Watched {
    /// The session.
    pub session: Session,
    /// Name of a replication slot there whose WAL is not to grow beyond its limit.
    pub slot: Option<String>,
}

/// Asked by all workers of a move; cheap to clone. Watching ends with the last clone.
#[derive(Debug, Clone)]
pub struct Throttle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared;

impl Throttle {
    /// Watches these primaries (and their replicas) from now on.
    pub fn start(_limits: &Limits, _watched: Vec<Watched>) -> Self {
        Self { shared: Arc::new(Shared) }
    }

    /// Never makes anybody wait, unless it is told to.
    pub fn unlimited() -> Self {
        Self { shared: Arc::new(Shared) }
    }

    /// To be called after each chunk, with its bytes (0 where they do not count): returns when the
    /// next one may begin.
    ///
    /// # Errors
    /// Too much WAL is kept for the slot; a watched primary cannot be asked any more; somebody has
    /// called [`Throttle::stop`].
    pub async fn pass(&self, _bytes: u64) -> Result<(), Error> {
        let _ = &self.shared;
        Ok(())
    }

    /// Makes everybody wait at the next chunk, or go on.
    pub fn pause(&self, _paused: bool) {}

    /// Everybody ends at the next chunk with this as [`Error::Stopped`].
    pub fn stop(&self, _why: &str) {}

    /// Why somebody waits now.
    pub fn reason(&self) -> Option<String> {
        None
    }

    /// How far the replica is behind that is furthest, in bytes of WAL.
    pub fn replica_lag_bytes(&self) -> Option<u64> {
        None
    }
}

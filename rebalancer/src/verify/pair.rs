//! Owns two snapshots that show the same moment on two shards.

use super::compare::Scope;
use crate::connect::Session;
use crate::error::Error;
use std::time::Duration;

/// Sessions that a pair is made of. All of them are the pair's own.
#[derive(Debug)]
pub struct Ends {
    /// On the leader: holds the locks for a moment.
    pub locker: Session,
    /// On the leader: writes the marker, then has the snapshot.
    pub leader: Session,
    /// On the follower: waits for the marker, then has the snapshot.
    pub follower: Session,
}

/// How long a pair may take, and how long it may keep writers waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairLimits {
    /// One wait for the locks; writers that come meanwhile wait behind it.
    pub lock_timeout: Duration,
    /// Longest wait for the marker while the locks are held, and so the longest that writers wait.
    pub marker_wait: Duration,
    /// Longest wait, without locks, for the follower to be near.
    pub lag_wait: Duration,
    /// Tries before it gives up.
    pub tries: u32,
}

/// Two sessions whose snapshots show the same rows of the compared tables.
#[derive(Debug)]
pub struct Pair {
    /// Who was written to.
    pub leader: Session,
    /// Who follows.
    pub follower: Session,
    /// How long writers were kept waiting.
    pub pause: Duration,
    /// Tries it took.
    pub tries: u32,
}

/// Opens the two snapshots while the follower applies what the leader does: through the
/// replication of the move `id`, which must carry `pgm.marker`.
///
/// # Errors
/// What the servers say; the follower is too far behind, or the locks are not to be had.
pub async fn pair(
    _ends: Ends,
    _scope: &Scope<'_>,
    _id: i64,
    _limits: &PairLimits,
) -> Result<Pair, Error> {
    Err(Error::Refused("not yet".into()))
}

/// Opens the two snapshots where nobody writes to the keys, as behind a fence.
///
/// # Errors
/// What the servers say.
pub async fn at_rest(_leader: Session, _follower: Session) -> Result<Pair, Error> {
    Err(Error::Refused("not yet".into()))
}

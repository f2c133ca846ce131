//! Owns what a cluster tells those who only look at it: positions, which replicas could be read
//! from, and whose own write none of them has. Not for the path of a query: it takes locks.

use super::Cluster;
use super::host::Standing;
use super::samples::{Sample, Samples};
use std::fmt;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

/// A WAL position, as PostgreSQL prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// What a replica must have replayed before it may answer for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    /// The position of the first sample after the write.
    pub lsn: Lsn,
    /// When that sample was asked for.
    pub since: Instant,
}

impl Cluster {
    /// The samples of this generation; locked by the monitor for each probe.
    pub(super) fn history(&self) -> MutexGuard<'_, Samples> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Newest known flushed position of the primary.
    pub fn flushed(&self) -> Option<Lsn> {
        self.history().newest().map(|sample| Lsn(sample.flush))
    }

    /// Whether the host is a replica that may be read from, if it is fresh enough.
    pub fn is_usable(&self, host: usize) -> bool {
        let usable = |host: &super::HostState| {
            host.standing() == Standing::Candidate && !host.breaker.refuses()
        };
        self.hosts.get(host).is_some_and(usable)
    }

    /// Whether a replica keeps up with another cluster or timeline than the primary's.
    pub fn is_strange(&self, host: usize) -> bool {
        self.hosts.get(host).is_some_and(|host| host.standing() == Standing::Strange)
    }

    /// Replicas that may be read from.
    pub fn usable_replicas(&self) -> usize {
        (0..self.hosts.len()).filter(|host| self.is_usable(*host)).count()
    }

    /// Whether no replica that may be read from has replayed a sample after this one; never when
    /// there is none to wait for.
    pub fn is_uncovered(&self, sample: u64, async_commit: bool) -> bool {
        let generation = self.generation();
        let mut usable = self.hosts.iter().enumerate().filter(|(at, _)| self.is_usable(*at));
        let mut any = false;
        let covered = usable.any(|(_, host)| {
            any = true;
            host.covered_sample(generation, async_commit) > sample
        });
        any && !covered
    }

    /// What covers a write made after this sample had started; `None` until the next has ended.
    pub fn awaited(&self, sample: u64, async_commit: bool) -> Option<Awaited> {
        let history = self.history();
        let Sample { flush, insert, started, .. } = *history.after(sample)?;
        Some(Awaited { lsn: Lsn(if async_commit { insert } else { flush }), since: started })
    }
}

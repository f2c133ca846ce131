//! Owns what sessions and monitor share while a server is lost: who waits for one and how they are
//! woken, what was seen of timelines, and how the loss is told to whoever has something running
//! there.

use super::{Cluster, PrimaryState, unpack_view};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::{Notify, watch};

/// How a statement's wait for a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitEnd {
    /// It was given a server.
    Served,
    /// `failover_wait_ms` was over.
    Timeout,
    /// `failover_queue_max` clients waited already.
    QueueFull,
    /// The client cancelled it or left, or the proxy stopped.
    Cancelled,
}

/// Every way a wait may end, with its word in metrics.
pub const WAIT_ENDS: [(WaitEnd, &str); 4] = [
    (WaitEnd::Served, "served"),
    (WaitEnd::Timeout, "timeout"),
    (WaitEnd::QueueFull, "queue_full"),
    (WaitEnd::Cancelled, "cancelled"),
];

/// What a cluster shares for all this.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Counts what may let a waiting statement go on.
    turns: watch::Sender<u64>,
    waiting: AtomicUsize,
    ended: [AtomicU64; WAIT_ENDS.len()],
    /// Told when something that runs on a host is lost.
    on_loss: OnceLock<Arc<Notify>>,
    /// The newest timeline seen, and of which cluster.
    newest: Mutex<(u64, u32)>,
}

/// A client among those who wait; dropping it takes the client out.
#[derive(Debug)]
pub struct Waiting(Arc<Cluster>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.failover.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Cluster {
    /// Takes a place among those who wait for a server, and has the hosts looked at often from now
    /// on; `None` when all places are taken.
    pub fn start_waiting(self: &Arc<Self>) -> Option<Waiting> {
        let limit = self.shard.failover.queue_max;
        let below = |taken: usize| (taken < limit).then_some(taken + 1);
        let places = &self.failover.waiting;
        let before = places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).ok()?;
        if before == 0 {
            self.hosts.iter().for_each(|host| self.ask_probe(host));
        }
        Some(Waiting(Arc::clone(self)))
    }

    /// Clients that wait for a server to be there at all.
    pub fn waiting(&self) -> usize {
        self.failover.waiting.load(Ordering::Relaxed)
    }

    /// Changes whenever a statement that waits may find a server.
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.failover.turns.subscribe()
    }

    /// Counts the end of a wait.
    pub fn wait_ended(&self, end: WaitEnd) {
        self.failover.ended[end as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Waits that ended so.
    pub fn waits_ended(&self, end: WaitEnd) -> u64 {
        self.failover.ended[end as usize].load(Ordering::Relaxed)
    }

    /// Why there is no primary, in a word for metrics; `up` when there is one.
    pub fn primary_word(&self) -> &'static str {
        match unpack_view(self.view.load(Ordering::Relaxed)).1 {
            PrimaryState::Host(_) => "up",
            PrimaryState::NotChecked => "not_checked",
            PrimaryState::None => "missing",
            PrimaryState::Conflict => "conflict",
            PrimaryState::Outdated => "outdated",
            PrimaryState::Foreign => "foreign",
        }
    }

    /// Whether there may be a primary again without anybody deciding anything: it is down, or a
    /// newer one is. Two primaries, or one of another cluster, need a person.
    pub fn primary_may_return(&self) -> bool {
        match unpack_view(self.view.load(Ordering::Relaxed)).1 {
            PrimaryState::Host(_)
            | PrimaryState::NotChecked
            | PrimaryState::None
            | PrimaryState::Outdated => true,
            PrimaryState::Conflict | PrimaryState::Foreign => false,
        }
    }

    /// Has `told` notified from now on when what runs on a host may be lost. The first call counts.
    pub fn on_loss(&self, told: &Arc<Notify>) {
        let _ = self.failover.on_loss.set(Arc::clone(told));
    }

    /// Goes on from what the cluster before it knew, so that a reload forgets no timeline.
    pub fn take_over(&self, old: &Cluster) {
        let (system_id, timeline) = old.newest();
        self.remember(system_id, timeline);
    }

    /// Has every waiting statement look again.
    pub fn turn(&self) {
        self.failover.turns.send_modify(|turns| *turns += 1);
    }

    pub(super) fn tell_loss(&self) {
        if let Some(told) = self.failover.on_loss.get() {
            told.notify_one();
        }
    }

    /// Notes a timeline seen on a host of this cluster.
    pub(super) fn remember(&self, system_id: u64, timeline: u32) {
        let newest = &self.failover.newest;
        let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.0 != system_id {
            *newest = (system_id, timeline);
        }
        newest.1 = newest.1.max(timeline);
    }

    /// The newest timeline seen of this cluster; 0 when none was.
    pub(super) fn remembered(&self, system_id: u64) -> u32 {
        let newest = self.newest();
        if newest.0 == system_id { newest.1 } else { 0 }
    }

    fn newest(&self) -> (u64, u32) {
        *self.failover.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

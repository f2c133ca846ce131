//! Owns what a pool does when an administrator holds its database or its host back: what lies idle
//! is closed, what comes back too, and who waits is sent elsewhere. Who works goes on.

use super::{Inner, Pool, Waiter};
use crate::backend::connection::Server;
use crate::pool::lever::{Claim, held_back};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

impl Pool {
    /// Whether who asks with this right is to wait for the end of a pause.
    pub(super) fn holds_back(&self, claim: Claim) -> bool {
        claim != Claim::Joining && self.lever.is_paused()
    }

    /// Nothing is to lie idle here.
    pub(super) fn keeps_nothing(&self) -> bool {
        self.lever.is_paused() || self.cluster.hosts()[self.host_index].is_drained()
    }

    /// Whether the connection was made before the last `reconnect`.
    pub(super) fn is_outworn(&self, server: &Server) -> bool {
        server.slot.generation != self.generation.load(Ordering::Relaxed)
    }

    /// The database was paused.
    pub fn hold_back(&self) {
        let (idle, sent_back): (_, VecDeque<Waiter>) = {
            let mut inner = self.lock();
            let waiters = std::mem::take(&mut inner.waiters);
            let (joining, others) = waiters.into_iter().partition(|waiter| waiter.joins);
            inner.waiters = joining;
            (inner.take_idle(), others)
        };
        drop(idle);
        if !sent_back.is_empty() && self.lock().waiters.is_empty() {
            self.leave_lines();
        }
        for waiter in sent_back {
            let _ = waiter.hand.send(Err(held_back()));
        }
    }

    /// Closes every connection there is when it comes back, and those that lie idle at once.
    pub fn reconnect(&self) {
        let idle = {
            let mut inner = self.lock();
            self.generation.fetch_add(1, Ordering::Relaxed);
            inner.old = inner.open;
            inner.take_idle()
        };
        drop(idle);
    }

    /// The host was drained: nobody new is to come here.
    pub fn drain(&self) {
        self.reconnect();
        self.turn_away();
    }

    /// Connections that are only waited for to be closed: made before the last `reconnect`, or
    /// all when a reload has replaced the pool.
    pub fn closing(&self) -> usize {
        let inner = self.lock();
        if inner.retired { inner.open } else { inner.old }
    }

    /// A connection, or an attempt to make one, has ended.
    pub(super) fn leave(&self, inner: &mut Inner, generation: u32) {
        inner.open -= 1;
        if generation != self.generation.load(Ordering::Relaxed) {
            inner.old -= 1;
        }
    }
}

impl Inner {
    #[expect(clippy::vec_box, reason = "a connection is moved from hand to hand as it is")]
    pub(super) fn take_idle(&mut self) -> Vec<Vec<Box<Server>>> {
        self.idle.iter_mut().map(std::mem::take).collect()
    }
}

//! Owns the number of logins under way. It is bounded, and the bound hinders nobody who logs in at
//! normal speed: a new connection takes the place of the one that has been at it longest, which
//! under a flood of connections that keep silent is one of those.

use super::Shared;
use crate::metrics::Limit;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// All logins under way, oldest first.
#[derive(Debug, Default)]
pub struct Logins {
    under_way: Mutex<UnderWay>,
    /// Listeners that still accept.
    accepting: AtomicUsize,
}

#[derive(Debug, Default)]
struct UnderWay {
    last: u64,
    /// Dropping the sender ends the login.
    places: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A login's place; dropping it frees the place.
pub(super) struct LoginPlace {
    shared: Arc<Shared>,
    number: u64,
    taken: oneshot::Receiver<()>,
}

impl LoginPlace {
    /// Takes a place, if need be that of the oldest login.
    pub(super) fn enter(shared: &Arc<Shared>) -> Self {
        let most = shared.state().config.general.network.max_logins;
        let (sender, taken) = oneshot::channel();
        let mut under_way = shared.logins.lock();
        let mut evicted = Vec::new();
        while under_way.places.len() >= most
            && let Some((_, oldest)) = under_way.places.pop_first()
        {
            shared.metrics.refused(Limit::Logins);
            evicted.push(oldest);
        }
        under_way.last += 1;
        let number = under_way.last;
        under_way.places.insert(number, sender);
        drop(under_way);
        Self { shared: Arc::clone(shared), number, taken }
    }

    /// Completes when another login needs the place. Cancel safe.
    pub(super) async fn taken(&mut self) {
        let _ = (&mut self.taken).await;
    }
}

impl Drop for LoginPlace {
    fn drop(&mut self) {
        self.shared.logins.lock().places.remove(&self.number);
    }
}

/// A listener that accepts; dropping it says that it has stopped.
pub(super) struct Accepting(Arc<Shared>);

impl Accepting {
    /// Counts a listener.
    pub(super) fn begin(shared: &Arc<Shared>) -> Self {
        shared.logins.accepting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.logins.accepting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Logins {
    /// True when nobody is on the way in and nobody can come any more.
    pub(super) fn are_over(&self) -> bool {
        self.accepting.load(Ordering::Relaxed) == 0 && self.lock().places.is_empty()
    }

    /// Gives up all logins under way.
    pub(super) fn end_all(&self) {
        let places = std::mem::take(&mut self.lock().places);
        drop(places);
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().expect("invariant: no panic under this lock")
    }
}

//! Owns what an administrator has said of a database: paused, disabled. It outlives reloads, as the
//! console's word holds until the console takes it back. It says so to whom it concerns; what
//! follows is the pools' and sessions' own business.

use crate::pool::Pool;
use crate::timer::timeout;
use crate::wire::error::SqlError;
use hashbrown::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// Paused by its name.
const PAUSED: u8 = 1;
/// Paused with all databases.
const PAUSED_WITH_ALL: u8 = 2;
/// Nobody new is let in.
const DISABLED: u8 = 4;

/// Longest time between two looks at what a command waits for; it is told of most changes.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What those are told who ask a pool for a connection while its database is paused. No client
/// sees it.
const HELD_BACK: &str = "the database is paused";

/// With what right somebody asks for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// As everybody.
    Usual,
    /// It has waited through a pause: the limit of the queue is not for the many who do so at once.
    Resumed,
    /// The session holds another server already, and a pause waits for its end.
    Joining,
}

/// What holds for one database.
#[derive(Debug)]
pub struct Lever {
    state: AtomicU8,
    resumed: Notify,
    pools: Mutex<Vec<Weak<Pool>>>,
    /// Told whenever a server connection has ended.
    closed: Arc<Notify>,
}

impl Lever {
    /// No server is to be assigned to a client.
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.state.load(Ordering::Relaxed) & (PAUSED | PAUSED_WITH_ALL) != 0
    }

    /// It was paused by its name, by PAUSE or KILL.
    pub fn is_paused_by_name(&self) -> bool {
        self.state.load(Ordering::Relaxed) & PAUSED != 0
    }

    /// Nobody new is let in.
    pub fn is_disabled(&self) -> bool {
        self.state.load(Ordering::Relaxed) & DISABLED != 0
    }

    /// Lets nobody in any more, or again.
    pub fn set_disabled(&self, disabled: bool) {
        self.set(DISABLED, disabled);
    }

    /// Assigns no server any more: idle connections are closed, and who waits is sent back to wait
    /// for the end of the pause.
    pub fn pause(&self) {
        self.pause_as(PAUSED);
    }

    /// Ends the pause by name. False when there was none.
    pub fn resume(&self) -> bool {
        self.resume_as(PAUSED)
    }

    /// Completes when the database is not paused. Cancel safe.
    pub async fn resumed(&self) {
        loop {
            let mut resumed = pin!(self.resumed.notified());
            // From here on a RESUME is not missed.
            resumed.as_mut().enable();
            if !self.is_paused() {
                return;
            }
            resumed.await;
        }
    }

    /// All pools that are left, also those that a reload has replaced.
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        lock(&self.pools).iter().filter_map(Weak::upgrade).collect()
    }

    /// Adds a pool of the database.
    pub(super) fn join(&self, pool: Weak<Pool>) {
        let mut pools = lock(&self.pools);
        pools.retain(|known| known.strong_count() > 0);
        pools.push(pool);
    }

    /// Notes that a server connection has ended.
    pub(super) fn tell_closed(&self) {
        self.closed.notify_waiters();
    }

    fn pause_as(&self, bit: u8) {
        self.set(bit, true);
        // Whoever looked at the state before has his server, or a place in the queue.
        self.pools().iter().for_each(|pool| pool.hold_back());
    }

    fn resume_as(&self, bit: u8) -> bool {
        let before = self.set(bit, false);
        if !self.is_paused() {
            self.resumed.notify_waiters();
        }
        before & bit != 0
    }

    fn set(&self, bit: u8, on: bool) -> u8 {
        match on {
            true => self.state.fetch_or(bit, Ordering::AcqRel),
            false => self.state.fetch_and(!bit, Ordering::AcqRel),
        }
    }
}

/// The levers of all databases, by name.
#[derive(Debug, Default)]
pub struct Levers {
    known: Mutex<Known>,
    closed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Known {
    levers: HashMap<String, Arc<Lever>>,
    all_paused: bool,
}

impl Levers {
    /// That of a database.
    pub fn of(&self, database: &str) -> Arc<Lever> {
        let mut known = lock(&self.known);
        let state = if known.all_paused { PAUSED_WITH_ALL } else { 0 };
        let new = || {
            Arc::new(Lever {
                state: AtomicU8::new(state),
                resumed: Notify::new(),
                pools: Mutex::default(),
                closed: Arc::clone(&self.closed),
            })
        };
        Arc::clone(known.levers.entry_ref(database).or_insert_with(new))
    }

    /// Those of all databases there were since the start.
    pub fn all(&self) -> Vec<Arc<Lever>> {
        lock(&self.known).levers.values().cloned().collect()
    }

    /// Names of the databases that are paused by name.
    pub fn paused_names(&self) -> Vec<String> {
        let known = lock(&self.known);
        let paused = known.levers.iter().filter(|(_, lever)| lever.is_paused_by_name());
        let mut names: Vec<String> = paused.map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// All databases are paused, those to come too.
    pub fn is_all_paused(&self) -> bool {
        lock(&self.known).all_paused
    }

    /// Pauses all databases. False when they were.
    pub fn pause_all(&self) -> bool {
        let before = std::mem::replace(&mut lock(&self.known).all_paused, true);
        self.all().iter().for_each(|lever| lever.pause_as(PAUSED_WITH_ALL));
        !before
    }

    /// Ends the pause of all; what is paused by name stays so. False when there was none.
    pub fn resume_all(&self) -> bool {
        let before = std::mem::take(&mut lock(&self.known).all_paused);
        for lever in self.all() {
            lever.resume_as(PAUSED_WITH_ALL);
        }
        before
    }

    /// Completes when `done` is true; it is asked each time a server connection has ended, and a
    /// few times a second. Cancel safe.
    pub async fn until(&self, done: impl Fn() -> bool) {
        loop {
            let mut closed = pin!(self.closed.notified());
            closed.as_mut().enable();
            if done() {
                return;
            }
            let _ = timeout(LOOK_INTERVAL, closed).await;
        }
    }
}

pub(super) fn held_back() -> SqlError {
    SqlError::error("57P03", HELD_BACK)
}

/// Whether a pool has sent somebody back to wait for the end of a pause.
pub fn is_held_back(error: &SqlError) -> bool {
    error.message == HELD_BACK
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("invariant: no panic under this lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_pauses_must_end() {
        let levers = Levers::default();
        let one = levers.of("one");
        assert!(levers.pause_all() && !levers.pause_all());
        assert!(levers.of("later").is_paused(), "also what comes later");
        one.pause();
        assert_eq!(levers.paused_names(), ["one"]);
        assert!(levers.resume_all() && !levers.resume_all());
        assert!(one.is_paused() && !levers.of("later").is_paused());
        assert!(one.resume() && !one.resume());
        assert!(!one.is_paused());
    }

    #[tokio::test]
    async fn those_who_wait_are_told() {
        let levers = Arc::new(Levers::default());
        let lever = levers.of("db");
        lever.resumed().await;
        lever.pause();
        let waiting = tokio::spawn({
            let lever = Arc::clone(&lever);
            async move { lever.resumed().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        lever.resume();
        waiting.await.unwrap();
    }
}

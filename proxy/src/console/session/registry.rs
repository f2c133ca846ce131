//! Owns the list of connections to the console: how cancel requests, KILL_CLIENT and the end of the
//! process reach them. They are not in the list of clients, because no limit on clients is to keep
//! an administrator out and no drain waits for one that watches it.

use crate::config::model::User;
use crate::server::Shared;
use crate::wire::link::Link;
use crate::wire::protocol::{CancelKey, Protocol};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};

/// Secret bytes of a cancel key with protocol 3.2; 3.0 has room for four.
const SECRET_BYTES: usize = 32;

/// All connections to the console.
#[derive(Debug, Default)]
pub struct Consoles(Mutex<BTreeMap<u32, Arc<ConsoleHandle>>>);

/// How others see and reach one of them.
#[derive(Debug)]
pub struct ConsoleHandle {
    /// Its number; no client has the same.
    pub id: u32,
    /// Who logged in.
    pub user: Arc<User>,
    /// The name of the console it asked for.
    pub database: String,
    /// The two ends of its connection; the peer's is what a PROXY protocol header has said.
    pub link: Link,
    /// When it logged in.
    pub since: SystemTime,
    key: CancelKey,
    application_name: Mutex<String>,
    busy: AtomicBool,
    prepared: AtomicUsize,
    requested: Mutex<SystemTime>,
    cancel: Notify,
    ended: watch::Sender<bool>,
}

/// A connection in the list; dropping it takes it out.
pub(super) struct Registered {
    shared: Arc<Shared>,
    handle: Arc<ConsoleHandle>,
}

/// Who comes in.
pub(super) struct Newcomer {
    pub(super) user: Arc<User>,
    pub(super) database: String,
    pub(super) link: Link,
    pub(super) protocol: Protocol,
}

impl Registered {
    /// Adds a connection; `None` when there are `limit` already.
    pub(super) fn new(shared: &Arc<Shared>, who: Newcomer, limit: usize) -> Option<Self> {
        let id = shared.clients.new_id();
        let secret_bytes = if who.protocol == Protocol::V3_0 { 4 } else { SECRET_BYTES };
        let secret: [u8; SECRET_BYTES] = rand::random();
        let mut connected = shared.consoles.lock();
        if connected.len() >= limit {
            return None;
        }
        let handle = Arc::new(ConsoleHandle {
            id,
            user: who.user,
            database: who.database,
            link: who.link,
            since: SystemTime::now(),
            key: CancelKey {
                process_id: id,
                secret: SmallVec::from_slice(&secret[..secret_bytes]),
            },
            application_name: Mutex::default(),
            busy: AtomicBool::new(false),
            prepared: AtomicUsize::new(0),
            requested: Mutex::new(SystemTime::now()),
            cancel: Notify::new(),
            ended: watch::Sender::new(false),
        });
        connected.insert(id, Arc::clone(&handle));
        drop(connected);
        Some(Self { shared: Arc::clone(shared), handle })
    }

    /// The connection.
    pub(super) fn handle(&self) -> &Arc<ConsoleHandle> {
        &self.handle
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.consoles.lock().remove(&self.handle.id);
    }
}

impl Consoles {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// All of them, by number.
    pub fn list(&self) -> Vec<Arc<ConsoleHandle>> {
        self.lock().values().cloned().collect()
    }

    /// Cancels what the connection of a key does; false when the key is of none.
    pub fn cancel(&self, key: &CancelKey) -> bool {
        let Some(handle) = self.lock().get(&key.process_id).cloned() else { return false };
        let known = handle.key == *key;
        if known {
            handle.cancel_running();
        }
        known
    }

    /// The connection of this number.
    pub fn find(&self, id: u32) -> Option<Arc<ConsoleHandle>> {
        self.lock().get(&id).cloned()
    }

    /// Closes all of them.
    pub fn end_all(&self) {
        self.lock().values().for_each(|handle| handle.end());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<ConsoleHandle>>> {
        self.0.lock().expect("invariant: no panic under this lock")
    }
}

impl ConsoleHandle {
    /// True while it runs a command.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Name the client gave itself.
    pub fn application_name(&self) -> String {
        self.application_name.lock().expect("invariant: no panic under this lock").clone()
    }

    /// Cancels the command that it runs, if it runs one.
    pub fn cancel_running(&self) {
        self.cancel.notify_waiters();
    }

    /// Closes it.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    pub(super) fn key(&self) -> &CancelKey {
        &self.key
    }

    /// How many statements it has prepared.
    pub fn prepared(&self) -> usize {
        self.prepared.load(Ordering::Relaxed)
    }

    /// When its last command began, or when it logged in.
    pub fn requested_at(&self) -> SystemTime {
        *self.requested.lock().expect("invariant: no panic under this lock")
    }

    pub(super) fn has_prepared(&self, count: usize) {
        self.prepared.store(count, Ordering::Relaxed);
    }

    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
        if busy {
            let mut requested = self.requested.lock().expect("invariant: no panic under this lock");
            *requested = SystemTime::now();
        }
    }

    pub(super) fn set_application_name(&self, name: &str) {
        name.clone_into(
            &mut self.application_name.lock().expect("invariant: no panic under this lock"),
        );
    }

    /// Completes at a cancel request that comes after it was first polled.
    pub(super) fn cancelled(&self) -> Notified<'_> {
        self.cancel.notified()
    }

    /// Completes when the connection is to be closed. Cancel safe.
    pub(super) async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

//! Owns the list of client connections: how a cancel request finds the server of a session, and
//! how sessions are told to end.

mod sight;

pub use sight::{ClientRow, ClientWord, Sight};

use super::own_write::OwnWrite;
use super::peers::SERIAL_BITS;
use super::timeouts::Pulse;
use crate::backend::connection::ServerInfo;
use crate::session::held::SharedReasons;
use crate::wire::protocol::{CancelKey, Protocol};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Instant;
use tokio::sync::Notify;

/// Secret bytes of a cancel key with protocol 3.2; 3.0 has room for four.
const SECRET_BYTES: usize = 32;

/// How a session is to end.
const GO_ON: u8 = 0;
const WHEN_IDLE: u8 = 1;
const NOW: u8 = 2;

/// How others reach a session.
#[derive(Debug)]
pub struct ClientHandle {
    /// Number of the client; the process id it was given.
    pub id: u32,
    /// How it gets on; what its timeouts are taken from.
    pub pulse: Pulse,
    /// What others may see of it.
    pub sight: Sight,
    key: CancelKey,
    lent: Mutex<Lent>,
    /// Wakes the session when it is cancelled while it waits for a server.
    cancelled_waiting: Notify,
    /// The host of the leased server has failed a health check, or was given up.
    server_doubtful: AtomicBool,
    ending: AtomicU8,
    waker: Mutex<Option<Waker>>,
    /// What ties the session to its server.
    pub pins: SharedReasons,
    /// Its last write, while its reads must see it.
    pub last_write: OwnWrite,
}

#[derive(Debug, Default)]
struct Lent {
    server: Option<Arc<ServerInfo>>,
    /// Those of other shards that work at the same statement.
    others: Vec<Arc<ServerInfo>>,
    /// A request waits to be sent.
    waiting: bool,
    /// It was cancelled.
    request_cancelled: bool,
    /// A cancel request was sent to it: it may still arrive, so nobody else may use the server.
    cancelled: bool,
}

impl ClientHandle {
    /// Notes the server the session has leased.
    pub fn lend(&self, server: &Arc<ServerInfo>) {
        server.lent_to.store(self.id, Ordering::Relaxed);
        let mut lent = lock(&self.lent);
        lent.server = Some(Arc::clone(server));
        lent.cancelled = false;
    }

    /// Notes the servers that work at a statement of several shards.
    pub fn lend_all(&self, servers: Vec<Arc<ServerInfo>>) {
        servers.iter().for_each(|server| server.lent_to.store(self.id, Ordering::Relaxed));
        let mut lent = lock(&self.lent);
        let mut servers = servers.into_iter();
        lent.server = servers.next();
        lent.others = servers.collect();
        lent.cancelled = false;
    }

    /// Notes that a cancel request was sent to the leased server at an earlier time.
    pub fn lent_cancelled(&self) {
        lock(&self.lent).cancelled = true;
    }

    /// Notes that a request of the session waits to be sent: for a server, or for the server to be
    /// made ready. A cancel request is meant for it, and not for what the server does meanwhile.
    pub fn wait(&self) {
        lock(&self.lent).waiting = true;
    }

    /// Completes when the waiting request is cancelled. Cancel safe.
    pub async fn wait_cancelled(&self) {
        while !lock(&self.lent).request_cancelled {
            self.cancelled_waiting.notified().await;
        }
    }

    /// Notes that nothing waits any more. True when the request was cancelled while it waited.
    pub fn end_wait(&self) -> bool {
        let mut lent = lock(&self.lent);
        lent.waiting = false;
        std::mem::take(&mut lent.request_cancelled)
    }

    /// Notes that the session has no server any more. True when a cancel request was sent to it.
    pub fn take_back(&self) -> bool {
        let mut lent = lock(&self.lent);
        lent.server = None;
        lent.others = Vec::new();
        std::mem::take(&mut lent.cancelled)
    }

    /// The servers a cancel request must go to. A request that was not sent yet is cancelled here.
    pub fn cancel_targets(&self) -> Vec<Arc<ServerInfo>> {
        let mut lent = lock(&self.lent);
        if lent.waiting {
            lent.request_cancelled = true;
            self.cancelled_waiting.notify_one();
            return Vec::new();
        }
        lent.cancelled |= lent.server.is_some();
        lent.server.iter().chain(&lent.others).cloned().collect()
    }

    /// True when the session is to end as soon as it is idle.
    #[inline]
    pub fn ends_when_idle(&self) -> bool {
        self.ending.load(Ordering::Relaxed) != GO_ON
    }

    /// True when the session is to end whatever it does.
    #[inline]
    pub fn ends_now(&self) -> bool {
        self.ending.load(Ordering::Relaxed) == NOW
    }

    /// Notes how the session is woken when it is to end.
    pub fn wake_with(&self, waker: &Waker) {
        *lock(&self.waker) = Some(waker.clone());
    }

    /// The key the client was given.
    pub fn key(&self) -> &CancelKey {
        &self.key
    }

    /// True once after something was seen of the leased server's host that may concern what runs
    /// there: the session looks for itself.
    #[inline]
    pub fn take_server_doubtful(&self) -> bool {
        self.server_doubtful.load(Ordering::Relaxed)
            && self.server_doubtful.swap(false, Ordering::Relaxed)
    }

    fn end(&self, how: u8) {
        self.ending.fetch_max(how, Ordering::Relaxed);
        self.wake();
    }

    /// Ends the session whatever it does.
    pub fn end_now(&self) {
        self.end(NOW);
    }

    /// Name of the database it logged in to.
    pub fn database(&self) -> &str {
        &self.sight.database
    }

    /// Has the session look at what changed for it.
    pub fn wake(&self) {
        if let Some(waker) = &*lock(&self.waker) {
            waker.wake_by_ref();
        }
    }
}

/// All client connections of the process.
#[derive(Debug, Default)]
pub struct Clients {
    connected: Mutex<HashMap<u32, Arc<ClientHandle>>>,
    last_id: AtomicU32,
    /// What the numbers of this process's clients begin with; zero: nothing.
    tag: AtomicU32,
    /// How sessions that begin now are to end.
    ending: AtomicU8,
    /// Connections by the limit they count towards.
    counters: Mutex<HashMap<String, Arc<AtomicUsize>>>,
}

/// A client in the list; dropping it takes the client out.
pub struct Registration {
    clients: Arc<super::Shared>,
    handle: Arc<ClientHandle>,
}

impl Registration {
    /// Adds a client that has logged in.
    pub fn new(shared: &Arc<super::Shared>, protocol: Protocol, sight: Sight) -> Self {
        let clients = &shared.clients;
        let secret_bytes = if protocol == Protocol::V3_0 { 4 } else { SECRET_BYTES };
        let mut connected = lock(&clients.connected);
        let id = loop {
            let id = clients.next_id();
            if id != 0 && !connected.contains_key(&id) {
                break id;
            }
        };
        let secret: [u8; SECRET_BYTES] = rand::random();
        let key =
            CancelKey { process_id: id, secret: SmallVec::from_slice(&secret[..secret_bytes]) };
        let handle = Arc::new(ClientHandle {
            id,
            pulse: Pulse::default(),
            sight,
            key,
            lent: Mutex::default(),
            cancelled_waiting: Notify::new(),
            server_doubtful: AtomicBool::new(false),
            ending: AtomicU8::new(clients.ending.load(Ordering::Relaxed)),
            waker: Mutex::default(),
            pins: SharedReasons::default(),
            last_write: OwnWrite::default(),
        });
        connected.insert(id, Arc::clone(&handle));
        drop(connected);
        Self { clients: Arc::clone(shared), handle }
    }

    /// The client.
    pub fn handle(&self) -> &Arc<ClientHandle> {
        &self.handle
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.clients.clients.connected).remove(&self.handle.id);
    }
}

impl Clients {
    /// Clients that have logged in.
    pub fn count(&self) -> usize {
        lock(&self.connected).len()
    }

    /// The client of a cancel key; compares secrets in constant time.
    pub fn find(&self, key: &CancelKey) -> Option<Arc<ClientHandle>> {
        let handle = lock(&self.connected).get(&key.process_id).cloned()?;
        (handle.key == *key).then_some(handle)
    }

    /// The client with this number.
    pub fn by_id(&self, id: u32) -> Option<Arc<ClientHandle>> {
        lock(&self.connected).get(&id).cloned()
    }

    /// The clients of a database.
    pub fn of_database(&self, database: &str) -> Vec<Arc<ClientHandle>> {
        let connected = lock(&self.connected);
        connected.values().filter(|handle| handle.database() == database).cloned().collect()
    }

    /// All clients that have logged in, by their number.
    pub fn all(&self) -> Vec<Arc<ClientHandle>> {
        let mut all: Vec<_> = lock(&self.connected).values().cloned().collect();
        all.sort_unstable_by_key(|handle| handle.id);
        all
    }

    /// What can be seen of all clients now, by their number.
    pub fn list(&self) -> Vec<ClientRow> {
        let now = Instant::now();
        self.all().iter().map(|handle| handle.row(now)).collect()
    }

    /// Ends every session when it is idle.
    pub fn end_when_idle(&self) {
        self.end_all(WHEN_IDLE);
    }

    /// Ends every session now.
    pub fn end_now(&self) {
        self.end_all(NOW);
    }

    /// The counter of connections under a limit (`user:app`); it outlives reloads.
    pub fn counter(&self, name: &str) -> Arc<AtomicUsize> {
        Arc::clone(lock(&self.counters).entry_ref(name).or_default())
    }

    /// Tells the sessions whose server is on a host for which `is_doubtful` holds.
    pub fn tell_doubtful(&self, is_doubtful: impl Fn(&ServerInfo) -> bool) {
        for handle in lock(&self.connected).values() {
            if lock(&handle.lent).server.as_ref().is_some_and(|server| is_doubtful(server)) {
                handle.server_doubtful.store(true, Ordering::Relaxed);
                handle.wake();
            }
        }
    }

    /// Calls `look` for every client; it must be quick, for nobody can come or go meanwhile.
    pub(crate) fn for_each(&self, look: impl Fn(&ClientHandle)) {
        lock(&self.connected).values().for_each(|handle| look(handle));
    }

    /// Tells the clients of this process from those of others that share its listeners.
    pub(super) fn set_tag(&self, tag: u32) {
        self.tag.store(tag, Ordering::Relaxed);
    }

    /// See `set_tag`.
    pub(super) fn tag(&self) -> u32 {
        self.tag.load(Ordering::Relaxed)
    }

    /// A number for a connection that is in no list of this process.
    pub fn new_id(&self) -> u32 {
        let connected = lock(&self.connected);
        loop {
            let id = self.next_id();
            if id != 0 && !connected.contains_key(&id) {
                return id;
            }
        }
    }

    fn next_id(&self) -> u32 {
        let serial = self.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        match self.tag() {
            0 => serial & 0x7fff_ffff,
            tag => (tag << SERIAL_BITS) | (serial & ((1 << SERIAL_BITS) - 1)),
        }
    }

    fn end_all(&self, how: u8) {
        self.ending.fetch_max(how, Ordering::Relaxed);
        self.for_each(|handle| handle.end(how));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("invariant: no panic under this lock")
}

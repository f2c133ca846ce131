//! Owns what others may see of a client: who it is, where it comes from, what it does now. What
//! changes is written by its session, and read by whoever shows it.

use super::{ClientHandle, lock};
use crate::config::model::User;
use crate::metrics::ClientState;
use crate::session::settings::Settings;
use crate::wire::link::Link;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Longest application name that is shown, in bytes; PostgreSQL keeps 63.
const APPLICATION_NAME_MAX_BYTES: usize = 63;

/// What is seen of a client without asking its session.
#[derive(Debug)]
pub struct Sight {
    /// Who logged in.
    pub user: Arc<User>,
    /// Name of the database it logged in to.
    pub database: Box<str>,
    /// The two ends of its connection; the peer's is what a PROXY protocol header has said.
    pub link: Link,
    /// When it had logged in.
    pub connected_at: SystemTime,
    /// The same moment, from which `request_us` counts.
    began: Instant,
    /// When its last request began, in microseconds since `began`, and one more; 0: none has.
    request_us: AtomicU64,
    /// How many named statements it has.
    prepared: AtomicU32,
    /// Its parameters.
    settings: Mutex<Arc<Settings>>,
}

impl Sight {
    /// Of a client that has just logged in.
    pub fn new(user: &Arc<User>, database: &str, link: Link, settings: &Arc<Settings>) -> Self {
        Self {
            user: Arc::clone(user),
            database: database.into(),
            link,
            connected_at: SystemTime::now(),
            began: Instant::now(),
            request_us: AtomicU64::new(0),
            prepared: AtomicU32::new(0),
            settings: Mutex::new(Arc::clone(settings)),
        }
    }

    /// A request has begun.
    #[inline]
    pub fn requested(&self, at: Instant) {
        let micros = at.saturating_duration_since(self.began).as_micros() as u64;
        self.request_us.store(micros + 1, Ordering::Relaxed);
    }

    /// The client has so many named statements.
    pub fn has_prepared(&self, count: usize) {
        self.prepared.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// The client has other parameters now.
    pub fn has_set(&self, settings: &Arc<Settings>) {
        *lock(&self.settings) = Arc::clone(settings);
    }

    /// When its last request began.
    pub fn request_at(&self) -> Option<Instant> {
        let micros = self.request_us.load(Ordering::Relaxed).checked_sub(1)?;
        self.began.checked_add(Duration::from_micros(micros))
    }

    fn application_name(&self) -> Box<str> {
        let settings = lock(&self.settings);
        let name = settings.get("application_name").unwrap_or_default();
        name[..name.floor_char_boundary(APPLICATION_NAME_MAX_BYTES)].into()
    }
}

/// What a client does, in PgBouncer's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientWord {
    /// It has a server.
    Active,
    /// It waits for one.
    Waiting,
    /// Neither.
    Idle,
}

impl ClientWord {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            ClientWord::Active => "active",
            ClientWord::Waiting => "waiting",
            ClientWord::Idle => "idle",
        }
    }
}

/// One client at a moment.
#[derive(Debug)]
pub struct ClientRow {
    /// The client.
    pub handle: Arc<ClientHandle>,
    /// What it does.
    pub word: ClientWord,
    /// What its session does.
    pub state: ClientState,
    /// How long it waits for a server.
    pub wait: Duration,
    /// Number of the server it has; of several, of one.
    pub server: Option<u64>,
    /// How many named statements it has.
    pub prepared: u32,
    /// Its `application_name`.
    pub application_name: Box<str>,
    /// The session ends as soon as it is idle.
    pub ends: bool,
}

impl ClientHandle {
    /// What can be seen of the client now.
    pub fn row(self: &Arc<Self>, now: Instant) -> ClientRow {
        let (server, waits) = {
            let lent = lock(&self.lent);
            (lent.server.as_ref().map(|server| server.id), lent.waiting)
        };
        let state = self.pulse.state();
        let word = match server {
            Some(_) => ClientWord::Active,
            None if waits || state == ClientState::Waiting => ClientWord::Waiting,
            None => ClientWord::Idle,
        };
        let began = self.sight.request_at().filter(|_| word == ClientWord::Waiting);
        ClientRow {
            handle: Arc::clone(self),
            word,
            state,
            wait: began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began)),
            server,
            prepared: self.sight.prepared.load(Ordering::Relaxed),
            application_name: self.sight.application_name(),
            ends: self.ends_when_idle(),
        }
    }
}

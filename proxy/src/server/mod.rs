//! Owns the composition of the process: workers, listeners, the control thread, the HTTP port;
//! starting, reloading, draining and stopping them.
//!
//! Threads: one per worker, each with an event loop of its own, on which sessions live and die;
//! `login`, for accepting and authentication; `console`, for its connections and the export of
//! traces; `control`, for monitors, catalog reads and the timeouts of sessions; `http`. A
//! work-stealing runtime would wake a second thread for many of the four system calls a query
//! costs.

mod accept;
pub mod clients;
mod files;
pub mod login;
mod logins;
mod observe;
pub mod orders;
pub mod own_write;
mod peers;
mod signals;
pub mod timeouts;
mod worker;

pub use clients::ClientHandle;
pub use signals::run;
pub use worker::Worker;

use crate::backend::prepared::Interner;
use crate::config::model::{Address, User};
use crate::config::{self, Config};
use crate::console::ProcessSource;
use crate::console::session::Consoles;
use crate::digest;
use crate::history::{self, History};
use crate::http::page::{Facts, Page};
use crate::http::{self, HttpState, Readiness};
use crate::metrics::{Metrics, SourceGuard};
use crate::otlp::{self, Tracer};
use crate::pool::manager::{ShardPools, State, Surroundings, UserPools};
use crate::session::settings::SettingsInterner;
use crate::wire::tls::TlsConfigError;
use arc_swap::ArcSwap;
use clients::Clients;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Period of closing idle connections and opening spare ones.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// Period of looking whether a stopping process may end.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Longest wait for sessions that were told to end at once.
const FORCED_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the proxy could not start or reload.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate or secret cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A thread or event loop cannot be made.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// Something that only a restart can change has changed.
    #[error("a restart is needed to change {0}")]
    NeedsRestart(String),
}

/// What all threads of the process share.
pub struct Shared {
    state: ArcSwap<State>,
    /// All client connections.
    pub clients: Clients,
    /// All connections to the console.
    pub consoles: Consoles,
    /// All logins under way.
    pub logins: logins::Logins,
    /// All prepared statements.
    pub interner: Interner,
    /// All sets of session parameters.
    pub settings: SettingsInterner,
    /// All counters.
    pub metrics: Arc<Metrics>,
    /// What is counted and logged of statements.
    pub statements: digest::Options,
    /// What they were in the last hour.
    pub history: Arc<History>,
    /// Which requests are traced, and their spans.
    pub tracer: Arc<Tracer>,
    loops: OnceLock<Vec<(&'static str, tokio::runtime::Handle)>>,
    max_message_bytes: AtomicUsize,
    draining: AtomicBool,
    workers: usize,
    next_database_id: AtomicUsize,
    /// Name of this process, as people are shown it.
    process_name: Arc<str>,
    /// The same with what tells it from every other process, for the catalog and for shards.
    unique_name: Arc<str>,
    /// Told when something that runs on a host is lost.
    host_lost: Arc<Notify>,
    /// Where monitors and catalog reads run.
    control: tokio::runtime::Handle,
    /// Held while a configuration is taken into use.
    reloading: Mutex<()>,
    /// What the process's main loop is asked to do.
    pub orders: orders::Orders,
}

impl Shared {
    /// What the current configuration has built.
    pub fn state(&self) -> arc_swap::Guard<Arc<State>> {
        self.state.load()
    }

    /// Largest message a client may send.
    pub fn max_message_bytes(&self) -> usize {
        self.max_message_bytes.load(Ordering::Relaxed)
    }

    /// Takes a new configuration into use; see `Proxy::reload`.
    ///
    /// # Errors
    /// As there.
    pub fn reload(self: &Arc<Self>, config: Config) -> Result<(), StartError> {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_into_use(config)
    }

    /// Changes the configuration in use.
    ///
    /// # Errors
    /// What `change` says, and as `reload`.
    pub fn change(
        self: &Arc<Self>,
        change: impl FnOnce(&Config) -> Result<Config, String>,
    ) -> Result<(), String> {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let next = change(&self.state.load().config)?;
        self.take_into_use(next).map_err(|error| error.to_string())
    }

    fn take_into_use(self: &Arc<Self>, config: Config) -> Result<(), StartError> {
        let old = self.state.load_full();
        let needs_restart = config::needs_restart(&old.config, &config);
        if !needs_restart.is_empty() {
            return Err(StartError::NeedsRestart(needs_restart.join(", ")));
        }
        let around = Surroundings {
            control: &self.control,
            workers: self.workers,
            next_database_id: &self.next_database_id,
            process_name: &self.unique_name,
            host_lost: &self.host_lost,
        };
        let next = State::build(config, Some(&old), &around)?;
        let max_message_bytes = next.config.general.max_message_bytes;
        self.max_message_bytes.store(max_message_bytes, Ordering::Relaxed);
        self.tracer.set(next.config.tracing.as_ref());
        self.statements.set(&next.config.general.statements);
        self.state.store(Arc::new(next));
        // Who waits for a server of before looks at those of now.
        old.clusters().for_each(|cluster| cluster.turn());
        warm_secrets(self, &self.control);
        Ok(())
    }

    /// No client is let in any more.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Nobody is logged in to a database, or logs in.
    fn is_deserted(&self) -> bool {
        self.logins.are_over() && self.clients.count() == 0
    }

    /// Ends every session and every login now.
    pub fn end_now(&self) {
        self.logins.end_all();
        self.clients.end_now();
        self.consoles.end_all();
    }

    /// The event loop that console connections live on.
    pub(crate) fn console_loop(&self) -> Option<&tokio::runtime::Handle> {
        let loops = self.loops.get()?;
        loops.iter().find(|(name, _)| *name == "console").map(|(_, handle)| handle)
    }

    /// The current pools of a database and user, unless one of them is gone; of a sharded database
    /// those of its home shard.
    pub fn user_pools(&self, database: &str, user: &Arc<User>) -> Option<Arc<UserPools>> {
        self.state.load().user_pools(database, user, self.workers, &self.metrics)
    }

    /// The same on every shard, by `ShardId`.
    pub fn shard_pools(&self, database: &str, user: &Arc<User>) -> Option<ShardPools> {
        self.state.load().shard_pools(database, user, self.workers, &self.metrics)
    }
}

/// How a stop treats sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Waits for clients to leave, up to `drain_timeout`.
    Drain,
    /// Ends each session when its transaction ends, up to `drain_timeout`.
    AfterTransactions,
    /// Ends all sessions now.
    Now,
}

/// A running proxy. Dropping it stops it at once.
pub struct Proxy {
    shared: Arc<Shared>,
    addresses: Vec<Address>,
    http_address: Option<std::net::SocketAddr>,
    listening: watch::Sender<bool>,
    running: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    _observers: SourceGuard,
}

impl Proxy {
    /// Starts listening and serving.
    ///
    /// # Errors
    /// When an address, certificate or thread cannot be had; nothing is left running then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let ((running, _), (listening, _)) = (watch::channel(true), watch::channel(true));
        let (control, control_thread) = worker::start_control(running.subscribe())?;
        let (entrance, login_thread) = worker::start_login(running.subscribe())?;
        let (console, console_thread) = worker::start_console(running.subscribe())?;
        let (workers, next_database_id) = (config.general.workers, AtomicUsize::new(0));
        let ((process_name, unique_name), host_lost) = (names(&config), Arc::default());
        let around = Surroundings {
            control: &control,
            workers,
            next_database_id: &next_database_id,
            process_name: &unique_name,
            host_lost: &host_lost,
        };
        let state = State::build(config, None, &around)?;
        let config = Arc::clone(&state.config);
        let (tracer, outlet) = Tracer::new(config.tracing.as_ref());
        console.spawn(otlp::run(Arc::clone(&tracer), outlet, Arc::clone(&process_name)));
        let shared = Arc::new(Shared {
            state: ArcSwap::from_pointee(state),
            clients: Clients::default(),
            consoles: Consoles::default(),
            logins: logins::Logins::default(),
            interner: Interner::default(),
            settings: SettingsInterner::default(),
            metrics: Metrics::new(),
            statements: digest::Options::new(&config.general.statements),
            history: Arc::default(),
            tracer,
            loops: OnceLock::new(),
            draining: AtomicBool::new(false),
            max_message_bytes: AtomicUsize::new(config.general.max_message_bytes),
            workers,
            next_database_id,
            process_name,
            unique_name,
            host_lost,
            control: control.clone(),
            reloading: Mutex::default(),
            orders: orders::Orders::default(),
        });
        let listeners = accept::bind_all(&config)?;
        let addresses = listeners.iter().map(accept::Bound::address).collect();
        let mut threads = vec![control_thread, login_thread, console_thread];
        let team = start_team(&shared, &running, &mut threads)?;
        let own = [("control", &control), ("login", &entrance), ("console", &console)];
        let mut loops = own.map(|(name, handle)| (name, handle.clone())).to_vec();
        loops.extend(team.iter().map(|worker| ("worker", worker.handle.clone())));
        let _ = shared.loops.set(loops);
        keep_watch(&shared, team.first());
        let reuse_port = config.general.network.reuse_port;
        pass_cancels_on(&shared, &entrance, reuse_port);
        accept::serve(listeners, team, &entrance, &listening.subscribe(), &shared);
        // A process that gives its addresses up gives up this one too.
        let serving = if reuse_port { &listening } else { &running };
        let http_address = start_http(&config, &shared, serving, &mut threads)?;
        warm_secrets(&shared, &control);
        Ok(Self {
            _observers: observe::register(&shared),
            shared,
            addresses,
            http_address,
            listening,
            running,
            threads,
        })
    }

    /// Where clients can connect; a configured port 0 is shown as the port that was taken.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where the HTTP port listens.
    pub fn http_address(&self) -> Option<std::net::SocketAddr> {
        self.http_address
    }

    /// What all threads share: counters, clients, pools.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes a new configuration into use. Clients, statistics and unchanged pools go on.
    ///
    /// # Errors
    /// When the new configuration cannot be used, or changes what only a restart can; the old one
    /// stays in force then.
    pub fn reload(&self, config: Config) -> Result<(), StartError> {
        self.shared.reload(config)
    }

    /// Stops listening, ends sessions as `mode` says, and waits for all threads. True when no
    /// session had to be cut off.
    pub fn stop(mut self, mode: StopMode) -> bool {
        self.stop_listening();
        self.finish(mode)
    }

    /// Refuses new clients from now on.
    pub fn stop_listening(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        let _ = self.listening.send(false);
    }

    fn finish(&mut self, mode: StopMode) -> bool {
        let drain = self.shared.state.load().config.general.drain_timeout;
        let clients = &self.shared.clients;
        match mode {
            StopMode::Drain => {}
            StopMode::AfterTransactions => clients.end_when_idle(),
            StopMode::Now => self.shared.end_now(),
        }
        let mut clean = true;
        if mode != StopMode::Now {
            clean = self.wait_until(drain, Shared::is_deserted);
            self.shared.end_now();
        }
        let told = |shared: &Shared| shared.is_deserted() && shared.consoles.count() == 0;
        self.wait_until(FORCED_STOP_TIMEOUT, told);
        self.shared.tracer.flush();
        let _ = self.running.send(false);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        clean
    }

    fn wait_until(&self, timeout: Duration, is_over: impl Fn(&Shared) -> bool) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        while !is_over(&self.shared) {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
            std::thread::sleep(STOP_POLL_INTERVAL);
        }
        true
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.stop_listening();
            self.finish(StopMode::Now);
        }
    }
}

/// Starts the workers.
fn start_team(
    shared: &Arc<Shared>,
    running: &watch::Sender<bool>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Vec<Arc<Worker>>, StartError> {
    let mut team = Vec::with_capacity(shared.workers);
    for index in 0..shared.workers {
        let (worker, thread) = worker::start(index, shared, running.subscribe())?;
        team.push(worker);
        threads.push(thread);
    }
    Ok(team)
}

/// Processes with the same addresses pass cancel requests on to one another.
fn pass_cancels_on(shared: &Arc<Shared>, entrance: &tokio::runtime::Handle, reuse_port: bool) {
    if reuse_port && let Some((tag, listener)) = peers::bind() {
        shared.clients.set_tag(tag);
        entrance.spawn(peers::serve(listener, Arc::clone(shared)));
    }
}

/// Starts what looks at clients, pools and counters from time to time.
fn keep_watch(shared: &Arc<Shared>, first: Option<&Arc<Worker>>) {
    let control = &shared.control;
    if let Some(first) = first {
        let host_lost = Arc::clone(&shared.host_lost);
        control.spawn(worker::ask_for_maintenance(Arc::clone(first), host_lost));
    }
    control.spawn(timeouts::watch(Arc::clone(shared)));
    control.spawn(observe::take_averages(Arc::clone(shared)));
    control.spawn(history::keep(Arc::clone(&shared.history), Arc::clone(&shared.metrics)));
}

/// Name of this process for people, and among all that use the same catalog. The second one is
/// never another process's: one that ends may have statements under way while the next one of the
/// same configuration is there. It is ASCII, which is the same in all encodings of servers.
fn names(config: &Config) -> (Arc<str>, Arc<str>) {
    let (process, number) = (std::process::id(), rand::random::<u32>());
    let own = config.general.name.clone();
    let name = own
        .clone()
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let plain = |letter: char| if letter.is_ascii_graphic() { letter } else { '_' };
    let unique: String = name.chars().map(plain).collect();
    let unique: Arc<str> = format!("{unique}:{process}:{number:08x}").into();
    (own.map_or_else(|| Arc::clone(&unique), Arc::from), unique)
}

fn start_http(
    config: &Config,
    shared: &Arc<Shared>,
    serving: &watch::Sender<bool>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Option<std::net::SocketAddr>, StartError> {
    let Some(address) = config.http else { return Ok(None) };
    let failed = |source| StartError::Listen { address: address.to_string(), source };
    let reuse_port = config.general.network.reuse_port;
    let listener = accept::bind_tcp(address, reuse_port).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let (asked, configured) = (Arc::clone(shared), Arc::clone(shared));
    let ready: Arc<Readiness> = Arc::new(move || observe::readiness(&asked));
    let page = Page::new(Facts {
        name: Arc::clone(&shared.process_name),
        source: Arc::new(ProcessSource(Arc::clone(shared))),
        history: Arc::clone(&shared.history),
        ready: Arc::clone(&ready),
        enabled: Arc::new(move || configured.state().config.status_page),
    });
    let metrics = Arc::clone(&shared.metrics);
    let state = HttpState { metrics, ready, page: Some(Arc::new(page)) };
    let stopped = worker::until_false(serving.subscribe());
    threads.push(http::serve(listener, state, stopped)?);
    Ok(Some(bound))
}

/// Derives the keys of clear-text passwords before the first login asks for them.
fn warm_secrets(shared: &Arc<Shared>, control: &tokio::runtime::Handle) {
    let state = shared.state.load_full();
    drop(control.spawn_blocking(move || state.frontends.warm()));
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let clients = self.shared.clients.count();
        f.debug_struct("Proxy")
            .field("addresses", &self.addresses)
            .field("clients", &clients)
            .finish_non_exhaustive()
    }
}

/// Adds one to a counter for as long as it lives, if the counter is below its limit.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes a place; `None` when all are taken.
    pub fn take(counter: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let below = |taken: usize| (taken < limit).then_some(taken + 1);
        counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).ok()?;
        Some(Self(Arc::clone(counter)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

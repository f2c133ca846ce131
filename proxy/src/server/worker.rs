//! Owns threads with event loops: the workers, and the control thread.

use super::{MAINTENANCE_INTERVAL, Shared, login};
use crate::config::model::Host;
use crate::frontend::startup::Peer;
use rustix::process::{getpriority_process, setpriority_process};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, mpsc, watch};

/// Clients on their way to a worker.
const HANDOVER_QUEUE: usize = 1024;

/// Of the thread that lets clients in; 5 halves its share and halves it again.
const LOGIN_NICENESS: i32 = 5;

/// Threads that derive keys and resolve names, for each event loop that needs any.
const BLOCKING_THREADS: usize = 8;

/// A thread on which sessions live.
#[derive(Debug)]
pub struct Worker {
    /// Its number.
    pub index: usize,
    /// Connections it was given that have not ended.
    pub load: Arc<AtomicUsize>,
    handover: mpsc::Sender<Task>,
    pub(super) handle: Handle,
}

/// What a worker is asked to do.
enum Task {
    /// Serve a client.
    Serve(login::Entered),
    /// Close and open server connections that lie idle.
    Maintain,
}

/// A connection that was just accepted.
#[derive(Debug)]
pub(super) struct NewClient {
    pub(super) socket: StdSocket,
    pub(super) peer: Peer,
    pub(super) listener: usize,
}

/// A socket that belongs to no event loop yet.
#[derive(Debug)]
pub(super) enum StdSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Worker {
    /// Hands a client over; waits while the worker's queue is full.
    pub(super) async fn give(&self, client: login::Entered) {
        self.load.fetch_add(1, Ordering::Relaxed);
        if self.handover.send(Task::Serve(client)).await.is_err() {
            self.load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Starts a worker.
pub(super) fn start(
    index: usize,
    shared: &Arc<Shared>,
    running: watch::Receiver<bool>,
) -> io::Result<(Arc<Worker>, JoinHandle<()>)> {
    // No timers: see `crate::timer`.
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let (handover, tasks) = mpsc::channel(HANDOVER_QUEUE);
    let worker = Arc::new(Worker {
        index,
        load: Arc::default(),
        handover,
        handle: runtime.handle().clone(),
    });
    let (shared, this) = (Arc::clone(shared), Arc::clone(&worker));
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        runtime.block_on(async move {
            tokio::select! {
                () = take_tasks(tasks, &this, &shared) => {}
                () = until_false(running) => {}
            }
        });
    })?;
    Ok((worker, thread))
}

async fn take_tasks(mut tasks: mpsc::Receiver<Task>, worker: &Arc<Worker>, shared: &Arc<Shared>) {
    while let Some(task) = tasks.recv().await {
        let client = match task {
            Task::Serve(client) => client,
            Task::Maintain => {
                maintain(shared, worker.index);
                continue;
            }
        };
        let (worker, shared) = (Arc::clone(worker), Arc::clone(shared));
        tokio::spawn(async move {
            let load = Arc::clone(&worker.load);
            if let Some(session) = Box::pin(login::admit(client, worker, shared)).await {
                session.run().await;
            }
            load.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Closes idle server connections, opens spare ones, and tells sessions of hosts that are down.
fn maintain(shared: &Shared, worker: usize) {
    let state = shared.state();
    let doubtful: Vec<_> = state
        .clusters()
        .flat_map(|cluster| cluster.hosts())
        .filter(|host| !host.is_up() || host.is_given_up())
        .map(|host| &host.host)
        .collect();
    let pools = state.all_pools();
    if !doubtful.is_empty() {
        // First the pools: what they lend from now on is not from before.
        for pools in &pools {
            for (host, pool) in pools.cluster.hosts().iter().zip(&pools.pools) {
                if host.is_given_up() {
                    pool.close_idle();
                }
                if !host.is_up() || host.is_given_up() {
                    pool.turn_away();
                }
            }
        }
        let is_doubtful = |host: &Arc<Host>| doubtful.iter().any(|known| Arc::ptr_eq(known, host));
        shared.clients.tell_doubtful(|server| is_doubtful(&server.host));
    }
    for pool in pools.iter().flat_map(|pools| &pools.pools) {
        pool.maintain(worker, Instant::now());
    }
}

/// Asks the first worker to maintain the pools, all the time. The clock ticks on the control
/// thread: with a timer armed, an event loop reads the clock at every turn. A host that is lost is
/// not left to the next tick.
pub(super) async fn ask_for_maintenance(worker: Arc<Worker>, host_lost: Arc<Notify>) {
    let mut ticks = tokio::time::interval(MAINTENANCE_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = host_lost.notified() => {}
        }
        if worker.handover.send(Task::Maintain).await.is_err() {
            return;
        }
    }
}

/// Starts the control thread: monitors, catalog reads, the timeouts of sessions.
pub(super) fn start_control(running: watch::Receiver<bool>) -> io::Result<Loop> {
    start_loop("control", 0, running)
}

/// Starts the thread that lets clients in: accepting, TLS, authentication. It yields to the workers
/// when there is not enough CPU time for both: sessions go before logins.
pub(super) fn start_login(running: watch::Receiver<bool>) -> io::Result<Loop> {
    start_loop("login", LOGIN_NICENESS, running)
}

/// Starts the thread of the console: it yields to the workers, as logins do.
pub(super) fn start_console(running: watch::Receiver<bool>) -> io::Result<Loop> {
    start_loop("console", LOGIN_NICENESS, running)
}

/// A thread with an event loop that runs whatever is spawned on it.
pub(super) type Loop = (Handle, JoinHandle<()>);

fn start_loop(name: &str, niceness: i32, running: watch::Receiver<bool>) -> io::Result<Loop> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
        if niceness > 0 {
            // On Linux this concerns the thread alone. Without it logins are merely quicker.
            let own = getpriority_process(None).unwrap_or(0);
            let _ = setpriority_process(None, own + niceness);
        }
        runtime.block_on(until_false(running));
    })?;
    Ok((handle, thread))
}

/// Completes when the flag is false, or its owner is gone.
pub(super) async fn until_false(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|running| !running).await;
}

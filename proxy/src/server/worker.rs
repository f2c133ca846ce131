//! Owns threads with event loops: the workers, and the control thread.

use super::{MAINTENANCE_INTERVAL, Shared, login};
use crate::frontend::startup::Peer;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, watch};

/// Accepted sockets on their way to a worker.
const HANDOVER_QUEUE: usize = 1024;

/// A thread on which sessions live.
#[derive(Debug)]
pub struct Worker {
    /// Its number.
    pub index: usize,
    /// Connections it was given that have not ended.
    pub load: Arc<AtomicUsize>,
    handover: mpsc::Sender<NewClient>,
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
    /// Hands a connection over; gives it back when the worker's queue is full.
    pub(super) fn give(&self, client: NewClient) -> Result<(), NewClient> {
        self.load.fetch_add(1, Ordering::Relaxed);
        self.handover.try_send(client).map_err(|refused| {
            self.load.fetch_sub(1, Ordering::Relaxed);
            refused.into_inner()
        })
    }
}

/// Starts a worker.
pub(super) fn start(
    index: usize,
    shared: &Arc<Shared>,
    running: watch::Receiver<bool>,
) -> io::Result<(Arc<Worker>, JoinHandle<()>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (handover, clients) = mpsc::channel(HANDOVER_QUEUE);
    let worker = Arc::new(Worker { index, load: Arc::default(), handover });
    let (shared, this) = (Arc::clone(shared), Arc::clone(&worker));
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        runtime.block_on(async move {
            if index == 0 {
                tokio::spawn(maintain(Arc::clone(&shared)));
            }
            tokio::select! {
                () = take_clients(clients, &this, &shared) => {}
                () = until_false(running) => {}
            }
        });
    })?;
    Ok((worker, thread))
}

async fn take_clients(
    mut clients: mpsc::Receiver<NewClient>,
    worker: &Arc<Worker>,
    shared: &Arc<Shared>,
) {
    while let Some(client) = clients.recv().await {
        let (worker, shared) = (Arc::clone(worker), Arc::clone(shared));
        tokio::spawn(async move {
            let load = Arc::clone(&worker.load);
            if let Some(session) = Box::pin(login::log_in(client, worker, shared)).await {
                session.run().await;
            }
            load.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Closes idle server connections and opens spare ones, all the time.
async fn maintain(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(MAINTENANCE_INTERVAL);
    loop {
        ticks.tick().await;
        let pools = shared.state().all_pools();
        for pool in pools.iter().flat_map(|pools| &pools.pools) {
            pool.maintain(0, Instant::now());
        }
    }
}

/// Starts the control thread.
pub(super) fn start_control(
    running: watch::Receiver<bool>,
) -> io::Result<(Handle, JoinHandle<()>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || runtime.block_on(until_false(running)))?;
    Ok((handle, thread))
}

/// Completes when the flag is false, or its owner is gone.
pub(super) async fn until_false(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|running| !running).await;
}

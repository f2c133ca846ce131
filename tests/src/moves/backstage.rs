//! Owns a thread with an event loop of its own for relays and clients: a test that waits for a
//! server to start must not make them wait, for the times they measure are judged.

use std::future::Future;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The thread; it ends when this is dropped, and what runs on it with it.
#[derive(Debug)]
pub struct Backstage {
    handle: Handle,
    /// Dropped to end the thread.
    _running: oneshot::Sender<()>,
}

impl Backstage {
    /// Starts the thread.
    ///
    /// # Panics
    /// When the system has no thread left.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("invariant: the event loop starts");
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        let body = move || {
            // The other end is never used but to be dropped.
            let _ = runtime.block_on(ended);
        };
        std::thread::Builder::new().name("backstage".into()).spawn(body).expect("a thread");
        Self { handle, _running: running }
    }

    /// Lets something run there.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(future)
    }
}

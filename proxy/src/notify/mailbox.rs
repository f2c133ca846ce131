//! Owns `Mailbox`: the notifications on their way to one session, in order and bounded.

use crate::server::ClientHandle;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a queued notification costs beside its text.
const ENTRY_BYTES: usize = 64;

/// A notification as it came from the server.
#[derive(Debug)]
pub struct Notification {
    /// Process id of the backend that notified.
    pub server_pid: u32,
    /// The client it did that for, when that is certain.
    pub client: Option<u32>,
    /// Channel, zero byte, payload, zero byte.
    pub text: Box<[u8]>,
    /// Length of the channel's name.
    pub channel_bytes: usize,
}

impl Notification {
    /// The channel's name.
    pub fn channel(&self) -> &[u8] {
        self.text.get(..self.channel_bytes).unwrap_or_default()
    }
}

/// Why no more notifications come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The session did not take them fast enough.
    Full,
    /// The listening connection was lost.
    Lost,
    /// The session has an encoding now in which one cannot be written.
    Encoding,
}

/// The notifications on their way to one session.
#[derive(Debug)]
pub struct Mailbox {
    session: Arc<ClientHandle>,
    limit_bytes: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Arc<Notification>>,
    bytes: usize,
    ended: Option<Ended>,
}

impl Mailbox {
    /// An empty mailbox that wakes the session when something comes.
    pub fn new(session: Arc<ClientHandle>, limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { session, limit_bytes, queue: Mutex::default() })
    }

    /// Adds a notification. The session is woken by the first one only: it looks for more itself.
    pub(super) fn put(&self, notification: &Arc<Notification>) {
        let mut queue = self.lock();
        if queue.ended.is_some() {
            return;
        }
        queue.bytes += cost(notification);
        if queue.bytes > self.limit_bytes {
            *queue = Queue { ended: Some(Ended::Full), ..Queue::default() };
        } else {
            queue.waiting.push_back(Arc::clone(notification));
        }
        let wake = queue.waiting.len() <= 1;
        drop(queue);
        if wake {
            self.session.wake();
        }
    }

    /// Nothing comes any more, and what is here is not all there was.
    pub fn end(&self, why: Ended) {
        let mut queue = self.lock();
        if queue.ended.is_none() {
            *queue = Queue { ended: Some(why), ..Queue::default() };
            drop(queue);
            self.session.wake();
        }
    }

    /// Why no more notifications come, when that is so.
    pub fn ended(&self) -> Option<Ended> {
        self.lock().ended
    }

    /// True when nothing waits here.
    pub fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Takes the oldest notification.
    pub fn take(&self) -> Option<Arc<Notification>> {
        let mut queue = self.lock();
        let oldest = queue.waiting.pop_front()?;
        queue.bytes -= cost(&oldest);
        if queue.waiting.is_empty() {
            queue.waiting = VecDeque::new();
        }
        Some(oldest)
    }

    /// Throws away what is on a channel for which `keep` does not hold.
    pub fn retain(&self, keep: impl Fn(&[u8]) -> bool) {
        let mut queue = self.lock();
        queue.waiting.retain(|notification| keep(notification.channel()));
        queue.bytes = queue.waiting.iter().map(|notification| cost(notification)).sum();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("invariant: no panic under this lock")
    }
}

fn cost(notification: &Notification) -> usize {
    notification.text.len() + ENTRY_BYTES
}

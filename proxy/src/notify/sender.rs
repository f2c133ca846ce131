//! Owns telling which client a notification is from. PostgreSQL says which of its backends sent
//! it; clients compare that with the process id they were given at login, which here is the
//! session's own. One backend works for many sessions in turn, so the answer is only given when it
//! is certain.

use crate::backend::connection::ServerInfo;
use hashbrown::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A round trip of the hub, by number; 0 for none. Numbers may start again.
pub type RoundNumber = u32;

/// The session that used a server connection last, kept with the connection.
///
/// What its predecessors sent has reached the hub when a round trip that began after their last
/// write is over. From then on, whatever comes from the connection is from this session.
#[derive(Debug, Default)]
pub struct Sender(AtomicU64);

/// Set when the hub knows the connection.
const KNOWN: u64 = 1 << 63;

impl Sender {
    /// The client that used it last; 0 for nobody.
    #[inline]
    pub fn client(&self) -> u32 {
        ((self.0.load(Ordering::Relaxed) & !KNOWN) >> 32) as u32
    }

    /// A client uses it from now on; what was sent for others has come when this round trip is
    /// over. True when it was never used before.
    fn take_over(&self, client: u32, round: RoundNumber) -> bool {
        let next = KNOWN | u64::from(client & 0x7fff_ffff) << 32 | u64::from(round);
        self.0.swap(next, Ordering::AcqRel) & KNOWN == 0
    }

    /// The client all of whose predecessors' notifications came before `done` was over.
    fn certain(&self, done: RoundNumber) -> Option<u32> {
        let word = self.0.load(Ordering::Acquire);
        let (client, round) = (((word & !KNOWN) >> 32) as u32, word as u32);
        (client != 0 && is_over(round, done)).then_some(client)
    }
}

/// Whether a round trip is over, when `done` is the last that is.
fn is_over(round: RoundNumber, done: RoundNumber) -> bool {
    round == 0 || done.wrapping_sub(round) < 1 << 31
}

/// The round trip that begins next, after `begun`.
fn after(begun: RoundNumber) -> RoundNumber {
    begun.wrapping_add(1).max(1)
}

/// The server connections whose notifications can be told apart, and the round trips of the hub.
#[derive(Debug, Default)]
pub(super) struct Senders {
    connections: HashMap<(usize, u32), Weak<ServerInfo>>,
    /// At so many, those that are closed are taken out.
    sweep_at: usize,
    begun: RoundNumber,
    done: RoundNumber,
}

/// Fewest connections for which a sweep is worth it.
const SWEEP_MIN: usize = 64;

impl Senders {
    pub(super) fn begin(&mut self) -> RoundNumber {
        self.begun = after(self.begun);
        self.begun
    }

    pub(super) fn end(&mut self) {
        self.done = self.begun;
    }

    /// The client that a backend of this host has sent for, when that is certain.
    pub(super) fn client(&self, host: usize, pid: u32) -> Option<u32> {
        let connection = self.connections.get(&(host, pid))?.upgrade()?;
        connection.sender.certain(self.done)
    }

    fn register(&mut self, connection: &Arc<ServerInfo>) {
        let Some(key) = &connection.cancel else { return };
        if self.connections.len() >= self.sweep_at {
            self.connections.retain(|_, known| known.strong_count() > 0);
            self.sweep_at = (self.connections.len() * 2).max(SWEEP_MIN);
        }
        let name = (connection.host_index, key.process_id);
        self.connections.insert(name, Arc::downgrade(connection));
    }
}

impl super::Hub {
    /// A client uses a server connection from now on. `earlier` is what `wrote` said of the
    /// connection last. Cheap when it was the same client before.
    #[inline]
    pub fn uses(&self, connection: &Arc<ServerInfo>, client: u32, earlier: RoundNumber) {
        if connection.sender.client() != client && connection.sender.take_over(client, earlier) {
            self.lock().senders.register(connection);
        }
    }

    /// A transaction has ended that may have notified: the round trip after which everything it
    /// sent has come.
    pub fn wrote(&self) -> RoundNumber {
        after(self.begun.load(Ordering::Acquire))
    }

    /// Whether a notification that now comes from the connection is certainly from its client.
    pub fn is_certain(&self, connection: &ServerInfo) -> bool {
        connection.sender.certain(self.lock().senders.done).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_certain_once_its_predecessors_were_heard() {
        let sender = Sender::default();
        assert_eq!(sender.certain(7), None);
        assert!(sender.take_over(41, 0));
        assert_eq!((sender.client(), sender.certain(0)), (41, Some(41)));
        assert!(!sender.take_over(42, 9));
        assert_eq!((sender.certain(8), sender.certain(9)), (None, Some(42)));
        assert_eq!(sender.certain(10), Some(42));
    }

    #[test]
    fn numbers_that_start_again_are_never_certain_too_early() {
        assert_eq!((after(0), after(u32::MAX)), (1, 1));
        assert!(!is_over(1, u32::MAX));
        assert!(is_over(u32::MAX, 1));
        assert!(is_over(0, 0));
    }
}

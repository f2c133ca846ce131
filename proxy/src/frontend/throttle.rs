//! Owns the memory of failed logins: who failed too often is refused before anything is computed
//! or asked for it. It keeps no names: users are told apart by a keyed hash, so that entries have
//! one size.

use crate::config::model::FailureLimits;
use crate::frontend::startup::Peer;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Entries of one generation, of two. With more, the older generation is forgotten early.
const MAX_ENTRIES: usize = 65_536;
/// An address may fail so many times as often as one user from it.
const USERS_PER_ADDRESS: u32 = 10;

/// Failed logins of the last one to two windows.
#[derive(Debug, Default)]
pub struct Throttle {
    hasher: RandomState,
    /// Nobody failed: spares every login the lock.
    any: AtomicBool,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    current: HashMap<Key, u32>,
    previous: HashMap<Key, u32>,
    began: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Unix,
    Net(IpAddr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    /// All users from one address.
    Address(Source),
    /// One user from one address.
    Login(Source, u64),
}

impl Throttle {
    /// Whether `peer` failed too often to be heard, whoever it says it is.
    pub(super) fn refuses_address(&self, peer: Peer, limits: FailureLimits, now: Instant) -> bool {
        // All local programs share one "address": they must not lock each other out.
        let source = Source::from(peer);
        let limit = limits.limit.saturating_mul(USERS_PER_ADDRESS);
        source != Source::Unix && self.reached(Key::Address(source), limit, limits, now)
    }

    /// Whether `user` failed too often from where `peer` is.
    pub(super) fn refuses_login(
        &self,
        peer: Peer,
        user: &str,
        limits: FailureLimits,
        now: Instant,
    ) -> bool {
        self.reached(self.login(peer, user), limits.limit, limits, now)
    }

    /// Notes a wrong login.
    pub(super) fn failed(&self, peer: Peer, user: &str, limits: FailureLimits, now: Instant) {
        if limits.limit == 0 {
            return;
        }
        let mut counts = self.lock();
        counts.turn(limits, now);
        for key in [Key::Address(Source::from(peer)), self.login(peer, user)] {
            if counts.current.len() >= MAX_ENTRIES && !counts.current.contains_key(&key) {
                counts.previous = std::mem::take(&mut counts.current);
                counts.began = Some(now);
            }
            let count = counts.current.entry(key).or_default();
            *count = count.saturating_add(1);
        }
        self.any.store(true, Ordering::Relaxed);
    }

    /// Forgets the failures of a user who has come in.
    pub(super) fn succeeded(&self, peer: Peer, user: &str) {
        if self.any.load(Ordering::Relaxed) {
            let key = self.login(peer, user);
            let mut counts = self.lock();
            counts.current.remove(&key);
            counts.previous.remove(&key);
        }
    }

    fn reached(&self, key: Key, limit: u32, limits: FailureLimits, now: Instant) -> bool {
        if limits.limit == 0 || !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let mut counts = self.lock();
        counts.turn(limits, now);
        if counts.current.is_empty() && counts.previous.is_empty() {
            self.any.store(false, Ordering::Relaxed);
        }
        let of = |counts: &HashMap<Key, u32>| counts.get(&key).copied().unwrap_or(0);
        of(&counts.current).saturating_add(of(&counts.previous)) >= limit
    }

    fn login(&self, peer: Peer, user: &str) -> Key {
        Key::Login(Source::from(peer), self.hasher.hash_one(user))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Begins a new generation when the window is over.
    fn turn(&mut self, limits: FailureLimits, now: Instant) {
        let age = now.saturating_duration_since(*self.began.get_or_insert(now));
        if age < limits.window {
            return;
        }
        let last = std::mem::take(&mut self.current);
        let recent = age < limits.window.saturating_mul(2);
        self.previous = if recent { last } else { HashMap::new() };
        self.began = Some(now);
    }
}

impl From<Peer> for Source {
    fn from(peer: Peer) -> Self {
        let Peer::Tcp(address) = peer else { return Self::Unix };
        Self::Net(match address.ip().to_canonical() {
            // Whoever has one address of a /64 has all of them.
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
            v4 => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LIMITS: FailureLimits = FailureLimits { limit: 3, window: Duration::from_secs(60) };

    fn peer(address: &str) -> Peer {
        Peer::Tcp(address.parse().expect("an address"))
    }

    #[test]
    fn a_user_is_refused_from_where_it_failed() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let home = peer("192.0.2.1:5");
        for _ in 0..3 {
            assert!(!throttle.refuses_login(home, "ann", LIMITS, now));
            throttle.failed(home, "ann", LIMITS, now);
        }
        assert!(throttle.refuses_login(peer("192.0.2.1:6"), "ann", LIMITS, now));
        assert!(throttle.refuses_login(peer("[::ffff:192.0.2.1]:6"), "ann", LIMITS, now));
        assert!(!throttle.refuses_login(home, "bob", LIMITS, now));
        assert!(!throttle.refuses_login(peer("192.0.2.2:5"), "ann", LIMITS, now));
        assert!(!throttle.refuses_login(Peer::Unix, "ann", LIMITS, now));
        let off = FailureLimits { limit: 0, ..LIMITS };
        assert!(!throttle.refuses_login(home, "ann", off, now));
        // Two windows later all is forgotten; refused logins do not count.
        let later = now + Duration::from_secs(60);
        assert!(throttle.refuses_login(home, "ann", LIMITS, later));
        assert!(!throttle.refuses_login(home, "ann", LIMITS, later + Duration::from_secs(60)));
        assert!(!throttle.any.load(Ordering::Relaxed));
    }

    #[test]
    fn success_forgets_the_user_but_not_the_address() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let home = peer("[2001:db8::1]:5");
        for number in 0..30 {
            assert!(!throttle.refuses_address(home, LIMITS, now), "{number}");
            throttle.failed(home, &number.to_string(), LIMITS, now);
        }
        throttle.succeeded(home, "29");
        assert!(throttle.refuses_address(peer("[2001:db8::ffff]:5"), LIMITS, now));
        assert!(!throttle.refuses_address(peer("[2001:db8:0:1::1]:5"), LIMITS, now));
        throttle.failed(home, "x", LIMITS, now);
        throttle.failed(home, "x", LIMITS, now);
        throttle.succeeded(home, "x");
        throttle.failed(home, "x", LIMITS, now);
        assert!(!throttle.refuses_login(home, "x", LIMITS, now));
        for _ in 0..100 {
            throttle.failed(Peer::Unix, "x", LIMITS, now);
        }
        assert!(!throttle.refuses_address(Peer::Unix, LIMITS, now));
        assert!(throttle.refuses_login(Peer::Unix, "x", LIMITS, now));
    }

    #[test]
    fn memory_is_bounded() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..3 * MAX_ENTRIES as u32 {
            let address = IpAddr::from(number.to_be_bytes());
            throttle.failed(Peer::Tcp((address, 1).into()), "x", LIMITS, now);
        }
        let counts = throttle.lock();
        assert!(counts.current.len() <= MAX_ENTRIES && counts.previous.len() <= MAX_ENTRIES);
    }
}

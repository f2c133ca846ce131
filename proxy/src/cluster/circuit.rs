//! Owns the circuit breaker of one host: whether a session's need for a connection may become an
//! attempt to connect. A host that cannot be reached is tried by one attempt at a time, at times
//! that grow further apart; everybody else is told the last error at once.
//!
//! ```text
//!            an attempt failed                 time is over, or a health check succeeded
//!   Closed ─────────────────────► Open ──────────────────────────────► HalfOpen
//!     ▲                            ▲                                      │ somebody asks:
//!     │ an attempt succeeded       │ it failed                            ▼ one attempt
//!     └────────────────────────────┴─────────────────────────────────── Trying
//! ```
//!
//! It must not know how one connects.

use crate::config::model::Health;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Failures after which the time between attempts does not grow further.
const DOUBLINGS_MAX: u32 = 16;

/// Where the breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// Attempts are made as they are asked for.
    Closed,
    /// No attempt before this time, unless a health check succeeds.
    Open(Instant),
    /// The next one who asks makes an attempt.
    HalfOpen,
    /// An attempt is under way, and others wait for its outcome.
    Trying,
}

impl Circuit {
    /// The state's word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Circuit::Closed => "closed",
            Circuit::Open(_) => "open",
            Circuit::HalfOpen | Circuit::Trying => "half_open",
        }
    }
}

/// What may happen to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Somebody needs a connection.
    Asked,
    /// An attempt has reached the host.
    Succeeded,
    /// An attempt has not; the next one after this time.
    Failed(Instant),
    /// A health check has reached the host.
    Healthy,
}

/// What who asked is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Attempt,
    WaitForOutcome,
    GiveUp,
}

/// The one transition function. The answer means something for `Asked` only.
fn step(state: Circuit, event: Event, now: Instant) -> (Circuit, Answer) {
    match (state, event) {
        (Circuit::Closed, Event::Asked) => (Circuit::Closed, Answer::Attempt),
        (Circuit::Open(until), Event::Asked) if now < until => (state, Answer::GiveUp),
        (Circuit::Open(_) | Circuit::HalfOpen, Event::Asked) => (Circuit::Trying, Answer::Attempt),
        (Circuit::Trying, Event::Asked) => (Circuit::Trying, Answer::WaitForOutcome),
        // Whatever attempt it was, the host can be reached now.
        (_, Event::Succeeded) => (Circuit::Closed, Answer::Attempt),
        (Circuit::Closed | Circuit::Trying, Event::Failed(until)) => {
            (Circuit::Open(until), Answer::GiveUp)
        }
        // One that began before the breaker opened tells nothing new.
        (Circuit::Open(_) | Circuit::HalfOpen, Event::Failed(_)) => (state, Answer::GiveUp),
        (Circuit::Open(_), Event::Healthy) => (Circuit::HalfOpen, Answer::Attempt),
        (Circuit::Closed | Circuit::HalfOpen | Circuit::Trying, Event::Healthy) => {
            (state, Answer::Attempt)
        }
    }
}

/// The circuit breaker of a host, shared by all pools of the process.
#[derive(Debug)]
pub struct Breaker {
    inner: Mutex<Inner>,
    /// Whether `inner` is open, for a look without the lock.
    open: AtomicU8,
    /// An attempt that others waited for has ended.
    ended: Notify,
}

#[derive(Debug)]
struct Inner {
    circuit: Circuit,
    /// Failures since the last success.
    failures: u32,
    error: Option<String>,
}

impl Default for Breaker {
    fn default() -> Self {
        let inner = Inner { circuit: Circuit::Closed, failures: 0, error: None };
        Self { inner: Mutex::new(inner), open: AtomicU8::new(0), ended: Notify::new() }
    }
}

/// The right to make one attempt. Dropped without an outcome it counts as neither, and lets the
/// next one try.
#[derive(Debug)]
pub struct Attempt<'a> {
    breaker: &'a Breaker,
    told: bool,
}

impl Breaker {
    /// Waits until an attempt may be made, or it is known that it would be in vain. Cancel safe.
    ///
    /// # Errors
    /// The last error, and how long no attempt will be made.
    pub async fn admit(&self) -> Result<Attempt<'_>, (Option<String>, Duration)> {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // From here on an outcome is not missed.
            ended.as_mut().enable();
            let now = Instant::now();
            match self.apply(Event::Asked, now).1 {
                Answer::Attempt => return Ok(Attempt { breaker: self, told: false }),
                Answer::WaitForOutcome => ended.await,
                Answer::GiveUp => {
                    let inner = self.lock();
                    let rest = match inner.circuit {
                        Circuit::Open(until) => until.saturating_duration_since(now),
                        Circuit::Closed | Circuit::HalfOpen | Circuit::Trying => Duration::ZERO,
                    };
                    return Err((inner.error.clone(), rest));
                }
            }
        }
    }

    /// The state now; `Open` also when its time is over and nobody has asked since.
    pub fn circuit(&self) -> Circuit {
        self.lock().circuit
    }

    /// Until when an attempt would be refused; `None` when one may be made. No lock while closed.
    pub fn refuses_until(&self, now: Instant) -> Option<Instant> {
        if self.open.load(Ordering::Relaxed) == 0 {
            return None;
        }
        match self.circuit() {
            Circuit::Open(until) => (now < until).then_some(until),
            Circuit::Closed | Circuit::HalfOpen | Circuit::Trying => None,
        }
    }

    /// Whether an attempt would be refused now. Reads no clock and takes no lock while closed.
    #[inline]
    pub(super) fn refuses(&self) -> bool {
        self.open.load(Ordering::Relaxed) != 0 && self.refuses_until(Instant::now()).is_some()
    }

    /// What the last attempt that failed said.
    pub fn error(&self) -> Option<String> {
        self.lock().error.clone()
    }

    /// A health check has reached the host; `returned` when the one before had not. Cheap while
    /// closed. True when an attempt may be made again because of it. Where checks succeed and
    /// attempts fail all the same, checks are no reason to go on trying.
    pub(super) fn healthy(&self, returned: bool) -> bool {
        if self.open.load(Ordering::Relaxed) == 0 || (!returned && self.lock().failures > 1) {
            return false;
        }
        let (before, _) = self.apply(Event::Healthy, Instant::now());
        matches!(before, Circuit::Open(_))
    }

    /// Returns the state before, and the answer.
    fn apply(&self, event: Event, now: Instant) -> (Circuit, Answer) {
        let mut inner = self.lock();
        let before = inner.circuit;
        let (after, answer) = step(before, event, now);
        inner.circuit = after;
        if after == Circuit::Closed && before != Circuit::Closed {
            inner.failures = 0;
            inner.error = None;
        }
        self.open.store(u8::from(matches!(after, Circuit::Open(_))), Ordering::Relaxed);
        drop(inner);
        if before == Circuit::Trying && after != Circuit::Trying {
            self.ended.notify_waiters();
        }
        (before, answer)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every write under this lock leaves a complete state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// The host was reached, whether it let us in or not.
    pub fn succeeded(mut self) {
        self.told = true;
        self.breaker.apply(Event::Succeeded, Instant::now());
    }

    /// The host was not reached.
    pub fn failed(mut self, error: &str, health: &Health) {
        self.told = true;
        let now = Instant::now();
        let pause = {
            let mut inner = self.breaker.lock();
            inner.error = Some(error.to_owned());
            let doublings = inner.failures.min(DOUBLINGS_MAX);
            if !matches!(inner.circuit, Circuit::Open(_)) {
                inner.failures = inner.failures.saturating_add(1);
            }
            health.ban_min.saturating_mul(1 << doublings).min(health.ban_max)
        };
        // Jitter, so that several proxies do not all knock at once.
        let pause = pause.mul_f64(rand::random_range(1.0..1.1));
        self.breaker.apply(Event::Failed(now + pause), now);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.breaker.apply(Event::Failed(Instant::now()), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn health() -> Health {
        Health {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            ban_min: Duration::from_secs(10),
            ban_max: Duration::from_secs(35),
            sample_interval: Duration::from_millis(10),
            failures_max: 2,
        }
    }

    #[test]
    fn every_transition() {
        let now = Instant::now();
        let (soon, late) = (now + Duration::from_secs(1), now + Duration::from_secs(2));
        let open = Circuit::Open(soon);
        let table = [
            (Circuit::Closed, Event::Asked, Circuit::Closed, Answer::Attempt),
            (Circuit::Closed, Event::Failed(late), Circuit::Open(late), Answer::GiveUp),
            (Circuit::Closed, Event::Healthy, Circuit::Closed, Answer::Attempt),
            (open, Event::Asked, open, Answer::GiveUp),
            (open, Event::Failed(late), open, Answer::GiveUp),
            (open, Event::Healthy, Circuit::HalfOpen, Answer::Attempt),
            (open, Event::Succeeded, Circuit::Closed, Answer::Attempt),
            (Circuit::HalfOpen, Event::Asked, Circuit::Trying, Answer::Attempt),
            (Circuit::HalfOpen, Event::Failed(late), Circuit::HalfOpen, Answer::GiveUp),
            (Circuit::Trying, Event::Asked, Circuit::Trying, Answer::WaitForOutcome),
            (Circuit::Trying, Event::Failed(late), Circuit::Open(late), Answer::GiveUp),
            (Circuit::Trying, Event::Succeeded, Circuit::Closed, Answer::Attempt),
            (Circuit::Trying, Event::Healthy, Circuit::Trying, Answer::Attempt),
        ];
        for (state, event, after, answer) in table {
            assert_eq!(step(state, event, now), (after, answer), "{state:?} {event:?}");
        }
        assert_eq!(step(open, Event::Asked, late), (Circuit::Trying, Answer::Attempt));
    }

    #[tokio::test]
    async fn one_attempt_at_a_time_and_the_others_learn_its_outcome() {
        let breaker = Arc::new(Breaker::default());
        breaker.admit().await.expect("closed").failed("refused", &health());
        let (error, rest) = breaker.admit().await.expect_err("open");
        assert_eq!(error.as_deref(), Some("refused"));
        assert!(rest > Duration::from_secs(9) && rest <= Duration::from_secs(11), "{rest:?}");
        assert!(breaker.refuses_until(Instant::now()).is_some());

        assert!(breaker.healthy(false));
        let trial = breaker.admit().await.expect("half open");
        let others: Vec<_> = (0..50)
            .map(|_| {
                let breaker = Arc::clone(&breaker);
                tokio::spawn(async move { breaker.admit().await.map(Attempt::succeeded).is_ok() })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(others.iter().all(|other| !other.is_finished()), "all wait for the one");
        trial.failed("still refused", &health());
        for other in others {
            assert!(!other.await.expect("no panic"), "its failure is theirs");
        }
        let (_, rest) = breaker.admit().await.expect_err("open");
        assert!(rest > Duration::from_secs(19), "twice as long: {rest:?}");

        assert!(!breaker.healthy(false), "it was healthy before, and the attempt failed");
        assert!(breaker.healthy(true));
        let trial = breaker.admit().await.expect("half open");
        let other = tokio::spawn({
            let breaker = Arc::clone(&breaker);
            async move { breaker.admit().await.map(Attempt::succeeded).is_ok() }
        });
        tokio::task::yield_now().await;
        trial.succeeded();
        assert!(other.await.expect("no panic"));
        assert_eq!((breaker.circuit(), breaker.error()), (Circuit::Closed, None));
    }

    #[tokio::test]
    async fn an_attempt_that_was_given_up_holds_nobody_up() {
        let breaker = Breaker::default();
        breaker.admit().await.expect("closed").failed("refused", &health());
        breaker.healthy(true);
        drop(breaker.admit().await.expect("half open"));
        breaker.admit().await.expect("the next one may try").succeeded();
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }
}

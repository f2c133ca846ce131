//! Owns the timeouts of sessions: a look at all clients, a few times within the shortest timeout
//! that is set. So a query costs no timer, and no look at a clock: a session only notes that it
//! took a step, and the watch notes when it first saw that step. A timeout never comes early; it
//! comes late by at most two looks.
//!
//! The watch decides nothing: it tells a session which of its times is over, and for which step.
//! The session does what follows, if it is still at that step.

use super::Shared;
use super::clients::ClientHandle;
use crate::config::limits::SessionTimeouts;
use crate::metrics::ClientState;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Looks within the shortest timeout.
const LOOKS_PER_TIMEOUT: u32 = 10;

/// Shortest and longest time between two looks.
const PERIOD_MIN: Duration = Duration::from_millis(20);
const PERIOD_MAX: Duration = Duration::from_secs(1);

/// Time a server has to end a cancelled statement before its connection is closed.
pub const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// Which time is over; several may be.
pub mod over {
    /// The statement's.
    pub const QUERY: u8 = 1;
    /// The statement's and the grace after it.
    pub const QUERY_GRACE: u8 = 2;
    /// That of idling inside a transaction.
    pub const IDLE_TRANSACTION: u8 = 4;
    /// The transaction's.
    pub const TRANSACTION: u8 = 8;
    /// That of idling outside of transactions.
    pub const CLIENT_IDLE: u8 = 16;
}

const STATE_BITS: u32 = 2;
const STEP_BITS: u32 = 32;

/// What a session lets others see of its progress. Written by its worker alone.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Number of the transaction, number of the step, state; one store keeps them together.
    word: AtomicU64,
    /// Which time of `over_word` is over.
    over: AtomicU8,
    over_word: AtomicU64,
    /// Locked by the watch alone.
    seen: Mutex<Option<Seen>>,
}

/// What the watch saw last.
#[derive(Debug, Clone, Copy)]
struct Seen {
    word: u64,
    since: Instant,
    transaction_since: Instant,
}

impl Pulse {
    /// Notes a step: the session is in `state` from now on.
    #[inline]
    pub fn step(&self, state: ClientState) {
        let old = self.word.load(Ordering::Relaxed);
        let transaction = transaction_of(old) + u64::from(state == ClientState::Idle);
        let step = u64::from(((old >> STATE_BITS) as u32).wrapping_add(1));
        let word = (transaction << (STATE_BITS + STEP_BITS)) | (step << STATE_BITS) | state as u64;
        self.word.store(word, Ordering::Relaxed);
    }

    /// Notes a step in the same state.
    #[inline]
    pub fn step_again(&self) {
        self.step(state_of(self.word.load(Ordering::Relaxed)));
    }

    /// What the session does.
    pub fn state(&self) -> ClientState {
        state_of(self.word.load(Ordering::Relaxed))
    }

    /// What stands for the present step.
    #[inline]
    pub fn word(&self) -> u64 {
        self.word.load(Ordering::Relaxed)
    }

    /// True when the watch has said something since the last `take_over`.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) != 0
    }

    /// Which times are over for the present step.
    pub fn take_over(&self) -> u8 {
        let over = self.over.swap(0, Ordering::Acquire);
        let (then, now) = (self.over_word.load(Ordering::Relaxed), self.word());
        match (then == now, transaction_of(then) == transaction_of(now)) {
            (true, _) => over,
            (false, true) => over & over::TRANSACTION,
            (false, false) => 0,
        }
    }

    /// Looks at the session; true when it must be told.
    fn look(&self, timeouts: &SessionTimeouts, now: Instant) -> bool {
        let word = self.word();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let last = seen.get_or_insert(Seen { word, since: now, transaction_since: now });
        if last.word != word {
            // One that has begun since the last look may have begun just now.
            let same_transaction = transaction_of(last.word) == transaction_of(word)
                && state_of(last.word) != ClientState::Idle;
            let transaction_since = if same_transaction { last.transaction_since } else { now };
            *last = Seen { word, since: now, transaction_since };
        }
        let over = over(timeouts, last, now);
        if over != 0 {
            self.over_word.store(word, Ordering::Relaxed);
            self.over.store(over, Ordering::Release);
        }
        over != 0
    }
}

fn over(timeouts: &SessionTimeouts, seen: &Seen, now: Instant) -> u8 {
    let is_over = |timeout: Duration, since: Instant| {
        !timeout.is_zero() && now.saturating_duration_since(since) >= timeout
    };
    let flag = |over: bool, flag: u8| if over { flag } else { 0 };
    let step = match state_of(seen.word) {
        ClientState::Active => {
            let graceful = timeouts.query.saturating_add(CANCEL_GRACE);
            let grace = !timeouts.query.is_zero() && is_over(graceful, seen.since);
            flag(is_over(timeouts.query, seen.since), over::QUERY) | flag(grace, over::QUERY_GRACE)
        }
        ClientState::Waiting => return 0,
        ClientState::IdleInTransaction => {
            flag(is_over(timeouts.idle_transaction, seen.since), over::IDLE_TRANSACTION)
        }
        ClientState::Idle => {
            return flag(is_over(timeouts.client_idle, seen.since), over::CLIENT_IDLE);
        }
    };
    step | flag(is_over(timeouts.transaction, seen.transaction_since), over::TRANSACTION)
}

fn transaction_of(word: u64) -> u64 {
    word >> (STATE_BITS + STEP_BITS)
}

fn state_of(word: u64) -> ClientState {
    match word & 3 {
        0 => ClientState::Idle,
        1 => ClientState::Active,
        2 => ClientState::Waiting,
        _ => ClientState::IdleInTransaction,
    }
}

/// Timeouts by database, of databases that have any.
type Limits = HashMap<String, SessionTimeouts>;

/// Looks at the clients all the time.
pub(super) async fn watch(shared: Arc<Shared>) {
    loop {
        let limits = limits(&shared);
        let shortest = limits.values().filter_map(SessionTimeouts::shortest).min();
        let period = shortest.map_or(PERIOD_MAX, |time| time / LOOKS_PER_TIMEOUT);
        tokio::time::sleep(period.clamp(PERIOD_MIN, PERIOD_MAX)).await;
        if !limits.is_empty() {
            let now = Instant::now();
            shared.clients.for_each(|handle| look(handle, &limits, now));
        }
    }
}

fn look(handle: &ClientHandle, limits: &Limits, now: Instant) {
    if let Some(timeouts) = limits.get(handle.database())
        && handle.pulse.look(timeouts, now)
    {
        handle.wake();
    }
}

fn limits(shared: &Shared) -> Limits {
    let state = shared.state();
    let databases = state.config.databases.iter();
    let limited = databases.filter(|database| database.timeouts.shortest().is_some());
    limited.map(|database| (database.name.clone(), database.timeouts)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn timeouts() -> SessionTimeouts {
        SessionTimeouts {
            query: 3 * SECOND,
            idle_transaction: 2 * SECOND,
            transaction: 10 * SECOND,
            client_idle: 20 * SECOND,
        }
    }

    /// Steps of a session and looks of the watch, in whole seconds; what is over at each look.
    fn play(script: &[(u64, Option<ClientState>)]) -> Vec<u8> {
        let (pulse, start) = (Pulse::default(), Instant::now());
        let mut seen = Vec::new();
        for (second, step) in script {
            match step {
                Some(state) => pulse.step(*state),
                None => {
                    pulse.look(&timeouts(), start + *second as u32 * SECOND);
                    seen.push(pulse.take_over());
                }
            }
        }
        seen
    }

    #[test]
    fn each_state_has_its_time() {
        use ClientState::{Active, Idle, IdleInTransaction, Waiting};
        let at = |state, second| play(&[(0, Some(state)), (0, None), (second, None)])[1];
        assert_eq!(at(Active, 2), 0);
        assert_eq!(at(Active, 3), over::QUERY);
        assert_eq!(at(Active, 8), over::QUERY | over::QUERY_GRACE);
        assert_eq!(at(Active, 10), over::QUERY | over::QUERY_GRACE | over::TRANSACTION);
        assert_eq!(at(IdleInTransaction, 2), over::IDLE_TRANSACTION);
        assert_eq!(at(Idle, 19), 0);
        assert_eq!(at(Idle, 20), over::CLIENT_IDLE);
        assert_eq!(at(Waiting, 1000), 0);
    }

    #[test]
    fn a_step_starts_its_time_anew_and_a_transaction_goes_on() {
        use ClientState::{Active, Idle};
        let mut script = vec![(0, Some(Idle)), (0, None)];
        for second in 1..=11 {
            script.extend([(second, Some(Active)), (second, None)]);
        }
        let seen = play(&script);
        assert!(seen[..11].iter().all(|over| *over == 0), "{seen:?}");
        assert_eq!(seen[11], over::TRANSACTION);
        script.extend([(12, Some(Idle)), (12, Some(Active)), (12, None)]);
        assert_eq!(play(&script)[12], 0, "another transaction");
    }

    #[test]
    fn what_is_over_is_forgotten_after_a_step() {
        let (pulse, start) = (Pulse::default(), Instant::now());
        pulse.step(ClientState::Active);
        pulse.look(&timeouts(), start);
        assert!(pulse.look(&timeouts(), start + 3 * SECOND));
        pulse.step(ClientState::Idle);
        assert!(pulse.is_over());
        assert_eq!(pulse.take_over(), 0);
        assert!(!pulse.is_over());
    }
}

//! Owns `HostState`: what is known of one host. Sessions read atomics only; everybody who writes
//! (the monitor, and pools that report a failure) holds the host's lock, so that a result that was
//! asked for before a failure can not overwrite what the failure voided.

mod by_hand;

use super::circuit::Breaker;
use super::freshness::{Cover, Tagged};
use crate::config::model::{Health, Host};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A lag that is not known.
const UNKNOWN: u64 = u64::MAX;
/// Latencies below this count as equal when a replica is chosen, in microseconds.
const LATENCY_STEP_US: u64 = 1000;
/// Weight of a slower probe in the smoothed latency: one in this many.
const LATENCY_SMOOTHING: u64 = 8;
/// Failures after which a ban does not grow further, whatever `ban_max` is.
const BAN_DOUBLINGS_MAX: u32 = 16;

/// What a host is, by its last successful probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Never seen up.
    Unknown,
    /// Not in recovery.
    Primary,
    /// In recovery.
    Replica,
}

impl Role {
    /// The role's word in logs and console output.
    pub fn word(self) -> &'static str {
        match self {
            Role::Unknown => "unknown",
            Role::Primary => "primary",
            Role::Replica => "replica",
        }
    }
}

/// The last probe succeeded.
const UP: u32 = 1;
/// In recovery.
const REPLICA: u32 = 2;
/// Not in recovery.
const PRIMARY: u32 = 4;
/// Not to be chosen for reads for a while.
const BANNED: u32 = 8;
/// A replica of the current primary's cluster and timeline, as far as is known.
const FOLLOWS: u32 = 16;
/// Failed not long ago; a success is worth taking the lock to note.
const TROUBLED: u32 = 32;
/// Failed so many health checks in a row that what runs there is given up.
const SILENT: u32 = 64;
/// Claims to be the primary and is not: what runs there must not be committed.
const FENCED: u32 = 128;
/// Not to be chosen for reads: an administrator says so.
const BANNED_BY_HAND: u32 = 256;
/// The same, and connections to it are closed as they come back.
const DRAINED: u32 = 512;

/// One host, as its monitor and the pools see it.
#[derive(Debug)]
pub struct HostState {
    /// The configured host.
    pub host: Arc<Host>,
    /// Requests that sessions have running on it. Counted by sessions, read when choosing.
    pub outstanding: AtomicU32,
    /// Whether connecting to it makes sense.
    pub breaker: Breaker,
    status: AtomicU32,
    /// Failed health checks since the last good one.
    failures_in_row: AtomicU32,
    /// Times the host was given up: connections from before the last one are not used again.
    losses: AtomicU32,
    latency_us: AtomicU64,
    timeline: AtomicU32,
    /// Replay LSN, lag in bytes, lag in milliseconds.
    position: Tagged<3>,
    cover: Cover,
    insert_cover: Cover,
    probes: AtomicU64,
    failures: AtomicU64,
    /// Somebody asks for a probe now.
    probe_now: AtomicBool,
    slow: Mutex<Slow>,
}

/// What is only touched with the lock held.
#[derive(Debug, Default)]
struct Slow {
    /// Counts events after which positions seen before mean nothing. A probe's result counts only
    /// when this has not changed since before the probe was sent.
    incarnation: u64,
    /// Bans without a quiet time between them, for the length of the next.
    bans_in_row: u32,
    banned_until: Option<Instant>,
    /// End of a ban by hand; `None` while there is one: it has no end.
    by_hand_until: Option<Instant>,
    /// When the host was quiet until then, the next ban is a first one again.
    quiet_until: Option<Instant>,
    last_error: Option<String>,
}

/// A replica's position, ready to be published.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) replay: u64,
    pub(super) lag_bytes: u64,
    pub(super) lag_ms: u64,
    pub(super) sample: u64,
    pub(super) insert_sample: u64,
}

impl Position {
    /// A position without any sample to compare it with.
    pub(super) fn unmeasured(replay: u64) -> Self {
        Self { replay, lag_bytes: UNKNOWN, lag_ms: UNKNOWN, sample: 0, insert_sample: 0 }
    }
}

impl HostState {
    pub(super) fn new(host: Arc<Host>) -> Self {
        Self {
            host,
            outstanding: AtomicU32::new(0),
            breaker: Breaker::default(),
            status: AtomicU32::new(0),
            failures_in_row: AtomicU32::new(0),
            losses: AtomicU32::new(0),
            latency_us: AtomicU64::new(0),
            timeline: AtomicU32::new(0),
            position: Tagged::default(),
            cover: Cover::default(),
            insert_cover: Cover::default(),
            probes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            probe_now: AtomicBool::new(false),
            slow: Mutex::new(Slow::default()),
        }
    }

    /// What the host is, by its last successful probe.
    pub fn role(&self) -> Role {
        match self.status.load(Ordering::Relaxed) & (PRIMARY | REPLICA) {
            PRIMARY => Role::Primary,
            REPLICA => Role::Replica,
            _ => Role::Unknown,
        }
    }

    /// The last probe succeeded.
    pub fn is_up(&self) -> bool {
        self.status.load(Ordering::Relaxed) & UP != 0
    }

    /// Not chosen for reads until the ban ends.
    pub fn is_banned(&self) -> bool {
        self.status.load(Ordering::Relaxed) & (BANNED | BANNED_BY_HAND | DRAINED) != 0
    }

    /// Claims to be the primary and is not, or one of two: nothing is written to it.
    pub fn is_fenced(&self) -> bool {
        self.status.load(Ordering::Relaxed) & FENCED != 0
    }

    /// What runs on it is given up: it is fenced, or has been silent for too long.
    pub fn is_given_up(&self) -> bool {
        self.status.load(Ordering::Relaxed) & (SILENT | FENCED) != 0
    }

    /// Times it was given up. A connection made before the last one may be cut in the middle, or
    /// lead to a server that must not be written to: it is not used again.
    pub fn losses(&self) -> u32 {
        self.losses.load(Ordering::Relaxed)
    }

    /// Failed health checks since the last good one.
    pub fn failures_in_row(&self) -> u32 {
        self.failures_in_row.load(Ordering::Relaxed)
    }

    /// A replica that follows the current primary's timeline, as far as is known.
    pub fn follows(&self) -> bool {
        self.status.load(Ordering::Relaxed) & FOLLOWS != 0
    }

    /// Timeline by the last successful probe that told; 0 when never told.
    pub fn timeline(&self) -> u32 {
        self.timeline.load(Ordering::Relaxed)
    }

    /// Smoothed time of a probe in microseconds; 0 before the first.
    pub fn latency_us(&self) -> u64 {
        self.latency_us.load(Ordering::Relaxed)
    }

    /// Probes that succeeded.
    pub fn probes(&self) -> u64 {
        self.probes.load(Ordering::Relaxed)
    }

    /// Probes that failed, and failures pools reported.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Last replay position in the given generation (`Cluster::generation`).
    pub fn replay_lsn(&self, generation: u64) -> Option<u64> {
        self.position.read(generation).map(|[replay, _, _]| replay)
    }

    /// Distance to the last known flushed position of the primary, when it could be measured.
    pub fn lag_bytes(&self, generation: u64) -> Option<u64> {
        let [_, bytes, _] = self.position.read(generation)?;
        (bytes != UNKNOWN).then_some(bytes)
    }

    /// Age of the data in milliseconds, when it could be measured: 0 when everything known to be
    /// flushed is replayed, else the age of the newest sample that is.
    pub fn lag_ms(&self, generation: u64) -> Option<u64> {
        let [_, _, ms] = self.position.read(generation)?;
        (ms != UNKNOWN).then_some(ms)
    }

    /// End of the current ban; `None` also for one without an end.
    pub fn banned_until(&self) -> Option<Instant> {
        let slow = self.slow();
        match self.is_held_for_ever(&slow) {
            true => None,
            false => slow.banned_until.max(slow.by_hand_until),
        }
    }

    /// What the last failure said; kept until the next success.
    pub fn last_error(&self) -> Option<String> {
        self.slow().last_error.clone()
    }

    /// Newest sample replayed in this generation, by flushed or by insert position.
    pub(super) fn covered_sample(&self, generation: u64, by_insert: bool) -> u64 {
        if by_insert { self.insert_cover.sample(generation) } else { self.cover.sample(generation) }
    }

    /// How much a request more costs here, to compare candidates.
    pub(super) fn load_score(&self) -> u64 {
        let outstanding = u64::from(self.outstanding.load(Ordering::Relaxed)) + 1;
        outstanding.saturating_mul(1 + self.latency_us() / LATENCY_STEP_US)
    }

    /// Where the host stands among those a read may choose.
    pub(super) fn standing(&self) -> Standing {
        match self.status.load(Ordering::Acquire) {
            status if status & UP == 0 || status & REPLICA == 0 => Standing::NotAReplica,
            status if status & (BANNED | BANNED_BY_HAND | DRAINED) != 0 => Standing::Banned,
            status if status & FOLLOWS == 0 => Standing::Strange,
            _ => Standing::Candidate,
        }
    }

    /// Number to hand back with a probe's result; taken before the probe is sent.
    pub(super) fn incarnation(&self) -> u64 {
        self.slow().incarnation
    }

    /// Asks for a probe; the caller wakes the monitor.
    pub(super) fn ask_probe(&self) {
        self.probe_now.store(true, Ordering::Release);
    }

    pub(super) fn probe_asked(&self) -> bool {
        self.probe_now.load(Ordering::Acquire)
    }

    pub(super) fn probe_answered(&self) {
        self.probe_now.store(false, Ordering::Release);
    }

    /// The host's positions mean nothing any more: it failed, restarted or changed its role. A
    /// restarted replica answers again from an older state than it had shown.
    pub(super) fn void(&self) {
        Self::void_locked(self, &mut self.slow());
    }

    fn void_locked(&self, slow: &mut Slow) {
        slow.incarnation += 1;
        self.cover.void();
        self.insert_cover.void();
        self.position.void();
    }

    /// Notes that the host is given up from now on.
    fn give_up_locked(&self, bit: u32) {
        // Whoever sees the bit also sees that older connections are void.
        self.losses.fetch_add(1, Ordering::Relaxed);
        self.status.fetch_or(bit, Ordering::AcqRel);
    }

    /// True when that is new.
    pub(super) fn set_fenced(&self, fenced: bool) -> bool {
        let _writer = self.slow();
        let was = self.is_fenced();
        if fenced && !was {
            self.give_up_locked(FENCED);
        } else if was && !fenced {
            self.status.fetch_and(!FENCED, Ordering::AcqRel);
        }
        fenced && !was
    }

    /// A probe failed: down, void and banned. Returns the ban when a new one began.
    pub(super) fn probe_failed(
        &self,
        error: &str,
        health: &Health,
        now: Instant,
    ) -> Option<Duration> {
        let mut slow = self.slow();
        self.void_locked(&mut slow);
        let ban = self.ban_locked(&mut slow, error, health, now);
        self.status.fetch_and(!(UP | FOLLOWS), Ordering::AcqRel);
        let failures = self.failures_in_row().saturating_add(1);
        self.failures_in_row.store(failures, Ordering::Relaxed);
        if failures == health.failures_max {
            self.give_up_locked(SILENT);
        }
        ban
    }

    /// A pool could not use the host: void and banned; whether it is up, a probe will tell.
    /// Returns the ban when a new one began.
    pub(super) fn use_failed(
        &self,
        error: &str,
        health: &Health,
        now: Instant,
    ) -> Option<Duration> {
        let mut slow = self.slow();
        self.void_locked(&mut slow);
        self.ban_locked(&mut slow, error, health, now)
    }

    /// A ban that runs is not made longer by further failures (a hundred sessions that each see
    /// one dead connection are one failure), and a host that is down is not banned again and
    /// again: it is to be used soon after it returned, however long it was away.
    fn ban_locked(
        &self,
        slow: &mut Slow,
        error: &str,
        health: &Health,
        now: Instant,
    ) -> Option<Duration> {
        self.failures.fetch_add(1, Ordering::Relaxed);
        slow.last_error = Some(error.to_owned());
        let runs = slow.banned_until.is_some_and(|until| until > now);
        if runs || !self.is_up() {
            return None;
        }
        let doublings = slow.bans_in_row.min(BAN_DOUBLINGS_MAX);
        let ban = health.ban_min.saturating_mul(1 << doublings).min(health.ban_max);
        // Jitter, so that several proxies do not all return to a weak host at once.
        let ban = ban.mul_f64(rand::random_range(1.0..1.1));
        slow.bans_in_row = slow.bans_in_row.saturating_add(1);
        slow.banned_until = Some(now + ban);
        slow.quiet_until = Some(now + ban * 2);
        self.status.fetch_or(BANNED | TROUBLED, Ordering::AcqRel);
        Some(ban)
    }

    /// A probe succeeded. Nothing is published but the standing; `publish` follows.
    pub(super) fn probe_succeeded(
        &self,
        role: Role,
        timeline: Option<u32>,
        took: Duration,
        now: Instant,
    ) {
        let mut slow = self.slow();
        let role_bit = match role {
            Role::Primary => PRIMARY,
            Role::Replica => REPLICA,
            Role::Unknown => 0,
        };
        let old = self.status.load(Ordering::Acquire);
        if old & (PRIMARY | REPLICA) != role_bit {
            self.void_locked(&mut slow);
            let kept = old & (BANNED | BANNED_BY_HAND | DRAINED | TROUBLED | FENCED);
            self.status.store(UP | role_bit | kept, Ordering::Release);
        } else {
            self.status.fetch_or(UP, Ordering::AcqRel);
            self.status.fetch_and(!SILENT, Ordering::AcqRel);
        }
        self.failures_in_row.store(0, Ordering::Relaxed);
        if slow.quiet_until.is_none_or(|until| until <= now) {
            self.forgive_locked(&mut slow);
        }
        if let Some(timeline) = timeline {
            self.timeline.store(timeline, Ordering::Relaxed);
        }
        self.probes.fetch_add(1, Ordering::Relaxed);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let old_us = self.latency_us();
        let new_us = match old_us {
            0 => took_us,
            // A slow probe may be chance, a fast one is not.
            _ if took_us < old_us => (old_us + took_us) / 2,
            _ => old_us - old_us / LATENCY_SMOOTHING + took_us / LATENCY_SMOOTHING,
        };
        self.latency_us.store(new_us, Ordering::Relaxed);
    }

    pub(super) fn set_follows(&self, follows: bool) {
        let _writer = self.slow();
        if follows {
            self.status.fetch_or(FOLLOWS, Ordering::AcqRel);
        } else {
            self.status.fetch_and(!FOLLOWS, Ordering::AcqRel);
        }
    }

    /// Publishes a position, unless the host was voided since `incarnation` was taken.
    pub(super) fn publish(&self, incarnation: u64, generation: u64, position: Position) -> bool {
        let slow = self.slow();
        if slow.incarnation != incarnation {
            return false;
        }
        let words = [position.replay, position.lag_bytes, position.lag_ms];
        self.position.publish(generation, words);
        // What was covered stays covered, also when the sample that told so is no longer kept.
        if position.sample > self.cover.sample(generation) {
            self.cover.publish(generation, position.sample);
        }
        if position.insert_sample > self.insert_cover.sample(generation) {
            self.insert_cover.publish(generation, position.insert_sample);
        }
        true
    }

    /// Ends the ban when its time is over, one after failures only when the host is up. True when
    /// it ended now.
    pub(super) fn end_ban(&self, now: Instant) -> bool {
        let mut slow = self.slow();
        let by_hand = self.end_ban_by_hand(&mut slow, now);
        let over = slow.banned_until.is_some_and(|until| until <= now);
        if !over || !self.is_up() {
            return by_hand;
        }
        slow.banned_until = None;
        self.status.fetch_and(!BANNED, Ordering::AcqRel);
        true
    }

    /// A pool used the host. Costs one load while there is nothing to forgive.
    pub(super) fn use_succeeded(&self, now: Instant) {
        if self.status.load(Ordering::Relaxed) & TROUBLED == 0 {
            return;
        }
        let mut slow = self.slow();
        if slow.quiet_until.is_none_or(|until| until <= now) {
            self.forgive_locked(&mut slow);
        }
    }

    fn forgive_locked(&self, slow: &mut Slow) {
        slow.bans_in_row = 0;
        slow.quiet_until = None;
        slow.last_error = None;
        self.status.fetch_and(!TROUBLED, Ordering::AcqRel);
    }

    fn slow(&self) -> MutexGuard<'_, Slow> {
        // Every write under this lock is a complete statement, so a panic leaves nothing torn.
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a host stands among those a read may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Down, or not a replica.
    NotAReplica,
    /// Banned after failures, or by an administrator.
    Banned,
    /// Up, but of another cluster or timeline.
    Strange,
    /// May be chosen.
    Candidate,
}

//! Owns what is known of a shard's hosts: which is the primary, which replicas are healthy and how
//! fresh they are. The monitor writes it, sessions read it.
//!
//! What sessions call for a query (`primary`, `mark_write`, `pick_replica`, `generation`) is a
//! handful of atomic operations: no locks, no allocation, no clock. It must not know of sessions,
//! pools or client messages.

pub mod causality;
pub mod circuit;
pub mod control;
mod coordinator;
#[cfg(test)]
mod coordinator_tests;
mod explain;
pub mod facts_store;
mod failover;
mod floor;
pub mod freshness;
pub mod host;
pub mod look;
pub mod monitor;
mod probe;
mod samples;
pub mod secret_query;
pub mod token;

pub use causality::CausalityKeys;
pub use circuit::Circuit;
pub use facts_store::FactsStore;
pub use failover::{WAIT_ENDS, WaitEnd, Waiting};
pub use freshness::{Freshness, Stale, WriteMark};
pub use host::{HostState, Role};
pub use look::{Awaited, Lsn};
pub use monitor::monitor;
pub use secret_query::SecretQuery;
pub use token::Token;

use crate::config::model::Shard;
use crate::wire::error::SqlError;
use freshness::{SampleClock, Tagged};
use host::Standing;
use samples::Samples;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// A lag of `max_lag` is watched with samples at least every `max_lag / LAG_RESOLUTION`.
const LAG_RESOLUTION: u32 = 4;

/// What is known of one shard's hosts: written by its monitor, read by sessions.
#[derive(Debug)]
pub struct Cluster {
    shard: Arc<Shard>,
    hosts: Vec<HostState>,
    view: AtomicU64,
    clock: SampleClock,
    /// System id and timeline of the current generation.
    identity: Tagged<2>,
    /// Samples of the current generation.
    history: Mutex<Samples>,
    /// Newest finished sample, for those who wait for one.
    finished: watch::Sender<Finished>,
    /// Wakes the coordinator: a flag went up in `clock`, or a host asks for a probe.
    wake: Notify,
    /// Period at which lag is measured at least, in milliseconds: what sessions may rely on.
    lag_period_ms: AtomicU64,
    /// Period asked for by the configuration; `u64::MAX` for none.
    lag_required_ms: AtomicU64,
    /// Shortest period asked for by sessions lately; `u64::MAX` for none.
    lag_wanted_ms: AtomicU64,
    failover: failover::Shared,
    floor: floor::Floor,
}

/// A finished sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finished {
    /// Number of the sample; 0 before the first.
    number: u64,
    /// By flushed position.
    token: Token,
    /// By insert position.
    insert_token: Token,
}

/// Who is the primary, as sessions see it: state, host index and generation in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrimaryState {
    /// No host has been probed yet.
    NotChecked,
    /// No host is a usable primary.
    None,
    /// This host.
    Host(usize),
    /// Two hosts claim to be it: using either could split the data.
    Conflict,
    /// The only claimants are on an older timeline than one already seen.
    Outdated,
    /// The only claimant belongs to another cluster than the primary before.
    Foreign,
}

const VIEW_STATE_BITS: u32 = 8;
const VIEW_INDEX_BITS: u32 = 16;
const VIEW_INDEX_MAX: usize = (1 << VIEW_INDEX_BITS) - 1;

fn pack_view(generation: u64, primary: PrimaryState) -> u64 {
    let (state, index) = match primary {
        PrimaryState::NotChecked => (0, 0),
        PrimaryState::None => (1, 0),
        PrimaryState::Host(index) => (2, index.min(VIEW_INDEX_MAX) as u64),
        PrimaryState::Conflict => (3, 0),
        PrimaryState::Outdated => (4, 0),
        PrimaryState::Foreign => (5, 0),
    };
    generation << (VIEW_STATE_BITS + VIEW_INDEX_BITS) | index << VIEW_STATE_BITS | state
}

fn unpack_view(view: u64) -> (u64, PrimaryState) {
    let index = (view >> VIEW_STATE_BITS) as usize & VIEW_INDEX_MAX;
    let primary = match view & ((1 << VIEW_STATE_BITS) - 1) {
        0 => PrimaryState::NotChecked,
        1 => PrimaryState::None,
        2 => PrimaryState::Host(index),
        3 => PrimaryState::Conflict,
        4 => PrimaryState::Outdated,
        _ => PrimaryState::Foreign,
    };
    (view >> (VIEW_STATE_BITS + VIEW_INDEX_BITS), primary)
}

impl Cluster {
    /// A cluster of which nothing is known until its monitor runs. Of more than 65,535 hosts the
    /// rest is ignored.
    pub fn new(shard: Arc<Shard>) -> Arc<Self> {
        let hosts = shard.hosts.iter().take(VIEW_INDEX_MAX);
        let hosts = hosts.map(|host| HostState::new(Arc::clone(host))).collect();
        let nothing = Token { system_id: 0, timeline: 0, lsn: 0 };
        let finished = Finished { number: 0, token: nothing, insert_token: nothing };
        let lag_period_ms = millis(shard.health.interval);
        Arc::new(Self {
            shard,
            hosts,
            view: AtomicU64::new(pack_view(0, PrimaryState::NotChecked)),
            clock: SampleClock::default(),
            identity: Tagged::default(),
            history: Mutex::default(),
            finished: watch::Sender::new(finished),
            wake: Notify::new(),
            lag_period_ms: AtomicU64::new(lag_period_ms),
            lag_required_ms: AtomicU64::new(u64::MAX),
            lag_wanted_ms: AtomicU64::new(u64::MAX),
            failover: failover::Shared::default(),
            floor: floor::Floor::default(),
        })
    }

    /// The configured shard.
    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// All hosts, in the order of the configuration. An index into this is a host's name here.
    pub fn hosts(&self) -> &[HostState] {
        &self.hosts
    }

    /// Changes when the primary's host or timeline changes; 0 before the first primary was seen.
    pub fn generation(&self) -> u64 {
        unpack_view(self.view.load(Ordering::Acquire)).0
    }

    /// Samples of the primary's WAL position started so far.
    pub fn samples(&self) -> u64 {
        self.clock.number()
    }

    /// Index of the primary.
    ///
    /// # Errors
    /// 57P03 before the first check and while no primary is up, 55000 when two hosts claim to be
    /// it or the only one is on an outdated timeline or of another cluster. The detail names the
    /// hosts and their last errors. Only the error path takes locks.
    pub fn primary(&self) -> Result<usize, SqlError> {
        match unpack_view(self.view.load(Ordering::Acquire)).1 {
            PrimaryState::Host(index) => Ok(index),
            other => Err(self.no_primary(other)),
        }
    }

    /// To be called when the ReadyForQuery that ends a write has arrived, before anything else is
    /// done with it. One atomic operation, and a wake-up when the sampler sleeps.
    pub fn mark_write(&self) -> WriteMark {
        let generation = self.generation();
        let (sample, wake) = self.clock.mark();
        if wake {
            self.wake.notify_one();
        }
        WriteMark { generation, sample }
    }

    /// Chooses a replica that is healthy and fresh enough: of two random ones the less loaded.
    /// `seed` is any random number, new for every call.
    ///
    /// # Errors
    /// Why none would do; the read then belongs to the primary.
    pub fn pick_replica(&self, need: &Freshness, seed: u64) -> Result<usize, Stale> {
        let generation = self.generation();
        let lag_period_ms = self.lag_period_ms.load(Ordering::Acquire);
        if let Some(max_lag) = need.max_lag {
            self.want_lag(max_lag);
        }
        let (mut seen, mut random) = (0_u64, seed);
        let mut pair = (None, None);
        let mut stale = Stale::NoReplica;
        for (index, host) in self.hosts.iter().enumerate() {
            if let Err(reason) = self.fit(host, need, generation, lag_period_ms) {
                stale = stale.max(reason);
                continue;
            }
            // Two of all candidates, each pair as likely as any other (reservoir sampling).
            seen += 1;
            random = next_random(random);
            match (seen, (random >> 32) % seen) {
                (1, _) => pair.0 = Some(index),
                (2, _) => pair.1 = Some(index),
                (_, 0) => pair.0 = Some(index),
                (_, 1) => pair.1 = Some(index),
                _ => {}
            }
        }
        match pair {
            (Some(one), Some(other)) => Ok(self.less_loaded(one, other, random)),
            (Some(one), None) => Ok(one),
            (None, _) => {
                self.refused(stale);
                Err(stale)
            }
        }
    }

    /// Whether the token can be honoured at all, also by the primary.
    ///
    /// # Errors
    /// 22023 for a token of another cluster; 55000 for a token of a newer timeline than the
    /// primary's: reading from it could miss what the token stands for.
    pub fn check_token(&self, token: &Token) -> Result<(), SqlError> {
        let Some([system_id, timeline]) = self.identity.read(self.generation()) else {
            return Ok(());
        };
        if token.system_id != system_id {
            return Err(SqlError::error("22023", "the token belongs to another cluster").detail(
                format!("The primary's system identifier is {system_id}, the token is {token}."),
            ));
        }
        if u64::from(token.timeline) > timeline {
            let detail =
                format!("The primary known here is on timeline {timeline}, the token is {token}.");
            return Err(SqlError::error(
                "55000",
                "the token is of a newer timeline than the primary",
            )
            .detail(detail)
            .hint("Try again: the new primary may not have been noticed yet."));
        }
        Ok(())
    }

    /// For pools: a connection to the host could not be made, or was found dead. Voids what is
    /// known of the host's freshness, bans it from reads and has it probed at once. Not for
    /// errors that concern one user only (a wrong password): those would ban the host for all.
    pub fn report_failure(&self, host: usize, error: &str) {
        let Some(state) = self.hosts.get(host) else { return };
        let ban = state.use_failed(error, &self.shard.health, Instant::now());
        if let Some(ban) = ban {
            tracing::warn!(
                shard = self.shard.name,
                host = %state.host.address,
                ban_ms = millis(ban),
                error,
                "host banned: a pool could not use it"
            );
        }
        self.ask_probe(state);
    }

    /// For pools: a connection to the host ended in a way that need not mean the host's end (an
    /// idle connection was closed, an administrator ended it). Has it probed at once.
    pub fn suspect(&self, host: usize) {
        if let Some(state) = self.hosts.get(host) {
            self.ask_probe(state);
        }
    }

    /// For pools: the host was used. Cheap enough for every connection made.
    pub fn report_success(&self, host: usize) {
        if let Some(state) = self.hosts.get(host) {
            state.use_succeeded(Instant::now());
        }
    }

    /// A token that covers every synchronous commit acknowledged before the call, from a sample
    /// that started after it; all who wait share one. Cancel safe.
    ///
    /// # Errors
    /// 57P03 and 55000 as `primary`; 57014 when no sample finished within the health timeout.
    pub async fn token(&self) -> Result<Token, SqlError> {
        Ok(self.next_sample().await?.token)
    }

    /// As `token`, and also covers commits made with `synchronous_commit = off`.
    ///
    /// # Errors
    /// As `token`.
    pub async fn insert_token(&self) -> Result<Token, SqlError> {
        Ok(self.next_sample().await?.insert_token)
    }

    /// Asks for lag to be measured often enough for `max_lag`, from now on. Called once per
    /// database with `max_replica_lag`.
    pub fn require_lag_resolution(&self, max_lag: Duration) {
        let period_ms = millis(max_lag / LAG_RESOLUTION);
        self.lag_required_ms.fetch_min(period_ms, Ordering::AcqRel);
        self.wake.notify_one();
    }

    /// Waits until every host has been probed once, up or down, and it is decided which is the
    /// primary. Cancel safe.
    pub async fn checked(&self) {
        let mut finished = self.finished.subscribe();
        while unpack_view(self.view.load(Ordering::Acquire)).1 == PrimaryState::NotChecked {
            if finished.changed().await.is_err() {
                return;
            }
        }
    }

    async fn next_sample(&self) -> Result<Finished, SqlError> {
        self.primary()?;
        let mut finished = self.finished.subscribe();
        let (after, wake) = self.clock.want();
        if wake {
            self.wake.notify_one();
        }
        let wait = finished.wait_for(|finished| finished.number > after);
        let limit = self.shard.health.timeout + self.shard.health.sample_interval;
        match crate::timer::timeout(limit, wait).await {
            Ok(Ok(finished)) => Ok(*finished),
            _ => {
                self.primary()?;
                Err(SqlError::error(
                    "57014",
                    "the primary's WAL position could not be read in time",
                )
                .detail(format!("Waited {} ms.", millis(limit))))
            }
        }
    }

    /// Whether the host may serve the read. In the order of `Stale`: the reason of the host that
    /// came furthest is told.
    fn fit(
        &self,
        host: &HostState,
        need: &Freshness,
        generation: u64,
        lag_period_ms: u64,
    ) -> Result<(), Stale> {
        match host.standing() {
            Standing::NotAReplica => return Err(Stale::NoReplica),
            Standing::Banned => return Err(Stale::Banned),
            Standing::Strange => return Err(Stale::NotFollowing),
            Standing::Candidate if host.breaker.refuses() => return Err(Stale::Banned),
            Standing::Candidate => {}
        }
        if let Some(token) = &need.token
            && self.identity.read(generation) != Some([token.system_id, token.timeline.into()])
        {
            return Err(Stale::TokenVoid);
        }
        if let Some(max_lag) = need.max_lag {
            // The figure was right when it was published; by now it may be one period older.
            let lag = host.lag_ms(generation).and_then(|lag| lag.checked_add(lag_period_ms));
            if lag.is_none_or(|lag| Duration::from_millis(lag) > max_lag) {
                return Err(Stale::BehindMaxLag);
            }
        }
        if let Some(max_bytes) = need.max_lag_bytes
            && host.lag_bytes(generation).is_none_or(|bytes| bytes > max_bytes)
        {
            return Err(Stale::BehindMaxLag);
        }
        if let Some(token) = &need.token
            && host.replay_lsn(generation).is_none_or(|replay| replay < token.lsn)
        {
            return Err(Stale::BehindToken);
        }
        if !self.has_floor(host, generation) {
            return Err(Stale::BehindHandOver);
        }
        match need.mark {
            Some(mark) if host.covered_sample(generation, need.async_commit) <= mark.sample => {
                Err(Stale::BehindOwnWrite)
            }
            _ => Ok(()),
        }
    }

    fn less_loaded(&self, one: usize, other: usize, random: u64) -> usize {
        let (first, second) = (self.hosts[one].load_score(), self.hosts[other].load_score());
        match first.cmp(&second) {
            std::cmp::Ordering::Less => one,
            std::cmp::Ordering::Greater => other,
            std::cmp::Ordering::Equal if random & (1 << 16) == 0 => one,
            std::cmp::Ordering::Equal => other,
        }
    }

    /// Only what sampling more often can cure is worth waking the sampler for.
    fn refused(&self, stale: Stale) {
        let curable = match stale {
            Stale::BehindOwnWrite
            | Stale::BehindHandOver
            | Stale::BehindToken
            | Stale::BehindMaxLag => true,
            Stale::NoReplica | Stale::Banned | Stale::NotFollowing | Stale::TokenVoid => false,
        };
        if curable && self.clock.demand() {
            self.wake.notify_one();
        }
    }

    /// Notes that a session needs lag figures this often; the monitor forgets it after a while.
    fn want_lag(&self, max_lag: Duration) {
        let period_ms = millis(max_lag / LAG_RESOLUTION);
        if self.lag_wanted_ms.load(Ordering::Relaxed) > period_ms {
            self.lag_wanted_ms.fetch_min(period_ms, Ordering::AcqRel);
        }
    }

    /// One of the monitor's connections ended. If the server did it, it may be about to restart,
    /// and would then answer from an older state: what is known of its freshness is void before
    /// it can. Whether it is up, the probe that follows will tell.
    fn connection_lost(&self, host: usize) {
        if let Some(state) = self.hosts.get(host) {
            state.void();
            if state.is_up() {
                self.ask_probe(state);
            }
        }
    }

    fn ask_probe(&self, state: &HostState) {
        state.ask_probe();
        self.wake.notify_one();
    }
}

/// A step of splitmix64.
fn next_random(state: u64) -> u64 {
    let mixed = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

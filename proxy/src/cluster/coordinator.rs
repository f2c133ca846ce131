//! Owns the decisions of the monitor: when to probe which host, who the primary is, which
//! generation it is, and what each replica covers. It does no I/O and reads no clock: polls go out
//! and reports and times come in, so that tests can play any cluster.

mod election;
mod schedule;

use super::host::{Position, Role};
use super::probe::{At, Poll, Report, SampleTag, Seen};
use super::samples::Sample;
use super::{Cluster, Finished, PrimaryState, Token, millis, unpack_view};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// While replicas are behind, the period of samples grows to this part of the time since the last
/// write or refused reader: a replica paused for ever does not cost samples for ever, and waiting
/// gets longer by at most this part.
const BACK_OFF_PART: u32 = 8;
/// After a reader was refused, replicas are watched closely at least this many sample intervals.
const ASKED_LINGER: u32 = 10;
/// Writes alone are sampled so many times more slowly than refused readers.
const UNASKED_FACTOR: u32 = 10;
/// Time after which the lag periods sessions asked for are forgotten.
const LAG_WINDOW: Duration = Duration::from_secs(2);
/// Least time between probes of a host that is down, however often they are asked for.
const PROBE_SPACING: Duration = Duration::from_millis(100);
/// While there is no primary, the others are asked at periods of this part of the time without.
const SEARCH_PART: u32 = 64;

/// A host, as the coordinator sees it.
#[derive(Debug, Default)]
struct Record {
    /// A probe is on its way.
    busy: bool,
    last_poll: Option<Instant>,
    /// The last answer; `None` while down.
    seen: Option<Seen>,
    /// Incarnation in which `seen` was asked for.
    incarnation: u64,
    /// Position at which a replica was last proven to be on the current timeline.
    proven: Option<u64>,
    /// Whether `follows` was announced, to log changes only.
    follows: bool,
    /// Factor on the time to the next probe while down, drawn anew for each: several proxies do
    /// not ask at once.
    jitter: f64,
}

/// Who a generation belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    host: usize,
    system_id: u64,
    timeline: u32,
}

/// The deciding part of the monitor.
pub(super) struct Coordinator {
    cluster: Arc<Cluster>,
    records: Vec<Record>,
    generation: u64,
    identity: Option<Identity>,
    /// Since when there is no primary.
    missing_since: Option<Instant>,
    /// The sample that covers every write known so far.
    needed: u64,
    /// Last write or refused reader.
    last_event: Instant,
    /// Last refused reader.
    last_asked: Option<Instant>,
    /// Lag period asked for by sessions in the window before this one.
    lag_wanted_before_ms: u64,
    lag_window_end: Instant,
}

impl Coordinator {
    pub(super) fn new(cluster: Arc<Cluster>, now: Instant) -> Self {
        let records = cluster.hosts.iter().map(|_| Record::default()).collect();
        Self {
            cluster,
            records,
            generation: 0,
            identity: None,
            missing_since: Some(now),
            needed: 0,
            last_event: now,
            last_asked: None,
            lag_wanted_before_ms: u64::MAX,
            lag_window_end: now + LAG_WINDOW,
        }
    }

    /// Fills `polls` with the probes to send now.
    pub(super) fn polls(&mut self, now: Instant, polls: &mut Vec<Poll>) {
        if self.cluster.clock.take_demand().demand {
            (self.last_event, self.last_asked) = (now, Some(now));
        }
        self.roll_lag_window(now);
        self.end_bans(now);
        let due =
            |this: &Self, at: Instant, index| this.due_at(index, now).is_some_and(|due| due <= at);
        if !(0..self.records.len()).any(|index| due(self, now, index)) {
            return;
        }
        // Probes that are nearly due go along: one wake-up instead of several, and replicas are
        // asked right after the primary's sample was started.
        let soon = now + self.cluster.shard.health.sample_interval / 2;
        let primary = self.primary();
        if let Some(index) = primary.filter(|&index| due(self, soon, index)) {
            let poll = self.start_sample(index, now);
            polls.push(poll);
        }
        for index in 0..self.records.len() {
            if Some(index) != primary && due(self, soon, index) {
                polls.push(self.start(index, now, None));
            }
        }
    }

    /// When `polls` is to be called next, if nothing happens before.
    pub(super) fn next_wake(&self, now: Instant) -> Instant {
        let dues = (0..self.records.len()).filter_map(|index| self.due_at(index, now));
        let bans = self.cluster.hosts.iter().filter(|host| host.is_up() && host.is_banned());
        let bans = bans.filter_map(|host| host.banned_until());
        dues.chain(bans).min().unwrap_or(now + self.cluster.shard.health.interval)
    }

    /// As `next_wake`; when that is far away, sessions are asked to wake the sampler from now on,
    /// and what they wanted just before that counts.
    pub(super) fn sleep(&self, now: Instant) -> Instant {
        let wake = self.next_wake(now);
        if wake <= now + self.cluster.shard.health.sample_interval {
            return wake;
        }
        if self.cluster.clock.sleep().demand { now } else { self.next_wake(now) }
    }

    /// Ends what `sleep` began.
    pub(super) fn awake(&self) {
        self.cluster.clock.awake();
    }

    /// Takes in what became of a probe.
    pub(super) fn report(&mut self, report: Report, now: Instant) {
        let Report { poll, took, result } = report;
        let Some(record) = self.records.get_mut(poll.host) else { return };
        record.busy = false;
        let changed = match &result {
            Ok(seen) => self.host_up(poll, *seen, took, now),
            Err(error) => self.host_down(poll.host, error, now),
        };
        self.elect(now);
        if let (Some(tag), Ok(seen)) = (poll.sample, result) {
            self.take_sample(poll, tag, seen);
        }
        for index in 0..self.records.len() {
            self.measure(index, now);
        }
        // Who is woken by it finds all that follows from the report.
        if changed {
            self.cluster.finished.send_modify(|_| {});
            self.cluster.turn();
        }
    }

    fn start_sample(&mut self, index: usize, now: Instant) -> Poll {
        let pending = self.cluster.clock.start();
        if pending.written {
            (self.needed, self.last_event) = (pending.number, now);
        }
        let tag = SampleTag { number: pending.number, generation: self.generation };
        self.start(index, now, Some(tag))
    }

    fn start(&mut self, index: usize, now: Instant, sample: Option<SampleTag>) -> Poll {
        let state = &self.cluster.hosts[index];
        state.probe_answered();
        let record = &mut self.records[index];
        record.busy = true;
        record.last_poll = Some(now);
        record.jitter = rand::random_range(1.0..1.1);
        Poll { host: index, started: now, incarnation: state.incarnation(), sample }
    }

    fn primary(&self) -> Option<usize> {
        match unpack_view(self.cluster.view.load(Ordering::Relaxed)).1 {
            PrimaryState::Host(index) => Some(index),
            _ => None,
        }
    }

    /// A longer period is announced before it begins; a shorter one when a sample was taken.
    fn roll_lag_window(&mut self, now: Instant) {
        if now >= self.lag_window_end {
            let wanted = self.cluster.lag_wanted_ms.swap(u64::MAX, Ordering::AcqRel);
            self.lag_wanted_before_ms = wanted;
            self.lag_window_end = now + LAG_WINDOW;
        }
        let period_ms = millis(self.idle_period());
        self.cluster.lag_period_ms.fetch_max(period_ms, Ordering::AcqRel);
    }

    fn end_bans(&self, now: Instant) {
        for host in self.cluster.hosts.iter().filter(|host| host.end_ban(now)) {
            self.cluster.turn();
            tracing::info!(
                shard = self.cluster.shard.name,
                host = %host.host.address,
                "ban ended"
            );
        }
    }

    /// True when the host came up or changed its role.
    fn host_up(&mut self, poll: Poll, seen: Seen, took: Duration, now: Instant) -> bool {
        let state = &self.cluster.hosts[poll.host];
        let record = &mut self.records[poll.host];
        let role = match seen.at {
            At::Primary { .. } => Role::Primary,
            At::Replica { .. } => Role::Replica,
        };
        let (was_up, old_role) = (state.is_up(), state.role());
        state.probe_succeeded(role, seen.timeline(), took, now);
        let reachable_again = state.breaker.healthy(!was_up);
        if restarted(record.seen.as_ref(), &seen) {
            state.void();
            state.ask_probe();
            record.proven = None;
        }
        record.seen = Some(seen);
        record.incarnation = poll.incarnation;
        let changed = !was_up || old_role != role;
        if changed {
            tracing::info!(
                shard = self.cluster.shard.name,
                host = %state.host.address,
                role = role.word(),
                was = if was_up { old_role.word() } else { "down" },
                timeline = seen.timeline(),
                "host up"
            );
        }
        changed || reachable_again
    }

    /// True when the host was not known to be down. Whoever has something running there is told
    /// so, and again when the host is given up.
    fn host_down(&mut self, index: usize, error: &str, now: Instant) -> bool {
        let state = &self.cluster.hosts[index];
        let losses = state.losses();
        let (was_up, first) = (state.is_up(), state.failures() + state.probes() == 0);
        let ban = state.probe_failed(error, &self.cluster.shard.health, now);
        let record = &mut self.records[index];
        (record.seen, record.proven, record.follows) = (None, None, false);
        if was_up || first {
            tracing::warn!(
                shard = self.cluster.shard.name,
                host = %state.host.address,
                role = state.role().word(),
                ban_ms = ban.map(millis),
                error,
                "host down"
            );
        }
        let given_up = state.losses() != losses;
        if given_up {
            let failures = state.failures_in_row();
            let (shard, host) = (&self.cluster.shard.name, &state.host.address);
            tracing::warn!(shard, %host, failures, "host given up: what runs there is cut off");
        }
        if was_up || given_up {
            self.cluster.tell_loss();
        }
        was_up || first
    }

    fn take_sample(&mut self, poll: Poll, tag: SampleTag, seen: Seen) {
        let At::Primary { timeline, flush, insert } = seen.at else { return };
        let host = poll.host;
        let identity = Identity { host, system_id: seen.system_id, timeline };
        let current = tag.generation == self.generation && self.identity == Some(identity);
        if !current || self.primary() != Some(host) {
            return;
        }
        let sample = Sample { number: tag.number, started: poll.started, flush, insert };
        let grows = self.cluster.history().push(sample);
        if !grows {
            let shard = &self.cluster.shard.name;
            tracing::error!(shard, flush, "the primary's WAL position went backwards");
            self.begin_generation(identity);
            self.announce(PrimaryState::Host(host));
            return;
        }
        let token = Token { system_id: seen.system_id, timeline, lsn: flush };
        let insert_token = Token { lsn: insert, ..token };
        let period_ms = millis(self.idle_period());
        self.cluster.lag_period_ms.store(period_ms, Ordering::Release);
        self.cluster.finished.send_replace(Finished { number: tag.number, token, insert_token });
    }

    /// Publishes what a replica covers and how far it is behind.
    fn measure(&mut self, index: usize, now: Instant) {
        let Some(Seen { system_id, at: At::Replica { replay, .. }, .. }) = self.records[index].seen
        else {
            return;
        };
        let on_timeline = self.on_timeline(index);
        let record = &mut self.records[index];
        if on_timeline {
            record.proven = Some(replay);
        }
        let follows = match self.identity {
            Some(identity) => system_id == identity.system_id && record.proven.is_some(),
            // No primary was ever seen: any replica will do, as long as all are of one cluster.
            None => self.records.iter().filter_map(|r| r.seen).all(|s| s.system_id == system_id),
        };
        self.announce_follows(index, follows);
        if !on_timeline {
            return;
        }
        let covered = self.cluster.history().covered(replay);
        let position = match covered {
            Some(covered) => Position {
                replay,
                lag_bytes: covered.lag_bytes,
                lag_ms: millis(covered.lag(now)),
                sample: covered.sample,
                insert_sample: covered.insert_sample,
            },
            None => Position::unmeasured(replay),
        };
        let state = &self.cluster.hosts[index];
        if !state.publish(self.records[index].incarnation, self.generation, position) {
            state.ask_probe();
        }
    }

    /// Whether the position last seen is known to be on the current primary's timeline. Without a
    /// WAL receiver (the primary may be down) the restart point tells; it can be outdated, and
    /// then a position that has not moved since it was proven is still good.
    fn on_timeline(&mut self, index: usize) -> bool {
        let Some(identity) = self.identity else { return false };
        let record = &mut self.records[index];
        let Some(seen) = record.seen else { return false };
        let At::Replica { replay, received, checkpoint } = seen.at else { return false };
        if seen.system_id != identity.system_id {
            return false;
        }
        match (received, checkpoint) {
            (Some(received), _) if received != identity.timeline => {
                record.proven = None;
                false
            }
            (Some(_), _) => true,
            (None, Some(checkpoint)) if checkpoint == identity.timeline => true,
            (None, _) => record.proven == Some(replay),
        }
    }

    fn announce_follows(&mut self, index: usize, follows: bool) {
        let (record, state) = (&mut self.records[index], &self.cluster.hosts[index]);
        if state.follows() != follows {
            state.set_follows(follows);
            self.cluster.turn();
            tracing::info!(
                shard = self.cluster.shard.name,
                host = %state.host.address,
                timeline = state.timeline(),
                "{}",
                if follows { "replica follows the primary" } else { "replica does not follow" }
            );
        }
        record.follows = follows;
    }
}

/// A server that was started anew, or whose replay went back, answers from an older state.
fn restarted(old: Option<&Seen>, new: &Seen) -> bool {
    let Some(old) = old else { return false };
    let went_back = match (old.at, new.at) {
        (At::Replica { replay: old, .. }, At::Replica { replay: new, .. }) => new < old,
        (At::Primary { .. } | At::Replica { .. }, _) => false,
    };
    went_back || old.started_us != new.started_us || old.system_id != new.system_id
}

//! Owns a made-up world of hosts that crash, lag and are promoted at random, in which no session
//! may miss its own write.

use super::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// One host of the made-up world. A position is a number of writes; an LSN is ten times that.
#[derive(Clone)]
struct WorldHost {
    /// Ids of the writes in its WAL, in order.
    log: Vec<u64>,
    /// How much of it is flushed (primary) or replayed (replica).
    position: usize,
    timeline: u32,
    primary: bool,
    up: bool,
    started_us: i64,
}

/// Servers as they truly are, a coordinator that sees them late, and sessions that must not notice.
struct World {
    play: Play,
    hosts: Vec<WorldHost>,
    /// Probes sent, and those answered but not yet reported.
    sent: Vec<Poll>,
    answered: Vec<(Poll, Result<Seen, String>)>,
    /// (id of the write, what reads it back)
    sessions: Vec<(u64, Freshness)>,
    next_id: u64,
    random: StdRng,
    /// The last primary the monitor told of.
    known_primary: usize,
    reads: u64,
    refused: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let host = |index| WorldHost {
            log: Vec::new(),
            position: 0,
            timeline: 1,
            primary: index == 0,
            up: true,
            started_us: 1,
        };
        let ban = Duration::from_millis(10);
        let interval = Duration::from_millis(100);
        let health = Health { interval, ban_min: ban, ban_max: ban, ..health() };
        Self {
            play: Play::with_health(4, health),
            hosts: (0..4).map(host).collect(),
            sent: Vec::new(),
            answered: Vec::new(),
            sessions: Vec::new(),
            next_id: 1,
            random: StdRng::seed_from_u64(seed),
            known_primary: 0,
            reads: 0,
            refused: 0,
        }
    }

    fn newest_primary(&self) -> usize {
        let primaries = (0..self.hosts.len()).filter(|&index| self.hosts[index].primary);
        primaries
            .max_by_key(|&index| self.hosts[index].timeline)
            .expect("invariant: there is a primary")
    }

    fn step(&mut self) {
        let host = self.random.random_range(0..self.hosts.len());
        match self.random.random_range(0..1000) {
            0..200 => self.tick(),
            200..380 => self.answer_one(),
            380..560 => self.report_one(),
            560..600 => self.write(),
            600..800 => self.read(),
            800..970 => self.replay(host),
            970..974 => self.crash(host),
            974..998 => self.start(host),
            _ => self.promote(host),
        }
    }

    fn tick(&mut self) {
        self.play.now += Duration::from_millis(self.random.random_range(0..30));
        let polls = self.play.polls();
        self.sent.extend(polls);
        if self.random.random_bool(0.5) {
            self.play.coordinator.sleep(self.play.now);
            self.play.coordinator.awake();
        }
    }

    /// The server evaluates a probe.
    fn answer_one(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let poll = self.sent.swap_remove(self.random.random_range(0..self.sent.len()));
        let host = &self.hosts[poll.host];
        let position = host.position as u64 * 10;
        let at = match host.primary {
            true => At::Primary {
                timeline: host.timeline,
                flush: position,
                insert: host.log.len() as u64 * 10,
            },
            false if self.random.random_bool(0.8) => {
                At::Replica { replay: position, received: Some(host.timeline), checkpoint: None }
            }
            false => At::Replica { replay: position, received: None, checkpoint: Some(1) },
        };
        let result = match host.up {
            true => Ok(Seen { system_id: SYSTEM, started_us: host.started_us, at }),
            false => down(),
        };
        self.answered.push((poll, result));
    }

    fn report_one(&mut self) {
        if self.answered.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.answered.len());
        let (poll, result) = self.answered.swap_remove(index);
        self.play.report(poll, result);
        if let Ok(primary) = self.play.cluster.primary() {
            self.known_primary = primary;
        }
    }

    fn write(&mut self) {
        let Ok(index) = self.play.cluster.primary() else { return };
        let host = &mut self.hosts[index];
        if !host.up || !host.primary {
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        host.log.push(id);
        let async_commit = self.random.random_bool(0.3);
        if !async_commit {
            host.position = host.log.len();
        }
        let mut need = Freshness { async_commit, ..self.play.after_write() };
        if self.random.random_bool(0.2) {
            need = Freshness::default();
        }
        // Some go by a token from a sample that started later instead; see `read`.
        self.sessions.push((id, need));
        if self.sessions.len() > 20 {
            self.sessions.remove(0);
        }
    }

    fn read(&mut self) {
        if self.sessions.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.sessions.len());
        let (id, mut need) = self.sessions[index];
        if let (Some(mark), true) = (need.mark, self.random.random_bool(0.1)) {
            let finished = *self.play.cluster.finished.borrow();
            if finished.number > mark.sample {
                let by_insert = need.async_commit;
                let token = if by_insert { finished.insert_token } else { finished.token };
                need = Freshness { token: Some(token), ..Freshness::default() };
                self.sessions[index].1 = need;
            }
        }
        let seed = self.random.random();
        match self.play.cluster.pick_replica(&need, seed) {
            Err(_) => self.refused += 1,
            Ok(host) if need.mark.is_none() && need.token.is_none() => {
                assert!(host < self.hosts.len());
            }
            Ok(host) => {
                self.reads += 1;
                let host = &self.hosts[host];
                let visible = host.log[..host.position].contains(&id);
                // Lost with a promotion: the primary has it no more. With two promotions on end, a
                // host that was passed over can bring it back before anybody has noticed; until
                // then the primary that is known does not have it either.
                let has = |primary: usize| self.hosts[primary].log.contains(&id);
                let lost = !has(self.newest_primary()) || !has(self.known_primary);
                // A server that is down answers nobody.
                assert!(visible || lost || !host.up, "write {id} is not seen; {need:?}");
            }
        }
    }

    /// A replica receives and replays some of what its primary has flushed, or follows a new one.
    fn replay(&mut self, index: usize) {
        let leader = self.hosts[self.newest_primary()].clone();
        let steps = self.random.random_range(0..5);
        let host = &mut self.hosts[index];
        if host.primary || !host.up || !leader.up {
            return;
        }
        if host.timeline < leader.timeline {
            // Impossible for one that has replayed what the new primary never had.
            if !leader.log.starts_with(&host.log[..host.position]) {
                return;
            }
            host.timeline = leader.timeline;
        }
        host.log = leader.log[..leader.position.max(host.position)].to_vec();
        host.position = (host.position + steps).min(host.log.len());
    }

    fn crash(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if !host.up {
            return;
        }
        host.up = false;
        host.started_us += 1;
        // What was not flushed is gone; a replica starts again from an older state.
        host.log.truncate(host.position);
        if !host.primary {
            host.position -= self.random.random_range(0..=host.position.min(10));
        }
        self.play.cluster.connection_lost(index);
    }

    fn start(&mut self, index: usize) {
        self.hosts[index].up = true;
    }

    fn promote(&mut self, index: usize) {
        let newest = self.hosts[self.newest_primary()].timeline;
        let host = &mut self.hosts[index];
        if host.primary || !host.up {
            // Sometimes a former primary comes back as a replica, rebuilt from nothing.
            if host.primary && host.timeline < newest {
                *host = WorldHost {
                    log: Vec::new(),
                    position: 0,
                    timeline: newest,
                    primary: false,
                    up: true,
                    started_us: host.started_us + 1,
                };
                self.play.cluster.connection_lost(index);
            }
            return;
        }
        host.log.truncate(host.position);
        host.primary = true;
        host.timeline = newest + 1;
    }
}

#[test]
fn whatever_happens_no_session_misses_its_own_write() {
    let seed: u64 = std::env::var("PGMANIFOLD_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random);
    println!("PGMANIFOLD_SEED={seed}");
    let mut seeds = StdRng::seed_from_u64(seed);
    let (mut reads, mut refused) = (0, 0);
    for _ in 0..30 {
        let mut world = World::new(seeds.random());
        for _ in 0..4000 {
            world.step();
        }
        reads += world.reads;
        refused += world.refused;
    }
    println!("{reads} reads from replicas, {refused} refused");
    assert!(reads > 3000, "too few reads to mean anything: {reads}, refused {refused}");
}

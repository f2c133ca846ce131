//! Plays clusters to the coordinator: answers are made up, time is an argument, nothing sleeps.

use super::coordinator::Coordinator;
use super::probe::{At, Poll, Report, Seen};
use super::{Cluster, Freshness, Stale, Token};
use crate::config::model::{
    Address, Failover, Health, Host, MonitorLogin, ServerTls, ServerTlsMode, Shard,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SYSTEM: u64 = 7_318_349_817_239;

fn shard(hosts: usize, health: Health) -> Arc<Shard> {
    let host = |index| {
        Arc::new(Host {
            address: Address::Tcp(format!("host{index}"), 5432),
            tls: ServerTls {
                mode: ServerTlsMode::Disable,
                root_cert_file: None,
                root_cert_digest: None,
            },
            connect_timeout: Duration::from_secs(1),
        })
    };
    let monitor =
        MonitorLogin { user: "monitor".into(), password: None, database: "postgres".into() };
    let failover = Failover { wait: Duration::from_secs(10), queue_max: 2 };
    let hosts = (0..hosts).map(host).collect();
    Arc::new(Shard {
        name: "main".into(),
        hosts,
        recovery: monitor.clone(),
        monitor,
        health,
        failover,
    })
}

fn health() -> Health {
    Health {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        ban_min: Duration::from_secs(1),
        ban_max: Duration::from_secs(60),
        sample_interval: Duration::from_millis(10),
        failures_max: 2,
    }
}

/// A coordinator and the clock it lives by.
struct Play {
    cluster: Arc<Cluster>,
    coordinator: Coordinator,
    now: Instant,
    polls: u64,
}

fn seen(at: At) -> Result<Seen, String> {
    Ok(Seen { system_id: SYSTEM, started_us: 1, at })
}

fn primary(timeline: u32, flush: u64) -> Result<Seen, String> {
    seen(At::Primary { timeline, flush, insert: flush })
}

fn replica(timeline: u32, replay: u64) -> Result<Seen, String> {
    seen(At::Replica { replay, received: Some(timeline), checkpoint: None })
}

fn down() -> Result<Seen, String> {
    Err("connection refused".into())
}

impl Play {
    fn new(hosts: usize) -> Self {
        Self::with_health(hosts, health())
    }

    fn with_health(hosts: usize, health: Health) -> Self {
        let cluster = Cluster::new(shard(hosts, health));
        let now = Instant::now();
        let coordinator = Coordinator::new(Arc::clone(&cluster), now);
        Self { cluster, coordinator, now, polls: 0 }
    }

    fn polls(&mut self) -> Vec<Poll> {
        let mut polls = Vec::new();
        self.coordinator.polls(self.now, &mut polls);
        polls
    }

    fn report(&mut self, poll: Poll, result: Result<Seen, String>) {
        let took = Duration::from_micros(100);
        self.coordinator.report(Report { poll, took, result }, self.now);
    }

    /// Lives for a while; every probe is answered at once by what `answers` says.
    fn run(&mut self, duration: Duration, answers: &[Result<Seen, String>]) {
        let end = self.now + duration;
        loop {
            for poll in self.polls() {
                self.polls += 1;
                self.report(poll, answers[poll.host].clone());
            }
            let wake = self.coordinator.sleep(self.now);
            self.coordinator.awake();
            if wake > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(wake);
        }
    }

    fn run_ms(&mut self, ms: u64, answers: &[Result<Seen, String>]) {
        self.run(Duration::from_millis(ms), answers);
    }

    fn pick(&self, need: &Freshness) -> Result<usize, Stale> {
        self.cluster.pick_replica(need, rand::random())
    }

    fn after_write(&self) -> Freshness {
        Freshness { mark: Some(self.cluster.mark_write()), ..Freshness::default() }
    }
}

#[test]
fn a_write_is_read_from_a_replica_only_when_replayed() {
    let mut play = Play::new(2);
    assert_eq!(play.cluster.primary().unwrap_err().sqlstate, "57P03");
    assert_eq!(play.pick(&Freshness::default()), Err(Stale::NoReplica));
    play.run_ms(100, &[primary(1, 100), replica(1, 100)]);
    assert_eq!(play.cluster.primary(), Ok(0));
    assert_eq!(play.cluster.generation(), 1);
    assert_eq!(play.pick(&Freshness::default()), Ok(1));
    let need = play.after_write();
    assert_eq!(play.pick(&need), Err(Stale::BehindOwnWrite));
    play.run_ms(500, &[primary(1, 200), replica(1, 199)]);
    assert_eq!(play.pick(&need), Err(Stale::BehindOwnWrite));
    assert_eq!(play.cluster.hosts()[1].lag_bytes(1), Some(1));
    play.run_ms(100, &[primary(1, 200), replica(1, 200)]);
    assert_eq!(play.pick(&need), Ok(1));
}

#[test]
fn an_asynchronous_commit_needs_the_insert_position() {
    let mut play = Play::new(2);
    let behind = seen(At::Primary { timeline: 1, flush: 100, insert: 200 });
    play.run_ms(100, &[behind.clone(), replica(1, 100)]);
    let mut need = play.after_write();
    play.run_ms(1000, &[behind, replica(1, 100)]);
    assert_eq!(play.pick(&need), Ok(1));
    need.async_commit = true;
    assert_eq!(play.pick(&need), Err(Stale::BehindOwnWrite));
    play.run_ms(200, &[primary(1, 200), replica(1, 200)]);
    assert_eq!(play.pick(&need), Ok(1));
}

#[test]
fn a_promotion_voids_marks_and_tokens() {
    let mut play = Play::new(3);
    play.run_ms(100, &[primary(1, 100), replica(1, 100), replica(1, 100)]);
    let mark = play.after_write();
    let token = Token { system_id: SYSTEM, timeline: 1, lsn: 100 };
    let by_token = Freshness { token: Some(token), ..Freshness::default() };
    play.run_ms(100, &[primary(1, 200), replica(1, 200), replica(1, 200)]);
    assert!(play.pick(&mark).is_ok() && play.pick(&by_token).is_ok());
    // Host 1 is promoted; host 2 still follows the old primary, and is far ahead by numbers.
    play.run_ms(2000, &[down(), primary(2, 210), replica(1, 9999)]);
    assert_eq!((play.cluster.primary(), play.cluster.generation()), (Ok(1), 2));
    assert_eq!(play.pick(&mark), Err(Stale::NotFollowing));
    assert_eq!(play.pick(&Freshness::default()), Err(Stale::NotFollowing));
    // It follows now, but has not replayed a sample of the new timeline.
    play.run_ms(2000, &[down(), primary(2, 310), replica(2, 209)]);
    assert_eq!(play.pick(&Freshness::default()), Ok(2));
    assert_eq!(play.pick(&mark), Err(Stale::BehindOwnWrite));
    assert_eq!(play.pick(&by_token), Err(Stale::TokenVoid));
    assert!(play.cluster.check_token(&token).is_ok());
    play.run_ms(2000, &[down(), primary(2, 310), replica(2, 310)]);
    assert_eq!(play.pick(&mark), Ok(2));
    assert_eq!(play.pick(&by_token), Err(Stale::TokenVoid));
    // The former primary comes back as it was, while the new one is away.
    play.run_ms(2000, &[primary(1, 200), down(), replica(2, 310)]);
    let error = play.cluster.primary().unwrap_err();
    assert_eq!(error.sqlstate, "55000");
    assert!(error.detail.unwrap().contains("host1:5432 (down"));
    assert_eq!(play.pick(&mark), Ok(2));
}

#[test]
fn a_token_of_a_newer_timeline_or_another_cluster_is_refused() {
    let mut play = Play::new(2);
    play.run_ms(100, &[primary(1, 100), replica(1, 100)]);
    let token = Token { system_id: SYSTEM, timeline: 2, lsn: 1 };
    assert_eq!(play.cluster.check_token(&token).unwrap_err().sqlstate, "55000");
    let token = Token { system_id: 1, timeline: 1, lsn: 1 };
    assert_eq!(play.cluster.check_token(&token).unwrap_err().sqlstate, "22023");
    let token = Token { system_id: SYSTEM, timeline: 1, lsn: 101 };
    assert!(play.cluster.check_token(&token).is_ok());
    let need = Freshness { token: Some(token), ..Freshness::default() };
    assert_eq!(play.pick(&need), Err(Stale::BehindToken));
}

#[test]
fn two_primaries_are_none_and_reads_go_on() {
    let mut play = Play::new(3);
    play.run_ms(2000, &[primary(1, 100), primary(1, 100), replica(1, 100)]);
    let error = play.cluster.primary().unwrap_err();
    assert_eq!((&*error.sqlstate, play.cluster.generation()), ("55000", 0));
    assert_eq!(play.pick(&Freshness::default()), Ok(2));
    // The higher timeline wins, whatever the order.
    play.run_ms(2000, &[primary(1, 100), primary(2, 100), replica(2, 100)]);
    assert_eq!(play.cluster.primary(), Ok(1));
    let other = Ok(Seen { system_id: 1, started_us: 1, at: primary(3, 1).unwrap().at });
    play.run_ms(2000, &[other, primary(2, 100), replica(2, 100)]);
    assert_eq!(play.cluster.primary().unwrap_err().sqlstate, "55000");
}

#[test]
fn a_former_primary_is_fenced_also_when_only_a_replica_tells() {
    // A new process that never saw the newer primary: a replica follows somebody unknown.
    let mut play = Play::new(3);
    play.run_ms(2000, &[primary(1, 100), replica(2, 100), down()]);
    let error = play.cluster.primary().unwrap_err();
    assert_eq!(error.message, "the only primary is on an outdated timeline");
    assert_eq!(play.cluster.generation(), 0);
    assert!(play.cluster.hosts()[0].is_fenced() && play.cluster.primary_may_return());
    // It is not forgotten when that replica goes, nor by a reload.
    play.run_ms(2000, &[primary(1, 100), down(), down()]);
    assert_eq!(play.cluster.primary().unwrap_err().sqlstate, "55000");
    let mut next = Play::new(3);
    next.cluster.take_over(&play.cluster);
    next.run_ms(2000, &[primary(1, 100), down(), down()]);
    assert_eq!(next.cluster.primary().unwrap_err().sqlstate, "55000");
    // The newer one is found; the former one stays fenced until it follows.
    next.run_ms(2000, &[primary(1, 100), replica(2, 100), primary(2, 100)]);
    assert_eq!(next.cluster.primary(), Ok(2));
    let cluster = Arc::clone(&next.cluster);
    let old = &cluster.hosts()[0];
    let losses = old.losses();
    assert!(old.is_fenced() && losses > 0 && !next.cluster.hosts()[2].is_fenced());
    next.run_ms(2000, &[replica(2, 100), replica(2, 100), primary(2, 100)]);
    assert!(!old.is_given_up() && old.follows());
    assert_eq!(old.losses(), losses);
}

#[test]
fn a_primary_of_another_cluster_is_not_taken_for_ours() {
    let mut play = Play::new(2);
    let other =
        |timeline| Ok(Seen { system_id: 1, started_us: 9, at: primary(timeline, 9).unwrap().at });
    play.run_ms(2000, &[primary(4, 100), replica(4, 100)]);
    play.run_ms(3000, &[down(), other(9)]);
    let error = play.cluster.primary().unwrap_err();
    assert_eq!(error.message, "the only primary belongs to another cluster");
    assert!(play.cluster.hosts()[1].is_fenced() && !play.cluster.primary_may_return());
    // A server made anew where the primary stood is believed.
    play.run_ms(3000, &[other(1), down()]);
    assert_eq!(play.cluster.primary(), Ok(0));
}

#[test]
fn a_host_is_given_up_after_so_many_failed_checks() {
    let mut play = Play::new(2);
    let told = Arc::new(tokio::sync::Notify::new());
    play.cluster.on_loss(&told);
    play.run_ms(2000, &[primary(1, 100), replica(1, 100)]);
    let host = Arc::clone(&play.cluster);
    let host = &host.hosts()[0];
    let start = play.now;
    while host.failures_in_row() < 2 {
        assert!(!host.is_given_up(), "after {} failures", host.failures_in_row());
        let poll = play.polls().into_iter().find(|poll| poll.host == 0);
        if let Some(poll) = poll {
            play.report(poll, down());
        }
        play.now += Duration::from_millis(10);
    }
    assert!(host.is_given_up() && host.losses() == 1);
    assert!(play.now - start < Duration::from_millis(1300), "{:?}", play.now - start);
    play.run_ms(20_000, &[down(), replica(1, 100)]);
    assert_eq!(host.losses(), 1, "once for one outage");
    play.run_ms(2000, &[primary(1, 100), replica(1, 100)]);
    assert!(!host.is_given_up() && play.cluster.primary() == Ok(0));
}

#[test]
fn a_promotion_is_looked_for_often_while_somebody_waits() {
    let mut play = Play::new(2);
    play.run_ms(2000, &[primary(1, 100), replica(1, 100)]);
    play.run_ms(60_000, &[down(), replica(1, 100)]);
    play.polls = 0;
    play.run_ms(5000, &[down(), replica(1, 100)]);
    assert!(play.polls <= 15, "nobody waits: {}", play.polls);
    let waiting = play.cluster.start_waiting().unwrap();
    let second = play.cluster.start_waiting().unwrap();
    assert!(play.cluster.start_waiting().is_none(), "two at most");
    play.polls = 0;
    play.run_ms(1000, &[down(), replica(1, 100)]);
    assert!((8..=14).contains(&play.polls), "somebody waits: {}", play.polls);
    let turns = play.cluster.turns();
    let before = *turns.borrow();
    play.run_ms(110, &[down(), primary(2, 100)]);
    assert!(*turns.borrow() > before && play.cluster.primary() == Ok(1));
    drop((waiting, second));
    assert_eq!(play.cluster.waiting(), 0);
}

#[test]
fn reads_go_on_without_a_primary_and_a_replica_of_another_cluster_is_never_read() {
    let mut play = Play::new(3);
    let other = Ok(Seen { system_id: 1, started_us: 1, at: replica(1, 500).unwrap().at });
    play.run_ms(100, &[primary(1, 100), replica(1, 100), other.clone()]);
    let need = play.after_write();
    play.run_ms(100, &[primary(1, 200), replica(1, 200), other.clone()]);
    // The WAL receiver ends with the primary, and the restart point is of an older timeline.
    let alone = seen(At::Replica { replay: 200, received: None, checkpoint: Some(7) });
    play.run_ms(5000, &[down(), alone, other]);
    assert_eq!(play.cluster.primary().unwrap_err().sqlstate, "57P03");
    for _ in 0..100 {
        assert_eq!(play.pick(&need), Ok(1));
        assert_eq!(play.pick(&Freshness::default()), Ok(1));
    }
    assert_eq!(play.cluster.hosts()[1].lag_ms(1), Some(0));
}

#[test]
fn an_answer_from_before_a_failure_counts_for_nothing() {
    let mut play = Play::new(2);
    play.run_ms(100, &[primary(1, 100), replica(1, 100)]);
    let need = play.after_write();
    play.run_ms(15, &[primary(1, 200), replica(1, 100)]);
    play.now += Duration::from_millis(20);
    let polls = play.polls();
    // The replica has replayed the write and says so; before that is heard, it crashes.
    play.cluster.connection_lost(1);
    for poll in polls {
        play.report(poll, [primary(1, 200), replica(1, 200)][poll.host].clone());
    }
    assert_eq!(play.pick(&need), Err(Stale::BehindOwnWrite));
    // It was restarted and replays again.
    play.run_ms(50, &[primary(1, 200), replica(1, 150)]);
    assert_eq!(play.pick(&need), Err(Stale::BehindOwnWrite));
    play.run_ms(50, &[primary(1, 200), replica(1, 200)]);
    assert_eq!(play.pick(&need), Ok(1));
    // A restart nobody noticed shows by the start time.
    let again = |replay| Ok(Seen { started_us: 2, ..replica(1, replay).unwrap() });
    play.now += Duration::from_secs(2);
    let polls = play.polls();
    for poll in polls {
        play.report(poll, [primary(1, 200), again(150)][poll.host].clone());
    }
    assert_eq!(play.pick(&need), Err(Stale::BehindOwnWrite));
}

#[test]
fn failures_ban_with_back_off_and_the_host_returns() {
    let mut play = Play::new(2);
    let good = [primary(1, 100), replica(1, 100)];
    play.run_ms(100, &good);
    let mut last = Duration::ZERO;
    for round in 0..4 {
        play.now = play.now.max(Instant::now());
        play.cluster.report_failure(1, "connection refused");
        play.cluster.report_failure(1, "connection refused");
        assert_eq!(play.pick(&Freshness::default()), Err(Stale::Banned));
        let ban = play.cluster.hosts()[1].banned_until().unwrap() - Instant::now();
        assert!(round == 0 || ban > last + last / 2, "{ban:?} after {last:?}");
        last = ban;
        // `report_failure` goes by the real clock; the play is brought to the end of the ban.
        play.cluster.hosts()[1].end_ban(Instant::now() + ban);
        play.run_ms(10, &good);
        assert_eq!(play.pick(&Freshness::default()), Ok(1));
    }
    assert_eq!(play.cluster.hosts()[1].failures(), 8);
    // Down for an hour is one failure; it is used as soon as it is up.
    play.run_ms(3_600_000, &[primary(1, 100), down()]);
    assert_eq!(play.pick(&Freshness::default()), Err(Stale::NoReplica));
    play.run_ms(2_000, &good);
    assert_eq!(play.pick(&Freshness::default()), Ok(1));
}

#[test]
fn a_replica_paused_for_ever_does_not_cost_samples_for_ever() {
    let mut play = Play::new(3);
    let paused = [primary(1, 200), replica(1, 100), replica(1, 200)];
    play.run_ms(10_000, &[primary(1, 100), replica(1, 100), replica(1, 100)]);
    assert!(play.polls <= 3 * 15, "idle: {}", play.polls);
    play.polls = 0;
    let need = play.after_write();
    play.run_ms(100, &paused);
    assert!((2..=8).contains(&play.polls), "a write is followed at leisure: {}", play.polls);
    play.run_ms(60_000, &paused);
    assert!(play.polls <= 300, "nobody asks: {}", play.polls);
    // A refused reader wakes the sampler; both healthy and paused were asked.
    play.polls = 0;
    let paused_only = [primary(1, 200), replica(1, 100), down()];
    play.run_ms(3_000, &paused_only);
    assert_eq!(play.pick(&need), Err(Stale::BehindOwnWrite));
    play.polls = 0;
    play.run_ms(50, &paused_only);
    assert!(play.polls >= 4, "somebody asks: {}", play.polls);
}

#[test]
fn lag_is_measured_often_enough_and_old_figures_do_not_count() {
    let mut play = Play::new(2);
    let mut need = Freshness { max_lag: Some(Duration::from_millis(400)), ..Freshness::default() };
    play.run_ms(5_000, &[primary(1, 100), replica(1, 100)]);
    // The figure may be a second old by now.
    assert_eq!(play.pick(&need), Err(Stale::BehindMaxLag));
    play.run_ms(200, &[primary(1, 100), replica(1, 100)]);
    assert_eq!(play.pick(&need), Ok(1));
    for position in 101..130 {
        play.run_ms(100, &[primary(1, position), replica(1, 100)]);
        let _ = play.pick(&need);
    }
    assert_eq!(play.pick(&need), Err(Stale::BehindMaxLag));
    let lag_ms = play.cluster.hosts()[1].lag_ms(1).unwrap();
    assert!((2_700..3_100).contains(&lag_ms), "{lag_ms}");
    need = Freshness { max_lag_bytes: Some(28), ..Freshness::default() };
    assert_eq!(play.pick(&need), Err(Stale::BehindMaxLag));
    need.max_lag_bytes = Some(29);
    assert_eq!(play.pick(&need), Ok(1));
    play.cluster.require_lag_resolution(Duration::from_millis(400));
    play.polls = 0;
    play.run_ms(10_000, &[primary(1, 100), replica(1, 100)]);
    assert!((180..=220).contains(&play.polls), "{}", play.polls);
}

#[test]
fn the_less_loaded_of_two_is_chosen_and_equals_share() {
    let mut play = Play::new(4);
    let good = [primary(1, 1), replica(1, 1), replica(1, 1), replica(1, 1)];
    play.run_ms(100, &good);
    let mut counts = [0_u32; 4];
    for _ in 0..3000 {
        counts[play.pick(&Freshness::default()).unwrap()] += 1;
    }
    assert_eq!(counts[0], 0);
    assert!(counts[1..].iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    let outstanding = &play.cluster.hosts()[2].outstanding;
    outstanding.store(50, std::sync::atomic::Ordering::Relaxed);
    for _ in 0..1000 {
        assert_ne!(play.pick(&Freshness::default()), Ok(2));
    }
}

mod world;

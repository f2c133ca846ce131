//! The cluster monitor on real servers, without the rest of the proxy: who is primary, which
//! replica may serve which read, and how both follow what happens to the servers.

use crate::failure::breakable;
use pgmanifold::backend::connect::Connector;
use pgmanifold::cluster::{Cluster, Freshness, Stale, Token, monitor};
use pgmanifold::demo::postgres::{PgCluster, Postgres, Stop};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::{cluster, fixture};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Longest wait for anything that has no bound of its own.
const LIMIT: Duration = Duration::from_secs(15);
/// Pause between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Time between probes of a host that nothing happens to.
const INTERVAL: Duration = Duration::from_millis(400);
/// Longest probe.
const TIMEOUT: Duration = Duration::from_millis(600);
/// What the machine may add to the two, with other tests beside.
const SLACK: Duration = Duration::from_secs(1);
/// Longest test, starting the servers included.
const TEST_SECONDS: u64 = 90;

/// Requests that a host seems to have running when another is to be chosen.
const BUSY: u32 = 1 << 20;

/// A cluster with its monitor on a thread of its own, as in the proxy.
struct Watched {
    cluster: Arc<Cluster>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watched {
    fn start(servers: &PgCluster) -> Watched {
        let hosts: Vec<_> = servers.servers().map(Postgres::address).collect();
        let config = ConfigText::new(&hosts, "postgres")
            .shard(&format!("health_interval_ms = {}", INTERVAL.as_millis()))
            .shard(&format!("health_timeout_ms = {}", TIMEOUT.as_millis()));
        let config = pgmanifold::config::parse(&config.text(), "test.toml").expect("valid");
        let connector = Arc::new(Connector::new(&config).expect("no certificates"));
        let cluster = Cluster::new(Arc::clone(&config.shards[0]));
        let (stop, stopped) = oneshot::channel();
        let watched = Arc::clone(&cluster);
        let thread = std::thread::spawn(move || {
            runtime().block_on(monitor(watched, connector, async { drop(stopped.await) }));
        });
        Watched { cluster, stop: Some(stop), thread: Some(thread) }
    }

    /// Whether this host may serve such a read. All others are made to look busy, so that it is
    /// chosen whenever it is a candidate.
    fn serves(&self, host: usize, need: &Freshness) -> bool {
        let hosts = self.cluster.hosts();
        let others = || hosts.iter().enumerate().filter(|(index, _)| *index != host);
        others().for_each(|(_, other)| _ = other.outstanding.fetch_add(BUSY, Ordering::Relaxed));
        let picked = self.cluster.pick_replica(need, rand::random());
        others().for_each(|(_, other)| _ = other.outstanding.fetch_sub(BUSY, Ordering::Relaxed));
        picked == Ok(host)
    }

    fn wait_serves(&self, host: usize, need: &Freshness) {
        until(&format!("host {host} serves {need:?}"), LIMIT, || self.serves(host, need));
    }

    fn wait_serves_not(&self, host: usize, limit: Duration) {
        until(&format!("host {host} is left alone"), limit, || !self.serves(host, &ANY));
    }

    fn wait_primary(&self, host: usize) {
        until(&format!("host {host} is primary"), LIMIT, || self.cluster.primary() == Ok(host));
    }

    /// Waits until writes are refused, and returns why: SQLSTATE and message.
    fn wait_refused(&self, sqlstate: &str) -> String {
        let refused = || self.cluster.primary().is_err_and(|error| error.sqlstate == sqlstate);
        until(&format!("refused with {sqlstate}"), LIMIT, refused);
        self.cluster.primary().map_or_else(|error| error.message.into_owned(), |_| String::new())
    }

    /// Waits until the host was probed twice more: the second of them began after this call.
    fn wait_probed(&self, host: usize) {
        let host = &self.cluster.hosts()[host];
        let (before, limit) = (host.probes(), INTERVAL * 2 + LIMIT);
        until("probed twice more", limit, || host.probes() >= before + 2);
    }

    fn token(&self) -> Token {
        runtime().block_on(self.cluster.token()).expect("a token")
    }

    /// A read that must see what was written before this call.
    fn after_write(&self) -> Freshness {
        Freshness { mark: Some(self.cluster.mark_write()), ..ANY }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A monitor that panicked has said so itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A read that needs nothing.
const ANY: Freshness =
    Freshness { mark: None, token: None, max_lag: None, max_lag_bytes: None, async_commit: false };

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("an event loop")
}

fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
    println!("{what}: after {:?}", began.elapsed());
}

/// Runs a test on servers that all tests which break some share. Blocking calls are right here:
/// the monitor has a thread of its own.
fn on_servers(test: impl FnOnce(&PgCluster) + Send) {
    breakable(TEST_SECONDS, async |servers| {
        let create = "create table if not exists watched (n int)";
        servers.primary.query(create).expect("a table");
        servers.wait_caught_up().expect("replicas follow");
        // Not inside the event loop, whose blocking calls would panic there.
        let ended = std::thread::scope(|scope| scope.spawn(|| test(&servers)).join());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn write(primary: &Postgres) {
    primary.query("insert into watched values (1)").expect("a write");
}

fn rows(server: &Postgres) -> String {
    server.value("select count(*) from watched").expect("a count")
}

#[test]
fn begins_with_the_primary_down() {
    on_servers(|servers| {
        servers.primary.stop(Stop::Fast).expect("stop");
        let watched = Watched::start(servers);
        runtime().block_on(async {
            let checked = tokio::time::timeout(LIMIT, watched.cluster.checked());
            checked.await.expect("every host is probed, up or down");
        });
        assert_eq!(watched.wait_refused("57P03"), "no primary is available");
        // Reads that need nothing are served; one with a mark cannot be.
        watched.wait_serves(1, &ANY);
        watched.wait_serves(2, &ANY);
        let need = watched.after_write();
        assert!(!watched.serves(1, &need) && !watched.serves(2, &need));
        servers.primary.start().expect("start");
        watched.wait_primary(0);
        watched.wait_serves(1, &need);
        watched.wait_serves(2, &need);
    });
}

#[test]
fn a_paused_replica_serves_no_own_write_until_it_has_it() {
    on_servers(|servers| {
        let (primary, paused) = (&servers.primary, &servers.replicas[0]);
        let watched = Watched::start(servers);
        watched.wait_primary(0);
        paused.pause_replay().expect("pause");
        let before = rows(paused);
        write(primary);
        let need = watched.after_write();
        watched.wait_serves(2, &need);
        let token = Freshness { token: Some(watched.token()), ..ANY };
        watched.wait_serves(2, &token);
        watched.wait_probed(1);
        assert!(!watched.serves(1, &need) && !watched.serves(1, &token));
        assert_eq!(rows(paused), before, "it really is behind");
        assert!(watched.serves(1, &ANY), "who needs nothing is served");
        let lag = watched.cluster.hosts()[1].lag_bytes(watched.cluster.generation());
        assert!(lag.is_some_and(|bytes| bytes > 0), "{lag:?}");

        paused.resume_replay().expect("resume");
        watched.wait_serves(1, &need);
        assert_eq!(rows(paused), rows(primary));
        watched.wait_serves(1, &token);
    });
}

#[test]
fn a_killed_replica_is_banned_and_comes_back() {
    on_servers(|servers| {
        let (primary, killed) = (&servers.primary, &servers.replicas[0]);
        let watched = Watched::start(servers);
        watched.wait_primary(0);
        watched.wait_serves(1, &ANY);
        watched.wait_serves(2, &ANY);
        let host = &watched.cluster.hosts()[1];
        killed.kill();
        watched.wait_serves_not(1, INTERVAL + TIMEOUT + SLACK);
        until("down", INTERVAL + TIMEOUT + SLACK, || !host.is_up());
        assert!(host.is_banned() && host.last_error().is_some());
        assert!(watched.serves(2, &ANY));
        write(primary);
        let need = watched.after_write();
        killed.start().expect("start");
        watched.wait_serves(1, &need);
        assert!(!host.is_banned());
        assert_eq!(rows(killed), rows(primary));
    });
}

#[test]
fn a_frozen_replica_is_noticed_in_time() {
    on_servers(|servers| {
        let frozen = &servers.replicas[1];
        let watched = Watched::start(servers);
        watched.wait_primary(0);
        watched.wait_serves(1, &ANY);
        watched.wait_serves(2, &ANY);
        frozen.freeze();
        watched.wait_serves_not(2, INTERVAL + TIMEOUT + SLACK);
        let error = watched.cluster.hosts()[2].last_error().unwrap_or_default();
        assert!(error.contains("no answer within"), "{error}");
        assert!(watched.serves(1, &ANY));
        frozen.thaw();
        watched.wait_serves(2, &watched.after_write());
    });
}

#[test]
fn a_promotion_voids_marks_and_tokens_until_replicas_follow() {
    if fixture::is_direct() {
        return;
    }
    let servers = cluster::private(2);
    let (old, new, other) = (&servers.primary, &servers.replicas[0], &servers.replicas[1]);
    old.query("create table watched (n int)").expect("a table");
    let watched = Watched::start(&servers);
    watched.wait_primary(0);
    write(old);
    let need = watched.after_write();
    let token = Freshness { token: Some(watched.token()), ..ANY };
    for host in [1, 2] {
        watched.wait_serves(host, &need);
        watched.wait_serves(host, &token);
    }
    let generation = watched.cluster.generation();
    old.kill();
    watched.wait_refused("57P03");
    assert!(watched.serves(1, &need) && watched.serves(2, &need), "reads need no primary");

    new.promote().expect("promote");
    watched.wait_primary(1);
    assert_eq!(watched.cluster.generation(), generation + 1);
    for need in [&need, &token] {
        assert!(watched.cluster.pick_replica(need, 1).is_err(), "nobody follows yet");
    }
    servers.follow(other, new).expect("follow");
    watched.wait_serves(2, &need);
    assert_eq!((rows(other), rows(new)), ("1".into(), "1".into()));
    assert_eq!(watched.cluster.pick_replica(&token, 1), Err(Stale::TokenVoid));
    write(new);
    let renewed = watched.token();
    assert_eq!(renewed.timeline, token.token.map_or(0, |token| token.timeline) + 1);
    watched.wait_serves(2, &Freshness { token: Some(renewed), ..ANY });
    assert_eq!(rows(other), "2");

    // The old primary returns as it was: it is neither chosen now nor when the new one is gone.
    old.start().expect("start");
    until("the old primary is seen", LIMIT, || watched.cluster.hosts()[0].is_up());
    watched.wait_probed(0);
    assert_eq!(watched.cluster.primary(), Ok(1));
    new.kill();
    let refused = watched.wait_refused("55000");
    assert_eq!(refused, "the only primary is on an outdated timeline");
}

#[test]
fn two_primaries_are_refused() {
    if fixture::is_direct() {
        return;
    }
    let servers = cluster::private(2);
    let watched = Watched::start(&servers);
    watched.wait_primary(0);
    servers.primary.kill();
    watched.wait_refused("57P03");
    // Neither knows of the other: both begin the same timeline.
    servers.replicas[0].promote().expect("promote");
    watched.wait_primary(1);
    servers.replicas[1].promote().expect("promote");
    assert_eq!(watched.wait_refused("55000"), "two hosts claim to be the primary");
    let error = watched.cluster.primary().expect_err("refused");
    let detail = error.detail.unwrap_or_default();
    let claims = detail.matches("(up, primary, timeline 2)").count();
    assert_eq!(claims, 2, "{detail}");
    assert!(watched.cluster.pick_replica(&ANY, 1).is_err());
    servers.replicas[1].kill();
    watched.wait_primary(1);
}

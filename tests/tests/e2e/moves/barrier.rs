//! Who works by an older map is waited for, or cut off from every server; everybody else notices
//! nothing.

use super::sides::{SUPERUSER, Sides};
use pgmanifold_rebalancer::barrier::{self, Report};
use pgmanifold_rebalancer::connect::{self, Session};
use pgmanifold_rebalancer::error::Error;
use pgmanifold_tests::client;
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::run;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// Everybody is to have this one.
const EPOCH: u64 = 5;

struct Stage {
    sides: Sides,
    catalog: Session,
}

impl Stage {
    async fn start(test: &str, replicas: usize) -> Stage {
        let mut sides = Sides::new(test, replicas);
        sides.config.limits.acknowledge_timeout = Duration::from_millis(400);
        let catalog = connect::primary(&sides.config.catalog, "catalog").await;
        let catalog = catalog.unwrap_or_else(|error| panic!("{error}"));
        Stage { sides, catalog }
    }

    /// A proxy's row: its acknowledged epoch, and how long ago it was heard of.
    async fn proxy(&self, name: &str, acknowledged: u64, silent_s: u32) {
        let name = name.replace('\'', "''");
        let sql = format!(
            "insert into pgm.proxy values ('app', '{name}', {EPOCH}, {acknowledged}, \
             clock_timestamp() - interval '{silent_s} s') on conflict (database, name) do update \
             set acked_epoch = excluded.acked_epoch"
        );
        self.catalog.run(&sql).await.unwrap_or_else(|error| panic!("{error}"));
    }

    async fn proxies(&self) -> Vec<String> {
        let rows = self.catalog.rows("select name from pgm.proxy order by 1").await;
        rows.unwrap_or_else(|error| panic!("{error}")).into_iter().flatten().flatten().collect()
    }

    /// A client of a shard's, on its primary or on its replica.
    async fn client(&self, shard: usize, on_replica: bool, user: &str) -> Client {
        let cluster = &self.sides.cluster;
        let server = if on_replica { &cluster.replicas[0] } else { &cluster.primary };
        client::connect(&server.address(), user, &self.sides.databases[shard]).await
    }

    /// A connection as a proxy opens it.
    async fn attached(&self, shard: usize, on_replica: bool, name: &str, epoch: u64) -> Client {
        let client = self.client(shard, on_replica, USER).await;
        client::exec(&client, &attach(name, epoch)).await;
        client
    }

    async fn barrier(&self) -> Result<Report, Error> {
        let mut told = Vec::new();
        let mut tell = |text: &str| told.push(text.to_owned());
        let report = barrier::barrier(&self.catalog, &self.sides.config, EPOCH, &mut tell).await;
        println!("told: {told:?}");
        if let Ok(report) = &report {
            println!("{report} ({} ms)", report.took_ms);
        }
        report
    }
}

fn attach(name: &str, epoch: u64) -> String {
    format!("select pgm.attach('{name}', {epoch})")
}

async fn lives(client: &Client) -> bool {
    client.simple_query("select 1").await.is_ok()
}

fn text<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn who_is_silent_is_cut_off_and_nobody_else() {
    run(120, async {
        let stage = Stage::start("barrier_cut", 1).await;
        stage.proxy("good", EPOCH, 0).await;
        stage.proxy("silent", 3, 0).await;
        stage.proxy("it's dead", 2, 3600).await;
        let good = stage.attached(0, false, "good", 3).await;
        let newer = stage.attached(1, false, "unknown but new", EPOCH).await;
        let direct = stage.client(0, false, USER).await;
        let superuser = stage.client(0, true, SUPERUSER).await;
        let mut silent = Vec::new();
        for (shard, on_replica) in [(0, false), (0, false), (1, false), (0, true), (1, true)] {
            silent.push(stage.attached(shard, on_replica, "silent", 3).await);
        }
        let stranger = stage.attached(1, false, "stranger", 2).await;
        // One works, one is inside of a transaction, the others are idle.
        let busy = silent.remove(0);
        let busy = tokio::spawn(async move { busy.simple_query("select pg_sleep(60)").await });
        client::exec(&silent[0], "begin; select 1").await;
        // Rows of processes that ended long ago mean nothing, though their numbers came again.
        let pid = client::value(&direct, "select pg_backend_pid()").await;
        stage.sides.run(
            0,
            &format!(
                "insert into pgm.attached values \
             ({pid}, 'epoch'::timestamptz, 'silent', 1)"
            ),
        );

        let report = text(stage.barrier().await);
        assert_eq!(report.acknowledged.len(), 1, "{report}");
        assert_eq!(report.cut_off, ["it's dead", "silent", "stranger"]);
        let ended: u32 = report.ended.iter().map(|(_, ended)| ended).sum();
        assert_eq!(ended, 6, "two and two of both shards, and two of their replica's: {report:?}");
        assert!(report.took_ms >= 400, "the silent one was waited for: {report:?}");
        assert!(busy.await.expect("a task").is_err());
        for client in silent.iter().chain([&stranger]) {
            assert!(!lives(client).await);
        }
        for client in [&good, &newer, &direct, &superuser] {
            assert!(lives(client).await);
        }
        assert_eq!(stage.proxies().await, ["good"]);

        // Nobody comes back with an older map, and everybody with this one.
        for (shard, on_replica) in [(0, false), (1, false), (0, true), (1, true)] {
            let late = stage.client(shard, on_replica, USER).await;
            let error = late.batch_execute(&attach("silent", 4)).await.expect_err("it is too old");
            assert_eq!(client::code(&error), "PGM07");
            client::exec(&late, &attach("silent", EPOCH)).await;
        }
        // Again, now that nobody is left over: quick, and nobody is ended.
        let report = text(stage.barrier().await);
        assert!(report.cut_off.is_empty() && report.took_ms < 400, "{report:?}");
        assert!(lives(&good).await);
    });
}

#[test]
fn who_acknowledges_in_time_is_left_alone() {
    run(60, async {
        let mut stage = Stage::start("barrier_late", 1).await;
        stage.sides.config.limits.acknowledge_timeout = Duration::from_secs(20);
        stage.proxy("slow", 4, 0).await;
        stage.proxy("good", EPOCH, 0).await;
        let (here, there) =
            (stage.attached(0, false, "slow", 4).await, stage.attached(0, true, "slow", 4).await);
        let (report, ()) = tokio::join!(stage.barrier(), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            stage.proxy("slow", EPOCH, 0).await;
        });
        let report = text(report);
        assert!(report.cut_off.is_empty() && report.ended.is_empty(), "{report:?}");
        let (name, after_ms) = &report.acknowledged[1];
        assert!(name == "slow" && (250..5000).contains(after_ms), "{report:?}");
        assert!(lives(&here).await && lives(&there).await);
    });
}

#[test]
fn a_connection_that_is_just_being_attached_is_not_forgotten() {
    run(60, async {
        let stage = Stage::start("barrier_race", 0).await;
        // Its transaction ends: from then on it is in the table, and ended.
        let quick = stage.client(0, false, USER).await;
        client::exec(&quick, &format!("begin; {}", attach("quick", 3))).await;
        // Its transaction does not.
        let stuck = stage.client(1, false, USER).await;
        client::exec(&stuck, &format!("begin; {}", attach("stuck", 3))).await;
        let (report, ()) = tokio::join!(stage.barrier(), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            client::exec(&quick, "commit").await;
            assert!(lives(&stuck).await);
        });
        let report = text(report);
        assert_eq!(report.cut_off, ["quick"], "{report:?}");
        assert!(!lives(&quick).await && !lives(&stuck).await);
        // Many at once: whoever was let in is ended, whoever is late is refused.
        let clients: Vec<Client> = {
            let mut clients = Vec::new();
            for at in 0..40 {
                clients.push(stage.client(at % 2, false, USER).await);
            }
            clients
        };
        stage.sides.run(0, "update pgm.this_shard set least_epoch = 0");
        stage.sides.run(1, "update pgm.this_shard set least_epoch = 0");
        let attaching = async {
            for client in &clients {
                // Refused ones, and ended ones, are what is wanted.
                let _ = client.batch_execute(&attach("crowd", 4)).await;
            }
        };
        let (report, ()) = tokio::join!(stage.barrier(), attaching);
        text(report);
        let attached = "select count(*) from pgm.attached t join pg_stat_activity a \
             on a.pid = t.pid and a.backend_start = t.started where t.process = 'crowd'";
        for shard in 0..2 {
            assert_eq!(stage.sides.value(shard, attached), "0");
        }
    });
}

#[test]
fn a_replica_must_have_heard_of_it() {
    run(120, async {
        let mut stage = Stage::start("barrier_replica", 1).await;
        let replica = &stage.sides.cluster.replicas[0];
        stage.proxy("silent", 3, 0).await;
        let reader = stage.attached(0, true, "silent", 3).await;
        replica.pause_replay().expect("it pauses");
        let (report, ()) = tokio::join!(stage.barrier(), async {
            tokio::time::sleep(Duration::from_millis(1200)).await;
            assert!(lives(&reader).await, "the replica does not know the least epoch yet");
            assert_eq!(stage.proxies().await, ["silent"]);
            stage.sides.cluster.replicas[0].resume_replay().expect("it goes on");
        });
        let report = text(report);
        assert!(report.took_ms > 1000, "{report:?}");
        assert!(!lives(&reader).await);

        // One that cannot be reached may be read from by whoever is cut off.
        stage.proxy("silent", 3, 0).await;
        stage.sides.config.shards[1].server.login.host("127.0.0.1").port(1);
        let begun = Instant::now();
        let error = stage.barrier().await.expect_err("a replica is away");
        assert!(matches!(error, Error::Server { .. }), "{error}");
        assert!(error.to_string().contains("shard south (127.0.0.1:1)"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(stage.proxies().await, ["silent"]);
        // Nobody has to be cut off: it does not matter.
        stage.proxy("silent", EPOCH, 0).await;
        text(stage.barrier().await);
    });
}

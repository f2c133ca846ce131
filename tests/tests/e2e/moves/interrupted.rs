//! Moves that somebody interrupts, and moves whose shards are away or are replaced by a replica:
//! clients go on, and the move comes to its end later.

use pgmanifold_tests::moves::course::Wanted;
use pgmanifold_tests::moves::judge::assert_clean;
use pgmanifold_tests::moves::rebalancer::Running;
use pgmanifold_tests::moves::workload::{Load, Workload};
use pgmanifold_tests::moves::{Moves, Options};
use pgmanifold_tests::{client, cluster, eventually, random, run};
use std::time::Duration;

/// Longest wait for what is said to be soon.
const SOON: Duration = Duration::from_secs(30);

struct Scene {
    moves: Moves,
    workload: Workload,
    wanted: Wanted,
}

impl Scene {
    async fn start(test: &str, replicas: usize, limits: &[&str]) -> Scene {
        let mut random = random::seeded(test);
        let mut options = Options::new(test);
        options.replicas = replicas;
        options.limits = super::quick_limits();
        options.limits.extend(limits.iter().map(|limit| (*limit).to_owned()));
        let moves = Moves::start(options).await;
        let mut workload =
            Workload::new(&moves, Load { clients: 4, replicas: replicas > 0, ..Load::default() })
                .await;
        workload.begin(&moves.backstage, &mut random);
        let wanted = Wanted::any(&moves, &mut random);
        Scene { moves, workload, wanted }
    }

    /// The move is over, and nothing is wrong.
    async fn ends_as(mut self, state: &str) {
        assert_eq!(self.state(), state);
        self.workload.end().await;
        self.moves.assert_tidy().await;
        self.workload.assert_quiet();
        assert_clean(&self.moves, &self.workload);
    }

    /// The rebalancer is killed at this place of its way.
    async fn die_at(&self, place: &str) {
        let running = self.moves.begin(&self.wanted, &[], Some(place));
        self.moves.come_to(running, place).await.kill().await;
    }

    fn id(&self) -> String {
        self.moves.last_move().expect("a move").id
    }

    fn state(&self) -> String {
        self.moves.last_move().expect("a move").state
    }

    /// Waits until this command copies rows.
    async fn copies(&self, running: &Running) {
        let copies = async || running.stdout().contains(": copying: ");
        eventually("rows are copied", SOON, copies).await;
    }

    /// A write to keys of the move, over each proxy, and one to all shards.
    async fn writes(&self) -> bool {
        for proxy in &self.moves.proxies {
            let config = client::config(&proxy.address(), cluster::USER, &self.moves.database);
            let Ok(session) = client::try_connect(&config).await else { return false };
            let sql = "update entries set filler = filler where client = -1";
            let written = tokio::time::timeout(SOON, session.batch_execute(sql)).await;
            if !matches!(written, Ok(Ok(()))) {
                return false;
            }
        }
        true
    }

    /// The replica of a shard becomes its primary, or the primary becomes it again. Clients rest
    /// meanwhile: replication is asynchronous, and what it loses is not what is looked at here.
    async fn replace(&mut self, shard: usize, by_replica: bool) {
        self.workload.end().await;
        let cluster = &self.moves.shards[shard];
        let (old, new) = match by_replica {
            true => (&cluster.primary, &cluster.replicas[0]),
            false => (&cluster.replicas[0], &cluster.primary),
        };
        new.wait_caught_up(old).expect("it has everything");
        old.kill();
        new.promote().expect("it becomes the primary");
        cluster.clone_again(old, new).expect("the other one follows");
        eventually("writes reach the new primary", SOON, async || self.writes().await).await;
        let mut random = random::seeded("after the replacement");
        self.workload.begin(&self.moves.backstage, &mut random);
    }
}

#[test]
fn who_is_told_to_stop_stops_and_goes_on_later() {
    run(300, async {
        // Copying takes seconds.
        let scene = Scene::start("moves_interrupted", 0, &["copy_bytes_per_s = 20000"]).await;
        let running = scene.moves.begin(&scene.wanted, &[], None);
        scene.copies(&running).await;
        running.terminate();
        let ended = running.end().await;
        assert_eq!(ended.code, Some(143), "{}", ended.all());
        assert!(ended.all().contains("`resume` goes on"), "{}", ended.all());
        assert_eq!(scene.state(), "copying");
        assert!(scene.writes().await, "writes go on");

        let running = scene.moves.rebalancer.spawn(&["resume"], None);
        scene.copies(&running).await;
        scene.moves.rebalancer.run(&["pause"]).await.succeeds();
        let paused = running.end().await.succeeds();
        assert!(paused.contains("paused while "), "{paused}");
        assert!(scene.writes().await, "writes go on");

        scene.moves.rebalancer.run(&["resume"]).await.succeeds();
        assert_eq!(scene.state(), "reversible");
        scene.moves.rebalancer.run(&["cleanup"]).await.succeeds();
        scene.ends_as("done").await;
    });
}

#[test]
fn a_move_is_given_up_while_its_target_is_away() {
    run(300, async {
        let scene = Scene::start("moves_target_away", 0, &[]).await;
        scene.die_at("ready.fenced").await;
        let target = scene.moves.shard(scene.wanted.target);
        target.kill();
        let id = scene.id();
        let ended = scene.moves.rebalancer.run(&["abort", &id]).await;
        assert_eq!(ended.code, Some(4), "{}", ended.all());
        assert!(ended.all().contains("not everything of it is removed yet"), "{}", ended.all());
        assert_eq!(scene.state(), "aborting");
        // The fence is down although the target is away.
        let source = scene.moves.shard(scene.wanted.source);
        let write = "update counters set steps = steps; update entries set filler = filler";
        source.query_in(&scene.moves.database, write).expect("writes to the keys go on");
        target.start().expect("it starts again");
        scene.moves.rebalancer.run(&["resume"]).await.succeeds();
        scene.ends_as("aborted").await;
    });
}

#[test]
fn a_source_is_replaced_in_a_move() {
    run(400, replaced("moves_source_replaced", true));
}

#[test]
fn a_target_is_replaced_in_a_move() {
    run(400, replaced("moves_target_replaced", false));
}

/// A replica takes the place of a shard's primary, first before the keys have changed hands, and
/// once more after it.
async fn replaced(test: &'static str, is_source: bool) {
    let mut scene = Scene::start(test, 1, &[]).await;
    scene.die_at("catching_up.caught_up").await;
    let shard = if is_source { scene.wanted.source } else { scene.wanted.target };
    scene.replace(shard, true).await;
    scene.moves.rebalancer.run(&["resume"]).await.succeeds();
    assert_eq!(scene.state(), "reversible");
    scene.replace(shard, false).await;
    let id = scene.id();
    let ended = scene.moves.rebalancer.run(&["cleanup", &id]).await;
    if is_source {
        ended.succeeds();
    } else {
        // The way back is lost with the slot on the target: that is said, and the keys stay.
        assert_eq!(ended.code, Some(4), "{}", ended.all());
        assert!(ended.all().contains("has lost the slot of the way back"), "{}", ended.all());
        let refused = scene.moves.rebalancer.run(&["rollback", &id]).await;
        assert_eq!(refused.code, Some(3), "{}", refused.all());
        let seen = ["cleanup", &id, "--without-comparing"];
        scene.moves.rebalancer.run(&seen).await.succeeds();
    }
    scene.ends_as("done").await;
}

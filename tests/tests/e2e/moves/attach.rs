//! Every connection that carries statements of a sharded database tells the shard by which maps it
//! goes, and is refused when they are too old; a session waits for a newer one meanwhile.

use crate::shards::map::Mapped;
use pgmanifold_tests::client::{self, code, exec, text, value};
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::{eventually, run};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

const LIMIT: Duration = Duration::from_secs(20);
/// `checkout_timeout_ms` of these tests.
const PATIENCE: Duration = Duration::from_secs(3);

/// Shards, one proxy, and a key of each shard.
struct Scene {
    mapped: Mapped,
    proxy: Fixture,
    keys: Vec<i64>,
    epoch: u64,
}

impl Scene {
    async fn start(test: &str) -> Scene {
        let mapped = Mapped::start(test, None).await;
        mapped.shards.fill(
            "orders",
            "select g::bigint id, g::bigint customer from generate_series(1, 60) g",
        );
        let keys = mapped.shards.on_shards("select min(customer) from orders");
        let keys = keys.iter().map(|rows| rows[0][0].clone().expect("a key"));
        let keys = keys.map(|key| key.parse().expect("a number")).collect();
        let patience = format!("checkout_timeout_ms = {}", PATIENCE.as_millis());
        let config = mapped.config.clone().general("name = \"one\"").pool(&patience);
        let proxy = mapped.proxy(&config);
        mapped.wait_epoch(&proxy, 1.0).await;
        let scene = Scene { mapped, proxy, keys, epoch: 1 };
        eventually("the proxy serves", LIMIT, async || {
            let config = client::config(&scene.proxy.address, USER, &scene.mapped.shards.database);
            let Ok(client) = client::try_connect(&config).await else { return false };
            client.batch_execute(&scene.read(0)).await.is_ok()
                && client.batch_execute("delete from notes where customer < 0").await.is_ok()
        })
        .await;
        scene
    }

    fn read(&self, shard: usize) -> String {
        format!("select pg_backend_pid() from orders where customer = {}", self.keys[shard])
    }

    fn write(&self, shard: usize) -> String {
        format!("insert into notes values ({}, 'x')", self.keys[shard])
    }

    fn on(&self, shard: usize, sql: &str) -> Vec<Vec<Option<String>>> {
        let shards = &self.mapped.shards;
        shards.shard(shard).query_in(&shards.database, sql).expect("a shard answers")
    }

    fn one(&self, shard: usize, sql: &str) -> String {
        self.on(shard, sql)[0][0].clone().expect("a value")
    }

    /// As a mover does that must be rid of older maps: a new epoch, and nobody below it.
    fn raise(&self, epoch: u64) {
        for shard in 0..3 {
            self.on(shard, &format!("select pgm.raise_least_epoch({epoch})"));
        }
    }

    /// Ends what works by older maps; how many those were.
    fn cut_off(&self) -> usize {
        let end = "select pg_terminate_backend(s.pid) from pgm.attached a \
                   join pg_stat_activity s on s.pid = a.pid and s.backend_start = a.started";
        let left = "select count(*) from pgm.attached a \
                    join pg_stat_activity s on s.pid = a.pid and s.backend_start = a.started";
        let ended = (0..3).map(|shard| self.on(shard, end).len()).sum();
        let began = Instant::now();
        while (0..3).any(|shard| self.one(shard, left) != "0") {
            assert!(began.elapsed() < LIMIT, "backends do not end");
            std::thread::sleep(Duration::from_millis(2));
        }
        ended
    }

    /// Writes a map with the next epoch.
    async fn next_map(&mut self) {
        let at = (self.epoch * 1000).to_string();
        self.mapped.succeeds(&["split", "--distribution", "customer", "--at", &at]).await;
        self.epoch += 1;
    }

    fn acknowledged(&self) -> Option<String> {
        self.mapped.reports()[0][2].clone()
    }

    async fn wait_acknowledged(&self) {
        let wanted = Some(self.epoch.to_string());
        eventually("it is acknowledged", LIMIT, async || self.acknowledged() == wanted).await;
    }

    async fn client(&self) -> Client {
        self.proxy.client().await
    }
}

#[test]
fn connections_say_whose_they_are_once() {
    run(120, async {
        let scene = Scene::start("attach_list").await;
        let client = scene.client().await;
        let names = "select name from pgm.proxy";
        let catalog = &scene.mapped;
        let name = catalog.server.primary.query_in(&catalog.catalog, names).expect("the catalog");
        let name = name[0][0].clone().expect("a name");
        assert!(name.starts_with("one:"), "{name}");
        for shard in 0..3 {
            let pid = value(&client, &scene.read(shard)).await;
            let sql = format!(
                "select a.process || ' ' || a.epoch || ' ' || a.xmin from pgm.attached a \
                 join pg_stat_activity s on s.pid = a.pid and s.backend_start = a.started \
                 where a.pid = {pid}"
            );
            let said = scene.one(shard, &sql);
            assert!(said.starts_with(&format!("{name} 1 ")), "{said}");
            // The row is as it was after many queries: nothing of this is done for each.
            for _ in 0..100 {
                exec(&client, &scene.read(shard)).await;
                exec(&client, &scene.write(shard)).await;
            }
            assert_eq!(scene.one(shard, &sql), said);
            // Nobody else is in the list: not the monitor, not recovery, not the hub.
            let others = scene.on(
                shard,
                "select s.application_name from pg_stat_activity s left join pgm.attached a \
                 on s.pid = a.pid and s.backend_start = a.started \
                 where s.datname = current_database() and a.pid is not null \
                 and s.application_name like 'pgmanifold%'",
            );
            assert!(others.is_empty(), "{others:?}");
        }
    });
}

#[test]
fn who_is_refused_for_an_old_map_waits_for_the_new_one() {
    run(120, async {
        let mut scene = Scene::start("attach_wait").await;
        let client = scene.client().await;
        exec(&client, &scene.read(0)).await;
        scene.raise(2);
        assert!(scene.cut_off() > 0);

        // Nobody writes the new map: whoever waits is told in the end that nothing was sent.
        let (read, write) = (scene.read(0), scene.write(1));
        let began = Instant::now();
        let all = "select count(*) from orders";
        let clients = [scene.client().await, scene.client().await, scene.client().await];
        let waiting = [&read, &write, all].into_iter().zip(&clients);
        let answers = waiting.map(|(sql, client)| client.batch_execute(sql));
        for answer in futures_util::future::join_all(answers).await {
            let error = answer.expect_err("the map is too old");
            println!("after {:?}: {}", began.elapsed(), text(&error));
            assert_eq!(code(&error), "PGM07");
            let error = error.as_db_error().expect("the proxy's own");
            assert!(error.detail().expect("a detail").contains("was not sent"));
            assert!(error.hint().expect("a hint").starts_with("Repeat the statement."));
        }
        assert!(began.elapsed() >= PATIENCE && began.elapsed() < 3 * PATIENCE);

        // The new map comes while they wait.
        let later = [read, write, all.to_owned()];
        let later = [0, 1, 2].map(|which| (later[which].clone(), scene.proxy.address.clone()));
        let database = scene.mapped.shards.database.clone();
        let answers = later.map(|(sql, address)| {
            let database = database.clone();
            async move {
                let client = client::connect(&address, USER, &database).await;
                client.batch_execute(&sql).await.map(|()| Instant::now())
            }
        });
        let served = tokio::spawn(futures_util::future::join_all(answers));
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(!served.is_finished());
        scene.next_map().await;
        let began = Instant::now();
        for served in served.await.expect("no panic") {
            let at = served.expect("the new map is new enough");
            println!("served {:?} after the map was written", at.saturating_duration_since(began));
            assert!(at.saturating_duration_since(began) < Duration::from_secs(2));
        }
        assert_eq!(value(&client, all).await, "60", "over all shards too");
        let epoch = scene.one(
            0,
            "select min(epoch) from pgm.attached a join pg_stat_activity s \
                                  on s.pid = a.pid and s.backend_start = a.started",
        );
        assert_eq!(epoch, "2");
    });
}

#[test]
fn a_transaction_by_an_old_map_keeps_new_connections_away() {
    run(120, async {
        let mut scene = Scene::start("attach_open").await;
        let (open, idle) = (scene.client().await, scene.client().await);
        exec(&open, "begin").await;
        exec(&open, &scene.read(0)).await;
        scene.next_map().await;
        scene.mapped.wait_epoch(&scene.proxy, 2.0).await;
        assert_eq!(scene.acknowledged().as_deref(), Some("1"));
        // Who has only begun holds up nobody.
        exec(&idle, "begin").await;
        exec(&idle, "set local statement_timeout = 0").await;
        scene.raise(2);
        // Its connections are lost, as far as nobody works on them.
        for shard in [1, 2] {
            scene.on(shard, "select pg_terminate_backend(pid) from pgm.attached");
        }
        let other = scene.proxy.client().await;
        let (read, waited) = (scene.read(1), Instant::now());
        let waiting = tokio::spawn(async move { other.batch_execute(&read).await });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!waiting.is_finished(), "the transaction is not over");
        // Where the transaction goes on over a new connection, it is refused for good.
        let error = open.batch_execute(&scene.write(2)).await.expect_err("its map is too old");
        println!("{}", text(&error));
        assert_eq!(code(&error), "PGM07");
        assert!(error.as_db_error().expect("ours").hint().expect("a hint").contains("transaction"));
        exec(&open, "rollback").await;
        waiting.await.expect("no panic").expect("served when it was over");
        println!("served after {:?}", waited.elapsed());
        scene.wait_acknowledged().await;
        exec(&idle, &scene.read(1)).await;
        exec(&idle, "commit").await;

        // A transaction whose server was ended is over, though its client sleeps.
        exec(&open, "begin").await;
        exec(&open, &scene.read(0)).await;
        exec(&open, &scene.write(1)).await;
        scene.next_map().await;
        scene.mapped.wait_epoch(&scene.proxy, 3.0).await;
        assert_eq!(scene.acknowledged().as_deref(), Some("2"));
        scene.raise(3);
        scene.cut_off();
        scene.wait_acknowledged().await;
        exec(&scene.client().await, &scene.read(0)).await;
        let error = open.batch_execute(&scene.read(0)).await.expect_err("it was lost");
        println!("{}", text(&error));
    });
}

#[test]
fn idle_connections_that_were_ended_harm_nobody() {
    run(120, async {
        let scene = Scene::start("attach_idle").await;
        let clients = [scene.client().await, scene.client().await, scene.client().await];
        let mut ended = 0;
        for round in 0..20 {
            let used = clients.iter().enumerate().map(|(shard, client)| {
                let write = scene.write(shard);
                async move {
                    exec(client, "begin").await;
                    exec(client, &write).await;
                    exec(client, "commit").await;
                }
            });
            futures_util::future::join_all(used).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            ended += scene.cut_off();
            for (shard, client) in clients.iter().enumerate() {
                let sql = [scene.write(shard), scene.read(shard)][round % 2].clone();
                let done = client.batch_execute(&sql).await;
                done.unwrap_or_else(|error| panic!("round {round}: {}", text(&error)));
            }
        }
        println!("{ended} connections were ended");
        assert!(ended >= 60, "{ended}");

        // One that a session keeps on a shard, while it works on another.
        let pinned = scene.client().await;
        exec(&pinned, "begin; create temp table mine (a int); commit").await;
        exec(&pinned, &scene.read(1)).await;
        scene.on(0, "select pg_terminate_backend(pid) from pgm.attached");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let error = pinned.batch_execute(&scene.write(0)).await.expect_err("it is lost");
        println!("{}", text(&error));
        let said = text(&error);
        assert!(said.contains("Nothing was changed") && !said.contains("not known"), "{said}");
    });
}

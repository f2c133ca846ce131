//! Shard maps from a catalog, and `pgmanifold map`, on real servers.

use pgmanifold::demo::postgres::{PgCluster, Stop};
use pgmanifold_tests::cluster::{self, USER};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::process::{binary, scratch_file};
use pgmanifold_tests::shards::layout::Layout;
use pgmanifold_tests::shards::{Options, Shards};
use pgmanifold_tests::{client, eventually, run};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Longest wait for anything that does not promise to be quick.
const LIMIT: Duration = Duration::from_secs(20);
const SCHEMA: &str = "\
     create table orders (id bigserial, customer bigint, primary key (customer, id)); \
     create table notes (customer bigint, text text)";

/// Shards whose map comes from a catalog.
pub(crate) struct Mapped {
    pub(crate) shards: Shards,
    /// The server with the catalog.
    pub(crate) server: Arc<PgCluster>,
    /// The database with the catalog.
    pub(crate) catalog: String,
    pub(crate) config: ConfigText,
    section: String,
    file: PathBuf,
}

impl Mapped {
    /// The schemas are installed and the map is written, by the commands that operators use.
    pub(crate) async fn start(test: &str, server: Option<Arc<PgCluster>>) -> Mapped {
        Mapped::start_with(Options::new(test), server).await
    }

    /// The same with shards of these kinds.
    pub(crate) async fn start_with(options: Options, server: Option<Arc<PgCluster>>) -> Mapped {
        let layout = Layout::new()
            .hash("customer", &["bigint"])
            .table("orders", &["customer"])
            .table("notes", &["customer"]);
        let mapped = Mapped::unapplied(options.tables(layout, SCHEMA), server, "").await;
        let output = mapped.succeeds(&["apply"]).await;
        assert!(output.contains("+ table public.orders: customer (customer)"), "{output}");
        assert!(output.ends_with("the map has epoch 1\n"), "{output}");
        mapped
    }

    /// The catalog has no map yet; `more` is added to the configuration.
    pub(crate) async fn unapplied(
        mut options: Options,
        server: Option<Arc<PgCluster>>,
        more: &str,
    ) -> Mapped {
        options.without_proxy = true;
        let shards = Shards::start(options, |config| config).await;
        let server = server.unwrap_or_else(|| shards.servers.oracle.clone());
        let catalog = cluster::create_database(&server, "catalog");
        let section = format!(
            "[catalog]\nhosts = [{:?}]\ndatabase = {catalog:?}\nuser = {USER:?}\n\
             tls_mode = \"disable\"\npoll_interval_ms = 2000\n",
            server.primary.address().to_string()
        );
        let config = shards.config.clone().section(&section).section(more);
        let file = scratch_file(&format!("{}.toml", shards.database));
        std::fs::write(&file, config.text()).expect("the configuration file");
        let mapped = Mapped { shards, server, catalog, config, section, file };
        mapped.succeeds(&["init", "--user", "postgres"]).await;
        mapped
    }

    /// Runs a map command; its exit code, and all it prints.
    async fn map(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(binary());
        command.arg("map").args(arguments).arg("--config").arg(&self.file);
        let output = tokio::time::timeout(LIMIT, command.output()).await;
        let output = output.expect("ends by itself").expect("the binary runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        println!("pgmanifold map {}: {}\n{text}", arguments.join(" "), output.status);
        (output.status.code().expect("an exit code"), text)
    }

    pub(crate) async fn succeeds(&self, arguments: &[&str]) -> String {
        let (code, output) = self.map(arguments).await;
        assert_eq!(code, 0, "{output}");
        output
    }

    pub(crate) async fn fails(&self, arguments: &[&str]) -> String {
        let (code, output) = self.map(arguments).await;
        assert_eq!(code, 1, "{output}");
        output
    }

    /// Writes the configuration file that commands read.
    pub(crate) fn write(&self, config: &ConfigText) {
        std::fs::write(&self.file, config.text()).expect("the configuration file");
    }

    /// The configuration with one more key of `[catalog]`.
    pub(crate) fn with_catalog_key(&self, line: &str) -> ConfigText {
        self.shards.config.clone().section(&(self.section.clone() + line))
    }

    pub(crate) fn proxy(&self, config: &ConfigText) -> Fixture {
        let home = self.shards.servers.shards[0].clone();
        Fixture::with_config(home, self.shards.database.clone(), config)
    }

    fn epoch(&self, proxy: &Fixture) -> f64 {
        let database = &self.shards.database;
        proxy.metric(&format!("pgmanifold_shard_map_epoch{{database=\"{database}\"}}"))
    }

    pub(crate) async fn wait_epoch(&self, proxy: &Fixture, epoch: f64) {
        eventually("the map is in use", LIMIT, async || self.epoch(proxy) == epoch).await;
    }

    /// Name, seen and acknowledged epoch of each process.
    pub(crate) fn reports(&self) -> Vec<Vec<Option<String>>> {
        let sql = "select split_part(name, ':', 1), seen_epoch, acked_epoch from pgm.proxy \
                   order by name";
        self.server.primary.query_in(&self.catalog, sql).expect("the catalog answers")
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

#[test]
fn an_older_catalog_is_brought_up_to_date() {
    run(120, async {
        let mapped = Mapped::start("map_older", None).await;
        let sql = "drop table pgm.moving; update pgm.catalog set version = 1";
        mapped.server.primary.query_in(&mapped.catalog, sql).expect("an older catalog");
        let output = mapped.fails(&["show"]).await;
        assert!(output.contains("version 1, this program knows 2; \"pgmanifold map init\""));
        mapped.succeeds(&["init", "--user", "postgres"]).await;
        assert!(mapped.succeeds(&["show"]).await.contains("orders"));
    });
}

#[test]
fn two_proxies_see_a_change_within_a_second() {
    run(120, async {
        let mapped = Mapped::start("map_seen", None).await;
        let show = mapped.succeeds(&["show", "--format", "json"]).await;
        assert!(show.starts_with("{\"epoch\": 1, \"home\": \"s0\""), "{show}");
        let one = mapped.proxy(&mapped.config.clone().general("name = \"one\""));
        let two = mapped.proxy(&mapped.config.clone().general("name = \"two\""));
        mapped.wait_epoch(&one, 1.0).await;
        mapped.wait_epoch(&two, 1.0).await;

        let mut slowest = Duration::ZERO;
        for epoch in 2..=6_u64 {
            let at = (epoch * 1000).to_string();
            let split = ["split", "--distribution", "customer", "--at", &at];
            mapped.succeeds(&split).await;
            let began = Instant::now();
            let want = |name: &str| [name.into(), epoch.to_string(), epoch.to_string()].map(Some);
            let both = vec![want("one").to_vec(), want("two").to_vec()];
            eventually("both have seen it", LIMIT, async || mapped.reports() == both).await;
            slowest = slowest.max(began.elapsed());
            assert_eq!((mapped.epoch(&one), mapped.epoch(&two)), (epoch as f64, epoch as f64));
        }
        println!("a change was seen, and said to be, after {slowest:?} at most");
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");

        // The loser of two changes is told so, and nothing of it is written.
        let moving = ["move", "--distribution", "customer", "--to", "s2"];
        let output = mapped.fails(&moving).await;
        assert!(output.contains("without their rows: distribution customer from the"), "{output}");
        assert_eq!(mapped.epoch(&one), 6.0);
    });
}

#[test]
fn the_copy_on_disk_serves_while_the_catalog_is_down() {
    run(180, async {
        let server = cluster::private(0);
        let mapped = Mapped::start("map_down", Some(server.clone())).await;
        let copy = scratch_file("maps");
        let _ = std::fs::remove_file(&copy);
        let state_file = format!("state_file = {:?}\n", copy.display().to_string());
        let with_copy = mapped.with_catalog_key(&state_file);
        let proxy = mapped.proxy(&with_copy);
        mapped.wait_epoch(&proxy, 1.0).await;
        eventually("the copy is there", LIMIT, async || copy.exists()).await;
        drop(proxy);

        server.primary.stop(Stop::Immediate).expect("the catalog stops");
        let proxy = mapped.proxy(&with_copy);
        mapped.wait_epoch(&proxy, 1.0).await;
        let plain = format!(
            "[[database]]\nname = \"plain\"\nshard = \"s1\"\nserver_database = {:?}\n",
            mapped.shards.database
        );
        let without = mapped.proxy(&mapped.config.clone().section(&plain));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(mapped.epoch(&without), 0.0, "neither catalog nor copy");
        let sharded = without.client().await;
        let sql = "select id from orders where customer = 1";
        let error = sharded.simple_query(sql).await.expect_err("no map is known");
        println!("without a map: {}", client::text(&error));
        assert_eq!(client::code(&error), "PGM05");
        let plain = client::connect(&without.address, USER, "plain").await;
        client::exec(&plain, sql).await;

        // What changes while nobody looks is seen afterwards.
        server.primary.start().expect("the catalog starts");
        mapped.wait_epoch(&without, 1.0).await;
        eventually("the session goes on", LIMIT, async || sharded.batch_execute(sql).await.is_ok())
            .await;
        mapped.succeeds(&["split", "--distribution", "customer", "--at", "5"]).await;
        mapped.wait_epoch(&proxy, 2.0).await;
        mapped.wait_epoch(&without, 2.0).await;

        // A damaged copy is worse than none.
        drop(proxy);
        std::fs::write(&copy, "nonsense").expect("the copy");
        server.primary.stop(Stop::Immediate).expect("the catalog stops");
        let proxy = mapped.proxy(&with_copy);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(mapped.epoch(&proxy), 0.0);
        let _ = std::fs::remove_file(&copy);
    });
}

#[test]
fn another_catalog_and_an_older_map_are_not_taken() {
    run(120, async {
        let mapped = Mapped::start("map_other", None).await;
        let catalog = |sql: &str| {
            mapped.server.primary.query_in(&mapped.catalog, sql).expect("the catalog answers")
        };
        let proxy = mapped.proxy(&mapped.config);
        for at in ["1", "2"] {
            mapped.succeeds(&["split", "--distribution", "customer", "--at", at]).await;
        }
        mapped.wait_epoch(&proxy, 3.0).await;
        // As if a backup had been restored.
        catalog(
            "begin; alter table pgm.cluster disable trigger all; \
             update pgm.cluster set epoch = 2; alter table pgm.cluster enable trigger all; \
             notify pgm_map; commit",
        );
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(mapped.epoch(&proxy), 3.0, "never back");
        catalog("update pgm.catalog set id = gen_random_uuid()");
        for at in ["3", "4", "6"] {
            mapped.succeeds(&["split", "--distribution", "customer", "--at", at]).await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(mapped.epoch(&proxy), 3.0, "not another catalog's");
    });
}

#[test]
fn verify_finds_what_is_wrong() {
    run(120, async {
        let mapped = Mapped::start("map_verify", None).await;
        let shards = &mapped.shards;
        shards.fill(
            "orders",
            "select g::bigint id, g::bigint * 7 customer from generate_series(1, 300) g",
        );
        shards.fill("notes", "select g::bigint customer, 'x' from generate_series(1, 100) g");
        let user = ["--user", "postgres"];
        let sequences = [&["sequences"], user.as_slice()].concat();
        let verify = [&["verify"], user.as_slice()].concat();
        let output = mapped.fails(&verify).await;
        assert!(output.contains("sequence \"public\".\"orders_id_seq\" gives numbers"), "{output}");
        mapped.succeeds(&sequences).await;
        let output = mapped.succeeds(&verify).await;
        assert!(output.contains("all as the map with epoch 1 says"), "{output}");

        // The numbers of all shards differ, and are new.
        let next = "select nextval('orders_id_seq') from generate_series(1, 100)";
        let all: Vec<i64> = shards
            .on_shards(next)
            .iter()
            .flatten()
            .map(|row| row[0].as_deref().expect("a number").parse().expect("a number"))
            .collect();
        let mut different = all.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!((all.len(), different.len()), (300, 300));
        assert!(different[0] > 300, "{}", different[0]);
        let output = mapped.succeeds(&sequences).await;
        assert!(output.starts_with("nothing to set"), "{output}");

        // Everything that can be wrong, at once.
        let on = |shard: usize, sql: &str| {
            shards.shard(shard).query_in(&shards.database, sql).expect("a shard");
        };
        on(1, "insert into notes select customer, 'strange' from orders limit 1");
        let strange =
            shards.on_shards("select customer from notes where text = 'strange'")[1].clone();
        let strange = strange[0][0].as_deref().expect("a key").to_owned();
        on(0, &format!("insert into notes values ({strange}, 'misplaced'), (null, 'none')"));
        on(2, "alter table notes add more int");
        on(0, "create unique index lonely on orders (id)");
        let output = mapped.fails(&verify).await;
        for problem in [
            "shard s0: 1 rows of public.notes are misplaced",
            "shard s0: 1 rows of public.notes have no key",
            "public.notes differs: only on s2: column 3 more integer",
            "unique index \"public.lonely\" of public.orders does not contain the key",
            "public.orders differs: only on s0: CREATE UNIQUE INDEX lonely",
            "problems: 5",
        ] {
            assert!(output.contains(problem), "{problem} is not in:\n{output}");
        }
        on(1, "alter table notes rename customer to client");
        on(2, "drop table orders");
        let output = mapped.fails(&verify).await;
        for problem in [
            "shard s1: column \"customer\" of public.notes does not exist",
            "shard s2: there is no table public.orders",
        ] {
            assert!(output.contains(problem), "{problem} is not in:\n{output}");
        }
    });
}

#[test]
fn apply_changes_what_the_file_says_and_no_more() {
    run(120, async {
        let mapped = Mapped::start("map_apply", None).await;
        let output = mapped.succeeds(&["apply"]).await;
        assert!(output.starts_with("nothing to change"), "{output}");
        // A range that was split stays so: the file names no ranges.
        mapped.succeeds(&["split", "--distribution", "customer", "--at", "-5"]).await;
        let moving = ["move", "--distribution", "customer", "--from", "-5", "--to", "s2"];
        mapped.fails(&moving).await;
        mapped.succeeds(&[&moving[..], &["--yes-the-rows-are-there"]].concat()).await;
        let more = "[[distribution]]\nname = \"copies\"\nkind = \"reference\"\n\
                    [[table]]\nname = \"rates\"\ndistribution = \"copies\"\n";
        let text = mapped.config.clone().section(more).text();
        std::fs::write(&mapped.file, &text).expect("the configuration file");
        let output = mapped.succeeds(&["apply", "--dry-run"]).await;
        assert!(output.contains("would be epoch 4"), "{output}");
        let output = mapped.succeeds(&["apply"]).await;
        assert_eq!(output.lines().count(), 3, "{output}");
        let output = mapped.succeeds(&["show"]).await;
        assert!(output.contains("│ customer       hash        bigint   -5     "), "{output}");

        // What the file does not name goes only when that is said.
        let fewer = text.replace(
            "[[table]]\nname = \"public.notes\"\n",
            "[[table]]\nname = \"public.others\"\n",
        );
        std::fs::write(&mapped.file, &fewer).expect("the configuration file");
        let output = mapped.succeeds(&["apply"]).await;
        assert!(output.contains("+ table public.others") && !output.contains("- "), "{output}");
        let output = mapped.fails(&["apply", "--remove"]).await;
        assert!(output.contains("table public.notes"), "{output}");
        mapped.succeeds(&["apply", "--remove", "--yes-the-rows-are-there"]).await;
        let output = mapped.succeeds(&["show"]).await;
        assert!(!output.contains("public.notes"), "{output}");
    });
}

#[test]
fn an_unreachable_server_is_named() {
    run(60, async {
        let mapped = Mapped::start("map_gone", None).await;
        let text = mapped.config.text();
        let shard = mapped.shards.shard(1).address().to_string();
        std::fs::write(&mapped.file, text.replace(&shard, "127.0.0.1:1")).expect("the file");
        let output = mapped.fails(&["verify"]).await;
        assert!(output.contains("error: shard s1: 127.0.0.1:1: "), "{output}");
        let (code, output) = mapped.map(&["show", "--database", "nobody"]).await;
        assert!(code == 2 && output.contains("name one database with `shards`"), "{output}");
        // Until there is a map, that is said.
        let drop = "drop schema pgm cascade";
        mapped.server.primary.query_in(&mapped.catalog, drop).expect("the catalog");
        let output = mapped.fails(&["show"]).await;
        assert!(output.contains("error: the catalog: relation \"pgm."), "{output}");
    });
}

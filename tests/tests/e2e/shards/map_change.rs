//! The shard map changes under load: no statement and no transaction runs partly on the old and
//! partly on the new one, and what is acknowledged is over.
//!
//! Two ranges are exchanged between two shards, again and again, each time in one change. Both
//! shards have the rows of both ranges, marked with the shard's name: whatever is done with one
//! key of each range must meet one shard each.

use super::map::Mapped;
use pgmanifold::shard_map::admin::Admin;
use pgmanifold::shard_map::admin::change::{Permissions, apply};
use pgmanifold_router::hash::hash_key;
use pgmanifold_router::key::KeyValue;
use pgmanifold_tests::client::{self, exec, text, value};
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::shards::Options;
use pgmanifold_tests::{eventually, run};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, SimpleQueryMessage};

const LIMIT: Duration = Duration::from_secs(20);
/// How often the map changes under load.
const CHANGES: usize = 30;
/// Clients of each proxy.
const CLIENTS: usize = 3;
const SCHEMA: &str = "\
     create table marks (customer bigint, marker text); \
     create table events (customer bigint, batch bigint, marker text, \
                          at timestamptz default clock_timestamp())";
const TABLES: &str = "\
     [[table]]\nname = \"marks\"\ndistribution = \"customer\"\nkey = \"customer\"\n\
     [[table]]\nname = \"events\"\ndistribution = \"customer\"\nkey = \"customer\"\n";

/// The two ranges, the lower one on the shard named first.
fn sections(lower: &str, upper: &str) -> String {
    format!(
        "[[distribution]]\nname = \"customer\"\nkey_types = \"bigint\"\n\
         ranges = [{{ shard = {lower:?} }}, {{ from = 0, shard = {upper:?} }}]\n{TABLES}"
    )
}

/// The first keys of either range.
fn keys() -> (i64, i64) {
    let find = |wanted: fn(&i64) -> bool| {
        (1..).find(|key| wanted(&hash_key(&[KeyValue::Int(*key)]))).expect("there is one")
    };
    (find(|hash| *hash < 0), find(|hash| *hash >= 0))
}

struct Changing {
    mapped: Mapped,
    proxies: Vec<Fixture>,
    /// Each writes one of the two maps.
    writers: [Admin; 2],
    epoch: u64,
}

impl Changing {
    async fn start(test: &str) -> Changing {
        let mut options = Options::new(test);
        options.schema = SCHEMA.to_owned();
        let mapped = Mapped::unapplied(options, None, "").await;
        let (lower, upper) = keys();
        for (number, name) in ["s0", "s1", "s2"].into_iter().enumerate() {
            let rows = format!(
                "insert into marks values ({lower}, '{name}'), ({upper}, '{name}'); \
                 alter table events alter marker set default '{name}'"
            );
            let shard = mapped.shards.shard(number);
            shard.query_in(&mapped.shards.database, &rows).expect("a shard");
        }
        let writers = [("s0", "s1"), ("s1", "s0")].map(|(lower, upper)| {
            let text = mapped.config.clone().section(&sections(lower, upper)).text();
            let config = pgmanifold::config::parse(&text, "test.toml").expect("a configuration");
            Admin::new(config, None, Some("postgres")).expect("a database")
        });
        let mut changing = Changing { mapped, proxies: Vec::new(), writers, epoch: 0 };
        changing.change().await;
        for name in ["one", "two"] {
            let config = changing.mapped.config.clone().general(&format!("name = {name:?}"));
            changing.proxies.push(changing.mapped.proxy(&config));
        }
        for proxy in &changing.proxies {
            changing.mapped.wait_epoch(proxy, 1.0).await;
            eventually("the proxy serves", LIMIT, async || {
                let database = &changing.mapped.shards.database;
                let config = client::config(&proxy.address, USER, database);
                let Ok(client) = client::try_connect(&config).await else { return false };
                let sql = "insert into events (customer, batch) values (1, 0), (2, 0)";
                let begun = client.batch_execute("begin").await;
                let tried = client.batch_execute(sql).await;
                let tried = tried.inspect_err(|error| println!("{}", text(error)));
                begun.is_ok() && tried.is_ok()
            })
            .await;
        }
        changing
    }

    /// Writes the other map. Odd epochs have the lower range on s0, even ones on s1.
    async fn change(&mut self) {
        let writer = if self.epoch.is_multiple_of(2) { &self.writers[0] } else { &self.writers[1] };
        let permissions = Permissions { rows_are_there: true, ..Permissions::default() };
        let changed = apply(writer, permissions).await.expect("nobody else changes it");
        self.epoch += 1;
        assert_eq!(changed.epoch, self.epoch);
    }

    async fn wait_acknowledged(&self) {
        let wanted = Some(self.epoch.to_string());
        eventually("all is over under the old map", LIMIT, async || {
            let reports = self.mapped.reports();
            reports.len() == 2 && reports.iter().all(|row| row[2] == wanted)
        })
        .await;
    }

    /// The clock of the servers, which all have the machine's.
    fn clock(&self) -> String {
        self.mapped.shards.shard(0).value("select clock_timestamp()::text").expect("a clock")
    }
}

/// The rows of a simple query, or its error's text.
async fn rows(client: &Client, sql: &str) -> Result<Vec<(String, String)>, String> {
    let messages = client.simple_query(sql).await.map_err(|error| text(&error))?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let column = |at| row.get(at).unwrap_or("NULL").to_owned();
            Some((column(0), column(1)))
        }
        _ => None,
    });
    Ok(rows.collect())
}

/// What one client does until it is stopped: transactions over both ranges, and inserts into both.
/// Returns how many of either.
async fn work(client: Client, stop: Arc<AtomicBool>, batches: Arc<AtomicU64>) -> (u64, u64) {
    let (lower, upper) = keys();
    let mut done = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        exec(&client, "begin").await;
        let mut seen = Vec::new();
        for key in [lower, upper, lower, upper] {
            let sql = format!("select marker from marks where customer = {key}");
            seen.push(value(&client, &sql).await);
        }
        exec(&client, "commit").await;
        let is_whole = seen == ["s0", "s1", "s0", "s1"] || seen == ["s1", "s0", "s1", "s0"];
        assert!(is_whole, "a transaction saw {seen:?}");
        done.0 += 1;

        let batch = batches.fetch_add(1, Ordering::Relaxed);
        let sql = format!(
            "insert into events (customer, batch) values ({lower}, {batch}), ({upper}, {batch}) \
             returning customer, marker"
        );
        let inserted = rows(&client, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let markers: Vec<&str> = inserted.iter().map(|(_, marker)| marker.as_str()).collect();
        assert!(markers == ["s0", "s1"] || markers == ["s1", "s0"], "inserted {inserted:?}");
        done.1 += 1;
    }
    done
}

#[test]
fn no_statement_meets_two_maps() {
    run(180, async {
        let mut changing = Changing::start("map_change").await;
        let (stop, batches) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut clients = Vec::new();
        for proxy in changing.proxies.iter().flat_map(|proxy| [proxy; CLIENTS]) {
            let client = proxy.client().await;
            clients.push(tokio::spawn(work(client, Arc::clone(&stop), Arc::clone(&batches))));
        }
        // From when to when each map alone was in use.
        let mut alone = Vec::new();
        let mut slowest = Duration::ZERO;
        let mut since = changing.clock();
        for _ in 0..CHANGES {
            tokio::time::sleep(Duration::from_millis(100)).await;
            alone.push((changing.epoch, since, changing.clock()));
            changing.change().await;
            let began = Instant::now();
            changing.wait_acknowledged().await;
            slowest = slowest.max(began.elapsed());
            since = changing.clock();
        }
        stop.store(true, Ordering::Relaxed);
        let mut done = (0, 0);
        for client in clients {
            let (read, written) = client.await.expect("a client without complaints");
            done = (done.0 + read, done.1 + written);
        }
        println!(
            "{CHANGES} changes, {} transactions, {} inserts; acknowledged in {slowest:?} at most",
            done.0, done.1
        );
        assert!(done.0 > 100 && done.1 > 100, "{done:?}");
        // Statements take some milliseconds; whoever only looks now and then is found out here.
        assert!(slowest < Duration::from_millis(1500), "{slowest:?}");

        // Every insert is whole.
        let whole =
            changing.mapped.shards.on_shards("select count(*), count(distinct batch) from events");
        let count = |shard: usize, column: usize| whole[shard][0][column].clone().expect("a count");
        let all = done.1.to_string();
        for shard in [0, 1] {
            assert_eq!((count(shard, 0), count(shard, 1)), (all.clone(), all.clone()));
        }
        // While a map alone was in use, nothing went by another.
        let (lower, _) = keys();
        let mut rows = 0;
        for (epoch, from, to) in &alone {
            let sql = format!(
                "select count(*) filter (where customer = {lower}), count(*) from events \
                 where at > '{from}' and at < '{to}'"
            );
            let found = changing.mapped.shards.on_shards(&sql);
            let owner = usize::from(epoch % 2 == 0);
            for shard in [0, 1] {
                let (lowers, all) = (&found[shard][0][0], &found[shard][0][1]);
                let wanted = if shard == owner { all.clone() } else { Some("0".to_owned()) };
                assert_eq!(*lowers, wanted, "epoch {epoch} on s{shard}");
                rows += all.as_deref().and_then(|all| all.parse::<u64>().ok()).unwrap_or_default();
            }
        }
        println!("{rows} rows were written while one map alone was in use");
        assert!(rows > 100, "{rows}");
    });
}

#[test]
fn an_open_transaction_keeps_its_map() {
    run(120, async {
        let mut changing = Changing::start("map_open").await;
        let (lower, upper) = keys();
        let select = |key| format!("select marker from marks where customer = {key}");
        let open = changing.proxies[0].client().await;
        exec(&open, "begin").await;
        assert_eq!(value(&open, &select(lower)).await, "s0");
        changing.change().await;
        let report = |epoch: &str, acknowledged: &str, name: &str| {
            vec![Some(name.to_owned()), Some(epoch.to_owned()), Some(acknowledged.to_owned())]
        };
        let wanted = vec![report("2", "1", "one"), report("2", "2", "two")];
        eventually("it is seen", LIMIT, async || changing.mapped.reports() == wanted).await;
        // Others go by the new one meanwhile, also on the same proxy.
        let other = changing.proxies[0].client().await;
        assert_eq!(value(&other, &select(lower)).await, "s1");
        assert_eq!(value(&open, &select(upper)).await, "s1", "as in the map it began with");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(changing.mapped.reports(), wanted, "not over yet");
        exec(&open, "commit").await;
        let began = Instant::now();
        changing.wait_acknowledged().await;
        println!("acknowledged {:?} after the commit", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!(value(&open, &select(lower)).await, "s1");
    });
}

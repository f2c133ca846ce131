//! A mover by hand: the test writes each epoch of a move itself, and sets the fence.

use pgmanifold::shard_map::admin::change::{Permissions, apply};
use pgmanifold::shard_map::admin::{Admin, install};
use pgmanifold_router::catalog::{Parameter, change_map};
use pgmanifold_router::hash::hash_key;
use pgmanifold_router::key::KeyValue;
use pgmanifold_router::shard_map::{Bound, Keys, MapError, ShardMap};
use pgmanifold_tests::cluster::{self, USER};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::shards::layout::Layout;
use pgmanifold_tests::shards::{Options, Shards};
use pgmanifold_tests::{client, eventually};
use std::time::Duration;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

const LIMIT: Duration = Duration::from_secs(20);
/// The keys of s0 with a hash below this one go to s2.
const BORDER: i64 = -6_000_000_000_000_000_000;
/// s0 has the hashes below this one.
const END_OF_S0: i64 = -3_074_457_345_618_258_603;
const SCHEMA: &str = "create table notes (customer bigint, note text); \
     create table lines (customer bigint, note text)";

/// Three shards with a catalog, and one proxy.
pub(super) struct ByHand {
    pub(super) shards: Shards,
    pub(super) proxy: Fixture,
    admin: Admin,
    catalog: Client,
    map: ShardMap,
}

impl ByHand {
    /// The map has epoch 1, and the proxy goes by it.
    pub(super) async fn start(
        test: &str,
        replicas: usize,
        adjust: impl FnOnce(ConfigText) -> ConfigText,
    ) -> ByHand {
        let layout = Layout::new()
            .hash("customer", &["bigint"])
            .table("notes", &["customer"])
            .table("lines", &["customer"]);
        let mut options = Options::new(test).tables(layout, SCHEMA);
        options.without_proxy = true;
        (options.replicas, options.private) = (replicas, replicas > 0);
        let shards = Shards::start(options, |config| config).await;
        let server = shards.servers.oracle.clone();
        let database = cluster::create_database(&server, "catalog");
        let section = format!(
            "[catalog]\nhosts = [{:?}]\ndatabase = {database:?}\nuser = {USER:?}\n\
             tls_mode = \"disable\"\npoll_interval_ms = 2000\n",
            server.primary.address().to_string()
        );
        let config = adjust(shards.config.clone().section(&section));
        let parsed = pgmanifold::config::parse(&config.text(), "test.toml").expect("a file");
        let admin = Admin::new(parsed, None, Some("postgres")).expect("a database");
        install::install(&admin).await.expect("the schemas");
        apply(&admin, Permissions::default()).await.expect("the first map");
        let map = admin.map().await.expect("the first map");
        let catalog = admin.catalog().await.expect("the catalog");
        let home = shards.servers.shards[0].clone();
        let proxy = Fixture::with_config(home, shards.database.clone(), &config);
        let by_hand = ByHand { shards, proxy, admin, catalog, map };
        eventually("the proxy serves", LIMIT, async || {
            let database = &by_hand.shards.database;
            let config = client::config(&by_hand.proxy.address, USER, database);
            let Ok(client) = client::try_connect(&config).await else { return false };
            let begun = client.batch_execute("begin").await;
            let (moving, stays, other) = keys(0);
            let rows = format!("({moving}, ''), ({stays}, ''), ({other}, '')");
            let sql = format!("insert into notes values {rows}");
            let tried = client.batch_execute(&sql).await;
            let tried = tried.inspect_err(|error| println!("not yet: {}", client::text(error)));
            begun.is_ok() && tried.is_ok()
        })
        .await;
        by_hand
    }

    /// Writes the next epoch.
    pub(super) async fn change(
        &mut self,
        change: impl FnOnce(&ShardMap) -> Result<ShardMap, Vec<MapError>>,
    ) {
        let next = change(&self.map).expect("a change that can be");
        let name = &self.admin.database().name;
        let transaction = self.catalog.transaction().await.expect("the catalog");
        for command in change_map(name, self.map.epoch, &next.parts(), "by hand") {
            let types: Vec<Type> = command.parameters.iter().map(type_of).collect();
            let statement = transaction.prepare_typed(command.sql, &types).await.expect("prepared");
            let values: Vec<&(dyn ToSql + Sync)> = command.parameters.iter().map(value).collect();
            let rows = transaction.query(&statement, &values).await.expect("a change");
            assert!(!command.decides || !rows.is_empty(), "somebody else has changed the map");
        }
        transaction.commit().await.expect("a change");
        self.map = next;
    }

    pub(super) async fn announce(&mut self) {
        let keys = Keys::Between(None, Some(Bound::Hash(BORDER)));
        self.change(|map| map.announce(0, 1, &keys, "s2")).await;
        self.wait_acknowledged().await;
    }

    /// Announces when that is still to be done, and pauses the keys.
    pub(super) async fn pause(&mut self) {
        if !self.map.is_moving() {
            self.announce().await;
        }
        self.change(|map| map.pause(1, true)).await;
    }

    pub(super) async fn resume(&mut self) {
        self.change(|map| map.pause(1, false)).await;
    }

    pub(super) async fn hand_over(&mut self, shard: &str) {
        self.change(|map| map.hand_over(1, shard)).await;
    }

    /// Executions that the catalog was told of, of all processes and parts.
    pub(super) async fn load(&self) -> i64 {
        let sql = "select coalesce(sum(executions), 0)::int8 from pgm.load";
        self.catalog.query_one(sql, &[]).await.expect("the catalog").get(0)
    }

    /// The epoch that the proxy has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        let database = &self.shards.database;
        let series = format!("pgmanifold_shard_map_acknowledged_epoch{{database=\"{database}\"}}");
        self.proxy.metric(&series) as u64
    }

    /// Nothing goes by an older map any more, and the catalog was told.
    pub(super) async fn wait_acknowledged(&self) {
        let wanted = self.map.epoch.to_string();
        eventually("the map alone is in use", LIMIT, async || {
            let sql = "select min(acked_epoch) from pgm.proxy";
            client::value(&self.catalog, sql).await == wanted
        })
        .await;
    }

    /// Refuses writes to the moving keys on a shard.
    pub(super) fn fence(&self, shard: usize) {
        let sql = ["notes", "lines"].map(|table| {
            format!(
                "create trigger pgm_fence_1_write before insert or update on {table} for each row \
                 when (hashint8extended(new.customer, 0) < {BORDER}) \
                 execute function pgm.reject_moved(); \
                 create trigger pgm_fence_1_delete before delete on {table} for each row \
                 when (hashint8extended(old.customer, 0) < {BORDER}) \
                 execute function pgm.reject_moved();"
            )
        });
        let server = self.shards.shard(shard);
        server.query_in(&self.shards.database, &sql.concat()).expect("a fence");
    }

    pub(super) fn unfence(&self, shard: usize) {
        let sql = ["notes", "lines"].map(|table| {
            format!(
                "drop trigger pgm_fence_1_write on {table}; \
                 drop trigger pgm_fence_1_delete on {table};"
            )
        });
        let server = self.shards.shard(shard);
        server.query_in(&self.shards.database, &sql.concat()).expect("no fence");
    }

    /// Notes on each shard, in order of their texts.
    pub(super) fn notes(&self, table: &str) -> [String; 3] {
        let sql = format!("select string_agg(note, ' ' order by note) from {table}");
        let found = self.shards.on_shards(&sql);
        let text = |at: usize| found[at][0][0].clone().unwrap_or_default();
        [text(0), text(1), text(2)]
    }

    pub(super) fn counted(&self, family: &str) -> f64 {
        self.proxy.metric_sum(family, "")
    }

    pub(super) async fn client(&self) -> Client {
        self.proxy.client().await
    }
}

/// A key that moves from s0 to s2, one that stays on s0, and one of s1: the nth of each.
pub(super) fn keys(nth: usize) -> (i64, i64, i64) {
    let find = |wanted: fn(i64) -> bool| {
        let mut found = (1_i64..).filter(|key| wanted(hash_key(&[KeyValue::Int(*key)])));
        found.nth(nth).expect("there are many")
    };
    let stays = find(|hash| (BORDER..END_OF_S0 - 10).contains(&hash));
    let other = find(|hash| (END_OF_S0 + 10..0).contains(&hash));
    (find(|hash| hash < BORDER), stays, other)
}

fn type_of(parameter: &Parameter) -> Type {
    match parameter {
        Parameter::Text(_) => Type::TEXT,
        Parameter::Integer(_) => Type::INT8,
        Parameter::Texts(_) => Type::TEXT_ARRAY,
    }
}

fn value(parameter: &Parameter) -> &(dyn ToSql + Sync) {
    match parameter {
        Parameter::Text(text) => text,
        Parameter::Integer(number) => number,
        Parameter::Texts(texts) => texts,
    }
}

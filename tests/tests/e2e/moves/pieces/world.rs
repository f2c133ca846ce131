//! Owns the two shards these tests work on, and a writer that knows no rest.

use pgmanifold::demo::postgres::{PgCluster, Postgres};
use pgmanifold_rebalancer::blockers::Attempt;
use pgmanifold_rebalancer::config::{Server, ShardConfig};
use pgmanifold_rebalancer::connect::{Session, primary};
use pgmanifold_rebalancer::copy::Pace;
use pgmanifold_rebalancer::error::Error;
use pgmanifold_rebalancer::tables::{self, MovedTable, Scope};
use pgmanifold_router::key::KeyType;
use pgmanifold_router::shard_map::{Bound, Keys, MapParts, ShardMap};
use pgmanifold_router::shard_schema;
use pgmanifold_tests::cluster;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// One try for locks.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_millis(100);
/// Longest wait for anything that comes by itself.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// A plain table, a partitioned one, and one with everything that could go wrong on the way.
pub(super) const SCHEMA: &str = "\
    create type mood as enum ('sad', 'ok', 'glad'); \
    create type pair as (a int, b text); \
    create table acct (id bigint primary key, n bigint not null, last text); \
    create table event (id bigint, day int, note text, primary key (id, day)) \
     partition by range (day); \
    create table event_0 partition of event for values from (0) to (10); \
    create table event_1 partition of event for values from (10) to (20) \
     partition by range (day); \
    create table event_1a (note text, day int not null, id bigint not null); \
    alter table event_1 attach partition event_1a for values from (10) to (15); \
    create table event_1b partition of event_1 for values from (15) to (20); \
    create table odd (id bigint, seq bigint generated always as identity, \
     gone int, twice bigint generated always as (id * 2) stored, doc json, docb jsonb, m mood, \
     ms mood[], p pair, raw bytea, wide text, price numeric, at timestamptz, ratio float8, \
     primary key (id, seq)); \
    alter table odd drop column gone; alter table odd alter wide set storage external;";

/// Two servers that all these tests share.
fn servers() -> &'static [Arc<PgCluster>; 2] {
    static SERVERS: OnceLock<[Arc<PgCluster>; 2]> = OnceLock::new();
    SERVERS.get_or_init(|| [server(&[]), server(&[])])
}

/// A server as a shard has to be, with settings of the test's own.
pub(super) fn server(more: &[(&str, &str)]) -> Arc<PgCluster> {
    let mut settings = vec![
        ("wal_level", "logical"),
        ("max_prepared_transactions", "16"),
        ("max_replication_slots", "40"),
        ("max_wal_senders", "40"),
        ("max_worker_processes", "60"),
        ("max_logical_replication_workers", "40"),
        ("wal_retrieve_retry_interval", "200ms"),
    ];
    settings.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    settings.extend(more);
    cluster::private_with(0, &settings)
}

/// Two shards, west and east, with a database of the test's own; half of west's keys move.
pub(super) struct World {
    pub(super) servers: [Arc<PgCluster>; 2],
    pub(super) database: String,
    pub(super) map: ShardMap,
    pub(super) keys: Keys,
    pub(super) tables: Vec<MovedTable>,
    pub(super) configs: [ShardConfig; 2],
    pub(super) source: Session,
    pub(super) target: Session,
}

impl World {
    /// With [`SCHEMA`] on both.
    pub(super) async fn new(test: &str) -> World {
        let parts = parts(&[("acct", "id"), ("event", "id"), ("odd", "id")]);
        World::with(test, servers().clone(), parts, [SCHEMA, SCHEMA]).await
    }

    /// The same on servers of the test's own: transactions that it prepares hold up the slots of
    /// others.
    pub(super) async fn private(test: &str) -> World {
        let parts = parts(&[("acct", "id"), ("event", "id"), ("odd", "id")]);
        World::with(test, [server(&[]), server(&[])], parts, [SCHEMA, SCHEMA]).await
    }

    /// With these servers, this map, and these schemas.
    pub(super) async fn with(
        test: &str,
        servers: [Arc<PgCluster>; 2],
        parts: MapParts,
        schemas: [&str; 2],
    ) -> World {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let database = format!("{test}_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        for (number, schema) in (0..).zip(schemas) {
            let server = &servers[usize::from(number)].primary;
            let create = format!("create database {database} template template0");
            server.query(&create).expect("a database");
            let install = shard_schema::install(number, &[]);
            server.query_in(&database, &install).expect("the shard's schema");
            server.query_in(&database, schema).expect("the tables");
        }
        let configs =
            [config("west", &servers[0], &database), config("east", &servers[1], &database)];
        let source = primary(&configs[0].server, "shard west").await.expect("the source");
        let target = primary(&configs[1].server, "shard east").await.expect("the target");
        let map = ShardMap::build(parts).expect("a map");
        let tables = tables::load(&source, &map, 0).await.expect("tables");
        // Shard west has the negative hashes; the upper half of them moves.
        let keys = Keys::Between(Some(Bound::Hash(-(1 << 62))), Some(Bound::Hash(0)));
        World { servers, database, map, keys, tables, configs, source, target }
    }

    /// What moves.
    pub(super) fn scope(&self, id: i64) -> Scope<'_> {
        let World { map, keys, tables, .. } = self;
        Scope { id, map, distribution: 0, keys, tables }
    }

    pub(super) fn server(&self, number: usize) -> &Postgres {
        &self.servers[number].primary
    }

    /// Fills the source with keys of its own.
    pub(super) async fn fill(&self, keys: u32) {
        let own =
            format!("from generate_series(1, {keys}) g(id) where hashint8extended(g.id, 0) < 0");
        let sql = format!(
            "set search_path = public; insert into acct select id, 0, 'new' {own}; \
             insert into event select id, d * 7 % 20, 'day ' || d {}; \
             insert into odd (id, doc, docb, m, ms, p, raw, wide, price, at, ratio) \
             select id, '{{\"b\": 1,  \"a\": [1, 1.0]}}', '{{\"x\": 1.50}}', 'glad', \
              '{{sad,null,ok}}', (id::int, E'a,\\t\"\\\\')::pair, decode(md5(id::text), 'hex'), \
              repeat(md5(id::text), 300), id * 1.10, \
              case when id % 3 = 0 then 'infinity' else timestamptz '2024-02-29 23:00:00+05' end, \
              case id % 3 when 0 then 'NaN' when 1 then 0.1::float8 + 0.2 else -0.0 end {own}; \
             set search_path = ''",
            own.replace(" where", " cross join generate_series(1, 3) d where")
        );
        self.source.run(&sql).await.expect("rows");
    }

    /// All rows of the keys on a shard, as one text per table.
    pub(super) async fn rows(&self, session: &Session) -> Vec<String> {
        let scope = self.scope(1);
        let mut rows = Vec::new();
        for table in &self.tables {
            let sql = format!(
                "select pg_catalog.count(*) || ' ' || coalesce(pg_catalog.md5( \
                 pg_catalog.string_agg(t::text, ',' order by t::text collate \"C\")), '') \
                 from {} t where {}",
                table.sql(),
                scope.condition(table, "t.")
            );
            rows.push(session.value(&sql).await.expect("rows").expect("a text"));
        }
        rows
    }

    /// What is left of moves on a shard, by kind.
    pub(super) async fn leftovers(&self, session: &Session) -> Vec<String> {
        let here = "datname = pg_catalog.current_database()";
        let sql = format!(
            "select 'slot ' || slot_name from pg_catalog.pg_replication_slots where \
              database = pg_catalog.current_database() \
             union all select 'publication ' || pubname from pg_catalog.pg_publication \
             union all select 'subscription ' || subname from pg_catalog.pg_subscription \
              where subdbid = (select oid from pg_catalog.pg_database where {here}) \
             union all select 'trigger ' || tgname from pg_catalog.pg_trigger \
              where tgname like 'pgm%' \
             union all select 'event trigger ' || evtname from pg_catalog.pg_event_trigger \
             union all select 'marker' from pgm.marker \
             union all select 'guarded' from pgm.moving_table"
        );
        let rows = session.rows(&sql).await.expect("leftovers");
        rows.into_iter().flatten().flatten().collect()
    }
}

/// A distribution by hash with these tables and keys.
pub(super) fn parts(tables: &[(&str, &str)]) -> MapParts {
    let parts = MapParts::new(&["west", "east"]).hash("key", &[KeyType::Int8]);
    tables.iter().fold(parts, |parts, (table, key)| parts.table("public", table, "key", &[*key]))
}

fn config(name: &str, server: &PgCluster, database: &str) -> ShardConfig {
    let dsn = server.primary.dsn_for("postgres", None, database);
    let login = dsn.parse().expect("a connection string");
    ShardConfig { name: name.into(), server: Server { login, ca_file: None }, subscription: dsn }
}

/// Counts, and lets everybody go on.
#[derive(Debug, Default)]
pub(super) struct Counting {
    pub(super) rows: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// From so many rows on everybody is stopped; 0: never.
    pub(super) stop_after: AtomicU64,
}

impl Pace for Counting {
    fn passed(
        &self,
        rows: u64,
        bytes: u64,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let all = self.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        let stop = self.stop_after.load(Ordering::Relaxed);
        let stops = stop > 0 && all >= stop;
        Box::pin(async move { if stops { Err(Error::Stopped("enough".into())) } else { Ok(()) } })
    }
}

/// Repeats a try until it is done.
pub(super) async fn until_done<T, F>(what: &str, mut try_it: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<Attempt<T>, Error>>,
{
    let begun = std::time::Instant::now();
    loop {
        match try_it().await {
            Ok(Attempt::Done(value)) => return value,
            Ok(Attempt::Blocked(_)) if begun.elapsed() < LIMIT => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(Attempt::Blocked(who)) => panic!("{what}: blocked by {who:?}"),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

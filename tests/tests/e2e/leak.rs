//! Nothing of a session leaks to another one and nothing is lost: thousands of random steps of
//! many clients over few servers, compared one by one with connections of their own to a twin
//! database.
//!
//! `PGM_SEED` repeats a run, `PGM_LEAK_STEPS` sets its length.

use pgmanifold::demo::postgres::PgCluster;
use pgmanifold_tests::cluster::{self, USER};
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::leak::crowd::{self, Options, Report, World};
use pgmanifold_tests::leak::member::Place;
use pgmanifold_tests::{random, run};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Servers of each user on each host.
const POOL_SIZE: usize = 3;
/// Clients by user: an ordinary one, and one that may become anybody.
const CLIENTS: [(&str, usize); 2] = [(USER, 16), ("postgres", 8)];
/// Reasons to keep a server, as metrics name them.
const PINS: [&str; 9] = [
    "temp_object",
    "listen",
    "advisory_lock",
    "hold_cursor",
    "sql_prepare",
    "load",
    "unclassified",
    "sequence_state",
    "asked",
];
/// Steps of a run without `PGM_LEAK_STEPS`; `make soak` runs 20,000.
const STEPS: u32 = 1000;
/// Seed of such a run.
const SHORT_SEED: u64 = 10_033_603_829_252_684_255;

fn steps() -> u32 {
    let given = std::env::var("PGM_LEAK_STEPS").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(STEPS)
}

/// What both databases have: roles, and two schemas for every client.
fn prepare(cluster: &PgCluster, databases: &[&str]) {
    let roles = "do $$ begin create role leak_a; create role leak_b; \
                 exception when duplicate_object then null; end $$;";
    cluster.primary.query(roles).expect("roles");
    cluster.primary.query(&format!("grant leak_a, leak_b to {USER}")).expect("roles");
    for database in databases {
        let path = format!("alter database {database} set search_path to '\"$user\"'");
        cluster.primary.query(&path).expect("a default path");
        let shared = "create schema leak_shared";
        cluster.primary.query_in(database, shared).expect("a schema");
        for client in 0..CLIENTS.iter().map(|(_, count)| count).sum() {
            fresh_schemas(cluster, database, client);
        }
    }
    cluster.wait_caught_up().expect("replicas follow");
}

fn fresh_schemas(cluster: &PgCluster, database: &str, client: usize) {
    let mut sql = String::new();
    for (suffix, role) in [("a", "leak_a"), ("b", "leak_b")] {
        let schema = format!("c{client}{suffix}");
        sql += &format!(
            "drop schema if exists {schema} cascade; create schema {schema};\
             create sequence {schema}.s;\
             create table {schema}.t (id serial primary key, v text);\
             insert into {schema}.t (v) values ('one {suffix}'), ('two'), (null);\
             create function {schema}.f() returns int stable language sql as 'select 0';\
             grant usage on schema {schema} to {role};\
             grant select on {schema}.t to {role};\
             alter schema {schema} owner to {USER}; alter table {schema}.t owner to {USER};\
             alter sequence {schema}.s owner to {USER};\
             alter function {schema}.f() owner to {USER};"
        );
    }
    cluster.primary.query_in(database, &sql).expect("schemas");
}

struct Databases<'a> {
    fixture: &'a Fixture,
    cluster: &'a PgCluster,
    databases: [&'a str; 2],
}

impl World for Databases<'_> {
    fn settle(&self) {
        self.cluster.wait_caught_up().expect("replicas follow");
    }

    fn renew(&self, client: usize) {
        for database in self.databases {
            fresh_schemas(self.cluster, database, client);
        }
    }

    fn state(&self) -> String {
        let names = ["pgmanifold_pinned_sessions", "pgmanifold_clients", "pgmanifold_servers"];
        let shown = |line: &&str| names.iter().any(|name| line.starts_with(name));
        let text = self.fixture.metrics();
        let lines = text.lines().filter(shown).filter(|line| !line.ends_with(" 0"));
        let text: String = lines.map(|line| format!("    {line}\n")).collect();
        text + &self.fixture.activity()
    }
}

/// The short run is the same every time; a run of a given length is another one each time.
fn generator(test: &str) -> StdRng {
    let chosen = ["PGM_SEED", "PGM_LEAK_STEPS"].iter().any(|name| std::env::var_os(name).is_some());
    if chosen {
        return random::seeded(test);
    }
    println!("{test}: seed {SHORT_SEED} (repeat with PGM_SEED={SHORT_SEED})");
    StdRng::seed_from_u64(SHORT_SEED)
}

async fn compare(test: &str, concurrent: bool) -> Report {
    let adjust = |config: pgmanifold_tests::config::ConfigText| {
        config.pool(&format!("pool_size = {POOL_SIZE}"))
    };
    let fixture = Fixture::shared(test, adjust).await;
    let twin = cluster::create_database(&fixture.cluster, "twin");
    prepare(&fixture.cluster, &[&fixture.database, &twin]);
    let places = [
        Place { address: fixture.address.clone(), database: fixture.database.clone() },
        Place { address: fixture.cluster.primary.address(), database: twin.clone() },
    ];
    let options = Options {
        clients: CLIENTS.into(),
        holders_max: POOL_SIZE - 1,
        steps: steps(),
        concurrent,
        places,
    };
    let seed = generator(test).random();
    let world = Databases {
        fixture: &fixture,
        cluster: &fixture.cluster,
        databases: [&fixture.database, &twin],
    };
    let report = crowd::run(&options, seed, &world).await;
    println!("{}", report.text());
    for reason in PINS {
        let label = format!("reason=\"{reason}\"");
        let pins = fixture.metric_sum("pgmanifold_pins_total", &label);
        println!("  pins by {reason}: {pins}");
    }
    report
}

#[test]
fn sessions_are_what_they_would_be_on_postgres() {
    run(600, async {
        let report = compare("leak", false).await;
        assert!(report.differences.is_empty(), "{}", report.text());
    });
}

#[test]
fn sessions_are_what_they_would_be_when_all_run_at_once() {
    run(600, async {
        let report = compare("leakall", true).await;
        assert!(report.differences.is_empty(), "{}", report.text());
    });
}

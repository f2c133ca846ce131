//! Each thing that makes a move impossible is found before anything is touched, and what is found
//! says what helps.

use super::world::{World, parts, server};
use pgmanifold::demo::postgres::PgCluster;
use pgmanifold_rebalancer::config::Limits;
use pgmanifold_rebalancer::connect::primary;
use pgmanifold_rebalancer::precheck::{self, Question, Report};
use pgmanifold_rebalancer::tables;
use pgmanifold_router::shard_map::MapParts;
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::run;
use std::sync::Arc;
use std::time::Duration;

/// What can be moved.
const GOOD: &str = "create table acct (id bigint primary key, n bigint)";

/// A source and a target, and what is to be said of them: parts of the reason and of its remedy.
struct Case {
    source: &'static str,
    target: &'static str,
    reason: &'static str,
    remedy: &'static str,
    /// Whether it can be moved offline.
    offline: bool,
}

const fn both(schema: &'static str, reason: &'static str, remedy: &'static str) -> Case {
    Case { source: schema, target: schema, reason, remedy, offline: false }
}

const fn online(schema: &'static str, reason: &'static str, remedy: &'static str) -> Case {
    Case { source: schema, target: schema, reason, remedy, offline: true }
}

const fn target(
    source: &'static str,
    target: &'static str,
    reason: &'static str,
    remedy: &'static str,
) -> Case {
    Case { source, target, reason, remedy, offline: false }
}

const CASES: &[Case] = &[
    target(GOOD, "", "there is no table public.acct", "pg_dump --schema-only --table='\"public\"."),
    target(
        GOOD,
        "create table acct (id bigint primary key, n int)",
        "table public.acct differs: only on the source: column n bigint",
        "the same",
    ),
    target(
        "create table acct (id bigint primary key, n bigint); \
         create unique index i on acct (id, n)",
        GOOD,
        "only on the source: CREATE UNIQUE INDEX i ON public.acct",
        "the same",
    ),
    target(
        GOOD,
        "create table acct (id bigint primary key, n bigint check (n > 0))",
        "only on the target: constraint acct_n_check CHECK ((n > 0))",
        "the same",
    ),
    target(
        "create type m as enum ('a', 'b'); create table acct (id bigint primary key, m m[])",
        "create type m as enum ('a'); create table acct (id bigint primary key, m m[])",
        "type public.m differs: 'a', 'b' on the source, 'a' on the target",
        "add value",
    ),
    target(
        GOOD,
        "create table acct (id bigint primary key, n bigint); insert into acct select g \
         from generate_series(1, 50) g",
        "shard east",
        "delete from \"public\".\"acct\" where (",
    ),
    online(
        "create table acct (id bigint, pk int primary key)",
        "column id of the key is not in its replica identity",
        "make a unique index",
    ),
    online(
        "create table acct (id bigint not null, pk int primary key, unique (pk, id))",
        "column id of the key is not in its replica identity",
        "alter table \"public\".\"acct\" replica identity using index \"acct_pk_id_key\", or move",
    ),
    online("create table acct (id bigint)", "has no replica identity", "--mode offline"),
    online(
        "create table acct (id bigint); alter table acct replica identity full",
        "REPLICA IDENTITY FULL and no primary key",
        "--mode offline",
    ),
    online(
        "create table acct (id bigint, d int, primary key (id, d)) partition by range (d); \
         create table acct_0 partition of acct for values from (0) to (9); \
         alter table acct_0 replica identity nothing",
        "has no replica identity",
        "partition",
    ),
    online(
        "create unlogged table acct (id bigint primary key)",
        "public.acct is unlogged",
        "set logged",
    ),
    both(
        "create type e as enum ('a'); create table acct (id e primary key)",
        "column id is an enum, public.e, but its key is bigint",
        "alter \"id\" type bigint",
    ),
    both(
        "create domain d as bigint; create table acct (id d primary key)",
        "column id is a domain, public.d, but its key is bigint",
        "alter \"id\" type bigint",
    ),
    both("create table acct (no bigint primary key)", "has no column id", "correct the map"),
    both(
        "create table acct (n bigint, id bigint generated always as (n + 1) stored primary key)",
        "column id is the key, and it is generated",
        "drop expression",
    ),
    both(
        "create table acct (id bigint primary key); create trigger t before insert on acct \
         for each row execute function suppress_redundant_updates_trigger(); \
         alter table acct enable always trigger t",
        "trigger t on public.acct fires for copied and replicated rows",
        "enable trigger",
    ),
    both(
        "create table acct (id bigint primary key); create table child () inherits (acct)",
        "shares rows with public.child by inheritance",
        "partition",
    ),
    both(
        "create table root (id bigint primary key) partition by range (id); \
         create table acct partition of root for values from (0) to (9)",
        "is a partition of public.root",
        "put public.root into the map",
    ),
    both("create view acct as select 1::bigint as id", "not a plain or partitioned", "only rows"),
    both(
        "create table acct (id bigint primary key); alter extension plpgsql add table acct",
        "belongs to extension plpgsql",
        "its own business",
    ),
    both(
        "create table other (id int primary key); \
         create table acct (id bigint primary key, o int references other)",
        "foreign key acct_o_fkey of public.acct to public.other: the rows referred to do not move",
        "reference table",
    ),
    both(
        "create table acct (id bigint primary key); create table other (a bigint references acct)",
        "foreign key other_a_fkey of public.other to public.acct: the rows that refer do not move",
        "drop the constraint",
    ),
    target(
        "create table acct (id bigint, pk int unique, up int references acct (pk), \
         primary key (id, pk)); insert into acct select g, g, 1 from generate_series(1, 50) g",
        "create table acct (id bigint, pk int unique, up int references acct (pk), \
         primary key (id, pk))",
        "foreign key acct_up_fkey of public.acct to public.acct: rows that move refer to rows",
        "must contain the key",
    ),
    both(
        "create table acct (id bigint, num bigserial unique, primary key (id, num))",
        "sequence \"public\".\"acct_num_seq\" gives the same numbers on both shards, and column",
        "pgmanifold map sequences",
    ),
    target(
        GOOD,
        "create table acct (id bigint primary key, n bigint); update pgm.this_shard set number = 7",
        "it says that it is shard 7",
        "correct the hosts",
    ),
    target(
        GOOD,
        "create table acct (id bigint primary key, n bigint); drop function pgm.reject_ddl()",
        "the schema pgm is missing, or older",
        "pgmanifold map init",
    ),
];

fn one_table() -> MapParts {
    parts(&[("acct", "id")])
}

async fn ask(world: &World, online: bool, limits: &Limits) -> Report {
    let [source_config, target_config] = &world.configs;
    let question = Question {
        scope: world.scope(1),
        online,
        source: &world.source,
        target: &world.target,
        source_config,
        target_config,
        limits,
    };
    precheck::check(question).await.expect("an answer")
}

fn find<'a>(report: &'a Report, reason: &str) -> Option<&'a precheck::Reason> {
    report.reasons.iter().find(|known| known.what.contains(reason))
}

#[test]
fn what_can_be_moved_is_found_to_be_so() {
    run(60, async {
        let mut world = World::new("good").await;
        world.fill(400).await;
        world.tables = tables::load(&world.source, &world.map, 0).await.expect("tables");
        let report = ask(&world, true, &Limits::default()).await;
        assert_eq!(report.reasons, [], "{:?}", report.notes);
        let exact: i64 = world
            .rows(&world.source)
            .await
            .iter()
            .map(|rows| rows.split(' ').next().expect("a count").parse::<i64>().expect("a count"))
            .sum();
        assert_eq!(report.rows, exact, "small tables are counted");
        assert!(report.bytes > 100_000, "{report:?}");
        assert!(!report.notes.iter().any(|note| note.contains("disk")), "{:?}", report.notes);
        for session in [&world.source, &world.target] {
            assert!(world.leftovers(session).await.is_empty());
        }
    });
}

#[test]
fn each_reason_is_found_and_says_what_helps() {
    run(240, async {
        let servers = [server(&[]), server(&[])];
        for (at, case) in CASES.iter().enumerate() {
            let schemas = [case.source, case.target];
            let world = World::with("case", servers.clone(), one_table(), schemas).await;
            let report = ask(&world, true, &Limits::default()).await;
            let found = find(&report, case.reason);
            let found = found.unwrap_or_else(|| panic!("case {at}: {}: {report:#?}", case.reason));
            assert!(found.remedy.contains(case.remedy), "case {at}: {found:#?}");
            let report = ask(&world, false, &Limits::default()).await;
            assert_eq!(report.reasons.is_empty(), case.offline, "case {at}: {report:#?}");
        }
    });
}

#[test]
fn a_foreign_key_to_a_reference_table_is_none() {
    run(60, async {
        let schema = "create table country (c int primary key); \
                      create table acct (id bigint primary key, c int references country)";
        let map = one_table().reference("world").table("public", "country", "world", &[]);
        let servers = [server(&[]), server(&[])];
        let world = World::with("reference", servers, map, [schema, schema]).await;
        let report = ask(&world, true, &Limits::default()).await;
        assert_eq!(report.reasons, []);
    });
}

/// What servers, logins and connections must be like.
#[test]
fn all_reasons_are_told_at_once() {
    run(120, async {
        let few: &[(&str, &str)] = &[
            ("wal_level", "replica"),
            ("max_replication_slots", "0"),
            ("max_logical_replication_workers", "0"),
        ];
        let servers: [Arc<PgCluster>; 2] = [server(&[]), server(few)];
        let mut world = World::with("all", servers, one_table(), [GOOD, GOOD]).await;
        world.source.run("begin; insert into public.acct values (1)").await.expect("a row");
        world.source.run("prepare transaction 'in-doubt'").await.expect("prepared");
        world.server(0).configure("synchronous_standby_names", "*").expect("a setting");
        let (right, wrong) = (world.configs[0].subscription.clone(), world.server(0).dsn());
        world.configs[0].subscription = wrong;
        let login = world.server(1).dsn_for(USER, None, &world.database);
        world.configs[1].subscription = login;
        let limits = Limits { free_disk_bytes: 1 << 60, ..Limits::default() };
        // It becomes in doubt with time.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let wanted = [
            "synchronous_standby_names has a '*'",
            "prepared transaction E'in-doubt'",
            "wal_level is not logical",
            "no replication slot is free (0 of 0 are used)",
            "no logical replication worker is free (0 of 0 are used)",
            "of disk are free",
            "shard west: its `subscription` leads to another database",
            "shard east: the login of its `subscription` may not replicate",
        ];
        let report = ask(&world, true, &limits).await;
        for reason in wanted {
            assert!(find(&report, reason).is_some(), "{reason}: {report:#?}");
        }
        let offline = ask(&world, false, &Limits::default()).await;
        assert_eq!(offline.reasons.len(), 1, "the prepared transaction: {offline:#?}");
        // Nobody is there to be waited for.
        world.server(0).configure("synchronous_standby_names", "").expect("a setting");
        world.source.run("rollback prepared 'in-doubt'").await.expect("rolled back");
        world.configs[0].subscription = right.replace("dbname", "nonsense");
        let report = ask(&world, true, &Limits::default()).await;
        assert!(report.notes.iter().any(|note| note.contains("only libpq knows")), "{report:#?}");
        // A host that is not there, and a login that may do nothing.
        let gone =
            "host=127.0.0.1,127.0.0.1 port=1,2 user=postgres dbname=postgres sslmode=disable";
        world.configs[1].server.login = gone.parse().expect("a connection string");
        let login = world.server(0).dsn_for(USER, None, &world.database);
        world.configs[0].server.login = login.parse().expect("a connection string");
        world.source = primary(&world.configs[0].server, "shard west").await.expect("a session");
        let report = ask(&world, false, &Limits::default()).await;
        assert!(find(&report, "is not a superuser").is_some(), "{report:#?}");
        assert!(find(&report, "shard east (127.0.0.1:2)").is_some(), "{report:#?}");
    });
}

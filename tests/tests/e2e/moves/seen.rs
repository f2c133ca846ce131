//! Moves as operators see them: on the console, the status page and in metrics, and what
//! `pgmanifold map` makes of them. The test writes into the catalog what a mover would.

use crate::shards::map::Mapped;
use pgmanifold_router::shard_schema;
use pgmanifold_tests::client::{self, code, text};
use pgmanifold_tests::cluster::{self, USER};
use pgmanifold_tests::fixture::{Fixture, WHERE};
use pgmanifold_tests::process::scratch_file;
use pgmanifold_tests::shards::Options;
use pgmanifold_tests::{eventually, run};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);
/// The schema of shards as version 1 had it.
const VERSION_1: &str = include_str!("shard_schema_v1.sql");
/// Where the first shard's hashes end.
const END: &str = "-3074457345618258603";

fn catalog(mapped: &Mapped, sql: &str) {
    mapped.server.primary.query_in(&mapped.catalog, sql).expect("the catalog takes it");
}

/// A change of the map, with its epoch.
fn change(mapped: &Mapped, sql: &str) {
    let raise = "update pgm.cluster set epoch = epoch + 1";
    catalog(mapped, &format!("begin; {raise}; {sql}; notify pgm_map; commit"));
}

fn announce(mapped: &Mapped) {
    change(
        mapped,
        &format!(
            "insert into pgm.moving (distribution, database, move, source, target, paused, ends) \
             select id, database, 7, 's0', 's1', false, '{END}' from pgm.distribution; \
             insert into pgm.move (id, database, distribution, mode, ends, source, target, state, \
              rows_total, rows_copied, bytes_copied, rows_per_s, started_at) \
             overriding system value select 7, database, name, 'online', '{END}', 's0', 's1', \
              'copying', 1000, 250, 4096, 50, now() from pgm.distribution"
        ),
    );
}

#[test]
fn moves_are_shown_while_they_run_and_an_hour_longer() {
    run(120, async {
        let mapped = Mapped::start("moves_seen", None).await;
        let config = mapped.config.clone().http("127.0.0.1:0");
        let proxy = mapped.proxy(&config);
        mapped.wait_epoch(&proxy, 1.0).await;
        let active = format!("pgmanifold_moves_active{{database=\"{}\"}}", mapped.shards.database);
        assert_eq!((proxy.table("moves").len(), proxy.metric(&active)), (0, 0.0));
        announce(&mapped);
        mapped.wait_epoch(&proxy, 2.0).await;
        eventually("the move is seen", LIMIT, async || proxy.table("moves").len() == 1).await;
        let seen = |column: &str| proxy.table("moves")[0].text(column);
        assert_eq!(seen("range"), format!("[beginning, {END})"));
        assert_eq!((&*seen("from_shard"), &*seen("to_shard")), ("s0", "s1"));
        assert_eq!((&*seen("state"), &*seen("mode")), ("copying", "online"));
        assert_eq!((&*seen("done_percent"), &*seen("left_s")), ("25", "15"));
        assert_eq!(proxy.metric(&active), 1.0);
        let states = |proxy: &Fixture| -> Vec<String> {
            proxy.table("ranges").iter().map(|row| row.text("state")).collect()
        };
        assert_eq!(states(&proxy), ["moving to s1", "active", "active"]);

        // Progress is not announced: it is looked for, every second.
        catalog(&mapped, "update pgm.move set rows_copied = 500, lag_bytes = 77");
        eventually("progress", Duration::from_secs(3), async || seen("rows") == "500").await;
        assert_eq!(seen("lag_bytes"), "77");
        change(&mapped, "update pgm.moving set paused = true");
        mapped.wait_epoch(&proxy, 3.0).await;
        assert_eq!(states(&proxy)[0], "paused");
        change(
            &mapped,
            "update pgm.key_range set shard = 's1' where shard = 's0'; \
             update pgm.moving set paused = false",
        );
        mapped.wait_epoch(&proxy, 4.0).await;
        assert_eq!(states(&proxy)[0], "moved from s0");
        change(
            &mapped,
            "delete from pgm.moving; update pgm.move set state = 'done', ended_at = now(), \
             write_pause_ms = 12.5, rows_copied = 1000",
        );
        eventually("its end is seen", LIMIT, async || seen("state") == "done").await;
        assert_eq!((&*seen("write_pause_ms"), proxy.metric(&active)), ("12.5", 0.0));
        assert_eq!(states(&proxy), ["active", "active", "active"]);
        catalog(&mapped, "update pgm.move set ended_at = now() - interval '2 hours'");
        eventually("it is forgotten", LIMIT, async || proxy.table("moves").is_empty()).await;
    });
}

#[test]
fn administration_leaves_alone_what_a_move_goes_by() {
    run(120, async {
        let mapped = Mapped::start("moves_admin", None).await;
        let shards = &mapped.shards;
        shards.fill("notes", "select g::bigint customer, 'x' from generate_series(1, 90) g");
        let user = ["--user", "postgres"];
        mapped.succeeds(&["sequences", "--user", "postgres"]).await;
        announce(&mapped);
        // Rows on their way are hidden, and a guard on one of both shards is no difference.
        let on = |shard: usize, sql: &str| {
            shards.shard(shard).query_in(&shards.database, sql).expect("a shard")
        };
        let keys: Vec<String> = on(0, "select customer from notes order by 1 limit 5")
            .into_iter()
            .map(|row| row[0].clone().expect("a key"))
            .collect();
        let values: Vec<String> = keys.iter().map(|key| format!("({key}, 'copy')")).collect();
        on(1, &format!("insert into notes values {}", values.join(", ")));
        on(
            0,
            "create trigger pgm_guard_7 before truncate on notes execute function \
             pgm.reject_truncate()",
        );
        let verify = [&["verify"], user.as_slice()].concat();
        let output = mapped.succeeds(&verify).await;
        let line = "shard s1: 5 rows of public.notes have keys that are on their way";
        assert!(output.contains(line), "{output}");
        // What no move explains is a problem still.
        on(2, &format!("insert into notes values ({}, 'lost')", keys[0]));
        let output = mapped.fails(&verify).await;
        assert!(output.contains("shard s2: 1 rows of public.notes are misplaced"), "{output}");
        on(2, "delete from notes where text = 'lost'");

        let output = mapped.succeeds(&["show"]).await;
        let line = format!("distribution customer: move 7: [beginning, {END}) from s0 to s1");
        assert!(output.contains(&line), "{output}");
        let output = mapped.succeeds(&["show", "--format", "json"]).await;
        assert!(output.contains("\"moving\": [{\"move\": 7, \"from\": null, "), "{output}");

        let refused = [
            vec!["split", "--distribution", "customer", "--at", "5"],
            vec!["move", "--distribution", "customer", "--to", "s2", "--yes-the-rows-are-there"],
            vec!["sequences", "--user", "postgres"],
        ];
        for command in refused {
            let output = mapped.fails(&command).await;
            assert!(output.contains("are being moved"), "{output}");
            assert!(output.contains("move 7: [beginning"), "{output}");
        }
        let output = mapped.succeeds(&["apply"]).await;
        assert!(output.starts_with("nothing to change"), "{output}");
        let more = "[[distribution]]\nname = \"copies\"\nkind = \"reference\"\n";
        mapped.write(&mapped.config.clone().section(more));
        let output = mapped.succeeds(&["apply"]).await;
        assert_eq!(output.lines().count(), 2, "{output}");
        let output = mapped.succeeds(&["show"]).await;
        assert!(output.contains(&line), "the move is kept: {output}");
        let more = "[[table]]\nname = \"more\"\ndistribution = \"customer\"\nkey = \"customer\"\n";
        mapped.write(&mapped.config.clone().section(more));
        let output = mapped.fails(&["apply"]).await;
        assert!(output.contains("its tables cannot be changed meanwhile"), "{output}");

        // When the move has ended, what is left over is misplaced.
        change(&mapped, "delete from pgm.moving");
        let output = mapped.fails(&verify).await;
        assert!(output.contains("shard s1: 5 rows of public.notes are misplaced"), "{output}");
        assert!(output.contains("only on s0: CREATE TRIGGER pgm_guard_7"), "{output}");
    });
}

#[test]
fn shards_are_brought_up_to_date_by_init() {
    run(120, async {
        let mapped = Mapped::start("moves_init", None).await;
        let shards = &mapped.shards;
        let on = |shard: usize, sql: &str| {
            shards.shard(shard).query_in(&shards.database, sql).expect("a shard takes it")
        };
        for number in 0..3_usize {
            let old = VERSION_1.replace("$NUMBER$", &number.to_string()).replace("$VERSION$", "1");
            on(number, &format!("drop schema pgm cascade; {old}"));
            on(number, "insert into pgm.dtx (gid, outcome, parts) values ('kept', 'c', '')");
        }
        let proxy = mapped.proxy(&mapped.config.clone().pool("checkout_timeout_ms = 2000"));
        mapped.wait_epoch(&proxy, 1.0).await;
        let sql = "select id from orders where customer = 1";
        let refused = std::cell::RefCell::new(String::new());
        eventually("the proxy knows its servers", LIMIT, async || {
            let config = client::config(&proxy.address, USER, &shards.database);
            let tried = match client::try_connect(&config).await {
                Ok(client) => client.batch_execute(sql).await,
                Err(error) => Err(error),
            };
            let error = tried.expect_err("the schema is too old");
            refused.replace(text(&error));
            code(&error) == "PGM05"
        })
        .await;
        let refused = refused.into_inner();
        println!("{refused}");
        assert!(refused.contains("is not prepared for its map"), "{refused}");
        assert!(refused.contains("pgmanifold map init"), "{refused}");

        mapped.succeeds(&["init", "--user", "postgres"]).await;
        for number in 0..3 {
            let rows = on(number, "select number, version, least_epoch from pgm.this_shard");
            let version = shard_schema::VERSION.to_string();
            let wanted = [number.to_string(), version, "0".to_owned()].map(Some).to_vec();
            assert_eq!(rows, [wanted]);
            assert_eq!(on(number, "select gid from pgm.dtx").len(), 1, "nothing is lost");
        }
        client::exec(&proxy.client().await, sql).await;
    });
}

#[test]
fn nothing_is_read_from_replicas_by_a_copy_nobody_knows_of() {
    run(180, async {
        let server = cluster::private(0);
        let mut options = Options::new("moves_copy");
        options.replicas = 1;
        let mapped = Mapped::start_with(options, Some(server.clone())).await;
        let copy = scratch_file("moves_copy");
        let _ = std::fs::remove_file(&copy);
        let key = format!("state_file = {:?}\n", copy.display().to_string());
        let config = mapped.with_catalog_key(&key);
        let reads = async |proxy: &Fixture| -> Vec<String> {
            let client = proxy.client().await;
            let mut places = Vec::new();
            for _ in 0..40 {
                places.push(client::value(&client, WHERE).await);
            }
            places
        };
        let replica = |places: &[String]| places.iter().any(|place| place.contains("replica"));
        let proxy = mapped.proxy(&config);
        mapped.wait_epoch(&proxy, 1.0).await;
        eventually("replicas are used", LIMIT, async || replica(&reads(&proxy).await)).await;
        eventually("the copy is there", LIMIT, async || copy.exists()).await;
        drop(proxy);
        server.primary.stop(pgmanifold::demo::postgres::Stop::Immediate).expect("it stops");
        let proxy = mapped.proxy(&config);
        mapped.wait_epoch(&proxy, 1.0).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let places = reads(&proxy).await;
        assert!(!replica(&places), "{places:?}");
        server.primary.start().expect("the catalog starts");
        eventually("replicas are used again", LIMIT, async || replica(&reads(&proxy).await)).await;
        let _ = std::fs::remove_file(&copy);
    });
}

//! The fence refuses exactly the keys, guards refuse what would not follow the rows.

use super::world::{LIMIT, LOCK_TIMEOUT, World, until_done};
use pgmanifold_rebalancer::blockers::{self, Attempt, Blocker};
use pgmanifold_rebalancer::connect::{Session, primary};
use pgmanifold_rebalancer::fence;
use pgmanifold_tests::{eventually, run};
use std::time::Duration;

/// The SQLSTATE of a statement; empty when it is done.
async fn state(session: &Session, sql: &str) -> String {
    match session.run(sql).await {
        Ok(()) => String::new(),
        Err(error) => error.sqlstate().unwrap_or("?").to_owned(),
    }
}

/// The first key of west that moves, or that stays.
async fn key(session: &Session, moves: bool) -> String {
    let border = -(1_i64 << 62);
    let sql = format!(
        "select g from generate_series(1, 1000) g where hashint8extended(g, 0) < 0 \
         and (hashint8extended(g, 0) >= {border}) = {moves} limit 1"
    );
    session.value(&sql).await.expect("a key").expect("a key")
}

#[test]
fn the_fence_refuses_exactly_the_keys() {
    run(120, async {
        let world = World::new("fence").await;
        world.fill(1000).await;
        let scope = world.scope(1);
        let client = primary(&world.configs[0].server, "client").await.expect("a client");
        let old = primary(&world.configs[0].server, "client").await.expect("a client");
        // A transaction with an old snapshot.
        let begin = "begin isolation level repeatable read; select count(*) from public.acct";
        old.run(begin).await.expect("a snapshot");
        assert!(!fence::is_fenced(&world.source, scope).await.expect("an answer"));
        until_done("fence", || fence::fence(&world.source, scope, LOCK_TIMEOUT)).await;
        assert!(fence::is_fenced(&world.source, scope).await.expect("an answer"));
        until_done("again", || fence::fence(&world.source, scope, LOCK_TIMEOUT)).await;
        let (moved, stays) = (key(&client, true).await, key(&client, false).await);
        let writes = |key: &str| {
            [
                format!("update public.acct set n = 1 where id = {key}"),
                format!("delete from public.event where id = {key}"),
                format!("insert into public.event values ({key}, 19, 'x')"),
                format!("insert into public.event_1b values ({key}, 18, 'x')"),
                format!("update public.event_1a set note = 'x' where id = {key}"),
                format!("insert into public.acct values ({key}, 1) on conflict do nothing"),
                format!(
                    "merge into public.odd using (values (1)) v on id = {key} \
                         when matched then update set price = 1"
                ),
                format!("delete from public.odd where id = {key}"),
            ]
        };
        for sql in writes(&moved) {
            assert_eq!(state(&client, &sql).await, "PGM01", "{sql}");
        }
        for sql in writes(&stays) {
            assert_eq!(state(&client, &sql).await, "", "{sql}");
        }
        // From one side to the other.
        let update =
            |from: &str, to: &str| format!("update public.acct set id = {to} where id = {from}");
        assert_eq!(state(&client, &update(&stays, &moved)).await, "PGM01");
        assert_eq!(state(&client, &update(&moved, "123456789")).await, "PGM01");
        assert_eq!(state(&client, "update public.acct set n = 5").await, "PGM01", "some of many");
        let read = format!("select n from public.acct where id = {moved}");
        assert_eq!(client.value(&read).await.expect("a read").as_deref(), Some("0"));
        let stale = format!("update public.acct set n = 1 where id = {moved}");
        assert_eq!(state(&old, &stale).await, "PGM01", "an old snapshot");
        old.run("rollback").await.expect("rollback");
        // Readers do not hold up the way back.
        old.run(begin).await.expect("a reader");
        until_done("unfence", || fence::unfence(&world.source, 1, LOCK_TIMEOUT)).await;
        assert!(!fence::is_fenced(&world.source, scope).await.expect("an answer"));
        assert_eq!(state(&client, &stale).await, "");
        // What could not be dropped does not hinder the next one.
        old.run("rollback").await.expect("rollback");
        until_done("fence", || fence::fence(&world.source, scope, LOCK_TIMEOUT)).await;
        assert_eq!(state(&client, &stale).await, "PGM01");
        until_done("unfence", || fence::unfence(&world.source, 1, LOCK_TIMEOUT)).await;
        fence::remove(&world.source, 1).await.expect("removal");
        assert!(world.leftovers(&world.source).await.is_empty());
    });
}

#[test]
fn who_stands_in_the_way_of_a_fence_is_named_and_can_be_ended() {
    run(60, async {
        let world = World::private("blockers").await;
        world.fill(100).await;
        let scope = world.scope(1);
        let client = primary(&world.configs[0].server, "client").await.expect("a client");
        client.run("begin; update public.event_1a set note = 'held'").await.expect("a writer");
        let blocked = async || -> Vec<Blocker> {
            match fence::fence(&world.source, scope, LOCK_TIMEOUT).await.expect("a try") {
                Attempt::Blocked(who) => who,
                Attempt::Done(()) => panic!("the fence did not wait for the writer"),
            }
        };
        let who = blocked().await;
        assert_eq!(who.len(), 1, "{who:?}");
        assert!(who[0].what.contains("update public.event_1a"), "{who:?}");
        let none = blockers::end(&world.source, &who, Duration::from_secs(60)).await;
        assert_eq!(none.expect("an answer"), 0, "it is not that old");
        let ended = blockers::end(&world.source, &who, Duration::ZERO).await;
        assert_eq!(ended.expect("an answer"), 1);
        eventually("the fence is up", LIMIT, async || {
            let tried = fence::fence(&world.source, scope, LOCK_TIMEOUT).await;
            matches!(tried.expect("a try"), Attempt::Done(()))
        })
        .await;
        fence::remove(&world.source, 1).await.expect("removal");
        // A prepared transaction has no process.
        let client = primary(&world.configs[0].server, "client").await.expect("a client");
        let prepare = "begin; update public.acct set n = 9; prepare transaction 'in-doubt'";
        client.run(prepare).await.expect("prepared");
        let who = blocked().await;
        assert_eq!((who.len(), who[0].pid, &*who[0].what), (1, None, "in-doubt"), "{who:?}");
        client.run("rollback prepared 'in-doubt'").await.expect("rolled back");
    });
}

#[test]
fn guards_refuse_what_would_not_follow_the_rows() {
    run(60, async {
        let world = World::new("guards").await;
        world.fill(100).await;
        let scope = world.scope(1);
        let client = primary(&world.configs[0].server, "client").await.expect("a client");
        client
            .run("create table public.other (a int); create index i on public.acct (n)")
            .await
            .expect("a table");
        let set = || fence::set_guards(&world.source, scope, LOCK_TIMEOUT);
        until_done("guards", set).await;
        until_done("again", set).await;
        for sql in [
            "truncate public.acct",
            "truncate public.event",
            "truncate public.event_1",
            "truncate public.event_1a",
            "alter table public.acct add column x int",
            "alter table public.event_1b alter note set default 1",
            "alter table public.odd rename price to cost",
            "alter table public.odd rename to even",
            "drop table public.odd",
            "drop table public.event_0",
            "alter table public.event detach partition public.event_0",
            "create table public.event_2 partition of public.event for values from (20) to (30)",
            "create index on public.acct (last)",
            "drop index public.i",
            "alter table public.acct drop constraint acct_pkey",
            "create trigger t before insert on public.acct for each row execute function \
             pgm.reject_moved()",
            "create policy p on public.acct",
            "drop schema public cascade",
            "alter table public.acct replica identity full",
        ] {
            assert_eq!(state(&client, sql).await, "PGM02", "{sql}");
        }
        for sql in [
            "truncate public.other",
            "alter table public.other add column b int",
            "create index j on public.other (a)",
            "drop index public.j",
            "drop table public.other",
            "create temp table acct (a int)",
            "drop table pg_temp.acct",
            "create view public.v as select * from public.acct",
            "grant select on public.acct to public",
            "comment on table public.acct is 'moving'",
            "analyze public.acct",
        ] {
            assert_eq!(state(&client, sql).await, "", "{sql}");
        }
        fence::remove(&world.source, 1).await.expect("removal");
        assert!(world.leftovers(&world.source).await.is_empty());
        assert_eq!(state(&client, "truncate public.event_1a").await, "");
        assert_eq!(state(&client, "alter table public.acct add column x int").await, "");
    });
}

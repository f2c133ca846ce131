//! Whatever a move has made can be removed, in whatever state it was left, and the way back works.

use super::world::{Counting, LIMIT, LOCK_TIMEOUT, World, until_done};
use pgmanifold_rebalancer::connect::primary;
use pgmanifold_rebalancer::error::Error;
use pgmanifold_rebalancer::replicate::{self, Direction};
use pgmanifold_rebalancer::{cleanup, copy, fence, snapshot};
use pgmanifold_tests::run;
use std::sync::Arc;

/// How far a move has come.
const STEPS: usize = 11;

/// Does the first `steps` steps of a move with this number.
async fn go(world: &World, id: i64, steps: usize) {
    let (scope, [west, east]) = (world.scope(id), &world.configs);
    let (source, target) = (&world.source, &world.target);
    let mut from = String::new();
    let mut back = String::new();
    for step in 0..steps {
        match step {
            0 => until_done("guards", || fence::set_guards(source, scope, LOCK_TIMEOUT)).await,
            1 => until_done("guards", || fence::set_guards(target, scope, LOCK_TIMEOUT)).await,
            2 => replicate::publish(source, scope, Direction::Forward).await.expect("published"),
            3 => until_done("slot", || replicate::slot(source, id, Direction::Forward)).await,
            4 => {
                let try_it = || snapshot::exact(west, scope, LOCK_TIMEOUT);
                let taken = until_done("snapshot", try_it).await;
                from = taken.lsn.clone();
                let pace = Arc::new(Counting::default());
                copy::copy(west, east, scope, &taken, 2, pace).await.expect("a copy");
            }
            5 => replicate::subscribe(target, id, Direction::Forward, &west.subscription, &from)
                .await
                .expect("subscribed"),
            6 => until_done("back", || replicate::prepare_back(target, scope)).await,
            7 => until_done("fence", || fence::fence(source, scope, LOCK_TIMEOUT)).await,
            8 => {
                let number = replicate::mark(source, id, Direction::Forward).await.expect("mark");
                let way = Direction::Forward;
                let there = replicate::wait_marker(target, id, way, number, LIMIT).await;
                assert!(there.expect("a worker"));
                replicate::enable(target, id, way, false).await.expect("disabled");
                replicate::settle(target).await.expect("settled");
                back = replicate::position(target).await.expect("a position");
            }
            9 => replicate::follow_back(source, target, id, &east.subscription, &back)
                .await
                .expect("it follows back"),
            _ => replicate::follow_back(source, target, id, &east.subscription, &back)
                .await
                .expect("again"),
        }
    }
}

#[test]
fn everything_is_removed_from_every_state() {
    run(240, async {
        let world = World::new("leaving").await;
        world.fill(300).await;
        let both = (Some(&world.source), Some(&world.target));
        for steps in 0..=STEPS {
            let id = steps as i64 + 1;
            go(&world, id, steps).await;
            if steps == 6 {
                // One of them is not there: the other one is cleaned, and the error says so.
                let error = replicate::remove_all(id, both.0, None).await.expect_err("no target");
                assert!(error.to_string().contains("the target is not reached"), "{error}");
                assert!(world.leftovers(&world.source).await.is_empty());
            }
            if steps > 2 {
                let scope = world.scope(id);
                let purged = cleanup::purge(&world.source, scope, 100, &Counting::default()).await;
                let published = !matches!(steps, 6 | 10 | 11);
                assert_eq!(
                    matches!(purged, Err(Error::Stopped(_))),
                    published,
                    "{steps} {purged:?}"
                );
            }
            replicate::remove_all(id, both.0, both.1).await.expect("removal");
            replicate::remove_all(id, both.0, both.1).await.expect("removal again");
            assert_eq!(world.leftovers(&world.source).await, [""; 0], "after {steps} steps");
            assert_eq!(world.leftovers(&world.target).await, [""; 0], "after {steps} steps");
            let scope = world.scope(id);
            cleanup::purge(&world.target, scope, 100, &Counting::default()).await.expect("purge");
            if steps == 6 || steps >= 10 {
                world
                    .source
                    .run("truncate public.acct, public.event, public.odd")
                    .await
                    .expect("empty");
                world.fill(300).await;
            }
        }
    });
}

#[test]
fn changes_follow_back_after_the_keys_have_changed_hands() {
    run(120, async {
        let world = World::new("back").await;
        world.fill(300).await;
        let id = 105;
        go(&world, id, 10).await;
        let client = primary(&world.configs[1].server, "client").await.expect("a client");
        client
            .run(
                "update public.acct set n = n + 1; delete from public.event where day < 10; \
                  update public.odd set price = price + 1, wide = wide || 'x'",
            )
            .await
            .expect("writes on the target");
        let number = replicate::mark(&world.target, id, Direction::Back).await.expect("a marker");
        let there = replicate::wait_marker(&world.source, id, Direction::Back, number, LIMIT).await;
        assert!(there.expect("a worker"));
        assert_eq!(world.rows(&world.source).await, world.rows(&world.target).await);
        let refused = world.source.run("update public.acct set n = 0").await.expect_err("fenced");
        assert_eq!(refused.sqlstate(), Some("PGM01"));
        replicate::remove_all(id, Some(&world.source), Some(&world.target)).await.expect("removal");
    });
}

#[test]
fn a_worker_that_cannot_apply_is_noticed() {
    run(120, async {
        let world = World::new("failing").await;
        world.fill(50).await;
        let id = 106;
        go(&world, id, 6).await;
        // A row of the moved keys on the target that the source is about to write, too.
        let key = "select id from public.acct where hashint8extended(id, 0) between \
                   -4611686018427387904 and -1 order by id limit 1";
        let key = world.source.value(key).await.expect("a key").expect("a key");
        let delete = format!("delete from public.acct where id = {key}");
        world.source.run(&delete).await.expect("deleted");
        let number = replicate::mark(&world.source, id, Direction::Forward).await.expect("mark");
        let way = Direction::Forward;
        let there = replicate::wait_marker(&world.target, id, way, number, LIMIT).await;
        assert!(there.expect("a worker"));
        let insert = format!("insert into public.acct values ({key}, 77)");
        world.target.run(&insert).await.expect("a row that should not be");
        world.source.run(&insert).await.expect("a row");
        let number = replicate::mark(&world.source, id, way).await.expect("mark");
        let failed = replicate::wait_marker(&world.target, id, way, number, LIMIT).await;
        let error = failed.expect_err("it is not waited for").to_string();
        assert!(error.contains("subscription pgm_move_106 has no worker"), "{error}");
        world.target.run(&delete).await.expect("out of the way");
        let there = replicate::wait_marker(&world.target, id, way, number, LIMIT).await;
        assert!(there.expect("a worker"), "it goes on");
        replicate::remove_all(id, Some(&world.source), Some(&world.target)).await.expect("removal");
    });
}

//! What a shard refuses because keys were moved away from it (PGM01) is repeated by the next map,
//! or when the shard takes it again; nothing is done twice or in part.

use super::by_hand::{ByHand, keys};
use super::hold::{MOMENT, Running, all_wait, start};
use pgmanifold_tests::client::{code, exec, text};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::{raw, run};
use std::time::{Duration, Instant};

const REPEATS: &str = "pgmanifold_moved_repeats_total";

/// Four statements alone, and two that are the first of their transactions.
async fn start_all(moves: &ByHand) -> Vec<Running> {
    let (moving, _, other) = keys(0);
    let mut held = Vec::new();
    for sql in [
        format!("insert into notes values ({moving}, 'a')"),
        format!("insert into notes values ({moving}, 'b'), ({other}, 'b')"),
        "update lines set note = note || '!'".to_owned(),
        format!(
            "insert into notes values ({moving}, 'c'); update lines set note = note || '.' \
             where customer = {moving}"
        ),
    ] {
        held.push(start(moves.client().await, sql));
    }
    let first = moves.client().await;
    exec(&first, "begin isolation level repeatable read").await;
    held.push(start(first, format!("insert into notes values ({moving}, 'd')")));
    let first = moves.client().await;
    exec(&first, "begin").await;
    held.push(start(first, format!("insert into notes values ({moving}, 'e'), ({other}, 'e')")));
    held
}

/// What a client has sent as data of a COPY is not there a second time.
async fn copy_is_told(moves: &ByHand, moving: i64) {
    let mut copy = moves.proxy.raw().await;
    copy.send(&raw::query("copy notes from stdin")).await;
    copy.until(b'G').await;
    let line = format!("{moving}\tlost\n");
    copy.send(&[raw::copy_data(line.as_bytes()), raw::copy_done()].concat()).await;
    let refused = raw::transcript(&copy.until_ready().await);
    assert!(refused.contains("40001"), "{refused}");
}

#[test]
fn what_a_shard_refuses_is_repeated_until_the_keys_have_another_owner() {
    run(120, async {
        let mut moves = ByHand::start("refused", 0, |config| config).await;
        let (moving, stays, other) = keys(0);
        let client = moves.client().await;
        let rows = format!("({moving}, 'x'), ({stays}, 'y'), ({other}, 'z')");
        exec(&client, &format!("insert into lines values {rows}")).await;
        moves.announce().await;
        let begun = moves.client().await;
        exec(&begun, "begin").await;
        exec(&begun, &format!("select note from notes where customer = {stays}")).await;
        moves.fence(0);

        let mut held = start_all(&moves).await;
        let by_bind = moves.client().await;
        let insert = by_bind.prepare("insert into notes values ($1, $2)").await.expect("prepared");
        let by_bind = tokio::spawn(async move {
            by_bind.execute(&insert, &[&moving, &"f"]).await.map_err(|error| text(&error))
        });
        let several = moves.client().await;
        let insert = "insert into notes values ($1, 'g'), ($2, 'g')";
        let insert = several.prepare(insert).await.expect("prepared");
        let several = tokio::spawn(async move {
            several.execute(&insert, &[&moving, &other]).await.map_err(|error| text(&error))
        });

        // Who has done something can only begin anew.
        let sql = format!("insert into notes values ({moving}, 'lost')");
        let error = begun.batch_execute(&sql).await.expect_err("the key is moved");
        println!("{}", text(&error));
        assert_eq!(code(&error), "40001");
        exec(&begun, "rollback").await;
        copy_is_told(&moves, moving).await;

        tokio::time::sleep(MOMENT).await;
        all_wait(&mut held).await;
        assert!(!by_bind.is_finished() && !several.is_finished());
        assert!(moves.counted(REPEATS) >= 16.0, "{}", moves.counted(REPEATS));
        assert_eq!(moves.notes("notes"), ["", "", ""], "nothing is left of what was refused");
        let server = moves.shards.shard(2);
        let row = format!("insert into lines values ({moving}, 'x')");
        server.query_in(&moves.shards.database, &row).expect("the row was copied");
        moves.hand_over("s2").await;
        for (number, task) in held.into_iter().enumerate() {
            let (client, done) = task.await.expect("it ends");
            done.unwrap_or_else(|error| panic!("number {number}: {error}"));
            if number > 3 {
                exec(&client, &format!("insert into notes values ({stays}, 'then')")).await;
                exec(&client, "commit").await;
            }
        }
        assert_eq!(by_bind.await.expect("it ends"), Ok(1));
        assert_eq!(several.await.expect("it ends"), Ok(2));
        assert_eq!(moves.notes("notes"), ["then then", "b e g", "a b c d e f g"]);
        let [s0, s1, s2] = moves.notes("lines");
        assert_eq!((&*s0, &*s1), ("x y!", "z!"), "what is left on s0 is hidden");
        assert!(s2 == "x!." || s2 == "x.!", "{s2}");
        moves.wait_acknowledged().await;
    });
}

#[test]
fn a_fence_that_is_taken_away_again_is_no_error() {
    run(120, async {
        let mut moves = ByHand::start("unfenced", 0, |config| config).await;
        let (moving, _, other) = keys(0);
        moves.announce().await;
        moves.fence(0);
        let mut held = Vec::new();
        for note in ["a", "b"] {
            let sql = format!("insert into notes values ({moving}, '{note}')");
            held.push(start(moves.client().await, sql));
        }
        let sql = format!("insert into notes values ({moving}, 'c'), ({other}, 'c')");
        held.push(start(moves.client().await, sql));
        tokio::time::sleep(MOMENT).await;
        all_wait(&mut held).await;
        moves.unfence(0);
        let began = Instant::now();
        for task in held {
            task.await.expect("it ends").1.expect("it is done");
        }
        println!("done {:?} after the fence", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(moves.notes("notes"), ["a b c", "c", ""]);
    });
}

#[test]
fn what_is_refused_for_too_long_fails_and_can_be_cancelled() {
    run(120, async {
        let adjust = |config: ConfigText| config.pool("move_wait_ms = 2000");
        let mut moves = ByHand::start("refused_long", 0, adjust).await;
        let (moving, stays, other) = keys(0);
        moves.announce().await;
        moves.fence(0);
        let began = Instant::now();
        let one = format!("insert into notes values ({moving}, 'a')");
        let both = format!("insert into notes values ({moving}, 'a'), ({other}, 'a')");
        let mut held = Vec::new();
        for sql in [&one, &both] {
            held.push(start(moves.client().await, sql.clone()));
        }
        for sql in [&one, &both] {
            let client = moves.client().await;
            exec(&client, "begin").await;
            held.push(start(client, sql.clone()));
        }
        let mut cancelled = Vec::new();
        for sql in [&one, &both] {
            let client = moves.client().await;
            let token = client.cancel_token();
            cancelled.push((start(client, sql.clone()), token));
        }
        tokio::time::sleep(MOMENT).await;
        for (task, token) in cancelled {
            // One that hits the statement while it runs, or between two tries: both end it.
            token.cancel_query(tokio_postgres::NoTls).await.expect("a cancel request");
            let (client, error) = task.await.expect("it ends");
            assert!(error.as_ref().is_err_and(|error| error.starts_with("57014")), "{error:?}");
            exec(&client, &format!("insert into notes values ({stays}, 'b')")).await;
        }
        for (number, task) in held.into_iter().enumerate() {
            let (client, error) = task.await.expect("it ends");
            let error = error.expect_err("the time is over");
            assert!(error.starts_with("40001"), "{error}");
            if number > 1 {
                let failed = client.batch_execute("select 1").await.expect_err("it has failed");
                assert_eq!(code(&failed), "25P02");
                exec(&client, "rollback").await;
            }
            exec(&client, &format!("insert into notes values ({stays}, 'c')")).await;
        }
        // Once, and not once more for every try.
        assert!(began.elapsed() < Duration::from_millis(3900), "{:?}", began.elapsed());
        assert_eq!(moves.notes("notes"), ["b b c c c c", "", ""]);
    });
}

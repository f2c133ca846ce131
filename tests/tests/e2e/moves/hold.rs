//! Writes to keys that are about to change hands wait for the next map; what a shard refuses
//! because keys were moved away from it is repeated.

use super::by_hand::{ByHand, keys};
use pgmanifold_tests::client::{code, exec, text, value};
use pgmanifold_tests::{raw, run};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// Long enough to see that something does not happen.
pub(super) const MOMENT: Duration = Duration::from_millis(300);

/// A client that runs something, and how it ended.
pub(super) type Running = JoinHandle<(Client, Result<(), String>)>;

/// Runs a text, in the background.
pub(super) fn start(client: Client, sql: String) -> Running {
    tokio::spawn(async move {
        let done = client.batch_execute(&sql).await;
        let done = done.map_err(|error| format!("{} {}", code(&error), text(&error)));
        (client, done)
    })
}

/// None of these has ended.
pub(super) async fn all_wait(tasks: &mut [Running]) {
    for (number, task) in tasks.iter_mut().enumerate() {
        if task.is_finished() {
            panic!("number {number} did not wait: {:?}", task.await.expect("no panic").1);
        }
    }
}

/// Each may write the key that moves.
fn writes((moving, stays, other): (i64, i64, i64)) -> Vec<String> {
    vec![
        format!("insert into notes values ({moving}, 'a')"),
        format!("insert into notes values ({moving}, 'b'), ({other}, 'b')"),
        format!("update lines set note = 'c' where customer = {moving}"),
        "update lines set note = 'd'".to_owned(),
        format!("delete from lines where customer in ({stays}, {moving})"),
        format!("select * from lines where customer = {moving} for update"),
        format!("with w as (insert into notes values ({moving}, 'e') returning 1) select * from w"),
        format!(
            "insert into notes values ({moving}, 'f'); \
                 update lines set note = 'f' where customer = {moving}"
        ),
    ]
}

#[test]
fn writes_to_paused_keys_wait_and_nothing_else_does() {
    run(120, async {
        let mut moves = ByHand::start("hold", 0, |config| config).await;
        let (moving, stays, other) = keys(0);
        let client = moves.client().await;
        exec(&client, &format!("insert into notes values ({moving}, 'x'), ({stays}, 'y')")).await;
        let by_bind = moves.client().await;
        let insert = by_bind.prepare("insert into notes values ($1, $2)").await.expect("prepared");
        moves.pause().await;
        moves.wait_acknowledged().await;

        let mut held = Vec::new();
        for sql in writes(keys(0)) {
            held.push(start(moves.client().await, sql));
        }
        let by_bind = tokio::spawn(async move {
            let done = by_bind.execute(&insert, &[&moving, &"g"]).await;
            done.map_err(|error| text(&error))
        });
        let mut pipeline = moves.proxy.raw().await;
        let batch = [
            raw::parse("", "insert into notes values ($1, $2)"),
            raw::bind("", "", &[Some(&moving.to_string()), Some("h")]),
            raw::describe(b'P', ""),
            raw::execute("", 0),
            raw::sync(),
        ];
        let read = [raw::parse("", "select 1"), raw::bind("", "", &[]), raw::execute("", 0)];
        let read = [read.concat(), raw::sync()].concat();
        pipeline.send(&[read.clone(), batch.concat(), read].concat()).await;
        let first = raw::transcript(&pipeline.until_ready().await);
        assert!(first.contains("1"), "{first}");

        // Neither other keys nor reads wait.
        let began = Instant::now();
        exec(&client, &format!("insert into notes values ({stays}, 'i'), ({other}, 'i')")).await;
        exec(&client, &format!("update notes set note = 'j' where customer = {stays}")).await;
        let count = format!("select count(*) from notes where customer = {moving}");
        assert_eq!(value(&client, &count).await, "1");
        exec(&client, "begin").await;
        exec(&client, &format!("insert into lines values ({stays}, 'k')")).await;
        exec(&client, "commit").await;
        println!("other keys took {:?}", began.elapsed());
        tokio::time::sleep(MOMENT).await;
        all_wait(&mut held).await;
        assert!(!by_bind.is_finished(), "{:?}", moves.notes("notes"));
        assert_eq!(moves.counted("pgmanifold_held_statements_total"), 10.0);
        let clients = moves.proxy.table("clients");
        let waiting = clients.iter().filter(|row| row.text("state") == "waiting");
        assert_eq!(waiting.count(), 10);

        moves.hand_over("s2").await;
        let began = Instant::now();
        for task in held {
            task.await.expect("it ends").1.expect("it is done");
        }
        by_bind.await.expect("it ends").expect("it is done");
        let rest = raw::transcript(&pipeline.until_ready().await);
        assert!(rest.contains("INSERT 0 1"), "{rest}");
        pipeline.until_ready().await;
        println!("all were done {:?} after the new map", began.elapsed());
        moves.wait_acknowledged().await;
        let [s0, s1, s2] = moves.notes("notes");
        assert_eq!((s0.as_str(), s1.as_str(), s2.as_str()), ("j j x", "b i", "a b e f g h"));
        assert_eq!(value(&client, &count).await, "6");
    });
}

#[test]
fn a_transaction_that_has_begun_goes_on_and_another_waits_at_its_first_statement() {
    run(120, async {
        let mut moves = ByHand::start("hold_tx", 0, |config| config).await;
        let (moving, stays, _) = keys(0);
        moves.announce().await;
        let epoch = moves.acknowledged();
        let begun = moves.client().await;
        exec(&begun, "begin").await;
        exec(&begun, &format!("insert into notes values ({stays}, 'a')")).await;
        // These two have done nothing yet, whatever they have said.
        let idle = moves.client().await;
        exec(&idle, "begin").await;
        let local = moves.client().await;
        exec(&local, "show pgm.shard").await;
        moves.pause().await;
        exec(&begun, &format!("insert into notes values ({moving}, 'b')")).await;
        let first = start(idle, format!("insert into notes values ({moving}, 'c')"));
        tokio::time::sleep(MOMENT).await;
        assert_eq!(moves.acknowledged(), epoch, "a transaction goes by the older map");
        assert!(!first.is_finished());
        exec(&begun, "commit").await;
        let ended = Instant::now();
        moves.wait_acknowledged().await;
        println!("acknowledged {:?} after the transaction", ended.elapsed());
        assert_eq!(moves.acknowledged(), epoch + 1);
        assert!(!first.is_finished());
        moves.hand_over("s2").await;
        let (idle, done) = first.await.expect("it ends");
        done.expect("it is done");
        exec(&idle, &format!("insert into lines values ({stays}, 'd')")).await;
        exec(&idle, "commit").await;
        assert_eq!(moves.notes("notes"), ["a b", "", "c"]);
        assert_eq!(moves.notes("lines"), ["d", "", ""]);
    });
}

#[test]
fn a_pause_without_a_hand_over_ends_as_well() {
    run(120, async {
        let mut moves = ByHand::start("hold_back", 0, |config| config).await;
        let (moving, ..) = keys(0);
        moves.pause().await;
        moves.wait_acknowledged().await;
        let held = start(moves.client().await, format!("insert into notes values ({moving}, 'a')"));
        let mut copy = moves.proxy.raw().await;
        copy.send(&raw::query("copy notes from stdin")).await;
        tokio::time::sleep(MOMENT).await;
        assert!(!held.is_finished());
        moves.resume().await;
        held.await.expect("it ends").1.expect("it is done");
        copy.until(b'G').await;
        let line = format!("{moving}\tb\n");
        copy.send(&[raw::copy_data(line.as_bytes()), raw::copy_done()].concat()).await;
        let done = raw::transcript(&copy.until_ready().await);
        assert!(done.contains("COPY 1"), "{done}");
        assert_eq!(moves.notes("notes"), ["a b", "", ""]);
    });
}

#[test]
fn a_wait_ends_with_its_limit_a_cancel_request_or_its_client() {
    run(120, async {
        let adjust =
            |config: pgmanifold_tests::config::ConfigText| config.pool("move_wait_ms = 1200");
        let mut moves = ByHand::start("hold_limit", 0, adjust).await;
        let (moving, stays, _) = keys(0);
        moves.pause().await;
        moves.wait_acknowledged().await;
        let sql = format!("insert into notes values ({moving}, 'a')");
        let began = Instant::now();
        let limited = start(moves.client().await, sql.clone());
        let in_block = moves.client().await;
        exec(&in_block, "begin").await;
        let in_block = start(in_block, sql.clone());
        let cancelled = moves.client().await;
        let token = cancelled.cancel_token();
        let cancelled = start(cancelled, sql.clone());
        let mut leaves = moves.proxy.raw().await;
        leaves.send(&raw::query(&sql)).await;
        tokio::time::sleep(MOMENT).await;
        leaves.vanish();
        token.cancel_query(tokio_postgres::NoTls).await.expect("a cancel request");
        let (client, error) = cancelled.await.expect("it ends");
        assert!(error.expect_err("cancelled").starts_with("57014"));
        exec(&client, &format!("insert into notes values ({stays}, 'b')")).await;
        let (client, error) = limited.await.expect("it ends");
        let error = error.expect_err("the time is over");
        println!("{error} after {:?}", began.elapsed());
        assert!(error.starts_with("40001") && error.contains("move_wait_ms"), "{error}");
        assert!(began.elapsed() > Duration::from_millis(1150), "{:?}", began.elapsed());
        exec(&client, &format!("insert into notes values ({stays}, 'c')")).await;
        let (client, error) = in_block.await.expect("it ends");
        assert!(error.expect_err("the time is over").starts_with("40001"));
        let error = client.batch_execute("select 1").await.expect_err("the transaction failed");
        assert_eq!(code(&error), "25P02");
        exec(&client, "rollback").await;
        exec(&client, &format!("insert into notes values ({stays}, 'd')")).await;
        assert_eq!(moves.notes("notes"), ["b c d", "", ""]);
    });
}

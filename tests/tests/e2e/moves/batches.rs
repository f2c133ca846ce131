//! The extended protocol while keys change hands: batches wait at whichever message names the key,
//! and go on in order.

use super::by_hand::{ByHand, keys};
use super::hold::{MOMENT, start};
use pgmanifold_tests::client::{exec, value};
use pgmanifold_tests::raw::{self, Raw};
use pgmanifold_tests::run;

const INSERT: &str = "insert into notes values ($1, $2)";

fn values(key: i64, note: &str) -> Vec<u8> {
    let bind = raw::bind("", "", &[Some(&key.to_string()), Some(note)]);
    [bind, raw::execute("", 0)].concat()
}

fn insert(key: i64, note: &str) -> Vec<u8> {
    [raw::parse("", INSERT), values(key, note)].concat()
}

fn select() -> Vec<u8> {
    [raw::parse("", "select 1"), raw::bind("", "", &[]), raw::execute("", 0)].concat()
}

async fn answers(raw: &mut Raw, syncs: usize) -> String {
    let mut text = String::new();
    for _ in 0..syncs {
        text += &raw::transcript(&raw.until_ready().await);
    }
    text
}

#[test]
fn batches_wait_as_a_whole_and_in_order() {
    run(120, async {
        let mut moves = ByHand::start("hold_batch", 0, |config| config).await;
        let (moving, stays, other) = keys(0);
        moves.pause().await;
        moves.wait_acknowledged().await;
        let (sync, flush) = (raw::sync(), raw::flush());
        // Its Parse was answered before anybody knew the key.
        let mut asked = moves.proxy.raw().await;
        asked
            .send(&[raw::parse("", INSERT), raw::describe(b'S', ""), flush.clone()].concat())
            .await;
        asked.until(b'n').await;
        asked.send(&[values(moving, "a"), sync.clone()].concat()).await;
        let mut named = moves.proxy.raw().await;
        named.send(&[raw::parse("s", INSERT), flush].concat()).await;
        named.until(b'1').await;
        let bind = raw::bind("p", "s", &[Some(&moving.to_string()), Some("b")]);
        named.send(&[bind, raw::execute("p", 0), sync.clone()].concat()).await;
        // Several at once: what comes later does not overtake.
        let mut several = moves.proxy.raw().await;
        let batches =
            [insert(stays, "c"), sync.clone(), insert(moving, "c"), sync.clone()].concat();
        several
            .send(&[batches, insert(stays, "d"), sync.clone(), select(), sync.clone()].concat())
            .await;
        answers(&mut several, 1).await;
        // One transaction of two shards; a read before a write; another key before it.
        let mut own = moves.proxy.raw().await;
        own.send(&[insert(moving, "e"), insert(other, "e"), sync.clone()].concat()).await;
        let mut read = moves.proxy.raw().await;
        read.send(&[select(), insert(moving, "f"), sync.clone()].concat()).await;
        let mut begins = moves.proxy.raw().await;
        let begin = [raw::parse("", "begin"), raw::bind("", "", &[]), raw::execute("", 0)].concat();
        begins.send(&[begin, insert(moving, "g"), sync.clone()].concat()).await;
        // One that keeps its server.
        let pinned = moves.client().await;
        exec(&pinned, "select pg_advisory_lock(7)").await;
        let held = start(pinned, format!("insert into notes values ({moving}, 'h')"));

        tokio::time::sleep(MOMENT).await;
        assert_eq!(moves.notes("notes"), ["c", "", ""]);
        moves.hand_over("s2").await;
        for client in [&mut asked, &mut named, &mut begins] {
            let text = answers(client, 1).await;
            assert!(text.contains("INSERT 0 1"), "{text}");
        }
        let text = answers(&mut own, 1).await;
        assert_eq!(text.matches("INSERT 0 1").count(), 2, "{text}");
        let text = answers(&mut read, 1).await;
        assert!(text.contains("SELECT 1") && text.contains("INSERT 0 1"), "{text}");
        let text = answers(&mut several, 3).await;
        assert_eq!(text.matches("INSERT 0 1").count(), 2, "{text}");
        let (pinned, done) = held.await.expect("it ends");
        done.expect("it is done");
        assert_eq!(value(&pinned, "select pg_advisory_unlock(7)").await, "t");
        begins.ask(&raw::query("commit"), 1).await;
        let [s0, s1, s2] = moves.notes("notes");
        assert_eq!((&*s0, &*s1, &*s2), ("c d", "e", "a b c e f g h"));
        moves.wait_acknowledged().await;
    });
}

#[test]
fn a_batch_of_one_statement_is_repeated_and_others_are_told() {
    run(120, async {
        let mut moves = ByHand::start("refused_batch", 0, |config| config).await;
        let (moving, stays, other) = keys(0);
        moves.announce().await;
        moves.fence(0);
        let sync = raw::sync();
        let mut one = moves.proxy.raw().await;
        one.send(&[insert(moving, "a"), sync.clone()].concat()).await;
        let mut own = moves.proxy.raw().await;
        own.send(&[insert(moving, "b"), insert(other, "b"), sync.clone()].concat()).await;
        let text = answers(&mut own, 1).await;
        assert!(text.contains("40001") && text.contains("Z I"), "{text}");
        let mut several = moves.proxy.raw().await;
        let batches = [insert(moving, "c"), sync.clone(), insert(stays, "c"), sync.clone()];
        several.send(&batches.concat()).await;
        let text = answers(&mut several, 2).await;
        assert!(text.contains("40001") && text.contains("INSERT 0 1"), "{text}");
        tokio::time::sleep(MOMENT).await;
        moves.hand_over("s2").await;
        // What the client sends while its statement is repeated comes after it.
        one.send(&[insert(stays, "d"), sync].concat()).await;
        let text = answers(&mut one, 2).await;
        assert_eq!(text.matches("INSERT 0 1").count(), 2, "{text}");
        assert_eq!(moves.notes("notes"), ["c d", "", "a"]);
    });
}

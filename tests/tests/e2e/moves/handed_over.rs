//! What was acknowledged by the shard that had a key before is seen by reads on replicas of the
//! shard that has it now, however far behind they are.

use super::by_hand::{ByHand, keys};
use pgmanifold_tests::client::{exec, value};
use pgmanifold_tests::{eventually, run};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(15);

#[test]
fn reads_see_what_was_handed_over_though_replicas_are_behind() {
    run(180, async {
        let mut moves = ByHand::start("handed_over", 1, |config| config).await;
        let (moving, ..) = keys(0);
        let count = format!("select count(*) from notes where customer = {moving}");
        moves.announce().await;
        let off = moves.client().await;
        exec(&off, "set pgm.causality = 'off'").await;
        let keyed = moves.client().await;
        exec(&keyed, "set pgm.causality = 'somebody'").await;
        let (mut rows, mut owner) = (0, 0);
        for (target, name) in [(2, "s2"), (0, "s0"), (2, "s2")] {
            moves.shards.settle();
            let cluster = moves.shards.servers.shards[target].clone();
            let replica = &cluster.replicas[0];
            replica.query("select pg_wal_replay_pause()").expect("a replica");
            let writer = moves.client().await;
            exec(&writer, &format!("insert into notes values ({moving}, '{rows}')")).await;
            rows += 1;
            moves.pause().await;
            moves.wait_acknowledged().await;
            // What the mover does: all rows of the key are on both shards.
            let row = format!("insert into notes select {moving}, 'copied' from ");
            let there = format!("(select count(*) from notes where customer = {moving}) there");
            let lacking = format!("{row} {there}, generate_series(there.count + 1, {rows})");
            let server = moves.shards.shard(target);
            let lacking = format!("set synchronous_commit = off; {lacking}");
            server.query_in(&moves.shards.database, &lacking).expect("the rows are copied");
            moves.hand_over(name).await;
            moves.wait_acknowledged().await;
            let wanted = rows.to_string();
            for _ in 0..20 {
                let fresh = moves.client().await;
                for client in [&writer, &fresh, &keyed, &off] {
                    assert_eq!(value(client, &count).await, wanted, "from {owner} to {target}");
                }
            }
            let there = replica.query_in(&moves.shards.database, &count).expect("a count");
            assert_ne!(there[0][0].as_deref(), Some(&*wanted), "the replica is behind");
            replica.query("select pg_wal_replay_resume()").expect("a replica");
            owner = target;
        }
        // Reads are back on replicas.
        let replica = &moves.shards.servers.shards[2].replicas[0];
        moves.shards.settle();
        let reader = moves.client().await;
        eventually("reads are back on the replica", LIMIT, async || {
            replica.query("select pg_wal_replay_pause()").expect("a replica");
            let row = format!("insert into notes values ({moving}, 'unseen')");
            let server = moves.shards.shard(2);
            server.query_in(&moves.shards.database, &row).expect("a row");
            let seen: u32 = value(&reader, &count).await.parse().expect("a number");
            let all = server.query_in(&moves.shards.database, &count).expect("a count");
            replica.query("select pg_wal_replay_resume()").expect("a replica");
            moves.shards.settle();
            Some(seen.to_string()) != all[0][0]
        })
        .await;
    });
}

//! Every merge on real servers, and what happens when one of them fails.

use super::rig::{Received, Rig, ask, each, everywhere, participants};
use super::{combined, copied_in, copied_out, order};
use crate::backend::connection::Server;
use crate::backend::exec;
use crate::execute::{Call, ClientSide, Given, Limits, open_portal, run};
use crate::wire::stream::{Socket, Stream};
use bytes::{BufMut, BytesMut};
use pgmanifold_router::shard_map::ShardId;
use pgmanifold_router::sharding::{self, Merge, SortKey};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;

const CONCAT: Merge = Merge::Concat { limits: sharding::Limits { offset: 0, limit: None } };

/// One server serves all of it: starting one takes longer than the rest.
#[tokio::test]
async fn merges_on_real_servers() {
    let rig = Rig::start();
    let mut servers = rig.shards().await;
    for (number, server) in servers.iter_mut().enumerate() {
        let sql = format!(
            "create table t (id int, v text);
             insert into t select {number} + 3 * i, 'v' || i from generate_series(0, 9) i"
        );
        exec::run(server, &sql).await.expect("set up");
    }
    rows_come_together(&mut servers).await;
    values_reach_every_part(&mut servers).await;
    windows_cut_once(&mut servers).await;
    large_answers_are_whole(&mut servers).await;
    counts_are_added(&mut servers).await;
    parts_must_agree(&mut servers).await;
    lines_are_headed(&mut servers).await;
    rows_follow_the_input(&mut servers).await;
    notices_are_told_once(&mut servers).await;
    portals_give_rows_in_portions(&mut servers).await;
    an_error_stops_the_others(&mut servers).await;
    a_client_that_leaves_stops_all(&mut servers).await;
    order::every_type_is_ordered_as_by_postgres(&rig, &mut servers).await;
    combined::answers_are_computed_of_all_rows(&mut servers).await;
    combined::types_are_carried_as_they_are(&rig, &mut servers).await;
    combined::statements_are_described(&mut servers).await;
    copied_out::data_is_one_stream(&mut servers).await;
    copied_in::data_is_split_as_one_server_reads_it(&rig, &mut servers).await;
    a_server_that_dies_is_lost(&rig, &mut servers).await;
}

async fn good(
    servers: &mut [Server],
    spread: sharding::Spread,
    call: Call<'_>,
) -> (String, Received) {
    let (done, received) = ask(servers, &spread, call).await;
    (done.expect("no error").tag, received)
}

async fn rows_come_together(servers: &mut [Server]) {
    let (tag, received) =
        good(servers, everywhere("select id, v from t", CONCAT), Call::Simple).await;
    assert_eq!(tag, "SELECT 30");
    assert_eq!(received.kinds(), format!("T{}", "D".repeat(30)));
    let mut ids: Vec<i32> = received.firsts().iter().map(|id| id.parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..30).collect::<Vec<_>>());
    let none = everywhere("select 1 from t where false", CONCAT);
    let (tag, received) = good(servers, none, Call::Simple).await;
    assert_eq!((tag.as_str(), received.kinds().as_str()), ("SELECT 0", "T"));
}

/// `$1` is 15 as text; `$2`, 5 in binary; the answer in binary.
fn bind(results: &[i16]) -> BytesMut {
    let mut bind = BytesMut::from(&b"\0\x02\0\0\0\x01\0\x02\0\0\0\x0215\0\0\0\x04\0\0\0\x05"[..]);
    bind.put_u16(results.len() as u16);
    results.iter().for_each(|code| bind.put_i16(*code));
    bind
}

async fn values_reach_every_part(servers: &mut [Server]) {
    let bind = bind(&[1]);
    let call = Call::Portal { bind: &bind, types: &[23, 23] };
    let sql = "select id from t where id < $1 and id >= $2";
    let (tag, received) = good(servers, everywhere(sql, CONCAT), call).await;
    assert_eq!((tag.as_str(), received.kinds().as_str()), ("SELECT 10", "DDDDDDDDDD"));
    let mut spread = everywhere("select id from t where id < $2 and id >= $1", CONCAT);
    spread.parts.iter_mut().for_each(|part| part.parameters = Some(vec![1, 0]));
    assert_eq!(good(servers, spread, call).await.0, "SELECT 10");
}

fn ordered(offset: u64, limit: Option<u64>) -> Merge {
    let keys = vec![SortKey { descending: true, nulls_first: true, byte_order: true }];
    Merge::Ordered { keys, limits: sharding::Limits { offset, limit } }
}

async fn windows_cut_once(servers: &mut [Server]) {
    let sql = "select v, id, encode(record_send(row(id)), 'hex') from t order by id desc limit 12";
    let (tag, received) = good(servers, everywhere(sql, ordered(5, Some(7))), Call::Simple).await;
    assert_eq!(tag, "SELECT 7");
    let ids: Vec<_> = received.rows().into_iter().map(|row| row[1].clone().unwrap()).collect();
    assert_eq!(ids, ["24", "23", "22", "21", "20", "19", "18"]);
    let (_, head) = received.messages()[0];
    assert_eq!(head[..2], [0, 2], "the helper column is not described");
    assert!(received.rows().iter().all(|row| row.len() == 2));
    let bind = BytesMut::from(&b"\0\0\0\0\0\x02\0\x01\0\0"[..]);
    let call = Call::Portal { bind: &bind, types: &[] };
    let (tag, received) = good(servers, everywhere(sql, ordered(28, None)), call).await;
    assert_eq!((tag.as_str(), received.kinds().as_str()), ("SELECT 2", "DD"));
    let limits = sharding::Limits { offset: 4, limit: Some(5) };
    let concat = everywhere("select id from t limit 9", Merge::Concat { limits });
    assert_eq!(good(servers, concat, Call::Simple).await.0, "SELECT 5");
}

async fn large_answers_are_whole(servers: &mut [Server]) {
    let sql = "select i, repeat('x', (i * 7919) % 3000), encode(record_send(row(i)), 'hex')
               from generate_series(1, 3000) i";
    let merge = Merge::Ordered {
        keys: vec![SortKey { descending: false, nulls_first: false, byte_order: true }],
        limits: sharding::Limits::default(),
    };
    let (tag, received) = good(servers, everywhere(sql, merge), Call::Simple).await;
    assert_eq!(tag, "SELECT 9000");
    let expected: Vec<_> = (3..9003).map(|i| (i / 3).to_string()).collect();
    assert_eq!(received.firsts(), expected);
    let sql = "select repeat('x', 300000) from generate_series(1, 20)";
    let (tag, received) = good(servers, everywhere(sql, CONCAT), Call::Simple).await;
    assert_eq!(tag, "SELECT 60");
    assert!(received.firsts().iter().all(|text| text.len() == 300_000));
}

async fn counts_are_added(servers: &mut [Server]) {
    let update = everywhere("update t set v = v where id < 10 returning id", Merge::Sum);
    let (tag, received) = good(servers, update, Call::Simple).await;
    assert_eq!((tag.as_str(), received.rows().len()), ("UPDATE 10", 10));
    let insert = [
        "insert into t values (30)",
        "insert into t values (31), (34)",
        "insert into t values (32)",
    ];
    assert_eq!(good(servers, each(&insert, Merge::Sum), Call::Simple).await.0, "INSERT 0 4");
    let delete = everywhere("delete from t where id >= 30", Merge::Sum);
    let (tag, received) = good(servers, delete, Call::Simple).await;
    assert_eq!((tag.as_str(), received.kinds().as_str()), ("DELETE 4", ""));
}

async fn parts_must_agree(servers: &mut [Server]) {
    let same = everywhere("create table other (x int)", Merge::Same);
    assert_eq!(good(servers, same, Call::Simple).await.0, "CREATE TABLE");
    for (texts, detail) in [
        (["select 1", "select 1::int8", "select 1"], "Shards \"s0\", \"s1\": column \"?column?\""),
        (["select 1", "select 1", "select 1, 2"], "Shards \"s0\", \"s2\": 1 columns and 2"),
        (["select 1", "select 1", "select"], "Shards \"s0\", \"s2\": 1 columns and 0"),
        (["begin", "select 1", "select 2"], "Shards \"s0\", \"s1\": some have rows"),
    ] {
        let (result, received) = ask(servers, &each(&texts, CONCAT), Call::Simple).await;
        let failure = result.expect_err("they differ");
        assert_eq!((&*failure.error.sqlstate, received.kinds().as_str()), ("PGM03", ""));
        let found = failure.error.detail.as_deref().unwrap();
        assert!(found.starts_with(detail), "{found}");
    }
    exec::run(&mut servers[0], "rollback").await.unwrap();
    let same = ["update t set v = v where id = 0"; 3];
    let (result, _) = ask(servers, &each(&same, Merge::Same), Call::Simple).await;
    let detail = result.expect_err("counts differ").error.detail.unwrap();
    assert_eq!(detail, "They answered: UPDATE 1, UPDATE 0, UPDATE 0.");
}

async fn lines_are_headed(servers: &mut [Server]) {
    let explain = everywhere("explain (costs off) select * from t", Merge::Headed);
    let (tag, received) = good(servers, explain, Call::Simple).await;
    assert_eq!(tag, "EXPLAIN");
    let lines = received.firsts();
    let expected = ["Shard \"s0\":", "Seq Scan on t", "Shard \"s1\":", "Seq Scan on t"];
    assert_eq!(lines[..4], expected);
    let json = everywhere("explain (format json) select * from t", Merge::Headed);
    assert_eq!(good(servers, json, Call::Simple).await.1.rows().len(), 3, "no heading fits");
}

async fn rows_follow_the_input(servers: &mut [Server]) {
    let order = [2, 0, 1, 1, 2, 0].map(ShardId).to_vec();
    let texts = ["values ('b'), ('f')", "values ('c'), ('d')", "values ('a'), ('e')"];
    let spread = each(&texts, Merge::InputOrder(order.clone()));
    assert_eq!(good(servers, spread, Call::Simple).await.1.firsts().concat(), "abcdef");
    let texts = ["values ('b'), ('f')", "select 'x' where false", "values ('a'), ('e')"];
    let spread = each(&texts, Merge::InputOrder(order));
    assert_eq!(good(servers, spread, Call::Simple).await.1.firsts().concat(), "abef");
}

async fn notices_are_told_once(servers: &mut [Server]) {
    let drop = everywhere("drop table if exists nothing", Merge::Same);
    let (tag, received) = good(servers, drop, Call::Simple).await;
    assert_eq!((tag.as_str(), received.kinds().as_str()), ("DROP TABLE", "N"));
    let set = everywhere("set datestyle = 'German'", Merge::Same);
    assert_eq!(good(servers, set, Call::Simple).await.1.kinds(), "S");
    let style = |server: &Server| {
        server.reported.iter().any(|(name, value)| name == "DateStyle" && value.starts_with("Ger"))
    };
    assert!(servers.iter().all(style));
    good(servers, everywhere("reset datestyle", Merge::Same), Call::Simple).await;
}

async fn portals_give_rows_in_portions(servers: &mut [Server]) {
    let sql = "select id, encode(record_send(row(id)), 'hex') from t order by id desc limit 30";
    let (_theirs, ours) = UnixStream::pair().unwrap();
    let mut stream = Stream::Plain(Socket::Unix(ours));
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut client = ClientSide { stream: &mut stream, input: &mut input, output: &mut output };
    let mut parts = participants(servers);
    let (bind, limits) = (BytesMut::from(&b"\0\0\0\0\0\0"[..]), Limits::default());
    let call = Call::Portal { bind: &bind, types: &[] };
    let spread = everywhere(sql, ordered(0, Some(24)));
    let portal = open_portal(&mut parts, &spread, &call, &mut client, &limits).await;
    let mut portal = portal.map_err(|failure| failure.error).expect("opened");
    for (most, first, rows, given) in [
        (10, Some("29"), 10, Given::Suspended),
        (7, Some("19"), 7, Given::Suspended),
        (7, Some("12"), 7, Given::Suspended),
        (7, None, 0, Given::Complete("SELECT 0".into())),
        (0, None, 0, Given::Complete("SELECT 0".into())),
    ] {
        let mut out = BytesMut::new();
        assert_eq!(portal.give(most, &mut out), given);
        let ids = Received(out.to_vec()).firsts();
        assert_eq!((ids.first().map(String::as_str), ids.len()), (first, rows));
    }
    let concat = everywhere("select repeat('x', 1000) from t, t u", CONCAT);
    let bounded = Limits { gather_bytes: 100_000, ..limits };
    let much = open_portal(&mut parts, &concat, &call, &mut client, &bounded).await;
    assert_eq!(much.expect_err("too much").error.sqlstate, "PGM03");
    let portal = open_portal(&mut parts, &concat, &call, &mut client, &limits).await;
    let mut portal = portal.map_err(|failure| failure.error).expect("opened");
    let mut out = BytesMut::new();
    assert_eq!(portal.give(1000, &mut out), Given::Complete("SELECT 300".into()));
    assert!(client.output.is_empty() && parts.iter().all(|part| !part.lost));
}

async fn an_error_stops_the_others(servers: &mut [Server]) {
    let started = Instant::now();
    let sleep = "select pg_sleep(60)";
    let texts =
        [sleep, "do $$ begin raise 'no' using column = 'c', errcode = 'ZZ123'; end $$", sleep];
    let spread = each(&texts, CONCAT);
    let (result, _) = ask(servers, &spread, Call::Simple).await;
    let failure = result.expect_err("one fails");
    let mut out = BytesMut::new();
    failure.encode(&mut out);
    let fields = out[5..].split(|byte| *byte == 0).collect::<Vec<_>>();
    for field in [&b"CZZ123"[..], b"Mno", b"cc", b"DShard \"s1\"."] {
        assert!(fields.contains(&field), "{out:?}");
    }
    assert!(out.ends_with(b"\0\0") && started.elapsed() < Duration::from_secs(20));
    for server in servers {
        assert_eq!(server.status, b'I');
        let one = exec::run(server, "select 1").await.expect("nothing hits it later");
        assert_eq!(one.as_deref(), Some("1"));
    }
}

async fn a_client_that_leaves_stops_all(servers: &mut [Server]) {
    let (theirs, ours) = UnixStream::pair().unwrap();
    let mut stream = Stream::Plain(Socket::Unix(ours));
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut client = ClientSide { stream: &mut stream, input: &mut input, output: &mut output };
    let spread = everywhere("select pg_sleep(60)", CONCAT);
    let mut parts = participants(servers);
    let limits = Limits::default();
    let running = run(&mut parts, &spread, &Call::Simple, &mut client, &limits);
    let leaving = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(theirs);
    };
    let started = Instant::now();
    let (result, ()) = tokio::join!(running, leaving);
    assert!(result.expect_err("nobody is there").client_gone);
    assert!(parts.iter().all(|part| !part.lost) && started.elapsed() < Duration::from_secs(20));
}

async fn a_server_that_dies_is_lost(rig: &Rig, servers: &mut [Server]) {
    let pid = servers[2].info.cancel.as_ref().unwrap().process_id;
    let texts = ["select pg_sleep(60)", "select pg_sleep(60)", "select pg_sleep(60)"];
    let spread = each(&texts, CONCAT);
    let (theirs, ours) = UnixStream::pair().unwrap();
    let mut stream = Stream::Plain(Socket::Unix(ours));
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut client = ClientSide { stream: &mut stream, input: &mut input, output: &mut output };
    let mut parts = participants(servers);
    let limits = Limits::default();
    let running = run(&mut parts, &spread, &Call::Simple, &mut client, &limits);
    let killing = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(rig.count(&format!("select pg_terminate_backend({pid})")), "t");
    };
    let (result, ()) = tokio::join!(running, killing);
    let failure = result.expect_err("one died");
    assert_eq!(failure.error.sqlstate, "57P01");
    assert_eq!(parts.iter().map(|part| part.lost).collect::<Vec<_>>(), [false, false, true]);
    let mut out = BytesMut::new();
    failure.encode(&mut out);
    assert!(out.starts_with(b"E") && out[5..].starts_with(b"SERROR\0"), "{out:?}");
    drop(theirs);
}

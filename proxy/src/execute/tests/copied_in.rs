//! `COPY … FROM STDIN` over shards against one server that is given the same data.

use super::rig::{Received, Rig, ask, everywhere, participants, with_client};
use crate::backend::connection::Server;
use crate::backend::exec;
use crate::execute::{Call, CopyIn, Done, Failure, Limits, copy_in};
use crate::wire::frame;
use bytes::BytesMut;
use pgmanifold_router::key::{KeyType, KeyValue};
use pgmanifold_router::shard_map::{MapParts, ShardMap};
use pgmanifold_router::sharding::{CopyFormat, CopyKey, CopyPlan, Merge};
use rand::prelude::*;
use rand::rngs::StdRng;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

fn map(ty: KeyType) -> ShardMap {
    ShardMap::build(MapParts::new(&["s0", "s1", "s2"]).hash("d", &[ty])).expect("a map")
}

fn plan(format: CopyFormat, keys: Vec<CopyKey>) -> CopyPlan {
    let csv = format == CopyFormat::Csv;
    CopyPlan {
        distribution: 0,
        keys,
        columns: 2,
        format,
        delimiter: if csv { b',' } else { b'\t' },
        null: if csv { Box::default() } else { b"\\N".as_slice().into() },
        quote: b'"',
        escape: b'"',
        header: false,
    }
}

fn text_key(at: usize) -> Vec<CopyKey> {
    vec![CopyKey { at, ty: KeyType::Text }]
}

/// Copies messages of `piece` bytes, and `end` after them.
async fn copy(
    servers: &mut [Server],
    copy: CopyIn<'_>,
    data: &[u8],
    (piece, end): (usize, &[u8]),
) -> (Result<Done, Failure>, Received) {
    let (theirs, ours) = UnixStream::pair().unwrap();
    let mut messages = BytesMut::new();
    for piece in data.chunks(piece) {
        frame::put(&mut messages, b'd', &[piece]);
        frame::put(&mut messages, b'S', &[]);
    }
    messages.extend_from_slice(end);
    let (reader, mut writer) = halves(theirs);
    let sending = async {
        // The rest of what failed is not taken.
        let _ = writer.write_all(&messages).await;
    };
    let mut parts = participants(servers);
    let copying = with_client(ours, reader, async |client| {
        copy_in(&mut parts, copy, client, &Limits::default()).await
    });
    let ((result, received), ()) = tokio::join!(copying, sending);
    for part in &mut parts {
        assert!(!part.lost && part.server.out.is_empty() && part.server.status == b'I');
    }
    (result, received)
}

/// The same socket twice: to read, and to write.
fn halves(socket: UnixStream) -> (UnixStream, UnixStream) {
    let std = socket.into_std().unwrap();
    let again = UnixStream::from_std(std.try_clone().unwrap()).unwrap();
    (UnixStream::from_std(std).unwrap(), again)
}

const DONE: &[u8] = b"c\0\0\0\x04";

/// Rows of the table `c`, as `k,v`, with quotes.
async fn rows(server: &mut Server) -> Vec<String> {
    let sql = "select string_agg(quote_nullable(k) || ',' || quote_nullable(v), chr(1)) from c";
    let all = exec::run(server, sql).await.expect("rows").unwrap_or_default();
    all.split('\u{1}').filter(|row| !row.is_empty()).map(str::to_owned).collect()
}

pub(super) async fn data_is_split_as_one_server_reads_it(rig: &Rig, servers: &mut [Server]) {
    let mut whole = [rig.connect("whole").await];
    for server in servers.iter_mut().chain(&mut whole) {
        exec::run(server, "create table c (k text, v text)").await.expect("table");
    }
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut copied, mut refused) = (0, 0);
    for _ in 0..120 {
        match compare(&mut random, servers, &mut whole).await {
            true => copied += 1,
            false => refused += 1,
        }
    }
    println!("{copied} copied, {refused} refused");
    assert!(copied > 40 && refused > 5);
    binary_data(servers, &mut whole).await;
    reference_tables(servers).await;
    failures(servers).await;
}

/// One document; true when it was copied.
async fn compare(random: &mut StdRng, servers: &mut [Server], whole: &mut [Server; 1]) -> bool {
    let csv = random.random();
    let header = csv && random.random_ratio(1, 4);
    let data = document(random, csv);
    let mut options = String::from(if csv { "format csv" } else { "format text" });
    let format = if csv { CopyFormat::Csv } else { CopyFormat::Text };
    let mut plan = plan(format, text_key(random.random_range(0..2)));
    if header {
        options.push_str(", header");
        plan.header = true;
    }
    if csv && random.random_ratio(1, 4) {
        options.push_str(", escape '\\'");
        plan.escape = b'\\';
    }
    let sql = format!("copy c from stdin ({options})");
    let map = map(KeyType::Text);
    let all = CopyPlan { keys: vec![], ..plan.clone() };
    let (piece, end) = (random.random_range(1..40), DONE);
    let direct = CopyIn { sql: sql.as_bytes(), plan: &all, map: &map };
    let (one, _) = copy(whole, direct, &data, (piece, end)).await;
    let split = CopyIn { sql: sql.as_bytes(), plan: &plan, map: &map };
    let (spread, received) = copy(servers, split, &data, (piece, end)).await;
    let shown = String::from_utf8_lossy(&data);
    assert_eq!(received.kinds(), "G");
    let mut expected = rows(&mut whole[0]).await;
    let mut found = Vec::new();
    for (number, server) in servers.iter_mut().enumerate() {
        for row in rows(server).await {
            found.push((number, row));
        }
        exec::run(server, "delete from c").await.expect("empty");
    }
    exec::run(&mut whole[0], "delete from c").await.expect("empty");
    match (one, spread) {
        (Ok(one), Ok(spread)) => {
            assert_eq!(one.tag, spread.tag, "{sql}: {shown:?}");
            let mut rows: Vec<String> = found.into_iter().map(|(_, row)| row).collect();
            rows.sort_unstable();
            expected.sort_unstable();
            assert_eq!(rows, expected, "{sql}: {shown:?}");
            true
        }
        (Ok(_), Err(failure)) => {
            let error = &failure.error;
            let ours = error.sqlstate.starts_with("PGM0") || error.message.contains("not alone");
            assert!(ours, "{error}: {sql}: {shown:?}");
            false
        }
        (Err(_), Err(_)) => false,
        (Err(failure), Ok(done)) => {
            panic!("{} on one server, {} on shards: {sql}: {shown:?}", failure.error, done.tag)
        }
    }
}

/// Data in which much is quoted and escaped, and now and then something is wrong.
fn document(random: &mut StdRng, csv: bool) -> Vec<u8> {
    let end = *["\n", "\n", "\r\n", "\r"].choose(random).unwrap();
    let plain = ["a", "b", "xyz", "é", " ", "17", "''"];
    let text = ["\\n", "\\t", "\\\\", "\\x41", "\\101", "\\\n", "\"", "\\r", "\\N", ",", "\\\t"];
    let quoted = ["\"\"", "\n", "\r\n", ",", "\\.", "\\"];
    let wrong = ["\n", "\r", "\"", "\\.", "\t", ",", "\\", "\\N"];
    let mut data = String::new();
    for _ in 0..random.random_range(0..8) {
        for column in 0..2 {
            let quotes = csv && random.random();
            if quotes {
                data.push('"');
            }
            for _ in 0..random.random_range(0..4) {
                let special: &[&str] = match (csv, quotes) {
                    (false, _) => &text,
                    (true, true) => &quoted,
                    (true, false) => &plain,
                };
                let from = if random.random() { &plain[..] } else { special };
                data.push_str(from.choose(random).unwrap());
            }
            if quotes {
                data.push('"');
            }
            if random.random_ratio(1, 40) {
                data.push_str(wrong.choose(random).unwrap());
            }
            if column == 0 {
                data.push(if csv { ',' } else { '\t' });
            }
        }
        data.push_str(end);
    }
    if random.random_ratio(1, 5) {
        data.truncate(data.trim_end_matches(['\r', '\n']).len());
    } else if random.random_ratio(1, 5) {
        data.push_str("\\.");
        data.push_str(end);
        if random.random() {
            data.push_str("behind the end");
        }
    }
    data.into_bytes()
}

async fn binary_data(servers: &mut [Server], whole: &mut [Server; 1]) {
    let sql = "copy (select i::text, case when i % 3 > 0 then repeat('x', i) end
                     from generate_series(1, 500) i) to stdout (format binary)";
    let mut spread = everywhere(sql, Merge::CopyOut { header: false, binary: true });
    spread.parts.truncate(1);
    let (_, received) = ask(whole, &spread, Call::Simple).await;
    let messages = received.messages();
    let data: Vec<u8> = messages
        .iter()
        .filter(|(kind, _)| *kind == b'd')
        .flat_map(|(_, body)| body.to_vec())
        .collect();
    let map = map(KeyType::Text);
    let plan = plan(CopyFormat::Binary, text_key(0));
    let into = CopyIn { sql: b"copy c from stdin (format binary)", plan: &plan, map: &map };
    for piece in [1000, 7, data.len()] {
        let (done, _) = copy(servers, into, &data, (piece, DONE)).await;
        assert_eq!(done.map_err(|failure| failure.error).expect("copied").tag, "COPY 500");
        let mut count = 0;
        for (number, server) in servers.iter_mut().enumerate() {
            for row in rows(server).await {
                let key = row.split('\'').nth(1).unwrap();
                let shard = map.shard_of(0, &[KeyValue::Text(key.into())]).unwrap();
                assert_eq!(usize::from(shard.0), number);
                count += 1;
            }
            exec::run(server, "delete from c").await.expect("empty");
        }
        assert_eq!(count, 500);
    }
}

async fn reference_tables(servers: &mut [Server]) {
    let map = map(KeyType::Text);
    let plan = plan(CopyFormat::Csv, vec![]);
    let into = CopyIn { sql: b"copy c from stdin (format csv)", plan: &plan, map: &map };
    let (done, _) = copy(servers, into, b"a,b\nc,\"\n\"\n", (3, DONE)).await;
    assert_eq!(done.map_err(|failure| failure.error).expect("copied").tag, "COPY 2");
    for server in servers {
        assert_eq!(rows(server).await.len(), 2);
        exec::run(server, "delete from c").await.expect("empty");
    }
}

async fn failures(servers: &mut [Server]) {
    let map = map(KeyType::Text);
    let plan = plan(CopyFormat::Text, text_key(0));
    let good = CopyIn { sql: b"copy c from stdin", plan: &plan, map: &map };
    let mut data = Vec::new();
    for row in 0..20_000 {
        data.extend_from_slice(format!("{row}\tvalue\n").as_bytes());
    }
    let wrong = [&data[..], b"\\N\tx\n", &data].concat();
    let short = [&data[..], b"one column\n", &data].concat();
    let stop = b"f\0\0\0\x09stop\0";
    for (data, end, code) in [
        (&wrong, DONE, "PGM04"),
        (&short, DONE, "22P04"),
        (&data, &stop[..], "57014"),
        (&data, b"Q\0\0\0\x05\0", "08P01"),
    ] {
        let (result, _) = copy(servers, good, data, (8000, end)).await;
        assert_eq!(result.expect_err("fails").error.sqlstate, code);
        for server in &mut *servers {
            // What one server refuses, others have committed: there is no transaction here.
            assert!(code == "22P04" || rows(server).await.is_empty());
            exec::run(server, "delete from c").await.expect("empty");
        }
    }
    let none = CopyIn { sql: b"copy nothing from stdin", ..good };
    let (result, received) = copy(servers, none, b"", (1, b"")).await;
    assert_eq!(result.expect_err("no table").error.sqlstate, "42P01");
    assert_eq!(received.kinds(), "");
    let select = CopyIn { sql: b"select 1", ..good };
    let (theirs, ours) = UnixStream::pair().unwrap();
    let mut parts = participants(servers);
    let limits = Limits::default();
    let (result, _) = with_client(ours, theirs, async |client| {
        copy_in(&mut parts, select, client, &limits).await
    })
    .await;
    assert_eq!(result.expect_err("no COPY").error.sqlstate, "PGM03");
    assert!(parts.iter().all(|part| !part.lost));
}

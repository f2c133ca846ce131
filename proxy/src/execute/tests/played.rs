//! Servers that the test plays: back-pressure, bounds, and answers no server would give.

use super::rig::{everywhere, participants, played};
use crate::execute::{Call, ClientSide, CopyIn, Limits, copy_in, run};
use crate::wire::frame;
use crate::wire::stream::{Socket, Stream};
use bytes::{BufMut, BytesMut};
use pgmanifold_router::key::KeyType;
use pgmanifold_router::shard_map::{MapParts, ShardMap};
use pgmanifold_router::sharding::{self, CopyFormat, CopyKey, CopyPlan, Merge, SortKey};
use std::cell::Cell;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

fn head(out: &mut BytesMut) {
    frame::put_text_columns(out, &["v", "helper"], false);
}

/// A row of `bytes` bytes with a key of one int4.
fn row(out: &mut BytesMut, key: i32, bytes: usize) {
    let helper = format!("000000010000001700000004{key:08x}");
    frame::put_text_row(out, &[&"x".repeat(bytes), &helper]);
}

fn end(out: &mut BytesMut, rows: usize) {
    frame::put_command_complete(out, &format!("SELECT {rows}"));
    frame::put_ready(out, b'I');
}

fn merges() -> [Merge; 2] {
    let limits = sharding::Limits::default();
    let keys = vec![SortKey { descending: false, nulls_first: false, byte_order: true }];
    [Merge::Concat { limits }, Merge::Ordered { keys, limits }]
}

/// While the client takes nothing, servers can write no more than bounded buffers take.
#[tokio::test]
async fn a_slow_client_stops_all_servers() {
    const ROWS: i32 = 20_000;
    for merge in merges() {
        let written = Cell::new(0);
        let (mut ends, mut servers): (Vec<_>, Vec<_>) = (0..3).map(|_| played()).unzip();
        let writing = futures_util::future::join_all(ends.iter_mut().map(async |end_of_server| {
            let mut bytes = BytesMut::new();
            head(&mut bytes);
            for key in 0..ROWS {
                row(&mut bytes, key, 1000);
                end_of_server.write_all(&bytes).await.unwrap();
                written.set(written.get() + bytes.len());
                bytes.clear();
            }
            end(&mut bytes, ROWS as usize);
            end_of_server.write_all(&bytes).await.unwrap();
        }));
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        let mut stream = Stream::Plain(Socket::Unix(ours));
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        let mut client = ClientSide { stream: &mut stream, input: &mut input, output: &mut output };
        let spread = everywhere("select", merge);
        let mut parts = participants(&mut servers);
        let limits = Limits::default();
        let running = run(&mut parts, &spread, &Call::Simple, &mut client, &limits);
        let reading = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            // Kernels keep up to 2 × 208 KiB per socket pair by default.
            let most = 4 * 450_000 + 3 * limits.buffer_bytes + 2 * 64 * 1024;
            let (stopped, all) = (written.get(), 3 * ROWS as usize * 1000);
            assert!(stopped < most && most < all / 10, "{stopped} of {all}, at most {most}");
            let mut taken = vec![0; 1 << 20];
            while theirs.read(&mut taken).await.unwrap() > 0 {}
        };
        let result = tokio::select! {
            (result, _) = async { tokio::join!(running, writing) } => result,
            () = reading => panic!("the client's connection was closed"),
        };
        assert_eq!(result.expect("done").tag, format!("SELECT {}", 3 * ROWS));
        assert!(output.len() < 128 * 1024);
    }
}

/// A server that takes nothing stops the client of a COPY.
#[tokio::test]
async fn a_slow_server_stops_the_client() {
    const MESSAGES: usize = 400;
    let map = ShardMap::build(MapParts::new(&["s0", "s1", "s2"]).hash("d", &[KeyType::Int8]));
    let map = map.expect("a map");
    let plan = CopyPlan {
        distribution: 0,
        keys: vec![CopyKey { at: 0, ty: KeyType::Int8 }],
        columns: 2,
        format: CopyFormat::Text,
        delimiter: b'\t',
        null: b"\\N".as_slice().into(),
        quote: b'"',
        escape: b'"',
        header: false,
    };
    let (mut ends, mut servers): (Vec<_>, Vec<_>) = (0..3).map(|_| played()).unzip();
    for end_of_server in &mut ends {
        end_of_server.write_all(b"G\0\0\0\x0b\0\0\x02\0\0\0\0").await.unwrap();
    }
    let rows: String = (0..2000).map(|row| format!("{row}\t{}\n", "x".repeat(20))).collect();
    let mut message = BytesMut::new();
    frame::put(&mut message, b'd', &[rows.as_bytes()]);
    let (mut theirs, ours) = UnixStream::pair().unwrap();
    let written = Cell::new(0);
    let writing = async {
        for _ in 0..MESSAGES {
            theirs.write_all(&message).await.unwrap();
            written.set(written.get() + message.len());
        }
        theirs.write_all(b"c\0\0\0\x04").await.unwrap();
    };
    let mut stream = Stream::Plain(Socket::Unix(ours));
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut client = ClientSide { stream: &mut stream, input: &mut input, output: &mut output };
    let mut parts = participants(&mut servers);
    let limits = Limits::default();
    let copy = CopyIn { sql: b"copy", plan: &plan, map: &map };
    let copying = copy_in(&mut parts, copy, &mut client, &limits);
    let serving = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (stopped, all) = (written.get(), MESSAGES * message.len());
        let most = 4 * 450_000 + 4 * (256 + 64 + 64) * 1024;
        assert!(stopped < most && most < all / 4, "{stopped} of {all}, at most {most}");
        let ends = std::mem::take(&mut ends).into_iter();
        let counts = futures_util::future::join_all(ends.map(serve_copy)).await;
        assert_eq!(counts.iter().sum::<usize>(), MESSAGES * rows.len());
        assert!(counts.iter().all(|bytes| *bytes > 0));
    };
    let (result, (), ()) = tokio::join!(copying, writing, serving);
    assert_eq!(result.map_err(|failure| failure.error).expect("copied").tag, "COPY 3");
    assert!(input.is_empty());
}

/// Reads the data of a COPY to its end, answers it, and gives the bytes of its rows.
async fn serve_copy(mut end_of_server: UnixStream) -> usize {
    let (mut bytes, mut input) = (0, BytesMut::new());
    loop {
        while let Some(header) = frame::peek(&input).filter(|header| input.len() >= header.total) {
            let message = input.split_to(header.total);
            match header.kind {
                b'd' => bytes += message.len() - 5,
                b'c' => {
                    let mut out = BytesMut::new();
                    frame::put_command_complete(&mut out, "COPY 1");
                    frame::put_ready(&mut out, b'I');
                    end_of_server.write_all(&out).await.unwrap();
                    return bytes;
                }
                _ => {}
            }
        }
        assert!(end_of_server.read_buf(&mut input).await.unwrap() > 0);
    }
}

async fn answer(answers: [&[u8]; 3], merge: Merge) -> (String, Vec<bool>) {
    let (mut ends, mut servers): (Vec<_>, Vec<_>) = (0..3).map(|_| played()).unzip();
    let bytes = answers.map(<[u8]>::to_vec);
    let answering = async {
        for (mut end, bytes) in std::mem::take(&mut ends).into_iter().zip(bytes) {
            end.write_all(&bytes).await.unwrap();
        }
    };
    let spread = everywhere("select", merge);
    let mut parts = participants(&mut servers);
    let (_theirs, ours) = UnixStream::pair().unwrap();
    let mut stream = Stream::Plain(Socket::Unix(ours));
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut client = ClientSide { stream: &mut stream, input: &mut input, output: &mut output };
    let limits = Limits { row_bytes: 1 << 20, ..Limits::default() };
    let running = run(&mut parts, &spread, &Call::Simple, &mut client, &limits);
    let (result, ()) = tokio::join!(running, answering);
    let told = match result {
        Ok(done) => done.tag,
        Err(failure) => failure.error.sqlstate.into_owned(),
    };
    (told, parts.iter().map(|part| part.lost).collect())
}

#[tokio::test]
async fn broken_answers_are_no_answers() {
    let [concat, ordered] = merges();
    let whole = |rows: &[i32]| {
        let mut out = BytesMut::new();
        head(&mut out);
        rows.iter().for_each(|key| row(&mut out, *key, 3));
        end(&mut out, rows.len());
        out
    };
    let good = whole(&[1, 2, 3]);
    let lost = vec![false, false, true];
    for merge in [concat, ordered.clone()] {
        let all = answer([&good, &good, &whole(&[])], merge.clone()).await;
        assert_eq!(all, ("SELECT 6".into(), vec![false; 3]));
        for length in [0, 3, 30, good.len() - 6, good.len() - 1] {
            let cut = answer([&good, &good, &good[..length]], merge.clone()).await;
            assert_eq!(cut, ("08006".into(), lost.clone()), "{length}");
        }
        for wrong in [&b"T\0\0\0\x01"[..], b"x\0\0\0\x04", b"Z\xff\xff\xff\xffI", b"W\0\0\0\x04"] {
            let (told, _) = answer([&good, &good, wrong], merge.clone()).await;
            assert_eq!(told, "08006");
        }
        let mut long = BytesMut::new();
        head(&mut long);
        row(&mut long, 1, 1 << 20);
        end(&mut long, 1);
        let (told, lost) = answer([&good, &good, &long], merge.clone()).await;
        assert_eq!((told.as_str(), lost), ("54000", vec![false; 3]));
    }
    let mut keyless = BytesMut::new();
    head(&mut keyless);
    frame::put_text_row(&mut keyless, &["x", "0000"]);
    end(&mut keyless, 1);
    assert_eq!(answer([&good, &keyless, &good], ordered).await.0, "PGM03");
}

/// What is not a row passes, and what comes after the end is kept for whoever reads next.
#[tokio::test]
async fn messages_beside_the_answer() {
    let [concat, _] = merges();
    let (mut ends, mut servers): (Vec<_>, Vec<_>) = (0..3).map(|_| played()).unzip();
    for (number, end_of_server) in ends.iter_mut().enumerate() {
        let mut out = BytesMut::new();
        frame::put_parameter_status(&mut out, "TimeZone", "UTC");
        head(&mut out);
        row(&mut out, 1, 3);
        frame::put(&mut out, b'N', &[b"MHi\0\0"]);
        end(&mut out, 1);
        if number == 1 {
            out.put_slice(b"A\0\0");
        }
        end_of_server.write_all(&out).await.unwrap();
    }
    let spread = everywhere("select", concat);
    let mut parts = participants(&mut servers);
    let (_theirs, ours) = UnixStream::pair().unwrap();
    let mut stream = Stream::Plain(Socket::Unix(ours));
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut client = ClientSide { stream: &mut stream, input: &mut input, output: &mut output };
    let done = run(&mut parts, &spread, &Call::Simple, &mut client, &Limits::default()).await;
    assert_eq!(done.expect("done").tag, "SELECT 3");
    assert_eq!(&servers[1].partial[..], b"A\0\0");
    assert!(
        servers.iter().all(|server| server.reported.contains(&("TimeZone".into(), "UTC".into())))
    );
}

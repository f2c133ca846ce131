//! Answers that one server computes of all shards' rows.

use super::rig::{Rig, ask, each, everywhere, participants};
use crate::backend::connection::Server;
use crate::backend::exec;
use crate::execute::{Call, ClientSide, Limits, array_types, describe, run};
use crate::wire::frame;
use crate::wire::stream::{Socket, Stream};
use bytes::{BufMut, BytesMut};
use pgmanifold_router::sharding::{ColumnRule, Merge, Spread};
use tokio::net::UnixStream;

fn finish(part: &str, sql: &[u8], columns: &[ColumnRule], original: &str) -> Spread {
    let merge = Merge::Finish { sql: sql.to_vec(), columns: columns.to_vec(), parameters: vec![] };
    Spread { original: original.as_bytes().to_vec(), ..everywhere(part, merge) }
}

async fn code(servers: &mut [Server], spread: &Spread) -> String {
    let (result, received) = ask(servers, spread, Call::Simple).await;
    assert!(!received.kinds().contains('D'));
    result.expect_err("refused").error.sqlstate.into_owned()
}

pub(super) async fn answers_are_computed_of_all_rows(servers: &mut [Server]) {
    use ColumnRule::{Any, Exact, Number};
    let sums = finish(
        "select count(*), sum(id), min(v collate \"C\"), v < 'v5' from t group by 4",
        b"select sum(c)::\x01\0 as x, sum(s), min(m), b \
          from unnest(\0, \0, \0, \0) u (c, s, m, b) group by b order by b",
        &[Number, Exact, Any, Any],
        "select count(*) as n, sum(id)::numeric, min(v), v < 'v5' as early from t group by 4",
    );
    let (done, received) = ask(servers, &sums, Call::Simple).await;
    assert_eq!(done.expect("done").tag, "SELECT 2");
    assert_eq!(received.kinds(), "TDD");
    let rows: Vec<String> = received
        .rows()
        .into_iter()
        .map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(rows, ["15 330 v5 f", "15 105 v0 t"]);
    let (_, head) = received.messages()[0];
    let names = |name: &[u8]| head.windows(name.len()).any(|found| found == name);
    assert!(names(b"\0\x04n\0") && names(b"early\0"), "named as in the client's text");

    let none = finish(
        "select id from t where false",
        b"select sum(x) from unnest(\0) x",
        &[Any],
        "select sum(id) from t",
    );
    let (_, received) = ask(servers, &none, Call::Simple).await;
    assert_eq!(received.rows(), [vec![None]]);

    let other =
        finish("select id from t", b"select sum(x) from unnest(\0) x", &[Any], "select 1.5");
    assert_eq!(code(servers, &other).await, "PGM03");
    let wrong =
        finish("select id from t", b"select sum(x) from unnest(\0) x", &[Any], "select nothing");
    assert_eq!(code(servers, &wrong).await, "42703");
    let failing =
        finish("select id from t", b"select 1 / (x - x) from unnest(\0) x", &[Any], "select 1");
    assert_eq!(code(servers, &failing).await, "22012");
    for (column, rule) in [
        ("array[1]", Any),
        ("row(1)", Any),
        ("null::pg_class", Any),
        ("1.5::float8", Exact),
        ("1", Number),
        ("'a'::text", Exact),
    ] {
        let refused = finish(&format!("select {column}"), b"select \0", &[rule], "select 1");
        assert_eq!(code(servers, &refused).await, "PGM03", "{column}");
    }
    let much = finish("select repeat('x', 6000000)", b"select \0", &[Any], "select 1");
    assert_eq!(code(servers, &much).await, "PGM03");
    with_parameters(servers).await;
}

/// The client's parameters follow the arrays; the answer has the formats it asked for.
async fn with_parameters(servers: &mut [Server]) {
    let merge = Merge::Finish {
        sql: b"select sum(x)::int8 + $2::int4, $3::text from unnest(\0) x".to_vec(),
        columns: vec![ColumnRule::Exact],
        parameters: vec![1, 0],
    };
    let mut spread = everywhere("select sum(id) from t where id > $1", merge);
    spread.original = b"select sum(id)::int8 + $2::int4, $1::text from t where id > $2".to_vec();
    spread.parts.iter_mut().for_each(|part| part.parameters = Some(vec![1]));
    let mut bind = BytesMut::from(&b"\0\x02\0\0\0\x01\0\x02\0\0\0\x02xy\0\0\0\x04\0\0\0\x09"[..]);
    bind.put_slice(b"\0\x02\0\x01\0\0");
    let call = Call::Portal { bind: &bind, types: &[25, 23] };
    let (done, received) = ask(servers, &spread, call).await;
    assert_eq!(done.map_err(|failure| failure.error).expect("done").tag, "SELECT 1");
    assert_eq!(received.kinds(), "D");
    let (_, body) = received.messages()[0];
    let sum = i64::from_be_bytes(frame::data_row(body).unwrap()[0].unwrap().try_into().unwrap());
    assert_eq!(sum, (10..30).sum::<i64>() + 9);
    assert_eq!(received.rows()[0][1].as_deref(), Some("xy"));
}

/// A value of each type comes back as it was, and the table of types is PostgreSQL's.
pub(super) async fn types_are_carried_as_they_are(rig: &Rig, servers: &mut [Server]) {
    let mut whole = rig.connect("whole").await;
    for carried in array_types::all() {
        let name = format!("pg_catalog.\"{}\"", carried.name);
        let sql = format!(
            "select oid || ' ' || typarray || ' ' || typname from pg_type
             where oid = '{name}'::regtype"
        );
        let found = exec::run(&mut whole, &sql).await.expect("type").expect("one");
        assert_eq!(found, format!("{} {} {}", carried.oid, carried.array_oid, carried.name));
        let value = sample(carried.name);
        let part = format!("select '{value}'::{name} union all select null");
        let computed = |from: &str| {
            format!(
                "select count(*), min(x::text) = max(x::text),
                        min(x::text) = '{value}'::{name}::text from {from}"
            )
        };
        let original = computed(&format!("(select '{value}'::{name}) u (x)"));
        let sql = computed("unnest(\0) x");
        let spread = finish(&part, sql.as_bytes(), &[ColumnRule::Any], &original);
        let (result, received) = ask(servers, &spread, Call::Simple).await;
        result.unwrap_or_else(|failure| panic!("{name}: {}", failure.error));
        assert_eq!(
            received.rows()[0].iter().flatten().collect::<Vec<_>>(),
            ["6", "t", "t"],
            "{name}"
        );
    }
}

fn sample(name: &str) -> &'static str {
    match name {
        "bool" => "true",
        "json" | "jsonb" => "{\"a\": [1, null]}",
        "xml" => "<a>ä</a>",
        "point" => "(1,2)",
        "lseg" | "path" => "[(1,2),(3,4)]",
        "box" => "(3,4),(1,2)",
        "polygon" => "((1,2),(3,4),(5,6))",
        "line" => "{1,2,3}",
        "circle" => "<(1,2),3>",
        "cidr" | "inet" => "10.1.0.0/16",
        "macaddr" => "08:00:2b:01:02:03",
        "macaddr8" => "08:00:2b:01:02:03:04:05",
        "date" | "timestamp" | "timestamptz" => "2024-02-29",
        "time" | "timetz" => "12:34:56.789",
        "interval" => "1 mon 2 days 3 hours",
        "bit" | "varbit" => "10110",
        "uuid" => "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "pg_lsn" => "16/B374D848",
        "tsvector" => "''a'':1 ''b'':2",
        "tsquery" => "''a'' & ''b''",
        "int4range" | "numrange" | "int8range" => "[1,5)",
        "tsrange" | "tstzrange" | "daterange" => "[2024-01-01,2024-02-01)",
        "bytea" => "\\x00ff",
        "char" => "q",
        "bpchar" | "text" | "varchar" | "name" => "ä b",
        _ => "12",
    }
}

pub(super) async fn statements_are_described(servers: &mut [Server]) {
    let (_theirs, ours) = UnixStream::pair().unwrap();
    let mut stream = Stream::Plain(Socket::Unix(ours));
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut client = ClientSide { stream: &mut stream, input: &mut input, output: &mut output };
    let mut parts = participants(servers);
    let limits = Limits::default();
    let sql = b"select id, v from t where id = $1 and v = $2";
    let described = describe(&mut parts[0], sql, &[20], &mut client, &limits).await;
    let mut out = BytesMut::new();
    let mut described = described.map_err(|failure| failure.error).expect("described");
    described.put_parameters(&mut out);
    assert_eq!(&out[..], b"t\0\0\0\x0e\0\x02\0\0\0\x14\0\0\0\x19");
    out.clear();
    described.put_columns(&[1], &mut out);
    assert!(out.starts_with(b"T") && out.ends_with(b"\0\x01"));
    out.clear();
    let none = describe(&mut parts[1], b"delete from t", &[], &mut client, &limits).await;
    none.map_err(|failure| failure.error).expect("described").put_columns(&[], &mut out);
    assert_eq!(&out[..], b"n\0\0\0\x04");
    let error = describe(&mut parts[1], b"selec", &[], &mut client, &limits).await.expect_err("no");
    assert_eq!(error.error.sqlstate, "42601");
    let spread = each(&["select 1"], Merge::Same);
    let done = run(&mut parts[..1], &spread, &Call::Simple, &mut client, &limits).await;
    assert_eq!(done.map_err(|failure| failure.error).expect("usable").tag, "SELECT 1");
}

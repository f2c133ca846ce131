//! The order of values, type by type, against PostgreSQL's own.

use super::rig::{Rig, ask, everywhere};
use crate::backend::connection::Server;
use crate::backend::exec;
use crate::execute::Call;
use pgmanifold_router::sharding::{self, Merge, SortKey};

/// Types, and values that are hard to order; each is tried beside NULL.
const VALUES: [(&str, &str); 18] = [
    ("int2", "-32768 32767 0 -1 1 255 256"),
    ("int4", "-2147483648 2147483647 0 -1 1 65536"),
    ("int8", "-9223372036854775808 9223372036854775807 0 -1 1 4294967296"),
    ("oid", "0 1 4294967295 2147483648"),
    ("bool", "true false"),
    ("float4", "NaN Infinity -Infinity 0 -0 1e-45 -1e-45 1.5 -1.5 3.4e38 -3.4e38 1 2"),
    ("float8", "NaN Infinity -Infinity 0 -0 5e-324 -5e-324 1.5 -1.5 1.7e308 -1.7e308 0.1 0.3"),
    (
        "numeric",
        "NaN Infinity -Infinity 0 0.000 -0.0 1 1.0 1.00000 10000 9999.9999 10000.0001 99999999 \
         0.0001 0.00001 0.00010 -0.0001 -1 -1.5 -10000 -9999 1e100 -1e100 1e-100 -1e-100 \
         123456789012345678901234567890.12345 123456789012345678901234567890.123 20000 100000000",
    ),
    ("date", "infinity -infinity 2000-01-01 1999-12-31 4713-01-01BC 5874897-12-31 2024-02-29"),
    ("time", "00:00 24:00 23:59:59.999999 00:00:00.000001 12:00"),
    ("timestamp", "infinity -infinity 2000-01-01 1999-12-31T23:59:59.999999 0044-03-15BC"),
    ("timestamptz", "infinity -infinity 2000-01-01Z 2000-01-01+02 1999-12-31T23:59:59.999999Z"),
    (
        "uuid",
        "00000000-0000-0000-0000-000000000000 ffffffff-ffff-ffff-ffff-ffffffffffff \
         80000000-0000-0000-0000-000000000000 00000000-0000-0000-0000-000000000001",
    ),
    ("bytea", r"\x \x00 \x0000 \x0001 \x01 \xff \xff00 \x00ff \x0100 \x61 \x6100"),
    ("\"char\"", r"a b A \200 \377 \001"),
    ("name", "a B aa ab b _ ä Z"),
    ("text", "a B aa ab b _ ä Z 😀 \u{ffff} a_ a- é e z~ \u{1} \u{7f} \u{80}"),
    ("varchar", "a B aa ab b _ ä"),
];

/// The values of each type lie on three servers, each with the rank that one server gave it
/// among all. Merged by value, and by several columns, ranks must not fall.
pub(super) async fn every_type_is_ordered_as_by_postgres(rig: &Rig, servers: &mut [Server]) {
    let mut whole = rig.connect("whole").await;
    for (kind, values) in VALUES {
        for (descending, nulls_first) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let key = SortKey { descending, nulls_first, byte_order: true };
            let sql = ranked(kind, values, key);
            check(servers, &mut whole, &sql, key).await;
        }
    }
    let keys = [("int4", "1 2 2 3"), ("text", "a ab b")];
    for (kind, values) in keys {
        let refused = format!(
            "select 1, encode(record_send(row(array[v::{kind}])), 'hex')
             from unnest(string_to_array('{values}', ' ')) v"
        );
        let merge =
            merge(vec![SortKey { descending: false, nulls_first: false, byte_order: true }]);
        let (result, _) = ask(servers, &everywhere(&refused, merge), Call::Simple).await;
        let error = result.expect_err("arrays are not ordered").error;
        assert_eq!(error.sqlstate, "PGM03");
        assert!(error.message.contains("order by a type that cannot be merged"), "{error}");
    }
}

fn merge(keys: Vec<SortKey>) -> Merge {
    Merge::Ordered { keys, limits: sharding::Limits::default() }
}

fn clause(key: SortKey) -> String {
    let direction = if key.descending { "desc" } else { "asc" };
    format!("{direction} nulls {}", if key.nulls_first { "first" } else { "last" })
}

/// Ranks, values and a second column, as rows of VALUES.
fn ranked(kind: &str, values: &str, key: SortKey) -> String {
    let order = clause(key);
    format!(
        "select string_agg(format('(%s, %L::{kind}, %s, %s)', r, v, w, n), ', ') from (
           select v, w, row_number() over () n,
                  dense_rank() over (order by v {order}, w desc nulls last) r
           from (select v::{kind}, w
                 from unnest(string_to_array($${values}$$, ' ') || null::text) v,
                      generate_series(1, 2) w) a) b"
    )
}

async fn check(servers: &mut [Server], whole: &mut Server, ranking: &str, key: SortKey) {
    let rows = exec::run(whole, ranking).await.expect(ranking).expect("some");
    let mut spread = everywhere(
        "",
        merge(vec![key, SortKey { descending: true, nulls_first: false, byte_order: true }]),
    );
    for part in &mut spread.parts {
        let order = clause(key);
        part.sql = format!(
            "select r, encode(record_send(row(v, w)), 'hex') from (values {rows}) t (r, v, w, n)
             where n % 3 = {} order by v {order}, w desc nulls last",
            part.shard
        )
        .into_bytes();
    }
    let (result, received) = ask(servers, &spread, Call::Simple).await;
    result.unwrap_or_else(|failure| panic!("{}: {ranking}", failure.error));
    let ranks: Vec<u32> = received.firsts().iter().map(|rank| rank.parse().unwrap()).collect();
    assert!(ranks.is_sorted(), "{ranks:?} for {key:?}: {rows}");
    assert!(ranks.len() >= 6, "{rows}");
}

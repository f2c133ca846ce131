//! What a comparison finds: every kind of difference that equality would not tell, in every kind of
//! distribution, and nothing where settings are all that differs.

use super::sides::Sides;
use pgmanifold_rebalancer::error::Error;
use pgmanifold_rebalancer::verify::{self, Difference, Report, Scope};
use pgmanifold_router::hash::hash_int8;
use pgmanifold_router::key::{KeyType, KeyValue};
use pgmanifold_router::shard_map::{Bound, Keys, MapParts, ShardMap};
use pgmanifold_tests::run;

const SCHEMA: &str = "\
create type mood as enum ('good', 'bad'); \
create type place as (street text, number numeric); \
create domain code as varchar(9); \
create table orders (customer bigint, id bigint, note text, amount numeric, mood mood, doc json, \
 docb jsonb, tags text[], ratio float8, at timestamptz, span interval, raw bytea, price money, \
 place place, code code, days daterange, doubled numeric generated always as (amount * 2) stored, \
 primary key (customer, id)); \
create table lines (customer bigint, product text, pieces int); \
create table \"od d\" (\"k\"\"y\" int, v text, primary key (\"k\"\"y\")); \
create table lands (land text primary key, v text)";

const ROWS: &str = "\
insert into orders (customer, id, note, amount, mood, doc, docb, tags, ratio, at, span, raw, \
 price, place, code, days) \
select k, k % 7, case when k % 5 > 0 then 'note ' || k end, k / 10.0, \
 (array['good', 'bad'])[k % 2 + 1]::mood, '{\"a\" : 1}', '{\"a\": 1.0}', \
 array['a', null, 'b,\"c\"'], k * 0.1, 'epoch'::timestamptz + k * interval '1.000001 s', \
 interval '1 mon -1 day 2.5 s', decode(lpad(to_hex(k), 8, '0'), 'hex'), k::int::money, \
 row('s', 1.50)::place, 'c' || k, daterange('2020-01-01', '2020-01-01'::date + k::int) \
from generate_series(1, 3000) k; \
insert into lines select k % 50, 'p' || k % 3, 1 from generate_series(1, 3000) k; \
insert into \"od d\" select k, 'v' from generate_series(1, 500) k; \
insert into lands select 'l' || k % 3 || repeat('x', k / 3), 'v' from generate_series(0, 299) k";

/// Texts of values are others under these.
const SETTINGS: [&str; 5] = [
    "datestyle = 'SQL, DMY'",
    "timezone = 'Asia/Kolkata'",
    "intervalstyle = 'iso_8601'",
    "extra_float_digits = -3",
    "bytea_output = 'escape'",
];

/// Columns, and what makes another value of the first one that is equal, or nearly so.
const CHANGES: [(&str, &str); 14] = [
    ("raw", "set_byte(raw, 3, get_byte(raw, 3) # 1)"),
    ("amount, doubled", "amount::numeric(20, 9)"),
    ("doc", "'{\"a\":1}'"),
    ("docb", "'{\"a\": 1.00}'"),
    ("mood", "case mood when 'good' then 'bad' else 'good' end::mood"),
    ("tags", "array['a', 'NULL', 'b,\"c\"']"),
    ("ratio", "ratio + 2e-16 * ratio"),
    ("at", "at + interval '1 microsecond'"),
    ("span", "interval '29 days 2.5 s'"),
    ("price", "price + '0.01'"),
    ("place", "row('s', 1.5)::place"),
    ("code", "code || ' '"),
    ("note", "coalesce(note, '') || ''"),
    ("days", "daterange('2020-01-02', '2021-01-01')"),
];

fn map() -> ShardMap {
    let text = |text: &str| KeyValue::Text(text.into());
    let lands = [(text("l0"), "north"), (text("l1"), "north"), (text("l2"), "south")];
    let parts = MapParts::new(&["north", "south"])
        .hash("customer", &[KeyType::Int8])
        .range("od d", KeyType::Int4, &[(None, "north"), (Some(KeyValue::Int(400)), "south")])
        .list("land", KeyType::Text, &lands)
        .table("public", "orders", "customer", &["customer"])
        .table("public", "lines", "customer", &["customer"])
        .table("public", "od d", "od d", &["k\"y"])
        .table("public", "lands", "land", &["land"]);
    ShardMap::build(parts).expect("a map")
}

const HASHES: (i64, i64) = (-(1 << 62), 1 << 62);

fn hashes() -> Keys {
    Keys::Between(Some(Bound::Hash(HASHES.0)), Some(Bound::Hash(HASHES.1)))
}

/// Customers whose keys are among those compared.
fn customers() -> impl Iterator<Item = i64> {
    (1..=3000).filter(|customer| (HASHES.0..HASHES.1).contains(&hash_int8(*customer)))
}

async fn compare(sides: &Sides, distribution: usize, keys: &Keys) -> Report {
    let map = map();
    let scope = Scope { map: &map, distribution, keys };
    let pair = verify::at_rest(sides.session(0).await, sides.session(1).await).await;
    let pair = pair.unwrap_or_else(|error| panic!("{error}"));
    let report = verify::compare(&pair, &scope).await;
    pair.end().await.unwrap_or_else(|error| panic!("{error}"));
    report.unwrap_or_else(|error| panic!("{error}"))
}

fn filled(test: &str) -> Sides {
    let sides = Sides::new(test, 0);
    // Numbers of types differ.
    sides.run(1, "create type other as enum ('a'); create table another (a other)");
    for number in 0..2 {
        sides.run(number, SCHEMA);
        sides.run(number, ROWS);
    }
    for setting in SETTINGS {
        sides.run(1, &format!("alter database {} set {setting}", sides.databases[1]));
    }
    sides
}

#[test]
fn a_difference_in_any_column_is_found_and_named() {
    run(120, async {
        let sides = filled("verify_columns");
        let report = compare(&sides, 0, &hashes()).await;
        report.verdict().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.tables[0].rows, customers().count() as u64, "{report}");
        assert!(report.tables[0].sub_ranges == 64 && report.bytes() > 100_000, "{report}");

        let customer = customers().find(|customer| customer % 2 == 0).expect("a customer");
        let hash = hash_int8(customer);
        for (columns, value) in CHANGES {
            let column = columns.split(',').next().unwrap_or_default();
            // Only one without a note is changed by another kind of nothing.
            let customer = if column == "note" {
                customers().find(|customer| customer % 5 == 0).expect("a customer")
            } else {
                customer
            };
            let row = format!("where customer = {customer} and id = {}", customer % 7);
            sides.run(1, &format!("create table kept as select * from orders {row}"));
            sides.run(1, &format!("update orders set {column} = {value} {row}"));
            let report = compare(&sides, 0, &hashes()).await;
            let [mismatch] = report.mismatches.as_slice() else {
                panic!("{column}: {report}");
            };
            assert_eq!(mismatch.table, "\"public\".\"orders\"");
            let [key] = mismatch.keys.as_slice() else { panic!("{column}: {report}") };
            let name = format!("(\"customer\", \"id\") = ({customer},{})", customer % 7);
            assert_eq!(key.key, name);
            let named = columns.split(", ").map(|column| format!("\"{column}\"")).collect();
            assert_eq!(key.difference, Difference::Contents(named), "{report}");
            if column == "raw" {
                let borders = mismatch.sub_range.trim_start_matches("keys [").trim_end_matches(')');
                let (from, to) = borders.split_once(", ").expect("two borders");
                let (from, to): (i64, i64) = (from.parse().unwrap(), to.parse().unwrap());
                assert!((from..to).contains(&hash), "{hash} in {}", mismatch.sub_range);
                let text = match report.verdict() {
                    Err(Error::Stopped(text)) => text,
                    other => panic!("{other:?}"),
                };
                assert!(text.contains(&format!("{name}: differs in \"raw\"")), "{text}");
            }
            sides.run(
                1,
                &format!(
                    "update orders o set {column} = k.{column} from kept k \
                 where o.customer = k.customer and o.id = k.id; drop table kept"
                ),
            );
        }
        compare(&sides, 0, &hashes()).await.verdict().expect("all is as before");

        // Zero has two forms.
        for (number, zero) in [(0, "0"), (1, "-0")] {
            sides.run(
                number,
                &format!(
                    "update orders set ratio = '{zero}' \
                 where customer = {customer}"
                ),
            );
        }
        let report = compare(&sides, 0, &hashes()).await;
        let key = &report.mismatches[0].keys[0];
        assert_eq!(key.difference, Difference::Contents(vec!["\"ratio\"".into()]), "{report}");
    });
}

#[test]
fn missing_extra_and_repeated_rows_are_told_apart() {
    run(60, async {
        let sides = filled("verify_rows");
        let (gone, extra) = {
            let mut customers = customers();
            (customers.next().expect("one"), customers.nth(100).expect("one"))
        };
        sides.run(
            1,
            &format!(
                "delete from orders where customer = {gone}; \
             insert into orders (customer, id) values ({extra}, 99)"
            ),
        );
        // Keys that are not compared may differ.
        let foreign = (1..).find(|key| !(HASHES.0..HASHES.1).contains(&hash_int8(*key)));
        sides.run(1, &format!("delete from orders where customer = {}", foreign.expect("one")));
        let report = compare(&sides, 0, &hashes()).await;
        let found: Vec<(&str, &Difference)> = report
            .mismatches
            .iter()
            .flat_map(|one| &one.keys)
            .map(|key| (key.key.as_str(), &key.difference))
            .collect();
        assert_eq!(found.len(), 2, "{report}");
        for (customer, id, shard) in [(gone, gone % 7, "north"), (extra, 99, "south")] {
            let name = format!("(\"customer\", \"id\") = ({customer},{id})");
            let (_, difference) = found.iter().find(|(key, _)| *key == name).expect("named");
            let Difference::OnlyOn(place) = difference else { panic!("{report}") };
            assert!(place.starts_with(shard), "{report}");
        }

        // A table without a primary key: rows that are the same, once more and once less.
        let customer = customers().find(|customer| *customer < 50).expect("one");
        let line = format!("lines where customer = {customer} and product = 'p1'");
        sides.run(1, "truncate orders");
        sides.run(0, "truncate orders");
        sides.run(1, &format!("delete from lines where ctid = (select min(ctid) from {line})"));
        let report = compare(&sides, 0, &hashes()).await;
        let key = &report.mismatches[0].keys[0];
        let Difference::Rows([here, there]) = key.difference else { panic!("{report}") };
        assert_eq!(
            (here, key.key.as_str()),
            (there + 1, &*format!("(\"customer\") = ({customer})"))
        );
        // Two rows twice leave an exclusive or as it was.
        sides.run(
            1,
            &format!(
                "insert into {} select * from lines where customer = {customer} \
             and product = 'p1' limit 1",
                "lines"
            ),
        );
        compare(&sides, 0, &hashes()).await.verdict().expect("the same again");
        let many = format!(
            "update lines set pieces = {{}} where ctid in \
             (select ctid from lines where customer = {customer} and product = 'p1' limit 2)"
        );
        sides.run(0, &many.replace("{}", "8"));
        sides.run(1, &many.replace("{}", "9"));
        let report = compare(&sides, 0, &hashes()).await;
        assert_eq!(report.mismatches[0].keys[0].difference, Difference::Contents(vec![]));
    });
}

#[test]
fn keys_by_range_and_by_list_and_many_rows_of_one_key() {
    run(60, async {
        let sides = filled("verify_kinds");
        let below = Keys::Between(None, Some(Bound::Value(KeyValue::Int(400))));
        let lands = Keys::Values(vec![KeyValue::Text("l0".into()), KeyValue::Text("l1".into())]);
        assert_eq!(compare(&sides, 1, &below).await.rows(), 399);
        assert_eq!(compare(&sides, 2, &lands).await.rows(), 2);
        sides.run(1, "update \"od d\" set v = 'w'; update lands set v = 'w' where land >= 'l1'");
        let report = compare(&sides, 1, &below).await;
        assert!(report.mismatches.len() > 60, "{report}");
        assert!(report.mismatches[0].sub_range.ends_with(" of 64"), "{report}");
        let named: usize = report.mismatches.iter().map(|one| one.keys.len()).sum();
        assert!(named > 10 && named < 60, "of a few sub-ranges only: {report}");
        assert!(report.mismatches.last().is_some_and(|one| one.more && one.keys.is_empty()));
        let report = compare(&sides, 2, &lands).await;
        assert_eq!(report.mismatches.len(), 1, "{report}");
        assert_eq!(report.mismatches[0].keys[0].key, "(\"land\") = (l1)");

        // More rows than are listed one by one.
        let customer = customers().next().expect("one");
        for number in 0..2 {
            sides.run(
                number,
                &format!(
                    "insert into orders (customer, id) \
                 select {customer}, k from generate_series(10, 60000) k"
                ),
            );
        }
        sides.run(
            1,
            &format!(
                "delete from orders where customer = {customer} and id = 54321; \
             update orders set note = 'x' where customer = {customer} and id in (11, 12)"
            ),
        );
        let report = compare(&sides, 0, &hashes()).await;
        let mismatch = &report.mismatches[0];
        assert!(mismatch.rows[0] == mismatch.rows[1] + 1 && !mismatch.more, "{report}");
        assert_eq!(mismatch.keys.len(), 3, "{report}");
        println!("{report}");
    });
}

#[test]
fn what_cannot_be_compared_is_said() {
    run(60, async {
        let sides = filled("verify_types");
        let map = map();
        let keys = hashes();
        let scope = Scope { map: &map, distribution: 0, keys: &keys };
        let session = sides.session(0).await;
        let found = verify::unverifiable_columns(&session, &scope).await.expect("an answer");
        assert_eq!(found, [], "everything so far can be");
        sides.run(
            0,
            "create domain kinds as regtype[]; create type role as (r regrole); \
             alter table lines add a regclass, add b kinds, add c role[], add d aclitem, \
             add e xid, add f oid, add g int4multirange, add h \"char\"",
        );
        let found = verify::unverifiable_columns(&session, &scope).await.expect("an answer");
        let columns: Vec<&str> = found.iter().map(|one| one.column.as_str()).collect();
        assert_eq!(columns, ["a", "b", "c", "d"]);
        assert_eq!(found[1].type_name, "public.kinds");
        assert!(found[0].reason.contains("another server"), "{found:?}");

        let error = |report: Result<Report, Error>| match report {
            Err(Error::Refused(text)) => text,
            other => panic!("{other:?}"),
        };
        let compare = async || {
            let pair = verify::at_rest(sides.session(0).await, sides.session(1).await).await?;
            let report = verify::compare(&pair, &scope).await;
            pair.end().await?;
            report
        };
        let text = error(compare().await);
        assert!(text.contains("\"lines\"") && text.contains("north (127.0.0.1"), "{text}");
        sides.run(
            0,
            "alter table lines drop a, drop b, drop c, drop d, drop e, drop f, drop g, \
             drop h",
        );
        compare().await.expect("columns that were dropped are not compared");
        sides.run(1, "alter table orders alter code type varchar(10)");
        let text = error(compare().await);
        assert!(text.contains("\"code\""), "{text}");
    });
}

/// Prints rows per second; `cargo test … -- --ignored how_fast --nocapture`.
#[test]
#[ignore = "it measures"]
fn how_fast_rows_are_compared() {
    run(600, async {
        let sides = Sides::new("verify_speed", 0);
        for number in 0..2 {
            sides.run(number, SCHEMA);
            for begin in [1, 500_001] {
                sides.run(
                    number,
                    &format!(
                        "insert into orders (customer, id, note, amount, at) select k, 1, \
                         'a note of some length ' || k, k / 10.0, 'epoch' from \
                         generate_series({begin}, {begin} + 499999) k; \
                         insert into lines select k, 'p', 1 from \
                         generate_series({begin}, {begin} + 499999) k"
                    ),
                );
            }
            sides.run(number, "vacuum analyze");
        }
        let all = Keys::Between(None, None);
        for _ in 0..2 {
            println!("{}", compare(&sides, 0, &all).await);
        }
    });
}

//! The hash against what servers computed: `golden/hashes.txt` is the output of
//! `golden/hashes.sql` on PostgreSQL 15 and on 18, which agree.

use super::*;

const HASHES: &str = include_str!("../../golden/hashes.txt");

/// A line: types, the values as text, the hash; `|` between columns.
fn read(line: &str) -> (Vec<KeyType>, Vec<KeyValue>, i64) {
    let mut fields: Vec<&str> = line.split('\t').collect();
    let hash = fields.pop().unwrap().parse().unwrap();
    let types: Vec<KeyType> =
        fields[0].split(',').map(|name| KeyType::from_name(name).unwrap()).collect();
    let values = fields[1..].iter().zip(&types).map(|(text, ty)| {
        KeyValue::from_text(*ty, text).unwrap_or_else(|| panic!("{ty}: {text:?}"))
    });
    let values: Vec<KeyValue> = values.collect();
    assert_eq!(types.len(), values.len(), "{line}");
    (types, values, hash)
}

#[test]
fn hashes_are_those_of_servers() {
    let lines: Vec<&str> = HASHES.lines().collect();
    assert!(lines.len() > 150, "{} vectors", lines.len());
    let mut kinds = std::collections::BTreeSet::new();
    for line in lines {
        let (types, key, hash) = read(line);
        assert_eq!(hash_key(&key), hash, "{line}");
        kinds.insert(types.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    }
    for kind in ["smallint", "integer", "bigint", "text", "varchar", "uuid", "bytea", "date"] {
        assert!(kinds.contains(kind), "no vectors for {kind}");
    }
    assert!(kinds.contains("timestamptz") && kinds.contains("bigint,text"), "{kinds:?}");
}

#[test]
fn the_widths_of_integers_agree() {
    for number in [i32::MIN, -1, 0, 1, 77, i32::MAX] {
        assert_eq!(hash_int4(number), hash_int8(number.into()));
    }
}

#[test]
fn sql_gives_the_same_number() {
    let cases: [(&[KeyType], &[&str], &str); 5] = [
        (&[KeyType::Int4], &["k"], "pg_catalog.hashint8extended((k)::int8, 0)"),
        (&[KeyType::Varchar], &["k"], "pg_catalog.hashtextextended((k)::text, 0)"),
        (&[KeyType::Uuid], &["new.k"], "pg_catalog.uuid_hash_extended((new.k)::uuid, 0)"),
        (&[KeyType::Date], &["k"], "pg_catalog.hash_record_extended(row((k)::date), 0)"),
        (
            &[KeyType::Int2, KeyType::Text],
            &["a", "\"B\""],
            "pg_catalog.hash_record_extended(row((a)::int8, (\"B\")::text), 0)",
        ),
    ];
    for (types, columns, sql) in cases {
        assert_eq!(hash_sql(types, columns), sql);
    }
}

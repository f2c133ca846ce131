//! Rows as the catalog gives them. That the texts are right is tested against servers, in
//! `tests/tests/e2e/shards/catalog_sql.rs`.

use super::*;
use crate::shard_map::ShardMap;

fn row(what: &str, database: &str, fields: &[&str]) -> Row {
    let field = |text: &&str| (*text != "NULL").then(|| (*text).to_owned());
    let fields = fields.iter().map(field).collect();
    Row { what: what.into(), database: database.into(), fields }
}

fn rows() -> Vec<Row> {
    vec![
        row("catalog", "", &["7f", "2"]),
        row("cluster", "app", &["3", "s1"]),
        row("shard", "app", &["s0"]),
        row("shard", "app", &["s1"]),
        row("distribution", "app", &["h", "hash", "NULL", "bigint", "text"]),
        row("distribution", "app", &["d", "range", "NULL", "date"]),
        row("distribution", "app", &["one", "single", "s0"]),
        row("range", "app", &["h", "s0", "NULL", "NULL"]),
        row("range", "app", &["h", "s1", "-5", "NULL"]),
        row("range", "app", &["d", "s1", "NULL", "2026-01-01"]),
        row("range", "app", &["d", "s0", "NULL", "NULL"]),
        row("moving", "app", &["h", "4", "s1", "s0", "true", "-5", "NULL"]),
        row("moving", "app", &["d", "2", "s0", "s1", "false", "NULL", "2026-01-01"]),
        row("table", "app", &["public", "t", "h", "false", "a", "b"]),
        row("cluster", "other", &["1", "x"]),
        row("shard", "other", &["x"]),
    ]
}

#[test]
fn rows_become_maps() {
    let loaded = read_rows(rows()).unwrap();
    assert_eq!(loaded.catalog, "7f");
    let names: Vec<&str> = loaded.maps.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["app", "other"]);
    let map = ShardMap::build(loaded.maps[0].1.clone()).unwrap();
    assert_eq!((map.epoch, map.name(map.home)), (3, "s1"));
    assert_eq!(map.distributions[1].ranges.len(), 2);
    assert_eq!(map.table(None, "t").unwrap().key_columns.len(), 2);
    let (hashes, days) = (map.moving(4).unwrap(), map.moving(2).unwrap());
    assert_eq!((hashes.0, hashes.1.paused), (0, true));
    assert_eq!(hashes.1.keys, Keys::Between(Some(Bound::Hash(-5)), None));
    assert_eq!((days.0, map.name(days.1.target)), (1, "s1"));
}

#[test]
fn what_is_not_understood_is_refused() {
    let strange = [
        row("cluster", "z", &["x", "s0"]),
        row("thing", "other", &[]),
        row("shard", "app", &["s2"]),
        row("shard", "other", &["NULL"]),
        row("distribution", "other", &["q", "modulo", "NULL"]),
        row("distribution", "other", &["q", "hash", "NULL", "numeric"]),
        row("range", "other", &["h", "s0", "NULL", "NULL"]),
        row("value", "other", &["h", "s0", "1"]),
        row("moving", "other", &["h", "4", "s1", "s0", "true", "-5", "NULL"]),
    ];
    for strange in strange {
        let mut rows = rows();
        rows.push(strange.clone());
        assert_eq!(read_rows(rows), Err(RowsError::Row(Box::new(strange))));
    }
    let mut newer = rows();
    newer[0].fields[1] = Some("3".into());
    assert_eq!(read_rows(newer), Err(RowsError::Version("3".into())));
    assert_eq!(read_rows(rows().split_off(1)), Err(RowsError::Unnamed));
    let said = |version: &str| RowsError::Version(version.into()).to_string();
    assert_eq!(said("3"), "the catalog has version 3, this program knows 2");
    assert!(said("1").ends_with("\"pgmanifold map init\" brings it up to date"));
}

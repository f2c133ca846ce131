//! Maps: lookups, checks, changes, text. Random maps and keys must never show a gap.

use super::*;
use crate::hash::hash_key;
use proptest::prelude::*;

fn int(number: i64) -> KeyValue {
    KeyValue::Int(number)
}

fn text(text: &str) -> KeyValue {
    KeyValue::Text(text.into())
}

fn parts() -> MapParts {
    MapParts::new(&["s0", "s1", "s2"])
        .hash("orders", &[KeyType::Int8])
        .range("days", KeyType::Int8, &[(None, "s0"), (Some(int(10)), "s1"), (Some(int(20)), "s0")])
        .list("countries", KeyType::Text, &[(text("de"), "s1"), (text("at"), "s2")])
        .reference("everywhere")
        .single("one", "s2")
        .hash("pairs", &[KeyType::Int8, KeyType::Text])
        .table("public", "orders", "orders", &["customer_id"])
        .table("public", "lines", "orders", &["customer_id"])
        .table("archive", "orders", "days", &["day"])
        .table("public", "vat", "everywhere", &[])
}

fn map() -> ShardMap {
    ShardMap::build(parts()).unwrap()
}

fn messages(parts: MapParts) -> Vec<String> {
    ShardMap::build(parts).unwrap_err().iter().map(ToString::to_string).collect()
}

fn ids(shards: &[u16]) -> Vec<ShardId> {
    shards.iter().copied().map(ShardId).collect()
}

#[test]
fn tables_are_found_by_name() {
    let map = map();
    assert_eq!(&*map.table(Some("public"), "orders").unwrap().schema, "public");
    assert_eq!(&*map.table(Some("archive"), "orders").unwrap().schema, "archive");
    assert_eq!(&*map.table(None, "lines").unwrap().name, "lines");
    assert_eq!(map.table(None, "orders"), None, "which one depends on the search path");
    assert_eq!(map.find(None, "orders"), Found::Several);
    assert_eq!(map.find(Some("archive"), "lines"), Found::No);
    assert_eq!(map.find(None, "line"), Found::No);
    let lines = map.table(None, "lines").unwrap();
    assert_eq!(&*map.distribution(lines).name, "orders");
}

#[test]
fn keys_have_their_shard() {
    let map = map();
    let at = |distribution, key: &[KeyValue]| map.shard_of(distribution, key).map(|s| s.0);
    // hashint8extended(1, 0) is -3670598878359251130: the first third of the space.
    assert_eq!(at(0, &[int(1)]), Some(0));
    for (number, shard) in [(i64::MIN, 0), (9, 0), (10, 1), (19, 1), (20, 0), (i64::MAX, 0)] {
        assert_eq!(at(1, &[int(number)]), Some(shard), "{number}");
    }
    assert_eq!(at(2, &[text("de")]), Some(1));
    assert_eq!(at(2, &[text("at")]), Some(2));
    assert_eq!(at(2, &[text("ch")]), None);
    assert_eq!(at(3, &[]), None, "rows of a reference table are everywhere");
    assert_eq!(at(4, &[]), Some(2));
    assert!(at(5, &[int(1), text("a")]).is_some());
    assert_eq!(at(5, &[int(1)]), None, "a part of the key");
    assert_eq!(at(0, &[text("1")]), None, "another type");
    assert_eq!(at(6, &[int(1)]), None, "no such distribution");
}

#[test]
fn ranges_of_keys_have_their_shards() {
    let map = map();
    let between = |from: Option<i64>, to: Option<i64>| {
        map.shards_between(1, from.map(int).as_ref(), to.map(int).as_ref())
    };
    assert_eq!(between(None, None), ids(&[0, 1]));
    assert_eq!(between(Some(10), Some(19)), ids(&[1]));
    assert_eq!(between(Some(9), Some(10)), ids(&[0, 1]));
    assert_eq!(between(None, Some(9)), ids(&[0]));
    assert_eq!(between(Some(19), None), ids(&[0, 1]));
    assert_eq!(between(Some(20), None), ids(&[0]));
    assert_eq!(between(Some(5), Some(4)), ids(&[]));
    assert_eq!(map.shards_between(1, Some(&text("x")), None), ids(&[0, 1]), "another type");
    assert_eq!(map.shards_between(0, Some(&int(1)), Some(&int(1))), ids(&[0, 1, 2]), "by hash");
    // The order of text is its collation's: 'ä' may be less than 'b'.
    assert_eq!(map.shards_between(2, Some(&text("b")), None), ids(&[1, 2]));
    assert_eq!(map.shards_with(2), ids(&[1, 2]));
    assert_eq!(map.shards_with(3), ids(&[0, 1, 2]));
    assert_eq!(map.shards_with(4), ids(&[2]));
}

#[test]
fn all_that_is_wrong_is_told() {
    let mut wrong = parts();
    wrong.home = "s9".into();
    wrong.shards.push("s0".into());
    wrong.distributions[0].ranges[0].0 = Some(Bound::Hash(i64::MIN));
    wrong.distributions[1].ranges.push((Some(Bound::Value(int(10))), "s2".into()));
    wrong.distributions[1].ranges.push((Some(Bound::Value(text("x"))), "s7".into()));
    wrong.distributions[2].values.push((text("de"), "s0".into()));
    wrong.distributions[4].home = None;
    let wrong = wrong
        .hash("none", &[])
        .range("days", KeyType::Date, &[])
        .table("public", "lines", "orders", &["a", "a"])
        .table("public", "x", "nowhere", &[])
        .table("", "y", "everywhere", &[]);
    let expected = [
        "shard \"s0\": it is there twice",
        "map: there is no shard \"s9\"",
        "distribution \"days\": it is there twice",
        "distribution \"orders\": the first range does not begin at the very beginning",
        "distribution \"days\": a range cannot begin at \"x\"",
        "distribution \"days\": there is no shard \"s7\"",
        "distribution \"days\": two ranges begin at 10",
        "distribution \"countries\": the value de is listed twice",
        "distribution \"one\": there is no shard for all of it",
        "distribution \"none\": the key of kind hash has 1 to 32 columns",
        "distribution \"days\": there are no ranges",
        "table \"public\".\"lines\": it names 2 key columns, not 1",
        "table \"public\".\"lines\": it names a key column twice",
        "table \"public\".\"x\": there is no distribution \"nowhere\"",
        "table \"\".\"y\": a name is not of 1 to 63 bytes",
        "table \"public\".\"lines\": it is there twice",
    ];
    let found = messages(wrong);
    for message in expected {
        assert!(found.iter().any(|told| told == message), "{message} is not in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn limits_are_kept() {
    assert_eq!(messages(MapParts::new(&[]))[0], "map: there are no shards");
    let mut parts = MapParts::new(&["a"]);
    parts.epoch = 0;
    assert!(messages(parts)[0].contains("epoch"));
    let names: Vec<String> = (0..=MAX_SHARDS).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(ShardMap::build(MapParts::new(&names[..MAX_SHARDS])).is_ok());
    assert!(messages(MapParts::new(&names))[0].contains("more than 65535 shards"));
    let far = int(40_000);
    let parts = MapParts::new(&["a"]).range("d", KeyType::Int2, &[(None, "a"), (Some(far), "a")]);
    assert!(messages(parts)[0].contains("cannot begin"), "it is no smallint");
    let far = KeyValue::Date(i32::MAX - 1);
    let parts = MapParts::new(&["a"]).range("d", KeyType::Date, &[(None, "a"), (Some(far), "a")]);
    assert!(messages(parts)[0].contains("cannot begin"), "it could not be written");
}

#[test]
fn changes_make_the_next_map() {
    let map = map();
    let split = map.split(1, Bound::Value(int(15))).unwrap();
    assert_eq!((split.epoch, split.distributions[1].ranges.len()), (2, 4));
    let moved = split.assign(1, Some(&Bound::Value(int(15))), "s2").unwrap();
    assert_eq!(moved.shard_of(1, &[int(15)]), Some(ShardId(2)));
    assert_eq!(moved.shard_of(1, &[int(14)]), Some(ShardId(1)));
    assert!(moved.merge(1, &Bound::Value(int(15))).is_err(), "on different shards");
    let back = moved.assign(1, Some(&Bound::Value(int(15))), "s1").unwrap();
    let merged = back.merge(1, &Bound::Value(int(15))).unwrap();
    assert_eq!((merged.epoch, &merged.distributions), (5, &map.distributions));

    let first = map.assign(1, None, "s2").unwrap();
    assert_eq!(first.shard_of(1, &[int(-5)]), Some(ShardId(2)));
    let listed = map.assign_value(2, text("ch"), "s0").unwrap();
    assert_eq!(listed.shard_of(2, &[text("ch")]), Some(ShardId(0)));
    let listed = listed.assign_value(2, text("ch"), "s1").unwrap();
    assert_eq!(listed.shard_of(2, &[text("ch")]), Some(ShardId(1)));

    assert!(map.split(1, Bound::Value(int(10))).is_err(), "a range begins there");
    assert!(map.split(0, Bound::Value(int(10))).is_err(), "not a hash");
    assert!(map.split(2, Bound::Value(text("x"))).is_err(), "no ranges");
    assert!(map.merge(1, &Bound::Value(int(11))).is_err(), "none begins there");
    assert!(map.assign(1, None, "s9").is_err(), "no such shard");
    assert!(map.assign_value(1, int(1), "s0").is_err(), "not by list");
    assert!(map.split(9, Bound::Hash(0)).is_err(), "no such distribution");
}

#[test]
fn a_stored_map_is_read_exactly_or_not_at_all() {
    let names = MapParts::new(&["s 0", "s\"1\"\\\n"])
        .list("l", KeyType::Bytea, &[(KeyValue::Bytea([0, 255].as_slice().into()), "s 0")])
        .table("S", "t\r", "l", &["k k"]);
    for map in [map(), ShardMap::build(names).unwrap()] {
        let stored = to_stored(&map);
        assert_eq!(from_stored(&stored).as_ref(), Ok(&map), "{stored}");
        for at in 0..stored.len() {
            let mut bytes = stored.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(from_stored(&changed).is_err(), "byte {at}");
            }
            assert!(from_stored(&stored[..at]).is_err(), "cut at {at}");
        }
    }
    let other = to_stored(&map()).replacen("map 2", "map 3", 1);
    assert_eq!(from_stored(&other), Err(StoredMapError::Version));
    assert_eq!(from_stored("hello"), Err(StoredMapError::Form));
}

#[test]
fn a_stored_map_has_one_form() {
    let with_checksum = |text: &str| {
        let checksum = crate::hash::hash_bytes(text.as_bytes());
        from_stored(&format!("{text}checksum {checksum:016x}\n"))
    };
    let good = "pgmanifold shard map 2\nepoch 1\nshard \"a\"\nhome \"a\"\n";
    assert!(with_checksum(good).is_ok());
    assert_eq!(with_checksum(&good.replace("epoch 1", "epoch 01")), Err(StoredMapError::Form));
    assert_eq!(with_checksum(&good.replace("\"a\"", "a")), Err(StoredMapError::Form));
    assert_eq!(with_checksum(&good.replace("epoch", "age")), Err(StoredMapError::Line(2)));
    let unknown = with_checksum(&good.replace("home \"a\"", "home \"b\""));
    assert!(matches!(unknown, Err(StoredMapError::Map(_))), "{unknown:?}");
}

#[test]
fn a_map_is_read_by_people() {
    let text = map().to_string();
    for line in [
        "epoch 1",
        "shard \"s0\"",
        "home \"s0\"",
        "distribution \"pairs\" hash bigint text",
        "range beginning \"s0\"",
        "range hash -3074457345618258603 \"s1\"",
        "range value \"10\" \"s1\"",
        "value \"at\" \"s2\"",
        "distribution \"one\" single \"s2\"",
        "table \"archive\" \"orders\" \"days\" \"day\"",
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line} is not in\n{text}");
    }
}

/// What is done to a map: split, merge or assign, each at some place.
fn changed(map: &ShardMap, distribution: usize, how: u8, at: i64, shard: u16) -> Option<ShardMap> {
    let bound = |number| match map.distributions[distribution].kind {
        DistributionKind::Hash => Bound::Hash(number),
        _ => Bound::Value(int(number)),
    };
    let ranges = &map.distributions[distribution].ranges;
    let some = &ranges[usize::try_from(at.unsigned_abs()).unwrap() % ranges.len()].from;
    let name = map.name(ShardId(shard % 3));
    match how % 3 {
        0 => map.split(distribution, bound(at)).ok(),
        1 => map.merge(distribution, some.as_ref()?).ok(),
        _ => map.assign(distribution, some.as_ref(), name).ok(),
    }
}

proptest! {
    #[test]
    fn even_splits_are_even(ranges in 1_usize..2_000) {
        let borders = ShardMap::even_split(ranges);
        prop_assert_eq!(borders.len(), ranges);
        prop_assert_eq!(&borders[0], &None);
        let starts: Vec<i128> = borders.iter().map(|border| match border {
            Some(Bound::Hash(hash)) => i128::from(*hash),
            _ => i128::from(i64::MIN),
        }).chain([i128::from(i64::MAX) + 1]).collect();
        let least = (1_i128 << 64) / i128::try_from(ranges).unwrap();
        for pair in starts.windows(2) {
            prop_assert!((least..=least + 1).contains(&(pair[1] - pair[0])));
        }
    }

    #[test]
    fn changes_leave_no_gap_and_touch_nothing_else(
        changes in proptest::collection::vec(
            (0_usize..2, any::<u8>(), any::<i64>(), any::<u16>()), 1..40),
        keys in proptest::collection::vec(any::<i64>(), 1..50),
    ) {
        let mut map = map();
        for (distribution, how, at, shard) in changes {
            let Some(next) = changed(&map, distribution, how, at, shard) else { continue };
            prop_assert_eq!(next.epoch, map.epoch + 1);
            for key in &keys {
                for d in 0..2 {
                    let (before, after) =
                        (map.shard_of(d, &[int(*key)]), next.shard_of(d, &[int(*key)]));
                    prop_assert!(after.is_some());
                    let may_move = d == distribution && how % 3 == 2;
                    prop_assert!(before == after || may_move);
                }
            }
            map = next;
        }
        prop_assert_eq!(from_stored(&to_stored(&map)), Ok(map.clone()));
        prop_assert_eq!(ShardMap::build(map.parts()), Ok(map));
    }

    #[test]
    fn a_key_is_in_exactly_one_range(
        borders in proptest::collection::btree_set(any::<i64>(), 0..20),
        keys in proptest::collection::vec(any::<i64>(), 1..50),
    ) {
        let shards = ["s0", "s1", "s2"];
        let starts: Vec<Option<i64>> =
            std::iter::once(None).chain(borders.iter().copied().map(Some)).collect();
        let named = |at: usize| shards[at % 3];
        let by_value: Vec<_> =
            starts.iter().enumerate().map(|(at, from)| (from.map(int), named(at))).collect();
        let mut parts = MapParts::new(&shards)
            .range("v", KeyType::Int8, &by_value)
            .hash("h", &[KeyType::Int8]);
        parts.distributions[1].ranges = starts.iter().enumerate()
            .map(|(at, from)| (from.map(Bound::Hash), named(at).into())).collect();
        let map = ShardMap::build(parts).unwrap();
        let all: Vec<i64> = keys.into_iter().chain(borders.iter().copied()).collect();
        for key in &all {
            let owner = |number: i64| {
                let at = starts.iter().rposition(|from| from.is_none_or(|from| from <= number));
                ShardId(u16::try_from(at.unwrap() % 3).unwrap())
            };
            prop_assert_eq!(map.shard_of(0, &[int(*key)]), Some(owner(*key)));
            let hash = hash_key(&[int(*key)]);
            prop_assert_eq!(map.shard_of(1, &[int(*key)]), Some(owner(hash)));
            let one = map.shards_between(0, Some(&int(*key)), Some(&int(*key)));
            prop_assert_eq!(one, vec![owner(*key)]);
        }
        for pair in all.windows(2) {
            let (from, to) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
            let found = map.shards_between(0, Some(&int(from)), Some(&int(to)));
            for key in all.iter().filter(|key| (from..=to).contains(key)) {
                prop_assert!(found.contains(&map.shard_of(0, &[int(*key)]).unwrap()));
            }
        }
    }
}

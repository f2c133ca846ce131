//! Keys on their way: who has them, who hides them, what is refused, and the map as text. Whatever
//! is done to a map, every key has one owner, and nobody hides what it owns.

use super::*;
use crate::key::KeyType;
use crate::shard_map::{from_stored, to_stored};
use proptest::prelude::*;

const SHARDS: [&str; 3] = ["s0", "s1", "s \"2\\"];
const WORDS: [&str; 5] = ["a", "b", "", "c'\"\\ \n{},", "é"];

fn int(number: i64) -> Bound {
    Bound::Value(KeyValue::Int(number))
}

fn text(text: &str) -> KeyValue {
    KeyValue::Text(text.into())
}

fn values(words: &[&str]) -> Keys {
    Keys::Values(words.iter().map(|word| text(word)).collect())
}

/// By hash (thirds), by value (s0 up to 10, s1 up to 20, s0), by list (a, b of s0, the rest of s1).
fn map() -> ShardMap {
    let at = |number| Some(KeyValue::Int(number));
    let listed = WORDS.iter().enumerate().map(|(at, word)| (text(word), SHARDS[at / 2]));
    let parts = MapParts::new(&SHARDS)
        .hash("orders", &[KeyType::Int8])
        .range("days", KeyType::Int8, &[(None, "s0"), (at(10), "s1"), (at(20), "s0")])
        .list("countries", KeyType::Text, &listed.collect::<Vec<_>>())
        .reference("everywhere")
        .single("one", "s0");
    ShardMap::build(parts).unwrap()
}

fn message(result: Result<ShardMap, Vec<MapError>>) -> String {
    result.unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn hidden(map: &ShardMap, distribution: usize) -> Vec<Vec<u64>> {
    let one = &map.distributions[distribution];
    map.all().map(|shard| one.hidden_on(shard).map(|moving| moving.id).collect()).collect()
}

#[test]
fn a_move_is_announced_paused_handed_over_and_retired() {
    let start = map();
    assert!(!start.is_moving());
    let keys = Keys::Between(Some(int(12)), Some(int(15)));
    let map = start.announce(1, 7, &keys, SHARDS[2]).unwrap();
    assert!(map.is_moving());
    let borders: Vec<_> = map.distributions[1].ranges.iter().map(|r| r.from.clone()).collect();
    assert_eq!(borders, [None, Some(int(10)), Some(int(12)), Some(int(15)), Some(int(20))]);
    let (at, moving) = map.moving(7).unwrap();
    assert_eq!(
        (at, moving.source, moving.target, moving.paused),
        (1, ShardId(1), ShardId(2), false)
    );
    assert_eq!(map.distributions[1].owner_of(&keys), Some(ShardId(1)));
    assert_eq!(hidden(&map, 1), [vec![], vec![], vec![7]]);
    assert_eq!(hidden(&map, 0), vec![Vec::<u64>::new(); 3]);

    let paused = map.pause(7, true).unwrap();
    assert!(paused.moving(7).unwrap().1.paused);
    let map = paused.hand_over(7, SHARDS[2]).unwrap();
    assert!(!map.moving(7).unwrap().1.paused, "writes go on");
    assert_eq!(map.distributions[1].owner_of(&keys), Some(ShardId(2)));
    assert_eq!(hidden(&map, 1), [vec![], vec![7], vec![]]);
    let back = map.hand_over(7, "s1").unwrap();
    assert_eq!(hidden(&back, 1), [vec![], vec![], vec![7]]);
    let done = map.retire(7).unwrap();
    assert_eq!((done.is_moving(), done.epoch), (false, start.epoch + 4));
    assert_eq!(hidden(&done, 1), vec![Vec::<u64>::new(); 3]);
    assert_eq!(message(done.retire(7)), "move 7: there is no such move");
}

#[test]
fn values_of_a_list_move_together() {
    let map = map().announce(2, 1, &values(&["a", "b"]), "s1").unwrap();
    assert_eq!(map.distributions[2].owner_of(&values(&["a", "c"])), None, "not listed");
    assert_eq!(map.distributions[2].owner_of(&values(&["a", ""])), None, "of two shards");
    let map = map.hand_over(1, "s1").unwrap();
    assert_eq!(map.shard_of(2, &[text("b")]), Some(ShardId(1)));
    assert_eq!(hidden(&map, 2), [vec![1], vec![], vec![]]);
}

#[test]
fn what_cannot_move_is_refused() {
    let map = map().announce(1, 1, &Keys::Between(None, Some(int(5))), "s1").unwrap();
    let between = |from: i64, to: i64| Keys::Between(Some(int(from)), Some(int(to)));
    let hashes = Keys::Between(Some(Bound::Hash(0)), None);
    let announce = |at, id, keys: &Keys, target| message(map.announce(at, id, keys, target));
    for (said, expected) in [
        (announce(1, 2, &between(5, 12), "s1"), "the keys are not all of one shard"),
        (announce(1, 2, &between(4, 6), "s1"), "its keys meet those of another move"),
        (announce(1, 1, &between(6, 7), "s1"), "its number is not one of its own"),
        (announce(2, 1, &values(&["a"]), "s1"), "its number is not one of its own"),
        (announce(1, 0, &between(6, 7), "s1"), "its number is not one of its own"),
        (announce(1, 2, &between(6, 7), "s0"), "it has one shard for source and target"),
        (announce(1, 2, &between(6, 7), "s9"), "there is no shard \"s9\""),
        (announce(1, 2, &between(7, 7), "s1"), "its keys are not keys of the distribution"),
        (announce(1, 2, &between(8, 7), "s1"), "its keys are not keys of the distribution"),
        (announce(1, 2, &hashes, "s1"), "the keys are not all of one shard"),
        (announce(1, 2, &values(&["a"]), "s1"), "the keys are not all of one shard"),
        (announce(2, 2, &values(&[]), "s1"), "the keys are not all of one shard"),
        (announce(2, 2, &values(&["x"]), "s1"), "the keys are not all of one shard"),
        (announce(2, 2, &between(1, 2), "s1"), "the keys are not all of one shard"),
        (announce(3, 2, &Keys::Between(None, None), "s1"), "the keys are not all of one shard"),
        (announce(9, 2, &between(6, 7), "s1"), "there is no such distribution"),
        (message(map.hand_over(1, SHARDS[2])), "its keys are not all of its source, or all"),
        (message(map.pause(2, true)), "there is no such move"),
        (message(map.assign(1, None, SHARDS[2])), "its keys are not all of its source, or all"),
        (message(map.merge(1, &int(5))), "its keys are not keys of the distribution"),
    ] {
        assert!(said.contains(expected), "{said}");
    }
    let halves = map.split(1, int(3)).unwrap().assign(1, None, "s1");
    assert!(message(halves).contains("its keys are not all of its source, or all"));
}

#[test]
fn keys_know_their_own() {
    let below = Keys::Between(None, Some(int(5)));
    assert!(below.have_value(&KeyValue::Int(4)) && !below.have_value(&KeyValue::Int(5)));
    assert!(!below.have_hash(-1), "not by hash");
    let hashes = Keys::Between(Some(Bound::Hash(0)), None);
    assert!(hashes.have_hash(0) && hashes.have_hash(i64::MAX) && !hashes.have_hash(-1));
    assert!(!hashes.have_value(&KeyValue::Int(1)), "by hash");
    let listed = values(&["a"]);
    assert!(listed.have_value(&text("a")) && !listed.have_value(&text("b")));
    assert!(!listed.have_hash(0));
    assert!(!below.meet(&Keys::Between(Some(int(5)), None)));
    assert!(below.meet(&Keys::Between(Some(int(4)), None)) && below.meet(&below));
    assert!(listed.meet(&values(&["b", "a"])) && !listed.meet(&values(&["b"])));
    assert_eq!(below.to_string(), "[beginning, 5)");
    assert_eq!(hashes.to_string(), "[0, end]");
    assert_eq!(values(&["a", "b"]).to_string(), "{a, b}");
}

#[test]
fn moves_are_written_in_their_order() {
    let map = map()
        .announce(2, 9, &values(&[WORDS[2], WORDS[3]]), "s0")
        .unwrap()
        .announce(2, 3, &values(&["a"]), "s1")
        .unwrap()
        .pause(3, true)
        .unwrap()
        .announce(1, 4, &Keys::Between(None, Some(int(-5))), SHARDS[2])
        .unwrap()
        .announce(0, 5, &Keys::Between(Some(Bound::Hash(i64::MAX)), None), "s0")
        .unwrap();
    let printed = map.to_string();
    let lines: Vec<&str> = printed.lines().filter(|line| line.starts_with("moving")).collect();
    let expected = [
        r#"moving 5 "s \"2\\" "s0" open between hash 9223372036854775807 open"#,
        r#"moving 4 "s0" "s \"2\\" open between open value "-5""#,
        r#"moving 3 "s0" "s1" paused values "a""#,
        r#"moving 9 "s1" "s0" open values "" "c'\"\\ \n{},""#,
    ];
    assert_eq!(lines, expected);
    assert_eq!(from_stored(&to_stored(&map)), Ok(map.clone()));
    let mut parts = map.parts();
    parts.distributions[2].moving.reverse();
    assert_eq!(ShardMap::build(parts), Ok(map), "whatever their order was");
}

/// One change of a map: which, and numbers that say of what.
#[derive(Debug, Clone)]
struct Change {
    how: u8,
    distribution: usize,
    id: u64,
    places: (i64, i64),
    shard: usize,
}

fn change() -> impl Strategy<Value = Change> {
    let numbers = (0_i64..14, 0_i64..14);
    (0_u8..9, 0_usize..3, 1_u64..5, numbers, 0_usize..3).prop_map(
        |(how, distribution, id, places, shard)| Change { how, distribution, id, places, shard },
    )
}

/// A border of the distribution, or none.
fn border(distribution: usize, place: i64) -> Option<Bound> {
    match distribution {
        _ if place == 13 => None,
        0 => Some(Bound::Hash((place - 6) * (i64::MAX / 8))),
        _ => Some(int(place * 2)),
    }
}

fn keys(change: &Change) -> Keys {
    let (from, to) = change.places;
    if change.distribution < 2 {
        let at = |place| border(change.distribution, place);
        return Keys::Between(at(from), at(to));
    }
    let word = |place: i64| WORDS[usize::try_from(place).unwrap() % WORDS.len()];
    if from == to { values(&[word(from)]) } else { values(&[word(from), word(to)]) }
}

fn changed(map: &ShardMap, change: &Change) -> Result<ShardMap, Vec<MapError>> {
    let Change { distribution, id, places: (from, to), .. } = *change;
    let shard = SHARDS[change.shard];
    match change.how {
        0 | 1 => map.announce(distribution, id, &keys(change), shard),
        2 | 3 => map.hand_over(id, shard),
        4 => map.pause(id, from > to),
        5 => map.retire(id),
        6 if distribution < 2 => map.split(distribution, border(distribution, from % 13).unwrap()),
        7 if distribution < 2 => map.merge(distribution, &border(distribution, from % 13).unwrap()),
        8 if distribution < 2 => {
            map.assign(distribution, border(distribution, from).as_ref(), shard)
        }
        _ => map.assign_value(2, text(WORDS[change.shard]), shard),
    }
}

/// Places all over the keys of a distribution: a bound or a value, and who has it.
fn owners(map: &ShardMap, distribution: usize) -> Vec<(Option<Bound>, KeyValue, Option<ShardId>)> {
    let hash = |hash: i64| {
        let owner = map.distributions[0].range_of_hash(hash);
        (Some(Bound::Hash(hash)), KeyValue::Int(0), owner)
    };
    match distribution {
        0 => (-6_i64..=7)
            .map(|place| place * (i64::MAX / 8))
            .flat_map(|at| [at - 1, at, at + 1])
            .chain([i64::MIN, i64::MAX])
            .map(hash)
            .collect(),
        1 => (-2..30)
            .map(KeyValue::Int)
            .map(|key| (None, key.clone(), map.shard_of(1, &[key])))
            .collect(),
        _ => WORDS.iter().map(|word| (None, text(word), map.shard_of(2, &[text(word)]))).collect(),
    }
}

fn has(keys: &Keys, key: &(Option<Bound>, KeyValue, Option<ShardId>)) -> bool {
    match &key.0 {
        Some(Bound::Hash(hash)) => keys.have_hash(*hash),
        _ => keys.have_value(&key.1),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_key_has_one_owner_who_does_not_hide_it(
        changes in proptest::collection::vec(change(), 1..60),
    ) {
        let mut map = map();
        for change in changes {
            let Ok(next) = changed(&map, &change) else { continue };
            prop_assert_eq!(next.epoch, map.epoch + 1);
            for distribution in 0..3 {
                let one = &next.distributions[distribution];
                let before = owners(&map, distribution);
                for (key, before) in owners(&next, distribution).iter().zip(before) {
                    prop_assert!(key.2.is_some(), "{key:?} is nobody's after {change:?}");
                    let given = match change.how {
                        2 | 3 => has(&next.moving(change.id).unwrap().1.keys, key),
                        0 | 1 | 4 | 5 => false,
                        6 | 7 => change.distribution == 2 && distribution == 2,
                        _ => true,
                    };
                    prop_assert!(before.2 == key.2 || given, "{key:?} after {change:?}");
                    for shard in next.all() {
                        let hides = one.hidden_on(shard).any(|moving| has(&moving.keys, key));
                        let other = one.moving.iter().any(|moving| {
                            let ends = [moving.source, moving.target];
                            has(&moving.keys, key) && ends.contains(&shard)
                        });
                        prop_assert_eq!(hides, other && key.2 != Some(shard));
                    }
                    let moves = one.moving.iter().filter(|moving| has(&moving.keys, key));
                    prop_assert!(moves.count() <= 1, "{key:?} is moved twice");
                }
            }
            prop_assert_eq!(ShardMap::build(next.parts()), Ok(next.clone()));
            prop_assert_eq!(from_stored(&to_stored(&next)), Ok(next.clone()));
            map = next;
        }
    }
}

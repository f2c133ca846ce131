//! Owns who has which keys, as the catalog says, read without any code of the programs under test.

use super::Moves;
use pgmanifold_router::hash::hash_key;
use pgmanifold_router::key::KeyValue;

/// Ranges of hashes and their shards, in order, without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// First hash, last hash, number of the shard.
    pub ranges: Vec<(i64, i64, usize)>,
    /// The map's epoch.
    pub epoch: i64,
    /// Moves the map tells of.
    pub moving: usize,
}

/// The hash of a key of type bigint.
pub fn hash(key: i64) -> i64 {
    hash_key(&[KeyValue::Int(key)])
}

impl Ownership {
    /// Reads it.
    ///
    /// # Panics
    /// When the catalog does not answer, or there is a gap or an overlap.
    pub fn read(moves: &Moves) -> Self {
        let sql = "select coalesce(lower(hashes)::text, '-9223372036854775808'), \
                   coalesce((upper(hashes) - 1)::text, '9223372036854775807'), shard, \
                   (select epoch from pgm.cluster), (select count(*) from pgm.moving) \
                   from pgm.key_range order by lower(hashes) nulls first";
        let rows = moves.in_catalog(sql);
        let text = |row: &Vec<Option<String>>, at: usize| row[at].clone().expect("a value");
        let number = |row: &Vec<Option<String>>, at: usize| -> i64 {
            text(row, at).parse().expect("a number")
        };
        let shard = |row: &Vec<Option<String>>| -> usize {
            text(row, 2).trim_start_matches('s').parse().expect("a shard")
        };
        let range = |row| (number(row, 0), number(row, 1), shard(row));
        let ranges: Vec<_> = rows.iter().map(range).collect();
        assert_eq!(ranges.first().map(|range| range.0), Some(i64::MIN), "{ranges:?}");
        assert_eq!(ranges.last().map(|range| range.1), Some(i64::MAX), "{ranges:?}");
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].1.checked_add(1), Some(pair[1].0), "{ranges:?}");
        }
        let moving = usize::try_from(number(&rows[0], 4)).expect("a count");
        Self { ranges, epoch: number(&rows[0], 3), moving }
    }

    /// The shard that has the key.
    ///
    /// # Panics
    /// Never: there is no gap.
    pub fn owner(&self, key: i64) -> usize {
        let hash = hash(key);
        let found = self.ranges.iter().find(|(from, to, _)| (*from..=*to).contains(&hash));
        found.expect("invariant: no gap").2
    }
}

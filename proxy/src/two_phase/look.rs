//! Owns what is told of prepared transactions to those who only look. It asks no server: what
//! recovery saw in its last round, and what this process's own commits say.

use super::{TwoPhase, lock};
use pgmanifold_router::dtx::PartName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

/// Hexadecimal digits of an ID that hold the time it was made.
const TIME_DIGITS: usize = 12;

/// A transaction over several shards that has not ended everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Where a part of it is prepared, as far as is known.
    pub shards: BTreeSet<String>,
    /// Its commit runs in this process.
    pub committing: bool,
    /// A commit of this process has left a part of it to recovery.
    pub left: bool,
    /// It is decided that it is committed.
    pub committed: bool,
}

impl TwoPhase {
    /// Name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Whether transactions may write on this shard and others: `Err` says why not; `None` when it
    /// was not asked yet.
    pub fn readiness(&self, shard: usize) -> Option<Result<(), String>> {
        let counts = self.shard_counts.get(shard)?;
        if let Some(trouble) = counts.trouble.load_full() {
            let detail = trouble.detail.as_deref().unwrap_or_default();
            return Some(Err(format!("{}: {detail}", trouble.message)));
        }
        counts.ready.load(Relaxed).then_some(Ok(()))
    }

    /// Prepared parts on the shard that no commit of this process is about to end.
    pub fn in_doubt(&self, shard: usize) -> u64 {
        self.shard_counts.get(shard).map_or(0, |counts| counts.in_doubt.load(Relaxed))
    }

    /// The shard of this name.
    pub fn shard_named(&self, name: &str) -> Option<usize> {
        self.shards.iter().position(|place| *place.name == *name)
    }

    /// Transactions that have not ended everywhere, by name (`pgm:HOME:ID`).
    pub fn known(&self) -> BTreeMap<String, Known> {
        let (active, handed) = (lock(&self.active).clone(), lock(&self.handed).clone());
        let prepared = lock(&self.prepared).clone();
        merge(active, handed.iter(), prepared.iter().flatten())
    }

    /// Notes what recovery has seen on a shard.
    pub(super) fn seen(&self, shard: usize, parts: &[String]) {
        if let Some(seen) = lock(&self.prepared).get_mut(shard) {
            *seen = parts.to_vec();
        }
    }

    /// A part is not prepared any more.
    pub(super) fn seen_end(&self, part: &str) {
        lock(&self.prepared).iter_mut().for_each(|seen| seen.retain(|known| known != part));
    }
}

fn merge<'a>(
    active: impl IntoIterator<Item = String>,
    handed: impl Iterator<Item = (&'a String, &'a Option<String>)>,
    prepared: impl Iterator<Item = &'a String>,
) -> BTreeMap<String, Known> {
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    for transaction in active {
        known.entry(transaction).or_default().committing = true;
    }
    for name in prepared.filter_map(|part| PartName::parse(part)) {
        let entry = known.entry(name.transaction.to_owned()).or_default();
        entry.shards.insert(name.shard.to_owned());
    }
    for (part, xid) in handed {
        let Some(name) = PartName::parse(part) else { continue };
        let entry = known.entry(name.transaction.to_owned()).or_default();
        entry.shards.insert(name.shard.to_owned());
        entry.left = true;
        entry.committed |= xid.is_some();
    }
    known
}

/// The shard that keeps the decision of a transaction, and when that was named, in milliseconds
/// since 1970 by the clock of that shard.
pub fn home_and_time(transaction: &str) -> Option<(&str, u64)> {
    let mut pieces = transaction.split(':').skip(1);
    let (home, id) = (pieces.next()?, pieces.next()?);
    Some((home, u64::from_str_radix(id.get(..TIME_DIGITS)?, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_from_three_sides_becomes_one_row_each() {
        let id = |digit: &str| format!("00000000010{digit}{}", "0".repeat(32));
        let [one, two, three] = ["1", "2", "3"].map(|digit| format!("pgm:s0:{}", id(digit)));
        let part = |transaction: &str, shard: &str| format!("{transaction}:{shard}");
        let handed = [
            (part(&two, "s1"), Some("77".to_owned())),
            (part(&two, "s2"), None),
            ("strange".to_owned(), None),
        ];
        let prepared = [part(&one, "s1"), part(&two, "s1"), part(&three, "s3")];
        let handed = handed.iter().map(|(part, xid)| (part, xid));
        let known = merge([one.clone()], handed, prepared.iter());
        let shards = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let wanted = [
            (one.clone(), Known { shards: shards(&["s1"]), committing: true, ..Known::default() }),
            (
                two,
                Known {
                    shards: shards(&["s1", "s2"]),
                    left: true,
                    committed: true,
                    ..Known::default()
                },
            ),
            (three, Known { shards: shards(&["s3"]), ..Known::default() }),
        ];
        assert_eq!(known, BTreeMap::from(wanted));
        assert_eq!(home_and_time(&one), Some(("s0", 0x101)));
        assert_eq!(home_and_time("pgm:s0"), None);
    }
}

//! Owns the counting of executions by the key that chose their shard, in equal parts of the hash
//! space, and its way into the catalog: there the rebalancer finds where the load comes from.

use super::ShardedDatabase;
use crate::cluster::control::ControlError;
use arc_swap::ArcSwap;
use pgmanifold_router::catalog::{
    FORGET_LOAD_SQL, LOAD_PARTS, RESET_LOAD_SQL, WRITE_LOAD_SQL, load_part,
};
use pgmanifold_router::shard_map::{DistributionKind, ShardMap};
use pgmanifold_router::sharding::KeyHash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_postgres::Client;

/// Distributions of a database that are counted; others are not.
const MAX_COUNTED: usize = 64;
/// Time between two reports. As much as that is lost when the process ends.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// Time until the first report.
const FIRST_REPORT: Duration = Duration::from_secs(5);

/// What a database counts.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// By the newest map's index of the distribution.
    counted: ArcSwap<Vec<Option<Arc<Counted>>>>,
}

/// Executions of one distribution since the process began.
#[derive(Debug)]
struct Counted {
    distribution: Box<str>,
    parts: Box<[AtomicU64]>,
}

impl Load {
    /// What it counts is what this map has; what was counted stays.
    pub(super) fn fit(&self, map: &ShardMap) {
        let known = self.counted.load();
        let mut counted = 0;
        let of = map.distributions.iter().map(|distribution| {
            if distribution.kind != DistributionKind::Hash || counted == MAX_COUNTED {
                return None;
            }
            counted += 1;
            let name = &distribution.name;
            let before = known.iter().flatten().find(|one| one.distribution == *name);
            let new = || Counted {
                distribution: name.clone(),
                parts: (0..LOAD_PARTS).map(|_| AtomicU64::new(0)).collect(),
            };
            Some(before.cloned().unwrap_or_else(|| Arc::new(new())))
        });
        let of = of.collect();
        self.counted.store(Arc::new(of));
    }

    /// An execution went to one shard because of this key. Allocates nothing.
    pub(super) fn count(&self, key: KeyHash) {
        let counted = self.counted.load();
        let of = counted.get(key.distribution).and_then(Option::as_ref);
        if let Some(part) = of.and_then(|counted| counted.parts.get(load_part(key.hash))) {
            part.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Executions by keys whose hash is at least `from` and at most `to`. Where a border is inside
    /// of a part, both sides have as much of it as they are wide.
    pub(super) fn between(&self, distribution: usize, from: i64, to: i64) -> Option<u64> {
        let counted = self.counted.load();
        let counted = counted.get(distribution)?.as_ref()?;
        let (first, last) = (load_part(from), load_part(to));
        let width = 1_i128 << 64 >> LOAD_PARTS.ilog2();
        let sums = counted.parts.iter().enumerate().skip(first).take(last + 1 - first);
        let sums = sums.map(|(at, part)| {
            let begin = i128::from(i64::MIN) + width * at as i128;
            let inside = (i128::from(to) + 1).min(begin + width) - i128::from(from).max(begin);
            i128::from(part.load(Ordering::Relaxed)) * inside / width
        });
        u64::try_from(sums.sum::<i128>()).ok()
    }
}

/// What the catalog has been told.
#[derive(Debug)]
pub(super) struct Reports {
    begun: Instant,
    at: Option<Instant>,
    /// What an earlier process of this name had counted is forgotten.
    is_new: bool,
    /// By database, distribution and part.
    told: Vec<(String, Box<str>, Vec<u64>)>,
    /// What was last said of a report that failed.
    complaint: Option<String>,
}

impl Default for Reports {
    fn default() -> Self {
        Self { begun: Instant::now(), at: None, is_new: true, told: Vec::new(), complaint: None }
    }
}

impl Reports {
    /// Tells the catalog what has changed, when it is time to. A report that fails is made up for
    /// by the next one; nothing else depends on it.
    pub(super) async fn make(
        &mut self,
        client: &Client,
        process: &str,
        databases: &[Arc<ShardedDatabase>],
    ) {
        let due = match self.at {
            None => self.begun.elapsed() >= FIRST_REPORT,
            Some(at) => at.elapsed() >= REPORT_INTERVAL,
        };
        if !due {
            return;
        }
        self.at = Some(Instant::now());
        for database in databases {
            if let Err(error) = self.report(client, process, database).await {
                if self.complaint.as_deref() != Some(&error.0) {
                    tracing::warn!(error = error.0, "the catalog is not told of load");
                }
                self.complaint = Some(error.0);
                return;
            }
        }
        (self.is_new, self.complaint) = (false, None);
    }

    async fn report(
        &mut self,
        client: &Client,
        process: &str,
        database: &ShardedDatabase,
    ) -> Result<(), ControlError> {
        let name = database.name();
        if self.is_new {
            client.execute(RESET_LOAD_SQL, &[&name, &process]).await?;
        }
        let counted = database.load.counted.load_full();
        for one in counted.iter().flatten() {
            let now: Vec<u64> = one.parts.iter().map(|part| part.load(Ordering::Relaxed)).collect();
            let told = self.told_of(name, &one.distribution);
            let changed = now.iter().zip(told.iter()).enumerate().filter(|(_, (a, b))| a != b);
            let (parts, counts): (Vec<i32>, Vec<i64>) = changed
                .map(|(at, (count, _))| {
                    let (part, count) = (i32::try_from(at), i64::try_from(*count));
                    (part.unwrap_or(i32::MAX), count.unwrap_or(i64::MAX))
                })
                .unzip();
            if !parts.is_empty() {
                let name_of = &*one.distribution;
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                    [&name, &name_of, &process, &parts, &counts];
                client.execute(WRITE_LOAD_SQL, &values).await?;
                *self.told_of(name, &one.distribution) = now;
            }
        }
        client.execute(FORGET_LOAD_SQL, &[&name]).await?;
        Ok(())
    }

    fn told_of(&mut self, database: &str, distribution: &str) -> &mut Vec<u64> {
        let is_it =
            |one: &(String, Box<str>, Vec<u64>)| one.0 == database && *one.1 == *distribution;
        let at = match self.told.iter().position(is_it) {
            Some(at) => at,
            None => {
                self.told.push((database.to_owned(), distribution.into(), vec![0; LOAD_PARTS]));
                self.told.len() - 1
            }
        };
        &mut self.told[at].2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgmanifold_router::key::KeyType;
    use pgmanifold_router::shard_map::MapParts;

    #[test]
    fn counts_stay_with_their_distribution() {
        let map = |names: &[&str]| {
            let parts = names.iter().fold(MapParts::new(&["s0", "s1"]), |parts, name| {
                parts.hash(name, &[KeyType::Int8])
            });
            ShardMap::build(parts.reference("copies")).unwrap()
        };
        let load = Load::default();
        let key = |distribution, hash| KeyHash { distribution, hash };
        load.count(key(0, 0));
        load.fit(&map(&["a", "b"]));
        assert_eq!(load.between(2, i64::MIN, i64::MAX), None, "not by hash");
        (0..4).for_each(|_| load.count(key(1, -1)));
        load.count(key(1, i64::MAX));
        load.count(key(7, 0));
        assert_eq!(load.between(0, i64::MIN, i64::MAX), Some(0));
        load.fit(&map(&["b"]));
        assert_eq!(load.between(0, i64::MIN, i64::MAX), Some(5));
        assert_eq!(load.between(0, i64::MIN, -1), Some(4));
        assert_eq!(load.between(0, -(1 << 52), -1), Some(1), "a quarter of the part");
    }
}

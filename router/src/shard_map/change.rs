//! Owns changes of maps. Each is pure and makes a new map with the next epoch; what it does not
//! name stays as it is.

use super::{Bound, DistributionKind, MapError, MapParts, ShardMap};
use crate::key::KeyValue;

impl ShardMap {
    /// Where the ranges of a hash space begin that is split evenly: at multiples of 2⁶⁴/n.
    pub fn even_split(ranges: usize) -> Vec<Option<Bound>> {
        let border = |at: usize| {
            let offset = ((at as u128) << 64) / (ranges as u128);
            let border = i128::from(i64::MIN) + offset.cast_signed();
            i64::try_from(border).ok().filter(|_| at > 0).map(Bound::Hash)
        };
        (0..ranges).map(border).collect()
    }

    /// Splits the range that `at` is in: the new one begins there, on the same shard.
    ///
    /// # Errors
    /// There is no such distribution, or a range begins there already.
    pub fn split(&self, distribution: usize, at: Bound) -> Result<Self, Vec<MapError>> {
        let shard = self
            .distributions
            .get(distribution)
            .and_then(|found| found.range_from(|bound| *bound <= at));
        let shard = shard.map(|shard| Box::from(self.name(shard)));
        self.change(distribution, |parts| {
            let shard = shard.ok_or("it has no ranges")?;
            parts.ranges.push((Some(at), shard));
            Ok(())
        })
    }

    /// Makes one range of the one that begins at `at` and the one before it.
    ///
    /// # Errors
    /// No range begins there, or the two are on different shards.
    pub fn merge(&self, distribution: usize, at: &Bound) -> Result<Self, Vec<MapError>> {
        self.change(distribution, |parts| {
            let found = parts.ranges.iter().position(|(from, _)| from.as_ref() == Some(at));
            let found = found.ok_or("no range begins there")?;
            let shards = parts.ranges.get(found.saturating_sub(1)..=found);
            if !matches!(shards, Some([(_, before), (_, after)]) if before == after) {
                return Err("the ranges are on different shards");
            }
            parts.ranges.remove(found);
            Ok(())
        })
    }

    /// Gives the range that begins at `from` to a shard; `None` is the first one.
    ///
    /// # Errors
    /// No range begins there, or there is no such shard.
    pub fn assign(
        &self,
        distribution: usize,
        from: Option<&Bound>,
        shard: &str,
    ) -> Result<Self, Vec<MapError>> {
        self.change(distribution, |parts| {
            let mut ranges = parts.ranges.iter_mut();
            let found = ranges.find(|(start, _)| start.as_ref() == from);
            found.ok_or("no range begins there")?.1 = shard.into();
            Ok(())
        })
    }

    /// Gives a value of a list to a shard, be it listed already or not.
    ///
    /// # Errors
    /// The distribution is not by list, or there is no such shard.
    pub fn assign_value(
        &self,
        distribution: usize,
        value: KeyValue,
        shard: &str,
    ) -> Result<Self, Vec<MapError>> {
        self.change(distribution, |parts| {
            if parts.kind != DistributionKind::List {
                return Err("it is not by list");
            }
            parts.values.retain(|(listed, _)| *listed != value);
            parts.values.push((value, shard.into()));
            Ok(())
        })
    }

    /// The next map, made by any change of the parts; its epoch is the next one whatever the
    /// change says.
    ///
    /// # Errors
    /// What [`ShardMap::build`] finds.
    pub fn next(&self, change: impl FnOnce(&mut MapParts)) -> Result<Self, Vec<MapError>> {
        let mut parts = self.parts();
        change(&mut parts);
        parts.epoch = self.epoch.saturating_add(1);
        Self::build(parts)
    }

    /// The same map under another epoch.
    #[must_use]
    pub fn with_epoch(&self, epoch: u64) -> Self {
        Self { epoch, ..self.clone() }
    }

    pub(super) fn change(
        &self,
        distribution: usize,
        change: impl FnOnce(&mut super::DistributionParts) -> Result<(), &'static str>,
    ) -> Result<Self, Vec<MapError>> {
        let mut result = Err("there is no such distribution");
        let next = self.next(|parts| {
            if let Some(parts) = parts.distributions.get_mut(distribution) {
                result = change(parts);
            }
        });
        if let Err(message) = result {
            let name = self.distributions.get(distribution).map_or("?", |found| &found.name);
            return Err(vec![MapError::new(format!("distribution {name:?}"), message)]);
        }
        next
    }
}

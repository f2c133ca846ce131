//! Owns the counts of routes and their reasons: a bounded list that never forgets, for they are
//! counters. Reasons name functions and views, so their number is bounded by force.

use crate::metrics::RouteKind;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Most different routes of a worker and database; further reasons are counted as `other`.
const ROUTES_MAX: usize = 256;

/// The reason of those that did not fit.
const OTHER: &str = "other";

/// How often a route was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteCount {
    /// Where to.
    pub kind: RouteKind,
    /// Why.
    pub why: Box<str>,
    /// How often.
    pub count: u64,
}

#[derive(Debug, Default)]
pub(super) struct RouteCounts {
    list: Vec<RouteCount>,
    index: HashTable<u16>,
    hasher: rapidhash::fast::RandomState,
}

impl RouteCounts {
    /// Whether this is what stands at a place.
    #[inline]
    pub(super) fn is(&self, place: u16, kind: RouteKind, why: &str) -> bool {
        let known = self.list.get(usize::from(place));
        known.is_some_and(|known| known.kind == kind && *known.why == *why)
    }

    /// Counts one at a place.
    #[inline]
    pub(super) fn count(&mut self, place: u16) {
        if let Some(known) = self.list.get_mut(usize::from(place)) {
            known.count += 1;
        }
    }

    /// The place of a route, which is given one if it has none.
    pub(super) fn place(&mut self, kind: RouteKind, why: &str) -> u16 {
        let hash = self.hash(kind, why);
        if let Some(place) = self.index.find(hash, |place| self.is(*place, kind, why)) {
            return *place;
        }
        if self.list.len() >= ROUTES_MAX && why != OTHER {
            return self.place(kind, OTHER);
        }
        let Ok(place) = u16::try_from(self.list.len()) else { return u16::MAX };
        self.list.push(RouteCount { kind, why: why.into(), count: 0 });
        let Self { list, index, hasher } = self;
        let hash_of = |place: &u16| {
            list.get(usize::from(*place))
                .map_or(0, |known| hasher.hash_one((known.kind as u8, &*known.why)))
        };
        index.insert_unique(hash, place, hash_of);
        place
    }

    fn hash(&self, kind: RouteKind, why: &str) -> u64 {
        self.hasher.hash_one((kind as u8, why))
    }

    /// All of them, in the order they came.
    pub(super) fn all(&self) -> &[RouteCount] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_as_other() {
        let mut routes = RouteCounts::default();
        for index in 0..2 * ROUTES_MAX {
            for _ in 0..2 {
                let place = routes.place(RouteKind::Write, &format!("calls f{index}"));
                routes.count(place);
            }
        }
        assert_eq!(routes.all().len(), ROUTES_MAX + 1);
        assert_eq!(routes.all().iter().map(|route| route.count).sum::<u64>(), 1024);
        let other = routes.all().last().unwrap();
        assert_eq!((&*other.why, other.count), ("other", 512));
        assert_ne!(routes.place(RouteKind::Local, "x"), routes.place(RouteKind::Write, "x"));
    }
}

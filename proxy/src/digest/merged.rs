//! Owns making one list of what the workers have counted for a database.

use super::{Copied, RouteCount, Stats};
use crate::metrics::RouteKind;
use hashbrown::HashMap;
use pgmanifold_router::shape::Shape;
use std::cmp::Reverse;
use std::sync::Arc;

/// What is known of a shape in a database.
#[derive(Debug)]
pub struct Row {
    /// The shape.
    pub shape: Arc<Shape>,
    /// Its sums.
    pub stats: Stats,
    /// Where it went last, and why.
    pub route: Option<(RouteKind, Box<str>)>,
}

/// The statements of a database.
#[derive(Debug, Default)]
pub struct Merged {
    /// Those with the longest total time first.
    pub rows: Vec<Row>,
    /// Those that have no row.
    pub other: Stats,
    /// How often which route was taken.
    pub routes: Vec<RouteCount>,
}

/// Adds up what workers have counted; at most `limit` shapes keep a row.
pub fn merge(copies: Vec<Copied>, limit: usize) -> Merged {
    let mut rows: HashMap<u64, Row> = HashMap::new();
    let mut merged = Merged::default();
    for copied in copies {
        merged.other.merge(&copied.other);
        for found in copied.shapes {
            let route = copied.routes.get(usize::from(found.route));
            let route = route.map(|route| (route.kind, route.why.clone()));
            let row = rows.entry(found.shape.fingerprint).or_insert_with(|| Row {
                shape: Arc::clone(&found.shape),
                stats: Stats::default(),
                route: None,
            });
            if route.is_some() && found.stats.calls > row.stats.calls {
                row.route = route;
            }
            row.stats.merge(&found.stats);
        }
        for route in copied.routes {
            let known = |one: &&mut RouteCount| one.kind == route.kind && one.why == route.why;
            match merged.routes.iter_mut().find(known) {
                Some(known) => known.count += route.count,
                None => merged.routes.push(route),
            }
        }
    }
    merged.rows = rows.into_values().collect();
    merged.rows.sort_by_key(|row| (Reverse(row.stats.calls), row.shape.fingerprint));
    let kept = limit.max(1).min(merged.rows.len());
    for row in merged.rows.drain(kept..) {
        merged.other.merge(&row.stats);
    }
    merged.rows.sort_by_key(|row| (Reverse(row.stats.total), row.shape.fingerprint));
    merged.routes.sort_by(|a, b| (a.kind as u8, &a.why).cmp(&(b.kind as u8, &b.why)));
    merged
}

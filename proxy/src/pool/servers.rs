//! Owns the list of server connections that pools have made, for whoever wants to see them. It is
//! locked when a connection is made, and while it is copied; it keeps none alive.

use crate::backend::connection::ServerInfo;
use crate::pool::Pool;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

/// Fewest connections for which it is worth to take out those that are closed.
const SWEEP_MIN: usize = 64;

/// See the file. It outlives reloads of the configuration.
#[derive(Debug, Default)]
pub struct Servers {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    list: Vec<(Weak<ServerInfo>, Weak<Pool>)>,
    /// At so many, those that are closed are taken out.
    sweep_at: usize,
}

/// One connection at a moment.
#[derive(Debug)]
pub struct ServerRow {
    /// The connection.
    pub info: Arc<ServerInfo>,
    /// Whose it is.
    pub pool: Arc<Pool>,
    /// Since when it lies idle; `None`: it is lent.
    pub idle_since: Option<Instant>,
    /// The client that has it; 0 for none.
    pub client: u32,
    /// It is closed when it comes back.
    pub close_needed: bool,
}

impl Servers {
    /// Adds a connection of a pool.
    pub(super) fn add(&self, info: &Arc<ServerInfo>, pool: &Arc<Pool>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.list.len() >= known.sweep_at {
            known.list.retain(|(info, _)| info.upgrade().is_some_and(|info| !is_closed(&info)));
            known.sweep_at = (known.list.len() * 2).max(SWEEP_MIN);
        }
        known.list.push((Arc::downgrade(info), Arc::downgrade(pool)));
    }

    /// All connections now, in the order in which they were made.
    pub fn rows(&self) -> Vec<ServerRow> {
        let list = self.known.lock().unwrap_or_else(PoisonError::into_inner).list.clone();
        let both = |(info, pool): &(Weak<ServerInfo>, Weak<Pool>)| {
            Some((info.upgrade().filter(|info| !is_closed(info))?, pool.upgrade()?))
        };
        let all: Vec<(Arc<ServerInfo>, Arc<Pool>)> = list.iter().filter_map(both).collect();
        let (mut seen, mut idle) = (HashSet::new(), HashMap::new());
        for (_, pool) in &all {
            if seen.insert(Arc::as_ptr(pool)) {
                idle.extend(pool.idle_servers());
            }
        }
        let row = |(info, pool): (Arc<ServerInfo>, Arc<Pool>)| {
            let idle_since = idle.get(&info.id).copied();
            let client = match idle_since {
                Some(_) => 0,
                None => info.lent_to.load(Ordering::Relaxed),
            };
            let close_needed = pool.closes(&info);
            ServerRow { info, pool, idle_since, client, close_needed }
        };
        all.into_iter().map(row).collect()
    }
}

fn is_closed(info: &ServerInfo) -> bool {
    info.closed.load(Ordering::Relaxed)
}

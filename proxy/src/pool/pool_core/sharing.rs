//! Owns what a pool does when it cannot open a connection: it asks other pools with the same
//! budget for one, gives one up for others, and tells its clients why they were not served.

use super::Pool;
use crate::backend::connection::Server;
use crate::wire::error::SqlError;
use std::sync::Arc;
use std::time::Instant;

impl Pool {
    /// A budget is used up: an idle connection of another pool makes room, or this one stands in
    /// line. True when something was started after all.
    pub(super) fn starve(self: &Arc<Self>, worker: usize) -> bool {
        let now = Instant::now();
        let full = self.budgets.iter().filter(|budget| budget.is_full());
        let mut idlest: Option<(Instant, Arc<Pool>)> = None;
        for budget in full {
            budget.stand_in_line(self.id, now);
            let idle = budget.others(self.id).into_iter().filter_map(|pool| {
                let since = pool.lock().idle_longest()?;
                Some((since, pool))
            });
            idlest = idle.chain(idlest).min_by_key(|(since, _)| *since);
        }
        if let Some((_, pool)) = idlest {
            // Its place goes to the first in line.
            let evicted = pool.lock().take_idlest();
            let room = evicted.is_some();
            drop(evicted);
            return room;
        }
        // A place may have become free before we stood in line.
        let room = self.budgets.iter().all(|budget| !budget.is_full());
        room && self.open_for_waiters(worker)
    }

    /// True when a connection that is free now must be closed for another pool.
    pub(super) fn is_owed_elsewhere(&self, now: Instant) -> bool {
        if !self.budgets.iter().any(|budget| budget.is_contended()) {
            return false;
        }
        let waiting = self.numbers().waiting > 0;
        self.budgets.iter().any(|budget| budget.is_owed(self.id, waiting, now))
    }

    /// Nobody waits any more.
    pub(super) fn leave_lines(&self) {
        for budget in self.budgets.iter().filter(|budget| budget.is_contended()) {
            budget.leave_line(self.id);
        }
    }

    pub(super) fn queue_full(&self) -> SqlError {
        SqlError::error("53400", "too many clients wait for a server connection")
            .detail(format!(
                "pool_queue_max of database \"{}\" is {}.",
                self.database.name, self.limits.queue_max
            ))
            .hint("Repeat the transaction later.")
    }

    pub(super) fn checkout_timed_out(&self) -> SqlError {
        let numbers = self.numbers();
        SqlError::error("53300", "no server connection became free in time")
            .detail(format!(
                "All {} connections of database \"{}\", user \"{}\" to {} were in use for {} ms; \
                 {} sessions wait.",
                numbers.open,
                self.database.name,
                self.user.name,
                self.host.address,
                self.limits.checkout_timeout.as_millis(),
                numbers.waiting,
            ))
            .hint("Raise pool_size, shorten transactions, or raise checkout_timeout_ms.")
    }
}

impl super::Inner {
    /// Since when the connection lies idle that does so longest.
    fn idle_longest(&self) -> Option<Instant> {
        self.idle.iter().flatten().map(|server| server.idle_since).min()
    }

    fn take_idlest(&mut self) -> Option<Box<Server>> {
        let since = self.idle_longest()?;
        self.idle.iter_mut().find_map(|stack| {
            let index = stack.iter().position(|server| server.idle_since == since)?;
            Some(stack.remove(index))
        })
    }
}

pub(super) fn closed() -> SqlError {
    SqlError::error("57P01", "the pool was closed")
}

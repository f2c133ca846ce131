//! Owns limits that several pools share: the server connections of a database over all users, and
//! of a user over all databases, to one host. It counts, and it says whose turn it is; connections
//! are opened and closed by pools.
//!
//! A pool whose client waits while the budget is used up stands in a line. Whoever can spare a
//! connection closes it for the pool in the line that has the fewest: a pool where it would lie
//! idle, a pool that has more than its share, or, when there are fewer places than pools, any pool
//! after its turn.

use crate::pool::Pool;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

/// With fewer places than pools, a place is used so long before it goes round. Each change costs a
/// new connection.
const TURN: Duration = Duration::from_millis(100);

/// What a budget is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BudgetKind {
    /// All users of a database.
    Database,
    /// All databases of a user.
    User,
}

impl BudgetKind {
    /// The key that sets it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Database => "max_db_connections",
            Self::User => "max_user_connections",
        }
    }
}

/// All budgets of the process, by kind, name of the database or user, and host. They outlive
/// reloads, because connections do.
#[derive(Debug, Default)]
pub struct Budgets {
    known: Mutex<HashMap<(BudgetKind, String, String), Arc<Budget>>>,
}

impl Budgets {
    /// The budget of this name, with this limit from now on.
    pub fn get(&self, kind: BudgetKind, name: &str, host: &str, limit: usize) -> Arc<Budget> {
        let key = (kind, name.to_owned(), host.to_owned());
        let mut known = self.known.lock().expect("invariant: no panic under this lock");
        let budget = known.entry(key).or_insert_with(|| Arc::new(Budget::new(kind)));
        budget.limit.store(limit.max(1), Ordering::Relaxed);
        Arc::clone(budget)
    }
}

/// Server connections that several pools may have together.
#[derive(Debug)]
pub struct Budget {
    /// What it is for.
    pub kind: BudgetKind,
    limit: AtomicUsize,
    /// Pools in the line.
    hungry: AtomicUsize,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    open: usize,
    members: Vec<Member>,
    /// Number of the pool, and since when it stands there.
    line: VecDeque<(usize, Instant)>,
}

#[derive(Debug)]
struct Member {
    id: usize,
    pool: Weak<Pool>,
    open: usize,
}

impl Budget {
    fn new(kind: BudgetKind) -> Self {
        let ledger = Mutex::default();
        Self { kind, limit: AtomicUsize::new(usize::MAX), hungry: AtomicUsize::new(0), ledger }
    }

    /// Most connections.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// True when no connection can be opened now.
    pub fn is_full(&self) -> bool {
        self.lock().open >= self.limit()
    }

    /// True when a pool stands in the line.
    #[inline]
    pub fn is_contended(&self) -> bool {
        self.hungry.load(Ordering::Relaxed) > 0
    }

    /// Adds a pool.
    pub(super) fn join(&self, id: usize, pool: Weak<Pool>) {
        let mut ledger = self.lock();
        ledger.members.retain(|member| member.open > 0 || member.pool.strong_count() > 0);
        ledger.members.push(Member { id, pool, open: 0 });
    }

    /// Takes a place for a pool.
    fn take(&self, id: usize) -> bool {
        let mut ledger = self.lock();
        if ledger.open >= self.limit() {
            return false;
        }
        ledger.open += 1;
        if let Some(member) = ledger.member(id) {
            member.open += 1;
        }
        true
    }

    fn give_back(&self, id: usize) {
        let mut ledger = self.lock();
        ledger.open -= 1;
        if let Some(member) = ledger.member(id) {
            member.open -= 1;
        }
    }

    /// Puts a pool into the line, unless it stands there.
    pub(super) fn stand_in_line(&self, id: usize, now: Instant) {
        let mut ledger = self.lock();
        if !ledger.line.iter().any(|(other, _)| *other == id) {
            ledger.line.push_back((id, now));
        }
        self.hungry.store(ledger.line.len(), Ordering::Relaxed);
    }

    /// Takes a pool out of the line.
    pub(super) fn leave_line(&self, id: usize) {
        let mut ledger = self.lock();
        ledger.line.retain(|(other, _)| *other != id);
        self.hungry.store(ledger.line.len(), Ordering::Relaxed);
    }

    /// Whose turn it is, taken out of the line: the pool with the fewest connections, of equals
    /// the one that stands there longest.
    fn next_in_line(&self) -> Option<Arc<Pool>> {
        let mut ledger = self.lock();
        let mut found = None;
        while found.is_none()
            && let Some((id, _)) = ledger.neediest(None)
        {
            ledger.line.retain(|(other, _)| *other != id);
            found = ledger.member(id).and_then(|member| member.pool.upgrade());
        }
        self.hungry.store(ledger.line.len(), Ordering::Relaxed);
        found
    }

    /// The other pools that have connections.
    pub(super) fn others(&self, id: usize) -> Vec<Arc<Pool>> {
        let ledger = self.lock();
        let others = ledger.members.iter().filter(|member| member.id != id && member.open > 0);
        others.filter_map(|member| member.pool.upgrade()).collect()
    }

    /// Whether a pool must close the connection at hand for another one in the line; it stands
    /// behind the others then. `waiting` when clients of its own wait for the connection.
    pub(super) fn is_owed(&self, id: usize, waiting: bool, now: Instant) -> bool {
        let mut ledger = self.lock();
        if ledger.open < self.limit() {
            return false;
        }
        let Some((neediest, since)) = ledger.neediest(Some(id)) else { return false };
        let theirs = ledger.open_of(neediest);
        let with_nothing = |(pool, _): &&(usize, Instant)| ledger.open_of(*pool) == 0;
        let users = ledger.members.iter().filter(|member| member.open > 0).count()
            + ledger.line.iter().filter(with_nothing).count();
        let share = (self.limit() / users.max(1)).max(1);
        let turn_over = theirs == 0 && now.saturating_duration_since(since) >= TURN;
        let owed = !waiting || (ledger.open_of(id) > share && theirs < share) || turn_over;
        if owed && ledger.line.iter().any(|(pool, _)| *pool == id) {
            ledger.line.retain(|(pool, _)| *pool != id);
            ledger.line.push_back((id, now));
        }
        owed
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("invariant: no panic under this lock")
    }
}

impl Ledger {
    fn member(&mut self, id: usize) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    fn open_of(&self, id: usize) -> usize {
        self.members.iter().find(|member| member.id == id).map_or(0, |member| member.open)
    }

    /// The place in the line of the pool, other than `but`, with the fewest connections.
    fn neediest(&self, but: Option<usize>) -> Option<(usize, Instant)> {
        let others = self.line.iter().filter(|(id, _)| Some(*id) != but);
        others.min_by_key(|(id, _)| self.open_of(*id)).copied()
    }
}

/// A place in every budget of a pool; dropping it gives them to those who wait for them.
#[derive(Debug)]
pub(super) struct Permit {
    budgets: [Arc<Budget>; 2],
    pool: usize,
    worker: usize,
}

impl Permit {
    /// Takes a place in both budgets, or in none.
    pub(super) fn take(budgets: &[Arc<Budget>; 2], pool: usize, worker: usize) -> Option<Self> {
        let [first, second] = budgets;
        if !first.take(pool) {
            return None;
        }
        if !second.take(pool) {
            first.give_back(pool);
            return None;
        }
        Some(Self { budgets: budgets.clone(), pool, worker })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        for budget in &self.budgets {
            budget.give_back(self.pool);
        }
        for budget in &self.budgets {
            // A pool that still lacks something stands in line again, behind the others.
            for _ in 0..budget.hungry.load(Ordering::Relaxed) {
                let Some(pool) = budget.next_in_line() else { break };
                if pool.open_for_waiters(self.worker) {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit: usize, pools: usize) -> Arc<Budget> {
        let budgets = Budgets::default();
        let budget = budgets.get(BudgetKind::Database, "db", "host", limit);
        // By hand: `join` forgets pools that are gone, and these never were.
        let member = |id| Member { id, pool: Weak::new(), open: 0 };
        budget.lock().members.extend((0..pools).map(member));
        budget
    }

    #[test]
    fn the_limit_holds_over_all_pools() {
        let budget = budget(2, 2);
        assert!(budget.take(0) && budget.take(1));
        assert!(!budget.take(0) && budget.is_full());
        budget.give_back(1);
        assert!(!budget.is_full() && budget.take(0));
    }

    #[test]
    fn idle_connections_and_those_beyond_the_share_are_owed() {
        let (budget, now) = (budget(4, 2), Instant::now());
        assert!((0..4).all(|_| budget.take(0)));
        assert!(!budget.is_owed(0, false, now), "nobody stands in line");
        budget.stand_in_line(1, now);
        assert!(budget.is_contended());
        assert!(budget.is_owed(0, false, now), "it would lie idle");
        assert!(budget.is_owed(0, true, now), "4 of 4 are more than half");
        budget.give_back(0);
        budget.give_back(0);
        assert!(budget.take(1) && budget.take(1));
        assert!(!budget.is_owed(0, true, now), "half each");
        let later = now + 10 * TURN;
        assert!(!budget.is_owed(0, true, later), "half each stays half each");
        budget.leave_line(1);
        assert!(!budget.is_contended() && !budget.is_owed(0, false, now));
    }

    #[test]
    fn with_fewer_places_than_pools_they_take_turns() {
        let (budget, now) = (budget(1, 3), Instant::now());
        assert!(budget.take(0));
        budget.stand_in_line(1, now);
        budget.stand_in_line(2, now);
        assert!(!budget.is_owed(0, true, now), "its turn is not over");
        budget.stand_in_line(0, now);
        assert!(budget.is_owed(0, true, now + TURN));
        let ledger = budget.lock();
        let line: Vec<usize> = ledger.line.iter().map(|(id, _)| *id).collect();
        assert_eq!(line, [1, 2, 0], "who gave stands behind the others");
        assert_eq!(ledger.neediest(Some(0)).map(|(id, _)| id), Some(1));
    }
}

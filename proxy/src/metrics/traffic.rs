//! Owns what PgBouncer's statistics count, for one worker and database: transactions, the times
//! spent, and what was prepared. Only the worker's own thread writes here, so that an addition is a
//! load and a store, without a locked instruction.

use super::samples::Samples;
use super::table;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that one thread alone adds to.
#[derive(Debug, Default)]
struct Tally(AtomicU64);

impl Tally {
    #[inline]
    fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// See the file.
#[derive(Debug, Default)]
pub struct Traffic {
    assignments: Tally,
    transactions: Tally,
    transaction_us: Tally,
    query_us: Tally,
    wait_us: Tally,
    client_parses: Tally,
    server_parses: Tally,
    binds: Tally,
}

impl Traffic {
    /// A client was given a server, at once or after a wait.
    #[inline]
    pub fn assigned(&self) {
        self.assignments.add(1);
    }

    /// A client has waited for a server, and has it.
    pub fn waited(&self, time: Duration) {
        self.wait_us.add(micros(time));
    }

    /// A request was answered by servers; without the wait for them.
    #[inline]
    pub fn answered(&self, time: Duration) {
        self.query_us.add(micros(time));
    }

    /// A transaction has ended.
    #[inline]
    pub fn transaction(&self, time: Duration) {
        self.transactions.add(1);
        self.transaction_us.add(micros(time));
    }

    /// A client has prepared a statement under a name.
    pub fn client_parse(&self) {
        self.client_parses.add(1);
    }

    /// A server has prepared a statement under a name.
    pub fn server_parse(&self) {
        self.server_parses.add(1);
    }

    /// A Bind of a named statement was sent to a server.
    #[inline]
    pub fn bind(&self) {
        self.binds.add(1);
    }

    pub(super) fn add_to(&self, totals: &mut Totals) {
        totals.assignments += self.assignments.get();
        totals.transactions += self.transactions.get();
        totals.transaction_us += self.transaction_us.get();
        totals.query_us += self.query_us.get();
        totals.wait_us += self.wait_us.get();
        totals.client_parses += self.client_parses.get();
        totals.server_parses += self.server_parses.get();
        totals.binds += self.binds.get();
    }

    pub(super) fn collect(&self, database: &str, samples: &mut Samples) {
        for (family, tally) in [
            (&table::SERVER_ASSIGNMENTS, &self.assignments),
            (&table::TRANSACTIONS, &self.transactions),
            (&table::CLIENT_PARSES, &self.client_parses),
            (&table::SERVER_PARSES, &self.server_parses),
            (&table::BINDS, &self.binds),
        ] {
            samples.counter(family, &[database], tally.get());
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What a database has done since the start. Times are in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Times a client was given a server.
    pub assignments: u64,
    /// Transactions that have ended.
    pub transactions: u64,
    /// Requests that were answered.
    pub queries: u64,
    /// Bytes received from clients.
    pub received: u64,
    /// Bytes sent to clients.
    pub sent: u64,
    /// Time in transactions.
    pub transaction_us: u64,
    /// Time of requests, without the wait for a server.
    pub query_us: u64,
    /// Time clients have waited for a server.
    pub wait_us: u64,
    /// Statements that clients have prepared under a name.
    pub client_parses: u64,
    /// Statements that servers have prepared under a name.
    pub server_parses: u64,
    /// Binds of named statements sent to servers.
    pub binds: u64,
    /// Clients that have logged in.
    pub logins: u64,
}

impl Totals {
    /// How many numbers there are.
    pub const COUNT: usize = 12;

    /// All numbers, in the order of PgBouncer's tables.
    pub fn numbers(&self) -> [u64; Self::COUNT] {
        [
            self.assignments,
            self.transactions,
            self.queries,
            self.received,
            self.sent,
            self.transaction_us,
            self.query_us,
            self.wait_us,
            self.client_parses,
            self.server_parses,
            self.binds,
            self.logins,
        ]
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Totals) -> Totals {
        self.with(other, u64::saturating_add)
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Totals) -> Totals {
        self.with(earlier, u64::saturating_sub)
    }

    /// What happened in `time`, as averages: of the counts per second, of the times per event. As
    /// with PgBouncer, the wait is that of one assignment.
    #[must_use]
    pub fn averages(&self, time: Duration) -> Totals {
        let (us, second) = (time.as_micros().max(1), Duration::from_secs(1).as_micros());
        let rate = |count: u64| u64::try_from(u128::from(count) * second / us).unwrap_or(u64::MAX);
        let each = |sum: u64, count: u64| sum.checked_div(count).unwrap_or(0);
        Totals {
            assignments: rate(self.assignments),
            transactions: rate(self.transactions),
            queries: rate(self.queries),
            received: rate(self.received),
            sent: rate(self.sent),
            transaction_us: each(self.transaction_us, self.transactions),
            query_us: each(self.query_us, self.queries),
            wait_us: each(self.wait_us, self.assignments),
            client_parses: rate(self.client_parses),
            server_parses: rate(self.server_parses),
            binds: rate(self.binds),
            logins: rate(self.logins),
        }
    }

    fn with(&self, other: &Totals, combine: impl Fn(u64, u64) -> u64) -> Totals {
        Totals {
            assignments: combine(self.assignments, other.assignments),
            transactions: combine(self.transactions, other.transactions),
            queries: combine(self.queries, other.queries),
            received: combine(self.received, other.received),
            sent: combine(self.sent, other.sent),
            transaction_us: combine(self.transaction_us, other.transaction_us),
            query_us: combine(self.query_us, other.query_us),
            wait_us: combine(self.wait_us, other.wait_us),
            client_parses: combine(self.client_parses, other.client_parses),
            server_parses: combine(self.server_parses, other.server_parses),
            binds: combine(self.binds, other.binds),
            logins: combine(self.logins, other.logins),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_rates_of_counts_and_means_of_times() {
        let done = Totals {
            assignments: 40,
            transactions: 20,
            queries: 60,
            received: 6_000,
            sent: 12_000,
            transaction_us: 4_000,
            query_us: 3_000,
            wait_us: 800,
            client_parses: 4,
            server_parses: 3,
            binds: 10,
            logins: 2,
        };
        let averages = done.averages(Duration::from_secs(2));
        assert_eq!(averages.numbers(), [20, 10, 30, 3_000, 6_000, 200, 50, 20, 2, 1, 5, 1]);
        assert_eq!(Totals::default().averages(Duration::ZERO), Totals::default());
    }

    #[test]
    fn what_was_added_is_the_difference() {
        let traffic = Traffic::default();
        traffic.transaction(Duration::from_micros(7));
        let mut before = Totals::default();
        traffic.add_to(&mut before);
        traffic.transaction(Duration::from_micros(9));
        traffic.answered(Duration::from_micros(5));
        traffic.waited(Duration::from_micros(3));
        traffic.assigned();
        traffic.client_parse();
        traffic.server_parse();
        traffic.bind();
        let mut after = Totals::default();
        traffic.add_to(&mut after);
        let added = after.since(&before);
        assert_eq!(added.numbers(), [1, 1, 0, 0, 0, 9, 5, 3, 1, 1, 1, 0]);
        assert_eq!(before.plus(&added), after);
    }
}

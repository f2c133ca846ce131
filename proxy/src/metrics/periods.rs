//! Owns the averages of PgBouncer's statistics: what all databases had counted at the ends of the
//! last two periods. Who takes the time, and when, is not decided here.

use super::traffic::Totals;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Numbers by database.
pub type ByDatabase = BTreeMap<String, Totals>;

/// The last full period.
#[derive(Debug, Default)]
pub struct Periods {
    ends: Mutex<Ends>,
}

/// The end of the last period, and of the one before.
#[derive(Debug, Default)]
struct Ends {
    before: Option<End>,
    last: Option<End>,
}

#[derive(Debug, Clone)]
struct End {
    at: Instant,
    totals: ByDatabase,
}

impl Periods {
    /// A period has ended, and the next begins.
    pub fn turn(&self, at: Instant, totals: ByDatabase) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.before = ends.last.replace(End { at, totals });
    }

    /// Averages of the last full period. While the first one runs: of the time since it began.
    pub fn averages(&self, now: Instant, totals: &ByDatabase) -> ByDatabase {
        let Some((from, to, time)) = self.window(now, totals) else { return ByDatabase::new() };
        let average = |(name, totals): (&String, &Totals)| {
            let earlier = from.get(name).copied().unwrap_or_default();
            (name.clone(), totals.since(&earlier).averages(time))
        };
        to.iter().map(average).collect()
    }

    /// The averages of all databases together.
    pub fn average_of_all(&self, now: Instant, totals: &ByDatabase) -> Totals {
        let window = self.window(now, totals);
        window.map_or_else(Totals::default, |(from, to, time)| {
            sum(&to).since(&sum(&from)).averages(time)
        })
    }

    /// What had been counted at the beginning and at the end, and the time between.
    fn window(
        &self,
        now: Instant,
        totals: &ByDatabase,
    ) -> Option<(ByDatabase, ByDatabase, Duration)> {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, to, until) = match (&ends.before, &ends.last) {
            (Some(before), Some(last)) => (before, &last.totals, last.at),
            (None, Some(start)) => (start, totals, now),
            (_, None) => return None,
        };
        let time = until.saturating_duration_since(from.at);
        Some((from.totals.clone(), to.clone(), time))
    }
}

/// All databases together.
pub fn sum(totals: &ByDatabase) -> Totals {
    totals.values().fold(Totals::default(), |sum, next| sum.plus(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(queries: u64, query_us: u64) -> ByDatabase {
        let totals = Totals { queries, query_us, ..Totals::default() };
        ByDatabase::from([("app".to_owned(), totals)])
    }

    fn of(averages: &ByDatabase) -> (u64, u64) {
        averages.get("app").map_or((0, 0), |app| (app.queries, app.query_us))
    }

    #[test]
    fn averages_are_those_of_the_last_full_period() {
        let (periods, start) = (Periods::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(periods.averages(start, &counted(5, 5)).is_empty(), "nothing has begun");
        periods.turn(start, counted(100, 1_000));
        assert_eq!(of(&periods.averages(at(10), &counted(200, 3_000))), (10, 20), "the first runs");
        periods.turn(at(60), counted(700, 7_000));
        assert_eq!(of(&periods.averages(at(119), &counted(9_999, 9_999))), (10, 10));
        periods.turn(at(120), counted(1_900, 10_600));
        assert_eq!(of(&periods.averages(at(121), &counted(9_999, 9_999))), (20, 3));
        assert_eq!(periods.average_of_all(at(121), &counted(9_999, 9_999)).queries, 20);
    }

    #[test]
    fn a_database_that_came_meanwhile_counts_from_nothing() {
        let (periods, start) = (Periods::default(), Instant::now());
        periods.turn(start, ByDatabase::new());
        periods.turn(start + Duration::from_secs(10), counted(50, 100));
        assert_eq!(of(&periods.averages(start, &ByDatabase::new())), (5, 2));
    }
}

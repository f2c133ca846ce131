//! Owns what is remembered of statements between their being sent to a server and their end, one
//! for each query and Execute the server has not answered, in order. Answers come in that order
//! too, so that each is counted for the statement it belongs to.

use crate::metrics::RouteKind;
use pgmanifold_router::plan::Plan;
use pgmanifold_router::shape::Shape;
use std::collections::VecDeque;
use std::sync::Arc;

/// A statement that a server has been sent.
#[derive(Debug)]
pub struct Running {
    /// Its plan; `None` when nobody knows what runs.
    pub plan: Option<Arc<Plan>>,
    /// Where it went.
    pub kind: RouteKind,
    /// Why, where the plan's reason is not it.
    pub why: Option<&'static str>,
    /// It ended with an error.
    pub failed: bool,
    /// Rows its Execute asked for at most; 0 for all.
    pub limit: u32,
    /// Rows it returned or changed.
    pub rows: u64,
    /// Bytes of its answer.
    pub bytes: u64,
    /// Its text as it came, when that is to be logged.
    pub text: Option<Box<[u8]>>,
}

impl Running {
    /// What it looks like.
    pub fn shape(&self) -> Option<&Arc<Shape>> {
        self.plan.as_ref()?.shape.as_ref()
    }

    /// Why it went where it went.
    pub fn reason(&self) -> &str {
        match (self.why, &self.plan) {
            (Some(why), _) => why,
            (None, Some(plan)) => &plan.reason,
            (None, None) => "no statement is known",
        }
    }
}

/// The statements a server has been sent.
#[derive(Debug, Default)]
pub struct Owed {
    /// Not answered yet.
    pub running: VecDeque<Running>,
    /// Answered, but for the ReadyForQuery that is on its way.
    pub answered: Option<Running>,
}

impl Owed {
    /// Nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty() && self.answered.is_none()
    }

    /// The first one is answered, but for its ReadyForQuery.
    #[inline]
    pub fn answer(&mut self) {
        if let Some(first) = self.running.pop_front() {
            debug_assert!(self.answered.is_none());
            self.answered = Some(first);
        }
    }

    /// The first one's answer has a command tag.
    #[inline]
    pub fn add_rows(&mut self, tag: &[u8]) {
        if let Some(first) = self.running.front_mut() {
            first.rows = first.rows.saturating_add(rows_of_tag(tag));
        }
    }

    /// These many will not be answered, because of an error: the first of them has met it.
    /// Without any, the error came at the end of the batch. `blames` is false when nobody is to
    /// hear of it.
    pub fn skip(&mut self, count: usize, blames: bool) {
        let mut skipped = self.running.drain(..count.min(self.running.len()));
        match skipped.next() {
            Some(mut first) if blames => {
                first.failed = true;
                self.answered = Some(first);
            }
            Some(_) => {}
            None => {
                drop(skipped);
                if let Some(answered) = self.answered.as_mut().filter(|_| blames) {
                    answered.failed = true;
                }
            }
        }
    }

    /// Nobody is to hear of them any more.
    #[inline]
    pub fn forget(&mut self) {
        self.running.clear();
        self.answered = None;
    }

    /// All of them, when their server is gone.
    pub fn take_all(&mut self) -> impl Iterator<Item = Running> + use<> {
        let running = std::mem::take(&mut self.running);
        self.answered.take().into_iter().chain(running)
    }
}

/// The number at the end of a command tag: rows returned or changed.
#[inline]
pub fn rows_of_tag(tag: &[u8]) -> u64 {
    let digits = tag.strip_suffix(b"\0").unwrap_or(tag);
    let mut rows: u64 = 0;
    let mut place: u64 = 1;
    for byte in digits.iter().rev() {
        match byte {
            b'0'..=b'9' => rows = rows.saturating_add(place.saturating_mul((byte - b'0').into())),
            b' ' => return rows,
            _ => return 0,
        }
        place = place.saturating_mul(10);
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(limit: u32) -> Running {
        let (plan, kind, why) = (None, RouteKind::Write, None);
        Running { plan, kind, why, failed: false, limit, rows: 0, bytes: 0, text: None }
    }

    fn owed(count: u32) -> Owed {
        Owed { running: (1..=count).map(running).collect(), answered: None }
    }

    #[test]
    fn an_error_is_that_of_the_first_statement_it_skips() {
        let mut some = owed(3);
        some.skip(2, true);
        assert_eq!(some.answered.as_ref().map(|one| (one.limit, one.failed)), Some((1, true)));
        assert_eq!(some.running.front().map(|one| one.limit), Some(3));
        let mut unblamed = owed(2);
        unblamed.skip(2, false);
        assert!(unblamed.is_empty());
    }

    #[test]
    fn an_error_at_sync_is_that_of_the_last_statement() {
        let mut some = owed(2);
        some.answer();
        some.skip(0, true);
        assert_eq!(some.answered.as_ref().map(|one| (one.limit, one.failed)), Some((1, true)));
        assert_eq!(some.take_all().map(|one| one.limit).collect::<Vec<_>>(), [1, 2]);
        assert!(some.is_empty());
    }

    #[test]
    fn tags_tell_their_rows() {
        for (tag, rows) in [
            ("SELECT 12\0", 12),
            ("INSERT 0 305\0", 305),
            ("COPY 1", 1),
            ("CREATE TABLE\0", 0),
            ("\0", 0),
            ("7\0", 0),
            ("SELECT 99999999999999999999999\0", u64::MAX),
        ] {
            assert_eq!(rows_of_tag(tag.as_bytes()), rows, "{tag}");
        }
    }
}

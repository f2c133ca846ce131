//! Owns the judgement of what all shards hold, once nothing is at work: every row is compared with
//! what the clients were told, and with the map. It trusts neither proxies nor rebalancer: it reads
//! the shards themselves.

use super::Moves;
use super::ownership::Ownership;
use super::workload::ledger::{Ledger, Presence, Told};
use super::workload::{BALANCE, NOBODY, Workload};
use std::collections::HashMap;
use std::fmt;

/// Findings shown of each kind.
const SHOWN: usize = 8;

/// What is wrong with what the shards hold.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Acknowledged and not there.
    pub lost: Vec<String>,
    /// There more often than once.
    pub duplicated: Vec<String>,
    /// On a shard that the map does not name for the key.
    pub misplaced: Vec<String>,
    /// There, or with a value, though no client was told so.
    pub invented: Vec<String>,
    /// Rows looked at.
    pub rows: usize,
}

impl Verdict {
    /// Nothing is wrong.
    pub fn is_clean(&self) -> bool {
        [&self.lost, &self.duplicated, &self.misplaced, &self.invented]
            .iter()
            .all(|findings| findings.is_empty())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.rows)?;
        let kinds = [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("misplaced", &self.misplaced),
            ("invented", &self.invented),
        ];
        for (kind, findings) in kinds {
            write!(f, ", {} {kind}", findings.len())?;
        }
        for (kind, findings) in kinds {
            for finding in findings.iter().take(SHOWN) {
                write!(f, "\n{kind}: {finding}")?;
            }
        }
        Ok(())
    }
}

/// Key, the rest of a primary key (0 where there is none) -> the other columns.
type Rows = HashMap<(i64, i64), Vec<i64>>;

struct Judge<'a> {
    moves: &'a Moves,
    ownership: Ownership,
    verdict: Verdict,
}

/// Compares everything the clients were told with everything there is. Moves must have ended, and
/// nothing may be in doubt any more.
///
/// # Panics
/// When a server does not answer.
pub fn judge(moves: &Moves, workload: &Workload) -> Verdict {
    let ownership = Ownership::read(moves);
    let mut judge = Judge { moves, ownership, verdict: Verdict::default() };
    judge.counters(workload);
    judge.entries(workload);
    judge.accounts(workload);
    judge.tags(workload);
    judge.verdict
}

/// The same, and nothing may be wrong.
///
/// # Panics
/// When something is.
pub fn assert_clean(moves: &Moves, workload: &Workload) {
    let verdict = judge(moves, workload);
    println!("judged: {verdict}");
    assert!(verdict.is_clean(), "{verdict}");
}

/// Adds up what the clients were told of operations.
pub fn told(ledgers: &[Ledger]) -> String {
    let mut sums = [0; 3];
    for ledger in ledgers {
        for (sum, one) in sums.iter_mut().zip(ledger.told) {
            *sum += one;
        }
    }
    format!("{} acknowledged, {} refused, {} unknown", sums[0], sums[1], sums[2])
}

impl Judge<'_> {
    /// All rows of a table from all shards; `columns` begins with those of the primary key, which
    /// are one or two, and all are numbers.
    fn rows(&mut self, table: &str, columns: &str, key_columns: usize) -> Rows {
        let mut all = Rows::new();
        for shard in 0..self.moves.shards.len() {
            for row in self.moves.on_shard(shard, &format!("select {columns} from {table}")) {
                let number = |value: &Option<String>| -> i64 {
                    value.as_deref().and_then(|text| text.parse().ok()).unwrap_or(i64::MIN)
                };
                let values: Vec<i64> = row.iter().map(number).collect();
                let key = values.first().copied().unwrap_or_default();
                let rest = if key_columns > 1 { values[1] } else { 0 };
                self.verdict.rows += 1;
                let owner = self.ownership.owner(key);
                if owner != shard {
                    let text = format!("{table} {key}/{rest} is on s{shard}, not on s{owner}");
                    self.verdict.misplaced.push(text);
                }
                if all.insert((key, rest), values[key_columns..].to_vec()).is_some() {
                    self.verdict.duplicated.push(format!("{table} {key}/{rest}"));
                }
            }
        }
        all
    }

    fn counters(&mut self, workload: &Workload) {
        let rows = self.rows("counters", "customer, client, count, steps", 1);
        for ledger in workload.ledgers() {
            for key in &ledger.keys {
                let Some(row) = rows.get(&(*key, 0)) else {
                    self.verdict.lost.push(format!("counters {key}"));
                    continue;
                };
                for (what, value, sums) in
                    [("count", row[1], &ledger.counts), ("steps", row[2], &ledger.steps)]
                {
                    let sum = sums.get(key).copied().unwrap_or_default();
                    let text = format!("counters {key}: {what} is {value} instead of {sum:?}");
                    if value < sum.sure {
                        self.verdict.lost.push(text);
                    } else if !sum.allows(value) {
                        self.verdict.invented.push(text);
                    }
                }
            }
        }
        let keys = usize::try_from(workload.load().keys).unwrap_or(0);
        if rows.len() > keys {
            self.verdict.invented.push(format!("{} counters instead of {keys}", rows.len()));
        }
    }

    fn entries(&mut self, workload: &Workload) {
        let mut rows = self.rows("entries", "customer, number, client", 2);
        let mut nobodys = 0;
        rows.retain(|_, values| {
            nobodys += i64::from(values[0] == NOBODY);
            values[0] != NOBODY
        });
        if nobodys != workload.load().rows {
            let text = format!("{nobodys} of nobody's entries instead of {}", workload.load().rows);
            let is_less = nobodys < workload.load().rows;
            let kind = if is_less { &mut self.verdict.lost } else { &mut self.verdict.invented };
            kind.push(text);
        }
        for ledger in workload.ledgers() {
            for (row, presence) in &ledger.entries {
                let there = rows.remove(row).is_some();
                let text = || format!("entries {}/{} of client {}", row.0, row.1, ledger.client);
                match presence {
                    Presence::Sure if !there => self.verdict.lost.push(text()),
                    Presence::Gone if there => self.verdict.invented.push(text()),
                    Presence::Sure | Presence::Gone | Presence::Maybe => {}
                }
            }
        }
        let left = rows.keys().map(|row| format!("entries {}/{}", row.0, row.1));
        self.verdict.invented.extend(left);
        self.groups(workload);
    }

    /// Rows that were written together and not acknowledged: all are there, or none. Those that
    /// were deleted afterwards cannot be among them.
    fn groups(&mut self, workload: &Workload) {
        for ledger in workload.ledgers() {
            for group in &ledger.groups {
                let there = group.iter().filter(|row| self.is_there(row)).count();
                if there != 0 && there != group.len() {
                    let text = format!("{there} of {} rows written together", group.len());
                    self.verdict.lost.push(format!("{text}: {:?}", group));
                }
            }
        }
    }

    fn is_there(&self, (key, number): &(i64, i64)) -> bool {
        let sql =
            format!("select count(*) from entries where customer = {key} and number = {number}");
        let rows = self.moves.on_shard(self.ownership.owner(*key), &sql);
        rows[0][0].as_deref() == Some("1")
    }

    /// A transfer is there as two rows or not at all, and a balance is the sum of its transfers.
    fn accounts(&mut self, workload: &Workload) {
        let accounts = self.rows("accounts", "customer, balance", 1);
        let mut rows = self.rows("transfers", "customer, transfer, amount", 2);
        let mut balances = HashMap::<i64, i64>::new();
        for (key, _) in rows.keys() {
            balances.insert(*key, 0);
        }
        for ((key, _), values) in &rows {
            *balances.entry(*key).or_default() += values[0];
        }
        let transfers = workload.ledgers().iter().flat_map(|ledger| &ledger.transfers);
        for transfer in transfers {
            let sides =
                [(transfer.accounts.0, -transfer.amount), (transfer.accounts.1, transfer.amount)];
            let there = sides.iter().filter(|(account, amount)| {
                rows.remove(&(*account, transfer.number)) == Some(vec![*amount])
            });
            let there = there.count();
            let text = format!("{there} sides of {transfer:?}");
            match transfer.told {
                Told::Acknowledged if there < 2 => self.verdict.lost.push(text),
                Told::Refused(_) if there > 0 => self.verdict.invented.push(text),
                Told::Unknown(_) if there == 1 => self.verdict.lost.push(text),
                _ => {}
            }
        }
        self.verdict.invented.extend(rows.keys().map(|row| format!("transfers {row:?}")));
        for key in 1..=workload.load().keys {
            let wanted = BALANCE + balances.get(&key).copied().unwrap_or_default();
            let found = accounts.get(&(key, 0)).map(|values| values[0]);
            if found != Some(wanted) {
                self.verdict.lost.push(format!("accounts {key}: {found:?} instead of {wanted}"));
            }
        }
    }

    fn tags(&mut self, workload: &Workload) {
        let rows = self.rows("tags", "customer, tag", 1);
        let wanted = workload.ledgers().first().map(|ledger| ledger.tag).unwrap_or_default();
        let mut values: Vec<i64> = rows.values().map(|values| values[0]).collect();
        values.sort_unstable();
        values.dedup();
        if values.len() != 1 || !wanted.allows(values[0]) {
            self.verdict.lost.push(format!("tags are {values:?} instead of {wanted:?}"));
        }
        let keys = usize::try_from(workload.load().keys).unwrap_or(0);
        if rows.len() != keys {
            self.verdict.lost.push(format!("{} tags instead of {keys}", rows.len()));
        }
    }
}

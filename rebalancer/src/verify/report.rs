//! Owns what a comparison has found, as text for people and as JSON.

use crate::error::Error;
use serde::Serialize;
use std::fmt;

/// What was compared, and what differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Who was compared with whom, as the sessions' places: leader, follower.
    pub sides: [String; 2],
    /// The keys, as text.
    pub keys: String,
    /// Each table.
    pub tables: Vec<TableReport>,
    /// What differs; empty when both are the same.
    pub mismatches: Vec<Mismatch>,
    /// How long writers were kept waiting, in microseconds.
    pub pause_us: u64,
    /// How long the comparison took, in milliseconds.
    pub took_ms: u64,
}

/// What was compared of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// `schema.table`, quoted.
    pub table: String,
    /// Rows on the leader.
    pub rows: u64,
    /// Bytes of text that were hashed on the leader.
    pub bytes: u64,
    /// Sub-ranges that have rows on either side.
    pub sub_ranges: u32,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// A sub-range that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// `schema.table`, quoted.
    pub table: String,
    /// The sub-range, as text.
    pub sub_range: String,
    /// Rows on the leader, and on the follower.
    pub rows: [u64; 2],
    /// The first keys that differ.
    pub keys: Vec<DifferingKey>,
    /// There may be more than these.
    pub more: bool,
}

/// A key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferingKey {
    /// Its columns with their values; the primary key's are among them.
    pub key: String,
    /// What is where.
    pub difference: Difference,
}

/// What is where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// On this shard only.
    OnlyOn(String),
    /// The leader and the follower have this many rows.
    Rows([u64; 2]),
    /// Both have as many rows, with other contents: in these columns, where they are known.
    Contents(Vec<String>),
}

impl Report {
    /// Both sides are the same, or an error that says what differs.
    ///
    /// # Errors
    /// [`Error::Stopped`] with the differences.
    pub fn verdict(&self) -> Result<(), Error> {
        match self.mismatches.is_empty() {
            true => Ok(()),
            false => Err(Error::Stopped(self.to_string())),
        }
    }

    /// Rows compared.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// Bytes compared.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([one, other], keys) = (&self.sides, &self.keys);
        let pause_ms = self.pause_us as f64 / 1000.0;
        match self.mismatches.is_empty() {
            true => {
                write!(f, "{one} and {other} hold the same {} rows of {keys}", self.rows())?;
            }
            false => write!(f, "{one} and {other} do not hold the same rows of {keys}")?,
        }
        write!(f, " (compared in {} ms, writers waited {pause_ms:.1} ms)", self.took_ms)?;
        for table in &self.tables {
            write!(f, "\n  {table}")?;
        }
        for mismatch in &self.mismatches {
            let (table, sub_range, [here, there]) =
                (&mismatch.table, &mismatch.sub_range, mismatch.rows);
            write!(f, "\n  differs: {table}, {sub_range}: ")?;
            write!(f, "{here} rows on {one}, {there} rows on {other}")?;
            for key in &mismatch.keys {
                write!(f, "\n    {}: {}", key.key, Explained(&key.difference, &self.sides))?;
            }
            if mismatch.more {
                f.write_str("\n    and more")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for TableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, rows, bytes, sub_ranges, took_ms } = self;
        let rate = *rows as f64 * 1000.0 / (*took_ms).max(1) as f64;
        write!(f, "{table}: {rows} rows, {bytes} bytes, {sub_ranges} sub-ranges, ")?;
        write!(f, "{took_ms} ms, {rate:.0} rows/s")
    }
}

struct Explained<'a>(&'a Difference, &'a [String; 2]);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(difference, [one, other]) = self;
        match difference {
            Difference::OnlyOn(place) => write!(f, "only on {place}"),
            Difference::Rows([here, there]) => {
                write!(f, "{here} rows on {one}, {there} rows on {other}")
            }
            Difference::Contents(columns) if columns.is_empty() => f.write_str("other contents"),
            Difference::Contents(columns) => write!(f, "differs in {}", columns.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_keys_and_what_is_where() {
        let table =
            TableReport { table: "public.a".into(), rows: 5, bytes: 70, sub_ranges: 3, took_ms: 2 };
        let mut report = Report {
            sides: ["shard n".into(), "shard s".into()],
            keys: "[1, 9)".into(),
            tables: vec![table],
            mismatches: Vec::new(),
            pause_us: 2500,
            took_ms: 7,
        };
        let good = "shard n and shard s hold the same 5 rows of [1, 9) (compared in 7 ms, \
                    writers waited 2.5 ms)\n  \
                    public.a: 5 rows, 70 bytes, 3 sub-ranges, 2 ms, 2500 rows/s";
        assert_eq!(report.to_string(), good);
        assert!(report.verdict().is_ok());
        let key = |key: &str, difference| DifferingKey { key: key.into(), difference };
        report.mismatches.push(Mismatch {
            table: "public.a".into(),
            sub_range: "keys [1, 2)".into(),
            rows: [3, 2],
            keys: vec![
                key("(k) = (1)", Difference::OnlyOn("shard n".into())),
                key("(k) = (2)", Difference::Contents(vec!["\"v\"".into()])),
                key("(k) = (3)", Difference::Rows([2, 1])),
            ],
            more: true,
        });
        let text = report.to_string();
        let bad = "\n  differs: public.a, keys [1, 2): 3 rows on shard n, 2 rows on shard s\n    \
                   (k) = (1): only on shard n\n    (k) = (2): differs in \"v\"\n    \
                   (k) = (3): 2 rows on shard n, 1 rows on shard s\n    and more";
        assert!(text.ends_with(bad), "{text}");
        assert!(matches!(report.verdict(), Err(Error::Stopped(_))));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["mismatches"][0]["keys"][0]["difference"]["only_on"], "shard n");
    }
}

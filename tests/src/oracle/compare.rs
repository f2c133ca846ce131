//! Owns the question whether two answers are equal, as rows in any order or in a given one.

use super::answer::{Answer, Column, Fault, Piece, Row, row, show};
use super::pair::Types;
use bytes::Bytes;
use std::collections::HashMap;

/// SQLSTATEs by which the proxy refuses a statement: not possible over shards, a key that no shard
/// has, not supported.
pub const REFUSALS: [&str; 4] = ["PGM02", "PGM03", "PGM04", "0A000"];
/// Types whose equal values may look different: `real`, `double precision`, `numeric`.
const LOOSE_TYPES: [u32; 3] = [700, 701, 1700];
/// Differing rows shown.
const SHOWN_ROWS: usize = 6;

/// How rows are compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Order {
    /// In any order.
    #[default]
    Bag,
    /// In this order.
    Sequence,
    /// These columns (from 0) in this order, whole rows in any.
    Keys(Vec<usize>),
    /// Only how many there are.
    Count,
    /// Nothing: both succeed, or fail alike.
    Runs,
}

/// How an answer is compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Check {
    /// The rows.
    pub order: Order,
    /// Which of several equal numbers stands for all of them (`1.0`, `1.00`) is left open.
    pub loose: bool,
    /// The rows are some of those that this query has on the oracle.
    pub within: Option<String>,
    /// The first line of COPY's data is a header.
    pub header: bool,
    /// COPY's data are CSV: line breaks may stand between quotes.
    pub csv: bool,
}

impl Check {
    /// Rows in any order.
    pub fn bag() -> Self {
        Self::default()
    }

    /// The same for what the text of a COPY says.
    #[must_use]
    pub fn for_sql(mut self, sql: &str) -> Self {
        let sql = sql.to_ascii_lowercase();
        let is_copy = sql.trim_start().starts_with("copy");
        self.header |= is_copy && sql.contains("header");
        self.csv |= is_copy && sql.contains("csv");
        self
    }

    /// Rows in the order of the oracle.
    pub fn sequence() -> Self {
        Self { order: Order::Sequence, ..Self::default() }
    }
}

/// What a comparison showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Equal; both failed with this SQLSTATE, if with any.
    Right(Option<String>),
    /// The proxy refused: which construct.
    Refused(String),
    /// What differs.
    Different(String),
}

/// The construct of a refusal: a short word.
pub fn construct(fault: &Fault) -> String {
    let word = fault.routine.as_str();
    if !word.is_empty() && !word.contains('_') && word.chars().all(|c| !c.is_ascii_uppercase()) {
        return word.into();
    }
    let words: Vec<&str> = fault.message.split_whitespace().take(6).collect();
    format!("{} {}", fault.state, words.join("-"))
}

/// Whether an answer is a refusal.
pub fn refusal(answer: &Answer) -> Option<&Fault> {
    answer.fault().filter(|fault| REFUSALS.contains(&fault.state.as_str()))
}

/// Compares the proxy's answer with the oracle's.
pub fn compare(through: &Answer, plain: &Answer, check: &Check, types: &Types<'_>) -> Verdict {
    let different = |what: String| {
        Verdict::Different(format!(
            "{what}\n    proxy:  {}\n    oracle: {}",
            through.text(),
            plain.text()
        ))
    };
    match (through.fault(), plain.fault()) {
        (Some(ours), Some(theirs)) if are_alike(ours, theirs) => {
            if through.status != plain.status {
                return different("another transaction state".into());
            }
            return Verdict::Right(Some(ours.state.clone()));
        }
        (None, None) => {}
        (Some(ours), _) if REFUSALS.contains(&ours.state.as_str()) => {
            return Verdict::Refused(construct(ours));
        }
        _ => return different("one side failed, or both in different ways".into()),
    }
    if through.status != plain.status {
        return different("another transaction state".into());
    }
    if check.order == Order::Runs {
        return Verdict::Right(None);
    }
    let (our_pieces, their_pieces) = (whole(&through.pieces), whole(&plain.pieces));
    if our_pieces.len() != their_pieces.len() {
        return different("another number of results".into());
    }
    for (ours, theirs) in our_pieces.iter().zip(&their_pieces) {
        if let Err(what) = piece(ours, theirs, check, types) {
            return different(what);
        }
    }
    Verdict::Right(None)
}

/// The same SQLSTATE. Of several rows that violate different constraints any may be found first.
fn are_alike(ours: &Fault, theirs: &Fault) -> bool {
    let violates = |fault: &Fault| fault.state.starts_with("23");
    ours.state == theirs.state || (violates(ours) && violates(theirs))
}

/// Rows that were fetched in portions as one result, whose end tells the portions.
fn whole(pieces: &[Piece]) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (all.last_mut(), piece) {
            (
                Some(Piece::Rows { rows: before, end: last, .. }),
                Piece::Rows { columns: None, rows, end },
            ) if last.ends_with("suspended") => {
                before.extend(rows.iter().cloned());
                *last = format!("{} {end} {}", last, rows.len());
                // What follows may be suspended again.
                if end == "suspended" {
                    last.push_str(" suspended");
                }
            }
            _ => all.push(piece.clone()),
        }
    }
    all
}

fn piece(ours: &Piece, theirs: &Piece, check: &Check, types: &Types<'_>) -> Result<(), String> {
    match (ours, theirs) {
        (
            Piece::Rows { columns: our_columns, rows: ours, end: our_end },
            Piece::Rows { columns: their_columns, rows: theirs, end: their_end },
        ) => {
            same("tag", our_end, their_end)?;
            let empty = Vec::new();
            let (our_columns, their_columns) =
                (our_columns.as_ref().unwrap_or(&empty), their_columns.as_ref().unwrap_or(&empty));
            described(our_columns, their_columns, types)?;
            rows(ours, theirs, their_columns, check)
        }
        (
            Piece::CopyOut { format: our_format, data: ours, end: our_end },
            Piece::CopyOut { format: their_format, data: theirs, end: their_end },
        ) => {
            same("tag", our_end, their_end)?;
            same("format of COPY", our_format, their_format)?;
            let copied = |format: u8, data: &[u8]| copied(format, data, check.csv);
            let (ours, theirs) = (copied(*our_format, ours)?, copied(*their_format, theirs)?);
            if check.header {
                same("header", &ours.first(), &theirs.first())?;
            }
            rows(&ours, &theirs, &[], check)
        }
        (Piece::Described(ours), Piece::Described(theirs)) => described(ours, theirs, types),
        (Piece::Parameters(ours), Piece::Parameters(theirs)) => {
            let equal = ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(our, their)| types.are_equal(*our, *their));
            if equal { Ok(()) } else { Err(format!("parameters {ours:?}, not {theirs:?}")) }
        }
        _ => same("result", ours, theirs),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("{what} {ours:?}, not {theirs:?}")) }
}

fn described(ours: &[Column], theirs: &[Column], types: &Types<'_>) -> Result<(), String> {
    let equal = |(our, their): (&Column, &Column)| {
        our.name == their.name
            && types.are_equal(our.kind, their.kind)
            && our.modifier == their.modifier
            && our.format == their.format
    };
    if ours.len() == theirs.len() && ours.iter().zip(theirs).all(equal) {
        return Ok(());
    }
    Err(format!("columns {ours:?}, not {theirs:?}"))
}

fn rows(ours: &[Row], theirs: &[Row], columns: &[Column], check: &Check) -> Result<(), String> {
    if ours.len() != theirs.len() {
        let bags = bags(ours, theirs).err().unwrap_or_default();
        return Err(format!("{} rows, not {}: {bags}", ours.len(), theirs.len()));
    }
    if check.loose {
        let loosened =
            |rows: &[Row]| -> Vec<Row> { rows.iter().map(|row| loosen(row, columns)).collect() };
        let strict = Check { loose: false, ..check.clone() };
        return rows_as(&loosened(ours), &loosened(theirs), columns, &strict);
    }
    rows_as(ours, theirs, columns, check)
}

fn rows_as(ours: &[Row], theirs: &[Row], columns: &[Column], check: &Check) -> Result<(), String> {
    match &check.order {
        Order::Count | Order::Runs => Ok(()),
        Order::Bag => bags(ours, theirs),
        Order::Sequence => sequences(ours, theirs),
        Order::Keys(keys) => {
            let part = |rows: &[Row]| -> Vec<Row> {
                let loosened = rows.iter().map(|row| loosen(row, columns));
                let key =
                    |row: Row| keys.iter().map(|at| row.get(*at).cloned().flatten()).collect();
                loosened.map(key).collect()
            };
            sequences(&part(ours), &part(theirs))?;
            // With rows left out at the end, which of equal keys are there is open.
            if check.within.is_some() { Ok(()) } else { bags(ours, theirs) }
        }
    }
}

fn sequences(ours: &[Row], theirs: &[Row]) -> Result<(), String> {
    match ours.iter().zip(theirs).position(|(our, their)| our != their) {
        None => Ok(()),
        Some(at) => {
            Err(format!("row {at} in order is {}, not {}", show(&ours[at]), show(&theirs[at])))
        }
    }
}

fn bags(ours: &[Row], theirs: &[Row]) -> Result<(), String> {
    let mut counts: HashMap<&Row, i64> = HashMap::new();
    for row in ours {
        *counts.entry(row).or_default() += 1;
    }
    for row in theirs {
        *counts.entry(row).or_default() -= 1;
    }
    let show = |sign: i64| {
        let rows = counts.iter().filter(|(_, count)| **count * sign > 0).take(SHOWN_ROWS);
        rows.map(|(row, _)| show(row)).collect::<Vec<_>>().join(" ")
    };
    if counts.values().all(|count| *count == 0) {
        return Ok(());
    }
    Err(format!("only from the proxy: {}; only from the oracle: {}", show(1), show(-1)))
}

/// Whether every row is one of these, and none more often.
pub fn are_within(rows: &[&Row], all: &[&Row]) -> bool {
    let mut counts: HashMap<&Row, i64> = HashMap::new();
    for row in all {
        *counts.entry(row).or_default() += 1;
    }
    rows.iter().all(|row| {
        let count = counts.entry(row).or_default();
        *count -= 1;
        *count >= 0
    })
}

/// Numbers without what does not change their value.
fn loosen(row: &Row, columns: &[Column]) -> Row {
    let value = |(at, value): (usize, &Option<Bytes>)| {
        let column = columns.get(at);
        let loose = column.is_some_and(|c| c.format == 0 && LOOSE_TYPES.contains(&c.kind));
        let value = value.as_ref()?;
        if !loose {
            return Some(value.clone());
        }
        let text = String::from_utf8_lossy(value).into_owned();
        let text = if text.contains('.') && !text.contains('e') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        };
        Some(Bytes::from(if text == "-0" { "0".to_owned() } else { text }))
    };
    row.iter().enumerate().map(value).collect()
}

/// COPY's data as rows: lines, or tuples.
fn copied(format: u8, data: &[u8], csv: bool) -> Result<Vec<Row>, String> {
    if format == 1 {
        return tuples(data)
            .ok_or_else(|| format!("binary COPY is broken: {}", data.escape_ascii()));
    }
    let mut rows = Vec::new();
    let (mut line, mut quoted) = (Vec::new(), false);
    for byte in data {
        quoted ^= csv && *byte == b'"';
        if *byte == b'\n' && !quoted {
            rows.push(vec![Some(Bytes::from(std::mem::take(&mut line)))]);
        } else {
            line.push(*byte);
        }
    }
    if line.is_empty() { Ok(rows) } else { Err("COPY's data end within a line".into()) }
}

fn tuples(data: &[u8]) -> Option<Vec<Row>> {
    let rest = data.strip_prefix(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0")?;
    let mut rest = Bytes::copy_from_slice(rest);
    let mut rows = Vec::new();
    loop {
        let count = i16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
        if count == -1 {
            return (rest.len() == 2).then_some(rows);
        }
        let mut length = 2;
        for _ in 0..count {
            let size = rest.get(length..length + 4)?;
            let size = i32::from_be_bytes([size[0], size[1], size[2], size[3]]);
            length += 4 + usize::try_from(size.max(0)).ok()?;
        }
        (rest.len() >= length).then_some(())?;
        rows.push(row(&rest.split_to(length))?);
    }
}

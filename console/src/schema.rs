//! Owns the form of the table of tables: what is known of a table and of a column. The tables
//! themselves are in `tables`; SHOW, SELECT, psql's `\d`, docs/console.md and the tests are all
//! made from them.

use crate::value::Kind;

/// What a number counts; the unit stands last in the column's name where PgBouncer has not named
/// the column already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Not a measure.
    None,
    /// How many.
    Count,
    /// Bytes.
    Bytes,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Of a hundred.
    Percent,
    /// Per second.
    PerSecond,
    /// A UTC time, as text `YYYY-MM-DD HH:MM:SS UTC`.
    Time,
}

impl Unit {
    /// For the documentation; empty when it is not a measure.
    pub const fn word(self) -> &'static str {
        match self {
            Unit::None => "",
            Unit::Count => "count",
            Unit::Bytes => "bytes",
            Unit::Microseconds => "µs",
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::Percent => "%",
            Unit::PerSecond => "1/s",
            Unit::Time => "time",
        }
    }
}

/// One column.
#[derive(Debug)]
pub struct Column {
    /// Its name; in English, lower case.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What its numbers count.
    pub unit: Unit,
    /// A sentence for the documentation and `\d+`.
    pub help: &'static str,
}

/// Where a table comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// PgBouncer has it, with the same columns in the same order.
    PgBouncer,
    /// pgmanifold's own.
    Own,
}

/// One table.
#[derive(Debug)]
pub struct Table {
    /// Its name in SELECT, and after SHOW.
    pub name: &'static str,
    /// Other names for it after SHOW and in SELECT.
    pub aliases: &'static [&'static str],
    /// Whose it is.
    pub origin: Origin,
    /// Sentences for the documentation.
    pub help: &'static str,
    /// Its columns, in the order SHOW has them.
    pub columns: &'static [Column],
}

impl Table {
    /// The place of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// There is one of each.
impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// Short form for the tables.
pub(crate) const fn column(
    name: &'static str,
    kind: Kind,
    unit: Unit,
    help: &'static str,
) -> Column {
    Column { name, kind, unit, help }
}

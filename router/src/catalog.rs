//! Owns the catalog of shard maps as a database has it: the texts that install, read and change
//! it, and what its rows mean. Somebody else runs the texts.
//!
//! A catalog has maps of several databases, each with an epoch of its own. Nothing changes without
//! the epoch: whoever changes a map names the epoch that was read, and has lost when it is not the
//! current one any more.

use crate::key::{KeyType, KeyValue};
use crate::shard_map::{
    Bound, DistributionKind, DistributionParts, Keys, MapParts, Moving, TableParts,
};
use hashbrown::HashMap;
use std::fmt;

mod change;
mod load;
mod moves;

pub use change::{Command, Parameter, change_map, create_map};
pub use load::{
    FORGET_LOAD_SQL, LOAD_PARTS, READ_LOAD_SQL, RESET_LOAD_SQL, WRITE_LOAD_SQL, load_part,
};
pub use moves::{MOVES_SQL, MoveSeen};

/// Version of the schema that this program knows.
pub const VERSION: u32 = 2;
/// Channel that is notified of every change, with the database's name and its epoch.
pub const CHANNEL: &str = "pgm_map";
/// Makes the schema. One query string, to be run as one; again and again if need be.
pub const INSTALL_SQL: &str = include_str!("catalog/install.sql");
/// Reads all maps: `what`, `database` and `fields`, a `text[]`, make a [`Row`].
pub const LOAD_SQL: &str = include_str!("catalog/load.sql");
/// Reads `version`, for the message when [`LOAD_SQL`] asks for what an older catalog has not.
pub const VERSION_SQL: &str = "select version::text as version from pgm.catalog";
/// Reads `database` and `epoch` of all maps, to see whether [`LOAD_SQL`] is worth its cost.
pub const EPOCHS_SQL: &str = "select database, epoch from pgm.cluster order by database";
/// Hears of changes.
pub const LISTEN_SQL: &str = "listen pgm_map";
/// Reports what a process has: `$1` database, `$2` name of the process, `$3` epoch seen, `$4`
/// epoch acknowledged (both `int8`).
pub const REPORT_SQL: &str = "insert into pgm.proxy as p (database, name, seen_epoch, acked_epoch) \
     values ($1, $2, $3, $4) on conflict (database, name) do update \
     set seen_epoch = excluded.seen_epoch, acked_epoch = excluded.acked_epoch, \
     heartbeat = pg_catalog.clock_timestamp()";

/// A row of [`LOAD_SQL`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it tells of.
    pub what: String,
    /// Whose map it belongs to.
    pub database: String,
    /// What it says.
    pub fields: Vec<Option<String>>,
}

/// What a catalog holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Which catalog it is: made when it was installed, never changed.
    pub catalog: String,
    /// Name of each database, and what its map is made of; not checked yet.
    pub maps: Vec<(String, MapParts)>,
}

/// Why rows are not those of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowsError {
    /// The schema has another version than [`VERSION`].
    Version(String),
    /// No row says which catalog it is.
    Unnamed,
    /// A row that means nothing.
    Row(Box<Row>),
}

impl fmt::Display for RowsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(found) => {
                write!(f, "the catalog has version {found}, this program knows {VERSION}")?;
                match found.parse::<u32>().is_ok_and(|found| found < VERSION) {
                    true => f.write_str("; \"pgmanifold map init\" brings it up to date"),
                    false => Ok(()),
                }
            }
            Self::Unnamed => f.write_str("the catalog is not installed completely"),
            Self::Row(row) => write!(
                f,
                "the catalog's row {:?} {:?} {:?} is not understood",
                row.what, row.database, row.fields
            ),
        }
    }
}

impl std::error::Error for RowsError {}

/// Reads the rows of [`LOAD_SQL`], in their order.
///
/// # Errors
/// When one of them cannot be understood: a part of a map is worse than none.
pub fn read_rows(rows: impl IntoIterator<Item = Row>) -> Result<Loaded, RowsError> {
    let mut loaded = Loaded::default();
    // Places of the distributions of the last database, by name.
    let mut places = HashMap::new();
    for row in rows {
        if row.what == "catalog" {
            let [Some(id), Some(version)] = row.fields.as_slice() else {
                return Err(RowsError::Row(Box::new(row)));
            };
            if *version != VERSION.to_string() {
                return Err(RowsError::Version(version.clone()));
            }
            loaded.catalog.clone_from(id);
        } else if read_row(&row, &mut loaded.maps, &mut places).is_none() {
            return Err(RowsError::Row(Box::new(row)));
        }
    }
    if loaded.catalog.is_empty() { Err(RowsError::Unnamed) } else { Ok(loaded) }
}

fn read_row(
    row: &Row,
    maps: &mut Vec<(String, MapParts)>,
    places: &mut HashMap<String, usize>,
) -> Option<()> {
    let fields: Vec<Option<&str>> = row.fields.iter().map(Option::as_deref).collect();
    if let ("cluster", [Some(epoch), Some(home)]) = (row.what.as_str(), fields.as_slice()) {
        let (epoch, home) = (epoch.parse().ok()?, (*home).into());
        maps.push((row.database.clone(), MapParts { epoch, home, ..MapParts::default() }));
        places.clear();
        return Some(());
    }
    let (_, parts) = maps.last_mut().filter(|(name, _)| *name == row.database)?;
    match (row.what.as_str(), fields.as_slice()) {
        ("shard", [Some(name)]) => parts.shards.push((*name).into()),
        ("distribution", [Some(name), Some(kind), home, types @ ..]) => {
            places.insert((*name).to_owned(), parts.distributions.len());
            let types = types.iter().map(|name| KeyType::from_name((*name)?));
            parts.distributions.push(DistributionParts {
                name: (*name).into(),
                kind: DistributionKind::from_name(kind)?,
                key_types: types.collect::<Option<_>>()?,
                ranges: Vec::new(),
                values: Vec::new(),
                home: home.map(Into::into),
                moving: Vec::new(),
            });
        }
        ("range", [Some(name), Some(shard), hash, starts]) => {
            let distribution = parts.distributions.get_mut(*places.get(*name)?)?;
            let from = match (distribution.kind, hash, starts) {
                (_, None, None) => None,
                (DistributionKind::Hash, Some(hash), None) => Some(Bound::Hash(hash.parse().ok()?)),
                (_, None, Some(text)) => Some(Bound::Value(value(distribution, text)?)),
                _ => return None,
            };
            distribution.ranges.push((from, (*shard).into()));
        }
        ("value", [Some(name), Some(shard), Some(text)]) => {
            let distribution = parts.distributions.get_mut(*places.get(*name)?)?;
            let value = value(distribution, text)?;
            distribution.values.push((value, (*shard).into()));
        }
        ("moving", fields) => return read_moving(fields, parts, places),
        (
            "table",
            [Some(schema), Some(name), Some(distribution), Some(unchecked), columns @ ..],
        ) => {
            parts.tables.push(TableParts {
                schema: (*schema).into(),
                name: (*name).into(),
                distribution: (*distribution).into(),
                unchecked_unique: truth(unchecked)?,
                key_columns: columns
                    .iter()
                    .map(|column| column.map(Into::into))
                    .collect::<Option<_>>()?,
            });
        }
        _ => return None,
    }
    Some(())
}

fn read_moving(
    fields: &[Option<&str>],
    parts: &mut MapParts,
    places: &HashMap<String, usize>,
) -> Option<()> {
    let [Some(name), Some(id), Some(source), Some(target), Some(paused), from, to, values @ ..] =
        fields
    else {
        return None;
    };
    let distribution = parts.distributions.get_mut(*places.get(*name)?)?;
    let moving = Moving {
        id: id.parse().ok()?,
        keys: keys(distribution, *from, *to, values)?,
        source: (*source).into(),
        target: (*target).into(),
        paused: truth(paused)?,
    };
    distribution.moving.push(moving);
    Some(())
}

fn truth(word: &str) -> Option<bool> {
    match word {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn keys(
    distribution: &DistributionParts,
    from: Option<&str>,
    to: Option<&str>,
    values: &[Option<&str>],
) -> Option<Keys> {
    let border = |text: &str| match distribution.kind {
        DistributionKind::Hash => text.parse().ok().map(Bound::Hash),
        _ => value(distribution, text).map(Bound::Value),
    };
    if distribution.kind == DistributionKind::List {
        let values = values.iter().map(|text| value(distribution, (*text)?));
        return Some(Keys::Values(values.collect::<Option<_>>()?));
    }
    let (from, to) = (from.map(border), to.map(border));
    match (from, to) {
        (Some(None), _) | (_, Some(None)) => None,
        (from, to) => Some(Keys::Between(from.flatten(), to.flatten())),
    }
}

fn value(distribution: &DistributionParts, text: &str) -> Option<KeyValue> {
    KeyValue::from_text(*distribution.key_types.first()?, text)
}

#[cfg(test)]
mod tests;

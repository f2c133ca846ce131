//! Owns maps as text: one line per part, as people read it, and the same with a version and a
//! checksum, as it is kept on disk. A stored map is read back exactly or not at all.

use super::{
    Bound, DistributionKind, DistributionParts, Keys, MapError, MapParts, Moving, ShardMap,
    TableParts,
};
use crate::hash::hash_bytes;
use crate::key::{KeyType, KeyValue};
use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

/// First line of a stored map: a program reads the versions it knows.
const VERSION_LINE: &str = "pgmanifold shard map 2";
/// Before the checksum, on the last line.
const CHECKSUM: &str = "checksum ";
/// Longest stored map that is read (256 MiB).
const MAX_STORED_BYTES: usize = 256 << 20;

/// Why a stored map is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredMapError {
    /// Longer than any map, or not in the form of this version.
    Form,
    /// Its first line names another version.
    Version,
    /// It is not what was written.
    Checksum,
    /// This line, from 1, is not part of a map.
    Line(usize),
    /// The parts do not make a map.
    Map(Vec<MapError>),
}

impl fmt::Display for StoredMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("it is not a stored shard map"),
            Self::Version => f.write_str("it is a shard map of another version"),
            Self::Checksum => f.write_str("the checksum does not fit"),
            Self::Line(line) => write!(f, "line {line} is not part of a shard map"),
            Self::Map(errors) => {
                f.write_str("it is not consistent")?;
                errors.iter().try_for_each(|error| write!(f, "; {error}"))
            }
        }
    }
}

impl std::error::Error for StoredMapError {}

/// The map as it is kept on disk.
pub fn to_stored(map: &ShardMap) -> String {
    let text = format!("{VERSION_LINE}\n{map}");
    let checksum = hash_bytes(text.as_bytes());
    format!("{text}{CHECKSUM}{checksum:016x}\n")
}

/// Reads what [`to_stored`] wrote.
///
/// # Errors
/// When a byte of it is not as it was written.
pub fn from_stored(stored: &str) -> Result<ShardMap, StoredMapError> {
    if stored.len() > MAX_STORED_BYTES {
        return Err(StoredMapError::Form);
    }
    let first = stored.lines().next().unwrap_or_default();
    if first != VERSION_LINE {
        let is_other = first.starts_with("pgmanifold shard map ");
        return Err(if is_other { StoredMapError::Version } else { StoredMapError::Form });
    }
    let body = stored.strip_suffix('\n').and_then(|text| text.rfind('\n')).map(|at| at + 1);
    let (text, last) =
        body.and_then(|at| stored.split_at_checked(at)).ok_or(StoredMapError::Form)?;
    if last != format!("{CHECKSUM}{:016x}\n", hash_bytes(text.as_bytes())) {
        return Err(StoredMapError::Checksum);
    }
    let mut parts = MapParts::default();
    for (at, line) in text.lines().enumerate().skip(1) {
        read_line(line, &mut parts).ok_or(StoredMapError::Line(at + 1))?;
    }
    let map = ShardMap::build(parts).map_err(StoredMapError::Map)?;
    // Whatever else the lines above might mean, a map has one form only.
    if to_stored(&map) == stored { Ok(map) } else { Err(StoredMapError::Form) }
}

/// One line of [`ShardMap`]'s text, added to the parts.
fn read_line(line: &str, parts: &mut MapParts) -> Option<()> {
    let words = words(line)?;
    let mut words = words.iter().map(String::as_str);
    let rest = match words.next()? {
        "epoch" => {
            parts.epoch = words.next()?.parse().ok()?;
            words
        }
        "shard" => {
            parts.shards.push(words.next()?.into());
            words
        }
        "home" => {
            parts.home = words.next()?.into();
            words
        }
        "distribution" => {
            parts.distributions.push(read_distribution(words)?);
            return Some(());
        }
        "range" => {
            let distribution = parts.distributions.last_mut()?;
            let from = match words.next()? {
                "beginning" => None,
                "hash" => Some(Bound::Hash(words.next()?.parse().ok()?)),
                "value" => Some(Bound::Value(read_value(distribution, words.next()?)?)),
                _ => return None,
            };
            distribution.ranges.push((from, words.next()?.into()));
            words
        }
        "value" => {
            let distribution = parts.distributions.last_mut()?;
            let value = read_value(distribution, words.next()?)?;
            distribution.values.push((value, words.next()?.into()));
            words
        }
        "moving" => {
            let distribution = parts.distributions.last_mut()?;
            let moving = read_moving(distribution, words)?;
            distribution.moving.push(moving);
            return Some(());
        }
        "table" => {
            parts.tables.push(TableParts {
                schema: words.next()?.into(),
                name: words.next()?.into(),
                distribution: words.next()?.into(),
                key_columns: words.map(Into::into).collect(),
                unchecked_unique: false,
            });
            return Some(());
        }
        "unchecked_unique" => {
            parts.tables.last_mut()?.unchecked_unique = true;
            words
        }
        _ => return None,
    };
    (rest.count() == 0).then_some(())
}

fn read_distribution<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<DistributionParts> {
    let name = words.next()?.into();
    let kind = DistributionKind::from_name(words.next()?)?;
    let mut parts = DistributionParts {
        name,
        kind,
        key_types: Vec::new(),
        ranges: Vec::new(),
        values: Vec::new(),
        home: None,
        moving: Vec::new(),
    };
    if kind == DistributionKind::Single {
        parts.home = Some(words.next()?.into());
    }
    parts.key_types = words.map(KeyType::from_name).collect::<Option<_>>()?;
    Some(parts)
}

/// `moving ID SOURCE TARGET open|paused values V…`, or `… between BORDER BORDER` with borders as
/// they stand in a range.
fn read_moving<'a>(
    distribution: &DistributionParts,
    mut words: impl Iterator<Item = &'a str>,
) -> Option<Moving<Box<str>>> {
    let id = words.next()?.parse().ok()?;
    let (source, target) = (words.next()?.into(), words.next()?.into());
    let paused = match words.next()? {
        "open" => false,
        "paused" => true,
        _ => return None,
    };
    let keys = match words.next()? {
        "values" => {
            let values = words.map(|text| read_value(distribution, text));
            return Some(Moving {
                id,
                keys: Keys::Values(values.collect::<Option<_>>()?),
                source,
                target,
                paused,
            });
        }
        "between" => {
            let mut border = || match words.next()? {
                "open" => Some(None),
                "hash" => Some(Some(Bound::Hash(words.next()?.parse().ok()?))),
                "value" => Some(Some(Bound::Value(read_value(distribution, words.next()?)?))),
                _ => None,
            };
            Keys::Between(border()?, border()?)
        }
        _ => return None,
    };
    words.next().is_none().then_some(Moving { id, keys, source, target, paused })
}

fn read_value(distribution: &DistributionParts, text: &str) -> Option<KeyValue> {
    KeyValue::from_text(*distribution.key_types.first()?, text)
}

/// Words between single blanks; those in quotes without them.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.chars().peekable();
    loop {
        words.push(match rest.next_if_eq(&'"') {
            Some(_) => unquoted(&mut rest)?,
            None => std::iter::from_fn(|| rest.next_if(|c| *c != ' ')).collect(),
        });
        match rest.next() {
            None => return Some(words),
            Some(' ') => {}
            Some(_) => return None,
        }
    }
}

fn unquoted(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut text = String::new();
    loop {
        text.push(match rest.next()? {
            '"' => return Some(text),
            '\\' => match rest.next()? {
                'n' => '\n',
                'r' => '\r',
                other => other,
            },
            other => other,
        });
    }
}

/// Text in double quotes, on one line.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '"' | '\\' => write!(f, "\\{character}")?,
                other => f.write_char(other)?,
            }
        }
        f.write_char('"')
    }
}

impl fmt::Display for ShardMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "epoch {}", self.epoch)?;
        for shard in &self.shards {
            writeln!(f, "shard {}", Quoted(shard))?;
        }
        writeln!(f, "home {}", Quoted(self.name(self.home)))?;
        for distribution in &self.distributions {
            write!(f, "distribution {} {}", Quoted(&distribution.name), distribution.kind)?;
            if distribution.kind == DistributionKind::Single {
                write!(f, " {}", Quoted(self.name(distribution.home)))?;
            }
            distribution.key_types.iter().try_for_each(|ty| write!(f, " {ty}"))?;
            writeln!(f)?;
            for range in &distribution.ranges {
                match &range.from {
                    None => f.write_str("range beginning")?,
                    Some(Bound::Hash(from)) => write!(f, "range hash {from}")?,
                    Some(Bound::Value(from)) => {
                        write!(f, "range value {}", Quoted(&from.to_string()))?;
                    }
                }
                writeln!(f, " {}", Quoted(self.name(range.shard)))?;
            }
            for (value, shard) in &distribution.values {
                let value = value.to_string();
                writeln!(f, "value {} {}", Quoted(&value), Quoted(self.name(*shard)))?;
            }
            distribution.moving.iter().try_for_each(|moving| self.write_moving(f, moving))?;
        }
        for table in &self.tables {
            let distribution = &self.distribution(table).name;
            write!(f, "table {} {}", Quoted(&table.schema), Quoted(&table.name))?;
            write!(f, " {}", Quoted(distribution))?;
            table.key_columns.iter().try_for_each(|column| write!(f, " {}", Quoted(column)))?;
            writeln!(f)?;
            if table.unchecked_unique {
                writeln!(f, "unchecked_unique")?;
            }
        }
        Ok(())
    }
}

impl ShardMap {
    fn write_moving(&self, f: &mut fmt::Formatter<'_>, moving: &Moving) -> fmt::Result {
        let (source, target) = (self.name(moving.source), self.name(moving.target));
        write!(f, "moving {} {} {}", moving.id, Quoted(source), Quoted(target))?;
        f.write_str(if moving.paused { " paused" } else { " open" })?;
        match &moving.keys {
            Keys::Values(values) => {
                f.write_str(" values")?;
                let mut values = values.iter().map(ToString::to_string);
                values.try_for_each(|value| write!(f, " {}", Quoted(&value)))?;
            }
            Keys::Between(from, to) => {
                f.write_str(" between")?;
                [from, to].into_iter().try_for_each(|border| match border {
                    None => f.write_str(" open"),
                    Some(Bound::Hash(hash)) => write!(f, " hash {hash}"),
                    Some(Bound::Value(value)) => write!(f, " value {}", Quoted(&value.to_string())),
                })?;
            }
        }
        writeln!(f)
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(hash) => write!(f, "{hash}"),
            Self::Value(value) => write!(f, "{value}"),
        }
    }
}

impl DistributionKind {
    /// The kind as one lowercase word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Range => "range",
            Self::List => "list",
            Self::Reference => "reference",
            Self::Single => "single",
        }
    }

    /// Reads the word of [`Self::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Hash, Self::Range, Self::List, Self::Reference, Self::Single]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for DistributionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

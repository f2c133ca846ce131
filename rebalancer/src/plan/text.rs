//! Owns keys as text: on the command line, in plans, in the catalog's rows of moves. Borders of
//! hashes are integers, those of keys are the keys, as PostgreSQL prints them.

use crate::error::Error;
use pgmanifold_router::key::KeyValue;
use pgmanifold_router::shard_map::{Bound, Distribution, DistributionKind, Keys, ShardMap};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Keys as text. What text means depends on the distribution: its kind and the type of its key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysText {
    /// The first border; `None` is the very beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The border beyond the last key; `None` is the very end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Of a list: the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
}

impl KeysText {
    /// Keys of a map or of a plan.
    pub fn of(keys: &Keys) -> Self {
        let border = |bound: &Option<Bound>| bound.as_ref().map(ToString::to_string);
        match keys {
            Keys::Between(from, to) => Self { from: border(from), to: border(to), values: None },
            Keys::Values(values) => {
                let values = values.iter().map(ToString::to_string).collect();
                Self { values: Some(values), ..Self::default() }
            }
        }
    }

    /// The keys that this is the text of.
    ///
    /// # Errors
    /// What is not a border or a value of the distribution, or keys that are none.
    pub fn keys(&self, found: &Distribution) -> Result<Keys, Error> {
        let wrong = |message: &str| Error::Usage(format!("keys of {:?}: {message}", found.name));
        if found.kind == DistributionKind::List {
            if self.from.is_some() || self.to.is_some() {
                return Err(wrong("they are a list of values, and have no borders"));
            }
            let texts = self.values.as_deref().unwrap_or_default();
            let values: Vec<KeyValue> =
                texts.iter().map(|text| value(found, text)).collect::<Result<_, _>>()?;
            return match values.is_empty() {
                true => Err(wrong("no values are named")),
                false => Ok(Keys::Values(values)),
            };
        }
        if self.values.is_some() {
            return Err(wrong("they are between borders, and are not listed"));
        }
        let border = |text: &Option<String>| text.as_deref().map(|t| bound(found, t)).transpose();
        let (from, to) = (border(&self.from)?, border(&self.to)?);
        match (&from, &to) {
            (Some(first), Some(last)) if first >= last => {
                Err(wrong(&format!("{last} is not beyond {first}")))
            }
            _ => Ok(Keys::Between(from, to)),
        }
    }
}

impl fmt::Display for KeysText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(values) = &self.values {
            return write!(f, "{{{}}}", values.join(", "));
        }
        match &self.from {
            Some(from) => write!(f, "[{from}, ")?,
            None => f.write_str("[beginning, ")?,
        }
        match &self.to {
            Some(to) => write!(f, "{to})"),
            None => f.write_str("end]"),
        }
    }
}

/// The index of the distribution of this name.
///
/// # Errors
/// There is none.
pub fn distribution(map: &ShardMap, name: &str) -> Result<usize, Error> {
    let place = map.distributions.iter().position(|one| &*one.name == name);
    place.ok_or_else(|| {
        let names: Vec<&str> = map.distributions.iter().map(|one| &*one.name).collect();
        Error::Usage(format!(
            "there is no distribution {name:?}; there are: {}",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        ))
    })
}

/// The name of a shard of the map, as the map has it.
///
/// # Errors
/// There is none of this name.
pub fn shard(map: &ShardMap, name: &str) -> Result<usize, Error> {
    let place = map.shards.iter().position(|shard| &**shard == name);
    place.ok_or_else(|| {
        Error::Usage(format!("there is no shard {name:?}; there are: {}", map.shards.join(", ")))
    })
}

/// A border of a distribution by hash or by range.
///
/// # Errors
/// The text is none, or the distribution has no borders.
pub fn bound(found: &Distribution, text: &str) -> Result<Bound, Error> {
    match found.kind {
        DistributionKind::Hash => text.trim().parse().map(Bound::Hash).map_err(|_| {
            Error::Usage(format!("{text:?} is not a border of hashes: a 64-bit integer"))
        }),
        DistributionKind::Range => value(found, text).map(Bound::Value),
        kind => Err(Error::Usage(format!(
            "distribution {:?} is by {kind}: it has no borders",
            found.name
        ))),
    }
}

/// A value of the key of a distribution by range or list.
///
/// # Errors
/// The text is none.
pub fn value(found: &Distribution, text: &str) -> Result<KeyValue, Error> {
    let ty = found.key_types.first().filter(|_| found.key_types.len() == 1);
    let ty = ty.ok_or_else(|| {
        Error::Usage(format!("distribution {:?} has no key of one column", found.name))
    })?;
    KeyValue::from_text(*ty, text)
        .ok_or_else(|| Error::Usage(format!("{text:?} is not a value of type {ty}")))
}

/// A whole key, one text for each of its columns.
///
/// # Errors
/// Another number of columns, or a text that is no value of its column's type.
pub fn key(found: &Distribution, texts: &[String]) -> Result<Vec<KeyValue>, Error> {
    if found.key_types.is_empty() || texts.len() != found.key_types.len() {
        return Err(Error::Usage(format!(
            "a key of {:?} has {} columns, {} are given",
            found.name,
            found.key_types.len(),
            texts.len()
        )));
    }
    let pairs = found.key_types.iter().zip(texts);
    let values = pairs.map(|(ty, text)| {
        KeyValue::from_text(*ty, text)
            .ok_or_else(|| Error::Usage(format!("{text:?} is not a value of type {ty}")))
    });
    values.collect()
}

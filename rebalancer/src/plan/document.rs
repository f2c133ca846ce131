//! Owns a plan as a document: what is proposed, with figures of before and after; as JSON that is
//! read back; and what is left of it when the map has gone on.

use super::PlannedMove;
use super::parts::{By, Weight};
use super::text::{self, KeysText};
use crate::error::Error;
use pgmanifold_router::shard_map::{Bound, ShardMap};
use serde::{Deserialize, Serialize};

/// Version of the document; others are refused.
pub const VERSION: u32 = 1;
/// Longest document that is read (64 MiB).
pub const MAX_BYTES: usize = 64 << 20;

/// What is proposed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// The sharded database.
    pub database: String,
    /// Epoch of the map it was made for.
    pub epoch: u64,
    /// What it was asked for, in words.
    pub purpose: String,
    /// What was to be alike.
    pub by: By,
    /// Moves, in their order.
    pub moves: Vec<Proposal>,
    /// Borders that are to be made. Those of moves are made by the moves.
    pub splits: Vec<Border>,
    /// Borders that are not needed when all moves are done.
    pub merges: Vec<Border>,
    /// All shards, in the map's order.
    pub shards: Vec<ShardFigures>,
    /// The distributions that were looked at.
    pub distributions: Vec<DistributionFigures>,
    /// Keys that stay together and are too much.
    pub indivisible: Vec<Indivisible>,
    /// What else is to be known.
    pub notes: Vec<String>,
}

/// A move, with what it moves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// Name of the distribution.
    pub distribution: String,
    /// Which keys.
    pub keys: KeysText,
    /// Who has them.
    pub source: String,
    /// Who is to have them.
    pub target: String,
    /// What lies in them.
    pub weight: Weight,
    /// Why.
    pub reason: String,
}

/// A border between ranges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Border {
    /// Name of the distribution.
    pub distribution: String,
    /// Where.
    pub at: String,
    /// Who has the keys on both sides.
    pub shard: String,
    /// It comes with a move.
    #[serde(default)]
    pub with_move: bool,
}

/// What a shard has, of all distributions that were looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardFigures {
    /// Its name.
    pub name: String,
    /// It is to have nothing.
    pub drained: bool,
    /// What it has.
    pub before: Weight,
    /// What it has when all is done.
    pub after: Weight,
    /// Its part of everything, of what was to be alike.
    pub share_before: f64,
    /// The same when all is done.
    pub share_after: f64,
}

/// A distribution, in figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistributionFigures {
    /// Its name.
    pub name: String,
    /// What it has.
    pub weight: Weight,
    /// How much more than the average the fullest shard has: 0.1 is a tenth.
    pub imbalance_before: f64,
    /// The same when all is done, of those shards that are to have something.
    pub imbalance_after: f64,
    /// Bytes that are moved.
    pub bytes_moved: u64,
    /// Fewest bytes by which shards would become alike, were all parts divisible.
    pub bytes_bound: u64,
}

/// Keys that stay together and are too much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Indivisible {
    /// Name of the distribution.
    pub distribution: String,
    /// Who has them when all is done.
    pub shard: String,
    /// Which keys.
    pub keys: KeysText,
    /// They are this one key.
    pub key: Option<String>,
    /// What lies in them.
    pub weight: Weight,
    /// How many equal shares that is.
    pub shares: f64,
    /// What can be done.
    pub advice: String,
}

impl Plan {
    /// Nothing is proposed.
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.splits.is_empty() && self.merges.is_empty()
    }

    /// What all moves move.
    pub fn moved(&self) -> Weight {
        self.moves.iter().map(|one| one.weight).sum()
    }

    /// The document.
    pub fn to_json(&self) -> String {
        // No map with keys that are not text, and nothing else that could fail, is in it.
        let json = serde_json::to_string_pretty(self).expect("invariant: a plan can be written");
        json + "\n"
    }

    /// Reads what [`Plan::to_json`] wrote.
    ///
    /// # Errors
    /// It is something else, or of another version.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let wrong = |error: serde_json::Error| Error::Usage(format!("this is no plan: {error}"));
        if json.len() > MAX_BYTES {
            return Err(Error::Usage(format!("this is no plan: longer than {MAX_BYTES} bytes")));
        }
        let Version { version } = serde_json::from_str(json).map_err(wrong)?;
        if version != VERSION {
            let message = format!("the plan has version {version}, this program knows {VERSION}");
            return Err(Error::Usage(message));
        }
        serde_json::from_str(json).map_err(wrong)
    }

    /// The moves that are left to do, in their order: those whose keys the target has, or that are
    /// on their way there, are left out.
    ///
    /// # Errors
    /// The plan is another database's, or the map has changed so that it means something else: keys
    /// are not all the source's any more, or are on another way.
    pub fn moves_left(&self, database: &str, map: &ShardMap) -> Result<Vec<PlannedMove>, Error> {
        if self.database != database {
            let message = format!("the plan is for database {:?}, not {database:?}", self.database);
            return Err(Error::Usage(message));
        }
        let mut left = Vec::new();
        let mut wrong = Vec::new();
        for (at, proposal) in self.moves.iter().enumerate() {
            match proposal.left(map) {
                Ok(Some(planned)) => left.push(planned),
                Ok(None) => {}
                Err(reason) => wrong.push(format!("move {} of the plan: {reason}", at + 1)),
            }
        }
        if wrong.is_empty() {
            return Ok(left);
        }
        wrong.push(format!(
            "the plan was made for epoch {}, the map has epoch {}: plan again",
            self.epoch, map.epoch
        ));
        Err(Error::Refused(wrong.join("\n")))
    }

    /// The map with the borders that do not come with a move; `None` when it has them all.
    ///
    /// # Errors
    /// A border that is none of its distribution's.
    pub fn split_left(&self, map: &ShardMap) -> Result<Option<ShardMap>, Error> {
        let mut next: Option<ShardMap> = None;
        for border in self.splits.iter().filter(|border| !border.with_move) {
            let (place, at) = border.read(map)?;
            let now = next.as_ref().unwrap_or(map);
            if !begins(now, place, &at) {
                let found = now.split(place, at).map_err(|errors| refused(&errors))?;
                next = Some(found.with_epoch(map.epoch.saturating_add(1)));
            }
        }
        Ok(next)
    }

    /// The map without the borders that are not needed; `None` when nothing is to be done. Borders
    /// whose sides are not one shard's, or that belong to keys on their way, stay.
    ///
    /// # Errors
    /// A border that is none of its distribution's.
    pub fn merge_left(&self, map: &ShardMap) -> Result<Option<ShardMap>, Error> {
        let mut next: Option<ShardMap> = None;
        for border in &self.merges {
            let (place, at) = border.read(map)?;
            let now = next.as_ref().unwrap_or(map);
            if begins(now, place, &at)
                && let Ok(found) = now.merge(place, &at)
            {
                next = Some(found.with_epoch(map.epoch.saturating_add(1)));
            }
        }
        Ok(next)
    }
}

fn begins(map: &ShardMap, distribution: usize, at: &Bound) -> bool {
    let found = map.distributions.get(distribution);
    found.is_some_and(|one| one.ranges.iter().any(|range| range.from.as_ref() == Some(at)))
}

fn refused(errors: &[pgmanifold_router::shard_map::MapError]) -> Error {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Error::Refused(lines.join("\n"))
}

impl Border {
    fn read(&self, map: &ShardMap) -> Result<(usize, Bound), Error> {
        let place = text::distribution(map, &self.distribution)?;
        Ok((place, text::bound(&map.distributions[place], &self.at)?))
    }
}

impl Proposal {
    /// The move, unless it is done or on its way; or what is in its way.
    fn left(&self, map: &ShardMap) -> Result<Option<PlannedMove>, String> {
        let read = || -> Result<_, Error> {
            let place = text::distribution(map, &self.distribution)?;
            let keys = self.keys.keys(&map.distributions[place])?;
            text::shard(map, &self.source)?;
            text::shard(map, &self.target)?;
            Ok((place, keys))
        };
        let (place, keys) = read().map_err(|error| error.to_string())?;
        let found = &map.distributions[place];
        if let Some(moving) = found.moving.iter().find(|moving| moving.keys.meet(&keys)) {
            return match moving.keys == keys && map.name(moving.target) == self.target {
                true => Ok(None),
                false => Err(format!("keys {keys} meet those of move {}", moving.id)),
            };
        }
        match found.owner_of(&keys).map(|shard| map.name(shard)) {
            Some(owner) if owner == self.target => Ok(None),
            Some(owner) if owner == self.source => Ok(Some(PlannedMove {
                distribution: self.distribution.clone(),
                keys,
                source: self.source.clone(),
                target: self.target.clone(),
            })),
            Some(owner) => Err(format!("shard {owner:?} has keys {keys}, not {:?}", self.source)),
            None => Err(format!("keys {keys} are not all of {:?}", self.source)),
        }
    }
}

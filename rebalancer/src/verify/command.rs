//! Owns the command `verify`: whether every shard has the rows it should, and only those; and
//! whether two shards have the same where both hold keys that are on their way.

use super::placement::{Placed, placed};
use super::{Ends, PairLimits, Report, Scope, compare, pair};
use crate::config::Config;
use crate::connect::{self, Session};
use crate::error::Error;
use crate::journal::{Journal, Mode, Move};
use crate::replicate::Direction;
use crate::state::State;
use pgmanifold_router::shard_map::{DistributionKind, Keys, ShardMap};
use serde::Serialize;
use std::fmt;
use tokio::task::JoinSet;

/// Looks that begin again because the map has changed meanwhile.
const LOOKS_MAX: u32 = 3;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The map's epoch.
    pub epoch: u64,
    /// What each shard has of each table.
    pub placed: Vec<Placed>,
    /// Comparisons of two shards.
    pub compared: Vec<Report>,
    /// What was not compared, and why.
    pub not_compared: Vec<String>,
}

/// Looks at these keys of one distribution, or at everything. It must not be given the lease: it
/// changes nothing but `pgm.marker`.
///
/// # Errors
/// What catalog and shards say; the map changes all the time.
pub async fn verify(journal: &Journal, range: Option<(usize, Keys)>) -> Result<Verified, Error> {
    for _ in 0..LOOKS_MAX {
        let map = journal.map().await?;
        let placed = look(journal.config(), &map, range.as_ref()).await?;
        // While keys change hands, rows are where another map wants them.
        if journal.map().await?.epoch != map.epoch {
            continue;
        }
        let (compared, not_compared) = comparisons(journal, &map, range.as_ref()).await?;
        return Ok(Verified { epoch: map.epoch, placed, compared, not_compared });
    }
    Err(Error::Conflict("the map changes all the time; repeat it later".to_owned()))
}

async fn look(
    config: &Config,
    map: &ShardMap,
    range: Option<&(usize, Keys)>,
) -> Result<Vec<Placed>, Error> {
    let spread = map.distributions.iter().enumerate().filter(|(at, one)| {
        let kinds = [DistributionKind::Hash, DistributionKind::Range, DistributionKind::List];
        kinds.contains(&one.kind) && range.is_none_or(|(wanted, _)| wanted == at)
    });
    let spread: Vec<usize> = spread.map(|(at, _)| at).collect();
    let mut shards = JoinSet::new();
    for shard in map.all() {
        let server = config.shard(map.name(shard))?.server.clone();
        let (map, spread, range) = (map.clone(), spread.clone(), range.cloned());
        shards.spawn(async move {
            let place = format!("shard {}", map.name(shard));
            let session = connect::primary(&server, &place).await?;
            let mut found = Vec::new();
            for at in spread {
                let keys = range.as_ref().map(|(_, keys)| keys);
                found.extend(placed(&session, &map, (at, keys), shard).await?);
            }
            Ok::<_, Error>((shard, found))
        });
    }
    let mut found = Vec::new();
    while let Some(ended) = shards.join_next().await {
        found.push(ended.map_err(|error| Error::Stopped(error.to_string()))??);
    }
    found.sort_by_key(|(shard, _)| *shard);
    Ok(found.into_iter().flat_map(|(_, placed)| placed).collect())
}

/// Compares both sides of every move whose keys are among those that are meant.
async fn comparisons(
    journal: &Journal,
    map: &ShardMap,
    range: Option<&(usize, Keys)>,
) -> Result<(Vec<Report>, Vec<String>), Error> {
    let (mut compared, mut not_compared) = (Vec::new(), Vec::new());
    for one in journal.moves().await?.into_iter().filter(|one| !one.state.is_end()) {
        let at = map.distributions.iter().position(|known| *known.name == *one.distribution);
        let Some(at) = at else { continue };
        let is_meant = |(wanted, keys): &(usize, Keys)| *wanted == at && keys.meet(&one.keys);
        if !range.is_none_or(is_meant) {
            continue;
        }
        match direction(&one) {
            Ok(way) => {
                let scope = Scope { map, distribution: at, keys: &one.keys };
                compared.push(both(journal.config(), &one, &scope, way).await?);
            }
            Err(why) => not_compared.push(format!("keys {} of move {}: {why}", one.keys, one.id)),
        }
    }
    let others = "all other keys: one shard has them, and there is nothing to compare them with";
    not_compared.push(others.to_owned());
    Ok((compared, not_compared))
}

/// Which way changes flow between the two shards, or why none do.
fn direction(one: &Move) -> Result<Direction, String> {
    match (one.mode, one.state) {
        (Mode::Online, State::Verifying | State::Ready) => Ok(Direction::Forward),
        (Mode::Online, State::Reversible) => Ok(Direction::Back),
        (Mode::Online, state) => Err(format!("while it is {state}, neither side is complete")),
        (Mode::Offline, _) => Err("it is offline: no changes flow between its shards".to_owned()),
    }
}

async fn both(
    config: &Config,
    one: &Move,
    scope: &Scope<'_>,
    way: Direction,
) -> Result<Report, Error> {
    let (leader, follower) = match way {
        Direction::Forward => (&one.source, &one.target),
        Direction::Back => (&one.target, &one.source),
    };
    let session = async |name: &str| -> Result<Session, Error> {
        connect::primary(&config.shard(name)?.server, &format!("shard {name}")).await
    };
    let ends = Ends {
        locker: session(leader).await?,
        leader: session(leader).await?,
        follower: session(follower).await?,
    };
    let limits = PairLimits { lock_timeout: config.limits.lock_timeout, ..PairLimits::default() };
    let pair = pair(ends, scope, (one.id, way), &limits).await?;
    let report = compare(&pair, scope).await;
    pair.end().await?;
    report
}

impl Verified {
    /// Everything is right, or an error that says what is not.
    ///
    /// # Errors
    /// [`Error::Stopped`] with everything that was found.
    pub fn verdict(&self) -> Result<(), Error> {
        let right = self.placed.iter().all(|one| one.misplaced == 0)
            && self.compared.iter().all(|report| report.mismatches.is_empty());
        if right { Ok(()) } else { Err(Error::Stopped(self.to_string())) }
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}", self.epoch)?;
        for one in &self.placed {
            let Placed { shard, table, own, hidden, misplaced, misplaced_keys } = one;
            write!(f, "\n{shard} {table}: {own} rows of its own")?;
            if *hidden > 0 {
                write!(f, ", {hidden} hidden ones of keys that are on their way")?;
            }
            if *misplaced > 0 {
                write!(f, ", {misplaced} MISPLACED: keys {}", misplaced_keys.join(", "))?;
            }
        }
        for report in &self.compared {
            write!(f, "\n{report}")?;
        }
        for one in &self.not_compared {
            write!(f, "\nnot compared: {one}")?;
        }
        Ok(())
    }
}

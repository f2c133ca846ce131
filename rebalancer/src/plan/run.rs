//! Owns the command `plan`: reads the map and what lies where, has a plan made, and shows it.

use super::args::{Narrow, PlanArgs};
use super::balance::Rules;
use super::document::Plan;
use super::parts::{By, Parts};
use super::stats::{self, Options};
use super::text::KeysText;
use super::{narrow, text, together::together};
use crate::config::Config;
use crate::error::Error;
use crate::journal::Journal;
use pgmanifold_router::shard_map::{Bound, DistributionKind, Keys, ShardId, ShardMap};
use std::fmt::Write as _;
use std::sync::Arc;

/// Plans, and prints the plan, as tables or as JSON.
///
/// # Errors
/// What is wrong with the question, or what the catalog or a shard says.
pub async fn run(config: Arc<Config>, args: &PlanArgs, json: bool) -> Result<(), Error> {
    let plan = make(config, args).await?;
    let output = &args.shown().output;
    if let Some(file) = output {
        std::fs::write(file, plan.to_json())
            .map_err(|error| Error::Usage(format!("{}: {error}", file.display())))?;
    }
    match (json, output) {
        (true, _) => print!("{}", plan.to_json()),
        (false, None) => print!("{plan}"),
        (false, Some(_)) if plan.is_empty() => print!("{plan}"),
        (false, Some(file)) => {
            print!("{plan}\nTo do it: pgmanifold-rebalancer apply --plan {}\n", file.display());
        }
    }
    Ok(())
}

/// The plan that is asked for.
///
/// # Errors
/// What is wrong with the question, or what the catalog or a shard says.
pub async fn make(config: Arc<Config>, args: &PlanArgs) -> Result<Plan, Error> {
    let journal = Journal::open(Arc::clone(&config)).await?;
    let map = journal.map().await?;
    let database = config.database.as_str();
    let reading = Reading { config: &config, journal: &journal, map: &map, args };
    match &args.command {
        None => reading.balance().await,
        Some(Narrow::Split { distribution, at, .. }) => {
            narrow::split(database, &map, distribution, at)
        }
        Some(Narrow::Merge { distribution, at: Some(at), .. }) => {
            narrow::merge(database, &map, distribution, at)
        }
        Some(Narrow::Merge { distribution, at: None, .. }) => {
            narrow::merge_all(database, &map, distribution)
        }
        Some(Narrow::Isolate { distribution, key, target, .. }) => {
            let place = text::distribution(&map, distribution)?;
            let found = &map.distributions[place];
            let key = text::key(found, key)?;
            let keys = narrow::key_alone(found, &key)?;
            let parts = reading.divided(place, &keys).await?;
            narrow::isolate(database, &map, &parts, &keys, &key, target.as_deref(), By::Bytes)
        }
        Some(Narrow::Give { distribution, from, to, value, target, .. }) => {
            let place = text::distribution(&map, distribution)?;
            let values = (!value.is_empty()).then(|| value.clone());
            let keys = KeysText { from: from.clone(), to: to.clone(), values };
            let keys = keys.keys(&map.distributions[place])?;
            let parts = reading.divided(place, &keys).await?;
            let purpose = format!("give keys {keys} of {distribution} to {target}");
            narrow::give(database, &map, &parts, &keys, target, By::Bytes, purpose)
        }
    }
}

/// What a plan is made from.
struct Reading<'a> {
    config: &'a Config,
    journal: &'a Journal,
    map: &'a ShardMap,
    args: &'a PlanArgs,
}

impl Reading<'_> {
    async fn parts(&self, place: usize, borders: &[Bound]) -> Result<Option<Parts>, Error> {
        let exact = self.args.shown().exact;
        let options = Options { exact, ..Options::default() };
        let catalog = &self.journal.session;
        stats::measure(self.config, catalog, self.map, place, borders, self.args.by, options).await
    }

    /// The parts of a distribution, with borders where these keys have theirs.
    async fn divided(&self, place: usize, keys: &Keys) -> Result<Parts, Error> {
        let borders: Vec<Bound> = match keys {
            Keys::Between(from, to) => [from, to].into_iter().flatten().cloned().collect(),
            Keys::Values(_) => Vec::new(),
        };
        let name = self.map.distributions.get(place).map_or("?", |found| &found.name);
        let none = || Error::Usage(format!("keys of distribution {name:?} cannot be moved"));
        self.parts(place, &borders).await?.ok_or_else(none)
    }

    async fn balance(&self) -> Result<Plan, Error> {
        let (map, args) = (self.map, self.args);
        let percent = |name: &str, value: f64| match (0.0..=1_000.0).contains(&value) {
            true => Ok(value / 100.0),
            false => Err(Error::Usage(format!("--{name} {value} is not a percentage"))),
        };
        let mut notes = Vec::new();
        let (next, added) = with_shards(map, &args.add_shard)?;
        let mut drained = vec![false; next.shards.len()];
        for name in &args.drain {
            let place = text::shard(map, name)?;
            drained[place] = true;
            notes.extend(stays(map, place));
        }
        if drained.iter().all(|drained| *drained) {
            return Err(Error::Usage("no shard is left to have the keys".to_owned()));
        }
        if let Some(name) = args.add_shard.iter().find(|name| args.drain.contains(name)) {
            return Err(Error::Usage(format!("shard {name:?} is to get something, and nothing")));
        }
        let (threshold, improvement) =
            (percent("threshold", args.threshold)?, percent("improvement", args.improvement)?);
        let rules = Rules { by: args.by, threshold, improvement, drained };
        let mut named = Vec::new();
        for name in &args.distribution {
            named.push(text::distribution(map, name)?);
        }
        let mut spaces = Vec::new();
        for place in 0..map.distributions.len() {
            if (named.is_empty() || named.contains(&place))
                && let Some(parts) = self.parts(place, &[]).await?
            {
                spaces.push(parts);
            }
        }
        let database = &self.config.database;
        let purpose = self.purpose();
        let mut plan = together(database, &next, &spaces, &rules, !named.is_empty(), &purpose);
        plan.epoch = map.epoch;
        notes.extend(added);
        for name in &args.add_shard {
            if self.config.shard(name).is_err() {
                notes.push(format!(
                    "the rebalancer's configuration has no [[shard]] with name = {name:?}: `apply` \
                     needs one"
                ));
            }
        }
        if !args.shown().exact {
            notes.push(
                "tables of more than 64 MB were read in part: figures are estimates".to_owned(),
            );
        }
        plan.notes.extend(notes);
        Ok(plan)
    }

    fn purpose(&self) -> String {
        let mut purpose = format!("balance by {}", self.args.by.as_str());
        for (word, shards) in [("with", &self.args.add_shard), ("without", &self.args.drain)] {
            if !shards.is_empty() {
                let _ = write!(purpose, ", {word} {}", shards.join(", "));
            }
        }
        purpose
    }
}

/// What a shard keeps that no move takes from it.
fn stays(map: &ShardMap, place: usize) -> Vec<String> {
    let name = &map.shards[place];
    let mut notes = Vec::new();
    if usize::from(map.home.0) == place {
        notes.push(format!(
            "shard {name:?} is the home of tables that no distribution has: they stay, and so does \
             the shard"
        ));
    }
    for found in &map.distributions {
        if found.kind == DistributionKind::Single && usize::from(found.home.0) == place {
            notes.push(format!(
                "distribution {:?} lives on shard {name:?} as a whole: it stays there",
                found.name
            ));
        }
    }
    notes
}

/// The map with shards that it may not have yet, and what is to be done before they can get keys.
fn with_shards(map: &ShardMap, names: &[String]) -> Result<(ShardMap, Vec<String>), Error> {
    let is_new = |name: &&String| !map.shards.iter().any(|shard| **shard == ***name);
    let new: Vec<&String> = names.iter().filter(is_new).collect();
    if new.is_empty() {
        return Ok((map.clone(), Vec::new()));
    }
    let next = map
        .next(|parts| parts.shards.extend(new.iter().map(|name| Box::from(name.as_str()))))
        .map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Error::Usage(lines.join("\n"))
        })?;
    let copies: Vec<String> = map
        .tables
        .iter()
        .filter(|table| map.distribution(table).kind == DistributionKind::Reference)
        .map(|table| format!("{}.{}", table.schema, table.name))
        .collect();
    let home = map.name(ShardId(map.home.0));
    let notes = new.iter().map(|name| {
        let mut note = format!(
            "shard {name:?} is not in the map yet. Before `apply`: 1. make the tables on it: \
             `pg_dump --schema-only` of shard {home:?} into it; 2. `pgmanifold \
             map init`"
        );
        if copies.is_empty() {
            let _ = write!(
                note,
                "; 3. add it to the proxies' configuration and its file of the map, reload the \
                 proxies, then `pgmanifold map apply`"
            );
        } else {
            let _ = write!(
                note,
                "; 3. stop all writes to the reference tables, and keep them stopped until step 5 \
                 is done; 4. copy their rows: `pg_dump --data-only{}` of shard {home:?} into it; \
                 5. add it to the proxies' configuration, reload the proxies, then `pgmanifold map \
                 apply --yes-the-rows-are-there`. Without the rows reads of these tables that run \
                 on the new shard would find nothing",
                copies.iter().fold(String::new(), |all, table| all + " --table " + table)
            );
        }
        note
    });
    Ok((next, notes.collect()))
}

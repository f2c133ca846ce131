//! Owns the command `apply`: moves of a plan, or one by hand.

use super::Given;
use super::keys::KeysArguments;
use crate::engine::{Engine, Options};
use crate::error::Error;
use crate::journal::{Mode, Move};
use crate::plan::text;
use crate::plan::{Plan, PlannedMove};
use crate::precheck::Report;
use crate::state::State;
use clap::{Args, ValueEnum};
use pgmanifold_router::shard_map::ShardMap;
use std::path::PathBuf;

/// What is to be moved, and how.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Do what this plan (the JSON of `plan`) proposes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["distribution", "target"])]
    plan: Option<PathBuf>,
    /// Only look whether it is possible; nothing is touched.
    #[arg(long)]
    dry_run: bool,
    /// With logical replication while writes go on, or with writes to the keys refused meanwhile.
    #[arg(long, value_enum, default_value = "online")]
    mode: ModeName,
    /// End the moves too: there is no way back afterwards.
    #[arg(long)]
    cleanup: bool,
    /// Move keys of this distribution, without a plan.
    #[arg(long, value_name = "NAME", requires = "target")]
    distribution: Option<String>,
    #[command(flatten)]
    keys: KeysArguments,
    /// The shard that is to have them.
    #[arg(long, value_name = "SHARD", requires = "distribution")]
    target: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeName {
    Online,
    Offline,
}

impl ModeName {
    fn mode(self) -> Mode {
        match self {
            Self::Online => Mode::Online,
            Self::Offline => Mode::Offline,
        }
    }
}

/// Runs the command.
pub(super) async fn apply(given: Given, arguments: Arguments) -> Result<u8, Error> {
    let plan = match &arguments.plan {
        Some(file) => Some(read(file)?),
        None => None,
    };
    let options = Options { cleanup: arguments.cleanup, compare: true };
    let engine = given.lead(options).await?;
    let journal = engine.journal();
    refuse_others(&journal.moves().await?)?;
    let map = journal.map().await?;
    let moves = match &plan {
        Some(plan) => plan.moves_left(&journal.config().database, &map)?,
        None => vec![by_hand(&map, &arguments)?],
    };
    let mode = arguments.mode.mode();
    // What is refused leaves nothing in the catalog.
    let reports = look(&engine, &moves, mode).await?;
    if arguments.dry_run {
        show(&given, &reports);
        return Ok(0);
    }
    if let Some(plan) = &plan {
        journal.change_map(|map| plan.split_left(map), "ranges split by a plan").await?;
    }
    let ids = journal.create(&moves, mode).await?;
    let status = given.run(&engine, &ids).await?;
    if let Some(plan) = plan.filter(|_| status == 0) {
        journal.change_map(|map| plan.merge_left(map), "ranges merged by a plan").await?;
    }
    if ids.is_empty() {
        println!("there is nothing left to move");
    }
    Ok(status)
}

fn read(file: &std::path::Path) -> Result<Plan, Error> {
    let wrong =
        |cause: &dyn std::fmt::Display| Error::Usage(format!("{}: {cause}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    Plan::from_json(&text).map_err(|error| wrong(&error))
}

/// Moves that are under way come first: one thing after another.
fn refuse_others(moves: &[Move]) -> Result<(), Error> {
    let open = moves.iter().filter(|one| !one.state.is_end() && one.state != State::Reversible);
    let open: Vec<String> = open.map(|one| format!("{} ({})", one.id, one.state)).collect();
    match open.is_empty() {
        true => Ok(()),
        false => Err(Error::Refused(format!(
            "moves are not ended: {}; `resume` goes on with them, `abort` gives one up",
            open.join(", ")
        ))),
    }
}

fn by_hand(map: &ShardMap, arguments: &Arguments) -> Result<PlannedMove, Error> {
    let (Some(name), Some(target)) = (&arguments.distribution, &arguments.target) else {
        return Err(Error::Usage(
            "say what to move: --plan FILE, or --distribution NAME --from … --to … --target SHARD"
                .to_owned(),
        ));
    };
    let found = &map.distributions[text::distribution(map, name)?];
    let keys = arguments.keys.text();
    let keys = keys.keys(found)?;
    text::shard(map, target)?;
    let source = found.owner_of(&keys).map(|owner| map.name(owner).to_owned());
    let source = source.ok_or_else(|| {
        Error::Refused(format!("the keys {keys} of {name} are not all of one shard"))
    })?;
    if source == *target {
        return Err(Error::Refused(format!("the keys {keys} of {name} are {target}'s already")));
    }
    Ok(PlannedMove { distribution: name.clone(), keys, source, target: target.clone() })
}

/// Looks at all moves.
///
/// # Errors
/// Everything that is in the way of all of them.
async fn look(
    engine: &Engine,
    moves: &[PlannedMove],
    mode: Mode,
) -> Result<Vec<(Move, Report)>, Error> {
    let (mut possible, mut refused) = (Vec::new(), Vec::new());
    for planned in moves {
        let the_move = Move::not_begun(planned, mode);
        match engine.check(&the_move).await {
            Ok(report) => possible.push((the_move, report)),
            Err(Error::Refused(reasons)) => {
                let what = crate::engine::describe(&the_move);
                refused.push(format!("{what}:\n{reasons}"));
            }
            Err(error) => return Err(error),
        }
    }
    match refused.is_empty() {
        true => Ok(possible),
        false => Err(Error::Refused(refused.join("\n"))),
    }
}

/// Tells what would be done.
fn show(given: &Given, reports: &[(Move, Report)]) {
    for (the_move, report) in reports {
        let (rows, bytes) = (report.rows, report.bytes);
        let what = crate::engine::describe(the_move);
        given.say(the_move, &format!("{what}: possible; about {rows} rows, {bytes} bytes"));
        report.notes.iter().for_each(|note| given.say(the_move, note));
    }
}

//! Owns the command line: what can be asked for, and which exit status tells how it went. It must
//! not know how anything is done.

mod apply;
mod keys;
mod signals;
mod verify;
mod wishes;

use crate::config::{self, Config};
use crate::engine::{Asked, Engine, Options, Outcome, describe};
use crate::error::Error;
use crate::journal::{Journal, Move};
use crate::plan::{self, args::PlanArgs};
use crate::progress::{Form, Progress};
use crate::state::State;
use crate::status;
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// Exit status when a signal has ended a command at a safe place: 128 + SIGTERM.
const INTERRUPTED: u8 = 143;

/// Moves key ranges between shards of a pgmanifold database: with proof that nothing is lost,
/// resumable after any crash, and with a way back.
#[derive(Debug, Parser)]
#[command(name = "pgmanifold-rebalancer", version)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = "rebalancer.toml")]
    config: PathBuf,
    /// One JSON object per line instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Propose moves, and touch nothing.
    Plan(PlanArgs),
    /// Move keys: those of a plan, or those that are named.
    Apply(apply::Arguments),
    /// Show moves and how far they are.
    Status(StatusArguments),
    /// Look whether every row is where it should be, and compare what two shards have while keys
    /// are on their way.
    Verify(verify::Arguments),
    /// Ask a running rebalancer to stop at a safe place.
    Pause(Which),
    /// Go on with every move that is not ended, or with one.
    Resume(wishes::Resume),
    /// Give a move up: the source keeps the keys.
    Abort(One),
    /// Give the keys of a move back to its source, with everything written meanwhile.
    Rollback(One),
    /// End moves: the source's rows are deleted, and there is no way back any more.
    Cleanup(wishes::Cleanup),
}

/// A move.
#[derive(Debug, Args)]
struct One {
    /// Its number.
    #[arg(value_name = "MOVE")]
    id: i64,
}

/// One move, or all.
#[derive(Debug, Args)]
struct Which {
    /// Its number; without it all are meant.
    #[arg(value_name = "MOVE")]
    id: Option<i64>,
}

#[derive(Debug, Args)]
struct StatusArguments {
    /// Ended moves too, not only the last few.
    #[arg(long)]
    all: bool,
    /// Again each second, until nothing moves any more.
    #[arg(long)]
    watch: bool,
    /// With what happened to each move.
    #[arg(long)]
    events: bool,
}

/// Runs the command; what went wrong is told on standard error. Returns the exit status.
pub fn main(cli: Cli) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let is_json = cli.json;
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(Error::Stopped(error.to_string())),
    };
    ended.unwrap_or_else(|error| {
        match is_json {
            true => eprintln!("{}", json!({"error": error.to_string()})),
            false => eprintln!("{error}"),
        }
        error.exit_status()
    })
}

async fn run(cli: Cli) -> Result<u8, Error> {
    let given = Given { config: config::load(&cli.config)?, json: cli.json };
    match cli.command {
        Command::Plan(arguments) => {
            let config = Arc::new(given.config.for_looking());
            plan::run(config, &arguments, cli.json).await.map(|()| 0)
        }
        Command::Apply(arguments) => apply::apply(given, arguments).await,
        Command::Status(arguments) => {
            let journal = given.look().await?;
            let StatusArguments { all, watch, events } = arguments;
            let options = status::Options { all, watch, events, json: cli.json };
            let database = &journal.config().database;
            status::status(&journal.session, database, &options).await.map(|()| 0)
        }
        Command::Verify(arguments) => verify::verify(given, arguments).await,
        Command::Pause(which) => wishes::pause(given, which.id).await,
        Command::Resume(arguments) => wishes::resume(given, arguments).await,
        Command::Abort(one) => wishes::abort(given, one.id).await,
        Command::Rollback(one) => wishes::rollback(given, one.id).await,
        Command::Cleanup(arguments) => wishes::cleanup(given, arguments).await,
    }
}

/// What holds for every command.
struct Given {
    config: Config,
    json: bool,
}

impl Given {
    /// The catalog, to look.
    async fn look(&self) -> Result<Journal, Error> {
        Journal::open(Arc::new(self.config.clone().for_looking())).await
    }

    /// The catalog with the lease.
    async fn lead(&self, options: Options) -> Result<Engine, Error> {
        let journal = Journal::open(Arc::new(self.config.clone())).await?;
        journal.take_lease().await?;
        let asked = Asked::default();
        signals::watch(asked.clone());
        Ok(Engine::new(journal, asked, options, Progress::new(Form::choose(self.json))))
    }

    /// Says something on standard output.
    fn say(&self, the_move: &Move, text: &str) {
        match self.json {
            true => println!(
                "{}",
                json!({"move": the_move.id, "state": the_move.state.as_str(), "text": text})
            ),
            false => println!("move {}: {text}", the_move.id),
        }
    }

    /// Brings moves as far as they go, one after another, and returns the exit status.
    async fn run(&self, engine: &Engine, ids: &[i64]) -> Result<u8, Error> {
        for id in ids {
            let mut the_move = engine.journal().one(*id).await?;
            let outcome = engine.run(&mut the_move).await;
            engine.progress().finish();
            match outcome? {
                Outcome::Ended | Outcome::Reversible => self.say(&the_move, &ended(&the_move)),
                Outcome::Paused => {
                    let state = the_move.state;
                    self.say(&the_move, &format!("paused while {state}; `resume` goes on"));
                    return Ok(0);
                }
                Outcome::Interrupted => {
                    let state = the_move.state;
                    self.say(&the_move, &format!("stopped while {state}; `resume` goes on"));
                    return Ok(INTERRUPTED);
                }
            }
        }
        Ok(0)
    }
}

/// How a move has ended, for people.
fn ended(the_move: &Move) -> String {
    let (id, source, target) = (the_move.id, &the_move.source, &the_move.target);
    let what = describe(the_move);
    match the_move.state {
        State::Reversible => format!(
            "{what}: the keys are {target}'s. `cleanup {id}` deletes the rows on {source}, \
             `rollback {id}` gives the keys back"
        ),
        State::Done => format!("{what}: done, the keys are {target}'s"),
        State::Aborted => format!("{what}: given up, the keys are {source}'s as before"),
        State::RolledBack => format!("{what}: rolled back, the keys are {source}'s again"),
        state => format!("{what}: {state}"),
    }
}

//! Owns the command line: what may be asked of the binary, and its exit codes. The work itself is
//! done by the library.
//!
//! Exit codes: 0 clean, 1 failed while running, 2 wrong usage or configuration.

mod map;
mod route;

use clap::{Parser, Subcommand};
use pgmanifold::config::{self, Config, ConfigErrors, Loaded};
use pgmanifold::telemetry;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Wrong usage or configuration. `clap` uses the same code.
const USAGE: u8 = 2;

/// A sharding and read-replica proxy for PostgreSQL.
#[derive(Debug, Parser)]
#[command(
    name = "pgmanifold",
    version,
    after_help = "\
Exit codes: 0 clean, 1 failed while running, 2 wrong usage or configuration.
Signals to `run`: SIGHUP reloads, SIGTERM drains, SIGINT stops after transactions,
SIGQUIT stops at once, SIGUSR1 pauses all databases, SIGUSR2 resumes them."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients until a signal ends it.
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Read a configuration file and name everything that is wrong with it.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// One line for each problem, `file:line: key: message`, instead of excerpts.
        #[arg(long)]
        plain: bool,
    },
    /// Look at the shard map, and change it.
    Map(map::Arguments),
    /// Say where statements would go and why, without a server.
    ///
    /// Knows PostgreSQL's own functions only: a statement that calls a function of
    /// yours counts as a write here, while `run` asks the database.
    Route(route::Arguments),
    /// Show the main job on throw-away PostgreSQL servers of this machine.
    Demo {
        /// Length of the workload; the demo then ends by itself.
        #[arg(long = "for", value_name = "SECONDS")]
        for_seconds: Option<u64>,
        /// Show how keys are moved between shards instead. Needs pgmanifold-rebalancer
        /// in the directory of this program.
        #[arg(long, conflicts_with = "for_seconds")]
        moving: bool,
    },
}

/// Runs what the command line asks for.
pub(crate) fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config } => run(&config),
        Command::Check { config, plain } => check(&config, plain),
        Command::Map(arguments) => map::run(&arguments),
        Command::Route(arguments) => route::run(&arguments),
        Command::Demo { moving: true, .. } => pgmanifold::demo::run_moving(),
        Command::Demo { for_seconds, .. } => pgmanifold::demo::run(for_seconds),
    }
}

fn run(path: &Path) -> ExitCode {
    let Some(Loaded { config, warnings }) = load(path) else { return ExitCode::from(USAGE) };
    let telemetry = match telemetry::init(&config.general.log_level, config.general.log_json) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    for problem in warnings.problems() {
        tracing::warn!(problem = warnings.line(problem), "configuration warning");
    }
    pgmanifold::server::run(path, config, telemetry)
}

fn check(path: &Path, plain: bool) -> ExitCode {
    match config::load_with_warnings(path) {
        Ok(Loaded { config, warnings }) => {
            show(&warnings, plain);
            say(&summary(path, &config));
            ExitCode::SUCCESS
        }
        Err(errors) => {
            show(&errors, plain);
            ExitCode::from(USAGE)
        }
    }
}

fn summary(path: &Path, config: &Config) -> String {
    let hosts: usize = config.shards.iter().map(|shard| shard.hosts.len()).sum();
    format!(
        "{}: ok (listeners: {}, users: {}, shards: {}, hosts: {hosts}, databases: {})",
        path.display(),
        config.listeners.len(),
        config.users.len(),
        config.shards.len(),
        config.databases.len()
    )
}

/// The configuration, or `None` after its errors were printed.
fn load(path: &Path) -> Option<Loaded> {
    config::load_with_warnings(path).map_err(|errors| show(&errors, false)).ok()
}

fn show(errors: &ConfigErrors, plain: bool) {
    if errors.problems().is_empty() {
        return;
    }
    if plain {
        complain(&errors.to_string());
    } else {
        complain(errors.report(std::io::stderr().is_terminal()).trim_end());
    }
}

/// Prints a line. A closed standard output (`… | head`) is no reason to panic.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The same on standard error.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn reads_its_commands() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        assert!(matches!(
            parse("pgmanifold demo --for 5").unwrap().command,
            Command::Demo { for_seconds: Some(5), moving: false }
        ));
        assert!(parse("pgmanifold run --config a.toml").is_ok());
        assert!(parse("pgmanifold map show --format json --config a.toml").is_ok());
        assert!(parse("pgmanifold map split --distribution d --at -5 --config a").is_ok());
        assert!(parse("pgmanifold route --config a.toml -").is_ok());
        assert_eq!(parse("pgmanifold run").unwrap_err().exit_code(), i32::from(USAGE));
    }
}

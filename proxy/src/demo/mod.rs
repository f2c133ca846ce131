//! `pgmanifold demo`: shows the main job on real servers of this machine, and leaves nothing
//! behind. The launcher below is also what the end-to-end tests start their clusters with.

mod console;
mod inlet;
pub mod moving;
pub mod postgres;
mod progress;
mod proof;
mod shards;
mod table;
mod tour;
mod workload;

use postgres::{PgCluster, PgClusterOptions};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use tour::Failure;

/// Length of the workload when nobody says otherwise.
const DEFAULT_WORKLOAD: Duration = Duration::from_secs(8);
/// Exit code after Ctrl-C, as shells expect it: 128 + SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Runs the demo. With `for_seconds` the workload takes that long and the demo ends by itself;
/// without, it stays up at a terminal until Ctrl-C, and ends by itself elsewhere.
///
/// The exit code is 0 only when every statement worked and no read missed its session's write.
pub fn run(for_seconds: Option<u64>) -> ExitCode {
    let workload = for_seconds.map_or(DEFAULT_WORKLOAD, Duration::from_secs);
    let stays =
        for_seconds.is_none() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    ended(tour::run(workload, stays))
}

/// Runs the demo of moving keys between shards, which ends by itself.
///
/// The exit code is 0 only when every acknowledged write is there at the end, once.
pub fn run_moving() -> ExitCode {
    ended(moving::run())
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Interrupted) => {
            say("\ninterrupted; everything is removed");
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "\ndemo failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line. A closed standard output (`… | head`) is no reason to panic.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn cluster() -> Result<PgCluster, postgres::LaunchError> {
    PgCluster::start(PgClusterOptions {
        password: Some(inlet::random_password()),
        ..PgClusterOptions::default()
    })
}

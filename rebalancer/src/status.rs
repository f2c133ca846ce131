//! Owns the command `status`: moves as the catalog has them. It needs no lease and must not change
//! anything.
//!
//! As JSON, one line is one object: `database`, `working` (a rebalancer has the lease), and
//! `moves`, whose members are those of [`MoveStatus`]; with `--watch` there is a line per change.

mod next;
mod read;
mod table;

pub use read::{EventStatus, MoveStatus};

use crate::connect::Session;
use crate::error::Error;
use crate::journal;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Makes a terminal empty and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Ended moves too, not only the last few.
    pub all: bool,
    /// Again each second, until nothing moves any more.
    pub watch: bool,
    /// As JSON.
    pub json: bool,
    /// With the events of each move.
    pub events: bool,
}

/// What is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The sharded database.
    pub database: String,
    /// A rebalancer has the lease.
    pub working: bool,
    /// Moves, the oldest first.
    pub moves: Vec<MoveStatus>,
}

/// Prints the moves of a database to standard output.
///
/// # Errors
/// What the catalog says.
pub async fn status(catalog: &Session, database: &str, options: &Options) -> Result<(), Error> {
    let mut last = String::new();
    let redraws = options.watch && !options.json && std::io::stdout().is_terminal();
    loop {
        let status = look(catalog, database, options).await?;
        let text = match options.json {
            true => {
                let json = serde_json::to_string(&status);
                json.map_err(|error| Error::Stopped(error.to_string()))?
            }
            false => status.to_string(),
        };
        let mut output = std::io::stdout();
        let written = match (redraws, text == last) {
            (true, _) => writeln!(output, "{CLEAR}{text}"),
            (false, false) => writeln!(output, "{text}"),
            (false, true) => Ok(()),
        };
        let goes_on = options.watch && status.moves.iter().any(|one| !one.rests());
        // Nobody reads any more: there is nothing left to do.
        if written.and_then(|()| output.flush()).is_err() || !goes_on {
            return Ok(());
        }
        last = text;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// What there is to show.
///
/// # Errors
/// What the catalog says.
pub async fn look(catalog: &Session, database: &str, options: &Options) -> Result<Status, Error> {
    let working = journal::is_held(catalog, database).await?;
    let mut moves = read::moves(catalog, database, options.all).await?;
    for one in &mut moves {
        one.next = next::next(one, working);
        // What nobody works on waits for nothing but that.
        one.waiting = one.waiting.take().filter(|_| working);
        if options.events {
            one.events = Some(read::events(catalog, one.id).await?);
        }
    }
    Ok(Status { database: database.to_owned(), working, moves })
}

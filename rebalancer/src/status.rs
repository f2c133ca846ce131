//! Owns the command `status`: moves as the catalog has them. It needs no lease and must not change
//! anything.

use crate::connect::Session;
use crate::error::Error;

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

/// Prints the moves of a database to standard output.
///
/// # Errors
/// What the catalog says.
pub async fn status(_catalog: &Session, _database: &str, _options: &Options) -> Result<(), Error> {
    Ok(())
}

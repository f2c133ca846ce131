//! Owns the command `verify`: which keys are meant.

use super::Given;
use crate::error::Error;
use crate::plan::text::{self, KeysText};
use crate::verify;
use clap::Args;

/// Which keys are looked at: all, or some of one distribution.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only keys of this distribution.
    #[arg(long, value_name = "NAME")]
    distribution: Option<String>,
    /// Keys from this border on; without it from the very beginning.
    #[arg(long, value_name = "BORDER", requires = "distribution", allow_hyphen_values = true)]
    from: Option<String>,
    /// Keys up to this border, which is not included; without it up to the very end.
    #[arg(long, value_name = "BORDER", requires = "distribution", allow_hyphen_values = true)]
    to: Option<String>,
    /// This value of a list; can be repeated.
    #[arg(long, value_name = "VALUE", requires = "distribution", allow_hyphen_values = true,
          conflicts_with_all = ["from", "to"])]
    value: Vec<String>,
}

/// Runs the command.
pub(super) async fn verify(given: Given, arguments: Arguments) -> Result<u8, Error> {
    let journal = given.look().await?;
    let map = journal.map().await?;
    let range = match &arguments.distribution {
        None => None,
        Some(name) => {
            let at = text::distribution(&map, name)?;
            let Arguments { from, to, value, .. } = arguments;
            let found = &map.distributions[at];
            // All of a list, when no value is named.
            let all = || found.values.iter().map(|(value, _)| value.to_string()).collect();
            let is_list = found.kind == pgmanifold_router::shard_map::DistributionKind::List;
            let values = match (is_list, value.is_empty()) {
                (true, true) => Some(all()),
                (false, true) => None,
                (_, false) => Some(value),
            };
            Some((at, KeysText { from, to, values }.keys(found)?))
        }
    };
    let verified = verify::command::verify(&journal, range).await?;
    if given.json {
        let json = serde_json::to_string(&verified);
        println!("{}", json.map_err(|error| Error::Stopped(error.to_string()))?);
        // The object has said it all.
        return Ok(verified.verdict().map_or_else(|error| error.exit_status(), |()| 0));
    }
    verified.verdict()?;
    println!("{verified}");
    Ok(0)
}

//! Owns the command `verify`: which keys are meant.

use super::Given;
use super::keys::KeysArguments;
use crate::error::Error;
use crate::plan::text;
use crate::verify;
use clap::Args;
use pgmanifold_router::shard_map::DistributionKind;

/// Which keys are looked at: all, or some of one distribution.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only keys of this distribution.
    #[arg(long, value_name = "NAME")]
    distribution: Option<String>,
    #[command(flatten)]
    keys: KeysArguments,
}

/// Runs the command.
pub(super) async fn verify(given: Given, arguments: Arguments) -> Result<u8, Error> {
    let journal = given.look().await?;
    let map = journal.map().await?;
    let range = match &arguments.distribution {
        None => None,
        Some(name) => {
            let at = text::distribution(&map, name)?;
            let (found, mut keys) = (&map.distributions[at], arguments.keys.text());
            if found.kind == DistributionKind::List && keys.values.is_none() {
                // All of a list, when no value is named.
                let all = found.values.iter().map(|(value, _)| value.to_string());
                keys.values = Some(all.collect());
            }
            Some((at, keys.keys(found)?))
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

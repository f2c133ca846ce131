//! Owns the rebalancer as a process: the binary beside this one, its output passed on as it comes.

use super::super::say;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// The binary's name.
const NAME: &str = "pgmanifold-rebalancer";

/// Where it lies.
///
/// # Errors
/// It is not there.
pub(super) fn binary() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = own.with_file_name(NAME);
    match beside.is_file() {
        true => Ok(beside),
        false => Err(format!("{} is not there: build it too", beside.display())),
    }
}

/// Runs a command of it to its end, and shows it.
///
/// # Errors
/// It does not succeed.
pub(super) async fn run(config: &Path, arguments: &[&str]) -> Result<(), String> {
    let shown = |text: &&str| match text.rsplit_once('/') {
        Some((_, file)) => file.to_owned(),
        None => (*text).to_owned(),
    };
    let words: Vec<String> = arguments.iter().map(shown).collect();
    say(&format!("\n$ {NAME} {}", words.join(" ")));
    let status = command(config, arguments)?.status().await.map_err(|error| error.to_string())?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{NAME} {}: {status}", words.join(" "))),
    }
}

/// Runs a command of it to its end, and says nothing.
///
/// # Errors
/// It does not succeed: what it complained of.
pub(super) async fn run_quietly(config: &Path, arguments: &[&str]) -> Result<(), String> {
    let ended = command(config, arguments)?.output().await.map_err(|error| error.to_string())?;
    match ended.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{NAME} {}: {}: {}",
            arguments.join(" "),
            ended.status,
            String::from_utf8_lossy(&ended.stderr)
        )),
    }
}

fn command(config: &Path, arguments: &[&str]) -> Result<Command, String> {
    let mut command = Command::new(binary()?);
    command.args(arguments).arg("--config").arg(config).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

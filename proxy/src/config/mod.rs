//! Owns the configuration: what may be said in the file, how it is checked, and what it means.
//!
//! The way down: text -> tables of typed values (`document`) -> the model (`resolve`, `servers`,
//! `secrets`) -> checks across sections (`checks`). Every step collects its problems and goes on,
//! so that one run names all of them.

mod access;
mod address;
mod catalog;
mod changed;
mod checks;
mod console;
#[cfg(test)]
mod docs;
mod document;
mod errors;
mod hba_file;
pub mod keys;
pub mod limits;
pub mod model;
mod pem;
mod reload;
mod resolve;
mod rules;
mod secrets;
mod servers;
mod sharding;
mod shown;
mod traces;

pub use changed::{Place, Source, Unchangeable};
pub use errors::{ConfigErrors, Problem, Severity};
pub use model::Config;
pub use reload::needs_restart;
pub use shown::Setting;

use document::mask_secrets;
use errors::Problems;
use std::path::Path;
use std::sync::Arc;

/// Largest configuration file, in bytes.
pub const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A configuration that can be used, and what somebody should look at.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings; empty when there is nothing to say.
    pub warnings: ConfigErrors,
}

/// Reads the file at `path`; warnings go to the log.
///
/// # Errors
/// Everything that is wrong with it, all at once.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    load_with_warnings(path).map(log_warnings)
}

/// Reads the file at `path` and hands the warnings back.
///
/// # Errors
/// Everything that is wrong with it, all at once.
pub fn load_with_warnings(path: &Path) -> Result<Loaded, ConfigErrors> {
    let name = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        ConfigErrors::unreadable(&name, format!("cannot read the file: {error}"))
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_FILE_BYTES {
        let message = format!("the file is larger than {MAX_FILE_BYTES} bytes");
        return Err(ConfigErrors::unreadable(&name, message));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    read(&text, &name, &|name| std::env::var(name).ok())
}

/// Reads `text`; relative paths in it start at the folder of `file_name`. Warnings go to the log.
///
/// # Errors
/// Everything that is wrong with it, all at once.
pub fn parse(text: &str, file_name: &str) -> Result<Config, ConfigErrors> {
    read(text, file_name, &|name| std::env::var(name).ok()).map(log_warnings)
}

fn log_warnings(loaded: Loaded) -> Config {
    for problem in loaded.warnings.problems() {
        tracing::warn!(problem = loaded.warnings.line(problem), "configuration warning");
    }
    loaded.config
}

/// Reads `text` with `environment` as the process's environment.
fn read(
    text: &str,
    file_name: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, ConfigErrors> {
    make(Source::new(text, file_name), environment)
}

/// Makes a configuration of its text and the changes since.
fn make(
    source: Source,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, ConfigErrors> {
    let (text, file_name) = (Arc::clone(&source.text), Arc::clone(&source.file));
    let (text, file_name) = (text.as_str(), &*file_name);
    let problems = Problems::new(text);
    let mut tables = document::read(text, &problems);
    source.apply(&mut tables);
    let folder = Path::new(file_name).parent().unwrap_or(Path::new(""));
    let context = resolve::Context { problems: &problems, folder, environment };
    let config = Config { source: Some(source), ..resolve::config(&tables, &context) };
    let (errors, warnings) = problems.into_parts();
    let masked = mask_secrets(text);
    if errors.is_empty() {
        Ok(Loaded { config, warnings: ConfigErrors::new(file_name, &masked, warnings) })
    } else {
        Err(ConfigErrors::new(file_name, &masked, errors))
    }
}

#[cfg(test)]
mod tests;

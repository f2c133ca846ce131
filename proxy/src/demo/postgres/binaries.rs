//! Owns the search for PostgreSQL's server programs. Runs only `pg_config` and
//! `postgres --version`; it must not install anything.

use super::LaunchError;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Oldest version that works: read-after-write needs nothing newer.
const OLDEST_MAJOR: u32 = 13;
/// Programs a cluster is made with.
const NEEDED: [&str; 3] = ["initdb", "postgres", "pg_basebackup"];
/// Names a directory of binaries; nothing else is searched when it is set.
const DIRECTORY_VARIABLE: &str = "PGMANIFOLD_PG_BIN";

/// A directory with PostgreSQL's server programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The directory.
    pub dir: PathBuf,
    /// Major version, for example 15.
    pub major: u32,
}

impl Binaries {
    /// Finds binaries: `$PGMANIFOLD_PG_BIN`, `pg_config --bindir`,
    /// `/usr/lib/postgresql/*/bin` (newest first), `PATH`.
    ///
    /// # Errors
    /// [`LaunchError::NoBinaries`], with every place that was looked at.
    pub fn find() -> Result<Binaries, LaunchError> {
        let candidates = match std::env::var_os(DIRECTORY_VARIABLE) {
            Some(dir) => vec![PathBuf::from(dir)],
            None => candidates(),
        };
        first_usable(&candidates)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

fn first_usable(candidates: &[PathBuf]) -> Result<Binaries, LaunchError> {
    let mut looked = Vec::new();
    for dir in candidates {
        match probe(dir) {
            Ok(major) => return Ok(Binaries { dir: dir.clone(), major }),
            Err(why) => looked.push(format!("{} ({why})", dir.display())),
        }
    }
    if looked.is_empty() {
        looked.push("PATH, /usr/lib/postgresql".into());
    }
    Err(LaunchError::NoBinaries { looked: looked.join(", ") })
}

fn candidates() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    dirs.extend(pg_config_bindir());
    dirs.extend(newest_first("/usr/lib/postgresql".as_ref()));
    if let Some(path) = std::env::var_os("PATH") {
        dirs.extend(std::env::split_paths(&path).filter(|dir| dir.join("initdb").exists()));
    }
    dirs
}

fn pg_config_bindir() -> Option<PathBuf> {
    let dir = output("pg_config".as_ref(), "--bindir")?;
    Some(PathBuf::from(dir.trim()))
}

fn newest_first(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// The major version of the binaries in `dir`, or why they cannot be used.
fn probe(dir: &Path) -> Result<u32, String> {
    for name in NEEDED {
        if !dir.join(name).exists() {
            return Err(format!("has no {name}"));
        }
    }
    let text = output(&dir.join("postgres"), "--version").ok_or("postgres does not run")?;
    let major = major_version(&text).ok_or_else(|| format!("unknown version {text:?}"))?;
    if major < OLDEST_MAJOR {
        return Err(format!("version {major} is too old"));
    }
    Ok(major)
}

/// `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`, `… 17beta1`.
fn major_version(text: &str) -> Option<u32> {
    let number = text.split(") ").nth(1)?;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn output(program: &Path, argument: &str) -> Option<String> {
    let result =
        Command::new(program).arg(argument).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let result = result.ok().filter(|result| result.status.success())?;
    String::from_utf8(result.stdout).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let debian = "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n";
        assert_eq!(major_version(debian), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 19devel\n"), Some(19));
        assert_eq!(major_version("postgres (PostgreSQL) 13.1"), Some(13));
        assert_eq!(major_version("something else"), None);
    }

    #[test]
    fn a_missing_installation_says_where_it_looked_and_what_to_install() {
        let error = first_usable(&["/nonexistent/bin".into()]).expect_err("nothing there");
        let text = error.to_string();
        assert!(text.contains("/nonexistent/bin (has no initdb)"), "{text}");
        assert!(text.contains("apt-get install"), "{text}");
    }
}

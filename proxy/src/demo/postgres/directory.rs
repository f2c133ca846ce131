//! Owns the private directory of one cluster: made, locked while we live, removed on Drop. It
//! also removes directories whose owner died without doing so; it must not touch others.

use super::LaunchError;
use super::account::Account;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Every directory and lock file of ours begins so.
const NAME_PREFIX: &str = "pgmanifold-cluster-";
/// Beside `pgmanifold-cluster-1-0/` lies `pgmanifold-cluster-1-0.lock`, locked while the owner
/// lives.
const LOCK_SUFFIX: &str = ".lock";
/// Names tried before giving up.
const MAX_ATTEMPTS: u32 = 1000;
/// A Unix socket's path must fit into 107 bytes; this much goes to `/s/.s.PGSQL.65535`.
const MAX_DIRECTORY_BYTES: usize = 107 - 20;

/// A private directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock_path: PathBuf,
    /// Holds the lock until we are dropped or die.
    _lock: File,
}

impl Directory {
    /// Makes a directory for `account` below `base` (default: the system's temporary directory,
    /// or `/tmp` when that path is too long for Unix sockets).
    pub(super) fn create(base: Option<&Path>, account: Account) -> Result<Directory, LaunchError> {
        let base = base.map_or_else(default_base, Path::to_owned);
        remove_abandoned(&base);
        for attempt in 0..MAX_ATTEMPTS {
            let path = base.join(format!("{NAME_PREFIX}{}-{attempt}", std::process::id()));
            if path.as_os_str().len() > MAX_DIRECTORY_BYTES {
                let cause = std::io::Error::other("too long a path for Unix sockets");
                return Err(LaunchError::File { what: "use", path, cause });
            }
            if let Some(directory) = try_create(path, account)? {
                return Ok(directory);
            }
        }
        let cause = std::io::ErrorKind::AlreadyExists.into();
        Err(LaunchError::File { what: "make a directory in", path: base, cause })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `name` inside, readable by the account only.
    pub(super) fn subdirectory(
        &self,
        name: &str,
        account: Account,
    ) -> Result<PathBuf, LaunchError> {
        let path = self.path.join(name);
        make_private(&path, account)?;
        Ok(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the next start sweeps what is left.
        let _ = std::fs::remove_dir_all(&self.path);
        let _ = std::fs::remove_file(&self.lock_path);
    }
}

fn default_base() -> PathBuf {
    let base = std::env::temp_dir();
    match base.as_os_str().len() + 20 > MAX_DIRECTORY_BYTES {
        true => "/tmp".into(),
        false => base,
    }
}

fn make_private(path: &Path, account: Account) -> Result<(), LaunchError> {
    DirBuilder::new().mode(0o700).create(path).map_err(LaunchError::file("make", path))?;
    account.own(path)
}

/// `None` when the name is taken.
fn try_create(path: PathBuf, account: Account) -> Result<Option<Directory>, LaunchError> {
    let mut lock_path = path.clone().into_os_string();
    lock_path.push(LOCK_SUFFIX);
    let lock_path = PathBuf::from(lock_path);
    let lock = match OpenOptions::new().write(true).create_new(true).open(&lock_path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(LaunchError::file("make", &lock_path)(error)),
    };
    // A sweeper may have seen the file between its making and its locking, and removed it.
    let ours = lock.try_lock().is_ok() && same_file(&lock, &lock_path);
    if !ours || path.symlink_metadata().is_ok() {
        return Ok(None);
    }
    make_private(&path, account)?;
    Ok(Some(Directory { path, lock_path, _lock: lock }))
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(a), Ok(b)) => a.ino() == b.ino() && a.dev() == b.dev(),
        _ => false,
    }
}

/// Removes directories in `base` whose lock nobody holds: their process was killed.
fn remove_abandoned(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(LOCK_SUFFIX)) else {
            continue;
        };
        if stem.starts_with(NAME_PREFIX) && is_abandoned(&entry.path()) {
            let _ = std::fs::remove_dir_all(base.join(stem));
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// A plain file of our own user (others could plant a pipe that blocks us) without a lock.
fn is_abandoned(lock_path: &Path) -> bool {
    let Ok(metadata) = lock_path.symlink_metadata() else { return false };
    if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return false;
    }
    File::open(lock_path).is_ok_and(|file| file.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_live_with_their_owner_and_abandoned_ones_are_swept() {
        let outer = Directory::create(None, Account::Own).expect("outer");
        let base = outer.path();
        let kept = Directory::create(Some(base), Account::Own).expect("kept");
        std::fs::create_dir(base.join("pgmanifold-cluster-1-0")).expect("abandoned directory");
        std::fs::write(base.join("pgmanifold-cluster-1-0.lock"), "").expect("abandoned lock");
        std::fs::create_dir(base.join("pgmanifold-cluster-stranger"))
            .expect("directory without a lock");

        let second = Directory::create(Some(base), Account::Own).expect("second");
        assert!(
            !base.join("pgmanifold-cluster-1-0").exists()
                && !base.join("pgmanifold-cluster-1-0.lock").exists()
        );
        assert!(base.join("pgmanifold-cluster-stranger").exists() && kept.path().exists());
        assert_ne!(kept.path(), second.path());

        let gone = kept.path().to_owned();
        drop(kept);
        assert!(!gone.exists());
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused() {
        let base = PathBuf::from("/tmp").join("x".repeat(100));
        let error = Directory::create(Some(&base), Account::Own).expect_err("too long");
        assert!(error.to_string().contains("too long a path"), "{error}");
    }
}

//! Owns the question as which operating-system user servers run, and how their commands are
//! built and spawned. PostgreSQL refuses root, so root's servers run as `postgres` or `nobody`.

use super::LaunchError;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};

/// Who servers run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// Ourselves: we are an ordinary user.
    Own,
    /// Somebody else, because we are root.
    Other { uid: u32, gid: u32 },
}

impl Account {
    pub(super) fn choose() -> Result<Account, LaunchError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Account::Own);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let ids = user_ids(&passwd, "postgres").or_else(|| user_ids(&passwd, "nobody"));
        let (uid, gid) = ids.ok_or(LaunchError::NoUser)?;
        Ok(Account::Other { uid, gid })
    }

    /// Hands `path` to the account.
    pub(super) fn own(self, path: &Path) -> Result<(), LaunchError> {
        match self {
            Account::Own => Ok(()),
            Account::Other { uid, gid } => std::os::unix::fs::chown(path, Some(uid), Some(gid))
                .map_err(LaunchError::file("hand over", path)),
        }
    }

    /// A command that runs as the account, in `directory`, with a clean environment, and gets
    /// SIGQUIT when we die. Setting the uid as root also drops the supplementary groups.
    ///
    /// A process group of its own keeps a Ctrl-C at the terminal away from the server: we decide
    /// when it ends. Without the death signal the Ctrl-C is the only thing that would end it.
    pub(super) fn command(self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        if death_signal_supported() {
            command = Command::new("setpriv");
            command.args(["--pdeathsig", "QUIT", "--"]).arg(program).process_group(0);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir(directory).stdin(Stdio::null());
        if let Account::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// `(uid, gid)` of `name` in the text of `/etc/passwd`.
fn user_ids(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some((uid, gid)).filter(|(uid, _)| *uid != 0)
}

/// Whether util-linux's `setpriv` can set the parent-death signal (since 2.33). It stands in for
/// `prctl(PR_SET_PDEATHSIG)`, which only unsafe code could call here.
fn death_signal_supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT", "--", "true"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

type Request = (Command, mpsc::SyncSender<std::io::Result<Child>>);

/// Spawns `command` from one thread that lives as long as the process. The parent-death signal
/// fires when the *thread* that forked ends, so a server started by a test's own thread would
/// die with that test although other tests still use it.
pub(super) fn spawn(command: Command) -> std::io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::SyncSender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::sync_channel::<Request>(1);
        std::thread::spawn(move || {
            for (mut command, reply) in receiver {
                // A caller that gave up cannot exist: `spawn` below always waits.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = mpsc::sync_channel(1);
    let gone = || std::io::Error::other("the spawning thread is gone");
    spawner.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_come_from_the_exact_name_and_never_are_root() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody2:x:7:8::/:/bin/sh\n\
                      nobody:x:65534:65533::/:/usr/sbin/nologin\nbad:x:y:z::/:\n";
        assert_eq!(user_ids(passwd, "nobody"), Some((65534, 65533)));
        assert_eq!(user_ids(passwd, "root"), None);
        assert_eq!(user_ids(passwd, "bad"), None);
        assert_eq!(user_ids(passwd, "postgres"), None);
    }
}

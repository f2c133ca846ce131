//! Owns started programs: as an ordinary user, on ports of their own, stopped when dropped.
//! It knows nothing of what the programs do.

use crate::error::{BenchError, Context, Result, fail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time a program has to open its port.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Time a program has to obey its stop signal before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Whom programs run as: PostgreSQL and PgBouncer refuse to run as root.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// Set when the harness itself runs as root.
    drop_to: Option<(String, u32, u32)>,
}

impl Account {
    /// The account `postgres` when we are root, `nobody` without that one, else ourselves.
    pub(crate) fn find() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Account { drop_to: None });
        }
        let passwd = fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
        let drop_to = ["postgres", "nobody"].iter().find_map(|name| parse_account(&passwd, name));
        match drop_to {
            Some(account) => Ok(Account { drop_to: Some(account) }),
            None => fail("running as root, and neither `postgres` nor `nobody` exists"),
        }
    }

    /// A command run as that account, which also gets SIGTERM when the harness dies.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=TERM");
        if let Some((name, uid, gid)) = &self.drop_to {
            command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}"));
            command.arg("--clear-groups").env("USER", name).env("LOGNAME", name);
        }
        command.arg("--").arg(program.as_ref()).env("HOME", "/").stdin(Stdio::null());
        command
    }

    /// Gives a file or folder to the account.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        match &self.drop_to {
            Some((_, uid, gid)) => std::os::unix::fs::chown(path, Some(*uid), Some(*gid))
                .context(format!("chown {}", path.display())),
            None => Ok(()),
        }
    }
}

fn parse_account(passwd: &str, name: &str) -> Option<(String, u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some((name.to_owned(), uid, gid))
    })
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    stop: Signal,
}

impl Process {
    /// Starts it with its output in `log`; `stop` is the signal that ends it in good order.
    pub(crate) fn start(
        mut command: Command,
        name: &str,
        log: &Path,
        stop: Signal,
    ) -> Result<Self> {
        let out = File::create(log).context(log.display())?;
        let err = out.try_clone()?;
        let child = command.stdout(out).stderr(err).spawn().context(format!("start {name}"))?;
        Ok(Process { child, name: name.to_owned(), stop })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it accepts connections.
    pub(crate) fn wait_for_port(&mut self, port: u16, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(log).unwrap_or_default();
                return fail(format!("{} did not open port {port}:\n{said}", self.name));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // A failure means that it has ended already.
            let _ = kill_process(pid, self.stop);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                eprintln!("{} ignored its stop signal and is killed", self.name);
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            sleep(Duration::from_millis(10));
        }
    }
}

/// A folder that is removed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new folder of the account under the system's temporary one.
    pub(crate) fn new(account: &Account) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("pgmanifold-bench-{}", std::process::id()));
        fs::create_dir(&path).context(path.display())?;
        let scratch = Scratch { path };
        account.own(&scratch.path)?;
        Ok(scratch)
    }

    /// A file or folder in it.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Runs a command to its end and gives its standard output.
pub(crate) fn output(mut command: Command, step: &str) -> Result<String> {
    let done = command.output().context(step)?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(BenchError(format!("{step}: {}: {said}", done.status)))
}

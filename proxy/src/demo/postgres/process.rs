//! Owns processes: signals to a server and its children, bounded waits, runs of helper programs.
//! PostgreSQL's children are sessions of their own, so a process group does not reach them; they
//! are found by their parent in `/proc`.

use super::account::spawn;
use super::{COMMAND_TIMEOUT, LOG_TAIL_BYTES, LaunchError, POLL_INTERVAL};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Sends `signal` to `pid`. A process that is already gone is no error: its end is what the
/// callers look for next.
pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Sends `number` to the children of `pid`, not to itself.
pub(super) fn signal_children(pid: u32, number: Signal) {
    for child in children(pid) {
        signal(child, number);
    }
}

/// SIGKILL to a server and all its children, which otherwise linger for a moment and keep the
/// shared memory that a restart wants. Frozen first, so that it cannot fork meanwhile.
pub(super) fn kill_tree(child: &mut Child) {
    let pid = child.id();
    signal(pid, Signal::STOP);
    let children = children(pid);
    for child in &children {
        signal(*child, Signal::KILL);
    }
    signal(pid, Signal::KILL);
    let _ = child.wait();
    wait_until(Duration::from_secs(5), || children.iter().all(|pid| !is_alive(*pid)));
}

/// Looks at `done` until it is true or `limit` has passed; says whether it became true.
pub(super) fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Whether `child` has ended, waiting up to `limit`.
pub(super) fn wait_exit(child: &mut Child, limit: Duration) -> bool {
    wait_until(limit, || !matches!(child.try_wait(), Ok(None)))
}

/// Runs a helper program to its end, its output appended to `log`.
pub(super) fn run(what: &str, mut command: Command, log: &Path) -> Result<(), LaunchError> {
    append_output(&mut command, log)?;
    let failed =
        |why: String| LaunchError::Server { what: format!("{what} {why}"), log_tail: tail(log, 0) };
    let mut child = spawn(command).map_err(|error| failed(format!("did not start: {error}")))?;
    if !wait_exit(&mut child, COMMAND_TIMEOUT) {
        kill_tree(&mut child);
        return Err(failed(format!("took longer than {} s", COMMAND_TIMEOUT.as_secs())));
    }
    let status = child.wait().map_err(|error| failed(format!("was lost: {error}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(failed(format!("failed ({status})"))),
    }
}

/// Sends standard output and error of `command` to the end of `log`.
pub(super) fn append_output(command: &mut Command, log: &Path) -> Result<(), LaunchError> {
    let open = || OpenOptions::new().create(true).append(true).open(log);
    let file = open().map_err(LaunchError::file("open", log))?;
    let copy = file.try_clone().map_err(LaunchError::file("open", log))?;
    command.stdout(file).stderr(copy);
    Ok(())
}

/// The end of `log`, at most [`LOG_TAIL_BYTES`], and nothing from before offset `from`.
pub(super) fn tail(log: &Path, from: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(LOG_TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

fn children(parent: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// State and parent of a process, from `/proc/PID/stat`: `1 (name) S 0 …`. The name may hold
/// spaces and brackets, so the fields are counted from its last bracket.
fn stat(pid: u32) -> Option<(char, u32)> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<(char, u32)> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_odd_process_names() {
        assert_eq!(parse_stat("12 (a) b) (c) S 7 12 12 0"), Some(('S', 7)));
        assert_eq!(parse_stat("12 (postgres) Z 1 12"), Some(('Z', 1)));
        assert_eq!(parse_stat("nonsense"), None);
    }
}

//! Owns what the servers say they were sent: their logs have every statement.

use super::super::inlet::{DATABASE, USER};
use super::super::postgres::{LaunchError, Postgres};
use super::fleet::Fleet;

/// Most bytes of a log that are read.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// How much each server had logged when this was taken.
pub(super) struct Marks(Vec<Vec<usize>>);

/// What a server was sent.
pub(super) struct Sent {
    /// Index of its shard.
    pub(super) shard: usize,
    /// Its name in the shard.
    pub(super) server: String,
    /// The texts, in order.
    pub(super) texts: Vec<String>,
}

/// Remembers where the logs end.
pub(super) fn mark(fleet: &Fleet) -> Result<Marks, LaunchError> {
    let lengths = fleet.clusters.iter().map(|cluster| {
        cluster.servers().map(|server| Ok(read(server)?.len())).collect::<Result<Vec<_>, _>>()
    });
    Ok(Marks(lengths.collect::<Result<_, LaunchError>>()?))
}

/// What the application's connections have sent since then; servers without any are left out.
pub(super) fn since(fleet: &Fleet, marks: &Marks) -> Result<Vec<Sent>, LaunchError> {
    let mut all = Vec::new();
    for ((shard, cluster), marks) in fleet.clusters.iter().enumerate().zip(&marks.0) {
        for (server, mark) in cluster.servers().zip(marks) {
            let log = read(server)?;
            let texts = texts(log.get(*mark..).unwrap_or_default());
            if !texts.is_empty() {
                all.push(Sent { shard, server: server.name().to_owned(), texts });
            }
        }
    }
    Ok(all)
}

fn read(server: &Postgres) -> Result<String, LaunchError> {
    let path = server.log_path();
    let failed = |cause| LaunchError::File { what: "read", path: path.to_owned(), cause };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > LOG_BYTES_MAX {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    Ok(String::from_utf8_lossy(&std::fs::read(path).map_err(failed)?).into_owned())
}

fn texts(log: &str) -> Vec<String> {
    let client = format!(" {USER}@{DATABASE} ");
    let text = |line: &str| {
        let (_, rest) = line.split_once(&client)?;
        let (_, rest) = rest.split_once("LOG:  ")?;
        let simple = rest.strip_prefix("statement: ");
        let bound = || rest.strip_prefix("execute ")?.split_once(": ").map(|(_, text)| text);
        Some(simple.or_else(bound)?.to_owned())
    };
    log.lines().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_tell_what_the_application_sent() {
        let log = "2026-11-22 [7] app@shop psql LOG:  statement: select 1\n\
            2026-11-22 [8] pgmanifold_monitor@shop x LOG:  statement: select 2\n\
            2026-11-22 [7] app@shop psql LOG:  execute pgm_1: select $1: 3\n\
            2026-11-22 [7] app@shop psql DETAIL:  parameters: $1 = '5'\n";
        assert_eq!(texts(log), ["select 1", "select $1: 3"]);
    }
}

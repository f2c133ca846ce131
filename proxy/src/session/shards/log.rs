//! Owns what must be done on a shard that joins a transaction later: the BEGIN, and what the
//! transaction has set and which savepoints it has made, in order. It sends nothing.

use pgmanifold_router::plan::Transaction;
use pgmanifold_router::savepoint::SavepointCommand;

/// Most bytes of statements kept for shards that join.
const LOG_BYTES_MAX: usize = 64 * 1024;

/// A transaction, for who joins it.
#[derive(Debug, Clone)]
pub(super) struct Log {
    /// Its BEGIN.
    pub(super) begin: Box<[u8]>,
    pub(super) kind: Transaction,
    steps: Vec<Step>,
    bytes: usize,
    /// Why nobody can join any more.
    closed: Option<&'static str>,
}

/// What joins do again.
#[derive(Debug, Clone)]
pub(in crate::session) enum Replay {
    /// A text.
    Text(Box<[u8]>),
    /// Body of a Parse after its name, and of a Bind after both names.
    Bound { definition: Box<[u8]>, values: Box<[u8]> },
}

#[derive(Debug, Clone)]
struct Step {
    replay: Replay,
    /// The savepoint it makes.
    savepoint: Option<Box<str>>,
}

impl Replay {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bound { definition, values } => definition.len() + values.len(),
        }
    }
}

impl Log {
    pub(super) fn new(begin: &[u8], kind: Transaction) -> Self {
        Self { begin: begin.into(), kind, steps: Vec::new(), bytes: 0, closed: None }
    }

    /// A statement that every shard must have run.
    pub(super) fn add(&mut self, replay: Replay) {
        self.push(Step { replay, savepoint: None });
    }

    fn push(&mut self, step: Step) {
        self.bytes += step.replay.bytes();
        if self.bytes > LOG_BYTES_MAX {
            self.close("it has set too much, or made too many savepoints");
        } else {
            self.steps.push(step);
        }
    }

    /// Nobody can join from now on.
    pub(super) fn close(&mut self, why: &'static str) {
        self.closed.get_or_insert(why);
    }

    /// Why nobody can join any more.
    pub(super) fn closed(&self) -> Option<&'static str> {
        self.closed
    }

    /// A savepoint command that is carried out. False when a savepoint it names is not known.
    pub(super) fn savepoint(&mut self, command: &SavepointCommand, text: &[u8]) -> bool {
        let known = |name: &str| {
            self.steps.iter().rposition(|step| step.savepoint.as_deref() == Some(name))
        };
        match command {
            SavepointCommand::Set(name) => {
                let replay = Replay::Text(text.into());
                self.push(Step { replay, savepoint: Some(name.clone()) });
            }
            SavepointCommand::Release(name) => {
                let Some(at) = known(name) else { return false };
                let mut index = 0;
                self.steps.retain(|step| {
                    index += 1;
                    index <= at || step.savepoint.is_none()
                });
            }
            SavepointCommand::RollbackTo(name) => {
                let Some(at) = known(name) else { return false };
                self.steps.truncate(at + 1);
            }
        }
        true
    }

    /// What a shard must do after the BEGIN.
    pub(super) fn steps(&self) -> impl Iterator<Item = &Replay> {
        self.steps.iter().map(|step| &step.replay)
    }

    pub(super) fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &Log) -> Vec<String> {
        let text = |replay: &Replay| match replay {
            Replay::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Replay::Bound { .. } => "bound".to_owned(),
        };
        log.steps().map(text).collect()
    }

    fn play(script: &[&str]) -> Log {
        let kind = Transaction::Begin { read_only: false, serializable: false };
        let mut log = Log::new(b"begin", kind);
        for text in script {
            let dialect = pgmanifold_router::lexer::Dialect::default();
            match pgmanifold_router::savepoint::read(text.as_bytes(), dialect) {
                Some(command) => assert!(log.savepoint(&command, text.as_bytes()), "{text}"),
                None => log.add(Replay::Text(text.as_bytes().into())),
            }
        }
        log
    }

    #[test]
    fn a_joining_shard_sees_what_still_holds() {
        let log = play(&["set 1", "savepoint a", "set 2", "savepoint b", "set 3"]);
        assert_eq!(texts(&log), ["set 1", "savepoint a", "set 2", "savepoint b", "set 3"]);
        let log = play(&["savepoint a", "set 2", "savepoint b", "set 3", "rollback to a"]);
        assert_eq!(texts(&log), ["savepoint a"]);
        let log = play(&["savepoint a", "set 2", "savepoint b", "set 3", "release a"]);
        assert_eq!(texts(&log), ["set 2", "set 3"], "what was set stays");
        let log = play(&["savepoint a", "savepoint b", "savepoint a", "release savepoint a"]);
        assert_eq!(texts(&log), ["savepoint a", "savepoint b"], "the last of that name");
    }

    #[test]
    fn unknown_savepoints_and_too_many_steps_are_told() {
        let mut log = play(&["savepoint a"]);
        assert!(!log.savepoint(&SavepointCommand::Release("x".into()), b""));
        assert!(log.closed().is_none());
        for _ in 0..70 {
            log.add(Replay::Text(vec![b'x'; 1024].into()));
        }
        assert!(log.closed().is_some());
    }
}

//! Owns the answers to commands that no server sees: SET, RESET and SHOW of `pgm.` settings, and
//! LISTEN and its like as far as `listen` takes them.

use super::listening::Action;
use super::request::Step;
use super::{Event, Session, Stop, Virtual};
use crate::wire::error::SqlError;
use crate::wire::frame;
use pgmanifold_router::plan::LocalCommand;
use std::sync::Arc;

/// What a command of ours answers.
pub(super) enum Answer {
    /// A command tag.
    Tag(&'static str),
    /// One text value under a column name.
    Value(String, Box<str>),
    /// Text values under a column name.
    Values(&'static str, Vec<Box<str>>),
    /// Something must happen first.
    Wait(Event),
}

/// How a command came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Simple,
    Extended,
}

/// The column of `SELECT pg_listening_channels()`.
const LISTENING_CHANNELS: &str = "pg_listening_channels";

impl Session {
    /// Runs a command that came as a simple query.
    pub(super) fn run_local_query(&mut self, command: &LocalCommand) -> Step {
        if self.owes_answers() {
            return Stop::Drain.into();
        }
        match self.run_local(command, Protocol::Simple) {
            Err(error) => return self.refuse_query(error),
            Ok(Answer::Wait(event)) => return Stop::Event(event).into(),
            Ok(Answer::Tag(tag)) => self.answer_complete(tag),
            Ok(Answer::Values(name, values)) => {
                self.answer(|out| frame::put_text_column(out, name));
                let tag = self.answer_rows(&values);
                self.answer_complete(&tag);
            }
            Ok(Answer::Value(name, value)) => {
                self.answer(|out| frame::put_text_column(out, &name));
                self.answer(|out| frame::put_text_row(out, &value));
                self.answer_complete("SHOW");
            }
        }
        Step::Done
    }

    /// Runs a command that was bound to a portal.
    pub(super) fn run_local_portal(&mut self, command: &LocalCommand) -> Step {
        let waits = match command {
            LocalCommand::Set { .. } => false,
            LocalCommand::Show { .. } => true,
            LocalCommand::Listen { .. }
            | LocalCommand::Unlisten { .. }
            | LocalCommand::ListeningChannels => !self.batch_open,
        };
        if waits && self.owes_answers() {
            return Stop::Drain.into();
        }
        match self.run_local(command, Protocol::Extended) {
            Err(error) => return self.refuse_batch(error),
            Ok(Answer::Wait(event)) => return Stop::Event(event).into(),
            Ok(Answer::Tag(tag)) => self.answer(|out| frame::put_command_complete(out, tag)),
            Ok(Answer::Values(_, values)) => {
                let tag = self.answer_rows(&values);
                self.answer(|out| frame::put_command_complete(out, &tag));
            }
            Ok(Answer::Value(_, value)) => {
                self.answer(|out| frame::put_text_row(out, &value));
                self.answer(|out| frame::put_command_complete(out, "SHOW"));
            }
        }
        Step::Done
    }

    /// Answers Describe of a statement or portal that holds a command of ours.
    pub(super) fn describe_local(&mut self, command: &LocalCommand, statement: bool) {
        if statement {
            self.answer(|out| frame::put(out, b't', &[&[0, 0]]));
        }
        match command {
            LocalCommand::Set { .. }
            | LocalCommand::Listen { .. }
            | LocalCommand::Unlisten { .. } => self.answer(|out| frame::put(out, b'n', &[])),
            LocalCommand::ListeningChannels => {
                self.answer(|out| frame::put_text_column(out, LISTENING_CHANNELS));
            }
            LocalCommand::Show { name } => {
                let column = format!("pgm.{name}");
                self.answer(|out| frame::put_text_column(out, &column));
            }
        }
    }

    /// Answers rows of one text value; returns the command tag.
    fn answer_rows(&mut self, values: &[Box<str>]) -> String {
        for value in values {
            self.answer(|out| frame::put_text_row(out, value));
        }
        format!("SELECT {}", values.len())
    }

    pub(super) fn owes_answers(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| !lease.expect.is_empty())
    }

    fn run_local(
        &mut self,
        command: &LocalCommand,
        protocol: Protocol,
    ) -> Result<Answer, SqlError> {
        match command {
            LocalCommand::Listen { channel } => {
                self.run_listen(Action::Listen(channel.as_bytes().into()), protocol)
            }
            LocalCommand::Unlisten { channel: Some(channel) } => {
                self.run_listen(Action::Unlisten(channel.as_bytes().into()), protocol)
            }
            LocalCommand::Unlisten { channel: None } => {
                self.run_listen(Action::UnlistenAll, protocol)
            }
            LocalCommand::ListeningChannels => {
                Ok(Answer::Values(LISTENING_CHANNELS, self.listening_channels()?))
            }
            LocalCommand::Set { name, value, local, reset } => {
                let in_transaction = match &self.lease {
                    Some(lease) => lease.status != b'I',
                    None => matches!(self.virtual_transaction, Virtual::Begun(_)),
                };
                self.knobs.set(name, value.as_deref(), *local, in_transaction)?;
                Ok(Answer::Tag(if *reset { "RESET" } else { "SET" }))
            }
            LocalCommand::Show { name } if &**name == "lsn" => {
                if let Some(error) = self.refused.take() {
                    return Err(*error);
                }
                match self.token.take() {
                    Some(token) => Ok(Answer::Value("pgm.lsn".to_owned(), token)),
                    None => Ok(Answer::Wait(Event::Token)),
                }
            }
            LocalCommand::Show { name } => {
                Ok(Answer::Value(format!("pgm.{name}"), self.knobs.show(name)?.into()))
            }
        }
    }

    /// Takes a sample that covers everything written so far.
    pub(super) async fn take_token(&mut self) {
        let cluster = Arc::clone(&self.pools.cluster);
        let token = if self.last_write_async {
            cluster.insert_token().await
        } else {
            cluster.token().await
        };
        match token {
            Ok(token) => self.token = Some(token.to_string().into()),
            Err(error) => self.refused = Some(Box::new(error)),
        }
    }
}

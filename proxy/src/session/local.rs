//! Owns the answers that no server gives: how they take their place among the servers' answers,
//! and those to pgmanifold's own commands, SET, RESET and SHOW of `pgm.` settings.

use super::request::Step;
use super::{Event, Session, Stop, Virtual};
use crate::config::model::PoolMode;
use crate::session::knobs;
use crate::wire::error::SqlError;
use crate::wire::frame;
use bytes::BytesMut;
use pgmanifold_router::plan::{LocalCommand, PinReason, Plan};
use std::sync::Arc;

/// Columns of `SHOW pgm.all`, as those of SHOW ALL.
const COLUMNS_OF_ALL: [&str; 3] = ["name", "setting", "description"];

/// What a command of ours answers.
enum Answer {
    /// A command tag.
    Tag(&'static str),
    /// One text value under a column name.
    Value(String, Box<str>),
    /// Name, value and meaning of every setting.
    All(Vec<[String; 3]>),
    /// `SHOW pgm.lsn` must wait for a sample first.
    Wait,
}

impl Session {
    /// Puts an answer of ours in its place: after what the server still owes.
    pub(super) fn answer(&mut self, write: impl FnOnce(&mut BytesMut)) {
        match &mut self.lease {
            Some(lease) if !lease.expect.is_empty() => {
                let mut bytes = BytesMut::new();
                write(&mut bytes);
                lease.expect.push_back(crate::backend::connection::Expect::Local(bytes.freeze()));
            }
            _ => write(&mut self.output),
        }
    }

    /// The statements prepared before a DEALLOCATE ALL or DISCARD ALL that did not happen.
    pub(super) fn restore_prepared(&mut self) {
        if let Some(dropping) = self.dropping.take() {
            let prepared = self.prepared.get_or_insert_default();
            for (name, statement) in *dropping {
                prepared.entry(name).or_insert(statement);
            }
        }
    }

    /// The transaction status a ReadyForQuery of ours must show.
    pub(super) fn virtual_status(&self) -> u8 {
        match &self.virtual_transaction {
            Virtual::None | Virtual::Lost(_) => b'I',
            Virtual::Begun(_) => b'T',
            Virtual::Failed => b'E',
        }
    }

    /// Answers ReadyForQuery.
    pub(super) fn answer_ready(&mut self) {
        let status = match &self.lease {
            Some(lease) => lease.status,
            None => self.virtual_status(),
        };
        self.answer(|out| frame::put_ready(out, status));
    }

    /// Runs a command that came as a simple query.
    pub(super) fn run_local_query(&mut self, command: &LocalCommand) -> Step {
        if self.owes_answers() {
            return Stop::Drain.into();
        }
        match self.run_local(command) {
            Err(error) => return self.refuse_query(error),
            Ok(Answer::Wait) => return Stop::Event(Event::Token).into(),
            Ok(Answer::Tag(tag)) => self.answer_complete(tag),
            Ok(Answer::Value(name, value)) => {
                self.answer(|out| frame::put_text_columns(out, &[&name]));
                self.answer(|out| frame::put_text_row(out, &[&value]));
                self.answer_complete("SHOW");
            }
            Ok(Answer::All(rows)) => {
                self.answer(|out| frame::put_text_columns(out, &COLUMNS_OF_ALL));
                self.answer_rows(&rows);
                self.answer_complete("SHOW");
            }
        }
        Step::Done
    }

    /// Runs a command that was bound to a portal.
    pub(super) fn run_local_portal(&mut self, command: &LocalCommand) -> Step {
        if self.owes_answers() && matches!(command, LocalCommand::Show { .. }) {
            return Stop::Drain.into();
        }
        match self.run_local(command) {
            Err(error) => return self.refuse_batch(error),
            Ok(Answer::Wait) => return Stop::Event(Event::Token).into(),
            Ok(Answer::Tag(tag)) => self.answer(|out| frame::put_command_complete(out, tag)),
            Ok(Answer::Value(_, value)) => {
                self.answer(|out| frame::put_text_row(out, &[&value]));
                self.answer(|out| frame::put_command_complete(out, "SHOW"));
            }
            Ok(Answer::All(rows)) => {
                self.answer_rows(&rows);
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
            LocalCommand::Set { .. } | LocalCommand::Deallocate { .. } => {
                self.answer(|out| frame::put(out, b'n', &[]))
            }
            LocalCommand::Show { name } if &**name == "all" => {
                self.answer(|out| frame::put_text_columns(out, &COLUMNS_OF_ALL));
            }
            LocalCommand::Show { name } => {
                let column = format!("pgm.{name}");
                self.answer(|out| frame::put_text_columns(out, &[&column]));
            }
        }
    }

    fn answer_rows(&mut self, rows: &[[String; 3]]) {
        for row in rows {
            let row: [&str; 3] = std::array::from_fn(|at| row[at].as_str());
            self.answer(|out| frame::put_text_row(out, &row));
        }
    }

    /// DEALLOCATE of a statement that was prepared by protocol: servers know it by another name.
    pub(super) fn deallocation(&self, plan: &Plan) -> Option<LocalCommand> {
        let name = plan.session.deallocates.as_ref()?;
        let failed = self.lease.as_ref().is_some_and(|lease| lease.status == b'E');
        self.find_named(name.as_bytes()).filter(|_| !failed)?;
        Some(LocalCommand::Deallocate { name: name.clone() })
    }

    fn owes_answers(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| !lease.expect.is_empty())
    }

    fn run_local(&mut self, command: &LocalCommand) -> Result<Answer, SqlError> {
        match command {
            LocalCommand::Set { name, value, local, reset } => {
                let in_transaction = match &self.lease {
                    Some(lease) => lease.status != b'I',
                    None => matches!(self.virtual_transaction, Virtual::Begun(_)),
                };
                let statement = self.pools.database.pool_mode == PoolMode::Statement;
                if statement && &**name == knobs::KEEP_SERVER {
                    let message = "pgm.keep_server is not possible with statement pooling";
                    return Err(SqlError::error("0A000", message)
                        .hint("Use a database with pool_mode = \"transaction\"."));
                }
                self.knobs.set(name, value.as_deref(), *local, in_transaction)?;
                self.follow_keep_server();
                Ok(Answer::Tag(if *reset { "RESET" } else { "SET" }))
            }
            LocalCommand::Deallocate { name } => {
                self.forget(name.as_bytes());
                Ok(Answer::Tag("DEALLOCATE"))
            }
            LocalCommand::Show { name } if &**name == "lsn" => {
                if let Some(error) = self.refused.take() {
                    return Err(*error);
                }
                match self.token.take() {
                    Some(token) => Ok(Answer::Value("pgm.lsn".to_owned(), token)),
                    None => Ok(Answer::Wait),
                }
            }
            LocalCommand::Show { name } if &**name == "all" => Ok(Answer::All(self.knobs.all())),
            LocalCommand::Show { name } => {
                Ok(Answer::Value(format!("pgm.{name}"), self.knobs.show(name)?.into()))
            }
        }
    }

    /// Ties the session to its server, or lets it go, as `pgm.keep_server` says now.
    pub(super) fn follow_keep_server(&mut self) {
        if self.knobs.keep_server() {
            self.pins.hold(PinReason::Asked);
        } else if self.pins.has(PinReason::Asked) {
            self.pins.release(PinReason::Asked);
            if !self.batch_open {
                self.release_server();
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

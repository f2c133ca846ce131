//! Owns the answers that no server gives: how they take their place among the servers' answers,
//! those to pgmanifold's own commands (SET, RESET and SHOW of `pgm.` settings), and those to LISTEN
//! and its like as far as `listen` takes them.

use super::byname::name_taken;
use super::listening::Action;
use super::request::Step;
use super::{Event, Session, Stop, Virtual};
use crate::config::model::PoolMode;
use crate::session::knobs;
use crate::wire::error::SqlError;
use crate::wire::frame;
use bytes::BytesMut;
use pgmanifold_router::lexer::{Dialect, Lexer};
use pgmanifold_router::plan::{LocalCommand, PinReason, Plan};
use std::sync::Arc;

/// What a command of ours answers.
pub(super) enum Answer {
    /// A command tag.
    Tag(&'static str),
    /// Rows of text under these columns, and a command tag.
    Rows(Vec<String>, Vec<Vec<String>>, String),
    /// Something must happen first.
    Wait(Event),
}

/// A portal that holds a command of ours.
pub(super) struct Portal {
    pub(super) name: Box<[u8]>,
    pub(super) command: LocalCommand,
    /// Its columns are asked for in binary.
    pub(super) binary: bool,
}

/// How a command came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Simple,
    Extended,
}

/// The columns of what a command answers; none when it has no rows.
fn columns(command: &LocalCommand) -> Vec<String> {
    match command {
        LocalCommand::Set { .. }
        | LocalCommand::Deallocate { .. }
        | LocalCommand::Execute { .. }
        | LocalCommand::Prepare { .. }
        | LocalCommand::Listen { .. }
        | LocalCommand::Unlisten { .. } => Vec::new(),
        LocalCommand::ListeningChannels => vec!["pg_listening_channels".to_owned()],
        // As those of SHOW ALL.
        LocalCommand::Show { name } if &**name == "all" => {
            ["name", "setting", "description"].map(str::to_owned).to_vec()
        }
        LocalCommand::Show { name } => vec![format!("pgm.{name}")],
    }
}

fn one_server_only(name: &str) -> SqlError {
    SqlError::refused("token", format!("pgm.{name} is not possible over shards"))
        .detail("A token says how far one server's log has come, and every shard has a log.")
        .hint("A session always sees what it has written itself.")
}

/// START TRANSACTION has a command tag of its own.
pub(super) fn begin_tag(text: &[u8]) -> &'static str {
    if starts(text) { "START TRANSACTION" } else { "BEGIN" }
}

fn starts(text: &[u8]) -> bool {
    let mut lexer = match Lexer::new(text, Dialect::default()) {
        Ok(lexer) => lexer,
        Err(_) => return false,
    };
    let first = lexer.next_token().ok().flatten();
    first.is_some_and(|token| token.text(text).eq_ignore_ascii_case(b"start"))
}

fn shown(command: &LocalCommand, rows: Vec<Vec<String>>) -> Answer {
    Answer::Rows(columns(command), rows, "SHOW".to_owned())
}

impl Session {
    /// A command of our own is bound to a portal here.
    pub(super) fn bind_local(&mut self, portal: &[u8], values: &[u8], plan: &Plan) -> Option<Step> {
        let command = self.local_command(plan)?.clone();
        if let Some(error) = self.refused_in_aborted(plan) {
            return Some(self.refuse_batch(error));
        }
        let binary = frame::asks_binary(values);
        self.local_portal = Some(Box::new(Portal { name: portal.into(), command, binary }));
        self.answer(|out| frame::put(out, b'2', &[]));
        Some(Step::Done)
    }

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
        let dropped = std::mem::take(&mut self.dropped);
        if let Some(lease) = &mut self.lease {
            dropped.into_iter().for_each(|statement| lease.statements.put_back(statement));
        }
        if let Some(dropping) = self.dropping.take() {
            let prepared = self.prepared.get_or_insert_default();
            for (name, statement) in *dropping {
                prepared.entry(name).or_insert(statement);
            }
            self.show_prepared();
        }
    }

    /// The transaction status a ReadyForQuery of ours must show.
    pub(super) fn virtual_status(&self) -> u8 {
        match &self.virtual_transaction {
            Virtual::None => b'I',
            Virtual::Begun(_) => b'T',
            Virtual::Failed(_) | Virtual::Lost(_) => b'E',
        }
    }

    /// Answers ReadyForQuery.
    pub(super) fn answer_ready(&mut self) {
        if self.lease.is_none() && self.virtual_status() == b'I' {
            self.leave_statement_on_shards();
        }
        // A server that is kept for the session does not know of a transaction that only we do.
        let status = match (self.virtual_status(), &self.lease) {
            (b'I', Some(lease)) => lease.status,
            (status, _) => status,
        };
        self.answer(|out| frame::put_ready(out, status));
        self.span_answered();
    }

    /// Runs a command that came as a simple query.
    pub(super) fn run_local_query(&mut self, command: &LocalCommand) -> Step {
        if self.owes_answers() {
            return Stop::Drain.into();
        }
        match self.run_local(command, Protocol::Simple) {
            Err(error) => return self.refuse_query(error),
            Ok(Answer::Wait(event)) => return Stop::Event(event).into(),
            Ok(Answer::Tag(tag)) => self.answer_complete(tag),
            Ok(Answer::Rows(columns, rows, tag)) => {
                let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                self.answer(|out| frame::put_text_columns(out, &columns, false));
                self.answer_rows(&rows);
                self.answer_complete(&tag);
            }
        }
        Step::Done
    }

    /// Runs a command that was bound to a portal.
    pub(super) fn run_local_portal(&mut self, command: &LocalCommand) -> Step {
        let waits = match command {
            LocalCommand::Set { .. }
            | LocalCommand::Deallocate { .. }
            | LocalCommand::Execute { .. }
            | LocalCommand::Prepare { .. } => false,
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
            Ok(Answer::Rows(_, rows, tag)) => {
                self.answer_rows(&rows);
                self.answer(|out| frame::put_command_complete(out, &tag));
            }
        }
        Step::Done
    }

    /// Answers Describe of a statement or portal that holds a command of ours.
    /// `binary` is what the portal was bound with; `None` for a statement.
    pub(super) fn describe_local(&mut self, command: &LocalCommand, binary: Option<bool>) {
        if binary.is_none() {
            self.answer(|out| frame::put(out, b't', &[&[0, 0]]));
        }
        let columns = columns(command);
        if columns.is_empty() {
            self.answer(|out| frame::put(out, b'n', &[]));
        } else {
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            let binary = binary.unwrap_or(false);
            self.answer(|out| frame::put_text_columns(out, &columns, binary));
        }
    }

    fn answer_rows(&mut self, rows: &[Vec<String>]) {
        for row in rows {
            let row: Vec<&str> = row.iter().map(String::as_str).collect();
            self.answer(|out| frame::put_text_row(out, &row));
        }
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
                let rows: Vec<_> =
                    self.listening_channels()?.into_iter().map(|name| vec![name]).collect();
                let tag = format!("SELECT {}", rows.len());
                Ok(Answer::Rows(columns(command), rows, tag))
            }
            LocalCommand::Set { name, .. } | LocalCommand::Show { name }
                if self.shards.is_some() && matches!(&**name, "lsn" | "min_lsn") =>
            {
                Err(one_server_only(name))
            }
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
            LocalCommand::Prepare { name } | LocalCommand::Execute { name } => {
                Err(name_taken(name.as_bytes()))
            }
            LocalCommand::Show { name } if &**name == "lsn" => {
                if let Some(error) = self.refused.take() {
                    return Err(*error);
                }
                match self.token.take() {
                    Some(token) => Ok(shown(command, vec![vec![token.into()]])),
                    None => Ok(Answer::Wait(Event::Token)),
                }
            }
            LocalCommand::Show { name } if &**name == "all" => {
                Ok(shown(command, self.knobs.all().map(Vec::from).collect()))
            }
            LocalCommand::Show { name } => Ok(shown(command, vec![vec![self.knobs.show(name)?]])),
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

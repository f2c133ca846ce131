//! Owns the extended protocol: prepared statements, portals, and the messages about them. What a
//! statement does is not its business.

use super::encode::{self, Formats};
use super::failure::Failure;
use super::messages::{self, Target};
use super::{Done, Session};
use crate::wire::error::SqlError;
use crate::wire::frame;
use crate::wire::protocol::put_frame;
use bytes::BufMut;
use pgmanifold_console::answer::OutColumn;
use pgmanifold_console::command::{self, Command};
use pgmanifold_console::{Answer, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// Most prepared statements of one connection, and most portals.
const STATEMENTS_MAX: usize = 1_000;
const PORTALS_MAX: usize = 100;

/// Most parameters of a statement.
const PARAMETERS_MAX: usize = 1_000;

/// What a connection has prepared.
#[derive(Default)]
pub(super) struct Prepared {
    statements: HashMap<String, Arc<Statement>>,
    portals: HashMap<String, Portal>,
}

/// A prepared statement.
struct Statement {
    /// `None`: an empty text.
    command: Option<Command>,
    /// OIDs of its parameters.
    types: Vec<u32>,
    columns: Vec<OutColumn>,
}

/// A statement with its parameters, perhaps run.
struct Portal {
    statement: Arc<Statement>,
    values: Vec<Value>,
    formats: Formats,
    progress: Progress,
}

enum Progress {
    Bound,
    /// Rows are held; so many were sent.
    Run(Answer, usize),
    /// There were none.
    Over,
}

impl Prepared {
    /// How many statements there are that have a name.
    pub(super) fn count(&self) -> usize {
        self.statements.keys().filter(|name| !name.is_empty()).count()
    }

    /// Forgets a statement.
    pub(super) fn deallocate(&mut self, name: &str) -> Result<(), SqlError> {
        self.statements.remove(name).map(drop).ok_or_else(|| no_statement(name))
    }

    /// Forgets all statements.
    pub(super) fn deallocate_all(&mut self) {
        self.statements.clear();
    }

    /// Forgets all portals: they end with their transaction.
    pub(super) fn close_portals(&mut self) {
        self.portals.clear();
    }

    fn statement(&self, name: &str) -> Result<Arc<Statement>, SqlError> {
        self.statements.get(name).cloned().ok_or_else(|| no_statement(name))
    }
}

fn no_statement(name: &str) -> SqlError {
    SqlError::error("26000", format!("prepared statement \"{name}\" does not exist"))
}

fn no_portal(name: &str) -> SqlError {
    SqlError::error("34000", format!("portal \"{name}\" does not exist"))
}

fn too_many(what: &str, most: usize) -> SqlError {
    SqlError::error("54000", format!("too many {what}"))
        .detail(format!("The console keeps up to {most} for a connection."))
        .hint("Close those that are not used.")
}

impl Session {
    /// Answers one message of the extended protocol.
    pub(super) async fn extended(&mut self, kind: u8, body: &[u8]) -> Result<(), Failure> {
        let wrong = Failure::of_message(kind);
        match kind {
            b'P' => self.parse(messages::parse(body).map_err(wrong)?).await,
            b'B' => self.bind(messages::bind(body).map_err(wrong)?),
            b'D' => self.describe(&messages::target(body).map_err(wrong)?),
            b'E' => {
                let (portal, rows) = messages::execute(body).map_err(wrong)?;
                self.execute(&portal, rows).await
            }
            _ => {
                match messages::target(body).map_err(wrong)? {
                    Target::Statement(name) => drop(self.prepared.statements.remove(&name)),
                    Target::Portal(name) => drop(self.prepared.portals.remove(&name)),
                }
                frame::put(&mut self.link.out, b'3', &[]);
                Ok(())
            }
        }
    }

    async fn parse(&mut self, parse: messages::Parse) -> Result<(), Failure> {
        let statements = &mut self.prepared.statements;
        if parse.name.is_empty() {
            statements.remove("");
        } else if statements.contains_key(&parse.name) {
            let message = format!("prepared statement \"{}\" already exists", parse.name);
            return Err(SqlError::error("42P05", message).into());
        }
        if statements.len() >= STATEMENTS_MAX {
            return Err(too_many("prepared statements", STATEMENTS_MAX).into());
        }
        if parse.types.len() > PARAMETERS_MAX {
            return Err(too_many("parameters", PARAMETERS_MAX).into());
        }
        let mut commands = command::parse(&parse.sql)?;
        if commands.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(SqlError::error("42601", message).into());
        }
        let command = commands.pop();
        let (types, columns) = match &command {
            Some(command) => self.describe_command(command, &parse.types).await?,
            None => (Vec::new(), Vec::new()),
        };
        let statement = Arc::new(Statement { command, types, columns });
        self.prepared.statements.insert(parse.name, statement);
        frame::put(&mut self.link.out, b'1', &[]);
        Ok(())
    }

    fn bind(&mut self, bind: messages::Bind<'_>) -> Result<(), Failure> {
        let statement = self.prepared.statement(&bind.statement)?;
        let portals = &mut self.prepared.portals;
        if bind.portal.is_empty() {
            portals.remove("");
        } else if portals.contains_key(&bind.portal) {
            let message = format!("portal \"{}\" already exists", bind.portal);
            return Err(SqlError::error("42P03", message).into());
        }
        if portals.len() >= PORTALS_MAX {
            return Err(too_many("portals", PORTALS_MAX).into());
        }
        let (given, wanted) = (bind.parameters.len(), statement.types.len());
        if given != wanted {
            let message = format!(
                "bind message supplies {given} parameters, but the statement requires {wanted}"
            );
            return Err(SqlError::error("08P01", message).into());
        }
        if !bind.results.fit(statement.columns.len()) {
            let message = "bind message has as many result formats as the statement has columns \
                           in no way";
            return Err(SqlError::error("08P01", message).into());
        }
        let values = bind.parameters.iter().zip(&statement.types);
        let values = values.map(|(given, oid)| given.read(*oid)).collect::<Result<_, _>>()?;
        let progress = Progress::Bound;
        let portal = Portal { statement, values, formats: bind.results, progress };
        portals.insert(bind.portal, portal);
        frame::put(&mut self.link.out, b'2', &[]);
        Ok(())
    }

    fn describe(&mut self, target: &Target) -> Result<(), Failure> {
        let out = &mut self.link.out;
        let (columns, formats) = match target {
            Target::Statement(name) => {
                let statement = self.prepared.statement(name)?;
                put_frame(out, b't', |out| {
                    out.put_u16(u16::try_from(statement.types.len()).unwrap_or(u16::MAX));
                    statement.types.iter().for_each(|oid| out.put_u32(*oid));
                });
                (statement.columns.clone(), Formats::default())
            }
            Target::Portal(name) => {
                let portal = self.prepared.portals.get(name).ok_or_else(|| no_portal(name))?;
                (portal.statement.columns.clone(), portal.formats.clone())
            }
        };
        if columns.is_empty() {
            frame::put(out, b'n', &[]);
        } else {
            encode::put_columns(out, &columns, &formats);
        }
        Ok(())
    }

    async fn execute(&mut self, name: &str, rows_max: Option<usize>) -> Result<(), Failure> {
        // Out of the map while it runs: what it runs may close portals.
        let mut portal = self.prepared.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let Some(command) = portal.statement.command.clone() else {
            frame::put(&mut self.link.out, b'I', &[]);
            self.prepared.portals.insert(name.to_owned(), portal);
            return Ok(());
        };
        if let Progress::Bound = portal.progress {
            let values = std::mem::take(&mut portal.values);
            let Done { answer, ends_portals } = self.perform(command, values).await?;
            if ends_portals {
                frame::put_command_complete(&mut self.link.out, &answer.tag);
                return Ok(());
            }
            portal.progress = if portal.statement.columns.is_empty() {
                frame::put_command_complete(&mut self.link.out, &answer.tag);
                Progress::Over
            } else {
                Progress::Run(answer, 0)
            };
        } else if let Progress::Over = portal.progress {
            let error = SqlError::error("55000", format!("portal \"{name}\" cannot be run"));
            return Err(error.into());
        }
        if let Progress::Run(answer, sent) = &mut portal.progress {
            let end = rows_max.map_or(usize::MAX, |most| sent.saturating_add(most));
            let end = end.min(answer.rows.len());
            let rows = answer.rows.get(*sent..end).unwrap_or_default();
            self.put_rows(&portal.statement.columns, rows, &portal.formats).await?;
            *sent = end;
            if end < answer.rows.len() {
                frame::put(&mut self.link.out, b's', &[]);
            } else {
                frame::put_command_complete(&mut self.link.out, &answer.tag);
            }
        }
        self.prepared.portals.insert(name.to_owned(), portal);
        Ok(())
    }
}

//! Owns the doing of commands: who may, what interrupts them, and which part of the process each is
//! handed to.

use super::failure::Failure;
use super::{Done, Session};
use crate::console::explain::explain_columns;
use crate::console::{ProcessSource, commands};
use crate::wire::error::{Severity, SqlError};
use pgmanifold_console::answer::OutColumn;
use pgmanifold_console::command::{self, Command, Parameter};
use pgmanifold_console::value::Row;
use pgmanifold_console::{Answer, Kind, Role, Source, Table, Value, legacy};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Columns of SHOW ALL.
const ALL_COLUMNS: [&str; 3] = ["name", "setting", "description"];

impl Session {
    /// Does one command.
    pub(super) async fn perform(
        &mut self,
        command: Command,
        values: Vec<Value>,
    ) -> Result<Done, Failure> {
        self.authorise(&command)?;
        self.me.handle().set_busy(true);
        let done = self.dispatch(command, values).await;
        self.me.handle().set_busy(false);
        done
    }

    /// The one place where roles are looked at; at each command, because a reload may change them.
    fn authorise(&self, command: &Command) -> Result<(), SqlError> {
        let user = &self.me.handle().user.name;
        let role = self.shared.state().config.console.role(user);
        if role.is_some_and(|role| role >= command.needs()) {
            return Ok(());
        }
        let (needs, list) = match command.needs() {
            Role::Stats => ("a stats user", "stats_users"),
            Role::Admin => ("an admin", "admin_users"),
        };
        Err(SqlError::error("42501", format!("permission denied for {}", command.tag()))
            .detail(format!("It needs {needs} of the console; user \"{user}\" is not."))
            .hint(format!("Add the user to {list} of [console], and reload.")))
    }

    async fn dispatch(&mut self, command: Command, _values: Vec<Value>) -> Result<Done, Failure> {
        if command.is_of_session() {
            let ends_portals = matches!(command, Command::Commit | Command::Rollback);
            return Ok(Done { answer: self.of_session(command)?, ends_portals });
        }
        let answer = match command {
            Command::Show(table) => {
                let source = ProcessSource(Arc::clone(&self.shared));
                self.shown(table, source.rows(table))
            }
            Command::ShowHelp => {
                self.notice(SqlError::error("00000", "Console usage").detail(command::help()));
                Answer::done("SHOW")
            }
            Command::ShowParameter(parameter) => {
                let row = vec![Value::from(self.parameters.get(parameter))];
                Answer { columns: parameter_column(parameter), rows: vec![row], tag: "SHOW".into() }
            }
            Command::ShowAll => {
                let row = |(name, value): (&str, &str)| vec![name.into(), value.into(), "".into()];
                let rows = self.parameters.all().map(row).collect();
                Answer { columns: text_columns(&ALL_COLUMNS), rows, tag: "SHOW".into() }
            }
            other => {
                let shared = Arc::clone(&self.shared);
                self.supervise(commands::execute(&shared, &other)).await?
            }
        };
        Ok(Done { answer, ends_portals: false })
    }

    /// What concerns this connection alone.
    fn of_session(&mut self, command: Command) -> Result<Answer, SqlError> {
        let tag = command.tag();
        match command {
            Command::SetParameter(parameter, value) => {
                self.parameters.set(parameter, value.as_deref())?;
                self.report(parameter);
            }
            Command::ResetAll => self.reset_parameters(),
            Command::DiscardAll => {
                self.reset_parameters();
                self.prepared.deallocate_all();
            }
            Command::Begin => self.in_transaction = true,
            Command::Commit | Command::Rollback => {
                self.in_transaction = false;
                self.prepared.close_portals();
            }
            Command::Deallocate(Some(name)) => self.prepared.deallocate(&name)?,
            Command::Deallocate(None) => self.prepared.deallocate_all(),
            _ => {}
        }
        Ok(Answer::done(tag))
    }

    fn reset_parameters(&mut self) {
        self.parameters.reset();
        command::PARAMETERS.iter().for_each(|parameter| self.report(parameter));
    }

    /// Tells the client, and whoever looks at the list of connections, of a parameter's value.
    fn report(&mut self, parameter: &Parameter) {
        let value = self.parameters.get(parameter);
        if parameter.name == "application_name" {
            self.me.handle().set_application_name(value);
        }
        if parameter.reported {
            crate::wire::frame::put_parameter_status(&mut self.link.out, parameter.name, value);
        }
    }

    fn shown(&self, table: &'static Table, rows: Vec<Row>) -> Answer {
        let mut answer = Answer::show(table, rows);
        if self.shared.state().config.console.legacy_columns {
            legacy::add_columns(table, &mut answer);
        }
        answer
    }

    fn notice(&mut self, notice: SqlError) {
        SqlError { severity: Severity::Notice, ..notice }.encode(&mut self.link.out);
    }

    /// Types of a command's parameters and columns of its answer.
    pub(super) async fn describe_command(
        &mut self,
        command: &Command,
        _types: &[u32],
    ) -> Result<(Vec<u32>, Vec<OutColumn>), Failure> {
        let columns = match command {
            Command::Show(table) => self.shown(table, Vec::new()).columns,
            Command::ShowParameter(parameter) => parameter_column(parameter),
            Command::ShowAll => text_columns(&ALL_COLUMNS),
            Command::ExplainRoute { .. } => explain_columns(),
            _ => Vec::new(),
        };
        Ok((Vec::new(), columns))
    }

    /// Waits for work that may take long, unless it is cancelled, takes longer than it may, or
    /// nobody waits for its answer any more. The work is dropped then.
    pub(super) async fn supervise<T>(
        &mut self,
        work: impl Future<Output = Result<T, SqlError>>,
    ) -> Result<T, Failure> {
        let handle = Arc::clone(self.me.handle());
        let limit = self.parameters.statement_timeout();
        let canceled =
            |why| Err(SqlError::error("57014", format!("canceling statement due to {why}")));
        let done = tokio::select! {
            biased;
            () = handle.cancelled() => canceled("user request"),
            () = after(limit) => canceled("statement timeout"),
            done = work => done,
            () = self.link.gone() => return Err(Failure::Gone),
        };
        Ok(done?)
    }
}

async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

fn parameter_column(parameter: &Parameter) -> Vec<OutColumn> {
    text_columns(&[parameter.name])
}

fn text_columns(names: &[&str]) -> Vec<OutColumn> {
    names.iter().map(|name| OutColumn { name: (*name).into(), kind: Kind::Text }).collect()
}

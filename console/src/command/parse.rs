//! Owns the reading of commands, in any case and with comments between their words. SQL is not
//! understood here: a SELECT is handed on as it is written.

use super::lexer::{self, Statement, Words};
use super::{Command, Parameter, ShutdownMode};
use crate::tables;

/// The part of an unknown statement that its error repeats.
const MAX_NAMED_CHARS: usize = 60;

/// A text that is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// Of PostgreSQL.
    pub sqlstate: &'static str,
    /// What is wrong.
    pub message: String,
    /// How to write it.
    pub hint: Option<String>,
    /// Characters up to where it is wrong, counted from 1.
    pub position: Option<usize>,
}

/// Something is wrong with one statement, this many bytes into it.
struct Wrong {
    sqlstate: &'static str,
    message: String,
    hint: String,
    at: usize,
}

type Parsed = Result<Command, Wrong>;

/// The commands of a query text; none when it is empty.
///
/// # Errors
/// When any of them cannot be read: then none is to run.
pub fn parse(text: &str) -> Result<Vec<Command>, ParseError> {
    let position = |byte: usize| Some(text.get(..byte)?.chars().count() + 1);
    let statements = lexer::split(text).map_err(|error| ParseError {
        sqlstate: "42601",
        message: format!("unterminated {}", error.what),
        hint: None,
        position: position(error.start),
    })?;
    let read = |statement: Statement<'_>| {
        command(&statement).map_err(|wrong| ParseError {
            sqlstate: wrong.sqlstate,
            message: wrong.message,
            hint: Some(wrong.hint),
            position: position(statement.start + wrong.at),
        })
    };
    statements.into_iter().map(read).collect()
}

fn command(statement: &Statement<'_>) -> Parsed {
    let mut words = Words::new(&statement.plain);
    let start = words.at();
    let reader = Reader { statement, start };
    let Some(verb) = words.word() else {
        if words.rest().starts_with('(') {
            return Ok(Command::Select(statement.text.trim().to_owned()));
        }
        return Err(reader.unknown());
    };
    let command = match verb.as_str() {
        "show" => show(&mut words, &reader)?,
        "select" => return Ok(select(words, statement)),
        "with" | "values" | "table" => {
            return Ok(Command::Select(statement.text.trim().to_owned()));
        }
        "explain" => return explain(words, &reader),
        "set" => return set(words, &reader),
        "reset" => reset(&mut words, &reader)?,
        "kill" => kill(&mut words, &reader)?,
        "ban" => ban(&mut words, &reader)?,
        "shutdown" => shutdown(&mut words, &reader)?,
        "kill_client" => Command::KillClient(reader.id(&mut words)?),
        "pause" => Command::Pause(words.argument()),
        "resume" => Command::Resume(words.argument()),
        "reconnect" => Command::Reconnect(words.argument()),
        "wait_close" => Command::WaitClose(words.argument()),
        "disable" => Command::Disable(reader.required(&mut words, "DISABLE database")?),
        "enable" => Command::Enable(reader.required(&mut words, "ENABLE database")?),
        "unban" => Command::Unban(reader.required(&mut words, "UNBAN host")?),
        "drain" => Command::Drain(reader.required(&mut words, "DRAIN host")?),
        "suspend" => Command::Suspend,
        "reload" => Command::Reload,
        "help" => Command::ShowHelp,
        _ => return of_drivers(&verb, words, &reader),
    };
    if words.is_done() { Ok(command) } else { Err(reader.unexpected(&words)) }
}

/// What drivers send around statements.
fn of_drivers(verb: &str, mut words: Words<'_>, reader: &Reader<'_>) -> Parsed {
    let prepared = words.rest().to_ascii_lowercase().starts_with("prepared");
    match verb {
        "begin" | "start" => Ok(Command::Begin),
        "commit" | "end" if !prepared => Ok(Command::Commit),
        "abort" => Ok(Command::Rollback),
        "rollback" if !prepared => {
            let _ = words.eat("work") || words.eat("transaction");
            Ok(if words.eat("to") { Command::RollbackTo } else { Command::Rollback })
        }
        "savepoint" => Ok(Command::Savepoint),
        "release" => Ok(Command::Release),
        "deallocate" => {
            words.eat("prepare");
            let all = words.eat("all");
            let name = if all { None } else { words.argument() };
            if !words.is_done() || (!all && name.is_none()) {
                return Err(reader.unexpected(&words));
            }
            Ok(Command::Deallocate(name))
        }
        "discard" if words.eat("all") => Ok(Command::DiscardAll),
        "close" if words.eat("all") => Ok(Command::CloseAll),
        "unlisten" => Ok(Command::Unlisten),
        _ => Err(reader.unknown()),
    }
}

fn show(words: &mut Words<'_>, reader: &Reader<'_>) -> Parsed {
    let at = words.at();
    let Some(name) = words.argument() else {
        return Err(reader.wrong(at, "SHOW needs the name of a table".into()));
    };
    let lower = name.to_ascii_lowercase();
    let parameter = match lower.as_str() {
        "help" => return Ok(Command::ShowHelp),
        "all" => return Ok(Command::ShowAll),
        "transaction" if words.eat("isolation") && words.eat("level") => "transaction_isolation",
        "time" if words.eat("zone") => "TimeZone",
        "session" if words.eat("authorization") => "session_authorization",
        other => other,
    };
    if let Some(table) = tables::find(parameter) {
        return Ok(Command::Show(table));
    }
    Parameter::find(parameter).map(Command::ShowParameter).ok_or_else(|| Wrong {
        sqlstate: "42704",
        message: format!("there is no table or parameter \"{name}\" to SHOW"),
        hint: "SHOW HELP lists the tables.".into(),
        at,
    })
}

/// `SELECT table` is PgBouncer's other way to write SHOW; everything else is SQL.
fn select(mut words: Words<'_>, statement: &Statement<'_>) -> Command {
    let only = words.word().filter(|_| words.is_done());
    match only.and_then(|name| tables::find(&name)) {
        Some(table) => Command::Show(table),
        None => Command::Select(statement.text.trim().to_owned()),
    }
}

fn explain(mut words: Words<'_>, reader: &Reader<'_>) -> Parsed {
    if !words.eat("route") {
        return Err(reader.unknown());
    }
    let (mut database, mut user) = (None, None);
    if words.eat("for") {
        database = Some(reader.required(&mut words, EXPLAIN_FORM)?);
        if words.eat("as") {
            user = Some(reader.required(&mut words, EXPLAIN_FORM)?);
        }
    }
    // As written: comments may ask for a route.
    let sql = reader.statement.text.get(words.taken()..).unwrap_or_default().trim();
    if words.is_done() {
        return Err(reader.incomplete(&words, EXPLAIN_FORM));
    }
    Ok(Command::ExplainRoute { sql: sql.to_owned(), database, user })
}

const EXPLAIN_FORM: &str = "EXPLAIN ROUTE [FOR database [AS user]] sql";

fn set(mut words: Words<'_>, reader: &Reader<'_>) -> Parsed {
    let _ = words.eat("local");
    if words.eat("session") && words.eat("characteristics") {
        return Ok(Command::SetTransaction);
    }
    if words.eat("transaction") {
        return Ok(Command::SetTransaction);
    }
    let key = if words.eat("names") {
        "client_encoding".to_owned()
    } else if words.eat("time") {
        if !words.eat("zone") {
            return Err(reader.unexpected(&words));
        }
        "TimeZone".to_owned()
    } else {
        let key = words.argument_before('=');
        let key = key.ok_or_else(|| reader.incomplete(&words, SET_FORM))?;
        if !words.eat_sign('=') && !words.eat("to") {
            return Err(reader.incomplete(&words, SET_FORM));
        }
        key
    };
    let rest = words.rest();
    let value = match words.argument() {
        None => return Err(reader.incomplete(&words, SET_FORM)),
        Some(only) if words.is_done() => only,
        Some(_) => rest.to_owned(),
    };
    Ok(match Parameter::find(&key) {
        Some(parameter) => {
            let given = !rest.eq_ignore_ascii_case("default");
            Command::SetParameter(parameter, given.then_some(value))
        }
        None => Command::SetKey { key, value },
    })
}

const SET_FORM: &str = "SET key = value";

fn reset(words: &mut Words<'_>, reader: &Reader<'_>) -> Parsed {
    let at = words.at();
    let name = reader.required(words, "RESET STATS")?;
    match name.to_ascii_lowercase().as_str() {
        "stats" => Ok(Command::ResetStats),
        "all" => Ok(Command::ResetAll),
        other => Parameter::find(other)
            .map(|parameter| Command::SetParameter(parameter, None))
            .ok_or_else(|| reader.wrong(at, format!("\"{name}\" cannot be reset"))),
    }
}

fn kill(words: &mut Words<'_>, reader: &Reader<'_>) -> Parsed {
    let first = words.argument();
    if words.is_done() {
        return Ok(Command::Kill(first));
    }
    match first.unwrap_or_default().to_ascii_lowercase().as_str() {
        "query" => Ok(Command::KillQuery(reader.id(words)?)),
        "client" => Ok(Command::KillClient(reader.id(words)?)),
        _ => Err(reader.unexpected(words)),
    }
}

fn ban(words: &mut Words<'_>, reader: &Reader<'_>) -> Parsed {
    let host = reader.required(words, "BAN host [seconds]")?;
    let at = words.at();
    let seconds = words.argument().map(|text| {
        text.parse().map_err(|_| reader.wrong(at, format!("\"{text}\" is no number of seconds")))
    });
    Ok(Command::Ban { host, seconds: seconds.transpose()? })
}

fn shutdown(words: &mut Words<'_>, reader: &Reader<'_>) -> Parsed {
    let at = words.at();
    match words.word().as_deref() {
        None => Ok(Command::Shutdown(ShutdownMode::AtOnce)),
        Some("wait_for_servers") => Ok(Command::Shutdown(ShutdownMode::WaitForServers)),
        Some("wait_for_clients") => Ok(Command::Shutdown(ShutdownMode::WaitForClients)),
        Some(other) => {
            let message = format!("SHUTDOWN cannot wait for \"{other}\"");
            Err(reader.wrong(at, message))
        }
    }
}

/// Makes the errors of one statement.
struct Reader<'a> {
    statement: &'a Statement<'a>,
    start: usize,
}

impl Reader<'_> {
    fn required(&self, words: &mut Words<'_>, form: &str) -> Result<String, Wrong> {
        words.argument().ok_or_else(|| self.incomplete(words, form))
    }

    fn id(&self, words: &mut Words<'_>) -> Result<u32, Wrong> {
        let at = words.at();
        let text = words.argument().unwrap_or_default();
        text.parse().map_err(|_| Wrong {
            hint: "It is a number: the column id of SHOW CLIENTS.".into(),
            ..self.wrong(at, format!("\"{text}\" is no id of a client"))
        })
    }

    fn unknown(&self) -> Wrong {
        let text = self.statement.text.trim();
        let mut named: String = text.chars().take(MAX_NAMED_CHARS).collect();
        if named.len() < text.len() {
            named.push('…');
        }
        self.wrong(self.start, format!("the console has no command \"{named}\""))
    }

    fn unexpected(&self, words: &Words<'_>) -> Wrong {
        let mut named: String = words.rest().chars().take(MAX_NAMED_CHARS).collect();
        if named.is_empty() {
            named.push_str("end of input");
        }
        self.wrong(words.at(), format!("syntax error at or near \"{named}\""))
    }

    fn incomplete(&self, words: &Words<'_>, form: &str) -> Wrong {
        Wrong { hint: format!("Write {form}."), ..self.unexpected(words) }
    }

    fn wrong(&self, at: usize, message: String) -> Wrong {
        let hint = "SHOW HELP lists the commands.".into();
        Wrong { sqlstate: "42601", message, hint, at }
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;

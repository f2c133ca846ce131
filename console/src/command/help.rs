//! Owns how each command is written and what it does, in a sentence: SHOW HELP, the documentation
//! and the test of roles are made from this list.

use super::Role;
use crate::tables;

/// One command, for readers.
#[derive(Debug)]
pub struct Form {
    /// How it is written.
    pub syntax: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Who may give it.
    pub needs: Role,
    /// One that could be given.
    pub example: &'static str,
}

const fn form(
    syntax: &'static str,
    needs: Role,
    example: &'static str,
    help: &'static str,
) -> Form {
    Form { syntax, help, needs, example }
}

use Role::{Admin, Stats};

/// All commands but SHOW of a table.
pub static FORMS: &[Form] = &[
    form("SHOW HELP", Stats, "SHOW HELP", "Lists the commands."),
    form(
        "SELECT ...",
        Stats,
        "SELECT count(*) FROM version",
        "SQL over the tables that SHOW shows, each under its name.",
    ),
    form(
        "SHOW ALL | parameter",
        Stats,
        "SHOW server_version",
        "Parameters of this connection, as drivers ask for them.",
    ),
    form(
        "SET parameter = value",
        Stats,
        "SET application_name = 'x'",
        "Parameters of this connection, as drivers set them. Only statement_timeout has an effect.",
    ),
    form(
        "BEGIN | COMMIT | ROLLBACK",
        Stats,
        "BEGIN",
        "Accepted because drivers send them. Commands take effect at once and cannot be undone.",
    ),
    form(
        "EXPLAIN ROUTE [FOR database [AS user]] sql",
        Stats,
        "EXPLAIN ROUTE SELECT 1",
        "Where a statement would run, and why, without running it.",
    ),
    form(
        "SET key = value",
        Admin,
        "SET pool_size = 20",
        "Changes a key of the configuration, as a line of the file would, until the next reload.",
    ),
    form(
        "PAUSE [database]",
        Admin,
        "PAUSE",
        "Lets running transactions end, holds back new ones, and closes server connections. \
         Answers when none is in use.",
    ),
    form("RESUME [database]", Admin, "RESUME", "Ends PAUSE and KILL."),
    form("DISABLE database", Admin, "DISABLE app", "Refuses new clients of a database."),
    form("ENABLE database", Admin, "ENABLE app", "Ends DISABLE."),
    form(
        "RECONNECT [database]",
        Admin,
        "RECONNECT",
        "Closes each server connection when it is released, so that new ones are opened.",
    ),
    form(
        "KILL [database]",
        Admin,
        "KILL app",
        "Closes client and server connections at once, and holds back new ones until RESUME.",
    ),
    form("KILL_CLIENT id", Admin, "KILL_CLIENT 1", "Closes the client of this id in SHOW CLIENTS."),
    form(
        "KILL QUERY id",
        Admin,
        "KILL QUERY 1",
        "Cancels what the client of this id in SHOW CLIENTS runs; it stays connected.",
    ),
    form(
        "SUSPEND",
        Admin,
        "SUSPEND",
        "Refused: no process hands its sockets over. See rolling restart in operations.md.",
    ),
    form(
        "SHUTDOWN [WAIT_FOR_SERVERS | WAIT_FOR_CLIENTS]",
        Admin,
        "SHUTDOWN",
        "Ends the process: at once, when transactions have ended, or when clients have left.",
    ),
    form("RELOAD", Admin, "RELOAD", "Reads the configuration file again."),
    form(
        "WAIT_CLOSE [database]",
        Admin,
        "WAIT_CLOSE",
        "Answers when the server connections are closed that RECONNECT or RELOAD have outdated.",
    ),
    form(
        "BAN host [seconds]",
        Admin,
        "BAN 127.0.0.1:5432 60",
        "Keeps reads from a replica, for so many seconds or until UNBAN.",
    ),
    form("UNBAN host", Admin, "UNBAN 127.0.0.1:5432", "Ends BAN and DRAIN."),
    form(
        "DRAIN host",
        Admin,
        "DRAIN 127.0.0.1:5432",
        "Assigns nothing to a replica any more. Answers when its last connection is closed.",
    ),
    form("RESET STATS", Admin, "RESET STATS", "Empties SHOW STATEMENTS."),
];

/// What SHOW HELP says, below its title.
pub fn help() -> String {
    let mut text = String::from("\n\tSHOW ");
    let mut line = 0;
    for (number, table) in tables::all().enumerate() {
        let name = table.name.to_ascii_uppercase();
        if number > 0 {
            text.push('|');
            if line + name.len() > MAX_LINE_CHARS {
                text.push_str("\n\t     ");
                line = 0;
            }
        }
        line += name.len() + 1;
        text.push_str(&name);
    }
    for form in FORMS {
        text.push_str("\n\t");
        text.push_str(form.syntax);
    }
    text
}

const MAX_LINE_CHARS: usize = 70;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::parse;

    #[test]
    fn examples_are_commands_of_their_role() {
        for form in FORMS {
            let found = parse(form.example).unwrap_or_else(|error| panic!("{form:?}: {error}"));
            assert_eq!(found.len(), 1, "{form:?}");
            assert_eq!(found[0].needs(), form.needs, "{form:?}");
            let verb = form.syntax.split(' ').next().expect("a word");
            assert!(form.example.starts_with(verb), "{form:?}");
        }
    }

    #[test]
    fn help_names_every_table_and_command() {
        let text = help();
        for table in tables::all() {
            assert!(text.contains(&table.name.to_ascii_uppercase()), "{}", table.name);
        }
        for form in FORMS {
            assert!(text.contains(form.syntax), "{}", form.syntax);
        }
    }
}

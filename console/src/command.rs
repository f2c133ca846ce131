//! Owns the console's commands: what there is, who may give it, and how each is answered for. How
//! they are written is in `command/parse`, what SHOW HELP says in `command/help`.

mod help;
mod lexer;
mod parameter;
mod parse;

pub use help::{FORMS, Form, help};
pub use parameter::{PARAMETERS, Parameter, ParameterError, SERVER_VERSION, milliseconds};
pub use parse::{ParseError, parse};

use crate::schema::Table;

/// Who is allowed what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May read tables.
    Stats,
    /// May do all.
    Admin,
}

/// What SHUTDOWN waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownMode {
    /// Nothing: `SHUTDOWN`.
    AtOnce,
    /// Transactions that run now, as after PAUSE: `SHUTDOWN WAIT_FOR_SERVERS`.
    WaitForServers,
    /// Clients, until they leave of themselves: `SHUTDOWN WAIT_FOR_CLIENTS`.
    WaitForClients,
}

/// One command of the console.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `SHOW table`
    Show(&'static Table),
    /// `SHOW HELP`
    ShowHelp,
    /// `SHOW parameter`, one of those that drivers ask for.
    ShowParameter(&'static Parameter),
    /// `SHOW ALL`
    ShowAll,
    /// A SELECT over the tables, for the engine; also VALUES, WITH and TABLE.
    Select(String),
    /// `EXPLAIN ROUTE [FOR database [AS user]] sql`
    ExplainRoute {
        /// The statement, as written.
        sql: String,
        /// Whose rules; the only database when it is missing.
        database: Option<String>,
        /// Whose search path.
        user: Option<String>,
    },
    /// `PAUSE [database]`
    Pause(Option<String>),
    /// `RESUME [database]`
    Resume(Option<String>),
    /// `DISABLE database`
    Disable(String),
    /// `ENABLE database`
    Enable(String),
    /// `RECONNECT [database]`
    Reconnect(Option<String>),
    /// `KILL [database]`
    Kill(Option<String>),
    /// `KILL_CLIENT id`, of SHOW CLIENTS.
    KillClient(u32),
    /// `KILL QUERY id`: cancels what the client of SHOW CLIENTS runs.
    KillQuery(u32),
    /// `SUSPEND`
    Suspend,
    /// `SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]`
    Shutdown(ShutdownMode),
    /// `RELOAD`
    Reload,
    /// `WAIT_CLOSE [database]`
    WaitClose(Option<String>),
    /// `SET key = value` of the configuration.
    SetKey {
        /// The key, as written.
        key: String,
        /// The value, without the quotes around it.
        value: String,
    },
    /// `BAN host [seconds]`
    Ban {
        /// The host, as written: `address` or `address:port`.
        host: String,
        /// For how long; until UNBAN when it is missing.
        seconds: Option<u32>,
    },
    /// `UNBAN host`
    Unban(String),
    /// `DRAIN host`
    Drain(String),
    /// `RESET STATS`
    ResetStats,
    /// `SET parameter`, one of those that drivers set; `None`: to its default.
    SetParameter(&'static Parameter, Option<String>),
    /// `RESET ALL`
    ResetAll,
    /// `SET TRANSACTION …` and `SET SESSION CHARACTERISTICS …`: there is nothing they change.
    SetTransaction,
    /// `BEGIN`, `START TRANSACTION`: kept for drivers; nothing can be undone.
    Begin,
    /// `COMMIT`, `END`
    Commit,
    /// `ROLLBACK`, `ABORT`
    Rollback,
    /// `SAVEPOINT name`
    Savepoint,
    /// `RELEASE name`
    Release,
    /// `ROLLBACK TO name`
    RollbackTo,
    /// `DEALLOCATE name`; `None`: `DEALLOCATE ALL`.
    Deallocate(Option<String>),
    /// `DISCARD ALL`
    DiscardAll,
    /// `CLOSE ALL`
    CloseAll,
    /// `UNLISTEN *`: nothing is ever listened to.
    Unlisten,
}

impl Command {
    /// The least role that may give it.
    pub const fn needs(&self) -> Role {
        match self {
            Self::Show(_)
            | Self::ShowHelp
            | Self::ShowParameter(_)
            | Self::ShowAll
            | Self::Select(_)
            | Self::ExplainRoute { .. }
            | Self::SetParameter(..)
            | Self::ResetAll
            | Self::SetTransaction
            | Self::Begin
            | Self::Commit
            | Self::Rollback
            | Self::Savepoint
            | Self::Release
            | Self::RollbackTo
            | Self::Deallocate(_)
            | Self::DiscardAll
            | Self::CloseAll
            | Self::Unlisten => Role::Stats,
            Self::Pause(_)
            | Self::Resume(_)
            | Self::Disable(_)
            | Self::Enable(_)
            | Self::Reconnect(_)
            | Self::Kill(_)
            | Self::KillClient(_)
            | Self::KillQuery(_)
            | Self::Suspend
            | Self::Shutdown(_)
            | Self::Reload
            | Self::WaitClose(_)
            | Self::SetKey { .. }
            | Self::Ban { .. }
            | Self::Unban(_)
            | Self::Drain(_)
            | Self::ResetStats => Role::Admin,
        }
    }

    /// The tag of CommandComplete. A SELECT's is followed by the number of its rows.
    pub const fn tag(&self) -> &'static str {
        match self {
            Self::Show(_) | Self::ShowHelp | Self::ShowParameter(_) | Self::ShowAll => "SHOW",
            Self::Select(_) => "SELECT",
            Self::ExplainRoute { .. } => "EXPLAIN",
            Self::Pause(_) => "PAUSE",
            Self::Resume(_) => "RESUME",
            Self::Disable(_) => "DISABLE",
            Self::Enable(_) => "ENABLE",
            Self::Reconnect(_) => "RECONNECT",
            Self::Kill(_) => "KILL",
            Self::KillClient(_) => "KILL_CLIENT",
            Self::KillQuery(_) => "KILL QUERY",
            Self::Suspend => "SUSPEND",
            Self::Shutdown(_) => "SHUTDOWN",
            Self::Reload => "RELOAD",
            Self::WaitClose(_) => "WAIT_CLOSE",
            Self::Ban { .. } => "BAN",
            Self::Unban(_) => "UNBAN",
            Self::Drain(_) => "DRAIN",
            Self::SetKey { .. } | Self::SetParameter(..) | Self::SetTransaction => "SET",
            Self::ResetStats | Self::ResetAll => "RESET",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Rollback | Self::RollbackTo => "ROLLBACK",
            Self::Savepoint => "SAVEPOINT",
            Self::Release => "RELEASE",
            Self::Deallocate(Some(_)) => "DEALLOCATE",
            Self::Deallocate(None) => "DEALLOCATE ALL",
            Self::DiscardAll => "DISCARD ALL",
            Self::CloseAll => "CLOSE CURSOR ALL",
            Self::Unlisten => "UNLISTEN",
        }
    }

    /// True when it belongs to the protocol's state of one connection and says or changes nothing
    /// of the process.
    pub const fn is_of_session(&self) -> bool {
        matches!(
            self,
            Self::SetParameter(..)
                | Self::ResetAll
                | Self::SetTransaction
                | Self::Begin
                | Self::Commit
                | Self::Rollback
                | Self::Savepoint
                | Self::Release
                | Self::RollbackTo
                | Self::Deallocate(_)
                | Self::DiscardAll
                | Self::CloseAll
                | Self::Unlisten
        )
    }
}

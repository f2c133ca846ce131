//! Owns what the console's commands do to the process: with PgBouncer's meaning where PgBouncer has
//! the command. Who may give them was asked before.

mod clients;
mod databases;
mod hosts;
mod process;
mod reset;
mod set;

pub use set::changeable;

use super::explain::explain_route;
use crate::pool::Lever;
use crate::server::Shared;
use crate::wire::error::SqlError;
use pgmanifold_console::{Answer, Command};
use std::sync::Arc;

/// Does what a command says, and answers when it is done. Given up half-way, what it has begun
/// stays begun: a PAUSE that nobody waits for any more holds until RESUME.
///
/// # Errors
/// What PgBouncer refuses, is refused; nothing has changed then.
pub async fn execute(shared: &Arc<Shared>, command: &Command) -> Result<Answer, SqlError> {
    if let Command::ExplainRoute { sql, database, user } = command {
        return explain_route(shared, sql, database.as_deref(), user.as_deref());
    }
    let tag = command.tag();
    match command {
        Command::Pause(None) => databases::pause_all(shared).await,
        Command::Pause(Some(database)) => databases::pause(shared, database).await,
        Command::Resume(database) => databases::resume(shared, database.as_deref()),
        Command::Disable(database) => databases::set_disabled(shared, database, true),
        Command::Enable(database) => databases::set_disabled(shared, database, false),
        Command::Reconnect(database) => databases::reconnect(shared, database.as_deref()),
        Command::WaitClose(database) => databases::wait_close(shared, database.as_deref()).await,
        Command::Kill(database) => databases::kill(shared, database.as_deref()).await,
        Command::KillClient(id) => clients::kill_client(shared, *id).await,
        Command::KillQuery(id) => clients::kill_query(shared, *id).await,
        Command::Suspend => Err(process::suspend()),
        Command::Shutdown(mode) => process::shutdown(shared, *mode).await,
        Command::Reload => process::reload(shared).await,
        Command::SetKey { key, value } => set::set(shared, key, value).await,
        Command::Ban { host, seconds } => hosts::ban(shared, host, *seconds),
        Command::Unban(host) => hosts::unban(shared, host),
        Command::Drain(host) => hosts::drain(shared, host).await,
        Command::ResetStats => {
            reset::reset_stats(shared);
            Ok(())
        }
        _ => Err(SqlError::error("XX000", format!("{tag} is not carried out here"))),
    }?;
    tracing::info!(?command, "console command done");
    Ok(Answer::done(tag))
}

/// The lever of a database.
fn lever(shared: &Shared, database: &str) -> Result<Arc<Lever>, SqlError> {
    let state = shared.state();
    if state.config.databases.iter().any(|known| known.name == *database) {
        return Ok(state.levers().of(database));
    }
    Err(SqlError::error("3D000", format!("no such database: {database}"))
        .hint("SHOW DATABASES lists them."))
}

/// The levers of one database, or of all.
fn levers(shared: &Shared, database: Option<&str>) -> Result<Vec<Arc<Lever>>, SqlError> {
    match database {
        Some(database) => Ok(vec![lever(shared, database)?]),
        None => Ok(shared.state().levers().all()),
    }
}

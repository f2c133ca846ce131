//! Owns the commands about databases: PAUSE, RESUME, DISABLE, ENABLE, RECONNECT, WAIT_CLOSE, KILL.
//! A sharded database is one database: all its shards are meant.

use super::{lever, levers};
use crate::pool::{Lever, Pool};
use crate::server::{ClientHandle, Shared};
use crate::timer::timeout;
use crate::wire::error::SqlError;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for what KILL ends at once: a last message to each client, a cancel request to each
/// server.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// `PAUSE`
pub(super) async fn pause_all(shared: &Shared) -> Result<(), SqlError> {
    let all = Arc::clone(shared.state().levers());
    if !all.pause_all() {
        return Err(already_paused());
    }
    let is_empty_now = || all.all().iter().all(|lever| is_empty(lever));
    // A RESUME ends the wait as well: there is nothing left to wait for.
    all.until(|| is_empty_now() || !all.is_all_paused()).await;
    Ok(())
}

/// `PAUSE database`
pub(super) async fn pause(shared: &Shared, database: &str) -> Result<(), SqlError> {
    let (lever, all) = (lever(shared, database)?, Arc::clone(shared.state().levers()));
    if all.is_all_paused() {
        return Err(already_paused());
    }
    lever.pause();
    all.until(|| is_empty(&lever) || !lever.is_paused_by_name()).await;
    Ok(())
}

/// `RESUME [database]`
pub(super) fn resume(shared: &Shared, database: Option<&str>) -> Result<(), SqlError> {
    let state = shared.state();
    match database {
        Some(database) if lever(shared, database)?.resume() => Ok(()),
        Some(database) => {
            let error = SqlError::error("55000", format!("database {database} is not paused"));
            Err(match state.levers().is_all_paused() {
                true => error.hint("All databases are paused: RESUME without a name."),
                false => error,
            })
        }
        None if state.levers().resume_all() => Ok(()),
        None => {
            let error = SqlError::error("55000", "pooler is not paused/suspended");
            let names = state.levers().paused_names();
            Err(match names.is_empty() {
                true => error,
                false => error
                    .detail(format!("Paused by name: {}.", names.join(", ")))
                    .hint("RESUME each of them by its name."),
            })
        }
    }
}

/// `DISABLE database`, `ENABLE database`
pub(super) fn set_disabled(
    shared: &Shared,
    database: &str,
    disabled: bool,
) -> Result<(), SqlError> {
    lever(shared, database)?.set_disabled(disabled);
    Ok(())
}

/// `RECONNECT [database]`
pub(super) fn reconnect(shared: &Shared, database: Option<&str>) -> Result<(), SqlError> {
    for lever in levers(shared, database)? {
        lever.pools().iter().for_each(|pool| pool.reconnect());
    }
    Ok(())
}

/// `WAIT_CLOSE [database]`
pub(super) async fn wait_close(shared: &Shared, database: Option<&str>) -> Result<(), SqlError> {
    let levers = levers(shared, database)?;
    let all = Arc::clone(shared.state().levers());
    let closing = |pool: &Arc<Pool>| pool.closing() > 0;
    all.until(|| levers.iter().all(|lever| !lever.pools().iter().any(closing))).await;
    Ok(())
}

/// `KILL [database]`
pub(super) async fn kill(shared: &Shared, database: Option<&str>) -> Result<(), SqlError> {
    let all = Arc::clone(shared.state().levers());
    if all.is_all_paused() {
        return Err(already_paused());
    }
    let names = match database {
        Some(database) => vec![database.to_owned()],
        None => shared.state().config.databases.iter().map(|known| known.name.clone()).collect(),
    };
    let mut killed: Vec<Arc<ClientHandle>> = Vec::new();
    let mut paused = Vec::with_capacity(names.len());
    for name in names {
        let lever = lever(shared, &name)?;
        lever.pause();
        paused.push(lever);
        killed.extend(shared.clients.of_database(&name));
    }
    killed.iter().for_each(|handle| handle.end_now());
    let gone = |handle: &Arc<ClientHandle>| is_gone(shared, handle);
    let done = all.until(|| killed.iter().all(gone) && paused.iter().all(|lever| is_empty(lever)));
    let _ = timeout(KILL_WAIT, done).await;
    Ok(())
}

/// Whether a client has left the list.
pub(super) fn is_gone(shared: &Shared, handle: &Arc<ClientHandle>) -> bool {
    shared.clients.by_id(handle.id).is_none_or(|known| !Arc::ptr_eq(&known, handle))
}

/// No server connection of the database is left, and none is being made.
fn is_empty(lever: &Lever) -> bool {
    lever.pools().iter().all(|pool| pool.numbers().open == 0)
}

fn already_paused() -> SqlError {
    SqlError::error("55000", "already suspended/paused")
        .detail("All databases are paused.")
        .hint("RESUME ends that.")
}

//! Owns the commands about one client: KILL_CLIENT, KILL QUERY. The number is the one of SHOW
//! CLIENTS, and the process id that the client was given; connections to the console have one too.

use super::databases::is_gone;
use crate::console::session::ConsoleHandle;
use crate::metrics::ClientState;
use crate::server::{ClientHandle, Shared, login};
use crate::timer::timeout;
use crate::wire::error::SqlError;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for the client to be gone: its last message is given a second.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// Whom a number stands for.
enum Found {
    Client(Arc<ClientHandle>),
    Console(Arc<ConsoleHandle>),
}

/// `KILL_CLIENT id`
pub(super) async fn kill_client(shared: &Shared, id: u32) -> Result<(), SqlError> {
    match find(shared, id)? {
        Found::Client(handle) => {
            handle.end_now();
            let all = Arc::clone(shared.state().levers());
            let _ = timeout(KILL_WAIT, all.until(|| is_gone(shared, &handle))).await;
        }
        Found::Console(handle) => handle.end(),
    }
    Ok(())
}

/// `KILL QUERY id`
pub(super) async fn kill_query(shared: &Shared, id: u32) -> Result<(), SqlError> {
    match find(shared, id)? {
        Found::Client(handle) => match handle.pulse.state() {
            // One that waits for a server is answered here.
            ClientState::Active | ClientState::Waiting => login::cancel_client(&handle).await,
            ClientState::Idle | ClientState::IdleInTransaction => return Err(runs_nothing(id)),
        },
        Found::Console(handle) if handle.is_busy() => handle.cancel_running(),
        Found::Console(_) => return Err(runs_nothing(id)),
    }
    Ok(())
}

fn find(shared: &Shared, id: u32) -> Result<Found, SqlError> {
    let client = shared.clients.by_id(id).map(Found::Client);
    client.or_else(|| shared.consoles.find(id).map(Found::Console)).ok_or_else(|| {
        SqlError::error("42704", "client not found")
            .detail(format!("There is no client {id}."))
            .hint("SHOW CLIENTS has the numbers in its column id.")
    })
}

fn runs_nothing(id: u32) -> SqlError {
    SqlError::error("55000", format!("client {id} runs no statement"))
}

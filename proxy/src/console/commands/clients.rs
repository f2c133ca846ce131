//! Owns the commands about one client: KILL_CLIENT, KILL QUERY. The number is the one of SHOW
//! CLIENTS, and the process id that the client was given.

use super::databases::is_gone;
use crate::metrics::ClientState;
use crate::server::{ClientHandle, Shared, login};
use crate::timer::timeout;
use crate::wire::error::SqlError;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for the client to be gone: its last message is given a second.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// `KILL_CLIENT id`
pub(super) async fn kill_client(shared: &Shared, id: u32) -> Result<(), SqlError> {
    if let Some(console) = shared.consoles.find(id) {
        console.end();
        return Ok(());
    }
    let handle = client(shared, id)?;
    handle.end_now();
    let all = Arc::clone(shared.state().levers());
    let _ = timeout(KILL_WAIT, all.until(|| is_gone(shared, &handle))).await;
    Ok(())
}

/// `KILL QUERY id`
pub(super) async fn kill_query(shared: &Shared, id: u32) -> Result<(), SqlError> {
    if let Some(console) = shared.consoles.find(id).filter(|console| console.is_busy()) {
        console.cancel_running();
        return Ok(());
    }
    let handle = client(shared, id)?;
    match handle.pulse.state() {
        // One that waits for a server is answered here.
        ClientState::Active | ClientState::Waiting => login::cancel_client(&handle).await,
        ClientState::Idle | ClientState::IdleInTransaction => {
            return Err(SqlError::error("55000", format!("client {id} runs no statement")));
        }
    }
    Ok(())
}

fn client(shared: &Shared, id: u32) -> Result<Arc<ClientHandle>, SqlError> {
    shared.clients.by_id(id).ok_or_else(|| {
        SqlError::error("42704", "client not found")
            .detail(format!("There is no client {id}."))
            .hint("SHOW CLIENTS has the numbers in its column id.")
    })
}

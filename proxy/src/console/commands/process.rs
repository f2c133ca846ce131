//! Owns the commands about the whole process: SHUTDOWN, RELOAD, and why SUSPEND is refused.

use crate::server::orders::Order;
use crate::server::{Shared, StopMode};
use crate::wire::error::SqlError;
use pgmanifold_console::command::ShutdownMode;

/// `SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]`: answers at once, as PgBouncer does.
pub(super) async fn shutdown(shared: &Shared, mode: ShutdownMode) -> Result<(), SqlError> {
    let mode = match mode {
        ShutdownMode::AtOnce => StopMode::Now,
        ShutdownMode::WaitForServers => StopMode::AfterTransactions,
        ShutdownMode::WaitForClients => StopMode::Drain,
    };
    match shared.orders.give(Order::Stop(mode)).await {
        true => Ok(()),
        false => Err(nobody_obeys()),
    }
}

/// `RELOAD`
pub(super) async fn reload(shared: &Shared) -> Result<(), SqlError> {
    match shared.orders.ask(Order::Reload).await {
        Some(Ok(())) => Ok(()),
        Some(Err(errors)) => Err(SqlError::error("F0000", "configuration not reloaded")
            .detail(errors)
            .hint("The configuration of before stays in force.")),
        None => Err(nobody_obeys()),
    }
}

/// `SUSPEND` would have every socket's buffers flushed and nothing read any more, for a process
/// that takes the sockets over. Ours never changes hands.
pub(super) fn suspend() -> SqlError {
    SqlError::error("0A000", "SUSPEND is not supported")
        .detail("Sockets are not handed over to another process.")
        .hint("Restart with general.reuse_port and SHUTDOWN WAIT_FOR_CLIENTS, or PAUSE.")
}

pub(super) fn nobody_obeys() -> SqlError {
    SqlError::error("0A000", "this proxy is part of another program")
        .detail("It has neither a configuration file nor a process of its own.")
}

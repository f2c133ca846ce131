//! Owns SIGINT and SIGTERM: the first one ends what is under way at a safe place, the second one
//! ends the process, which is safe too, only less tidy.

use crate::engine::Asked;
use tokio::signal::unix::{SignalKind, signal};

/// Exit status after the second signal.
const KILLED: i32 = 137;

/// Passes signals on from now on.
pub(super) fn watch(asked: Asked) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers a signal ends the process, as ever.
        return;
    };
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if asked.is_signalled() {
                std::process::exit(KILLED);
            }
            asked.signal();
            eprintln!("stopping at the next safe place; a second signal stops at once");
        }
    });
}

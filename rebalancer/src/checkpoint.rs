//! Owns the places at which tests stop the program, to kill it there. Without the variable
//! `PGM_REBALANCER_HALT` they do nothing.

use std::sync::OnceLock;

/// Halts the program for good when the variable names this place: it says so and waits to be
/// killed. `name` is `state.step`, as in `copying.slot`.
pub async fn checkpoint(name: &str) {
    static HALT: OnceLock<Option<String>> = OnceLock::new();
    let halt = HALT.get_or_init(|| std::env::var("PGM_REBALANCER_HALT").ok());
    if halt.as_deref() == Some(name) {
        eprintln!("halted at {name}");
        std::future::pending::<()>().await;
    }
}

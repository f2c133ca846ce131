//! Owns SET of configuration keys: what may be changed while the process runs, and how. A change
//! holds until the next reload or restart reads the file.

use crate::server::Shared;
use crate::wire::error::SqlError;
use std::sync::Arc;

/// Whether SET may change a key of SHOW CONFIG.
pub fn changeable(key: &str) -> bool {
    let _ = key;
    false
}

/// `SET key = value`
pub(super) async fn set(shared: &Arc<Shared>, key: &str, value: &str) -> Result<(), SqlError> {
    let _ = (shared, value);
    Err(SqlError::error("42704", format!("no such key: {key}")))
}

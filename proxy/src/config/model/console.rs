//! Owns the part of the model about the console.

use pgmanifold_console::Role;
use std::time::Duration;

/// Databases that are the console; none in the file may be called so.
pub const CONSOLE_DATABASES: [&str; 2] = ["pgmanifold", "pgbouncer"];

/// `[console]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Console {
    /// Who may give every command.
    pub admin_users: Vec<String>,
    /// Who may read.
    pub stats_users: Vec<String>,
    /// Most connections.
    pub max_clients: usize,
    /// Columns of PgBouncer 1.7 are shown too.
    pub legacy_columns: bool,
    /// Longest time a connection does nothing; zero: for ever.
    pub client_idle_timeout: Duration,
}

impl Console {
    /// What a user may do; `None`: not come in.
    pub fn role(&self, user: &str) -> Option<Role> {
        let is_in = |list: &[String]| list.iter().any(|name| name == user);
        if is_in(&self.admin_users) {
            Some(Role::Admin)
        } else {
            is_in(&self.stats_users).then_some(Role::Stats)
        }
    }
}

//! Owns the reading of `[console]`, and the check that no database takes its name.

use super::access::names;
use super::document::Table;
use super::keys;
use super::model::{CONSOLE_DATABASES, Console};
use super::resolve::{Context, Reader};

/// The section, or what holds without it.
pub(super) fn console(tables: &[Table], context: &Context<'_>) -> Console {
    let absent = Table::absent(&keys::CONSOLE);
    let table = tables.iter().find(|table| table.section.name == "console").unwrap_or(&absent);
    let reader = Reader::new(table, context);
    Console {
        admin_users: names(&reader, "admin_users"),
        stats_users: names(&reader, "stats_users"),
        max_clients: reader.count("max_clients"),
        legacy_columns: reader.boolean("legacy_columns"),
        client_idle_timeout: reader.duration_ms("client_idle_timeout_ms"),
    }
}

/// A database of that name could never be reached.
pub(super) fn check_names(tables: &[Table], context: &Context<'_>) {
    for table in tables.iter().filter(|table| table.section.name == "database") {
        let reader = Reader::new(table, context);
        let name = reader.text("name").unwrap_or_default();
        if CONSOLE_DATABASES.contains(&name.as_str()) {
            let message = format!("{name:?} is the name of the console");
            reader.error("name", message, "`server_database` may be called so, `name` may not");
        }
    }
}

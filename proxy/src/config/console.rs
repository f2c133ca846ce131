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

#[cfg(test)]
mod tests {
    use crate::config::model::Config;
    use crate::config::{ConfigErrors, parse};
    use pgmanifold_console::Role;

    fn read(database: &str, console: &str) -> Result<Config, ConfigErrors> {
        let text = format!(
            "listener = [{{ address = \"127.0.0.1:1\" }}]\n\
             user = [{{ name = \"app\", password = \"x\" }}]\n\
             shard = [{{ name = \"main\", hosts = [\"h:1\"], monitor_user = \"m\" }}]\n\
             [[database]]\nname = {database:?}\n{console}"
        );
        parse(&text, "test.toml")
    }

    #[test]
    fn nobody_may_come_in_unless_it_is_said() {
        let without = read("app", "").expect("it is optional").console;
        assert_eq!(without.role("app"), None);
        assert_eq!(without.max_clients, 100);
        let lists = "[console]\nadmin_users = \"a\"\nstats_users = [\"s\", \"a\"]\n";
        let console = read("app", lists).expect("it is whole").console;
        assert_eq!(console.role("a"), Some(Role::Admin));
        assert_eq!(console.role("s"), Some(Role::Stats));
        assert_eq!(console.role("A"), None);
    }

    #[test]
    fn no_database_may_take_its_name() {
        for name in ["pgmanifold", "pgbouncer"] {
            let errors = read(name, "").expect_err("it is the console's").to_string();
            assert!(errors.contains("database.name") && errors.contains("test.toml:5"), "{errors}");
        }
        assert!(read("PgBouncer", "").is_ok(), "names are as they are written");
    }
}

//! Owns the comparison of a running configuration with a newly read one: which changes a reload
//! cannot bring about.

use super::model::Config;

/// Names the changed keys that hold only after a restart, as `section.key`.
pub fn needs_restart(running: &Config, new: &Config) -> Vec<&'static str> {
    let addresses = |config: &Config| -> Vec<String> {
        config.listeners.iter().map(|listener| listener.address.to_string()).collect()
    };
    let catalog = |config: &Config| -> Option<(Vec<String>, String)> {
        let catalog = config.catalog.as_ref()?;
        let hosts = catalog.hosts.iter().map(|host| host.address.to_string()).collect();
        Some((hosts, catalog.login.database.clone()))
    };
    let (hosts, database): (Vec<_>, Vec<_>) =
        [running, new].into_iter().map(|config| catalog(config).unzip()).unzip();
    let changed = [
        ("general.workers", running.general.workers != new.general.workers),
        ("general.log_format", running.general.log_json != new.general.log_json),
        (
            "general.reuse_port",
            running.general.network.reuse_port != new.general.network.reuse_port,
        ),
        ("general.name", running.general.name != new.general.name),
        ("listener.address", addresses(running) != addresses(new)),
        ("http.address", running.http != new.http),
        ("catalog.hosts", hosts.first() != hosts.last()),
        ("catalog.database", database.first() != database.last()),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{Reload, SECTIONS};
    use crate::config::parse;

    const OLD: &str = r#"
        general = { workers = 1 }
        listener = [{ address = "127.0.0.1:1" }]
        http = { address = "127.0.0.1:2" }
        user = [{ name = "app", password = "x" }]
        shard = [{ name = "main", hosts = ["h:1"], monitor_user = "m" }]
        database = [{ name = "app" }]
        catalog = { hosts = ["c:1"], user = "m", database = "c" }
    "#;

    #[test]
    fn names_what_only_a_restart_changes() {
        let old = parse(OLD, "test.toml").unwrap();
        let changes = [
            ("general.workers", "workers = 1", "workers = 2"),
            ("general.log_format", "workers = 1", "workers = 1, log_format = \"json\""),
            ("general.reuse_port", "workers = 1", "workers = 1, reuse_port = true"),
            ("general.name", "workers = 1", "workers = 1, name = \"one\""),
            ("listener.address", "127.0.0.1:1", "127.0.0.1:3"),
            ("http.address", "127.0.0.1:2", "127.0.0.1:3"),
            ("catalog.hosts", "\"c:1\"", "\"c:2\""),
            ("catalog.database", "\"c\" }", "\"d\" }"),
        ];
        for (key, from, to) in changes {
            let new = parse(&OLD.replace(from, to), "test.toml").unwrap();
            assert_eq!(needs_restart(&old, &new), [key]);
        }
        let live = parse(&OLD.replace("\"h:1\"", "\"h:2\", \"h:3\""), "test.toml").unwrap();
        assert!(needs_restart(&old, &live).is_empty());
        // Every key the table marks so is compared.
        let marked = SECTIONS.iter().flat_map(|section| {
            let restart = section.keys().filter(|key| key.reload == Reload::Restart);
            restart.map(|key| format!("{}.{}", section.name, key.name))
        });
        let compared = changes.map(|(key, ..)| key);
        assert_eq!(marked.collect::<Vec<_>>(), compared);
    }
}

//! Owns the comparison of a running configuration with a newly read one: which changes a reload
//! cannot bring about.

use super::model::Config;

/// Names the changed keys that hold only after a restart, as `section.key`.
pub fn needs_restart(running: &Config, new: &Config) -> Vec<&'static str> {
    let addresses = |config: &Config| -> Vec<String> {
        config.listeners.iter().map(|listener| listener.address.to_string()).collect()
    };
    let changed = [
        ("general.workers", running.general.workers != new.general.workers),
        ("general.log_format", running.general.log_json != new.general.log_json),
        (
            "general.reuse_port",
            running.general.network.reuse_port != new.general.network.reuse_port,
        ),
        ("listener.address", addresses(running) != addresses(new)),
        ("http.address", running.http != new.http),
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
    "#;

    #[test]
    fn names_what_only_a_restart_changes() {
        let old = parse(OLD, "test.toml").unwrap();
        let changes = [
            ("general.workers", "workers = 1", "workers = 2"),
            ("general.log_format", "workers = 1", "workers = 1, log_format = \"json\""),
            ("general.reuse_port", "workers = 1", "workers = 1, reuse_port = true"),
            ("listener.address", "127.0.0.1:1", "127.0.0.1:3"),
            ("http.address", "127.0.0.1:2", "127.0.0.1:3"),
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

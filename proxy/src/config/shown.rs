//! Owns the list of all keys with what holds, for those who ask a running process. Secrets are
//! never in it.

use super::document::{Table, Value};
use super::keys::{Absent, Key, Kind, Reload, SECTIONS, Section};

/// What stands for a secret.
const MASK: &str = "***";
/// Sections that name keys and tables of sharded databases: their content is the shard map.
const MAP_SECTIONS: [&str; 2] = ["distribution", "table"];

/// One key, and what holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `section.key`, or `section.name.key` for sections that may stand several times.
    pub key: Box<str>,
    /// What was given, or the default when that is a value.
    pub value: Option<Box<str>>,
    /// What holds when it is not given; it may be words.
    pub default: Option<Box<str>>,
    /// A reload may change it.
    pub changeable: bool,
}

/// All of them, in the order of the documentation.
pub(super) fn settings(tables: &[Table]) -> Vec<Setting> {
    let mut out = Vec::new();
    let absent_pool = Table::absent(&super::keys::POOL);
    let pool = tables.iter().find(|table| table.section.name == "pool").unwrap_or(&absent_pool);
    for section in SECTIONS.iter().filter(|section| !MAP_SECTIONS.contains(&section.name)) {
        let mut own = tables.iter().filter(|table| table.section.name == section.name).peekable();
        if own.peek().is_none() && holds_when_absent(section) {
            add(&Table::absent(section), section.name, None, &mut out);
        }
        for (at, table) in own.enumerate() {
            let prefix = prefix(section.name, section, table, at);
            let fallback = (section.name == "database").then_some(pool);
            add(table, &prefix, fallback, &mut out);
            for (at, nested) in table.tables.iter().enumerate() {
                let last = nested.section.name.rsplit('.').next().unwrap_or_default();
                let prefix = self::prefix(&format!("{prefix}.{last}"), nested.section, nested, at);
                add(nested, &prefix, Some(table), &mut out);
            }
        }
    }
    out
}

/// A section without required keys says something also when it is not there.
fn holds_when_absent(section: &Section) -> bool {
    !section.repeats && section.keys().all(|key| !matches!(key.default, Absent::Required))
}

fn prefix(before: &str, section: &Section, table: &Table, at: usize) -> String {
    if !section.repeats {
        return before.to_owned();
    }
    let named = ["name", "address"].iter().find_map(|key| table.get(key));
    match named {
        Some((Value::Text(name), _)) => format!("{before}.{name}"),
        _ => format!("{before}.{}", at + 1),
    }
}

fn add(table: &Table, prefix: &str, fallback: Option<&Table>, out: &mut Vec<Setting>) {
    for key in table.section.keys() {
        let given = table.get(key.name).or_else(|| fallback?.get(key.name));
        let default = match key.default {
            Absent::Required => None,
            Absent::Value(text) | Absent::Words(text) => Some(text.into()),
        };
        out.push(Setting {
            key: format!("{prefix}.{}", key.name).into(),
            value: value(key, given.map(|(value, _)| value)),
            default,
            changeable: key.reload != Reload::Restart,
        });
    }
}

fn value(key: &Key, given: Option<&Value>) -> Option<Box<str>> {
    let secret = matches!(key.kind, Kind::Secret);
    match (given, key.default) {
        (Some(_), _) if secret => Some(MASK.into()),
        (Some(Value::Integer(number)), _) => Some(number.to_string().into()),
        (Some(Value::Boolean(is)), _) => Some(is.to_string().into()),
        (Some(Value::Text(text)), _) => Some(text.as_str().into()),
        (Some(Value::List(list)), _) => {
            let texts: Vec<&str> = list.iter().map(|(text, _)| text.as_str()).collect();
            Some(texts.join(",").into())
        }
        (None, Absent::Value(text)) => Some(text.into()),
        (None, Absent::Required | Absent::Words(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::keys::{Kind, SECTIONS};
    use crate::config::{Config, parse};

    const CONFIG: &str = r#"
        general = { max_clients = 77 }
        pool = { pool_size = 7 }
        listener = [{ address = "127.0.0.1:1" }]
        user = [{ name = "app", password = "hidden-word" }]
        shard = [{ name = "main", hosts = ["h:1", "h:2"], monitor_user = "m",
                   monitor_password = "hidden-word" }]
        database = [{ name = "app" }, { name = "big", pool_size = 50 }]
    "#;

    fn value(config: &Config, key: &str) -> Option<String> {
        let found = config.settings.iter().find(|setting| *setting.key == *key);
        found.unwrap_or_else(|| panic!("no {key}")).value.as_deref().map(str::to_owned)
    }

    #[test]
    fn what_holds_is_shown_and_secrets_are_not() {
        let config = parse(CONFIG, "test.toml").unwrap();
        for (key, wanted) in [
            ("general.max_clients", Some("77")),
            ("general.login_timeout_ms", Some("15000")),
            ("pool.pool_size", Some("7")),
            ("database.app.pool_size", Some("7")),
            ("database.big.pool_size", Some("50")),
            ("user.app.password", Some("***")),
            ("shard.main.monitor_password", Some("***")),
            ("shard.main.hosts", Some("h:1,h:2")),
            ("listener.127.0.0.1:1.tls_cert_file", None),
        ] {
            assert_eq!(value(&config, key).as_deref(), wanted, "{key}");
        }
        assert!(!format!("{:?}", config.settings).contains("hidden-word"));
        assert!(config.settings.iter().any(|setting| !setting.changeable));
    }

    #[test]
    fn keys_that_sound_like_secrets_are_secrets() {
        let keys = SECTIONS.iter().flat_map(|section| {
            section.keys().chain(section.nested.iter().flat_map(|nested| nested.keys()))
        });
        for key in keys {
            let sounds = ["password", "secret"].iter().any(|word| key.name.ends_with(word));
            assert!(!sounds || matches!(key.kind, Kind::Secret), "{}", key.name);
        }
    }
}

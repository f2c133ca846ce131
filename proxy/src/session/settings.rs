//! Owns the run-time parameters of a session: how they are kept, compared, and carried from one
//! server to another.

use crate::pool::manager::ServerGreeting;
use pgmanifold_router::lexer::Dialect;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, Mutex, Weak};

/// Parameters that differ from what a fresh server connection has. Names are lower case.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<Box<str>, Box<str>>,
    /// `synchronous_commit` is off: an acknowledged commit may not be flushed yet. `None` when
    /// the server's own setting holds.
    pub async_commit: Option<bool>,
    /// Transactions are serializable unless they say otherwise; a hot standby has none.
    pub serializable: bool,
    /// What decides which objects a name means: the search path, and who asks (`"$user"`).
    pub path: Arc<str>,
}

/// Finds the one `Settings` of a content, so that equal parameters are equal pointers: a server
/// that goes from one session to another is then seen at once to need nothing.
#[derive(Debug, Default)]
pub struct SettingsInterner {
    known: Mutex<Vec<Weak<Settings>>>,
}

impl SettingsInterner {
    /// How many are remembered, and how many of them nobody uses any more.
    pub fn counts(&self) -> (usize, usize) {
        let known = self.known.lock().expect("invariant: no panic under this lock");
        let used = known.iter().filter(|known| known.strong_count() > 0).count();
        (known.len(), known.len() - used)
    }

    /// The shared value equal to `settings`.
    pub fn intern(&self, settings: Settings) -> Arc<Settings> {
        if settings.values.is_empty() {
            return Settings::none();
        }
        let mut known = self.known.lock().expect("invariant: no panic under this lock");
        known.retain(|known| known.strong_count() > 0);
        let found = known.iter().filter_map(Weak::upgrade).find(|known| **known == settings);
        found.unwrap_or_else(|| {
            let settings = Arc::new(settings);
            known.push(Arc::downgrade(&settings));
            settings
        })
    }
}

static NONE: LazyLock<Arc<Settings>> = LazyLock::new(|| Arc::new(Settings::new([])));

impl Settings {
    /// No parameters.
    pub fn none() -> Arc<Self> {
        Arc::clone(&NONE)
    }

    /// Parameters from pairs; later ones win.
    pub fn new(pairs: impl IntoIterator<Item = (Box<str>, Box<str>)>) -> Self {
        let values: BTreeMap<Box<str>, Box<str>> =
            pairs.into_iter().map(|(name, value)| (lower(&name), value)).collect();
        let is_off = |name: &str| {
            let value = values.get(name).map(|value| value.to_ascii_lowercase());
            matches!(value.as_deref(), Some("off" | "false" | "no" | "0"))
        };
        let async_commit =
            values.contains_key("synchronous_commit").then(|| is_off("synchronous_commit"));
        let isolation = values.get("default_transaction_isolation");
        let serializable =
            isolation.is_some_and(|level| level.eq_ignore_ascii_case("serializable"));
        let value = |name: &str| values.get(name).map(AsRef::as_ref).unwrap_or_default();
        let names = ["search_path", "role", "session_authorization"];
        let path = names.map(value).join("\0").into();
        Self { values, async_commit, serializable, path }
    }

    /// How SQL text is read under these parameters; `greeting` says what servers do by default.
    pub fn dialect(&self, greeting: &ServerGreeting) -> Dialect {
        let value = |name: &str| match self.get(name) {
            Some(value) => value.to_ascii_lowercase(),
            None => greeting.value(name).unwrap_or_default().to_ascii_lowercase(),
        };
        let strings = value("standard_conforming_strings");
        let is_off = matches!(strings.as_str(), "off" | "false" | "no" | "0");
        Dialect::from_parameters(if is_off { "off" } else { "on" }, &value("client_encoding"))
    }

    /// The value of a parameter (name in lower case).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(AsRef::as_ref)
    }

    /// All parameters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The SQL that brings a server from `self` to `wanted`. The role comes last, for it may take
    /// away the right to set the others; it is reset first for the same reason.
    pub fn difference_sql(&self, wanted: &Settings) -> String {
        let mut sql = String::new();
        let privileged = ["role", "session_authorization"];
        let differs = |name: &str| self.get(name) != wanted.get(name);
        // Others may have been set with rights that the role takes away.
        let names = self.iter().chain(wanted.iter()).map(|(name, _)| name);
        let others = names.filter(|name| !privileged.contains(name)).any(differs);
        for name in privileged {
            if (others || differs(name)) && self.get(name).is_some() {
                let _ = write!(sql, "RESET {};", quote_name(name));
            }
        }
        // Another session user has no role until it is set again.
        let user = differs(privileged[1]);
        let changed = |name: &str| {
            differs(name) || privileged.contains(&name) && (others || name == privileged[0] && user)
        };
        for (name, _) in self.iter() {
            if wanted.get(name).is_none() && !privileged.contains(&name) {
                let _ = write!(sql, "RESET {};", quote_name(name));
            }
        }
        for (name, value) in wanted.iter() {
            if changed(name) && !privileged.contains(&name) {
                write_set(&mut sql, name, value);
            }
        }
        for name in ["session_authorization", "role"] {
            if let Some(value) = wanted.get(name).filter(|_| changed(name)) {
                write_set(&mut sql, name, value);
            }
        }
        sql
    }
}

/// The SQL that reads back what a session has set; `custom` are names that `pg_settings` hides.
/// Two columns: name, and the value in UTF-8 as hexadecimal digits, because the client chooses how
/// text is encoded on the way. [`decode`] reads it.
pub fn read_back_sql<'a>(custom: impl Iterator<Item = &'a str>) -> String {
    let mut sql = String::from(
        "SELECT name, pg_catalog.encode(pg_catalog.convert_to(setting, 'UTF8'), 'hex') FROM (\
         SELECT name, setting FROM pg_catalog.pg_settings WHERE source = 'session' \
         AND name NOT LIKE 'transaction\\_%' \
         UNION ALL SELECT n, pg_catalog.current_setting(n, true) FROM (VALUES ('role'), \
         ('session_authorization')",
    );
    for name in custom {
        let _ = write!(sql, ", ({})", quoted(name));
    }
    sql.push_str(") v(n)) s ");
    sql
}

/// A value that was read back; `None` when it is not what `read_back_sql` makes.
pub fn decode(hex: &str) -> Option<Box<str>> {
    let digits = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(digits).collect();
    Some(String::from_utf8(bytes?).ok()?.into())
}

fn write_set(sql: &mut String, name: &str, value: &str) {
    let (name, value) = (quoted(name), quoted(value));
    let _ = write!(sql, "SELECT pg_catalog.set_config({name}, {value}, false);");
}

fn lower(name: &str) -> Box<str> {
    name.to_ascii_lowercase().into_boxed_str()
}

/// Quotes a parameter name, part by part (`my.var` has two).
fn quote_name(name: &str) -> String {
    let parts: Vec<String> =
        name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    parts.join(".")
}

/// A text as SQL that reads the same whatever `standard_conforming_strings` and `client_encoding`
/// are.
pub(super) fn quoted(value: &str) -> String {
    if !value.is_ascii() {
        let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
        return format!("pg_catalog.convert_from(pg_catalog.decode('{hex}', 'hex'), 'UTF8')");
    }
    format!("E'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings::new(pairs.iter().map(|&(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn difference_resets_sets_and_puts_role_last() {
        let from = settings(&[("TimeZone", "UTC"), ("role", "a"), ("work_mem", "1")]);
        let to = settings(&[("work_mem", "1"), ("role", "b"), ("my.x", "o'\\k")]);
        assert_eq!(
            from.difference_sql(&to),
            "RESET \"role\";RESET \"timezone\";\
             SELECT pg_catalog.set_config(E'my.x', E'o''\\\\k', false);\
             SELECT pg_catalog.set_config(E'role', E'b', false);"
        );
        assert_eq!(to.difference_sql(&to), "");
    }

    #[test]
    fn a_role_that_both_have_does_not_set_the_others() {
        let from = settings(&[("role", "a")]);
        let to = settings(&[("role", "a"), ("work_mem", "1")]);
        assert_eq!(
            from.difference_sql(&to),
            "RESET \"role\";SELECT pg_catalog.set_config(E'work_mem', E'1', false);\
             SELECT pg_catalog.set_config(E'role', E'a', false);"
        );
        assert!(!from.difference_sql(&settings(&[])).contains("set_config"));
    }

    #[test]
    fn a_role_is_set_again_for_another_session_user() {
        let from = settings(&[("session_authorization", "a"), ("role", "r")]);
        let to = settings(&[("session_authorization", "b"), ("role", "r")]);
        assert_eq!(
            from.difference_sql(&to),
            "RESET \"session_authorization\";\
             SELECT pg_catalog.set_config(E'session_authorization', E'b', false);\
             SELECT pg_catalog.set_config(E'role', E'r', false);"
        );
    }

    #[test]
    fn flags_follow_values() {
        let greeting = |value: &str| ServerGreeting {
            reported: vec![("standard_conforming_strings".into(), value.into())],
            async_commit: false,
        };
        let reads = |own: &[(&str, &str)], server: &str| {
            settings(own).dialect(&greeting(server)).standard_conforming_strings
        };
        assert!(reads(&[], "on") && !reads(&[], "off"));
        assert!(!reads(&[("standard_conforming_strings", "Off")], "on"));
        assert_eq!(settings(&[("Synchronous_Commit", "OFF")]).async_commit, Some(true));
        assert_eq!(settings(&[("synchronous_commit", "local")]).async_commit, Some(false));
        assert_eq!(settings(&[]).async_commit, None);
    }
}

//! Owns changes of single keys while the process runs. The configuration is made anew from the text
//! it was read from, with the change in it: so a change means what the same line in the file would
//! mean, and is checked as that would be. The next reading of the file forgets all changes.

use super::document::{self, Table, Value};
use super::errors::{ConfigErrors, Problems};
use super::keys::{self, Key, Kind, Reload, Section};
use super::{Config, Loaded};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What errors name as the file.
const FILE: &str = "SET";

/// What a configuration was made from. Its text may hold secrets, and is never shown.
#[derive(Clone)]
pub struct Source {
    pub(super) text: Arc<Zeroizing<String>>,
    pub(super) file: Arc<str>,
    changes: Vec<(Place, Value)>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let changes = self.changes.iter().map(|(place, _)| place);
        f.debug_struct("Source").field("changes", &changes.collect::<Vec<_>>()).finish()
    }
}

/// Configurations that say the same are the same, wherever they are from.
impl PartialEq for Source {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A key that may be changed.
#[derive(Clone)]
pub struct Place {
    section: &'static Section,
    /// Which `[[database]]`.
    database: Option<Box<str>>,
    key: &'static Key,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let database = self.database.as_deref().unwrap_or_default();
        write!(f, "{} {database} {}", self.section.name, self.key.name)
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        let name = |place: &Self| (place.section.name, place.key.name);
        name(self) == name(other) && self.database == other.database
    }
}

/// Why a key cannot be changed.
#[derive(Debug)]
pub enum Unchangeable {
    /// There is no such key.
    Unknown,
    /// Only a restart changes it.
    Restart,
    /// It needs the file: it says what there is, or must not be typed.
    File,
}

impl Source {
    pub(super) fn new(text: &str, file: &str) -> Self {
        let text = Arc::new(Zeroizing::new(text.to_owned()));
        Self { text, file: file.into(), changes: Vec::new() }
    }

    /// Puts the changes into what was read.
    pub(super) fn apply(&self, tables: &mut Vec<Table>) {
        for (place, value) in &self.changes {
            let is_it = |table: &&mut Table| {
                table.section.name == place.section.name
                    && (place.database.is_none() || table.name() == place.database.as_deref())
            };
            match tables.iter_mut().find(is_it) {
                Some(table) => table.set(place.key.name, value.clone()),
                None => {
                    let mut table = Table::absent(place.section);
                    table.set(place.key.name, value.clone());
                    tables.push(table);
                }
            }
        }
    }
}

impl Place {
    /// The place of a key, as SHOW CONFIG names it: of `[general]` and `[pool]`, and of a database
    /// those that `[pool]` has too. The section may be left out for the first two.
    ///
    /// # Errors
    /// Why it cannot be changed.
    pub fn find(name: &str) -> Result<Self, Unchangeable> {
        let (section, database, key) = match name.rsplit_once('.') {
            None => match keys::GENERAL.key(name) {
                Some(key) => (&keys::GENERAL, None, Some(key)),
                None => (&keys::POOL, None, keys::POOL.key(name)),
            },
            Some(("general", key)) => (&keys::GENERAL, None, keys::GENERAL.key(key)),
            Some(("pool", key)) => (&keys::POOL, None, keys::POOL.key(key)),
            Some((prefix, key)) => match prefix.strip_prefix("database.") {
                Some(name) if keys::POOL.key(key).is_some() => {
                    (&keys::DATABASE, Some(name.into()), keys::DATABASE.key(key))
                }
                Some(_) if keys::DATABASE.key(key).is_some() => return Err(Unchangeable::File),
                Some(_) => (&keys::DATABASE, None, None),
                None => return Err(elsewhere(prefix, key)),
            },
        };
        let key = key.ok_or(Unchangeable::Unknown)?;
        match (key.reload, key.kind) {
            (Reload::Restart, _) => Err(Unchangeable::Restart),
            (_, Kind::Integer(..) | Kind::Boolean | Kind::Text | Kind::Choice(_)) => {
                Ok(Self { section, database, key })
            }
            _ => Err(Unchangeable::File),
        }
    }

    /// Which key it is.
    pub fn key(&self) -> &'static Key {
        self.key
    }

    /// The configuration with this value at this place.
    ///
    /// # Errors
    /// Everything that is wrong with the value, and with the configuration that it makes.
    pub fn change(self, config: &Config, value: &str) -> Result<Config, ConfigErrors> {
        let Some(source) = &config.source else {
            let message = "the configuration was not read from a text".into();
            return Err(ConfigErrors::unreadable(FILE, message));
        };
        if let Some(name) = &self.database
            && config.databases.iter().all(|known| *known.name != **name)
        {
            let message = format!("no such database: {name}");
            return Err(ConfigErrors::unreadable(FILE, message));
        }
        let literal = match self.key.kind {
            Kind::Boolean => boolean(value).to_owned(),
            Kind::Text | Kind::Choice(_) => quoted(value),
            _ => value.trim().to_owned(),
        };
        let line = format!("{} = {literal}", self.key.name);
        let problems = Problems::new(&line);
        let typed = document::read_one(self.section, self.key, &line, &problems);
        let (errors, _) = problems.into_parts();
        let Some(typed) = typed.filter(|_| errors.is_empty()) else {
            return Err(ConfigErrors::new(FILE, &line, errors));
        };
        let mut source = source.clone();
        source.changes.retain(|(place, _)| *place != self);
        source.changes.push((self, typed));
        super::make(source, &|name| std::env::var(name).ok()).map(|Loaded { config, .. }| config)
    }
}

fn elsewhere(prefix: &str, key: &str) -> Unchangeable {
    let section = prefix.split('.').next().unwrap_or(prefix);
    let known = keys::SECTIONS.iter().find(|known| known.name == section);
    let nested = known.into_iter().flat_map(|section| section.nested.iter().copied());
    match known.copied().into_iter().chain(nested).any(|section| section.key(key).is_some()) {
        true => Unchangeable::File,
        false => Unchangeable::Unknown,
    }
}

/// PgBouncer's words for it, too.
fn boolean(value: &str) -> &str {
    match value.trim() {
        "1" | "on" | "yes" => "true",
        "0" | "off" | "no" => "false",
        other => other,
    }
}

/// As TOML writes text.
fn quoted(value: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", value.chars().map(escaped).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const CONFIG: &str = r#"
        listener = [{ address = "127.0.0.1:1" }]
        user = [{ name = "app", password = "hidden-word" }]
        shard = [{ name = "main", hosts = ["h:1"], monitor_user = "m" }]
        database = [{ name = "app" }, { name = "b.c", pool_size = 50 }]
    "#;

    fn change(config: &Config, key: &str, value: &str) -> Result<Config, String> {
        let place = Place::find(key).map_err(|why| format!("{why:?}"))?;
        place.change(config, value).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_change_is_as_if_the_file_said_so() {
        let config = parse(CONFIG, "test.toml").unwrap();
        let one = change(&config, "max_clients", "77").unwrap();
        assert_eq!((one.general.max_clients, one.listeners[0].max_clients), (77, 77));
        let two = change(&one, "pool.pool_size", "7").unwrap();
        let sizes: Vec<usize> = two.databases.iter().map(|database| database.pool_size).collect();
        assert_eq!((sizes, two.general.max_clients), (vec![7, 50], 77), "both hold");
        let three = change(&two, "database.b.c.pool_size", "8").unwrap();
        assert_eq!(three.databases[1].pool_size, 8);
        let four = change(&three, "general.log_level", "info,a=\"b\"\n").unwrap_err();
        assert!(four.contains("log_level"), "{four}");
        let back = change(&three, "pool.pool_size", "9").unwrap();
        assert_eq!(back.databases[0].pool_size, 9);
        assert!(!format!("{back:?}").contains("hidden-word"));
        let said = format!("{CONFIG}\ngeneral = {{ max_clients = 77 }}\n");
        assert_eq!(one, parse(&said, "test.toml").unwrap());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let config = parse(CONFIG, "test.toml").unwrap();
        for (key, value, said) in [
            ("max_clients", "0", "1 to 1000000"),
            ("max_clients", "1 # x\nworkers = 3", "not"),
            ("pool_mode", "never", "one of"),
            ("workers", "3", "Restart"),
            ("nothing", "3", "Unknown"),
            ("database.app.nothing", "3", "Unknown"),
            ("database.app.shard", "main", "File"),
            ("database.nowhere.pool_size", "3", "no such database"),
            ("user.app.password", "x", "File"),
            ("listener.127.0.0.1:1.address", "x", "File"),
        ] {
            let error = change(&config, key, value).err().unwrap_or_default();
            assert!(error.contains(said), "{key} = {value}: {error}");
        }
    }

    #[test]
    fn what_is_said_to_be_changeable_is() {
        let config = parse(CONFIG, "test.toml").unwrap();
        let mut changed = 0;
        for setting in &config.settings {
            let Ok(place) = Place::find(&setting.key) else { continue };
            let Some(value) = &setting.value else { continue };
            let next = place.change(&config, value);
            next.unwrap_or_else(|errors| panic!("{} = {value}: {errors}", setting.key));
            changed += 1;
        }
        assert!(changed > 50, "{changed}");
    }
}

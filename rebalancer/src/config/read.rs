//! Owns the reading of the file: from its text to a [`Config`], or to everything that is wrong
//! with it.

use super::keys::{Form, KEYS, Key};
use super::{Config, Limits, Server, ShardConfig, login};
use crate::error::Error;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

type Table<'a> = DeTable<'a>;

/// Reads `text`; relative paths in it begin at the folder of `file`.
///
/// # Errors
/// Everything that is wrong with it, one line each: `file:line: key: message`.
pub fn parse(
    text: &str,
    file: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Error> {
    let reader = Reader { text, file, environment, errors: RefCell::new(Vec::new()) };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.error(&error.span().unwrap_or(0..0), "", error.message());
    }
    // What is missing in half a document says nothing.
    let is_whole = reader.errors.borrow().is_empty();
    let config = if is_whole { reader.config(document.get_ref()) } else { None };
    let mut errors = reader.errors.into_inner();
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        _ => {
            errors.sort();
            errors.dedup();
            let lines = errors.into_iter().map(|(line, message)| match line {
                0 => format!("{}: {message}", file.display()),
                _ => format!("{}:{line}: {message}", file.display()),
            });
            Err(Error::Usage(lines.collect::<Vec<_>>().join("\n")))
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    file: &'a Path,
    environment: &'a dyn Fn(&str) -> Option<String>,
    /// Line and message.
    errors: RefCell<Vec<(usize, String)>>,
}

/// A section with its name, as it is shown, and its place.
struct Section<'a> {
    name: &'static str,
    table: &'a Table<'a>,
    span: Range<usize>,
}

impl Reader<'_> {
    fn error(&self, span: &Range<usize>, key: &str, message: &str) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = match self.text.is_empty() || *span == (0..0) {
            true => 0,
            false => before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        };
        let message = if key.is_empty() { message.into() } else { format!("{key}: {message}") };
        self.errors.borrow_mut().push((line, message));
    }

    fn config(&self, document: &Table<'_>) -> Option<Config> {
        let (mut catalog, mut shards, mut limits) = (None, Vec::new(), Limits::default());
        for (name, value) in document {
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("database", _) => {}
                ("catalog", DeValue::Table(table)) => {
                    catalog = self.server(&section("catalog", table, value));
                }
                ("limits", DeValue::Table(table)) => {
                    self.limits(&section("limits", table, value), &mut limits);
                }
                ("shard", DeValue::Array(elements)) => {
                    for element in elements {
                        let DeValue::Table(table) = element.get_ref() else {
                            self.error(&element.span(), "shard", "write [[shard]]");
                            continue;
                        };
                        let section = section("shard", table, element);
                        if let Some(shard) = self.shard(&section) {
                            self.refuse_twice(&section, &shards, &shard);
                            shards.push(shard);
                        }
                    }
                }
                (known @ ("catalog" | "limits"), _) => {
                    self.error(&name.span(), known, &format!("write [{known}]"));
                }
                ("shard", _) => self.error(&name.span(), "shard", "write [[shard]]"),
                (unknown, _) => self.error(
                    &name.span(),
                    unknown,
                    "unknown key; there are: database, [catalog], [[shard]], [limits]",
                ),
            }
        }
        let top = Section { name: "", table: document, span: 0..0 };
        let database = self.text(&top, "database");
        if !document.contains_key("catalog") {
            self.error(&(0..0), "catalog", "there is no section [catalog]");
        }
        if !document.contains_key("shard") {
            self.error(&(0..0), "shard", "there is no section [[shard]]");
        }
        Some(Config { database: database?, catalog: catalog?, shards, limits })
    }

    fn shard(&self, section: &Section<'_>) -> Option<ShardConfig> {
        let (server, name) = (self.server(section), self.text(section, "name"));
        let subscription = match section.table.get("subscription") {
            Some(value) => {
                let text = self.text(section, "subscription")?;
                let text = login::expand(&text, self.environment);
                text.map_err(|cause| self.error(&value.span(), "shard.subscription", &cause)).ok()
            }
            None => server.as_ref().map(|server| login::conninfo(&server.login)),
        };
        Some(ShardConfig { name: name?, server: server?, subscription: subscription? })
    }

    fn refuse_twice(&self, section: &Section<'_>, known: &[ShardConfig], shard: &ShardConfig) {
        if known.iter().any(|other| other.name == shard.name) {
            self.error(&section.span, "shard.name", &format!("{:?} stands twice", shard.name));
        }
    }

    fn server(&self, section: &Section<'_>) -> Option<Server> {
        self.refuse_unknown(section);
        let name = |key: &str| format!("{}.{key}", section.name);
        let password = self.optional(section, "password_file").map(|(path, span)| {
            let read = std::fs::read_to_string(self.path(&path)).map_err(|e| e.to_string());
            let first = read.map(|text| text.lines().next().unwrap_or_default().to_owned());
            first.map_err(|cause| self.error(&span, &name("password_file"), &cause))
        });
        let password = password.transpose().ok()?;
        let ca_file = self.optional(section, "ca_file").map(|(path, span)| {
            let path = self.path(&path);
            self.check_certificates(&path).map_err(|cause| {
                self.error(&span, &name("ca_file"), &format!("{}: {cause}", path.display()));
            })?;
            Ok::<_, ()>((path, span))
        });
        let url = self.text(section, "url")?;
        let span = section.table.get("url").map_or(0..0, Spanned::span);
        let login = login::expand(&url, self.environment)
            .and_then(|url| login::read(&url, password.as_deref()));
        let login = login.map_err(|cause| self.error(&span, &name("url"), &cause)).ok()?;
        let ca_file = match ca_file.transpose().ok()? {
            Some((_, span)) if login.get_ssl_mode() != tokio_postgres::config::SslMode::Require => {
                let cause = "it would not be looked at: say sslmode=require in the url";
                self.error(&span, &name("ca_file"), cause);
                return None;
            }
            other => other.map(|(path, _)| path),
        };
        Some(Server { login, ca_file })
    }

    fn limits(&self, section: &Section<'_>, limits: &mut Limits) {
        self.refuse_unknown(section);
        for (name, value) in section.table {
            let Some(key) = key_of(section.name, name.get_ref()) else { continue };
            let Form::Number { min, max, set } = key.form else { continue };
            let number = match value.get_ref() {
                DeValue::Integer(number) => {
                    u64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
                }
                _ => None,
            };
            match number.filter(|number| (min..=max).contains(number)) {
                Some(number) => set(limits, number),
                None => {
                    let message = format!("not a whole number from {min} to {max}");
                    self.error(&value.span(), &format!("limits.{}", key.name), &message);
                }
            }
        }
    }

    fn refuse_unknown(&self, section: &Section<'_>) {
        for (name, _) in section.table {
            if key_of(section.name, name.get_ref()).is_none() {
                let known = KEYS.iter().filter(|key| key.section == section.name);
                let known: Vec<&str> = known.map(|key| key.name).collect();
                let message = format!("unknown key; there are: {}", known.join(", "));
                self.error(&name.span(), &format!("{}.{}", section.name, name.get_ref()), &message);
            }
        }
    }

    /// The text of a key that must be there.
    fn text(&self, section: &Section<'_>, key: &'static str) -> Option<String> {
        if let Some((text, span)) = self.optional(section, key) {
            if text.is_empty() {
                self.error(&span, &full_name(section, key), "it is empty");
                return None;
            }
            return Some(text);
        }
        if !section.table.contains_key(key) {
            self.error(&section.span, &full_name(section, key), "it is missing");
        }
        None
    }

    fn optional(&self, section: &Section<'_>, key: &'static str) -> Option<(String, Range<usize>)> {
        let value = section.table.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some((text.to_string(), value.span())),
            _ => {
                self.error(&value.span(), &full_name(section, key), "not a text in quotes");
                None
            }
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    fn check_certificates(&self, path: &Path) -> Result<(), String> {
        let read = CertificateDer::pem_file_iter(path);
        let read = read.and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(chain) if chain.is_empty() => Err("no certificate in it".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn section<'a>(
    name: &'static str,
    table: &'a Table<'a>,
    value: &Spanned<DeValue<'_>>,
) -> Section<'a> {
    Section { name, table, span: value.span() }
}

fn key_of(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

fn full_name(section: &Section<'_>, key: &str) -> String {
    if section.name.is_empty() { key.to_owned() } else { format!("{}.{key}", section.name) }
}

#[cfg(test)]
mod tests;

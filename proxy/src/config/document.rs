//! Owns the first reading of the file: TOML text into tables of typed values, checked against the
//! key table. It knows the form of every value, and nothing of what the values mean together.
//!
//! The document is walked by hand instead of by serde's derive, because serde stops at the first
//! error and a person with a wrong file wants to see all of them.

use super::errors::Problems;
use super::keys::{Absent, Key, Kind, SECTIONS, Section};
use serde_spanned::Spanned;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// A place in the file, in bytes.
pub(crate) type Span = Range<usize>;

/// One `[section]` or one element of `[[section]]`.
#[derive(Debug)]
pub(crate) struct Table {
    /// What it is.
    pub(crate) section: &'static Section,
    /// Where its header (or its first key) stands.
    pub(crate) span: Span,
    values: Vec<(&'static str, Value, Span)>,
    /// Keys whose value was refused.
    refused: Vec<(&'static str, Span)>,
    /// Nested sections.
    pub(crate) tables: Vec<Table>,
}

/// A value of the right type, within its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// `Kind::Integer`
    Integer(u64),
    /// `Kind::Boolean`
    Boolean(bool),
    /// `Kind::Text`, `Choice`, `File`, `Address`, `Secret`, `Literal`
    Text(String),
    /// `Kind::Addresses`, `Kind::Names`, `Kind::Literals`
    List(Vec<(String, Span)>),
}

impl Table {
    /// A section that does not stand in the file.
    pub(crate) fn absent(section: &'static Section) -> Self {
        Self { section, span: 0..0, values: Vec::new(), refused: Vec::new(), tables: Vec::new() }
    }

    /// The value given for `key`, and where.
    pub(crate) fn get(&self, key: &str) -> Option<(&Value, &Span)> {
        self.values.iter().find(|(name, ..)| *name == key).map(|(_, value, span)| (value, span))
    }

    /// The name of what the section describes, when it has one.
    pub(crate) fn name(&self) -> Option<&str> {
        match self.get("name") {
            Some((Value::Text(name), _)) => Some(name),
            _ => None,
        }
    }

    /// Gives `key` another value, that stands nowhere.
    pub(crate) fn set(&mut self, key: &'static str, value: Value) {
        self.values.retain(|(name, ..)| *name != key);
        self.values.push((key, value, self.span.clone()));
    }

    /// Where `key` stands, also when its value was refused.
    pub(crate) fn mention(&self, key: &str) -> Option<&Span> {
        let refused = self.refused.iter().find(|(name, _)| *name == key).map(|(_, span)| span);
        self.get(key).map(|(_, span)| span).or(refused)
    }
}

/// Reads `text` into its sections, in the order of the file.
pub(crate) fn read(text: &str, problems: &Problems<'_>) -> Vec<Table> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        problems.error(&span, "", format!("not valid TOML: {}", error.message()), "");
    }
    let mut tables = Vec::new();
    for (name, value) in document.get_ref() {
        let known = SECTIONS.iter().find(|section| section.name == name.get_ref().as_ref());
        match known {
            Some(section) => read_section(section, value, problems, &mut tables),
            None => unknown_section(name, problems),
        }
    }
    tables.sort_by_key(|table| table.span.start);
    tables
}

/// Reads one line, `key = value`. `None` when anything is wrong with it.
pub(crate) fn read_one(
    section: &'static Section,
    key: &'static Key,
    line: &str,
    problems: &Problems<'_>,
) -> Option<Value> {
    let (document, errors) = DeTable::parse_recoverable(line);
    let table = document.get_ref();
    if !errors.is_empty() || table.len() != 1 {
        let message = format!("not a value of `{}`", key.name);
        problems.error(&(0..0), full_name(section, key.name), message, expected(key.kind));
        return None;
    }
    read_value(section, key, table.get(key.name)?, problems)
}

fn unknown_section(name: &Spanned<std::borrow::Cow<'_, str>>, problems: &Problems<'_>) {
    let names = SECTIONS.iter().map(|section| section.name);
    let help = match closest(name.get_ref(), names) {
        Some(close) => format!("did you mean `{close}`?"),
        None => {
            let all: Vec<String> = SECTIONS.iter().map(|section| section.header()).collect();
            format!("sections are {}", all.join(", "))
        }
    };
    let key = name.get_ref().to_string();
    problems.error(&name.span(), &key, format!("unknown section or key `{key}`"), help);
}

fn read_section(
    section: &'static Section,
    value: &Spanned<DeValue<'_>>,
    problems: &Problems<'_>,
    out: &mut Vec<Table>,
) {
    match value.get_ref() {
        DeValue::Table(table) => {
            if section.repeats {
                wrong_header(section, &value.span(), problems);
            }
            out.push(read_table(section, table, value.span(), problems));
        }
        DeValue::Array(elements) if section.repeats => {
            for element in elements {
                match element.get_ref() {
                    DeValue::Table(table) => {
                        out.push(read_table(section, table, element.span(), problems));
                    }
                    _ => wrong_header(section, &element.span(), problems),
                }
            }
        }
        _ => wrong_header(section, &value.span(), problems),
    }
}

fn wrong_header(section: &Section, span: &Span, problems: &Problems<'_>) {
    let header = section.header();
    problems.error(
        span,
        section.name,
        format!("`{}` has the wrong form", section.name),
        format!("begin it with the header `{header}`"),
    );
}

fn read_table(
    section: &'static Section,
    table: &DeTable<'_>,
    span: Span,
    problems: &Problems<'_>,
) -> Table {
    let mut read =
        Table { section, span, values: Vec::new(), refused: Vec::new(), tables: Vec::new() };
    for (name, value) in table {
        let text = name.get_ref().as_ref();
        if let Some(key) = section.key(text) {
            match read_value(section, key, value, problems) {
                Some(typed) => read.values.push((key.name, typed, value.span())),
                None => read.refused.push((key.name, value.span())),
            }
        } else if let Some(nested) = nested(section, text) {
            read_section(nested, value, problems, &mut read.tables);
        } else {
            unknown_key(section, name, problems);
        }
    }
    for key in section.keys().filter(|key| matches!(key.default, Absent::Required)) {
        if !table.contains_key(key.name) {
            let full = full_name(section, key.name);
            let message = format!("`{}` is missing in {}", key.name, section.header());
            problems.error(&read.span, full, message, format!("add {}", example(key)));
        }
    }
    read
}

fn nested(section: &'static Section, name: &str) -> Option<&'static Section> {
    section.nested.iter().copied().find(|nested| nested.name.rsplit('.').next() == Some(name))
}

fn example(key: &Key) -> String {
    let value = match key.kind {
        Kind::Integer(min, _) => min.to_string(),
        Kind::Boolean => "true".into(),
        Kind::Address => "\"127.0.0.1:5432\"".into(),
        Kind::Choice(words) => format!("{:?}", words.first().unwrap_or(&"")),
        Kind::Addresses => "[\"127.0.0.1:5432\"]".into(),
        Kind::Literals => "[1, 2]".into(),
        Kind::Ratio => "0.01".into(),
        Kind::Text | Kind::Names | Kind::Literal | Kind::File | Kind::Secret => "\"…\"".into(),
    };
    format!("`{} = {value}`", key.name)
}

/// `section.key`, as problems name it.
pub(crate) fn full_name(section: &Section, key: &str) -> String {
    format!("{}.{key}", section.name)
}

fn unknown_key(
    section: &Section,
    name: &Spanned<std::borrow::Cow<'_, str>>,
    problems: &Problems<'_>,
) {
    let text = name.get_ref().as_ref();
    let nested = section.nested.iter().filter_map(|nested| nested.name.rsplit('.').next());
    let names = section.keys().map(|key| key.name).chain(nested);
    let elsewhere = SECTIONS.iter().find(|other| other.key(text).is_some());
    let help = match (closest(text, names), elsewhere) {
        (Some(close), _) => format!("did you mean `{close}`?"),
        (None, Some(other)) => format!("it belongs into {}", other.header()),
        (None, None) => {
            let all: Vec<&str> = section.keys().map(|key| key.name).collect();
            format!("keys of {} are {}", section.header(), all.join(", "))
        }
    };
    let message = format!("unknown key `{text}` in {}", section.header());
    problems.error(&name.span(), full_name(section, text), message, help);
}

fn read_value(
    section: &Section,
    key: &Key,
    value: &Spanned<DeValue<'_>>,
    problems: &Problems<'_>,
) -> Option<Value> {
    let typed = match (key.kind, value.get_ref()) {
        (Kind::Integer(min, max), DeValue::Integer(number)) => integer(number, min, max),
        (Kind::Boolean, DeValue::Boolean(value)) => Some(Value::Boolean(*value)),
        (Kind::Choice(words), DeValue::String(text)) => {
            words.contains(&text.as_ref()).then(|| Value::Text(text.to_string()))
        }
        (Kind::Names, DeValue::String(text)) => {
            let usable = !text.is_empty() && !text.contains('\0');
            usable.then(|| Value::List(vec![(text.to_string(), value.span())]))
        }
        (Kind::Addresses | Kind::Names, DeValue::Array(elements)) => {
            let list = elements.iter().map(|element| match element.get_ref() {
                DeValue::String(text) => Some((text.to_string(), element.span())),
                _ => None,
            });
            list.collect::<Option<Vec<_>>>().map(Value::List)
        }
        (Kind::Ratio, value) => ratio(value).map(|ratio| Value::Text(ratio.to_string())),
        (Kind::Literal, value) => literal(value).map(Value::Text),
        (Kind::Literals, DeValue::Array(elements)) => {
            let read = |element: &Spanned<DeValue<'_>>| {
                Some((literal(element.get_ref())?, element.span()))
            };
            elements.iter().map(read).collect::<Option<Vec<_>>>().map(Value::List)
        }
        (Kind::Literals, one) => literal(one).map(|text| Value::List(vec![(text, value.span())])),
        (Kind::Text | Kind::File | Kind::Address | Kind::Secret, DeValue::String(text)) => {
            let usable = !text.is_empty() && !text.contains('\0');
            usable.then(|| Value::Text(text.to_string()))
        }
        _ => None,
    };
    if typed.is_none() {
        let given = given(key, value.get_ref());
        let message = format!("{given} is not a value of `{}`", key.name);
        let mut help = expected(key.kind);
        if let (Kind::Choice(words), DeValue::String(text)) = (key.kind, value.get_ref())
            && let Some(close) = closest(text, words.iter().copied())
        {
            help += &format!("; did you mean `{close}`?");
        }
        problems.error(&value.span(), full_name(section, key.name), message, help);
    }
    typed
}

/// A text, or a whole number as text.
fn literal(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => (!text.contains('\0')).then(|| text.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        _ => None,
    }
}

/// A number from 0 to 1.
fn ratio(value: &DeValue<'_>) -> Option<f64> {
    let ratio: f64 = match value {
        DeValue::Integer(number) => number.as_str().parse().ok()?,
        DeValue::Float(number) => number.as_str().parse().ok()?,
        _ => return None,
    };
    (0.0..=1.0).contains(&ratio).then_some(ratio)
}

fn integer(number: &toml::de::DeInteger<'_>, min: u64, max: u64) -> Option<Value> {
    let number = u64::from_str_radix(number.as_str(), number.radix()).ok()?;
    (min..=max).contains(&number).then_some(Value::Integer(number))
}

/// What was given, as far as it may be shown.
fn given(key: &Key, value: &DeValue<'_>) -> String {
    match value {
        _ if matches!(key.kind, Kind::Secret) => "this".into(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::String(text) => format!("{:?}", text.as_ref()),
        DeValue::Datetime(value) => value.to_string(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// What a kind of value looks like.
pub(crate) fn expected(kind: Kind) -> String {
    match kind {
        Kind::Integer(min, max) => {
            format!("a whole number from {min} to {max}, without quotes or unit")
        }
        Kind::Boolean => "true or false, without quotes".into(),
        Kind::Choice(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            format!("one of {}", words.join(", "))
        }
        Kind::Addresses => "a list such as [\"127.0.0.1:5432\", \"127.0.0.1:5433\"]".into(),
        Kind::Names => "text in quotes, or a list such as [\"one\", \"two\"]".into(),
        Kind::Literal => "text in quotes, or a whole number".into(),
        Kind::Literals => "a list such as [\"one\", \"two\"] or [1, 2]".into(),
        Kind::Ratio => "a number from 0 to 1, without quotes".into(),
        Kind::Address => "text such as \"127.0.0.1:5432\"".into(),
        Kind::Text | Kind::File | Kind::Secret => "text in quotes, not empty".into(),
    }
}

/// The name most like `name`, when one is like enough to be a slip.
pub(crate) fn closest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let score = |other: &str| {
        let prefixed = name.len() >= 4 && (other.starts_with(name) || name.starts_with(other));
        strsim::jaro_winkler(name, other).max(if prefixed { 0.9 } else { 0.0 })
    };
    names
        .map(|other| (score(other), other))
        .filter(|(score, _)| *score >= 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, other)| other)
}

/// `text` with every secret's characters covered, at unchanged offsets.
///
/// Works on lines, not on the parsed document, because it must also hold when that is broken.
pub(crate) fn mask_secrets(text: &str) -> String {
    let secret = |line: &str| {
        let key = line.split('=').next().unwrap_or(line).trim().trim_matches(['"', '\'']);
        let known = |section: &&&Section| {
            section.key(key).is_some_and(|key| matches!(key.kind, Kind::Secret))
        };
        // A misspelt `pasword = "…"` is a secret too.
        let looks = key.to_ascii_lowercase();
        let named = ["pas", "sec", "pw"].iter().any(|word| looks.contains(word))
            && !looks.ends_with("_file")
            && !looks.ends_with("_env");
        SECTIONS.iter().any(|section| known(&section)) || named
    };
    let mut covered = String::with_capacity(text.len());
    // The end of a multi-line string that is being covered.
    let mut until: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        let inline = line.contains('{') && ["pas", "sec"].iter().any(|word| line.contains(word));
        let start = match until {
            Some(_) => Some(0),
            None if secret(line) || inline => line.find(['=', '{']).map(|at| at + 1),
            None => None,
        };
        let Some(start) = start else {
            covered += line;
            continue;
        };
        let (open, rest) = line.split_at(start);
        covered += open;
        for c in rest.chars() {
            match c {
                '\n' | '\r' => covered.push(c),
                _ => covered.extend(std::iter::repeat_n('*', c.len_utf8())),
            }
        }
        until = match until {
            Some(end) if rest.contains(end) => None,
            Some(end) => Some(end),
            None => ["\"\"\"", "'''"].into_iter().find(|quote| rest.matches(quote).count() == 1),
        };
    }
    covered
}

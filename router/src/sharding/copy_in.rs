//! Owns `COPY … FROM STDIN` of tables that are on several shards: where a line's key stands and
//! how lines are told apart. Reading the lines belongs to whoever has them.

use super::integrity::{self, Change};
use super::named::{Kind, Refused, expressions};
use super::operand::{find_word, split};
use super::target::{misread, read as read_name};
use super::{Catalog, Placing, Refusal, reference, unsharded};
use crate::facts::schema::{Column, Origin, Relation};
use crate::key::{KeyType, literal_text};
use crate::lexer::{Dialect, TokenKind};
use crate::planner::{Text, split as statements};
use std::fmt;
use std::ops::Range;

/// Form of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// Lines with backslash escapes.
    Text,
    /// Lines with quotes.
    Csv,
    /// Tuples with lengths.
    Binary,
}

/// A column of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyKey {
    /// Its place in each line, from 0.
    pub at: usize,
    /// Its type.
    pub ty: KeyType,
}

/// How the data of a COPY is split. Every shard is sent the client's text as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPlan {
    /// Index of the distribution.
    pub distribution: usize,
    /// Columns of the key; none for a reference table, whose data goes to every shard.
    pub keys: Vec<CopyKey>,
    /// Columns of a line.
    pub columns: usize,
    /// Form of the data.
    pub format: CopyFormat,
    /// Between columns (not in binary).
    pub delimiter: u8,
    /// What stands for NULL; in CSV only without quotes.
    pub null: Box<[u8]>,
    /// CSV: around values.
    pub quote: u8,
    /// CSV: before a quote inside of quotes.
    pub escape: u8,
    /// The first line is no row, and goes to every shard.
    pub header: bool,
}

/// One line, as in `Csv, 3 columns, key 1 bigint, delimiter ',', null "", header`.
impl fmt::Display for CopyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} columns", self.format, self.columns)?;
        for key in &self.keys {
            write!(f, ", key {} {}", key.at, key.ty)?;
        }
        if self.format != CopyFormat::Binary {
            write!(f, ", delimiter {:?}", char::from(self.delimiter))?;
            write!(f, ", null {:?}", String::from_utf8_lossy(&self.null))?;
        }
        if self.format == CopyFormat::Csv {
            let (quote, escape) = (char::from(self.quote), char::from(self.escape));
            write!(f, ", quote {quote:?}, escape {escape:?}")?;
        }
        f.write_str(if self.header { ", header" } else { "" })
    }
}

/// Where the data of a COPY goes.
pub(super) fn place(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    let is_query = text.is_kind(at.start + 1, TokenKind::OpenParen);
    let from = find_word(text, at.clone(), &["from"]).filter(|_| !is_query);
    let Some(from) = from else { return unsharded::place(text, at, catalog, "copy-to") };
    let name = read_name(text, table_at(text, &at))?;
    let named = name.find(catalog)?;
    let spread = matches!(named.kind, Kind::Sharded(_) | Kind::Reference(_));
    if named.kind == Kind::Mixed {
        return Err(misread("a parent of sharded tables"));
    }
    if !spread {
        return unsharded::place(text, at, catalog, "copy");
    }
    if !text.is(from + 1, "stdin") {
        return Err(Box::new(
            Refusal::new("copy-from-file", "a sharded table cannot be filled from a server's file")
                .detail("Every shard would read a file or program of its own server.")
                .hint("Use COPY … FROM STDIN (\\copy in psql)."),
        ));
    }
    // Names of columns and options do not depend on literals, values do: they are read again.
    let options = Options::default();
    let (table, relation) = (named.kind, named.relation.ok_or_else(|| misread("COPY"))?);
    read(text, at, table, relation, options, catalog)?;
    Ok(Placing::CopyIn)
}

/// How the data of a COPY is split, for a text that [`super::place`] found to be `CopyIn`.
///
/// # Errors
/// When an option makes it impossible.
pub fn copy_plan(
    sql: &[u8],
    catalog: Catalog<'_>,
    dialect: Dialect,
) -> Result<CopyPlan, Box<Refusal>> {
    let text = Text::read(sql, dialect).map_err(|_| misread("COPY"))?;
    let ranges = statements(&text);
    let &[(start, end)] = ranges.as_slice() else { return Err(misread("COPY")) };
    let named = read_name(&text, table_at(&text, &(start..end)))?.find(catalog)?;
    let relation = named.relation.ok_or_else(|| misread("COPY"))?;
    let options = Options { dialect: Some(dialect) };
    read(&text, start..end, named.kind, relation, options, catalog)
}

fn table_at(text: &Text<'_>, at: &Range<usize>) -> usize {
    at.start + 1 + usize::from(text.is(at.start + 1, "binary"))
}

/// How options are read.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    /// `None`: their values do not matter.
    dialect: Option<Dialect>,
}

fn read(
    text: &Text<'_>,
    at: Range<usize>,
    kind: Kind<'_>,
    relation: &Relation,
    options: Options,
    catalog: Catalog<'_>,
) -> Refused<CopyPlan> {
    let name = read_name(text, table_at(text, &at))?;
    let all = || relation.columns.iter().filter(|column| column.origin != Origin::Generated);
    let mut columns: Vec<&Column> = all().collect();
    let mut here = name.end;
    if text.is_kind(here, TokenKind::OpenParen) {
        let close = text.partner(here).ok_or_else(|| misread("COPY"))?;
        columns = Vec::new();
        for item in split(text, here + 1..close) {
            let name = text.name(item.start).filter(|_| item.len() == 1);
            let column = name.and_then(|name| relation.column(&name));
            columns.push(column.ok_or_else(|| misread("a list of columns"))?);
        }
        here = close + 1;
    }
    if !text.are(here, &["from", "stdin"]) {
        return Err(misread("COPY"));
    }
    let filter = find_word(text, here + 2..at.end, &["where"]);
    if let Some(filter) = filter {
        expressions(text, filter + 1..at.end, catalog)?;
    }
    let (distribution, key_columns) = match kind {
        Kind::Sharded(table) => {
            integrity::check(catalog, table, relation, Change::Insert)?;
            (table.distribution, &table.key_columns)
        }
        Kind::Reference(table) => {
            if filter.is_some() {
                reference::place(text, here + 2..at.end, relation, catalog)?;
            }
            (table.distribution, &table.key_columns)
        }
        _ => return Err(misread("COPY")),
    };
    let mut keys = Vec::new();
    for key in key_columns {
        let place = columns.iter().position(|column| column.name == *key);
        let ty = place
            .and_then(|place| columns.get(place))
            .and_then(|column| KeyType::from_name(&column.type_name));
        match (place, ty) {
            (Some(at), Some(ty)) => keys.push(CopyKey { at, ty }),
            _ => return Err(without_key(relation, key)),
        }
    }
    let plan = CopyPlan {
        distribution,
        keys,
        columns: columns.len(),
        format: CopyFormat::Text,
        delimiter: 0,
        null: Box::default(),
        quote: b'"',
        escape: 0,
        header: false,
    };
    let plan = read_options(text, at.start, here + 2..filter.unwrap_or(at.end), plan, options)?;
    check_columns(relation, &columns, kind, plan.format, catalog)?;
    finished(plan, key_columns, options)
}

/// Columns that the data does not have, and for reference tables columns that read "now".
fn check_columns(
    relation: &Relation,
    columns: &[&Column],
    kind: Kind<'_>,
    format: CopyFormat,
    catalog: Catalog<'_>,
) -> Refused<()> {
    let is_given = |column: &&Column| columns.iter().any(|given| given.name == column.name);
    for column in relation.columns.iter().filter(|column| !is_given(column)) {
        match kind {
            Kind::Reference(_) => reference::check_default(relation, column)?,
            _ => integrity::check_sequence(catalog, relation, column)?,
        }
    }
    let moments = matches!(kind, Kind::Reference(_))
        && format != CopyFormat::Binary
        && columns.iter().any(|column| reference::reads_moments(column));
    match moments {
        false => Ok(()),
        true => {
            let why = "A text like \"now\" could stand for a date or time in it.";
            Err(reference::differs(relation, why))
        }
    }
}

/// Fills in what the format has by default, and refuses what the splitting cannot know.
fn finished(mut plan: CopyPlan, key_columns: &[Box<str>], options: Options) -> Refused<CopyPlan> {
    let _ = key_columns;
    if options.dialect.is_none() {
        return Ok(plan);
    }
    let csv = plan.format == CopyFormat::Csv;
    if plan.delimiter == 0 {
        plan.delimiter = if csv { b',' } else { b'\t' };
    }
    if plan.escape == 0 {
        plan.escape = plan.quote;
    }
    if *plan.null == *NOT_GIVEN {
        plan.null = if csv { Box::default() } else { b"\\N".as_slice().into() };
    }
    Ok(plan)
}

/// Stands for a NULL string that was not given; none may have a line break.
const NOT_GIVEN: &[u8] = b"\n";

fn read_options(
    text: &Text<'_>,
    start: usize,
    at: Range<usize>,
    mut plan: CopyPlan,
    options: Options,
) -> Refused<CopyPlan> {
    plan.null = NOT_GIVEN.into();
    if text.is(start + 1, "binary") {
        plan.format = CopyFormat::Binary;
    }
    let mut here = at.start + usize::from(text.is(at.start, "with"));
    if here >= at.end {
        return Ok(plan);
    }
    if text.is_kind(here, TokenKind::OpenParen) {
        let close = text.partner(here).ok_or_else(|| misread("options of COPY"))?;
        if close + 1 != at.end {
            return Err(misread("options of COPY"));
        }
        // The format decides what the others mean, wherever it stands.
        for item in split(text, here + 1..close) {
            option(text, item, &mut plan, options)?;
        }
        return Ok(plan);
    }
    while here < at.end {
        here = old_option(text, here, at.end, &mut plan, options)?;
    }
    Ok(plan)
}

/// `name [value]` between parentheses.
fn option(
    text: &Text<'_>,
    item: Range<usize>,
    plan: &mut CopyPlan,
    options: Options,
) -> Refused<()> {
    let name = text.name(item.start).unwrap_or_default().to_string();
    let value = item.start + 1;
    if item.len() > 2 && !name.starts_with("force_") {
        return Err(misread("an option of COPY"));
    }
    let word = match text.kind(value).filter(|_| value < item.end) {
        Some(kind) if kind.is_literal() => string(text, value, options)?.map(|s| s.to_lowercase()),
        Some(_) => text.name(value).map(|name| name.to_string()),
        None => Some("true".to_string()),
    };
    match (&*name, word.as_deref()) {
        ("format", Some("text")) => plan.format = CopyFormat::Text,
        ("format", Some("csv")) => plan.format = CopyFormat::Csv,
        ("format", Some("binary")) => plan.format = CopyFormat::Binary,
        ("delimiter", _) => plan.delimiter = byte(text, value, options)?,
        ("quote", _) => plan.quote = byte(text, value, options)?,
        ("escape", _) => plan.escape = byte(text, value, options)?,
        ("null", _) => null(text, value, plan, options)?,
        ("header", Some("true" | "on" | "1" | "match")) => plan.header = true,
        ("header", Some("false" | "off" | "0")) => plan.header = false,
        ("header" | "format", None) => {}
        ("freeze" | "log_verbosity" | "on_error", _) => {}
        ("encoding", Some("utf8" | "utf-8" | "unicode")) | ("encoding", None) => {}
        ("force_null" | "force_not_null", _) if plan.keys.is_empty() => {}
        ("force_null" | "force_not_null", _) => return Err(impossible(&name)),
        _ => return Err(impossible(&name)),
    }
    Ok(())
}

/// The form before PostgreSQL 9.0: words without parentheses.
fn old_option(
    text: &Text<'_>,
    at: usize,
    end: usize,
    plan: &mut CopyPlan,
    options: Options,
) -> Refused<usize> {
    let value = at + 1 + usize::from(text.is(at + 1, "as"));
    let has_value = value < end && text.kind(value).is_some_and(TokenKind::is_literal);
    match text.word(at) {
        "csv" => plan.format = CopyFormat::Csv,
        "binary" => plan.format = CopyFormat::Binary,
        "header" => plan.header = true,
        "freeze" => {}
        "delimiter" if has_value => plan.delimiter = byte(text, value, options)?,
        "quote" if has_value => plan.quote = byte(text, value, options)?,
        "escape" if has_value => plan.escape = byte(text, value, options)?,
        "null" if has_value => null(text, value, plan, options)?,
        other => return Err(impossible(other)),
    }
    match text.word(at) {
        "delimiter" | "quote" | "escape" | "null" => Ok(value + 1),
        _ => Ok(at + 1),
    }
}

fn null(text: &Text<'_>, at: usize, plan: &mut CopyPlan, options: Options) -> Refused<()> {
    if let Some(null) = string(text, at, options)? {
        plan.null = null.into_bytes().into();
    }
    Ok(())
}

/// An option's value; `None` when values do not matter.
fn string(text: &Text<'_>, at: usize, options: Options) -> Refused<Option<String>> {
    let Some(dialect) = options.dialect else { return Ok(None) };
    let token = text.token(at).ok_or_else(|| misread("an option of COPY"))?;
    let value = literal_text(&token, text.sql, dialect);
    value.map(|value| Some(value.into_owned())).ok_or_else(|| misread("an option of COPY"))
}

fn byte(text: &Text<'_>, at: usize, options: Options) -> Refused<u8> {
    match string(text, at, options)?.as_deref().map(str::as_bytes) {
        None => Ok(0),
        Some([byte]) if byte.is_ascii() && !matches!(byte, 0 | b'\n' | b'\r') => Ok(*byte),
        Some(_) => Err(misread("a character of COPY that is not one byte")),
    }
}

fn impossible(option: &str) -> Box<Refusal> {
    Box::new(
        Refusal::new("copy-option", format!("COPY option {option} cannot be used over shards"))
            .detail("Where a line's key is could not be told.")
            .hint("Leave the option out, or convert the data first."),
    )
}

fn without_key(relation: &Relation, key: &str) -> Box<Refusal> {
    Box::new(
        Refusal::new(
            "missing-key",
            format!("the lines of COPY have no shard key for {}", relation.name),
        )
        .detail(format!("Column {key} is not among them, or not of a type that is known."))
        .hint("Name the column of the shard key in the list of columns."),
    )
}

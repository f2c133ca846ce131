//! Owns the reading of expressions as far as statements over several shards need it: which columns
//! they name and which functions they call. It knows a closed list of forms; an expression with
//! anything else in it is not understood, and must then not be taken apart.

use crate::lexer::TokenKind;
use crate::planner::Text;
use std::ops::Range;

/// A table reference whose columns an expression can name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    /// The name it goes by.
    pub(crate) alias: String,
    /// Its columns.
    pub(crate) columns: Vec<String>,
    /// Columns that USING or NATURAL merges with those of a source before it: unqualified, they
    /// are the other's.
    pub(crate) merged: Vec<String>,
}

/// What the names in an expression can mean.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    pub(crate) sources: Vec<Source>,
}

/// A column an expression names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Column {
    /// Index of its source.
    pub(crate) source: usize,
    /// Index among the columns of the source.
    pub(crate) column: usize,
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// Its name, folded.
    pub(crate) name: String,
    /// Its schema was named, and is not `pg_catalog`.
    pub(crate) foreign: bool,
    /// From the first token of the name up to what stands behind FILTER, WITHIN GROUP and OVER.
    pub(crate) tokens: Range<usize>,
    /// What stands between the parentheses.
    pub(crate) arguments: Range<usize>,
    /// It has DISTINCT before its arguments.
    pub(crate) distinct: bool,
    /// It has ORDER BY among its arguments.
    pub(crate) ordered: bool,
    /// WITHIN GROUP (…) follows.
    pub(crate) within_group: bool,
    /// The condition of FILTER.
    pub(crate) filter: Option<Range<usize>>,
    /// OVER follows: it is a window function here.
    pub(crate) over: bool,
}

/// Something of note in an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A column, with the tokens that name it.
    Column(Column, Range<usize>),
    /// A call. What it has inside is marked as well, after it.
    Call(Call),
    /// COLLATE.
    Collate(usize),
}

/// Why an expression is not understood, for a Detail: a noun phrase.
pub(crate) type NotUnderstood = String;

/// Words that stand in expressions and name nothing.
const SYNTAX: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "at",
    "between",
    "both",
    "by",
    "case",
    "current",
    "desc",
    "distinct",
    "else",
    "end",
    "escape",
    "exclude",
    "false",
    "filter",
    "first",
    "following",
    "for",
    "from",
    "group",
    "groups",
    "ilike",
    "in",
    "is",
    "isnull",
    "last",
    "leading",
    "like",
    "local",
    "no",
    "not",
    "notnull",
    "null",
    "nulls",
    "or",
    "order",
    "others",
    "over",
    "overlaps",
    "partition",
    "placing",
    "preceding",
    "range",
    "row",
    "rows",
    "similar",
    "some",
    "symmetric",
    "then",
    "ties",
    "to",
    "trailing",
    "true",
    "unbounded",
    "unknown",
    "using",
    "when",
    "where",
    "window",
    "with",
    "within",
    "without",
    "zone",
    "time",
];

/// Words that are values or calls without parentheses, the same on every shard at one moment.
const CONSTANTS: &[&str] = &[
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "session_user",
    "user",
];

/// Types whose name may stand before a string constant.
const LITERAL_TYPES: &[&str] = &[
    "bigint",
    "bool",
    "boolean",
    "bytea",
    "char",
    "character",
    "cidr",
    "date",
    "decimal",
    "float",
    "float4",
    "float8",
    "inet",
    "int",
    "int2",
    "int4",
    "int8",
    "integer",
    "interval",
    "json",
    "jsonb",
    "macaddr",
    "money",
    "name",
    "numeric",
    "oid",
    "real",
    "smallint",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "uuid",
    "varchar",
    "xml",
];

/// Words of the fields of intervals and timestamps.
const FIELDS: &[&str] = &["year", "month", "day", "hour", "minute", "second"];

/// Reads an expression, or a list of them.
pub(crate) fn read(
    text: &Text<'_>,
    scope: &Scope,
    tokens: Range<usize>,
) -> Result<Vec<Mark>, NotUnderstood> {
    let mut reader = Reader { text, scope, marks: Vec::new() };
    let mut at = tokens.start;
    while at < tokens.end {
        at = reader.step(at, tokens.end)?;
    }
    Ok(reader.marks)
}

struct Reader<'a, 'b> {
    text: &'a Text<'b>,
    scope: &'a Scope,
    marks: Vec<Mark>,
}

impl Reader<'_, '_> {
    /// Reads what stands at `at`; returns where the next thing begins.
    fn step(&mut self, at: usize, end: usize) -> Result<usize, NotUnderstood> {
        let text = self.text;
        match text.kind(at) {
            Some(TokenKind::Colon) if text.raw(at) == b"::" => self.type_name(at + 1, end),
            Some(TokenKind::Colon) => Err("a slice of an array, or a named argument".into()),
            Some(TokenKind::Operator) if text.raw(at) == b"*" && self.is_star(at) => {
                Err("a star for all columns".into())
            }
            Some(TokenKind::OpenParen) if self.opens_query(at) => Err("a sub-select".into()),
            Some(TokenKind::Word) => self.word(at, end),
            Some(TokenKind::QuotedIdentifier) => self.name(at, end),
            Some(TokenKind::UnicodeIdentifier | TokenKind::NationalString) | None => {
                Err("a name or string in an unusual form".into())
            }
            Some(_) => Ok(at + 1),
        }
    }

    /// A `*` that is no multiplication: nothing it could multiply stands before it.
    fn is_star(&self, at: usize) -> bool {
        match self.text.kind_before(at) {
            None | Some(TokenKind::Dot | TokenKind::Comma) => true,
            Some(TokenKind::OpenParen) => false,
            Some(TokenKind::Word) => matches!(self.text.word_before(at), "select" | "distinct"),
            Some(_) => false,
        }
    }

    fn opens_query(&self, at: usize) -> bool {
        matches!(self.text.word(at + 1), "select" | "with" | "values" | "table")
    }

    fn word(&mut self, at: usize, end: usize) -> Result<usize, NotUnderstood> {
        let text = self.text;
        let word = text.word(at);
        let next = text.kind(at + 1).filter(|_| at + 1 < end);
        match word {
            "cast" if next == Some(TokenKind::OpenParen) => return Ok(at + 1),
            "as" => return self.type_name(at + 1, end),
            "collate" => {
                self.marks.push(Mark::Collate(at));
                return Ok(self.qualified(at + 1));
            }
            "extract" if next == Some(TokenKind::OpenParen) && text.is(at + 3, "from") => {
                return Ok(at + 4);
            }
            "grouping" if text.is(at + 1, "sets") => return Ok(at + 2),
            "variadic" => return Err("VARIADIC".into()),
            _ => {}
        }
        if LITERAL_TYPES.contains(&word) && self.is_string(at + 1, end) {
            return Ok(self.fields(at + 2, end));
        }
        let bracket = matches!(next, Some(TokenKind::OpenParen));
        if SYNTAX.contains(&word) && !(bracket && matches!(word, "range" | "time")) {
            // Some of them may be names of columns as well.
            let column = |source: &Source| source.columns.iter().any(|known| known == word);
            return match self.scope.sources.iter().any(column) {
                true => Err(format!("the name {word}, which is a word of SQL as well")),
                false => Ok(at + 1),
            };
        }
        if CONSTANTS.contains(&word) {
            return Ok(at + 1);
        }
        self.name(at, end)
    }

    fn is_string(&self, at: usize, end: usize) -> bool {
        let string = matches!(
            self.text.kind(at),
            Some(TokenKind::String | TokenKind::EscapeString | TokenKind::DollarString)
        );
        at < end && string
    }

    /// `interval '1' day to hour`.
    fn fields(&self, mut at: usize, end: usize) -> usize {
        while at < end && (FIELDS.contains(&self.text.word(at)) || self.text.is(at, "to")) {
            at += 1;
        }
        at
    }

    /// Where a name with its schemas ends.
    fn qualified(&self, mut at: usize) -> usize {
        at += 1;
        while self.text.is_kind(at, TokenKind::Dot) && self.text.is_identifier(at + 1) {
            at += 2;
        }
        at
    }

    /// The name of a type, as after `::`.
    fn type_name(&self, at: usize, end: usize) -> Result<usize, NotUnderstood> {
        let text = self.text;
        if !text.is_identifier(at) || at >= end {
            return Err("a type in an unusual form".into());
        }
        let mut next = self.qualified(at);
        let word = text.word(at);
        if word == "double" && text.is(next, "precision")
            || matches!(word, "character" | "char" | "bit") && text.is(next, "varying")
        {
            next += 1;
        }
        if text.is_kind(next, TokenKind::OpenParen) && next < end {
            next = text.partner(next).ok_or("a bracket without a partner")? + 1;
        }
        if matches!(word, "time" | "timestamp")
            && matches!(text.word(next), "with" | "without")
            && text.are(next + 1, &["time", "zone"])
        {
            next += 3;
        }
        while text.is_kind(next, TokenKind::OpenBracket) && next < end {
            next = text.partner(next).ok_or("a bracket without a partner")? + 1;
        }
        if word == "interval" {
            next = self.fields(next, end);
        }
        Ok(next)
    }

    /// A name: of a column or a function.
    fn name(&mut self, at: usize, end: usize) -> Result<usize, NotUnderstood> {
        let next = self.qualified(at);
        if next < end && self.text.is_kind(next, TokenKind::OpenParen) {
            return self.call(at, next, end);
        }
        if self.text.is_kind(next, TokenKind::Dot) {
            return Err("all columns of a table, or a name in an unusual form".into());
        }
        let column = self.resolve(at..next)?;
        self.marks.push(Mark::Column(column, at..next));
        Ok(next)
    }

    fn call(&mut self, at: usize, open: usize, end: usize) -> Result<usize, NotUnderstood> {
        let text = self.text;
        let close = text.partner(open).ok_or("a bracket without a partner")?;
        let name = text.name(open - 1).ok_or("a name in an unusual form")?.into_owned();
        let foreign = open - 1 > at && text.name(at).as_deref() != Some("pg_catalog");
        let mut call = Call {
            name,
            foreign,
            tokens: at..close + 1,
            arguments: open + 1..close,
            distinct: text.is(open + 1, "distinct"),
            ordered: top_level(text, open + 1..close).any(|at| text.is(at, "order")),
            within_group: false,
            filter: None,
            over: false,
        };
        let mut next = close + 1;
        if next < end && text.are(next, &["within", "group"]) {
            call.within_group = true;
            next = text.partner(next + 2).ok_or("a bracket without a partner")? + 1;
        }
        if next < end && text.is(next, "filter") && text.is_kind(next + 1, TokenKind::OpenParen) {
            let close = text.partner(next + 1).ok_or("a bracket without a partner")?;
            call.filter = Some(next + 3..close);
            next = close + 1;
        }
        if next < end && matches!(text.word(next), "respect" | "ignore") {
            return Err("the treatment of nulls in a window function".into());
        }
        call.over = next < end && text.is(next, "over");
        call.tokens.end = next;
        let star = text.raw(open + 1) == b"*" && close == open + 2;
        let inside = if star { close } else { open + 1 };
        if call.over && !text.is_kind(next + 1, TokenKind::OpenParen) {
            // The name of a window of the WINDOW clause is no column.
            call.tokens.end = next + 2;
            self.marks.push(Mark::Call(call));
            let mut at = inside;
            while at < next {
                at = self.step(at, next)?;
            }
            return Ok(next + 2);
        }
        self.marks.push(Mark::Call(call));
        Ok(inside)
    }

    fn resolve(&self, tokens: Range<usize>) -> Result<Column, NotUnderstood> {
        let text = self.text;
        let name = text.name(tokens.end - 1).ok_or("a name in an unusual form")?;
        let quoted = || format!("the name {}", String::from_utf8_lossy(text.raw(tokens.end - 1)));
        let alias = match tokens.len() {
            1 => None,
            3 => Some(text.name(tokens.start).ok_or("a name in an unusual form")?),
            _ => return Err("a column with its schema".into()),
        };
        let mut found = None;
        for (source, of) in self.scope.sources.iter().enumerate() {
            if alias.as_ref().is_some_and(|alias| of.alias != **alias)
                || alias.is_none() && of.merged.iter().any(|merged| *merged == *name)
            {
                continue;
            }
            if let Some(column) = of.columns.iter().position(|known| *known == *name) {
                if found.is_some() {
                    return Err(quoted());
                }
                found = Some(Column { source, column });
            }
        }
        found.ok_or_else(quoted)
    }
}

/// The tokens of a range that stand outside of its brackets; opening brackets are among them.
pub(crate) fn top_level<'a>(
    text: &'a Text<'_>,
    tokens: Range<usize>,
) -> impl Iterator<Item = usize> + 'a {
    let mut at = tokens.start;
    std::iter::from_fn(move || {
        let here = at;
        if here >= tokens.end {
            return None;
        }
        let opens = matches!(text.kind(here), Some(TokenKind::OpenParen | TokenKind::OpenBracket));
        at = match text.partner(here) {
            Some(close) if opens => close + 1,
            _ => here + 1,
        };
        Some(here)
    })
}

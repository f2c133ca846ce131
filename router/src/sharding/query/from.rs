//! Owns the items of FROM: tables, sub-selects, functions, and trees of joins.

use super::words::{find, keyword, names, split_commas};
use super::{Clause, MAX_LEVELS, Nested, Query, Read, Span, find_nested, misread, opens, query};
use crate::lexer::TokenKind;
use crate::planner::{Text, keywords};

/// Most joins of one item of FROM.
const MAX_JOINS: usize = 300;

/// A name behind a table reference, with or without names for its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alias {
    pub(crate) name: Option<Box<str>>,
    /// `alias(a, b)`; empty when they could not be read (definitions with types).
    pub(crate) columns: Option<Vec<Box<str>>>,
}

/// The name of a relation as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) at: Span,
    pub(crate) schema: Option<Box<str>>,
    pub(crate) name: Box<str>,
    pub(crate) alias: Option<Alias>,
    pub(crate) only: bool,
    pub(crate) sampled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinKind {
    /// Also CROSS.
    Inner,
    Left,
    Right,
    Full,
}

/// What a join compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum On {
    /// CROSS JOIN.
    Nothing,
    Natural,
    Using(Vec<Box<str>>),
    Condition(Span),
}

/// An item of FROM.
#[derive(Debug, Clone)]
pub(crate) enum From {
    Relation(Relation),
    Query {
        query: Box<Query>,
        lateral: bool,
        alias: Option<Alias>,
    },
    /// A call, or several in ROWS FROM.
    Function {
        alias: Option<Alias>,
    },
    Join {
        kind: JoinKind,
        on: On,
        left: Box<From>,
        right: Box<From>,
        /// `(a JOIN b …) AS alias` hides the names inside.
        alias: Option<Alias>,
    },
}

/// Reads what stands after FROM; sub-selects in its expressions are added to `nested`.
pub(crate) fn items(
    text: &Text<'_>,
    at: Span,
    depth: usize,
    nested: &mut Vec<Nested>,
) -> Read<Vec<From>> {
    let mut items = Vec::new();
    for part in split_commas(text, at) {
        let mut reader = Reader { text, end: part.end, here: part.start, nested };
        items.push(reader.joined(false, depth)?);
        if reader.here != part.end {
            return misread("FROM", reader.here);
        }
    }
    Ok(items)
}

struct Reader<'t, 'n> {
    text: &'t Text<'t>,
    end: usize,
    here: usize,
    nested: &'n mut Vec<Nested>,
}

impl Reader<'_, '_> {
    /// A table reference and the joins behind it. Inside of a join, ON and USING belong to the
    /// join around it.
    fn joined(&mut self, inside: bool, depth: usize) -> Read<From> {
        if depth > MAX_LEVELS {
            return misread("joins nested too deeply", self.here);
        }
        let mut left = self.primary(depth)?;
        let mut joins = 0;
        while self.here < self.end {
            if inside && matches!(keyword(self.text, self.here), "on" | "using") {
                break;
            }
            joins += 1;
            let joins_known = if joins > MAX_JOINS { None } else { self.join_words() };
            let Some((kind, natural, crossed)) = joins_known else {
                return misread("FROM", self.here);
            };
            let right = match natural || crossed {
                true => self.primary(depth)?,
                false => self.joined(true, depth + 1)?,
            };
            let on = match (natural, crossed) {
                (true, _) => On::Natural,
                (_, true) => On::Nothing,
                _ => self.condition(inside, depth)?,
            };
            let (left_side, right_side) = (Box::new(left), Box::new(right));
            left = From::Join { kind, on, left: left_side, right: right_side, alias: None };
        }
        Ok(left)
    }

    /// The words of a join: its kind, NATURAL, CROSS.
    fn join_words(&mut self) -> Option<(JoinKind, bool, bool)> {
        let length = join_length(self.text, self.here)?;
        let natural = self.text.is(self.here, "natural");
        let (mut kind, mut crossed) = (JoinKind::Inner, false);
        for at in self.here..self.here + length {
            match self.text.word(at) {
                "left" => kind = JoinKind::Left,
                "right" => kind = JoinKind::Right,
                "full" => kind = JoinKind::Full,
                "cross" => crossed = true,
                _ => {}
            }
        }
        self.here += length;
        (self.here < self.end).then_some((kind, natural, crossed))
    }

    fn condition(&mut self, inside: bool, depth: usize) -> Read<On> {
        let text = self.text;
        let start = self.here + 1;
        match text.word(self.here) {
            "on" => {
                let ends = |word: &str, at: usize| {
                    join_length(text, at).is_some() || inside && matches!(word, "on" | "using")
                };
                let end = find(text, start..self.end, ends).unwrap_or(self.end);
                if end == start {
                    return misread("ON", start);
                }
                find_nested(text, start..end, Clause::From, depth, self.nested)?;
                self.here = end;
                Ok(On::Condition(start..end))
            }
            "using" => {
                let close = self.group(start)?;
                let columns = names(text, start + 1..close)?;
                self.here = close + 1;
                if text.is(self.here, "as") {
                    self.here += 2;
                }
                Ok(On::Using(columns))
            }
            _ => misread("JOIN without ON", self.here),
        }
    }

    /// The closing parenthesis of the one at `open`.
    fn group(&self, open: usize) -> Read<usize> {
        match self.text.partner(open) {
            Some(close) if self.text.is_kind(open, TokenKind::OpenParen) && close < self.end => {
                Ok(close)
            }
            _ => misread("parenthesis", open),
        }
    }

    fn primary(&mut self, depth: usize) -> Read<From> {
        let text = self.text;
        let start = self.here;
        let lateral = text.is(self.here, "lateral");
        self.here += usize::from(lateral);
        if text.is_kind(self.here, TokenKind::OpenParen) {
            let open = self.here;
            let close = self.group(open)?;
            if opens(text, open) {
                let inner = Box::new(query(text, open + 1..close, depth + 1)?);
                self.here = close + 1;
                let alias = self.alias()?;
                return Ok(From::Query { query: inner, lateral, alias });
            }
            let (here, end) = (close + 1, self.end);
            (self.here, self.end) = (open + 1, close);
            let inner = self.joined(false, depth + 1)?;
            if self.here != close {
                return misread("FROM", self.here);
            }
            (self.here, self.end) = (here, end);
            return self.aliased_join(inner);
        }
        if text.are(self.here, &["rows", "from"])
            && text.is_kind(self.here + 2, TokenKind::OpenParen)
        {
            let close = self.group(self.here + 2)?;
            return self.function(start, close + 1, depth);
        }
        self.named(start, depth)
    }

    fn aliased_join(&mut self, inner: From) -> Read<From> {
        let outer = self.alias()?;
        match inner {
            From::Join { kind, on, left, right, alias: None } => {
                Ok(From::Join { kind, on, left, right, alias: outer })
            }
            inner if outer.is_none() => Ok(inner),
            _ => misread("FROM", self.here),
        }
    }

    /// A relation or a function.
    fn named(&mut self, start: usize, depth: usize) -> Read<From> {
        let text = self.text;
        let mut only = text.is(self.here, "only");
        self.here += usize::from(only);
        let in_group = only && text.is_kind(self.here, TokenKind::OpenParen);
        self.here += usize::from(in_group);
        let first = self.here;
        let mut parts = Vec::new();
        loop {
            match text.name(self.here) {
                Some(name) if self.here < self.end => parts.push(name),
                _ => return misread("name in FROM", self.here),
            }
            self.here += 1;
            if !text.is_kind(self.here, TokenKind::Dot) || self.here >= self.end {
                break;
            }
            self.here += 1;
        }
        let last = self.here;
        if self.here < self.end && text.is_kind(self.here, TokenKind::OpenParen) && !only {
            let close = self.group(self.here)?;
            return self.function(start, close + 1, depth);
        }
        let single = parts.len() == 1 && text.is_kind(first, TokenKind::Word);
        if single && keywords::is_reserved(text.word(first)) {
            return self.function(start, last, depth);
        }
        if in_group {
            self.here = self.group(first - 1)? + 1;
        } else if self.here < self.end && text.raw(self.here) == b"*" {
            only = false;
            self.here += 1;
        }
        let (name, schema) = match (parts.pop(), parts.pop(), parts.pop(), parts.len()) {
            (Some(name), schema, None, 0) => (name, schema),
            _ => return misread("name of three parts", first),
        };
        let (name, schema) = ((*name).into(), schema.map(|schema| (*schema).into()));
        let mut relation =
            Relation { at: first..last, schema, name, alias: None, only, sampled: false };
        relation.alias = self.alias()?;
        relation.sampled = self.sample(depth)?;
        Ok(From::Relation(relation))
    }

    fn function(&mut self, start: usize, end: usize, depth: usize) -> Read<From> {
        find_nested(self.text, start..end, Clause::From, depth, self.nested)?;
        self.here = end;
        if self.text.are(self.here, &["with", "ordinality"]) {
            self.here += 2;
        }
        let alias = self.alias()?;
        Ok(From::Function { alias })
    }

    fn alias(&mut self) -> Read<Option<Alias>> {
        let text = self.text;
        if self.here >= self.end {
            return Ok(None);
        }
        let has_as = text.is(self.here, "as");
        let name_at = self.here + usize::from(has_as);
        let word = text.word(name_at);
        let is_name =
            text.is_identifier(name_at) && (word.is_empty() || !keywords::is_reserved_name(word));
        let name = match text.name(name_at) {
            Some(name) if is_name && name_at < self.end => Some((*name).into()),
            _ if has_as && text.is_kind(name_at, TokenKind::OpenParen) => None,
            _ if has_as => return misread("alias", name_at),
            _ => return Ok(None),
        };
        self.here = name_at + usize::from(name.is_some());
        let mut columns = None;
        if self.here < self.end && text.is_kind(self.here, TokenKind::OpenParen) {
            let close = self.group(self.here)?;
            columns = Some(names(text, self.here + 1..close).unwrap_or_default());
            self.here = close + 1;
        }
        Ok(Some(Alias { name, columns }))
    }

    fn sample(&mut self, depth: usize) -> Read<bool> {
        let text = self.text;
        if self.here >= self.end || !text.is(self.here, "tablesample") {
            return Ok(false);
        }
        let start = self.here;
        let open = (start..self.end).find(|&at| text.is_kind(at, TokenKind::OpenParen));
        let Some(open) = open else { return misread("TABLESAMPLE", start) };
        self.here = self.group(open)? + 1;
        if text.is(self.here, "repeatable") && self.here < self.end {
            self.here = self.group(self.here + 1)? + 1;
        }
        find_nested(text, start..self.here, Clause::From, depth, self.nested)?;
        Ok(true)
    }
}

/// How many words at `at` are those of a join; `None` when they are none.
fn join_length(text: &Text<'_>, at: usize) -> Option<usize> {
    let mut here = at;
    if keyword(text, here) == "natural" {
        here += 1;
    }
    match keyword(text, here) {
        "inner" | "cross" => here += 1,
        "left" | "right" | "full" => here += 1 + usize::from(text.is(here + 1, "outer")),
        _ => {}
    }
    (keyword(text, here) == "join").then_some(here + 1 - at)
}

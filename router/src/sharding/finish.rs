//! Owns statements whose answer PostgreSQL itself has to finish: what each shard is asked for, and
//! the statement over those rows that makes the answer.
//!
//! Two forms, both for one SELECT over sources that are exact per shard (each row of the whole is
//! a row of one shard):
//!
//! * *Partial*: each shard groups and aggregates its rows; the final statement combines partial
//!   results by what `aggregates` knows. Rows that are carried: one per group and shard.
//! * *Gathered*: each shard gives the columns that are used; the final statement is the client's
//!   own with `FROM … WHERE …` replaced by these rows. Right for whatever is computed from rows:
//!   DISTINCT, window functions, ordered-set aggregates, ROLLUP, sorting under any collation.
//!
//! Everything is computed by PostgreSQL; nothing here knows how values look.

use super::aggregates::{self, Combine};
use super::emit::{Emitter, Replacement};
use super::expression::{self, Call, Column, Mark, Scope, top_level};
use super::query::{Query, unwrapped};
use super::{ColumnRule, Merge, Refusal};
use crate::facts::schema::SchemaFacts;
use crate::lexer::TokenKind;
use crate::planner::Text;
use std::ops::Range;

/// The clauses of one SELECT, as token ranges.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    /// DISTINCT, also with ON (…).
    pub(super) distinct: Option<Range<usize>>,
    /// The target list.
    pub(super) items: Vec<Item>,
    /// FROM up to the end of WHERE.
    pub(super) source: Range<usize>,
    /// The whole of GROUP BY, and its items.
    pub(super) group_clause: Option<Range<usize>>,
    pub(super) group: Vec<Range<usize>>,
    /// The condition of HAVING.
    pub(super) having: Option<Range<usize>>,
    /// The whole WINDOW clause.
    pub(super) window: Option<Range<usize>>,
    /// The items of ORDER BY.
    pub(super) order: Vec<Order>,
    /// LIMIT, OFFSET and FETCH, as they stand.
    pub(super) limit: Vec<Range<usize>>,
    /// Rows each shard need give at most, when ORDER BY and LIMIT say so.
    pub(super) limit_of_parts: Option<u64>,
}

/// An item of the target list.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The expression.
    pub(super) tokens: Range<usize>,
    /// The name given to it.
    pub(super) alias: Option<Box<str>>,
}

/// An item of ORDER BY.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// The expression.
    pub(super) tokens: Range<usize>,
    /// Direction and place of NULLs, as SQL.
    pub(super) direction: &'static str,
}

/// What each shard is sent, and how the answers become one.
pub(super) struct Finished {
    pub(super) part: Vec<u8>,
    pub(super) parameters: Vec<u16>,
    pub(super) merge: Merge,
}

type Result<T> = std::result::Result<T, Box<Refusal>>;

/// Makes the two statements for a query whose sources are exact per shard. `limit_of_parts` is how
/// many of the first rows of each shard are enough, when its ORDER BY and LIMIT say so.
pub(super) fn finish(
    text: &Text<'_>,
    query: &Query,
    schema: &SchemaFacts,
    limit_of_parts: Option<u64>,
) -> Result<Finished> {
    let ours = text.sql.windows(5).any(|window| window.eq_ignore_ascii_case(b"pgm_c"));
    if ours || text.sql.contains(&1) {
        return Err(refuse("reserved-name", "a name that begins with pgm_c, or a control byte"));
    }
    let known = Known::read(text, query, schema, limit_of_parts)?;
    let collation = |column| known.collation(column);
    let builder = Builder::read(text, &known.scope, &known.shape, &collation)?;
    let finished = match builder.is_partial() {
        true => builder.partial()?,
        false => builder.gathered()?,
    };
    match &finished.merge {
        Merge::Finish { columns, .. } if columns.len() > COLUMNS_MAX => {
            Err(refuse("many-columns", format!("more than {COLUMNS_MAX} columns to combine")))
        }
        _ => Ok(finished),
    }
}

/// Most columns that are combined: their numbers are single bytes in the template.
const COLUMNS_MAX: usize = 120;

fn refuse(construct: &'static str, what: impl AsRef<str>) -> Box<Refusal> {
    let refusal = Refusal::new(construct, "the statement cannot be answered over several shards");
    let what = what.as_ref();
    let hint = "Restrict the statement to one shard by a condition on the shard key, or compute \
                this part in the application.";
    Box::new(refusal.detail(format!("It has {what}.")).hint(hint))
}

fn not_understood(what: String) -> Box<Refusal> {
    refuse("expression", what)
}

/// A part of the statement outside of its source.
struct Piece {
    tokens: Range<usize>,
    marks: Vec<Mark>,
}

struct Builder<'a, 'b> {
    text: &'a Text<'b>,
    shape: &'a Shape,
    scope: &'a Scope,
    collation: &'a dyn Fn(Column) -> Option<String>,
    items: Vec<Piece>,
    /// GROUP BY resolved to expressions over the source.
    group: Vec<Piece>,
    having: Option<Piece>,
    window: Option<Piece>,
    distinct: Option<Piece>,
    order: Vec<Ordering>,
}

/// What an item of ORDER BY means.
enum Ordering {
    /// The number of a column, or the alias of one: it stays as it is.
    Output(Range<usize>),
    /// An expression over the source.
    Expression(Piece),
}

impl<'a, 'b> Builder<'a, 'b> {
    fn read(
        text: &'a Text<'b>,
        scope: &'a Scope,
        shape: &'a Shape,
        collation: &'a dyn Fn(Column) -> Option<String>,
    ) -> Result<Self> {
        let mut builder = Self {
            text,
            shape,
            scope,
            collation,
            items: Vec::new(),
            group: Vec::new(),
            having: None,
            window: None,
            distinct: None,
            order: Vec::new(),
        };
        for item in &shape.items {
            let piece = match builder.is_star(&item.tokens) {
                true => Piece { tokens: item.tokens.clone(), marks: Vec::new() },
                false => builder.piece(item.tokens.clone())?,
            };
            builder.items.push(piece);
        }
        builder.having = shape.having.clone().map(|tokens| builder.piece(tokens)).transpose()?;
        builder.window = shape.window.clone().map(|tokens| builder.window(tokens)).transpose()?;
        builder.distinct = match &shape.distinct {
            Some(tokens) if tokens.len() > 1 => Some(builder.distinct_on(tokens)?),
            _ => None,
        };
        for group in &shape.group {
            let tokens = builder.grouped(group)?;
            let piece = builder.piece(tokens)?;
            builder.group.push(piece);
        }
        for order in &shape.order {
            let order = builder.ordering(order)?;
            builder.order.push(order);
        }
        Ok(builder)
    }

    fn piece(&self, tokens: Range<usize>) -> Result<Piece> {
        let marks = expression::read(self.text, self.scope, tokens.clone());
        Ok(Piece { tokens, marks: marks.map_err(not_understood)? })
    }

    /// A name alone would be a column of the answer first, as in ORDER BY.
    fn distinct_on(&self, tokens: &Range<usize>) -> Result<Piece> {
        let piece = self.piece(tokens.clone())?;
        for mark in &piece.marks {
            if let Mark::Column(column, at) = mark
                && at.len() == 1
                && let name = self.column_name(*column)
                && let mut items = self.shape.items.iter()
                && items.any(|item| item.alias.as_deref() == Some(name))
            {
                return Err(refuse("distinct-on-name", "DISTINCT ON of a name that may mean two"));
            }
        }
        Ok(piece)
    }

    /// The names of windows are no columns.
    fn window(&self, tokens: Range<usize>) -> Result<Piece> {
        let mut marks = Vec::new();
        for at in top_level(self.text, tokens.clone()) {
            if let Some(close) = self.text.partner(at) {
                let inside = at + 1..close;
                let base = self.text.is_identifier(inside.start)
                    && !matches!(self.text.word(inside.start), "partition" | "order" | "rows")
                    && !matches!(self.text.word(inside.start), "range" | "groups");
                if base {
                    return Err(refuse("window-of-window", "a window made of another window"));
                }
                let read = expression::read(self.text, self.scope, inside);
                marks.extend(read.map_err(not_understood)?);
            }
        }
        Ok(Piece { tokens, marks })
    }

    fn is_star(&self, tokens: &Range<usize>) -> bool {
        tokens.end.checked_sub(1).is_some_and(|last| self.text.raw(last) == b"*")
            && (tokens.len() == 1 || tokens.len() == 3 && self.dot(tokens.start + 1))
    }

    fn dot(&self, at: usize) -> bool {
        self.text.is_kind(at, TokenKind::Dot)
    }

    /// What an item of GROUP BY stands for: a number is a column of the answer, a name is a column
    /// of the source, or else the alias of a column of the answer.
    fn grouped(&self, tokens: &Range<usize>) -> Result<Range<usize>> {
        let inner = &unwrapped(self.text, tokens.clone());
        if let Some(number) = self.number(inner) {
            let item = number.checked_sub(1).and_then(|at| self.shape.items.get(at));
            return match item {
                Some(item) if !self.is_star(&item.tokens) && !self.has_star() => {
                    Ok(item.tokens.clone())
                }
                _ => Err(refuse("group-by-number", "a number in GROUP BY that is no column")),
            };
        }
        if let Some(name) = self.bare_name(inner)
            && !self.is_column(&name)
        {
            let is_it = |item: &&Item| item.alias.as_deref() == Some(&*name);
            let mut named = self.shape.items.iter().filter(is_it);
            if let (Some(item), None) = (named.next(), named.next()) {
                return Ok(item.tokens.clone());
            }
        }
        Ok(tokens.clone())
    }

    fn has_star(&self) -> bool {
        self.shape.items.iter().any(|item| self.is_star(&item.tokens))
    }

    fn number(&self, tokens: &Range<usize>) -> Option<usize> {
        let only = tokens.len() == 1 && self.text.is_kind(tokens.start, TokenKind::Integer);
        let digits = only.then(|| self.text.raw(tokens.start))?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    fn bare_name(&self, tokens: &Range<usize>) -> Option<String> {
        let only = tokens.len() == 1;
        only.then(|| self.text.name(tokens.start))?.map(std::borrow::Cow::into_owned)
    }

    fn is_column(&self, name: &str) -> bool {
        let mut sources = self.scope.sources.iter();
        sources.any(|source| source.columns.iter().any(|column| column == name))
    }

    /// The name PostgreSQL gives a column of the answer; `Err` when it may be `name` or not.
    fn output_name(&self, at: usize, name: &str) -> Result<bool> {
        let (item, piece) = (&self.shape.items[at], &self.items[at]);
        if let Some(alias) = &item.alias {
            return Ok(**alias == *name);
        }
        if self.is_star(&item.tokens) {
            return Ok(self.is_column(name));
        }
        match piece.marks.first() {
            Some(Mark::Column(column, tokens)) if *tokens == item.tokens => {
                Ok(self.column_name(*column) == name)
            }
            Some(Mark::Call(call)) if call.tokens == item.tokens => Ok(call.name == name),
            _ => {
                let mut inside = item.tokens.clone();
                match inside.any(|at| self.text.name(at).as_deref() == Some(name)) {
                    true => Err(refuse("order-by-name", "an ORDER BY of a name that may mean two")),
                    false => Ok(matches!(name, "case" | "coalesce") && item.tokens.len() > 1),
                }
            }
        }
    }

    fn column_name(&self, column: Column) -> &str {
        let source = self.scope.sources.get(column.source);
        source.and_then(|source| source.columns.get(column.column)).map_or("", String::as_str)
    }

    /// A name alone is a column of the answer, or else one of the source; a number is the former.
    /// PostgreSQL does not see parentheses around either.
    fn ordering(&self, order: &Order) -> Result<Ordering> {
        let inner = unwrapped(self.text, order.tokens.clone());
        if self.number(&inner).is_some() {
            return match self.has_star() {
                true => Err(refuse("order-by-number", "ORDER BY a number beside a star")),
                false => Ok(Ordering::Output(inner)),
            };
        }
        if let Some(name) = self.bare_name(&inner) {
            let mut named = Vec::new();
            for at in 0..self.items.len() {
                if self.output_name(at, &name)? {
                    named.push(at);
                }
            }
            match named.as_slice() {
                [] => {}
                &[at] if self.shape.items[at].alias.is_some() => {
                    return Ok(Ordering::Output(inner));
                }
                &[at] if self.is_star(&self.shape.items[at].tokens) => {}
                &[at] => {
                    let tokens = self.shape.items[at].tokens.clone();
                    return Ok(Ordering::Expression(self.piece(tokens)?));
                }
                _ => return Err(refuse("order-by-name", "an ORDER BY of a name that means two")),
            }
        }
        Ok(Ordering::Expression(self.piece(order.tokens.clone())?))
    }

    fn all(&self) -> impl Iterator<Item = &Piece> {
        let order = self.order.iter().filter_map(|order| match order {
            Ordering::Expression(piece) => Some(piece),
            Ordering::Output(_) => None,
        });
        let rest = self.having.iter().chain(&self.window).chain(&self.distinct);
        self.items.iter().chain(&self.group).chain(rest).chain(order)
    }

    fn calls(&self) -> impl Iterator<Item = &Call> {
        self.all().flat_map(|piece| &piece.marks).filter_map(|mark| match mark {
            Mark::Call(call) => Some(call),
            Mark::Column(..) | Mark::Collate(_) => None,
        })
    }

    fn aggregates(&self) -> impl Iterator<Item = &Call> {
        self.calls().filter(|call| is_aggregate(call))
    }

    /// Whether partial results of shards can be combined.
    fn is_partial(&self) -> bool {
        let simple = |call: &Call| {
            let whole = !call.distinct && !call.ordered && !call.within_group;
            whole && aggregates::combine(&call.name).is_some()
        };
        let plain_groups = self.shape.group.iter().all(|tokens| {
            let word = self.text.word(tokens.start);
            let is_set = matches!(word, "rollup" | "cube" | "grouping" | "distinct" | "all");
            let is_row = self.text.is_kind(tokens.start, TokenKind::OpenParen)
                && self.text.partner(tokens.start) == Some(tokens.end - 1);
            !is_set && !is_row
        });
        let groups = self.aggregates().next().is_some() || !self.group.is_empty();
        let distinct = self.shape.distinct.is_some()
            && self.distinct.is_none()
            && self.calls().all(|call| !call.over)
            && !self.has_star();
        let collated = self.all().flat_map(|piece| &piece.marks).any(|mark| match mark {
            Mark::Column(column, _) => (self.collation)(*column).is_some(),
            Mark::Collate(_) => true,
            Mark::Call(_) => false,
        });
        let without_on = self.distinct.is_none();
        (groups || distinct)
            && plain_groups
            && without_on
            && !collated
            && self.aggregates().all(simple)
    }

    fn limit(&self, emitter: &mut Emitter<'_, '_>) {
        for clause in &self.shape.limit {
            emitter.copy(clause.clone(), &[]);
        }
    }
}

fn is_aggregate(call: &Call) -> bool {
    !call.over && !call.foreign && aggregates::is_aggregate(&call.name)
}

/// `FROM unnest($1::int8[], …) AS pgm(pgm_c1, …)`, the types to be filled in.
fn rows(columns: usize) -> String {
    let arrays = vec!["\0"; columns].join(", ");
    let names: Vec<String> = (1..=columns).map(|at| format!("pgm_c{at}")).collect();
    format!("\nFROM unnest({arrays}) AS pgm({})\n", names.join(", "))
}

fn column_of(at: usize) -> String {
    format!("pgm.pgm_c{}", at + 1)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// ` AS "alias"`
fn named(item: &Item) -> String {
    item.alias.as_deref().map_or_else(String::new, |alias| format!("AS {} ", quoted(alias)))
}

mod gathered;
mod partial;
mod shape;
#[cfg(test)]
mod tests;

use shape::Known;

//! Owns the skeleton of queries: where the clauses of SELECT, VALUES, TABLE, WITH and set
//! operations stand, at any depth. Expressions are ranges of tokens; nothing here gives a name a
//! meaning. What is not understood is an error, and depth is bounded.

use crate::lexer::TokenKind;
use crate::planner::Text;
use std::ops::Range;

mod from;
mod tail;
mod target;
mod words;

pub(crate) use from::{Alias, From, JoinKind, On, Relation, items as from_items};
pub(crate) use target::{Label, Target, targets};
pub(crate) use words::{find, keyword, split_commas, unwrapped};

/// Deepest nesting of queries and joins that is read.
pub(crate) const MAX_LEVELS: usize = 48;

/// Tokens, from the first to one past the last.
pub(crate) type Span = Range<usize>;

/// What could not be read, and the token where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Misread {
    pub(crate) what: &'static str,
    pub(crate) at: usize,
}

/// A query with its WITH, ORDER BY, LIMIT and locking clauses.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    /// Without parentheses around it.
    pub(crate) at: Span,
    pub(crate) recursive: bool,
    pub(crate) with: Vec<Cte>,
    pub(crate) body: Body,
    /// From ORDER to the last item.
    pub(crate) order_at: Option<Span>,
    pub(crate) order_by: Vec<OrderItem>,
    pub(crate) limit: Option<Limit>,
    /// From OFFSET to the end of the clause, and its expression.
    pub(crate) offset: Option<(Span, Span)>,
    /// From the first FOR to the end of the clause.
    pub(crate) locking: Option<Span>,
    /// Sub-selects in ORDER BY, LIMIT and OFFSET, and in the rows of VALUES.
    pub(crate) nested: Vec<Nested>,
}

/// One query of WITH.
#[derive(Debug, Clone)]
pub(crate) struct Cte {
    pub(crate) name: Box<str>,
    /// Names given to its columns.
    pub(crate) columns: Option<Vec<Box<str>>>,
    pub(crate) query: Query,
}

/// What a query is made of.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Select(Box<Select>),
    Values,
    /// `TABLE name`
    Table(Relation),
    /// Queries and what stands between them, one less; none when it is one in parentheses.
    Branches(Vec<Query>, Vec<SetOperator>),
}

/// UNION, INTERSECT or EXCEPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetOperator {
    pub(crate) kind: SetKind,
    pub(crate) all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetKind {
    Union,
    Intersect,
    Except,
}

/// DISTINCT of a SELECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Distinct {
    No,
    Rows,
    /// `DISTINCT ON (…)`: its expressions.
    On(Vec<Span>),
}

/// A SELECT without what stands after its set operations.
#[derive(Debug, Clone)]
pub(crate) struct Select {
    pub(crate) at: Span,
    pub(crate) distinct: Distinct,
    pub(crate) targets_at: Span,
    pub(crate) targets: Vec<Target>,
    /// SELECT INTO.
    pub(crate) into: bool,
    pub(crate) from: Vec<From>,
    /// The condition of WHERE.
    pub(crate) filter: Option<Span>,
    pub(crate) group_by: Option<GroupBy>,
    /// The condition of HAVING.
    pub(crate) having: Option<Span>,
    /// What stands after WINDOW.
    pub(crate) windows: Option<Span>,
    /// Sub-selects in its expressions, also in those of FROM.
    pub(crate) nested: Vec<Nested>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupBy {
    /// From GROUP to the last item.
    pub(crate) at: Span,
    /// `GROUP BY DISTINCT`
    pub(crate) distinct: bool,
    pub(crate) items: Vec<Span>,
}

/// One item of ORDER BY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderItem {
    /// The expression.
    pub(crate) at: Span,
    pub(crate) descending: bool,
    /// As written or by default.
    pub(crate) nulls_first: bool,
    /// `USING operator`
    pub(crate) using: bool,
}

/// LIMIT or FETCH FIRST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limit {
    /// From LIMIT or FETCH to the end of the clause.
    pub(crate) at: Span,
    /// The expression; `None` for `FETCH FIRST ROW ONLY`.
    pub(crate) count: Option<Span>,
    pub(crate) with_ties: bool,
}

/// Where a sub-select stands in its query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clause {
    Targets,
    From,
    Where,
    Other,
}

/// A sub-select in an expression.
#[derive(Debug, Clone)]
pub(crate) struct Nested {
    /// With its parentheses.
    pub(crate) at: Span,
    pub(crate) clause: Clause,
    pub(crate) query: Query,
}

pub(crate) type Read<T> = Result<T, Misread>;

pub(crate) fn misread<T>(what: &'static str, at: usize) -> Read<T> {
    Err(Misread { what, at })
}

/// Reads the query between two tokens.
pub(crate) fn read(text: &Text<'_>, at: Span) -> Read<Query> {
    query(text, at, 0)
}

/// Whether a query may begin at this token, parentheses aside.
pub(crate) fn begins(text: &Text<'_>, at: usize) -> bool {
    match words::keyword(text, at) {
        "select" | "with" | "table" => true,
        "values" => text.is_kind(at + 1, TokenKind::OpenParen),
        _ => false,
    }
}

/// Whether the parenthesis at `open` holds a query and nothing else.
pub(crate) fn opens(text: &Text<'_>, open: usize) -> bool {
    let mut open = open;
    loop {
        if begins(text, open + 1) {
            return text.partner(open).is_some();
        }
        if !text.is_kind(open + 1, TokenKind::OpenParen) {
            return false;
        }
        let (Some(outer), Some(inner)) = (text.partner(open), text.partner(open + 1)) else {
            return false;
        };
        let goes_on = words::is_set_operator(words::keyword(text, inner + 1))
            || words::is_tail(words::keyword(text, inner + 1));
        if inner + 1 != outer && !goes_on {
            return false;
        }
        open += 1;
    }
}

pub(super) fn query(text: &Text<'_>, at: Span, depth: usize) -> Read<Query> {
    if depth > MAX_LEVELS {
        return misread("queries nested too deeply", at.start);
    }
    let at = words::unwrapped(text, at);
    let mut start = at.start;
    let (mut with, mut recursive) = (Vec::new(), false);
    if text.is(start, "with") {
        recursive = text.is(start + 1, "recursive");
        (with, start) = read_with(text, at.clone(), depth)?;
    }
    let tail = words::find(text, start..at.end, |word, _| words::is_tail(word)).unwrap_or(at.end);
    let mut query = Query {
        at: at.clone(),
        recursive,
        with,
        body: Body::Values,
        order_at: None,
        order_by: Vec::new(),
        limit: None,
        offset: None,
        locking: None,
        nested: Vec::new(),
    };
    query.body = body(text, start..tail, depth, &mut query.nested)?;
    tail::read(text, tail..at.end, depth, &mut query)?;
    Ok(query)
}

fn read_with(text: &Text<'_>, at: Span, depth: usize) -> Read<(Vec<Cte>, usize)> {
    let mut ctes = Vec::new();
    let mut here = at.start + 1 + usize::from(text.is(at.start + 1, "recursive"));
    loop {
        let Some(name) = text.name(here) else { return misread("WITH", here) };
        let name: Box<str> = (*name).into();
        here += 1;
        let mut columns = None;
        if text.is_kind(here, TokenKind::OpenParen) {
            let Some(close) = text.partner(here) else { return misread("WITH", here) };
            columns = Some(words::names(text, here + 1..close)?);
            here = close + 1;
        }
        if !text.is(here, "as") {
            return misread("WITH", here);
        }
        here += 1;
        here += usize::from(text.is(here, "not"));
        here += usize::from(text.is(here, "materialized"));
        let close = match text.partner(here) {
            Some(close) if text.is_kind(here, TokenKind::OpenParen) && close < at.end => close,
            _ => return misread("WITH", here),
        };
        if !opens(text, here) {
            return misread("WITH of something that is no query", here);
        }
        ctes.push(Cte { name, columns, query: query(text, here + 1..close, depth + 1)? });
        here = close + 1;
        if text.is_kind(here, TokenKind::Comma) {
            here += 1;
        } else if here < at.end && (begins(text, here) || text.is_kind(here, TokenKind::OpenParen))
        {
            return Ok((ctes, here));
        } else {
            return misread("WITH", here);
        }
    }
}

fn body(text: &Text<'_>, at: Span, depth: usize, nested: &mut Vec<Nested>) -> Read<Body> {
    let is_operator = |word: &str, _| words::is_set_operator(word);
    let Some(first) = words::find(text, at.clone(), is_operator) else {
        return single(text, at, depth, nested);
    };
    let (mut branches, mut operators) = (Vec::new(), Vec::new());
    let (mut start, mut end) = (at.start, first);
    loop {
        branches.push(branch(text, start..end, depth)?);
        if end >= at.end {
            return Ok(Body::Branches(branches, operators));
        }
        let kind = match text.word(end) {
            "union" => SetKind::Union,
            "intersect" => SetKind::Intersect,
            _ => SetKind::Except,
        };
        let all = text.is(end + 1, "all");
        operators.push(SetOperator { kind, all });
        start = end + 1 + usize::from(all || text.is(end + 1, "distinct"));
        end = words::find(text, start..at.end, is_operator).unwrap_or(at.end);
    }
}

/// A query between set operators: with clauses of its own only in parentheses.
fn branch(text: &Text<'_>, at: Span, depth: usize) -> Read<Query> {
    let in_parentheses = text.is_kind(at.start, TokenKind::OpenParen);
    if in_parentheses && text.partner(at.start) != at.end.checked_sub(1)
        || !in_parentheses && text.is(at.start, "with")
    {
        return misread("set operation", at.start);
    }
    query(text, at, depth + 1)
}

fn single(text: &Text<'_>, at: Span, depth: usize, nested: &mut Vec<Nested>) -> Read<Body> {
    match words::keyword(text, at.start) {
        "select" => Ok(Body::Select(Box::new(select(text, at, depth)?))),
        "values" => {
            find_nested(text, at.clone(), Clause::Other, depth, nested)?;
            let rows = words::split_commas(text, at.start + 1..at.end);
            let is_row = |row: &Span| {
                text.is_kind(row.start, TokenKind::OpenParen)
                    && text.partner(row.start) == row.end.checked_sub(1)
            };
            match rows.iter().all(is_row) {
                true => Ok(Body::Values),
                false => misread("VALUES", at.start),
            }
        }
        "table" => match from::items(text, at.start + 1..at.end, depth, &mut Vec::new())?.pop() {
            Some(From::Relation(relation)) if relation.alias.is_none() => Ok(Body::Table(relation)),
            _ => misread("TABLE", at.start),
        },
        _ if text.is_kind(at.start, TokenKind::OpenParen)
            && text.partner(at.start) == at.end.checked_sub(1)
            && opens(text, at.start) =>
        {
            Ok(Body::Branches(vec![query(text, at, depth + 1)?], Vec::new()))
        }
        _ => misread("query", at.start),
    }
}

/// The clauses of a SELECT, in their order.
const CLAUSES: [&str; 6] = ["into", "from", "where", "group", "having", "window"];

fn select(text: &Text<'_>, at: Span, depth: usize) -> Read<Select> {
    let mut start = at.start + 1;
    let mut distinct = Distinct::No;
    if text.is(start, "all") {
        start += 1;
    } else if text.is(start, "distinct") {
        start += 1;
        distinct = Distinct::Rows;
        if text.is(start, "on") {
            let close = match text.partner(start + 1) {
                Some(close) if text.is_kind(start + 1, TokenKind::OpenParen) => close,
                _ => return misread("DISTINCT ON", start),
            };
            distinct = Distinct::On(words::split_commas(text, start + 2..close));
            start = close + 1;
        }
    }
    let is_clause = |word: &str, at: usize| words::is_clause(text, word, at);
    let mut end = words::find(text, start..at.end, is_clause).unwrap_or(at.end);
    let targets_at = start..end;
    let mut clauses: [Option<Span>; 6] = [const { None }; 6];
    let mut next = 0;
    while end < at.end {
        let clause = end;
        let index = CLAUSES.iter().position(|word| text.is(clause, word));
        let Some(index) = index.filter(|index| *index >= next) else {
            return misread("order of clauses", clause);
        };
        end = words::find(text, clause + 1..at.end, is_clause).unwrap_or(at.end);
        if clause + 1 >= end {
            return misread("empty clause", clause);
        }
        clauses[index] = Some(clause + 1..end);
        next = index + 1;
    }
    let [into, from_at, filter, group_at, having, windows] = clauses;
    let mut nested = Vec::new();
    find_nested(text, at.start..targets_at.end, Clause::Targets, depth, &mut nested)?;
    let from = match from_at {
        Some(from_at) => from::items(text, from_at, depth, &mut nested)?,
        None => Vec::new(),
    };
    for (span, clause) in [
        (&filter, Clause::Where),
        (&group_at, Clause::Other),
        (&having, Clause::Other),
        (&windows, Clause::Other),
    ] {
        if let Some(span) = span {
            find_nested(text, span.clone(), clause, depth, &mut nested)?;
        }
    }
    let group_by = match group_at {
        Some(span) => Some(group_by(text, span)?),
        None => None,
    };
    Ok(Select {
        targets: targets(text, targets_at.clone()),
        at,
        distinct,
        targets_at,
        into: into.is_some(),
        from,
        filter,
        group_by,
        having,
        windows,
        nested,
    })
}

fn group_by(text: &Text<'_>, at: Span) -> Read<GroupBy> {
    if !text.is(at.start, "by") {
        return misread("GROUP BY", at.start);
    }
    let distinct = text.is(at.start + 1, "distinct");
    let quantified = distinct || text.is(at.start + 1, "all");
    let items = words::split_commas(text, at.start + 1 + usize::from(quantified)..at.end);
    Ok(GroupBy { at: at.start - 1..at.end, distinct, items })
}

/// Reads every sub-select in a range of tokens.
pub(crate) fn find_nested(
    text: &Text<'_>,
    at: Span,
    clause: Clause,
    depth: usize,
    nested: &mut Vec<Nested>,
) -> Read<()> {
    let mut here = at.start;
    while here < at.end {
        if text.is_kind(here, TokenKind::OpenParen)
            && opens(text, here)
            && let Some(close) = text.partner(here)
        {
            let inner = query(text, here + 1..close, depth + 1)?;
            nested.push(Nested { at: here..close + 1, clause, query: inner });
            here = close;
        }
        here += 1;
    }
    Ok(())
}

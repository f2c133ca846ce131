//! Owns writes of reference tables: every shard runs them, so every shard must compute the same.

use super::named::{Refused, Touched, touched};
use super::operand::split;
use super::target::read as read_name;
use super::{Catalog, Placing, Refusal, Values};
use crate::facts::schema::{Column, Origin, Relation};
use crate::key::literal_text;
use crate::lexer::{Lexer, Token, TokenKind};
use crate::planner::{Text, identifier, is_call};
use std::ops::Range;

/// Functions whose answer depends on nothing but their arguments.
const SURE: &[&str] = &[
    "abs",
    "btrim",
    "ceil",
    "ceiling",
    "char_length",
    "concat",
    "decode",
    "encode",
    "floor",
    "initcap",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "mod",
    "power",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "round",
    "rpad",
    "rtrim",
    "sha256",
    "sign",
    "sqrt",
    "strpos",
    "substr",
    "translate",
    "trunc",
    "upper",
];

/// Words that are a value of the moment or of the session.
const OF_THE_MOMENT: &[&str] = &[
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
    "system_user",
];

/// Strings that dates and times read as the current moment.
const MOMENTS: &[&[u8]] = &[b"now", b"today", b"tomorrow", b"yesterday"];

/// Everywhere, when these expressions are the same on every shard.
pub(super) fn place(
    text: &Text<'_>,
    at: Range<usize>,
    relation: &Relation,
    catalog: Catalog<'_>,
) -> Refused<Placing> {
    no_other_tables(&relation.name, touched(text, at.clone(), catalog))?;
    if !relation.triggers.iter().all(|trigger| *trigger.schema == *"pgm") || relation.has_rules {
        return Err(differs(relation, "It has a trigger or a rule."));
    }
    for at in at {
        let word = text.word(at);
        let before_dot = text.is_kind(at + 1, TokenKind::Dot);
        if matches!(word, "select" | "limit" | "using" | "with" | "current" | "tablesample")
            && !before_dot
        {
            return Err(differs(relation, "It reads another query, or takes any of several rows."));
        }
        if OF_THE_MOMENT.contains(&word) && !before_dot {
            return Err(differs(relation, &format!("It has {word}.")));
        }
        let calls = text.is_kind(at + 1, TokenKind::OpenParen) && is_call(text, at);
        match text.name(at).filter(|_| text.is_identifier(at) && calls) {
            Some(name) if *name == *relation.name || is_syntax(&name) => {}
            Some(name) if SURE.contains(&&*name) => {}
            Some(name) => return Err(differs(relation, &format!("It calls {name}()."))),
            None => {}
        }
        if text.is_kind(at, TokenKind::UnicodeIdentifier) {
            return Err(differs(relation, "It has a U& identifier."));
        }
    }
    Ok(Placing::Everywhere { outside_transaction: false })
}

/// Words before a parenthesis that are not the names of functions.
fn is_syntax(word: &str) -> bool {
    matches!(word, "conflict" | "set" | "in" | "any" | "some" | "all" | "filter" | "columns")
}

fn no_other_tables(name: &str, touched: Touched) -> Refused<()> {
    if let Some((table, word)) = touched.sharded {
        return Err(Box::new(
            Refusal::new("reference-from-sharded", format!("{name} cannot be written from {word}"))
                .detail(format!("It is a reference table, and \"{table}\" is spread over shards.")),
        ));
    }
    match touched.unseen {
        Some(word) => Err(Box::new(
            Refusal::new("unseen", format!("{name} cannot be written with {word}"))
                .detail("It runs SQL that is not seen."),
        )),
        None => Ok(()),
    }
}

/// The refusal of what would make the copies of a reference table differ.
pub(super) fn differs(relation: &Relation, why: &str) -> Box<Refusal> {
    Box::new(
        Refusal::new(
            "reference-differs",
            format!("the copies of reference table {} could differ", relation.name),
        )
        .detail(format!("{why} Every shard would compute its own."))
        .hint("Compute the values first and write them as constants or parameters."),
    )
}

/// Refuses a column that gets its value from a default that is no constant.
pub(super) fn check_default(relation: &Relation, column: &Column) -> Refused<()> {
    let own = match column.origin {
        Origin::Generated => return Ok(()),
        Origin::IdentityAlways | Origin::IdentityByDefault => true,
        Origin::Plain => column.default.as_deref().is_some_and(|default| !is_constant(default)),
    };
    match own {
        true => {
            Err(differs(relation, &format!("Column {} has a default of its own.", column.name)))
        }
        false => Ok(()),
    }
}

fn is_constant(default: &str) -> bool {
    let sql = default.as_bytes();
    let Ok(mut lexer) = Lexer::new(sql, crate::lexer::Dialect::default()) else { return false };
    let mut before: Option<Token> = None;
    loop {
        let Ok(token) = lexer.next_token() else { return false };
        let Some(token) = token else { return true };
        let moment = token.kind.is_literal() && names_moment(token.text(sql));
        let name = identifier(sql, &token).unwrap_or_default();
        if moment || OF_THE_MOMENT.contains(&&*name.to_ascii_lowercase()) {
            return false;
        }
        let types = ["numeric", "varying", "character", "bpchar", "bit", "timestamp", "time"];
        let called = before.is_some_and(|before| {
            let name = identifier(sql, &before);
            name.is_some_and(|name| !types.contains(&&*name))
        });
        if token.kind == TokenKind::OpenParen && called {
            return false;
        }
        before = Some(token);
    }
}

/// Whether a text could be read as a moment by a date or a time.
fn names_moment(text: &[u8]) -> bool {
    text.split(|byte| !byte.is_ascii_alphanumeric())
        .any(|word| MOMENTS.iter().any(|moment| word.eq_ignore_ascii_case(moment)))
}

/// Refuses values that every shard would read as its own moment.
pub(super) fn check_values(
    text: &Text<'_>,
    at: Range<usize>,
    catalog: Catalog<'_>,
    values: &Values<'_>,
) -> Refused<()> {
    let name_at = at.start + 1 + usize::from(matches!(text.word(at.start + 1), "into" | "from"));
    let name_at = name_at + usize::from(text.is(name_at, "only"));
    let named = read_name(text, name_at)?.find(catalog)?;
    let casts = at.clone().any(|at| {
        text.raw(at) == b"::"
            || text.is(at, "cast")
            || text.is(at, "date")
            || text.word(at).starts_with("time")
    });
    let Some(relation) = named.relation.filter(|relation| casts || has_times(relation)) else {
        return Ok(());
    };
    let in_literal = values.literals.iter().any(|token| {
        let numeric = matches!(token.kind, TokenKind::Integer | TokenKind::Number);
        let decoded = literal_text(token, values.sql, values.dialect);
        !numeric && decoded.is_none_or(|text| names_moment(text.as_bytes()))
    });
    let in_bound = values
        .bound
        .is_some_and(|bound| bound.values.iter().flatten().any(|value| names_moment(value)));
    match in_literal || in_bound {
        true => Err(differs(relation, "A value names the current moment.")),
        false => Ok(()),
    }
}

/// Whether any column of the table reads texts as moments.
fn has_times(relation: &Relation) -> bool {
    relation.columns.iter().any(reads_moments)
}

/// Whether a column may read a text as a moment.
pub(super) fn reads_moments(column: &Column) -> bool {
    let name = &*column.type_name;
    name.starts_with("time")
        || name == "date"
        || name.ends_with(']')
        || !matches!(column.type_kind, b'b' | b'e')
}

/// The columns of a row's DEFAULT items.
pub(super) fn defaults(text: &Text<'_>, row: Range<usize>) -> Vec<usize> {
    let items = split(text, row);
    let is_default = |item: &Range<usize>| item.len() == 1 && text.is(item.start, "default");
    items.iter().enumerate().filter(|(_, item)| is_default(item)).map(|(at, _)| at).collect()
}

//! Owns writes of reference tables: every shard runs them, so every shard must compute the same.

use super::named::{Refused, Touched, touched};
use super::operand::split;
use super::{Catalog, Placing, Refusal};
use crate::facts::schema::{Column, Origin, Relation};
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
pub(super) fn names_moment(text: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    MOMENTS.iter().any(|word| memchr::memmem::find(&lower, word).is_some())
}

/// Whether any column of the table reads texts as moments.
pub(super) fn has_times(relation: &Relation) -> bool {
    relation.columns.iter().any(|column| {
        column.type_name.starts_with("time")
            || matches!(&*column.type_name, "date" | "abstime")
            || !matches!(column.type_kind, b'b' | b'e')
            || column.type_name.ends_with(']')
    })
}

/// The columns of a row's DEFAULT items.
pub(super) fn defaults(text: &Text<'_>, row: Range<usize>) -> Vec<usize> {
    let items = split(text, row);
    let is_default = |item: &Range<usize>| item.len() == 1 && text.is(item.start, "default");
    items.iter().enumerate().filter(|(_, item)| is_default(item)).map(|(at, _)| at).collect()
}

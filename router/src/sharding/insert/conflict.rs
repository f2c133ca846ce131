//! Owns ON CONFLICT: whether the shard of a row can tell what it conflicts with.

use super::super::modify::defaults_in;
use super::super::named::{Refused, expressions};
use super::super::operand::{find_word, split};
use super::super::target::misread;
use super::super::{Catalog, Refusal, integrity};
use crate::facts::schema::Relation;
use crate::lexer::TokenKind;
use crate::planner::Text;
use crate::shard_map::Table;
use std::ops::Range;

/// ON CONFLICT.
pub(super) struct Conflict {
    /// Between the parentheses of its target.
    pub(super) target: Option<Range<usize>>,
    pub(super) constraint: Option<Box<str>>,
    /// What stands after SET.
    pub(super) set: Option<Range<usize>>,
    /// From WHERE of DO UPDATE on.
    pub(super) filter: Option<Range<usize>>,
}

impl Conflict {
    /// Whether it may leave rows out of RETURNING.
    pub(super) fn skips(&self) -> bool {
        self.set.is_none() || self.filter.is_some()
    }
}

/// Reads what stands from ON CONFLICT on.
pub(super) fn read(text: &Text<'_>, at: Range<usize>) -> Refused<Conflict> {
    if !text.are(at.start, &["on", "conflict"]) {
        return Err(misread("ORDER BY, LIMIT or a set operation after VALUES"));
    }
    let mut conflict = Conflict { target: None, constraint: None, set: None, filter: None };
    let mut here = at.start + 2;
    if text.is_kind(here, TokenKind::OpenParen) {
        let close = text.partner(here).ok_or_else(|| misread("ON CONFLICT"))?;
        conflict.target = Some(here + 1..close);
        here = find_word(text, close + 1..at.end, &["do"]).ok_or_else(|| misread("ON CONFLICT"))?;
    } else if text.are(here, &["on", "constraint"]) {
        conflict.constraint = text.name(here + 2).map(|name| (*name).into());
        here += 3;
    }
    if text.are(here, &["do", "nothing"]) && here + 2 == at.end {
        return Ok(conflict);
    }
    if !text.are(here, &["do", "update", "set"]) {
        return Err(misread("ON CONFLICT"));
    }
    let filter = find_word(text, here + 3..at.end, &["where"]);
    conflict.set = Some(here + 3..filter.unwrap_or(at.end));
    conflict.filter = filter.map(|from| from + 1..at.end);
    Ok(conflict)
}

/// A conflict must be found by the shard that has the row.
pub(super) fn check(
    text: &Text<'_>,
    table: &Table,
    relation: &Relation,
    conflict: &Conflict,
    catalog: Catalog<'_>,
) -> Refused<()> {
    let key = &table.key_columns;
    let unique = &relation.unique;
    let found = match (&conflict.target, &conflict.constraint) {
        (Some(target), _) => {
            let columns: Vec<Box<str>> = split(text, target.clone())
                .into_iter()
                .filter_map(|item| text.name(item.start).map(|name| (*name).into()))
                .collect();
            key.iter().all(|column| columns.contains(column))
        }
        (None, Some(name)) => {
            unique.iter().any(|unique| unique.name == *name && unique.covers(key))
        }
        (None, None) => unique.iter().all(|unique| unique.covers(key)),
    };
    if !found {
        return Err(Box::new(
            Refusal::new("on-conflict", "ON CONFLICT would look on one shard only")
                .detail(format!(
                    "What it compares does not contain the shard key ({}).",
                    key.join(", ")
                ))
                .hint("Name the columns of a unique index that contains the shard key."),
        ));
    }
    if let Some(set) = &conflict.set {
        for item in split(text, set.clone()) {
            check_assignment(text, item, key)?;
        }
        for column in defaults_in(text, set.clone(), relation)? {
            integrity::check_sequence(catalog, relation, column)?;
        }
        expressions(text, set.clone(), catalog)?;
    }
    match &conflict.filter {
        Some(filter) => expressions(text, filter.clone(), catalog),
        None => Ok(()),
    }
}

/// The row that is changed has the key of the row that was to be added.
fn check_assignment(text: &Text<'_>, item: Range<usize>, key: &[Box<str>]) -> Refused<()> {
    let is_key = |at: usize| text.name(at).is_some_and(|name| key.iter().any(|k| **k == *name));
    let equals = item.clone().find(|&at| text.raw(at) == b"=").unwrap_or(item.end);
    if !(item.start..equals).any(is_key) {
        return Ok(());
    }
    let same = text.is(item.start + 2, "excluded")
        && text.is_kind(item.start + 3, TokenKind::Dot)
        && text.name(item.start + 4) == text.name(item.start)
        && item.len() == 5;
    match same {
        true => Ok(()),
        false => Err(Box::new(
            Refusal::new("update-of-key", "the shard key of a row cannot be changed")
                .detail("ON CONFLICT DO UPDATE sets a column of the shard key.")
                .hint("Delete the row and insert it anew, in one transaction."),
        )),
    }
}

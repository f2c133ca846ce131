//! Owns the reading of the name of the table that a statement writes.

use super::named::{Named, Refused, find};
use super::{Catalog, Refusal};
use crate::lexer::TokenKind;
use crate::planner::Text;

/// A table's name as it stands in a statement.
#[derive(Debug)]
pub(super) struct TableName {
    pub(super) schema: Option<Box<str>>,
    pub(super) name: Box<str>,
    /// One past its last token.
    pub(super) end: usize,
}

/// Reads `name` or `schema.name` at a token.
pub(super) fn read(text: &Text<'_>, at: usize) -> Refused<TableName> {
    let part = |at: usize| match text.name(at) {
        Some(name) if text.is_identifier(at) && !text.is_foreign_name(at) => Ok(Box::from(&*name)),
        _ => Err(misread("the name of a table")),
    };
    let first = part(at)?;
    if !text.is_kind(at + 1, TokenKind::Dot) {
        return Ok(TableName { schema: None, name: first, end: at + 1 });
    }
    let name = part(at + 2)?;
    match text.is_kind(at + 3, TokenKind::Dot) {
        true => Err(misread("a name of three parts")),
        false => Ok(TableName { schema: Some(first), name, end: at + 3 }),
    }
}

impl TableName {
    /// Looks it up.
    pub(super) fn find<'a>(&self, catalog: Catalog<'a>) -> Refused<Named<'a>> {
        find(catalog, self.schema.as_deref(), &self.name)
    }
}

/// The refusal of a form that is not known.
pub(super) fn misread(what: &str) -> Box<Refusal> {
    Box::new(
        Refusal::new("not-understood", "the statement is not understood")
            .detail(format!("It has {what} in a form that cannot be placed on shards."))
            .hint("Write it in a simpler form, or run it on one shard with SET pgm.shard."),
    )
}

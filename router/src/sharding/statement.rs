//! Owns which part of the planner places a statement that is no query, by its first word.

use super::named::Refused;
use super::{Catalog, Placing, copy_in, ctes, ddl, insert, modify, unsharded, utility};
use crate::planner::Text;
use std::ops::Range;

/// Where a statement goes that is no query, no EXPLAIN, no cursor and no COPY TO.
pub(super) fn place(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    match text.word(at.start) {
        "with" => ctes::place(text, at, catalog),
        "insert" => insert::place(text, at, catalog),
        "update" | "delete" | "merge" => modify::place(text, at, catalog),
        "copy" => copy_in::place(text, at, catalog),
        "create" => ddl::create(text, at, catalog),
        "alter" => ddl::alter(text, at, catalog),
        "drop" | "grant" | "revoke" | "comment" | "security" | "reassign" | "import" => {
            ddl::other(text, at, catalog)
        }
        "truncate" => utility::truncate(text, at, catalog),
        "lock" => utility::lock(text, at, catalog),
        "vacuum" | "cluster" | "reindex" => Ok(utility::everywhere(true)),
        "analyze" | "analyse" | "checkpoint" => Ok(utility::everywhere(false)),
        "refresh" => {
            unsharded::place(text, at, catalog, "materialized-view")?;
            Ok(utility::everywhere(false))
        }
        "set" | "reset" | "discard" => Ok(Placing::Session),
        "begin" | "start" | "commit" | "end" | "abort" | "rollback" | "savepoint" | "release" => {
            Ok(Placing::Transaction)
        }
        "prepare" if text.is(at.start + 1, "transaction") => Ok(Placing::Transaction),
        "prepare" => utility::prepare(text, at, catalog),
        "do" => utility::anonymous(text, at, catalog),
        "call" => utility::call(text, at, catalog),
        "declare" => unsharded::place(text, at, catalog, "cursor"),
        "fetch" | "move" | "close" => Ok(Placing::Cursor),
        "listen" | "unlisten" | "notify" | "show" | "deallocate" | "load" => {
            Ok(Placing::On(catalog.map.home))
        }
        _ => unsharded::place(text, at, catalog, "unknown-statement"),
    }
}

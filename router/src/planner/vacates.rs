//! Owns the DDL for which PostgreSQL wants nobody else connected to a database: which it is.

use super::text::Text;

/// The database that a statement drops, renames, moves or copies.
pub(super) fn vacated(text: &Text<'_>, from: usize, to: usize) -> Option<Box<str>> {
    if !text.is(from + 1, "database") {
        return None;
    }
    let at = match text.word(from) {
        "drop" if text.are(from + 2, &["if", "exists"]) => from + 4,
        "drop" => from + 2,
        "alter" => {
            let moves =
                text.are(from + 3, &["rename", "to"]) || text.are(from + 3, &["set", "tablespace"]);
            moves.then_some(from + 2)?
        }
        "create" => {
            let template = (from + 3..to).find(|&at| text.is(at, "template"))?;
            if text.raw(template + 1) == b"=" { template + 2 } else { template + 1 }
        }
        _ => return None,
    };
    text.name(at).filter(|_| at < to).map(Into::into)
}

#[cfg(test)]
mod tests {
    use crate::facts::Facts;
    use crate::lexer::Dialect;

    #[test]
    fn the_database_is_found() {
        let facts = Facts::builtin();
        let vacated = |sql: &str| {
            crate::planner::plan(sql.as_bytes(), &facts, Dialect::default()).session.vacates
        };
        for sql in [
            "drop database \"d 1\"",
            "DROP DATABASE IF EXISTS \"d 1\" WITH (FORCE);",
            "alter database \"d 1\" rename to e",
            "alter database \"d 1\" set tablespace t",
            "create database e owner o template \"d 1\"",
            "create database e with template = \"d 1\" encoding 'UTF8'",
        ] {
            assert_eq!(vacated(sql).as_deref(), Some("d 1"), "{sql}");
        }
        for sql in ["create database d", "alter database d owner to o", "drop table d", "drop"] {
            assert_eq!(vacated(sql), None, "{sql}");
        }
    }
}

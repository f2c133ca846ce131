//! Owns PostgreSQL's types by their OIDs, for `pg_type` and `format_type`.

use std::sync::LazyLock;

/// `oid typname name-in-SQL typlen typbyval typtype typcategory typispreferred typelem typarray
/// typcollation typalign typstorage typinput`, one a line; spaces of the SQL name are underscores.
static LINES: &str = include_str!("types.txt");

/// A line of `pg_type`.
#[derive(Debug)]
pub(crate) struct TypeRow {
    /// `oid`
    pub(crate) oid: i64,
    /// `typname`
    pub(crate) name: &'static str,
    /// As `format_type` names it.
    pub(crate) sql: String,
    /// The columns from `typlen` on, as above.
    pub(crate) rest: Vec<&'static str>,
}

/// The types known.
pub(crate) static TYPES: LazyLock<Vec<TypeRow>> = LazyLock::new(|| {
    let row = |line: &'static str| {
        let mut parts = line.split(' ');
        let (oid, name) = (parts.next()?.parse().ok()?, parts.next()?);
        let sql = match parts.next()? {
            sql if name.starts_with('_') || !sql.starts_with('_') => sql.replace('_', " "),
            sql => sql.to_owned(),
        };
        let sql = if sql == "pg node tree" { "pg_node_tree".into() } else { sql };
        let sql = if sql == "pg lsn" { "pg_lsn".into() } else { sql };
        Some(TypeRow { oid, name, sql, rest: parts.collect() })
    };
    LINES.lines().filter_map(row).collect()
});

/// The OID of a type by either of its names; 0 stands for none.
pub(crate) fn oid_of(name: &str) -> Option<i64> {
    let base = name.strip_suffix("[]");
    let is = |row: &&TypeRow| match base {
        Some(base) => row.name.strip_prefix('_') == Some(base) || row.sql == name,
        None => row.name == name || row.sql == name,
    };
    TYPES.iter().find(is).map(|row| row.oid)
}

/// As PostgreSQL's function of this name; typmods are those of varchar, bpchar and numeric.
pub(crate) fn format_type(oid: i64, typmod: Option<i64>) -> String {
    let Some(row) = TYPES.iter().find(|row| row.oid == oid) else {
        return if oid == 0 { "-".into() } else { "???".into() };
    };
    match (row.name, typmod) {
        ("varchar" | "bpchar", Some(typmod)) if typmod >= 4 => {
            format!("{}({})", row.sql, typmod - 4)
        }
        _ => row.sql.clone(),
    }
}

//! Owns what the console says of itself in PostgreSQL's catalogs: relations made from the console's
//! tables and the names of PostgreSQL 15's own, most of them empty. Rows are made when a statement
//! names a catalog.

mod rows;
mod settings;
mod types;

use crate::engine::error::{EngineError, Outcome};
use crate::engine::types::{Reg, Type};
use crate::schema::Table;

pub(crate) use rows::Filling;
pub(crate) use settings::value as setting;
pub(crate) use types::format_type;

/// The version whose catalogs these are; what ParameterStatus `server_version` should say so that
/// clients ask for what is here.
pub const SERVER_VERSION: &str = "15.0";

/// The OID of the first table of the console.
const TABLE_OID_FIRST: i64 = 16_384;
/// Of `pg_catalog`
pub(crate) const PG_CATALOG_OID: i64 = 11;
/// Of `public`
pub(crate) const PUBLIC_OID: i64 = 2200;
/// Of `information_schema`
pub(crate) const INFORMATION_SCHEMA_OID: i64 = 13_000;
/// Of the role that owns everything.
pub(crate) const OWNER_OID: i64 = 10;
/// Of `array_in`, in PostgreSQL.
const ARRAY_IN_OID: i64 = 750;
/// Its name.
pub(crate) const OWNER: &str = "pgmanifold";

/// PostgreSQL's relations: `schema.name kind oid column:type|…`, one a line.
static RELATIONS: &str = include_str!("catalog/relations.txt");

/// A column of a relation.
#[derive(Debug)]
pub(crate) struct RelationColumn {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its type's name in `pg_type`.
    pub(crate) type_name: &'static str,
    /// Its type in the engine.
    pub(crate) ty: Type,
    /// What it says, for the console's own.
    pub(crate) help: &'static str,
}

/// A table of the console, or a catalog.
#[derive(Debug)]
pub(crate) struct Relation {
    /// In `pg_class`.
    pub(crate) oid: i64,
    /// Its schema.
    pub(crate) schema: &'static str,
    /// Its name.
    pub(crate) name: &'static str,
    /// `r` or `v`.
    pub(crate) kind: &'static str,
    /// Its columns in order.
    pub(crate) columns: Vec<RelationColumn>,
    /// The table of the console it is.
    pub(crate) table: Option<&'static Table>,
}

/// All relations a statement may name.
#[derive(Debug)]
pub(crate) struct Relations {
    all: Vec<Relation>,
}

impl Relations {
    /// Of these tables, and the catalogs.
    pub(crate) fn new(tables: impl Iterator<Item = &'static Table>) -> Self {
        let own = tables.zip(TABLE_OID_FIRST..).map(|(table, oid)| of_table(table, oid));
        let catalogs = RELATIONS.lines().filter_map(of_line);
        Self { all: own.chain(catalogs).collect() }
    }

    /// All of them; the console's first.
    pub(crate) fn all(&self) -> &[Relation] {
        &self.all
    }

    /// The place of the relation of a name.
    pub(crate) fn find(&self, schema: Option<&str>, name: &str) -> Option<usize> {
        let is = |relation: &Relation, schema: &str| {
            let alias = relation.table.is_some_and(|table| {
                table.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
            });
            relation.schema == schema && (relation.name == name || alias)
        };
        let schemas: &[&str] = match schema {
            None => &["public", "pg_catalog"],
            Some("public" | "pgm" | "main" | "pgmanifold" | "pgbouncer") => &["public"],
            Some("pg_catalog") => &["pg_catalog"],
            Some("information_schema") => &["information_schema"],
            Some(_) => &[],
        };
        schemas.iter().find_map(|schema| self.all.iter().position(|one| is(one, schema)))
    }

    /// The relation of an OID.
    pub(crate) fn of_oid(&self, oid: i64) -> Option<&Relation> {
        self.all.iter().find(|relation| relation.oid == oid)
    }

    /// How `regclass` and the like show an OID.
    pub(crate) fn name_of(&self, reg: Reg, oid: i64) -> String {
        let name = match reg {
            Reg::Class => self.of_oid(oid).map(|relation| match relation.schema {
                "information_schema" => format!("information_schema.{}", relation.name),
                _ => relation.name.to_owned(),
            }),
            Reg::Type => Some(format_type(oid, None)).filter(|_| oid != 0),
            Reg::Namespace => namespace_name(oid).map(str::to_owned),
            Reg::Role => (oid == OWNER_OID).then(|| OWNER.to_owned()),
            Reg::Proc => rows::function_name(oid).map(str::to_owned),
        };
        name.unwrap_or_else(|| if oid == 0 { "-".into() } else { oid.to_string() })
    }

    /// The OID that `regclass` and the like mean.
    pub(crate) fn oid_of(&self, reg: Reg, text: &str) -> Outcome<i64> {
        if let Ok(oid) = text.trim().parse() {
            return Ok(oid);
        }
        let names: Vec<_> = text.split('.').map(unquoted).collect();
        let (schema, name) = match names.as_slice() {
            [name] => (None, name),
            [.., schema, name] => (Some(schema.as_str()), name),
            [] => (None, &String::new()),
        };
        let found = match reg {
            Reg::Class => self.find(schema, name).map(|at| self.all[at].oid),
            Reg::Type => types::oid_of(name),
            Reg::Namespace => namespace_oid(name),
            Reg::Role => (name == OWNER).then_some(OWNER_OID),
            // Clients know arrays by their input function.
            Reg::Proc if name == "array_in" => Some(ARRAY_IN_OID),
            Reg::Proc => rows::function_oid(name),
        };
        found.ok_or_else(|| match reg {
            Reg::Class => EngineError::new("42P01", format!("relation \"{text}\" does not exist")),
            Reg::Type => EngineError::new("42704", format!("type \"{text}\" does not exist")),
            Reg::Namespace => {
                EngineError::new("3F000", format!("schema \"{text}\" does not exist"))
            }
            Reg::Role => EngineError::new("42704", format!("role \"{text}\" does not exist")),
            Reg::Proc => EngineError::new("42883", format!("function \"{text}\" does not exist")),
        })
    }
}

fn unquoted(name: &str) -> String {
    match name.trim().strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(name) => name.replace("\"\"", "\""),
        None => name.trim().to_ascii_lowercase(),
    }
}

/// The OID of a schema.
pub(crate) fn namespace_oid(name: &str) -> Option<i64> {
    match name {
        "public" => Some(PUBLIC_OID),
        "pg_catalog" => Some(PG_CATALOG_OID),
        "information_schema" => Some(INFORMATION_SCHEMA_OID),
        _ => None,
    }
}

fn namespace_name(oid: i64) -> Option<&'static str> {
    ["public", "pg_catalog", "information_schema"]
        .into_iter()
        .find(|name| namespace_oid(name) == Some(oid))
}

fn of_table(table: &'static Table, oid: i64) -> Relation {
    let columns = table.columns.iter().map(|column| RelationColumn {
        name: column.name,
        type_name: column.kind.name(),
        ty: Type::of_kind(column.kind),
        help: column.help,
    });
    Relation {
        oid,
        schema: "public",
        name: table.name,
        kind: "r",
        columns: columns.collect(),
        table: Some(table),
    }
}

fn of_line(line: &'static str) -> Option<Relation> {
    let mut parts = line.split(' ');
    let (schema, name) = parts.next()?.split_once('.')?;
    let (kind, oid) = (parts.next()?, parts.next()?.parse().ok()?);
    let columns = parts.next()?.split('|').filter_map(|column| {
        let (name, type_name) = column.split_once(':')?;
        let array = type_name.starts_with('_') || type_name == "anyarray";
        let other = if array { Type::Texts } else { Type::Text };
        let ty = Type::of_name(type_name).unwrap_or(other);
        Some(RelationColumn { name, type_name, ty, help: "" })
    });
    Some(Relation { oid, schema, name, kind, columns: columns.collect(), table: None })
}

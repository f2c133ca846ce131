//! Owns the rows of the catalogs that have any.

use super::settings::SETTINGS;
use super::types::TYPES;
use super::{OWNER, OWNER_OID, PG_CATALOG_OID, Relation, Relations, namespace_oid, types};
use crate::engine::Who;
use crate::engine::cell::Cell;
use crate::engine::functions;
use crate::engine::types::Type;
use crate::source::Source;

/// The OID of the first database.
const DATABASE_OID_FIRST: i64 = 5;
/// The OID of the first role besides the owner.
const ROLE_OID_FIRST: i64 = 16_000;
/// The OID of the first function.
const FUNCTION_OID_FIRST: i64 = 30_000;
/// Of the console's sessions: UTF8.
const ENCODING: i64 = 6;

/// What rows are made from.
pub(crate) struct Filling<'f> {
    /// All relations.
    pub(crate) relations: &'f Relations,
    /// The console's tables.
    pub(crate) source: &'f dyn Source,
    /// Who asks.
    pub(crate) who: &'f Who,
}

/// The columns of a row that are not empty.
type Named = Vec<(&'static str, Cell)>;

impl Filling<'_> {
    /// The rows of a catalog, with a value for each of its columns.
    pub(crate) fn rows(&self, relation: &Relation) -> Vec<Vec<Cell>> {
        let named = match (relation.schema, relation.name) {
            ("pg_catalog", "pg_class") => self.classes(),
            ("pg_catalog", "pg_attribute") => self.attributes(),
            ("pg_catalog", "pg_namespace") => namespaces(),
            ("pg_catalog", "pg_type") => type_rows(),
            ("pg_catalog", "pg_database") => self.databases(),
            ("pg_catalog", "pg_roles" | "pg_authid") => self.roles("rolname", "rol"),
            ("pg_catalog", "pg_user" | "pg_shadow") => self.roles("usename", "use"),
            ("pg_catalog", "pg_description") => self.descriptions(),
            ("pg_catalog", "pg_settings") => settings(),
            ("pg_catalog", "pg_am") => access_methods(),
            ("pg_catalog", "pg_tablespace") => tablespaces(),
            ("pg_catalog", "pg_proc") => procedures(),
            ("pg_catalog", "pg_language") => languages(),
            ("pg_catalog", "pg_collation") => collations(),
            ("pg_catalog", "pg_tables") => self.tables(),
            ("pg_catalog", "pg_stat_activity") => self.activity(),
            ("information_schema", "tables") => self.information_tables(),
            ("information_schema", "columns") => self.information_columns(),
            ("information_schema", "schemata") => self.information_schemata(),
            _ => Vec::new(),
        };
        named.into_iter().map(|row| row_of(relation, row)).collect()
    }

    fn classes(&self) -> Vec<Named> {
        let row = |relation: &Relation| {
            let namespace = namespace_oid(relation.schema).unwrap_or(0);
            vec![
                ("oid", Cell::Int(relation.oid)),
                ("relname", Cell::text(relation.name)),
                ("relnamespace", Cell::Int(namespace)),
                ("relowner", Cell::Int(OWNER_OID)),
                ("relkind", Cell::text(relation.kind)),
                ("relpersistence", Cell::text("p")),
                ("relreplident", Cell::text("d")),
                ("relnatts", Cell::Int(count(relation.columns.len()))),
                ("reltuples", Cell::Real(-1.0)),
                ("relispopulated", Cell::Int(1)),
                ("relacl", Cell::Null),
                ("reloptions", Cell::Null),
                ("relpartbound", Cell::Null),
            ]
        };
        self.relations.all().iter().map(row).collect()
    }

    fn attributes(&self) -> Vec<Named> {
        let mut rows = Vec::new();
        for relation in self.relations.all() {
            for (column, number) in relation.columns.iter().zip(1_i64..) {
                let ty = types::oid_of(column.type_name).unwrap_or(25);
                rows.push(vec![
                    ("attrelid", Cell::Int(relation.oid)),
                    ("attname", Cell::text(column.name)),
                    ("atttypid", Cell::Int(ty)),
                    ("atttypmod", Cell::Int(-1)),
                    ("attnum", Cell::Int(number)),
                    ("attlen", Cell::Int(-1)),
                    ("attcacheoff", Cell::Int(-1)),
                    ("attstorage", Cell::text("p")),
                    ("attislocal", Cell::Int(1)),
                    ("attstattarget", Cell::Int(-1)),
                    ("attcollation", Cell::Int(type_collation(ty))),
                    ("attacl", Cell::Null),
                    ("attoptions", Cell::Null),
                    ("attfdwoptions", Cell::Null),
                    ("attmissingval", Cell::Null),
                ]);
            }
        }
        rows
    }

    /// The names in a column of one of the console's tables, in order and each once.
    fn names(&self, table: &str, column: &str) -> Vec<String> {
        let mut tables = self.relations.all().iter().filter_map(|relation| relation.table);
        let Some(table) = tables.find(|known| known.name == table) else { return Vec::new() };
        let Some(at) = table.column(column) else { return Vec::new() };
        let rows = self.source.rows(table);
        let mut names: Vec<_> =
            rows.iter().filter_map(|row| row.get(at)).map(ToString::to_string).collect();
        names.retain(|name| !name.is_empty());
        names.sort_unstable();
        names.dedup();
        names
    }

    fn databases(&self) -> Vec<Named> {
        let mut names = self.names("databases", "name");
        if !names.contains(&self.who.database) {
            names.insert(0, self.who.database.clone());
        }
        let row = |(name, oid): (String, i64)| {
            vec![
                ("oid", Cell::Int(oid)),
                ("datname", Cell::Text(name)),
                ("datdba", Cell::Int(OWNER_OID)),
                ("encoding", Cell::Int(ENCODING)),
                ("datlocprovider", Cell::text("c")),
                ("datallowconn", Cell::Int(1)),
                ("datconnlimit", Cell::Int(-1)),
                ("dattablespace", Cell::Int(1663)),
                ("datcollate", Cell::text("C")),
                ("datctype", Cell::text("C")),
                ("daticulocale", Cell::Null),
                ("datcollversion", Cell::Null),
                ("datacl", Cell::Null),
            ]
        };
        names.into_iter().zip(DATABASE_OID_FIRST..).map(row).collect()
    }

    /// The users known, and the owner; under the column names of `pg_roles` or of `pg_user`.
    fn roles(&self, name_column: &'static str, prefix: &str) -> Vec<Named> {
        let mut names = self.names("users", "name");
        for name in [&self.who.user, &OWNER.to_owned()] {
            if !names.contains(name) {
                names.insert(0, name.clone());
            }
        }
        let row = |(name, oid): (String, i64)| {
            let is_owner = name == OWNER;
            let is_super = is_owner || (self.who.is_admin && name == self.who.user);
            let oid = if is_owner { OWNER_OID } else { oid };
            let mut row = vec![(name_column, Cell::Text(name))];
            row.extend(match prefix {
                "rol" => vec![
                    ("oid", Cell::Int(oid)),
                    ("rolsuper", Cell::Int(is_super.into())),
                    ("rolinherit", Cell::Int(1)),
                    ("rolcanlogin", Cell::Int((!is_owner).into())),
                    ("rolconnlimit", Cell::Int(-1)),
                    ("rolconfig", Cell::Null),
                    ("rolpassword", Cell::Null),
                    ("rolvaliduntil", Cell::Null),
                ],
                _ => vec![
                    ("usesysid", Cell::Int(oid)),
                    ("usesuper", Cell::Int(is_super.into())),
                    ("passwd", Cell::Null),
                    ("valuntil", Cell::Null),
                    ("useconfig", Cell::Null),
                ],
            });
            row
        };
        names.into_iter().zip(ROLE_OID_FIRST..).map(row).collect()
    }

    fn descriptions(&self) -> Vec<Named> {
        let mut rows = Vec::new();
        let class = self.relations.find(Some("pg_catalog"), "pg_class");
        let class = class.map_or(0, |at| self.relations.all()[at].oid);
        for relation in self.relations.all() {
            let Some(table) = relation.table else { continue };
            let columns = relation.columns.iter().map(|column| column.help).zip(1_i64..);
            for (help, number) in std::iter::once((table.help, 0)).chain(columns) {
                rows.push(vec![
                    ("objoid", Cell::Int(relation.oid)),
                    ("classoid", Cell::Int(class)),
                    ("objsubid", Cell::Int(number)),
                    ("description", Cell::text(help)),
                ]);
            }
        }
        rows
    }

    fn tables(&self) -> Vec<Named> {
        let own = self.relations.all().iter().filter(|relation| relation.kind == "r");
        own.map(|relation| {
            vec![
                ("schemaname", Cell::text(relation.schema)),
                ("tablename", Cell::text(relation.name)),
                ("tableowner", Cell::text(OWNER)),
                ("tablespace", Cell::Null),
            ]
        })
        .collect()
    }

    /// This session alone: those of clients are in the table `clients`.
    fn activity(&self) -> Vec<Named> {
        vec![vec![
            ("pid", Cell::Int(self.who.pid.into())),
            ("datid", Cell::Int(DATABASE_OID_FIRST)),
            ("datname", Cell::text(self.who.database.as_str())),
            ("usename", Cell::text(self.who.user.as_str())),
            ("state", Cell::text("active")),
            ("backend_type", Cell::text("client backend")),
        ]]
    }

    fn information_tables(&self) -> Vec<Named> {
        let row = |relation: &Relation| {
            let kind = if relation.kind == "r" { "BASE TABLE" } else { "VIEW" };
            vec![
                ("table_catalog", Cell::text(self.who.database.as_str())),
                ("table_schema", Cell::text(relation.schema)),
                ("table_name", Cell::text(relation.name)),
                ("table_type", Cell::text(kind)),
                ("is_insertable_into", Cell::text("NO")),
                ("is_typed", Cell::text("NO")),
            ]
        };
        self.relations.all().iter().map(row).collect()
    }

    fn information_columns(&self) -> Vec<Named> {
        let mut rows = Vec::new();
        for relation in self.relations.all() {
            for (column, number) in relation.columns.iter().zip(1_i64..) {
                let oid = types::oid_of(column.type_name).unwrap_or(25);
                rows.push(vec![
                    ("table_catalog", Cell::text(self.who.database.as_str())),
                    ("table_schema", Cell::text(relation.schema)),
                    ("table_name", Cell::text(relation.name)),
                    ("column_name", Cell::text(column.name)),
                    ("ordinal_position", Cell::Int(number)),
                    ("is_nullable", Cell::text("YES")),
                    ("data_type", Cell::Text(types::format_type(oid, None))),
                    ("udt_catalog", Cell::text(self.who.database.as_str())),
                    ("udt_schema", Cell::text("pg_catalog")),
                    ("udt_name", Cell::text(column.type_name)),
                    ("is_identity", Cell::text("NO")),
                    ("is_generated", Cell::text("NEVER")),
                    ("is_updatable", Cell::text("NO")),
                ]);
            }
        }
        rows
    }

    fn information_schemata(&self) -> Vec<Named> {
        let row = |name: &&'static str| {
            vec![
                ("catalog_name", Cell::text(self.who.database.as_str())),
                ("schema_name", Cell::text(*name)),
                ("schema_owner", Cell::text(OWNER)),
            ]
        };
        ["information_schema", "pg_catalog", "public"].iter().map(row).collect()
    }
}

/// A whole row: what is not named is 0, false or empty, but in information_schema and the views
/// of statistics, where PostgreSQL itself says nothing by NULL.
fn row_of(relation: &Relation, named: Named) -> Vec<Cell> {
    let is_view = relation.kind == "v";
    let value = |name: &str, ty: Type| {
        let given = named.iter().find(|(given, _)| *given == name);
        given.map(|(_, value)| value.clone()).unwrap_or_else(|| match ty {
            Type::Bool => Cell::Int(0),
            _ if is_view => Cell::Null,
            Type::Int4 | Type::Int8 | Type::Oid | Type::Reg(_) => Cell::Int(0),
            Type::Float8 => Cell::Real(0.0),
            Type::Numeric => Cell::text("0"),
            Type::Text | Type::Unknown => Cell::text(""),
            Type::Texts | Type::Ints => Cell::Null,
        })
    };
    relation.columns.iter().map(|column| value(column.name, column.ty)).collect()
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn type_collation(oid: i64) -> i64 {
    let row = TYPES.iter().find(|row| row.oid == oid);
    row.and_then(|row| row.rest.get(7)?.parse().ok()).unwrap_or(0)
}

fn namespaces() -> Vec<Named> {
    let row = |name: &&'static str| {
        vec![
            ("oid", Cell::Int(namespace_oid(name).unwrap_or(0))),
            ("nspname", Cell::text(*name)),
            ("nspowner", Cell::Int(OWNER_OID)),
            ("nspacl", Cell::Null),
        ]
    };
    ["information_schema", "pg_catalog", "public"].iter().map(row).collect()
}

fn type_rows() -> Vec<Named> {
    let int = |text: Option<&&str>| Cell::Int(text.and_then(|text| text.parse().ok()).unwrap_or(0));
    let is = |text: Option<&&str>| Cell::Int((text == Some(&"t")).into());
    let text = |text: Option<&&str>| Cell::text(text.copied().unwrap_or(""));
    let row = |row: &types::TypeRow| {
        let rest = &row.rest;
        vec![
            ("oid", Cell::Int(row.oid)),
            ("typname", Cell::text(row.name)),
            ("typnamespace", Cell::Int(PG_CATALOG_OID)),
            ("typowner", Cell::Int(OWNER_OID)),
            ("typlen", int(rest.first())),
            ("typbyval", is(rest.get(1))),
            ("typtype", text(rest.get(2))),
            ("typcategory", text(rest.get(3))),
            ("typispreferred", is(rest.get(4))),
            ("typisdefined", Cell::Int(1)),
            ("typdelim", Cell::text(",")),
            ("typelem", int(rest.get(5))),
            ("typarray", int(rest.get(6))),
            ("typcollation", int(rest.get(7))),
            ("typalign", text(rest.get(8))),
            ("typstorage", text(rest.get(9))),
            ("typinput", int(rest.get(10))),
            ("typtypmod", Cell::Int(-1)),
            ("typdefault", Cell::Null),
            ("typdefaultbin", Cell::Null),
            ("typacl", Cell::Null),
        ]
    };
    TYPES.iter().map(row).collect()
}

fn settings() -> Vec<Named> {
    let row = |(name, value, help): &(&'static str, &'static str, &'static str)| {
        vec![
            ("name", Cell::text(*name)),
            ("setting", Cell::text(*value)),
            ("category", Cell::text("Console")),
            ("short_desc", Cell::text(*help)),
            ("context", Cell::text("internal")),
            ("vartype", Cell::text("string")),
            ("source", Cell::text("default")),
            ("boot_val", Cell::text(*value)),
            ("reset_val", Cell::text(*value)),
        ]
    };
    SETTINGS.iter().map(row).collect()
}

fn access_methods() -> Vec<Named> {
    vec![vec![("oid", Cell::Int(2)), ("amname", Cell::text("heap")), ("amtype", Cell::text("t"))]]
}

fn tablespaces() -> Vec<Named> {
    let row = |(oid, name): (i64, &'static str)| {
        vec![
            ("oid", Cell::Int(oid)),
            ("spcname", Cell::text(name)),
            ("spcowner", Cell::Int(OWNER_OID)),
        ]
    };
    [(1663, "pg_default"), (1664, "pg_global")].map(row).into()
}

fn languages() -> Vec<Named> {
    vec![vec![
        ("oid", Cell::Int(12)),
        ("lanname", Cell::text("internal")),
        ("lanowner", Cell::Int(OWNER_OID)),
    ]]
}

fn collations() -> Vec<Named> {
    let row = |(oid, name): (i64, &'static str)| {
        vec![
            ("oid", Cell::Int(oid)),
            ("collname", Cell::text(name)),
            ("collnamespace", Cell::Int(PG_CATALOG_OID)),
            ("collowner", Cell::Int(OWNER_OID)),
            ("collprovider", Cell::text("c")),
            ("collisdeterministic", Cell::Int(1)),
            ("collencoding", Cell::Int(-1)),
            ("collcollate", Cell::text("C")),
            ("collctype", Cell::text("C")),
        ]
    };
    [(100, "default"), (950, "C")].map(row).into()
}

fn procedures() -> Vec<Named> {
    let row = |(name, oid): (&'static str, i64)| {
        vec![
            ("oid", Cell::Int(oid)),
            ("proname", Cell::text(name)),
            ("pronamespace", Cell::Int(PG_CATALOG_OID)),
            ("proowner", Cell::Int(OWNER_OID)),
            ("prolang", Cell::Int(12)),
            ("prokind", Cell::text("f")),
            ("provolatile", Cell::text("s")),
            ("proparallel", Cell::text("s")),
            ("prorettype", Cell::Int(25)),
            ("proargtypes", Cell::text("")),
            ("prosrc", Cell::text(name)),
        ]
    };
    functions::names().into_iter().zip(FUNCTION_OID_FIRST..).map(row).collect()
}

/// The name of a function by its OID in `pg_proc`.
pub(super) fn function_name(oid: i64) -> Option<&'static str> {
    let at = usize::try_from(oid - FUNCTION_OID_FIRST).ok()?;
    functions::names().get(at).copied()
}

/// The OID of a function in `pg_proc`.
pub(super) fn function_oid(name: &str) -> Option<i64> {
    let at = functions::names().iter().position(|known| *known == name)?;
    Some(FUNCTION_OID_FIRST + count(at))
}

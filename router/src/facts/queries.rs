//! Owns the catalog queries whose rows make `Facts`. The text is data here; somebody else runs it.
//!
//! For PostgreSQL 13 to 18; only `pg_catalog` is read, with no more rights than any user has.
//! Every column is text or NULL.

/// What the rows of a query tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FactKind {
    /// schema, name, min arguments, max arguments (NULL: variadic), volatility (`i`, `s`, `v`),
    /// `t` when `row.name` can call it, defaults of its arguments (NULL: none).
    Functions,
    /// schema, name, what the relation is (`unlogged table`, ...): not to be read on a replica.
    Relations,
    /// schema, name, definition of a view.
    Views,
    /// schema, name, USING expression of a row security policy of a table.
    Policies,
    /// schema, name, why using the type is volatile (NULL: see next), CHECK expression of a
    /// domain.
    Types,
    /// schema, symbol, volatile function.
    Operators,
    /// Why anything may call a volatile function without naming it.
    Everywhere,
    /// schema, name, language and body of a function that is not PostgreSQL's own.
    Bodies,
    /// How the database's collation sorts (`c`: by bytes), server encoding.
    Database,
    /// schema, name, kind, persistence, parent's schema and name (NULL: none), row security.
    Tables,
    /// schema, table, number, name, type's OID, type's name, kind of type, collation, not null,
    /// identity, generated, default (NULL: none).
    Columns,
    /// schema, table, index, primary, partial, columns, number of columns and expressions.
    Indexes,
    /// schema, table, name, columns, the other table's schema, name and columns, actions.
    ForeignKeys,
    /// schema, name, kind, detail and text of what names other objects.
    Definitions,
    /// schema, name, increment, schema, table and column that own it (NULL: none).
    Sequences,
}

impl FactKind {
    /// Number of columns in a row.
    pub fn columns(self) -> usize {
        match self {
            Self::Columns => 12,
            Self::ForeignKeys => 8,
            Self::Functions | Self::Tables | Self::Indexes => 7,
            Self::Sequences => 6,
            Self::Definitions => 5,
            Self::Types | Self::Bodies => 4,
            Self::Relations | Self::Views | Self::Policies | Self::Operators => 3,
            Self::Database => 2,
            Self::Everywhere => 1,
        }
    }

    /// The kind as one lowercase word, as in dumps of facts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Functions => "functions",
            Self::Relations => "relations",
            Self::Views => "views",
            Self::Policies => "policies",
            Self::Types => "types",
            Self::Operators => "operators",
            Self::Everywhere => "everywhere",
            Self::Bodies => "bodies",
            Self::Database => "database",
            Self::Tables => "tables",
            Self::Columns => "columns",
            Self::Indexes => "indexes",
            Self::ForeignKeys => "foreign_keys",
            Self::Definitions => "definitions",
            Self::Sequences => "sequences",
        }
    }

    /// Reads the word of [`Self::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        let all = QUERIES.iter().chain(SCHEMA_QUERIES);
        all.map(|query| query.kind).find(|kind| kind.as_str() == name)
    }
}

/// A query and what its rows are.
#[derive(Debug, Clone, Copy)]
pub struct FactsQuery {
    /// What each row is to be added as.
    pub kind: FactKind,
    /// One SELECT without parameters.
    pub sql: &'static str,
}

/// All queries. They should run in one REPEATABLE READ transaction.
pub const QUERIES: &[FactsQuery] = &[
    FactsQuery { kind: FactKind::Functions, sql: include_str!("sql/functions.sql") },
    FactsQuery { kind: FactKind::Relations, sql: include_str!("sql/relations.sql") },
    FactsQuery { kind: FactKind::Views, sql: include_str!("sql/views.sql") },
    FactsQuery { kind: FactKind::Policies, sql: include_str!("sql/policies.sql") },
    FactsQuery { kind: FactKind::Types, sql: include_str!("sql/types.sql") },
    FactsQuery { kind: FactKind::Operators, sql: include_str!("sql/operators.sql") },
    FactsQuery { kind: FactKind::Everywhere, sql: include_str!("sql/everywhere.sql") },
    FactsQuery { kind: FactKind::Bodies, sql: include_str!("sql/bodies.sql") },
];

/// More queries for a database that has shards, to run after [`QUERIES`] and in this order.
pub const SCHEMA_QUERIES: &[FactsQuery] = &[
    FactsQuery { kind: FactKind::Database, sql: include_str!("sql/schema/database.sql") },
    FactsQuery { kind: FactKind::Tables, sql: include_str!("sql/schema/tables.sql") },
    FactsQuery { kind: FactKind::Columns, sql: include_str!("sql/schema/columns.sql") },
    FactsQuery { kind: FactKind::Indexes, sql: include_str!("sql/schema/indexes.sql") },
    FactsQuery { kind: FactKind::ForeignKeys, sql: include_str!("sql/schema/foreign_keys.sql") },
    FactsQuery { kind: FactKind::Definitions, sql: include_str!("sql/schema/definitions.sql") },
    FactsQuery { kind: FactKind::Sequences, sql: include_str!("sql/schema/sequences.sql") },
];

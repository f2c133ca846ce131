//! Owns what a shard says about the tables of a distribution, and the conditions that name the
//! rows of keys in them. It changes nothing, and it judges nothing: that is `precheck`'s business.

mod load;

use crate::error::Error;
use pgmanifold_router::ownership::{keys_sql, quote_name};
use pgmanifold_router::shard_map::{Distribution, Keys, ShardMap};

pub use load::{load, load_present};

/// A table whose rows of some keys are to move, as one shard describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct MovedTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its number on this shard.
    pub oid: u32,
    /// Columns of the key, in the order of the distribution's types.
    pub key_columns: Vec<String>,
    /// All columns in order, without those that were dropped.
    pub columns: Vec<Column>,
    /// It has no rows of its own, but partitions.
    pub partitioned: bool,
    /// Where the rows are: quoted names of its partitions at the last level, or of itself.
    pub leaves: Vec<String>,
    /// The partitions between it and its leaves, quoted.
    pub branches: Vec<String>,
    /// By what its rows are known to whoever follows its changes.
    pub identity: ReplicaIdentity,
    /// Sequences its columns draw from.
    pub sequences: Vec<Sequence>,
    /// Foreign keys from it and to it.
    pub foreign_keys: Vec<ForeignKey>,
    /// Unique indexes: name and columns of each. An expression has an empty name.
    pub unique: Vec<(String, Vec<String>)>,
    /// Constraints, indexes, triggers, policies and rules, a line each, as PostgreSQL prints them.
    pub shape: Vec<String>,
    /// What stands in the way of moving it, whatever the keys: kind and name.
    pub oddities: Vec<Oddity>,
    /// Bytes with indexes and TOAST.
    pub bytes: i64,
    /// Rows, as the server estimates them.
    pub rows: f64,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type with modifiers, as PostgreSQL prints it.
    pub type_name: String,
    /// `b`: a type of PostgreSQL or an extension; `e`, `d`, `c`, `r`, `m`: as in `pg_type`.
    pub type_kind: char,
    /// It is computed from others, and cannot be written.
    pub generated: bool,
    /// It is `generated … as identity`.
    pub identity: bool,
    /// Equal values of its collation are the same bytes.
    pub deterministic: bool,
    /// NOT NULL, default, collation, …: for comparing.
    pub rest: String,
}

/// By what rows are known in the stream of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// By these columns, of the primary key or of another unique index.
    Columns(Vec<String>),
    /// By all columns.
    Full,
    /// By none: updates and deletes cannot be followed.
    Nothing,
}

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// `schema.name`, quoted.
    pub name: String,
    /// The column that draws from it.
    pub column: String,
    /// Its increment.
    pub increment: i64,
}

/// A foreign key, of the table or to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// Name of the constraint.
    pub name: String,
    /// Schema and name of the table that refers.
    pub from: (String, String),
    /// Schema and name of the table referred to.
    pub to: (String, String),
    /// The columns, in pairs: the one that refers, the one referred to.
    pub columns: Vec<(String, String)>,
}

/// Something about a table that a move cannot pass over in silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// Its rows, or a leaf's, are not in the WAL.
    Unlogged(String),
    /// It is temporary, foreign, a view: what it is.
    NotATable(String),
    /// It inherits from a table, or a table from it, without being partitioned.
    Inheritance(String),
    /// It is a partition of this table.
    Partition(String),
    /// This trigger fires for replicated changes too.
    Trigger(String),
    /// It belongs to an extension.
    Extension(String),
    /// The type of this column cannot be read back from its text.
    NoText(String),
    /// This rule rewrites statements.
    Rule(String),
}

/// What moves: some keys of a distribution, in all of its tables.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Number of the move.
    pub id: i64,
    /// The map.
    pub map: &'a ShardMap,
    /// Index of the distribution.
    pub distribution: usize,
    /// The keys.
    pub keys: &'a Keys,
    /// The tables, in the order in which they are locked everywhere: by schema and name.
    pub tables: &'a [MovedTable],
}

impl Scope<'_> {
    /// The condition that a row of the table has one of the keys; `prefix` stands before the names
    /// of columns, as in `new.`.
    pub fn condition(&self, table: &MovedTable, prefix: &str) -> String {
        keys_condition(self.map, self.distribution, table, self.keys, prefix)
    }

    /// Quoted names of all tables, with commas between them.
    pub fn table_list(&self) -> String {
        self.tables.iter().map(MovedTable::sql).collect::<Vec<_>>().join(", ")
    }

    /// The distribution.
    ///
    /// # Errors
    /// The map has no such distribution.
    pub fn distribution(&self) -> Result<&Distribution, Error> {
        let found = self.map.distributions.get(self.distribution);
        found.ok_or_else(|| Error::Conflict("the distribution is not in the map any more".into()))
    }
}

impl MovedTable {
    /// `schema.name`, quoted.
    pub fn sql(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    /// `schema.name` for people.
    pub fn plain(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The columns that are copied, quoted: all but those the server computes.
    pub fn copied_columns(&self) -> String {
        let columns = self.columns.iter().filter(|column| !column.generated);
        columns.map(|column| quote_name(&column.name)).collect::<Vec<_>>().join(", ")
    }
}

/// The condition that a row of the table has one of the keys; `prefix` stands before the names of
/// columns, as in `new.`.
pub fn keys_condition(
    map: &ShardMap,
    distribution: usize,
    table: &MovedTable,
    keys: &Keys,
    prefix: &str,
) -> String {
    let Some(distribution) = map.distributions.get(distribution) else { return "false".into() };
    let columns: Vec<String> =
        table.key_columns.iter().map(|name| format!("{prefix}{}", quote_name(name))).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    keys_sql(distribution, keys, &columns)
}

/// `schema.name`, quoted.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_name(schema), quote_name(name))
}

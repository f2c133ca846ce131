//! Owns what the real catalog says about names: which functions may write, and which relations,
//! types and operators reach such functions or exist on the primary only.
//!
//! It must not read SQL statements; views, policies and defaults are classified by the planner
//! when the facts are built. Names are matched without regard to `search_path`: the worst object
//! of a name counts.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

mod builder;
mod mentions;
mod queries;
pub mod schema;
mod schema_rows;
mod session;

pub use builder::{FactsBuilder, FactsError};
pub(crate) use mentions::body_mentions;
pub use mentions::{Mentions, runs_text};
pub use queries::{FactKind, FactsQuery, QUERIES, SCHEMA_QUERIES};
use schema::SchemaFacts;

/// One function of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overload {
    pub(crate) schema: Box<str>,
    pub(crate) min_args: u16,
    /// `None`: variadic.
    pub(crate) max_args: Option<u16>,
    pub(crate) volatile: bool,
}

/// What a call of a function name may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Every function it can mean is STABLE or IMMUTABLE.
    Harmless,
    /// Some function it can mean is VOLATILE.
    Volatile,
    /// No function of that name is known.
    Unknown,
}

/// PostgreSQL's own volatile functions that neither write nor keep any state: a replica answers
/// as well as the primary. `random()` is not among them because of `setseed()`.
const HARMLESS_VOLATILE: &[&str] = &[
    "clock_timestamp",
    "gen_random_uuid",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "timeofday",
    "uuidv4",
    "uuidv7",
];

/// A snapshot of the catalog's facts. Immutable; a newer snapshot has another version.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    version: u64,
    functions: HashMap<Box<str>, Vec<Overload>>,
    /// Relations that must not be read on a replica, each with its reason.
    relations: HashMap<Box<str>, Cow<'static, str>>,
    /// Types whose use calls a volatile function.
    types: HashMap<Box<str>, Cow<'static, str>>,
    /// Volatile functions that `row.name` may call.
    attributes: HashSet<Box<str>>,
    /// Symbols of operators whose function is volatile.
    operators: HashMap<Box<str>, Cow<'static, str>>,
    /// Set when something volatile can be reached without being named.
    everywhere: Option<Cow<'static, str>>,
    session: session::SessionFacts,
    schema: SchemaFacts,
}

impl Facts {
    /// What PostgreSQL itself brings, for use without a server: every function of the user's is
    /// unknown, and views and unlogged tables look like ordinary tables.
    pub fn builtin() -> Self {
        FactsBuilder::with_builtin(0).build()
    }

    /// Tells one snapshot from another; belongs in cache keys.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Number of names known, for logs.
    pub fn function_names(&self) -> usize {
        self.functions.len()
    }

    /// What calling `name` with `arguments` arguments may do. `None` when the number cannot be
    /// told from the text; `schema` when the call is qualified.
    pub fn call(&self, schema: Option<&str>, name: &str, arguments: Option<usize>) -> Call {
        let Some(overloads) = self.functions.get(name) else { return Call::Unknown };
        let in_schema = |overload: &&Overload| schema.is_none_or(|s| *overload.schema == *s);
        let fits = |overload: &&Overload| arguments.is_none_or(|n| overload.accepts(n));
        let mut candidates = overloads.iter().filter(in_schema).filter(fits).peekable();
        if candidates.peek().is_some() {
            return verdict(name, candidates);
        }
        // No overload takes that many: count wrongly rather than trust a miscounted call.
        let mut candidates = overloads.iter().filter(in_schema).peekable();
        match candidates.peek() {
            Some(_) => verdict(name, candidates),
            None => Call::Unknown,
        }
    }

    /// Why a relation of this name must be read on the primary.
    pub fn relation(&self, name: &str) -> Option<&Cow<'static, str>> {
        self.relations.get(name)
    }

    /// Why using a type of this name must happen on the primary.
    pub fn data_type(&self, name: &str) -> Option<&Cow<'static, str>> {
        self.types.get(name)
    }

    /// Whether `row.name` may call a volatile function.
    pub fn is_volatile_attribute(&self, name: &str) -> bool {
        self.attributes.contains(name)
    }

    /// Why an operator of this symbol must run on the primary.
    pub fn operator(&self, symbol: &str) -> Option<&Cow<'static, str>> {
        self.operators.get(symbol)
    }

    /// Relations, columns and constraints; known only for databases that have shards.
    pub fn schema(&self) -> &SchemaFacts {
        &self.schema
    }

    /// Why every statement must run on the primary.
    pub fn everywhere(&self) -> Option<&Cow<'static, str>> {
        self.everywhere.as_ref()
    }
}

impl Overload {
    fn accepts(&self, arguments: usize) -> bool {
        arguments >= usize::from(self.min_args)
            && self.max_args.is_none_or(|max| arguments <= usize::from(max))
    }

    fn may_write(&self, name: &str) -> bool {
        self.volatile && !(*self.schema == *"pg_catalog" && HARMLESS_VOLATILE.contains(&name))
    }
}

fn verdict<'a>(name: &str, mut candidates: impl Iterator<Item = &'a Overload>) -> Call {
    match candidates.any(|overload| overload.may_write(name)) {
        true => Call::Volatile,
        false => Call::Harmless,
    }
}

#[cfg(test)]
mod tests;

//! Owns the making of `Facts` from catalog rows, and the spread of "volatile" from functions
//! through views, policies, defaults and domains to whatever names them.

use super::session::Bodies;
use super::{FactKind, Facts, Overload};
use crate::lexer::{Dialect, Lexer};
use crate::plan::Effect;
use crate::planner::{identifier, plan, read_body, read_foreign};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// PostgreSQL 15's own functions.
const BUILTIN: &str = include_str!("../../data/functions-15.txt");

/// Operators that SQL syntax uses without writing them (`IN`, `BETWEEN`, `LIKE`, `DISTINCT`).
const IMPLIED_OPERATORS: &[&str] =
    &["=", "<>", "<", ">", "<=", ">=", "~", "!~", "~~", "!~~", "~~*", "!~~*", "~*", "!~*"];

/// A catalog row that does not look as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactsError {
    /// What the row was added as.
    pub kind: FactKind,
    /// The name of the column that is wrong or missing.
    pub column: &'static str,
}

impl fmt::Display for FactsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "catalog row of {} has no usable {}", self.kind.as_str(), self.column)
    }
}

impl std::error::Error for FactsError {}

/// What a definition belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    View,
    Policy,
    Domain,
}

#[derive(Debug)]
struct Definition {
    owner: Owner,
    name: Box<str>,
    text: Box<str>,
}

/// Collects catalog rows.
#[derive(Debug, Default)]
pub struct FactsBuilder {
    facts: Facts,
    definitions: Vec<Definition>,
    /// Function name, index of the overload, and the text of its arguments' defaults.
    defaults: Vec<(Box<str>, usize, Box<str>)>,
    /// Overloads that `row.name` can call.
    attribute_overloads: Vec<(Box<str>, usize)>,
    bodies: Bodies,
}

impl FactsBuilder {
    /// Starts from nothing: every function must come as a row.
    pub fn new(version: u64) -> Self {
        Self { facts: Facts { version, ..Facts::default() }, ..Self::default() }
    }

    /// Starts from PostgreSQL's own functions.
    pub fn with_builtin(version: u64) -> Self {
        let mut builder = Self::new(version);
        for line in BUILTIN.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(' ');
            let first = words.next().unwrap_or_default();
            if first == "=" {
                for name in words {
                    builder.function("pg_catalog", name, 0, None, false);
                }
                continue;
            }
            let mut next = || words.next().unwrap_or_default();
            let (min, max, volatility) = (next(), next(), next());
            let min = min.parse().unwrap_or(0);
            builder.function("pg_catalog", first, min, max.parse().ok(), volatility == "v");
        }
        builder
    }

    /// Adds one row of a query of [`super::QUERIES`].
    ///
    /// # Errors
    /// The row has too few columns, a NULL, or a number that is none.
    pub fn add(&mut self, kind: FactKind, row: &[Option<&str>]) -> Result<(), FactsError> {
        let column = |index: usize, column: &'static str| {
            row.get(index).copied().flatten().ok_or(FactsError { kind, column })
        };
        match kind {
            FactKind::Functions => self.add_function(row)?,
            FactKind::Relations => {
                let what = column(2, "reason")?;
                let name = column(1, "name")?;
                self.relation(name, format!("{name} is a {what}").replace("a unl", "an unl"));
            }
            FactKind::Views => {
                self.define(Owner::View, column(1, "name")?, column(2, "definition")?.into());
            }
            FactKind::Policies => {
                let text = format!("select {}", column(2, "expression")?);
                self.define(Owner::Policy, column(1, "name")?, text.into());
            }
            FactKind::Types => {
                let name = column(1, "name")?;
                match column(2, "reason") {
                    Ok(reason) => {
                        let reason = format!("{name} is a {reason}");
                        self.facts.types.insert(name.into(), reason.into());
                    }
                    Err(_) => {
                        let text = format!("select {}", column(3, "expression")?);
                        self.define(Owner::Domain, name, text.into());
                    }
                }
            }
            FactKind::Operators => {
                let (symbol, function) = (column(1, "symbol")?, column(2, "function")?);
                let reason = format!("operator {symbol} calls volatile function {function}");
                self.operator(symbol, reason.into());
            }
            FactKind::Everywhere => {
                self.facts.everywhere = Some(column(0, "reason")?.to_string().into());
            }
            FactKind::Bodies => {
                let text = column(3, "body")?.as_bytes();
                let body = match column(2, "language")? {
                    "sql" | "plpgsql" => read_body(text),
                    _ => read_foreign(text),
                };
                self.bodies.function(column(1, "name")?, body);
            }
            FactKind::Database
            | FactKind::Tables
            | FactKind::Columns
            | FactKind::Indexes
            | FactKind::ForeignKeys
            | FactKind::Definitions
            | FactKind::Sequences => self.facts.schema.add(kind, row)?,
        }
        Ok(())
    }

    /// Classifies views, policies, defaults and domains, and ends the collection.
    pub fn build(mut self) -> Facts {
        self.spread_through_defaults();
        for (name, index) in &self.attribute_overloads {
            let overload = self.facts.functions.get(name).and_then(|all| all.get(*index));
            if overload.is_some_and(|overload| overload.volatile) {
                self.facts.attributes.insert(name.clone());
            }
        }
        for view in self.definitions.iter().filter(|known| known.owner == Owner::View) {
            let names = names_in(&view.text).into_iter().map(Into::into).collect();
            self.bodies.view(&view.name, names);
        }
        self.facts.session = std::mem::take(&mut self.bodies).build();
        self.spread_through_definitions();
        self.facts.schema = std::mem::take(&mut self.facts.schema).build();
        self.facts
    }

    fn add_function(&mut self, row: &[Option<&str>]) -> Result<(), FactsError> {
        let kind = FactKind::Functions;
        let column = |index: usize, column: &'static str| {
            row.get(index).copied().flatten().ok_or(FactsError { kind, column })
        };
        let (schema, name) = (column(0, "schema")?, column(1, "name")?);
        let number = |text: &str, column| text.parse().map_err(|_| FactsError { kind, column });
        let min = number(column(2, "min_args")?, "min_args")?;
        let max = match row.get(3).copied().flatten() {
            Some(text) => Some(number(text, "max_args")?),
            None => None,
        };
        // Only what is surely not volatile counts as such.
        let volatile = !matches!(column(4, "volatility")?, "i" | "s");
        let index = self.function(schema, name, min, max, volatile);
        if column(5, "attribute flag")? == "t" {
            self.attribute_overloads.push((name.into(), index));
        }
        if let Some(defaults) = row.get(6).copied().flatten() {
            self.defaults.push((name.into(), index, format!("select {defaults}").into()));
        }
        Ok(())
    }

    fn function(
        &mut self,
        schema: &str,
        name: &str,
        min_args: u16,
        max_args: Option<u16>,
        volatile: bool,
    ) -> usize {
        let overloads = self.facts.functions.entry(name.into()).or_default();
        overloads.push(Overload { schema: schema.into(), min_args, max_args, volatile });
        overloads.len() - 1
    }

    fn relation(&mut self, name: &str, reason: String) {
        self.facts.relations.entry(name.into()).or_insert_with(|| reason.into());
    }

    fn operator(&mut self, symbol: &str, reason: Cow<'static, str>) {
        if IMPLIED_OPERATORS.contains(&symbol) {
            self.facts.everywhere = Some(reason.clone());
        }
        self.facts.operators.insert(symbol.into(), reason);
    }

    fn define(&mut self, owner: Owner, name: &str, text: Box<str>) {
        self.definitions.push(Definition { owner, name: name.into(), text });
    }

    /// A function whose default calls a volatile function is volatile when called without that
    /// argument. Each round marks at least one function or is the last.
    fn spread_through_defaults(&mut self) {
        loop {
            let mut pending = std::mem::take(&mut self.defaults);
            let before = pending.len();
            pending.retain(|(name, index, text)| {
                let reads = plan(text.as_bytes(), &self.facts, Dialect::default()).effect;
                if reads == Effect::Read {
                    return true;
                }
                let overloads = self.facts.functions.get_mut(name);
                if let Some(overload) = overloads.and_then(|all| all.get_mut(*index)) {
                    overload.volatile = true;
                }
                false
            });
            let done = pending.len() == before;
            self.defaults = pending;
            if done {
                return;
            }
        }
    }

    /// Marks every view, table and domain whose definition is not a plain read, then whatever
    /// mentions a marked name, until nothing is new. Cycles end because a name is marked once.
    fn spread_through_definitions(&mut self) {
        let definitions = std::mem::take(&mut self.definitions);
        let mut mentioned_by: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, definition) in definitions.iter().enumerate() {
            for name in names_in(&definition.text) {
                let users = mentioned_by.entry(name).or_default();
                if users.last() != Some(&index) {
                    users.push(index);
                }
            }
        }
        let verdicts: Vec<_> = definitions
            .iter()
            .map(|definition| plan(definition.text.as_bytes(), &self.facts, Dialect::default()))
            .collect();
        let mut marked = vec![false; definitions.len()];
        let mut queue = Vec::new();
        for (index, verdict) in verdicts.iter().enumerate() {
            if verdict.effect != Effect::Read {
                queue.push((index, verdict.reason.clone().into_owned()));
            }
        }
        while let Some((index, reason)) = queue.pop() {
            let Some((definition, seen)) = definitions.get(index).zip(marked.get_mut(index)) else {
                continue;
            };
            if std::mem::replace(seen, true) {
                continue;
            }
            self.mark(definition, &reason);
            for &user in mentioned_by.get(&*definition.name).into_iter().flatten() {
                queue.push((user, format!("reads {}", definition.name)));
            }
        }
    }

    fn mark(&mut self, definition: &Definition, reason: &str) {
        let name = &definition.name;
        match definition.owner {
            Owner::View => self.relation(name, format!("view {name}: {reason}")),
            Owner::Policy => self.relation(name, format!("row policy of {name}: {reason}")),
            Owner::Domain => {
                let reason = format!("domain {name}: {reason}");
                self.facts.types.insert(name.clone(), reason.into());
            }
        }
    }
}

/// Every identifier in a definition, also those that are no relations.
fn names_in(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let Ok(mut lexer) = Lexer::new(text.as_bytes(), Dialect::default()) else { return names };
    while let Ok(Some(token)) = lexer.next_token() {
        if let Some(name) = identifier(text.as_bytes(), &token) {
            names.push(name.into_owned());
        }
    }
    names
}

//! Owns what a whole statement's table references mean together: which shards' rows they are, and
//! which levels of it every shard can answer exactly for its own rows.
//!
//! A row set is *spread* when the rows of the whole are those of all shards put together. That is
//! proven here from the tree of joins and the equalities of keys; everything else is only right
//! where all rows are on one shard.

use super::conditions::{Fact, Named, Reader};
use super::query::{
    Alias, Body, Clause, Cte, From, JoinKind, Nested, On, Query, Relation, Select, Span,
};
use super::references::{
    Found, KeyColumn, MAX_REFERENCES, Node, Reference, References, Source, Tie, Using,
};
use super::schema::Meaning;
use super::{Catalog, Refusal};
use crate::planner::Text;
use crate::shard_map::ShardId;

mod equal;
mod exposed;
mod from;
mod grouping;
mod joins;

pub(crate) use grouping::Grouping;

/// Where the rows of a level are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Every shard has all of them.
    Same,
    /// Each is on one shard.
    Spread {
        /// References each row's shard is that of.
        refs: Vec<usize>,
        /// Those among them that have a row in every row.
        sure: Vec<usize>,
    },
    /// Only one shard with everything gives them: the construct, and why in a sentence.
    Whole(&'static str, String),
}

/// What is known of a query.
#[derive(Debug, Clone)]
pub(crate) struct Level {
    pub(crate) rows: Rows,
    /// Names of its columns, when they are known.
    columns: Option<Vec<Box<str>>>,
    /// Columns through which conditions reach keys.
    keys: Vec<(Box<str>, Vec<KeyColumn>)>,
    /// The same for its only column.
    only: Vec<KeyColumn>,
    /// None of its columns is NULL because of an outer join.
    strict: bool,
    /// All references to sharded tables in it, at any depth.
    bases: Vec<usize>,
    /// Some level of it has aggregates, which may be those of a level around it.
    aggregated: bool,
}

/// A SELECT and the rows it has after WHERE.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// The token SELECT.
    pub(crate) at: usize,
    pub(crate) rows: Rows,
    pub(crate) scope: usize,
    grouping: Grouping,
}

impl Block {
    /// The rows of its answer, LIMIT aside.
    pub(crate) fn level_rows(&self) -> Rows {
        self.grouping.rows(self.rows.clone())
    }
}

/// A query of WITH that can be seen.
struct Visible {
    name: Box<str>,
    level: Level,
    used: bool,
    /// It is named in one place only.
    once: bool,
}

/// A statement's references and levels.
pub(crate) struct Levels<'a> {
    pub(crate) catalog: Catalog<'a>,
    pub(crate) text: &'a Text<'a>,
    pub(crate) reader: Reader<'a>,
    pub(crate) references: References<'a>,
    /// Shards whose own tables are named.
    pub(crate) also: Vec<ShardId>,
    /// It names a reference table.
    pub(crate) reference: bool,
    /// It names a sharded table.
    pub(crate) sharded: bool,
    /// It takes a sample of a sharded table.
    pub(crate) sampled: bool,
    /// It names a system catalog.
    pub(crate) system: bool,
    /// The first name that cannot be used.
    pub(crate) refusal: Option<Box<Refusal>>,
    /// The first relation that is not known.
    pub(crate) unknown: Option<Box<str>>,
    pub(crate) blocks: Vec<Block>,
    /// Rows of the query read last, LIMIT aside.
    pub(crate) united_rows: Rows,
    visible: Vec<Visible>,
    /// Levels of leaves that are sub-selects, by reference.
    inner: Vec<(usize, Level)>,
    /// Names of relations behind references.
    tables: Vec<(usize, Option<Box<str>>, Box<str>)>,
    /// References that are LATERAL.
    lateral: Vec<usize>,
}

/// What is said of sub-selects that are not tied to the rows around them.
const UNTIED: &str = "A sub-select reads rows of other shards than the row it is asked for.";

impl<'a> Levels<'a> {
    pub(crate) fn new(catalog: Catalog<'a>, reader: Reader<'a>) -> Self {
        let key_types = catalog.map.distributions.iter().map(|found| &*found.key_types).collect();
        let references = References { key_types, ..References::default() };
        Self {
            catalog,
            text: reader.text,
            reader,
            references,
            also: Vec::new(),
            reference: false,
            sharded: false,
            sampled: false,
            system: false,
            refusal: None,
            unknown: None,
            blocks: Vec::new(),
            united_rows: Rows::Same,
            visible: Vec::new(),
            inner: Vec::new(),
            tables: Vec::new(),
            lateral: Vec::new(),
        }
    }

    /// Reads a query that stands in a scope, or in none.
    pub(crate) fn query(&mut self, query: &Query, parent: Option<usize>) -> Level {
        let outside = self.visible.len();
        if query.recursive {
            // All of them see each other.
            self.visible.extend(query.with.iter().map(|cte| Visible::unread(&cte.name)));
        }
        for (index, cte) in query.with.iter().enumerate() {
            let itself = query.recursive.then_some(outside + index);
            self.with(cte, itself, parent);
        }
        let mut level = match &query.body {
            Body::Select(select) => self.select(select, query, parent),
            Body::Values => {
                let scope = self.references.scope(Vec::new(), parent);
                let mut level = Level::same(None);
                self.outer_nested(&query.nested, scope, &mut level);
                level
            }
            Body::Table(relation) => {
                let node = self.relation(relation);
                let scope = self.references.scope(vec![node], parent);
                let mut level = self.leaf_level(node);
                self.outer_nested(&query.nested, scope, &mut level);
                level
            }
            Body::Branches(branches, operators) => {
                let all = operators
                    .iter()
                    .all(|operator| operator.all && operator.kind == super::query::SetKind::Union);
                let levels: Vec<Level> =
                    branches.iter().map(|branch| self.query(branch, parent)).collect();
                let mut level = united(levels, all);
                let scope = self.references.scope(Vec::new(), parent);
                self.outer_nested(&query.nested, scope, &mut level);
                level
            }
        };
        self.visible.truncate(outside);
        self.united_rows = level.rows.clone();
        if query.limit.is_some() || query.offset.is_some() {
            level.keys.clear();
            level.only.clear();
            let why = "A LIMIT inside of the statement counts the rows of all shards.";
            level.rows = Rows::Whole("limit", why.to_string());
        }
        level
    }

    fn with(&mut self, cte: &Cte, itself: Option<usize>, parent: Option<usize>) {
        let mut level = self.query(&cte.query, parent);
        let recurses = itself.and_then(|at| self.visible.get(at)).is_some_and(|cte| cte.used);
        if recurses {
            level.keys.clear();
            level.only.clear();
            if !level.bases.is_empty() || level.rows != Rows::Same {
                level.rows = Visible::followed();
            }
        }
        if cte.columns.is_some() {
            level.keys.clear();
            level.columns.clone_from(&cte.columns);
        }
        let named = (0..self.text.len()).filter(|&at| {
            self.text.is_identifier(at)
                && self.text.kind(at + 1) != Some(crate::lexer::TokenKind::Dot)
                && self.text.name(at).is_some_and(|name| *name == *cte.name)
        });
        let once = named.count() <= 2;
        let read = Visible { name: cte.name.clone(), level, used: false, once };
        match itself.and_then(|at| self.visible.get_mut(at)) {
            Some(unread) => *unread = read,
            None => self.visible.push(read),
        }
    }

    fn select(&mut self, select: &Select, query: &Query, parent: Option<usize>) -> Level {
        let scope = self.references.scope(Vec::new(), parent);
        for item in &select.from {
            let node = self.item(item, scope);
            if let Some(scope) = self.references.scopes.get_mut(scope) {
                scope.roots.push(node);
            }
        }
        let mut nested: Vec<(usize, Clause, Level)> = Vec::new();
        for inner in select.nested.iter().chain(&query.nested) {
            nested.push((inner.at.start, inner.clause, self.nested(inner, scope)));
        }
        if let Some(filter) = &select.filter {
            self.filter(filter.clone(), scope, &nested);
        }
        let mut rows = self.joined_rows(scope);
        for (_, _, inner) in &nested {
            rows = self.with_nested(rows, inner);
        }
        let grouping = Grouping::read(self, select, query, scope);
        let at = select.at.start;
        self.blocks.push(Block { at, rows: rows.clone(), scope, grouping: grouping.clone() });
        let mut bases: Vec<usize> =
            nested.iter().flat_map(|(_, _, inner)| inner.bases.iter().copied()).collect();
        bases.extend(self.bases_of(scope));
        let aggregated = grouping.is_aggregated()
            || nested.iter().any(|(_, _, inner)| inner.aggregated)
            || self
                .leaves_of(scope)
                .iter()
                .any(|leaf| self.inner_level(*leaf).is_some_and(|inner| inner.aggregated));
        let keys = self.exposed(select, scope, &grouping);
        let only = match (select.targets.as_slice(), keys.as_slice()) {
            ([_], [(_, columns)]) => columns.clone(),
            _ => Vec::new(),
        };
        Level {
            rows: grouping.rows(rows),
            columns: exposed::columns_of(select),
            keys,
            only,
            strict: self.is_strict(scope),
            bases,
            aggregated,
        }
    }

    /// What a sub-select's rows do to those of the level around it.
    fn with_nested(&self, rows: Rows, inner: &Level) -> Rows {
        match (&rows, &inner.rows) {
            (Rows::Whole(..), _) => rows,
            // An aggregate of outer columns belongs to the level around it.
            (_, Rows::Same) if inner.aggregated => {
                Rows::Whole("sub-select", "A sub-select has aggregates.".to_string())
            }
            (_, Rows::Whole(what, why)) if inner.bases.is_empty() => Rows::Whole(what, why.clone()),
            (_, Rows::Same) if inner.bases.is_empty() => rows,
            (Rows::Spread { refs, .. }, _) if self.all_tied(refs, &inner.bases) => rows,
            _ => Rows::Whole("sub-select", UNTIED.to_string()),
        }
    }

    fn nested(&mut self, inner: &Nested, scope: usize) -> Level {
        let parent = match inner.clause {
            // What ON sees is less than what the whole FROM has.
            Clause::From => {
                let between = self.references.scope(Vec::new(), Some(scope));
                if let Some(between) = self.references.scopes.get_mut(between) {
                    between.uncertain = true;
                }
                between
            }
            _ => scope,
        };
        self.query(&inner.query, Some(parent))
    }

    /// Sub-selects of clauses after a set operation, and of VALUES.
    fn outer_nested(&mut self, nested: &[Nested], scope: usize, level: &mut Level) {
        for inner in nested {
            let inner = self.nested(inner, scope);
            let rows = std::mem::replace(&mut level.rows, Rows::Same);
            level.rows = self.with_nested(rows, &inner);
            level.bases.extend(inner.bases);
            level.aggregated |= inner.aggregated;
        }
    }

    /// Whether each of these references has only rows of the shard of one of those.
    fn all_tied(&self, to: &[usize], bases: &[usize]) -> bool {
        bases.iter().all(|base| to.iter().any(|to| self.flows(*to, *base)))
    }

    /// Whether rows of `to` only matter with rows of `from` of the same key.
    fn flows(&self, from: usize, to: usize) -> bool {
        let (Some(first), Some(second)) = (self.references.base(from), self.references.base(to))
        else {
            return false;
        };
        first.distribution == second.distribution
            && (0..first.key_columns.len()).all(|column| {
                let (mut seen, mut next) = (vec![(from, column)], 0);
                while let Some(&here) = seen.get(next) {
                    next += 1;
                    for (source, target) in &self.references.flows {
                        if *source == here && !seen.contains(target) {
                            seen.push(*target);
                        }
                    }
                }
                seen.contains(&(to, column))
            })
    }

    /// The references to sharded tables behind the names of a scope.
    fn bases_of(&self, scope: usize) -> Vec<usize> {
        let mut bases = Vec::new();
        for leaf in self.leaves_of(scope) {
            match self.references.all.get(leaf).map(|reference| &reference.source) {
                Some(Source::Sharded(_)) => bases.push(leaf),
                Some(Source::Derived(_)) => {
                    bases.extend(self.inner_level(leaf).into_iter().flat_map(|l| l.bases.clone()));
                }
                _ => {}
            }
        }
        bases
    }

    fn leaves_of(&self, scope: usize) -> Vec<usize> {
        let roots = self.references.scopes.get(scope).map(|scope| scope.roots.as_slice());
        let roots = roots.unwrap_or_default().iter();
        roots.flat_map(|root| self.references.leaves(*root)).collect()
    }

    fn inner_level(&self, leaf: usize) -> Option<&Level> {
        self.inner.iter().find(|(at, _)| *at == leaf).map(|(_, level)| level)
    }

    /// Reads a table that is named alone.
    pub(crate) fn table(&mut self, relation: &Relation) {
        self.relation(relation);
    }

    fn refuse(&mut self, refusal: Box<Refusal>) {
        self.refusal.get_or_insert(refusal);
    }
}

impl Visible {
    /// A query of WITH RECURSIVE before it was read.
    fn unread(name: &str) -> Self {
        let mut level = Level::same(None);
        level.rows = Self::followed();
        Self { name: name.into(), level, used: false, once: false }
    }

    fn followed() -> Rows {
        let why = "A recursive query follows rows from shard to shard.";
        Rows::Whole("recursive", why.to_string())
    }
}

impl Rows {
    pub(crate) fn is_spread(&self) -> bool {
        matches!(self, Self::Spread { .. })
    }
}

impl Level {
    fn same(columns: Option<Vec<Box<str>>>) -> Self {
        Self {
            rows: Rows::Same,
            columns,
            keys: Vec::new(),
            only: Vec::new(),
            strict: false,
            bases: Vec::new(),
            aggregated: false,
        }
    }
}

/// The level of a set operation.
fn united(levels: Vec<Level>, union_all: bool) -> Level {
    let mut result = Level::same(None);
    let single = levels.len() == 1;
    let spread = levels.iter().filter(|level| level.rows.is_spread()).count();
    let same = levels.iter().filter(|level| level.rows == Rows::Same).count();
    result.rows = if same == levels.len() {
        Rows::Same
    } else if spread == levels.len() && union_all {
        Rows::Spread { refs: Vec::new(), sure: Vec::new() }
    } else {
        let whole = levels.iter().find_map(|level| match &level.rows {
            Rows::Whole(what, why) => Some(Rows::Whole(what, why.clone())),
            _ => None,
        });
        let why = "A set operation compares rows of all shards.".to_string();
        whole.unwrap_or(Rows::Whole("set-operation", why))
    };
    if single {
        return levels.into_iter().next().unwrap_or(result);
    }
    result.columns = levels.first().and_then(|level| level.columns.clone());
    result.aggregated = levels.iter().any(|level| level.aggregated);
    result.bases = levels.into_iter().flat_map(|level| level.bases).collect();
    result
}

//! Owns the table references of a statement, the scopes in which their names are seen, and which
//! columns of keys are equal in every row that matters.

use super::conditions::{Limited, Named};
use super::query::JoinKind;
use super::{Condition, KeyFilter};
use crate::key::KeyType;
use crate::shard_map::Table;

/// Most table references of a statement that names a sharded table.
pub(crate) const MAX_REFERENCES: usize = 256;

/// A column of the key of a reference.
pub(crate) type KeyColumn = (usize, usize);

/// What a name in FROM stands for.
#[derive(Debug, Clone)]
pub(crate) enum Source<'a> {
    /// A sharded table.
    Sharded(&'a Table),
    /// The same rows on every shard.
    Same,
    /// Rows of one shard.
    On,
    /// A sub-select or WITH query; the columns through which keys are seen.
    Derived(Vec<(Box<str>, Vec<KeyColumn>)>),
}

/// One name in one FROM.
#[derive(Debug, Clone)]
pub(crate) struct Reference<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) alias: Option<Box<str>>,
    /// All columns by their names here; `None` when they are not known.
    pub(crate) columns: Option<Vec<Box<str>>>,
    /// Names given to the columns hide those of the key.
    pub(crate) renamed: bool,
    pub(crate) conditions: Vec<(usize, Condition)>,
}

/// The tree of joins over references.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Leaf(usize),
    Join {
        kind: JoinKind,
        left: usize,
        right: usize,
        using: Using,
        /// An alias of the join hides the names in it.
        hidden: bool,
    },
}

/// Columns that a join merges.
#[derive(Debug, Clone)]
pub(crate) enum Using {
    No,
    Natural,
    Columns(Vec<Box<str>>),
}

/// Where names of one query level, or of one ON, are looked up.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) roots: Vec<usize>,
    pub(crate) parent: Option<usize>,
    /// Names of the level above cannot be told.
    pub(crate) uncertain: bool,
}

/// Equality of two columns of keys, found at a node of the tree, in WHERE, or between levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tie {
    pub(crate) a: KeyColumn,
    pub(crate) b: KeyColumn,
    /// The join whose ON has it; `None` for WHERE.
    pub(crate) node: Option<usize>,
}

/// What a column's name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// These columns of keys, all equal, of references under this leaf, so many levels above.
    Key { columns: Vec<KeyColumn>, leaf: usize, above: usize },
    /// No column of a key, or one that could not be told.
    Other,
}

/// All references of a statement.
#[derive(Debug, Default)]
pub(crate) struct References<'a> {
    pub(crate) all: Vec<Reference<'a>>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) scopes: Vec<Scope>,
    /// What is said of the second column when it is said of the first.
    pub(crate) flows: Vec<(KeyColumn, KeyColumn)>,
    pub(crate) ties: Vec<Tie>,
    /// Types of the keys, by distribution.
    pub(crate) key_types: Vec<&'a [KeyType]>,
}

enum Lookup {
    Key(Vec<KeyColumn>, usize),
    /// The column is there, and is not of a key, or more than one thing.
    Other,
    /// It may be there.
    Perhaps,
    No,
}

impl<'a> References<'a> {
    pub(crate) fn add(&mut self, reference: Reference<'a>) -> usize {
        self.all.push(reference);
        self.nodes.push(Node::Leaf(self.all.len() - 1));
        self.nodes.len() - 1
    }

    pub(crate) fn scope(&mut self, roots: Vec<usize>, parent: Option<usize>) -> usize {
        self.scopes.push(Scope { roots, parent, uncertain: false });
        self.scopes.len() - 1
    }

    /// The leaves under a node.
    pub(crate) fn leaves(&self, node: usize) -> Vec<usize> {
        let (mut leaves, mut pending) = (Vec::new(), vec![node]);
        while let Some(node) = pending.pop() {
            match self.nodes.get(node) {
                Some(Node::Leaf(leaf)) => leaves.push(*leaf),
                Some(Node::Join { left, right, .. }) => pending.extend([*right, *left]),
                None => {}
            }
        }
        leaves
    }

    /// What a column's name means in a scope.
    pub(crate) fn find(&self, scope: usize, column: &Named) -> Found {
        let (mut here, mut above) = (Some(scope), 0);
        while let Some(scope) = here.and_then(|scope| self.scopes.get(scope)) {
            let found: Vec<Lookup> = scope
                .roots
                .iter()
                .map(|root| self.in_node(*root, column))
                .filter(|found| !matches!(found, Lookup::No))
                .collect();
            match one_of(found) {
                Lookup::Key(columns, leaf) => return Found::Key { columns, leaf, above },
                Lookup::Other | Lookup::Perhaps => return Found::Other,
                Lookup::No if scope.uncertain => return Found::Other,
                Lookup::No => {}
            }
            here = scope.parent;
            above += 1;
        }
        Found::Other
    }

    /// Whether some reference of the scope itself has, or may have, a column of this name.
    pub(crate) fn may_have(&self, scope: usize, column: &Named) -> bool {
        let roots = self.scopes.get(scope).map(|scope| scope.roots.as_slice()).unwrap_or_default();
        roots.iter().any(|root| !matches!(self.in_node(*root, column), Lookup::No))
    }

    /// The same among the references under one node.
    pub(crate) fn find_under(&self, node: usize, column: &Named) -> Option<Vec<KeyColumn>> {
        match self.in_node(node, column) {
            Lookup::Key(columns, _) => Some(columns),
            _ => None,
        }
    }

    fn in_node(&self, node: usize, column: &Named) -> Lookup {
        match self.nodes.get(node) {
            None => Lookup::Other,
            Some(Node::Leaf(leaf)) => self.in_leaf(*leaf, column),
            Some(Node::Join { kind, left, right, using, hidden }) => {
                if *hidden {
                    // Its alias and its columns could be what is meant.
                    return Lookup::Perhaps;
                }
                let sides = [*left, *right].map(|side| self.in_node(side, column));
                let merged = column.qualifier.is_none()
                    && match using {
                        Using::No => false,
                        Using::Natural => !matches!(sides, [Lookup::No, _] | [_, Lookup::No]),
                        Using::Columns(columns) => columns.contains(&column.name),
                    };
                let [left, right] = sides;
                match (merged, kind, using) {
                    (false, ..) => one_of(vec![left, right]),
                    (true, JoinKind::Inner, Using::Columns(_)) => match (left, right) {
                        (Lookup::Key(mut columns, leaf), Lookup::Key(more, _)) => {
                            columns.extend(more);
                            Lookup::Key(columns, leaf)
                        }
                        (Lookup::Key(columns, leaf), _) | (_, Lookup::Key(columns, leaf)) => {
                            Lookup::Key(columns, leaf)
                        }
                        _ => Lookup::Other,
                    },
                    (true, JoinKind::Left, Using::Columns(_)) => certain(left),
                    (true, JoinKind::Right, Using::Columns(_)) => certain(right),
                    _ => Lookup::Other,
                }
            }
        }
    }

    fn in_leaf(&self, leaf: usize, column: &Named) -> Lookup {
        let Some(reference) = self.all.get(leaf) else { return Lookup::Other };
        if let Some(qualifier) = &column.qualifier {
            match &reference.alias {
                Some(alias) if alias == qualifier => {}
                _ => return Lookup::No,
            }
        }
        let key: Vec<KeyColumn> = match &reference.source {
            _ if reference.renamed => Vec::new(),
            Source::Sharded(table) => {
                let at = table.key_columns.iter().position(|key| *key == column.name);
                at.map(|at| (leaf, at)).into_iter().collect()
            }
            Source::Derived(keys) => {
                let key = keys.iter().find(|(name, _)| *name == column.name);
                key.map(|(_, columns)| columns.clone()).unwrap_or_default()
            }
            Source::Same | Source::On => Vec::new(),
        };
        if !key.is_empty() {
            return Lookup::Key(key, leaf);
        }
        match &reference.columns {
            _ if column.qualifier.is_some() => Lookup::Other,
            Some(columns) if columns.contains(&column.name) => Lookup::Other,
            Some(_) => Lookup::No,
            None => Lookup::Perhaps,
        }
    }

    fn key_type(&self, column: KeyColumn) -> Option<KeyType> {
        match &self.all.get(column.0)?.source {
            Source::Sharded(table) => {
                self.key_types.get(table.distribution)?.get(column.1).copied()
            }
            _ => None,
        }
    }

    /// Whether equal values of both columns are one value.
    pub(crate) fn comparable(&self, a: KeyColumn, b: KeyColumn) -> bool {
        matches!((self.key_type(a), self.key_type(b)), (Some(a), Some(b)) if agree(a, b))
    }

    /// Notes a condition, unless its constants are of another type than the column.
    pub(crate) fn limit(&mut self, column: KeyColumn, limited: &Limited) {
        let ty = self.key_type(column);
        let fits = |cast: &KeyType| ty.is_some_and(|ty| agree(*cast, ty));
        if limited.casts.iter().all(fits)
            && let Some(reference) = self.all.get_mut(column.0)
        {
            reference.conditions.push((column.1, limited.condition.clone()));
        }
    }

    /// Sharded references whose rows are those of a reference.
    pub(crate) fn base(&self, reference: usize) -> Option<&'a Table> {
        match self.all.get(reference)?.source {
            Source::Sharded(table) => Some(table),
            _ => None,
        }
    }

    /// Whether two references have the same keys in all rows that these ties let through.
    pub(crate) fn tied(&self, a: usize, b: usize, ties: &[&Tie]) -> bool {
        let (Some(first), Some(second)) = (self.base(a), self.base(b)) else { return false };
        first.distribution == second.distribution
            && !first.key_columns.is_empty()
            && (0..first.key_columns.len()).all(|column| {
                let (x, y) = ((a, column), (b, column));
                ties.iter().any(|tie| (tie.a, tie.b) == (x, y) || (tie.a, tie.b) == (y, x))
            })
    }

    /// One filter per reference to a sharded table, those that say the same only once.
    pub(crate) fn filters(&self) -> Vec<KeyFilter> {
        let mut filters: Vec<KeyFilter> = Vec::new();
        for at in 0..self.all.len() {
            let Some(table) = self.base(at) else { continue };
            let mut conditions = Vec::new();
            for column in 0..table.key_columns.len() {
                let Ok(number) = u8::try_from(column) else { continue };
                for condition in self.said_of((at, column)) {
                    if !conditions.contains(&(number, condition.clone())) {
                        conditions.push((number, condition));
                    }
                }
            }
            let filter = KeyFilter { distribution: table.distribution, conditions };
            if !filters.contains(&filter) {
                filters.push(filter);
            }
        }
        filters
    }

    /// The conditions of a column and of all whose conditions flow to it.
    fn said_of(&self, column: KeyColumn) -> Vec<Condition> {
        let (mut seen, mut next) = (vec![column], 0);
        let mut conditions = Vec::new();
        while let Some(&here) = seen.get(next) {
            next += 1;
            if let Some(reference) = self.all.get(here.0) {
                let own = reference.conditions.iter().filter(|(at, _)| *at == here.1);
                conditions.extend(own.map(|(_, condition)| condition.clone()));
            }
            for (from, to) in &self.flows {
                if *to == here && !seen.contains(from) && self.comparable(*from, *to) {
                    seen.push(*from);
                }
            }
        }
        conditions
    }
}

/// Whether equal values of the types are one key.
fn agree(a: KeyType, b: KeyType) -> bool {
    a == b || a.is_int() && b.is_int() || a.is_text() && b.is_text()
}

/// The only one that was found; of several nobody can tell.
fn one_of(found: Vec<Lookup>) -> Lookup {
    let mut result = Lookup::No;
    for found in found {
        result = match (result, found) {
            (Lookup::No, found) => found,
            (found, Lookup::No) => found,
            // A key's column beside what may have it too: were it there, the name would be
            // ambiguous, which the server refuses.
            (Lookup::Key(columns, leaf), Lookup::Perhaps)
            | (Lookup::Perhaps, Lookup::Key(columns, leaf)) => Lookup::Key(columns, leaf),
            (Lookup::Perhaps, Lookup::Perhaps) => Lookup::Perhaps,
            _ => Lookup::Other,
        };
    }
    result
}

fn certain(found: Lookup) -> Lookup {
    match found {
        Lookup::Key(columns, leaf) => Lookup::Key(columns, leaf),
        _ => Lookup::Other,
    }
}

//! Owns what the items of FROM add: references, nodes of the tree of joins, and what ON and USING
//! say of keys.

use super::{
    Alias, Fact, Found, From, JoinKind, Level, Levels, MAX_REFERENCES, Meaning, Named, Node, On,
    Reference, Refusal, Relation, Rows, Source, Using,
};
use crate::facts::schema::{Column, Lookup};
use crate::sharding::schema::Called;

/// A column that a star shows.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) alias: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) column: Option<Column>,
}

impl<'a> Levels<'a> {
    /// Adds an item of FROM to a scope, whose earlier items it may see: its node.
    pub(super) fn item(&mut self, item: &From, scope: usize) -> usize {
        match item {
            From::Relation(relation) => self.relation(relation),
            From::Query { query, lateral, alias, .. } => {
                let above = self.references.scopes.get(scope).and_then(|scope| scope.parent);
                let level = self.query(query, if *lateral { Some(scope) } else { above });
                let node = self.derived(level, alias.as_ref());
                if *lateral {
                    self.lateral.push(self.references.all.len() - 1);
                }
                node
            }
            From::Function { alias } => {
                let name = alias.as_ref().and_then(|alias| alias.name.clone());
                self.add(Source::Same, name, None, false)
            }
            From::Join { kind, on, left, right, alias } => {
                let left = self.item(left, scope);
                // LATERAL sees what stands before it in the same join.
                self.roots(scope).push(left);
                let right = self.item(right, scope);
                self.roots(scope).pop();
                let using = match on {
                    On::Natural => Using::Natural,
                    On::Using(columns) => Using::Columns(columns.clone()),
                    On::Nothing | On::Condition(_) => Using::No,
                };
                // Names inside are seen by its own ON.
                let node = Node::Join { kind: *kind, left, right, using, hidden: false };
                self.references.nodes.push(node);
                let node = self.references.nodes.len() - 1;
                self.join_condition(node, (*kind, left, right), on, scope);
                if alias.is_some()
                    && let Some(Node::Join { hidden, .. }) = self.references.nodes.get_mut(node)
                {
                    *hidden = true;
                }
                node
            }
        }
    }

    fn roots(&mut self, scope: usize) -> &mut Vec<usize> {
        let found = self.references.scopes.get_mut(scope);
        &mut found.expect("invariant: a scope is made before its items").roots
    }

    fn join_condition(
        &mut self,
        node: usize,
        (kind, left, right): (JoinKind, usize, usize),
        on: &On,
        scope: usize,
    ) {
        let (on_left, on_right) = (self.references.leaves(left), self.references.leaves(right));
        let restricts = |leaf: usize| match kind {
            JoinKind::Inner => true,
            JoinKind::Left => on_right.contains(&leaf),
            JoinKind::Right => on_left.contains(&leaf),
            JoinKind::Full => false,
        };
        match on {
            On::Condition(condition) => {
                let above = self.references.scopes.get(scope).and_then(|scope| scope.parent);
                let inside = self.references.scope(vec![node], above);
                for fact in self.reader.facts(condition.clone()) {
                    self.join_fact(fact, inside, node, &restricts);
                }
            }
            On::Using(columns) => {
                for name in columns {
                    let column = Named { qualifier: None, name: name.clone() };
                    let first = self.references.find_under(left, &column);
                    let second = self.references.find_under(right, &column);
                    let (Some(first), Some(second)) = (first, second) else { continue };
                    let found = |columns: Vec<_>, leaves: &[usize]| Found::Key {
                        columns,
                        leaf: leaves.first().copied().unwrap_or(0),
                        above: 0,
                    };
                    let found = (found(first, &on_left), found(second, &on_right));
                    self.equal(found, Some(node), &restricts);
                }
            }
            On::Nothing | On::Natural => {}
        }
    }

    fn join_fact(
        &mut self,
        fact: Fact,
        scope: usize,
        node: usize,
        restricts: &dyn Fn(usize) -> bool,
    ) {
        match fact {
            Fact::Limited(column, limited) => {
                if let Found::Key { columns, leaf, above: 0 } = self.references.find(scope, &column)
                    && restricts(leaf)
                {
                    columns.iter().for_each(|key| self.references.limit(*key, &limited));
                }
            }
            Fact::Equal(a, b) => {
                let found = (self.references.find(scope, &a), self.references.find(scope, &b));
                self.equal(found, Some(node), restricts);
            }
            Fact::Among(..) | Fact::NotAmong(..) => {}
        }
    }

    /// The name of a relation, or of a WITH query.
    pub(super) fn relation(&mut self, relation: &Relation) -> usize {
        let alias = relation.alias.as_ref();
        if relation.schema.is_none()
            && let Some(at) = self.visible.iter().rposition(|cte| cte.name == relation.name)
            && let Some(cte) = self.visible.get_mut(at)
        {
            cte.used = true;
            let mut level = cte.level.clone();
            if !cte.once {
                // A condition on one use says nothing of the others.
                level.keys.clear();
                level.only.clear();
            }
            let name = alias.and_then(|alias| alias.name.clone());
            let given = Alias {
                name: name.or_else(|| Some(relation.name.clone())),
                columns: alias.and_then(|alias| alias.columns.clone()),
            };
            return self.derived(level, Some(&given));
        }
        let (schema, name) = (relation.schema.as_deref(), &*relation.name);
        if relation.at.clone().any(|at| self.text.is_foreign_name(at)) {
            let refusal = Refusal::new("name", "the name of a table cannot be compared")
                .detail("It is not ASCII, and the client's encoding is not UTF8.");
            self.refuse(Box::new(refusal));
        }
        let source = self.source(relation);
        let facts = self.catalog.facts.schema();
        let known = match &source {
            Source::Sharded(table) => facts.columns(&table.schema, &table.name),
            _ => match facts.lookup(schema, name) {
                Lookup::One(found) => found.columns.as_slice(),
                _ => &[],
            },
        };
        let columns: Option<Vec<Box<str>>> =
            (!known.is_empty()).then(|| known.iter().map(|column| column.name.clone()).collect());
        let alias_name = alias.and_then(|alias| alias.name.clone());
        let renamed = alias.is_some_and(|alias| alias.columns.is_some());
        let name = alias_name.or_else(|| Some(relation.name.clone()));
        if self.references.all.len() >= MAX_REFERENCES {
            let refusal = Refusal::new("many-tables", "too many table references")
                .detail(format!("A statement may have {MAX_REFERENCES} where tables are sharded."));
            self.refuse(Box::new(refusal));
        }
        let node = self.add(source, name, columns, renamed);
        if !renamed {
            let leaf = self.references.all.len() - 1;
            self.tables.push((leaf, relation.schema.clone(), relation.name.clone()));
        }
        node
    }

    fn source(&mut self, relation: &Relation) -> Source<'a> {
        let (schema, name) = (relation.schema.as_deref(), &*relation.name);
        match self.catalog.meaning(schema, name) {
            Meaning::Sharded(table) => {
                self.sharded = true;
                if relation.sampled {
                    self.sampled = true;
                }
                Source::Sharded(table)
            }
            Meaning::Reference => {
                self.reference = true;
                Source::Same
            }
            Meaning::On(shard) => self.on(shard),
            Meaning::System => {
                self.system = true;
                self.on(self.catalog.map.home)
            }
            Meaning::Refused(refusal) => {
                self.refuse(refusal);
                Source::Same
            }
            Meaning::Unknown => {
                self.unknown.get_or_insert_with(|| name.into());
                self.on(self.catalog.map.home)
            }
        }
    }

    fn on(&mut self, shard: crate::shard_map::ShardId) -> Source<'a> {
        if !self.also.contains(&shard) {
            self.also.push(shard);
        }
        Source::On
    }

    fn derived(&mut self, level: Level, alias: Option<&Alias>) -> usize {
        let renamed = alias.is_some_and(|alias| alias.columns.is_some());
        let keys = if renamed { Vec::new() } else { level.keys.clone() };
        let columns = if renamed { None } else { level.columns.clone() };
        let name = alias.and_then(|alias| alias.name.clone());
        let node = self.add(Source::Derived(keys), name, columns, renamed);
        self.inner.push((self.references.all.len() - 1, level));
        node
    }

    fn add(
        &mut self,
        source: Source<'a>,
        alias: Option<Box<str>>,
        columns: Option<Vec<Box<str>>>,
        renamed: bool,
    ) -> usize {
        let conditions = Vec::new();
        self.references.add(Reference { source, alias, columns, renamed, conditions })
    }

    /// The level of a statement that is nothing but a table.
    pub(super) fn leaf_level(&mut self, node: usize) -> Level {
        let leaf = self.references.leaves(node).first().copied().unwrap_or(0);
        let mut level = Level::same(None);
        level.rows = self.leaf_rows(leaf);
        if let Some(reference) = self.references.all.get(leaf) {
            level.columns.clone_from(&reference.columns);
            match &reference.source {
                Source::Sharded(table) => {
                    let keys = table.key_columns.iter().enumerate();
                    level.keys = keys.map(|(at, key)| (key.clone(), vec![(leaf, at)])).collect();
                    level.bases.push(leaf);
                }
                Source::Derived(keys) => level.keys.clone_from(keys),
                Source::Same | Source::On => {}
            }
        }
        if let Some(inner) = self.inner_level(leaf) {
            level.bases.extend(inner.bases.clone());
        }
        level
    }

    /// Functions called anywhere in the text.
    pub(crate) fn functions(&mut self, at: super::Span) {
        let Called { refusal, home } = self.catalog.called(self.text, at);
        if let Some(refusal) = refusal {
            self.refuse(refusal);
        }
        if home {
            self.on(self.catalog.map.home);
        }
    }

    /// The column of a table that a name means in a scope.
    pub(crate) fn column(&self, scope: usize, named: &Named) -> Option<Column> {
        let roots = &self.references.scopes.get(scope)?.roots;
        let leaves = roots.iter().flat_map(|root| self.references.leaves(*root));
        let mut found = None;
        for leaf in leaves {
            let reference = self.references.all.get(leaf)?;
            if named.qualifier.is_some() && named.qualifier != reference.alias {
                continue;
            }
            let columns = reference.columns.as_ref()?;
            if !columns.contains(&named.name) {
                continue;
            }
            let column = self.table_of(leaf)?.column(&named.name)?;
            // A column that a join merges may be either side's.
            if found.is_some() {
                return None;
            }
            found = Some(column.clone());
        }
        found
    }

    fn table_of(&self, leaf: usize) -> Option<&'a crate::facts::schema::Relation> {
        let (schema, name) =
            self.tables.iter().find(|(at, ..)| *at == leaf).map(|(_, s, n)| (s, n))?;
        match self.catalog.facts.schema().lookup(schema.as_deref(), name) {
            Lookup::One(relation) => Some(relation),
            _ => None,
        }
    }

    /// What `*` or `t.*` shows, when everything is known of it.
    pub(crate) fn star_columns(&self, at: super::Span, scope: usize) -> Option<Vec<Shown>> {
        let qualifier = match at.len() {
            1 => None,
            3 => Some(self.text.name(at.start)?),
            // With the schema.
            _ => return None,
        };
        let mut shown = Vec::new();
        let mut nodes: Vec<usize> = self.references.scopes.get(scope)?.roots.clone();
        nodes.reverse();
        while let Some(node) = nodes.pop() {
            let leaf = match self.references.nodes.get(node)? {
                Node::Leaf(leaf) => leaf,
                // Merged columns come first, and once.
                Node::Join { using, hidden, .. }
                    if *hidden || (qualifier.is_none() && !matches!(using, Using::No)) =>
                {
                    return None;
                }
                Node::Join { left, right, .. } => {
                    nodes.extend([*right, *left]);
                    continue;
                }
            };
            let reference = self.references.all.get(*leaf)?;
            let alias = reference.alias.clone()?;
            if qualifier.as_ref().is_some_and(|qualifier| **qualifier != *alias) {
                continue;
            }
            for name in reference.columns.as_ref()? {
                let column = self.table_of(*leaf).and_then(|table| table.column(name)).cloned();
                shown.push(Shown { alias: alias.clone(), name: name.clone(), column });
            }
        }
        (!shown.is_empty()).then_some(shown)
    }

    /// Rows of one leaf.
    pub(super) fn leaf_rows(&self, leaf: usize) -> Rows {
        match self.references.all.get(leaf).map(|reference| &reference.source) {
            Some(Source::Sharded(_)) => Rows::Spread { refs: vec![leaf], sure: vec![leaf] },
            Some(Source::Same) | None => Rows::Same,
            Some(Source::On) => {
                let why = "A table of one shard is joined with rows of several.";
                Rows::Whole("table-of-one-shard", why.to_string())
            }
            Some(Source::Derived(_)) => {
                self.inner_level(leaf).map_or(Rows::Same, |level| level.rows.clone())
            }
        }
    }
}

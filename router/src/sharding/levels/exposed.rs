//! Owns which columns of a SELECT show keys of the rows it is made of.

use super::{Found, Grouping, JoinKind, KeyColumn, Levels, Node, Select, Source, Span};
use crate::sharding::query::{Label, Target};

impl Levels<'_> {
    /// The columns of a SELECT that conditions on its rows may be taken to.
    pub(super) fn exposed(
        &self,
        select: &Select,
        scope: usize,
        grouping: &Grouping,
    ) -> Vec<(Box<str>, Vec<KeyColumn>)> {
        let mut keys: Vec<(Box<str>, Vec<KeyColumn>)> = Vec::new();
        for target in &select.targets {
            let name = match &target.label {
                Label::Named(name) | Label::Column(name) => name,
                Label::Star if grouping.is_plain() => {
                    keys.extend(self.starred(target.at.clone(), scope));
                    continue;
                }
                _ => continue,
            };
            let Some(column) = self.reader.column(target.at.clone()) else { continue };
            if let Found::Key { columns, above: 0, .. } = self.references.find(scope, &column)
                && grouping.passes(&columns)
            {
                keys.push((name.clone(), columns));
            }
        }
        // A name that two columns have can be used for neither.
        let names: Vec<Box<str>> = keys.iter().map(|(name, _)| name.clone()).collect();
        keys.retain(|(name, _)| names.iter().filter(|other| *other == name).count() == 1);
        keys
    }

    /// What `*` and `t.*` show of keys.
    pub(super) fn starred(&self, at: Span, scope: usize) -> Vec<(Box<str>, Vec<KeyColumn>)> {
        let qualifier = (at.len() > 1).then(|| self.text.name(at.start)).flatten();
        let roots = self.references.scopes.get(scope).map(|scope| scope.roots.clone());
        let mut keys = Vec::new();
        for root in roots.unwrap_or_default() {
            if !matches!(self.references.nodes.get(root), Some(Node::Leaf(_)))
                && qualifier.is_none()
            {
                // Joins may merge columns.
                continue;
            }
            for leaf in self.references.leaves(root) {
                let Some(reference) = self.references.all.get(leaf) else { continue };
                if reference.renamed
                    || qualifier.as_deref().is_some_and(|q| reference.alias.as_deref() != Some(q))
                {
                    continue;
                }
                match &reference.source {
                    Source::Sharded(table) => keys.extend(
                        table
                            .key_columns
                            .iter()
                            .enumerate()
                            .map(|(i, k)| (k.clone(), vec![(leaf, i)])),
                    ),
                    Source::Derived(inner) => keys.extend(inner.iter().cloned()),
                    Source::Same | Source::On => {}
                }
            }
        }
        keys
    }

    pub(super) fn is_strict(&self, scope: usize) -> bool {
        let leaves = self.leaves_of(scope);
        let outer = self.references.nodes.iter().any(|node| match node {
            Node::Join { kind, left, .. } => {
                *kind != JoinKind::Inner
                    && self.references.leaves(*left).iter().any(|leaf| leaves.contains(leaf))
            }
            Node::Leaf(_) => false,
        });
        let derived = leaves.iter().any(|leaf| self.inner_level(*leaf).is_some());
        !outer && !derived
    }
}

/// Names of the columns, when the text tells them all.
pub(super) fn columns_of(select: &Select) -> Option<Vec<Box<str>>> {
    let name = |target: &Target| match &target.label {
        Label::Named(name) | Label::Column(name) | Label::Call(name) => Some(name.clone()),
        Label::Star | Label::Unsure => None,
    };
    select.targets.iter().map(name).collect()
}

//! Owns the way from a query that was read to what a finishing server needs to know of it: its
//! clauses, and the columns its names can mean.

use super::super::expression::{Scope, Source};
use super::super::query::{Body, Distinct, From, JoinKind, Label, On, Query, Relation, Select};
use super::{Column, Item, Order, Result, Shape, refuse};
use crate::facts::schema::{Collation, Lookup, SchemaFacts};
use crate::planner::Text;

/// A query over sources whose columns are known.
pub(super) struct Known {
    pub(super) shape: Shape,
    pub(super) scope: Scope,
    collations: Vec<Vec<Option<&'static str>>>,
}

impl Known {
    /// The collation of a column that is not the database's, as SQL.
    pub(super) fn collation(&self, column: Column) -> Option<String> {
        let of = self.collations.get(column.source)?;
        (*of.get(column.column)?).map(str::to_owned)
    }

    /// Reads a query that is one SELECT.
    pub(super) fn read(
        text: &Text<'_>,
        query: &Query,
        schema: &SchemaFacts,
        limit_of_parts: Option<u64>,
    ) -> Result<Known> {
        let Body::Select(select) = &query.body else {
            return Err(refuse("set-operation", "rows of several queries to combine"));
        };
        if !query.with.is_empty() {
            return Err(refuse("with", "a WITH query beside what has to be combined"));
        }
        if query.locking.is_some() {
            return Err(refuse("locking", "row locks beside what has to be combined"));
        }
        let mut names = Names { text, schema, scope: Scope::default(), collations: Vec::new() };
        for from in &select.from {
            names.from(from, &[])?;
        }
        let shape = shape(query, select, limit_of_parts)?;
        Ok(Known { shape, scope: names.scope, collations: names.collations })
    }
}

fn shape(query: &Query, select: &Select, limit_of_parts: Option<u64>) -> Result<Shape> {
    let items = select.targets.iter().map(|target| Item {
        tokens: target.at.clone(),
        alias: match &target.label {
            Label::Named(name) => Some(name.clone()),
            Label::Column(_) | Label::Star | Label::Call(_) | Label::Unsure => None,
        },
    });
    // What stands behind WHERE tells where the source ends.
    let ends = [
        select.group_by.as_ref().map(|group| group.at.start),
        select.having.as_ref().map(|having| having.start - 1),
        select.windows.as_ref().map(|windows| windows.start - 1),
    ];
    let end = ends.into_iter().flatten().min().unwrap_or(select.at.end);
    let mut order = Vec::new();
    for item in &query.order_by {
        if item.using {
            return Err(refuse("order-by-using", "ORDER BY … USING"));
        }
        let direction = match (item.descending, item.nulls_first) {
            (false, false) => " ASC NULLS LAST ",
            (false, true) => " ASC NULLS FIRST ",
            (true, false) => " DESC NULLS LAST ",
            (true, true) => " DESC NULLS FIRST ",
        };
        order.push(Order { tokens: item.at.clone(), direction });
    }
    let limit = query.limit.as_ref().map(|limit| limit.at.clone());
    let offset = query.offset.as_ref().map(|(at, _)| at.clone());
    Ok(Shape {
        distinct: match &select.distinct {
            Distinct::No => None,
            // The one token DISTINCT.
            Distinct::Rows => Some(select.targets_at.start - 1..select.targets_at.start),
            Distinct::On(_) => Some(select.at.start + 1..select.targets_at.start),
        },
        items: items.collect(),
        source: select.targets_at.end..end,
        group_clause: select.group_by.as_ref().map(|group| group.at.clone()),
        group: select.group_by.as_ref().map(|group| group.items.clone()).unwrap_or_default(),
        having: select.having.clone(),
        window: select.windows.as_ref().map(|windows| windows.start - 1..windows.end),
        order,
        limit: [limit, offset].into_iter().flatten().collect(),
        limit_of_parts,
    })
}

struct Names<'a> {
    text: &'a Text<'a>,
    schema: &'a SchemaFacts,
    scope: Scope,
    collations: Vec<Vec<Option<&'static str>>>,
}

impl Names<'_> {
    /// Adds what an item of FROM brings; `merged` are columns that a join merges with those of
    /// its left side.
    fn from(&mut self, from: &From, merged: &[Box<str>]) -> Result<()> {
        match from {
            From::Relation(relation) => self.relation(relation, merged),
            From::Query { query, alias, .. } => {
                let (Body::Select(select), Some(alias)) = (&query.body, alias) else {
                    return Err(unknown());
                };
                let mut columns = Vec::new();
                for target in &select.targets {
                    match &target.label {
                        Label::Named(name) | Label::Column(name) => columns.push(name.to_string()),
                        Label::Star | Label::Call(_) | Label::Unsure => return Err(unknown()),
                    }
                }
                // What a sub-select computes may have any collation.
                let mut columns_of_all = self.schema.all().flat_map(|relation| &relation.columns);
                if columns_of_all.any(|column| self.is_collated(column)) {
                    return Err(refuse("collation", "a sub-select beside columns with collations"));
                }
                let name = alias.name.as_deref().ok_or_else(unknown)?;
                let collations = vec![None; columns.len()];
                self.add(name, columns, alias.columns.as_deref(), merged, collations)
            }
            From::Function { .. } => Err(refuse("function-in-from", "a function in FROM")),
            From::Join { alias: Some(_), .. } => Err(unknown()),
            From::Join { kind, on, left, right, alias: None } => {
                self.from(left, merged)?;
                match (on, kind) {
                    (On::Nothing | On::Condition(_), _) => self.from(right, &[]),
                    (On::Using(columns), JoinKind::Inner | JoinKind::Left) => {
                        self.from(right, columns)
                    }
                    (On::Using(_), JoinKind::Right | JoinKind::Full) | (On::Natural, _) => {
                        Err(refuse("merged-columns", "a join that merges columns of both sides"))
                    }
                }
            }
        }
    }

    fn is_collated(&self, column: &crate::facts::schema::Column) -> bool {
        match column.collation {
            Collation::None | Collation::Database => false,
            Collation::Bytes => !self.schema.sorts_by_bytes(),
            Collation::Deterministic | Collation::Nondeterministic => true,
        }
    }

    fn relation(&mut self, relation: &Relation, merged: &[Box<str>]) -> Result<()> {
        let found = self.schema.lookup(relation.schema.as_deref(), &relation.name);
        let Lookup::One(known) = found else { return Err(unknown()) };
        let columns = known.columns.iter().map(|column| column.name.to_string()).collect();
        let mut collations = Vec::new();
        for column in &known.columns {
            collations.push(match column.collation {
                Collation::None | Collation::Database => None,
                Collation::Bytes if self.schema.sorts_by_bytes() => None,
                Collation::Bytes => Some("pg_catalog.\"C\""),
                Collation::Deterministic | Collation::Nondeterministic => {
                    let what = format!("the column {} with a collation of its own", column.name);
                    return Err(refuse("collation", what));
                }
            });
        }
        let alias = relation.alias.as_ref();
        let name = alias.and_then(|alias| alias.name.as_deref()).unwrap_or(&relation.name);
        let renamed = alias.and_then(|alias| alias.columns.as_deref());
        self.add(name, columns, renamed, merged, collations)
    }

    fn add(
        &mut self,
        alias: &str,
        mut columns: Vec<String>,
        renamed: Option<&[Box<str>]>,
        merged: &[Box<str>],
        collations: Vec<Option<&'static str>>,
    ) -> Result<()> {
        if renamed.is_some_and(<[Box<str>]>::is_empty) || self.text.len() == 0 {
            return Err(unknown());
        }
        for (column, name) in columns.iter_mut().zip(renamed.unwrap_or_default()) {
            *column = name.to_string();
        }
        let merged = merged.iter().map(ToString::to_string).collect();
        self.scope.sources.push(Source { alias: alias.to_owned(), columns, merged });
        self.collations.push(collations);
        Ok(())
    }
}

fn unknown() -> Box<super::Refusal> {
    refuse("unknown-columns", "a source whose columns are not known")
}

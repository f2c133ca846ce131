//! Owns where the levels of a statement name tables whose rows are in part hidden, and what is
//! added to the statement there.

use super::super::named::Refused;
use super::super::query::{Body, From, Query, Relation, Select, Span, split_commas};
use super::super::schema::Meaning;
use super::super::{Catalog, Refusal};
use super::Hidden;
use crate::facts::schema::{Origin, RelationKind};
use crate::ownership::{keys_sql, quote_name};
use crate::planner::Text;
use crate::shard_map::Table;
use std::ops::Range;

/// A statement that is read level by level.
pub(super) struct Levels<'t, 'c> {
    text: &'t Text<'t>,
    pub(super) catalog: Catalog<'c>,
    hidden: &'t [Hidden<'c>],
    /// Queries of WITH that can be seen, which are no tables.
    visible: Vec<Box<str>>,
    /// What is added.
    pub(super) edits: Additions,
    /// Some table with hidden rows was named.
    pub(super) found: bool,
}

impl<'t, 'c> Levels<'t, 'c> {
    pub(super) fn new(text: &'t Text<'t>, catalog: Catalog<'c>, hidden: &'t [Hidden<'c>]) -> Self {
        let edits = Additions::default();
        Self { text, catalog, hidden, visible: Vec::new(), edits, found: false }
    }

    pub(super) fn refused(&self, why: &str) -> Box<Refusal> {
        super::refused(self.hidden, self.catalog.map, why)
    }

    /// A query, and all that stands in it.
    pub(super) fn query(&mut self, query: &Query) -> Refused<()> {
        let outside = self.visible.len();
        if query.recursive {
            // All of them see each other.
            self.visible.extend(query.with.iter().map(|cte| cte.name.clone()));
        }
        for cte in &query.with {
            self.query(&cte.query)?;
            if !query.recursive {
                self.visible.push(cte.name.clone());
            }
        }
        match &query.body {
            Body::Select(select) => self.level(select, end_of_source(select))?,
            Body::Values => {}
            Body::Table(relation) => self.table(relation, query)?,
            Body::Branches(branches, _) => {
                branches.iter().try_for_each(|branch| self.query(branch))?;
            }
        }
        query.nested.iter().try_for_each(|nested| self.query(&nested.query))?;
        self.visible.truncate(outside);
        Ok(())
    }

    /// FROM and WHERE of one level, and the levels in its expressions. Without a WHERE, one is
    /// added before the token `end`.
    pub(super) fn level(&mut self, select: &Select, end: usize) -> Refused<()> {
        let mut conditions = Vec::new();
        for item in &select.from {
            self.item(item, false, &mut conditions)?;
        }
        select.nested.iter().try_for_each(|nested| self.query(&nested.query))?;
        if conditions.is_empty() {
            return Ok(());
        }
        let conditions = conditions.join(" and ");
        match &select.filter {
            Some(filter) => {
                self.edits.before(self.text, filter.start, "(".into());
                self.edits.behind(self.text, filter.end, format!(") and {conditions}"));
            }
            None => self.edits.behind(self.text, end, format!(" where {conditions}")),
        }
        Ok(())
    }

    fn item(&mut self, item: &From, unseen: bool, conditions: &mut Vec<String>) -> Refused<()> {
        match item {
            From::Relation(relation) => {
                let own = self.conditions(relation)?;
                if unseen && !own.is_empty() {
                    return Err(self.refused("the alias of a join hides the names of its tables"));
                }
                conditions.extend(own);
                Ok(())
            }
            From::Query { query, .. } => self.query(query),
            From::Function { .. } => Ok(()),
            From::Join { left, right, alias, .. } => {
                let unseen = unseen || alias.is_some();
                self.item(left, unseen, conditions)?;
                self.item(right, unseen, conditions)
            }
        }
    }

    /// `TABLE name` becomes a SELECT.
    fn table(&mut self, relation: &Relation, query: &Query) -> Refused<()> {
        let conditions = self.conditions(relation)?;
        if conditions.is_empty() {
            return Ok(());
        }
        let word = (query.at.start..relation.at.start).rev().find(|at| self.text.is(*at, "table"));
        let word = word.ok_or_else(|| self.refused("the table cannot be read"))?;
        let tails = [
            query.order_at.as_ref().map(|at| at.start),
            query.limit.as_ref().map(|limit| limit.at.start),
            query.offset.as_ref().map(|(at, _)| at.start),
            query.locking.as_ref().map(|at| at.start),
        ];
        let end = tails.into_iter().flatten().min().unwrap_or(query.at.end);
        self.edits.replace(self.text, word..word + 1, "select * from".into());
        self.edits.behind(self.text, end, format!(" where {}", conditions.join(" and ")));
        Ok(())
    }

    /// `COPY name (columns) TO` becomes one of a query; `columns` are the tokens behind the name.
    pub(super) fn copied(&mut self, relation: &Relation, columns: Span) -> Refused<()> {
        let conditions = self.conditions(relation)?;
        let Some(table) = self.hidden_table(relation)? else { return Ok(()) };
        let known = self.catalog.facts.schema().relation(&table.schema, &table.name);
        let known = known.ok_or_else(|| self.refused("the columns of its table are not known"))?;
        if known.kind != RelationKind::Table {
            return Err(self.refused("its table is not an ordinary one, which COPY TO needs"));
        }
        let is_copied = |name: &str| {
            known.column(name).is_some_and(|column| column.origin != Origin::Generated)
        };
        let names: Vec<Box<str>> = match columns.is_empty() {
            true => {
                let all = known.columns.iter().map(|column| column.name.clone());
                all.filter(|name| is_copied(name)).collect()
            }
            false => {
                let inside = columns.start + 1..columns.end.saturating_sub(1);
                let name = |at: Span| {
                    let name = self.text.name(at.start).filter(|_| at.len() == 1)?;
                    is_copied(&name).then(|| Box::from(&*name))
                };
                let named: Option<Vec<_>> =
                    split_commas(self.text, inside).into_iter().map(name).collect();
                named.ok_or_else(|| self.refused("COPY names columns that are not known"))?
            }
        };
        let names: Vec<String> = names.iter().map(|name| quote_name(name)).collect();
        let name = String::from_utf8_lossy(self.text.raw_range(relation.at.start, relation.at.end));
        let sql = format!(
            "(select {} from only {name} where {})",
            names.join(", "),
            conditions.join(" and ")
        );
        self.edits.replace(self.text, relation.at.start..columns.end, sql);
        Ok(())
    }

    /// The sharded table with hidden rows that a name means.
    fn hidden_table(&self, relation: &Relation) -> Refused<Option<&'c Table>> {
        let schema = relation.schema.as_deref();
        if schema.is_none() && self.visible.contains(&relation.name) {
            return Ok(None);
        }
        match self.catalog.meaning(schema, &relation.name) {
            Meaning::Sharded(table) => {
                let is_its = |one: &Hidden<'_>| one.distribution == table.distribution;
                Ok(self.hidden.iter().any(is_its).then_some(table))
            }
            Meaning::Refused(refusal) => Err(refusal),
            Meaning::Reference | Meaning::On(_) | Meaning::System | Meaning::Unknown => Ok(None),
        }
    }

    /// The conditions that leave out the hidden rows of a reference; none when it has none.
    pub(super) fn conditions(&mut self, relation: &Relation) -> Refused<Vec<String>> {
        let Some(table) = self.hidden_table(relation)? else { return Ok(Vec::new()) };
        if relation.sampled {
            return Err(self.refused("a sample would count them"));
        }
        self.found = true;
        let qualifier = qualifier(relation);
        let mut columns = Vec::with_capacity(table.key_columns.len());
        for key in &table.key_columns {
            let name = self.renamed(relation, table, key)?;
            columns.push(format!("{qualifier}.{}", quote_name(&name)));
        }
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let distribution = self.catalog.map.distribution(table);
        let its = self.hidden.iter().filter(|one| one.distribution == table.distribution);
        let moves = its.flat_map(|one| &one.moves);
        let one = |keys| format!("{} is not true", keys_sql(distribution, keys, &columns));
        Ok(moves.map(|moving| one(&moving.keys)).collect())
    }

    /// A column's name where `AS alias (a, b)` may have given it another.
    fn renamed(&self, relation: &Relation, table: &Table, column: &str) -> Refused<Box<str>> {
        let given = relation.alias.as_ref().and_then(|alias| alias.columns.as_ref());
        let Some(given) = given else { return Ok(column.into()) };
        let known = self.catalog.facts.schema().columns(&table.schema, &table.name);
        let place = known.iter().position(|known| *known.name == *column);
        match (place, given.is_empty()) {
            (Some(place), false) => Ok(given.get(place).map_or(column.into(), Clone::clone)),
            _ => Err(self.refused("the names given to columns hide those of the key")),
        }
    }
}

/// What names a reference at its level.
fn qualifier(relation: &Relation) -> String {
    let alias = relation.alias.as_ref().and_then(|alias| alias.name.as_deref());
    match (alias, &relation.schema) {
        (Some(alias), _) => quote_name(alias),
        (None, Some(schema)) => format!("{}.{}", quote_name(schema), quote_name(&relation.name)),
        (None, None) => quote_name(&relation.name),
    }
}

/// The token where FROM ends, when there is no WHERE.
fn end_of_source(select: &Select) -> usize {
    let ends = [
        select.group_by.as_ref().map(|group| group.at.start),
        select.having.as_ref().map(|having| having.start - 1),
        select.windows.as_ref().map(|windows| windows.start - 1),
    ];
    ends.into_iter().flatten().min().unwrap_or(select.at.end)
}

/// Bytes of a text that are replaced, and by what.
#[derive(Debug, Default)]
pub(super) struct Additions(Vec<(Range<usize>, String)>);

impl Additions {
    /// Right before a token.
    pub(super) fn before(&mut self, text: &Text<'_>, token: usize, what: String) {
        let at = text.token(token).map_or(text.sql.len(), |token| token.start as usize);
        self.0.push((at..at, what));
    }

    /// Right behind the last token before `end`, so that no comment swallows it.
    pub(super) fn behind(&mut self, text: &Text<'_>, end: usize, what: String) {
        let last = end.checked_sub(1).and_then(|last| text.token(last));
        let at = last.map_or(0, |token| token.end as usize);
        // Nothing that follows may become a part of its last word.
        self.0.push((at..at, format!("{what} ")));
    }

    pub(super) fn replace(&mut self, text: &Text<'_>, tokens: Span, what: String) {
        let first = text.token(tokens.start).map_or(0, |token| token.start as usize);
        let last = tokens.end.checked_sub(1).and_then(|last| text.token(last));
        self.0.push((first..last.map_or(first, |token| token.end as usize), what));
    }

    /// The text with all of them.
    pub(super) fn apply(mut self, sql: &[u8]) -> Vec<u8> {
        self.0.sort_by_key(|(at, _)| at.start);
        let mut out = Vec::with_capacity(sql.len() * 2);
        let mut copied = 0;
        for (at, what) in &self.0 {
            out.extend_from_slice(sql.get(copied..at.start).unwrap_or_default());
            out.extend_from_slice(what.as_bytes());
            copied = at.end;
        }
        out.extend_from_slice(sql.get(copied..).unwrap_or_default());
        out
    }
}

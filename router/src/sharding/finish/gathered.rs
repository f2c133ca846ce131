//! Owns the form in which shards give the columns that are used and the client's own statement
//! runs over them.

use super::{
    Builder, Column, ColumnRule, Emitter, Finished, Mark, Merge, Ordering, Piece, Replacement,
    Result, aggregates, column_of, is_aggregate, named, quoted, refuse, rows,
};
use crate::sharding::query::unwrapped;
use std::collections::BTreeMap;

impl Builder<'_, '_> {
    pub(super) fn gathered(&self) -> Result<Finished> {
        for call in self.aggregates() {
            if aggregates::needs_order(&call.name) && !call.ordered {
                let what = format!("{} without an ORDER BY of its own", call.name);
                return Err(refuse("aggregate-without-order", what));
            }
        }
        let groups = !self.group.is_empty() || self.aggregates().next().is_some();
        if groups && self.has_star() {
            return Err(refuse("ungrouped-column", "a star beside GROUP BY or aggregates"));
        }
        if let Some(column) = self.ungrouped() {
            let name = self.column_name(column);
            let what = format!("the column {name} outside of GROUP BY and aggregates");
            return Err(refuse("ungrouped-column", what));
        }
        let columns = self.columns_used();
        if columns.is_empty() {
            return Err(refuse("no-columns", "no column of a table in its results"));
        }
        let (part, parameters) = self.gathering_part(&columns)?;
        let (sql, final_parameters) = self.final_statement(&columns);
        let columns = self.rules(&columns);
        Ok(Finished {
            part,
            parameters,
            merge: Merge::Finish { sql, columns, parameters: final_parameters },
        })
    }

    /// A column that depends on the groups by the table's primary key at best, which rows that are
    /// gathered do not have. Groups that are expressions are left to the finishing server.
    fn ungrouped(&self) -> Option<Column> {
        let groups: Option<Vec<Column>> =
            self.group.iter().map(|piece| self.single(piece)).collect();
        let groups = groups.filter(|groups| !groups.is_empty())?;
        self.all().find_map(|piece| {
            let inside = |at: usize| {
                let mut calls = piece.marks.iter().filter_map(|mark| match mark {
                    Mark::Call(call) if is_aggregate(call) => Some(&call.tokens),
                    _ => None,
                });
                calls.any(|tokens| tokens.contains(&at))
            };
            piece.marks.iter().find_map(|mark| match mark {
                Mark::Column(column, at) if !groups.contains(column) && !inside(at.start) => {
                    Some(*column)
                }
                _ => None,
            })
        })
    }

    /// The column a piece is, when it is nothing else.
    fn single(&self, piece: &Piece) -> Option<Column> {
        match piece.marks.as_slice() {
            [Mark::Column(column, at)] if unwrapped(self.text, piece.tokens.clone()) == *at => {
                Some(*column)
            }
            _ => None,
        }
    }

    /// Every column that is named outside of the source, and its place in the answers of shards.
    fn columns_used(&self) -> BTreeMap<Column, usize> {
        let mut columns = BTreeMap::new();
        for (source, of) in self.scope.sources.iter().enumerate() {
            let starred = self.shape.items.iter().any(|item| {
                let qualified = (item.tokens.len() == 3).then(|| self.text.name(item.tokens.start));
                self.is_star(&item.tokens)
                    && qualified.is_none_or(|name| name.as_deref() == Some(&of.alias))
            });
            for column in 0..if starred { of.columns.len() } else { 0 } {
                columns.insert(Column { source, column }, 0);
            }
        }
        for mark in self.all().flat_map(|piece| &piece.marks) {
            if let Mark::Column(column, _) = mark {
                columns.insert(*column, 0);
            }
        }
        for (at, place) in columns.values_mut().enumerate() {
            *place = at;
        }
        columns
    }

    fn gathering_part(&self, columns: &BTreeMap<Column, usize>) -> Result<(Vec<u8>, Vec<u16>)> {
        let mut part = Emitter::new(self.text, 0);
        part.put("SELECT ");
        for (at, column) in columns.keys().enumerate() {
            if at > 0 {
                part.put(", ");
            }
            part.put(&self.source_name(*column)?);
        }
        part.put("\n");
        part.copy(self.shape.source.clone(), &[]);
        if let Some(limit) = self.shape.limit_of_parts.filter(|_| self.is_plain()) {
            let mut orders = Vec::new();
            for (order, spelled) in self.order.iter().zip(&self.shape.order) {
                let tokens = match order {
                    Ordering::Expression(piece) => piece.tokens.clone(),
                    Ordering::Output(tokens) => match self.output_item(tokens) {
                        Some(tokens) => tokens,
                        None => return Ok(part.finish()),
                    },
                };
                orders.push((tokens, spelled.direction));
            }
            for (at, (tokens, direction)) in orders.into_iter().enumerate() {
                part.put(if at == 0 { "ORDER BY (" } else { ", (" });
                part.copy(tokens, &[]);
                part.put(")");
                part.put(direction);
            }
            part.put(&format!("LIMIT {limit}"));
        }
        Ok(part.finish())
    }

    /// Each row of the source makes one row of the answer.
    fn is_plain(&self) -> bool {
        let one_level = self.shape.distinct.is_none() && self.group.is_empty();
        one_level
            && self.having.is_none()
            && self.calls().all(|call| !call.over)
            && self.aggregates().next().is_none()
    }

    /// The expression of the target list that a number or alias in ORDER BY stands for.
    fn output_item(&self, tokens: &std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
        let item = match self.number(tokens) {
            Some(number) => self.shape.items.get(number.checked_sub(1)?)?,
            None => {
                let name = self.bare_name(tokens)?;
                let mut items = self.shape.items.iter();
                items.find(|item| item.alias.as_deref() == Some(&*name))?
            }
        };
        Some(item.tokens.clone())
    }

    fn source_name(&self, column: Column) -> Result<String> {
        let source = &self.scope.sources[column.source];
        Ok(format!("{}.{}", quoted(&source.alias), quoted(self.column_name(column))))
    }

    fn final_statement(&self, columns: &BTreeMap<Column, usize>) -> (Vec<u8>, Vec<u16>) {
        let mut last = Emitter::new(self.text, columns.len());
        last.put("SELECT ");
        match (&self.shape.distinct, &self.distinct) {
            (Some(_), Some(piece)) => self.copy_over(&mut last, piece, columns),
            (Some(_), None) => last.put("DISTINCT "),
            (None, _) => {}
        }
        for (at, (item, piece)) in self.shape.items.iter().zip(&self.items).enumerate() {
            if at > 0 {
                last.put(", ");
            }
            if self.is_star(&item.tokens) {
                last.put(&self.star(&item.tokens, columns));
            } else {
                self.copy_over(&mut last, piece, columns);
            }
            last.put(&named(item));
        }
        last.put(&rows(columns.len()));
        if let Some(clause) = &self.shape.group_clause {
            let marks = self.shape.group.iter().zip(&self.group);
            let own = marks.filter(|(spelled, piece)| **spelled == piece.tokens);
            let marks = own.flat_map(|(_, piece)| piece.marks.iter().cloned()).collect();
            self.copy_over(&mut last, &Piece { tokens: clause.clone(), marks }, columns);
        }
        if let Some(having) = &self.having {
            last.put("HAVING ");
            self.copy_over(&mut last, having, columns);
        }
        if let Some(window) = &self.window {
            self.copy_over(&mut last, window, columns);
        }
        for (at, (order, spelled)) in self.order.iter().zip(&self.shape.order).enumerate() {
            last.put(if at == 0 { "ORDER BY " } else { ", " });
            match order {
                Ordering::Output(tokens) => last.copy(tokens.clone(), &[]),
                Ordering::Expression(piece) => {
                    self.copy_over(&mut last, piece, columns);
                }
            }
            last.put(spelled.direction);
        }
        self.limit(&mut last);
        last.finish()
    }

    fn star(&self, tokens: &std::ops::Range<usize>, columns: &BTreeMap<Column, usize>) -> String {
        let name = (tokens.len() == 3).then(|| self.text.name(tokens.start)).flatten();
        let of = columns.iter().filter(|(column, _)| {
            let source = &self.scope.sources[column.source];
            let merged = source.merged.iter().any(|name| name == self.column_name(**column));
            match &name {
                Some(name) => source.alias == **name,
                None => !merged,
            }
        });
        let names: Vec<String> = of.map(|(_, at)| column_of(*at)).collect();
        format!("{} ", names.join(", "))
    }

    /// Copies a piece with its columns replaced by those of the rows.
    fn copy_over(
        &self,
        emitter: &mut Emitter<'_, '_>,
        piece: &Piece,
        columns: &BTreeMap<Column, usize>,
    ) {
        let replacements: Vec<Replacement> = piece
            .marks
            .iter()
            .filter_map(|mark| match mark {
                Mark::Column(column, tokens) => {
                    let name = column_of(*columns.get(column)?);
                    let collated = match (self.collation)(*column) {
                        Some(collation) => format!("({name} COLLATE {collation})"),
                        None => name,
                    };
                    Some((tokens.clone(), collated))
                }
                Mark::Call(_) | Mark::Collate(_) => None,
            })
            .collect();
        emitter.copy(piece.tokens.clone(), &replacements);
    }

    /// Columns that are added up must be of types whose sums do not depend on their order.
    fn rules(&self, columns: &BTreeMap<Column, usize>) -> Vec<ColumnRule> {
        let mut rules = vec![ColumnRule::Any; columns.len()];
        for piece in self.all() {
            for mark in &piece.marks {
                let Mark::Call(call) = mark else { continue };
                let adds = aggregates::is_aggregate(&call.name)
                    && (is_aggregate(call) || call.over)
                    && !aggregates::is_exact(&call.name);
                if !adds {
                    continue;
                }
                let needed = match aggregates::is_floating(&call.name) {
                    true => ColumnRule::Floating,
                    false => ColumnRule::Exact,
                };
                for inside in &piece.marks {
                    if let Mark::Column(column, tokens) = inside
                        && call.arguments.contains(&tokens.start)
                        && let Some(rule) = columns.get(column).and_then(|at| rules.get_mut(*at))
                    {
                        // A column that is added up in two ways obeys the stricter rule.
                        if *rule != ColumnRule::Floating {
                            *rule = needed;
                        }
                    }
                }
            }
        }
        rules
    }
}

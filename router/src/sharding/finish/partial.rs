//! Owns the form in which shards group and aggregate, and their results are combined.

use super::{
    Builder, Call, Column, ColumnRule, Combine, Emitter, Finished, Mark, Merge, Ordering, Piece,
    Replacement, Result, aggregates, column_of, is_aggregate, named, refuse, rows,
};
use crate::lexer::TokenKind;
use std::ops::Range;

/// A column of the parts.
enum Partial<'a> {
    /// The nth expression of GROUP BY, or of SELECT DISTINCT.
    Group(usize),
    /// An aggregate, or another one with its arguments.
    Aggregate(&'a Call, Option<&'static str>),
}

/// A group's expression in a form that can be compared.
type Canonical = Vec<String>;

struct Groups<'a> {
    pieces: Vec<&'a Piece>,
    canonical: Vec<Canonical>,
}

impl Builder<'_, '_> {
    pub(super) fn partial(&self) -> Result<Finished> {
        let groups = self.groups()?;
        if self.has_star() {
            return Err(refuse("ungrouped-column", "a star beside GROUP BY or aggregates"));
        }
        let mut columns: Vec<Partial<'_>> = (0..groups.pieces.len()).map(Partial::Group).collect();
        let mut rules: Vec<ColumnRule> =
            groups.pieces.iter().map(|piece| self.rule_of_group(piece)).collect();
        let mut combined: Vec<Replacement> = Vec::new();
        for call in self.aggregates() {
            if combined.iter().any(|(tokens, _)| *tokens == call.tokens) {
                continue;
            }
            let first = columns.len();
            let Some(combine) = aggregates::combine(&call.name) else {
                return Err(refuse("aggregate", format!("the aggregate {}", call.name)));
            };
            let sql = self.combined(call, combine, first);
            let (more, rule): (&[Option<&'static str>], _) = match combine {
                Combine::Sum => (&[None], ColumnRule::Exact),
                Combine::Count => (&[None], ColumnRule::Number),
                Combine::Average => {
                    (&[Some("pg_catalog.sum"), Some("pg_catalog.count")], ColumnRule::Number)
                }
                Combine::Again => (&[None], ColumnRule::Any),
            };
            for name in more {
                columns.push(Partial::Aggregate(call, *name));
                rules.push(rule);
            }
            combined.push((call.tokens.clone(), sql));
        }
        if columns.is_empty() {
            return Err(refuse("no-columns", "no column of a table in its results"));
        }
        let (part, parameters) = self.grouping_part(&groups, &columns);
        let (sql, final_parameters) =
            self.combining_statement(&groups, &combined, columns.len())?;
        let merge = Merge::Finish { sql, columns: rules, parameters: final_parameters };
        Ok(Finished { part, parameters, merge })
    }

    /// What shards group by. SELECT DISTINCT without aggregates groups by what it selects.
    fn groups(&self) -> Result<Groups<'_>> {
        let distinct = self.group.is_empty() && self.aggregates().next().is_none();
        let from = if distinct { &self.items } else { &self.group };
        let has_column =
            |piece: &&Piece| piece.marks.iter().any(|mark| matches!(mark, Mark::Column(..)));
        let pieces: Vec<&Piece> = from.iter().filter(has_column).collect();
        if !distinct && pieces.len() != from.len() {
            return Err(refuse("group-by-constant", "a constant in GROUP BY"));
        }
        let canonical = pieces.iter().map(|piece| self.canonical(piece)).collect();
        Ok(Groups { pieces, canonical })
    }

    /// A group's column that a window function adds up must be of an exact type.
    fn rule_of_group(&self, group: &Piece) -> ColumnRule {
        let adds = |call: &Call| call.over && !aggregates::is_exact(&call.name);
        let floats = |call: &Call| call.over && aggregates::is_floating(&call.name);
        if self.all().flat_map(|piece| &piece.marks).any(|mark| match mark {
            Mark::Call(call) => floats(call),
            Mark::Column(..) | Mark::Collate(_) => false,
        }) {
            return ColumnRule::Floating;
        }
        let added = self.all().any(|piece| {
            piece.marks.iter().any(|mark| match mark {
                Mark::Call(call) if adds(call) && aggregates::is_aggregate(&call.name) => {
                    piece.marks.iter().any(|inside| match inside {
                        Mark::Column(column, tokens) => {
                            call.arguments.contains(&tokens.start) && has(group, *column)
                        }
                        Mark::Call(_) | Mark::Collate(_) => false,
                    })
                }
                Mark::Call(_) | Mark::Column(..) | Mark::Collate(_) => false,
            })
        });
        if added { ColumnRule::Exact } else { ColumnRule::Any }
    }

    fn canonical(&self, piece: &Piece) -> Canonical {
        let mut canonical = Vec::new();
        let mut at = piece.tokens.start;
        while at < piece.tokens.end {
            match column_at(piece, at) {
                Some((column, tokens)) => {
                    canonical.push(format!("\0{}.{}", column.source, column.column));
                    at = tokens.end;
                }
                None => {
                    let raw = match self.text.kind(at) {
                        Some(TokenKind::Word) => self.text.lower(at),
                        _ => self.text.raw(at),
                    };
                    canonical.push(String::from_utf8_lossy(raw).into_owned());
                    at += 1;
                }
            }
        }
        canonical
    }

    fn combined(&self, call: &Call, combine: Combine, at: usize) -> String {
        let column = column_of(at);
        match combine {
            // Fewer than 256 columns: the caller's statement has at most so many aggregates.
            Combine::Sum => {
                let kind = char::from(u8::try_from(at).unwrap_or(u8::MAX));
                format!("(pg_catalog.sum({column})::\x01{kind})")
            }
            Combine::Count => format!("(pg_catalog.sum({column})::pg_catalog.int8)"),
            Combine::Average => {
                let count = column_of(at + 1);
                format!(
                    "(pg_catalog.sum({column})::pg_catalog.numeric \
                     / nullif(pg_catalog.sum({count}), 0))"
                )
            }
            Combine::Again => format!("pg_catalog.{}({column})", call.name),
        }
    }

    fn grouping_part(&self, groups: &Groups<'_>, columns: &[Partial<'_>]) -> (Vec<u8>, Vec<u16>) {
        let mut part = Emitter::new(self.text, 0);
        part.put("SELECT ");
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                part.put(", ");
            }
            match column {
                Partial::Group(group) => {
                    if let Some(piece) = groups.pieces.get(*group) {
                        part.copy(piece.tokens.clone(), &[]);
                    }
                }
                Partial::Aggregate(call, name) => {
                    let renamed = name
                        .map(|name| (call.tokens.start..call.arguments.start - 1, name.to_owned()));
                    part.copy(call.tokens.clone(), renamed.as_slice());
                }
            }
        }
        part.put("\n");
        part.copy(self.shape.source.clone(), &[]);
        let numbers: Vec<String> = (1..=groups.pieces.len()).map(|at| at.to_string()).collect();
        if !numbers.is_empty() {
            part.put(&format!("GROUP BY {}", numbers.join(", ")));
        }
        part.finish()
    }

    fn combining_statement(
        &self,
        groups: &Groups<'_>,
        combined: &[Replacement],
        columns: usize,
    ) -> Result<(Vec<u8>, Vec<u16>)> {
        let mut last = Emitter::new(self.text, columns);
        last.put(if self.shape.distinct.is_some() { "SELECT DISTINCT " } else { "SELECT " });
        for (at, (item, piece)) in self.shape.items.iter().zip(&self.items).enumerate() {
            if at > 0 {
                last.put(", ");
            }
            last.copy(piece.tokens.clone(), &self.over_groups(piece, groups, combined)?);
            last.put(&named(item));
        }
        last.put(&rows(columns));
        if !groups.pieces.is_empty() {
            let names: Vec<String> = (0..groups.pieces.len()).map(column_of).collect();
            last.put(&format!("GROUP BY {}\n", names.join(", ")));
        }
        if let Some(having) = &self.having {
            last.put("HAVING ");
            last.copy(having.tokens.clone(), &self.over_groups(having, groups, combined)?);
        }
        if let Some(window) = &self.window {
            last.copy(window.tokens.clone(), &self.over_groups(window, groups, combined)?);
        }
        for (at, (order, spelled)) in self.order.iter().zip(&self.shape.order).enumerate() {
            last.put(if at == 0 { "ORDER BY " } else { ", " });
            match order {
                Ordering::Output(tokens) => last.copy(tokens.clone(), &[]),
                Ordering::Expression(piece) => {
                    let replacements = self.over_groups(piece, groups, combined)?;
                    last.copy(piece.tokens.clone(), &replacements);
                }
            }
            last.put(spelled.direction);
        }
        self.limit(&mut last);
        Ok(last.finish())
    }

    /// Replaces what shards have computed by its column. What is left of the source's columns
    /// depends on more than the groups.
    fn over_groups(
        &self,
        piece: &Piece,
        groups: &Groups<'_>,
        combined: &[Replacement],
    ) -> Result<Vec<Replacement>> {
        let mut replacements = Vec::new();
        let mut at = piece.tokens.start;
        while at < piece.tokens.end {
            let aggregate = piece.marks.iter().find_map(|mark| match mark {
                Mark::Call(call) if is_aggregate(call) && call.tokens.start == at => Some(call),
                _ => None,
            });
            if let Some(call) = aggregate {
                let same = combined.iter().find(|(tokens, _)| *tokens == call.tokens);
                let Some((tokens, sql)) = same else {
                    return Err(refuse("aggregate", format!("the aggregate {}", call.name)));
                };
                replacements.push((tokens.clone(), sql.clone()));
                at = tokens.end;
                continue;
            }
            if let Some((group, end)) = self.group_at(piece, groups, at) {
                replacements.push((at..end, column_of(group)));
                at = end;
                continue;
            }
            if let Some((column, _)) = column_at(piece, at) {
                let what = format!(
                    "the column {} outside of GROUP BY and aggregates",
                    self.column_name(column)
                );
                return Err(refuse("ungrouped-column", what));
            }
            at += 1;
        }
        Ok(replacements)
    }

    /// The group whose expression stands at `at`, and where it ends. One of several tokens counts
    /// only where nothing beside it can bind a part of it more tightly.
    fn group_at(&self, piece: &Piece, groups: &Groups<'_>, at: usize) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize)> = None;
        for (index, group) in groups.canonical.iter().enumerate() {
            let Some(end) = self.match_at(piece, group, at) else { continue };
            let alone = group.len() == 1 && column_at(piece, at).is_some();
            let longer = best.is_none_or(|(_, known)| end > known);
            if longer && (alone || self.is_enclosed(piece, at..end)) {
                best = Some((index, end));
            }
        }
        best
    }

    fn match_at(&self, piece: &Piece, group: &Canonical, at: usize) -> Option<usize> {
        let rest = Piece {
            tokens: at..piece.tokens.end,
            marks: piece.marks.iter().filter(|mark| is_column(mark)).cloned().collect(),
        };
        let mut end = at;
        for (wanted, (have, next)) in group.iter().zip(self.canonical_from(&rest)) {
            if *wanted != have {
                return None;
            }
            end = next;
        }
        let count = self.canonical_from(&rest).take(group.len()).count();
        (count == group.len() && end > at).then_some(end)
    }

    fn canonical_from<'a>(
        &'a self,
        piece: &'a Piece,
    ) -> impl Iterator<Item = (String, usize)> + 'a {
        let mut at = piece.tokens.start;
        std::iter::from_fn(move || {
            if at >= piece.tokens.end {
                return None;
            }
            let end = column_at(piece, at).map_or(at + 1, |(_, tokens)| tokens.end);
            let one = Piece { tokens: at..end, marks: piece.marks.clone() };
            at = end;
            Some((self.canonical(&one).concat(), end))
        })
    }

    fn is_enclosed(&self, piece: &Piece, tokens: Range<usize>) -> bool {
        let before = tokens.start == piece.tokens.start
            || matches!(
                self.text.kind_before(tokens.start),
                Some(TokenKind::OpenParen | TokenKind::Comma)
            );
        let after = tokens.end == piece.tokens.end
            || matches!(self.text.kind(tokens.end), Some(TokenKind::CloseParen | TokenKind::Comma));
        before && after
    }
}

fn has(piece: &Piece, wanted: Column) -> bool {
    piece.marks.iter().any(|mark| matches!(mark, Mark::Column(column, _) if *column == wanted))
}

fn is_column(mark: &Mark) -> bool {
    matches!(mark, Mark::Column(..))
}

fn column_at(piece: &Piece, at: usize) -> Option<(Column, &Range<usize>)> {
    piece.marks.iter().find_map(|mark| match mark {
        Mark::Column(column, tokens) if tokens.start == at => Some((*column, tokens)),
        _ => None,
    })
}

//! Owns FROM: tables, subqueries and joins, and what they make nameable.

use super::queries::renamed;
use super::{Place, Translator, folded, outputs, parts};
use crate::engine::error::{EngineError, Outcome};
use crate::engine::scope::{Col, Rel, Scope};
use sqlparser::ast::{Join, JoinConstraint, JoinOperator, TableAlias, TableFactor, TableWithJoins};

/// A FROM, or a part of one.
#[derive(Default)]
pub(super) struct Joined {
    /// Its text.
    pub(super) sql: String,
    /// The columns of queries around that it uses.
    pub(super) free: Vec<(usize, String)>,
    rels: Vec<Rel>,
    star: Vec<Col>,
}

impl Joined {
    fn of(sql: String, rel: Rel) -> Self {
        Self { sql, free: Vec::new(), star: rel.columns.clone(), rels: vec![rel] }
    }
}

impl Translator<'_> {
    /// A whole FROM; its names are left in the scope.
    pub(super) fn from(
        &mut self,
        from: &[TableWithJoins],
        scope: &mut Scope<'_>,
    ) -> Outcome<Joined> {
        let mut all = Joined::default();
        for item in from {
            let mut joined = self.joins(item, scope)?;
            // What stands after a comma is joined as a whole.
            let sql = if item.joins.is_empty() || from.len() == 1 {
                joined.sql
            } else {
                format!("({})", joined.sql)
            };
            all.sql = if all.sql.is_empty() { sql } else { format!("{}, {sql}", all.sql) };
            all.free.append(&mut joined.free);
            for rel in joined.rels {
                unique(&scope.rels, &rel)?;
                scope.rels.push(rel);
            }
            scope.star.extend(joined.star);
        }
        Ok(all)
    }

    fn joins(&mut self, item: &TableWithJoins, scope: &Scope<'_>) -> Outcome<Joined> {
        let mut left = self.factor(&item.relation, scope)?;
        for join in &item.joins {
            left = self.deeper(|this| this.join(left, join, scope))?;
        }
        Ok(left)
    }

    fn join(&mut self, left: Joined, join: &Join, scope: &Scope<'_>) -> Outcome<Joined> {
        let (word, constraint) = match &join.join_operator {
            JoinOperator::Join(on) | JoinOperator::Inner(on) => ("JOIN", on),
            JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => ("LEFT JOIN", on),
            JoinOperator::Right(on) | JoinOperator::RightOuter(on) => ("RIGHT JOIN", on),
            JoinOperator::FullOuter(on) => ("FULL JOIN", on),
            JoinOperator::CrossJoin(JoinConstraint::None) => ("CROSS JOIN", &JoinConstraint::None),
            _ => return Err(EngineError::refused("this form of JOIN")),
        };
        let right = {
            // A function may use the columns to its left.
            let near = Scope {
                rels: scope.rels.iter().chain(&left.rels).cloned().collect(),
                star: scope.star.iter().chain(&left.star).cloned().collect(),
                parent: scope.parent,
                level: scope.level,
            };
            self.factor(&join.relation, &near)?
        };
        for rel in &right.rels {
            unique(&left.rels, rel)?;
        }
        let is_nested = matches!(join.relation, TableFactor::NestedJoin { .. });
        let right_sql = if is_nested { format!("({})", right.sql) } else { right.sql.clone() };
        let mut free = [left.free.as_slice(), &right.free].concat();
        let names = match constraint {
            JoinConstraint::Using(names) => {
                let name = |name| Ok(parts(name)?.pop().unwrap_or_default());
                Some(names.iter().map(name).collect::<Outcome<Vec<String>>>()?)
            }
            JoinConstraint::Natural => {
                let both = |name: &&Col| right.star.iter().any(|other| other.name == name.name);
                Some(left.star.iter().filter(both).map(|column| column.name.clone()).collect())
            }
            JoinConstraint::On(_) | JoinConstraint::None => None,
        };
        let (star, on) = match names {
            Some(names) => self.using(&left.star, &right.star, &names, word)?,
            None => ([left.star, right.star].concat(), String::new()),
        };
        let rels = [left.rels, right.rels].concat();
        let on = match constraint {
            JoinConstraint::On(condition) => {
                let near = Scope { rels, star, parent: scope.parent, level: scope.level };
                let condition = self.expression(condition, Place::plain(&near, "JOIN"))?;
                let condition = self.condition(condition, "JOIN/ON")?;
                let around = condition.free.iter().filter(|(level, _)| *level < scope.level);
                free.extend(around.cloned());
                let sql = format!("{} {word} {right_sql} ON {}", left.sql, condition.sql);
                return Ok(Joined { sql, free, rels: near.rels, star: near.star });
            }
            JoinConstraint::None if word != "CROSS JOIN" => {
                return Err(EngineError::new("42601", "JOIN needs ON or USING"));
            }
            _ => on,
        };
        Ok(Joined { sql: format!("{} {word} {right_sql}{on}", left.sql), free, rels, star })
    }

    /// The columns after USING, in PostgreSQL's order, and the condition.
    fn using(
        &mut self,
        left: &[Col],
        right: &[Col],
        names: &[String],
        word: &str,
    ) -> Outcome<(Vec<Col>, String)> {
        let mut star = Vec::new();
        let mut conditions = Vec::new();
        for name in names {
            let find = |columns: &[Col], side: &str| {
                let mut found = columns.iter().filter(|column| column.name == *name);
                match (found.next(), found.next()) {
                    (Some(column), None) => Ok(column.clone()),
                    (None, _) => {
                        let message = format!(
                            "column \"{name}\" specified in USING clause does not exist in {side} table"
                        );
                        Err(EngineError::new("42703", message))
                    }
                    _ => {
                        let message = format!(
                            "common column name \"{name}\" appears more than once in {side} table"
                        );
                        Err(EngineError::new("42702", message))
                    }
                }
            };
            let (one, other) = (find(left, "left")?, find(right, "right")?);
            let typed = |column: &Col| super::Typed::of(column.sql.clone(), column.ty, &[]);
            conditions.push(self.compared("=", typed(&one), typed(&other))?.sql);
            let pair = self.unified(vec![typed(&one), typed(&other)], "JOIN/USING")?;
            let sql = match word {
                "RIGHT JOIN" => pair[1].sql.clone(),
                "FULL JOIN" => format!("coalesce({}, {})", pair[0].sql, pair[1].sql),
                _ => pair[0].sql.clone(),
            };
            star.push(Col { name: name.clone(), ty: pair[0].ty, sql });
        }
        let rest = left.iter().chain(right).filter(|column| !names.contains(&column.name));
        star.extend(rest.cloned());
        let on = if conditions.is_empty() {
            if word == "CROSS JOIN" { String::new() } else { " ON 1".into() }
        } else {
            format!(" ON {}", conditions.join(" AND "))
        };
        Ok((star, on))
    }

    fn factor(&mut self, factor: &TableFactor, scope: &Scope<'_>) -> Outcome<Joined> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_ordinality: false,
                sample: None,
                version: None,
                json_path: None,
                ..
            } => {
                let names = parts(name)?;
                let (schema, table) = match names.as_slice() {
                    [table] => (None, table),
                    [.., schema, table] => (Some(schema.as_str()), table),
                    [] => return Err(EngineError::new("42601", "a table has no name")),
                };
                let (sql, rel) = self.named_table(schema, table)?;
                Ok(Joined::of(sql, aliased(rel, alias.as_ref())?))
            }
            TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
                // Without LATERAL the neighbours are not seen.
                let sub = self.query(subquery, scope.parent)?;
                let name = self.name('r');
                let columns = match alias {
                    Some(alias) => renamed(sub.columns, alias)?,
                    None => sub.columns,
                };
                let columns = columns.into_iter().map(|(name, ty)| {
                    let unknown = ty == super::Type::Unknown;
                    (name, if unknown { super::Type::Text } else { ty })
                });
                let columns: Vec<_> = columns.collect();
                let rel = Rel {
                    alias: alias.as_ref().map_or_else(|| name.clone(), |alias| folded(&alias.name)),
                    columns: outputs(&name, &columns),
                    oid: None,
                };
                let mut joined = Joined::of(format!("({}) AS {name}", sub.sql), rel);
                joined.free = sub.free;
                Ok(joined)
            }
            TableFactor::Derived { lateral: true, .. } => {
                Err(EngineError::refused("LATERAL").hint("Use a subquery in the SELECT list."))
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                let mut joined = self.deeper(|this| this.joins(table_with_joins, scope))?;
                joined.sql = format!("({})", joined.sql);
                Ok(joined)
            }
            other => {
                let (sql, rel, free) = self.table_function(other, scope)?;
                let mut joined = Joined::of(sql, rel);
                joined.free = free;
                Ok(joined)
            }
        }
    }

    /// A WITH query, a table of the console or a catalog, under a new alias.
    pub(super) fn named_table(
        &mut self,
        schema: Option<&str>,
        name: &str,
    ) -> Outcome<(String, Rel)> {
        let alias = self.name('r');
        let cte = self.ctes.iter().rev().find(|cte| schema.is_none() && cte.name == name);
        if let Some(cte) = cte {
            let columns = outputs(&alias, &cte.columns);
            let rel = Rel { alias: name.to_owned(), columns, oid: None };
            return Ok((format!("{} AS {alias}", cte.sql_name), rel));
        }
        let Some(at) = self.relations.find(schema, name) else {
            let dotted =
                schema.map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"));
            return Err(EngineError::new("42P01", format!("relation \"{dotted}\" does not exist"))
                .hint("\\dt and SHOW HELP list the tables of the console."));
        };
        self.used.insert(at);
        let relation = &self.relations.all()[at];
        let column = |(column, number): (&crate::catalog::RelationColumn, usize)| Col {
            name: column.name.to_owned(),
            ty: column.ty,
            sql: format!("{alias}.c{number}"),
        };
        let columns = relation.columns.iter().zip(1..).map(column).collect();
        let class = self.relations.find(Some("pg_catalog"), relation.name);
        let oid = class.map(|at| self.relations.all()[at].oid);
        let rel = Rel { alias: name.to_owned(), columns, oid };
        Ok((format!("t{at} AS {alias}"), rel))
    }
}

/// Under the names an alias gives.
pub(super) fn aliased(mut rel: Rel, alias: Option<&TableAlias>) -> Outcome<Rel> {
    let Some(alias) = alias else { return Ok(rel) };
    rel.alias = folded(&alias.name);
    let names = rel.columns.iter().map(|column| (column.name.clone(), column.ty)).collect();
    for (column, (name, _)) in rel.columns.iter_mut().zip(renamed(names, alias)?) {
        column.name = name;
    }
    Ok(rel)
}

fn unique(known: &[Rel], rel: &Rel) -> Outcome<()> {
    if known.iter().any(|other| other.alias == rel.alias) {
        let message = format!("table name \"{}\" specified more than once", rel.alias);
        return Err(EngineError::new("42712", message));
    }
    Ok(())
}

//! Owns the making of `SchemaFacts` from catalog rows. Rows of one relation may come in any order
//! after the relation's own.

use super::mentions::{self, Reading};
use super::schema::{
    Collation, Column, ForeignKey, Origin, Relation, RelationKind, SchemaFacts, Trigger,
    TriggerTime, Unique,
};
use super::{FactKind, FactsError};

/// What stands between names of columns in one text.
const SEPARATOR: char = '\u{1f}';

type Row<'a> = &'a [Option<&'a str>];

impl SchemaFacts {
    /// Adds one row of a query of [`super::SCHEMA_QUERIES`].
    pub(super) fn add(&mut self, kind: FactKind, row: Row<'_>) -> Result<(), FactsError> {
        self.known = true;
        let column = |index: usize, column: &'static str| {
            row.get(index).copied().flatten().ok_or(FactsError { kind, column })
        };
        match kind {
            FactKind::Database => {
                self.sorts_by_bytes = column(0, "collation")? == "c";
                self.encoding = column(1, "encoding")?.into();
            }
            FactKind::Tables => self.add_relation(row)?,
            FactKind::Columns => {
                let new = self.read_column(row)?;
                if let Some(default) = &new.default {
                    let (schema, table) = (column(0, "schema")?, column(1, "table")?);
                    self.mention(schema, table, default, Reading::Default);
                }
                if let Some(relation) = self.of_row(kind, row)? {
                    relation.columns.push(new);
                }
            }
            FactKind::Indexes => {
                let columns = names(column(5, "columns")?);
                let all: usize = number(kind, column(6, "number of columns")?, "number")?;
                let unique = Unique {
                    name: column(2, "index")?.into(),
                    primary: column(3, "primary flag")? == "t",
                    partial: column(4, "partial flag")? == "t",
                    more: all > columns.len(),
                    columns,
                };
                if let Some(relation) = self.of_row(kind, row)? {
                    relation.unique.push(unique);
                }
            }
            FactKind::ForeignKeys => {
                let key = ForeignKey {
                    name: column(2, "name")?.into(),
                    columns: names(column(3, "columns")?),
                    to: (column(4, "schema")?.into(), column(5, "table")?.into()),
                    to_columns: names(column(6, "columns")?),
                };
                if let Some(relation) = self.of_row(kind, row)? {
                    relation.foreign_keys.push(key);
                }
            }
            FactKind::Definitions => self.add_definition(row)?,
            _ => self.add_sequence(row)?,
        }
        Ok(())
    }

    /// Ends the collection.
    pub(super) fn build(mut self) -> Self {
        let parents = self.relations.values().flatten().filter_map(|one| one.parent.clone());
        self.parents = parents.collect();
        for relation in self.relations.values_mut().flatten() {
            relation.columns.sort_by_key(|column| column.number);
        }
        self
    }

    fn of_row(
        &mut self,
        kind: FactKind,
        row: Row<'_>,
    ) -> Result<Option<&mut Relation>, FactsError> {
        let column = |index: usize, column: &'static str| {
            row.get(index).copied().flatten().ok_or(FactsError { kind, column })
        };
        let (schema, name) = (column(0, "schema")?, column(1, "name")?);
        let all = self.relations.get_mut(name);
        Ok(all.and_then(|all| all.iter_mut().find(|relation| *relation.schema == *schema)))
    }

    fn add_relation(&mut self, row: Row<'_>) -> Result<(), FactsError> {
        let kind = FactKind::Tables;
        let column = |index: usize, column: &'static str| {
            row.get(index).copied().flatten().ok_or(FactsError { kind, column })
        };
        let relation = Relation {
            schema: column(0, "schema")?.into(),
            name: column(1, "name")?.into(),
            kind: match column(2, "kind")? {
                "r" => RelationKind::Table,
                "p" => RelationKind::Partitioned,
                "v" => RelationKind::View,
                "m" => RelationKind::Materialized,
                "f" => RelationKind::Foreign,
                "S" => RelationKind::Sequence,
                _ => return Err(FactsError { kind, column: "kind" }),
            },
            unlogged: column(3, "persistence")? == "u",
            parent: match (column(4, "parent"), column(5, "parent")) {
                (Ok(schema), Ok(name)) => Some((schema.into(), name.into())),
                _ => None,
            },
            row_security: column(6, "row security flag")? == "t",
            columns: Vec::new(),
            unique: Vec::new(),
            foreign_keys: Vec::new(),
            triggers: Vec::new(),
            has_rules: false,
            increment: 1,
            owned_by: None,
        };
        self.relations.entry(relation.name.clone()).or_default().push(relation);
        Ok(())
    }

    fn read_column(&self, row: Row<'_>) -> Result<Column, FactsError> {
        let kind = FactKind::Columns;
        let column = |index: usize, column: &'static str| {
            row.get(index).copied().flatten().ok_or(FactsError { kind, column })
        };
        Ok(Column {
            name: column(3, "name")?.into(),
            number: number(kind, column(2, "number")?, "number")?,
            type_oid: number(kind, column(4, "type")?, "type")?,
            type_name: column(5, "type name")?.into(),
            type_kind: column(6, "kind of type")?.bytes().next().unwrap_or(b'b'),
            collation: match column(7, "collation")? {
                "-" => Collation::None,
                "c" => Collation::Bytes,
                "d" if self.sorts_by_bytes => Collation::Bytes,
                "d" => Collation::Database,
                "o" => Collation::Deterministic,
                _ => Collation::Nondeterministic,
            },
            not_null: column(8, "not null flag")? == "t",
            origin: match (column(9, "identity")?, column(10, "generated")?) {
                ("a", _) => Origin::IdentityAlways,
                ("d", _) => Origin::IdentityByDefault,
                (_, "") => Origin::Plain,
                _ => Origin::Generated,
            },
            default: row.get(11).copied().flatten().map(Into::into),
        })
    }

    fn add_definition(&mut self, row: Row<'_>) -> Result<(), FactsError> {
        let kind = FactKind::Definitions;
        let column = |index: usize, column: &'static str| {
            row.get(index).copied().flatten().ok_or(FactsError { kind, column })
        };
        let (schema, name) = (column(0, "schema")?, column(1, "name")?);
        let (what, more, text) = (column(2, "kind")?, column(3, "detail")?, column(4, "text")?);
        let how = match what {
            "function" => Reading::Body,
            "check" => Reading::Calls,
            _ => Reading::All,
        };
        self.mention(schema, name, text, how);
        match what {
            "aggregate" => {
                self.aggregates.insert(name.into());
            }
            "trigger" => {
                let mut parts = mentions::names_of(text).into_iter();
                let trigger = Trigger {
                    time: match more {
                        "before" => TriggerTime::BeforeRow,
                        "row" => TriggerTime::Row,
                        _ => TriggerTime::Statement,
                    },
                    schema: parts.next().unwrap_or_default().into(),
                    function: parts.next().unwrap_or_default().into(),
                };
                if let Some(relation) = self.of_row(kind, row)? {
                    relation.triggers.push(trigger);
                }
            }
            "rule" => {
                if let Some(relation) = self.of_row(kind, row)? {
                    relation.has_rules = true;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A schema of the proxy's own is known to do what it should.
    fn mention(&mut self, schema: &str, name: &str, text: &str, how: Reading) {
        if schema != "pgm" {
            self.mentions.entry(name.into()).or_default().add(mentions::read(text, how));
        }
    }

    fn add_sequence(&mut self, row: Row<'_>) -> Result<(), FactsError> {
        let kind = FactKind::Sequences;
        let cell = |index: usize| row.get(index).copied().flatten();
        let increment = cell(2).ok_or(FactsError { kind, column: "increment" })?;
        let increment = number(kind, increment, "increment")?;
        let owner = match (cell(3), cell(4), cell(5)) {
            (Some(schema), Some(table), Some(column)) => {
                Some((schema.into(), table.into(), column.into()))
            }
            _ => None,
        };
        if let Some(relation) = self.of_row(kind, row)? {
            (relation.increment, relation.owned_by) = (increment, owner);
        }
        Ok(())
    }
}

fn names(joined: &str) -> Vec<Box<str>> {
    joined.split(SEPARATOR).filter(|name| !name.is_empty()).map(Into::into).collect()
}

fn number<T: std::str::FromStr>(
    kind: FactKind,
    text: &str,
    column: &'static str,
) -> Result<T, FactsError> {
    text.parse().map_err(|_| FactsError { kind, column })
}

//! Owns which column a name means, where it stands. All names of the SQL given to SQLite are made
//! here: `r1.c2`; a user's names never reach it.

use super::error::{EngineError, Outcome};
use super::types::Type;

/// A column that can be named.
#[derive(Debug, Clone)]
pub(crate) struct Col {
    /// Its name for users.
    pub(crate) name: String,
    /// Its type.
    pub(crate) ty: Type,
    /// What it is in SQLite.
    pub(crate) sql: String,
}

/// Something in FROM with a name.
#[derive(Debug, Clone)]
pub(crate) struct Rel {
    /// Its alias or name.
    pub(crate) alias: String,
    /// Its columns.
    pub(crate) columns: Vec<Col>,
    /// The OID of the catalog it is, for `tableoid`.
    pub(crate) oid: Option<i64>,
}

/// What one FROM makes nameable, and what is around it.
#[derive(Debug, Default)]
pub(crate) struct Scope<'p> {
    /// By alias.
    pub(crate) rels: Vec<Rel>,
    /// Without an alias, in the order of `*`; columns joined by USING stand here once.
    pub(crate) star: Vec<Col>,
    /// The FROM of the query around.
    pub(crate) parent: Option<&'p Scope<'p>>,
    /// How many are around.
    pub(crate) level: usize,
}

impl<'p> Scope<'p> {
    /// An empty one inside another.
    pub(crate) fn inside(parent: Option<&'p Scope<'p>>) -> Self {
        let level = parent.map_or(0, |parent| parent.level + 1);
        Self { rels: Vec::new(), star: Vec::new(), parent, level }
    }

    /// The column of a name without an alias, and the level it is of.
    pub(crate) fn column(&self, name: &str) -> Outcome<(&Col, usize)> {
        let mut scope = Some(self);
        while let Some(here) = scope {
            let mut found = here.star.iter().filter(|column| column.name == name);
            if let Some(column) = found.next() {
                if found.next().is_some() {
                    let message = format!("column reference \"{name}\" is ambiguous");
                    return Err(EngineError::new("42702", message));
                }
                return Ok((column, here.level));
            }
            scope = here.parent;
        }
        Err(EngineError::new("42703", format!("column \"{name}\" does not exist")))
    }

    /// The relation of an alias, and the level it is of.
    pub(crate) fn relation(&self, alias: &str) -> Outcome<(&Rel, usize)> {
        let mut scope = Some(self);
        while let Some(here) = scope {
            if let Some(rel) = here.rels.iter().find(|rel| rel.alias == alias) {
                return Ok((rel, here.level));
            }
            scope = here.parent;
        }
        let message = format!("missing FROM-clause entry for table \"{alias}\"");
        Err(EngineError::new("42P01", message))
    }

    /// The column of a name with an alias, and the level it is of.
    pub(crate) fn qualified(&self, alias: &str, name: &str) -> Outcome<(Col, usize)> {
        let (rel, level) = self.relation(alias)?;
        let mut found = rel.columns.iter().filter(|column| column.name == name);
        match (found.next(), found.next(), rel.oid) {
            (Some(column), None, _) => Ok((column.clone(), level)),
            (Some(_), Some(_), _) => {
                let message = format!("column reference \"{name}\" is ambiguous");
                Err(EngineError::new("42702", message))
            }
            (None, _, Some(oid)) if name == "tableoid" => {
                let column = Col { name: name.into(), ty: Type::Oid, sql: oid.to_string() };
                Ok((column, level))
            }
            _ => Err(EngineError::new("42703", format!("column {alias}.{name} does not exist"))),
        }
    }
}

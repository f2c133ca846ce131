//! Owns what is added to MERGE. Its target is restricted in ON, which is right as long as rows that
//! ON does not let through are left alone; its source where it is read, so that a row of it that is
//! hidden is not one without a match.

use super::super::merge::{self, Parts};
use super::super::named::Refused;
use super::super::query::{From, Relation};
use super::levels::Levels;
use crate::ownership::quote_name;
use crate::planner::Text;
use std::ops::Range;

impl Levels<'_, '_> {
    /// The MERGE at these tokens.
    pub(super) fn merged(&mut self, text: &Text<'_>, at: Range<usize>) -> Refused<()> {
        let Parts { target, source, on, nested, adds, by_source } = merge::parts(text, at)?;
        if by_source {
            return Err(self.refused("MERGE … BY SOURCE would meet them"));
        }
        let From::Relation(target) = &target else {
            return Err(self.refused("the target of MERGE cannot be read"));
        };
        let mut conditions = self.conditions(target)?;
        match &source {
            From::Relation(source) if adds => self.source(text, source)?,
            From::Relation(source) => conditions.extend(self.conditions(source)?),
            From::Query { query, .. } => self.query(query)?,
            From::Function { .. } => {}
            From::Join { .. } => return Err(self.refused("the source of MERGE is a join")),
        }
        nested.iter().try_for_each(|nested| self.query(&nested.query))?;
        if !conditions.is_empty() {
            self.edits.before(text, on.start, "(".into());
            self.edits.behind(text, on.end, format!(") and {}", conditions.join(" and ")));
        }
        Ok(())
    }

    /// A table as the source becomes a sub-select of the same name.
    fn source(&mut self, text: &Text<'_>, source: &Relation) -> Refused<()> {
        let conditions = self.conditions(&Relation { alias: None, ..source.clone() })?;
        if conditions.is_empty() {
            return Ok(());
        }
        let alias = source.alias.as_ref().and_then(|alias| alias.name.as_ref());
        let alias = match (alias, &source.schema) {
            (Some(_), _) => String::new(),
            (None, None) => format!(" as {}", quote_name(&source.name)),
            (None, Some(_)) => return Err(self.refused("the source of MERGE has no alias")),
        };
        if source.only {
            return Err(self.refused("the source of MERGE is read with ONLY"));
        }
        let name = String::from_utf8_lossy(text.raw_range(source.at.start, source.at.end));
        let sql = format!("(select * from {name} where {}){alias}", conditions.join(" and "));
        self.edits.replace(text, source.at.clone(), sql);
        Ok(())
    }
}

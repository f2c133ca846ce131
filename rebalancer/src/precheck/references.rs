//! Owns foreign keys: what refers to each other must stay on one shard. PostgreSQL does not look
//! when rows are moved.

use super::{Question, Report};
use crate::error::Error;
use crate::tables::{ForeignKey, MovedTable};
use pgmanifold_router::ownership::quote_name;
use pgmanifold_router::shard_map::DistributionKind;

/// Looks at all foreign keys of the tables, and to them.
///
/// # Errors
/// What the source says.
pub(super) async fn check(question: &Question<'_>, report: &mut Report) -> Result<(), Error> {
    let mut seen: Vec<&ForeignKey> = Vec::new();
    for key in question.scope.tables.iter().flat_map(|table| &table.foreign_keys) {
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let (from, to) = (moved(question, &key.from), moved(question, &key.to));
        let name = format!(
            "foreign key {} of {}.{} to {}.{}",
            key.name, key.from.0, key.from.1, key.to.0, key.to.1
        );
        match (from, to) {
            (Some(from), Some(to)) => together(question, &name, key, (from, to), report).await?,
            (Some(_), None) if is_everywhere(question, &key.to) => {}
            (Some(_), None) => report.refuse(
                format!("{name}: the rows referred to do not move along"),
                "put both tables into one distribution, make the other one a reference table, or \
                 drop the constraint",
            ),
            (None, _) => report.refuse(
                format!("{name}: the rows that refer do not move along"),
                "put both tables into one distribution, or drop the constraint",
            ),
        }
    }
    Ok(())
}

fn moved<'a>(question: &Question<'a>, name: &(String, String)) -> Option<&'a MovedTable> {
    question.scope.tables.iter().find(|table| table.schema == name.0 && table.name == name.1)
}

fn is_everywhere(question: &Question<'_>, name: &(String, String)) -> bool {
    let map = question.scope.map;
    let table = map.table(Some(&name.0), &name.1);
    table.is_some_and(|table| map.distribution(table).kind == DistributionKind::Reference)
}

/// Where the key refers to the key, rows belong together by the constraint itself. Otherwise it is
/// the rows themselves that tell.
async fn together(
    question: &Question<'_>,
    name: &str,
    key: &ForeignKey,
    (from, to): (&MovedTable, &MovedTable),
    report: &mut Report,
) -> Result<(), Error> {
    let pairs = from.key_columns.iter().zip(&to.key_columns);
    let by_key = |(from, to): (&String, &String)| {
        key.columns.iter().any(|(refers, referred)| refers == from && referred == to)
    };
    if pairs.clone().all(by_key) {
        return Ok(());
    }
    let equal: Vec<String> = key
        .columns
        .iter()
        .map(|(refers, referred)| format!("f.{} = t.{}", quote_name(refers), quote_name(referred)))
        .collect();
    let sql = format!(
        "select exists (select from {} f join {} t on {} where ({}) <> ({}))",
        from.sql(),
        to.sql(),
        equal.join(" and "),
        question.scope.condition(from, "f."),
        question.scope.condition(to, "t.")
    );
    if question.source.value(&sql).await?.as_deref() == Some("t") {
        report.refuse(
            format!("{name}: rows that move refer to rows that stay, or the other way round"),
            "the constraint must contain the key of both tables",
        );
    } else {
        report.note(format!(
            "{name} does not contain the key: it holds for the rows there are, and nothing keeps \
             new rows from referring to another shard's"
        ));
    }
    Ok(())
}

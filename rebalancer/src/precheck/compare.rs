//! Owns the comparison of the tables of both sides, and of what they are made of.

use super::{Question, Report};
use crate::connect::Session;
use crate::error::Error;
use crate::sequences;
use crate::tables::{MovedTable, qualified};
use pgmanifold_router::ownership::quote_text;
use std::collections::BTreeMap;

/// Most differences that are named of one table.
const DIFFERENCES_MAX: usize = 8;

/// Compares what the source has with what is `there`, on the target.
///
/// # Errors
/// What the servers say.
pub(super) async fn check(
    question: &Question<'_>,
    there: &[MovedTable],
    missing: &[String],
    report: &mut Report,
) -> Result<(), Error> {
    for name in missing {
        let place = &question.target.place;
        report.refuse(format!("{place}: there is no table {name}"), dump(question, name));
    }
    for table in question.scope.tables {
        let same = |other: &&MovedTable| other.schema == table.schema && other.name == table.name;
        let Some(other) = there.iter().find(same) else { continue };
        let found = differences(table, other);
        let more = found.len().saturating_sub(DIFFERENCES_MAX);
        for line in found.into_iter().take(DIFFERENCES_MAX) {
            report.refuse(
                format!("table {} differs: {line}", table.plain()),
                "make it the same on all shards",
            );
        }
        if more > 0 {
            report.note(format!("table {}: {more} more differences", table.plain()));
        }
        apart(question, table, report).await?;
    }
    types(question, report).await
}

/// What makes the table on the target; without passwords.
fn dump(question: &Question<'_>, name: &str) -> String {
    let table = match name.split_once('.') {
        Some((schema, name)) => qualified(schema, name),
        None => name.to_owned(),
    };
    let url = |config: &crate::config::ShardConfig| {
        let login = &config.server.login;
        let host = login.get_hosts().first().map(crate::config::host_text).unwrap_or_default();
        format!(
            "host={host} port={} user={} dbname={}",
            login.get_ports().first().copied().unwrap_or(5432),
            login.get_user().unwrap_or_default(),
            login.get_dbname().unwrap_or_default()
        )
    };
    format!(
        "pg_dump --schema-only --table='{table}' '{}' | psql '{}'",
        url(question.source_config),
        url(question.target_config)
    )
}

fn differences(table: &MovedTable, other: &MovedTable) -> Vec<String> {
    let lines = |table: &MovedTable| -> Vec<String> {
        let columns = table
            .columns
            .iter()
            .map(|column| format!("column {} {} {}", column.name, column.type_name, column.rest));
        columns.chain(table.shape.iter().cloned()).collect()
    };
    let (one, two) = (lines(table), lines(other));
    let only = |these: &[String], those: &[String], side: &str| -> Vec<String> {
        let missing = these.iter().filter(|line| !those.contains(line));
        missing.map(|line| format!("only on the {side}: {}", line.trim_end())).collect()
    };
    let mut found = only(&one, &two, "source");
    found.extend(only(&two, &one, "target"));
    found
}

/// Numbers that both shards give out collide where nothing but the number must be unique.
async fn apart(
    question: &Question<'_>,
    table: &MovedTable,
    report: &mut Report,
) -> Result<(), Error> {
    for sequence in &table.sequences {
        if sequences::are_apart(question.source, question.target, &sequence.name).await? {
            continue;
        }
        let what = format!(
            "table {}: sequence {} gives the same numbers on both shards",
            table.plain(),
            sequence.name
        );
        let collides = table.unique.iter().any(|(_, columns)| {
            columns.contains(&sequence.column)
                && !table.key_columns.iter().all(|key| columns.contains(key))
        });
        let remedy = "`pgmanifold map sequences` sets them apart";
        match collides {
            true => report.refuse(
                format!("{what}, and column {} is to be unique by itself", sequence.column),
                remedy,
            ),
            false => report.note(format!("{what}; {remedy}")),
        }
    }
    Ok(())
}

/// Enums must have the same labels: others could not be read on the target.
async fn types(question: &Question<'_>, report: &mut Report) -> Result<(), Error> {
    let (here, there) =
        (labels(question, question.source).await?, labels(question, question.target).await?);
    for (name, labels) in &here {
        match there.get(name) {
            Some(other) if other == labels => {}
            // Without the type its table is not there either.
            None => {}
            Some(other) => report.refuse(
                format!("type {name} differs: {labels} on the source, {other} on the target"),
                "alter type … add value … on the shard that lacks it",
            ),
        }
    }
    Ok(())
}

async fn labels(question: &Question<'_>, on: &Session) -> Result<BTreeMap<String, String>, Error> {
    let tables: Vec<String> =
        question.scope.tables.iter().map(|table| quote_text(&table.sql())).collect();
    let sql = format!(
        "select pg_catalog.format_type(e.enumtypid, null), \
          pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' \
           order by e.enumsortorder) \
         from pg_catalog.pg_enum e where e.enumtypid in (\
          select coalesce(nullif(t.typelem, 0), t.oid) \
          from pg_catalog.unnest(array[{}]::text[]) r(name) \
          join pg_catalog.pg_attribute a on a.attrelid = pg_catalog.to_regclass(r.name) \
          join pg_catalog.pg_type t on t.oid = a.atttypid) group by 1",
        tables.join(", ")
    );
    let rows = on.rows(&sql).await?;
    let text = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten();
    let read = |row: &Vec<Option<String>>| Some((text(row, 0)?, text(row, 1)?));
    Ok(rows.iter().filter_map(read).collect())
}

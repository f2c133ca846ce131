//! Owns what a single table, on one shard, must be like to be moved.

use super::{Question, Report};
use crate::connect::Session;
use crate::tables::{MovedTable, Oddity, ReplicaIdentity};
use pgmanifold_router::key::KeyType;
use pgmanifold_router::ownership::quote_name;

const OFFLINE: &str = "move it with --mode offline";

/// Looks at the table as the shard `on` has it; false where the columns of its key are such that no
/// server could tell which rows are meant.
pub(super) fn check(
    question: &Question<'_>,
    on: &Session,
    table: &MovedTable,
    report: &mut Report,
) -> bool {
    let name = format!("{}: table {}", on.place, table.plain());
    for oddity in &table.oddities {
        odd(question, &name, table, oddity, report);
    }
    let before = report.reasons.len();
    key_columns(question, &name, table, report);
    let has_keys = report.reasons.len() == before;
    if question.online {
        identity(&name, table, report);
    }
    let registers = table.columns.iter().filter(|column| column.type_name.starts_with("reg"));
    for column in registers {
        report.note(format!(
            "{name}: column {} ({}) is moved by the name it stands for",
            column.name, column.type_name
        ));
    }
    has_keys
}

fn odd(
    question: &Question<'_>,
    name: &str,
    table: &MovedTable,
    oddity: &Oddity,
    report: &mut Report,
) {
    match oddity {
        Oddity::Unlogged(part) if question.online => report.refuse(
            format!("{name}: {part} is unlogged: its changes cannot be followed"),
            format!("alter table {part} set logged, or {OFFLINE}"),
        ),
        Oddity::Unlogged(part) => {
            report.note(format!("{name}: {part} is unlogged: it is empty after a crash"));
        }
        Oddity::NotATable(what) => report.refuse(
            format!("{name} is, or has a part that is, not a plain or partitioned table ({what})"),
            "only rows of tables can be moved",
        ),
        Oddity::Inheritance(other) => report.refuse(
            format!("{name} shares rows with {other} by inheritance"),
            format!("alter table … no inherit …, or partition {}", table.sql()),
        ),
        Oddity::Partition(root) => report.refuse(
            format!("{name} is a partition of {root}"),
            format!("put {root} into the map in its place"),
        ),
        Oddity::Trigger(trigger) => report.refuse(
            format!("{name}: trigger {trigger} fires for copied and replicated rows, too"),
            "alter table … enable trigger … (without ALWAYS or REPLICA)",
        ),
        Oddity::Extension(extension) => report.refuse(
            format!("{name} belongs to extension {extension}"),
            "what an extension keeps in its tables is its own business",
        ),
        Oddity::NoText(column) => report.refuse(
            format!("{name}: values of column {column} cannot be read back from their text"),
            "store them as text",
        ),
        Oddity::Rule(rule) => report.note(format!("{name}: rule {rule} does not apply to copies")),
    }
}

/// The key's columns must have the types that the hash and the row filter are made for.
fn key_columns(question: &Question<'_>, name: &str, table: &MovedTable, report: &mut Report) {
    let Ok(distribution) = question.scope.distribution() else { return };
    for (key, key_type) in table.key_columns.iter().zip(&distribution.key_types) {
        let Some(column) = table.columns.iter().find(|column| column.name == *key) else {
            report.refuse(
                format!("{name} has no column {key}, which is its key by the map"),
                "correct the map, or the table",
            );
            continue;
        };
        let type_name = &column.type_name;
        let fits = column.type_kind == 'b'
            && KeyType::from_name(type_name).is_some_and(|ty| key_type.allows_column(ty));
        if !fits {
            let kind = match column.type_kind {
                'e' => "an enum, ",
                'd' => "a domain, ",
                _ => "",
            };
            report.refuse(
                format!("{name}: column {key} is {kind}{type_name}, but its key is {key_type}"),
                format!("alter table {} alter {} type {key_type}", table.sql(), quote_name(key)),
            );
        }
        if column.generated {
            report.refuse(
                format!("{name}: column {key} is the key, and it is generated"),
                format!("alter table {} alter {} drop expression", table.sql(), quote_name(key)),
            );
        }
        if !column.deterministic {
            report.refuse(
                format!("{name}: column {key} has a collation under which equal keys differ"),
                format!("alter table {} alter {} collate \"C\"", table.sql(), quote_name(key)),
            );
        }
    }
}

/// Without the key in it, the application's own updates would fail as soon as changes are
/// published.
fn identity(name: &str, table: &MovedTable, report: &mut Report) {
    let usable = table.unique.iter().find(|(_, columns)| {
        let has = |key: &String| columns.contains(key);
        let is_known = |column: &String| {
            let known = table.columns.iter().find(|known| known.name == *column);
            known.is_some_and(|known| known.rest.starts_with("not null"))
        };
        table.key_columns.iter().all(has) && columns.iter().all(is_known)
    });
    let sql = table.sql();
    let remedy = match usable {
        Some((index, _)) if !table.partitioned => {
            format!("alter table {sql} replica identity using index {}", quote_name(index))
        }
        Some(_) => format!("give every partition of {sql} a replica identity with the key in it"),
        None => format!(
            "make a unique index on NOT NULL columns with {} among them and then alter table \
             {sql} replica identity using index …, or alter table {sql} replica identity full \
             where it has a primary key",
            table.key_columns.join(", ")
        ),
    };
    let remedy = format!("{remedy}, or {OFFLINE}");
    match &table.identity {
        ReplicaIdentity::Columns(columns) => {
            let lacks = |key: &&String| !columns.contains(key);
            let lacking: Vec<&str> =
                table.key_columns.iter().filter(lacks).map(String::as_str).collect();
            if !lacking.is_empty() {
                let lacking = lacking.join(", ");
                report.refuse(
                    format!("{name}: column {lacking} of the key is not in its replica identity"),
                    remedy,
                );
            }
        }
        ReplicaIdentity::Full if !has_primary_key(table) => report.refuse(
            format!(
                "{name} has REPLICA IDENTITY FULL and no primary key: each change would read the \
                 whole table on the other shard"
            ),
            remedy,
        ),
        ReplicaIdentity::Full => {}
        ReplicaIdentity::Nothing => report.refuse(
            format!("{name} has no replica identity: updates and deletes cannot be followed"),
            remedy,
        ),
    }
}

fn has_primary_key(table: &MovedTable) -> bool {
    let is_primary =
        |line: &String| line.starts_with("constraint ") && line.contains(" PRIMARY KEY (");
    table.shape.iter().any(is_primary)
}

//! Owns the names that columns had in PgBouncer 1.7. Agents that were never changed since ask for
//! them, and fail at any PgBouncer of today; they are shown after the present columns when the
//! configuration says so.

use crate::answer::{Answer, OutColumn};
use crate::schema::Table;
use crate::value::{Row, Value};

/// Table, old name, the column that says the same today.
static NAMES: &[(&str, &str, &str)] = &[
    ("stats", "total_requests", "total_query_count"),
    ("stats", "avg_req", "avg_query_count"),
    ("stats", "avg_query", "avg_query_time"),
    ("databases", "reserve_pool", "reserve_pool_size"),
];

/// Adds a table's old columns to what SHOW answers with.
pub fn add_columns(table: &Table, answer: &mut Answer) {
    for (_, old, present) in NAMES.iter().filter(|(name, ..)| *name == table.name) {
        let Some(place) = table.column(present) else { continue };
        let Some(kind) = answer.columns.get(place).map(|column| column.kind) else { continue };
        answer.columns.push(OutColumn { name: (*old).into(), kind });
        let copy = |row: &mut Row| row.push(row.get(place).cloned().unwrap_or(Value::Null));
        answer.rows.iter_mut().for_each(copy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables;

    #[test]
    fn every_old_name_has_its_column() {
        for (table, old, present) in NAMES {
            let table = tables::find(table).expect("a table");
            assert!(table.column(present).is_some() && table.column(old).is_none(), "{old}");
            let row = (0..table.columns.len()).map(Value::from).collect();
            let mut answer = Answer::show(table, vec![row]);
            add_columns(table, &mut answer);
            let place = answer.columns.iter().position(|column| &*column.name == *old);
            let value = place.map(|place| answer.rows[0][place].clone());
            assert_eq!(value, table.column(present).map(Value::from), "{old}");
        }
    }
}

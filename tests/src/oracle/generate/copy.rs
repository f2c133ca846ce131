//! Owns random COPY: out of tables and queries, and into tables, in all formats.

use super::super::compare::Check;
use super::super::request::Request;
use super::{Generator, Statement};

/// Formats of COPY.
const OPTIONS: [&str; 7] = [
    "",
    "(format text)",
    "(format csv)",
    "(format csv, header)",
    "(format binary)",
    "(delimiter '|', null 'none')",
    "(format csv, quote '''', null 'nil')",
];

/// Marks a COPY … FROM whose data the oracle makes from a query: text behind it.
pub const DATA_OF: &str = "\u{1}";

impl Generator<'_> {
    /// A random COPY.
    pub fn copy(&mut self) -> Statement {
        let options = *self.dice.pick(&OPTIONS);
        if self.dice.chance(50) {
            let sql = self.copy_out(options);
            return self.finish("copy out", sql, Check::bag(), false);
        }
        let at = self.any_table();
        let world = self.world;
        let table = &world.tables[at];
        let mut columns: Vec<usize> = vec![0, 1];
        columns.extend((2..table.columns.len()).filter(|_| self.dice.chance(50)));
        if self.dice.chance(25) {
            columns.reverse();
        }
        let all = columns.len() == table.columns.len() && columns.is_sorted();
        let names: Vec<&str> = columns.iter().map(|at| table.columns[*at].0.as_str()).collect();
        let list = if all { String::new() } else { format!(" ({})", names.join(", ")) };
        let mut rows = Vec::new();
        for _ in 0..self.dice.below(12) {
            let mut values = Vec::new();
            for at in &columns {
                let ty = table.columns[*at].1;
                let text = if *at == 1 { self.next_row().to_string() } else { self.value(ty) };
                let is_null = *at > 1 && self.dice.chance(15);
                values.push(match is_null {
                    true => format!("null::{}", ty.sql()),
                    false => super::world::cast(ty, &text),
                });
            }
            rows.push(format!("({})", values.join(", ")));
        }
        let query = match rows.is_empty() {
            true => format!("select {} from {} where false", names.join(", "), table.name),
            false => format!("values {}", rows.join(", ")),
        };
        let sql = format!("copy {}{list} from stdin {options}", table.name);
        let request = Request::CopyIn(format!("{sql}{DATA_OF}{query}"), Vec::new());
        let check = Check::bag().for_sql(&sql);
        Statement {
            kind: "copy in",
            request,
            check,
            writes: true,
            parts: None,
            values: Vec::new(),
            bound: Vec::new(),
        }
    }

    fn copy_out(&mut self, options: &str) -> String {
        let at = self.any_table();
        if self.dice.chance(40) {
            let world = self.world;
            let table = &world.tables[at];
            let list = match self.dice.chance(40) {
                true => format!(" (i, {})", table.columns[0].0),
                false => String::new(),
            };
            return format!("copy {}{list} to stdout {options}", table.name);
        }
        let (relation, from) = self.relation(at);
        let condition = self.key_condition(&relation);
        let (key, row) = (relation.column(0), relation.column(1));
        let order =
            if self.dice.chance(30) { format!(" order by {row}, {key}") } else { String::new() };
        format!(
            "copy (select {key}, {row} from {from} where {condition}{order}) to stdout {options}"
        )
    }
}

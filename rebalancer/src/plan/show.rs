//! Owns a plan as tables for people.

use super::document::Plan;
use super::parts::Weight;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::fmt;

/// Most rows of a table; the document has all.
const MAX_ROWS: usize = 1_000;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} (epoch {})", self.database, self.purpose, self.epoch)?;
        if self.moves.is_empty() {
            writeln!(f, "\nNo moves are proposed.")?;
        } else {
            writeln!(f, "\nMoves\n{}", self.move_table())?;
        }
        let own: Vec<_> = self.splits.iter().filter(|border| !border.with_move).collect();
        for (title, borders) in [("Splits", own), ("Merges", self.merges.iter().collect())] {
            if !borders.is_empty() {
                let rows = borders
                    .iter()
                    .map(|b| vec![b.distribution.clone(), b.at.clone(), b.shard.clone()]);
                writeln!(f, "\n{title}\n{}", table(&["distribution", "at", "shard"], &[], rows))?;
            }
        }
        if !self.shards.is_empty() {
            writeln!(f, "\nShards\n{}", self.shard_table())?;
        }
        if !self.distributions.is_empty() {
            writeln!(f, "\nDistributions\n{}", self.distribution_table())?;
        }
        if !self.indivisible.is_empty() {
            writeln!(f, "\nNot to be divided\n{}", self.indivisible_table())?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "\nNote: {note}."))
    }
}

impl Plan {
    fn move_table(&self) -> Table {
        let columns =
            ["", "distribution", "keys", "from", "to", "rows", "bytes", "executions", "reason"];
        let rows = self.moves.iter().enumerate().map(|(at, one)| {
            let [rows, size, executions] = weight(one.weight);
            let (distribution, keys) = (one.distribution.clone(), one.keys.to_string());
            let (source, target) = (one.source.clone(), one.target.clone());
            let number = (at + 1).to_string();
            let reason = one.reason.clone();
            vec![number, distribution, keys, source, target, rows, size, executions, reason]
        });
        table(&columns, &[0, 5, 6, 7], rows)
    }

    fn shard_table(&self) -> Table {
        let by = self.by.as_str();
        let before = format!("{by} before");
        let after = format!("{by} after");
        let columns = [
            "shard",
            "rows before",
            "after",
            "bytes before",
            "after",
            "executions before",
            "after",
            &before,
            &after,
        ];
        let rows = self.shards.iter().map(|shard| {
            let [rows, size, executions] = weight(shard.before);
            let [rows_after, size_after, executions_after] = weight(shard.after);
            let name = match shard.drained {
                true => format!("{} (drained)", shard.name),
                false => shard.name.clone(),
            };
            let (share, share_after) = (percent(shard.share_before), percent(shard.share_after));
            vec![
                name,
                rows,
                rows_after,
                size,
                size_after,
                executions,
                executions_after,
                share,
                share_after,
            ]
        });
        table(&columns, &[1, 2, 3, 4, 5, 6, 7, 8], rows)
    }

    fn distribution_table(&self) -> Table {
        let columns = [
            "distribution",
            "rows",
            "bytes",
            "executions",
            "imbalance before",
            "after",
            "to move",
            "at least",
        ];
        let rows = self.distributions.iter().map(|one| {
            let [rows, size, executions] = weight(one.weight);
            vec![
                one.name.clone(),
                rows,
                size,
                executions,
                percent(one.imbalance_before),
                percent(one.imbalance_after),
                bytes(one.bytes_moved),
                bytes(one.bytes_bound),
            ]
        });
        table(&columns, &[1, 2, 3, 4, 5, 6, 7], rows)
    }

    fn indivisible_table(&self) -> Table {
        let columns = ["distribution", "shard", "keys", "equal shares", "rows", "bytes", "advice"];
        let rows = self.indivisible.iter().map(|one| {
            let [rows, size, _] = weight(one.weight);
            let keys = match &one.key {
                Some(key) => format!("key {key}"),
                None => one.keys.to_string(),
            };
            let shares = format!("{:.2}", one.shares);
            let (distribution, shard) = (one.distribution.clone(), one.shard.clone());
            vec![distribution, shard, keys, shares, rows, size, one.advice.clone()]
        });
        table(&columns, &[3, 4, 5], rows)
    }
}

/// A table whose columns of these numbers stand to the right.
fn table(
    columns: &[&str],
    right: &[usize],
    rows: impl ExactSizeIterator<Item = Vec<String>>,
) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.to_vec());
    let more = rows.len().saturating_sub(MAX_ROWS);
    for row in rows.take(MAX_ROWS) {
        table.add_row(row);
    }
    if more > 0 {
        table.add_row(vec![format!("and {more} more")]);
    }
    for at in right {
        if let Some(column) = table.column_mut(*at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn weight(weight: Weight) -> [String; 3] {
    [weight.rows.to_string(), bytes(weight.bytes), weight.executions.to_string()]
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// Bytes with a unit, three digits and more.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut number = bytes as f64;
    let mut unit = 0;
    while number >= 10_000.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{number:.1} {}", UNITS[unit]),
    }
}

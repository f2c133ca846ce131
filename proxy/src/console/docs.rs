//! Owns the text of docs/console.md, made from the table of tables and the list of commands.

use pgmanifold_console::Role;
use pgmanifold_console::Table;
use pgmanifold_console::command::FORMS;
use pgmanifold_console::schema::{Column, Origin};
use pgmanifold_console::tables::all;
use std::fmt::Write;

const INTRODUCTION: &str = include_str!("console.head.md");

fn render() -> String {
    let mut out = INTRODUCTION.to_owned();
    out.push_str("\n## Commands\n\n| command | who | what it does |\n|---|---|---|\n");
    for form in FORMS {
        let who = match form.needs {
            Role::Stats => "stats, admin",
            Role::Admin => "admin",
        };
        let syntax = form.syntax.replace('|', "\\|");
        let _ = writeln!(out, "| `{syntax}` | {who} | {} |", form.help);
    }
    out.push_str("\n## Tables\n\n| table | whose | |\n|---|---|---|\n");
    let mut tables: Vec<&Table> = all().collect();
    tables.sort_by_key(|table| table.name);
    for table in &tables {
        let whose = match table.origin {
            Origin::PgBouncer => "PgBouncer",
            Origin::Own => "pgmanifold",
        };
        let upper = table.name.to_ascii_uppercase();
        let first = table.help.split_inclusive(". ").next().unwrap_or_default().trim_end();
        let _ = writeln!(out, "| [`{upper}`](#{}) | {whose} | {first} |", table.name);
    }
    tables.iter().for_each(|table| render_table(table, &mut out));
    out
}

fn render_table(table: &Table, out: &mut String) {
    let _ = write!(out, "\n### {}\n\n{}\n", table.name, table.help);
    if !table.aliases.is_empty() {
        let names: Vec<String> = table.aliases.iter().map(|name| format!("`{name}`")).collect();
        let _ = write!(out, "\nAlso called {}.\n", names.join(", "));
    }
    out.push_str("\n| column | type | unit | meaning |\n|---|---|---|---|\n");
    for column in table.columns {
        let Column { name, kind, unit, help } = column;
        let _ = writeln!(out, "| `{name}` | {} | {} | {help} |", kind.name(), unit.word());
    }
}

#[test]
fn documentation_matches_the_table_of_tables() {
    crate::tests::check_document("console.md", &render());
}

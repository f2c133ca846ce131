//! The queries that psql, pgcli and drivers send of themselves, as captured from PostgreSQL's.

use crate::fixture::{ask, text};
use std::fs;
use std::path::PathBuf;

fn queries(file: &str) -> Vec<(String, String)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/queries").join(file);
    let oid = ask("SELECT oid FROM pg_class WHERE relname = 'clients'").unwrap();
    let oid = text(&oid).concat();
    let text = fs::read_to_string(path).unwrap().replace("{clients}", &oid);
    let mut queries = Vec::new();
    for block in text.split("-- @ ").skip(1) {
        let (name, sql) = block.split_once('\n').unwrap();
        queries.push((name.to_owned(), sql.trim().trim_end_matches(';').to_owned()));
    }
    queries
}

fn all_run(file: &str, least: usize) {
    let queries = queries(file);
    assert!(queries.len() >= least, "only {} queries in {file}", queries.len());
    let mut wrong = String::new();
    for (name, sql) in queries {
        if let Err(error) = ask(&sql) {
            wrong.push_str(&format!("\n{name}: {error} {:?}\n{sql}\n", error.detail));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn psql_15_is_answered() {
    all_run("psql15.sql", 65);
}

#[test]
fn psql_18_is_answered() {
    all_run("psql18.sql", 15);
}

#[test]
fn tab_completion_is_answered() {
    all_run("psql_tab.sql", 25);
}

#[test]
fn drivers_and_pgcli_are_answered() {
    all_run("drivers.sql", 20);
}

fn answer(name: &str, nth: usize) -> Vec<String> {
    let all = queries("psql15.sql");
    let (_, sql) = all.iter().filter(|(known, _)| known == name).nth(nth).unwrap();
    text(&ask(sql).unwrap())
}

#[test]
fn psql_lists_the_tables() {
    let rows = answer("\\d", 0);
    assert!(rows.contains(&"public|clients|table|pgmanifold".to_owned()), "{rows:?}");
    assert_eq!(rows.len(), 4);
    assert!(answer("\\dv", 0).is_empty());
}

#[test]
fn psql_shows_the_columns_of_a_table_and_what_they_are() {
    let rows = answer("\\d clients", 2);
    assert_eq!(rows[0], "type|text|NULL|f|NULL||");
    assert_eq!(rows[7], "wait_us|bigint|NULL|f|NULL||");
    let all = queries("psql15.sql");
    let (_, sql) = all.iter().find(|(_, sql)| sql.contains("col_description(a.attrelid")).unwrap();
    let rows = text(&ask(sql).unwrap());
    assert!(rows[0].ends_with("|What it says."), "{rows:?}");
}

#[test]
fn psql_lists_databases_and_roles() {
    let rows = answer("\\l", 0);
    assert!(rows.iter().any(|row| row.starts_with("pgmanifold|pgmanifold|UTF8|C|C")), "{rows:?}");
    assert_eq!(rows.len(), 4);
    let rows = answer("\\du", 0);
    assert!(rows.iter().any(|row| row.starts_with("bob|")), "{rows:?}");
}

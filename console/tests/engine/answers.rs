//! Statements whose answers PostgreSQL 15 gave over the same rows (`renew` asks it again), and
//! statements that are refused, with the words they are refused with.

use crate::fixture::{ask, script, text};
use pgmanifold_console::Kind;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name)
}

/// The cases of a file: a statement that ends in `;`, and the lines after it up to an empty one.
fn cases(name: &str) -> Vec<(String, Vec<String>)> {
    let file = fs::read_to_string(path(name)).unwrap();
    let mut cases = Vec::new();
    for block in file.split("\n\n") {
        let lines: Vec<_> = block.lines().filter(|line| !line.starts_with("--")).collect();
        let Some(end) = lines.iter().position(|line| line.ends_with(';')) else { continue };
        let answer = lines[end + 1..].iter().map(|line| (*line).to_owned()).collect();
        cases.push((lines[..=end].join("\n"), answer));
    }
    cases
}

/// The answer as lines: names and types of columns, then rows; or the class of the error.
fn answered(sql: &str) -> Vec<String> {
    match ask(sql.trim_end_matches(';')) {
        Ok(answer) => {
            let column = |one: &pgmanifold_console::answer::OutColumn| {
                format!("{} {}", one.name, one.kind.name())
            };
            let columns: Vec<_> = answer.columns.iter().map(column).collect();
            let mut lines = vec![format!(": {}", columns.join(", "))];
            lines.extend(text(&answer));
            lines
        }
        Err(error) => vec![format!("! {}", error.sqlstate)],
    }
}

#[test]
fn answers_are_those_of_postgresql() {
    let cases = cases("answers.sql");
    assert!(cases.len() > 150, "only {} cases were read", cases.len());
    let mut wrong = String::new();
    for (sql, expected) in cases {
        let answer = answered(&sql);
        if answer != expected {
            let error = ask(sql.trim_end_matches(';')).err();
            wrong.push_str(&format!(
                "\n{sql}\nexpected {expected:#?}\nanswered {answer:#?} {error:?}\n"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn refusals_say_what_is_refused() {
    let mut wrong = String::new();
    for (sql, expected) in cases("refused.sql") {
        let answer = match ask(sql.trim_end_matches(';')) {
            Ok(answer) => format!("{:?}", text(&answer)),
            Err(error) => error.to_string(),
        };
        if expected != [answer.clone()] {
            wrong.push_str(&format!("\n{sql}\nexpected {expected:?}\nanswered {answer}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Asks a PostgreSQL 15 with C collation for all answers anew; libpq's variables say where it is.
#[test]
#[ignore = "needs a PostgreSQL of its own"]
fn renew() {
    let mut out = String::from(
        "-- Statements over the fixture's tables, with PostgreSQL 15's answers: `cargo test -p\n\
         -- pgmanifold-console --test engine renew -- --ignored` writes them.\n\n",
    );
    for (sql, _) in cases("answers.sql") {
        out.push_str(&sql);
        out.push('\n');
        for line in psql(&sql) {
            out.push_str(&line);
            out.push('\n');
        }
        out.push('\n');
    }
    fs::write(path("answers.sql"), out).unwrap();
}

fn psql(sql: &str) -> Vec<String> {
    let script = format!(
        "SET client_min_messages = warning;\n{}\\set VERBOSITY sqlstate\n\\echo BEGIN\n{} \\gdesc\n\
         \\echo ROWS\n{sql}\n",
        script(),
        sql.trim_end_matches(';')
    );
    let mut child = Command::new("psql")
        .args(["-X", "-q", "-At", "-F", "|", "-P", "null=NULL"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    if let Some(error) = err.lines().find_map(|line| line.split("ERROR:  ").nth(1)) {
        return vec![format!("! {error}")];
    }
    let out = out.split("BEGIN\n").nth(1).unwrap();
    let (columns, rows) = out.split_once("ROWS\n").unwrap();
    let column = |line: &str| {
        let (name, ty) = line.rsplit_once('|').unwrap();
        let kind = match ty {
            "integer" | "smallint" => Kind::Int4,
            "bigint" | "oid" => Kind::Int8,
            "numeric" => Kind::Numeric,
            "double precision" => Kind::Float8,
            "boolean" => Kind::Bool,
            _ if ty.starts_with("numeric(") => Kind::Numeric,
            _ => Kind::Text,
        };
        format!("{name} {}", kind.name())
    };
    let columns: Vec<_> = columns.lines().map(column).collect();
    let mut lines = vec![format!(": {}", columns.join(", "))];
    lines.extend(rows.lines().map(str::to_owned));
    lines
}

//! Owns `pgmanifold route`: prints the plan and the route of statements. It asks no server, so it
//! knows of functions and views only what every PostgreSQL has.

use super::{USAGE, complain, load, say};
use pgmanifold::config::Config;
use pgmanifold::config::model::Database;
use pgmanifold::routing::{Explanation, Question, Verdict, explain};
use pgmanifold_router::facts::Facts;
use pgmanifold_router::lexer::Dialect;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

/// Most bytes read from standard input.
const MAX_INPUT_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Database whose settings hold (default: the first one of the file).
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Query strings, each of one or more statements; `-` or nothing reads one per line from
    /// standard input.
    #[arg(value_name = "SQL")]
    sql: Vec<String>,
}

/// Prints one line for each query string: effect, route, reason.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let Some(loaded) = load(&arguments.config) else { return ExitCode::from(USAGE) };
    let Some(database) = database(&loaded.config, arguments.database.as_deref()) else {
        let known: Vec<&str> =
            loaded.config.databases.iter().map(|database| database.name.as_str()).collect();
        complain(&format!("no such database; there are: {}", known.join(", ")));
        return ExitCode::from(USAGE);
    };
    let facts = Facts::builtin();
    let from_input = arguments.sql.is_empty() || arguments.sql.iter().any(|sql| sql == "-");
    for sql in arguments.sql.iter().filter(|sql| *sql != "-") {
        say(&line(sql, database, &facts));
    }
    if !from_input {
        return ExitCode::SUCCESS;
    }
    let mut input = String::new();
    if let Err(error) = std::io::stdin().take(MAX_INPUT_BYTES).read_to_string(&mut input) {
        complain(&format!("cannot read standard input: {error}"));
        return ExitCode::FAILURE;
    }
    for sql in input.lines().filter(|sql| !sql.trim().is_empty()) {
        say(&line(sql, database, &facts));
    }
    ExitCode::SUCCESS
}

fn database<'a>(config: &'a Config, name: Option<&str>) -> Option<&'a Database> {
    let wanted =
        |database: &&std::sync::Arc<Database>| name.is_none_or(|name| database.name == name);
    config.databases.iter().find(wanted).map(AsRef::as_ref)
}

/// `effect  route: reason  | statement`.
fn line(sql: &str, database: &Database, facts: &Facts) -> String {
    let question = Question { database, facts, settled: true, map: None };
    let explained = explain(sql.as_bytes(), &question, Dialect::default());
    let shown: String = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut line = format!("{:<12}{}", explained.effect.as_str(), destination(&explained));
    if let Some(reason) = explained.keeps_server {
        line += &format!("; the session keeps its server ({reason})");
    }
    format!("{line}  | {shown}")
}

/// The route, or why no server sees the text.
fn destination(explained: &Explanation) -> String {
    match &explained.verdict {
        Verdict::Refused(error) => format!("refused: {}", error.message),
        Verdict::Local(reason) => format!("pgmanifold: {reason}"),
        Verdict::Runs { route, .. } => route.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        listener = [{ address = "127.0.0.1:0" }]
        user = [{ name = "app", password = "x" }]
        shard = [{ name = "main", hosts = ["h:1"], monitor_user = "m" }]
        database = [{ name = "app" }, { name = "other", read_replicas = false }]
    "#;

    #[test]
    fn says_where_statements_go_and_why() {
        let config = pgmanifold::config::parse(CONFIG, "test.toml").unwrap();
        let (app, other) = (&config.databases[0], &config.databases[1]);
        let facts = Facts::builtin();
        for (database, sql, wanted) in [
            (app, "select  1", "read        replica: "),
            (other, "select 1", "read        primary: "),
            (app, "insert into t values (1)", "write       primary: "),
            (app, "listen x", "the session keeps its server (listen)"),
            (app, "set pgm.role = 'primary'", "pgmanifold: "),
            (app, "/* pgm: nonsense=1 */ select 1", "refused: "),
        ] {
            let line = line(sql, database, &facts);
            let shown = sql.replace("  ", " ");
            assert!(line.contains(wanted) && line.ends_with(&shown), "{line}");
        }
    }

    #[test]
    fn finds_the_database_by_name_or_takes_the_first() {
        let config = pgmanifold::config::parse(CONFIG, "test.toml").unwrap();
        assert_eq!(database(&config, None).unwrap().name, "app");
        assert_eq!(database(&config, Some("other")).unwrap().name, "other");
        assert!(database(&config, Some("third")).is_none());
    }
}

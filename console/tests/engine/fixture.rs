//! Owns the tables of these tests and their rows, and the same as SQL for PostgreSQL.

use pgmanifold_console::engine::{Engine, EngineError, Limits, Parameters, Who};
use pgmanifold_console::schema::{Column, Origin, Unit};
use pgmanifold_console::value::Row;
use pgmanifold_console::{Answer, Kind, Source, Table, Value};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, UNIX_EPOCH};

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, unit: Unit::None, help: "What it says." }
}

const fn table(name: &'static str, columns: &'static [Column]) -> Table {
    Table { name, aliases: &[], origin: Origin::Own, help: "A table of tests.", columns }
}

static CLIENTS: Table = table(
    "clients",
    &[
        column("type", Kind::Text),
        column("user", Kind::Text),
        column("database", Kind::Text),
        column("state", Kind::Text),
        column("addr", Kind::Text),
        column("port", Kind::Int4),
        column("connect_time", Kind::Text),
        column("wait_us", Kind::Int8),
        column("total", Kind::Numeric),
        column("mean", Kind::Float8),
        column("tls", Kind::Bool),
        column("id", Kind::Int4),
    ],
);
static POOLS: Table = table(
    "pools",
    &[
        column("database", Kind::Text),
        column("user", Kind::Text),
        column("cl_active", Kind::Int4),
        column("sv_idle", Kind::Int4),
        column("bytes", Kind::Numeric),
    ],
);
static DATABASES: Table =
    table("databases", &[column("name", Kind::Text), column("port", Kind::Int4)]);
static USERS: Table =
    table("users", &[column("name", Kind::Text), column("pool_mode", Kind::Text)]);

/// All of them.
pub(crate) static TABLES: &[&Table] = &[&CLIENTS, &POOLS, &DATABASES, &USERS];

/// Their rows, with NULL as `-`.
fn lines(table: &str) -> &'static str {
    match table {
        "clients" => {
            "C|ann|app|active|10.0.0.1|5432|2026-11-22 17:13:41 UTC|1500|12.50|0.1|t|1
C|bob|app|waiting|10.0.0.2|5433|2026-11-22 17:14:00 UTC|250000|3|2.5|f|2
C|ann|shop|idle|10.0.0.3|-|2026-11-21 09:00:00 UTC|-|0.125|1e-07|t|3
C|Zoe|shop|active|unix|6432|2026-11-22 18:00:01 UTC|7|-4.75|123456789012345680|-|4
S|-|app|active|10.0.1.1|5432|2026-01-01 00:00:00 UTC|0|100|-1.5|f|5
S|éva|-|%a_b|10.0.1.2|5434|-|9000000000|12.5|-|t|6"
        }
        "pools" => {
            "app|ann|3|0|1000000000000
app|bob|1|2|5.5
shop|ann|2|7|-
logs|-|0|1|0"
        }
        "databases" => "app|5432\nshop|5432\nlogs|5433",
        _ => "ann|transaction\nbob|-\nZoe|session",
    }
}

fn value(text: &str, kind: Kind) -> Value {
    match kind {
        _ if text == "-" => Value::Null,
        Kind::Text => Value::from(text),
        Kind::Int4 | Kind::Int8 => Value::Int(text.parse().unwrap()),
        Kind::Numeric => text.parse().map_or_else(|_| Value::from(text), Value::Int),
        Kind::Float8 => Value::Float(text.parse().unwrap()),
        Kind::Bool => Value::Bool(text == "t"),
    }
}

/// Answers with the rows above.
pub(crate) struct Fixture;

impl Source for Fixture {
    fn rows(&self, table: &'static Table) -> Vec<Row> {
        let row = |line: &str| {
            let values = line.split('|').zip(table.columns);
            values.map(|(text, column)| value(text, column.kind)).collect()
        };
        lines(table.name).lines().map(row).collect()
    }
}

/// The same tables for PostgreSQL.
pub(crate) fn script() -> String {
    let mut script = String::new();
    for table in TABLES {
        let columns: Vec<_> = table
            .columns
            .iter()
            .map(|one| format!("\"{}\" {}", one.name, one.kind.name()))
            .collect();
        script.push_str(&format!("CREATE TEMP TABLE {} ({});\n", table.name, columns.join(", ")));
        for line in lines(table.name).lines() {
            let quoted = |text: &str| match text {
                "-" => "NULL".to_owned(),
                text => format!("'{text}'"),
            };
            let values: Vec<_> = line.split('|').map(quoted).collect();
            script.push_str(&format!(
                "INSERT INTO {} VALUES ({});\n",
                table.name,
                values.join(", ")
            ));
        }
    }
    script
}

/// An engine over the tables.
pub(crate) fn engine(limits: Limits) -> Engine {
    Engine::over(TABLES.iter().copied(), limits)
}

/// Who asks.
pub(crate) fn who() -> Who {
    Who {
        user: "admin".into(),
        database: "pgmanifold".into(),
        is_admin: true,
        pid: 77,
        version: "pgmanifold 0.1.0".into(),
        now: UNIX_EPOCH + Duration::from_secs(1_795_370_346),
        started: UNIX_EPOCH + Duration::from_secs(1_795_000_000),
    }
}

/// Asks with limits.
pub(crate) fn ask_within(sql: &str, limits: Limits) -> Result<Answer, EngineError> {
    let cancel = Arc::new(AtomicBool::new(false));
    engine(limits).select(sql, Parameters::default(), &Fixture, &who(), &cancel)
}

/// Asks.
pub(crate) fn ask(sql: &str) -> Result<Answer, EngineError> {
    let _beside_others = MEMORY.read().unwrap_or_else(PoisonError::into_inner);
    ask_within(sql, Limits::default())
}

/// The limit of memory is one for all statements of a process: who comes near to it is to be alone.
pub(crate) static MEMORY: RwLock<()> = RwLock::new(());

/// The rows of an answer as text, one a line.
pub(crate) fn text(answer: &Answer) -> Vec<String> {
    let shown = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        value => value.to_string(),
    };
    let row = |row: &Row| row.iter().map(shown).collect::<Vec<_>>().join("|");
    answer.rows.iter().map(row).collect()
}

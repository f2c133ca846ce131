//! Owns what advice is read from: rows of the console's tables, as values with names.

use pgmanifold_console::tables;
use pgmanifold_console::value::Row;
use pgmanifold_console::{Source, Table, Value};
use std::collections::BTreeMap;

/// One shape of statements in one database.
#[derive(Debug, Clone, Default)]
pub(super) struct Statement {
    pub(super) fingerprint: String,
    pub(super) database: String,
    pub(super) text: String,
    pub(super) calls: u64,
    pub(super) rows: u64,
    pub(super) total_us: u64,
    pub(super) server_us: u64,
    pub(super) pool_wait_us: u64,
    pub(super) scatter: u64,
    pub(super) shards_mean: f64,
}

/// How many statements went a way, and why.
#[derive(Debug, Clone, Default)]
pub(super) struct Way {
    pub(super) database: String,
    pub(super) route: String,
    pub(super) reason: String,
    pub(super) count: u64,
}

/// One server.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    pub(super) shard: String,
    pub(super) host: String,
    pub(super) role: String,
    pub(super) active: u64,
    pub(super) size: u64,
    pub(super) waiting: u64,
    pub(super) oldest_wait_us: u64,
    pub(super) queries: u64,
    pub(super) served_us: u64,
    pub(super) pool_wait_us: u64,
    pub(super) lag_ms: u64,
}

/// One shard.
#[derive(Debug, Clone, Default)]
pub(super) struct Shard {
    pub(super) shard: String,
    pub(super) databases: Vec<String>,
    pub(super) replicas_usable: u64,
    pub(super) hosts: u64,
}

/// The connections of one database and user.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    pub(super) database: String,
    pub(super) user: String,
    pub(super) open: u64,
}

/// How busy a database was in the last period.
#[derive(Debug, Clone, Default)]
pub(super) struct Rate {
    pub(super) database: String,
    pub(super) transactions: u64,
    pub(super) transactions_per_s: f64,
    pub(super) transaction_us: f64,
}

/// Everything advice rests on.
#[derive(Debug, Clone, Default)]
pub(in crate::console) struct Seen {
    pub(super) statements: Vec<Statement>,
    pub(super) ways: Vec<Way>,
    pub(super) hosts: Vec<Host>,
    pub(super) shards: Vec<Shard>,
    pub(super) pools: Vec<Pool>,
    pub(super) rates: Vec<Rate>,
    /// Ranges of sharded databases, by database and shard.
    pub(super) ranges: BTreeMap<(String, String), u64>,
}

/// A row with its table's columns.
struct Named<'a> {
    table: &'static Table,
    row: &'a Row,
}

impl Named<'_> {
    fn value(&self, column: &str) -> &Value {
        let at = self.table.column(column);
        let at = at.unwrap_or_else(|| panic!("invariant: {}.{column}", self.table.name));
        self.row.get(at).unwrap_or(&Value::Null)
    }

    fn text(&self, column: &str) -> String {
        self.value(column).to_string()
    }

    fn float(&self, column: &str) -> f64 {
        match self.value(column) {
            Value::Int(number) => *number as f64,
            Value::Float(number) => *number,
            Value::Text(text) => text.parse().unwrap_or(0.0),
            Value::Null | Value::Bool(_) => 0.0,
        }
    }

    fn count(&self, column: &str) -> u64 {
        self.float(column).max(0.0) as u64
    }
}

fn read<T>(source: &dyn Source, name: &str, make: impl Fn(&Named<'_>) -> T) -> Vec<T> {
    let table = tables::find(name).unwrap_or_else(|| panic!("invariant: table {name}"));
    source.rows(table).iter().map(|row| make(&Named { table, row })).collect()
}

impl Seen {
    /// Reads the tables.
    pub(in crate::console) fn read(source: &dyn Source) -> Self {
        let ranges = read(source, "ranges", |row| (row.text("database"), row.text("shard")));
        let mut counted: BTreeMap<(String, String), u64> = BTreeMap::new();
        for range in ranges {
            *counted.entry(range).or_default() += 1;
        }
        Self {
            statements: read(source, "statements", statement),
            ways: read(source, "routes", |row| Way {
                database: row.text("database"),
                route: row.text("route"),
                reason: row.text("reason"),
                count: row.count("count"),
            }),
            hosts: read(source, "hosts", host),
            shards: read(source, "shards", |row| Shard {
                shard: row.text("shard"),
                databases: row.text("databases").split(',').map(str::to_owned).collect(),
                replicas_usable: row.count("replicas_usable"),
                hosts: row.count("hosts"),
            }),
            pools: read(source, "pools", |row| Pool {
                database: row.text("database"),
                user: row.text("user"),
                open: ["sv_active", "sv_idle", "sv_used", "sv_tested"]
                    .map(|column| row.count(column))
                    .iter()
                    .sum(),
            }),
            rates: read(source, "stats", |row| Rate {
                database: row.text("database"),
                transactions: row.count("total_xact_count"),
                transactions_per_s: row.float("avg_xact_count"),
                transaction_us: row.float("avg_xact_time"),
            }),
            ranges: counted,
        }
    }
}

fn statement(row: &Named<'_>) -> Statement {
    Statement {
        fingerprint: row.text("fingerprint"),
        database: row.text("database"),
        text: row.text("text"),
        calls: row.count("calls"),
        rows: row.count("rows"),
        total_us: row.count("total_us"),
        server_us: row.count("server_us"),
        pool_wait_us: row.count("pool_wait_us"),
        scatter: row.count("scatter"),
        shards_mean: row.float("shards_mean"),
    }
}

fn host(row: &Named<'_>) -> Host {
    Host {
        shard: row.text("shard"),
        host: row.text("host"),
        role: row.text("role"),
        active: row.count("active"),
        size: row.count("size"),
        waiting: row.count("waiting"),
        oldest_wait_us: row.count("oldest_wait_us"),
        queries: row.count("queries"),
        served_us: row.count("served_us"),
        pool_wait_us: row.count("pool_wait_us"),
        lag_ms: row.count("lag_ms"),
    }
}

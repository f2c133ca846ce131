//! Owns the statements of the second part: each is sent through pgmanifold and to the database that
//! has all rows. Their answers must be equal, and the servers' logs must show what was promised.

use super::super::inlet::Inlet;
use super::super::workload::describe;
use super::fleet::{Fleet, SHARDS};
use super::{route, sent};
use comfy_table::{ContentArrangement, Table, presets};
use tokio_postgres::{Client, SimpleQueryMessage};

/// Which shards a statement must need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    /// One, by its key.
    Key,
    /// The first one, which has the tables that are not spread.
    Home,
    /// Any one.
    Any,
    /// All.
    All,
}

struct Statement {
    sql: &'static str,
    goes: Goes,
}

/// Answers with more than one row are in an order that leaves no choice.
const STATEMENTS: [Statement; 13] = [
    to(Goes::Key, "select name from customers where id = 42"),
    to(
        Goes::Key,
        "select o.number, sum(l.quantity) from orders o join order_lines l \
         on l.customer_id = o.customer_id and l.order_number = o.number \
         where o.customer_id = 42 group by o.number order by o.number",
    ),
    to(Goes::Key, "insert into orders values (42, 6, '2026-11-22', 4200)"),
    to(Goes::Any, "select name from countries order by code"),
    to(Goes::Home, "update settings set value = 'no' where name = 'open'"),
    to(Goes::All, "select count(*), sum(total_cents), avg(total_cents) from orders"),
    to(
        Goes::All,
        "select customer_id, number, total_cents from orders \
         order by total_cents desc, customer_id, number limit 3",
    ),
    to(
        Goes::All,
        "select c.name, count(*) from orders o join customers c on c.id = o.customer_id \
         where o.total_cents > 99000 group by c.id, c.name order by c.id",
    ),
    to(
        Goes::All,
        "insert into customers values (501, 'Ana', 'pt', 0), (502, 'Bruno', 'it', 0), \
         (503, 'Chloé', 'fr', 0), (504, 'Dora', 'de', 0) returning id",
    ),
    to(
        Goes::All,
        "update orders set total_cents = total_cents + 100 where placed_on < '2026-02-01'",
    ),
    to(Goes::All, "insert into countries values ('es', 'Spain')"),
    to(Goes::All, "create index on orders (placed_on)"),
    to(Goes::All, SCATTER),
];

const fn to(goes: Goes, sql: &'static str) -> Statement {
    Statement { sql, goes }
}

/// The scatter whose answer is shown.
pub(super) const SCATTER: &str = "select k.name, count(*), sum(o.total_cents) as cents \
    from orders o join customers c on c.id = o.customer_id join countries k on k.code = c.country \
    group by k.name order by cents desc limit 3";

/// What came of a simple query: columns, rows, and rows counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
    counts: Vec<u64>,
}

impl Answer {
    /// As a table.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(&self.columns);
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| cell.clone().unwrap_or_default()));
        }
        indented(&table)
    }
}

pub(super) fn indented(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

/// Sends a text by the simple protocol.
pub(super) async fn ask(client: &Client, sql: &str) -> Result<Answer, tokio_postgres::Error> {
    let mut answer = Answer { columns: Vec::new(), rows: Vec::new(), counts: Vec::new() };
    for message in client.simple_query(sql).await? {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                answer.columns = columns.iter().map(|column| column.name().to_owned()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                let cells = (0..row.len()).map(|index| row.get(index).map(str::to_owned));
                answer.rows.push(cells.collect());
            }
            SimpleQueryMessage::CommandComplete(count) => answer.counts.push(count),
            _ => {}
        }
    }
    Ok(answer)
}

/// Runs all of them; the table of where each went.
pub(super) async fn run(
    fleet: &Fleet,
    inlet: &Inlet,
    (sharded, whole): (&Client, &Client),
) -> Result<String, String> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["statement", SHARDS[0], SHARDS[1], "the answer"]);
    for statement in &STATEMENTS {
        fleet.settle().map_err(|error| error.to_string())?;
        let said = route::of(inlet, statement.sql)
            .map_err(|error| format!("{}: {error}", statement.sql))?;
        let marks = sent::mark(fleet).map_err(|error| error.to_string())?;
        let failed = |error| describe(statement.sql, &error);
        let answer = ask(sharded, statement.sql).await.map_err(failed)?;
        let right = ask(whole, statement.sql).await.map_err(failed)?;
        if answer != right {
            return Err(format!(
                "{}: the shards answer {answer:?}, one PostgreSQL {right:?}",
                statement.sql
            ));
        }
        let servers = servers(fleet, &marks)?;
        check(statement, &said, &servers)?;
        let [north, south] = servers.map(|names| match names.as_slice() {
            [] => "·".to_owned(),
            names => names.join(" "),
        });
        table.add_row([wrapped(statement.sql), north, south, said.how]);
    }
    Ok(indented(&table))
}

/// Names of the servers of each shard that were sent anything of the application's since.
fn servers(fleet: &Fleet, marks: &sent::Marks) -> Result<[Vec<String>; 2], String> {
    let mut names: [Vec<String>; 2] = Default::default();
    for sent in sent::since(fleet, marks).map_err(|error| error.to_string())? {
        if let Some(names) = names.get_mut(sent.shard) {
            names.push(sent.server);
        }
    }
    Ok(names)
}

/// What pgmanifold says, what the servers say, and what was promised must agree.
fn check(
    statement: &Statement,
    said: &route::Route,
    servers: &[Vec<String>; 2],
) -> Result<(), String> {
    let used: Vec<usize> = (0..servers.len()).filter(|shard| !servers[*shard].is_empty()).collect();
    let agrees = match said.any {
        true => used.len() == 1,
        false => used == said.shards,
    };
    let promised = match statement.goes {
        Goes::Key => !said.any && used.len() == 1,
        Goes::Home => !said.any && used == [0],
        Goes::Any => said.any,
        Goes::All => used.len() == servers.len(),
    };
    match agrees && promised {
        true => Ok(()),
        false => Err(format!(
            "{}: {:?} was promised, pgmanifold says shards {:?}, the servers say {servers:?}",
            statement.sql, statement.goes, said.shards
        )),
    }
}

/// Lines of at most so many characters, broken between words.
fn wrapped(sql: &str) -> String {
    const WIDTH: usize = 58;
    let mut lines = vec![String::new()];
    for word in sql.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("  {word}")),
        }
    }
    lines.join("\n")
}

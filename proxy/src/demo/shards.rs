//! Owns the second part of the demo: a shop spread over two shards. Every answer is compared with
//! that of one PostgreSQL, and what the servers log is compared with what pgmanifold says.

mod fleet;
mod route;
mod sent;
mod statements;
mod transfer;

use super::inlet::{Inlet, Logins};
use super::postgres::PgCluster;
use super::say;
use super::workload::{connect, wait_ready};
use comfy_table::{Table, presets};
pub(super) use fleet::Fleet;
use fleet::SHARDS;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// Longest wait for pgmanifold to know the catalog.
const FACTS_TIMEOUT: Duration = Duration::from_secs(15);
/// The statement that is refused: to which customer's row a name belongs, no shard knows alone.
const REFUSED: &str = "select c.name, l.product from customers c \
    join order_lines l on l.product = c.name";

/// pgmanifold in front of the shards, once the servers are ready.
pub(super) fn open(fleet: &Fleet, first: &PgCluster) -> Result<Inlet, String> {
    fleet.open(first)
}

/// The whole part; where to connect afterwards.
pub(super) async fn run(
    fleet: &Fleet,
    inlet: &Inlet,
    (logins, first): (&Logins, &PgCluster),
) -> Result<String, String> {
    let dsn = fleet.dsn(inlet);
    wait_ready(&dsn).await?;
    say(
        "\nnow two shards, each a primary and a replica; the application speaks to pgmanifold only",
    );
    let whole = fleet::fill(&fleet::whole_dsn(logins, first)).await?;
    catalog_read(inlet).await?;
    let sharded = fleet::fill(&dsn).await?;
    say(&format!(
        "  created and filled through pgmanifold; rows counted on each shard:\n{}",
        placement(fleet)?
    ));
    say("\nwhere each statement goes, as the servers' own logs tell");
    say(&statements::run(fleet, inlet, (&sharded, &whole)).await?);
    say("  (each answer was compared with that of one PostgreSQL that has all rows)");
    scatter(&sharded).await?;
    refusal(inlet, &sharded).await?;
    transfer::run(fleet, &sharded).await?;
    drop((whole, connect(&dsn).await?));
    Ok(dsn)
}

/// What tables and functions there are is read in the background after the start.
async fn catalog_read(inlet: &Inlet) -> Result<(), String> {
    let began = Instant::now();
    while let Err(error) = route::of(inlet, "create table t (n int)") {
        if began.elapsed() > FACTS_TIMEOUT {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// How many rows of each table there are on each shard.
fn placement(fleet: &Fleet) -> Result<String, String> {
    let tables = ["customers", "orders", "order_lines", "countries", "settings"];
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["table", SHARDS[0], SHARDS[1]]);
    let mut customers = 0;
    for name in tables {
        let sql = format!("select count(*) from {name}");
        let counts = fleet.ask(&sql).map_err(|error| error.to_string())?;
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        if name == "customers" {
            customers = counts.iter().filter_map(|count| count.parse::<u32>().ok()).sum();
        }
        table.add_row(std::iter::once(name.to_owned()).chain(counts));
    }
    match customers == fleet::CUSTOMERS {
        true => Ok(statements::indented(&table)),
        false => Err(format!("there are {customers} customers on the shards")),
    }
}

async fn scatter(client: &Client) -> Result<(), String> {
    let sql = statements::SCATTER;
    let answer = statements::ask(client, sql).await;
    let answer = answer.map_err(|error| super::workload::describe(sql, &error))?;
    say(&format!("\none statement, both shards, one answer\n  {sql}\n{}", answer.table()));
    Ok(())
}

async fn refusal(inlet: &Inlet, client: &Client) -> Result<(), String> {
    say(&format!("\nwhat would be wrong is refused\n  {REFUSED}"));
    if let Ok(said) = route::of(inlet, REFUSED) {
        return Err(format!("the statement is not refused: {}", said.how));
    }
    let Err(error) = client.simple_query(REFUSED).await else {
        return Err("a join over shards was answered".into());
    };
    let Some(error) = error.as_db_error() else { return Err(error.to_string()) };
    say(&format!("  ERROR:  {}: {}", error.code().code(), error.message()));
    for (name, text) in [("DETAIL", error.detail()), ("HINT", error.hint())] {
        let Some(text) = text else { return Err(format!("the refusal has no {name}")) };
        say(&format!("  {name}:  {text}"));
    }
    match error.code().code() {
        "PGM03" => Ok(()),
        other => Err(format!("the refusal has SQLSTATE {other}")),
    }
}

//! Owns the demo of moving keys: a shop on two shards of unequal size, with clients at work over
//! two proxies, while the rebalancer that lies beside this program makes the shards alike, gives
//! the keys back, and moves them for good.

mod command;
mod fleet;
mod load;
pub mod measure;

use super::say;
use super::table::{grouped, milliseconds};
use super::tour::{Failure, Stage};
use comfy_table::{CellAlignment, Table, presets};
use fleet::Fleet;
use load::{Load, Window, latencies};
use std::time::{Duration, Instant};

/// Longest run of the whole.
const LIMIT: Duration = Duration::from_secs(300);
/// Orders of each customer.
const ORDERS_EACH: i64 = 4;
/// How long the clients work before, between and after the commands.
const WHILE: Duration = Duration::from_millis(1500);

/// The whole demo. Whatever happens, everything is stopped and removed when this returns.
pub(super) fn run() -> Result<(), Failure> {
    command::binary()?;
    let mut stage = Stage::new().map_err(|error| error.to_string())?;
    let began = Instant::now();
    say("starting PostgreSQL: two shards, each a primary and a replica, and a catalog …");
    let fleet = Fleet::start()?;
    stage.play(LIMIT, acts(&fleet, began))
}

async fn acts(fleet: &Fleet, began: Instant) -> Result<(), String> {
    fleet.write_map().await?;
    let inlets = fleet.open().await?;
    let took = began.elapsed().as_secs_f64();
    say(&format!("  two pgmanifold before them (ready after {took:.1} s)"));
    fleet.fill(ORDERS_EACH)?;
    fleet.show_rows("rows on each shard, filled so that north has three quarters of the keys")?;
    let dsns: Vec<String> = inlets.iter().map(|inlet| fleet.dsn(inlet)).collect();
    let load = Load::begin(&dsns, ORDERS_EACH).await?;
    say(&format!(
        "\n{} sessions write, read back and count over both of them from now on, to the end",
        load::SESSIONS
    ));
    let result = commands(fleet, &load).await;
    let done = load.end().await?;
    result?;
    fleet.show_rows("\nrows on each shard now")?;
    done.prove(&fleet.dsn(&inlets[0]), ORDERS_EACH).await?;
    say(&format!(
        "\n{} writes were acknowledged; all of them are there, each once. {} reads saw what their \
         session had written. {} statements were answered with an error that says: repeat it.",
        grouped(done.writes),
        grouped(done.reads),
        grouped(done.refused),
    ));
    Ok(())
}

/// What an operator does.
async fn commands(fleet: &Fleet, load: &Load) -> Result<(), String> {
    tokio::time::sleep(WHILE).await;
    let mut windows = vec![("before", load.take())];
    let plan = fleet.file("plan.json");
    fleet.rebalance(&["plan", "--by", "rows", "--output", &plan]).await?;
    load.take();
    fleet.rebalance(&["apply", "--plan", &plan]).await?;
    windows.push(("while the keys move", load.take()));
    fleet.show_pause()?;
    fleet.show_rows(
        "rows on each shard: north still has its own, kept up to date for the way back",
    )?;
    fleet.rebalance(&["verify"]).await?;
    say("\nthe way back: the keys go to north again, with all that was written meanwhile");
    load.take();
    fleet.rebalance(&["rollback", &fleet.last_move()?]).await?;
    windows.push(("while they go back", load.take()));
    say("\nand once more, for good");
    fleet.rebalance(&["plan", "--by", "rows", "--output", &plan]).await?;
    load.take();
    fleet.rebalance(&["apply", "--plan", &plan, "--cleanup"]).await?;
    windows.push(("while they move and are cleaned up", load.take()));
    fleet.show_pause()?;
    fleet.rebalance(&["status"]).await?;
    tokio::time::sleep(WHILE).await;
    windows.push(("afterwards", load.take()));
    say(&format!(
        "\nwrites of one row, as the clients measured them\n{}",
        table(&windows, fleet.moved_keys()?)
    ));
    Ok(())
}

fn table(windows: &[(&str, Window)], keys: (i64, i64)) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["", "keys", "writes", "p50", "p99", "max"]);
    for (name, window) in windows {
        for (which, inside) in [("that move", true), ("others", false)] {
            let times = latencies(window, keys, inside);
            let at =
                |quantile| milliseconds(Duration::from_micros(times.value_at_quantile(quantile)));
            let cells = [grouped(times.len()), at(0.5), at(0.99), at(1.0)];
            let first = [(*name).to_owned(), which.to_owned()];
            table.add_row(first.into_iter().chain(cells));
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

//! Owns the proof that a transaction over two shards is one: both shards are looked at directly
//! before, while it is open, and after.

use super::super::inlet::DATABASE;
use super::super::say;
use super::super::workload::describe;
use super::fleet::Fleet;
use super::{sent, statements};
use comfy_table::{Table, presets};
use std::time::Duration;
use tokio_postgres::Client;

/// What is transferred.
const CENTS: i64 = 2500;
/// Longest text of a statement that is shown.
const SHOWN_CHARACTERS: usize = 66;
/// Time the last COMMIT PREPARED may take to be visible.
const SETTLE: Duration = Duration::from_secs(10);

/// Moves money between customers of two shards, rolled back and committed.
pub(super) async fn run(fleet: &Fleet, client: &Client) -> Result<(), String> {
    let (from, to) = customers(fleet)?;
    say(&format!(
        "\none transaction over both shards: {CENTS} cents from customer {from} (north) \
         to customer {to} (south)"
    ));
    let look = || balances(fleet, [from, to]);
    let transfer = [
        "begin".to_owned(),
        format!("update customers set credit_cents = credit_cents - {CENTS} where id = {from}"),
        format!("update customers set credit_cents = credit_cents + {CENTS} where id = {to}"),
    ];
    let before = look()?;
    let mut seen = vec![("before", before.clone())];
    play(client, &transfer).await?;
    seen.push(("while it is open", look()?));
    play(client, &["rollback".into()]).await?;
    seen.push(("after ROLLBACK", look()?));
    let marks = sent::mark(fleet).map_err(|error| error.to_string())?;
    play(client, &transfer).await?;
    play(client, &["commit".into()]).await?;
    let log = sent::since(fleet, &marks).map_err(|error| error.to_string())?;
    let wanted = moved(&before)?;
    let after = settled(fleet, &wanted, look)?;
    seen.push(("after COMMIT", after));
    show(&seen);
    say("  what the servers log of the transaction that committed:");
    for sent in &log {
        for text in &sent.texts {
            say(&format!("    {:<6}{}", super::fleet::SHARDS[sent.shard], shortened(text)));
        }
    }
    let expected = [&before, &before, &before, &wanted];
    for ((when, seen), expected) in seen.iter().zip(expected) {
        if seen != expected {
            return Err(format!("{when} there is {seen:?}, and not {expected:?}"));
        }
    }
    let prepared = log.iter().flat_map(|sent| &sent.texts);
    if !prepared.into_iter().any(|text| text.to_lowercase().contains("prepare transaction")) {
        return Err("no shard has prepared its part".into());
    }
    say("  nothing is left prepared on either shard");
    Ok(())
}

/// The first customer of each shard.
fn customers(fleet: &Fleet) -> Result<(i64, i64), String> {
    let first = fleet.ask("select min(id) from customers").map_err(|error| error.to_string())?;
    let number = |shard: usize| first.get(shard)?.first()?.parse::<i64>().ok();
    number(0).zip(number(1)).ok_or_else(|| format!("a shard has no customers: {first:?}"))
}

fn balances(fleet: &Fleet, ids: [i64; 2]) -> Result<Vec<Vec<String>>, String> {
    let [from, to] = ids;
    let sql = format!(
        "select format('customer %s: %s', id, credit_cents) from customers \
         where id in ({from}, {to}) order by id"
    );
    fleet.ask(&sql).map_err(|error| error.to_string())
}

/// What there must be after the transfer.
fn moved(before: &[Vec<String>]) -> Result<Vec<Vec<String>>, String> {
    let [north, south] = before else { return Err("there are two shards".into()) };
    let changed = |rows: &Vec<String>, by: i64| {
        let (name, cents) = rows.first()?.rsplit_once(' ')?;
        Some(vec![format!("{name} {}", cents.parse::<i64>().ok()? + by)])
    };
    changed(north, -CENTS)
        .zip(changed(south, CENTS))
        .map(|(north, south)| vec![north, south])
        .ok_or_else(|| format!("not one customer per shard: {before:?}"))
}

/// Waits until the commit shows, and nothing is prepared any more.
fn settled(
    fleet: &Fleet,
    wanted: &[Vec<String>],
    look: impl Fn() -> Result<Vec<Vec<String>>, String>,
) -> Result<Vec<Vec<String>>, String> {
    let sql = format!("select gid from pg_prepared_xacts where database = '{DATABASE}'");
    let began = std::time::Instant::now();
    loop {
        let left = fleet.ask(&sql).map_err(|error| error.to_string())?;
        let seen = look()?;
        if seen == wanted && left.iter().all(Vec::is_empty) {
            return Ok(seen);
        }
        if began.elapsed() > SETTLE {
            return Err(format!("after COMMIT there is {seen:?}, and prepared {left:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn play(client: &Client, texts: &[String]) -> Result<(), String> {
    for sql in texts {
        statements::ask(client, sql).await.map_err(|error| describe(sql, &error))?;
    }
    Ok(())
}

fn show(seen: &[(&str, Vec<Vec<String>>)]) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["read directly", "north, cents", "south, cents"]);
    for (when, shards) in seen {
        let cells = shards.iter().map(|rows| rows.join(", "));
        table.add_row(std::iter::once((*when).to_owned()).chain(cells));
    }
    say(&statements::indented(&table));
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

//! Owns what the demo shows of the console: what the workload was, as the DBA sees it.

use super::say;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// What a DBA asks first: where is the time?
const SLOWEST: &str = "select text, route, calls, round(total_us / 1000) as total_ms, p50_us, \
                       p99_us from statements where database = 'shop' and calls > 1 \
                       order by total_us desc limit 5";
/// Longest text of a statement shown, in characters.
const TEXT_CHARS: usize = 48;

/// Asks the console and shows the answer.
///
/// # Errors
/// The console cannot be reached, or refuses.
pub(super) async fn run(dsn: &str) -> Result<(), String> {
    let connected = tokio_postgres::connect(dsn, NoTls).await;
    let (client, connection) = connected.map_err(|error| format!("console: {error}"))?;
    let driver = tokio::spawn(connection);
    let answer = client.simple_query(SLOWEST).await.map_err(|error| format!("console: {error}"))?;
    say("where the time went, asked of the console in SQL");
    say(&render(&answer));
    drop(client);
    let _ = driver.await;
    Ok(())
}

fn render(answer: &[SimpleQueryMessage]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Disabled);
    for message in answer {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                table.set_header(columns.iter().map(|column| column.name().to_owned()));
            }
            SimpleQueryMessage::Row(row) => {
                let cells = (0..row.len()).map(|at| cut(row.get(at).unwrap_or_default()));
                table.add_row(cells.collect::<Vec<_>>());
            }
            _ => {}
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

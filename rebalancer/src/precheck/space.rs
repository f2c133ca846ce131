//! Owns how much is to be moved, and whether there is room for it.

use super::{Question, Report};
use crate::connect::Session;
use crate::error::Error;

/// Pages of a table that are looked at to estimate how many of its rows move.
const SAMPLE_PAGES: f64 = 20_000.0;
/// Room on the target, in parts of what the rows have on the source: pages are never quite full.
const ROOM: f64 = 1.3;
const KIB: f64 = 1024.0;

/// Estimates rows and bytes, and asks the target's file system.
///
/// # Errors
/// What the servers say.
pub(super) async fn check(question: &Question<'_>, report: &mut Report) -> Result<(), Error> {
    let (mut rows, mut bytes) = (0.0, 0.0);
    for table in question.scope.tables {
        let pages = (table.bytes as f64 / 8192.0).max(1.0);
        let percent = (100.0 * SAMPLE_PAGES / pages).min(100.0);
        let sample = match percent < 100.0 {
            true => format!("tablesample system ({percent:.6})"),
            false => String::new(),
        };
        let condition = question.scope.condition(table, "");
        let sql = format!(
            "select pg_catalog.count(*) filter (where {condition}), pg_catalog.count(*) \
             from {} {sample}",
            table.sql()
        );
        let counted = question.source.rows(&sql).await?;
        let count = |at: usize| {
            let text = counted.first().and_then(|row| row.get(at).cloned().flatten());
            text.and_then(|text| text.parse::<f64>().ok()).unwrap_or_default()
        };
        let (moving, all) = (count(0), count(1));
        rows += moving * 100.0 / percent;
        bytes += table.bytes as f64 * moving / all.max(1.0);
    }
    (report.rows, report.bytes) = (rows as i64, bytes as i64);
    let needed = bytes * ROOM + question.limits.free_disk_bytes as f64;
    match free(question.target).await {
        Ok(free) if free < needed => report.refuse(
            format!(
                "{}: {:.0} MiB of disk are free, and {:.0} MiB are needed",
                question.target.place,
                free / KIB / KIB,
                needed / KIB / KIB
            ),
            "make room, move less, or lower free_disk_bytes",
        ),
        Ok(_) => {}
        Err(why) => report.note(format!("the target's free disk was not checked: {why}")),
    }
    Ok(())
}

/// Free bytes where the data directory is, as the server's own `df` says. A superuser may ask.
async fn free(on: &Session) -> Result<f64, String> {
    let text = |error: Error| error.to_string();
    let path = on.value("show data_directory").await.map_err(text)?.unwrap_or_default();
    // First for the shell, then for SQL.
    let command = format!("df -Pk '{}'", path.replace('\'', "'\\''"));
    let program = pgmanifold_router::ownership::quote_text(&command);
    let asked = on
        .run(&format!(
            "begin; create temporary table pgm_disk (line text) on commit drop; \
             copy pgm_disk from program {program}"
        ))
        .await;
    let lines = match asked {
        Ok(()) => on.rows("select line from pgm_disk").await,
        Err(error) => Err(error),
    };
    on.run("rollback").await.map_err(text)?;
    let lines = lines.map_err(text)?;
    let line = lines.last().and_then(|row| row.first().cloned().flatten()).unwrap_or_default();
    let free = line.split_whitespace().nth(3).and_then(|kib| kib.parse::<f64>().ok());
    free.map(|kib| kib * KIB).ok_or_else(|| format!("df says {line:?}"))
}

//! Owns the progress line of the workload: a bar at a terminal, plain lines elsewhere.

use super::say;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Period of redrawing the bar.
const BAR_INTERVAL: Duration = Duration::from_millis(200);
/// Period of plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// Shows progress until `total` has passed; `statements` tells how many there were so far.
pub(super) async fn show(total: Duration, statements: impl Fn() -> u64) {
    match std::io::stdout().is_terminal() {
        true => show_bar(total, statements).await,
        false => show_lines(total, statements).await,
    }
}

async fn show_bar(total: Duration, statements: impl Fn() -> u64) {
    let started = Instant::now();
    let bar = ProgressBar::new(u64::try_from(total.as_millis()).unwrap_or(u64::MAX));
    // The template is ours; a wrong one would only cost the bar's looks.
    if let Ok(style) = ProgressStyle::with_template("  {bar:30} {msg}") {
        bar.set_style(style.progress_chars("━╸─"));
    }
    while started.elapsed() < total {
        let elapsed = started.elapsed();
        bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        bar.set_message(message(elapsed, total, statements()));
        tokio::time::sleep(BAR_INTERVAL.min(total.saturating_sub(elapsed))).await;
    }
    bar.finish_and_clear();
}

async fn show_lines(total: Duration, statements: impl Fn() -> u64) {
    let started = Instant::now();
    loop {
        let left = total.saturating_sub(started.elapsed());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(LINE_INTERVAL.min(left)).await;
        say(&format!("  {}", message(started.elapsed(), total, statements())));
    }
}

fn message(elapsed: Duration, total: Duration, statements: u64) -> String {
    let per_second = statements as f64 / elapsed.as_secs_f64().max(0.001);
    format!(
        "{:.0} of {} s, {} statements, {per_second:.0} per second",
        elapsed.as_secs_f64(),
        total.as_secs(),
        super::table::grouped(statements)
    )
}

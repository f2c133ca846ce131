//! Owns times, which are texts here as in the console's tables: `YYYY-MM-DD HH:MM:SS UTC`.

use super::{Call, Function, strict};
use crate::engine::cell::Cell;
use crate::engine::error::{EngineError, Outcome};
use crate::engine::session::time_text;
use crate::engine::types::Type::{Numeric, Text};

/// The seconds since 1970 of `extract(epoch from …)`.
pub(crate) const EPOCH: &str = "EPOCH";

/// Those of this file.
pub(super) static FUNCTIONS: &[Function] = &[
    strict("now", &[], Text, now),
    strict("transaction_timestamp", &[], Text, now),
    strict("statement_timestamp", &[], Text, now),
    strict("clock_timestamp", &[], Text, now),
    strict("current_timestamp", &[], Text, now),
    strict("pg_postmaster_start_time", &[], Text, started),
    strict("pg_conf_load_time", &[], Text, started),
    strict("date_trunc", &[Text, Text], Text, date_trunc),
    strict(EPOCH, &[Text], Numeric, |call| {
        let [year, month, day, hour, minute, second] = fields(call.str(0))?;
        let days = days(year, month, day);
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
        Ok(Cell::Text(format!("{seconds}.000000")))
    }),
];

fn now(call: &Call<'_>) -> Outcome<Cell> {
    Ok(Cell::Text(time_text(call.session.who.now)))
}

fn started(call: &Call<'_>) -> Outcome<Cell> {
    Ok(Cell::Text(time_text(call.session.who.started)))
}

/// Year, month, day, hour, minute and second.
fn fields(text: &str) -> Outcome<[i64; 6]> {
    let wrong = || {
        EngineError::new("22007", format!("invalid time: \"{text}\""))
            .hint("Times of the console are texts like 2026-11-22 17:13:41 UTC.")
    };
    let body = text.strip_suffix(" UTC").ok_or_else(wrong)?;
    let mut parts = body.split(['-', ' ', ':']).map(str::parse);
    let mut fields = [0; 6];
    for field in &mut fields {
        *field = parts.next().and_then(Result::ok).ok_or_else(wrong)?;
    }
    let limits = [(0, 9999), (1, 12), (1, 31), (0, 23), (0, 59), (0, 60)];
    let fits = fields.iter().zip(limits).all(|(field, (low, high))| (low..=high).contains(field));
    if fits && parts.next().is_none() { Ok(fields) } else { Err(wrong()) }
}

/// Days since 1970, by Howard Hinnant's `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn date_trunc(call: &Call<'_>) -> Outcome<Cell> {
    let [year, mut month, mut day, mut hour, mut minute, mut second] = fields(call.str(1))?;
    let unit = call.str(0).to_ascii_lowercase();
    let units = ["second", "minute", "hour", "day", "month", "year"];
    let Some(rank) = units.iter().position(|known| *known == unit) else {
        return Err(EngineError::refused(format!("date_trunc to \"{unit}\"")));
    };
    for (least, (field, first)) in
        [(&mut second, 0), (&mut minute, 0), (&mut hour, 0), (&mut day, 1), (&mut month, 1)]
            .into_iter()
            .enumerate()
    {
        if rank > least {
            *field = first;
        }
    }
    Ok(Cell::Text(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")))
}

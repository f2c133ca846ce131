//! Owns the reading of moves for people: rows of the catalog as they are, whatever made them.

use crate::connect::Session;
use crate::error::Error;
use crate::state::State;
use pgmanifold_router::ownership::quote_text;
use serde::Serialize;

/// Ended moves that are shown without being asked for.
const ENDED_SHOWN: u32 = 5;
/// Events of a move that are shown: the last ones.
const EVENTS_SHOWN: u32 = 100;

/// A move as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MoveStatus {
    /// Its number.
    #[serde(rename = "move")]
    pub id: i64,
    /// Name of the distribution.
    pub distribution: String,
    /// Which keys, as text.
    pub keys: String,
    /// Who had them.
    pub source: String,
    /// Who is to have them.
    pub target: String,
    /// `online` or `offline`.
    pub mode: String,
    /// Where it stands.
    pub state: String,
    /// What somebody has asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wish: Option<String>,
    /// Rows copied.
    pub rows: u64,
    /// Rows to copy, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_total: Option<u64>,
    /// Part of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Bytes copied.
    pub bytes: u64,
    /// How fast, of late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_per_s: Option<f64>,
    /// Until the copy is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<f64>,
    /// How far the follower is behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<u64>,
    /// How long writes to the keys waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_pause_ms: Option<f64>,
    /// Seconds since it was planned, until its end.
    pub age_s: u64,
    /// Seconds since its state changed.
    pub state_s: u64,
    /// Failures in this state.
    pub attempts: u64,
    /// The last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// What can be done next.
    pub next: String,
    /// What happened, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EventStatus>>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventStatus {
    /// When, in UTC.
    pub at: String,
    /// The state then.
    pub state: String,
    /// What.
    pub note: String,
}

impl MoveStatus {
    /// Nothing happens to it by itself.
    pub(super) fn rests(&self) -> bool {
        let state = State::from_name(&self.state);
        let is_open = state == Some(State::Reversible) && self.wish.is_none();
        is_open || state.is_some_and(State::is_end)
    }
}

/// Moves that are under way, and the last ones that have ended, or all.
pub(super) async fn moves(
    catalog: &Session,
    database: &str,
    all: bool,
) -> Result<Vec<MoveStatus>, Error> {
    let ends: Vec<String> = State::ALL
        .into_iter()
        .filter(|state| state.is_end())
        .map(|state| quote_text(state.as_str()))
        .collect();
    let limit = if all { String::new() } else { format!("limit {ENDED_SHOWN}") };
    let (ends, database) = (ends.join(", "), quote_text(database));
    let sql = format!(
        "with ended as (select id from pgm.move where database = {database} \
           and state in ({ends}) order by id desc {limit}) \
         select id, distribution, case when list_values is not null \
           then '{{' || pg_catalog.array_to_string(list_values, ', ') || '}}' \
           else '[' || coalesce(starts, 'beginning') || ', ' || coalesce(ends || ')', 'end]') end, \
          source, target, mode, state, wish, rows_copied, rows_total, bytes_copied, rows_per_s, \
          lag_bytes, write_pause_ms, \
          extract(epoch from coalesce(ended_at, clock_timestamp()) - created_at)::int8, \
          extract(epoch from clock_timestamp() - changed_at)::int8, attempts, last_error, \
          journal ->> 'waiting' \
         from pgm.move where database = {database} \
          and (state not in ({ends}) or id in (select id from ended)) order by id"
    );
    let rows = catalog.rows(&sql).await?.into_iter().map(read);
    let rows: Option<Vec<MoveStatus>> = rows.collect();
    rows.ok_or_else(|| Error::Stopped("a row of pgm.move means nothing".to_owned()))
}

fn read(row: Vec<Option<String>>) -> Option<MoveStatus> {
    fn number<T: std::str::FromStr>(text: Option<String>) -> Option<T> {
        text.and_then(|text| text.parse().ok())
    }
    let mut fields = row.into_iter();
    let mut next = || fields.next().flatten();
    let mut one = MoveStatus {
        id: number(next())?,
        distribution: next()?,
        keys: next()?,
        source: next()?,
        target: next()?,
        mode: next()?,
        state: next()?,
        wish: next(),
        rows: number(next())?,
        rows_total: number(next()),
        bytes: number(next())?,
        rows_per_s: number(next()),
        lag_bytes: number(next()),
        write_pause_ms: number(next()),
        age_s: number(next()).unwrap_or_default(),
        state_s: number(next()).unwrap_or_default(),
        attempts: number(next())?,
        last_error: next(),
        waiting: next(),
        ..MoveStatus::default()
    };
    let total = one.rows_total.filter(|total| *total > 0);
    one.percent = total.map(|total| (one.rows as f64 * 100.0 / total as f64).min(100.0));
    let copies = one.state == State::Copying.as_str();
    let rate = one.rows_per_s.filter(|rate| copies && *rate > 0.0);
    one.seconds_left =
        total.zip(rate).map(|(total, rate)| total.saturating_sub(one.rows) as f64 / rate);
    Some(one)
}

/// What happened to a move, the oldest first.
pub(super) async fn events(catalog: &Session, id: i64) -> Result<Vec<EventStatus>, Error> {
    let sql = format!(
        "select at, state, note from (select id, (at at time zone 'UTC')::timestamp(3)::text, \
          state, note from pgm.move_event where move = {id} order by id desc \
          limit {EVENTS_SHOWN}) e (id, at, state, note) order by id"
    );
    let rows = catalog.rows(&sql).await?.into_iter().map(|row| {
        let mut fields = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || fields.next().unwrap_or_default();
        EventStatus { at: next(), state: next(), note: next() }
    });
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_known_while_rows_are_copied() {
        let row = |state: &str| {
            let row = format!(
                "3 k [0,9) n s online {state} - 250 1000 5000 50 - 12.5 100 20 2 no~space r~lags"
            );
            row.split(' ')
                .map(|field| (field != "-").then(|| field.replace('~', " ")))
                .collect::<Vec<_>>()
        };
        let one = read(row("copying")).unwrap();
        assert_eq!((one.percent, one.seconds_left), (Some(25.0), Some(15.0)));
        assert_eq!((one.wish.as_deref(), one.lag_bytes), (None, None));
        assert_eq!((one.last_error.as_deref(), one.attempts), (Some("no space"), 2));
        assert_eq!(one.waiting.as_deref(), Some("r lags"));
        assert!(!one.rests());
        let one = read(row("reversible")).unwrap();
        assert!(one.seconds_left.is_none() && one.rests());
        assert_eq!(read(vec![None]), None);
    }
}

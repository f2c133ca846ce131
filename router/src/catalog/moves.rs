//! Owns how moves of keys are read for those who show them: the running ones, and those that ended
//! a short while ago. What a move is to do next is its mover's business.

/// Reads `database` and `fields`, a `text[]` that [`MoveSeen::read`] understands: at most 1,000
/// moves, the newest ones, that have not ended or ended within the last hour.
pub const MOVES_SQL: &str = "\
select database, array[id::text, distribution, mode, source, target, state, wish, \
 rows_total::text, rows_copied::text, bytes_copied::text, rows_per_s::text, lag_bytes::text, \
 write_pause_ms::text, attempts::text, last_error, \
 (pg_catalog.date_part('epoch', started_at) * 1000)::bigint::text, \
 (pg_catalog.date_part('epoch', ended_at) * 1000)::bigint::text, \
 starts, ends] || coalesce(list_values, '{}') \
 from pgm.move \
 where ended_at is null or ended_at > pg_catalog.now() - interval '1 hour' \
 order by id desc limit 1000";

/// A move as others may see it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MoveSeen {
    /// Its number.
    pub id: i64,
    /// The distribution whose keys move.
    pub distribution: String,
    /// Which keys, in words.
    pub range: String,
    /// `online` or `offline`.
    pub mode: String,
    /// Who has them when it begins.
    pub source: String,
    /// Who is to have them.
    pub target: String,
    /// The mover's word for where it stands.
    pub state: String,
    /// What somebody has asked for.
    pub wish: Option<String>,
    /// Estimate of its rows.
    pub rows_total: Option<i64>,
    /// Rows copied.
    pub rows_copied: i64,
    /// Bytes copied.
    pub bytes_copied: i64,
    /// Rows copied per second of late.
    pub rows_per_s: Option<f64>,
    /// Changes of the source that the target does not have yet.
    pub lag_bytes: Option<i64>,
    /// How long writes were refused when the keys changed hands.
    pub write_pause_ms: Option<f64>,
    /// How often it was begun.
    pub attempts: i32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it began, in ms since 1970.
    pub started_ms: Option<i64>,
    /// When it ended, in ms since 1970.
    pub ended_ms: Option<i64>,
}

impl MoveSeen {
    /// Reads the fields of [`MOVES_SQL`]; `None` when they are not those.
    pub fn read(fields: &[Option<String>]) -> Option<Self> {
        let text = |at: usize| fields.get(at)?.clone();
        let number = |at: usize| -> Option<i64> { fields.get(at)?.as_deref()?.parse().ok() };
        let real = |at: usize| -> Option<f64> { fields.get(at)?.as_deref()?.parse().ok() };
        let values = fields.get(19..)?;
        let range = match values {
            [] => {
                let from = text(17).unwrap_or_else(|| "beginning".to_owned());
                text(18).map_or_else(|| format!("[{from}, end]"), |to| format!("[{from}, {to})"))
            }
            values => {
                let values: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
                format!("{{{}}}", values.join(", "))
            }
        };
        Some(Self {
            id: number(0)?,
            distribution: text(1)?,
            range,
            mode: text(2)?,
            source: text(3)?,
            target: text(4)?,
            state: text(5)?,
            wish: text(6),
            rows_total: number(7),
            rows_copied: number(8)?,
            bytes_copied: number(9)?,
            rows_per_s: real(10),
            lag_bytes: number(11),
            write_pause_ms: real(12),
            attempts: number(13).and_then(|attempts| attempts.try_into().ok())?,
            last_error: text(14),
            started_ms: number(15),
            ended_ms: number(16),
        })
    }

    /// It has not ended.
    pub fn is_active(&self) -> bool {
        self.ended_ms.is_none()
    }

    /// Part of its rows that are copied, in percent.
    pub fn done_percent(&self) -> Option<f64> {
        let total = self.rows_total.filter(|total| *total > 0)?;
        // Estimates may be too low. Neither number is near what a double cannot hold.
        Some((self.rows_copied as f64 / total as f64 * 100.0).min(100.0))
    }

    /// Estimate of the seconds until all rows are copied.
    pub fn left_s(&self) -> Option<i64> {
        let left = self.rows_total?.saturating_sub(self.rows_copied).max(0);
        let rate = self.rows_per_s.filter(|rate| *rate > 0.0 && self.is_active())?;
        // `as` stops at the ends of the type.
        Some((left as f64 / rate).ceil() as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(words: &str) -> Vec<Option<String>> {
        words.split(' ').map(|word| (word != "-").then(|| word.to_owned())).collect()
    }

    #[test]
    fn what_rows_say_is_read() {
        let row =
            "7 customer online s0 s1 copying pause 200 50 4000 10 - - 2 - 1700000000000 - -5 -";
        let read = MoveSeen::read(&fields(row)).unwrap();
        assert_eq!((read.id, &*read.range, read.attempts), (7, "[-5, end]", 2));
        assert_eq!((read.wish.as_deref(), read.rows_total), (Some("pause"), Some(200)));
        assert_eq!((read.done_percent(), read.left_s()), (Some(25.0), Some(15)));
        assert!(read.is_active() && read.last_error.is_none());
        let row = "8 c offline s0 s1 done - - 0 0 - - 1.5 1 - 1 2 - - a b";
        let read = MoveSeen::read(&fields(row)).unwrap();
        assert_eq!((&*read.range, read.write_pause_ms, read.left_s()), ("{a, b}", Some(1.5), None));
        assert!(!read.is_active());
        let row = "9 c offline s0 s1 done - - 0 0 - - - 1 - 1 2 - 7";
        assert_eq!(MoveSeen::read(&fields(row)).unwrap().range, "[beginning, 7)");
        assert_eq!(MoveSeen::read(&fields("9 c offline")), None);
    }
}

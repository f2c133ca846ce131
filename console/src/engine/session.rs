//! Owns what functions of a statement may know besides their arguments: who asks, the time, and
//! the names of relations. It is made once per statement and changes no more.

use super::error::EngineError;
use crate::catalog::Relations;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Who asks, and when.
#[derive(Debug, Clone)]
pub struct Who {
    /// The user.
    pub user: String,
    /// The database he named.
    pub database: String,
    /// Whether he may give all commands.
    pub is_admin: bool,
    /// What `pg_backend_pid()` says; as in the key for cancelling.
    pub pid: i32,
    /// What `version()` says.
    pub version: String,
    /// What `now()` says.
    pub now: SystemTime,
    /// When the process began.
    pub started: SystemTime,
}

impl Default for Who {
    fn default() -> Self {
        Self {
            user: "admin".into(),
            database: "pgmanifold".into(),
            is_admin: true,
            pid: 1,
            version: concat!("pgmanifold ", env!("CARGO_PKG_VERSION")).into(),
            now: SystemTime::now(),
            started: SystemTime::now(),
        }
    }
}

/// Of one statement.
#[derive(Debug)]
pub(crate) struct Session {
    /// Who asks.
    pub(crate) who: Who,
    /// All relations.
    pub(crate) relations: Arc<Relations>,
    /// The longest text a function may return.
    pub(crate) value_bytes_max: usize,
    /// What the last failing function said; SQLite carries only text.
    pub(crate) failure: Mutex<Option<EngineError>>,
}

impl Session {
    /// Keeps what a function said for when SQLite has failed by it.
    pub(crate) fn fail(&self, error: EngineError) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// What a function said.
    pub(crate) fn failed(&self) -> Option<EngineError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A time as the console's tables have it: `YYYY-MM-DD HH:MM:SS UTC`.
pub(crate) fn time_text(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (days, second) = (since / 86_400, since % 86_400);
    let (year, month, day) = civil(i64::try_from(days).unwrap_or(0));
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of a day since 1970, by Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

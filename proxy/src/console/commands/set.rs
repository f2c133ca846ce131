//! Owns SET of configuration keys: what may be changed while the process runs. A change means what
//! the same line in the file would mean after RELOAD, and holds until the next reload or restart
//! reads the file.

use super::process::nobody_obeys;
use crate::config::{Place, Unchangeable};
use crate::server::Shared;
use crate::server::orders::Order;
use crate::wire::error::SqlError;
use std::borrow::Cow;
use std::sync::Arc;

/// What a value of PgBouncer's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    /// What ours counts.
    Same,
    /// Seconds; ours counts milliseconds.
    Seconds,
}

/// PgBouncer's names of keys that are ours too.
const PGBOUNCER: [(&str, &str, Counts); 16] = [
    ("max_client_conn", "general.max_clients", Counts::Same),
    ("client_login_timeout", "general.login_timeout_ms", Counts::Seconds),
    ("default_pool_size", "pool.pool_size", Counts::Same),
    ("min_pool_size", "pool.min_idle", Counts::Same),
    ("reserve_pool_size", "pool.reserve_pool_size", Counts::Same),
    ("reserve_pool_timeout", "pool.reserve_pool_timeout_ms", Counts::Seconds),
    ("max_db_connections", "pool.max_db_connections", Counts::Same),
    ("pool_mode", "pool.pool_mode", Counts::Same),
    ("server_lifetime", "pool.max_lifetime_ms", Counts::Seconds),
    ("server_idle_timeout", "pool.idle_timeout_ms", Counts::Seconds),
    ("query_wait_timeout", "pool.checkout_timeout_ms", Counts::Seconds),
    ("query_timeout", "pool.query_timeout_ms", Counts::Seconds),
    ("idle_transaction_timeout", "pool.idle_transaction_timeout_ms", Counts::Seconds),
    ("transaction_timeout", "pool.transaction_timeout_ms", Counts::Seconds),
    ("client_idle_timeout", "pool.client_idle_timeout_ms", Counts::Seconds),
    ("max_prepared_statements", "pool.prepared_statements", Counts::Same),
];

/// Whether SET may change a key of SHOW CONFIG.
pub fn changeable(key: &str) -> bool {
    Place::find(own_name(key).0).is_ok()
}

/// `SET key = value`
pub(super) async fn set(shared: &Arc<Shared>, key: &str, value: &str) -> Result<(), SqlError> {
    let (name, counts) = own_name(key);
    let place = Place::find(name).map_err(|why| refused(key, &why))?;
    let value = match counts {
        Counts::Same => Cow::Borrowed(value),
        Counts::Seconds => milliseconds(value).map_or(Cow::Borrowed(value), Cow::Owned),
    };
    let wrong = |detail: String| {
        SqlError::error("22023", format!("invalid value for parameter \"{key}\"")).detail(detail)
    };
    let is_log_level = place.key().name == "log_level";
    if is_log_level && !shared.orders.are_obeyed() {
        return Err(nobody_obeys());
    }
    shared
        .change(|config| place.change(config, &value).map_err(|errors| errors.to_string()))
        .map_err(wrong)?;
    if is_log_level {
        let order = |answer| Order::LogLevel(value.into_owned(), answer);
        shared.orders.ask(order).await.unwrap_or(Ok(())).map_err(wrong)?;
    }
    Ok(())
}

fn own_name(key: &str) -> (&str, Counts) {
    let known = PGBOUNCER.iter().find(|(theirs, ..)| theirs.eq_ignore_ascii_case(key));
    known.map_or((key, Counts::Same), |(_, ours, counts)| (ours, *counts))
}

/// PgBouncer takes fractions of seconds.
fn milliseconds(seconds: &str) -> Option<String> {
    let seconds: f64 = seconds.trim().parse().ok()?;
    (0.0..1e9).contains(&seconds).then(|| format!("{:.0}", seconds * 1000.0))
}

fn refused(key: &str, why: &Unchangeable) -> SqlError {
    let (sqlstate, message, hint) = match why {
        Unchangeable::Unknown => (
            "42704",
            format!("unrecognized configuration parameter \"{key}\""),
            "SHOW CONFIG lists all keys.",
        ),
        Unchangeable::Restart => (
            "55P02",
            format!("parameter \"{key}\" cannot be changed without restarting"),
            "Change the configuration file, and restart; see docs/configuration.md.",
        ),
        Unchangeable::File => (
            "55P02",
            format!("parameter \"{key}\" can only be changed in the configuration file"),
            "Change the configuration file, and RELOAD; see docs/configuration.md.",
        ),
    };
    SqlError::error(sqlstate, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pgbouncer_are_taken() {
        for (theirs, ours, _) in PGBOUNCER {
            assert!(changeable(theirs) && changeable(ours), "{theirs}");
        }
        assert!(!changeable("max_user_connections") && !changeable("general.workers"));
        assert_eq!(milliseconds("1.5").as_deref(), Some("1500"));
        assert_eq!(milliseconds("-1"), None);
    }
}

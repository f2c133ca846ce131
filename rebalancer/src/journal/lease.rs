//! Owns the lease: of the movers of one database only one works at a time. It is a lock of the
//! session on the catalog, so it ends with it.

use crate::connect::{APPLICATION_NAME, LOOKING_NAME, Session};
use crate::error::Error;
use pgmanifold_router::ownership::quote_text;
use std::time::{Duration, Instant};

/// A rebalancer that has just ended may still have a session for this long; and the pause between
/// two looks.
const TAKE_TIMEOUT: Duration = Duration::from_secs(1);
const TAKE_POLL: Duration = Duration::from_millis(50);

/// Whoever only looks is no mover, and is not ended by one.
pub(super) async fn look(session: &Session) -> Result<(), Error> {
    session.run(&format!("set application_name = '{LOOKING_NAME}'")).await
}

/// Whether somebody works on moves of the database.
///
/// # Errors
/// What the catalog says.
pub async fn is_held(session: &Session, database: &str) -> Result<bool, Error> {
    let sql = format!(
        "select from pg_catalog.pg_locks l where l.locktype = 'advisory' and l.granted \
         and l.objsubid = 1 and l.database = (select oid from pg_catalog.pg_database \
                           where datname = pg_catalog.current_database()) \
         and (l.classid::int8 << 32) | l.objid::int8 = {}",
        key(database)
    );
    Ok(!session.rows(&sql).await?.is_empty())
}

/// The lock that is the lease, in SQL.
fn key(database: &str) -> String {
    let name = quote_text(&format!("{APPLICATION_NAME} {database}"));
    format!("pg_catalog.hashtextextended({name}, 0)")
}

/// Takes the lease, or says who has it.
pub(super) async fn take(session: &Session, database: &str) -> Result<(), Error> {
    let key = key(database);
    session.run(&format!("set application_name = '{APPLICATION_NAME}'")).await?;
    let begun = Instant::now();
    loop {
        let took = session.value(&format!("select pg_catalog.pg_try_advisory_lock({key})")).await?;
        if took.as_deref() == Some("t") {
            return Ok(());
        }
        if begun.elapsed() >= TAKE_TIMEOUT {
            break;
        }
        tokio::time::sleep(TAKE_POLL).await;
    }
    look(session).await?;
    let holder = format!(
        "select a.pid, pg_catalog.date_trunc('second', a.backend_start), \
         coalesce(a.client_addr::text, 'a local socket') \
         from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid \
         where l.locktype = 'advisory' and l.granted and l.objsubid = 1 \
         and l.database = (select oid from pg_catalog.pg_database \
                           where datname = pg_catalog.current_database()) \
         and (l.classid::int8 << 32) | l.objid::int8 = {key}"
    );
    let rows = session.rows(&holder).await?;
    let who = rows.first().map(|row| {
        let of = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or("?");
        format!(": from {}, process {} of the catalog's server, since {}", of(2), of(0), of(1))
    });
    Err(Error::Conflict(format!(
        "another rebalancer works on database {database:?}{}",
        who.unwrap_or_else(|| "; it has just ended, try again".to_owned())
    )))
}

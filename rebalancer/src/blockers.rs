//! Owns who stands in the way: transactions that hold locks on tables, or that a slot waits for.

use crate::connect::Session;
use crate::error::Error;
use crate::tables::Scope;
use pgmanifold_router::ownership::quote_text;
use std::time::Duration;

/// Most of them that are named.
const BLOCKERS_MAX: usize = 20;
/// Most characters of a statement that are shown.
const QUERY_CHARACTERS: usize = 200;
/// SQLSTATEs of a try that was given up because others were in the way.
const GIVEN_UP: [&str; 3] = ["55P03", "57014", "40P01"];

/// What became of a try that does not wait for long.
#[derive(Debug)]
pub enum Attempt<T> {
    /// It is done.
    Done(T),
    /// Nothing was done: these stood in the way when it was given up. None are named when they
    /// had ended before anybody looked.
    Blocked(Vec<Blocker>),
}

/// A transaction that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Its server process; `None` for a prepared transaction, which has none.
    pub pid: Option<i32>,
    /// How long it is open.
    pub age: Duration,
    /// Who, and what: user, program and last statement, or the name of a prepared transaction.
    pub what: String,
}

/// Whether a statement failed because its time for a lock, or for others, was over.
pub(crate) fn was_given_up(error: &Error) -> bool {
    error.sqlstate().is_some_and(|code| GIVEN_UP.contains(&code))
}

/// Begins a transaction whose waits for locks are short. An autovacuum that is in the way is told
/// to end when `deadlock_timeout` has passed, so that must come first; where it finds a deadlock,
/// it is this transaction that ends. Triggers of others do not fire in it, and neither do the
/// guards of moves.
pub(crate) fn begin(lock_timeout: Duration) -> String {
    let lock_ms = lock_timeout.as_millis().max(2);
    let deadlock_ms = (lock_ms / 4).clamp(1, 1000);
    format!(
        "begin; set local lock_timeout = {lock_ms}; set local deadlock_timeout = {deadlock_ms}; \
         set local session_replication_role = replica;"
    )
}

/// Who holds locks on the tables that writers hold.
///
/// # Errors
/// What the server says.
pub async fn of_tables(session: &Session, scope: Scope<'_>) -> Result<Vec<Blocker>, Error> {
    let roots: Vec<String> = scope.tables.iter().map(|table| quote_text(&table.sql())).collect();
    let holders = format!(
        "with part as (select r.name::regclass::oid as oid from pg_catalog.unnest(\
         array[{}]) r(name)), \
         tree as (select oid from part union select t.relid from part \
          cross join lateral pg_catalog.pg_partition_tree(part.oid) t), \
         holder as (select distinct l.pid, l.virtualtransaction from pg_catalog.pg_locks l \
          where l.locktype = 'relation' and l.granted and l.relation in (select oid from tree) \
           and l.database = (select oid from pg_catalog.pg_database \
            where datname = pg_catalog.current_database()) \
           and l.mode not in ('AccessShareLock', 'RowShareLock') \
           and l.pid is distinct from pg_catalog.pg_backend_pid())",
        roots.join(", ")
    );
    let sql = format!(
        "{holders} select a.pid, {AGE}, {WHAT} from pg_catalog.pg_stat_activity a \
         where a.pid in (select pid from holder) \
         union all select null, {PREPARED_AGE}, p.gid from pg_catalog.pg_prepared_xacts p \
         where exists (select from pg_catalog.pg_locks x where x.locktype = 'transactionid' \
          and x.pid is null and x.transactionid = p.transaction \
          and x.virtualtransaction in (select virtualtransaction from holder where pid is null))"
    );
    read(session, &sql).await
}

/// Who writes anywhere on the server: what the creation of a slot waits for.
///
/// # Errors
/// What the server says.
pub async fn of_server(session: &Session) -> Result<Vec<Blocker>, Error> {
    let sql = format!(
        "select a.pid, {AGE}, {WHAT} from pg_catalog.pg_stat_activity a \
         where a.backend_xid is not null and a.pid <> pg_catalog.pg_backend_pid() \
         union all select null, {PREPARED_AGE}, p.gid from pg_catalog.pg_prepared_xacts p"
    );
    read(session, &sql).await
}

const AGE: &str = "extract(epoch from pg_catalog.clock_timestamp() - coalesce(a.xact_start, \
                   a.backend_start))::float8";
const PREPARED_AGE: &str = "extract(epoch from pg_catalog.clock_timestamp() - p.prepared)::float8";
const WHAT: &str = "pg_catalog.concat_ws(', ', a.backend_type, a.usename, \
                    nullif(a.application_name, ''), a.state, nullif(a.query, ''))";

async fn read(session: &Session, sql: &str) -> Result<Vec<Blocker>, Error> {
    let sql = format!("select * from ({sql}) b(pid, age, what) order by 2 desc");
    let rows = session.rows(&format!("{sql} limit {BLOCKERS_MAX}")).await?;
    let read = |row: &Vec<Option<String>>| {
        let text = |at: usize| row.get(at).and_then(Option::as_deref);
        let age = text(1).and_then(|age| age.parse::<f64>().ok()).unwrap_or_default();
        let pid = text(0).and_then(|pid| pid.parse().ok());
        let what: String = text(2).unwrap_or_default().chars().take(QUERY_CHARACTERS).collect();
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        let age = Duration::try_from_secs_f64(age.max(0.0)).unwrap_or_default();
        Blocker { pid, age, what }
    };
    Ok(rows.iter().map(read).collect())
}

/// Ends those of them that are open longer; says how many. Prepared transactions stay.
///
/// # Errors
/// What the server says.
pub async fn end(session: &Session, who: &[Blocker], after: Duration) -> Result<usize, Error> {
    let old = who.iter().filter(|blocker| blocker.age > after);
    let pids: Vec<String> =
        old.filter_map(|blocker| blocker.pid).map(|pid| pid.to_string()).collect();
    if pids.is_empty() {
        return Ok(0);
    }
    let list = pids.join(", ");
    // By now the number may be another process's: it must still be in a transaction as old.
    let sql = format!(
        "select pg_catalog.count(*) from (select pg_catalog.pg_terminate_backend(a.pid) as ended \
         from pg_catalog.pg_stat_activity a where a.pid in ({list}) \
          and a.backend_type = 'client backend' \
          and coalesce(a.xact_start, a.backend_start) \
              < pg_catalog.clock_timestamp() - interval '{} milliseconds') e where ended",
        after.as_millis()
    );
    let ended = session.value(&sql).await?;
    Ok(ended.and_then(|count| count.parse().ok()).unwrap_or_default())
}

/// They, in a sentence for people.
pub fn describe(who: &[Blocker]) -> String {
    if who.is_empty() {
        return "transactions that have ended meanwhile".to_owned();
    }
    let one = |blocker: &Blocker| {
        let age = blocker.age.as_millis();
        match blocker.pid {
            Some(pid) => format!("process {pid} for {age} ms ({})", blocker.what),
            None => format!("prepared transaction {:?} for {age} ms", blocker.what),
        }
    };
    who.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blockers_are_named() {
        let age = Duration::from_millis(1500);
        let one = Blocker { pid: Some(7), age, what: "app, update t".into() };
        let two = Blocker { pid: None, age, what: "pgm:1".into() };
        assert_eq!(
            describe(&[one, two]),
            "process 7 for 1500 ms (app, update t); prepared transaction \"pgm:1\" for 1500 ms"
        );
        assert!(begin(Duration::from_millis(100)).contains("deadlock_timeout = 25"));
    }
}

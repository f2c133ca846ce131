//! Owns what cuts off a process from a shard: the least epoch, and the end of its connections.

use super::proxies::texts;
use crate::config::ShardConfig;
use crate::connect::{APPLICATION_NAME, Session};
use crate::error::Error;
use crate::replicas;
use pgmanifold_router::ownership::quote_text;
use std::time::{Duration, Instant};

/// Longest wait for connections that are just being attached; who holds them up is ended.
const ATTACH_WAIT: Duration = Duration::from_secs(1);
/// Tries; each ends whoever held up the one before.
const RAISE_TRIES: u32 = 5;
/// Longest wait for ended connections to be gone.
const END_WAIT: Duration = Duration::from_secs(10);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(5);
/// The lock that `pgm.attach` takes, shared, and `pgm.raise_least_epoch`.
const ATTACH_LOCK: u32 = 8_101_514;

/// From now on the shard refuses connections by maps below this epoch, and all others that are
/// attached can be seen.
pub(super) async fn raise(session: &Session, epoch: u64) -> Result<(), Error> {
    // Replicas that matter are asked whether they have replayed it.
    let sql = format!(
        "set synchronous_commit = local; set lock_timeout = {}; \
         select pgm.raise_least_epoch({epoch})",
        ATTACH_WAIT.as_millis()
    );
    let mut tries = 0;
    loop {
        tries += 1;
        match session.run(&sql).await {
            Err(error) if error.sqlstate() == Some("55P03") && tries < RAISE_TRIES => {}
            done => return done,
        }
        // To attach is one short transaction. Whose takes this long is stopped, or far away.
        let held_up = format!(
            "select pg_catalog.pg_terminate_backend(l.pid) from pg_catalog.pg_locks l \
             join pg_catalog.pg_database d on d.oid = l.database \
             where d.datname = pg_catalog.current_database() and l.locktype = 'advisory' \
              and l.classid = 0 and l.objid = {ATTACH_LOCK} and l.objsubid = 1 \
              and l.mode = 'ShareLock' and l.granted and l.pid <> pg_catalog.pg_backend_pid()"
        );
        session.run(&held_up).await?;
    }
}

/// Connections of processes that are not among `current` and may carry what is older.
fn older_sql(epoch: u64, current: &[String]) -> String {
    format!(
        "from pgm.attached t join pg_catalog.pg_stat_activity a \
          on a.pid = t.pid and a.backend_start = t.started \
         where t.epoch < {epoch} and t.process <> all ({})",
        texts(current)
    )
}

/// The processes of such connections.
pub(super) async fn attached_older(
    session: &Session,
    epoch: u64,
    current: &[String],
) -> Result<Vec<String>, Error> {
    let sql = format!("select distinct t.process {}", older_sql(epoch, current));
    Ok(session.rows(&sql).await?.into_iter().flatten().flatten().collect())
}

/// Ends all connections to a shard that may carry what is older, and says how many, by place.
pub(super) async fn cut_off(
    shard: &ShardConfig,
    primary: &Session,
    epoch: u64,
    current: &[String],
) -> Result<Vec<(String, u32)>, Error> {
    // Whose connections come by roles that nobody would expect to be a proxy's.
    let roles = "select distinct a.usename from pgm.attached t join pg_catalog.pg_stat_activity a \
                 on a.pid = t.pid and a.backend_start = t.started";
    let roles: Vec<String> = primary.rows(roles).await?.into_iter().flatten().flatten().collect();
    let ended = end(primary, &older_sql(epoch, current)).await?;
    let mut all = vec![(primary.place.clone(), ended)];
    // By what it says, not by its position: one that does not follow any more could be further.
    let knows = format!("select least_epoch >= {epoch} from pgm.this_shard");
    for replica in replicas::of(shard).await? {
        let otherwise = "proxies that are cut off could still read there";
        replicas::wait(&replica, &knows, otherwise).await?;
        let ended = end(&replica, &clients_sql(&roles)).await?;
        all.push((replica.place.clone(), ended));
    }
    Ok(all)
}

/// Connections of clients to a replica. Nothing tells whose they are, and reads are repeated; only
/// the rebalancer's own and those of superusers that no proxy logs in as stay.
fn clients_sql(roles: &[String]) -> String {
    format!(
        "from pg_catalog.pg_stat_activity a \
         left join pg_catalog.pg_roles r on r.oid = a.usesysid \
         where a.datname = pg_catalog.current_database() and a.backend_type = 'client backend' \
          and a.pid <> pg_catalog.pg_backend_pid() \
          and not (a.application_name = {} and a.usename = session_user) \
          and (r.rolsuper is not true or a.usename = any ({}))",
        quote_text(APPLICATION_NAME),
        texts(roles)
    )
}

/// Ends the connections that `which` finds as `a`, and waits until they are gone; says how many.
async fn end(session: &Session, which: &str) -> Result<u32, Error> {
    let begun = Instant::now();
    // Only those that are still the same process are ended: numbers come again.
    let end = format!("select a.pid, pg_catalog.pg_terminate_backend(a.pid) {which}");
    let ended = session.rows(&end).await?.len();
    let look = format!("select count(*) {which}");
    loop {
        if session.value(&look).await?.as_deref() == Some("0") {
            return Ok(u32::try_from(ended).unwrap_or(u32::MAX));
        }
        if begun.elapsed() > END_WAIT {
            return Err(Error::Stopped(format!(
                "{}: connections of proxies that are cut off did not end within {} s",
                session.place,
                END_WAIT.as_secs()
            )));
        }
        tokio::time::sleep(POLL).await;
        session.run(&end).await?;
    }
}

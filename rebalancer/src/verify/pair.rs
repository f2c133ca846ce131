//! Owns two snapshots that show the same moment on two shards, one of which follows the other by
//! logical replication.
//!
//! While the locks are held no transaction that writes to the tables is open or can begin, so what
//! the leader's next snapshot shows of them has all been committed, in the log, before the marker
//! is. A follower that shows the marker shows all of that too, and nothing newer.

use super::compare::Scope;
use crate::connect::Session;
use crate::error::Error;
use crate::replicate::{Direction, mark};
use std::time::{Duration, Instant};

/// Sessions that a pair is made of. All of them are the pair's own.
#[derive(Debug)]
pub struct Ends {
    /// On the leader: holds the locks for a moment.
    pub locker: Session,
    /// On the leader: writes the marker, then has the snapshot.
    pub leader: Session,
    /// On the follower: waits for the marker, then has the snapshot.
    pub follower: Session,
}

/// How long a pair may take, and how long it may keep writers waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairLimits {
    /// One wait for the locks; writers that come meanwhile wait behind it.
    pub lock_timeout: Duration,
    /// Longest wait for the marker while the locks are held.
    pub marker_wait: Duration,
    /// Longest wait, without locks, for the follower to be near.
    pub lag_wait: Duration,
    /// Tries before it gives up.
    pub tries: u32,
}

impl Default for PairLimits {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_millis(100),
            marker_wait: Duration::from_millis(500),
            lag_wait: Duration::from_secs(60),
            tries: 30,
        }
    }
}

/// Pause between two looks for the marker.
const MARKER_POLL: Duration = Duration::from_millis(1);
/// First and longest rest between two tries; writers go on meanwhile.
const REST_MIN: Duration = Duration::from_millis(50);
const REST_MAX: Duration = Duration::from_secs(2);
/// Where writers of the rows, or a vacuum, are in the way of the locks.
const LOCK_NOT_AVAILABLE: [&str; 2] = ["55P03", "40P01"];

/// Two sessions whose snapshots show the same rows of the compared tables.
#[derive(Debug)]
pub struct Pair {
    /// Who was written to.
    pub leader: Session,
    /// Who follows.
    pub follower: Session,
    /// Longest time for which writers were kept waiting.
    pub pause: Duration,
    /// Tries it took.
    pub tries: u32,
}

impl Pair {
    /// Ends both snapshots before the sessions: whoever wants to lock the tables, or to remove old
    /// versions of their rows, waits for nothing any more.
    ///
    /// # Errors
    /// What the servers say.
    pub async fn end(self) -> Result<(), Error> {
        tokio::try_join!(self.leader.run("rollback"), self.follower.run("rollback")).map(drop)
    }
}

/// What values must look like to be compared as text, whatever the defaults of server, database and
/// role are; and no policy may leave rows out.
const SETTINGS: &str = "\
set search_path = ''; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; \
set timezone = 'UTC'; set extra_float_digits = 3; set bytea_output = 'hex'; \
set lc_monetary = 'C'; set xmlbinary = 'base64'; set row_security = off; set jit = off; \
set statement_timeout = 0; set lock_timeout = 0; set idle_in_transaction_session_timeout = 0; \
set synchronous_commit = local; set quote_all_identifiers = off";

/// A waiter has a vacuum called off when it has waited this long, which must be before it gives up.
/// Only superusers may say so; without it the vacuum is waited for.
const DEADLOCK_TIMEOUT: &str = "set deadlock_timeout = '40ms'";

const SNAPSHOT: &str = "begin transaction isolation level repeatable read read only; \
     select pg_catalog.pg_current_snapshot()";

/// Opens the two snapshots while the follower applies what the leader does: through the
/// replication of the move `id` in this direction.
///
/// # Errors
/// What the servers say; the follower is too far behind, or the locks are not to be had.
pub async fn pair(
    ends: Ends,
    scope: &Scope<'_>,
    (id, way): (i64, Direction),
    limits: &PairLimits,
) -> Result<Pair, Error> {
    let Ends { locker, leader, follower } = ends;
    for session in [&locker, &leader, &follower] {
        session.run(SETTINGS).await?;
    }
    if let Err(error) = locker.run(DEADLOCK_TIMEOUT).await
        && error.sqlstate() != Some("42501")
    {
        return Err(error);
    }
    wait_near(&leader, &follower, (id, way), limits).await?;
    let lock = format!(
        "begin; set local lock_timeout = {}; lock table {} in share mode",
        limits.lock_timeout.as_millis(),
        scope.table_list()
    );
    let (mut rest, mut pause, mut last) = (REST_MIN, Duration::ZERO, String::new());
    for tries in 1..=limits.tries {
        let begun = Instant::now();
        let tried = match locker.run(&lock).await {
            Ok(()) => open(&leader, &follower, (id, way), limits.marker_wait).await,
            Err(error) if LOCK_NOT_AVAILABLE.map(Some).contains(&error.sqlstate()) => {
                last = error.to_string();
                Ok(false)
            }
            Err(error) => Err(error),
        };
        locker.run("rollback").await?;
        pause = pause.max(begun.elapsed());
        if tried? {
            return Ok(Pair { leader, follower, pause, tries });
        }
        // Nearer again, and nobody's writes are held up for long.
        tokio::time::sleep(rest).await;
        rest = (rest * 2).min(REST_MAX);
        wait_near(&leader, &follower, (id, way), limits).await?;
    }
    let reason = match last.is_empty() {
        true => format!("{} was not near enough", follower.place),
        false => last,
    };
    Err(Error::Stopped(format!(
        "{} and {} could not be seen at one moment in {} tries: {reason}; repeat it when no long \
         transaction writes to the tables",
        leader.place, follower.place, limits.tries
    )))
}

/// The leader writes a marker, and both snapshots are opened when the follower shows it; false when
/// that takes too long.
async fn open(
    leader: &Session,
    follower: &Session,
    (id, way): (i64, Direction),
    limit: Duration,
) -> Result<bool, Error> {
    let number = mark(leader, id, way).await?;
    if !shows(follower, id, number, limit).await? {
        return Ok(false);
    }
    tokio::try_join!(leader.run(SNAPSHOT), follower.run(SNAPSHOT))?;
    Ok(true)
}

/// Waits until a marker arrives in half of the time that the locks may be held for it.
async fn wait_near(
    leader: &Session,
    follower: &Session,
    (id, way): (i64, Direction),
    limits: &PairLimits,
) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        let left = limits.lag_wait.saturating_sub(begun.elapsed());
        let (number, asked) = (mark(leader, id, way).await?, Instant::now());
        if !shows(follower, id, number, left).await? {
            return Err(Error::Stopped(format!(
                "{} is more than {} s behind {}: see whether its subscription for move {id} \
                 works, and repeat it",
                follower.place,
                limits.lag_wait.as_secs(),
                leader.place
            )));
        }
        if asked.elapsed() <= limits.marker_wait / 2 {
            return Ok(());
        }
    }
}

/// Whether the follower shows the marker within the limit.
async fn shows(session: &Session, id: i64, number: i64, limit: Duration) -> Result<bool, Error> {
    let begun = Instant::now();
    let sql = format!("select from pgm.marker where move = {id} and number = {number}");
    loop {
        if !session.rows(&sql).await?.is_empty() {
            return Ok(true);
        }
        if begun.elapsed() >= limit {
            return Ok(false);
        }
        tokio::time::sleep(MARKER_POLL).await;
    }
}

/// Opens the two snapshots where nobody writes to the keys, as behind a fence.
///
/// # Errors
/// What the servers say.
pub async fn at_rest(leader: Session, follower: Session) -> Result<Pair, Error> {
    for session in [&leader, &follower] {
        session.run(SETTINGS).await?;
        session.run(SNAPSHOT).await?;
    }
    Ok(Pair { leader, follower, pause: Duration::ZERO, tries: 1 })
}

//! Owns the letting in again: fence and guards are let down at once, and then removed.

use super::guards::remove_guards;
use super::{Trigger, fence_names, triggers_named};
use crate::blockers::{Attempt, begin, describe, was_given_up};
use crate::connect::Session;
use crate::error::Error;
use std::time::Duration;

/// Tries for the locks under which triggers are dropped, and how long each waits; so long there is
/// a pause after it, too. Readers and writers of the table wait meanwhile, so the first tries are
/// short. They do not succeed where long reads overlap all the time; the later ones let those end.
const TRIES: [(u32, Duration); 2] =
    [(50, Duration::from_millis(100)), (120, Duration::from_secs(1))];

/// One try to let writes to the keys in again. Readers of the tables do not stand in its way. The
/// triggers are let down, which is durable then; what can be removed without waiting is.
///
/// # Errors
/// What the server says.
pub async fn unfence(on: &Session, id: i64, lock_timeout: Duration) -> Result<Attempt<()>, Error> {
    if let blocked @ Attempt::Blocked(_) = let_down(on, id, lock_timeout).await? {
        return Ok(blocked);
    }
    // To drop a trigger, readers must be out of the way, too. It does nothing any more.
    drop_triggers(on, &fence_names(id), lock_timeout).await?;
    Ok(Attempt::Done(()))
}

/// The first half of [`unfence`], for a moment in which clients wait: what is let down stays there.
///
/// # Errors
/// What the server says.
pub async fn let_down(on: &Session, id: i64, lock_timeout: Duration) -> Result<Attempt<()>, Error> {
    let names = fence_names(id);
    let there = triggers_named(on, &names).await?;
    let up: Vec<&Trigger> = there.iter().filter(|one| one.enabled).collect();
    if !up.is_empty() {
        let disable: String = up
            .iter()
            .map(|one| format!("alter table only {} disable trigger {}; ", one.table, one.name))
            .collect();
        if !run(on, &format!("{}{disable}commit", begin(lock_timeout))).await? {
            return Ok(Attempt::Blocked(Vec::new()));
        }
    }
    Ok(Attempt::Done(()))
}

/// Removes fence and guards of the move, whatever there is of them. Can be repeated.
///
/// # Errors
/// What the server says; that others stand in the way for too long.
pub async fn remove(on: &Session, id: i64) -> Result<(), Error> {
    let mut blocked = Vec::new();
    let tries = TRIES.iter().flat_map(|(count, wait)| (0..*count).map(|_| *wait));
    for wait in tries {
        let let_down = unfence(on, id, wait).await?;
        let dropped = drop_triggers(on, &fence_names(id), wait).await?;
        let guards = remove_guards(on, id, wait).await?;
        blocked.clear();
        for attempt in [let_down, dropped, guards] {
            match attempt {
                Attempt::Done(()) => {}
                Attempt::Blocked(who) => blocked.push(describe(&who)),
            }
        }
        if blocked.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
    }
    Err(Error::Stopped(format!(
        "{}: triggers of move {id} cannot be removed from its tables now, because of {}",
        on.place,
        blocked.join("; ")
    )))
}

/// One try to drop the triggers of these names, table by table.
pub(super) async fn drop_triggers(
    on: &Session,
    names: &[String],
    lock_timeout: Duration,
) -> Result<Attempt<()>, Error> {
    let there = triggers_named(on, names).await?;
    let mut blocked = false;
    for one in there.iter().filter(|one| !one.is_copy) {
        let sql = format!(
            "{}drop trigger if exists {} on {}; commit",
            begin(lock_timeout),
            one.name,
            one.table
        );
        blocked |= !run(on, &sql).await?;
    }
    match blocked {
        true => Ok(Attempt::Blocked(Vec::new())),
        false => Ok(Attempt::Done(())),
    }
}

/// Whether a transaction was done, and not given up because others were in the way.
async fn run(on: &Session, sql: &str) -> Result<bool, Error> {
    let Err(error) = on.run(sql).await else { return Ok(true) };
    on.run("rollback").await?;
    match was_given_up(&error) || error.sqlstate() == Some("42P01") {
        true => Ok(false),
        false => Err(error),
    }
}

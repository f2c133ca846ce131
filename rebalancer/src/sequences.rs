//! Owns sequences of moved tables: the new owner of keys must not give a number again.

use crate::blockers::{begin, was_given_up};
use crate::connect::Session;
use crate::error::Error;
use crate::tables::{Scope, Sequence};
use std::time::Duration;

/// Most numbers that are drawn to come forward. More are left out at once, for which everybody
/// who has drawn one has to end first.
const DRAW_MAX: i128 = 100_000;
/// A try to keep others from a sequence.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);
/// Tries.
const LOCK_TRIES: u32 = 20;
/// Pause between them.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Where a sequence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// The number that was given last, or would have been.
    given: i128,
    increment: i128,
    limit: i128,
}

/// Moves the sequences of `to` beyond those of `from`, on which nobody may draw numbers for these
/// keys any more. Each keeps its class of numbers where increments set the shards apart. It is
/// quick when it was done a short while ago: so it is to be called once before the writes to the
/// keys wait, and once while they do.
///
/// # Errors
/// What the servers say; that a sequence has no numbers left.
pub async fn carry(from: &Session, to: &Session, scope: Scope<'_>) -> Result<(), Error> {
    for table in scope.tables {
        for sequence in &table.sequences {
            carry_one(from, to, sequence).await?;
        }
    }
    Ok(())
}

/// Whether the two shards' sequences of this name never give the same number.
pub(crate) async fn are_apart(one: &Session, two: &Session, name: &str) -> Result<bool, Error> {
    let (one, two) = (place(one, name).await?, place(two, name).await?);
    Ok(match (one, two) {
        (Some(one), Some(two)) => {
            let step = one.increment.abs();
            step > 1
                && one.increment == two.increment
                && one.given.rem_euclid(step) != two.given.rem_euclid(step)
        }
        _ => false,
    })
}

async fn carry_one(from: &Session, to: &Session, sequence: &Sequence) -> Result<(), Error> {
    let Some(source) = place(from, &sequence.name).await? else { return Ok(()) };
    let Some(target) = place(to, &sequence.name).await? else {
        let name = &sequence.name;
        return Err(Error::Stopped(format!("{}: there is no sequence {name}", to.place)));
    };
    let steps = steps(source.given, target);
    let reached = target.given + steps * target.increment;
    let too_far =
        if target.increment > 0 { reached > target.limit } else { reached < target.limit };
    if too_far {
        let name = &sequence.name;
        return Err(Error::Stopped(format!("{}: sequence {name} has no numbers left", to.place)));
    }
    match steps {
        0 => Ok(()),
        1..=DRAW_MAX => draw(to, &sequence.name, steps).await,
        _ => leap(to, &sequence.name, source.given).await,
    }
}

/// How many of the next numbers of `target` are not beyond `given`.
fn steps(given: i128, target: Place) -> i128 {
    let distance = (given - target.given) * target.increment.signum();
    let step = target.increment.abs().max(1);
    distance.max(0) / step
}

async fn place(session: &Session, sequence: &str) -> Result<Option<Place>, Error> {
    let name = pgmanifold_router::ownership::quote_text(sequence);
    let known = format!("select pg_catalog.to_regclass({name}) is not null");
    if session.value(&known).await?.as_deref() != Some("t") {
        return Ok(None);
    }
    let sql = format!(
        "select s.last_value, s.is_called, q.seqincrement, \
          case when q.seqincrement > 0 then q.seqmax else q.seqmin end \
         from {sequence} s join pg_catalog.pg_sequence q on q.seqrelid = {name}::regclass"
    );
    let rows = session.rows(&sql).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let text = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    let number = |at: usize| text(at).parse::<i128>().unwrap_or_default();
    let (last, increment) = (number(0), number(2));
    let given = if text(1) == "t" { last } else { last - increment };
    Ok(Some(Place { given, increment, limit: number(3) }))
}

/// Others may draw at the same time: nothing is ever set back.
async fn draw(to: &Session, sequence: &str, steps: i128) -> Result<(), Error> {
    let name = pgmanifold_router::ownership::quote_text(sequence);
    to.run(&format!(
        "select pg_catalog.count(pg_catalog.nextval({name}::regclass)) \
         from pg_catalog.generate_series(1, {steps})"
    ))
    .await
}

/// With the sequence to itself.
async fn leap(to: &Session, sequence: &str, beyond: i128) -> Result<(), Error> {
    let Some(Place { increment, .. }) = place(to, sequence).await? else { return Ok(()) };
    for _ in 0..LOCK_TRIES {
        // Whoever draws a number waits from here to the end of the transaction.
        let lock =
            format!("{} alter sequence {sequence} increment by {increment}", begin(LOCK_TIMEOUT));
        match to.run(&lock).await {
            Ok(()) => {}
            Err(error) if was_given_up(&error) => {
                to.run("rollback").await?;
                tokio::time::sleep(LOCK_PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        }
        if let Some(now) = place(to, sequence).await? {
            let next = now.given + (steps(beyond, now) + 1) * now.increment;
            to.run(&format!("alter sequence {sequence} restart with {next}")).await?;
        }
        return to.run("commit").await;
    }
    Err(Error::Stopped(format!(
        "{}: sequence {sequence} cannot be moved forward: transactions that drew numbers from it \
         do not end",
        to.place
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_comes_beyond_the_other_and_keeps_its_class() {
        let up = Place { given: 5, increment: 1024, limit: i128::from(i64::MAX) };
        assert_eq!((steps(5, up), steps(4, up), steps(1028, up)), (0, 0, 0));
        assert_eq!((steps(1029, up), steps(1030, up), steps(2053, up)), (1, 1, 2));
        let down = Place { given: -5, increment: -1, limit: i128::from(i64::MIN) };
        assert_eq!((steps(-5, down), steps(-9, down), steps(3, down)), (0, 4, 0));
    }
}

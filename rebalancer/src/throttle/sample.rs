//! Owns the looks at a primary: how long a trivial query takes, how far its replicas are behind,
//! and what is kept for a slot.

use super::Watched;
use super::decide::Sample;
use crate::connect::Session;
use crate::error::Error;
use pgmanifold_router::ownership::quote_text;
use std::pin::pin;
use std::time::{Duration, Instant};

/// Period of looking how long a query takes.
const INTERVAL: Duration = Duration::from_millis(200);
/// Replicas and the slot are looked at every so many times.
const ROUNDS: u32 = 5;

/// Looks until the primary cannot be asked any more, and says why.
pub(super) async fn watch(
    watched: &Watched,
    latency_limit: Duration,
    publish: impl Fn(Sample),
) -> Error {
    let Watched { session, slot } = watched;
    let mut sample = Sample { place: session.place.clone(), ..Sample::default() };
    let mut latencies = [Duration::ZERO; 3];
    let mut round = 0;
    loop {
        if round % ROUNDS == 0
            && let Err(error) = look(session, slot.as_deref(), &mut sample).await
        {
            return error;
        }
        round = (round + 1) % ROUNDS;
        let begun = Instant::now();
        let mut query = pin!(session.run("select"));
        let mut told = false;
        let answer = loop {
            tokio::select! {
                answer = &mut query => break answer,
                // One that does not answer at all is slow, too.
                () = tokio::time::sleep(latency_limit.max(INTERVAL)) => {
                    sample.latency = begun.elapsed();
                    told = true;
                    publish(sample.clone());
                }
            }
        };
        if let Err(error) = answer {
            return error;
        }
        latencies.rotate_left(1);
        latencies[2] = begun.elapsed();
        sample.latency = if told { begun.elapsed() } else { middle(latencies) };
        publish(sample.clone());
        tokio::time::sleep(INTERVAL.saturating_sub(begun.elapsed())).await;
    }
}

/// A single slow answer says nothing.
fn middle(mut latencies: [Duration; 3]) -> Duration {
    latencies.sort();
    latencies[1]
}

async fn look(session: &Session, slot: Option<&str>, sample: &mut Sample) -> Result<(), Error> {
    // Subscriptions follow too; they are no replicas.
    let replicas = "select r.application_name || coalesce(' at ' || r.client_addr, ''), \
         pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), r.replay_lsn)::int8 \
         from pg_catalog.pg_stat_replication r \
         where r.replay_lsn is not null and r.state in ('streaming', 'catchup') \
          and not exists (select from pg_catalog.pg_replication_slots s \
                          where s.active_pid = r.pid and s.slot_type = 'logical') \
         order by 2 desc limit 1";
    sample.replica = session.rows(replicas).await?.into_iter().next().and_then(named_bytes);
    let Some(name) = slot else { return Ok(()) };
    let kept = format!(
        "select slot_name, case when wal_status is distinct from 'lost' then \
          pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn)::int8 end \
         from pg_catalog.pg_replication_slots where slot_name = {}",
        quote_text(name)
    );
    let row = session.rows(&kept).await?.into_iter().next();
    sample.slot = Some((name.to_owned(), row.and_then(named_bytes).map(|(_, bytes)| bytes)));
    Ok(())
}

/// A row of a name and a number of bytes, which may be a little below zero where it moves on.
fn named_bytes(row: Vec<Option<String>>) -> Option<(String, u64)> {
    let mut fields = row.into_iter();
    let name = fields.next()??;
    let bytes: i64 = fields.next()??.parse().ok()?;
    Some((name, u64::try_from(bytes).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_three() {
        let ms = Duration::from_millis;
        assert_eq!(middle([ms(1), ms(900), ms(3)]), ms(3));
        assert_eq!(middle([ms(900), ms(3), ms(800)]), ms(800));
        let row = |bytes: &str| vec![Some("r".to_owned()), Some(bytes.to_owned())];
        assert_eq!(named_bytes(row("-8")), Some(("r".into(), 0)));
        assert_eq!(named_bytes(vec![Some("r".into()), None]), None);
    }
}

//! Owns the last look: nothing that bears the move's number is left on its shards.

use crate::connect::Session;
use crate::error::Error;

/// Looks for everything that a move makes on shards, by its name.
///
/// # Errors
/// [`Error::Stopped`] names what is left.
pub async fn nothing_left(shards: &[&Session], id: i64) -> Result<(), Error> {
    let mut left = Vec::new();
    for session in shards {
        for row in session.rows(&sql(id)).await? {
            let mut fields = row.into_iter().map(Option::unwrap_or_default);
            let (kind, name) = (fields.next(), fields.next());
            let (kind, name) = (kind.unwrap_or_default(), name.unwrap_or_default());
            left.push(format!("{kind} {name} on {}", session.place));
        }
    }
    match left.is_empty() {
        true => Ok(()),
        false => Err(Error::Stopped(format!(
            "move {id} has left something behind: {}; resume it, or remove that by hand",
            left.join(", ")
        ))),
    }
}

fn sql(id: i64) -> String {
    let names = format!("('pgm_move_{id}', 'pgm_back_{id}')");
    format!(
        "select 'publication', pubname from pg_catalog.pg_publication where pubname in {names} \
         union all \
         select 'subscription', subname from pg_catalog.pg_subscription where subname in {names} \
          and subdbid = (select oid from pg_catalog.pg_database \
                         where datname = pg_catalog.current_database()) \
         union all \
         select 'replication slot', slot_name from pg_catalog.pg_replication_slots \
          where slot_name in {names} \
         union all \
         select 'trigger', tgname || ' of ' || tgrelid::pg_catalog.regclass::text \
          from pg_catalog.pg_trigger where tgparentid = 0 and tgname in \
          ('pgm_fence_{id}_write', 'pgm_fence_{id}_delete', 'pgm_guard_{id}') \
         union all \
         select 'event trigger', evtname from pg_catalog.pg_event_trigger \
          where evtname in ('pgm_ddl_{id}', 'pgm_drop_{id}') \
         union all \
         select 'marker', number::text from pgm.marker where move = {id} \
         union all \
         select 'guarded table', relation::text from pgm.moving_table where move = {id}"
    )
}

//! Owns the guards: TRUNCATE and DDL of the tables are refused on a shard while keys move, because
//! neither would follow the rows.

use super::{attempt, relations, triggers_named};
use crate::blockers::{Attempt, begin};
use crate::connect::Session;
use crate::error::Error;
use crate::tables::Scope;
use pgmanifold_router::ownership::quote_text;
use std::time::Duration;

pub(super) fn guard_name(id: i64) -> String {
    format!("pgm_guard_{id}")
}

/// The event triggers, and what they are fired by.
pub(super) fn event_triggers(id: i64) -> [(String, &'static str); 2] {
    [(format!("pgm_ddl_{id}"), "ddl_command_end"), (format!("pgm_drop_{id}"), "sql_drop")]
}

/// One try to refuse TRUNCATE and DDL of the tables. Done again, it changes nothing.
///
/// # Errors
/// What the server says.
pub async fn set_guards(
    on: &Session,
    scope: Scope<'_>,
    lock_timeout: Duration,
) -> Result<Attempt<()>, Error> {
    let id = scope.id;
    let name = guard_name(id);
    let there = triggers_named(on, std::slice::from_ref(&name)).await?;
    let missing: Vec<String> = relations(scope)
        .into_iter()
        .filter(|table| there.iter().all(|one| one.table != *table))
        .collect();
    let create: String = missing
        .iter()
        .map(|table| {
            format!(
                "create trigger {name} before truncate on {table} for each statement execute \
                 function pgm.reject_truncate(); "
            )
        })
        .collect();
    let all: Vec<String> = relations(scope).iter().map(|table| quote_text(table)).collect();
    // Indexes, too: when one is dropped, nothing tells any more whose it was.
    let remember = format!(
        "insert into pgm.moving_table (move, relation) \
         select distinct {id}, u.oid from pg_catalog.unnest(array[{}]) r(name) \
         cross join lateral (select r.name::regclass::oid union all \
          select i.indexrelid from pg_catalog.pg_index i where i.indrelid = r.name::regclass) \
         u(oid) on conflict do nothing; ",
        all.join(", ")
    );
    let mut events = String::new();
    for (trigger, event) in event_triggers(id) {
        let known =
            format!("select 1 from pg_catalog.pg_event_trigger where evtname = '{trigger}'");
        if on.value(&known).await?.is_none() {
            events.push_str(&format!(
                "create event trigger {trigger} on {event} execute function pgm.reject_ddl(); "
            ));
        }
    }
    let begin = begin(lock_timeout);
    attempt(on, scope, &[&format!("{begin}{create}{remember}{events}commit")]).await
}

/// One try to remove the guards.
///
/// # Errors
/// What the server says.
pub async fn remove_guards(
    on: &Session,
    id: i64,
    lock_timeout: Duration,
) -> Result<Attempt<()>, Error> {
    for (trigger, _) in event_triggers(id) {
        on.run(&format!("drop event trigger if exists {trigger}")).await?;
    }
    let known = on.value("select pg_catalog.to_regclass('pgm.moving_table') is not null").await?;
    if known.as_deref() == Some("t") {
        on.run(&format!("delete from pgm.moving_table where move = {id}")).await?;
    }
    super::remove::drop_triggers(on, &[guard_name(id)], lock_timeout).await
}

//! Owns what the two servers must be like: versions, settings, free places for slots and workers.

use super::{Question, Report};
use crate::connect::Session;
use crate::error::Error;
use pgmanifold_router::ownership::quote_text;
use pgmanifold_router::shard_schema;
use std::collections::BTreeMap;

/// Row filters of publications.
const ONLINE_VERSION: i64 = 150_000;
/// Pages of a table can be read by their numbers.
const OFFLINE_VERSION: i64 = 140_000;
/// Prepared transactions that are older are in doubt.
const IN_DOUBT_SECONDS: u32 = 5;

/// What a server says of itself.
type Facts = BTreeMap<String, String>;

fn number(facts: &Facts, name: &str) -> i64 {
    facts.get(name).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn is(facts: &Facts, name: &str, value: &str) -> bool {
    facts.get(name).is_some_and(|known| known == value)
}

/// Looks at both; false where the login may not look any further.
///
/// # Errors
/// What the servers say.
pub(super) async fn check(question: &Question<'_>, report: &mut Report) -> Result<bool, Error> {
    let (source, target) = (facts(question.source).await?, facts(question.target).await?);
    let sides = [
        (question.source, &source, &question.source_config.name),
        (question.target, &target, &question.target_config.name),
    ];
    for (on, facts, name) in sides {
        server(question, on, facts, report);
        shard(question, on, name, report).await?;
        in_doubt(question, on, report).await?;
        if question.online {
            replication(on, facts, report);
        }
    }
    for (name, what) in [("server_encoding", "encoding"), ("lc_monetary", "lc_monetary")] {
        let (one, two) = (source.get(name), target.get(name));
        if one == two {
            continue;
        }
        let (one, two) = (one.cloned().unwrap_or_default(), two.cloned().unwrap_or_default());
        let differs = format!("{what} differs: {one} on the source, {two} on the target");
        match name {
            "server_encoding" => report.refuse(differs, "make the target's database anew"),
            _ if question.online && has_money(question) => {
                report.refuse(differs, "set it to the same for both databases");
            }
            _ => {}
        }
    }
    Ok([source, target].iter().all(|facts| is(facts, "superuser", "true")))
}

/// Text of this type is read by another rule where the setting is another.
fn has_money(question: &Question<'_>) -> bool {
    let columns = question.scope.tables.iter().flat_map(|table| &table.columns);
    columns.into_iter().any(|column| column.type_name.starts_with("money"))
}

async fn facts(on: &Session) -> Result<Facts, Error> {
    let rows = on.rows(FACTS).await?;
    let text = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten();
    let read = |row: &Vec<Option<String>>| Some((text(row, 0)?, text(row, 1).unwrap_or_default()));
    Ok(rows.iter().filter_map(read).collect())
}

/// Settings by their names, and what is in use. Before version 18 origins are as many as slots.
const FACTS: &str = "\
select name, case when name = 'lc_monetary' then coalesce(reset_val, setting) else setting end \
 from pg_catalog.pg_settings where name in ('server_version_num', \
 'server_encoding', 'wal_level', 'synchronous_standby_names', 'max_replication_slots', \
 'max_wal_senders', 'max_logical_replication_workers', 'max_worker_processes', 'lc_monetary', \
 'max_active_replication_origins') \
union all select 'superuser', rolsuper::text from pg_catalog.pg_roles where rolname = current_user \
union all select 'slots', pg_catalog.count(*)::text from pg_catalog.pg_replication_slots \
union all select 'senders', pg_catalog.count(*)::text from pg_catalog.pg_stat_get_wal_senders() \
union all select 'origins', pg_catalog.count(*)::text from pg_catalog.pg_replication_origin \
union all select 'appliers', pg_catalog.count(*)::text from pg_catalog.pg_stat_subscription \
 where pid is not null \
union all select 'workers', pg_catalog.count(*)::text from pg_catalog.pg_stat_activity \
 where backend_type not in ('client backend', 'walsender', 'walreceiver', 'checkpointer', \
 'background writer', 'walwriter', 'startup', 'archiver', 'autovacuum launcher', \
 'autovacuum worker', 'slotsync worker', 'io worker')";

fn server(question: &Question<'_>, on: &Session, facts: &Facts, report: &mut Report) {
    let place = &on.place;
    if !is(facts, "superuser", "true") {
        report.refuse(
            format!("{place}: the login of the rebalancer is not a superuser"),
            "triggers, subscriptions and event triggers need one",
        );
    }
    let version = number(facts, "server_version_num");
    let least = if question.online { ONLINE_VERSION } else { OFFLINE_VERSION };
    if version < least {
        let remedy = match version >= OFFLINE_VERSION {
            true => "move with --mode offline",
            false => "upgrade the server",
        };
        report.refuse(
            format!("{place}: PostgreSQL {} is too old for this", version / 10_000),
            remedy,
        );
    }
    // Subscriptions count as standbys: whoever waits for "any" of them would be answered by one.
    if question.online && facts.get("synchronous_standby_names").is_some_and(|v| v.contains('*')) {
        report.refuse(
            format!("{place}: synchronous_standby_names has a '*', which means the move's, too"),
            "name the standbys",
        );
    }
}

/// It must be the shard that it is taken for, with functions and tables for moves.
async fn shard(
    question: &Question<'_>,
    on: &Session,
    name: &str,
    report: &mut Report,
) -> Result<(), Error> {
    let place = &on.place;
    let map = question.scope.map;
    let wanted = map.shards.iter().position(|known| **known == *name);
    let there = on.value("select pg_catalog.to_regprocedure('pgm.reject_ddl()') is not null");
    if there.await?.as_deref() != Some("t") {
        report.refuse(
            format!("{place}: the schema pgm is missing, or older than this version"),
            "`pgmanifold map init` brings it up",
        );
        return Ok(());
    }
    let rows = on.rows(shard_schema::IDENTIFY).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let number = |at: usize| {
        let text = row.get(at).cloned().flatten();
        text.and_then(|text| text.parse::<usize>().ok())
    };
    if number(1) != usize::try_from(shard_schema::VERSION).ok() {
        report.refuse(
            format!("{place}: the schema pgm has another version than {}", shard_schema::VERSION),
            "`pgmanifold map init` brings it up",
        );
    }
    if number(0).is_none() || number(0) != wanted {
        let says = number(0).map_or("no".to_owned(), |number| number.to_string());
        report.refuse(
            format!("{place}: it says that it is shard {says}, but by the map it is another one"),
            "correct the hosts of the shard in the configuration",
        );
    }
    Ok(())
}

/// They hold up the fence, and online the making of slots of the whole server.
async fn in_doubt(question: &Question<'_>, on: &Session, report: &mut Report) -> Result<(), Error> {
    let here = if question.online { "true" } else { "database = pg_catalog.current_database()" };
    let sql = format!(
        "select gid, database from pg_catalog.pg_prepared_xacts where {here} and prepared < \
         pg_catalog.clock_timestamp() - interval '{IN_DOUBT_SECONDS} s' order by prepared limit 5"
    );
    for row in on.rows(&sql).await? {
        let text = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        report.refuse(
            format!(
                "{}: prepared transaction {} of database {:?} does not end",
                on.place,
                quote_text(&text(0)),
                text(1)
            ),
            "where it is pgmanifold's, a proxy that runs ends it; else commit prepared or \
             rollback prepared by hand",
        );
    }
    Ok(())
}

fn replication(on: &Session, facts: &Facts, report: &mut Report) {
    let place = &on.place;
    if !is(facts, "wal_level", "logical") {
        report.refuse(
            format!("{place}: wal_level is not logical"),
            "alter system set wal_level = logical and restart it, or move with --mode offline",
        );
    }
    let origins = match facts.contains_key("max_active_replication_origins") {
        true => "max_active_replication_origins",
        false => "max_replication_slots",
    };
    // On the way there or back each has a slot and its reader, or a subscription and its worker.
    for (setting, used, what) in [
        ("max_replication_slots", "slots", "replication slot"),
        (origins, "origins", "replication origin"),
        ("max_wal_senders", "senders", "WAL sender"),
        ("max_logical_replication_workers", "appliers", "logical replication worker"),
        ("max_worker_processes", "workers", "worker process"),
    ] {
        let (most, used) = (number(facts, setting), number(facts, used));
        if used >= most {
            report.refuse(
                format!("{place}: no {what} is free ({used} of {most} are used)"),
                format!("raise {setting} and restart it"),
            );
        }
    }
}

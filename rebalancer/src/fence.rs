//! Owns what keeps others from the tables of a move on one shard: guards against TRUNCATE and DDL
//! for its whole time (`guards`), and the fence, which refuses writes to its keys.
//!
//! The fence is triggers with a condition: rows of other keys pass at the price of one hash.
//! Nobody needs to know of it, and no snapshot is too old to see it. It fires before rows are
//! written, so that what has moved on the other shard since is never the reason of another answer.
//! Workers of subscriptions and the rebalancer's own deletions pass.

mod guards;
mod remove;

use crate::blockers::{Attempt, begin, of_tables, was_given_up};
use crate::connect::Session;
use crate::error::Error;
use crate::tables::{MovedTable, Scope};
use pgmanifold_router::ownership::{quote_name, quote_text};
use std::time::Duration;

pub use guards::{remove_guards, set_guards};
pub use remove::{let_down, remove, unfence};

/// Names of the two triggers of the fence.
fn fence_names(id: i64) -> [String; 2] {
    [format!("pgm_fence_{id}_write"), format!("pgm_fence_{id}_delete")]
}

/// One try to refuse writes to the keys. When it is done, every transaction that wrote to the
/// tables before has ended, and the fence is durable. Done again, it changes nothing.
///
/// # Errors
/// What the server says.
pub async fn fence(
    on: &Session,
    scope: Scope<'_>,
    lock_timeout: Duration,
) -> Result<Attempt<()>, Error> {
    if is_fenced(on, scope).await? {
        return Ok(Attempt::Done(()));
    }
    // Whoever locks several of them does it in this order, in one statement.
    let lock = format!(
        "{} lock table {} in share row exclusive mode",
        begin(lock_timeout),
        scope.table_list()
    );
    let create = format!("{}{} commit", forget(scope), triggers(scope));
    attempt(on, scope, &[&lock, &create]).await
}

/// Runs what belongs into one transaction, the first part of which has begun it.
async fn attempt(on: &Session, scope: Scope<'_>, parts: &[&str]) -> Result<Attempt<()>, Error> {
    for part in parts {
        let Err(error) = on.run(part).await else { continue };
        on.run("rollback").await?;
        return match was_given_up(&error) {
            true => Ok(Attempt::Blocked(of_tables(on, scope).await?)),
            false => Err(error),
        };
    }
    Ok(Attempt::Done(()))
}

/// What is left of an earlier fence, which was let down but could not be removed.
fn forget(scope: Scope<'_>) -> String {
    let names = fence_names(scope.id);
    let each = scope.tables.iter().flat_map(|table| {
        let table = table.sql();
        names.iter().map(move |name| format!("drop trigger if exists {name} on {table}; "))
    });
    each.collect()
}

fn triggers(scope: Scope<'_>) -> String {
    let [write, delete] = fence_names(scope.id);
    let each = scope.tables.iter().map(|table| {
        let (name, new, old) =
            (table.sql(), scope.condition(table, "new."), scope.condition(table, "old."));
        let rows = "for each row when";
        let act = "execute function pgm.reject_moved();";
        format!(
            "create trigger {write} before insert or update on {name} {rows} ({new}) {act} \
             create trigger {delete} before update or delete on {name} {rows} ({old}) {act} "
        )
    });
    each.collect()
}

/// Whether all tables refuse writes to the keys, each of their partitions too.
///
/// # Errors
/// What the server says.
pub async fn is_fenced(on: &Session, scope: Scope<'_>) -> Result<bool, Error> {
    let [write, delete] = fence_names(scope.id);
    let tables: Vec<String> = relations(scope).iter().map(|name| quote_text(name)).collect();
    let sql = format!(
        "select pg_catalog.bool_and(2 = (select pg_catalog.count(*) from pg_catalog.pg_trigger t \
          where t.tgrelid = pg_catalog.to_regclass(r.name) and t.tgenabled = 'O' \
           and t.tgname in ('{write}', '{delete}'))) \
         from pg_catalog.unnest(array[{}]::text[]) r(name)",
        tables.join(", ")
    );
    Ok(on.value(&sql).await?.as_deref() == Some("t"))
}

/// Quoted names of the tables and of all their partitions.
fn relations(scope: Scope<'_>) -> Vec<String> {
    let parts = |table: &MovedTable| {
        let mut parts = vec![table.sql()];
        if table.partitioned {
            parts.extend(table.branches.iter().chain(&table.leaves).cloned());
        }
        parts
    };
    scope.tables.iter().flat_map(parts).collect()
}

/// A trigger on a table, quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trigger {
    name: String,
    table: String,
    /// It was made by PostgreSQL, for a partition.
    is_copy: bool,
    enabled: bool,
}

/// Triggers of these names, wherever they are in this database.
async fn triggers_named(on: &Session, names: &[String]) -> Result<Vec<Trigger>, Error> {
    let names: Vec<String> = names.iter().map(|name| quote_text(name)).collect();
    let sql = format!(
        "select t.tgname, n.nspname, c.relname, t.tgparentid <> 0, t.tgenabled <> 'D' \
         from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where t.tgname in ({}) order by n.nspname, c.relname, t.tgname",
        names.join(", ")
    );
    let rows = on.rows(&sql).await?;
    let read = |row: &Vec<Option<String>>| {
        let text = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        Trigger {
            name: quote_name(&text(0)),
            table: crate::tables::qualified(&text(1), &text(2)),
            is_copy: text(3) == "t",
            enabled: text(4) == "t",
        }
    };
    Ok(rows.iter().map(read).collect())
}

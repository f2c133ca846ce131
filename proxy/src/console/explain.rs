//! Owns EXPLAIN ROUTE: what a statement would do and where, as rows. It runs nothing.

use crate::cluster::Cluster;
use crate::pool::manager::Running;
use crate::routing::{Explanation, OnShards, Question, Reach, Verdict, explain};
use crate::server::Shared;
use crate::wire::error::SqlError;
use pgmanifold_console::answer::{Answer, OutColumn};
use pgmanifold_console::value::{Kind, Row};
use pgmanifold_router::lexer::Dialect;
use pgmanifold_router::route::{Route, Target};
use pgmanifold_router::shard_map::{ShardId, ShardMap};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Answers `EXPLAIN ROUTE [FOR database [AS user]] sql`. Routes do not depend on the user, who only
/// has to exist.
///
/// # Errors
/// There is no such database or user, or none is named and there are several.
pub(super) fn explain_route(
    shared: &Arc<Shared>,
    sql: &str,
    database: Option<&str>,
    user: Option<&str>,
) -> Result<Answer, SqlError> {
    let state = shared.state();
    let running = state.running();
    let database = find(&running, database)?;
    if let Some(user) = user
        && !state.config.users.iter().any(|known| known.name == user)
    {
        return Err(SqlError::error("42704", format!("there is no user \"{user}\"")));
    }
    let map = database.sharded.as_ref().map(|sharded| sharded.map()).transpose()?;
    let facts = database.facts.facts();
    let question = Question {
        database: &database.database,
        facts: &facts,
        settled: database.facts.is_settled(),
        map: map.as_deref(),
    };
    let explained = explain(sql.as_bytes(), &question, Dialect::default());
    Ok(Answer {
        columns: explain_columns(),
        rows: rows(&explained, database, map.as_deref()),
        tag: "EXPLAIN".into(),
    })
}

/// The columns of the answer.
pub(super) fn explain_columns() -> Vec<OutColumn> {
    ["item", "value"].map(|name| OutColumn { name: name.into(), kind: Kind::Text }).into()
}

fn find<'a>(running: &'a [Running], name: Option<&str>) -> Result<&'a Running, SqlError> {
    match (name, running) {
        (Some(name), all) => all
            .iter()
            .find(|known| known.database.name == name)
            .ok_or_else(|| SqlError::error("3D000", format!("there is no database \"{name}\""))),
        (None, [only]) => Ok(only),
        (None, all) => {
            let names: Vec<&str> = all.iter().map(|known| known.database.name.as_str()).collect();
            Err(SqlError::error("22023", "there are several databases")
                .detail(format!("Databases: {}.", names.join(", ")))
                .hint("Write EXPLAIN ROUTE FOR database sql."))
        }
    }
}

fn rows(explained: &Explanation, database: &Running, map: Option<&ShardMap>) -> Vec<Row> {
    let mut rows = Rows::default();
    rows.add("database", database.database.name.as_str());
    rows.add("effect", explained.effect.as_str());
    match &explained.verdict {
        Verdict::Refused(error) => rows.refusal(error),
        Verdict::Local(reason) => {
            rows.add("route", "local");
            rows.add("target", "none");
            rows.add("reason", reason.as_str());
        }
        Verdict::Runs { route, shards } => {
            rows.route(route, shards.as_ref());
            if let Some((shards, map)) = shards.as_ref().zip(map) {
                rows.shards(shards, map);
            }
            rows.hosts(route.target, shards.as_ref(), database);
        }
    }
    if let Some(reason) = explained.keeps_server {
        rows.add("keeps_server", reason);
    }
    rows.0
}

/// One fact in each row.
#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn add(&mut self, item: &str, value: impl Into<String>) {
        self.0.push(vec![item.into(), value.into().into()]);
    }

    fn refusal(&mut self, error: &SqlError) {
        self.add("route", "refused");
        self.add("target", "none");
        self.add("reason", error.message.as_ref());
        self.add("sqlstate", error.sqlstate.as_ref());
        for (item, text) in [("detail", &error.detail), ("hint", &error.hint)] {
            if let Some(text) = text {
                self.add(item, text.as_ref());
            }
        }
        if let Some(construct) = &error.routine {
            self.add("construct", **construct);
        }
    }

    fn route(&mut self, route: &Route, shards: Option<&OnShards>) {
        let several = shards.is_some_and(|shards| {
            matches!(shards.reach, Reach::Several(_) | Reach::AtMost(..) | Reach::CopyIn)
        });
        self.add("route", if several { "scatter" } else { "single" });
        self.add("target", route.target.as_str());
        self.add("reason", route.reason.as_ref());
    }

    fn shards(&mut self, found: &OnShards, map: &ShardMap) {
        let names = |shards: &[ShardId]| -> String {
            let names: Vec<&str> = shards.iter().map(|shard| map.name(*shard)).collect();
            names.join(",")
        };
        let parameters = |numbers: &BTreeSet<u16>| -> String {
            let names: Vec<String> = numbers.iter().map(|number| format!("${number}")).collect();
            names.join(", ")
        };
        let shards = match &found.reach {
            Reach::One(shard) => names(&[*shard]),
            Reach::ByValue(numbers) => format!("one, by {}", parameters(numbers)),
            Reach::Any => "any one".to_owned(),
            Reach::Several(shards) => names(shards),
            Reach::AtMost(shards, numbers) => {
                format!("at most {}, by {}", names(shards), parameters(numbers))
            }
            Reach::CopyIn => "those that the keys of the rows name".to_owned(),
            Reach::Participants => "those that take part in the transaction".to_owned(),
            Reach::Cursor => "the one where the cursor was declared".to_owned(),
        };
        self.add("shards", shards);
        self.add("placing", found.placing.as_str());
        if let Some(merge) = found.merge {
            self.add("merge", merge);
        }
        for part in &found.parts {
            self.add("sent", format!("{}: {}", names(&part.shards), part.sql));
        }
    }

    /// The servers that could be taken now.
    fn hosts(&mut self, target: Target, shards: Option<&OnShards>, database: &Running) {
        let wanted: Option<&[ShardId]> = match shards.map(|shards| &shards.reach) {
            Some(Reach::One(shard)) => Some(std::slice::from_ref(shard)),
            Some(Reach::Several(shards)) => Some(shards),
            // Which it will be is not known; all are shown.
            Some(_) | None => None,
        };
        for (index, cluster) in database.clusters.iter().enumerate() {
            if wanted.is_none_or(|shards| shards.iter().any(|s| usize::from(s.0) == index)) {
                let hosts = candidates(cluster, target);
                self.add("hosts", format!("{}: {hosts}", cluster.shard().name));
            }
        }
    }
}

fn candidates(cluster: &Cluster, target: Target) -> String {
    let address = |index: usize| {
        cluster.hosts().get(index).map(|host| host.host.address.to_string()).unwrap_or_default()
    };
    let primary = || match cluster.primary() {
        Ok(index) => format!("{} (primary)", address(index)),
        Err(error) => format!("none ({})", error.message),
    };
    if target == Target::Primary {
        return primary();
    }
    let usable = (0..cluster.hosts().len()).filter(|index| cluster.is_usable(*index));
    let replicas: Vec<String> = usable.map(address).collect();
    match (replicas.is_empty(), target) {
        (false, _) => format!("{} (replica)", replicas.join(", ")),
        (true, Target::ReplicaOnly) => "none (no replica can be read from)".to_owned(),
        (true, _) => primary(),
    }
}

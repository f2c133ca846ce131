//! Owns queries: where a SELECT, VALUES, TABLE or WITH … SELECT goes, and how it is spread when
//! that is several shards.

use super::conditions::{self, Reader};
use super::levels::{Levels, Rows};
use super::named::Refused;
use super::query::{self, Body, Misread, Query, Select};
use super::{Catalog, Limits, Merge, Part, Placing, Refusal, Spread, Values, finish, unsharded};
use crate::plan::{Effect, Plan};
use crate::planner::Text;
use crate::shard_map::ShardId;
use edit::Edits;
use std::ops::Range;

mod edit;
mod limits;
mod order;
mod types;

/// Where a query goes, whatever its values are.
pub(super) fn place(
    text: &Text<'_>,
    at: Range<usize>,
    plan: &Plan,
    catalog: Catalog<'_>,
) -> Refused<Placing> {
    let query = match query::read(text, at.clone()) {
        Ok(query) => query,
        Err(misread) => {
            return unsharded::place(text, at, catalog, "query")
                .map_err(|r| explained(text, *r, misread));
        }
    };
    let literals = conditions::literals(text);
    let mut levels = Levels::new(catalog, Reader::new(text, &literals));
    levels.query(&query, None);
    levels.functions(query.at.clone());
    if let Some(refusal) = levels.refusal {
        return Err(refusal);
    }
    if !levels.sharded {
        return unkeyed(&levels, plan, catalog);
    }
    if let Some(name) = &levels.unknown {
        return Err(unknown_relation(name));
    }
    if let Body::Select(select) = &query.body
        && select.into
    {
        let refusal = Refusal::new("select-into", "a table cannot be made of sharded rows")
            .detail("SELECT INTO would make a table on each shard.")
            .hint("Create the table, add it to the shard map, and fill it by COPY or INSERT.");
        return Err(Box::new(refusal));
    }
    let filters = levels.references.filters();
    let distribution = filters.first().map_or(0, |filter| filter.distribution);
    let writes = plan.effect != Effect::Read && plan.effect != Effect::Transaction;
    Ok(Placing::Keyed { distribution, filters, also: levels.also, writes })
}

/// Where the rows of a table named by these tokens are read; `None` when they are no name.
pub(super) fn place_table(
    text: &Text<'_>,
    at: Range<usize>,
    catalog: Catalog<'_>,
) -> Option<Refused<Placing>> {
    let items = query::from_items(text, at, 0, &mut Vec::new()).ok()?;
    let [query::From::Relation(relation)] = items.as_slice() else { return None };
    if relation.alias.is_some() || relation.sampled {
        return None;
    }
    let literals = conditions::literals(text);
    let mut levels = Levels::new(catalog, Reader::new(text, &literals));
    levels.table(relation);
    if let Some(refusal) = levels.refusal {
        return Some(Err(refusal));
    }
    if !levels.sharded {
        return Some(match levels.also.as_slice() {
            [shard] => Ok(Placing::On(*shard)),
            _ => Ok(Placing::On(catalog.map.home)),
        });
    }
    let filters = levels.references.filters();
    let distribution = filters.first().map_or(0, |filter| filter.distribution);
    Some(Ok(Placing::Keyed { distribution, filters, also: levels.also, writes: false }))
}

fn unkeyed(levels: &Levels<'_>, plan: &Plan, catalog: Catalog<'_>) -> Refused<Placing> {
    match levels.also.as_slice() {
        [] if plan.effect == Effect::Read => Ok(Placing::Anywhere),
        [] => Ok(Placing::On(catalog.map.home)),
        [shard] => Ok(Placing::On(*shard)),
        _ => {
            let refusal = Refusal::new("table-of-one-shard", "tables of different shards are read")
                .detail("Each of them lives on one shard, and not all on the same.")
                .hint("Read them in statements of their own.");
            Err(Box::new(refusal))
        }
    }
}

fn explained(text: &Text<'_>, refusal: Refusal, misread: Misread) -> Box<Refusal> {
    let near = String::from_utf8_lossy(text.raw(misread.at)).into_owned();
    let detail = match near.is_empty() {
        true => format!("It was not understood: {}.", misread.what),
        false => format!("It was not understood: {}, near \"{near}\".", misread.what),
    };
    Box::new(Refusal { detail: Some(detail.into()), ..refusal })
}

fn unknown_relation(name: &str) -> Box<Refusal> {
    let refusal = Refusal::new("unknown-relation", format!("relation \"{name}\" is not known"))
        .detail("A statement with sharded tables may only name relations that are known.")
        .hint("If it was made a moment ago, try again.");
    Box::new(refusal)
}

/// What each shard is sent of the query at these tokens; what stands around it stays.
pub(super) fn spread(
    text: &Text<'_>,
    at: Range<usize>,
    placing: &Placing,
    shards: &[ShardId],
    catalog: Catalog<'_>,
    values: &Values<'_>,
) -> Refused<Spread> {
    let Placing::Keyed { also, writes, .. } = placing else {
        return Err(refused("statement", "It needs several shards.", ""));
    };
    let query =
        query::read(text, at.clone()).map_err(|misread| refused("query", misread.what, ""))?;
    if !also.is_empty() {
        let hint = "Make it a reference table, or read it in a statement of its own.";
        return Err(refused(
            "table-of-one-shard",
            "It names a table that lives on one shard.",
            hint,
        ));
    }
    check_words(text, at.clone(), catalog)?;
    let literals = conditions::literals(text);
    let mut levels = Levels::new(catalog, Reader::new(text, &literals));
    let level = levels.query(&query, None);
    if levels.sampled {
        return Err(refused("tablesample", "It takes a sample of a sharded table.", ""));
    }
    let answer = Answer { text, levels: &levels, query: &query, values };
    let (sql, parameters, merge) = match &query.body {
        Body::Select(select) => answer.select(select, at)?,
        _ => answer.united(&level.rows, at)?,
    };
    let part =
        |shard: &ShardId| Part { shard: *shard, sql: sql.clone(), parameters: parameters.clone() };
    Ok(Spread {
        parts: shards.iter().map(part).collect(),
        merge,
        writes: *writes,
        original: values.sql.to_vec(),
    })
}

/// The refusal of something that is only right on one shard.
pub(super) fn refused(construct: &'static str, why: &str, hint: &'static str) -> Box<Refusal> {
    let hint = match hint {
        "" => {
            "Restrict the statement to one shard by a condition on the shard key, or compute this \
               part in the application."
        }
        hint => hint,
    };
    let refusal = Refusal::new(construct, "the statement cannot be answered over several shards")
        .detail(why.to_string())
        .hint(hint);
    Box::new(refusal)
}

/// System columns, whose values are a server's own, and types whose values are its OIDs.
const LOCAL_NAMES: [&str; 17] = [
    "ctid",
    "tableoid",
    "xmin",
    "xmax",
    "cmin",
    "cmax",
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

fn check_words(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<()> {
    if let Some(call) = catalog.spread_call(text, at.clone()) {
        return Err(refused("function", &format!("The function {call}."), ""));
    }
    if let Some(reason) = catalog.facts.everywhere() {
        return Err(refused("function", &format!("Anything may write: {reason}."), ""));
    }
    for here in at {
        if text.is_foreign_name(here) {
            return Err(refused("name", "It has a name that cannot be compared.", ""));
        }
        let name = text.name(here).filter(|_| text.is_identifier(here));
        if let Some(name) = name.filter(|name| LOCAL_NAMES.contains(&&**name)) {
            let why = format!("\"{name}\" is different on every server.");
            return Err(refused("system-column", &why, ""));
        }
        let symbol = std::str::from_utf8(text.raw(here)).unwrap_or_default();
        if text.is_kind(here, crate::lexer::TokenKind::Operator)
            && let Some(reason) = catalog.facts.operator(symbol)
        {
            return Err(refused("operator", &format!("{reason}."), ""));
        }
    }
    Ok(())
}

/// A text for every shard, its parameters, and what becomes of the answers.
type Sent = (Vec<u8>, Option<Vec<u16>>, Merge);

/// A query that several shards answer.
struct Answer<'s, 'a> {
    text: &'s Text<'s>,
    levels: &'s Levels<'a>,
    query: &'s Query,
    values: &'s Values<'s>,
}

impl Answer<'_, '_> {
    fn select(&self, select: &Select, at: Range<usize>) -> Refused<Sent> {
        let block = self.levels.blocks.iter().find(|block| block.at == select.at.start);
        let Some(block) = block else { return Err(refused("query", "It was not understood.", "")) };
        if let Rows::Whole(what, why) = &block.rows {
            return Err(refused(what, why, ""));
        }
        match block.level_rows() {
            Rows::Spread { .. } => self.streamed(select, block.scope, at),
            Rows::Same => Err(refused("query", "It reads no sharded rows.", "")),
            Rows::Whole(..) => self.finished(at),
        }
    }

    /// Rows of all shards as they come, or in their order.
    fn streamed(&self, select: &Select, scope: usize, at: Range<usize>) -> Refused<Sent> {
        let limits = match self.limits() {
            Ok(limits) => limits,
            // A server counts what is computed, and ties.
            Err(refusal) if matches!(refusal.construct, "limit-expression" | "with-ties") => {
                return self.finished(at).map_err(|_| refusal);
            }
            Err(refusal) => return Err(refusal),
        };
        let mut edits = Edits::default();
        limits::edit(self.text, self.query, limits, &mut edits);
        if self.query.order_by.is_empty() {
            let (sql, parameters) = edits.apply(self.text, self.values);
            return Ok((sql, parameters, Merge::Concat { limits }));
        }
        if select.distinct == query::Distinct::Rows {
            return self.finished(at);
        }
        let order = order::read(self.levels, self.query, select, scope)?;
        if order.needs_server
            && let Ok(sent) = self.finished(at.clone())
        {
            return Ok(sent);
        }
        if order.is_unfit {
            return self.finished(at);
        }
        edits.insert_after(
            select.targets_at.end.saturating_sub(1),
            format!(
                "{} pg_catalog.encode(pg_catalog.record_send(row({})), 'hex')",
                if select.targets_at.is_empty() { "" } else { "," },
                order.expressions.join(", ")
            ),
        );
        let (sql, parameters) = edits.apply(self.text, self.values);
        Ok((sql, parameters, Merge::Ordered { keys: order.keys, limits }))
    }

    /// What a server has to finish.
    fn finished(&self, at: Range<usize>) -> Refused<Sent> {
        let limit = self.limits().ok().filter(|_| !self.query.order_by.is_empty());
        let limit = limit.filter(|_| !self.gives_sets());
        let limit = limit.and_then(|limits| limits.limit?.checked_add(limits.offset));
        let schema = self.levels.catalog.facts.schema();
        let finished = finish::finish(self.text, self.query, schema, limit)?;
        let mut sql = edit::before(self.text, at.start).to_vec();
        sql.extend(finished.part);
        Ok((sql, Some(finished.parameters), finished.merge))
    }

    /// Some function in the target list may make several rows, or none, of one.
    fn gives_sets(&self) -> bool {
        let Body::Select(select) = &self.query.body else { return true };
        select.targets_at.clone().any(|at| {
            let name = self.text.name(at).filter(|_| self.text.is_identifier(at));
            name.is_some_and(|name| {
                types::is_set_returning(&name)
                    || self.levels.catalog.facts.schema().mentions(&name).is_some()
            })
        })
    }

    /// `TABLE t`, and UNION ALL.
    fn united(&self, rows: &Rows, at: Range<usize>) -> Refused<Sent> {
        let _ = at;
        // LIMIT of the whole is the merge's; the level says so only for what is inside.
        let (rows, limits) = match (rows, self.query.limit.is_some() || self.query.offset.is_some())
        {
            (Rows::Whole("limit", _), true) => (&self.levels.united_rows, self.limits()?),
            _ => (rows, Limits::default()),
        };
        match rows {
            Rows::Whole(what, why) => return Err(refused(what, why, "")),
            Rows::Same => return Err(refused("query", "It reads no sharded rows.", "")),
            Rows::Spread { .. } => {}
        }
        if !self.query.order_by.is_empty() {
            let why = "It has ORDER BY over several queries or TABLE.";
            return Err(refused("set-operation", why, ""));
        }
        let mut edits = Edits::default();
        limits::edit(self.text, self.query, limits, &mut edits);
        let (sql, parameters) = edits.apply(self.text, self.values);
        Ok((sql, parameters, Merge::Concat { limits }))
    }

    fn limits(&self) -> Refused<Limits> {
        limits::read(self.levels.reader, self.query, self.values)
    }
}

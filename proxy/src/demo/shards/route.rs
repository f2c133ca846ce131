//! Owns what pgmanifold itself says of a statement: the same three steps a session takes, on the
//! running proxy's own map and facts. It sends nothing.

use super::super::inlet::{DATABASE, Inlet};
use pgmanifold_router::lexer::{Dialect, Lexer, Token};
use pgmanifold_router::planner;
use pgmanifold_router::shard_map::{ShardId, ShardMap};
use pgmanifold_router::sharding::{self, Catalog, Choice, Merge, Placing, Refusal, Values};

/// What was said.
pub(super) struct Route {
    /// Shards it needs, by index; one of them will do where `any` is set.
    pub(super) shards: Vec<usize>,
    /// Any one of the shards will do.
    pub(super) any: bool,
    /// How the answer is made, in words.
    pub(super) how: String,
}

/// Asks for the route of a text.
///
/// # Errors
/// The refusal, in words.
pub(super) fn of(inlet: &Inlet, sql: &str) -> Result<Route, String> {
    let shared = inlet.proxy.shared();
    let state = shared.state();
    let (Some(database), Some(user)) = (state.sharded().next(), state.config.users.first()) else {
        return Err("the proxy has no sharded database".into());
    };
    let map = database.map().map_err(|error| error.to_string())?;
    let pools = shared.user_pools(DATABASE, user).ok_or("the proxy has no pools")?;
    let facts = pools.facts.facts();
    let catalog = Catalog { map: &map, facts: &facts };
    let dialect = Dialect::default();
    let plan = planner::plan(sql.as_bytes(), &facts, dialect);
    let placing = sharding::place(sql.as_bytes(), &plan, catalog, dialect);
    let literals = literals(sql, dialect);
    let values = Values { sql: sql.as_bytes(), literals: &literals, dialect, bound: None };
    if let Placing::Refused(refusal) = &placing {
        return Err(words(refusal));
    }
    let choice = sharding::choose(&placing, &map, &values).map_err(|refusal| words(&refusal))?;
    let one = |shard: ShardId, how: &str| {
        Ok(Route { shards: vec![usize::from(shard.0)], any: false, how: how.into() })
    };
    match choice {
        Choice::One(shard) if matches!(placing, Placing::On(_)) => {
            one(shard, "as it is: the table lives there")
        }
        Choice::One(shard) => one(shard, "as it is"),
        Choice::Any | Choice::None => {
            let shards = (0..map.shards.len()).collect();
            Ok(Route { shards, any: true, how: "as it is: a copy is everywhere".into() })
        }
        Choice::Several(shards) => {
            let spread = sharding::spread(&placing, &shards, catalog, &values)
                .map_err(|refusal| words(&refusal))?;
            let shards = shards.iter().map(|shard| usize::from(shard.0)).collect();
            let how = merged(&spread.merge, spread.writes, &map);
            Ok(Route { shards, any: false, how })
        }
    }
}

fn literals(sql: &str, dialect: Dialect) -> Vec<Token> {
    let Ok(mut lexer) = Lexer::new(sql.as_bytes(), dialect) else { return Vec::new() };
    let tokens = std::iter::from_fn(|| lexer.next_token().ok().flatten());
    tokens.filter(|token| token.kind.is_literal()).collect()
}

fn merged(merge: &Merge, writes: bool, map: &ShardMap) -> String {
    let how = match merge {
        Merge::Concat { .. } => "rows of both, as they come".to_owned(),
        Merge::Ordered { limits, .. } => match limits.limit {
            Some(limit) => format!("rows of both merged in order, the first {limit}"),
            None => "rows of both merged in order".to_owned(),
        },
        Merge::Finish { columns, .. } => {
            format!("partial rows of {} columns, finished by a server", columns.len())
        }
        Merge::Sum => "counts added".to_owned(),
        Merge::InputOrder(_) => "rows in the order of the input".to_owned(),
        Merge::Same => format!("the same on all {} shards", map.shards.len()),
        Merge::Headed | Merge::CopyOut { .. } => merge.to_string(),
    };
    if writes { format!("{how}; all or nothing") } else { how }
}

fn words(refusal: &Refusal) -> String {
    format!("refused: {}", refusal.construct)
}

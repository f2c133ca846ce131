//! Owns what a statement's text alone decides of its way: what refuses it whatever the session is,
//! which shard it asks for by name or key, and how a refusal of the router's looks to a client.
//! Sessions, `pgmanifold route` and EXPLAIN ROUTE share it, so that none says what another does not
//! do. It knows no servers and sends nothing.

mod explain;

pub(crate) use explain::is_single_shard;
pub use explain::{Explanation, OnShards, Part, Question, Reach, Verdict, explain};

use crate::config::model::PoolMode;
use crate::wire::error::SqlError;
use pgmanifold_router::key::KeyValue;
use pgmanifold_router::lexer::{Dialect, Lexer, Token};
use pgmanifold_router::plan::Plan;
use pgmanifold_router::planner::is_custom_name;
use pgmanifold_router::shard_map::{DistributionKind, ShardId, ShardMap};
use pgmanifold_router::sharding::Refusal;

/// What must not run at all, whatever the session and the server are.
pub(crate) fn refusal(plan: &Plan, has_shards: bool, mode: PoolMode) -> Option<SqlError> {
    if let Some(problem) = &plan.hint_error {
        return Some(
            SqlError::error("22023", format!("invalid pgm hint: {problem}"))
                .hint("See docs/routing.md for the hints and their values."),
        );
    }
    if plan.misplaced_local {
        return Some(
            SqlError::error("0A000", "pgm settings cannot be mixed with other statements")
                .hint("Send SET, RESET or SHOW pgm.* as a query of its own."),
        );
    }
    if !has_shards && (plan.hints.shard.is_some() || plan.hints.key.is_some()) {
        return Some(
            SqlError::error("22023", "the database has no shards")
                .hint("Leave out the hints shard and key."),
        );
    }
    let spans = plan.has_transaction_control || plan.transaction.is_some();
    if mode == PoolMode::Statement && (spans || plan.session.pin.is_some()) {
        return Some(
            SqlError::error("0A000", "not possible with statement pooling")
                .detail("Transactions and session state need more than one statement.")
                .hint("Use a database with pool_mode = \"transaction\"."),
        );
    }
    None
}

/// The shard of this name.
///
/// # Errors
/// There is none.
pub(crate) fn shard_named(map: &ShardMap, name: &str) -> Result<ShardId, SqlError> {
    let found = map.shards.iter().position(|known| **known == *name);
    match found.and_then(|index| u16::try_from(index).ok()) {
        Some(index) => Ok(ShardId(index)),
        None => Err(SqlError::error("22023", format!("there is no shard \"{name}\""))
            .hint(format!("Shards: {}.", map.shards.join(", ")))),
    }
}

/// The shard of a key given as `distribution:value`, or as the value alone where only one
/// distribution has keys.
///
/// # Errors
/// It is not a key, or nobody has it.
pub(crate) fn shard_of_key(map: &ShardMap, key: &str) -> Result<ShardId, SqlError> {
    let keyed = |kind| !matches!(kind, DistributionKind::Reference | DistributionKind::Single);
    let named = key.split_once(':').and_then(|(name, value)| {
        let found = map.distributions.iter().position(|known| *known.name == *name)?;
        Some((found, value))
    });
    let mut candidates = map.distributions.iter().enumerate().filter(|(_, d)| keyed(d.kind));
    let (index, value) = match (named, candidates.next(), candidates.next()) {
        (Some(named), ..) => named,
        (None, Some((only, _)), None) => (only, key),
        _ => {
            let names: Vec<&str> = map.distributions.iter().map(|known| &*known.name).collect();
            return Err(SqlError::error("22023", "the key does not name its distribution")
                .hint(format!("Write distribution:key. Distributions: {}.", names.join(", "))));
        }
    };
    let bad = |message: String| SqlError::error("22023", message);
    let Some(distribution) = map.distributions.get(index).filter(|known| keyed(known.kind)) else {
        return Err(bad("this distribution has no keys".into()));
    };
    let [ty] = *distribution.key_types.as_slice() else {
        return Err(bad("a key of several columns cannot be given as text".into()));
    };
    let value = KeyValue::from_text(ty, value)
        .ok_or_else(|| bad(format!("invalid key for type {ty}: \"{value}\"")))?;
    map.shard_of(index, &[value]).ok_or_else(|| SqlError::error("PGM04", "no shard has this key"))
}

/// A refusal of the router's as the client sees it.
pub(crate) fn refused(refusal: &Refusal) -> SqlError {
    SqlError {
        detail: refusal.detail.clone(),
        hint: refusal.hint.clone(),
        routine: Some(Box::new(refusal.construct)),
        ..SqlError::error(refusal.sqlstate, refusal.message.clone())
    }
}

/// Several statements of one text would need several shards.
pub(crate) fn several_refused() -> SqlError {
    SqlError::refused(
        "several-statements",
        "several statements in one text cannot run on several shards",
    )
    .hint("Send each statement as a query of its own, in a transaction if need be.")
}

/// The statement sets parameters, for the session or the transaction.
pub(crate) fn changes_settings(plan: &Plan) -> bool {
    let session = &plan.session;
    let own = |name: &str| is_custom_name(name);
    session.settings
        || session.local_settings
        || session.names_bound
        || session.setting_names.iter().any(|name| own(name))
}

/// All literal tokens of a text; what cannot be read has none.
pub(crate) fn literals(text: &[u8], dialect: Dialect) -> Vec<Token> {
    let mut found = Vec::new();
    let Ok(mut lexer) = Lexer::new(text, dialect) else { return found };
    while let Ok(Some(token)) = lexer.next_token() {
        if token.kind.is_literal() {
            found.push(token);
        }
    }
    found
}

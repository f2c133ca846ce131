//! Owns the explanation of a statement's way without running it: what it does, which kind of server
//! it runs on and why, which shards it needs and how their answers become one, or why it is refused.

use super::{
    changes_settings, literals, refusal, refused, several_refused, shard_named, shard_of_key,
};
use crate::config::model::{Database, PoolMode};
use crate::wire::error::SqlError;
use pgmanifold_router::facts::Facts;
use pgmanifold_router::lexer::{Dialect, Lexer, TokenKind};
use pgmanifold_router::plan::{Effect, Plan};
use pgmanifold_router::planner;
use pgmanifold_router::route::{Route, SessionView, Target, route};
use pgmanifold_router::shard_map::{ShardId, ShardMap};
use pgmanifold_router::sharding::{
    self, Catalog, Choice, Condition, Merge, Operand, Placing, Spread, Values,
};
use std::collections::BTreeSet;

/// What the explanation depends on beside the text.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Whose settings hold.
    pub database: &'a Database,
    /// What its catalog says.
    pub facts: &'a Facts,
    /// No DDL was seen since these facts were loaded.
    pub settled: bool,
    /// Its shard map, when it is sharded.
    pub map: Option<&'a ShardMap>,
}

/// What a statement would do.
#[derive(Debug)]
pub struct Explanation {
    /// What its text does.
    pub effect: Effect,
    /// Why the session would keep its server afterwards.
    pub keeps_server: Option<&'static str>,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What becomes of a statement.
#[derive(Debug)]
pub enum Verdict {
    /// The client gets this error.
    Refused(SqlError),
    /// No server sees it; why.
    Local(String),
    /// It runs.
    Runs {
        /// On which kind of server.
        route: Route,
        /// On which shards, when the database has several.
        shards: Option<OnShards>,
    },
}

/// How a statement meets the shards.
#[derive(Debug)]
pub struct OnShards {
    /// How many, and what decides.
    pub reach: Reach,
    /// What the router reads in it.
    pub placing: String,
    /// How the answers become one; `None` when there is one answer only.
    pub merge: Option<&'static str>,
    /// What is sent where, when that differs from the text.
    pub parts: Vec<Part>,
}

/// What some shards are sent.
#[derive(Debug)]
pub struct Part {
    /// The shards.
    pub shards: Vec<ShardId>,
    /// The text.
    pub sql: String,
}

/// Which shards a statement needs.
#[derive(Debug, PartialEq, Eq)]
pub enum Reach {
    /// This one.
    One(ShardId),
    /// One, as the values of these parameters say.
    ByValue(BTreeSet<u16>),
    /// Any one: all answer the same.
    Any,
    /// All of these.
    Several(Vec<ShardId>),
    /// At most these; which, the values of these parameters say.
    AtMost(Vec<ShardId>, BTreeSet<u16>),
    /// The rows of a COPY go where their keys say.
    CopyIn,
    /// Every shard that takes part in the transaction.
    Participants,
    /// The shard where the cursor was declared.
    Cursor,
}

/// Explains one text.
pub fn explain(sql: &[u8], question: &Question<'_>, dialect: Dialect) -> Explanation {
    let plan = planner::plan(sql, question.facts, dialect);
    let verdict = verdict(sql, &plan, question, dialect);
    let keeps_server = plan.session.pin.map(|reason| reason.as_str());
    Explanation { effect: plan.effect, keeps_server, verdict }
}

/// Whether the text needs one shard, whatever its values are.
pub(crate) fn is_single_shard(sql: &[u8], facts: &Facts, map: &ShardMap) -> bool {
    let dialect = Dialect::default();
    let plan = planner::plan(sql, facts, dialect);
    let found = on_shards(sql, &plan, Catalog { map, facts }, dialect);
    found.is_ok_and(|found| matches!(found.reach, Reach::One(_) | Reach::ByValue(_)))
}

fn verdict(sql: &[u8], plan: &Plan, question: &Question<'_>, dialect: Dialect) -> Verdict {
    let Question { database, facts, settled, map } = *question;
    if let Some(error) = refusal(plan, map.is_some(), database.pool_mode) {
        return Verdict::Refused(error);
    }
    if plan.local.as_ref().is_some_and(|command| !command.is_by_name()) {
        return Verdict::Local(plan.reason.to_string());
    }
    let shards = match map.map(|map| on_shards(sql, plan, Catalog { map, facts }, dialect)) {
        Some(Err(error)) => return Verdict::Refused(error),
        Some(Ok(shards)) => Some(shards),
        None => None,
    };
    let split_reads = database.read_replicas && database.pool_mode != PoolMode::Session;
    let route = match settled {
        true => route(plan, SessionView { split_reads, ..SessionView::default() }),
        false => {
            let reason = "the catalog is being read again after DDL".into();
            Route { target: Target::Primary, reason }
        }
    };
    Verdict::Runs { route, shards }
}

fn on_shards(
    sql: &[u8],
    plan: &Plan,
    catalog: Catalog<'_>,
    dialect: Dialect,
) -> Result<OnShards, SqlError> {
    let (map, hints) = (catalog.map, &plan.hints);
    let asked = match (&hints.shard, &hints.key) {
        (Some(name), _) => Some(shard_named(map, name)?),
        (None, Some(key)) => Some(shard_of_key(map, key)?),
        (None, None) => None,
    };
    let one = |shard, placing: &str| OnShards {
        reach: Reach::One(shard),
        placing: placing.to_owned(),
        merge: None,
        parts: Vec::new(),
    };
    if let Some(shard) = asked {
        return Ok(one(shard, "asked for by a hint"));
    }
    if plan.statements == 0 {
        return Ok(one(map.home, "empty query"));
    }
    let placing = sharding::place(sql, plan, catalog, dialect);
    let literals = literals(sql, dialect);
    let values = Values { sql, literals: &literals, dialect, bound: None };
    let reach = reach(&placing, plan, map, &values)?;
    let mut found =
        OnShards { reach, placing: placing.to_string(), merge: None, parts: Vec::new() };
    let several = match &found.reach {
        Reach::Several(shards) | Reach::AtMost(shards, _) => shards,
        _ => return Ok(found),
    };
    if plan.statements > 1 {
        return Err(several_refused());
    }
    match sharding::spread(&placing, several, catalog, &values) {
        Ok(spread) => {
            found.merge = Some(merge_word(&spread.merge));
            found.parts = parts(&spread);
        }
        // Only the values of parameters tell how the answers become one.
        Err(_) if !parameters(sql, dialect).is_empty() => {}
        Err(refusal) => return Err(refused(&refusal)),
    }
    Ok(found)
}

fn reach(
    placing: &Placing,
    plan: &Plan,
    map: &ShardMap,
    values: &Values<'_>,
) -> Result<Reach, SqlError> {
    match placing {
        Placing::Refused(refusal) => return Err(refused(refusal)),
        Placing::CopyIn => return Ok(Reach::CopyIn),
        Placing::Transaction | Placing::Session => return Ok(Reach::Participants),
        Placing::Anywhere if changes_settings(plan) => return Ok(Reach::Participants),
        Placing::Cursor => return Ok(Reach::Cursor),
        Placing::On(_)
        | Placing::Anywhere
        | Placing::Keyed { .. }
        | Placing::Rows { .. }
        | Placing::Everywhere { .. } => {}
    }
    let deciding = match (deciding(placing, map), placing) {
        (Deciding::One(parameters), _) => return Ok(Reach::ByValue(parameters)),
        (Deciding::Some(parameters), Placing::Rows { distribution, .. }) => {
            return Ok(Reach::AtMost(map.shards_with(*distribution), parameters));
        }
        (deciding, _) => deciding,
    };
    Ok(match sharding::choose(placing, map, values).map_err(|refusal| refused(&refusal))? {
        Choice::One(shard) => Reach::One(shard),
        Choice::Any | Choice::None => Reach::Any,
        Choice::Several(shards) => match (shards.as_slice(), deciding) {
            ([one], _) => Reach::One(*one),
            (_, Deciding::Some(parameters)) => Reach::AtMost(shards, parameters),
            (..) => Reach::Several(shards),
        },
    })
}

/// Which parameters decide on shards.
#[derive(Debug, PartialEq, Eq)]
enum Deciding {
    /// None.
    Nothing,
    /// These, together with the text, name one key: it is one shard, whatever they are.
    One(BTreeSet<u16>),
    /// These do, and it may be several shards.
    Some(BTreeSet<u16>),
}

fn deciding(placing: &Placing, map: &ShardMap) -> Deciding {
    let mut found = BTreeSet::new();
    let mut note = |operand: &Operand| {
        if let Operand::Parameter(number) = operand {
            found.insert(*number);
        }
    };
    let one_key = match placing {
        Placing::Keyed { filters, also, .. } => {
            for (_, condition) in filters.iter().flat_map(|filter| &filter.conditions) {
                match condition {
                    Condition::OneOf(operands) => operands.iter().for_each(&mut note),
                    Condition::InArray(operand) => note(operand),
                    Condition::Between(from, to) => from.iter().chain(to).for_each(&mut note),
                }
            }
            match (filters.as_slice(), also.as_slice()) {
                ([filter], []) => {
                    let columns = map.distributions.get(filter.distribution);
                    let columns = columns.map_or(0, |found| found.key_types.len());
                    let is_fixed = |column: usize| {
                        filter.conditions.iter().any(|(known, condition)| {
                            usize::from(*known) == column
                                && matches!(condition, Condition::OneOf(one) if one.len() == 1)
                        })
                    };
                    columns > 0 && (0..columns).all(is_fixed)
                }
                _ => false,
            }
        }
        Placing::Rows { keys, .. } => {
            keys.iter().flatten().for_each(&mut note);
            keys.len() == 1
        }
        _ => false,
    };
    match (found.is_empty(), one_key) {
        (true, _) => Deciding::Nothing,
        (false, true) => Deciding::One(found),
        (false, false) => Deciding::Some(found),
    }
}

/// Numbers of the parameters of a text.
fn parameters(sql: &[u8], dialect: Dialect) -> BTreeSet<u16> {
    let mut found = BTreeSet::new();
    let Ok(mut lexer) = Lexer::new(sql, dialect) else { return found };
    while let Ok(Some(token)) = lexer.next_token() {
        if token.kind == TokenKind::Parameter {
            let number = std::str::from_utf8(token.text(sql)).ok();
            found.extend(number.and_then(|text| text.trim_start_matches('$').parse::<u16>().ok()));
        }
    }
    found
}

fn merge_word(merge: &Merge) -> &'static str {
    match merge {
        Merge::Concat { .. } => "rows of all shards, as they come",
        Merge::Ordered { .. } => "rows of all shards, merged in order",
        Merge::Finish { .. } => "partial rows of all shards, finished by one server",
        Merge::Sum => "counts of all shards are added",
        Merge::InputOrder(_) => "rows in the order of the input",
        Merge::Same => "all shards answer the same",
        Merge::Headed => "the answer of each shard under a heading",
        Merge::CopyOut { .. } => "data of all shards as one stream",
    }
}

/// Shards with equal texts together.
fn parts(spread: &Spread) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for part in &spread.parts {
        let sql = String::from_utf8_lossy(&part.sql).into_owned();
        match parts.iter_mut().find(|known| known.sql == sql) {
            Some(known) => known.shards.push(part.shard),
            None => parts.push(Part { shards: vec![part.shard], sql }),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, parse};
    use pgmanifold_router::golden;

    const CONFIG: &str = r#"
        listener = [{ address = "127.0.0.1:1" }]
        user = [{ name = "app", password = "x" }]
        shard = [{ name = "main", hosts = ["h:1"], monitor_user = "m" }]
        database = [{ name = "app" }, { name = "alone", read_replicas = false }]
    "#;

    struct World {
        config: Config,
        facts: Facts,
        map: ShardMap,
    }

    impl World {
        fn new() -> Self {
            let config = parse(CONFIG, "test.toml").unwrap();
            let facts = golden::shards_facts().unwrap();
            Self { config, facts, map: golden::shards_map().unwrap() }
        }

        fn explain(&self, database: usize, sharded: bool, sql: &str) -> Explanation {
            let question = Question {
                database: &self.config.databases[database],
                facts: &self.facts,
                settled: true,
                map: sharded.then_some(&self.map),
            };
            explain(sql.as_bytes(), &question, Dialect::default())
        }

        fn reach(&self, sql: &str) -> Reach {
            match self.explain(0, true, sql).verdict {
                Verdict::Runs { shards: Some(shards), .. } => shards.reach,
                other => panic!("{sql}: {other:?}"),
            }
        }
    }

    fn ids(shards: &[u16]) -> Vec<ShardId> {
        shards.iter().copied().map(ShardId).collect()
    }

    #[test]
    fn which_shards_and_what_decides() {
        let world = World::new();
        let all = || ids(&[0, 1, 2, 3]);
        let set = |numbers: &[u16]| numbers.iter().copied().collect::<BTreeSet<u16>>();
        for (sql, wanted) in [
            ("select * from orders where customer_id = $1", Reach::ByValue(set(&[1]))),
            ("select * from orders where customer_id = $2 and id = $1", Reach::ByValue(set(&[2]))),
            ("select count(*) from orders", Reach::Several(all())),
            ("select * from orders where customer_id in ($1, $2)", {
                Reach::AtMost(all(), set(&[1, 2]))
            }),
            ("select * from docs where tenant = 'acme'", Reach::One(ShardId(1))),
            ("select * from cells where x = $1 and y = 7", Reach::ByValue(set(&[1]))),
            ("select * from cells where x = $1", Reach::AtMost(all(), set(&[1]))),
            ("select * from countries", Reach::Any),
            ("select * from archive", Reach::One(ShardId(3))),
            ("set work_mem = '1MB'", Reach::Participants),
            ("select set_config('work_mem', '1MB', false)", Reach::One(ShardId(0))),
            ("begin", Reach::Participants),
            ("fetch 1 from c", Reach::Cursor),
            ("/* pgm: shard=s2 */ select count(*) from orders", Reach::One(ShardId(2))),
            ("", Reach::One(ShardId(0))),
        ] {
            assert_eq!(world.reach(sql), wanted, "{sql}");
        }
    }

    #[test]
    fn several_shards_say_how_they_are_merged() {
        let world = World::new();
        for (sql, merge) in [
            ("select * from orders", "rows of all shards, as they come"),
            ("select * from orders order by id", "rows of all shards, merged in order"),
            ("select count(*) from orders", "partial rows of all shards, finished by one server"),
            ("delete from orders", "counts of all shards are added"),
        ] {
            let Verdict::Runs { shards: Some(shards), .. } = world.explain(0, true, sql).verdict
            else {
                panic!("{sql}")
            };
            assert_eq!(shards.merge, Some(merge), "{sql}");
            let sent: usize = shards.parts.iter().map(|part| part.shards.len()).sum();
            assert_eq!(sent, 4, "{sql}");
        }
    }

    #[test]
    fn refusals_are_those_that_clients_get() {
        let world = World::new();
        for (database, sharded, sql, sqlstate, construct) in [
            (0, true, "update orders set customer_id = 3", "PGM03", true),
            (0, true, "/* pgm: shard=s9 */ select 1", "22023", false),
            (0, false, "/* pgm: shard=s1 */ select 1", "22023", false),
            (0, false, "/* pgm: nonsense=1 */ select 1", "22023", false),
        ] {
            match world.explain(database, sharded, sql).verdict {
                Verdict::Refused(error) => {
                    assert_eq!(error.sqlstate, sqlstate, "{sql}");
                    assert_eq!(error.routine.is_some(), construct, "{sql}");
                }
                other => panic!("{sql}: {other:?}"),
            }
        }
    }

    #[test]
    fn without_shards_it_is_the_route_alone() {
        let world = World::new();
        for (database, sql, target) in [
            (0, "select 1", Target::Replica),
            (1, "select 1", Target::Primary),
            (0, "insert into t values (1)", Target::Primary),
        ] {
            match world.explain(database, false, sql).verdict {
                Verdict::Runs { route, shards: None } => assert_eq!(route.target, target, "{sql}"),
                other => panic!("{sql}: {other:?}"),
            }
        }
        let explained = world.explain(0, false, "listen x");
        assert_eq!(explained.keeps_server, Some("listen"));
        assert!(matches!(
            world.explain(0, false, "set pgm.role = 'primary'").verdict,
            Verdict::Local(_)
        ));
    }
}

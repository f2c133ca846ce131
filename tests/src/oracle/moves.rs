//! Owns worlds in which keys are on their way: the map that tells of it, and what lies on shards
//! that are not the owners of those keys. Some of it is as the owner has it, some is stale, some
//! the owner does not have at all: nobody may see any of it.

use super::generate::Dice;
use super::generate::world::{Role, World, cast};
use crate::cluster::{self, USER};
use crate::shards::layout::{Layout, Moved};
use crate::shards::servers::SHARDS;
use crate::shards::{Options, Shards};
use crate::{client, config::ConfigText};
use pgmanifold_router::catalog::{self, Command, Parameter};
use pgmanifold_router::key::KeyValue;
use pgmanifold_router::shard_map::{
    Bound, Distribution, DistributionKind, Keys, ShardId, ShardMap,
};
use std::sync::OnceLock;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

/// Moves of one distribution at most.
const MOVES: usize = 3;
/// Attempts to find keys that may move.
const ATTEMPTS: usize = 40;
/// Numbers of rows that only a hiding shard has are so much larger.
const ONLY_HIDDEN: i64 = 500;

/// Servers with the world's tables behind a proxy whose map comes from a catalog and tells of keys
/// on their way.
///
/// # Panics
/// When a server or the proxy does not start.
pub async fn start(world: &World, options: Options, dice: &mut Dice) -> Shards {
    let options = Options { without_proxy: true, ..options };
    let mut shards = Shards::start(options, |config| config).await;
    let declared = pgmanifold::config::parse(&shards.config.text(), "test.toml");
    let declared = declared.expect("a configuration").maps.remove(0);
    let (map, moved) = with_moves(&declared.map, world, dice);
    let server = &shards.servers.oracle;
    // One catalog has the maps of all worlds.
    static CATALOG: OnceLock<String> = OnceLock::new();
    let catalog = CATALOG.get_or_init(|| cluster::create_database(server, "moves_catalog"));
    let address = server.primary.address();
    let client = client::connect(&address, USER, catalog).await;
    client::exec(&client, catalog::INSTALL_SQL).await;
    write(&client, &catalog::create_map(&shards.database, &map.parts(), "moves")).await;
    let section = format!(
        "[catalog]\nhosts = [{:?}]\ndatabase = {catalog:?}\nuser = {USER:?}\n\
         tls_mode = \"disable\"\n",
        address.to_string()
    );
    let config: ConfigText = shards.config.clone().section(&section);
    shards.layout = Layout { moved, ..shards.layout.clone() };
    shards.serve(config).await;
    shards
}

async fn write(client: &Client, commands: &[Command]) {
    client::exec(client, "begin").await;
    for command in commands {
        let parameters = command.parameters.iter().map(|parameter| match parameter {
            Parameter::Text(text) => text as &(dyn ToSql + Sync),
            Parameter::Integer(number) => number,
            Parameter::Texts(texts) => texts,
        });
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.collect();
        client.query(command.sql, &parameters).await.expect("the catalog takes it");
    }
    client::exec(client, "commit").await;
}

/// Some keys of each distribution begin to move; some of them have arrived, and some of those have
/// gone back.
fn with_moves(map: &ShardMap, world: &World, dice: &mut Dice) -> (ShardMap, Vec<Moved>) {
    let (mut map, mut moved, mut id) = (map.clone(), Vec::new(), 0);
    for (number, (ty, _)) in world.distributions.iter().enumerate() {
        let mut left = 1 + dice.below(MOVES);
        for _ in 0..ATTEMPTS {
            let distribution = &map.distributions[number];
            let keys = keys(distribution, &ty.values(), dice);
            let source = distribution.owner_of(&keys);
            let target = ShardId(u16::try_from(dice.below(SHARDS)).expect("few shards"));
            let target_name = map.name(target).to_owned();
            let (Some(source), Ok(next)) =
                (source, map.announce(number, id + 1, &keys, &target_name))
            else {
                continue;
            };
            (map, id) = (next, id + 1);
            let handed_over = dice.chance(55);
            let back = handed_over && dice.chance(15);
            if handed_over {
                map = map.hand_over(id, &target_name).expect("a new owner");
            }
            if back {
                let source = map.name(source).to_owned();
                map = map.hand_over(id, &source).expect("the old owner");
            }
            moved.push(Moved {
                distribution: map.distributions[number].name.to_string(),
                keys,
                source: usize::from(source.0),
                target: usize::from(target.0),
                handed_over: handed_over && !back,
            });
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    (map.with_epoch(1), moved)
}

/// Some keys; they need not be all of one shard.
fn keys(distribution: &Distribution, values: &[&str], dice: &mut Dice) -> Keys {
    let ty = distribution.key_types[0];
    match distribution.kind {
        DistributionKind::List => {
            let owner = ShardId(u16::try_from(dice.below(SHARDS)).expect("few shards"));
            let own = distribution.values.iter().filter(|(_, shard)| *shard == owner);
            let some = own.filter(|_| dice.chance(60)).map(|(value, _)| value.clone());
            Keys::Values(some.collect())
        }
        DistributionKind::Range => {
            let known = values.iter().filter_map(|text| KeyValue::from_text(ty, text));
            let mut known: Vec<KeyValue> = known.collect();
            known.sort();
            known.dedup();
            let mut border =
                || dice.chance(75).then(|| Bound::Value(known[dice.below(known.len())].clone()));
            Keys::Between(border(), border())
        }
        _ => {
            let mut border = || {
                let place = i64::try_from(dice.below(25)).expect("a small number") - 12;
                dice.chance(90).then_some(Bound::Hash(place * (i64::MAX / 12)))
            };
            Keys::Between(border(), border())
        }
    }
}

/// Puts rows of moving keys where they are hidden: copies of the owner's, changed and others.
///
/// # Panics
/// When a server refuses.
pub fn leave_behind(shards: &Shards, world: &World, dice: &mut Dice) {
    let spread = world.tables.iter().filter(|table| matches!(table.role, Role::Spread(_)));
    for (table, number) in spread.flat_map(|table| (0..SHARDS).map(move |number| (table, number))) {
        let (name, hidden) = (&table.name, shards.layout.hides(&table.name, number));
        let query = format!("select x::text from {name} x where {hidden}");
        let rows = shards.oracle().query_in(&shards.database, &query).expect("the oracle's rows");
        let rows: Vec<String> = rows.into_iter().flatten().flatten().collect();
        if rows.is_empty() {
            continue;
        }
        let rows: Vec<String> = rows.iter().map(|row| super::generate::quoted(row)).collect();
        let columns: Vec<&str> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
        let mut sql = format!(
            "insert into {name} select (r::{name}).* from unnest(array[{}]) r;",
            rows.join(", ")
        );
        for (column, ty) in table.columns.iter().skip(2) {
            let values = ty.values();
            let value = cast(*ty, values[dice.below(values.len())]);
            sql += &format!("update {name} set {column} = {value} where {hidden} and i % 3 = 1;");
        }
        sql += &format!("delete from {name} where {hidden} and i % 5 = 2;");
        let others: Vec<String> = columns
            .iter()
            .map(|column| match *column {
                "i" => format!("i + {ONLY_HIDDEN} as i"),
                column => column.to_owned(),
            })
            .collect();
        sql += &format!(
            "insert into {name} select * from (select {} from {name} where {hidden}) x \
             where {hidden} on conflict do nothing",
            others.join(", ")
        );
        // As a mover has it: what no condition leaves out is refused.
        sql += &format!(
            "; create trigger guard before truncate on {name} for each statement \
             execute function pgm.reject_truncate()"
        );
        shards.shard(number).query_in(&shards.database, &sql).expect("a shard takes it");
    }
}

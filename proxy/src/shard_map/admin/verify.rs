//! Owns `pgmanifold map verify`: whether every row lies where the map says, and whether the tables
//! are such that statements over shards can be right. It changes nothing.

use super::{Admin, AdminError, ShardServer};
use pgmanifold_router::key::KeyType;
use pgmanifold_router::ownership::{
    belongs_sql, keyless_sql, keys_sql, quote_name, quote_text, table_sql,
};
use pgmanifold_router::shard_map::{DistributionKind, ShardId, ShardMap, Table};
use std::collections::BTreeMap;

/// Most differences that are named of one table on one shard.
const DIFFERENCES_MAX: usize = 5;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// The epoch it was verified against.
    pub epoch: u64,
    /// Rows of each table on each shard.
    pub counts: Vec<Count>,
    /// What is wrong, one sentence each.
    pub problems: Vec<String>,
}

/// Rows of one table on one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// `schema.table`
    pub table: String,
    /// Name of the shard.
    pub shard: String,
    /// All rows.
    pub rows: u64,
    /// Rows of keys that are on their way to another shard, or were: its own are there.
    pub moving: u64,
    /// Other rows that belong to another shard.
    pub misplaced: u64,
    /// Rows with a NULL in their key, which belong to no shard.
    pub keyless: u64,
}

/// What one shard says of one table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Shape {
    /// Type, whether the collation is deterministic, and description of each column by name.
    columns: Vec<Column>,
    /// Constraints, indexes, triggers, as PostgreSQL prints them.
    rest: Vec<String>,
    /// Name and columns of each unique index.
    unique: Vec<(String, Vec<String>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    name: String,
    type_name: String,
    deterministic: bool,
    /// NOT NULL, default, identity, generation, collation.
    rest: String,
}

/// Looks at all shards.
///
/// # Errors
/// When a shard or the catalog cannot be reached or asked. What is found to be wrong is no error.
pub async fn verify(admin: &Admin) -> Result<Verified, AdminError> {
    let map = admin.map().await?;
    let servers = admin.shards().await?;
    let mut found = Verified { epoch: map.epoch, ..Verified::default() };
    for server in &servers {
        // Counting takes as long as it takes.
        server.run("set statement_timeout = 0").await?;
        prepared_transactions(server, &mut found).await?;
    }
    for table in &map.tables {
        verify_table(&map, table, &servers, &mut found).await?;
    }
    Ok(found)
}

async fn prepared_transactions(
    server: &ShardServer,
    found: &mut Verified,
) -> Result<(), AdminError> {
    let rows = server.rows("show max_prepared_transactions").await?;
    if first(&rows) == "0" {
        found.problems.push(format!(
            "shard {}: max_prepared_transactions is 0: no transaction can commit on several shards",
            server.name
        ));
    }
    Ok(())
}

async fn verify_table(
    map: &ShardMap,
    table: &Table,
    servers: &[ShardServer],
    found: &mut Verified,
) -> Result<(), AdminError> {
    let name = format!("{}.{}", table.schema, table.name);
    let mut shapes: Vec<(&str, Shape)> = Vec::new();
    for (server, id) in servers.iter().zip(0..) {
        let Some(shape) = shape(server, table, &movers_triggers(map)).await? else {
            found.problems.push(format!("shard {}: there is no table {name}", server.name));
            continue;
        };
        let fits = key_columns(map, table, &shape, &server.name, &name, found);
        shapes.push((&server.name, shape));
        if fits {
            let count = count(server, map, table, ShardId(id)).await?;
            misplaced(&count, found);
            found.counts.push(count);
        }
    }
    if let Some(((first, shape), others)) = shapes.split_first() {
        unique(map, table, shape, found);
        for (other, their) in others {
            differences((first, shape), (other, their), &name, found);
        }
    }
    if map.distribution(table).kind == DistributionKind::Reference {
        copies(table, servers, &name, found).await?;
    }
    super::sequences::check(map, table, servers, &mut found.problems).await
}

/// Whether the columns of the key are such that rows can be counted.
fn key_columns(
    map: &ShardMap,
    table: &Table,
    shape: &Shape,
    shard: &str,
    name: &str,
    found: &mut Verified,
) -> bool {
    let before = found.problems.len();
    let types = &map.distribution(table).key_types;
    for (column, key_type) in table.key_columns.iter().zip(types) {
        let place = format!("shard {shard}: column {column:?} of {name}");
        let Some(known) = shape.columns.iter().find(|known| *known.name == **column) else {
            found.problems.push(format!("{place} does not exist"));
            continue;
        };
        if !KeyType::from_name(&known.type_name).is_some_and(|ty| key_type.allows_column(ty)) {
            let type_name = &known.type_name;
            found.problems.push(format!("{place} is {type_name}, but its key is {key_type}"));
        } else if !known.deterministic {
            found.problems.push(format!(
                "{place} has a collation that is not deterministic: equal keys have several hashes"
            ));
        }
    }
    found.problems.len() == before
}

async fn count(
    server: &ShardServer,
    map: &ShardMap,
    table: &Table,
    shard: ShardId,
) -> Result<Count, AdminError> {
    let (name, belongs) = (table_sql(table), belongs_sql(map, table, shard));
    let keyless = keyless_sql(table);
    let moving = moving_sql(map, table, shard);
    let sql = format!(
        "select pg_catalog.count(*), pg_catalog.count(*) filter (where {moving}), \
         pg_catalog.count(*) filter (where not {belongs} and not {moving} and not {keyless}), \
         pg_catalog.count(*) filter (where {keyless}) from {name}"
    );
    let rows = server.rows(&sql).await?;
    let number = |column: usize| -> u64 {
        let value = rows.first().and_then(|row| row.get(column)).cloned().flatten();
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    };
    Ok(Count {
        table: format!("{}.{}", table.schema, table.name),
        shard: server.name.clone(),
        rows: number(0),
        moving: number(1),
        misplaced: number(2),
        keyless: number(3),
    })
}

/// The condition of rows that the shard keeps for a move, and nobody sees.
fn moving_sql(map: &ShardMap, table: &Table, shard: ShardId) -> String {
    let distribution = map.distribution(table);
    let columns: Vec<String> = table.key_columns.iter().map(|name| quote_name(name)).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let hidden = distribution.hidden_on(shard);
    let hidden: Vec<String> =
        hidden.map(|moving| keys_sql(distribution, &moving.keys, &columns)).collect();
    if hidden.is_empty() { "false".to_owned() } else { format!("({})", hidden.join(" or ")) }
}

fn misplaced(count: &Count, found: &mut Verified) {
    let Count { table, shard, misplaced, keyless, .. } = count;
    if *misplaced > 0 {
        found.problems.push(format!("shard {shard}: {misplaced} rows of {table} are misplaced"));
    }
    if *keyless > 0 {
        found.problems.push(format!("shard {shard}: {keyless} rows of {table} have no key"));
    }
}

/// A unique constraint without the key holds on each shard alone.
fn unique(map: &ShardMap, table: &Table, shape: &Shape, found: &mut Verified) {
    let spread = map.distribution(table).kind;
    let is_whole = matches!(spread, DistributionKind::Reference | DistributionKind::Single);
    if is_whole || table.unchecked_unique {
        return;
    }
    for (index, columns) in &shape.unique {
        let has = |column: &str| columns.iter().any(|known| known == column);
        if !table.key_columns.iter().all(|column| has(column)) {
            found.problems.push(format!(
                "unique index {index:?} of {}.{} does not contain the key: two shards may hold \
                 equal rows (`unchecked_unique = true` accepts that)",
                table.schema, table.name
            ));
        }
    }
}

fn differences(
    (first, one): (&str, &Shape),
    (second, other): (&str, &Shape),
    name: &str,
    found: &mut Verified,
) {
    let lines = |shape: &Shape| -> Vec<String> {
        let column = |(at, column): (usize, &Column)| {
            format!("column {} {} {} {}", at + 1, column.name, column.type_name, column.rest)
        };
        let columns = shape.columns.iter().enumerate().map(column);
        columns.chain(shape.rest.iter().cloned()).collect()
    };
    let (one, other) = (lines(one), lines(other));
    let only = |these: &[String], those: &[String], shard: &str| -> Vec<String> {
        let missing = these.iter().filter(|line| !those.contains(line));
        missing
            .map(|line| format!("{name} differs: only on {shard}: {}", line.trim_end()))
            .collect()
    };
    let mut all = only(&one, &other, first);
    all.extend(only(&other, &one, second));
    // What only the first shard has, it has in comparison with each of the others.
    all.retain(|line| !found.problems.contains(line));
    found.problems.extend(all.into_iter().take(DIFFERENCES_MAX));
}

/// All copies of a reference table have the same rows.
async fn copies(
    table: &Table,
    servers: &[ShardServer],
    name: &str,
    found: &mut Verified,
) -> Result<(), AdminError> {
    let sql = format!(
        "select pg_catalog.count(*)::text || ' ' || coalesce(pg_catalog.sum(\
         pg_catalog.hashtextextended(t::text, 0)::numeric), 0)::text from {} as t",
        table_sql(table)
    );
    let mut contents: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for server in servers {
        if found.counts.iter().any(|count| count.table == *name && count.shard == server.name) {
            let content = first(&server.rows(&sql).await?).to_owned();
            contents.entry(content).or_default().push(&server.name);
        }
    }
    if contents.len() > 1 {
        let groups: Vec<String> = contents.values().map(|shards| shards.join(", ")).collect();
        let groups = groups.join(" | ");
        found.problems.push(format!("copies of reference table {name} differ: {groups}"));
    }
    Ok(())
}

/// What a shard says of a table; `None` when it is not there.
async fn shape(
    server: &ShardServer,
    table: &Table,
    movers: &str,
) -> Result<Option<Shape>, AdminError> {
    let oid = format!(
        "(select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = \
         c.relnamespace where n.nspname = {} and c.relname = {} and c.relkind in ('r', 'p'))",
        quote_text(&table.schema),
        quote_text(&table.name)
    );
    let columns = server.rows(&COLUMNS.replace("$oid", &oid)).await?;
    if columns.is_empty() {
        return Ok(None);
    }
    let text =
        |row: &[Option<String>], at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    let columns = columns.iter().map(|row| Column {
        name: text(row, 0),
        type_name: text(row, 1),
        deterministic: text(row, 2) != "f",
        rest: text(row, 3),
    });
    let rest = server.rows(&REST.replace("$oid", &oid).replace("$movers", movers)).await?;
    let mut unique: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in server.rows(&UNIQUE.replace("$oid", &oid)).await? {
        unique.entry(text(&row, 0)).or_default().push(text(&row, 1));
    }
    Ok(Some(Shape {
        columns: columns.collect(),
        rest: rest.iter().map(|row| text(row, 0)).collect(),
        unique: unique.into_iter().collect(),
    }))
}

/// A regular expression, quoted, of the triggers that moves under way have on one of their shards.
fn movers_triggers(map: &ShardMap) -> String {
    let moves = map.distributions.iter().flat_map(|one| &one.moving);
    // There is no move with the number 0.
    let moves: Vec<String> = moves.map(|one| one.id.to_string()).chain(["0".into()]).collect();
    quote_text(&format!("^pgm_(guard|fence)_({})(_|$)", moves.join("|")))
}

/// Columns in order: name, type, whether the collation is deterministic, all the rest.
const COLUMNS: &str = "\
select a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
 coalesce(l.collisdeterministic, true), pg_catalog.concat_ws(' ', \
 case when a.attnotnull then 'not null' end, 'collate ' || l.collname, \
 'identity ' || nullif(a.attidentity::text, ''), 'generated ' || nullif(a.attgenerated::text, ''), \
 'default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid)) \
from pg_catalog.pg_attribute a \
left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum \
left join pg_catalog.pg_collation l on l.oid = a.attcollation and a.attcollation <> 0 \
where a.attrelid = $oid and a.attnum > 0 and not a.attisdropped order by a.attnum";

/// Constraints, indexes and triggers of the table's own, each as a line.
const REST: &str = "\
select line from (\
 select 'constraint ' || conname || ' ' || pg_catalog.pg_get_constraintdef(oid) \
  from pg_catalog.pg_constraint where conrelid = $oid \
 union all select pg_catalog.pg_get_indexdef(indexrelid) \
  from pg_catalog.pg_index where indrelid = $oid \
 union all select pg_catalog.pg_get_triggerdef(oid) \
  from pg_catalog.pg_trigger where tgrelid = $oid and not tgisinternal and tgname !~ $movers \
 union all select 'row level security' from pg_catalog.pg_class \
  where oid = $oid and relrowsecurity) as lines(line) order by line";

/// Unique indexes and exclusion constraints: name and one column each.
const UNIQUE: &str = "\
select i.indexrelid::pg_catalog.regclass::text, a.attname from pg_catalog.pg_index i \
cross join lateral pg_catalog.unnest(i.indkey) with ordinality as k(attnum, place) \
left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum \
where i.indrelid = $oid and (i.indisunique or i.indisexclusion) \
 and k.place <= i.indnkeyatts order by 1, k.place";

fn first(rows: &[Vec<Option<String>>]) -> &str {
    rows.first().and_then(|row| row.first()).and_then(Option::as_deref).unwrap_or("")
}

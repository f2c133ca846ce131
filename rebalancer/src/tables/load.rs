//! Owns the questions to a shard's catalogs about tables.

use super::{Column, ForeignKey, MovedTable, Oddity, ReplicaIdentity, Sequence, qualified};
use crate::connect::{Session, TextRows};
use crate::error::Error;
use pgmanifold_router::ownership::quote_text;
use pgmanifold_router::shard_map::{ShardMap, Table};
use std::collections::BTreeMap;

/// What the shard says of all tables of the distribution, by schema and name.
///
/// # Errors
/// What the server says; that tables are not there.
pub async fn load(
    session: &Session,
    map: &ShardMap,
    distribution: usize,
) -> Result<Vec<MovedTable>, Error> {
    let (tables, missing) = load_present(session, map, distribution).await?;
    if missing.is_empty() {
        return Ok(tables);
    }
    let missing = missing.join(", ");
    Err(Error::Refused(format!("{}: there is no table {missing}", session.place)))
}

/// The same of those that are there, and the names of those that are not.
///
/// # Errors
/// What the server says.
pub async fn load_present(
    session: &Session,
    map: &ShardMap,
    distribution: usize,
) -> Result<(Vec<MovedTable>, Vec<String>), Error> {
    let mut wanted: Vec<&Table> =
        map.tables.iter().filter(|table| table.distribution == distribution).collect();
    wanted.sort_by_key(|table| (&table.schema, &table.name));
    let (mut tables, mut missing) = (Vec::new(), Vec::new());
    for table in wanted {
        match load_table(session, table).await? {
            Some(found) => tables.push(found),
            None => missing.push(format!("{}.{}", table.schema, table.name)),
        }
    }
    Ok((tables, missing))
}

/// `None` where there is no relation of this name.
async fn load_table(session: &Session, table: &Table) -> Result<Option<MovedTable>, Error> {
    let named = format!(
        "n.nspname = {} and c.relname = {}",
        quote_text(&table.schema),
        quote_text(&table.name)
    );
    let rows = session.rows(&HEAD.replace("$named", &named)).await?;
    let Some(head) = rows.first() else { return Ok(None) };
    let oid: u32 = text(head, 0).parse().unwrap_or_default();
    let ask = async |sql: &str| session.rows(&sql.replace("$oid", &oid.to_string())).await;
    let (schema, name) = (table.schema.to_string(), table.name.to_string());
    let columns: Vec<Column> = ask(COLUMNS).await?.iter().map(|row| column(row)).collect();
    let tree = ask(TREE).await?;
    let kind = text(head, 1);
    let partitioned = kind == "p";
    let part = |wanted: &str| -> Vec<String> {
        let rows = tree.iter().filter(|row| text(row, 2) == wanted);
        rows.map(|row| qualified(&text(row, 0), &text(row, 1))).collect()
    };
    let leaves = if partitioned { part("leaf") } else { vec![qualified(&schema, &name)] };
    let mut oddities = oddities(&ask(ODDITIES).await?);
    if !matches!(kind.as_str(), "r" | "p") {
        oddities.push(Oddity::NotATable(kind));
    }
    let shape = ask(SHAPE).await?.iter().map(|row| text(row, 0)).collect();
    Ok(Some(MovedTable {
        key_columns: table.key_columns.iter().map(ToString::to_string).collect(),
        branches: part("branch"),
        identity: identity(&ask(IDENTITY).await?),
        sequences: ask(SEQUENCES).await?.iter().map(|row| sequence(row)).collect(),
        foreign_keys: foreign_keys(&ask(FOREIGN_KEYS).await?),
        unique: unique(&ask(UNIQUE).await?),
        bytes: text(head, 2).parse().unwrap_or_default(),
        rows: text(head, 3).parse().unwrap_or_default(),
        schema,
        name,
        oid,
        columns,
        partitioned,
        leaves,
        shape,
        oddities,
    }))
}

fn text(row: &[Option<String>], at: usize) -> String {
    row.get(at).cloned().flatten().unwrap_or_default()
}

fn column(row: &[Option<String>]) -> Column {
    Column {
        name: text(row, 0),
        type_name: text(row, 1),
        type_kind: text(row, 2).chars().next().unwrap_or('?'),
        generated: text(row, 3) == "t",
        identity: text(row, 4) == "t",
        deterministic: text(row, 5) != "f",
        rest: text(row, 6),
    }
}

fn sequence(row: &[Option<String>]) -> Sequence {
    Sequence {
        column: text(row, 0),
        name: qualified(&text(row, 1), &text(row, 2)),
        increment: text(row, 3).parse().unwrap_or_default(),
    }
}

/// What holds for all parts: the weakest of them.
fn identity(rows: &TextRows) -> ReplicaIdentity {
    let mut common: Option<Vec<String>> = None;
    let mut full = false;
    for row in rows {
        let columns: Vec<String> = serde_json::from_str(&text(row, 1)).unwrap_or_default();
        match text(row, 0).as_str() {
            "f" => full = true,
            _ if columns.is_empty() => return ReplicaIdentity::Nothing,
            _ => match &mut common {
                Some(common) => common.retain(|column| columns.contains(column)),
                None => common = Some(columns),
            },
        }
    }
    match common {
        _ if full => ReplicaIdentity::Full,
        Some(columns) => ReplicaIdentity::Columns(columns),
        None => ReplicaIdentity::Nothing,
    }
}

fn foreign_keys(rows: &TextRows) -> Vec<ForeignKey> {
    let read = |row: &Vec<Option<String>>| ForeignKey {
        name: text(row, 0),
        from: (text(row, 1), text(row, 2)),
        to: (text(row, 3), text(row, 4)),
        columns: serde_json::from_str(&text(row, 5)).unwrap_or_default(),
    };
    rows.iter().map(read).collect()
}

fn unique(rows: &TextRows) -> Vec<(String, Vec<String>)> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        found.entry(text(row, 0)).or_default().push(text(row, 1));
    }
    found.into_iter().collect()
}

fn oddities(rows: &TextRows) -> Vec<Oddity> {
    let read = |row: &Vec<Option<String>>| {
        let name = text(row, 1);
        Some(match text(row, 0).as_str() {
            "unlogged" => Oddity::Unlogged(name),
            "foreign" => Oddity::NotATable(name),
            "inherits" => Oddity::Inheritance(name),
            "partition" => Oddity::Partition(name),
            "trigger" => Oddity::Trigger(name),
            "extension" => Oddity::Extension(name),
            "text" => Oddity::NoText(name),
            "rule" => Oddity::Rule(name),
            _ => return None,
        })
    };
    rows.iter().filter_map(read).collect()
}

/// Number, kind, bytes, rows.
const HEAD: &str = "\
with tree as (\
 select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
  where $named \
 union select t.relid from pg_catalog.pg_class c \
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
  cross join lateral pg_catalog.pg_partition_tree(c.oid) t where $named) \
select c.oid, c.relkind, \
 (select pg_catalog.sum(pg_catalog.pg_total_relation_size(t.oid)) from tree t), \
 (select pg_catalog.sum(greatest(l.reltuples, 0)) from tree t \
  join pg_catalog.pg_class l on l.oid = t.oid where l.relkind = 'r') \
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
where $named and c.relkind in ('r', 'p', 'v', 'm', 'f')";

/// Columns in order.
const COLUMNS: &str = "\
select a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), t.typtype, \
 a.attgenerated <> '', a.attidentity <> '', coalesce(l.collisdeterministic, true), \
 pg_catalog.concat_ws(' ', case when a.attnotnull then 'not null' end, 'collate ' || l.collname, \
 'identity ' || nullif(a.attidentity::text, ''), 'generated ' || nullif(a.attgenerated::text, ''), \
 'default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid)) \
from pg_catalog.pg_attribute a \
join pg_catalog.pg_type t on t.oid = a.atttypid \
left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum \
left join pg_catalog.pg_collation l on l.oid = a.attcollation and a.attcollation <> 0 \
where a.attrelid = $oid and a.attnum > 0 and not a.attisdropped order by a.attnum";

/// Its partitions, and what they are: `leaf` or `branch`.
const TREE: &str = "\
select n.nspname, c.relname, case when t.isleaf then 'leaf' else 'branch' end \
from pg_catalog.pg_partition_tree($oid) t \
join pg_catalog.pg_class c on c.oid = t.relid \
join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
where c.oid <> $oid order by n.nspname, c.relname";

/// Of each place of rows: the kind of its replica identity, and the columns of it.
const IDENTITY: &str = "\
select c.relreplident, (select pg_catalog.json_agg(a.attname) from pg_catalog.pg_index i \
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey) \
  where i.indrelid = c.oid and i.indimmediate and i.indisvalid \
   and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident end) \
from pg_catalog.pg_class c \
where c.relkind in ('r', 'p') and (c.oid = $oid and c.relkind = 'r' \
 or c.oid in (select relid from pg_catalog.pg_partition_tree($oid) where isleaf))";

/// Sequences owned by columns, by SERIAL or as identities, and those that defaults draw from.
const SEQUENCES: &str = "\
select a.attname, sn.nspname, s.relname, q.seqincrement from (\
 select d.refobjsubid as attnum, d.objid as sequence from pg_catalog.pg_depend d \
  where d.classid = 'pg_catalog.pg_class'::regclass and d.refobjid = $oid \
   and d.refclassid = 'pg_catalog.pg_class'::regclass and d.deptype in ('a', 'i') \
 union select ad.adnum, d.refobjid from pg_catalog.pg_depend d \
  join pg_catalog.pg_attrdef ad on ad.oid = d.objid and ad.adrelid = $oid \
  where d.classid = 'pg_catalog.pg_attrdef'::regclass \
   and d.refclassid = 'pg_catalog.pg_class'::regclass) u \
join pg_catalog.pg_sequence q on q.seqrelid = u.sequence \
join pg_catalog.pg_class s on s.oid = u.sequence \
join pg_catalog.pg_namespace sn on sn.oid = s.relnamespace \
join pg_catalog.pg_attribute a on a.attrelid = $oid and a.attnum = u.attnum \
order by 1, 2, 3";

/// Foreign keys; those of a partition count as the table's.
const FOREIGN_KEYS: &str = "\
with tree as (select $oid::oid as oid union select relid from pg_catalog.pg_partition_tree($oid)), \
 root as (select n.nspname, c.relname from pg_catalog.pg_class c \
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = $oid) \
select k.conname, \
 case when k.conrelid in (select oid from tree) then r.nspname else fn.nspname end, \
 case when k.conrelid in (select oid from tree) then r.relname else f.relname end, \
 case when k.confrelid in (select oid from tree) then r.nspname else tn.nspname end, \
 case when k.confrelid in (select oid from tree) then r.relname else t.relname end, \
 (select pg_catalog.json_agg(pg_catalog.json_build_array(fa.attname, ta.attname) order by u.place) \
  from rows from (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey)) with ordinality \
   as u(f, t, place) \
  join pg_catalog.pg_attribute fa on fa.attrelid = k.conrelid and fa.attnum = u.f \
  join pg_catalog.pg_attribute ta on ta.attrelid = k.confrelid and ta.attnum = u.t) \
from pg_catalog.pg_constraint k cross join root r \
join pg_catalog.pg_class f on f.oid = k.conrelid \
join pg_catalog.pg_namespace fn on fn.oid = f.relnamespace \
join pg_catalog.pg_class t on t.oid = k.confrelid \
join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace \
where k.contype = 'f' and k.conparentid = 0 \
 and (k.conrelid in (select oid from tree) or k.confrelid in (select oid from tree)) order by 1";

/// Unique indexes and exclusion constraints: name and one column each.
const UNIQUE: &str = "\
select c.relname, coalesce(a.attname, '') from pg_catalog.pg_index i \
join pg_catalog.pg_class c on c.oid = i.indexrelid \
cross join lateral pg_catalog.unnest(i.indkey) with ordinality as k(attnum, place) \
left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum \
where i.indrelid = $oid and (i.indisunique or i.indisexclusion) \
 and k.place <= i.indnkeyatts order by 1, k.place";

/// What must be the same on both sides, a line each. What a move has made is left out; NOT NULL
/// stands with the columns.
const SHAPE: &str = "\
select line from (\
 select 'constraint ' || conname || ' ' || pg_catalog.pg_get_constraintdef(oid) \
  from pg_catalog.pg_constraint where conrelid = $oid and contype <> 'n' \
 union all select pg_catalog.pg_get_indexdef(indexrelid) \
  from pg_catalog.pg_index where indrelid = $oid \
 union all select pg_catalog.pg_get_triggerdef(oid) \
  from pg_catalog.pg_trigger where tgrelid = $oid and not tgisinternal \
   and tgname !~ '^pgm_(fence|guard)_[0-9]+' \
 union all select 'row level security' from pg_catalog.pg_class \
  where oid = $oid and relrowsecurity \
 union all select 'partitioned by ' || pg_catalog.pg_get_partkeydef($oid) \
 union all select pg_catalog.format('partition %I.%I %s', n.nspname, c.relname, \
   pg_catalog.pg_get_expr(c.relpartbound, c.oid)) \
  from pg_catalog.pg_partition_tree($oid) t join pg_catalog.pg_class c on c.oid = t.relid \
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace where t.level > 0) \
 as lines(line) where line is not null order by line collate \"C\"";

/// Kind of oddity, and the name of what has it.
const ODDITIES: &str = "\
with tree as (select $oid::oid as oid union select relid from pg_catalog.pg_partition_tree($oid)), \
 part as (select c.oid, c.relkind, c.relpersistence, c.relispartition, \
   pg_catalog.format('%I.%I', n.nspname, c.relname) as name \
  from tree join pg_catalog.pg_class c on c.oid = tree.oid \
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace) \
select 'unlogged', name from part where relpersistence <> 'p' and relkind = 'r' \
union all select 'foreign', name from part where relkind = 'f' and oid <> $oid \
union all select 'partition', i.inhparent::regclass::text from part \
 join pg_catalog.pg_inherits i on i.inhrelid = part.oid where part.oid = $oid and relispartition \
union all select 'inherits', case when i.inhrelid = $oid then i.inhparent::regclass::text \
   else i.inhrelid::regclass::text end \
 from pg_catalog.pg_inherits i join part on part.oid = $oid \
 where (i.inhrelid = $oid and not relispartition) or (i.inhparent = $oid and relkind = 'r') \
union all select 'trigger', pg_catalog.format('%I on %s', t.tgname, part.name) from part \
 join pg_catalog.pg_trigger t on t.tgrelid = part.oid \
 where not t.tgisinternal and t.tgenabled in ('A', 'R') \
union all select 'extension', e.extname from pg_catalog.pg_depend d \
 join pg_catalog.pg_extension e on e.oid = d.refobjid \
 where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = $oid and d.deptype = 'e' \
union all select 'text', a.attname from pg_catalog.pg_attribute a \
 join pg_catalog.pg_type t on t.oid = a.atttypid \
 where a.attrelid = $oid and a.attnum > 0 and not a.attisdropped \
  and t.typnamespace = 'pg_catalog'::regnamespace and t.typname in ('pg_node_tree', \
  'pg_ndistinct', 'pg_dependencies', 'pg_mcv_list', 'pg_brin_bloom_summary', \
  'pg_brin_minmax_multi_summary') \
union all select 'rule', r.rulename from pg_catalog.pg_rewrite r \
 where r.ev_class = $oid and r.rulename <> '_RETURN'";

//! Owns the SQL conditions that say which rows of a table belong to a shard. A server computes
//! them with nothing installed; verification, row filters and moves all mean the same by them.

use crate::hash::hash_sql;
use crate::key::{KeyType, KeyValue};
use crate::shard_map::{Bound, Distribution, DistributionKind, Keys, ShardId, ShardMap, Table};

/// The condition that is true for exactly those rows of `table` that belong to `shard`, and false
/// for all others, rows with a NULL in their key among them. Column names stand in it without a
/// table's name.
pub fn belongs_sql(map: &ShardMap, table: &Table, shard: ShardId) -> String {
    let distribution = map.distribution(table);
    let columns: Vec<String> = table.key_columns.iter().map(|name| quote_name(name)).collect();
    let always = |is: bool| if is { "true" } else { "false" }.to_owned();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let condition = match distribution.kind {
        DistributionKind::Reference => return always(true),
        DistributionKind::Single => return always(distribution.home == shard),
        DistributionKind::List => {
            let own = distribution.values.iter().filter(|(_, owner)| *owner == shard);
            let own: Vec<KeyValue> = own.map(|(value, _)| value.clone()).collect();
            listed(distribution, &columns, &own)
        }
        DistributionKind::Hash | DistributionKind::Range => match ordered(distribution, &columns) {
            Some(value) => between(distribution, shard, &value),
            None => return always(false),
        },
    };
    format!("({} and ({condition}))", known(&columns))
}

/// The condition that is true for exactly those rows whose key, in `columns`, is one of `keys`, and
/// false for all others. The columns are as they are to stand in it: quoted, and with a table's
/// name before them where one is needed.
pub fn keys_sql(distribution: &Distribution, keys: &Keys, columns: &[&str]) -> String {
    let condition = match keys {
        Keys::Values(values) => listed(distribution, columns, values),
        Keys::Between(from, to) => match ordered(distribution, columns) {
            Some(value) => {
                let key_type = distribution.key_types.first().copied().unwrap_or(KeyType::Int8);
                limits(&value, from.as_ref(), to.as_ref(), key_type)
            }
            None => "false".to_owned(),
        },
    };
    format!("({} and ({condition}))", known(columns))
}

fn known(columns: &[&str]) -> String {
    let known = columns.iter().map(|column| format!("{column} is not null"));
    known.collect::<Vec<_>>().join(" and ")
}

fn listed(distribution: &Distribution, columns: &[&str], values: &[KeyValue]) -> String {
    let column = columns.first().zip(distribution.key_types.first());
    match (column, values) {
        (None, _) | (_, []) => "false".to_owned(),
        (Some((column, key_type)), values) => {
            let values = values.iter().map(|value| literal(value, *key_type));
            format!("{column} in ({})", values.collect::<Vec<_>>().join(", "))
        }
    }
}

/// The condition that a row has no key.
pub fn keyless_sql(table: &Table) -> String {
    let columns = table.key_columns.iter();
    let unknown: Vec<String> =
        columns.map(|column| format!("{} is null", quote_name(column))).collect();
    if unknown.is_empty() { "false".to_owned() } else { format!("({})", unknown.join(" or ")) }
}

/// `schema.table`, quoted.
pub fn table_sql(table: &Table) -> String {
    format!("{}.{}", quote_name(&table.schema), quote_name(&table.name))
}

/// A name as an identifier, whatever stands in it.
pub fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a constant, whatever stands in it and whatever the session's settings are.
pub fn quote_text(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The ranges of one shard over a value; neighbours are one.
fn between(distribution: &Distribution, shard: ShardId, value: &str) -> String {
    let key_type = distribution.key_types.first().copied().unwrap_or(KeyType::Int8);
    let mut own: Vec<(Option<&Bound>, Option<&Bound>)> = Vec::new();
    let mut follows = false;
    for (at, range) in distribution.ranges.iter().enumerate() {
        let end = distribution.ranges.get(at + 1).and_then(|next| next.from.as_ref());
        match own.last_mut() {
            _ if range.shard != shard => {}
            Some(last) if follows => last.1 = end,
            _ => own.push((range.from.as_ref(), end)),
        }
        follows = range.shard == shard;
    }
    let one = |(from, end): &(Option<&Bound>, Option<&Bound>)| limits(value, *from, *end, key_type);
    match own.is_empty() {
        true => "false".to_owned(),
        false => own.iter().map(one).collect::<Vec<_>>().join(" or "),
    }
}

/// At least `from`, and less than `end`.
fn limits(value: &str, from: Option<&Bound>, end: Option<&Bound>, key_type: KeyType) -> String {
    let border = |bound: &Bound| match bound {
        // Without a cast the smallest one is an error: the minus stands before a larger number.
        Bound::Hash(hash) => format!("'{hash}'::int8"),
        Bound::Value(value) => literal(value, key_type),
    };
    let from = from.map(|from| format!("{value} >= {}", border(from)));
    let end = end.map(|end| format!("{value} < {}", border(end)));
    match (from, end) {
        (Some(from), Some(end)) => format!("{from} and {end}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "true".to_owned(),
    }
}

/// What the borders of the map are borders of: the key's hash, or the key as the map orders it.
pub fn ordered(distribution: &Distribution, columns: &[&str]) -> Option<String> {
    if distribution.kind == DistributionKind::Hash {
        return Some(hash_sql(&distribution.key_types, columns));
    }
    let (column, key_type) = columns.first().zip(distribution.key_types.first())?;
    Some(match key_type {
        KeyType::Text | KeyType::Varchar => format!("({column}::text collate pg_catalog.\"C\")"),
        _ => (*column).to_owned(),
    })
}

fn literal(value: &KeyValue, key_type: KeyType) -> String {
    let cast = match key_type {
        // Whatever the column's own width is, the border may be outside of it.
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => "int8".to_owned(),
        KeyType::Varchar => "text".to_owned(),
        other => other.to_string(),
    };
    format!("{}::{cast}", quote_text(&value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard_map::MapParts;

    fn map() -> ShardMap {
        let int = |key| Some(KeyValue::Int(key));
        let text = |text: &str| KeyValue::Text(text.into());
        let parts = MapParts::new(&["s0", "s1"])
            .hash("customer", &[KeyType::Int8])
            .range("tenant", KeyType::Int4, &[(None, "s0"), (int(5), "s0"), (int(9), "s1")])
            .list("country", KeyType::Text, &[(text("d'e\\"), "s1")])
            .reference("copies")
            .single("alone", "s1")
            .table("public", "a", "customer", &["i\"d"])
            .table("public", "b", "tenant", &["t"])
            .table("public", "c", "country", &["c"])
            .table("public", "d", "copies", &[])
            .table("public", "e", "alone", &[]);
        ShardMap::build(parts).unwrap()
    }

    #[test]
    fn conditions_name_the_rows_of_a_shard() {
        let map = map();
        let of = |name, shard| belongs_sql(&map, map.table(None, name).unwrap(), ShardId(shard));
        let hash = "pg_catalog.hashint8extended((\"i\"\"d\")::int8, 0)";
        assert_eq!(of("a", 0), format!("(\"i\"\"d\" is not null and ({hash} < '0'::int8))"));
        assert_eq!(of("b", 0), "(\"t\" is not null and (\"t\" < E'9'::int8))", "neighbours");
        assert_eq!(of("b", 1), "(\"t\" is not null and (\"t\" >= E'9'::int8))");
        assert_eq!(of("c", 0), "(\"c\" is not null and (false))");
        assert_eq!(of("c", 1), "(\"c\" is not null and (\"c\" in (E'd''e\\\\'::text)))");
        assert_eq!(
            (of("d", 0), of("e", 0), of("e", 1)),
            ("true".into(), "false".into(), "true".into())
        );
    }
}

//! Owns the map as JSON, for programs.

use pgmanifold_router::shard_map::{Bound, Distribution, Keys, Moving, ShardMap};
use std::fmt::Display;

/// The map as one JSON object.
pub(super) fn render(map: &ShardMap) -> String {
    let shards = list(map.shards.iter().map(text));
    let distributions = list(map.distributions.iter().map(|one| distribution(map, one)));
    let tables = list(map.tables.iter().map(|one| {
        object(&[
            ("schema", text(&one.schema)),
            ("name", text(&one.name)),
            ("distribution", text(&map.distribution(one).name)),
            ("key_columns", list(one.key_columns.iter().map(text))),
            ("unchecked_unique", one.unchecked_unique.to_string()),
        ])
    }));
    object(&[
        ("epoch", map.epoch.to_string()),
        ("home", text(map.name(map.home))),
        ("shards", shards),
        ("distributions", distributions),
        ("tables", tables),
    ])
}

fn distribution(map: &ShardMap, one: &Distribution) -> String {
    let ranges = list(one.ranges.iter().map(|range| {
        let from = range.from.as_ref().map_or_else(|| "null".to_owned(), text);
        object(&[("from", from), ("shard", text(map.name(range.shard)))])
    }));
    let values = list(one.values.iter().map(|(value, shard)| {
        object(&[("value", text(value)), ("shard", text(map.name(*shard)))])
    }));
    object(&[
        ("name", text(&one.name)),
        ("kind", text(one.kind)),
        ("key_types", list(one.key_types.iter().map(text))),
        ("ranges", ranges),
        ("values", values),
        ("home", text(map.name(one.home))),
        ("moving", list(one.moving.iter().map(|one| moving(map, one)))),
    ])
}

fn moving(map: &ShardMap, one: &Moving) -> String {
    let border = |border: &Option<Bound>| border.as_ref().map_or_else(|| "null".into(), text);
    let (from, to, values) = match &one.keys {
        Keys::Between(from, to) => (border(from), border(to), "[]".to_owned()),
        Keys::Values(values) => ("null".into(), "null".into(), list(values.iter().map(text))),
    };
    object(&[
        ("move", one.id.to_string()),
        ("from", from),
        ("to", to),
        ("values", values),
        ("source", text(map.name(one.source))),
        ("target", text(map.name(one.target))),
        ("paused", one.paused.to_string()),
    ])
}

fn object(members: &[(&str, String)]) -> String {
    let members = members.iter().map(|(name, value)| format!("{}: {value}", text(name)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A JSON string.
fn text(value: impl Display) -> String {
    let mut out = String::from("\"");
    for c in value.to_string().chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgmanifold_router::key::KeyType;
    use pgmanifold_router::shard_map::MapParts;

    #[test]
    fn a_map_is_one_object() {
        let parts = MapParts::new(&["s0", "s1"]).hash("h", &[KeyType::Int8]).table(
            "public",
            "a\"\n",
            "h",
            &["id"],
        );
        let map = ShardMap::build(parts).unwrap();
        assert_eq!(
            render(&map),
            "{\"epoch\": 1, \"home\": \"s0\", \"shards\": [\"s0\", \"s1\"], \"distributions\": \
             [{\"name\": \"h\", \"kind\": \"hash\", \"key_types\": [\"bigint\"], \"ranges\": \
             [{\"from\": null, \"shard\": \"s0\"}, {\"from\": \"0\", \"shard\": \"s1\"}], \
             \"values\": [], \"home\": \"s0\", \"moving\": []}], \"tables\": \
             [{\"schema\": \"public\", \"name\": \"a\\\"\\u000a\", \"distribution\": \"h\", \
             \"key_columns\": [\"id\"], \"unchecked_unique\": false}]}"
        );
    }
}

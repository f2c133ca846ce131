//! Owns the changes `pgmanifold map` makes to the catalog: the file's declaration, and ranges that
//! change owners. Each is one transaction that has lost when somebody else was first.

use super::super::rows;
use super::{Admin, AdminError, moving};
use pgmanifold_router::catalog::{self, INSTALL_SQL};
use pgmanifold_router::key::KeyValue;
use pgmanifold_router::shard_map::{
    Bound, DistributionKind, DistributionParts, MapError, MapParts, ShardMap,
};
use std::collections::BTreeSet;
use tokio_postgres::Client;

/// What may be done beyond what is safe by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Permissions {
    /// Keys may get another shard: somebody has seen to it that their rows are there.
    pub rows_are_there: bool,
    /// What the file does not name is taken out of the map.
    pub remove: bool,
    /// Nothing is written.
    pub dry: bool,
}

/// A change of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// What is other than before, one line each; empty when nothing is.
    pub lines: Vec<String>,
    /// The epoch afterwards.
    pub epoch: u64,
}

/// Makes the schema in the catalog.
///
/// # Errors
/// When it cannot be reached, or the login may not.
pub async fn install(admin: &Admin) -> Result<(), AdminError> {
    let client = admin.catalog().await?;
    let done = client.batch_execute(INSTALL_SQL).await;
    done.map_err(|error| AdminError::catalog(crate::cluster::control::ControlError::from(error)))
}

/// Makes the catalog's map what the file says. Ranges that the file does not name, and tables and
/// distributions that it does not have, stay as they are.
///
/// # Errors
/// When keys would get another shard without permission, or the catalog cannot be written.
pub async fn apply(admin: &Admin, permissions: Permissions) -> Result<Changed, AdminError> {
    let mut client = admin.catalog().await?;
    let declared = admin.declared()?;
    let wanted = declared.map.parts();
    let Some(old) = admin.catalog_map(&client).await? else {
        let lines = differences(&MapParts::default(), &wanted);
        if !permissions.dry {
            let commands = catalog::create_map(&declared.database, &wanted, "map apply");
            write(&mut client, &commands).await?;
        }
        return Ok(Changed { lines, epoch: wanted.epoch });
    };
    let merged = merge(&old.parts(), wanted, &declared.even, permissions.remove);
    let next = old.next(|parts| *parts = merged).map_err(|errors| wrong(&errors))?;
    replace(admin, &mut client, &old, &next, permissions, "map apply").await
}

/// Makes two ranges of one; both stay where they are.
///
/// # Errors
/// When there is no such distribution or a range begins there already.
pub async fn split(
    admin: &Admin,
    distribution: &str,
    at: &str,
    dry: bool,
) -> Result<Changed, AdminError> {
    let (mut client, old) = current(admin).await?;
    let (index, bound) = border(&old, distribution, at)?;
    moving::at_rest(&old, distribution)?;
    let next = old.split(index, bound).map_err(|errors| wrong(&errors))?;
    let permissions = Permissions { dry, ..Permissions::default() };
    replace(admin, &mut client, &old, &next, permissions, "map split").await
}

/// Gives a range, or a value of a list, to another shard. No row is moved.
///
/// # Errors
/// Without permission; when there is no such range or shard.
pub async fn assign(
    admin: &Admin,
    distribution: &str,
    from: Option<&str>,
    shard: &str,
    permissions: Permissions,
) -> Result<Changed, AdminError> {
    let (mut client, old) = current(admin).await?;
    moving::at_rest(&old, distribution)?;
    let found = old.distributions.iter().find(|one| *one.name == *distribution);
    let is_list = found.is_some_and(|one| one.kind == DistributionKind::List);
    let next = match from {
        Some(from) => match border(&old, distribution, from)? {
            (index, Bound::Value(value)) if is_list => old.assign_value(index, value, shard),
            (index, bound) => old.assign(index, Some(&bound), shard),
        },
        None => old.assign(index_of(&old, distribution)?, None, shard),
    };
    let next = next.map_err(|errors| wrong(&errors))?;
    replace(admin, &mut client, &old, &next, permissions, "map move").await
}

async fn current(admin: &Admin) -> Result<(Client, ShardMap), AdminError> {
    let client = admin.catalog().await?;
    let map = admin.catalog_map(&client).await?.ok_or_else(|| admin.no_map())?;
    Ok((client, map))
}

async fn replace(
    admin: &Admin,
    client: &mut Client,
    old: &ShardMap,
    next: &ShardMap,
    permissions: Permissions,
    note: &str,
) -> Result<Changed, AdminError> {
    let (before, after) = (old.parts(), next.parts());
    let lines = differences(&before, &after);
    if lines.is_empty() {
        return Ok(Changed { lines, epoch: old.epoch });
    }
    moving::protect(&before, &after)?;
    let moved = moved(&before, &after);
    if !moved.is_empty() && !permissions.rows_are_there && !permissions.dry {
        return Err(AdminError(format!(
            "keys would get another shard without their rows: {}\n\
             when the rows are there already, say so with --yes-the-rows-are-there",
            moved.join("; ")
        )));
    }
    if !permissions.dry {
        let name = &admin.database().name;
        let commands = catalog::change_map(name, old.epoch, &after, note);
        write(client, &commands).await?;
    }
    Ok(Changed { lines, epoch: next.epoch })
}

async fn write(client: &mut Client, commands: &[catalog::Command]) -> Result<(), AdminError> {
    match rows::change(client, commands).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(AdminError("somebody else has changed the map meanwhile; look again".to_owned()))
        }
        Err(error) => Err(AdminError::catalog(error)),
    }
}

fn wrong(errors: &[MapError]) -> AdminError {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    AdminError(errors.join("\n"))
}

fn index_of(map: &ShardMap, name: &str) -> Result<usize, AdminError> {
    let found = map.distributions.iter().position(|one| *one.name == *name);
    found.ok_or_else(|| {
        let known: Vec<&str> = map.distributions.iter().map(|one| &*one.name).collect();
        AdminError(format!("there is no distribution {name:?}; there are: {}", known.join(", ")))
    })
}

/// A border between ranges, or a listed value, as it is given on the command line.
fn border(map: &ShardMap, name: &str, text: &str) -> Result<(usize, Bound), AdminError> {
    let index = index_of(map, name)?;
    let found = map.distributions.get(index).and_then(|one| match one.kind {
        DistributionKind::Hash => text.parse().ok().map(Bound::Hash),
        _ => KeyValue::from_text(*one.key_types.first()?, text).map(Bound::Value),
    });
    let wrong = || AdminError(format!("{text:?} is not a border of distribution {name:?}"));
    found.map(|bound| (index, bound)).ok_or_else(wrong)
}

/// What the catalog is to have: `wanted`, with the ranges that `old` has where the file names none.
fn merge(old: &MapParts, wanted: MapParts, even: &[String], remove: bool) -> MapParts {
    let mut next = wanted;
    for distribution in &mut next.distributions {
        let before = old.distributions.iter().find(|before| before.name == distribution.name);
        let Some(before) = before.filter(|before| before.kind == distribution.kind) else {
            continue;
        };
        if even.iter().any(|name| *name == *distribution.name) {
            distribution.ranges.clone_from(&before.ranges);
        }
        let same_owners = moved_ranges(before, distribution).next().is_none();
        moving::keep(before, distribution, same_owners);
    }
    if !remove {
        for before in &old.distributions {
            if !next.distributions.iter().any(|one| one.name == before.name) {
                next.distributions.push(before.clone());
            }
        }
        for before in &old.tables {
            let is_it = |one: &&pgmanifold_router::shard_map::TableParts| {
                (&one.schema, &one.name) == (&before.schema, &before.name)
            };
            if next.tables.iter().find(is_it).is_none() {
                next.tables.push(before.clone());
            }
        }
    }
    next
}

/// The lines in which two maps differ.
fn differences(before: &MapParts, after: &MapParts) -> Vec<String> {
    let (old, new) = (lines(before), lines(after));
    let gone = old.difference(&new).map(|line| format!("- {line}"));
    gone.chain(new.difference(&old).map(|line| format!("+ {line}"))).collect()
}

fn lines(parts: &MapParts) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    if !parts.home.is_empty() {
        lines.insert(format!("home {}", parts.home));
    }
    lines.extend(parts.shards.iter().map(|shard| format!("shard {shard}")));
    for one in &parts.distributions {
        let types: Vec<String> = one.key_types.iter().map(ToString::to_string).collect();
        let home = one.home.as_ref().map_or_else(String::new, |home| format!(" on {home}"));
        let name = &one.name;
        let head = format!("distribution {name}: {} {}{home}", one.kind, types.join(", "));
        lines.insert(head.trim_end().to_owned());
        lines.extend(one.ranges.iter().map(|(from, shard)| {
            let from = from.as_ref().map_or_else(|| "the beginning".into(), Bound::to_string);
            format!("distribution {name}: from {from}: {shard}")
        }));
        let value = |(value, shard): &(KeyValue, Box<str>)| {
            format!("distribution {name}: value {value}: {shard}")
        };
        lines.extend(one.values.iter().map(value));
        let moving = one.moving.iter().map(moving::describe);
        lines.extend(moving.map(|moving| format!("distribution {name}: {moving}")));
    }
    for table in &parts.tables {
        let (schema, name) = (&table.schema, &table.name);
        let key = table.key_columns.join(", ");
        let unchecked = if table.unchecked_unique { ", unchecked_unique" } else { "" };
        lines.insert(format!("table {schema}.{name}: {} ({key}){unchecked}", table.distribution));
    }
    lines
}

/// Which keys have another shard than before, of distributions that were there already; and which
/// shards are new and have no rows of reference tables yet, so that reads there would find none.
fn moved(before: &MapParts, after: &MapParts) -> Vec<String> {
    let mut moved = copies_wanted(before, after);
    for new in &after.distributions {
        let Some(old) = before.distributions.iter().find(|old| old.name == new.name) else {
            continue;
        };
        let name = &new.name;
        if old.kind != new.kind || old.key_types != new.key_types {
            moved.push(format!("distribution {name} is of another kind"));
            continue;
        }
        if old.home != new.home {
            moved.push(format!("distribution {name} has another home"));
        }
        for border in moved_ranges(old, new) {
            let from = border.as_ref().map_or_else(|| "the beginning".into(), Bound::to_string);
            moved.push(format!("distribution {name} from {from}"));
        }
        for (value, shard) in &old.values {
            if !new.values.iter().any(|(other, owner)| other == value && owner == shard) {
                moved.push(format!("distribution {name} value {value}"));
            }
        }
    }
    for old in &before.tables {
        let is_it = |new: &&pgmanifold_router::shard_map::TableParts| {
            (&new.schema, &new.name) == (&old.schema, &old.name)
        };
        let place = |one: &pgmanifold_router::shard_map::TableParts| {
            (one.distribution.clone(), one.key_columns.clone())
        };
        if after.tables.iter().find(is_it).map(place) != Some(place(old)) {
            moved.push(format!("table {}.{}", old.schema, old.name));
        }
    }
    moved
}

/// Reference tables that new shards are to have a copy of.
fn copies_wanted(before: &MapParts, after: &MapParts) -> Vec<String> {
    let new = after.shards.iter().filter(|shard| !before.shards.contains(shard));
    let is_copied = |name: &str| {
        let mut known = before.distributions.iter();
        known.any(|one| *one.name == *name && one.kind == DistributionKind::Reference)
    };
    let copied = before.tables.iter().filter(|table| is_copied(&table.distribution));
    let names: Vec<String> =
        copied.map(|table| format!("{}.{}", table.schema, table.name)).collect();
    let wanted = new.filter(|_| !names.is_empty());
    wanted.map(|shard| format!("shard {shard} needs the rows of {}", names.join(", "))).collect()
}

/// Where keys begin that have another owner. Between two neighbouring borders of either map, all
/// keys have one owner in each.
fn moved_ranges<'a>(
    old: &'a DistributionParts,
    new: &'a DistributionParts,
) -> impl Iterator<Item = &'a Option<Bound>> {
    let borders = old.ranges.iter().chain(&new.ranges).map(|(from, _)| from);
    let borders = borders.collect::<BTreeSet<_>>().into_iter();
    borders.filter(|border| owner(old, border) != owner(new, border))
}

/// Who has the keys that begin at a border.
fn owner<'a>(parts: &'a DistributionParts, at: &Option<Bound>) -> Option<&'a str> {
    let before = parts.ranges.iter().filter(|(from, _)| from <= at);
    before.max_by(|a, b| a.0.cmp(&b.0)).map(|(_, shard)| &**shard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgmanifold_router::key::KeyType;

    fn parts() -> MapParts {
        MapParts::new(&["s0", "s1"])
            .hash("customer", &[KeyType::Int8])
            .list("country", KeyType::Int4, &[(KeyValue::Int(1), "s0")])
            .table("public", "orders", "customer", &["id"])
    }

    #[test]
    fn differences_are_lines() {
        assert!(differences(&parts(), &parts()).is_empty());
        let mut other = parts().table("public", "lines", "customer", &["a"]);
        other.values_of("country", 1, "s1");
        assert_eq!(
            differences(&parts(), &other),
            [
                "- distribution country: value 1: s0",
                "+ distribution country: value 1: s1",
                "+ table public.lines: customer (a)"
            ]
        );
    }

    #[test]
    fn a_new_shard_needs_the_rows_of_reference_tables() {
        let with = |shards: &[&str]| {
            let mut parts = parts().reference("copies").table("public", "world", "copies", &[]);
            parts.shards = shards.iter().map(|name| Box::from(*name)).collect();
            parts
        };
        let two = with(&["s0", "s1"]);
        assert_eq!(moved(&two, &two), Vec::<String>::new());
        let found = moved(&two, &with(&["s0", "s1", "s2"]));
        assert_eq!(found, ["shard s2 needs the rows of public.world"]);
        assert_eq!(moved(&parts(), &with(&["s0", "s1", "s2"])), Vec::<String>::new(), "new tables");
    }

    trait Edit {
        fn values_of(&mut self, name: &str, value: i64, shard: &str);
    }

    impl Edit for MapParts {
        fn values_of(&mut self, name: &str, value: i64, shard: &str) {
            let found = self.distributions.iter_mut().find(|one| *one.name == *name).unwrap();
            found.values = vec![(KeyValue::Int(value), shard.into())];
        }
    }

    #[test]
    fn keys_that_change_hands_are_named() {
        let (before, mut after) = (parts(), parts());
        after.distributions[0].ranges.push((Some(Bound::Hash(7)), "s1".into()));
        assert!(moved(&before, &after).is_empty(), "a split moves nothing");
        after.distributions[0].ranges.push((Some(Bound::Hash(-7)), "s1".into()));
        assert_eq!(moved(&before, &after), ["distribution customer from -7"]);
        let mut after = parts();
        after.values_of("country", 1, "s1");
        after.tables.clear();
        let wanted = ["distribution country value 1", "table public.orders"];
        assert_eq!(moved(&before, &after), wanted);
    }

    #[test]
    fn ranges_the_file_does_not_name_stay() {
        let mut old = parts();
        old.distributions[0].ranges = vec![(None, "s1".into())];
        let even = ["customer".to_owned()];
        let next = merge(
            &old,
            MapParts::new(&["s0", "s1"]).hash("customer", &[KeyType::Int8]),
            &even,
            false,
        );
        assert_eq!(next.distributions[0].ranges, [(None, "s1".into())]);
        assert_eq!((next.distributions.len(), next.tables.len()), (2, 1), "the others too");
        let next = merge(&old, parts(), &[], true);
        assert_eq!(next.distributions[0].ranges.len(), 2);
    }
}

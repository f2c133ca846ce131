//! Owns the rules about shards: statements that ask all of them, shards that do most of the work,
//! and rules of sharding that are only tried.

use super::super::seen::{Seen, Statement, Tried};
use super::super::{Advice, CALLS_MIN, Keys, Kind, TIME_US_MIN};
use super::{ms, percent, server_us, shortened};
use std::collections::BTreeMap;

/// A scatter with a smaller part of the time is left alone.
const SCATTER_SHARE_MIN: f64 = 5.0;
/// A statement counts as a scatter when this part of its executions is.
const SCATTER_CALLS_MIN: f64 = 50.0;
/// So many times the even share makes a shard hot.
const HOT_FACTOR: f64 = 2.0;
/// With two shards, the part that makes one of them hot.
const HOT_OF_TWO: f64 = 75.0;
/// From this part of statements on, scatters under tried rules are worth a word.
const TRIED_SCATTER_MIN: f64 = 5.0;

/// Statements over several shards.
pub(super) fn scatters(seen: &Seen, keys: &dyn Keys) -> Vec<Advice> {
    let found = seen.statements.iter().filter_map(|statement| {
        let share_percent = percent(statement.server_us, server_us(seen, &statement.database));
        let scattered = percent(statement.scatter, statement.calls) >= SCATTER_CALLS_MIN;
        let enough = statement.calls >= CALLS_MIN && statement.server_us >= TIME_US_MIN;
        if !scattered || !enough || share_percent < SCATTER_SHARE_MIN {
            return None;
        }
        Some((statement, share_percent))
    });
    let advice = |(statement, share_percent): (&Statement, f64)| {
        let text = shortened(&statement.text);
        let present = keys.present(&statement.database, &statement.text);
        let (kind, advice) = match (keys.better(&statement.database, &statement.text), present) {
            (Some((distribution, column)), _) => {
                let advice = format!(
                    "{text} asks every shard. With {column} as the key of distribution \
                     {distribution}, it would ask one; weigh that against statements that use the \
                     present key."
                );
                (Kind::ShardKey, advice)
            }
            (None, Some((_, key))) => {
                let advice = format!(
                    "{text} asks every shard: say {key} = … in it where the application knows it."
                );
                (Kind::Scatter, advice)
            }
            (None, None) => {
                let advice = format!("{text} asks every shard: name a shard key in it.");
                (Kind::Scatter, advice)
            }
        };
        let evidence = format!(
            "calls={} scatter={} shards_mean={:.1} server_ms={} share={share_percent:.0}% of \
             server time",
            statement.calls,
            statement.scatter,
            statement.shards_mean,
            ms(statement.server_us)
        );
        let database = Some(statement.database.clone());
        let subject = statement.fingerprint.clone();
        Advice { kind, database, subject, advice, evidence, share_percent }
    };
    found.map(advice).collect()
}

/// Shards of a sharded database with far more than their part of the traffic.
pub(super) fn hot_shards(seen: &Seen) -> Vec<Advice> {
    let mut databases: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (database, shard) in seen.ranges.keys().filter(|(_, shard)| shard != "all") {
        databases.entry(database).or_default().push(shard);
    }
    let mut found = Vec::new();
    for (database, shards) in databases.into_iter().filter(|(_, shards)| shards.len() > 1) {
        let traffic = |shard: &str| -> (u64, u64) {
            let own = seen.hosts.iter().filter(|host| host.shard == shard);
            own.fold((0, 0), |sum, host| (sum.0 + host.queries, sum.1 + host.served_us))
        };
        let each: Vec<(&str, u64, u64)> = shards
            .iter()
            .map(|shard| {
                let (queries, served_us) = traffic(shard);
                (*shard, queries, served_us)
            })
            .collect();
        let all: u64 = each.iter().map(|(.., served_us)| served_us).sum();
        let calls: u64 = each.iter().map(|(_, queries, _)| queries).sum();
        let Some((hot, queries, served_us)) = each.iter().max_by_key(|one| one.2) else { continue };
        let coldest = each.iter().min_by_key(|one| one.2).map_or("", |one| one.0);
        let share_percent = percent(*served_us, all);
        let even = 100.0 / each.len() as f64;
        let limit = if each.len() == 2 { HOT_OF_TWO } else { (even * HOT_FACTOR).min(HOT_OF_TWO) };
        if calls < CALLS_MIN || *served_us < TIME_US_MIN || share_percent < limit {
            continue;
        }
        let ranges = seen.ranges.get(&(database.to_owned(), (*hot).to_owned())).unwrap_or(&0);
        found.push(Advice {
            kind: Kind::HotShard,
            database: Some(database.to_owned()),
            subject: (*hot).to_owned(),
            advice: format!(
                "Shard {hot} does most of the work: split its ranges and give one to {coldest}, \
                 the least busy. If a single key makes it hot, no split helps; then it needs a \
                 distribution of its own."
            ),
            evidence: format!(
                "calls={queries} of {calls} served_ms={} of {} ranges={ranges} \
                 share={share_percent:.0}% where {even:.0}% would be even",
                ms(*served_us),
                ms(all)
            ),
            share_percent,
        });
    }
    found
}

/// What rules that are tried would make of a database's statements.
pub(super) fn tried_rules(seen: &Seen) -> Vec<Advice> {
    let mut databases: BTreeMap<&str, Vec<&Tried>> = BTreeMap::new();
    for tried in &seen.tried {
        databases.entry(&tried.database).or_default().push(tried);
    }
    databases.into_iter().filter_map(|(database, tried)| of_rules(database, &tried)).collect()
}

fn of_rules(database: &str, tried: &[&Tried]) -> Option<Advice> {
    let calls: u64 = tried.iter().map(|one| one.calls).sum();
    if calls < CALLS_MIN {
        return None;
    }
    let of = |outcome: &str| -> (f64, Option<&Tried>) {
        let own = tried.iter().filter(|one| one.outcome == outcome);
        let sum: u64 = own.clone().map(|one| one.calls).sum();
        (percent(sum, calls), own.max_by_key(|one| one.calls).copied())
    };
    let ((single, _), (scatter, widest), (refused, worst)) =
        (of("single"), of("scatter"), of("refused"));
    let advice = match (worst, widest) {
        (Some(worst), _) => format!(
            "Under the rules that are tried, {refused:.1}% of statements would be refused, most \
             often for {}: {}. Change those, or the rules, first.",
            worst.construct,
            shortened(&worst.example)
        ),
        (None, Some(widest)) if scatter >= TRIED_SCATTER_MIN => format!(
            "Under the rules that are tried, nothing would be refused, and {scatter:.1}% of \
             statements would ask several shards, most often {}.",
            shortened(&widest.example)
        ),
        (None, _) => format!(
            "The rules that are tried fit: {single:.1}% of statements would need one shard, and \
             none would be refused."
        ),
    };
    let evidence = format!(
        "calls={calls} single={single:.1}% scatter={scatter:.1}% refused={refused:.1}%; \
         share={:.1}% not on one shard",
        100.0 - single
    );
    Some(Advice {
        kind: Kind::ShardRules,
        database: Some(database.to_owned()),
        subject: database.to_owned(),
        advice,
        evidence,
        share_percent: 100.0 - single,
    })
}

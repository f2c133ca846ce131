//! Owns the rules: what numbers lead to which advice. Each is a function of what was seen.

use super::seen::{Host, Seen, Statement};
use super::{Advice, CALLS_MIN, Keys, Kind, TIME_US_MIN, columns};
use std::collections::BTreeMap;

/// From this part of all servers' time on, a statement is worth a row.
const STATEMENT_SHARE_MIN: f64 = 20.0;
/// A statement that takes less on average is fast.
const SLOW_US: f64 = 5_000.0;
/// One that is faster than this is only costly by its number.
const QUICK_US: f64 = 1_000.0;
/// Fewer rows than this per millisecond are few for the time they take.
const ROWS_PER_MS_FEW: f64 = 10.0;
/// So many rows of one call are many.
const ROWS_MANY: f64 = 1_000.0;
/// From this part of the time on, waiting for connections is worth a row.
const WAIT_SHARE_MIN: f64 = 10.0;
/// A statement with this share is taken for the reason why others wait.
const REASON_SHARE_MIN: f64 = 50.0;
/// A host with this part of its connections in use is full.
const FULL_SHARE_MIN: f64 = 90.0;
/// From this part of reads on, reads that replicas could not have are worth a row.
const STALE_SHARE_MIN: f64 = 10.0;
/// A primary is relieved by a replica when reads are at least this part of its work.
const READ_SHARE_MIN: f64 = 50.0;
/// A scatter with a smaller part of the time is left alone.
const SCATTER_SHARE_MIN: f64 = 5.0;
/// A statement counts as a scatter when this part of its executions is.
const SCATTER_CALLS_MIN: f64 = 50.0;
/// So many times the even share makes a shard hot.
const HOT_FACTOR: f64 = 2.0;
/// With two shards, the part that makes one of them hot.
const HOT_OF_TWO: f64 = 75.0;
/// A pool with fewer open connections is not worth shrinking.
const IDLE_OPEN_MIN: u64 = 10;
/// Open connections of which less than this part is busy lie idle.
const IDLE_BUSY_MAX: f64 = 10.0;
/// Transactions before a pool is called idle.
const IDLE_TRANSACTIONS_MIN: u64 = 10_000;
/// Characters of a statement in a sentence.
const TEXT_CHARS_MAX: usize = 80;

/// What no rule applies to: the row of all that did not fit.
const OTHER: &str = "other";

/// All advice, in no order.
pub(super) fn all(seen: &Seen, keys: &dyn Keys) -> Vec<Advice> {
    let mut all = statements(seen);
    all.extend(waits(seen, &all));
    all.extend(full_hosts(seen));
    all.extend(stale_replicas(seen));
    all.extend(missing_replicas(seen, &all));
    all.extend(scatters(seen, keys));
    all.extend(hot_shards(seen));
    all.extend(idle_pools(seen));
    all
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

fn per_call(sum: u64, calls: u64) -> f64 {
    if calls == 0 { 0.0 } else { sum as f64 / calls as f64 }
}

fn ms(us: u64) -> u64 {
    us / 1000
}

/// The beginning of a text, on one line.
fn shortened(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Time of servers by all statements of a database.
fn server_us(seen: &Seen, database: &str) -> u64 {
    let own = seen.statements.iter().filter(|statement| statement.database == database);
    own.map(|statement| statement.server_us).sum()
}

/// Statements on which most of the servers' time goes.
fn statements(seen: &Seen) -> Vec<Advice> {
    seen.statements.iter().filter_map(|statement| of_statement(seen, statement)).collect()
}

fn of_statement(seen: &Seen, statement: &Statement) -> Option<Advice> {
    let all = server_us(seen, &statement.database);
    let share_percent = percent(statement.server_us, all);
    let enough = statement.calls >= CALLS_MIN && statement.server_us >= TIME_US_MIN;
    if !enough || share_percent < STATEMENT_SHARE_MIN || statement.fingerprint == OTHER {
        return None;
    }
    let mean_us = per_call(statement.server_us, statement.calls);
    let rows = per_call(statement.rows, statement.calls);
    let rows_per_ms = statement.rows as f64 / (statement.server_us as f64 / 1000.0);
    let text = shortened(&statement.text);
    let adds = text.to_lowercase().starts_with("insert");
    let (kind, advice) = if rows >= ROWS_MANY {
        let advice = format!(
            "Fetch fewer rows: {text} returns {rows:.0} of them at a time. Add a LIMIT, or the \
             condition that the application applies afterwards."
        );
        (Kind::Rows, advice)
    } else if mean_us >= SLOW_US && rows_per_ms < ROWS_PER_MS_FEW && !adds {
        let compared = columns::compared(statement.text.as_bytes());
        let columns = match compared.is_empty() {
            true => "what it compares and joins by".to_owned(),
            false => compared.join(", "),
        };
        let advice = format!(
            "Look at the plan of {text} with EXPLAIN (ANALYZE, BUFFERS): it takes long for few \
             rows, as a scan does. An index on {columns} is what helps most often."
        );
        (Kind::Index, advice)
    } else if mean_us < QUICK_US {
        let advice = format!(
            "Send {text} less often: each call is fast, and their number is what costs. Cache its \
             answer, or ask for several keys at once."
        );
        (Kind::Calls, advice)
    } else {
        return None;
    };
    let evidence = format!(
        "calls={} server_ms={} mean_ms={:.2} rows_per_call={rows:.1} share={share_percent:.0}% of \
         server time",
        statement.calls,
        ms(statement.server_us),
        mean_us / 1000.0,
    );
    let database = Some(statement.database.clone());
    let subject = statement.fingerprint.clone();
    Some(Advice { kind, database, subject, advice, evidence, share_percent })
}

/// Databases whose requests wait for connections.
fn waits(seen: &Seen, others: &[Advice]) -> Vec<Advice> {
    let mut sums: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for statement in &seen.statements {
        let (calls, total, waited) = sums.entry(&statement.database).or_default();
        *calls += statement.calls;
        *total += statement.total_us;
        *waited += statement.pool_wait_us;
    }
    let found = sums.into_iter().filter_map(|(database, (calls, total, waited))| {
        let share_percent = percent(waited, total);
        if calls < CALLS_MIN || waited < TIME_US_MIN || share_percent < WAIT_SHARE_MIN {
            return None;
        }
        let reason = others.iter().find(|other| {
            other.database.as_deref() == Some(database)
                && matches!(other.kind, Kind::Index | Kind::Rows)
                && other.share_percent >= REASON_SHARE_MIN
        });
        let (kind, advice) = match reason {
            Some(other) => {
                let advice = format!(
                    "Requests wait for server connections, which statement {} holds most of the \
                     time: make that one faster first. Then raise pool_size, if they still wait.",
                    other.subject
                );
                (Kind::PoolHeld, advice)
            }
            None => {
                let advice = "Raise pool_size, if the server has cores and max_connections to \
                              spare: requests wait for server connections, and no single statement \
                              holds them.";
                (Kind::PoolSmall, advice.to_owned())
            }
        };
        let evidence = format!(
            "calls={calls} total_ms={} pool_wait_ms={} share={share_percent:.0}% of the time",
            ms(total),
            ms(waited)
        );
        let (subject, database) = (database.to_owned(), Some(database.to_owned()));
        Some(Advice { kind, database, subject, advice, evidence, share_percent })
    });
    found.collect()
}

fn is_full(host: &Host) -> bool {
    let share = percent(host.active, host.size);
    host.queries >= CALLS_MIN && host.waiting > 0 && share >= FULL_SHARE_MIN
}

/// Hosts whose connections are all in use while others wait.
fn full_hosts(seen: &Seen) -> Vec<Advice> {
    let full = seen.hosts.iter().filter(|host| is_full(host));
    full.map(|host| Advice {
        kind: Kind::HostFull,
        database: None,
        subject: host.host.clone(),
        advice: format!(
            "Every connection that pools may have to {} ({} of shard {}) is in use now, and \
             sessions wait: shorten what runs there, or allow more if its CPU is not busy.",
            host.host, host.role, host.shard
        ),
        evidence: format!(
            "calls={} active={} size={} waiting={} oldest_wait_ms={} pool_wait_ms={} share={:.0}% \
             in use",
            host.queries,
            host.active,
            host.size,
            host.waiting,
            ms(host.oldest_wait_us),
            ms(host.pool_wait_us),
            percent(host.active, host.size)
        ),
        share_percent: percent(host.active, host.size),
    })
    .collect()
}

/// Whether a database lives on a shard that has replicas.
fn has_replicas(seen: &Seen, database: &str) -> bool {
    let own = seen.shards.iter().filter(|shard| shard.databases.iter().any(|d| d == database));
    own.into_iter().any(|shard| shard.hosts > 1)
}

/// Reads that replicas could not have, because of their lag or absence.
fn stale_replicas(seen: &Seen) -> Vec<Advice> {
    let mut reads: BTreeMap<&str, (u64, BTreeMap<&str, u64>)> = BTreeMap::new();
    for way in &seen.ways {
        let (all, pinned) = reads.entry(&way.database).or_default();
        match way.route.as_str() {
            "replica_read" => *all += way.count,
            "pinned_read" => {
                *all += way.count;
                *pinned.entry(&way.reason).or_default() += way.count;
            }
            _ => {}
        }
    }
    let found = reads.into_iter().filter_map(|(database, (all, pinned))| {
        let count: u64 = pinned.values().sum();
        let share_percent = percent(count, all);
        let (reason, most) = pinned.into_iter().max_by_key(|(_, count)| *count)?;
        if count < CALLS_MIN || share_percent < STALE_SHARE_MIN || !has_replicas(seen, database) {
            return None;
        }
        let lag_ms = seen.hosts.iter().filter(|h| h.role == "replica").map(|h| h.lag_ms).max();
        let advice = format!(
            "Reads that replicas could answer run on the primary; most often {reason}. {}",
            remedy(reason)
        );
        let evidence = format!(
            "calls={count} of {all} reads, {most} because {reason}; lag_ms={} now; \
             share={share_percent:.0}% of reads",
            lag_ms.unwrap_or(0)
        );
        let (subject, database) = (database.to_owned(), Some(database.to_owned()));
        let kind = Kind::ReplicaLag;
        Some(Advice { kind, database, subject, advice, evidence, share_percent })
    });
    found.collect()
}

/// What can be done about a reason why no replica was read from.
fn remedy(reason: &str) -> &'static str {
    match reason {
        reason if reason.contains("own write") => {
            "See what holds up replay (long queries there, disks), or let statements that need not \
             see their session's writes say causality=off."
        }
        reason if reason.contains("lag") => {
            "See what holds up replay, or raise max_replica_lag_ms if older answers will do."
        }
        reason if reason.contains("banned") || reason.contains("no replica is up") => {
            "Bring the replicas back; HOSTS tells what is wrong with them."
        }
        _ => "HOSTS tells which replicas follow the primary, and how far behind they are.",
    }
}

/// Primaries that are full of reads and have no replica.
fn missing_replicas(seen: &Seen, others: &[Advice]) -> Vec<Advice> {
    let mut found = Vec::new();
    let primaries = seen.hosts.iter().filter(|host| host.role == "primary");
    for host in primaries {
        let Some(shard) = seen.shards.iter().find(|shard| shard.shard == host.shard) else {
            continue;
        };
        let waits = |database: &String| {
            others.iter().any(|other| {
                other.kind == Kind::PoolSmall && other.database.as_ref() == Some(database)
            })
        };
        let pressed = is_full(host) || shard.databases.iter().any(waits);
        if shard.replicas_usable > 0 || host.queries < CALLS_MIN || !pressed {
            continue;
        }
        let own = seen.ways.iter().filter(|way| shard.databases.contains(&way.database));
        let (mut reads, mut all) = (0, 0);
        for way in own.filter(|way| !matches!(way.route.as_str(), "local" | "refused")) {
            all += way.count;
            if matches!(way.route.as_str(), "primary_read" | "pinned_read") {
                reads += way.count;
            }
        }
        let share_percent = percent(reads, all);
        if reads < CALLS_MIN || share_percent < READ_SHARE_MIN {
            continue;
        }
        found.push(Advice {
            kind: Kind::AddReplica,
            database: None,
            subject: shard.shard.clone(),
            advice: format!(
                "Add a replica to shard {}: its primary has more than it can do, and most of it \
                 are reads.",
                shard.shard
            ),
            evidence: format!(
                "calls={all} reads={reads} active={} size={} waiting={} share={share_percent:.0}% \
                 reads",
                host.active, host.size, host.waiting
            ),
            share_percent,
        });
    }
    found
}

/// Statements over several shards.
fn scatters(seen: &Seen, keys: &dyn Keys) -> Vec<Advice> {
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
fn hot_shards(seen: &Seen) -> Vec<Advice> {
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

/// Pools that keep many connections and use few.
fn idle_pools(seen: &Seen) -> Vec<Advice> {
    let found = seen.rates.iter().filter_map(|rate| {
        let own = seen.pools.iter().filter(|pool| pool.database == rate.database);
        let largest = own.clone().max_by_key(|pool| pool.open)?;
        let open: u64 = own.map(|pool| pool.open).sum();
        let busy = rate.transactions_per_s * rate.transaction_us / 1e6;
        let used = 100.0 * busy / open.max(1) as f64;
        let measured = rate.transactions >= IDLE_TRANSACTIONS_MIN && rate.transactions_per_s > 0.0;
        if !measured || open < IDLE_OPEN_MIN || used > IDLE_BUSY_MAX {
            return None;
        }
        let share_percent = 100.0 - used;
        Some(Advice {
            kind: Kind::PoolIdle,
            database: Some(rate.database.clone()),
            subject: format!("{}/{}", largest.database, largest.user),
            advice: format!(
                "Lower pool_size and min_idle of {}: its pools keep {open} server connections, and \
                 {busy:.1} are busy on average.",
                rate.database
            ),
            evidence: format!(
                "calls={} transactions, {:.1}/s of {:.2} ms each; open={open} busy={busy:.1} \
                 share={share_percent:.0}% idle",
                rate.transactions,
                rate.transactions_per_s,
                rate.transaction_us / 1000.0
            ),
            share_percent,
        })
    });
    found.collect()
}

//! Owns recovery: it looks for prepared parts that nobody is ending any more, and ends them as
//! their home decides. Any number of processes may do this at once, at any moment, also while the
//! commit in question is under way: the decision is one row in one place.
//!
//! A part counts as abandoned when this process has seen it in two rounds that are one interval
//! apart, and no commit of this process is at work on it. Too early is safe, and costs the client
//! an error (40001); a PREPARE that arrives late is found in a later round, and rolled back.

use super::reach::{Check, End, Trouble};
use super::{Handed, TwoPhase, lock};
use crate::wire::error::SqlError;
use futures_util::future::join_all;
use pgmanifold_router::dtx::PartName;
use pgmanifold_router::shard_schema::{FORGET_MAX, VERSION};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// A shard that is fit is checked again after this time.
const CHECK_AGAIN: Duration = Duration::from_secs(60);
/// Between two deletions of old decisions.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// Most deletions at a time: what they leave is deleted next time.
const FORGET_CALLS: usize = 1000;

/// What recovery remembers between rounds.
#[derive(Default)]
struct Memory {
    /// Parts and when they were first seen.
    seen: HashMap<String, Instant>,
    /// By shard.
    checked: HashMap<usize, Checked>,
    forgot: Option<Instant>,
}

/// What was found out about a shard.
struct Checked {
    at: Instant,
    generation: u64,
    fit: bool,
    /// The number it says it has.
    number: Option<String>,
    /// What was last written to the log.
    said: String,
}

/// A prepared part as it was found.
struct Found {
    shard: usize,
    part: String,
}

impl TwoPhase {
    /// Recovers until `shutdown` completes. To be run on the control runtime.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        let mut memory = Memory::default();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                () = self.round(&mut memory) => {}
            }
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(self.times.recovery_interval) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    async fn round(&self, memory: &mut Memory) {
        self.check_all(memory).await;
        // Taken before the look: what is handed over later may be prepared later.
        let handed = lock(&self.handed).clone();
        let shards = 0..self.shards.len();
        let lists = join_all(shards.map(|shard| self.reach.prepared(shard))).await;
        let mut found = Vec::new();
        let mut complete = true;
        for (shard, list) in lists.into_iter().enumerate() {
            match list {
                Ok(parts) => {
                    self.seen(shard, &parts);
                    self.absent(shard, &parts, &handed).await;
                    let active = lock(&self.active).clone();
                    let doubtful = parts.iter().filter(|part| !is_active(&active, part)).count();
                    self.shard_counts[shard].in_doubt.store(doubtful as u64, Relaxed);
                    found.extend(parts.into_iter().map(|part| Found { shard, part }));
                }
                Err(_) => complete = false,
            }
        }
        let due = self.due(memory, &found, &handed);
        self.end_all(&due).await;
        if complete {
            self.forget_old(memory, &found).await;
        }
    }

    /// Parts that were handed over and are not there: somebody has ended them.
    async fn absent(&self, shard: usize, parts: &[String], handed: &Handed) {
        let name = &*self.shards[shard].name;
        let here = |part: &str| PartName::parse(part).is_some_and(|part| part.shard == name);
        for (part, committed) in handed.iter().filter(|(part, _)| here(part)) {
            if parts.contains(part) {
                continue;
            }
            if let Some(xid) = committed {
                match self.reach.is_committed(shard, xid).await {
                    Ok(true) => {}
                    Ok(false) => self.lost(shard, part, xid),
                    Err(_) => continue,
                }
            }
            self.ended(part);
        }
    }

    /// A part whose commit was decided is neither prepared nor committed: the shard has gone back
    /// to an earlier state. Nothing can be done about it here.
    fn lost(&self, shard: usize, part: &str, xid: &str) {
        self.shard_counts[shard].lost.fetch_add(1, Relaxed);
        tracing::error!(
            database = &*self.database,
            shard = &*self.shards[shard].name,
            part,
            xid,
            "part of a committed transaction is lost on its shard"
        );
    }

    fn ended(&self, part: &str) {
        self.seen_end(part);
        if lock(&self.handed).remove(part).is_some() {
            self.ended.send_replace(());
        }
    }

    /// What is to be ended now.
    fn due<'a>(&self, memory: &mut Memory, found: &'a [Found], handed: &Handed) -> Vec<&'a Found> {
        let now = Instant::now();
        let interval = self.times.recovery_interval;
        let there: HashSet<&str> = found.iter().map(|found| found.part.as_str()).collect();
        memory.seen.retain(|part, _| there.contains(part.as_str()));
        let active = lock(&self.active).clone();
        let mut due = Vec::new();
        for item in found {
            let first = *memory.seen.entry(item.part.clone()).or_insert(now);
            let abandoned = now - first >= interval && !is_active(&active, &item.part);
            if abandoned || handed.contains_key(&item.part) {
                due.push(item);
            }
        }
        due
    }

    /// Ends these parts, transaction by transaction.
    async fn end_all(&self, due: &[&Found]) {
        // A home that does not answer is asked once a round.
        let mut silent: HashSet<&str> = HashSet::new();
        let mut outcomes: HashMap<&str, bool> = HashMap::new();
        for found in due {
            let Some(name) = PartName::parse(&found.part) else {
                tracing::warn!(database = &*self.database, part = found.part, "not a name of ours");
                continue;
            };
            if silent.contains(name.home) {
                continue;
            }
            let committed = match outcomes.get(name.transaction) {
                Some(committed) => *committed,
                None => match self.resolve(name.home, name.transaction).await {
                    Ok(committed) => committed,
                    Err(trouble) => {
                        self.cannot_resolve(found, &trouble);
                        silent.insert(name.home);
                        continue;
                    }
                },
            };
            outcomes.insert(name.transaction, committed);
            self.end(found, committed).await;
        }
    }

    async fn resolve(&self, home: &str, transaction: &str) -> Result<bool, Trouble> {
        match self.shards.iter().position(|place| *place.name == *home) {
            Some(home) => self.reach.resolve(home, transaction).await,
            None => Err(Trouble::Unreachable("no shard of the database has this name".into())),
        }
    }

    fn cannot_resolve(&self, found: &Found, trouble: &Trouble) {
        tracing::warn!(
            database = &*self.database,
            shard = &*self.shards[found.shard].name,
            part = found.part,
            error = %trouble,
            "prepared transaction waits for its home shard"
        );
    }

    async fn end(&self, found: &Found, committed: bool) {
        let shard = &*self.shards[found.shard].name;
        let counts = &self.shard_counts[found.shard];
        match self.reach.end(found.shard, &found.part, committed).await {
            Ok(end) => {
                if end == End::Done {
                    let counter = if committed { &counts.committed } else { &counts.rolled_back };
                    counter.fetch_add(1, Relaxed);
                    let outcome = if committed { "committed" } else { "rolled back" };
                    let (database, part) = (&*self.database, &found.part);
                    tracing::warn!(database, shard, part, outcome, "prepared transaction ended");
                }
                counts.in_doubt.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).ok();
                self.ended(&found.part);
            }
            Err(trouble) => tracing::error!(
                database = &*self.database,
                shard,
                part = found.part,
                committed,
                error = %trouble,
                "prepared transaction cannot be ended"
            ),
        }
    }

    /// Deletes decisions nobody needs any more. Only after a round that has seen every shard.
    async fn forget_old(&self, memory: &mut Memory, found: &[Found]) {
        if memory.forgot.is_some_and(|last| last.elapsed() < FORGET_EVERY) {
            return;
        }
        memory.forgot = Some(Instant::now());
        let names = found.iter().filter_map(|found| PartName::parse(&found.part));
        let live: Vec<&str> = names.map(|name| name.transaction).collect();
        for home in 0..self.shards.len() {
            let mut all = 0;
            for _ in 0..FORGET_CALLS {
                let deleted = self.reach.forget(home, &live).await.unwrap_or_default();
                all += deleted;
                if deleted < FORGET_MAX {
                    break;
                }
            }
            if all > 0 {
                let (database, shard) = (&*self.database, &*self.shards[home].name);
                tracing::info!(database, shard, deleted = all, "old decisions deleted");
            }
        }
    }

    async fn check_all(&self, memory: &mut Memory) {
        let due: Vec<usize> = (0..self.shards.len())
            .filter(|shard| {
                let generation = self.shards[*shard].cluster.generation();
                memory.checked.get(shard).is_none_or(|checked| {
                    let old = checked.at.elapsed() >= CHECK_AGAIN;
                    !checked.fit || old || checked.generation != generation
                })
            })
            .collect();
        let checks = due.iter().map(|shard| self.reach.check(*shard));
        for (shard, check) in due.iter().zip(join_all(checks).await) {
            self.checked(memory, *shard, check);
        }
    }

    fn checked(&self, memory: &mut Memory, shard: usize, check: Result<Check, Trouble>) {
        let place = &self.shards[shard];
        let (trouble, said) = match &check {
            Ok(check) => (trouble(&place.name, check), warning(check)),
            // What was known of it still holds.
            Err(_) => return,
        };
        let fit = trouble.is_none();
        let number = check.ok().and_then(|check| check.schema).map(|(number, _)| number);
        let twin = memory.checked.iter().any(|(other, checked)| {
            *other != shard && number.is_some() && checked.number == number
        });
        let said = match &trouble {
            Some(error) => {
                format!("{}: {}", error.message, error.detail.as_deref().unwrap_or_default())
            }
            None if twin => "two shards have the same number: pgm.next_id() repeats ids".into(),
            None => said.to_owned(),
        };
        let counts = &self.shard_counts[shard];
        counts.ready.store(fit, Relaxed);
        counts.trouble.store(trouble.map(Arc::new));
        let (at, generation) = (Instant::now(), place.cluster.generation());
        let before = memory.checked.get(&shard).map(|checked| checked.said.as_str());
        if before.unwrap_or_default() != said {
            let (database, shard) = (&*self.database, &*place.name);
            match said.as_str() {
                "" => tracing::info!(database, shard, "shard can commit in two phases"),
                said if fit => {
                    tracing::warn!(database, shard, said, "shard is not as it should be")
                }
                said => tracing::error!(database, shard, said, "shard cannot commit in two phases"),
            }
        }
        memory.checked.insert(shard, Checked { at, generation, fit, number, said });
    }
}

fn is_active(active: &HashSet<String>, part: &str) -> bool {
    PartName::parse(part).is_some_and(|part| active.contains(part.transaction))
}

/// Why the shard cannot take part in transactions over several shards.
fn trouble(name: &str, check: &Check) -> Option<SqlError> {
    let install = format!("Install the schema \"pgm\" on shard \"{name}\": pgmanifold map init.");
    let (detail, hint) = match &check.schema {
        None => (format!("Shard \"{name}\" has no schema \"pgm\"."), install),
        Some((_, version)) if version.parse::<u32>().is_ok_and(|v| v < VERSION) => {
            (format!("The schema \"pgm\" of shard \"{name}\" has version {version}."), install)
        }
        Some(_) if !check.can_prepare => (
            format!("On shard \"{name}\", max_prepared_transactions is 0."),
            "Set max_prepared_transactions to max_connections and restart the server.".to_owned(),
        ),
        Some(_) if !check.may_resolve => (
            format!("On shard \"{name}\", recovery may not call pgm.resolve."),
            "Name a superuser as recovery_user, or install the schema \"pgm\" for it.".to_owned(),
        ),
        Some(_) => return None,
    };
    let error = SqlError::error("55000", "transactions cannot write on several shards");
    Some(error.detail(detail).hint(hint))
}

/// What is not as it should be, and does not prevent commits.
fn warning(check: &Check) -> &'static str {
    match check.superuser {
        true => "",
        false => {
            "recovery_user is not a superuser: it can only end transactions that it has prepared \
             itself"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_name_what_is_missing() {
        let good = Check {
            schema: Some(("1".into(), VERSION.to_string())),
            can_prepare: true,
            superuser: true,
            may_resolve: true,
        };
        assert_eq!(trouble("s1", &good), None);
        let of = |check: &Check| trouble("s1", check).unwrap().detail.unwrap().into_owned();
        let check = Check { schema: None, ..good.clone() };
        assert_eq!(of(&check), "Shard \"s1\" has no schema \"pgm\".");
        let check = Check { schema: Some(("1".into(), "0".into())), ..good.clone() };
        assert_eq!(of(&check), "The schema \"pgm\" of shard \"s1\" has version 0.");
        let check = Check { can_prepare: false, ..good.clone() };
        assert_eq!(of(&check), "On shard \"s1\", max_prepared_transactions is 0.");
        let check = Check { may_resolve: false, ..good };
        assert_eq!(of(&check), "On shard \"s1\", recovery may not call pgm.resolve.");
    }
}

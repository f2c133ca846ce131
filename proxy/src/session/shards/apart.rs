//! Owns statements that every shard runs and that no transaction can hold (`VACUUM`, `CREATE INDEX
//! CONCURRENTLY`): shard after shard, with a report of how far it came.

use super::super::account::spread_route;
use super::super::{Event, Session};
use super::run::{Failed, Spread, Task};
use super::seat::Begins;
use crate::execute::{Done, Failure};
use pgmanifold_router::shard_map::ShardId;
use pgmanifold_router::sharding;

impl Session {
    /// Runs the statement on one shard after the other, and stops at the first that fails.
    pub(super) async fn run_apart(&mut self, work: &Spread) -> Option<Event> {
        let shards: Vec<ShardId> = work.spread.parts.iter().map(|part| part.shard).collect();
        let route = (spread_route(&work.plan, &work.spread), shards.len());
        let mut done = Vec::new();
        let mut last = None;
        for &shard in &shards {
            let result = self.run_alone(work, shard).await;
            if let Some(event) = self.leave_seats(&[shard], true).await {
                return Some(event);
            }
            match result {
                Ok(answer) => {
                    done.push(shard);
                    last = Some(answer);
                }
                Err(failed) => {
                    let failed = self.report(failed, &done, &shards);
                    self.leave_map();
                    return self.answer_result(Err(failed), route, work.answer());
                }
            }
        }
        self.leave_map();
        let result = last.ok_or(Failed::Close(None));
        self.answer_result(result, route, work.answer())
    }

    async fn run_alone(&mut self, work: &Spread, shard: ShardId) -> Result<Done, Failed> {
        self.seat(shard, &work.plan, Begins::Never).await?;
        let part = work.spread.parts.iter().filter(|part| part.shard == shard).cloned();
        let alone = sharding::Spread { parts: part.collect(), ..work.spread.clone() };
        self.execute(&[shard], &Task::Spread { spread: &alone, call: &work.call }).await
    }

    /// Says on which shards it was done.
    fn report(&self, failed: Failed, done: &[ShardId], all: &[ShardId]) -> Failed {
        let Failed::Answer(failure) = failed else { return failed };
        let Some(known) = self.sharded() else { return Failed::Answer(failure) };
        let names = |shards: &[ShardId]| -> String {
            let names: Vec<&str> = shards.iter().map(|shard| known.shard_name(*shard)).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        let rest: Vec<ShardId> =
            all.iter().filter(|shard| !done.contains(shard)).copied().collect();
        let cause = failure.error.detail.as_deref().unwrap_or_default();
        let detail =
            format!("{cause} Done on shards: {}; not done on: {}.", names(done), names(&rest));
        let hint = "It runs outside of transactions, shard after shard. Repeat it in a form that \
                    does nothing where it is done already (IF EXISTS, IF NOT EXISTS), or name the \
                    shards one by one with SET pgm.shard.";
        let client_gone = failure.client_gone;
        let mut told = Failure::new(failure.error.detail(detail.trim().to_owned()).hint(hint));
        told.client_gone = client_gone;
        Failed::Answer(told)
    }
}

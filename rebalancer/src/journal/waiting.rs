//! Owns what a move waits for, as others see it in the catalog.

use super::Journal;
use crate::error::Error;

/// Where the journal of a move has it.
const SQL: &str = "\
update pgm.move set journal = case when $2::text is null then journal - 'waiting' \
 else journal || pg_catalog.jsonb_build_object('waiting', $2::text) end \
where id = $1 and journal ->> 'waiting' is distinct from $2::text";

impl Journal {
    /// Notes what work on the move waits for; nothing, when there is none.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn waits(&self, id: i64, reason: Option<&str>) -> Result<(), Error> {
        self.query(SQL, &[&id, &reason]).await.map(drop)
    }
}

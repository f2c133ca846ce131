//! Owns the catalog: the map, moves and their states, and the lease of who moves. It must not know
//! what a state's step does.

mod change;
mod lease;
mod model;
mod rows;
mod waiting;

pub use change::Pending;
pub use lease::is_held;
pub use model::{Event, Mode, Move, Times, Wish};
pub use rows::{border, key_value};

use crate::config::Config;
use crate::connect::{self, Session};
use crate::error::Error;
use crate::plan::PlannedMove;
use crate::state::State;
use pgmanifold_router::catalog;
use pgmanifold_router::shard_map::{Keys, MapError, ShardMap};
use serde_json::Value;
use std::sync::Arc;
use tokio_postgres::types::ToSql;

/// A session on the catalog. Who moves something holds the lease in it.
#[derive(Debug)]
pub struct Journal {
    /// The session; nothing but the journal writes over it.
    pub session: Session,
    config: Arc<Config>,
}

impl Journal {
    /// Opens the catalog, without the lease: to look, and to leave wishes.
    ///
    /// # Errors
    /// It is not reached, or it is not installed.
    pub async fn open(config: Arc<Config>) -> Result<Self, Error> {
        let session = connect::primary(&config.catalog, "catalog").await?;
        lease::look(&session).await?;
        let journal = Self { session, config };
        journal.map().await?;
        Ok(journal)
    }

    /// Takes the lease: from now on nobody else moves keys of this database, for as long as the
    /// session lives.
    ///
    /// # Errors
    /// [`Error::Conflict`] tells who has it.
    pub async fn take_lease(&self) -> Result<(), Error> {
        lease::take(&self.session, &self.config.database).await
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The map of the database as it is now.
    ///
    /// # Errors
    /// What the catalog says, or that it has no such map.
    pub async fn map(&self) -> Result<ShardMap, Error> {
        let rows = self.query(catalog::LOAD_SQL, &[]).await?;
        let mut read = Vec::with_capacity(rows.len());
        for row in rows {
            read.push(catalog::Row {
                what: self.get(&row, 0)?,
                database: self.get(&row, 1)?,
                fields: self.get(&row, 2)?,
            });
        }
        let loaded = catalog::read_rows(read).map_err(|error| self.stopped(&error))?;
        let database = &self.config.database;
        let found = loaded.maps.into_iter().find(|(name, _)| name == database);
        let (_, parts) = found.ok_or_else(|| {
            Error::Usage(format!("the catalog has no map of the database {database:?}"))
        })?;
        ShardMap::build(parts).map_err(|errors| map_errors("the map in the catalog", &errors))
    }

    /// All moves of the database, the oldest first.
    ///
    /// # Errors
    /// What the catalog says, or that a row means nothing.
    pub async fn moves(&self) -> Result<Vec<Move>, Error> {
        let map = self.map().await?;
        let rows = self.query(rows::MOVES_SQL, &[&self.config.database]).await?;
        rows.iter().map(|row| rows::read(row, &map)).collect()
    }

    /// One move.
    ///
    /// # Errors
    /// What the catalog says, or that there is no such move.
    pub async fn one(&self, id: i64) -> Result<Move, Error> {
        let found = self.moves().await?.into_iter().find(|one| one.id == id);
        found.ok_or_else(|| Error::Usage(format!("there is no move {id}")))
    }

    /// Writes down moves that are to be done, and returns their numbers.
    ///
    /// # Errors
    /// What the catalog says, or that keys of one are on their way already.
    pub async fn create(&self, planned: &[PlannedMove], mode: Mode) -> Result<Vec<i64>, Error> {
        let known = self.moves().await?;
        for (at, one) in planned.iter().enumerate() {
            let meets = |distribution: &str, keys: &Keys| {
                distribution == one.distribution && keys.meet(&one.keys)
            };
            let under_way = known.iter().filter(|known| !known.state.is_end());
            if let Some(other) = under_way.into_iter().find(|m| meets(&m.distribution, &m.keys)) {
                return Err(Error::Refused(format!(
                    "keys {} of {} meet those of move {}, which is {}",
                    one.keys, one.distribution, other.id, other.state
                )));
            }
            if planned.iter().take(at).any(|other| meets(&other.distribution, &other.keys)) {
                return Err(Error::Refused(format!(
                    "keys {} of {} stand in two moves",
                    one.keys, one.distribution
                )));
            }
        }
        let mut ids = Vec::with_capacity(planned.len());
        self.session.run("begin").await?;
        for one in planned {
            match self.insert(one, mode).await {
                Ok(id) => ids.push(id),
                Err(error) => {
                    // The first error is the one to tell.
                    let _ = self.session.run("rollback").await;
                    return Err(error);
                }
            }
        }
        self.session.run("commit").await?;
        Ok(ids)
    }

    async fn insert(&self, one: &PlannedMove, mode: Mode) -> Result<i64, Error> {
        let (starts, ends, values) = rows::keys_to_columns(&one.keys);
        let (database, mode) = (&self.config.database, mode.as_str());
        let rows = self
            .query(
                "insert into pgm.move (database, distribution, mode, starts, ends, list_values, \
                 source, target, state) values ($1, $2, $3, $4, $5, $6, $7, $8, 'planned') \
                 returning id",
                &[
                    database,
                    &one.distribution,
                    &mode,
                    &starts,
                    &ends,
                    &values,
                    &one.source,
                    &one.target,
                ],
            )
            .await?;
        let row = rows.first().ok_or_else(|| self.stopped(&"no row was inserted"))?;
        let id: i64 = self.get(row, 0)?;
        self.note(id, State::Planned, "planned").await?;
        Ok(id)
    }

    /// Goes on to the next state.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the row is not in the state that `the_move` says.
    pub async fn advance(&self, the_move: &mut Move, next: State, note: &str) -> Result<(), Error> {
        self.session.run("begin").await?;
        let done = self.set_state(the_move, next, note).await;
        self.end_transaction(done).await?;
        became(the_move, next);
        Ok(())
    }

    async fn set_state(&self, the_move: &Move, next: State, note: &str) -> Result<(), Error> {
        let old = the_move.state;
        if old != next && !old.may_become(next) {
            let message = format!("move {} cannot go from {old} to {next}", the_move.id);
            return Err(Error::Stopped(message));
        }
        let rows = self
            .query(
                rows::ADVANCE_SQL,
                &[&the_move.id, &old.as_str(), &next.as_str(), &next.is_end(), &(old != next)],
            )
            .await?;
        if rows.is_empty() {
            return Err(Error::Conflict(format!(
                "move {} is not {old} any more: somebody else works on it",
                the_move.id
            )));
        }
        self.note(the_move.id, next, note).await
    }

    async fn end_transaction(&self, done: Result<(), Error>) -> Result<(), Error> {
        if done.is_err() {
            // The first error is the one to tell.
            let _ = self.session.run("rollback").await;
            return done;
        }
        self.session.run("commit").await
    }

    /// Notes how far the copy, or what follows, has come.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn progress(
        &self,
        the_move: &Move,
        rows: i64,
        bytes: i64,
        rows_per_s: Option<f64>,
        lag_bytes: Option<i64>,
    ) -> Result<(), Error> {
        let sql = "update pgm.move set rows_copied = $2, bytes_copied = $3, rows_per_s = $4, \
                   lag_bytes = $5 where id = $1";
        self.query(sql, &[&the_move.id, &rows, &bytes, &rows_per_s, &lag_bytes]).await.map(drop)
    }

    /// Notes how many rows there are to copy.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn expect_rows(&self, the_move: &mut Move, rows: i64) -> Result<(), Error> {
        let sql = "update pgm.move set rows_total = $2 where id = $1";
        self.query(sql, &[&the_move.id, &rows]).await?;
        the_move.rows_total = Some(rows);
        Ok(())
    }

    /// Notes how long writes to the keys waited.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn paused_for(&self, the_move: &mut Move, ms: f64) -> Result<(), Error> {
        let sql = "update pgm.move set write_pause_ms = $2 where id = $1";
        self.query(sql, &[&the_move.id, &ms]).await?;
        the_move.write_pause_ms = Some(ms);
        Ok(())
    }

    /// Puts something into the move's journal; null takes it away.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn remember(
        &self,
        the_move: &mut Move,
        key: &str,
        value: Value,
    ) -> Result<(), Error> {
        let sql = "update pgm.move set journal = pg_catalog.jsonb_strip_nulls(\
                   journal || pg_catalog.jsonb_build_object($2::text, $3::jsonb)) \
                   where id = $1 returning journal";
        let rows = self.query(sql, &[&the_move.id, &key, &value]).await?;
        let row = rows.first().ok_or_else(|| self.stopped(&"the move's row is gone"))?;
        the_move.journal = self.get(row, 0)?;
        Ok(())
    }

    /// Notes what happened.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn event(&self, the_move: &Move, note: &str) -> Result<(), Error> {
        self.note(the_move.id, the_move.state, note).await
    }

    async fn note(&self, id: i64, state: State, note: &str) -> Result<(), Error> {
        let sql = "insert into pgm.move_event (move, state, note) values ($1, $2, $3)";
        self.query(sql, &[&id, &state.as_str(), &note]).await.map(drop)
    }

    /// What was noted of a move, the oldest first.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn events(&self, id: i64) -> Result<Vec<Event>, Error> {
        let sql = "select at::text, state, note from pgm.move_event where move = $1 order by id";
        let rows = self.query(sql, &[&id]).await?;
        let event = |row: &tokio_postgres::Row| {
            Ok(Event { at: self.get(row, 0)?, state: self.get(row, 1)?, note: self.get(row, 2)? })
        };
        rows.iter().map(event).collect()
    }

    /// What somebody has asked of the move meanwhile.
    ///
    /// # Errors
    /// What the catalog says; it is also how a mover finds out that it has lost the lease.
    pub async fn wish(&self, id: i64) -> Result<Option<Wish>, Error> {
        let rows = self.query("select wish from pgm.move where id = $1", &[&id]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let wish: Option<String> = self.get(row, 0)?;
        Ok(wish.as_deref().and_then(Wish::from_name))
    }

    /// Asks something of a move, or takes the wish back.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn ask(&self, id: i64, wish: Option<Wish>) -> Result<(), Error> {
        let sql = "update pgm.move set wish = $2 where id = $1";
        self.query(sql, &[&id, &wish.map(Wish::as_str)]).await.map(drop)
    }

    /// Notes that the state's step did not come to its end.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn fail(&self, the_move: &Move, error: &Error) -> Result<(), Error> {
        let text = error.to_string();
        let sql = "update pgm.move set last_error = $2, attempts = attempts + 1 where id = $1";
        self.query(sql, &[&the_move.id, &text]).await?;
        self.event(the_move, &format!("stopped: {text}")).await
    }

    async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        let rows = self.session.client.query(sql, parameters).await;
        rows.map_err(|error| self.session.error(&error))
    }

    fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
        &self,
        row: &'a tokio_postgres::Row,
        column: usize,
    ) -> Result<T, Error> {
        row.try_get(column).map_err(|error| self.session.error(&error))
    }

    fn stopped(&self, cause: &dyn std::fmt::Display) -> Error {
        Error::Stopped(format!("{}: {cause}", self.session.place))
    }
}

fn became(the_move: &mut Move, next: State) {
    the_move.state = next;
    the_move.last_error = None;
    the_move.attempts = 0;
}

/// What is wrong with a map.
pub fn map_errors(what: &str, errors: &[MapError]) -> Error {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Error::Stopped(format!("{what}: {}", errors.join("; ")))
}

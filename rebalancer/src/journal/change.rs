//! Owns changes of the map: each together with the move's state, in one transaction, or not at all.

use super::{Journal, Move, became, map_errors};
use crate::error::Error;
use crate::state::State;
use pgmanifold_router::catalog::{self, Command, Parameter};
use pgmanifold_router::ownership::quote_text;
use pgmanifold_router::shard_map::{MapError, ShardMap};

/// Tries to change a map that others change too.
const MAP_TRIES: u32 = 20;

/// A change of the map and of a move's state that is about to be committed.
#[derive(Debug)]
#[must_use]
pub struct Pending {
    map: ShardMap,
    next: State,
}

impl Journal {
    /// Changes the map and goes on to the next state, both or neither. `change` is asked again when
    /// somebody else has changed the map meanwhile. A move may stay in its state. Returns the new
    /// map, which all proxies are told of.
    ///
    /// # Errors
    /// What `change` says as [`Error::Stopped`]; [`Error::Conflict`] when the row is not in the
    /// state that `the_move` says.
    pub async fn advance_with_map(
        &self,
        the_move: &mut Move,
        next: State,
        change: impl Fn(&ShardMap) -> Result<ShardMap, Vec<MapError>>,
        note: &str,
    ) -> Result<ShardMap, Error> {
        for _ in 0..MAP_TRIES {
            let map = self.map().await?;
            if let Some(map) = self.advance_from(&map, the_move, next, &change, note).await? {
                return Ok(map);
            }
        }
        Err(Error::Conflict("the map changes all the time; try again".to_owned()))
    }

    /// One try of [`Journal::advance_with_map`], from a map that was read before: `None` when it is
    /// not the current one any more.
    ///
    /// # Errors
    /// As [`Journal::advance_with_map`].
    pub async fn advance_from(
        &self,
        map: &ShardMap,
        the_move: &mut Move,
        next: State,
        change: impl Fn(&ShardMap) -> Result<ShardMap, Vec<MapError>>,
        note: &str,
    ) -> Result<Option<ShardMap>, Error> {
        match self.prepare(map, the_move, next, change, note).await? {
            Some(pending) => self.commit(the_move, pending).await.map(Some),
            None => Ok(None),
        }
    }

    /// Does everything of [`Journal::advance_from`] but the commit: nobody sees anything of it, and
    /// nobody else can change the map until it is committed or given up. Nothing else may be
    /// written over this journal meanwhile.
    ///
    /// # Errors
    /// As [`Journal::advance_with_map`].
    pub async fn prepare(
        &self,
        map: &ShardMap,
        the_move: &Move,
        next: State,
        change: impl Fn(&ShardMap) -> Result<ShardMap, Vec<MapError>>,
        note: &str,
    ) -> Result<Option<Pending>, Error> {
        let new = change(map).map_err(|errors| map_errors("the map", &errors))?;
        let note_of_map = format!("move {}: {note}", the_move.id);
        let commands =
            catalog::change_map(&self.config.database, map.epoch, &new.parts(), &note_of_map);
        self.session.run("begin").await?;
        let done = async {
            if !self.run_commands(&commands).await? {
                return Ok(false);
            }
            self.set_state(the_move, next, note).await?;
            Ok(true)
        };
        match done.await {
            Ok(true) => Ok(Some(Pending { map: new, next })),
            Ok(false) => {
                self.session.run("rollback").await?;
                Ok(None)
            }
            Err(error) => {
                // The first error is the one to tell.
                let _ = self.session.run("rollback").await;
                Err(error)
            }
        }
    }

    /// Commits what was prepared. After an error of the connection nobody knows whether it is
    /// committed: the move's row has to be read again.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn commit(&self, the_move: &mut Move, pending: Pending) -> Result<ShardMap, Error> {
        self.session.run("commit").await?;
        became(the_move, pending.next);
        Ok(pending.map)
    }

    /// Gives up whatever was prepared, or was about to be.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn roll_back(&self) -> Result<(), Error> {
        self.session.run("rollback").await
    }

    /// Changes the map where no move is concerned; nothing is done where `change` has no other map.
    ///
    /// # Errors
    /// What `change` says, and the catalog.
    pub async fn change_map(
        &self,
        change: impl Fn(&ShardMap) -> Result<Option<ShardMap>, Error>,
        note: &str,
    ) -> Result<(), Error> {
        for _ in 0..MAP_TRIES {
            let map = self.map().await?;
            let Some(new) = change(&map)? else { return Ok(()) };
            let database = &self.config.database;
            let commands = catalog::change_map(database, map.epoch, &new.parts(), note);
            self.session.run("begin").await?;
            let done = self.run_commands(&commands).await;
            if matches!(done, Ok(true)) {
                return self.session.run("commit").await;
            }
            self.session.run("rollback").await?;
            done?;
        }
        Err(Error::Conflict("the map changes all the time; try again".to_owned()))
    }

    /// Whether all commands were run; false when the first one decides otherwise. Clients may be
    /// waiting: there are two round trips and not two for each command.
    async fn run_commands(&self, commands: &[Command]) -> Result<bool, Error> {
        let decides = commands.iter().take_while(|command| command.decides).count();
        let (first, rest) = commands.split_at(decides);
        for command in first {
            if self.session.rows(&text(command)).await?.is_empty() {
                return Ok(false);
            }
        }
        let rest: Vec<String> = rest.iter().map(text).collect();
        self.session.run(&rest.join("; ")).await?;
        Ok(true)
    }
}

/// A command with its parameters as constants.
fn text(command: &Command) -> String {
    let mut parts = command.sql.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.find(|one: char| !one.is_ascii_digit()).unwrap_or(part.len());
        let (number, rest) = part.split_at(digits);
        let at = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        match at.and_then(|at| command.parameters.get(at)) {
            Some(parameter) => out += &constant(parameter),
            None => out += &format!("${number}"),
        }
        out += rest;
    }
    out
}

fn constant(parameter: &Parameter) -> String {
    match parameter {
        Parameter::Text(text) => format!("{}::text", quote_text(text)),
        Parameter::Integer(number) => format!("'{number}'::int8"),
        Parameter::Texts(texts) => {
            let one = |text: &Option<String>| {
                text.as_ref().map_or_else(|| "null".to_owned(), |text| quote_text(text))
            };
            let texts: Vec<String> = texts.iter().map(one).collect();
            format!("array[{}]::text[]", texts.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_constants() {
        let command = Command {
            sql: "select $2, $1 where x = $3 and y = '$'",
            parameters: vec![
                Parameter::Text("it's $2".into()),
                Parameter::Integer(-7),
                Parameter::Texts(vec![Some("a\\".into()), None]),
            ],
            decides: false,
        };
        assert_eq!(
            text(&command),
            "select '-7'::int8, E'it''s $2'::text \
             where x = array[E'a\\\\', null]::text[] and y = '$'"
        );
    }
}

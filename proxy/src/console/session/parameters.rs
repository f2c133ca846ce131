//! Owns the parameters of one console connection, as they were set.

use crate::wire::error::SqlError;
use pgmanifold_console::command::{PARAMETERS, Parameter, milliseconds};
use std::time::Duration;

/// Their values, in the order of `PARAMETERS`.
#[derive(Debug)]
pub(super) struct Parameters {
    values: Vec<String>,
    /// What RESET goes back to.
    initial: Vec<String>,
}

impl Parameters {
    /// As they are after a login with these start-up parameters. What the console does not know or
    /// could not keep to is left out: the greeting says what holds.
    pub(super) fn new(user: &str, is_admin: bool, startup: &[(String, String)]) -> Self {
        let mut initial: Vec<String> =
            PARAMETERS.iter().map(|known| known.initial.to_owned()).collect();
        for (value, known) in initial.iter_mut().zip(PARAMETERS) {
            match known.name {
                "session_authorization" => user.clone_into(value),
                "is_superuser" if is_admin => "on".clone_into(value),
                _ => {}
            }
            let given =
                startup.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(known.name));
            if let Some(accepted) = given.and_then(|(_, given)| known.accept(given).ok()) {
                *value = accepted;
            }
        }
        Self { values: initial.clone(), initial }
    }

    /// The value of one.
    pub(super) fn get(&self, parameter: &Parameter) -> &str {
        place(parameter).and_then(|place| self.values.get(place)).map_or("", String::as_str)
    }

    /// Sets one, or sets it back.
    pub(super) fn set(
        &mut self,
        parameter: &Parameter,
        value: Option<&str>,
    ) -> Result<(), SqlError> {
        let accepted = match value {
            Some(value) => Some(
                parameter
                    .accept(value)
                    .map_err(|error| SqlError::error(error.sqlstate, error.message))?,
            ),
            None => place(parameter).and_then(|place| self.initial.get(place)).cloned(),
        };
        let slot = place(parameter).and_then(|place| self.values.get_mut(place));
        if let (Some(slot), Some(accepted)) = (slot, accepted) {
            *slot = accepted;
        }
        Ok(())
    }

    /// Sets all back.
    pub(super) fn reset(&mut self) {
        self.values.clone_from(&self.initial);
    }

    /// Name and value of each that clients are told of.
    pub(super) fn reported(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = PARAMETERS.iter().zip(&self.values);
        all.filter(|(known, _)| known.reported).map(|(known, value)| (known.name, value.as_str()))
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        PARAMETERS.iter().zip(&self.values).map(|(known, value)| (known.name, value.as_str()))
    }

    /// The longest time a command may take, if there is one.
    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        let value = Parameter::find("statement_timeout").map(|known| self.get(known))?;
        milliseconds(value).filter(|time| *time > 0).map(Duration::from_millis)
    }
}

fn place(parameter: &Parameter) -> Option<usize> {
    PARAMETERS.iter().position(|known| std::ptr::eq(known, parameter))
}

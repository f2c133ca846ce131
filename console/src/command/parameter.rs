//! Owns the parameters of PostgreSQL that drivers set and ask for when they connect. The console
//! keeps what it is told for the connection, and refuses what it could not keep to.

/// The release of PostgreSQL that the console speaks like: its catalogs and its `server_version`.
pub const SERVER_VERSION: &str = concat!("15.0 (pgmanifold ", env!("CARGO_PKG_VERSION"), ")");

/// One parameter.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameter {
    /// As PostgreSQL spells it.
    pub name: &'static str,
    /// Its value until it is set.
    pub initial: &'static str,
    /// A ParameterStatus tells clients of it.
    pub reported: bool,
    takes: Takes,
}

#[derive(Debug, PartialEq, Eq)]
enum Takes {
    /// Any value: nothing depends on it.
    Any,
    /// Nothing: it says how things are.
    Nothing,
    /// UTF-8 alone.
    Encoding,
    /// `on` alone.
    On,
    /// A time in ms, or with a unit.
    Milliseconds,
}

/// Why a value is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct ParameterError {
    /// Of PostgreSQL.
    pub sqlstate: &'static str,
    /// What is wrong.
    pub message: String,
}

impl Parameter {
    /// The one of a name, in any case.
    pub fn find(name: &str) -> Option<&'static Self> {
        PARAMETERS.iter().find(|known| known.name.eq_ignore_ascii_case(name))
    }

    /// The value as it is kept.
    ///
    /// # Errors
    /// When the console could not keep to it.
    pub fn accept(&self, value: &str) -> Result<String, ParameterError> {
        let name = self.name;
        let refused = |sqlstate, message| Err(ParameterError { sqlstate, message });
        match self.takes {
            Takes::Any => Ok(value.to_owned()),
            Takes::Nothing => refused("55P02", format!("parameter \"{name}\" cannot be changed")),
            Takes::Encoding => match value.replace(['-', '_'], "").to_ascii_uppercase().as_str() {
                "UTF8" | "UNICODE" => Ok("UTF8".into()),
                _ => refused("0A000", format!("the console speaks UTF8 only, not \"{value}\"")),
            },
            Takes::On => match value.to_ascii_lowercase().as_str() {
                "on" | "true" | "yes" | "1" => Ok("on".into()),
                _ => refused("0A000", format!("parameter \"{name}\" is always on")),
            },
            Takes::Milliseconds => match milliseconds(value) {
                Some(0) => Ok("0".into()),
                Some(time) => Ok(format!("{time}ms")),
                None => {
                    let message = format!("invalid value for parameter \"{name}\": \"{value}\"");
                    refused("22023", message)
                }
            },
        }
    }
}

/// A time as PostgreSQL's parameters have it; a number alone counts milliseconds.
pub fn milliseconds(value: &str) -> Option<u64> {
    let value = value.trim();
    let end = value.find(|char: char| !char.is_ascii_digit()).unwrap_or(value.len());
    let number: u64 = value.get(..end)?.parse().ok()?;
    let factor = match value.get(end..)?.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor).filter(|time| i32::try_from(*time).is_ok())
}

const fn parameter(name: &'static str, initial: &'static str, takes: Takes) -> Parameter {
    Parameter { name, initial, reported: false, takes }
}

const fn reported(name: &'static str, initial: &'static str, takes: Takes) -> Parameter {
    Parameter { name, initial, reported: true, takes }
}

/// All of them. `session_authorization` and `is_superuser` are who logged in.
pub static PARAMETERS: &[Parameter] = &[
    reported("application_name", "", Takes::Any),
    parameter("bytea_output", "hex", Takes::Any),
    reported("client_encoding", "UTF8", Takes::Encoding),
    parameter("client_min_messages", "notice", Takes::Any),
    reported("DateStyle", "ISO", Takes::Any),
    parameter("default_transaction_isolation", "read committed", Takes::Any),
    reported("default_transaction_read_only", "off", Takes::Any),
    parameter("extra_float_digits", "1", Takes::Any),
    parameter("idle_in_transaction_session_timeout", "0", Takes::Milliseconds),
    parameter("idle_session_timeout", "0", Takes::Milliseconds),
    reported("in_hot_standby", "off", Takes::Nothing),
    reported("integer_datetimes", "on", Takes::Nothing),
    reported("IntervalStyle", "postgres", Takes::Any),
    reported("is_superuser", "off", Takes::Nothing),
    parameter("jit", "off", Takes::Any),
    parameter("lock_timeout", "0", Takes::Milliseconds),
    parameter("max_identifier_length", "63", Takes::Nothing),
    parameter("row_security", "on", Takes::Any),
    parameter("search_path", "\"$user\", public", Takes::Any),
    reported("server_encoding", "UTF8", Takes::Nothing),
    reported("server_version", SERVER_VERSION, Takes::Nothing),
    parameter("server_version_num", "150000", Takes::Nothing),
    reported("session_authorization", "", Takes::Nothing),
    reported("standard_conforming_strings", "on", Takes::On),
    parameter("statement_timeout", "0", Takes::Milliseconds),
    parameter("synchronize_seqscans", "on", Takes::Any),
    reported("TimeZone", "GMT", Takes::Any),
    parameter("transaction_deferrable", "off", Takes::Any),
    parameter("transaction_isolation", "read committed", Takes::Any),
    parameter("transaction_read_only", "off", Takes::Any),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(name: &str, value: &str) -> Result<String, &'static str> {
        let found = Parameter::find(name).expect("known");
        found.accept(value).map_err(|error| error.sqlstate)
    }

    #[test]
    fn values_that_would_not_be_kept_to_are_refused() {
        assert_eq!(accepted("CLIENT_encoding", "utf-8"), Ok("UTF8".into()));
        assert_eq!(accepted("client_encoding", "latin1"), Err("0A000"));
        assert_eq!(accepted("standard_conforming_strings", "off"), Err("0A000"));
        assert_eq!(accepted("server_version", "9"), Err("55P02"));
        assert_eq!(accepted("statement_timeout", "2s"), Ok("2000ms".into()));
        assert_eq!(accepted("statement_timeout", "0"), Ok("0".into()));
        assert_eq!(accepted("statement_timeout", "-1"), Err("22023"));
        assert_eq!(accepted("statement_timeout", "99999999999999999999"), Err("22023"));
        assert_eq!(accepted("statement_timeout", "30d"), Err("22023"));
    }
}

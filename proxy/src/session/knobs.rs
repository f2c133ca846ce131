//! Owns the `pgm.` settings of a session. One table says their names, values and meaning; SHOW,
//! errors and docs/settings.md are made from it.

use crate::cluster::Token;
use crate::config::model::Causality;
use crate::wire::error::SqlError;
use pgmanifold_router::hint::{Hints, Role, parse_max_lag_ms};
use std::time::Duration;

/// One `pgm.` setting, for SHOW, errors and documentation.
pub struct Knob {
    /// Name after `pgm.`.
    pub name: &'static str,
    /// Values it takes.
    pub values: &'static str,
    /// What it is when nobody sets it.
    pub default: &'static str,
    /// Where it can be given.
    pub places: Places,
    /// What it does.
    pub help: &'static str,
}

/// Where a setting can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// SET, RESET, SET LOCAL and at connect time; a hint comment for one statement.
    Everywhere,
    /// The same without hints.
    Session,
    /// It is only shown.
    Shown,
}

/// The setting that ties a session to its server.
pub const KEEP_SERVER: &str = "keep_server";

/// All `pgm.` settings. docs/settings.md is made from this table.
pub const KNOBS: &[Knob] = &[
    Knob {
        name: "role",
        values: "`auto`, `primary`, `replica`",
        default: "`auto`",
        places: Places::Everywhere,
        help: "Where reads run. `replica` refuses reads when no replica is fresh enough.",
    },
    Knob {
        name: "causality",
        values: "`session`, `off`, or any other text: a key",
        default: "`causality` of the database",
        places: Places::Everywhere,
        help: "Whose writes reads must see: the session's own, nobody's, or those of all \
               sessions with the same key (and the session's own).",
    },
    Knob {
        name: "max_lag",
        values: "milliseconds (`500`, `500ms`, `2s`), empty for none",
        default: "empty",
        places: Places::Everywhere,
        help: "Replicas further behind are not read from.",
    },
    Knob {
        name: "min_lsn",
        values: "a token from `SHOW pgm.lsn`, empty for none",
        default: "empty",
        places: Places::Session,
        help: "Reads must see everything up to this token, wherever it was taken.",
    },
    Knob {
        name: KEEP_SERVER,
        values: "`on`, `off`",
        default: "`off`",
        places: Places::Session,
        help: "The session keeps its server, on the primary, as with `pool_mode = \"session\"`: \
               for what transaction pooling cannot do.",
    },
    Knob {
        name: "shard",
        values: "a shard's name, empty for none",
        default: "empty",
        places: Places::Everywhere,
        help: "Statements run on this shard as they are: nothing is spread, rewritten or refused.",
    },
    Knob {
        name: "key",
        values: "a shard key, or `distribution:key`; empty for none",
        default: "empty",
        places: Places::Everywhere,
        help: "Statements run, as they are, on the shard that has this key.",
    },
    Knob {
        name: "partial_results",
        values: "`on`, `off`",
        default: "`off`",
        places: Places::Session,
        help: "Reads over several shards, outside of transactions, leave out the rows of shards \
               that cannot be reached, and say so in a NOTICE.",
    },
    Knob {
        name: "float_exact",
        values: "`on`, `off`",
        default: "`on`",
        places: Places::Session,
        help: "Sums and averages of floating-point numbers over several shards are refused: their \
               last digits depend on the order of rows.",
    },
    Knob {
        name: "lsn",
        values: "a token",
        default: "",
        places: Places::Shown,
        help: "A token that covers everything this session has written so far.",
    },
];

/// Longest causality key.
const KEY_BYTES_MAX: usize = 256;

/// Whose writes a read must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Nobody's.
    Off,
    /// The session's own.
    Session,
    /// Those of all sessions with the key.
    Key(&'a str),
}

#[derive(Debug, Clone)]
struct Values {
    role: Role,
    causality: Box<str>,
    max_lag: Option<Duration>,
    min_lsn: Option<Token>,
    keep_server: bool,
    shard: Option<Box<str>>,
    key: Option<Box<str>>,
    partial_results: bool,
    float_exact: bool,
}

/// The `pgm.` settings of one session, with what they were when the transaction began.
#[derive(Debug)]
pub struct Knobs {
    now: Values,
    defaults: Values,
    at_begin: Option<Box<Values>>,
    /// What SET LOCAL overlays, to be put back when the transaction ends.
    below_local: Option<Box<Values>>,
}

impl Knobs {
    /// The settings a session begins with.
    pub fn new(causality: Causality) -> Self {
        let causality = match causality {
            Causality::Session => "session",
            Causality::Off => "off",
        };
        let defaults = Values {
            role: Role::Auto,
            causality: causality.into(),
            max_lag: None,
            min_lsn: None,
            keep_server: false,
            shard: None,
            key: None,
            partial_results: false,
            float_exact: true,
        };
        Self { now: defaults.clone(), defaults, at_begin: None, below_local: None }
    }

    /// Makes the current values the defaults (after start-up options).
    pub fn settle(&mut self) {
        self.defaults = self.now.clone();
    }

    /// Sets one value; `None` is its default. `in_transaction` and `local` decide when it is
    /// undone.
    ///
    /// # Errors
    /// 42704 for a name that does not exist, 22023 for a value that does not fit, 55P02 for one
    /// that cannot be set.
    pub fn set(
        &mut self,
        name: &str,
        value: Option<&str>,
        local: bool,
        in_transaction: bool,
    ) -> Result<(), SqlError> {
        if local && !in_transaction {
            return Ok(());
        }
        let mut next = self.now.clone();
        match name {
            "role" => {
                next.role = value.map_or(Ok(self.defaults.role), |text| {
                    Role::parse(text).map_err(|_| bad_value(name, text))
                })?
            }
            "causality" => {
                if value.is_some_and(|key| key.len() > KEY_BYTES_MAX) {
                    let message = "parameter \"pgm.causality\" is too long";
                    return Err(SqlError::error("22023", message)
                        .detail(format!("A key has at most {KEY_BYTES_MAX} bytes.")));
                }
                next.causality = value.map_or_else(|| self.defaults.causality.clone(), Into::into);
            }
            "max_lag" => {
                next.max_lag = optional(name, value, |text| {
                    parse_max_lag_ms(text).ok().map(Duration::from_millis)
                })?
            }
            "min_lsn" => {
                next.min_lsn = match value {
                    None | Some("") => None,
                    Some(text) => Some(text.parse::<Token>()?),
                }
            }
            KEEP_SERVER => {
                next.keep_server = match value {
                    None => self.defaults.keep_server,
                    Some(text) => parse_bool(text).ok_or_else(|| bad_value(name, text))?,
                }
            }
            "shard" => next.shard = optional(name, value, bounded)?,
            "key" => next.key = optional(name, value, bounded)?,
            "partial_results" => {
                next.partial_results = match value {
                    None => self.defaults.partial_results,
                    Some(text) => parse_bool(text).ok_or_else(|| bad_value(name, text))?,
                }
            }
            "float_exact" => {
                next.float_exact = match value {
                    None => self.defaults.float_exact,
                    Some(text) => parse_bool(text).ok_or_else(|| bad_value(name, text))?,
                }
            }
            "lsn" => return Err(SqlError::error("55P02", "parameter \"pgm.lsn\" is read only")),
            _ => return Err(unknown(name)),
        }
        if in_transaction {
            self.at_begin.get_or_insert_with(|| Box::new(self.now.clone()));
            if local {
                self.below_local.get_or_insert_with(|| Box::new(self.now.clone()));
            }
        }
        self.now = next;
        Ok(())
    }

    /// The transaction has ended: what it set is kept or undone. True when it had set something.
    pub fn end_transaction(&mut self, committed: bool) -> bool {
        if self.at_begin.is_none() {
            return false;
        }
        let (at_begin, below_local) = (self.at_begin.take(), self.below_local.take());
        let restored = if committed { below_local } else { at_begin };
        if let Some(values) = restored {
            self.now = *values;
        }
        true
    }

    /// The text of one setting, except `lsn`.
    ///
    /// # Errors
    /// 42704 for a name that does not exist.
    pub fn show(&self, name: &str) -> Result<String, SqlError> {
        Ok(match name {
            "role" => self.now.role.as_str().to_owned(),
            "causality" => self.now.causality.to_string(),
            "max_lag" => {
                self.now.max_lag.map_or_else(String::new, |lag| format!("{}ms", lag.as_millis()))
            }
            "min_lsn" => self.now.min_lsn.as_ref().map_or_else(String::new, ToString::to_string),
            KEEP_SERVER => on_off(self.now.keep_server),
            "shard" => self.now.shard.as_deref().unwrap_or_default().to_owned(),
            "key" => self.now.key.as_deref().unwrap_or_default().to_owned(),
            "partial_results" => on_off(self.now.partial_results),
            "float_exact" => on_off(self.now.float_exact),
            _ => return Err(unknown(name)),
        })
    }

    /// Name, value and meaning of every setting but `lsn`, which must be waited for.
    pub fn all(&self) -> impl Iterator<Item = [String; 3]> {
        KNOBS.iter().filter_map(|knob| {
            let value = self.show(knob.name).ok()?;
            Some([format!("pgm.{}", knob.name), value, knob.help.to_owned()])
        })
    }

    /// Whether the session keeps its server.
    pub fn keep_server(&self) -> bool {
        self.now.keep_server
    }

    /// The shard statements run on.
    pub fn shard(&self) -> Option<&str> {
        self.now.shard.as_deref()
    }

    /// The shard key whose shard statements run on.
    pub fn shard_key(&self) -> Option<&str> {
        self.now.key.as_deref()
    }

    /// Whether reads over several shards leave out those that cannot be reached.
    pub fn partial_results(&self) -> bool {
        self.now.partial_results
    }

    /// Whether sums of floating-point numbers over several shards are refused.
    pub fn float_exact(&self) -> bool {
        self.now.float_exact
    }

    /// Where reads run.
    pub fn role(&self) -> Role {
        self.now.role
    }

    /// Whose writes a statement must see; its hint wins.
    pub fn scope<'a>(&'a self, hints: &'a Hints) -> Scope<'a> {
        match hints.causality.as_deref().unwrap_or(&self.now.causality) {
            "off" => Scope::Off,
            "session" => Scope::Session,
            key => Scope::Key(key),
        }
    }

    /// The key all of whose writes must be noted.
    pub fn key(&self) -> Option<&str> {
        match &*self.now.causality {
            "off" | "session" => None,
            key => Some(key),
        }
    }

    /// Whether its reads see its own writes, unless a hint says otherwise.
    pub fn sees_own_writes(&self) -> bool {
        &*self.now.causality != "off"
    }

    /// How far behind a replica may be; the statement's hint wins.
    pub fn max_lag(&self, hints: &Hints) -> Option<Duration> {
        hints.max_lag_ms.map(Duration::from_millis).or(self.now.max_lag)
    }

    /// What a replica must have replayed.
    pub fn min_lsn(&self) -> Option<Token> {
        self.now.min_lsn
    }
}

fn optional<T>(
    name: &str,
    value: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, SqlError> {
    match value {
        None | Some("") => Ok(None),
        Some(text) => parse(text).map(Some).ok_or_else(|| bad_value(name, text)),
    }
}

fn bounded(text: &str) -> Option<Box<str>> {
    (text.len() <= KEY_BYTES_MAX).then(|| text.into())
}

fn on_off(value: bool) -> String {
    if value { "on" } else { "off" }.to_owned()
}

/// As PostgreSQL reads a boolean.
fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn bad_value(name: &str, value: &str) -> SqlError {
    let values = KNOBS.iter().find(|knob| knob.name == name).map_or("", |knob| knob.values);
    SqlError::error("22023", format!("invalid value for parameter \"pgm.{name}\": \"{value}\""))
        .hint(format!("Available values: {}.", values.replace('`', "")))
}

fn unknown(name: &str) -> SqlError {
    let names: Vec<&str> = KNOBS.iter().map(|knob| knob.name).collect();
    SqlError::error("42704", format!("unrecognized configuration parameter \"pgm.{name}\""))
        .hint(format!("Parameters of pgmanifold: {}.", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causality(knobs: &Knobs) -> String {
        knobs.show("causality").unwrap()
    }

    #[test]
    fn rollback_undoes_and_local_ends_with_the_transaction() {
        let mut knobs = Knobs::new(Causality::Session);
        knobs.set("causality", Some("a"), false, true).unwrap();
        knobs.end_transaction(false);
        assert_eq!(causality(&knobs), "session");
        knobs.set("causality", Some("b"), false, true).unwrap();
        knobs.set("causality", Some("c"), true, true).unwrap();
        assert_eq!(causality(&knobs), "c");
        knobs.end_transaction(true);
        assert_eq!(causality(&knobs), "b");
        knobs.set("causality", Some("d"), true, false).unwrap();
        assert_eq!(causality(&knobs), "b", "SET LOCAL outside a transaction does nothing");
        knobs.set("causality", None, false, false).unwrap();
        assert_eq!(causality(&knobs), "session");
    }

    #[test]
    fn every_setting_is_shown() {
        let knobs = Knobs::new(Causality::Session);
        assert_eq!(knobs.all().count(), KNOBS.len() - 1, "all but lsn");
    }

    #[test]
    fn hints_are_those_of_the_table() {
        for knob in KNOBS {
            let value = knob.values.trim_start_matches('`').split(['`', ' ']).next().unwrap();
            let value = if knob.name == "max_lag" { "500" } else { value };
            let comment = format!("/* pgm: {}='{value}' */", knob.name);
            let taken = Hints::default().add_comment(comment.as_bytes()).is_ok();
            assert_eq!(taken, knob.places == Places::Everywhere, "{comment}");
        }
    }

    #[test]
    fn bad_names_and_values_are_refused() {
        let mut knobs = Knobs::new(Causality::Session);
        assert_eq!(knobs.set("roll", Some("x"), false, false).unwrap_err().sqlstate, "42704");
        assert_eq!(knobs.set("role", Some("x"), false, false).unwrap_err().sqlstate, "22023");
        assert_eq!(knobs.set("max_lag", Some("x"), false, false).unwrap_err().sqlstate, "22023");
        assert_eq!(knobs.set("min_lsn", Some("x"), false, false).unwrap_err().sqlstate, "22023");
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        assert_eq!(
            knobs.set("causality", Some(&long), false, false).unwrap_err().sqlstate,
            "22023"
        );
        assert_eq!(knobs.set("lsn", Some("x"), false, false).unwrap_err().sqlstate, "55P02");
        knobs.set("max_lag", Some("2s"), false, false).unwrap();
        assert_eq!(knobs.show("max_lag").unwrap(), "2000ms");
    }
}

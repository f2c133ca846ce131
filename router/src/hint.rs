//! Owns the hint language: one spelling for comments (`/* pgm: role=primary */`), `SET pgm.role`,
//! and start-up options. It must not decide what a hint leads to.

use std::fmt;

/// Where a statement asks to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The primary.
    Primary,
    /// A replica and nothing else; what is not proven to be a read goes to the primary all the
    /// same (see [`crate::route::route`]).
    Replica,
    /// What the router decides.
    Auto,
}

/// Hints given with one statement; they win over the session's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// `role=primary|replica|auto` (the bare words `primary`, `replica` and `auto` too).
    pub role: Option<Role>,
    /// `causality=off|session|<key>`.
    pub causality: Option<Box<str>>,
    /// `max_lag=500` (milliseconds; `500ms` and `2s` too).
    pub max_lag_ms: Option<u64>,
    /// `shard=<name>`: it runs there as it is.
    pub shard: Option<Box<str>>,
    /// `key=<key>` or `key='<distribution>:<key>'`: it runs, as it is, where that key lives.
    pub key: Option<Box<str>>,
}

/// Longest text of one hint comment (bytes).
pub const MAX_HINT_BYTES: usize = 1_024;

/// Why a hint was not understood: a short lowercase sentence for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HintError(pub Box<str>);

impl fmt::Display for HintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HintError {}

fn error(text: String) -> HintError {
    HintError(text.into_boxed_str())
}

impl Role {
    /// Reads `primary`, `replica` or `auto`, in any case.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(text: &str) -> Result<Self, HintError> {
        match text.to_ascii_lowercase().as_str() {
            "primary" => Ok(Self::Primary),
            "replica" => Ok(Self::Replica),
            "auto" => Ok(Self::Auto),
            _ => Err(error(format!("role must be primary, replica or auto, not \"{text}\""))),
        }
    }

    /// The role as one lowercase word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a lag limit: a number of milliseconds, or a number with `ms` or `s`.
///
/// # Errors
/// No number, another unit, or a value that does not fit.
pub fn parse_max_lag_ms(text: &str) -> Result<u64, HintError> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "ms" => 1,
        "s" => 1_000,
        _ => return Err(error(format!("max_lag must be a number of ms or s, not \"{text}\""))),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|value| value.checked_mul(factor))
        .ok_or_else(|| error(format!("max_lag must be a number of ms or s, not \"{text}\"")))
}

impl Hints {
    /// Adds the hints of one comment, given with its `/*` and `*/`.
    ///
    /// # Errors
    /// Anything that is not understood, and a second value for the same hint.
    pub fn add_comment(&mut self, comment: &[u8]) -> Result<(), HintError> {
        if comment.len() > MAX_HINT_BYTES {
            return Err(error(format!("hint longer than {MAX_HINT_BYTES} bytes")));
        }
        let text = std::str::from_utf8(comment)
            .map_err(|_| error("hint is not valid UTF-8".to_string()))?;
        let inside = text.strip_prefix("/*").and_then(|rest| rest.strip_suffix("*/"));
        let body = inside.unwrap_or(text).trim_start();
        let mut rest = body.get(4..).unwrap_or_default().trim();
        if rest.is_empty() {
            return Err(error("empty hint".to_string()));
        }
        loop {
            rest = self.add_one(rest)?.trim_start();
            if rest.is_empty() {
                return Ok(());
            }
            rest = rest
                .strip_prefix(',')
                .ok_or_else(|| error(format!("expected a comma before \"{rest}\"")))?
                .trim_start();
        }
    }

    /// Takes one `name=value` or bare role off the front and returns what follows.
    fn add_one<'a>(&mut self, text: &'a str) -> Result<&'a str, HintError> {
        let (name, rest) = word(text);
        if name.is_empty() {
            return Err(error(format!("expected a hint at \"{text}\"")));
        }
        let Some(rest) = rest.trim_start().strip_prefix('=') else {
            let role = Role::parse(name).map_err(|_| unknown(name))?;
            set(&mut self.role, role, "role")?;
            return Ok(rest);
        };
        let (value, rest) = value(rest.trim_start())?;
        match name.to_ascii_lowercase().as_str() {
            "role" => set(&mut self.role, Role::parse(&value)?, "role")?,
            "causality" => set(&mut self.causality, value.into_boxed_str(), "causality")?,
            "max_lag" => set(&mut self.max_lag_ms, parse_max_lag_ms(&value)?, "max_lag")?,
            "shard" => set(&mut self.shard, value.into_boxed_str(), "shard")?,
            "key" => set(&mut self.key, value.into_boxed_str(), "key")?,
            _ => return Err(unknown(name)),
        }
        if self.shard.is_some() && self.key.is_some() {
            return Err(error("hints \"shard\" and \"key\" cannot stand together".to_string()));
        }
        Ok(rest)
    }
}

fn unknown(name: &str) -> HintError {
    error(format!("unknown hint \"{name}\""))
}

fn set<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), HintError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(error(format!("hint \"{name}\" given twice"))),
    }
}

fn word(text: &str) -> (&str, &str) {
    let end =
        text.find(|c: char| !(c.is_alphanumeric() || "_-.:/".contains(c))).unwrap_or(text.len());
    text.split_at(end)
}

/// A bare word, or a string in single quotes in which `''` stands for a quote.
fn value(text: &str) -> Result<(String, &str), HintError> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let (value, rest) = word(text);
        if value.is_empty() {
            return Err(error("hint without a value".to_string()));
        }
        return Ok((value.to_string(), rest));
    };
    let mut value = String::new();
    loop {
        let Some((part, after)) = rest.split_once('\'') else {
            return Err(error("hint value without closing quote".to_string()));
        };
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Ok((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(comment: &str) -> Result<Hints, String> {
        let mut hints = Hints::default();
        hints.add_comment(comment.as_bytes()).map_err(|error| error.to_string())?;
        Ok(hints)
    }

    #[test]
    fn every_form() {
        let role = |role| Hints { role: Some(role), ..Hints::default() };
        assert_eq!(parse("/* pgm: primary */"), Ok(role(Role::Primary)));
        assert_eq!(parse("/*pgm:REPLICA*/"), Ok(role(Role::Replica)));
        assert_eq!(parse("/* pgm: role = auto */"), Ok(role(Role::Auto)));
        let full = Hints {
            role: Some(Role::Replica),
            causality: Some("it's user:42".into()),
            max_lag_ms: Some(2_000),
            ..Hints::default()
        };
        let text = "/* pgm: role=replica, causality='it''s user:42', max_lag=2s */";
        assert_eq!(parse(text), Ok(full));
        assert_eq!(parse("/* pgm: max_lag=500ms */").unwrap().max_lag_ms, Some(500));
        assert_eq!(
            parse("/* pgm: causality=user:42 */").unwrap().causality.unwrap(),
            "user:42".into()
        );
    }

    #[test]
    fn what_is_not_understood_says_why() {
        for (text, expect) in [
            ("/* pgm: */", "empty hint"),
            ("/* pgm: foo */", "unknown hint \"foo\""),
            ("/* pgm: host=3 */", "unknown hint \"host\""),
            ("/* pgm: shard=a, key=3 */", "hints \"shard\" and \"key\" cannot stand together"),
            ("/* pgm: role=master */", "role must be primary, replica or auto, not \"master\""),
            ("/* pgm: max_lag=5m */", "max_lag must be a number of ms or s, not \"5m\""),
            (
                "/* pgm: max_lag=99999999999999999999 */",
                "max_lag must be a number of ms or s, not \"99999999999999999999\"",
            ),
            ("/* pgm: role= */", "hint without a value"),
            ("/* pgm: causality='a */", "hint value without closing quote"),
            ("/* pgm: primary replica */", "expected a comma before \"replica\""),
            ("/* pgm: primary, role=auto */", "hint \"role\" given twice"),
            ("/* pgm: primary, */", "expected a hint at \"\""),
        ] {
            assert_eq!(parse(text), Err(expect.to_string()), "{text}");
        }
    }
}

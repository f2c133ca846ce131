//! Owns `Token`: a position in the WAL that means the same thing to every proxy, and its text form.
//! It must not know how tokens are taken or compared with a replica's position.

use crate::wire::error::SqlError;
use std::fmt;
use std::str::FromStr;

/// Everything committed before the token was taken: `SHOW pgm.lsn` gives it, `SET pgm.min_lsn`
/// takes it.
///
/// The text form is `system_id/timeline/HI/LO`, for example `7318349817239/1/0/3D0A1F8`: the
/// system identifier and the timeline in decimal, then the LSN as PostgreSQL prints it (two
/// hexadecimal halves). An LSN alone would not do: after a promotion the new timeline passes the
/// old position with other writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// `pg_control_system().system_identifier`: which cluster.
    pub system_id: u64,
    /// Which history of that cluster.
    pub timeline: u32,
    /// Byte position in that history.
    pub lsn: u64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (high, low) = (self.lsn >> 32, self.lsn & 0xFFFF_FFFF);
        write!(f, "{}/{}/{:X}/{:X}", self.system_id, self.timeline, high, low)
    }
}

impl FromStr for Token {
    type Err = SqlError;

    /// Reads the text form, strictly.
    ///
    /// # Errors
    /// SQLSTATE 22023 when the text is not a token.
    fn from_str(text: &str) -> Result<Self, SqlError> {
        parse(text).ok_or_else(|| {
            SqlError::error("22023", "invalid value for parameter \"pgm.min_lsn\"")
                .detail(
                    "A token has the form system_id/timeline/HI/LO, for example \
                     7318349817239/1/0/3D0A1F8.",
                )
                .hint("Use the value that SHOW pgm.lsn printed, unchanged.")
        })
    }
}

fn parse(text: &str) -> Option<Token> {
    let mut parts = text.split('/');
    let system_id = decimal(parts.next()?)?;
    let timeline = u32::try_from(decimal(parts.next()?)?).ok()?;
    let high = hex_half(parts.next()?)?;
    let low = hex_half(parts.next()?)?;
    if parts.next().is_some() || timeline == 0 {
        return None;
    }
    Some(Token { system_id, timeline, lsn: (u64::from(high) << 32) | u64::from(low) })
}

/// `u64::from_str` alone would take a leading `+`.
fn decimal(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn hex_half(text: &str) -> Option<u32> {
    if text.len() > 8 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let token = Token { system_id: 7_318_349_817_239, timeline: 1, lsn: 0x3D0_A1F8 };
        assert_eq!(token.to_string(), "7318349817239/1/0/3D0A1F8");
        assert_eq!("7318349817239/1/0/3D0A1F8".parse::<Token>(), Ok(token));
        assert_eq!("7318349817239/1/0/3d0a1f8".parse::<Token>(), Ok(token));
        let largest = Token { system_id: u64::MAX, timeline: u32::MAX, lsn: u64::MAX };
        assert_eq!(largest.to_string().parse::<Token>(), Ok(largest));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "0/3D0A1F8",
            "1/1/0",
            "1/1/0/1/1",
            "1/0/0/1",
            "+1/1/0/1",
            "1/-1/0/1",
            "1/1/0/1 ",
            "1/1//1",
            "/1/0/1",
            "1/1/0/123456789",
            "18446744073709551616/1/0/1",
            "1/4294967296/0/1",
            "1/1/0/G",
        ] {
            let error = text.parse::<Token>().expect_err(text);
            assert_eq!(error.sqlstate, "22023", "{text}");
        }
    }
}

//! Owns the reading of the extended protocol's messages (manual, section "Message Formats"). It
//! trusts no byte and knows no statement.

use super::encode::{Formats, numeric};
use crate::wire::error::SqlError;
use crate::wire::protocol::take_cstr;
use bytes::Buf;

/// Why a message is not taken.
#[derive(Debug)]
pub(super) enum BadMessage {
    /// It is malformed: the connection is closed.
    Malformed,
    /// It is well-formed, but not understood: the statement fails.
    Refused(SqlError),
}

impl From<SqlError> for BadMessage {
    fn from(error: SqlError) -> Self {
        Self::Refused(error)
    }
}

/// Parse
#[derive(Debug, PartialEq)]
pub(super) struct Parse {
    pub(super) name: String,
    pub(super) sql: String,
    /// OIDs; zero: to be found out.
    pub(super) types: Vec<u32>,
}

/// Bind
#[derive(Debug)]
pub(super) struct Bind<'a> {
    pub(super) portal: String,
    pub(super) statement: String,
    pub(super) parameters: Vec<Given<'a>>,
    pub(super) results: Formats,
}

/// A parameter's value, as sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    binary: bool,
    bytes: Option<&'a [u8]>,
}

/// What Describe and Close are about.
#[derive(Debug, PartialEq)]
pub(super) enum Target {
    Statement(String),
    Portal(String),
}

/// Reads a Parse.
pub(super) fn parse(mut body: &[u8]) -> Result<Parse, BadMessage> {
    let (name, sql) = (text(&mut body)?, text(&mut body)?);
    let types = list(&mut body, |body| body.try_get_u32().ok())?;
    done(body)?;
    Ok(Parse { name: name?, sql: sql?, types })
}

/// Reads a Bind.
pub(super) fn bind(mut body: &[u8]) -> Result<Bind<'_>, BadMessage> {
    let (portal, statement) = (text(&mut body)?, text(&mut body)?);
    let codes = list(&mut body, |body| body.try_get_i16().ok())?;
    let values = list(&mut body, value)?;
    let results = list(&mut body, |body| body.try_get_i16().ok())?;
    done(body)?;
    if codes.len() > 1 && codes.len() != values.len() {
        return Err(BadMessage::Malformed);
    }
    let formats = || SqlError::error("08P01", "unsupported format code");
    if codes.iter().any(|code| !matches!(code, 0 | 1)) {
        return Err(formats().into());
    }
    let code = |place: usize| codes.get(place).or(codes.first()).copied().unwrap_or_default();
    let given = |(place, bytes)| Given { binary: code(place) == 1, bytes };
    Ok(Bind {
        portal: portal?,
        statement: statement?,
        parameters: values.into_iter().enumerate().map(given).collect(),
        results: Formats::new(results).ok_or_else(formats)?,
    })
}

/// Reads a Describe or a Close.
pub(super) fn target(mut body: &[u8]) -> Result<Target, BadMessage> {
    let kind = body.try_get_u8().map_err(|_| BadMessage::Malformed)?;
    let name = text(&mut body)?;
    done(body)?;
    match kind {
        b'S' => Ok(Target::Statement(name?)),
        b'P' => Ok(Target::Portal(name?)),
        _ => Err(BadMessage::Malformed),
    }
}

/// Reads an Execute: the portal, and the most rows to send; `None` for all.
pub(super) fn execute(mut body: &[u8]) -> Result<(String, Option<usize>), BadMessage> {
    let portal = text(&mut body)?;
    let rows = body.try_get_i32().map_err(|_| BadMessage::Malformed)?;
    done(body)?;
    Ok((portal?, usize::try_from(rows).ok().filter(|rows| *rows > 0)))
}

/// A text that ends where it should; the inner result says whether it is UTF-8.
fn text(body: &mut &[u8]) -> Result<Result<String, SqlError>, BadMessage> {
    let bytes = take_cstr(body).ok_or(BadMessage::Malformed)?;
    Ok(utf8(bytes))
}

/// Text from a client.
pub(super) fn utf8(bytes: &[u8]) -> Result<String, SqlError> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| SqlError::error("22021", "invalid byte sequence for encoding \"UTF8\""))
}

fn list<'a, T>(
    body: &mut &'a [u8],
    mut item: impl FnMut(&mut &'a [u8]) -> Option<T>,
) -> Result<Vec<T>, BadMessage> {
    let count = body.try_get_u16().map_err(|_| BadMessage::Malformed)?;
    let items = (0..count).map(|_| item(body));
    items.collect::<Option<_>>().ok_or(BadMessage::Malformed)
}

fn value<'a>(body: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = body.try_get_i32().ok()?;
    if length == -1 {
        return Some(None);
    }
    let (bytes, rest) = body.split_at_checked(usize::try_from(length).ok()?)?;
    *body = rest;
    Some(Some(bytes))
}

fn done(body: &[u8]) -> Result<(), BadMessage> {
    if body.is_empty() { Ok(()) } else { Err(BadMessage::Malformed) }
}

impl Given<'_> {
    /// The text form of the value, by the type its statement gives it; `None`: NULL.
    pub(super) fn read(self, oid: u32) -> Result<Option<String>, SqlError> {
        let Some(bytes) = self.bytes else { return Ok(None) };
        if !self.binary {
            return utf8(bytes).map(Some);
        }
        from_binary(oid, bytes).map(Some).ok_or_else(|| {
            SqlError::error("22P03", "incorrect binary format of a parameter")
                .detail(format!("Its type has OID {oid}."))
                .hint("Send it as text, or as a number, a boolean or text.")
        })
    }
}

fn from_binary(oid: u32, bytes: &[u8]) -> Option<String> {
    Some(match oid {
        16 => (*<&[u8; 1]>::try_from(bytes).ok()? != [0]).to_string(),
        20 => i64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        21 => i16::from_be_bytes(bytes.try_into().ok()?).to_string(),
        23 => i32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        26 => u32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        700 => numeric::text(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        701 => numeric::text(f64::from_be_bytes(bytes.try_into().ok()?)),
        1700 => numeric::read(bytes)?,
        0 | 18 | 19 | 25 | 705 | 1042 | 1043 => std::str::from_utf8(bytes).ok()?.to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_messages() {
        let read = parse(b"s\0SELECT $1\0\0\x01\0\0\0\x17").expect("well-formed");
        let (name, sql) = ("s".to_owned(), "SELECT $1".to_owned());
        assert_eq!(read, Parse { name, sql, types: vec![23] });
        assert_eq!(execute(b"p\0\0\0\0\x02").expect("well-formed"), ("p".into(), Some(2)));
        assert_eq!(execute(b"\0\0\0\0\0").expect("well-formed"), (String::new(), None));
        assert_eq!(target(b"Sx\0").expect("well-formed"), Target::Statement("x".into()));
        let body = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\x01\0\x01";
        let read = bind(body).expect("well-formed");
        assert_eq!((read.portal.as_str(), read.statement.as_str()), ("p", "s"));
        let values = read.parameters.iter().map(|given| given.read(23).expect("int4"));
        assert_eq!(values.collect::<Vec<_>>(), [Some("7".to_owned()), None]);
    }

    #[test]
    fn every_cut_is_malformed() {
        let whole = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\x01\0\x01";
        for end in 0..whole.len() {
            assert!(matches!(bind(&whole[..end]), Err(BadMessage::Malformed)), "{end}");
        }
        let longer = [&whole[..], b"x"].concat();
        assert!(matches!(bind(&longer), Err(BadMessage::Malformed)));
        for body in [&b""[..], b"S", b"Sx", b"Xx\0", b"Sx\0y"] {
            assert!(matches!(target(body), Err(BadMessage::Malformed)), "{body:?}");
        }
        assert!(matches!(parse(b"\0x\0\xff\xff"), Err(BadMessage::Malformed)));
        assert!(matches!(parse(b"\0\xff\0\0\0"), Err(BadMessage::Refused(_))));
        assert!(matches!(bind(b"\0\0\0\x01\0\x02\0\0\0\0"), Err(BadMessage::Refused(_))));
    }

    #[test]
    fn parameters_by_type() {
        let read = |binary, oid, bytes: &'static [u8]| {
            Given { binary, bytes: Some(bytes) }.read(oid).ok().flatten()
        };
        assert_eq!(read(false, 23, b" 12").as_deref(), Some(" 12"));
        assert_eq!(read(false, 25, b"\xff"), None);
        assert_eq!(read(true, 21, &[1, 0]).as_deref(), Some("256"));
        assert_eq!(read(true, 20, &[1]), None);
        assert_eq!(read(true, 16, &[1]).as_deref(), Some("true"));
        assert_eq!(read(true, 25, b"a").as_deref(), Some("a"));
        assert_eq!(read(true, 1700, &[0, 1, 0, 0, 0x40, 0, 0, 1, 0, 7]).as_deref(), Some("-7.0"));
        assert_eq!(read(true, 2950, &[0; 16]), None);
    }
}

//! Owns what a client asks of both sides: statements by the simple and the extended protocol, and
//! COPY with data.

use crate::raw;
use bytes::BufMut;

/// A bound parameter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parameter {
    /// OID of the type declared by Parse; 0 leaves it to the server.
    pub declared: u32,
    /// Whether the value is in the binary format.
    pub binary: bool,
    /// The value; `None` is NULL.
    pub value: Option<Vec<u8>>,
}

/// A call by the extended protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Call {
    /// Name of the prepared statement.
    pub name: String,
    /// Text to prepare; `None`: it was prepared before.
    pub sql: Option<String>,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Results come in the binary format.
    pub binary_results: bool,
    /// Rows per Execute; 0 is all.
    pub row_limit: u32,
    /// Describe the statement after it was prepared.
    pub describe: bool,
}

/// What is sent at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A query string.
    Simple(String),
    /// By the extended protocol.
    Call(Call),
    /// COPY … FROM STDIN and its data.
    CopyIn(String, Vec<u8>),
}

/// Executes with a row limit, before the last one without.
const LIMITED_EXECUTES: usize = 3;

impl Request {
    /// The request for people.
    pub fn text(&self) -> String {
        match self {
            Self::Simple(sql) => sql.clone(),
            Self::Call(call) => {
                let values = call.parameters.iter().map(|parameter| {
                    let value = parameter.value.as_ref();
                    let value = value.map_or("NULL".into(), |v| v.escape_ascii().to_string());
                    let format = if parameter.binary { "binary" } else { "text" };
                    format!("{value} ({format}, type {})", parameter.declared)
                });
                let sql = call.sql.clone().unwrap_or_else(|| format!("execute {:?}", call.name));
                let values = values.collect::<Vec<_>>().join("; ");
                let results = if call.binary_results { "binary" } else { "text" };
                format!("{sql} <- {values} [results {results}, rows {}]", call.row_limit)
            }
            Self::CopyIn(sql, data) => format!("{sql} <- {}", data.escape_ascii()),
        }
    }

    /// The messages up to Sync; COPY's data are sent when they are asked for.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Simple(sql) | Self::CopyIn(sql, _) => raw::query(sql),
            Self::Call(call) => call.bytes(),
        }
    }
}

impl Call {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(sql) = &self.sql {
            if !self.name.is_empty() {
                bytes.extend(raw::close(b'S', &self.name));
            }
            bytes.extend(self.parse(sql));
        }
        if self.describe {
            bytes.extend(raw::describe(b'S', &self.name));
        }
        bytes.extend(self.bind());
        bytes.extend(raw::describe(b'P', ""));
        if self.row_limit > 0 {
            for _ in 0..LIMITED_EXECUTES {
                bytes.extend(raw::execute("", self.row_limit));
            }
        }
        bytes.extend(raw::execute("", 0));
        bytes.extend(raw::sync());
        bytes
    }

    fn parse(&self, sql: &str) -> Vec<u8> {
        let mut body = [self.name.as_bytes(), b"\0", sql.as_bytes(), b"\0"].concat();
        body.put_u16(u16::try_from(self.parameters.len()).expect("few parameters"));
        for parameter in &self.parameters {
            body.put_u32(parameter.declared);
        }
        raw::frame(b'P', &body)
    }

    fn bind(&self) -> Vec<u8> {
        let mut body = [b"\0", self.name.as_bytes(), b"\0"].concat();
        let count = u16::try_from(self.parameters.len()).expect("few parameters");
        body.put_u16(count);
        for parameter in &self.parameters {
            body.put_i16(i16::from(parameter.binary));
        }
        body.put_u16(count);
        for parameter in &self.parameters {
            match &parameter.value {
                None => body.put_i32(-1),
                Some(value) => {
                    body.put_u32(u32::try_from(value.len()).expect("a small value"));
                    body.put_slice(value);
                }
            }
        }
        body.put_u16(1);
        body.put_i16(i16::from(self.binary_results));
        raw::frame(b'B', &body)
    }
}

/// OID of a type by its name in case files.
pub fn oid(name: &str) -> u32 {
    match name {
        "bool" => 16,
        "bytea" => 17,
        "int8" => 20,
        "int2" => 21,
        "int4" => 23,
        "text" => 25,
        "float8" => 701,
        "varchar" => 1043,
        "bpchar" => 1042,
        "date" => 1082,
        "timestamptz" => 1184,
        "numeric" => 1700,
        "uuid" => 2950,
        "int4[]" => 1007,
        "int8[]" => 1016,
        "text[]" => 1009,
        "uuid[]" => 2951,
        "unknown" => 705,
        _ => 0,
    }
}

/// A value in the binary format of its type; `None` when it cannot be encoded here.
pub fn binary(kind: &str, text: &str) -> Option<Vec<u8>> {
    Some(match kind {
        "bool" => vec![u8::from(text.starts_with('t'))],
        "int2" => text.parse::<i16>().ok()?.to_be_bytes().into(),
        "int4" => text.parse::<i32>().ok()?.to_be_bytes().into(),
        "int8" => text.parse::<i64>().ok()?.to_be_bytes().into(),
        "float8" => text.parse::<f64>().ok()?.to_be_bytes().into(),
        "text" | "varchar" | "bpchar" | "unknown" => text.into(),
        "uuid" => {
            let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
            let bytes =
                (0..16).map(|at| u8::from_str_radix(digits.get(at * 2..at * 2 + 2)?, 16).ok());
            bytes.collect::<Option<Vec<u8>>>()?
        }
        "date" => {
            // Days since 2000-01-01, given as a number.
            text.parse::<i32>().ok()?.to_be_bytes().into()
        }
        "timestamptz" => text.parse::<i64>().ok()?.to_be_bytes().into(),
        _ => array(kind.strip_suffix("[]")?, text)?,
    })
}

/// A one-dimensional array from `{a,b,NULL}` without quotes.
fn array(element: &str, text: &str) -> Option<Vec<u8>> {
    let items = text.strip_prefix('{')?.strip_suffix('}')?;
    let items: Vec<&str> = if items.is_empty() { vec![] } else { items.split(',').collect() };
    let has_null = items.contains(&"NULL");
    let mut bytes = Vec::new();
    bytes.put_i32(i32::from(!items.is_empty()));
    bytes.put_i32(i32::from(has_null));
    bytes.put_u32(oid(element));
    if !items.is_empty() {
        bytes.put_i32(i32::try_from(items.len()).ok()?);
        bytes.put_i32(1);
    }
    for item in items {
        match item {
            "NULL" => bytes.put_i32(-1),
            _ => {
                let value = binary(element, item)?;
                bytes.put_i32(i32::try_from(value.len()).ok()?);
                bytes.extend(value);
            }
        }
    }
    Some(bytes)
}

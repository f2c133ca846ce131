//! Owns what a server said to one request: its messages as results that can be compared.

use crate::raw::{Message, field, strings};
use bytes::{Buf, Bytes};

/// Values of one row, as they came.
pub type Row = Vec<Option<Bytes>>;

/// A column as RowDescription tells it, without the table it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// OID of its type.
    pub kind: u32,
    /// Type modifier.
    pub modifier: i32,
    /// 0 is text, 1 binary.
    pub format: i16,
}

/// An ErrorResponse.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fault {
    /// SQLSTATE.
    pub state: String,
    /// Primary message.
    pub message: String,
    /// Detail.
    pub detail: String,
    /// Hint.
    pub hint: String,
    /// Routine.
    pub routine: String,
}

/// One result of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Rows, or a command without any.
    Rows {
        /// As described before the rows, when anything was.
        columns: Option<Vec<Column>>,
        /// The rows.
        rows: Vec<Row>,
        /// The command tag; `suspended`, `empty`.
        end: String,
    },
    /// COPY … TO STDOUT.
    CopyOut {
        /// Overall format: 0 is text, 1 binary.
        format: u8,
        /// All data.
        data: Vec<u8>,
        /// The command tag.
        end: String,
    },
    /// COPY … FROM STDIN: data are asked for.
    CopyIn,
    /// Types of a prepared statement's parameters.
    Parameters(Vec<u32>),
    /// A described statement without rows.
    NoData,
    /// A description that no rows followed.
    Described(Vec<Column>),
    /// An error.
    Error(Fault),
}

/// All a server said to one request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Its results, in order.
    pub pieces: Vec<Piece>,
    /// State of the transaction: `I`, `T`, `E`; `X` when the connection ended.
    pub status: char,
}

impl Answer {
    /// Reads messages up to ReadyForQuery.
    pub fn read(messages: &[Message]) -> Answer {
        let mut reader = Reader::default();
        for message in messages {
            reader.take(message);
        }
        reader.flush_description();
        let status = match messages.last() {
            Some(last) if last.tag == b'Z' => {
                char::from(last.body.first().copied().unwrap_or(b'?'))
            }
            _ => 'X',
        };
        Answer { pieces: reader.pieces, status }
    }

    /// The first error.
    pub fn fault(&self) -> Option<&Fault> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Error(fault) => Some(fault),
            _ => None,
        })
    }

    /// The rows of all results.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        let rows = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Rows { rows, .. } => Some(rows),
            _ => None,
        });
        rows.flatten()
    }

    /// The answer for people.
    pub fn text(&self) -> String {
        let pieces = self.pieces.iter().map(Piece::text);
        format!("{} [{}]", pieces.collect::<Vec<_>>().join(" / "), self.status)
    }
}

/// Rows shown of one result.
const SHOWN_ROWS: usize = 12;

impl Piece {
    fn text(&self) -> String {
        match self {
            Self::Rows { columns, rows, end } => {
                let names = columns.iter().flatten().map(|c| format!("{}:{}", c.name, c.kind));
                let shown: Vec<String> = rows.iter().take(SHOWN_ROWS).map(show).collect();
                let names = names.collect::<Vec<_>>().join(", ");
                format!("{end} ({names}) {} rows: {}", rows.len(), shown.join(" "))
            }
            Self::CopyOut { data, end, .. } => {
                format!(
                    "{end} {}",
                    data.escape_ascii().to_string().chars().take(400).collect::<String>()
                )
            }
            Self::Error(fault) => format!(
                "error {} {} | {} | {}",
                fault.state, fault.message, fault.detail, fault.hint
            ),
            other => format!("{other:?}"),
        }
    }
}

/// A row for people.
pub fn show(row: &Row) -> String {
    let values = row.iter().map(|value| match value {
        Some(value) => value.escape_ascii().to_string(),
        None => "NULL".into(),
    });
    format!("({})", values.collect::<Vec<_>>().join(","))
}

#[derive(Default)]
struct Reader {
    pieces: Vec<Piece>,
    columns: Option<Vec<Column>>,
    rows: Vec<Row>,
    copy: Option<(u8, Vec<u8>)>,
}

impl Reader {
    fn take(&mut self, message: &Message) {
        let body = &message.body;
        match message.tag {
            b'T' => {
                self.flush_description();
                self.columns = Some(columns(body).expect("a row description"));
            }
            b'D' => self.rows.push(row(body).expect("a row")),
            b'C' => self.end(strings(body).into_iter().next().unwrap_or_default()),
            b's' => self.end("suspended".into()),
            b'I' => self.end("empty".into()),
            b'E' => self.fail(body),
            b't' => self.pieces.push(Piece::Parameters(oids(body).expect("parameters"))),
            b'n' => self.pieces.push(Piece::NoData),
            b'H' => self.copy = Some((body.first().copied().unwrap_or_default(), Vec::new())),
            b'd' => {
                if let Some((_, data)) = &mut self.copy {
                    data.extend_from_slice(body);
                }
            }
            b'G' => self.pieces.push(Piece::CopyIn),
            _ => {}
        }
    }

    /// A statement may be described and then executed: the second description counts.
    fn flush_description(&mut self) {
        if let Some(columns) = self.columns.take() {
            self.pieces.push(Piece::Described(columns));
        }
    }

    fn end(&mut self, end: String) {
        let (columns, rows) = (self.columns.take(), std::mem::take(&mut self.rows));
        self.pieces.push(match self.copy.take() {
            Some((format, data)) => Piece::CopyOut { format, data, end },
            None => Piece::Rows { columns, rows, end },
        });
    }

    fn fail(&mut self, body: &[u8]) {
        self.columns = None;
        self.rows.clear();
        self.copy = None;
        let part = |code| field(body, code).unwrap_or_default();
        self.pieces.push(Piece::Error(Fault {
            state: part(b'C'),
            message: part(b'M'),
            detail: part(b'D'),
            hint: part(b'H'),
            routine: part(b'R'),
        }));
    }
}

fn columns(body: &[u8]) -> Option<Vec<Column>> {
    let mut rest = body.get(2..)?;
    let mut columns = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0)?;
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        let mut fixed = rest.get(end + 1..end + 19)?;
        fixed.advance(6);
        let (kind, _size) = (fixed.get_u32(), fixed.get_i16());
        let (modifier, format) = (fixed.get_i32(), fixed.get_i16());
        columns.push(Column { name, kind, modifier, format });
        rest = &rest[end + 19..];
    }
    Some(columns)
}

/// The values of a DataRow, or of a tuple of binary COPY.
pub fn row(body: &Bytes) -> Option<Row> {
    let mut rest = body.clone();
    let count = rest.try_get_u16().ok()?;
    let mut row = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        row.push(match rest.try_get_i32().ok()? {
            -1 => None,
            length => {
                let length = usize::try_from(length).ok()?;
                (rest.len() >= length).then(|| Some(rest.split_to(length)))?
            }
        });
    }
    rest.is_empty().then_some(row)
}

fn oids(body: &[u8]) -> Option<Vec<u32>> {
    let numbers = body.get(2..)?.chunks_exact(4);
    Some(numbers.map(|mut four| four.get_u32()).collect())
}

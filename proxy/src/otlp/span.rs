//! Owns what a finished span is. How it looks on the wire is in `json`.

/// Whose side of what a span shows; numbers are those of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Something within pgmanifold.
    #[default]
    Internal = 1,
    /// The answering of a client.
    Server = 2,
    /// The asking of a server.
    Client = 3,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Box<str>),
    /// Several texts.
    Texts(Vec<Box<str>>),
    /// A number.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// A span that has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace: u128,
    /// Its own number.
    pub id: u64,
    /// The span it is a child of.
    pub parent: Option<u64>,
    /// Its name, of few values.
    pub name: Box<str>,
    /// Its kind.
    pub kind: Kind,
    /// Nanoseconds since 1970.
    pub start_ns: u64,
    /// Nanoseconds since 1970.
    pub end_ns: u64,
    /// Names and values.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, when it did.
    pub error: Option<Box<str>>,
}

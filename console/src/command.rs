//! Owns the console's commands: how they are written, and who may give them.

/// Who is allowed what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May read tables.
    Stats,
    /// May do all.
    Admin,
}

/// One command of the console.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `SHOW table`
    Show(&'static crate::schema::Table),
    /// A SELECT over the tables, for the engine.
    Select(String),
}

impl PartialEq for crate::schema::Table {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

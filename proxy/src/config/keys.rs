//! Owns the form of the key table: what is known of a section and of a key. The table itself is in
//! `sections`.

mod access;
mod catalog;
mod console;
mod failover;
mod limits;
mod notify;
mod sections;
mod sharding;
mod state;
mod statements;
mod stats;
mod traces;
mod two_phase;

pub use access::{AUTH, HBA, LISTENER, USER_MAP};
pub use catalog::CATALOG;
pub use console::CONSOLE;
pub use sections::{DATABASE, GENERAL, HOST, HTTP, POOL, SECTIONS, SHARD, USER};
pub use sharding::{DISTRIBUTION, TABLE};
pub use traces::TRACING;

/// A section of the file.
#[derive(Debug)]
pub struct Section {
    /// Name as in the header, for example `shard.host`.
    pub name: &'static str,
    /// `[[name]]`, may stand several times.
    pub repeats: bool,
    /// Sentences for the documentation.
    pub help: &'static str,
    /// Keys, in groups; a group may belong to two sections, one giving defaults to the other. Those
    /// of `limits` follow.
    pub groups: &'static [&'static [Key]],
    /// Sections nested in this one.
    pub nested: &'static [&'static Section],
}

impl Section {
    /// All keys of the section.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.groups.iter().chain(limits::groups_of(self.name)).flat_map(|group| group.iter())
    }

    /// The key called `name`.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }

    /// The header as it stands in the file.
    pub fn header(&self) -> String {
        if self.repeats { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Name; the unit comes last.
    pub name: &'static str,
    /// Type and limits.
    pub kind: Kind,
    /// What holds when the key is absent.
    pub default: Absent,
    /// What a reload does with a changed value.
    pub reload: Reload,
    /// Sentences for the documentation.
    pub help: &'static str,
}

/// Type and limits of a value.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number within the limits.
    Integer(u64, u64),
    /// `true` or `false`.
    Boolean,
    /// Any text that is not empty.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A file; a relative path starts at the folder of the configuration file.
    File,
    /// `host:port`, `[ipv6]:port` or the path of a Unix socket file.
    Address,
    /// A list of addresses.
    Addresses,
    /// A text or a list of texts.
    Names,
    /// A text or a whole number, kept as text.
    Literal,
    /// A literal or a list of literals.
    Literals,
    /// Text that must not be shown.
    Secret,
    /// A number from 0 to 1, kept as text.
    Ratio,
}

/// What holds when a key is absent.
#[derive(Debug, Clone, Copy)]
pub enum Absent {
    /// The key must be given.
    Required,
    /// This value, as it would stand in the file (text without quotes).
    Value(&'static str),
    /// Something computed or nothing, in words.
    Words(&'static str),
}

/// What a reload (SIGHUP) does with a changed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// Holds at once.
    Live,
    /// Holds for connections made afterwards.
    NewConnections,
    /// Holds after a restart; a reload with such a change is refused.
    Restart,
}

//! Owns `Plan`: everything that can be known of a statement text before its values are known.
//! A plan is a cacheable value; it must not refer to a session, a server or a time.

use crate::hint::Hints;
use crate::shape::Shape;
use crate::sharding::Placing;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// What a query string does, seen as a whole: the strongest effect of its statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Changes nothing and takes no lock that matters: may run on a replica.
    Read,
    /// May change data, take row locks, or call a function that may.
    Write,
    /// Changes the schema, roles or other catalog state.
    Ddl,
    /// Transaction control and nothing else.
    Transaction,
    /// Changes only the state of the session (SET, LISTEN, PREPARE, ...).
    SessionState,
    /// COPY ... FROM STDIN, or COPY that writes.
    Copy,
    /// Could not be classified: runs on the primary.
    Unknown,
}

/// Transaction control, when the text is exactly one such statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transaction {
    /// BEGIN or START TRANSACTION.
    Begin {
        /// Declared READ ONLY.
        read_only: bool,
        /// Declared ISOLATION LEVEL SERIALIZABLE (not possible on a hot standby).
        serializable: bool,
    },
    /// COMMIT or END (also AND CHAIN).
    Commit,
    /// ROLLBACK or ABORT of the whole transaction (also AND CHAIN).
    Rollback,
    /// SAVEPOINT, RELEASE, ROLLBACK TO.
    Savepoint,
    /// SET TRANSACTION ...
    SetTransaction,
    /// PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED.
    TwoPhase,
}

/// Why a session must keep its server from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PinReason {
    /// A temporary table, view or sequence was made.
    TempObject,
    /// LISTEN was issued.
    Listen,
    /// A session-level advisory lock was taken.
    AdvisoryLock,
    /// DECLARE ... WITH HOLD.
    HoldCursor,
    /// SQL-level PREPARE.
    SqlPrepare,
    /// LOAD of a library.
    Load,
    /// The text could not be read (too long, unsafe encoding): it may have done any of these.
    Unclassified,
    /// `currval` and `lastval` are asked for outside the transaction of their `nextval`.
    SequenceState,
    /// The client asked to keep its server.
    Asked,
}

/// What a text leaves behind in the session that ran it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionEffect {
    /// May change run-time parameters (SET, RESET, `set_config`, DISCARD ALL, DO, CALL).
    pub settings: bool,
    /// Names of parameters seen in SET / RESET / `set_config('name', ...)`, lower case; `all` for
    /// RESET ALL and DISCARD ALL. SET LOCAL is not among them: it ends with its transaction.
    pub setting_names: Vec<Box<str>>,
    /// The session needs its server for longer than this transaction.
    pub pin: Option<PinReason>,
    /// Reads `currval` / `lastval`: only right on the server that ran `nextval`.
    pub sequence_state: bool,
    /// DEALLOCATE ALL or DISCARD ALL: server-side prepared statements are gone.
    pub drops_prepared: bool,
    /// May end what ties a session to its server (CLOSE, DEALLOCATE, DISCARD, UNLISTEN,
    /// `pg_advisory_unlock`). DDL may as well, and is not marked.
    pub unpins: bool,
    /// May take anything that ties a session to its server, unseen (DO, CALL, a function with a
    /// body that does such things): the server must be asked what it holds.
    pub probes: bool,
    /// Puts the parameters of `setting_names` back to what they were at connect time.
    pub resets: bool,
    /// Parameters that `SET LOCAL name TO DEFAULT` puts back for the rest of the transaction.
    pub local_defaults: Vec<Box<str>>,
    /// The name of a parameter it sets is a value bound later.
    pub names_bound: bool,
    /// Changes parameters for the rest of the transaction only (SET LOCAL).
    pub local_settings: bool,
    /// May switch `synchronous_commit` off (the flushed LSN then does not cover the commit). A
    /// return to the server's default, by RESET or DISCARD, does not count.
    pub async_commit: bool,
    /// Has to do with what the session listens to (LISTEN, UNLISTEN, `pg_listening_channels`),
    /// beyond `unlistens_all`.
    pub listening: bool,
    /// Ends all listening: `UNLISTEN *`, DISCARD ALL.
    pub unlistens_all: bool,
    /// The database to which nobody else may be connected (DROP DATABASE and the like).
    pub vacates: Option<Box<str>>,
}

/// Commands that no server sees: pgmanifold's own `SET pgm.x`, `RESET pgm.x` and `SHOW pgm.x`, and
/// those about notifications, which pgmanifold may answer for the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalCommand {
    /// `SET [SESSION | LOCAL] pgm.name = value`; `None` is DEFAULT (and RESET).
    Set {
        /// Parameter name without the `pgm.` prefix, lower case.
        name: Box<str>,
        /// Value as text.
        value: Option<Box<str>>,
        /// SET LOCAL: undone when the transaction ends.
        local: bool,
        /// Spelled RESET (decides the command tag).
        reset: bool,
    },
    /// `DEALLOCATE name`, to be answered here if the statement was prepared by protocol: servers
    /// know it by another name.
    Deallocate {
        /// The client's name for it.
        name: Box<str>,
    },
    /// `EXECUTE name`, also under EXPLAIN: never answered here, but a statement prepared by
    /// protocol must be called by the name servers know it by.
    Execute {
        /// The client's name for it.
        name: Box<str>,
    },
    /// `PREPARE name AS …`, to be refused here if a statement of this name was prepared by
    /// protocol.
    Prepare {
        /// The name.
        name: Box<str>,
    },
    /// `SHOW pgm.name`.
    Show {
        /// Parameter name without the `pgm.` prefix, lower case.
        name: Box<str>,
    },
    /// `LISTEN channel`.
    Listen {
        /// The channel, as the server would fold and cut its name.
        channel: Box<str>,
    },
    /// `UNLISTEN channel`, or `UNLISTEN *`.
    Unlisten {
        /// The channel; `None` for all.
        channel: Option<Box<str>>,
    },
    /// `SELECT pg_listening_channels()`, also with `* FROM`.
    ListeningChannels,
}

impl LocalCommand {
    /// True when the session decides, by the statements it has prepared by protocol, whether a
    /// server sees the command.
    pub fn is_by_name(&self) -> bool {
        matches!(self, Self::Deallocate { .. } | Self::Execute { .. } | Self::Prepare { .. })
    }

    /// True for the commands about `pgm.` settings, which no server understands.
    pub fn is_setting(&self) -> bool {
        match self {
            Self::Set { .. } | Self::Show { .. } => true,
            Self::Listen { .. }
            | Self::Unlisten { .. }
            | Self::ListeningChannels
            | Self::Deallocate { .. }
            | Self::Execute { .. }
            | Self::Prepare { .. } => false,
        }
    }
}

/// Everything known about a query string before its values are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The strongest effect of all statements in the text.
    pub effect: Effect,
    /// Why, as a short lowercase sentence for people (`calls volatile function nextval`).
    pub reason: Cow<'static, str>,
    /// Number of statements (0 for an empty query string).
    pub statements: u32,
    /// Set when the text is exactly one transaction control statement.
    pub transaction: Option<Transaction>,
    /// The text has transaction control somewhere among several statements.
    pub has_transaction_control: bool,
    /// What the text leaves behind in the session.
    pub session: SessionEffect,
    /// The text only makes sense inside a transaction block (DECLARE without HOLD).
    pub needs_transaction: bool,
    /// Set when the text is exactly one command that no server need see.
    pub local: Option<LocalCommand>,
    /// A parameter of pgmanifold's own is named where no server may see it: among several
    /// statements or in `set_config`. Such a text is to be refused.
    pub misplaced_local: bool,
    /// Hints read from a comment.
    pub hints: Hints,
    /// A hint that cannot be understood, as a short lowercase sentence: the text is to be refused.
    pub hint_error: Option<Box<str>>,
    /// False when a literal decided (for example `set_config('name', ...)`): the plan then holds
    /// for this exact text only and must not be cached under its normal form.
    pub cacheable: bool,
    /// How it meets the shards, when its database has several.
    pub placing: Option<Box<Placing>>,
    /// How people are shown the text, when somebody has asked for it.
    pub shape: Option<Arc<Shape>>,
}

impl Effect {
    /// The effect as one lowercase word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Ddl => "ddl",
            Self::Transaction => "transaction",
            Self::SessionState => "session",
            Self::Copy => "copy",
            Self::Unknown => "unknown",
        }
    }

    /// True when a statement of this effect may call `nextval`, seen or unseen.
    pub fn may_use_sequences(self) -> bool {
        match self {
            Self::Write | Self::Copy | Self::Unknown | Self::Ddl => true,
            Self::Read | Self::Transaction | Self::SessionState => false,
        }
    }

    /// Position in "the strongest effect of several statements wins". Facts must be refreshed
    /// after DDL even when another statement was not understood, so DDL stands highest.
    pub(crate) fn strength(self) -> u8 {
        match self {
            Self::Read => 0,
            Self::Transaction => 1,
            Self::SessionState => 2,
            Self::Write => 3,
            Self::Copy => 4,
            Self::Unknown => 5,
            Self::Ddl => 6,
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PinReason {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::TempObject,
        Self::Listen,
        Self::AdvisoryLock,
        Self::HoldCursor,
        Self::SqlPrepare,
        Self::Load,
        Self::Unclassified,
        Self::SequenceState,
        Self::Asked,
    ];

    /// The reason as a few lowercase words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TempObject => "temporary object",
            Self::Listen => "listen",
            Self::AdvisoryLock => "advisory lock",
            Self::HoldCursor => "cursor with hold",
            Self::SqlPrepare => "sql prepare",
            Self::Load => "load",
            Self::Unclassified => "unclassified text",
            Self::SequenceState => "sequence state",
            Self::Asked => "asked for",
        }
    }
}

impl fmt::Display for PinReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Default for Plan {
    /// An empty text: nothing to do.
    fn default() -> Self {
        Self {
            effect: Effect::Read,
            reason: Cow::Borrowed("empty query"),
            statements: 0,
            transaction: None,
            has_transaction_control: false,
            session: SessionEffect::default(),
            needs_transaction: false,
            local: None,
            misplaced_local: false,
            hints: Hints::default(),
            hint_error: None,
            cacheable: true,
            placing: None,
            shape: None,
        }
    }
}

/// One line: the effect and why, as in `write: calls volatile function nextval`.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.effect, self.reason)?;
        if let Some(pin) = self.session.pin {
            write!(f, "; pins the session ({pin})")?;
        }
        if let Some(error) = &self.hint_error {
            write!(f, "; bad hint: {error}")?;
        }
        Ok(())
    }
}

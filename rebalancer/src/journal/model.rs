//! Owns what a move is: the meaning of its row in the catalog.

use crate::plan::PlannedMove;
use crate::state::State;
use pgmanifold_router::shard_map::Keys;
use serde_json::Value;

/// A move, as its row in the catalog says.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    /// Its number; names of objects on the shards are made of it.
    pub id: i64,
    /// Name of the distribution.
    pub distribution: String,
    /// Which keys.
    pub keys: Keys,
    /// Who had them when it was planned.
    pub source: String,
    /// Who is to have them.
    pub target: String,
    /// How they are moved.
    pub mode: Mode,
    /// Where it stands.
    pub state: State,
    /// What somebody has asked for.
    pub wish: Option<Wish>,
    /// What its state needs to go on after a crash: a JSON object.
    pub journal: Value,
    /// Rows to copy, as estimated.
    pub rows_total: Option<i64>,
    /// Rows copied.
    pub rows_copied: i64,
    /// Bytes copied.
    pub bytes_copied: i64,
    /// As fast as that.
    pub rows_per_s: Option<f64>,
    /// How far the follower is behind.
    pub lag_bytes: Option<i64>,
    /// How long writes to the keys waited.
    pub write_pause_ms: Option<f64>,
    /// What went wrong in this state, most recently.
    pub last_error: Option<String>,
    /// How often that was.
    pub attempts: i32,
    /// When it was planned, begun, last changed, ended: as the catalog's text in UTC.
    pub times: Times,
}

impl Move {
    /// One that is not in the catalog.
    pub fn not_begun(planned: &PlannedMove, mode: Mode) -> Self {
        Self {
            id: 0,
            distribution: planned.distribution.clone(),
            keys: planned.keys.clone(),
            source: planned.source.clone(),
            target: planned.target.clone(),
            mode,
            state: State::Planned,
            wish: None,
            journal: Value::Object(serde_json::Map::new()),
            rows_total: None,
            rows_copied: 0,
            bytes_copied: 0,
            rows_per_s: None,
            lag_bytes: None,
            write_pause_ms: None,
            last_error: None,
            attempts: 0,
            times: Times::default(),
        }
    }
}

/// Moments of a move.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Times {
    /// It was planned.
    pub created_at: String,
    /// Its first step began.
    pub started_at: Option<String>,
    /// The state changed.
    pub changed_at: String,
    /// It ended.
    pub ended_at: Option<String>,
}

/// How keys are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Writes go on meanwhile: changes follow by logical replication.
    Online,
    /// Writes to the keys wait or are refused meanwhile.
    Offline,
}

impl Mode {
    /// The word in the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }
}

/// What somebody asks of a move that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wish {
    /// Stop at the next safe place.
    Pause,
    /// Give it up.
    Abort,
    /// Give the keys back.
    Rollback,
    /// End it.
    Cleanup,
}

impl Wish {
    /// The word in the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
            Self::Cleanup => "cleanup",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Pause, Self::Abort, Self::Rollback, Self::Cleanup]
            .into_iter()
            .find(|wish| wish.as_str() == name)
    }
}

/// What was noted of a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, as the catalog's text in UTC.
    pub at: String,
    /// Its state then.
    pub state: String,
    /// What happened.
    pub note: String,
}

//! Owns what a statement means to a shard map: whether it touches sharded tables, which values
//! choose its shards, and how it is spread when they choose several.
//!
//! Two steps. [`place`] looks at a text once and makes a [`Placing`], which is cached with the
//! plan: it names the places of key values, not the values. [`choose`] turns it into shards with
//! the values of one execution; it runs on every query and allocates nothing for a single key.
//! Only when several shards are chosen, [`spread`] reads the text again and says what each shard
//! is sent and how the answers become one. Each shape of statement is enabled where its answer is
//! proven to be PostgreSQL's; everything else is refused.

use crate::facts::Facts;
use crate::lexer::{Dialect, Token};
use crate::plan::Plan;
use crate::shard_map::{ShardId, ShardMap};
use std::borrow::Cow;
use std::fmt;

mod aggregates;
mod array;
mod choose;
mod conditions;
mod copy_in;
mod copy_out;
mod ctes;
mod ddl;
mod emit;
mod expression;
mod finish;
mod hidden;
mod insert;
mod insert_select;
mod integrity;
mod levels;
mod merge;
mod modify;
mod named;
mod operand;
mod paused;
mod place;
mod print;
pub(crate) mod query;
mod reference;
mod references;
mod row;
mod schema;
mod select;
mod several;
mod splice;
mod spread;
mod statement;
mod target;
mod unsharded;
mod utility;
mod writes;

pub use copy_in::{CopyFormat, CopyKey, CopyPlan, copy_plan};

/// What statements are read against.
#[derive(Debug, Clone, Copy)]
pub struct Catalog<'a> {
    /// Which tables are sharded, and how.
    pub map: &'a ShardMap,
    /// Which relations and functions there are.
    pub facts: &'a Facts,
}

/// Why a statement is refused: SQLSTATE `PGM03` unless a code of PostgreSQL's fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// SQLSTATE.
    pub sqlstate: &'static str,
    /// Lowercase, without a full stop.
    pub message: Cow<'static, str>,
    /// Which construct, as a sentence.
    pub detail: Option<Cow<'static, str>>,
    /// What would make it possible, as a sentence.
    pub hint: Option<Cow<'static, str>>,
    /// The construct as a short slug for statistics (`join-not-colocated`).
    pub construct: &'static str,
}

/// SQLSTATE of statements that are refused because they would need more than the shards can do.
pub const REFUSED: &str = "PGM03";

/// Where a value stands that decides on a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// The nth literal token of the text, from 0; `negative` when a minus stands before it.
    Literal {
        /// Which.
        at: u16,
        /// A minus stands before it.
        negative: bool,
    },
    /// `$n`, from 1.
    Parameter(u16),
    /// The word NULL.
    Null,
}

/// What a conjunct says about one column of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Equal to one of these (`=`, `IN (…)`).
    OneOf(Vec<Operand>),
    /// Equal to an element of an array (`= ANY ($1)`, `= ANY ('{…}')`).
    InArray(Operand),
    /// At least and at most, both included: what is open is taken as closed.
    Between(Option<Operand>, Option<Operand>),
}

/// Conditions that all hold for every row a table reference contributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyFilter {
    /// Index of the distribution.
    pub distribution: usize,
    /// Column of the key, and what is said of it.
    pub conditions: Vec<(u8, Condition)>,
}

/// How a statement meets the shards, whatever its values are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placing {
    /// It touches no sharded table, or only what lives on this shard.
    On(ShardId),
    /// Every shard gives the same answer: constants, reads of reference tables.
    Anywhere,
    /// It restricts the rows of distributions: each of these filters chooses shards, and the
    /// statement needs every shard that any of them chooses.
    Keyed {
        /// Index of the (first) distribution.
        distribution: usize,
        /// One per table reference that is not tied to another by its key; one at least.
        filters: Vec<KeyFilter>,
        /// Shards it needs besides: of tables that live on one shard.
        also: Vec<ShardId>,
        /// Whether it writes.
        writes: bool,
    },
    /// It adds rows: each row's key, column by column. What is not known is refused.
    Rows {
        /// Index of the distribution.
        distribution: usize,
        /// Keys of the rows.
        keys: Vec<Vec<Operand>>,
    },
    /// `COPY … FROM STDIN` of a sharded table.
    CopyIn,
    /// All shards do the same and answer the same: DDL, writes of reference tables.
    Everywhere {
        /// It cannot run in a transaction block (CREATE INDEX CONCURRENTLY, VACUUM).
        outside_transaction: bool,
    },
    /// Changes the session (SET, …): concerns every shard that takes part in the transaction.
    Session,
    /// Transaction control.
    Transaction,
    /// Uses a cursor: on the shard where it was declared.
    Cursor,
    /// Not possible.
    Refused(Box<Refusal>),
}

/// The values of one execution.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// The text.
    pub sql: &'a [u8],
    /// All literal tokens of the text, in order.
    pub literals: &'a [Token],
    /// How the text is read.
    pub dialect: Dialect,
    /// What was bound, for the extended protocol.
    pub bound: Option<&'a Bound<'a>>,
}

/// Values bound to parameters.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// Types declared by Parse, as OIDs; 0 or missing when left to the server.
    pub types: &'a [u32],
    /// Format codes as in Bind: none, one for all, or one each.
    pub formats: &'a [i16],
    /// The values; `None` is NULL.
    pub values: &'a [Option<&'a [u8]>],
}

/// Shards a statement needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// One, which is sent the text as it is.
    One(ShardId),
    /// Any one.
    Any,
    /// Several, in ascending order, without repetition; two at least.
    Several(Vec<ShardId>),
    /// None: no row can match. It is asked of any one shard as it is.
    None,
}

/// The one key that has chosen a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash {
    /// Index of its distribution, which is by hash.
    pub distribution: usize,
    /// Its hash.
    pub hash: i64,
}

/// What one shard is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The shard.
    pub shard: ShardId,
    /// The text.
    pub sql: Vec<u8>,
    /// Which parameters of the client's it has, in its own order (`[2, 0]`: its `$1` is the
    /// client's `$3`); `None`: all of them as they are.
    pub parameters: Option<Vec<u16>>,
}

/// A statement as it goes to several shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// One per shard, in ascending order of shards.
    pub parts: Vec<Part>,
    /// How the answers become one.
    pub merge: Merge,
    /// It writes: all parts commit or none.
    pub writes: bool,
    /// The client's text: the columns of the answer are those a server describes for it.
    pub original: Vec<u8>,
}

/// What the type of a column may be that is combined with those of other shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnRule {
    /// Any built-in scalar type.
    Any,
    /// A type whose sums do not depend on their order: integers, `numeric`, `interval`, `money`.
    Exact,
    /// `bigint` or `numeric`.
    Number,
    /// No type: whatever it is, it is added up as `double precision`.
    Floating,
}

/// How answers of several shards become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// Rows of any shard as they come, `limits` applied.
    Concat {
        /// LIMIT and OFFSET.
        limits: Limits,
    },
    /// Each shard's rows are in order; they are merged. The last column of each part is ours: the
    /// sort keys as hexadecimal `record_send(row(…))`, never shown to the client.
    Ordered {
        /// The keys, the most important first.
        keys: Vec<SortKey>,
        /// LIMIT and OFFSET.
        limits: Limits,
    },
    /// The rows of all shards, a bounded number, are given to one server as arrays, and its answer
    /// to `sql` is the answer.
    Finish {
        /// A SELECT over `unnest(…)`. `\0` in it stands for `$n::type[]` of the next column of the
        /// parts, and `\x01` with a byte for the type of the column with that index.
        sql: Vec<u8>,
        /// What the types of the parts' columns may be.
        columns: Vec<ColumnRule>,
        /// Which parameters of the client's it has, numbered after the arrays in this order.
        parameters: Vec<u16>,
    },
    /// The numbers in the command tags are added; rows (RETURNING) pass as they come.
    Sum,
    /// As `Sum`, but the rows answer input rows: the nth row is the next one of the nth shard here.
    InputOrder(Vec<ShardId>),
    /// All shards answer the same: the first one's answer is the answer. Different numbers in the
    /// command tags are an error.
    Same,
    /// Lines of text of each shard under a heading (EXPLAIN).
    Headed,
    /// `COPY … TO STDOUT`: the data of all shards as one stream. The header, and what stands
    /// before and after binary data, is given once.
    CopyOut {
        /// HEADER: the first line of each answer names the columns.
        header: bool,
        /// FORMAT binary.
        binary: bool,
    },
}

/// LIMIT and OFFSET of a merged answer. The parts are sent what the shards need to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Rows left out first.
    pub offset: u64,
    /// Most rows given.
    pub limit: Option<u64>,
}

/// One key of an ORDER BY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    /// DESC.
    pub descending: bool,
    /// NULLS FIRST, also by default.
    pub nulls_first: bool,
    /// Text of this key sorts byte by byte (collation C). Where this is not known, text is refused.
    pub byte_order: bool,
}

/// What a statement means to the shards, whatever its values are.
pub fn place(sql: &[u8], plan: &Plan, catalog: Catalog<'_>, dialect: Dialect) -> Placing {
    place::place(sql, plan, catalog, dialect)
}

/// The shards an execution needs.
///
/// # Errors
/// When the values cannot be placed (NULL or unmapped key of a new row).
pub fn choose(
    placing: &Placing,
    map: &ShardMap,
    values: &Values<'_>,
) -> Result<Choice, Box<Refusal>> {
    choose::choose(placing, map, values, &mut None)
}

/// The same; `decides` becomes the hash of the key when one known key decides alone.
///
/// # Errors
/// As [`choose`].
pub fn choose_by_key(
    placing: &Placing,
    map: &ShardMap,
    values: &Values<'_>,
    decides: &mut Option<KeyHash>,
) -> Result<Choice, Box<Refusal>> {
    choose::choose(placing, map, values, decides)
}

/// Whether a statement may meet keys that are about to change hands (`Moving::paused`): one whose
/// keys are known, only when they are among them; any other, when it goes to their owner.
pub fn meets_paused(placing: &Placing, map: &ShardMap, values: &Values<'_>) -> bool {
    paused::meets_paused(placing, map, values)
}

/// What each of these shards is sent, and how their answers become one.
///
/// # Errors
/// When the statement has no answer that would be PostgreSQL's.
pub fn spread(
    placing: &Placing,
    shards: &[ShardId],
    catalog: Catalog<'_>,
    values: &Values<'_>,
) -> Result<Spread, Box<Refusal>> {
    spread::spread(placing, shards, catalog, values)
}

impl Refusal {
    /// A refusal with the code `PGM03`.
    pub fn new(construct: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { sqlstate: REFUSED, message: message.into(), detail: None, hint: None, construct }
    }

    /// With a Detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With a Hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sqlstate, self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, " | {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " | {hint}")?;
        }
        Ok(())
    }
}

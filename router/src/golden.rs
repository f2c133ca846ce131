//! Owns the reading of the golden files: statements and what must become of them. The router's
//! own tests compare its plans with them, and the end-to-end tests run the statements on real
//! servers, so that a wrong expectation cannot live long.
//!
//! A case is two lines, the statement (`⏎` stands for a line break) and, indented,
//! `= effect | target | flags | reason`. Flags are words from [`flags`], or `-`.

use crate::facts::{FactKind, Facts, FactsBuilder, FactsError};
use crate::lexer::Dialect;
use crate::plan::{LocalCommand, Plan, Transaction};
use crate::planner::plan;
use crate::route::{SessionView, route};
use std::fmt::Write;

mod shards;

pub use shards::{SHARDS_FACTS, SHARDS_SCHEMA, shards_facts, shards_map, shards_moving_map};

/// The cases: `golden/effects.txt`.
pub const EFFECTS: &str = include_str!("../golden/effects.txt");
/// The schema the cases assume, as SQL for psql.
pub const SCHEMA: &str = include_str!("../golden/schema.sql");
/// What a server with that schema says of itself, without PostgreSQL's own functions.
pub const FACTS: &str = include_str!("../golden/facts.txt");

/// Flag of statements that only parse in PostgreSQL, not in the parser for the slow path.
pub const UNPARSED: &str = "unparsed";
/// Flag of statements that fail outside of a transaction block.
pub const NEEDS_TRANSACTION: &str = "in-transaction";

/// One statement and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Line of the statement in the file, from 1.
    pub line: usize,
    /// The query string as the client sends it.
    pub sql: String,
    /// Effect as one word.
    pub effect: String,
    /// Target for a session with default settings.
    pub target: String,
    /// Flags, in a fixed order.
    pub flags: Vec<String>,
    /// The reason of the route.
    pub reason: String,
}

impl Case {
    /// Whether the case has the flag.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|have| have == flag)
    }

    /// The second line of the case.
    pub fn expectation(&self) -> String {
        let flags = match self.flags.is_empty() {
            true => "-".to_string(),
            false => self.flags.join(" "),
        };
        format!("  = {} | {} | {flags} | {}", self.effect, self.target, self.reason)
    }
}

/// Reads cases from text in the format of [`EFFECTS`]; a statement without a second line has
/// empty expectations.
pub fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(rest) = line.strip_prefix("  = ") {
            let mut parts = rest.splitn(4, " | ").map(str::to_string);
            let mut next = || parts.next().unwrap_or_default();
            if let Some(case) = cases.last_mut() {
                (case.effect, case.target) = (next(), next());
                case.flags = next().split(' ').filter(|f| *f != "-").map(str::to_string).collect();
                case.reason = next();
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            cases.push(Case {
                line: index + 1,
                sql: line.replace('⏎', "\n"),
                effect: String::new(),
                target: String::new(),
                flags: Vec::new(),
                reason: String::new(),
            });
        }
    }
    cases
}

/// Plans and routes a statement as a case of its own, with the facts given.
pub fn observe(line: usize, sql: &str, facts: &Facts) -> Case {
    let plan = plan(sql.as_bytes(), facts, Dialect::default());
    let route = route(&plan, SessionView::default());
    Case {
        line,
        sql: sql.to_string(),
        effect: plan.effect.to_string(),
        target: route.target.to_string(),
        flags: flags(&plan),
        reason: route.reason.into_owned(),
    }
}

/// What a plan says besides effect and reason, as words.
pub fn flags(plan: &Plan) -> Vec<String> {
    let mut flags = Vec::new();
    if plan.statements != 1 {
        flags.push(format!("statements={}", plan.statements));
    }
    if let Some(transaction) = plan.transaction {
        flags.push(transaction_flag(transaction));
    }
    let session = &plan.session;
    if session.settings {
        flags.push(format!("settings({})", session.setting_names.join(",")));
    }
    if let Some(pin) = session.pin {
        flags.push(format!("pin({})", pin.as_str().replace(' ', "-")));
    }
    for (set, flag) in [
        (plan.has_transaction_control, "transaction-control"),
        (session.sequence_state, "sequence-state"),
        (session.drops_prepared, "drops-prepared"),
        (session.unpins, "unpins"),
        (session.probes, "probes"),
        (session.names_bound, "names-bound"),
        (session.resets, "resets"),
        (session.local_settings, "local-settings"),
        (session.async_commit, "async-commit"),
        (session.listening, "listening"),
        (session.unlistens_all, "unlistens-all"),
        (plan.needs_transaction, NEEDS_TRANSACTION),
        (plan.misplaced_local, "misplaced-local"),
        (!plan.cacheable, "not-cacheable"),
    ] {
        if set {
            flags.push(flag.to_string());
        }
    }
    if let Some(local) = &plan.local {
        flags.push(local_flag(local));
    }
    if let Some(error) = &plan.hint_error {
        flags.push(format!("bad-hint({})", error.replace(' ', "-")));
    }
    flags
}

fn transaction_flag(transaction: Transaction) -> String {
    match transaction {
        Transaction::Begin { read_only, serializable } => {
            let mut flag = "begin".to_string();
            for (set, word) in [(read_only, "-read-only"), (serializable, "-serializable")] {
                flag.push_str(if set { word } else { "" });
            }
            flag
        }
        Transaction::Commit => "commit".to_string(),
        Transaction::Rollback => "rollback".to_string(),
        Transaction::Savepoint => "savepoint".to_string(),
        Transaction::SetTransaction => "set-transaction".to_string(),
        Transaction::TwoPhase => "two-phase".to_string(),
    }
}

fn local_flag(local: &LocalCommand) -> String {
    match local {
        LocalCommand::Show { name } => format!("local-show({name})"),
        LocalCommand::Listen { channel } => format!("local-listen({channel})"),
        LocalCommand::Unlisten { channel } => {
            format!("local-unlisten({})", channel.as_deref().unwrap_or("*"))
        }
        LocalCommand::ListeningChannels => "local-listening-channels".to_string(),
        LocalCommand::Deallocate { name } => format!("local-deallocate({name})"),
        LocalCommand::Execute { name } => format!("local-execute({name})"),
        LocalCommand::Prepare { name } => format!("local-prepare({name})"),
        LocalCommand::Set { name, value, local, reset } => {
            let mut flag = match (local, reset) {
                (true, _) => "local-set-local".to_string(),
                (_, true) => "local-reset".to_string(),
                _ => "local-set".to_string(),
            };
            let value = value.as_deref().unwrap_or("DEFAULT").replace(' ', "_");
            // Writing to a String cannot fail.
            let _ = write!(flag, "({name}={value})");
            flag
        }
    }
}

/// The facts of the golden schema on top of PostgreSQL's own functions.
///
/// # Errors
/// The dump holds a row that is none.
pub fn facts() -> Result<Facts, FactsError> {
    let mut builder = FactsBuilder::with_builtin(1);
    add_dump(&mut builder, FACTS)?;
    Ok(builder.build())
}

/// Adds rows dumped as lines of `kind`, then the columns, in COPY text format.
///
/// # Errors
/// A row that is none; lines of an unknown kind are such rows too.
pub fn add_dump(builder: &mut FactsBuilder, dump: &str) -> Result<(), FactsError> {
    for line in dump.lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.split('\t');
        let kind = FactKind::from_name(fields.next().unwrap_or_default())
            .ok_or(FactsError { kind: FactKind::Everywhere, column: "kind" })?;
        let columns: Vec<Option<String>> =
            fields.map(|field| (field != "\\N").then(|| unescape(field))).collect();
        let row: Vec<Option<&str>> = columns.iter().map(Option::as_deref).collect();
        builder.add(kind, &row)?;
    }
    Ok(())
}

fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => {}
            },
            _ => out.push(c),
        }
    }
    out
}

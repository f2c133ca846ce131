//! Owns the question whether a statement that a server has analysed for somebody, sometime, may
//! stand for the one a client has prepared. PostgreSQL analyses a prepared statement again when the
//! schema or the search path has changed, and refuses it when its result would have other columns
//! ("cached plan must not change result type"). Here:
//!
//! * a client that prepares anew never meets an older analysis: the server analyses again;
//! * a client that was told the columns of a result gets a result with these columns, or the error
//!   PostgreSQL would have given. When a server has analysed its statement under another schema,
//!   the server is asked what the columns are before the statement runs.

use super::reply::Fate;
use super::request::Step;
use super::settings::Settings;
use super::{Prepared, Session, Stop};
use crate::backend::connection::Expect;
use crate::backend::prepared::{Acceptance, Stamp, Statement};
use crate::pool::Lease;
use crate::pool::manager::UserPools;
use crate::wire::error::SqlError;
use crate::wire::frame;
use std::sync::Arc;
use std::time::Instant;

/// Longest batch that is kept for a second try with a statement analysed anew.
const REPEATABLE_BYTES: usize = 16 * 1024;

/// What a client may know of a statement it has prepared.
#[derive(Debug)]
pub(super) struct Origin {
    /// When and under what it was prepared, or last found unchanged.
    pub(super) stamp: Stamp,
    told: Option<Told>,
}

/// What a client was told of a statement.
#[derive(Debug, Clone)]
struct Told {
    /// Body of the ParameterDescription; `None` when only a portal was described.
    parameters: Option<Box<[u8]>>,
    /// What it returns, as `take_description` keeps it.
    result: Box<[u8]>,
}

impl Told {
    /// Parameters and result of a statement that a server has described.
    fn new(description: &[u8]) -> Option<Self> {
        let count = description.first_chunk::<2>()?;
        let end = 2 + usize::from(u16::from_be_bytes(*count)) * 4;
        let (parameters, result) = description.split_at_checked(end)?;
        Some(Self { parameters: Some(parameters.into()), result: result.into() })
    }

    fn parameters_agree(&self, now: &Told) -> bool {
        self.parameters.is_none() || self.parameters == now.parameters
    }

    fn agrees(&self, now: &Told) -> bool {
        self.parameters_agree(now) && self.result == now.result
    }
}

impl Origin {
    pub(super) fn new(stamp: Stamp) -> Self {
        Self { stamp, told: None }
    }

    /// True when the client has been told what the statement returns.
    pub(super) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// The parameters the client was told of a statement without a result. PostgreSQL does not
    /// look at such a statement again to describe it.
    pub(super) fn parameters_alone(&self) -> Option<&[u8]> {
        let told = self.told.as_ref().filter(|told| *told.result == *b"n")?;
        told.parameters.as_deref()
    }
}

impl Session {
    /// The schema and names a statement is analysed under now.
    pub(super) fn stamp(&self) -> Stamp {
        let path = self.knows_names().then(|| Arc::clone(&self.settings.path));
        // DDL of this very transaction is not counted yet.
        let ddl = self.pools.facts.ddl_version() + u64::from(self.did_ddl);
        Stamp { ddl, path, at: Instant::now() }
    }

    /// False while a statement of this transaction may have changed what names mean, in a way
    /// that may yet be undone.
    pub(super) fn knows_names(&self) -> bool {
        !self.settings_dirty && !self.local_settings && !self.did_ddl
    }

    /// Makes sure that the server has the client's statement under the name it goes by there.
    /// `batch` begins with the message that needs it. `None` when all is well.
    pub(super) fn make_known(
        &mut self,
        name: &[u8],
        prepared: &Prepared,
        batch: &[u8],
    ) -> Option<Step> {
        let statement = &prepared.statement;
        let Some(origin) = &prepared.origin else { return self.make_unnamed_known(prepared) };
        let lease = self.lease.as_mut()?;
        lease.reused = None;
        lease.again.clear();
        if let Some(known) = lease.statements.touch(statement) {
            if known.agrees(&origin.stamp) {
                if known.at < origin.stamp.at {
                    lease.statements.note_use(statement.id, origin.stamp.at);
                    self.watch(statement.id, batch);
                }
                return None;
            }
            if !self.knows_names() {
                return self.compare_told(statement, origin);
            }
        }
        self.analyse_anew(name, prepared, origin)
    }

    /// The server's analysis is missing, or is not the client's.
    fn analyse_anew(&mut self, name: &[u8], prepared: &Prepared, origin: &Origin) -> Option<Step> {
        let statement = &prepared.statement;
        let now = self.stamp();
        let lease = self.lease.as_mut()?;
        let known = lease.statements.touch(statement);
        let good = known.filter(|known| known.ddl >= origin.stamp.ddl && known.agrees_path(&now));
        let (good, stamp) = (good.is_some(), good.cloned().unwrap_or(now));
        let Some(told) = origin.told.as_ref().filter(|_| !stamp.agrees(&origin.stamp)) else {
            if !good {
                send_parse(lease, statement, stamp, None);
            }
            return None;
        };
        if !lease.expect.is_empty() {
            return Some(Stop::Drain.into());
        }
        if std::mem::take(&mut lease.verified) != Some(statement.id) || !good {
            if !good {
                send_parse(lease, statement, stamp, None);
            }
            verify(lease, statement);
            return Some(Stop::Drain.into());
        }
        let Some(found) = Told::new(&lease.description) else {
            return Some(self.refuse_batch(outdated()));
        };
        if !told.parameters_agree(&found) {
            return Some(self.declare_parameters(name, prepared, told));
        }
        if !told.agrees(&found) {
            return Some(self.refuse_batch(outdated()));
        }
        let mut renewed = prepared.clone();
        renewed.origin = Some(Arc::new(Origin { stamp, told: Some(told.clone()) }));
        self.keep(name, renewed);
        None
    }

    /// Analysed anew, the statement would take parameters of other types than its client was told.
    /// PostgreSQL keeps the types of the first analysis, so from now on they are declared.
    fn declare_parameters(&mut self, name: &[u8], prepared: &Prepared, told: &Told) -> Step {
        let parameters = told.parameters.as_deref().unwrap_or_default();
        let definition = [prepared.statement.text(), b"\0", parameters].concat();
        let statement = self.shared.interner.intern(&definition);
        let stamp = self.stamp();
        let Some(lease) = self.lease.as_mut().filter(|_| statement.id != prepared.statement.id)
        else {
            return self.refuse_batch(outdated());
        };
        send_parse(lease, &statement, stamp, None);
        verify(lease, &statement);
        self.keep(name, Prepared { statement, ..prepared.clone() });
        Stop::Drain.into()
    }

    /// Within a transaction that changed schema or path, PostgreSQL itself analyses again; what the
    /// client was told is compared with what the server says then.
    fn compare_told(&mut self, statement: &Statement, origin: &Origin) -> Option<Step> {
        let told = origin.told.as_ref()?;
        let lease = self.lease.as_mut()?;
        if lease.verified.take() == Some(statement.id) {
            let now = Told::new(&lease.description);
            let agrees = now.is_some_and(|now| told.agrees(&now));
            return (!agrees).then(|| self.refuse_batch(outdated()));
        }
        if lease.expect.is_empty() {
            verify(lease, statement);
        }
        Some(Stop::Drain.into())
    }

    /// The unnamed statement is the client's own: it is analysed where the client first needs it.
    fn make_unnamed_known(&mut self, prepared: &Prepared) -> Option<Step> {
        let statement = &prepared.statement;
        let lease = self.lease.as_mut()?;
        if !lease.unnamed.as_ref().is_some_and(|known| Arc::ptr_eq(known, statement)) {
            lease.unnamed = Some(Arc::clone(statement));
            push_parse(lease, statement, None);
        }
        None
    }

    /// The server's analysis is older than the client's statement: DDL that nobody has told of may
    /// lie between. The batch is kept, to be run again if the server says so.
    fn watch(&mut self, statement: u64, batch: &[u8]) {
        let Some(lease) = &mut self.lease else { return };
        lease.reused = Some(statement);
        if lease.expect.is_empty()
            && lease.status == b'I'
            && let Some(end) = rest_of_batch(batch)
            && end <= REPEATABLE_BYTES
        {
            lease.again.extend_from_slice(&batch[..end]);
        }
    }

    /// The server refused a statement that its client prepared later than this server, because its
    /// result has other columns now. True when the batch is to be run again with the statement
    /// analysed anew: nothing of it was done, and nothing of its answer was passed on.
    pub(super) fn repeats_outdated(&mut self, error: &[u8]) -> bool {
        if frame::error_field(error, b'R') != Some("RevalidateCachedQuery") {
            return false;
        }
        let Some(lease) = &mut self.lease else { return false };
        let Some(statement) = lease.reused.take() else { return false };
        lease.statements.outdate(statement);
        self.pools.facts.ddl_seen();
        let first =
            matches!(lease.expect.front(), Some(Expect::Bind | Expect::DescribeStatement(_)));
        if lease.again.is_empty() || !first {
            return false;
        }
        lease.repeatable = std::mem::take(&mut lease.again);
        lease.repeating = true;
        true
    }

    /// A server has accepted the statement. Where the session has something of its own, others may
    /// find less.
    pub(super) fn note_parsed(&mut self, statement: &Statement) {
        if let Some(lease) = &mut self.lease {
            lease.expect.pop_front();
        }
        if statement.id != 0 {
            self.metrics.traffic.server_parse();
        }
        if self.knows_names() && !self.pins.any() {
            statement.note_accepted(acceptance(&self.pools, &self.settings));
        }
    }

    /// What a statement takes (`t`) and returns (`T`, or `n` for nothing), asked by the client or
    /// by us.
    pub(super) fn take_description(&mut self, kind: u8, body: &[u8]) -> Fate {
        let Some(lease) = &mut self.lease else { return Fate::Swallow };
        let hidden = matches!(lease.expect.front(), Some(Expect::Verify));
        if kind == b't' {
            lease.description.clear();
            lease.description.extend_from_slice(body);
        } else {
            add_result(kind, body, &mut lease.description);
            if hidden {
                lease.expect.pop_front();
            } else {
                self.note_described();
            }
        }
        if hidden { Fate::Swallow } else { Fate::Pass }
    }

    /// The client has been told what a statement takes and returns.
    fn note_described(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        let Some(Expect::DescribeStatement(name)) = lease.expect.pop_front() else { return };
        let told = Told::new(&lease.description);
        let known = match &mut self.prepared {
            Some(prepared) if !name.is_empty() => prepared.get_mut(&name),
            _ => None,
        };
        if let Some(origin) = known.and_then(|known| known.origin.as_mut()) {
            let stamp = origin.stamp.clone();
            *origin = Arc::new(Origin { stamp, told });
        }
    }

    /// The client has been told what a portal returns that it made of this statement.
    pub(super) fn note_portal_described(&mut self, statement: u64, kind: u8, body: &[u8]) {
        let Some(prepared) = &mut self.prepared else { return };
        let mut result = Vec::new();
        add_result(kind, body, &mut result);
        let known = prepared.values_mut().filter(|known| known.statement.id == statement);
        for origin in known.filter_map(|known| known.origin.as_mut()) {
            if origin.told.is_none() {
                let told = Some(Told { parameters: None, result: result.as_slice().into() });
                *origin = Arc::new(Origin { stamp: origin.stamp.clone(), told });
            }
        }
    }
}

/// What a Parse is accepted or refused under now, outside of transactions.
pub(super) fn acceptance(pools: &UserPools, settings: &Settings) -> Acceptance {
    let user = pools.user.server_user.as_str();
    Acceptance::new(pools.database_id, pools.facts.ddl_version(), user, &settings.path)
}

/// True when a client that prepares the statement now can use what the server has.
pub(super) fn is_good(lease: &mut Lease, statement: &Statement, stamp: &Stamp) -> bool {
    lease.statements.touch(statement).is_some_and(|known| known.agrees(stamp))
}

/// Has the server analyse the statement; an older analysis under the same name goes first.
pub(super) fn send_parse(
    lease: &mut Lease,
    statement: &Arc<Statement>,
    stamp: Stamp,
    name: Option<Box<[u8]>>,
) {
    let close = |lease: &mut Lease, old: Arc<Statement>| {
        frame::put(&mut lease.out, b'C', &[b"S", &old.name]);
        lease.expect.push_back(Expect::Evict(Some(old)));
    };
    if lease.statements.touch(statement).is_some() {
        close(lease, Arc::clone(statement));
    }
    if let Some(evicted) = lease.statements.insert(Arc::clone(statement), stamp) {
        close(lease, evicted);
    }
    push_parse(lease, statement, name);
}

fn push_parse(lease: &mut Lease, statement: &Arc<Statement>, name: Option<Box<[u8]>>) {
    frame::put(&mut lease.out, b'P', &[&statement.name, &statement.body]);
    lease.expect.push_back(Expect::Parse { statement: Arc::clone(statement), name });
}

/// Asks the server what the statement returns, without ending the batch.
fn verify(lease: &mut Lease, statement: &Statement) {
    frame::put(&mut lease.out, b'D', &[b"S", &statement.name]);
    frame::put(&mut lease.out, b'H', &[]);
    lease.expect.push_back(Expect::Verify);
    lease.verified = Some(statement.id);
}

/// Adds what a statement returns: `n` for nothing, or `T` and the columns.
fn add_result(kind: u8, body: &[u8], description: &mut Vec<u8>) {
    description.push(kind);
    add_columns(body, description);
}

/// Adds the columns of a RowDescription without the tables they come from: names, types, sizes and
/// modifiers are what PostgreSQL compares.
fn add_columns(body: &[u8], description: &mut Vec<u8>) {
    let mut rest = body.get(2..).unwrap_or_default();
    while let Some(end) = memchr::memchr(0, rest) {
        let Some((column, next)) = rest.split_at_checked(end + 19) else { return };
        description.extend_from_slice(&column[..=end]);
        description.extend_from_slice(&column[end + 7..end + 17]);
        rest = next;
    }
}

/// The end of a batch that goes on with messages that may be sent twice, and is whole.
fn rest_of_batch(batch: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let header = frame::peek(batch.get(at..)?)?;
        at += header.total;
        match header.kind {
            b'B' | b'D' | b'E' => {}
            b'S' => return (at <= batch.len()).then_some(at),
            _ => return None,
        }
    }
}

fn outdated() -> SqlError {
    SqlError::error("0A000", "cached plan must not change result type")
        .detail("The statement was prepared before the schema or the search_path changed.")
        .hint("Prepare it again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, table: u32, kind: u32) -> Vec<u8> {
        let mut column = [name.as_bytes(), b"\0"].concat();
        column.extend(table.to_be_bytes());
        column.extend(1u16.to_be_bytes());
        column.extend(kind.to_be_bytes());
        column.extend([0, 4, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        column
    }

    fn described(columns: &[Vec<u8>]) -> Vec<u8> {
        let mut description = Vec::new();
        add_columns(&[vec![0, 2], columns.concat()].concat(), &mut description);
        description
    }

    #[test]
    fn what_was_told_is_compared_as_far_as_it_was_told() {
        let told = |description: &[u8]| Told::new(description).expect("whole");
        let one = told(b"\0\x01\0\0\0\x17Tab");
        assert!(one.agrees(&told(b"\0\x01\0\0\0\x17Tab")));
        assert!(!one.agrees(&told(b"\0\x01\0\0\0\x17n")));
        assert!(!one.agrees(&told(b"\0\x01\0\0\0\x19Tab")));
        let portal = Told { parameters: None, result: b"Tab"[..].into() };
        assert!(portal.agrees(&one) && !portal.agrees(&told(b"\0\0Ta")));
        assert!(Told::new(b"\0\x01\0").is_none(), "cut off");
    }

    #[test]
    fn columns_are_told_apart_by_what_the_client_sees() {
        let plain = described(&[column("a", 1, 23), column("b", 1, 25)]);
        assert_eq!(plain, described(&[column("a", 9, 23), column("b", 9, 25)]));
        assert_ne!(plain, described(&[column("a", 1, 20), column("b", 1, 25)]));
        assert_ne!(plain, described(&[column("c", 1, 23), column("b", 1, 25)]));
        assert_ne!(plain, described(&[column("a", 1, 23)]));
        assert!(described(&[vec![b'a', 0, 1]]).is_empty(), "cut off");
    }
}

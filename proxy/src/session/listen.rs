//! Owns LISTEN as a session does it in transaction pooling: which statements are answered here,
//! and when the hub must listen first. `listening` keeps what comes of it, `deliver` brings what is
//! heard.

use super::listening::{Action, CHANNELS_MAX, Listening, Order};
use super::local::{Answer, Protocol};
use super::request::{Step, aborted};
use super::{Event, Session, Stop, Virtual};
use crate::backend::connection::Expect;
use crate::config::model::PoolMode;
use crate::notify::Channel;
use crate::wire::error::SqlError;
use pgmanifold_router::plan::{Effect, LocalCommand, Plan, Transaction};
use pgmanifold_router::savepoint;
use std::sync::Arc;

impl Session {
    /// The command in the plan, if it is answered here in this session.
    pub(super) fn local_command<'a>(&self, plan: &'a Plan) -> Option<&'a LocalCommand> {
        let command = plan.local.as_ref()?;
        let here = match command {
            LocalCommand::Set { .. } | LocalCommand::Show { .. } => true,
            LocalCommand::Listen { .. } | LocalCommand::Unlisten { .. } => self.listens_here(),
            LocalCommand::ListeningChannels => self.listening.is_some() && self.listens_here(),
            // See `byname`.
            LocalCommand::Execute { .. } => false,
            // Servers know a statement that was prepared by protocol by another name.
            LocalCommand::Deallocate { name } | LocalCommand::Prepare { name } => {
                let failed = self.lease.as_ref().is_some_and(|lease| lease.status == b'E');
                !failed && self.find_named(name.as_bytes()).is_some()
            }
        };
        here.then_some(command)
    }

    /// LISTEN goes to the hub, unless the session has a server of its own for it. The hub has
    /// names and payloads in the encoding of the database.
    fn listens_here(&self) -> bool {
        self.pools.database.pool_mode == PoolMode::Transaction
            && !self.listens_natively
            && (self.listens() || self.has_database_encoding())
    }

    /// The hub has something of this session's.
    fn listens(&self) -> bool {
        self.listening.as_ref().is_some_and(|known| known.is_active() || known.has_actions())
    }

    pub(super) fn has_database_encoding(&self) -> bool {
        let own = self.settings.get("client_encoding");
        let own = own.or_else(|| self.greeting.value("client_encoding")).unwrap_or_default();
        let wanted = self.greeting.value("server_encoding").unwrap_or_default();
        let (own, wanted) = (encoding_key(own), encoding_key(wanted));
        own == wanted || wanted == "sqlascii" || own == "sqlascii"
    }

    /// What cannot be right while the session listens through the hub.
    pub(super) fn refused_while_listening(&self, plan: &Plan) -> Option<SqlError> {
        let listening = self.listening.as_ref()?;
        if !listening.is_active() && !listening.awaits() {
            return None;
        }
        let session = &plan.session;
        let concerns = session.listening || session.unlistens_all && plan.has_transaction_control;
        if concerns && self.local_command(plan).is_none() {
            return Some(
                SqlError::error("0A000", "cannot run this statement while the session listens")
                    .detail(
                        "It concerns LISTEN in a form that only the server would understand, \
                             and pgmanifold listens for the session.",
                    )
                    .hint(
                        "Send LISTEN, UNLISTEN and SELECT pg_listening_channels() as queries of \
                           their own, or use pool_mode = \"session\".",
                    ),
            );
        }
        if !listening.has_actions() {
            return None;
        }
        if plan.has_transaction_control {
            return Some(
                SqlError::error("0A000", "cannot end a transaction with LISTEN in it like this")
                    .detail("Transaction control stands among several statements.")
                    .hint("Send COMMIT, ROLLBACK and savepoint commands as queries of their own."),
            );
        }
        (plan.transaction == Some(Transaction::TwoPhase)).then(|| {
            let message = "cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or \
                           NOTIFY";
            SqlError::error("0A000", message)
        })
    }

    /// In a failed transaction what the server would have refused is refused.
    pub(super) fn refused_in_aborted(&self, plan: &Plan) -> Option<SqlError> {
        let is_setting = plan.local.as_ref().is_none_or(LocalCommand::is_setting);
        let failed = self.lease.as_ref().is_some_and(|lease| lease.status == b'E');
        (failed && !is_setting && !self.batch_open).then(aborted)
    }

    /// LISTEN or UNLISTEN, as a statement of the transaction or as one of its own.
    pub(super) fn run_listen(
        &mut self,
        action: Action,
        protocol: Protocol,
    ) -> Result<Answer, SqlError> {
        if let Some(error) = self.refused.take() {
            self.listening_ends(false);
            return Err(*error);
        }
        let status = match &self.lease {
            Some(lease) => lease.status,
            None => self.virtual_status(),
        };
        if status == b'E' && !self.batch_open {
            return Err(aborted());
        }
        let tag = match action {
            Action::Listen(_) => "LISTEN",
            Action::Unlisten(_) | Action::UnlistenAll => "UNLISTEN",
        };
        let synced = |owed: &Expect| matches!(owed, Expect::Sync | Expect::Query);
        let behind = self.lease.as_ref().is_some_and(|lease| lease.expect.iter().any(synced));
        let alone = protocol == Protocol::Simple && status == b'I';
        if alone && tag == "UNLISTEN" && self.listening.is_none() {
            return Ok(Answer::Tag(tag));
        }
        let listening = self.listening();
        if behind && !listening.has_actions() {
            return Err(SqlError::error("0A000", "cannot pipeline LISTEN behind other statements")
                .hint("Wait for the answers of earlier batches before LISTEN is sent."));
        }
        // Sent again after the hub was waited for.
        let again = alone && listening.has_actions();
        if !again && !listening.add(action) {
            let message = format!("cannot listen to more than {CHANNELS_MAX} channels");
            self.listening_ends(false);
            return Err(SqlError::error("54000", message));
        }
        if alone {
            if !self.listening_ready() {
                return Ok(Answer::Wait(Event::Hub));
            }
            self.listening_ends(true);
        }
        Ok(Answer::Tag(tag))
    }

    /// The channels in force.
    pub(super) fn listening_channels(&self) -> Result<Vec<String>, SqlError> {
        let Some(listening) = &self.listening else { return Ok(Vec::new()) };
        if self.lease.as_ref().is_some_and(|lease| lease.status == b'E') && !self.batch_open {
            return Err(aborted());
        }
        if listening.awaits_commit() {
            let message = "cannot ask for listening channels behind COMMIT in one batch";
            return Err(SqlError::error("0A000", message).hint("Send the query after a Sync."));
        }
        let text = |channel: Channel| String::from_utf8_lossy(&channel).into_owned();
        Ok(listening.channels().into_iter().map(text).collect())
    }

    /// To be called before a simple query is answered or sent. `None` when all is well.
    pub(super) fn before_query(&mut self, plan: &Plan) -> Option<Step> {
        if let Some(error) = self.take_refused_commit() {
            return Some(self.refuse_query(error));
        }
        self.hub_before_commit(plan)
    }

    /// To be called before a Bind is sent. `None` when all is well.
    pub(super) fn before_bind(&mut self, plan: &Plan) -> Option<Step> {
        if let Some(error) = self.take_refused_commit() {
            return Some(self.refuse_batch(error));
        }
        if self.listening.as_ref()?.bound.is_some() {
            let message = "cannot bind another statement before transaction control is executed";
            return Some(self.refuse_batch(SqlError::error("0A000", message)));
        }
        self.hub_before_commit(plan)
    }

    fn hub_before_commit(&self, plan: &Plan) -> Option<Step> {
        let commits = plan.transaction == Some(Transaction::Commit);
        (commits && !self.listening_ready()).then(|| Stop::Event(Event::Hub).into())
    }

    /// Notes a statement that is sent in a simple query.
    pub(super) fn note_query(&mut self, text: &[u8], plan: &Plan) {
        let order = self.order(text, plan);
        if let (Some(order), Some(listening)) = (order, &mut self.listening) {
            listening.send(order, 0);
        }
    }

    /// Notes a statement that is bound; it counts when it is executed.
    pub(super) fn note_bind(&mut self, text: &[u8], plan: &Plan) {
        let order = self.order(text, plan);
        if let Some(listening) = &mut self.listening {
            listening.bound = order;
        }
    }

    /// To be called before an Execute is sent.
    pub(super) fn before_execute(&mut self) {
        let Some(listening) = &mut self.listening else { return };
        let Some(order) = listening.bound.take() else { return };
        let is_execution = |owed: &&Expect| matches!(owed, Expect::Execute);
        let owed =
            self.lease.as_ref().map_or(0, |lease| lease.expect.iter().filter(is_execution).count());
        listening.send(order, owed);
    }

    /// To be called before a Sync is sent, which ends the transaction of a batch when there is no
    /// transaction block.
    pub(super) fn before_sync(&mut self) -> Option<Stop> {
        if let Some(error) = self.take_refused_commit() {
            self.refuse_batch(error);
        }
        let failed = self.skip_to_sync;
        let listening = self.listening.as_ref()?;
        // On a server, the batch itself may have ended the transaction it began in.
        let inside = self.lease.is_none()
            && !matches!(self.virtual_transaction, Virtual::None | Virtual::Lost(_));
        if inside || !listening.has_actions() {
            return None;
        }
        if failed && self.lease.is_none() {
            self.listening_ends(false);
            return None;
        }
        if !failed && !self.listening_ready() {
            return Some(Stop::Event(Event::Hub));
        }
        if self.lease.is_none() {
            self.listening_ends(true);
        }
        None
    }

    /// While it is open what became of LISTEN, or a notification of the session's own may come
    /// with an answer, the next request waits.
    pub(super) fn waits_for_listening(&self) -> bool {
        let Some(listening) = &self.listening else { return false };
        let waits = listening.awaits() || self.wrote && listening.is_active();
        waits && !self.batch_open && self.copy_in == super::CopyIn::No && self.owes_answers()
    }

    /// A transaction no server takes part in has ended, or has ended with its server.
    pub(super) fn listening_ends(&mut self, committed: bool) {
        if let Some(listening) = &mut self.listening {
            listening.end_all(committed);
        }
    }

    /// Something was executed, by the client or by us.
    pub(super) fn listening_executed(&mut self, tag: &[u8]) {
        let front = self.lease.as_ref().and_then(|lease| lease.expect.front());
        if let Some(Expect::Query | Expect::Execute) = front
            && let Some(listening) = &mut self.listening
        {
            listening.executed(tag);
        }
    }

    /// A session that listens must know its own notifications: before it writes on a connection,
    /// what others sent there must have come.
    pub(super) fn sender_is_uncertain(&self, plan: &Plan) -> bool {
        let writes = match plan.effect {
            Effect::Read | Effect::Transaction | Effect::SessionState => false,
            Effect::Write | Effect::Ddl | Effect::Copy | Effect::Unknown => true,
        };
        writes
            && self.is_home()
            && self.listens()
            && self.lease.as_ref().is_some_and(|lease| {
                lease.info.cancel.is_some() && !self.pools.hub.is_certain(&lease.info)
            })
    }

    /// The state of listening, made when it is first needed. One that holds nothing is made anew
    /// when its hub is not the database's any more, or has lost what it had.
    pub(super) fn listening(&mut self) -> &mut Listening {
        if self.lease.is_none() {
            self.follow_reload();
        }
        let hub = &self.pools.hub;
        let usable = self.listening.take().filter(|known| {
            known.is_active()
                || known.awaits()
                || Arc::ptr_eq(&known.hub, hub) && known.mailbox.ended().is_none()
        });
        self.listening.insert(usable.unwrap_or_else(|| {
            let limit_bytes = self.pools.database.notify_queue_bytes;
            Box::new(Listening::new(hub, &self.handle, limit_bytes))
        }))
    }

    /// True when the hub hands over everything the transaction asks for.
    pub(super) fn listening_ready(&self) -> bool {
        self.listening.as_ref().is_none_or(|listening| listening.wanted().is_empty())
    }

    /// The hub could not be had for the COMMIT that is tried again now.
    pub(super) fn take_refused_commit(&mut self) -> Option<SqlError> {
        self.listening.as_ref().filter(|listening| listening.has_actions())?;
        self.refused.take().map(|error| *error)
    }

    /// What a statement means for the session's LISTEN, if anything.
    fn order(&self, text: &[u8], plan: &Plan) -> Option<Order> {
        let listening = self.listening.as_ref()?;
        if plan.session.unlistens_all && (listening.is_active() || listening.has_actions()) {
            return Some(Order::UnlistenAll);
        }
        if !listening.has_actions() {
            return None;
        }
        match plan.transaction? {
            Transaction::Commit => Some(Order::Commit),
            Transaction::Rollback => Some(Order::Rollback),
            Transaction::Savepoint => savepoint::read(text, self.dialect).map(Order::Savepoint),
            Transaction::Begin { .. } | Transaction::SetTransaction | Transaction::TwoPhase => None,
        }
    }
}

/// PostgreSQL compares names of encodings by letters and digits alone.
fn encoding_key(name: &str) -> String {
    let key: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    match key.to_ascii_lowercase() {
        key if key == "unicode" => "utf8".to_owned(),
        key => key,
    }
}

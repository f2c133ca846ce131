//! Owns the choice of shards for one execution: by the session's or the statement's own word, or
//! else by what the router reads in the statement and its values.

use super::super::place::cancelled;
use super::super::request::Step;
use super::super::{Event, Session, Stop};
use super::log::Replay;
use super::run::{Call, Spread, Work};
use super::turn::work;
use super::{refused, values};
use crate::routing::{changes_settings, several_refused, shard_named, shard_of_key};
use crate::timer::timeout;
use crate::wire::error::SqlError;
use pgmanifold_router::lexer::Token;
use pgmanifold_router::plan::{Effect, PinReason, Plan};
use pgmanifold_router::shard_map::{ShardId, ShardMap};
use pgmanifold_router::sharding::{self, Bound, Catalog, Choice, KeyHash, Placing, Values};
use std::sync::Arc;

/// Where a statement goes.
#[derive(Debug)]
pub(super) enum Way {
    /// To the server at hand, or any.
    Here,
    /// To this shard, as it is.
    To(ShardId),
    /// To several, in ascending order.
    Several(Vec<ShardId>),
    /// It is a COPY whose rows are spread.
    CopyIn,
    /// It changes the session, on every shard that takes part in the transaction.
    Session,
}

impl Session {
    /// Where one execution of a statement goes. `lifted` are the literals of the text, where they
    /// are known.
    ///
    /// # Errors
    /// It must not run.
    pub(super) fn way(
        &self,
        text: &[u8],
        plan: &Plan,
        lifted: Option<&[Token]>,
        bound: Option<&Bound<'_>>,
    ) -> Result<Way, SqlError> {
        self.way_by_key(text, plan, lifted, bound, &mut None)
    }

    /// The same; `key` becomes the one that chooses a shard, if one does. Whoever runs the
    /// statement there counts it.
    ///
    /// # Errors
    /// It must not run.
    pub(super) fn way_by_key(
        &self,
        text: &[u8],
        plan: &Plan,
        lifted: Option<&[Token]>,
        bound: Option<&Bound<'_>>,
        key: &mut Option<KeyHash>,
    ) -> Result<Way, SqlError> {
        let Some(shards) = &self.shards else { return Ok(Way::Here) };
        let map = shards.map.as_ref().ok_or_else(|| shards.sharded.no_map())?;
        if let Some(shard) = self.asked_shard(plan, map)? {
            return Ok(Way::To(shard));
        }
        let placing = match plan.placing.as_deref() {
            None => return Ok(Way::To(map.home)),
            Some(Placing::Refused(refusal)) => {
                return Err(refused(refusal));
            }
            Some(Placing::Transaction) => return Ok(Way::Here),
            Some(Placing::Cursor) => return self.cursor_shard().map(Way::To),
            Some(Placing::Session) => return Ok(Way::Session),
            Some(Placing::CopyIn) => return Ok(Way::CopyIn),
            Some(placing) => placing,
        };
        if matches!(placing, Placing::Anywhere) && changes_settings(plan) {
            return Ok(Way::Session);
        }
        let read;
        let literals = match lifted {
            Some(lifted) => lifted,
            None if values::needs_literals(placing) => {
                read = values::literals(text, self.dialect);
                &read
            }
            None => &[],
        };
        let values = Values { sql: text, literals, dialect: self.dialect, bound };
        let choice = sharding::choose_by_key(placing, map, &values, key)
            .map_err(|refusal| refused(&refusal))?;
        Ok(match choice {
            Choice::One(shard) => Way::To(shard),
            Choice::Any | Choice::None => self.any_shard(),
            Choice::Several(shards) => match *shards.as_slice() {
                [one] => Way::To(one),
                _ => Way::Several(shards),
            },
        })
    }

    /// A statement goes to the shard that this key has chosen.
    pub(super) fn count_key(&self, key: Option<KeyHash>) {
        if let (Some(key), Some(shards)) = (key, &self.shards) {
            shards.sharded.count(key);
        }
    }

    /// The shard whose server has the session's cursors.
    ///
    /// # Errors
    /// They may be on any of several.
    fn cursor_shard(&self) -> Result<ShardId, SqlError> {
        let Some(shards) = &self.shards else { return Ok(ShardId(0)) };
        let mut holders = self.participants();
        let parked = (0u16..).map(ShardId).zip(&shards.parked);
        holders.extend(parked.filter_map(|(id, bench)| {
            let pins = if id == shards.here { &self.pins } else { &bench.as_ref()?.pins };
            pins.has(PinReason::HoldCursor).then_some(id)
        }));
        holders.sort_unstable();
        holders.dedup();
        match *holders.as_slice() {
            [] => Ok(shards.sharded.home()),
            [only] => Ok(only),
            _ => Err(SqlError::refused("cursor", "it is not known which shard has the cursor")
                .detail("The session has transactions or held cursors on several shards.")
                .hint(
                    "Use cursors in transactions that touch one shard, or name it by pgm.shard.",
                )),
        }
    }

    /// Every shard would answer the same: one that takes part already, or the one at hand.
    fn any_shard(&self) -> Way {
        if self.lease.as_ref().is_some_and(|lease| lease.status != b'I') {
            return Way::Here;
        }
        self.participants().first().map_or(Way::Here, |shard| Way::To(*shard))
    }

    /// The shard the statement or the session asks for by name or key.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn asked_shard(
        &self,
        plan: &Plan,
        map: &ShardMap,
    ) -> Result<Option<ShardId>, SqlError> {
        let (hints, knobs) = (&plan.hints, &self.knobs);
        let hinted = hints.shard.is_some() || hints.key.is_some();
        let shard = if hinted { hints.shard.as_deref() } else { knobs.shard() };
        if let Some(name) = shard {
            return shard_named(map, name).map(Some);
        }
        let key = if hinted { hints.key.as_deref() } else { knobs.shard_key() };
        key.map(|key| shard_of_key(map, key)).transpose()
    }

    /// A statement that cannot be placed before the catalog is known waits for it.
    pub(super) fn before_facts(&self, plan: &Plan) -> Option<Stop> {
        let unknown = match plan.placing.as_deref() {
            Some(Placing::Refused(refusal)) => refusal.construct == "facts",
            _ => false,
        };
        let waits = unknown
            && self.refused.is_none()
            && !self.asks_for_shard(plan)
            && !self.pools.facts.facts().schema().is_known();
        waits.then(|| work(Work::Facts))
    }

    /// Waits for the catalog, as long as a statement may wait for a server.
    pub(super) async fn wait_for_facts(&mut self) {
        let (facts, limit) = (Arc::clone(&self.pools.facts), self.pools.database.checkout_timeout);
        self.start_waiting();
        let handle = Arc::clone(&self.handle);
        let refused = tokio::select! {
            known = timeout(limit, facts.schema_known()) => known.err().map(|_| {
                SqlError::error("57P03", "the catalog of the database is not loaded yet")
                    .hint("Try again in a moment.")
            }),
            () = handle.wait_cancelled() => Some(cancelled()),
        };
        self.handle.end_wait();
        self.refused = refused.map(Box::new);
    }

    /// To be called for a simple query that is neither answered here nor transaction control.
    /// `None` when it goes on to the server at hand.
    pub(in crate::session) fn place_query(
        &mut self,
        text: &[u8],
        plan: &Arc<Plan>,
        lifted: Option<&[Token]>,
        calls: bool,
    ) -> Option<Step> {
        self.shards.as_ref()?;
        if plan.statements == 0 || plan.transaction.is_some() || self.has_failed_here() {
            return None;
        }
        // The request waited for a server, which it was refused.
        if self.refused.is_some() {
            return None;
        }
        if let Some(stop) = self.before_facts(plan) {
            return Some(stop.into());
        }
        if let Some(held) = self.held_back(text, plan, lifted, None) {
            return Some(held.map_or_else(|error| self.refuse_query(error), Step::from));
        }
        let mut key = None;
        let way = match self.way_by_key(text, plan, lifted, None, &mut key) {
            Ok(way) => way,
            Err(error) => return Some(self.refuse_query(error)),
        };
        if calls && matches!(way, Way::Several(_) | Way::CopyIn) {
            return Some(self.refuse_query(call_refused()));
        }
        match way {
            Way::Here => None,
            Way::To(to) => {
                let step = self.turn_query(plan, to);
                self.count_key(key.filter(|_| step.is_none()));
                step
            }
            Way::Session => {
                self.set_everywhere(plan, || Replay::Text(text.into())).map(|result| match result {
                    Ok(stop) => stop.into(),
                    Err(error) => self.refuse_query(error),
                })
            }
            Way::Several(shards) => Some(self.spread_query(text, plan, &shards, lifted)),
            Way::CopyIn => Some(match self.leave_for_work() {
                Ok(()) => take(Work::CopyIn { text: text.into(), plan: Arc::clone(plan) }),
                Err(Ok(stop)) => stop.into(),
                Err(Err(error)) => self.refuse_query(error),
            }),
        }
    }

    fn turn_query(&mut self, plan: &Plan, to: ShardId) -> Option<Step> {
        if let Err(error) = self.check_second_writer(plan, to) {
            return Some(self.refuse_query(error));
        }
        match self.turn(to) {
            Ok(()) => {
                self.note_unrepeatable(plan);
                None
            }
            Err(Ok(stop)) => Some(stop.into()),
            Err(Err(error)) => Some(self.refuse_query(error)),
        }
    }

    fn spread_query(
        &mut self,
        text: &[u8],
        plan: &Arc<Plan>,
        shards: &[ShardId],
        lifted: Option<&[Token]>,
    ) -> Step {
        if plan.statements > 1 {
            return self.refuse_query(several_refused());
        }
        match self.leave_for_work() {
            Ok(()) => {}
            Err(Ok(stop)) => return stop.into(),
            Err(Err(error)) => return self.refuse_query(error),
        }
        match self.spread(text, plan, shards, lifted, None) {
            Ok(spread) => take(Work::Spread(Arc::new(Spread {
                plan: Arc::clone(plan),
                spread,
                call: Call::Simple,
            }))),
            Err(error) => self.refuse_query(error),
        }
    }

    /// The shards a statement goes to that went to several by an older map.
    ///
    /// # Errors
    /// It must not run, or not in the same way.
    pub(super) fn shards_again(
        &self,
        text: &[u8],
        plan: &Plan,
        bound: Option<&Bound<'_>>,
    ) -> Result<Vec<ShardId>, SqlError> {
        match self.way(text, plan, None, bound)? {
            Way::Several(shards) => Ok(shards),
            Way::To(shard) => Ok(vec![shard]),
            Way::Here => Ok(self.shards.iter().map(|shards| shards.here).collect()),
            Way::CopyIn | Way::Session => {
                Err(SqlError::error("40001", "the shard map has changed").hint("Repeat it."))
            }
        }
    }

    /// What each shard is sent.
    ///
    /// # Errors
    /// The statement cannot be spread.
    pub(super) fn spread(
        &self,
        text: &[u8],
        plan: &Plan,
        shards: &[ShardId],
        lifted: Option<&[Token]>,
        bound: Option<&Bound<'_>>,
    ) -> Result<sharding::Spread, SqlError> {
        let known = self.shards.as_ref();
        let map = known.and_then(|known| known.map.as_ref());
        let (Some(map), Some(placing)) = (map, plan.placing.as_deref()) else {
            return Err(SqlError::error("XX000", "a statement of several shards has no map"));
        };
        let facts = self.pools.facts.facts();
        let read;
        let literals = match lifted {
            Some(lifted) => lifted,
            None => {
                read = values::literals(text, self.dialect);
                &read
            }
        };
        let values = Values { sql: text, literals, dialect: self.dialect, bound };
        let catalog = Catalog { map, facts: &facts };
        sharding::spread(placing, shards, catalog, &values).map_err(|refusal| refused(&refusal))
    }

    /// Makes sure that nothing is owed and nothing half done before several shards are seated.
    pub(super) fn leave_for_work(&mut self) -> super::super::place::Placed {
        let map = self.shards.as_ref().and_then(|shards| shards.map.clone());
        let left = self.leave_here();
        if let Some(shards) = &mut self.shards {
            shards.map = map;
        }
        left
    }

    /// A statement that changes the session: in a transaction all participants run it, and those
    /// that join later. `None` when it goes on to the server at hand.
    pub(super) fn set_everywhere(
        &mut self,
        plan: &Plan,
        replay: impl FnOnce() -> Replay,
    ) -> Option<Result<Stop, SqlError>> {
        if !self.in_transaction() {
            self.discard_others(plan);
            return None;
        }
        if self.owes_answers() {
            return Some(Ok(Stop::Drain));
        }
        let others = self.has_parked_participant();
        let shards = self.shards.as_mut()?;
        let replay = replay();
        if others && !std::mem::take(&mut shards.others_did) {
            return Some(Ok(work(Work::Others(replay, Arc::new(plan.clone())))));
        }
        if let Some(log) = &mut shards.log {
            log.add(replay);
        }
        None
    }

    /// Outside of transactions the session's settings follow from server to server; what DISCARD
    /// ALL throws away is thrown away everywhere.
    fn discard_others(&mut self, plan: &Plan) {
        let all = plan.session.drops_prepared && plan.session.unlistens_all;
        let Some(shards) = self.shards.as_mut().filter(|_| all) else { return };
        shards.parked.iter_mut().flatten().for_each(|bench| bench.discard());
        self.pins.publish();
    }

    /// A statement that goes to one shard and changes parameters there cannot be repeated on
    /// others.
    pub(super) fn note_unrepeatable(&mut self, plan: &Plan) {
        let changes = changes_settings(plan) || plan.session.probes;
        if let Some(log) = self.shards.as_mut().and_then(|shards| shards.log.as_mut())
            && changes
        {
            log.close("a statement that also reads or writes tables may have set parameters");
        }
    }

    /// The transaction has failed on the server at hand, or before there was one.
    pub(super) fn has_failed_here(&self) -> bool {
        use super::super::Virtual;
        matches!(self.virtual_transaction, Virtual::Failed(_) | Virtual::Lost(_))
            || self
                .lease
                .as_ref()
                .is_some_and(|lease| lease.status == b'E' && lease.expect.is_empty())
    }
}

/// A statement that was taken, and runs on several shards.
pub(super) fn take(work: Work) -> Step {
    Step::Take(Event::Shards(Box::new(work)))
}

pub(super) fn call_refused() -> SqlError {
    SqlError::refused("sql-execute", "cannot EXECUTE a statement over several shards by its name")
        .detail("It was prepared by protocol, and would need several shards.")
        .hint("Bind and execute it by protocol, as it was prepared.")
}

/// Whether a plan may write, as far as transactions over several shards are concerned.
pub(super) fn may_write(plan: &Plan) -> bool {
    match plan.effect {
        Effect::Read | Effect::Transaction | Effect::SessionState => false,
        Effect::Write | Effect::Ddl | Effect::Copy | Effect::Unknown => true,
    }
}

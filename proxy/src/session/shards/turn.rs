//! Owns the turn of a session from one shard to another: when it may put down what it has, and
//! what the other shard must be told first. It chooses no shard.

use super::super::place::Placed;
use super::super::request::{Step, aborted};
use super::super::{DeferredBegin, Event, Session, Stop, Virtual};
use super::batch::leave_batch_refused;
use super::run::Work;
use crate::wire::error::SqlError;
use pgmanifold_router::plan::{Effect, Plan};
use pgmanifold_router::shard_map::ShardId;

impl Session {
    /// Makes `to` the shard whose server the statement at hand runs on.
    pub(super) fn turn(&mut self, to: ShardId) -> Placed {
        let Some(shards) = &self.shards else { return Ok(()) };
        if shards.unfinished.iter().any(|unfinished| unfinished.shard == to) {
            self.leave_here()?;
            return Err(Ok(work(Work::Finish(to))));
        }
        if shards.here == to {
            return Ok(());
        }
        let map = shards.map.clone();
        let turned = self.turn_away(to);
        if let Some(shards) = &mut self.shards {
            shards.map = map;
        }
        turned
    }

    /// Turns to the home shard for what no shard is chosen for; what stops it, if anything does.
    pub(in crate::session) fn turn_home(&mut self) -> Option<Step> {
        let home = self.shards.as_ref()?.sharded.home();
        match self.turn(home) {
            Ok(()) => None,
            Err(Ok(stop)) => Some(stop.into()),
            Err(Err(error)) => Some(self.refuse_query(error)),
        }
    }

    fn turn_away(&mut self, to: ShardId) -> Placed {
        self.leave_here()?;
        let participants = self.participants();
        if participants.is_empty() || participants.contains(&to) {
            if self.has_spoken(to) {
                return Err(Ok(work(Work::Hear(to))));
            }
            self.exchange(to);
            return self.look_at_host();
        }
        let Some(shards) = &self.shards else { return Ok(()) };
        let log = self.joinable(to).map_err(Err)?;
        if log.has_steps() {
            return Err(Ok(work(Work::Join(to))));
        }
        let begin = DeferredBegin { text: log.begin.clone(), kind: log.kind };
        debug_assert!(shards.here != to);
        self.exchange(to);
        self.virtual_transaction = Virtual::Begun(Box::new(begin));
        Ok(())
    }

    /// What a shard is told that joins the transaction.
    ///
    /// # Errors
    /// Nobody can join it.
    pub(super) fn joinable(&self, to: ShardId) -> Result<&super::log::Log, SqlError> {
        let unknown = "it was begun among several statements in one text";
        let shards = self.shards.as_ref();
        let log = shards.and_then(|shards| shards.log.as_deref());
        let why = match log {
            Some(log) => match log.closed() {
                None => return Ok(log),
                Some(why) => why,
            },
            None => unknown,
        };
        let name = shards.map_or("?", |shards| shards.name(to));
        Err(SqlError::refused(
            "late-shard",
            format!("shard \"{name}\" cannot join this transaction"),
        )
        .detail(format!("What the transaction has done before cannot be repeated: {why}."))
        .hint("Send BEGIN as a statement of its own, and settings as texts without parameters."))
    }

    /// Puts down what the session has on the shard at hand, as far as that needs answers first.
    pub(super) fn leave_here(&mut self) -> Placed {
        let Some(lease) = &self.lease else { return Ok(()) };
        if self.is_looking() {
            return Err(Ok(Stop::Drain));
        }
        if self.batch_open {
            let wrote = self.shards.as_ref().is_some_and(|shards| shards.batch_wrote);
            if lease.status == b'I' && wrote {
                return Err(Err(leave_batch_refused()));
            }
            return Err(Ok(self.leave_batch()));
        }
        if !lease.expect.is_empty() || !lease.out.is_empty() || lease.passing > 0 {
            return Err(Ok(Stop::Drain));
        }
        match lease.status {
            b'E' => return Err(Err(aborted())),
            b'I' => self.release_server(),
            _ => return Ok(()),
        }
        if self.owes_answers() {
            return Err(Ok(Stop::Drain));
        }
        // What the session has set is only known to the server at hand.
        if self.lease.is_some() && self.settings_dirty {
            return Err(Err(SqlError::error("57P03", "the session's settings could not be read")
                .hint("Repeat the statement.")));
        }
        Ok(())
    }

    /// A server that was put down a while ago may be on a host that is given up.
    fn look_at_host(&mut self) -> Placed {
        if self.lease.is_none() {
            return Ok(());
        }
        if let Some(event) = self.doubt_server() {
            return Err(Ok(Stop::Event(event)));
        }
        match &self.virtual_transaction {
            Virtual::Lost(error) => Err(Err((**error).clone())),
            Virtual::Failed(_) => Err(Err(aborted())),
            Virtual::None | Virtual::Begun(_) => Ok(()),
        }
    }

    /// Before a second shard is written to in a transaction: whether all can be committed as one.
    ///
    /// # Errors
    /// They cannot.
    pub(super) fn check_second_writer(&self, plan: &Plan, to: ShardId) -> Result<(), SqlError> {
        let writes = match plan.effect {
            Effect::Read | Effect::Transaction | Effect::SessionState => false,
            Effect::Write | Effect::Ddl | Effect::Copy | Effect::Unknown => true,
        };
        let Some(shards) = self.shards.as_ref().filter(|_| writes) else { return Ok(()) };
        let here = shards.here != to && self.wrote && self.in_transaction();
        let others = (0u16..).map(ShardId).zip(&shards.parked);
        let wrote = here
            || others.filter(|(id, _)| *id != to).any(|(_, bench)| {
                bench.as_ref().is_some_and(|bench| bench.wrote && bench.takes_part())
            });
        if wrote { self.check_two_phase() } else { Ok(()) }
    }
}

pub(super) fn work(work: Work) -> Stop {
    Stop::Event(Event::Shards(Box::new(work)))
}

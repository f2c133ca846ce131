//! Owns the change of hands: writes to the keys wait, the leader refuses them, the follower has
//! everything, and the map names it. On the way forward and on the way back it is the same.
//!
//! What is committed on the leader before the fence reaches the follower before the map changes;
//! after the fence nothing is. So whenever a mover dies in here, the owner that the map names has
//! everything: the next run takes fence and pause away, and tries again.

use super::patience::{end_old, insist, named, within};
use super::pause::{self, Proxies};
use super::planned::id;
use super::{Engine, Sides};
use crate::blockers::{self, Attempt};
use crate::checkpoint::checkpoint;
use crate::connect::Session;
use crate::error::Error;
use crate::journal::{Move, Pending};
use crate::replicate::{self, Direction};
use crate::state::State;
use crate::tables::Scope;
use crate::{fence, sequences};
use pgmanifold_router::shard_map::ShardMap;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Rests between two tries for locks within a pause, and between two pauses.
const LOCK_REST: Duration = Duration::from_millis(5);
const PAUSE_REST_MIN: Duration = Duration::from_millis(200);
const PAUSE_REST_MAX: Duration = Duration::from_secs(5);
/// The follower is near enough for a pause when a marker takes no longer.
const NEAR: Duration = Duration::from_millis(100);
/// Longest wait for it.
const NEAR_TIMEOUT: Duration = Duration::from_secs(600);
/// A transaction on the tables that is older would hold up the fence.
const LONG: Duration = Duration::from_millis(100);
/// Longest wait for such transactions before a pause is tried all the same, and pause between two
/// looks.
const CALM_TIMEOUT: Duration = Duration::from_secs(10);
const CALM_POLL: Duration = Duration::from_millis(20);
/// What a pause may take beyond its waits, before it is given up: servers that hang.
const SLACK: Duration = Duration::from_secs(5);
/// Wait for proxies to end what they do by the map before the pause, once they all have its map:
/// most transactions are short. Longer ones are waited for by the fence if they write to the
/// tables, and by nobody if they only read.
const ACKNOWLEDGE: Duration = Duration::from_millis(25);
/// Where the journal keeps the target's position at which it had everything of the source's, and
/// nothing of its own: the way back begins there.
pub(super) const BACK_FROM: &str = "back_from";
/// Where the journal keeps the parts of the write pause.
const PAUSE: &str = "write_pause";

/// A change of hands.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    sides: &'a Sides,
    way: Direction,
}

impl<'a> Turn<'a> {
    /// The target gets the keys, or the source gets them back.
    pub(super) fn new(sides: &'a Sides, way: Direction) -> Self {
        Self { sides, way }
    }

    fn leader(&self) -> &'a Session {
        self.pick(&self.sides.source, &self.sides.target)
    }

    fn follower(&self) -> &'a Session {
        self.pick(&self.sides.target, &self.sides.source)
    }

    fn leader_scope(&self) -> Scope<'a> {
        self.pick(self.sides.scope(), self.sides.target_scope())
    }

    fn follower_scope(&self) -> Scope<'a> {
        self.pick(self.sides.target_scope(), self.sides.scope())
    }

    fn next(&self) -> State {
        self.pick(State::Flipped, State::Returning)
    }

    /// The first on the way forward, the second on the way back.
    fn pick<T>(&self, forward: T, back: T) -> T {
        match self.way {
            Direction::Forward => forward,
            Direction::Back => back,
        }
    }

    /// Takes away what a mover that died within a pause has left: the leader takes writes to the
    /// keys, the follower does not, and nobody waits.
    ///
    /// # Errors
    /// What the servers say; everything that could be done is done all the same.
    pub(super) async fn reset(&self, engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
        let wait = engine.limits().lock_timeout;
        // Who may still come by an older map must find the fence of the follower closed first.
        let closed = match self.way {
            Direction::Forward => Ok(()),
            Direction::Back => {
                insist(engine, the_move, "the fence", self.follower(), async || {
                    fence::fence(self.follower(), self.follower_scope(), wait).await
                })
                .await
            }
        };
        let id = self.sides.id;
        let opened = insist(engine, the_move, "the fence", self.leader(), async || {
            fence::let_down(self.leader(), id, wait).await
        })
        .await;
        pause::end(engine, the_move).await?;
        closed.and(opened)?;
        // What is in the way of this is in nobody else's.
        fence::unfence(self.leader(), id, wait).await.map(drop)
    }

    /// The follower follows again, after a pause that was given up.
    ///
    /// # Errors
    /// What the server says.
    pub(super) async fn follow_on(&self) -> Result<(), Error> {
        replicate::enable(self.follower(), self.sides.id, self.way, true).await
    }
}

/// Sessions for what is waited for while others are at work.
struct Waiters {
    proxies: Proxies,
    /// On the follower.
    watcher: Session,
}

/// How a pause came out.
enum Tried {
    /// Everything is ready for the commit.
    Ready,
    /// It is given up for this time, for this reason.
    Not(String),
}

/// When parts of a pause were over, in milliseconds since its begin.
#[derive(Debug, Default)]
struct Parts {
    begun: Option<Instant>,
    parts: Vec<(&'static str, f64)>,
}

impl Parts {
    fn over(&mut self, part: &'static str) {
        self.parts.push((part, self.ms()));
    }

    /// A part that ran beside others.
    fn took(&mut self, part: &'static str, time: Duration) {
        self.parts.push((part, ms(time)));
    }

    fn ms(&self) -> f64 {
        self.begun.map_or(0.0, |begun| ms(begun.elapsed()))
    }

    fn json(&self) -> Value {
        Value::Object(self.parts.iter().map(|(part, ms)| ((*part).to_owned(), json!(ms))).collect())
    }
}

/// Milliseconds with two decimals: enough for people.
fn ms(time: Duration) -> f64 {
    (time.as_micros() / 10) as f64 / 100.0
}

/// Gives the keys to the follower.
///
/// # Errors
/// It was not possible within `cutover_tries` pauses; what the servers say.
pub(super) async fn cut_over(
    engine: &Engine,
    the_move: &mut Move,
    turn: Turn<'_>,
) -> Result<(), Error> {
    let watcher = match turn.way {
        Direction::Forward => turn.sides.more_target().await?,
        Direction::Back => turn.sides.more_source().await?,
    };
    let mut waiters = Waiters { proxies: Proxies::open(engine).await?, watcher };
    let mut rest = PAUSE_REST_MIN;
    let mut reason = String::new();
    for try_number in 1..=engine.limits().cutover_tries {
        near(engine, the_move, turn).await?;
        calm(engine, the_move, turn).await?;
        match one_pause(engine, the_move, turn, &mut waiters).await? {
            None => return Ok(()),
            Some(why) => reason = why,
        }
        let note = format!("pause {try_number} was given up: {reason}");
        engine.note(the_move, &note).await?;
        engine.go_on(the_move).await?;
        tokio::time::sleep(rest).await;
        rest = (rest * 2).min(PAUSE_REST_MAX);
    }
    Err(Error::Stopped(format!(
        "the keys could not change hands in {} pauses, the last time because {reason}; resume \
         when there are no long transactions on the tables, or set end_blockers_after_ms",
        engine.limits().cutover_tries
    )))
}

/// The follower is near, and nothing slow is left for the pause.
async fn near(engine: &Engine, the_move: &Move, turn: Turn<'_>) -> Result<(), Error> {
    let (id, begun) = (turn.sides.id, Instant::now());
    loop {
        if turn.way == Direction::Forward {
            replicate::advance(&turn.sides.target, id, Direction::Back).await?;
        }
        // A second time within the pause, when little is left to do.
        sequences::carry(turn.leader(), turn.follower(), turn.leader_scope()).await?;
        let asked = Instant::now();
        let number = replicate::mark(turn.leader(), id, turn.way).await?;
        let limit = Duration::from_secs(1);
        let has = replicate::wait_marker(turn.follower(), id, turn.way, number, limit).await?;
        if has && asked.elapsed() <= NEAR {
            return Ok(());
        }
        engine.go_on(the_move).await?;
        engine.waiting(the_move, &format!("{} is behind", turn.follower().place));
        if begun.elapsed() > NEAR_TIMEOUT {
            return Err(Error::Stopped(format!(
                "{} does not get near enough for a pause; resume when there is less to do",
                turn.follower().place
            )));
        }
    }
}

/// Nobody holds locks on the tables for long, or has done so for longer than is waited for.
async fn calm(engine: &Engine, the_move: &Move, turn: Turn<'_>) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        let mut who = blockers::of_tables(turn.leader(), turn.leader_scope()).await?;
        who.retain(|one| one.age > LONG);
        if who.is_empty() || begun.elapsed() > CALM_TIMEOUT {
            return Ok(());
        }
        end_old(engine, the_move, turn.leader(), &who).await?;
        engine.waiting(the_move, &format!("long transactions{}", named(&who)));
        engine.go_on(the_move).await?;
        tokio::time::sleep(CALM_POLL).await;
    }
}

/// One pause: `None` when the keys have changed hands, the reason when they have not.
async fn one_pause(
    engine: &Engine,
    the_move: &mut Move,
    turn: Turn<'_>,
    waiters: &mut Waiters,
) -> Result<Option<String>, Error> {
    let journal = &engine.journal;
    let (id, state) = (id(the_move)?, the_move.state);
    let map = journal.map().await?;
    waiters.proxies.look(map.epoch).await?;
    let wait = |map: &ShardMap| map.pause(id, true);
    let paused =
        journal.advance_from(&map, the_move, state, wait, "writes to the keys wait").await?;
    let Some(map) = paused else { return Ok(Some("the map has changed".to_owned())) };
    let mut parts = Parts { begun: Some(Instant::now()), ..Parts::default() };
    checkpoint(turn.pick("ready.paused", "rolling_back.paused")).await;
    let limits = engine.limits();
    let locks = (limits.lock_timeout + LOCK_REST) * limits.lock_tries * 2;
    let limit = limits.pause_timeout * 2 + locks + SLACK;
    let mut pending = None;
    let work = within_pause(engine, the_move, turn, &map, waiters, &mut pending, &mut parts);
    let tried = within(limit, "the pause", work).await;
    let tried = match (tried, pending) {
        (Ok(Tried::Ready), Some(pending)) => match journal.commit(the_move, pending).await {
            Ok(_) => {
                parts.over("handed_over");
                note(engine, the_move, &parts).await?;
                return Ok(None);
            }
            // Nobody knows whose the keys are now, until the move's row is read again.
            Err(error) if !is_rolled_back(&error) => return Err(error),
            Err(error) => Err(error),
        },
        (tried, _) => tried,
    };
    // That the journal still answers is also what says that nobody else has taken the lease.
    let undone = async {
        journal.roll_back().await?;
        turn.reset(engine, the_move).await?;
        turn.follow_on().await
    };
    let undone = within(limit, "taking the fence away", undone).await;
    match tried? {
        Tried::Not(why) => undone.map(|()| Some(why)),
        Tried::Ready => undone.map(|()| Some("nothing was prepared".to_owned())),
    }
}

/// Whether a commit was refused, for certain: not where the connection, or the server, ended.
fn is_rolled_back(error: &Error) -> bool {
    error.sqlstate().is_some_and(|code| {
        !["08", "57", "58", "XX"].iter().any(|class| code.starts_with(class)) && code != "40003"
    })
}

async fn note(engine: &Engine, the_move: &mut Move, parts: &Parts) -> Result<(), Error> {
    let pause = parts.parts.last().map_or(0.0, |(_, ms)| *ms);
    engine.journal.paused_for(the_move, pause).await?;
    engine.journal.remember(the_move, PAUSE, parts.json()).await?;
    let parts: Vec<String> = parts.parts.iter().map(|(part, ms)| format!("{part} {ms}")).collect();
    let text = format!("writes to the keys waited {pause} ms ({})", parts.join(", "));
    engine.note(the_move, &text).await
}

/// Everything between the pause and the commit that gives the keys away, which is prepared
/// meanwhile.
async fn within_pause(
    engine: &Engine,
    the_move: &mut Move,
    turn: Turn<'_>,
    map: &ShardMap,
    waiters: &Waiters,
    pending: &mut Option<Pending>,
    parts: &mut Parts,
) -> Result<Tried, Error> {
    let (way, id, watcher) = (turn.way, turn.sides.id, &waiters.watcher);
    *pending = prepare(engine, the_move, turn, map, &waiters.proxies, parts).await?;
    if pending.is_none() {
        return Ok(Tried::Not("the map has changed".to_owned()));
    }
    parts.over("acknowledged");
    checkpoint(turn.pick("ready.acknowledged", "rolling_back.acknowledged")).await;
    if let Some(why) = close(engine, the_move, turn).await? {
        return Ok(Tried::Not(why));
    }
    parts.over("fenced");
    checkpoint(turn.pick("ready.fenced", "rolling_back.fenced")).await;
    let limit = engine.limits().pause_timeout;
    let number = replicate::mark(turn.leader(), id, way).await?;
    let (drained, carried) = tokio::join!(
        replicate::wait_marker(watcher, id, way, number, limit),
        sequences::carry(turn.leader(), turn.follower(), turn.leader_scope())
    );
    carried?;
    if !drained? {
        let place = &turn.follower().place;
        return Ok(Tried::Not(format!("{place} did not have everything in time")));
    }
    parts.over("drained");
    checkpoint(turn.pick("ready.drained", "rolling_back.drained")).await;
    replicate::enable(turn.follower(), id, way, false).await?;
    parts.over("disabled");
    checkpoint(turn.pick("ready.disabled", "rolling_back.disabled")).await;
    replicate::settle(turn.follower()).await?;
    parts.over("settled");
    checkpoint(turn.pick("ready.settled", "rolling_back.settled")).await;
    match way {
        Direction::Forward => {
            // Part of the transaction that names the target.
            let position = replicate::position(turn.follower()).await?;
            engine.journal.remember(the_move, BACK_FROM, json!(position)).await?;
            parts.over("positioned");
            checkpoint("ready.positioned").await;
        }
        Direction::Back => {
            if let Some(why) = open(engine, the_move, turn).await? {
                return Ok(Tried::Not(why));
            }
            parts.over("unfenced");
            checkpoint("rolling_back.unfenced").await;
        }
    }
    Ok(Tried::Ready)
}

/// Prepares the commit that gives the keys away, while proxies hear of the pause: `None` when the
/// map has changed. Who does not acknowledge meets the fence.
async fn prepare(
    engine: &Engine,
    the_move: &Move,
    turn: Turn<'_>,
    map: &ShardMap,
    proxies: &Proxies,
    parts: &mut Parts,
) -> Result<Option<Pending>, Error> {
    let move_id = self::id(the_move)?;
    let new_owner = turn.pick(&the_move.target, &the_move.source);
    let hand_over = |map: &ShardMap| map.hand_over(move_id, new_owner);
    let note = format!("the keys are {new_owner}'s");
    let begun = Instant::now();
    let prepare = async {
        let journal = &engine.journal;
        let prepared = journal.prepare(map, the_move, turn.next(), hand_over, &note).await;
        (prepared, begun.elapsed())
    };
    let wait = proxies.wait(map.epoch, engine.limits().pause_timeout, ACKNOWLEDGE);
    let ((prepared, took), seen) = tokio::join!(prepare, wait);
    parts.took("preparing", took);
    if let Some(seen) = seen? {
        parts.took("seen", seen);
    }
    prepared
}

/// The leader refuses writes to the keys; or why it does not.
async fn close(engine: &Engine, the_move: &Move, turn: Turn<'_>) -> Result<Option<String>, Error> {
    let wait = engine.limits().lock_timeout;
    tries(engine, the_move, turn.leader(), async || {
        fence::fence(turn.leader(), turn.leader_scope(), wait).await
    })
    .await
}

/// The follower takes writes to the keys again; or why it does not.
async fn open(engine: &Engine, the_move: &Move, turn: Turn<'_>) -> Result<Option<String>, Error> {
    let wait = engine.limits().lock_timeout;
    tries(engine, the_move, turn.follower(), async || {
        fence::let_down(turn.follower(), turn.sides.id, wait).await
    })
    .await
}

async fn tries(
    engine: &Engine,
    the_move: &Move,
    on: &Session,
    mut attempt: impl AsyncFnMut() -> Result<Attempt<()>, Error>,
) -> Result<Option<String>, Error> {
    let mut who = Vec::new();
    for _ in 0..engine.limits().lock_tries {
        match attempt().await? {
            Attempt::Done(()) => return Ok(None),
            Attempt::Blocked(blockers) => who = blockers,
        }
        end_old(engine, the_move, on, &who).await?;
        tokio::time::sleep(LOCK_REST).await;
    }
    Ok(Some(format!("the tables on {} are locked{}", on.place, named(&who))))
}

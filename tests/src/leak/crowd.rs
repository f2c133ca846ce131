//! Owns the clients of a comparison: who does the next step, who may tie itself to a server, and
//! the report. Everything random comes from one seed.

use super::member::{FAILED, Member, Outcome, Place};
use super::operations::{self, Holds, Situation};
use super::request::Request;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Steps after which a client that is in a transaction ends it.
const TRANSACTION_STEPS: u32 = 14;
/// Steps after which a client that may be tied to its server lets it go.
const HOLD_STEPS: u32 = 30;
/// Steps between two comparisons of notifications.
const NOTIFICATION_STEPS: u32 = 50;
/// Differences after which a run ends.
const DIFFERENCES_MAX: usize = 12;
/// Steps of the client shown with a difference.
const SHOWN_STEPS: usize = 40;

/// What a run is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Clients by user.
    pub clients: Vec<(&'static str, usize)>,
    /// How many clients of one user may be tied to a server at a time.
    pub holders_max: usize,
    /// Steps of all clients together.
    pub steps: u32,
    /// All at once, each for itself, instead of one step at a time.
    pub concurrent: bool,
    /// The proxy and the twin.
    pub places: [Place; 2],
}

/// What a run showed.
#[derive(Debug, Default)]
pub struct Report {
    /// Steps done, by kind.
    pub kinds: BTreeMap<&'static str, u32>,
    /// Steps refused, by construct.
    pub refused: BTreeMap<&'static str, u32>,
    /// Differences, as text for people.
    pub differences: Vec<String>,
}

impl Report {
    /// All steps.
    pub fn steps(&self) -> u32 {
        self.kinds.values().sum()
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = format!("{} steps, {} differences", self.steps(), self.differences.len());
        for (construct, count) in &self.refused {
            let _ = write!(text, "\n  refused {count}: {construct}");
        }
        for difference in &self.differences {
            let _ = write!(text, "\n{difference}");
        }
        text
    }
}

/// What all clients know of each other.
struct Common<'a> {
    options: &'a Options,
    /// Clients that may be tied to a server, by user.
    holders: RefCell<BTreeMap<&'static str, usize>>,
    report: RefCell<Report>,
    world: &'a dyn World,
}

/// What a run needs to know of the databases.
pub trait World {
    /// Waits until replicas have all there is: a new session is promised only what they have.
    fn settle(&self);
    /// Makes a client's tables anew in both databases.
    fn renew(&self, client: usize);
    /// What the proxy is doing, for people.
    fn state(&self) -> String;
}

/// A client and what the scheduler knows of it.
struct Client<'a> {
    common: &'a Common<'a>,
    number: usize,
    member: Member,
    random: StdRng,
    steps: u32,
    /// Step at which its transaction began.
    transaction_since: Option<u32>,
    /// Step since which it may be tied to its server beyond transactions.
    held_since: Option<u32>,
    /// Only a new connection lets it go.
    must_reconnect: bool,
    counted: bool,
}

/// Runs all clients.
pub async fn run(options: &Options, seed: u64, world: &dyn World) -> Report {
    let common = Common { options, holders: RefCell::default(), report: RefCell::default(), world };
    let mut random = StdRng::seed_from_u64(seed);
    let mut clients = Vec::new();
    let users = options.clients.iter().flat_map(|(user, count)| vec![*user; *count]);
    for (number, user) in users.enumerate() {
        let startup = operations::plain_startup(number);
        let member = Member::new(options.places.clone(), user, &startup).await;
        let random = StdRng::seed_from_u64(random.random());
        clients.push(Client {
            common: &common,
            number,
            member,
            random,
            steps: 0,
            transaction_since: None,
            held_since: None,
            must_reconnect: false,
            counted: false,
        });
    }
    if options.concurrent {
        let each = options.steps / u32::try_from(clients.len()).unwrap_or(1).max(1);
        let all = clients.iter_mut().map(|client| client.run_alone(each));
        futures_util::future::join_all(all).await;
    } else {
        run_in_turn(&mut clients, &mut random, options.steps).await;
    }
    drop(clients);
    common.report.into_inner()
}

async fn run_in_turn(clients: &mut [Client<'_>], random: &mut StdRng, steps: u32) {
    for step in 0..steps {
        let number = random.random_range(0..clients.len());
        clients[number].step().await;
        if clients[number].common.is_over() {
            return;
        }
        if step % NOTIFICATION_STEPS == 0 {
            let all = clients.iter_mut().map(Client::check_notifications);
            futures_util::future::join_all(all).await;
        }
    }
    futures_util::future::join_all(clients.iter_mut().map(Client::check_notifications)).await;
}

impl Common<'_> {
    fn is_over(&self) -> bool {
        self.report.borrow().differences.len() >= DIFFERENCES_MAX
    }
}

impl Client<'_> {
    async fn run_alone(&mut self, steps: u32) {
        for step in 0..steps {
            self.step().await;
            if self.common.is_over() {
                return;
            }
            if step % NOTIFICATION_STEPS == 0 {
                self.check_notifications().await;
            }
        }
        self.check_notifications().await;
        self.end_holding().await;
    }

    fn situation(&self) -> Situation {
        let holders = self.common.holders.borrow();
        let others = holders.get(self.member.user()).copied().unwrap_or(0);
        Situation {
            client: self.number,
            in_transaction: self.member.in_transaction(),
            may_hold: self.counted || others < self.common.options.holders_max,
            shares: !self.common.options.concurrent,
        }
    }

    async fn step(&mut self) {
        self.steps += 1;
        let is_late = |since: Option<u32>, limit| since.is_some_and(|at| self.steps > at + limit);
        if is_late(self.transaction_since, TRANSACTION_STEPS) {
            let end = if self.random.random_bool(0.6) { "commit" } else { "rollback" };
            self.play("end late", &[operations::query(end)]).await;
            return;
        }
        if is_late(self.held_since, HOLD_STEPS) && self.transaction_since.is_none() {
            self.end_holding().await;
            return;
        }
        let situation = self.situation();
        let (kind, requests) = operations::make(&mut self.random, situation);
        if matches!(kind.holds, Holds::Session | Holds::UntilReconnect) {
            self.held_since.get_or_insert(self.steps);
        }
        self.must_reconnect |= kind.holds == Holds::UntilReconnect;
        if kind.holds != Holds::Nothing {
            self.count();
        }
        self.play(kind.name, &requests).await;
    }

    /// Ends whatever ties the client to its server, by statements or by a new connection.
    async fn end_holding(&mut self) {
        self.member.roll_back().await;
        let situation = Situation { in_transaction: false, ..self.situation() };
        let requests = operations::cleanup(&mut self.random, situation);
        let before = self.member.log.len();
        self.play("cleanup", &requests).await;
        // A role may not drop what another one has made: the session stays tied.
        let done = self.member.log.get(before..).unwrap_or_default();
        self.must_reconnect |= done.iter().any(|step| step.contains(FAILED));
        if std::mem::take(&mut self.must_reconnect) {
            let startup = operations::plain_startup(self.number);
            self.play("reconnect", &[Request::Reconnect(startup)]).await;
        }
        self.held_since = None;
        self.count();
    }

    async fn play(&mut self, kind: &'static str, requests: &[Request]) {
        *self.common.report.borrow_mut().kinds.entry(kind).or_default() += 1;
        for request in requests {
            if matches!(request, Request::Reconnect(_)) {
                self.held_since = None;
                self.must_reconnect = false;
                self.member.leave().await;
                self.common.world.settle();
            }
            if request.ends_listening() {
                self.check_notifications().await;
            }
            let outcome = self.member.step(request).await;
            if !self.judge(kind, outcome).await {
                break;
            }
        }
        let open = self.member.in_transaction();
        self.transaction_since = open.then(|| self.transaction_since.unwrap_or(self.steps));
        self.count();
    }

    /// Notes an outcome; false when the client had to begin anew.
    async fn judge(&mut self, kind: &'static str, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Equal => return true,
            Outcome::Refused(refusal) => {
                let mut report = self.common.report.borrow_mut();
                *report.refused.entry(refusal.construct).or_default() += 1;
            }
            Outcome::Different(what) => {
                let log = &self.member.log;
                let shown = log[log.len().saturating_sub(SHOWN_STEPS)..].join("\n    ");
                let text = format!(
                    "- {kind}, client {} ({}), its last steps:\n    {shown}\n  {what}\n{}",
                    self.number,
                    self.member.user(),
                    self.common.world.state()
                );
                println!("{text}");
                self.common.report.borrow_mut().differences.push(text);
            }
        }
        self.begin_anew().await;
        false
    }

    async fn begin_anew(&mut self) {
        self.member.leave().await;
        self.common.world.renew(self.number);
        self.common.world.settle();
        self.member.enter(&operations::plain_startup(self.number)).await;
        self.held_since = None;
        self.must_reconnect = false;
    }

    async fn check_notifications(&mut self) {
        let outcome = self.member.compare_notifications().await;
        self.judge("notifications", outcome).await;
    }

    /// Keeps the number of holders.
    fn count(&mut self) {
        let holds = self.held_since.is_some() || self.member.in_transaction();
        if holds == self.counted {
            return;
        }
        self.counted = holds;
        let mut holders = self.common.holders.borrow_mut();
        let count = holders.entry(self.member.user()).or_default();
        *count = if holds { *count + 1 } else { count.saturating_sub(1) };
    }
}

//! Owns the making of random steps: one table of kinds with their weights, and how each becomes
//! bytes. It knows no connection; the same seed makes the same steps.

use super::request::Request;
use super::texts;
use crate::raw;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// Whether a kind may tie a session to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Never.
    Nothing,
    /// At most until the transaction ends.
    Transaction,
    /// Until the session cleans up or ends.
    Session,
    /// Until the session ends.
    UntilReconnect,
}

/// When a kind makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// In a transaction, and now and then outside.
    Inside,
    /// Outside of transactions.
    Outside,
}

/// A kind of step.
#[derive(Debug)]
pub struct Kind {
    /// Its name in reports.
    pub name: &'static str,
    weight: u32,
    /// Whether it may tie a session to its server.
    pub holds: Holds,
    when: When,
    make: fn(&mut Maker) -> Vec<Request>,
}

/// The table of kinds. A weight is relative to the sum of all.
pub const KINDS: &[Kind] = &[
    kind("set", 14, Holds::Nothing, When::Always, Maker::set),
    kind("set_config", 8, Holds::Nothing, When::Always, Maker::set_config),
    kind("set_bound", 2, Holds::UntilReconnect, When::Always, Maker::set_bound),
    kind("do", 1, Holds::UntilReconnect, When::Always, |m| m.one_of(texts::BLOCKS)),
    kind("search_path", 6, Holds::Nothing, When::Always, Maker::search_path),
    kind("reset", 6, Holds::Nothing, When::Always, Maker::reset),
    kind("show", 8, Holds::Nothing, When::Always, Maker::show),
    kind("role", 5, Holds::Nothing, When::Always, Maker::role),
    kind("read", 24, Holds::Nothing, When::Always, |m| m.one_of(texts::READS)),
    kind("write", 10, Holds::Nothing, When::Always, |m| m.one_of(texts::WRITES)),
    kind("error", 5, Holds::Nothing, When::Always, |m| m.one_of(texts::ERRORS)),
    kind("several", 4, Holds::Transaction, When::Always, Maker::several),
    kind("ddl", 4, Holds::Nothing, When::Always, |m| m.one_of(texts::DDL)),
    kind("begin", 14, Holds::Transaction, When::Outside, |m| m.one_of(texts::BEGINS)),
    kind("inside", 16, Holds::Transaction, When::Inside, |m| m.one_of(texts::INSIDE)),
    kind("end", 14, Holds::Nothing, When::Inside, |m| m.one_of(texts::ENDS)),
    kind("parse", 7, Holds::Nothing, When::Always, Maker::parse),
    kind("execute", 12, Holds::Nothing, When::Always, Maker::execute),
    kind("describe", 4, Holds::Nothing, When::Always, Maker::describe),
    kind("close", 2, Holds::Nothing, When::Always, Maker::close),
    kind("unnamed", 8, Holds::Nothing, When::Always, Maker::unnamed),
    kind("pipeline", 6, Holds::Transaction, When::Always, Maker::pipeline),
    kind("portal", 4, Holds::Transaction, When::Inside, Maker::portal),
    kind("copy", 3, Holds::Nothing, When::Always, Maker::copy),
    kind("cursor", 8, Holds::Transaction, When::Inside, |m| m.one_of(texts::CURSORS)),
    kind("temp inside", 5, Holds::Session, When::Inside, |m| m.one_of(texts::TEMPORARY_INSIDE)),
    kind("lock inside", 4, Holds::Transaction, When::Inside, |m| m.one_of(texts::LOCKS_INSIDE)),
    kind("hold", 5, Holds::Session, When::Always, |m| m.one_of(texts::HOLD)),
    kind("temp", 10, Holds::Session, When::Always, |m| m.one_of(texts::TEMPORARY)),
    kind("prepare", 8, Holds::Session, When::Always, |m| m.one_of(texts::SQL_PREPARE)),
    kind("lock", 7, Holds::Session, When::Always, |m| m.one_of(texts::LOCKS)),
    kind("listen", 6, Holds::Session, When::Always, |m| m.one_of(texts::LISTENS)),
    kind("notify", 5, Holds::Nothing, When::Always, |m| m.one_of(texts::NOTIFIES)),
    kind("sequence", 4, Holds::Nothing, When::Always, |m| m.one_of(texts::SEQUENCES)),
    kind("last value", 2, Holds::UntilReconnect, When::Always, |m| m.one_of(texts::LAST_VALUES)),
    kind("discard", 2, Holds::Nothing, When::Always, |m| m.one_of(texts::DISCARDS)),
    kind("reconnect", 2, Holds::Nothing, When::Always, Maker::reconnect),
];

const fn kind(
    name: &'static str,
    weight: u32,
    holds: Holds,
    when: When,
    make: fn(&mut Maker) -> Vec<Request>,
) -> Kind {
    Kind { name, weight, holds, when, make }
}

/// What the choice of a step depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// The client's number.
    pub client: usize,
    /// A transaction is open, failed or not.
    pub in_transaction: bool,
    /// The client may tie itself to a server.
    pub may_hold: bool,
    /// Locks and channels are shared with other clients.
    pub shares: bool,
}

/// Chooses a kind and makes its requests.
pub fn make(random: &mut StdRng, situation: Situation) -> (&'static Kind, Vec<Request>) {
    let total: u32 = KINDS.iter().map(|kind| kind.weight).sum();
    loop {
        let mut at = random.random_range(0..total);
        let chosen = KINDS.iter().find(|kind| {
            let found = at < kind.weight;
            at = at.saturating_sub(kind.weight);
            found
        });
        let kind = chosen.expect("invariant: below the sum of weights");
        let odd_place = random.random_bool(0.1);
        let fits = match kind.when {
            When::Always => true,
            When::Inside => situation.in_transaction || odd_place,
            When::Outside => !situation.in_transaction || odd_place,
        };
        if fits && (kind.holds == Holds::Nothing || situation.may_hold) {
            let mut maker = Maker { random: StdRng::seed_from_u64(random.random()), situation };
            return (kind, (kind.make)(&mut maker));
        }
    }
}

/// Steps that end whatever ties the client to its server.
pub fn cleanup(random: &mut StdRng, situation: Situation) -> Vec<Request> {
    let mut maker = Maker { random: StdRng::seed_from_u64(random.random()), situation };
    let chosen = *maker.pick(texts::CLEANUPS);
    chosen.iter().map(|sql| query(sql)).collect()
}

/// A simple query.
pub fn query(sql: &str) -> Request {
    Request::Flight { text: format!("Q {sql}"), bytes: raw::query(sql), syncs: 1 }
}

/// Names PostgreSQL cannot forget: on a server that others have used they are empty, not unknown.
/// Most sessions begin with them, so that this difference seldom ends a comparison.
const OWN_SETTINGS: &str = "-c my.one= -c my.two= -c pgx.three=";

/// What a new connection begins with when nothing is asked of it.
pub fn plain_startup(client: usize) -> Vec<(String, String)> {
    startup(client, OWN_SETTINGS)
}

fn startup(client: usize, options: &str) -> Vec<(String, String)> {
    let options = options.to_owned();
    vec![("search_path".into(), format!("c{client}a")), ("options".into(), options)]
}

/// Makes the requests of one step.
#[derive(Debug)]
pub struct Maker {
    random: StdRng,
    situation: Situation,
}

/// Messages of the extended protocol in the making.
#[derive(Default)]
struct Batch {
    text: Vec<String>,
    bytes: Vec<u8>,
    syncs: usize,
}

impl Batch {
    fn add(&mut self, text: String, bytes: Vec<u8>) {
        self.text.push(text);
        self.bytes.extend(bytes);
    }

    fn sync(mut self) -> Request {
        self.add("S".into(), raw::sync());
        let (text, bytes) = (self.text.join(" | "), self.bytes);
        Request::Flight { text, bytes, syncs: self.syncs + 1 }
    }
}

impl Maker {
    fn pick<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[self.random.random_range(0..list.len())]
    }

    fn fill(&mut self, text: &str) -> String {
        let client = self.situation.client;
        let (key, channel) = match self.situation.shares {
            true => {
                (self.random.random_range(1..4), format!("ch{}", self.random.random_range(1..4)))
            }
            false => (1000 * client, format!("ch{client}_{}", self.random.random_range(1..3))),
        };
        let text = text.replace("$C", &client.to_string());
        text.replace("$K", &key.to_string()).replace("$N", &channel)
    }

    fn one_of(&mut self, list: &[&str]) -> Vec<Request> {
        let text = *self.pick(list);
        let text = self.fill(text);
        vec![self.send(&text)]
    }

    /// Sends a text in one of the ways there are. Several statements go as a simple query only,
    /// and what another message could meet under the same name has a name of its own.
    fn send(&mut self, sql: &str) -> Request {
        let way = self.random.random_range(0..10);
        if way < 6 || sql.contains(';') || sql.is_empty() {
            return query(sql);
        }
        let name = if way < 9 { "" } else { "once" };
        let mut batch = Batch::default();
        batch.add(format!("P {name:?} {sql}"), raw::parse(name, sql));
        let binary = self.random.random_bool(0.3);
        batch.add(format!("B binary={binary}"), raw::bind_as("", name, &[], binary));
        batch.add("D".into(), raw::describe(b'P', ""));
        batch.add("E".into(), raw::execute("", 0));
        if !name.is_empty() {
            batch.add("C".into(), raw::close(b'S', name));
        }
        batch.sync()
    }

    fn setting(&mut self) -> (&'static str, &'static str) {
        let (name, values) = *self.pick(texts::SETTINGS);
        let value = *self.pick(values);
        (name, value)
    }

    fn set(&mut self) -> Vec<Request> {
        let (name, value) = self.setting();
        let scope = *self.pick(&["", "session ", "local ", ""]);
        let items: Vec<String> =
            value.split(", ").map(|item| format!("'{}'", item.replace('\'', "''"))).collect();
        let sql = match (name, self.random.random_range(0..4)) {
            ("timezone", 0) => format!("set {scope}time zone {}", items.join(", ")),
            ("client_encoding", 0) => format!("set {scope}names {}", items.join(", ")),
            (_, 1) => format!("set {scope}{name} = {}", items.join(", ")),
            (_, 2) => format!("set {scope}{} to default", name),
            _ => format!("set {scope}{name} to {}", items.join(", ")),
        };
        vec![self.send(&sql)]
    }

    fn set_config(&mut self) -> Vec<Request> {
        let (name, value) = self.setting();
        let local = self.random.random_bool(0.4);
        let quoted = value.replace('\'', "''");
        let sql = format!("select set_config('{name}', '{quoted}', {local})");
        vec![self.send(&sql)]
    }

    /// `set_config` of a parameter that only the values name.
    fn set_bound(&mut self) -> Vec<Request> {
        let (name, value) = self.setting();
        let local = self.random.random_bool(0.4);
        let mut batch = Batch::default();
        let sql = "select set_config($1, $2, $3)";
        batch.add(format!("P {sql}"), raw::parse("", sql));
        let values = [Some(name), Some(value), Some(if local { "t" } else { "f" })];
        batch.add(format!("B {values:?}"), raw::bind("", "", &values));
        batch.add("E".into(), raw::execute("", 0));
        vec![batch.sync()]
    }

    fn search_path(&mut self) -> Vec<Request> {
        let path = *self.pick(texts::PATHS);
        let path = self.fill(path);
        let scope = *self.pick(&["", "session ", "local ", ""]);
        let sql = match self.random.random_range(0..3) {
            0 => format!("select set_config('search_path', '{path}', {})", scope == "local "),
            _ => format!("set {scope}search_path to {path}"),
        };
        vec![self.send(&sql)]
    }

    fn reset(&mut self) -> Vec<Request> {
        let sql = match self.random.random_range(0..8) {
            0 => "reset all".into(),
            1 => "reset search_path".into(),
            _ => format!("reset {}", self.setting().0),
        };
        vec![self.send(&sql)]
    }

    fn show(&mut self) -> Vec<Request> {
        let name = self.setting().0;
        let sql = match self.random.random_range(0..3) {
            0 => format!("show {name}"),
            1 => format!("select current_setting('{name}')"),
            _ => format!("select current_setting('{name}', true)"),
        };
        vec![self.send(&sql)]
    }

    fn role(&mut self) -> Vec<Request> {
        let role = *self.pick(texts::ROLES);
        let sql = match self.random.random_range(0..9) {
            0..=2 => format!("set role {role}"),
            3 => format!("set local role {role}"),
            4 => format!("select set_config('role', '{role}', false)"),
            5 => format!("set session authorization {}", role.replace("none", "default")),
            6 => "reset session authorization".into(),
            _ => "reset role".into(),
        };
        vec![self.send(&sql)]
    }

    /// Several statements in one query string.
    fn several(&mut self) -> Vec<Request> {
        let mut parts = Vec::new();
        for _ in 0..self.random.random_range(2..5) {
            let list = *self.pick(&[texts::READS, texts::WRITES, texts::ENDS, texts::BEGINS]);
            let text = *self.pick(list);
            parts.push(match self.random.random_range(0..4) {
                0 => format!("set my.one to 'v{}'", self.random.random_range(0..9)),
                1 => format!("set local work_mem to '{}MB'", self.random.random_range(1..9)),
                _ => self.fill(text),
            });
        }
        vec![query(&parts.join("; "))]
    }

    fn name(&mut self) -> &'static str {
        self.pick::<&'static str>(texts::NAMES)
    }

    fn prepared(&mut self) -> (String, &'static [&'static str]) {
        let (text, values) = *self.pick(texts::PREPARED);
        (self.fill(text), values)
    }

    fn parse(&mut self) -> Vec<Request> {
        let (name, (sql, _)) = (self.name(), self.prepared());
        let mut batch = Batch::default();
        if self.random.random_bool(0.6) {
            batch.add(format!("C {name}"), raw::close(b'S', name));
        }
        batch.add(format!("P {name} {sql}"), raw::parse(name, &sql));
        if self.random.random_bool(0.5) {
            batch.add(format!("D {name}"), raw::describe(b'S', name));
        }
        vec![batch.sync()]
    }

    /// Bind and Execute of a statement whose parameters are not known here: often the number of
    /// values is wrong, which is an answer too.
    fn execute(&mut self) -> Vec<Request> {
        let (name, mut batch) = (self.name(), Batch::default());
        self.add_bind(&mut batch, name);
        vec![batch.sync()]
    }

    fn add_bind(&mut self, batch: &mut Batch, name: &str) {
        let values: Vec<Option<&str>> = match self.random.random_range(0..5) {
            0 | 1 => vec![],
            2 | 3 => vec![Some("1")],
            _ => vec![Some("my.one"), Some("2")],
        };
        let binary = self.random.random_bool(0.3);
        let text = format!("B {name} {values:?} binary={binary}");
        batch.add(text, raw::bind_as("", name, &values, binary));
        if self.random.random_bool(0.4) {
            batch.add("D".into(), raw::describe(b'P', ""));
        }
        batch.add("E".into(), raw::execute("", 0));
    }

    fn describe(&mut self) -> Vec<Request> {
        let (name, mut batch) = (self.name(), Batch::default());
        batch.add(format!("D {name}"), raw::describe(b'S', name));
        vec![batch.sync()]
    }

    fn close(&mut self) -> Vec<Request> {
        let (name, mut batch) = (self.name(), Batch::default());
        batch.add(format!("C {name}"), raw::close(b'S', name));
        vec![batch.sync()]
    }

    fn unnamed(&mut self) -> Vec<Request> {
        let ((sql, values), mut batch) = (self.prepared(), Batch::default());
        self.add_unnamed(&mut batch, &sql, values);
        vec![batch.sync()]
    }

    fn add_unnamed(&mut self, batch: &mut Batch, sql: &str, values: &[&str]) {
        let values: Vec<Option<&str>> = values.iter().copied().map(Some).collect();
        batch.add(format!("P {sql}"), raw::parse("", sql));
        let binary = self.random.random_bool(0.3);
        batch.add(format!("B {values:?} binary={binary}"), raw::bind_as("", "", &values, binary));
        if self.random.random_bool(0.5) {
            batch.add("D".into(), raw::describe(b'P', ""));
        }
        batch.add("E".into(), raw::execute("", 0));
    }

    /// Several statements before one Sync, or before several that are sent at once.
    fn pipeline(&mut self) -> Vec<Request> {
        let mut batch = Batch::default();
        let transaction = self.random.random_bool(0.3);
        if transaction {
            self.add_unnamed(&mut batch, "begin", &[]);
        }
        for _ in 0..self.random.random_range(2..6) {
            match self.random.random_range(0..6) {
                0 => {
                    let name = self.name();
                    self.add_bind(&mut batch, name);
                }
                1 => {
                    let (name, (sql, _)) = (self.name(), self.prepared());
                    batch.add(format!("P {name} {sql}"), raw::parse(name, &sql));
                }
                2 => {
                    batch.add("S".into(), raw::sync());
                    batch.syncs += 1;
                }
                3 => {
                    let text = *self.pick(texts::READS);
                    let text = self.fill(text);
                    self.add_unnamed(&mut batch, &text, &[]);
                }
                _ => {
                    let (sql, values) = self.prepared();
                    self.add_unnamed(&mut batch, &sql, values);
                }
            }
        }
        if transaction {
            let end = *self.pick(&["commit", "rollback", "commit"]);
            self.add_unnamed(&mut batch, end, &[]);
        }
        vec![batch.sync()]
    }

    /// A portal that is read in parts.
    fn portal(&mut self) -> Vec<Request> {
        let mut batch = Batch::default();
        let sql = "select g from generate_series(1, 5) g";
        batch.add(format!("P {sql}"), raw::parse("", sql));
        batch.add("B c1".into(), raw::bind("c1", "", &[]));
        batch.add("E c1 2".into(), raw::execute("c1", 2));
        let first = batch.sync();
        let mut batch = Batch::default();
        batch.add("E c1 0".into(), raw::execute("c1", 0));
        batch.add("C c1".into(), raw::close(b'P', "c1"));
        vec![first, batch.sync()]
    }

    fn copy(&mut self) -> Vec<Request> {
        if self.random.random_bool(0.5) {
            return vec![query("copy (select v from t order by id) to stdout")];
        }
        let data = *self.pick(&["copied\nagain\n", "one\ttoo many\n", ""]);
        let sql = "copy t (v) from stdin";
        let bytes = [raw::query(sql), raw::copy_data(data.as_bytes()), raw::copy_done()].concat();
        vec![Request::Flight { text: format!("Q {sql} | {data:?}"), bytes, syncs: 1 }]
    }

    fn reconnect(&mut self) -> Vec<Request> {
        let options = match self.random.random_bool(0.3) {
            true => " -c work_mem=5MB -c my.one=given --datestyle=SQL,\\ DMY",
            false => "",
        };
        let own = if self.random.random_bool(0.8) { OWN_SETTINGS } else { "" };
        let mut parameters = startup(self.situation.client, &format!("{own}{options}"));
        let mut add = |name: &str, value: &str| parameters.push((name.into(), value.into()));
        if self.random.random_bool(0.3) {
            add("TimeZone", "Asia/Tokyo");
        }
        if self.random.random_bool(0.3) {
            add("application_name", "started");
        }
        if self.random.next_u32().is_multiple_of(4) {
            add("client_encoding", "LATIN1");
        }
        vec![Request::Reconnect(parameters)]
    }
}

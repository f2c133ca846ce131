//! Owns one client on two connections: through the proxy, and to the twin database. It sends the
//! same bytes to both and says whether they were answered alike.

use super::refusal::{self, Refusal};
use super::request::Request;
use crate::raw::{self, Message, Raw, field, strings, transcript};
use pgmanifold::config::model::Address;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// Longest wait for notifications that the other side has.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(5);
/// Fields of an error that are compared: severity, code, message, detail, hint, position, context.
const ERROR_FIELDS: &[u8] = b"SCMDHPW";

/// Marks a step that PostgreSQL answered with an error.
pub const FAILED: &str = "  (error)";
/// Marks a step in whose answer nothing was described.
pub const UNTOLD: &str = "  (nothing described)";

/// Where a side logs in.
#[derive(Debug, Clone)]
pub struct Place {
    /// The proxy or the primary.
    pub address: Address,
    /// The database.
    pub database: String,
}

/// What one step showed.
#[derive(Debug)]
pub enum Outcome {
    /// Both sides answered alike.
    Equal,
    /// The proxy refused what it may refuse.
    Refused(&'static Refusal),
    /// What differed.
    Different(String),
}

/// One of the two connections.
#[derive(Debug)]
struct Side {
    raw: Raw,
    /// Last reported values.
    parameters: BTreeMap<String, String>,
    notifications: Vec<String>,
    /// Of the last ReadyForQuery; `X` when the connection has ended.
    status: u8,
}

/// A client of the comparison.
#[derive(Debug)]
pub struct Member {
    places: [Place; 2],
    user: &'static str,
    through: Side,
    plain: Side,
    /// What it has done since it connected.
    pub log: Vec<String>,
}

impl Side {
    async fn login(place: &Place, user: &str, parameters: &[(String, String)]) -> Side {
        let mut all = vec![("user", user), ("database", place.database.as_str())];
        all.extend(parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let raw = Raw::connect_with(&place.address, raw::V3_0, &all).await;
        let mut side =
            Side { raw, parameters: BTreeMap::new(), notifications: Vec::new(), status: b'I' };
        side.note_parameters();
        side
    }

    fn note_parameters(&mut self) {
        self.parameters.extend(self.raw.parameters.drain(..));
    }

    /// Sends a flight; returns its answer as lines.
    async fn play(&mut self, bytes: &[u8], syncs: usize) -> String {
        let temporary = bytes.windows(7).any(|part| part == b"pg_temp");
        // A connection that has ended shows in its answer.
        let _ = self.raw.try_send(bytes).await;
        let mut text = String::new();
        for _ in 0..syncs {
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.raw.until_ready()).await;
            let Ok(answer) = answer else {
                self.status = b'X';
                return text + "no answer\n";
            };
            text += &self.lines(answer, temporary);
            if self.status == b'X' {
                return text + "closed\n";
            }
        }
        text
    }

    fn lines(&mut self, mut answer: Vec<Message>, temporary: bool) -> String {
        self.note_parameters();
        self.status = match answer.last() {
            Some(last) if last.tag == b'Z' => last.body.first().copied().unwrap_or_default(),
            _ => b'X',
        };
        answer.retain(|message| {
            let kept = message.tag != b'A';
            if !kept {
                self.notifications.push(notification(message));
            }
            kept
        });
        let lines = answer.iter().map(line);
        without_preface(lines.filter(|line| !(temporary && is_skipped_temporary(line))).collect())
    }

    /// Takes what has come without being asked for.
    async fn drain(&mut self) {
        let step = Duration::from_millis(5);
        while let Ok(Some(message)) = tokio::time::timeout(step, self.raw.next()).await {
            self.note_parameters();
            if message.tag == b'A' {
                self.notifications.push(notification(&message));
            }
        }
    }
}

/// PostgreSQL tells the parameters of a statement before it finds that it cannot be analysed any
/// more. Where a server does not have the statement, that is found first.
fn without_preface(lines: Vec<String>) -> String {
    let fails = |at: usize| lines.get(at + 1).is_some_and(|next| next.starts_with("E "));
    let kept = |at: usize| !(lines[at].starts_with("t ") && fails(at));
    (0..lines.len()).filter(|at| kept(*at)).map(|at| lines[at].as_str()).collect()
}

/// Whether pg_temp exists in a process without temporary objects is the process's own history.
fn is_skipped_temporary(line: &str) -> bool {
    let skipped = ["schema \"pg_temp\"", "relation", "table", "view", "sequence"];
    line.starts_with("N NOTICE 00000 ")
        && line.contains(" does not exist, skipping")
        && skipped.iter().any(|kind| line.contains(kind))
}

/// Channel and payload; the process id is the notifying server's.
fn notification(message: &Message) -> String {
    let texts = strings(message.body.get(4..).unwrap_or_default());
    texts.join(" ").trim_end().to_owned()
}

fn line(message: &Message) -> String {
    if !matches!(message.tag, b'E' | b'N') {
        return transcript(std::slice::from_ref(message));
    }
    let parts = ERROR_FIELDS.iter().filter_map(|code| {
        let text = field(&message.body, *code)?;
        Some(match code {
            b'S' | b'C' | b'M' => text,
            code => format!("{}: {text}", char::from(*code)),
        })
    });
    let parts: Vec<String> = parts.collect();
    // The texts of 08P01 and 26000 name the server's own statement, which the proxy chose; to a
    // changed result the proxy adds a hint.
    let shown = match field(&message.body, b'C').as_deref() {
        Some("08P01" | "26000") => 2,
        Some("0A000") if parts[2].starts_with("cached plan") => 3,
        _ => parts.len(),
    };
    format!("{} {}\n", char::from(message.tag), parts[..shown].join(" ").replace('\n', " "))
}

impl Member {
    /// Connects on both sides: first through the proxy, then to the twin.
    pub async fn new(
        places: [Place; 2],
        user: &'static str,
        startup: &[(String, String)],
    ) -> Member {
        let through = Side::login(&places[0], user, startup).await;
        let plain = Side::login(&places[1], user, startup).await;
        Member { places, user, through, plain, log: Vec::new() }
    }

    /// Who it logs in as.
    pub fn user(&self) -> &'static str {
        self.user
    }

    /// A transaction is open on either side.
    pub fn in_transaction(&self) -> bool {
        self.plain.status != b'I' || self.through.status != b'I'
    }

    /// Does one step on both sides, first on the twin. Connects both, after [`Member::leave`].
    pub async fn step(&mut self, request: &Request) -> Outcome {
        match request {
            Request::Flight { text, bytes, syncs } => {
                self.log.push(text.clone());
                let expected = self.plain.play(bytes, *syncs).await;
                let got = self.through.play(bytes, *syncs).await;
                let begins = |kinds: &[char]| expected.lines().any(|line| line.starts_with(kinds));
                let marks = [(begins(&['E']), FAILED), (!begins(&['T', 't', 'n']), UNTOLD)];
                if let Some(step) = self.log.last_mut() {
                    marks.iter().filter(|(set, _)| *set).for_each(|(_, mark)| step.push_str(mark));
                }
                self.verdict(&expected, &got)
            }
            Request::Reconnect(parameters) => {
                self.enter(parameters).await;
                self.compare_parameters()
            }
        }
    }

    /// Ends both connections, in an orderly way, so that locks and listeners are gone.
    pub async fn leave(&mut self) {
        for side in [&mut self.plain, &mut self.through] {
            let _ = side.raw.try_send(&raw::terminate()).await;
            let _ = tokio::time::timeout(ANSWER_TIMEOUT, side.raw.is_closed()).await;
            side.status = b'X';
        }
    }

    /// Connects both sides.
    pub async fn enter(&mut self, parameters: &[(String, String)]) {
        self.log = vec![format!("connect {parameters:?}")];
        self.plain = Side::login(&self.places[1], self.user, parameters).await;
        self.through = Side::login(&self.places[0], self.user, parameters).await;
    }

    /// Ends open transactions.
    pub async fn roll_back(&mut self) {
        for side in [&mut self.plain, &mut self.through] {
            if side.status != b'I' {
                side.play(&raw::query("rollback"), 1).await;
            }
        }
    }

    fn verdict(&self, expected: &str, got: &str) -> Outcome {
        let (mut wanted, mut had) = (expected.lines(), got.lines());
        loop {
            match (wanted.next(), had.next()) {
                (None, None) => return self.compare_parameters(),
                (Some(want), Some(have)) if want == have => {}
                (want, have) => {
                    let (want, have) = (want.unwrap_or("nothing"), have.unwrap_or("nothing"));
                    if let Some(refusal) = refusal::find(&self.log, want, have) {
                        return Outcome::Refused(refusal);
                    }
                    return Outcome::Different(format!("expected {want}\n  got      {have}"));
                }
            }
        }
    }

    fn compare_parameters(&self) -> Outcome {
        let (plain, through) = (&self.plain.parameters, &self.through.parameters);
        let names = plain.keys().chain(through.keys());
        for name in names {
            if plain.get(name) != through.get(name) {
                return Outcome::Different(format!(
                    "parameter {name}: expected {:?}, got {:?}",
                    plain.get(name),
                    through.get(name)
                ));
            }
        }
        Outcome::Equal
    }

    /// Waits until both sides have the same notifications in the same order; to be called when
    /// nothing more is sent. In a transaction they wait for its end.
    pub async fn compare_notifications(&mut self) -> Outcome {
        if self.in_transaction() {
            return Outcome::Equal;
        }
        let deadline = std::time::Instant::now() + NOTIFY_TIMEOUT;
        loop {
            self.plain.drain().await;
            self.through.drain().await;
            if self.plain.notifications == self.through.notifications {
                return Outcome::Equal;
            }
            if std::time::Instant::now() > deadline {
                return Outcome::Different(format!(
                    "notifications: expected {:?}\n  got      {:?}",
                    self.plain.notifications, self.through.notifications
                ));
            }
        }
    }
}

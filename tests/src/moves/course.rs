//! Owns the course of one move as a test drives it: which keys go where, the commands that begin
//! and end it, and what the catalog says of it.

use super::ownership::Ownership;
use super::rebalancer::{Ended, Running};
use super::{Moves, leftovers};
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::{Duration, Instant};

/// Equal parts of the space of hashes that moves are made of, so that the map stays small.
const PARTS: i128 = 16;
/// Longest time for a move to come to its end once nothing is broken any more.
const END_TIMEOUT: Duration = Duration::from_secs(180);
/// Exit status of a command that can be gone on with: a machine that does everything at once may
/// be too slow for a pause.
const STOPPED: i32 = 4;
/// Most stops of one command.
const MAX_STOPS: u32 = 5;

/// Keys to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// First hash.
    pub from: i64,
    /// Last hash.
    pub last: i64,
    /// Number of the shard that has them.
    pub source: usize,
    /// Number of the shard that is to have them.
    pub target: usize,
}

/// A move as the catalog has it.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its number.
    pub id: String,
    /// The word for its state.
    pub state: String,
    /// How long writes waited, in milliseconds.
    pub write_pause_ms: Option<f64>,
    /// Why it stopped.
    pub last_error: Option<String>,
}

impl Row {
    /// It has come to an end, one or another.
    pub fn is_end(&self) -> bool {
        matches!(self.state.as_str(), "done" | "aborted" | "rolled_back")
    }

    /// The keys have not changed hands.
    pub fn can_abort(&self) -> bool {
        let before = ["planned", "announced", "copying", "catching_up", "verifying", "ready"];
        before.contains(&self.state.as_str()) || self.state == "aborting"
    }
}

fn border(part: i128) -> i64 {
    let at = i128::from(i64::MIN) + ((1_i128 << 64) / PARTS) * part;
    i64::try_from(at).unwrap_or(i64::MAX)
}

impl Wanted {
    /// Up to three neighbouring parts of one shard, to another one.
    ///
    /// # Panics
    /// Never: every part is somebody's.
    pub fn any(moves: &Moves, random: &mut StdRng) -> Self {
        let ownership = Ownership::read(moves);
        let owner = |part: i128| -> usize {
            let hash = border(part);
            let found = ownership.ranges.iter().find(|range| (range.0..=range.1).contains(&hash));
            found.expect("invariant: no gap").2
        };
        let first = random.random_range(0..PARTS);
        let source = owner(first);
        let most = random.random_range(1..=3);
        let parts = (first..PARTS.min(first + most)).take_while(|part| owner(*part) == source);
        let end = first + i128::try_from(parts.count()).unwrap_or(1);
        let shards = moves.shards.len();
        let target = (source + random.random_range(1..shards)) % shards;
        let last = if end == PARTS { i64::MAX } else { border(end) - 1 };
        Self { from: border(first), last, source, target }
    }

    /// Arguments of the rebalancer that name this move.
    pub fn arguments(&self) -> Vec<String> {
        let target = format!("s{}", self.target);
        let mut arguments: Vec<String> =
            ["--distribution", "customer", "--target", &target].map(str::to_owned).into();
        if self.from != i64::MIN {
            arguments.extend(["--from".to_owned(), self.from.to_string()]);
        }
        if self.last != i64::MAX {
            arguments.extend(["--to".to_owned(), (self.last + 1).to_string()]);
        }
        arguments
    }
}

impl Moves {
    /// Begins a move, which stops for good at `halt`.
    ///
    /// # Panics
    /// When the rebalancer does not start.
    pub fn begin(&self, wanted: &Wanted, more: &[&str], halt: Option<&str>) -> Running {
        let named = wanted.arguments();
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        self.rebalancer.spawn(&[&["apply"], &named[..], more].concat(), halt)
    }

    /// Runs a move until it is reversible.
    ///
    /// # Panics
    /// When it does not come so far.
    pub async fn apply(&self, wanted: &Wanted, more: &[&str]) -> Ended {
        self.begin(wanted, more, None).end().await
    }

    /// Runs a move until it is reversible, however often it stops on its way.
    ///
    /// # Panics
    /// When it does not come so far.
    pub async fn reach_reversible(&self, wanted: &Wanted) {
        let mut ended = self.apply(wanted, &[]).await;
        for _ in 0..MAX_STOPS {
            if ended.code != Some(STOPPED) {
                break;
            }
            println!("stopped: {}", ended.stderr);
            ended = self.rebalancer.run(&["resume"]).await;
        }
        ended.succeeds();
    }

    /// Waits until a command has come to the place where it is to halt, however often it stops on
    /// its way.
    ///
    /// # Panics
    /// When it does not come so far.
    pub async fn come_to(&self, mut running: Running, halt: &str) -> Running {
        for _ in 0..MAX_STOPS {
            if running.halts().await {
                break;
            }
            let ended = running.end().await;
            assert_eq!(ended.code, Some(STOPPED), "never at {halt}: {}", ended.all());
            println!("stopped before {halt}: {}", ended.stderr);
            running = self.rebalancer.spawn(&["resume"], Some(halt));
        }
        assert!(running.halts().await, "never at {halt}: {}", running.stderr());
        running
    }

    /// The last move.
    ///
    /// # Panics
    /// When the catalog does not answer.
    pub fn last_move(&self) -> Option<Row> {
        let sql = "select id, state, write_pause_ms, last_error from pgm.move \
                   order by id desc limit 1";
        let mut row = self.in_catalog(sql).into_iter().next()?.into_iter();
        let mut next = || row.next().flatten();
        Some(Row {
            id: next()?,
            state: next()?,
            write_pause_ms: next().and_then(|text| text.parse().ok()),
            last_error: next(),
        })
    }

    /// Brings the last move to an end, whatever happened to it: goes on with it, or gives it up
    /// where that can be, as `random` says. Returns the state at the end.
    ///
    /// # Panics
    /// When that is not possible in time.
    pub async fn finish(&self, random: &mut StdRng) -> String {
        let deadline = Instant::now() + END_TIMEOUT;
        let (give_up, mut give_back) = (random.random_bool(0.4), random.random_bool(0.4));
        let mut last = String::new();
        loop {
            let Some(row) = self.last_move() else { return "none".into() };
            if row.is_end() {
                return row.state;
            }
            assert!(Instant::now() < deadline, "{row:?} does not end:\n{last}");
            let id = row.id.as_str();
            let arguments = match row.state.as_str() {
                "reversible" if give_back => vec!["rollback", id],
                "reversible" => vec!["cleanup", id],
                _ if give_up && row.can_abort() => vec!["abort", id],
                _ => vec!["resume"],
            };
            let ended = self.rebalancer.run(&arguments).await;
            last = format!("{}: {:?}\n{}", arguments.join(" "), ended.code, ended.all());
            // Not every move can be rolled back; what is refused once stays so.
            give_back &= ended.code != Some(3);
            if ended.code != Some(0) {
                // A server that was killed is not up yet.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// Nothing is left of any move, and every row is where the map says.
    ///
    /// # Panics
    /// When something is.
    pub async fn assert_tidy(&self) {
        let left = leftovers::find(self);
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        self.verify_map().await;
    }
}

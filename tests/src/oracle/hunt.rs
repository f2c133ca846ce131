//! Owns a hunt for differences: worlds, statements in and outside of transactions, comparisons of
//! tables now and then, and making a statement smaller that was answered wrongly.

use super::compare::{Check, Verdict};
use super::generate::copy::DATA_OF;
use super::generate::select::Select;
use super::generate::world::World;
use super::generate::{Dice, Generator, Statement, quoted, with_parameters};
use super::moves;
use super::pair::Pair;
use super::request::Request;
use super::tables;
use crate::shards::Shards;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

/// Statements in one world.
const WORLD_STATEMENTS: u32 = 500;
/// Writes between two comparisons of whole tables.
const COMPARED_WRITES: u32 = 8;
/// Statements of a transaction at most.
const TRANSACTION_STATEMENTS: u32 = 9;
/// Statements shown with a difference that only the tables show.
const SHOWN: usize = 14;
/// Attempts to make a statement smaller.
const SHRINKING: usize = 60;
/// Differences after which a hunt ends.
const DIFFERENCES_MAX: usize = 25;

/// Counts of one kind of statement.
#[derive(Debug, Default, Clone)]
pub struct Count {
    /// Answered as the oracle answers.
    pub right: u32,
    /// Failed on both sides with the same SQLSTATE.
    pub failed: u32,
    /// Refused.
    pub refused: u32,
}

/// What a hunt showed.
#[derive(Debug, Default)]
pub struct Report {
    /// By kind of statement.
    pub kinds: BTreeMap<&'static str, Count>,
    /// Refusals by construct.
    pub constructs: BTreeMap<String, u32>,
    /// SQLSTATEs of failures on both sides.
    pub failures: BTreeMap<String, u32>,
    /// What was answered wrongly.
    pub differences: Vec<String>,
    /// Rows of keys on their way that lay where they must not be seen.
    pub hidden_rows: i128,
}

impl Report {
    /// All statements.
    pub fn statements(&self) -> u32 {
        self.kinds.values().map(|count| count.right + count.failed + count.refused).sum::<u32>()
            + u32::try_from(self.differences.len()).unwrap_or(0)
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let all = self.kinds.values();
        let (right, failed, refused) = all.fold((0, 0, 0), |sum, count| {
            (sum.0 + count.right, sum.1 + count.failed, sum.2 + count.refused)
        });
        let mut text = format!(
            "{} statements: {right} right, {failed} failed alike, {refused} refused, {} WRONG\n",
            self.statements(),
            self.differences.len()
        );
        for (kind, count) in &self.kinds {
            let (right, failed, refused) = (count.right, count.failed, count.refused);
            let _ = writeln!(text, "  {kind}: {right} right, {failed} failed, {refused} refused");
        }
        let mut constructs: Vec<_> = self.constructs.iter().collect();
        constructs.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (construct, count) in constructs {
            let share = f64::from(*count) * 100.0 / f64::from(self.statements().max(1));
            let _ = writeln!(text, "  refused {count} ({share:.1} %): {construct}");
        }
        for (state, count) in &self.failures {
            let _ = writeln!(text, "  failed alike {count}: {state}");
        }
        text
    }
}

/// One world's hunt.
struct Hunt<'a> {
    pair: Pair<'a>,
    shards: &'a Shards,
    generator: Generator<'a>,
    tables: Vec<String>,
    /// What shards hide, which nothing may change.
    hidden: tables::Digests,
    report: &'a mut Report,
    /// What ran since the tables were last compared.
    log: VecDeque<String>,
    writes: u32,
    label: String,
    /// The statement that is prepared under a name on both sides.
    prepared: Option<Statement>,
}

/// Runs `statements` in as many worlds as they need, those before `first` left out. `start` makes a
/// world's databases.
pub async fn run<S, F>(seed: u64, first: u32, statements: u32, mut start: S) -> Report
where
    S: FnMut(World, u64) -> F,
    F: Future<Output = (Shards, pgmanifold::config::model::Address)>,
{
    let mut report = Report::default();
    let mut dice = Dice::new(seed);
    let worlds = statements.div_ceil(WORLD_STATEMENTS).max(1);
    for number in 0..worlds {
        let world_seed = dice.seed();
        if number < first {
            continue;
        }
        let world = World::new(&mut Dice::new(world_seed));
        let (shards, front) = start(world.clone(), world_seed).await;
        world.fill(&shards, &mut Dice::new(world_seed ^ 1));
        let names = world.names();
        moves::leave_behind(&shards, &world, &mut Dice::new(world_seed ^ 3));
        tables::compare(&shards, &names).expect("the tables begin equal");
        let hidden = tables::hidden(&shards, &names).expect("what is hidden");
        report.hidden_rows += hidden.iter().map(|(count, _)| count).sum::<i128>();
        let pair = Pair::new(&shards, &front).await;
        let mut hunt = Hunt {
            pair,
            shards: &shards,
            generator: Generator::new(&world, world_seed ^ 2),
            tables: names,
            hidden,
            report: &mut report,
            log: VecDeque::new(),
            writes: 0,
            prepared: None,
            label: format!("world {number} of seed {seed}"),
        };
        hunt.run(statements.min(WORLD_STATEMENTS)).await;
        drop(hunt);
        shards.remove();
        if report.differences.len() >= DIFFERENCES_MAX {
            break;
        }
        if worlds > 3 && number % 10 == 9 {
            println!("after {} worlds: {}", number + 1, report.text().lines().next().unwrap_or(""));
        }
    }
    report
}

impl Hunt<'_> {
    async fn run(&mut self, statements: u32) {
        let mut done = 0;
        while done < statements && self.report.differences.len() < DIFFERENCES_MAX {
            let whole = match self.generator.dice.chance(22) {
                true => self.transaction(&mut done).await,
                false => {
                    done += 1;
                    let statement = self.next();
                    self.play(&statement, done).await.is_some()
                }
            };
            // The sides are no longer equal: the rest of this world would show nothing else.
            if !whole || !self.compare_tables(done, done >= statements) {
                return;
            }
        }
    }

    /// A new statement, or the prepared one with other values.
    fn next(&mut self) -> Statement {
        if let Some(prepared) = self.prepared.clone()
            && self.generator.dice.chance(15)
            && let Request::Call(call) = &prepared.request
        {
            let again = self.generator.again(call, &prepared.bound);
            let kind = "executed again";
            // Which rows there are below a limit is known with the first values only.
            let check = Check { within: None, ..prepared.check.clone() };
            return Statement {
                kind,
                request: Request::Call(again),
                check,
                parts: None,
                ..prepared
            };
        }
        self.generator.statement()
    }

    /// A cursor is declared, fetched from and closed.
    async fn cursor(&mut self, step: u32) -> Option<bool> {
        let select = self.generator.ordered_query();
        let all = select.check(false, true);
        let number = 1 + self.generator.dice.below(6);
        let texts = [
            format!("declare cur cursor for {}", select.text()),
            format!("fetch {number} from cur"),
            "fetch all from cur".into(),
            "close cur".into(),
        ];
        for text in texts {
            let statement = Statement {
                kind: "cursor",
                request: Request::Simple(text),
                check: all.clone(),
                writes: false,
                parts: None,
                values: Vec::new(),
                bound: Vec::new(),
            };
            let played = self.play(&statement, step).await;
            if played != Some(true) {
                return played;
            }
        }
        Some(true)
    }

    /// A statement; `None` when it was answered wrongly, else whether it did something.
    async fn play(&mut self, statement: &Statement, step: u32) -> Option<bool> {
        let request = self.with_data(&statement.request).await;
        let verdict = self.pair.step(&request, &statement.check).await;
        self.note(&request, &verdict);
        self.remember(statement, &verdict);
        let writes = statement.writes;
        let count = self.report.kinds.entry(statement.kind).or_default();
        match verdict {
            Verdict::Right(None) => {
                count.right += 1;
                self.writes += u32::from(writes);
                Some(true)
            }
            Verdict::Right(Some(state)) => {
                count.failed += 1;
                *self.report.failures.entry(state).or_default() += 1;
                self.writes += u32::from(writes);
                Some(false)
            }
            Verdict::Refused(construct) => {
                count.refused += 1;
                *self.report.constructs.entry(construct).or_default() += 1;
                // What is refused must have done nothing.
                self.writes += u32::from(writes);
                Some(false)
            }
            Verdict::Different(what) => {
                let smaller = self.shrink(statement).await;
                let text = format!(
                    "- {}, step {step}, {}:\n  {}\n  {what}{smaller}",
                    self.label,
                    statement.kind,
                    request.text()
                );
                println!("{text}");
                self.report.differences.push(text);
                self.pair.reconnect().await;
                self.prepared = None;
                // A query leaves the tables as they were.
                (!writes).then_some(false)
            }
        }
    }

    /// Keeps what is prepared under the name on both sides.
    fn remember(&mut self, statement: &Statement, verdict: &Verdict) {
        let Request::Call(call) = &statement.request else { return };
        if call.name.is_empty() || call.sql.is_none() {
            return;
        }
        let kept = matches!(verdict, Verdict::Right(None));
        self.prepared = kept.then(|| statement.clone());
    }

    fn note(&mut self, request: &Request, verdict: &Verdict) {
        let outcome = match verdict {
            Verdict::Right(None) => "right".to_owned(),
            Verdict::Right(Some(state)) => format!("failed {state}"),
            Verdict::Refused(construct) => format!("refused {construct}"),
            Verdict::Different(_) => "WRONG".into(),
        };
        self.log.push_back(format!("{} -- {outcome}", request.text()));
        if self.log.len() > SHOWN {
            self.log.pop_front();
        }
    }

    /// A COPY with the data that the oracle makes for it.
    async fn with_data(&mut self, request: &Request) -> Request {
        match request {
            Request::CopyIn(text, _) => {
                let (sql, query) = text.split_once(DATA_OF).expect("a query for its data");
                let options = sql.split_once("stdin").map_or("", |(_, options)| options);
                let data = self.pair.copy_of(query, options).await;
                Request::CopyIn(sql.into(), data)
            }
            other => other.clone(),
        }
    }

    /// Several statements in one transaction, with savepoints; false when one was answered wrongly.
    async fn transaction(&mut self, done: &mut u32) -> bool {
        let begin = *self.generator.dice.pick(&BEGINS);
        if !self.control(begin, *done).await {
            return false;
        }
        let mut savepoints = 0_u32;
        for _ in 0..1 + self.generator.dice.below(TRANSACTION_STATEMENTS as usize) {
            if self.generator.dice.chance(15) {
                savepoints += 1;
                if !self.control(&format!("savepoint s{}", savepoints % 3), *done).await {
                    return false;
                }
                continue;
            }
            if savepoints > 0 && self.generator.dice.chance(12) {
                let at = savepoints % 3;
                let verb = if self.generator.dice.chance(60) { "rollback to" } else { "release" };
                if !self.control(&format!("{verb} s{at}"), *done).await {
                    return false;
                }
                savepoints = if verb == "release" { 0 } else { savepoints };
            }
            *done += 1;
            let played = match self.generator.dice.chance(4) {
                true => self.cursor(*done).await,
                false => {
                    let statement = self.next();
                    self.play(&statement, *done).await
                }
            };
            match played {
                None => return false,
                Some(true) => {}
                Some(false) if self.report.differences.len() >= DIFFERENCES_MAX => return false,
                // A difference has ended the connections and the transaction with them.
                Some(false) if self.pair.status == 'I' => return true,
                // The proxy's transaction has failed: both go back.
                Some(false) if savepoints > 0 && self.generator.dice.chance(70) => {
                    if !self.back_to_savepoint(savepoints % 3).await {
                        return true;
                    }
                }
                Some(false) => break,
            }
        }
        self.end(*done).await
    }

    async fn end(&mut self, done: u32) -> bool {
        if self.pair.status == 'E' {
            self.pair.roll_back().await;
            self.log.push_back("rollback".into());
            return true;
        }
        let end = *self.generator.dice.pick(&["commit", "commit", "commit", "rollback"]);
        self.control(end, done).await
    }

    /// The oracle's transaction may go on where the proxy's has failed: both go back.
    async fn back_to_savepoint(&mut self, number: u32) -> bool {
        let back = Request::Simple(format!("rollback to s{number}"));
        self.log.push_back(back.text());
        match self.pair.step(&back, &Check::bag()).await {
            Verdict::Right(None) => true,
            _ => {
                self.pair.roll_back().await;
                false
            }
        }
    }

    async fn control(&mut self, sql: &str, step: u32) -> bool {
        let request = Request::Simple(sql.to_owned());
        let verdict = self.pair.step(&request, &Check::bag()).await;
        self.note(&request, &verdict);
        match verdict {
            Verdict::Right(_) => true,
            Verdict::Refused(construct) => {
                *self.report.constructs.entry(construct).or_default() += 1;
                self.pair.roll_back().await;
                true
            }
            Verdict::Different(what) => {
                let shown: Vec<&str> = self.log.iter().map(String::as_str).collect();
                let text = format!(
                    "- {}, step {step}, transaction:\n    {}\n  {what}",
                    self.label,
                    shown.join("\n    ")
                );
                println!("{text}");
                self.report.differences.push(text);
                false
            }
        }
    }

    fn compare_tables(&mut self, step: u32, last: bool) -> bool {
        if self.writes < COMPARED_WRITES && !last {
            return true;
        }
        self.writes = 0;
        let compared =
            tables::compare(self.shards, &self.tables).and_then(|_| {
                match tables::hidden(self.shards, &self.tables)? == self.hidden {
                    true => Ok(()),
                    false => Err("rows were changed that are another shard's".to_owned()),
                }
            });
        if let Err(what) = &compared {
            let shown: Vec<&str> = self.log.iter().map(String::as_str).collect();
            let text = format!(
                "- {}, step {step}, tables after:\n    {}\n  {what}",
                self.label,
                shown.join("\n    ")
            );
            println!("{text}");
            self.report.differences.push(text);
        }
        self.log.clear();
        compared.is_ok()
    }

    /// The smallest form of a query that is still answered wrongly.
    async fn shrink(&mut self, statement: &Statement) -> String {
        let Some(parts) = &statement.parts else { return String::new() };
        self.pair.reconnect().await;
        let literal = |select: &Select| {
            with_parameters(&select.text(), |at| match statement.values.get(at) {
                Some((ty, Some(text))) => format!("{}::{}", quoted(text), ty.sql()),
                Some((ty, None)) => format!("null::{}", ty.sql()),
                None => "null".into(),
            })
        };
        let mut current = parts.clone();
        if !self.is_wrong(&current, &literal(&current), &statement.check).await {
            return "\n  (as one text with literals it is right)".into();
        }
        let mut attempts = 0;
        'smaller: loop {
            for smaller in current.smaller() {
                attempts += 1;
                if attempts > SHRINKING {
                    break 'smaller;
                }
                if self.is_wrong(&smaller, &literal(&smaller), &statement.check).await {
                    current = smaller;
                    continue 'smaller;
                }
            }
            break;
        }
        format!("\n  smaller: {}", literal(&current))
    }

    async fn is_wrong(&mut self, select: &Select, sql: &str, check: &Check) -> bool {
        let check = select.check(check.loose, true);
        let verdict = self.pair.step(&Request::Simple(sql.into()), &check).await;
        let is_wrong = matches!(verdict, Verdict::Different(_));
        if self.pair.status != 'I' {
            self.pair.reconnect().await;
        }
        is_wrong
    }
}

const BEGINS: [&str; 5] =
    ["begin", "begin", "begin", "begin isolation level repeatable read", "start transaction"];

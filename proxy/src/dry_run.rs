//! Owns the dry run of sharding rules: on an unsharded database with `observe_only`, each statement
//! that goes to a server is also put to the sharding planner, and what it would have been is
//! counted. It never changes where a statement goes. Without the key nothing of this is there.

use crate::routing::literals;
use arc_swap::{ArcSwapOption, Guard};
use pgmanifold_router::facts::Facts;
use pgmanifold_router::lexer::{Dialect, Token};
use pgmanifold_router::plan::Plan;
use pgmanifold_router::shape::Shape;
use pgmanifold_router::shard_map::ShardMap;
use pgmanifold_router::sharding::{self, Bound, Catalog, Choice, Placing, Refusal, Values};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most shapes of statements that are counted apart; others are counted by outcome alone.
const SHAPES_MAX: usize = 1_000;
/// Most shapes whose spreading is remembered.
const SPREADS_MAX: usize = 1_000;
/// The construct of a refusal that says nothing of the statement: the catalog is not loaded.
const FACTS: &str = "facts";
/// The construct of several statements in one text.
const SEVERAL: &str = "several-statements";

/// What a statement would be with the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// One shard has all it needs.
    Single,
    /// Several shards answer, and their answers become one.
    Scatter,
    /// It would be refused for this construct.
    Refused(&'static str),
}

/// How often an outcome was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count {
    /// Executions.
    pub calls: u64,
    /// Shapes among them that are counted apart.
    pub shapes: u64,
    /// The text of the shape that was seen most often.
    pub example: Option<Arc<Shape>>,
}

/// The rules that are tried on one database, and what came of it.
pub struct DryRun {
    map: ArcSwapOption<ShardMap>,
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    shapes: HashMap<(u64, Outcome), (u64, Arc<Shape>)>,
    /// Executions of shapes that are not counted apart.
    others: HashMap<Outcome, u64>,
    /// Whether shapes over several shards can be spread, by what the catalog says.
    spreads: HashMap<(u64, u64), Outcome>,
}

impl DryRun {
    /// Nothing is counted before it has a map.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { map: ArcSwapOption::empty(), tally: Mutex::default() })
    }

    /// Takes rules into use; other ones than before begin at nothing.
    pub fn declare(&self, map: &Arc<ShardMap>) {
        let old = self.map.load_full();
        let next = match &old {
            Some(old) if map.with_epoch(old.epoch) == **old => return,
            Some(old) => map.with_epoch(old.epoch + 1),
            None => map.with_epoch(1),
        };
        self.map.store(Some(Arc::new(next)));
        self.reset();
    }

    /// Begins at nothing.
    pub fn reset(&self) {
        *self.lock() = Tally::default();
    }

    /// Tells plans made by other rules apart.
    pub fn epoch(&self) -> u64 {
        self.map.load().as_ref().map_or(0, |map| map.epoch)
    }

    /// The rules.
    pub fn map(&self) -> Guard<Option<Arc<ShardMap>>> {
        self.map.load()
    }

    /// What a text means to the rules; kept with its plan.
    pub fn place(
        &self,
        sql: &[u8],
        plan: &Plan,
        facts: &Facts,
        dialect: Dialect,
    ) -> Option<Box<Placing>> {
        let map = self.map.load();
        let map = map.as_ref()?;
        Some(Box::new(sharding::place(sql, plan, Catalog { map, facts }, dialect)))
    }

    /// Counts one execution. `lifted` are the literals of the text, where they are known.
    pub fn observe(
        &self,
        sql: &[u8],
        plan: &Plan,
        (facts, dialect): (&Facts, Dialect),
        lifted: Option<&[Token]>,
        bound: Option<&Bound<'_>>,
    ) {
        let map = self.map.load();
        let (Some(map), Some(placing), Some(shape)) =
            (map.as_ref(), plan.placing.as_deref(), plan.shape.as_ref())
        else {
            return;
        };
        let read;
        let literals = match lifted {
            Some(lifted) => lifted,
            None => {
                read = literals(sql, dialect);
                &read
            }
        };
        let values = Values { sql, literals, dialect, bound };
        let outcome = match placing {
            // Of the session, not of any table.
            Placing::Transaction | Placing::Session | Placing::Cursor => return,
            Placing::Refused(refusal) if refusal.construct == FACTS => return,
            Placing::CopyIn => Outcome::Scatter,
            placing => match sharding::choose(placing, map, &values) {
                Ok(Choice::One(_) | Choice::Any | Choice::None) => Outcome::Single,
                Ok(Choice::Several(shards)) if shards.len() == 1 => Outcome::Single,
                Ok(Choice::Several(_)) if plan.statements > 1 => Outcome::Refused(SEVERAL),
                Ok(Choice::Several(shards)) => {
                    let key = (shape.fingerprint, facts.version());
                    let known = self.lock().spreads.get(&key).copied();
                    known.unwrap_or_else(|| {
                        let catalog = Catalog { map, facts };
                        let spread = sharding::spread(placing, &shards, catalog, &values);
                        self.spread(key, spread.err().as_deref())
                    })
                }
                Err(refusal) => Outcome::Refused(refusal.construct),
            },
        };
        self.lock().count(shape, outcome);
    }

    /// Remembers whether a shape can be spread.
    fn spread(&self, key: (u64, u64), refusal: Option<&Refusal>) -> Outcome {
        let outcome = refusal.map_or(Outcome::Scatter, |found| Outcome::Refused(found.construct));
        let mut tally = self.lock();
        if tally.spreads.len() >= SPREADS_MAX {
            tally.spreads.clear();
        }
        tally.spreads.insert(key, outcome);
        outcome
    }

    /// What was counted, the most frequent first.
    pub fn counts(&self) -> Vec<(Outcome, Count)> {
        let tally = self.lock();
        let mut counts: HashMap<Outcome, (Count, u64)> = HashMap::new();
        for ((_, outcome), (calls, shape)) in &tally.shapes {
            let (count, most) = counts.entry(*outcome).or_default();
            count.calls += calls;
            count.shapes += 1;
            if calls > most {
                *most = *calls;
                count.example = Some(Arc::clone(shape));
            }
        }
        for (outcome, calls) in &tally.others {
            counts.entry(*outcome).or_default().0.calls += calls;
        }
        drop(tally);
        let mut counts: Vec<(Outcome, Count)> =
            counts.into_iter().map(|(outcome, (count, _))| (outcome, count)).collect();
        counts.sort_by(|one, other| other.1.calls.cmp(&one.1.calls).then(one.0.cmp(&other.0)));
        counts
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn count(&mut self, shape: &Arc<Shape>, outcome: Outcome) {
        let key = (shape.fingerprint, outcome);
        if let Some((calls, _)) = self.shapes.get_mut(&key) {
            *calls += 1;
        } else if self.shapes.len() < SHAPES_MAX {
            self.shapes.insert(key, (1, Arc::clone(shape)));
        } else {
            *self.others.entry(outcome).or_default() += 1;
        }
    }
}

impl std::fmt::Debug for DryRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DryRun").field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgmanifold_router::golden;
    use pgmanifold_router::planner;

    struct World {
        dry_run: Arc<DryRun>,
        facts: Facts,
    }

    impl World {
        fn new() -> Self {
            let dry_run = DryRun::new();
            dry_run.declare(&Arc::new(golden::shards_map().unwrap()));
            Self { dry_run, facts: golden::shards_facts().unwrap() }
        }

        fn runs(&self, sql: &str, times: usize, bound: Option<&Bound<'_>>) {
            let (sql, dialect) = (sql.as_bytes(), Dialect::default());
            let mut plan = planner::plan(sql, &self.facts, dialect);
            plan.placing = self.dry_run.place(sql, &plan, &self.facts, dialect);
            plan.shape = Some(Arc::new(Shape::read(sql, dialect)));
            for _ in 0..times {
                self.dry_run.observe(sql, &plan, (&self.facts, dialect), None, bound);
            }
        }

        fn counts(&self) -> Vec<(Outcome, u64)> {
            let counts = self.dry_run.counts();
            counts.into_iter().map(|(outcome, count)| (outcome, count.calls)).collect()
        }
    }

    #[test]
    fn executions_are_counted_by_what_they_would_be() {
        let world = World::new();
        world.runs("select * from orders where customer_id = 7", 50, None);
        world.runs("select * from countries", 10, None);
        world.runs("select count(*) from orders", 30, None);
        world.runs("update orders set customer_id = 3", 7, None);
        for nothing in ["begin", "commit", "set work_mem = '1MB'", "fetch 1 from c"] {
            world.runs(nothing, 5, None);
        }
        let counts = world.counts();
        assert_eq!(counts[..2], [(Outcome::Single, 60), (Outcome::Scatter, 30)]);
        assert!(matches!(counts[2..], [(Outcome::Refused(_), 7)]), "{counts:?}");
        let (_, single) = &world.dry_run.counts()[0];
        assert_eq!(single.shapes, 2);
        let example = single.example.as_ref().map(|shape| &*shape.text);
        assert_eq!(example, Some("select * from orders where customer_id = $1"));
        world.dry_run.reset();
        assert!(world.counts().is_empty());
    }

    #[test]
    fn bound_values_decide_on_shards() {
        let world = World::new();
        let sql = "select * from orders where customer_id = any($1)";
        let values = [Some(&b"{1}"[..])];
        let bound = Bound { types: &[1016], formats: &[], values: &values };
        world.runs(sql, 3, Some(&bound));
        let values = [Some(&b"{1,2,3,4,5,6,7,8}"[..])];
        let bound = Bound { types: &[1016], formats: &[], values: &values };
        world.runs(sql, 2, Some(&bound));
        assert_eq!(world.counts(), [(Outcome::Single, 3), (Outcome::Scatter, 2)]);
    }

    #[test]
    fn other_rules_begin_at_nothing_and_the_same_ones_go_on() {
        let world = World::new();
        world.runs("select 1", 4, None);
        world.dry_run.declare(&Arc::new(golden::shards_map().unwrap()));
        assert_eq!((world.counts(), world.dry_run.epoch()), (vec![(Outcome::Single, 4)], 1));
        let map = golden::shards_map().unwrap();
        let other = map.next(|parts| *parts = parts.clone().reference("copies")).unwrap();
        world.dry_run.declare(&Arc::new(other));
        assert_eq!((world.counts(), world.dry_run.epoch()), (vec![], 2));
    }

    #[test]
    fn what_is_counted_apart_is_bounded() {
        let world = World::new();
        for number in 0..SHAPES_MAX + 20 {
            world.runs(&format!("select 1 as name_{number}"), 1, None);
        }
        let counts = world.dry_run.counts();
        let all = (SHAPES_MAX + 20) as u64;
        assert_eq!((counts[0].1.calls, counts[0].1.shapes), (all, SHAPES_MAX as u64));
    }
}

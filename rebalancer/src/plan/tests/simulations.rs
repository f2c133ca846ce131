//! Simulations: how many bytes are moved, against the fewest possible, and how even shards are
//! then.

use super::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const SEED: u64 = 20_261_122;
const ROW_BYTES: u64 = 200;
/// A part of all bytes.
const HOT_KEYS_MORE: f64 = 0.005;

/// What keys of a hash distribution weigh.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// Two million rows, one for each key.
    Uniform,
    /// Rows of tenants by Zipf's law.
    Skewed,
    /// Rows as of `Uniform`; executions mostly of a few keys.
    HotKeys,
    /// One tenant has half of everything.
    OneKey,
}

fn weights(load: Load, random: &mut SmallRng) -> Vec<Weight> {
    let mut weights = vec![Weight::default(); HASH_PARTS];
    let mut add = |part: usize, rows: u64, executions: u64| {
        let bytes = rows * ROW_BYTES;
        weights[part] += Weight { rows, bytes, executions };
    };
    let mut part = || random.random_range(0..HASH_PARTS);
    match load {
        Load::Uniform | Load::HotKeys => {
            (0..2_000_000).for_each(|_| add(part(), 1, 1));
        }
        Load::Skewed => {
            (1..=200_000_u64).for_each(|rank| add(part(), 4_000_000 / (rank + 20), 1));
        }
        Load::OneKey => {
            (0..200_000).for_each(|_| add(part(), 1, 1));
            add(part(), 200_000, 200_000);
        }
    }
    if matches!(load, Load::HotKeys) {
        (1..=40_u64).for_each(|rank| add(part(), 1, 3_000_000 / (rank + 4)));
    }
    weights
}

struct Case {
    before: usize,
    after: usize,
    load: Load,
    by: By,
}

/// Prints a line, and gives the plan and the map.
fn simulate(case: &Case) -> (ShardMap, Parts, Plan) {
    let map = hash_map(case.before.max(case.after), case.before);
    let mut random = SmallRng::seed_from_u64(SEED);
    let weights = weights(case.load, &mut random);
    let parts = refined(&map, &weights);
    let drained: Vec<usize> = (case.after..case.before).collect();
    let rules = rules(&map, case.by, &drained);
    let began = std::time::Instant::now();
    let plan = together("db", &map, std::slice::from_ref(&parts), &rules, false, "simulation");
    let figures = &plan.distributions[0];
    let after = carried_out(&map, &plan);
    println!(
        "{:>2} → {:<2} {:9} by {:5}  moved {:6.2} % at least {:6.2} %  moves {:3}  ranges {:3} → \
         {:3}  imbalance {:6.1} % → {:5.2} %  indivisible {}  {:3} ms",
        case.before,
        case.after,
        format!("{:?}", case.load),
        case.by.as_str(),
        figures.bytes_moved as f64 / figures.weight.bytes as f64 * 100.0,
        figures.bytes_bound as f64 / figures.weight.bytes as f64 * 100.0,
        plan.moves.len(),
        map.distributions[0].ranges.len(),
        after.distributions[0].ranges.len(),
        figures.imbalance_before * 100.0,
        figures.imbalance_after * 100.0,
        plan.indivisible.len(),
        began.elapsed().as_millis(),
    );
    for shard in drained {
        assert!(!after.shards_with(0).iter().any(|id| usize::from(id.0) == shard));
    }
    (map, parts, plan)
}

/// Where borders of the map are inside of equal parts, the part is divided by its width.
fn refined(map: &ShardMap, weights: &[Weight]) -> Parts {
    let borders = Parts::hash_borders(HASH_PARTS);
    let mut parts = Parts::of(map, 0, &borders).unwrap();
    let begin = |place: &super::super::parts::Place| match place {
        super::super::parts::Place::From(Some(Bound::Hash(hash))) => *hash,
        _ => i64::MIN,
    };
    let starts: Vec<i64> = parts.parts.iter().map(|part| begin(&part.place)).collect();
    for at in 0..starts.len() {
        let from = i128::from(starts[at]);
        let to = starts.get(at + 1).map_or(i128::from(i64::MAX) + 1, |next| i128::from(*next));
        let place = usize::try_from((from - i128::from(i64::MIN)) >> 52).unwrap();
        let width = u128::try_from(to - from).unwrap();
        let part = |of: u64| ((u128::from(of) * width) >> 52) as u64;
        let whole = weights[place];
        parts.parts[at].weight = Weight {
            rows: part(whole.rows),
            bytes: part(whole.bytes),
            executions: part(whole.executions),
        };
    }
    parts
}

#[test]
fn few_bytes_make_shards_even() {
    println!("seed {SEED}");
    for (before, after) in [(3, 4), (8, 10), (10, 8)] {
        for (load, by) in [
            (Load::Uniform, By::Bytes),
            (Load::Uniform, By::Rows),
            (Load::Skewed, By::Bytes),
            (Load::HotKeys, By::Bytes),
            (Load::HotKeys, By::Load),
        ] {
            let (_, _, plan) = simulate(&Case { before, after, load, by });
            let figures = &plan.distributions[0];
            let (moved, bound) = (figures.bytes_moved as f64, figures.bytes_bound as f64);
            // The bound divides hot keys, which no plan can: for them, so much of everything more.
            let more =
                if by == By::Load { HOT_KEYS_MORE * figures.weight.bytes as f64 } else { 0.0 };
            assert!(moved <= bound * 1.05 + more, "{moved} bytes, at least {bound}");
            assert!(figures.imbalance_after <= 0.05, "{}", figures.imbalance_after);
            assert_eq!(plan.indivisible, []);
        }
    }
}

#[test]
fn what_cannot_be_divided_is_said() {
    for (before, after) in [(3, 4), (8, 10), (10, 8)] {
        let case = Case { before, after, load: Load::OneKey, by: By::Bytes };
        let (_, _, plan) = simulate(&case);
        let [found] = plan.indivisible.as_slice() else { panic!("{:?}", plan.indivisible) };
        let shares = after as f64 / 2.0;
        assert!((found.shares / shares - 1.0).abs() < 0.01, "{found:?}");
        // The others have equal parts of what is left.
        let others = plan.shards.iter().filter(|shard| shard.name != found.shard && !shard.drained);
        for shard in others {
            let wanted = 0.5 / (after as f64 - 1.0);
            assert!((shard.share_after / wanted - 1.0).abs() < 0.05, "{wanted}: {plan}");
        }
    }
}

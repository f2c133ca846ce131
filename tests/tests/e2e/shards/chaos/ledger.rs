//! Owns what clients were told in the whole run, and compares it with what the shards have.

use super::clients::{Kind, Operation, Told};
use pgmanifold_tests::shards::Shards;
use std::collections::{BTreeMap, HashMap};

/// All operations so far.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    operations: Vec<Operation>,
}

/// How many were told what.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub acknowledged: usize,
    pub refused: usize,
    pub unknown: usize,
}

impl Ledger {
    pub(super) fn add(&mut self, operations: Vec<Operation>) {
        self.operations.extend(operations);
    }

    /// Compares everything told with everything there.
    pub(super) fn check(&mut self, shards: &Shards, total: i64) {
        let sum = |sql: &str| -> i64 {
            let number = |rows: &Vec<Vec<Option<String>>>| {
                rows[0][0].as_deref().unwrap_or("0").parse::<i64>().expect("a number")
            };
            shards.on_shards(sql).iter().map(number).sum()
        };
        assert_eq!(sum("select sum(balance) from accounts"), total, "money was made or lost");
        let found = |table: &str| {
            let sql = format!("select operation, count(*) from {table} group by operation");
            let mut counts: HashMap<i64, i64> = HashMap::new();
            for row in shards.on_shards(&sql).iter().flatten() {
                let number = |at: usize| {
                    row[at].as_deref().expect("a value").parse::<i64>().expect("a number")
                };
                *counts.entry(number(0)).or_default() += number(1);
            }
            counts
        };
        let (moves, entries) = (found("moves"), found("entries"));
        let mut wrong = Vec::new();
        for operation in &mut self.operations {
            let table = if operation.kind == Kind::Transfer { &moves } else { &entries };
            let there = table.get(&operation.number).copied().unwrap_or_default();
            let right = match &operation.told {
                Told::Acknowledged => there == operation.rows,
                Told::Refused(_) => there == 0,
                Told::Unknown(_) => there == 0 || there == operation.rows,
            };
            if !right {
                wrong.push(format!("{there} rows: {operation:?}"));
            }
        }
        assert!(wrong.is_empty(), "{} operations:\n{}", wrong.len(), wrong.join("\n"));
        let done = |operation: &&Operation| {
            let table = if operation.kind == Kind::Transfer { &moves } else { &entries };
            matches!(operation.told, Told::Unknown(_)) && table.contains_key(&operation.number)
        };
        let known = self.operations.iter().filter(done).count();
        println!("unknown and there: {known}");
    }

    pub(super) fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        for operation in &self.operations {
            match operation.told {
                Told::Acknowledged => figures.acknowledged += 1,
                Told::Refused(_) => figures.refused += 1,
                Told::Unknown(_) => figures.unknown += 1,
            }
        }
        figures
    }

    /// Figures, and the commonest errors.
    pub(super) fn summary(&self) -> String {
        let mut errors: BTreeMap<&str, u32> = BTreeMap::new();
        for operation in &self.operations {
            if let Told::Refused(text) | Told::Unknown(text) = &operation.told {
                let short = text.split(" (detail").next().unwrap_or(text);
                let short = short.rsplit("ERROR ").next().unwrap_or(short);
                *errors.entry(short).or_default() += 1;
            }
        }
        format!("{:?} {errors:?}", self.figures())
    }
}

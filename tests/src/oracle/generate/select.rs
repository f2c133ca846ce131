//! Owns SELECT as parts that can be left out one by one.

use super::super::compare::{Check, Order};

/// A SELECT.
#[derive(Debug, Clone, Default)]
pub struct Select {
    /// CTEs.
    pub with: Vec<String>,
    /// `distinct`, `distinct on (…)`, or nothing.
    pub distinct: String,
    /// The target list.
    pub targets: Vec<String>,
    /// FROM.
    pub from: String,
    /// WHERE, joined by AND.
    pub conditions: Vec<String>,
    /// GROUP BY.
    pub group: Vec<String>,
    /// HAVING.
    pub having: Option<String>,
    /// More branches: `union all select …`.
    pub more: Vec<String>,
    /// ORDER BY.
    pub order: Vec<String>,
    /// LIMIT, OFFSET or FETCH.
    pub limit: Option<String>,
    /// The rows' order is complete.
    pub is_total: bool,
    /// A row lock.
    pub lock: Option<String>,
}

impl Select {
    /// Its text.
    pub fn text(&self) -> String {
        let mut sql = self.unlimited();
        for part in [&self.limit, &self.lock].into_iter().flatten() {
            sql += &format!(" {part}");
        }
        sql
    }

    /// Its text without LIMIT and OFFSET.
    pub fn unlimited(&self) -> String {
        let mut sql = String::new();
        if !self.with.is_empty() {
            sql += &format!("with {} ", self.with.join(", "));
        }
        sql += &format!("select {}{}", self.distinct, self.targets.join(", "));
        if !self.from.is_empty() {
            sql += &format!(" from {}", self.from);
        }
        if !self.conditions.is_empty() {
            sql += &format!(" where {}", self.conditions.join(" and "));
        }
        if !self.group.is_empty() {
            sql += &format!(" group by {}", self.group.join(", "));
        }
        if let Some(having) = &self.having {
            sql += &format!(" having {having}");
        }
        for more in &self.more {
            sql += &format!(" {more}");
        }
        if !self.order.is_empty() {
            sql += &format!(" order by {}", self.order.join(", "));
        }
        sql
    }

    /// How its answer is compared; `loose` when equal values may look different.
    pub fn check(&self, loose: bool, has_parameters: bool) -> Check {
        let mut check = Check { loose, ..Check::bag() };
        // Before version 18, PostgreSQL sorts the rows of grouping sets as if a constant among the
        // groups were never NULL.
        let has_sets =
            |group: &String| group.starts_with("rollup") || group.starts_with("grouping");
        if self.is_total && !self.group.iter().any(has_sets) {
            check.order = Order::Keys((0..self.targets.len()).collect());
        } else if self.limit.is_some() {
            check.order = Order::Count;
            check.within = (!has_parameters && !loose).then(|| self.unlimited());
        }
        check
    }

    /// Forms of it with one part less.
    pub fn smaller(&self) -> Vec<Select> {
        let mut all = Vec::new();
        let mut without = |change: &dyn Fn(&mut Select)| {
            let mut smaller = self.clone();
            change(&mut smaller);
            if smaller.text() != self.text() {
                all.push(smaller);
            }
        };
        without(&|s| s.lock = None);
        without(&|s| s.limit = None);
        without(&|s| {
            s.order.clear();
            s.is_total = false;
        });
        without(&|s| s.distinct.clear());
        without(&|s| s.having = None);
        without(&|s| s.group.clear());
        for at in 0..self.more.len() {
            without(&|s| drop(s.more.remove(at)));
        }
        for at in 0..self.conditions.len() {
            without(&|s| drop(s.conditions.remove(at)));
        }
        for at in 0..self.targets.len().min(if self.targets.len() > 1 { 20 } else { 0 }) {
            without(&|s| {
                s.targets.remove(at);
                // Ordinals would mean something else.
                let all = s.targets.len();
                if s.is_total {
                    s.order = (1..=all).map(|number| number.to_string()).collect();
                }
            });
        }
        all
    }
}

//! Owns the shapes of queries: rows, aggregates, groups, DISTINCT, windows, set operations, CTEs.

use super::super::compare::Order;
use super::relations::Relation;
use super::select::Select;
use super::values::Ty;
use super::{Generator, Statement};

const DIRECTIONS: [&str; 6] = ["", " asc", " desc", " desc nulls last", " nulls first", " desc"];

impl Generator<'_> {
    /// A random query.
    pub fn query(&mut self) -> Statement {
        let (kind, select) = match self.dice.below(100) {
            0..34 => ("rows", self.rows()),
            34..46 => ("aggregate", self.aggregates()),
            46..62 => ("groups", self.groups()),
            62..69 => ("distinct", self.distinct_rows()),
            69..73 => ("distinct on", self.distinct_on()),
            73..80 => ("window", self.windows()),
            80..87 => ("set operation", self.set_operation()),
            87..94 => ("cte", self.cte()),
            _ => ("odd", self.odd()),
        };
        let loose = self.unruly
            && (kind != "rows" || select.limit.is_some() || select.text().contains("distinct"));
        let has_parameters = self.parameters.as_ref().is_some_and(|values| !values.is_empty());
        let mut check = select.check(loose, has_parameters);
        if kind == "distinct on" {
            check.loose = self.unruly;
        }
        let mut text = select.text();
        if self.dice.chance(1) {
            text = format!("explain (costs off) {text}");
            check.order = Order::Runs;
            check.within = None;
        }
        let mut statement = self.finish(kind, text, check, false);
        statement.parts = Some(select);
        statement
    }

    /// A query without parameters whose order is complete, to be fetched in portions.
    pub fn ordered_query(&mut self) -> Select {
        self.parameters = None;
        loop {
            self.aliases = 0;
            self.unruly = false;
            let mut select = self.rows();
            if !select.targets.iter().any(|target| target.ends_with('*')) && !self.unruly {
                let all = select.targets.len();
                select.order = (1..=all).map(|number| number.to_string()).collect();
                select.is_total = true;
                select.lock = None;
                return select;
            }
        }
    }

    fn conditions(&mut self, relations: &[Relation]) -> Vec<String> {
        let mut conditions = Vec::new();
        if self.dice.chance(45) {
            let relation = relations[self.dice.below(relations.len())].clone();
            conditions.push(self.key_condition(&relation));
        }
        while self.dice.chance(30) {
            conditions.push(self.condition(relations, 2));
        }
        if conditions.len() > 1 && self.dice.chance(50) {
            conditions.reverse();
        }
        conditions
    }

    fn rows(&mut self) -> Select {
        let (relations, from) = self.from(3);
        let conditions = self.conditions(&relations);
        let mut select = Select { from, conditions, ..Select::default() };
        if self.dice.chance(12) {
            select.targets = vec!["*".into()];
            if self.dice.chance(30) {
                let (text, _) = self.any_expression(&relations, 1);
                let name = *self.dice.pick(&["", " as extra", " as i"]);
                select.targets.push(format!("{text}{name}"));
            }
            if self.dice.chance(30) {
                let star = format!("{}.*", relations[0].alias);
                select.targets[0] = star;
            }
        } else {
            for _ in 0..1 + self.dice.below(5) {
                let (mut text, _) = self.any_expression(&relations, 2);
                if self.dice.chance(10) {
                    text += &format!(" as {}", self.dice.pick(&["k", "i", "\"Odd one\"", "x1"]));
                }
                select.targets.push(text);
            }
        }
        if self.dice.chance(8) {
            let target = self.scalar_sub_select(&relations);
            select.targets.push(target);
        }
        self.order_and_limit(&mut select, Some(&relations));
        if select.limit.is_none() && self.dice.chance(3) && !select.from.contains(" full ") {
            select.lock = Some((*self.dice.pick(&["for update", "for share"])).into());
        }
        select
    }

    fn scalar_sub_select(&mut self, relations: &[Relation]) -> String {
        let outer = relations[self.dice.below(relations.len())].clone();
        let table = self.any_table();
        let (inner, from) = self.relation(table);
        let tie = if self.dice.chance(75) { self.tie(&outer, &inner) } else { "true".into() };
        let own = std::slice::from_ref(&inner);
        let value = match self.dice.below(3) {
            0 => "count(*)".to_owned(),
            1 => format!("max({}.i)", inner.alias),
            _ => format!("sum({})", self.expression(own, Ty::Int4, 1)),
        };
        format!("(select {value} from {from} where {tie})")
    }

    /// ORDER BY, LIMIT and OFFSET in many forms.
    fn order_and_limit(&mut self, select: &mut Select, relations: Option<&[Relation]>) {
        let is_star = select.targets.iter().any(|target| target.ends_with('*'));
        if self.dice.chance(6) {
            // By name: a column of the answer, or else of a table.
            select.order.push((*self.dice.pick(&["k", "i", "i desc", "key", "extra"])).into());
        }
        if self.dice.chance(50) {
            if let Some(relations) = relations {
                while self.dice.chance(40) {
                    let (text, _) = self.any_expression(relations, 1);
                    let direction = self.dice.pick(&DIRECTIONS);
                    // A bare constant would be an ordinal.
                    select.order.push(format!("({text}){direction}"));
                }
            }
            if !is_star && (select.order.is_empty() || self.dice.chance(75)) {
                let mut ordinals: Vec<usize> = (1..=select.targets.len()).collect();
                if self.dice.chance(50) {
                    ordinals.reverse();
                }
                for ordinal in ordinals {
                    let direction = self.dice.pick(&DIRECTIONS);
                    select.order.push(format!("{ordinal}{direction}"));
                }
                select.is_total = true;
            }
        }
        if self.dice.chance(28) {
            select.limit = Some(self.limit());
        }
    }

    fn limit(&mut self) -> String {
        let count = self.dice.below(12).to_string();
        let skip = self.dice.below(6).to_string();
        match self.dice.below(14) {
            0 => format!("offset {skip}"),
            1 => format!("offset {skip} limit {count}"),
            2 => format!("limit {count} offset {skip}"),
            3 => format!("offset {skip} rows fetch next {count} rows only"),
            4 => format!("fetch first {count} rows only"),
            5 => format!("limit {count} + 1"),
            6 => (*self.dice.pick(&["limit null", "limit all", "limit 0"])).into(),
            7 | 8 => format!("limit {}", self.known(Ty::Int8, &count)),
            9 => {
                let count = self.known(Ty::Int8, &count);
                format!("limit {count} offset {}", self.known(Ty::Int8, &skip))
            }
            _ => format!("limit {count}"),
        }
    }

    fn aggregates(&mut self) -> Select {
        let (relations, from) = self.from(2);
        let conditions = self.conditions(&relations);
        let mut select = Select { from, conditions, ..Select::default() };
        for _ in 0..1 + self.dice.below(4) {
            let aggregate = self.aggregate(&relations, 1);
            select.targets.push(aggregate);
        }
        if self.dice.chance(10) {
            select.having = Some(format!("count(*) > {}", self.dice.below(20)));
        }
        if self.dice.chance(6) {
            select.limit = Some(self.limit());
            select.is_total = true;
        }
        select
    }

    fn groups(&mut self) -> Select {
        let (relations, from) = self.from(2);
        let conditions = self.conditions(&relations);
        let mut select = Select { from, conditions, ..Select::default() };
        let mut groups = Vec::new();
        if self.dice.chance(35) {
            groups.push(relations[0].column(0));
        }
        while groups.is_empty() || (groups.len() < 3 && self.dice.chance(30)) {
            groups.push(self.grouping(&relations).0);
        }
        for group in &groups {
            if self.dice.chance(80) {
                select.targets.push(group.clone());
            }
        }
        let shown = select.targets.len();
        for _ in 0..1 + self.dice.below(3) {
            let aggregate = self.aggregate(&relations, 1);
            select.targets.push(aggregate);
        }
        select.group = self.group_by(groups, &mut select.targets, shown);
        if self.dice.chance(20) {
            let aggregate = ["count(*)", "max(1)"][self.dice.below(2)];
            select.having = Some(format!("{aggregate} > {}", self.dice.below(4)));
        }
        self.order_and_limit(&mut select, None);
        select
    }

    /// The groups as they are, by ordinal or by alias; sometimes as grouping sets.
    fn group_by(
        &mut self,
        groups: Vec<String>,
        targets: &mut [String],
        shown: usize,
    ) -> Vec<String> {
        let mut written = Vec::new();
        for group in groups {
            let at = targets[..shown].iter().position(|target| *target == group);
            written.push(match (at, self.dice.below(10)) {
                (Some(at), 0 | 1) => (at + 1).to_string(),
                (Some(at), 2) => {
                    let name = format!("g{at}");
                    targets[at] += &format!(" as {name}");
                    name
                }
                _ => group,
            });
        }
        match self.dice.below(16) {
            0 => vec![format!("rollup ({})", written.join(", "))],
            1 => vec![format!("grouping sets (({}), ())", written.join(", "))],
            _ => written,
        }
    }

    fn distinct_rows(&mut self) -> Select {
        let (relations, from) = self.from(2);
        let conditions = self.conditions(&relations);
        let mut select =
            Select { from, conditions, distinct: "distinct ".into(), ..Select::default() };
        if self.dice.chance(25) {
            select.targets.push(relations[0].column(0));
        }
        while select.targets.is_empty() || (select.targets.len() < 3 && self.dice.chance(40)) {
            let (target, _) = self.grouping(&relations);
            select.targets.push(target);
        }
        self.order_and_limit(&mut select, None);
        select
    }

    fn distinct_on(&mut self) -> Select {
        let table = self.any_table();
        let (relation, from) = self.relation(table);
        let relations = [relation];
        let conditions = self.conditions(&relations);
        let (group, _) = match self.dice.chance(40) {
            true => (relations[0].column(0), Ty::Int4),
            false => self.grouping(&relations),
        };
        let (key, row) = (relations[0].column(0), relations[0].column(1));
        let targets = vec![group.clone(), key.clone(), row.clone()];
        let direction = self.dice.pick(&DIRECTIONS);
        let order = vec![format!("{group}{direction}"), row, key];
        let distinct = format!("distinct on ({group}) ");
        let mut select = Select { from, conditions, distinct, targets, order, ..Select::default() };
        select.is_total = true;
        if self.dice.chance(20) {
            select.limit = Some(self.limit());
        }
        select
    }

    fn windows(&mut self) -> Select {
        let (relations, from) = self.from(2);
        let conditions = self.conditions(&relations);
        let mut select = Select { from, conditions, ..Select::default() };
        select.targets = relations.iter().map(|relation| relation.column(0)).collect();
        let mut partition = Vec::new();
        if self.dice.chance(65) {
            partition.push(relations[0].column(0));
        }
        if self.dice.chance(25) {
            partition.push(self.grouping(&relations).0);
        }
        let partition = match partition.is_empty() {
            true => String::new(),
            false => format!("partition by {} ", partition.join(", ")),
        };
        // Rows that are equal in all of these are equal for the window too.
        let all: Vec<String> = relations
            .iter()
            .flat_map(|relation| {
                [relation.column(0), relation.column(relation.columns.len().min(2) - 1)]
            })
            .collect();
        let order = format!("order by {}", all.join(", "));
        let number = self.expression(&relations, Ty::Int4, 0);
        select.targets.push(match self.dice.below(8) {
            0 => format!("rank() over ({partition}{order})"),
            1 => format!("sum({number}) over ({partition})"),
            2 => format!("count(*) over ({partition})"),
            3 => format!("dense_rank() over ({partition}order by {number})"),
            4 => format!("max({number}) over ({partition}{order})"),
            5 => format!("count({number}) filter (where {number} > 2) over ({partition})"),
            6 => format!("ntile(3) over ({partition}{order})"),
            _ => format!("row_number() over ({partition}{order})"),
        });
        self.order_and_limit(&mut select, None);
        select
    }

    fn set_operation(&mut self) -> Select {
        let first = self.any_table();
        let (relation, from) = self.relation(first);
        let relations = [relation];
        let conditions = self.conditions(&relations);
        let mut select = Select { from, conditions, ..Select::default() };
        let key_type = relations[0].columns[0].1;
        select.targets = vec![relations[0].column(0)];
        let both = self.dice.chance(50);
        if both {
            select.targets.push(relations[0].column(1));
        }
        for _ in 0..1 + self.dice.below(2) {
            let operator = *self.dice.pick(&OPERATORS);
            let branch = self.branch(first, key_type, both);
            select.more.push(format!("{operator} {branch}"));
        }
        self.order_and_limit(&mut select, None);
        select
    }

    fn branch(&mut self, first: usize, key_type: Ty, both: bool) -> String {
        let table = if self.dice.chance(60) { first } else { self.any_table() };
        let (relation, from) = self.relation(table);
        let fits = super::relations::comparable(relation.columns[0].1, key_type);
        let key = if fits { relation.column(0) } else { format!("null::{}", key_type.sql()) };
        let more = if both { format!(", {}", relation.column(1)) } else { String::new() };
        let condition = self.key_condition(&relation);
        format!("select {key}{more} from {from} where {condition}")
    }

    fn cte(&mut self) -> Select {
        let table = self.any_table();
        let (inner, text) = self.sub_select(table);
        let body = text.rsplit_once(' ').map_or("", |(body, _)| body).to_owned();
        let material = *self.dice.pick(&["", "", "materialized ", "not materialized "]);
        // A name of its own, or one that hides a table.
        let hidden = self.dice.chance(15);
        let name = if hidden { self.world.tables[table].name.clone() } else { "cte".into() };
        let alias = self.alias();
        let relation = Relation { alias: alias.clone(), table: None, ..inner };
        let mut relations = vec![relation];
        let mut from = format!("{name} {alias}");
        if self.dice.chance(40) {
            let other = self.any_table();
            let (second, second_from) = self.relation(other);
            let tie = self.tie(&relations[0], &second);
            if !(hidden && other == table) {
                from += &format!(" join {second_from} on {tie}");
                relations.push(second);
            }
        }
        let conditions = self.conditions(&relations);
        let with = vec![format!("{name} as {material}{body}")];
        let mut select = Select { with, from, conditions, ..Select::default() };
        if self.dice.chance(40) {
            select.targets = vec!["count(*)".into(), self.aggregate(&relations, 0)];
        } else {
            for _ in 0..1 + self.dice.below(3) {
                let (target, _) = self.any_column(&relations);
                select.targets.push(target);
            }
            self.order_and_limit(&mut select, None);
        }
        select
    }

    /// What looks like a query of a table and is none, and the like.
    fn odd(&mut self) -> Select {
        let table = self.any_table();
        let (relation, from) = self.relation(table);
        let (key, row) = (relation.column(0), relation.column(1));
        let condition = self.key_condition(&relation);
        let relations = [relation];
        let targets = match self.dice.below(7) {
            0 => vec!["1".to_owned(), self.typed(Ty::Text, "x")],
            1 => vec![format!("{key}"), format!("generate_series(1, 2)")],
            2 => vec![format!("array(select {key} union all select {key})")],
            3 => vec![format!("{condition}"), row],
            4 => vec![format!("count(*) filter (where {condition})"), "count(*)".into()],
            5 => vec![format!("case when {condition} then 1 else 0 end"), key.clone()],
            _ => vec![self.scalar_sub_select(&relations), row],
        };
        if self.dice.chance(20) {
            let with = vec![
                "recursive r (n) as (select 1 union all select n + 1 from r where n < 4)".into(),
            ];
            return Select {
                with,
                targets: vec!["n".into()],
                from: "r".into(),
                ..Select::default()
            };
        }
        Select { targets, from, ..Select::default() }
    }
}

const OPERATORS: [&str; 7] =
    ["union all", "union all", "union", "except", "intersect", "except all", "intersect all"];

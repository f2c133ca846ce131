//! Owns expressions of any type over the columns of relations. None of them fails on any row:
//! which rows are looked at is the server's choice.

use super::Generator;
use super::relations::Relation;
use super::values::Ty;

impl Generator<'_> {
    /// A column of one of the relations.
    pub fn any_column(&mut self, relations: &[Relation]) -> (String, Ty) {
        let relation = &relations[self.dice.below(relations.len())];
        let at = self.dice.below(relation.columns.len());
        self.named(relations, relation, at)
    }

    /// A column of this type, if there is any.
    pub fn column_of(&mut self, relations: &[Relation], ty: Ty) -> Option<String> {
        let mut found = Vec::new();
        for relation in relations {
            for (at, (_, column)) in relation.columns.iter().enumerate() {
                if *column == ty {
                    found.push((relation, at));
                }
            }
        }
        if found.is_empty() {
            return None;
        }
        let (relation, at) = *self.dice.pick(&found);
        Some(self.named(relations, relation, at).0)
    }

    /// With its relation's alias, or without when there is only one.
    fn named(&mut self, relations: &[Relation], relation: &Relation, at: usize) -> (String, Ty) {
        let (name, ty) = &relation.columns[at];
        self.unruly |= ty.is_unruly();
        let bare = relations.len() == 1 && self.dice.chance(30);
        (if bare { name.clone() } else { relation.column(at) }, *ty)
    }

    /// An expression of a type of its own choice.
    pub fn any_expression(&mut self, relations: &[Relation], depth: u32) -> (String, Ty) {
        if depth == 0 || self.dice.chance(55) {
            return self.any_column(relations);
        }
        let types = [Ty::Int4, Ty::Int4, Ty::Text, Ty::Money, Ty::Bool, Ty::Int8, Ty::Date];
        let ty = *self.dice.pick(&types);
        (self.expression(relations, ty, depth), ty)
    }

    /// An expression of this type.
    pub fn expression(&mut self, relations: &[Relation], ty: Ty, depth: u32) -> String {
        let column = self.column_of(relations, ty);
        if depth == 0 || self.dice.chance(35) {
            if let Some(column) = column {
                return column;
            }
            let value = self.value(ty);
            return self.typed(ty, &value);
        }
        let part = |generator: &mut Self, ty| generator.expression(relations, ty, depth - 1);
        match (ty, self.dice.below(6)) {
            (Ty::Int4, 0) => format!("({} % 7)", part(self, Ty::Int4)),
            (Ty::Int4, 1) => format!("length({})", part(self, Ty::Text)),
            (Ty::Int4, 2) => format!("({} % 100 + {} % 100)", part(self, ty), part(self, ty)),
            (Ty::Int4, 3) => format!("- ({} % 50)", part(self, ty)),
            (Ty::Int8, 0) => format!("({}::bigint)", part(self, Ty::Int4)),
            (Ty::Int8, 1) => format!("abs({} % 1000)", part(self, Ty::Int8)),
            (Ty::Money, 0) => format!("(({}) + 1.25)", part(self, ty)),
            (Ty::Money, 1) => format!("round({}, 1)", part(self, ty)),
            (Ty::Money, 2) => format!("(({}) * 2)", part(self, ty)),
            (Ty::Text, 0) => format!("upper({})", part(self, ty)),
            (Ty::Text, 1) => format!("lower({})", part(self, ty)),
            (Ty::Text, 2) => format!("({} || {})", part(self, ty), part(self, ty)),
            (Ty::Text, 3) => format!("({}::text)", part(self, Ty::Int4)),
            (Ty::Date, 0) => {
                let date = part(self, Ty::Date);
                format!("(case when isfinite({date}) then {date} + 1 end)")
            }
            (Ty::Bool, 0 | 1) => format!("({})", self.condition(relations, depth - 1)),
            (_, 4) => {
                let (condition, a) = (self.condition(relations, depth - 1), part(self, ty));
                let b = part(self, ty);
                format!("case when {condition} then {a} else {b} end")
            }
            (_, 5) if ty != Ty::Char => {
                let (a, value) = (part(self, ty), self.value(ty));
                let b = self.typed(ty, &value);
                format!("coalesce({a}, {b})")
            }
            _ => match column {
                Some(column) => column,
                None => {
                    let value = self.value(ty);
                    self.typed(ty, &value)
                }
            },
        }
    }

    /// A function or operator on a column that GROUP BY and DISTINCT are asked for.
    pub fn grouping(&mut self, relations: &[Relation]) -> (String, Ty) {
        if self.dice.chance(75) {
            return self.any_column(relations);
        }
        let ty = *self.dice.pick(&[Ty::Int4, Ty::Text, Ty::Bool]);
        let saved = self.parameters.take();
        // A parameter in GROUP BY is not the same expression as another one in the target list.
        let text = self.expression(relations, ty, 1);
        self.parameters = saved;
        (text, ty)
    }

    /// An aggregate over the relations' rows, and its type when that can be ordered.
    pub fn aggregate(&mut self, relations: &[Relation], depth: u32) -> String {
        if depth > 0 && self.dice.chance(25) {
            return self.over_aggregate(relations);
        }
        let filter = match self.dice.below(8) {
            0 => format!(" filter (where {})", self.condition(relations, 1)),
            _ => String::new(),
        };
        let unruly = self.unruly;
        let (column, ty) = self.any_column(relations);
        let call = match self.dice.below(14) {
            0 | 1 => "count(*)".into(),
            2 => format!("count({column})"),
            3 if self.dice.chance(70) => format!("count(distinct {column})"),
            4 | 5 => {
                let number = self.number(relations);
                // What was added up looks as its parts make it, whatever stood for them.
                self.unruly = unruly;
                format!("sum({number})")
            }
            6 => {
                let number = self.number(relations);
                self.unruly = unruly;
                format!("avg({number})")
            }
            7 | 8 if has_extremes(ty) => format!("min({column})"),
            9 | 10 if has_extremes(ty) => format!("max({column})"),
            11 => {
                let condition = self.condition(relations, 0);
                let name = if self.dice.chance(50) { "bool_or" } else { "bool_and" };
                format!("{name}({condition})")
            }
            12 => self.listing(relations),
            13 => self.rare_aggregate(relations),
            _ => "count(*)".into(),
        };
        format!("{call}{filter}")
    }

    /// A column of a type that can be added up.
    fn number(&mut self, relations: &[Relation]) -> String {
        let types = [Ty::Int4, Ty::Int8, Ty::Money, Ty::Numeric, Ty::Int4, Ty::Money, Ty::Float];
        let ty = *self.dice.pick(&types);
        match self.column_of(relations, ty) {
            Some(column) if self.dice.chance(80) => column,
            _ => self.expression(relations, Ty::Int4, 1),
        }
    }

    fn listing(&mut self, relations: &[Relation]) -> String {
        let order: Vec<String> = relations
            .iter()
            .flat_map(|relation| {
                (0..relation.columns.len().min(2)).map(|at| relation.column(at)).collect::<Vec<_>>()
            })
            .collect();
        let (column, ty) = self.any_column(relations);
        let order = order.join(", ");
        match ty.is_text() {
            true => format!("string_agg({column}, ',' order by {order}, {column})"),
            false if ty == Ty::IntArray => format!("count({column})"),
            // The binary format of an array of a made type has an OID in it.
            false if ty == Ty::Mood => format!("array_agg({column}::text order by {order})"),
            false => format!("array_agg({column} order by {order})"),
        }
    }

    fn rare_aggregate(&mut self, relations: &[Relation]) -> String {
        let number = self.expression(relations, Ty::Int4, 0);
        match self.dice.below(7) {
            0 => format!("bit_or({number})"),
            1 => format!("bit_and({number})"),
            2 => format!("variance({number})"),
            3 => format!("sum(distinct {number})"),
            4 => format!("percentile_disc(0.5) within group (order by {number})"),
            5 => format!("stddev_pop({number})"),
            _ => format!("every({number} > 2)"),
        }
    }

    fn over_aggregate(&mut self, relations: &[Relation]) -> String {
        let number = self.number(relations);
        let unruly = self.unruly;
        let other = self.aggregate(relations, 0);
        let text = match self.dice.below(7) {
            0 => format!("coalesce(sum({number}), 0)"),
            1 => format!("sum({number}) + 1"),
            2 => format!("round(avg({number})::numeric, 2)"),
            3 => "case when count(*) > 3 then 'many' else count(*)::text end".to_owned(),
            4 => format!("sum({number})::numeric / nullif(count(*), 0)"),
            5 => format!("({other}) is null"),
            _ => "count(*) * 2 + 1".into(),
        };
        self.unruly |= unruly;
        text
    }
}

/// Whether `min` and `max` exist.
pub fn has_extremes(ty: Ty) -> bool {
    !matches!(ty, Ty::Bool | Ty::Jsonb | Ty::Uuid)
}

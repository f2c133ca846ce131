//! Owns conditions: the key compared in every disguise, other columns, sub-selects.

use super::relations::{Relation, comparable};
use super::values::Ty;
use super::{Generator, quoted};

impl Generator<'_> {
    /// A condition over the relations.
    pub fn condition(&mut self, relations: &[Relation], depth: u32) -> String {
        if depth > 0 {
            match self.dice.below(20) {
                0 | 1 => {
                    let a = self.condition(relations, depth - 1);
                    let b = self.condition(relations, depth - 1);
                    return format!("({a} or {b})");
                }
                2 | 3 => {
                    let a = self.condition(relations, depth - 1);
                    let b = self.condition(relations, depth - 1);
                    return format!("{a} and {b}");
                }
                4 => return format!("not ({})", self.condition(relations, depth - 1)),
                5 => return format!("not {}", self.comparison(relations)),
                6 => {
                    let test = *self.dice.pick(&TESTS);
                    return format!("({}) {test}", self.condition(relations, depth - 1));
                }
                7 => return self.with_sub_select(relations),
                _ => {}
            }
        }
        if self.dice.chance(40) {
            let relation = relations[self.dice.below(relations.len())].clone();
            return self.key_condition(&relation);
        }
        self.comparison(relations)
    }

    /// The key of a relation compared with something.
    pub fn key_condition(&mut self, relation: &Relation) -> String {
        let (key, ty) = (relation.column(0), relation.columns[0].1);
        let (a, b, c) = (self.value(ty), self.value(ty), self.value(ty));
        match self.dice.below(34) {
            0..8 => format!("{key} = {}", self.known(ty, &a)),
            8 | 9 => format!("{} = {key}", self.known(ty, &a)),
            10..13 => {
                let (a, b, c) = (self.known(ty, &a), self.known(ty, &b), self.known(ty, &c));
                format!("{key} in ({a}, {b}, {c})")
            }
            13 => format!("{key} in ({})", self.known(ty, &a)),
            14 => self.any_array(&key, ty, [&a, &b, &c]),
            15 => format!("{key} between {} and {}", self.known(ty, &a), self.known(ty, &b)),
            16 => format!("{key} > {}", self.known(ty, &a)),
            17 => format!("{key} <= {} and {key} >= {}", self.known(ty, &a), self.known(ty, &b)),
            18 => format!("({key} = {} or {key} = {})", self.known(ty, &a), self.known(ty, &b)),
            19 => format!("{key} is not distinct from {}", self.known(ty, &a)),
            20 => format!("{key} <> {}", self.known(ty, &a)),
            21 => format!("not {key} = {}", self.known(ty, &a)),
            22 => format!("({key} = {}) is not true", self.known(ty, &a)),
            23 => format!("({key} = {}) is true", self.known(ty, &a)),
            24 => format!("{key} = null"),
            25 => format!("{key} is {}null", if self.dice.chance(50) { "not " } else { "" }),
            26 => format!("coalesce({key}, {}) = {}", self.typed(ty, &a), self.typed(ty, &b)),
            27 => format!("{key} not in ({}, {})", self.known(ty, &a), self.known(ty, &b)),
            28 => format!("case when {key} = {} then true else false end", self.known(ty, &a)),
            29 => self.key_expression(&key, ty, &a),
            30 if relation.columns.len() > 1 => {
                let (other, ty2) = (relation.column(1), relation.columns[1].1);
                let d = self.value(ty2);
                format!("({key}, {other}) = ({}, {})", self.known(ty, &a), self.known(ty2, &d))
            }
            31 if relation.columns.len() > 1 => self.rows_of(relation, [&a, &b, &c]),
            32 if relation.columns.len() > 1 => {
                let (other, ty2) = (relation.column(1), relation.columns[1].1);
                let d = self.value(ty2);
                format!("({key}, {other}) >= ({}, {})", self.known(ty, &a), self.known(ty2, &d))
            }
            _ => format!("{key} = {} and {key} = {}", self.known(ty, &a), self.known(ty, &b)),
        }
    }

    fn rows_of(&mut self, relation: &Relation, keys: [&String; 3]) -> String {
        let ((_, ty), (_, other)) = (&relation.columns[0], &relation.columns[1]);
        let (ty, other) = (*ty, *other);
        let rows: Vec<String> = keys
            .into_iter()
            .map(|key| {
                let value = self.value(other);
                format!("({}, {})", self.known(ty, key), self.known(other, &value))
            })
            .collect();
        format!("({}, {}) in ({})", relation.column(0), relation.column(1), rows.join(", "))
    }

    /// `= ANY` of an array.
    fn any_array(&mut self, key: &str, ty: Ty, values: [&String; 3]) -> String {
        match self.dice.below(3) {
            0 => {
                let items: Vec<String> = values.iter().map(|value| self.typed(ty, value)).collect();
                format!("{key} = any (array[{}])", items.join(", "))
            }
            1 if ty == Ty::Int4 && self.parameters.is_some() => {
                let list: Vec<&str> = values.iter().map(|value| value.as_str()).collect();
                let list = format!("{{{}}}", list.join(","));
                self.known_array(key, &list)
            }
            _ => {
                let items: Vec<String> = values
                    .iter()
                    .map(|value| format!("\"{}\"", value.replace('"', "\\\"")))
                    .collect();
                format!("{key} = any ({})", quoted(&format!("{{{}}}", items.join(","))))
            }
        }
    }

    fn known_array(&mut self, key: &str, list: &str) -> String {
        let array = self.known(Ty::IntArray, list);
        format!("{key} = any ({array})")
    }

    /// The key, or the other side, is an expression.
    fn key_expression(&mut self, key: &str, ty: Ty, value: &str) -> String {
        match ty {
            Ty::Int4 | Ty::Int8 => match self.dice.below(5) {
                0 => format!("{key} % 3 = 1"),
                1 => format!("{key} + 1 = {}", self.known(Ty::Int4, value)),
                2 => format!("{key} = {} + 1", self.known(Ty::Int4, value)),
                3 => format!("{key} in (1, 2 + 3, {value})"),
                _ => format!("{key} = {value}.0"),
            },
            Ty::Text | Ty::TextC | Ty::Varchar => match self.dice.below(3) {
                0 => format!("lower({key}) = lower({})", self.literal(ty, value)),
                1 => format!("{key} = {} || ''", quoted(value)),
                _ => format!("{key} like 'a%'"),
            },
            Ty::Date => format!("{key} = {}::timestamptz::date", quoted(value)),
            _ => format!("{key}::text = {}", quoted(value)),
        }
    }

    /// A comparison of any column.
    fn comparison(&mut self, relations: &[Relation]) -> String {
        let (column, ty) = self.any_column(relations);
        let value = self.value(ty);
        match ty {
            Ty::Bool => match self.dice.below(3) {
                0 => column,
                1 => format!("{column} is not true"),
                _ => format!("{column} = {}", self.known(ty, &value)),
            },
            Ty::Jsonb => format!("{column} is not null"),
            _ => match self.dice.below(12) {
                0 => format!("{column} is null"),
                1 => format!("{column} is not null"),
                2 => {
                    let other = self.value(ty);
                    let (a, b) = (self.known(ty, &value), self.known(ty, &other));
                    format!("{column} between {a} and {b}")
                }
                3 => {
                    let other = self.value(ty);
                    format!("{column} in ({}, {})", self.known(ty, &value), self.known(ty, &other))
                }
                4 if ty.is_text() => format!("{column} like '%a%'"),
                5 => format!("{column} is distinct from {}", self.known(ty, &value)),
                6 => match self.column_of(relations, ty) {
                    Some(other) => format!("{column} >= {other}"),
                    None => format!("{column} = {}", self.known(ty, &value)),
                },
                _ => {
                    let operator = *self.dice.pick(&["=", "<", ">", "<=", ">=", "<>"]);
                    format!("{column} {operator} {}", self.known(ty, &value))
                }
            },
        }
    }

    /// A condition with a sub-select: correlated by the key, by something else, or not at all.
    fn with_sub_select(&mut self, relations: &[Relation]) -> String {
        let outer = relations[self.dice.below(relations.len())].clone();
        let table = self.any_table();
        let (inner, from) = self.relation(table);
        let not = if self.dice.chance(40) { "not " } else { "" };
        let own = match self.dice.below(3) {
            0 => format!(" and {}", self.key_condition(&inner)),
            1 => format!(" and {}", self.comparison(std::slice::from_ref(&inner))),
            _ => String::new(),
        };
        match self.dice.below(5) {
            0 | 1 => {
                let tie = self.tie(&outer, &inner);
                format!("{not}exists (select 1 from {from} where {tie}{own})")
            }
            2 | 3 => {
                let Some((a, b)) = self.comparable_columns(&outer, &inner) else {
                    return format!("{not}exists (select 1 from {from} where true{own})");
                };
                let (column, of) = (outer.column(a), inner.column(b));
                format!("{column} {not}in (select {of} from {from} where true{own})")
            }
            _ => {
                let Some(column) = self.column_of(std::slice::from_ref(&outer), Ty::Int4) else {
                    return format!("{not}exists (select 1 from {from} where true{own})");
                };
                let number = if self.dice.chance(50) { "count(*)" } else { "max(i)" };
                let number = number.replace("(i)", &format!("({}.i)", inner.alias));
                format!("{column} <= (select {number} from {from} where true{own})")
            }
        }
    }

    fn comparable_columns(&mut self, outer: &Relation, inner: &Relation) -> Option<(usize, usize)> {
        if comparable(outer.columns[0].1, inner.columns[0].1) && self.dice.chance(60) {
            return Some((0, 0));
        }
        let mut pairs = Vec::new();
        for (a, (_, ty)) in outer.columns.iter().enumerate() {
            for (b, (_, other)) in inner.columns.iter().enumerate() {
                if comparable(*ty, *other) && *ty != Ty::Jsonb {
                    pairs.push((a, b));
                }
            }
        }
        if pairs.is_empty() { None } else { Some(*self.dice.pick(&pairs)) }
    }
}

const TESTS: [&str; 6] =
    ["is true", "is not true", "is false", "is not false", "is unknown", "is not unknown"];

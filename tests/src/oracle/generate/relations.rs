//! Owns what stands in FROM: tables, joins of them, sub-selects, VALUES and functions.

use super::Generator;
use super::values::Ty;
use super::world::Role;

/// Something rows come from, as its columns can be named.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Its alias.
    pub alias: String,
    /// Its columns; of a table the first is the key, the second the row's number.
    pub columns: Vec<(String, Ty)>,
    /// Its table, when it is one.
    pub table: Option<usize>,
    /// Rows may be missing here: the inner side of an outer join.
    pub nullable: bool,
}

impl Relation {
    /// A column as it stands in an expression.
    pub fn column(&self, at: usize) -> String {
        format!("{}.{}", self.alias, self.columns[at].0)
    }
}

impl Generator<'_> {
    /// A table of the world; mostly a spread one.
    pub fn any_table(&mut self) -> usize {
        let count = self.world.tables.len();
        if self.dice.chance(85) { self.dice.below(count - 2) } else { self.dice.below(count) }
    }

    /// A table that shares its key with this one, or this one.
    fn neighbour(&mut self, table: usize) -> usize {
        let role = self.world.tables[table].role;
        let same: Vec<usize> =
            (0..self.world.tables.len()).filter(|at| self.world.tables[*at].role == role).collect();
        *self.dice.pick(&same)
    }

    /// A table under a new alias, and its text in FROM.
    pub fn relation(&mut self, table: usize) -> (Relation, String) {
        let world = self.world;
        let made = &world.tables[table];
        let alias = self.alias();
        let prefix = if self.dice.chance(5) { "public." } else { "" };
        let word = if self.dice.chance(30) { "as " } else { "" };
        let text = format!("{prefix}{} {word}{alias}", made.name);
        let columns = made.columns.clone();
        (Relation { alias, columns, table: Some(table), nullable: false }, text)
    }

    /// FROM with one table, or more.
    pub fn from(&mut self, most: usize) -> (Vec<Relation>, String) {
        let first = self.any_table();
        let (relation, mut text) = self.relation(first);
        let mut relations = vec![relation];
        while relations.len() < most && self.dice.chance(40) {
            self.join(&mut relations, &mut text);
        }
        (relations, text)
    }

    fn join(&mut self, relations: &mut Vec<Relation>, text: &mut String) {
        let base = relations[self.dice.below(relations.len())].clone();
        let next = match base.table {
            Some(table) if self.dice.chance(60) => self.neighbour(table),
            _ if self.dice.chance(40) => self.world.tables.len() - 2,
            _ => self.any_table(),
        };
        let (mut relation, from) = match self.dice.below(20) {
            0 => self.values_relation(),
            1 => self.function_relation(),
            2 | 3 => self.sub_select(next),
            _ => self.relation(next),
        };
        let tie = self.tie(&base, &relation);
        let more = match self.dice.below(5) {
            0 => format!(" and {}", self.condition(&[base, relation.clone()], 1)),
            _ => String::new(),
        };
        match self.dice.below(12) {
            0..5 => *text += &format!(" join {from} on {tie}{more}"),
            5..8 => {
                relation.nullable = true;
                *text += &format!(" left join {from} on {tie}{more}");
            }
            8 => {
                relations.iter_mut().for_each(|relation| relation.nullable = true);
                *text += &format!(" right join {from} on {tie}{more}");
            }
            9 => {
                relations.iter_mut().for_each(|relation| relation.nullable = true);
                relation.nullable = true;
                *text += &format!(" full join {from} on {tie}");
            }
            _ => *text += &format!(" cross join {from}"),
        }
        relations.push(relation);
    }

    /// A condition that ties two relations, by their keys or by something else.
    pub fn tie(&mut self, left: &Relation, right: &Relation) -> String {
        let keys_fit = comparable(left.columns[0].1, right.columns[0].1);
        if keys_fit && self.dice.chance(75) {
            let (a, b) = (left.column(0), right.column(0));
            return if self.dice.chance(50) { format!("{a} = {b}") } else { format!("{b} = {a}") };
        }
        let mut pairs = Vec::new();
        for (a, (_, left_type)) in left.columns.iter().enumerate() {
            for (b, (_, right_type)) in right.columns.iter().enumerate() {
                if comparable(*left_type, *right_type) {
                    pairs.push((a, b));
                }
            }
        }
        match pairs.is_empty() {
            true => "true".into(),
            false => {
                let (a, b) = *self.dice.pick(&pairs);
                let operator = if self.dice.chance(85) { "=" } else { "<" };
                // A full join needs an equality it can hash or merge.
                format!("{} {operator} {}", left.column(a), right.column(b))
            }
        }
    }

    fn values_relation(&mut self) -> (Relation, String) {
        let alias = self.alias();
        let rows: Vec<String> = (0..3)
            .map(|at| {
                let value = self.value(Ty::Int4);
                format!("({value}, {at})")
            })
            .collect();
        let text = format!("(values {}) {alias} (k, i)", rows.join(", "));
        let columns = vec![("k".into(), Ty::Int4), ("i".into(), Ty::Int4)];
        (Relation { alias, columns, table: None, nullable: false }, text)
    }

    fn function_relation(&mut self) -> (Relation, String) {
        let alias = self.alias();
        let text = format!("generate_series(1, {}) {alias} (k)", 2 + self.dice.below(4));
        let columns = vec![("k".into(), Ty::Int4)];
        (Relation { alias, columns, table: None, nullable: false }, text)
    }

    /// `(SELECT …) alias`.
    pub fn sub_select(&mut self, table: usize) -> (Relation, String) {
        let (inner, from) = self.relation(table);
        let alias = self.alias();
        if self.dice.chance(20) {
            let (key, ty) = inner.columns[0].clone();
            let number = *self.dice.pick(&["count(*)", "count(distinct i)", "max(i)::bigint"]);
            let text = format!("(select {key}, {number} as i from {from} group by {key}) {alias}");
            let columns = vec![(key, ty), ("i".into(), Ty::Int8)];
            return (Relation { alias, columns, table: None, nullable: false }, text);
        }
        let mut kept: Vec<usize> = vec![0, 1];
        kept.extend((2..inner.columns.len()).filter(|_| self.dice.chance(50)));
        if self.dice.chance(15) {
            kept.swap(0, 1);
        }
        let condition = match self.dice.below(3) {
            0 => format!(" where {}", self.condition(std::slice::from_ref(&inner), 1)),
            1 => format!(" where {}", self.key_condition(&inner)),
            _ => String::new(),
        };
        let tail = match self.dice.below(14) {
            0 => {
                let order = format!("{}, {}", inner.column(0), inner.column(1));
                format!(" order by {order} limit {}", 1 + self.dice.below(9))
            }
            1 => " offset 0".into(),
            _ => String::new(),
        };
        let distinct = if self.dice.chance(10) { "distinct " } else { "" };
        let names: Vec<String> = kept.iter().map(|at| inner.column(*at)).collect();
        let text =
            format!("(select {distinct}{} from {from}{condition}{tail}) {alias}", names.join(", "));
        let columns = kept.iter().map(|at| inner.columns[*at].clone()).collect();
        (Relation { alias, columns, table: None, nullable: false }, text)
    }

    /// Whether a table is on every shard, or on one.
    pub fn is_spread(&self, table: usize) -> bool {
        matches!(self.world.tables[table].role, Role::Spread(_))
    }
}

/// Whether values of these types can be compared without a cast.
pub fn comparable(a: Ty, b: Ty) -> bool {
    let class = |ty: Ty| match ty {
        Ty::Int4 | Ty::Int8 => 1,
        Ty::Money | Ty::Numeric => 2,
        Ty::Text | Ty::Varchar => 3,
        Ty::TextC => 4,
        Ty::Char => 5,
        Ty::Bool => 6,
        Ty::Date => 7,
        Ty::Tstz => 8,
        Ty::Float => 9,
        Ty::Jsonb => 10,
        Ty::Uuid => 11,
        Ty::IntArray => 12,
        Ty::Mood => 13,
    };
    class(a) == class(b)
}

//! Owns a random schema: distributions, tables, and the rows they begin with.

use super::Dice;
use super::quoted;
use super::values::{PALETTE, Ty};
use crate::shards::layout::Layout;
use crate::shards::{Options, Shards};

/// Numbers of rows that statements insert begin here.
pub const FIRST_NEW_ROW: i64 = 10_000;
/// Rows of a table in the beginning.
const ROWS: usize = 24;

/// Where a table lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Spread by the distribution of this number.
    Spread(usize),
    /// A copy on every shard.
    Copied,
    /// On one shard.
    Alone,
}

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub role: Role,
    /// Columns: the first holds the key, the second the number of the row.
    pub columns: Vec<(String, Ty)>,
    /// The key alone is unique.
    pub key_is_unique: bool,
}

/// How a distribution is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By the hash of the key.
    Hash,
    /// By the hash of the key and the row's number together.
    HashOfTwo,
    /// By ranges of the key.
    Range,
    /// By single keys.
    List,
}

/// A schema.
#[derive(Debug, Clone)]
pub struct World {
    /// Its tables.
    pub tables: Vec<Table>,
    /// Type of each distribution's key, and how it is spread.
    pub distributions: Vec<(Ty, Way)>,
}

impl World {
    /// A random one.
    pub fn new(dice: &mut Dice) -> World {
        let hashed = [Ty::Int8, Ty::Int4, Ty::Text, Ty::Uuid, Ty::Varchar, Ty::Date, Ty::Tstz];
        let ranged = [Ty::Int4, Ty::Date, Ty::Int8, Ty::TextC];
        let listed = [Ty::Int4, Ty::Text];
        let last = match dice.chance(50) {
            true => (*dice.pick(&hashed), Way::HashOfTwo),
            false => (*dice.pick(&listed), Way::List),
        };
        let distributions = vec![
            (Ty::Int8, Way::Hash),
            (*dice.pick(&hashed), Way::Hash),
            (*dice.pick(&ranged), Way::Range),
            last,
        ];
        let mut tables = Vec::new();
        for (number, (ty, _)) in distributions.iter().enumerate() {
            for letter in ["a", "b", "c"].iter().take(if number >= 2 { 1 } else { 3 }) {
                let name = format!("t{number}{letter}");
                tables.push(table(dice, &name, Role::Spread(number), *ty));
            }
        }
        tables.push(table(dice, "refs", Role::Copied, Ty::Int4));
        tables.push(table(dice, "home", Role::Alone, Ty::Int8));
        World { tables, distributions }
    }

    /// How the tables are spread.
    pub fn layout(&self) -> Layout {
        let mut layout = Layout::new();
        for (number, (ty, way)) in self.distributions.iter().enumerate() {
            let name = format!("d{number}");
            let kind = if *ty == Ty::Varchar { "varchar" } else { key_type(*ty) };
            layout = match (way, ty) {
                (Way::Range, Ty::Date) => layout.range(&name, kind, &["2024-02-01", "2024-03-01"]),
                (Way::Range, Ty::TextC) => layout.range(&name, kind, &["B", "b"]),
                (Way::Range, _) => layout.range(&name, kind, &["3", "7"]),
                (Way::List, _) => {
                    let values = ty.values().into_iter().enumerate();
                    let values: Vec<_> = values.map(|(at, value)| (value, at % 3)).collect();
                    layout.list(&name, kind, &values)
                }
                (Way::HashOfTwo, _) => layout.hash(&name, &[kind, "integer"]),
                (Way::Hash, _) => layout.hash(&name, &[kind]),
            };
            for table in self.tables.iter().filter(|table| table.role == Role::Spread(number)) {
                let key: Vec<&str> = match way {
                    Way::HashOfTwo => vec![&table.columns[0].0, "i"],
                    _ => vec![&table.columns[0].0],
                };
                layout = layout.table(&table.name, &key);
            }
        }
        layout.reference("world").table("refs", &[])
    }

    /// Statements that make the tables.
    pub fn schema(&self) -> String {
        let mut sql = String::from("create type mood as enum ('sad', 'ok', 'happy');");
        for table in &self.tables {
            let columns: Vec<String> = table
                .columns
                .iter()
                .map(|(name, ty)| format!("{name} {}", ty.declaration()))
                .collect();
            let key = &table.columns[0].0;
            let unique = if table.key_is_unique { key.clone() } else { format!("{key}, i") };
            sql += &format!(
                "create table {} ({}, primary key ({unique}));",
                table.name,
                columns.join(", ")
            );
        }
        sql
    }

    /// What a test of this world asks for.
    pub fn options(&self, test: &str, layout: Layout) -> Options {
        Options { icu: true, ..Options::new(test).tables(layout, &self.schema()) }
    }

    /// Fills the tables, directly.
    ///
    /// # Panics
    /// When a server refuses.
    pub fn fill(&self, shards: &Shards, dice: &mut Dice) {
        for table in &self.tables {
            let mut rows = Vec::new();
            let keys = table.columns[0].1.values();
            let count = if table.key_is_unique { keys.len() } else { ROWS };
            for number in 0..count {
                let values = table.columns.iter().enumerate().map(|(at, (_, ty))| {
                    let text = match at {
                        0 if table.key_is_unique => {
                            keys.get(number).copied().unwrap_or_default().into()
                        }
                        1 => number.to_string(),
                        _ => (*dice.pick(&ty.values())).to_owned(),
                    };
                    let is_null = at > 1 && dice.chance(15);
                    if is_null { format!("null::{}", ty.sql()) } else { cast(*ty, &text) }
                });
                rows.push(format!("({})", values.collect::<Vec<_>>().join(", ")));
            }
            let names: Vec<&str> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
            let query =
                format!("select * from (values {}) v ({})", rows.join(", "), names.join(", "));
            shards.fill(&table.name, &query);
        }
    }

    /// Names of its tables.
    pub fn names(&self) -> Vec<String> {
        self.tables.iter().map(|table| table.name.clone()).collect()
    }
}

fn key_type(ty: Ty) -> &'static str {
    match ty {
        Ty::Int4 => "integer",
        Ty::Int8 => "bigint",
        Ty::Uuid => "uuid",
        Ty::Date => "date",
        Ty::Tstz => "timestamptz",
        _ => "text",
    }
}

/// A literal with the type.
pub fn cast(ty: Ty, text: &str) -> String {
    format!("{}::{}", quoted(text), ty.sql())
}

fn table(dice: &mut Dice, name: &str, role: Role, key: Ty) -> Table {
    let key_name = if dice.chance(70) { "k" } else { "key" };
    let mut columns = vec![(key_name.to_owned(), key), ("i".to_owned(), Ty::Int4)];
    for (ty, name) in PALETTE {
        if dice.chance(40) {
            columns.push((name.to_owned(), ty));
        }
    }
    let key_is_unique = matches!(role, Role::Spread(0 | 1)) && dice.chance(30);
    Table { name: name.into(), role, columns, key_is_unique }
}

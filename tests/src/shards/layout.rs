//! Owns how the tables of a test are spread over its shards: as sections of a configuration file,
//! and as conditions in SQL that say, without the proxy's help, which shard a row belongs to.

use pgmanifold_router::key::KeyValue;
use pgmanifold_router::shard_map::{Bound, Keys};
use std::fmt::Write;

/// How the keys of a distribution are spread.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Over equal parts of the hash space, in the order of the shards.
    Hash,
    /// Borders between the shards: one less than there are shards.
    Range(Vec<String>),
    /// Values and the number of their shard.
    List(Vec<(String, usize)>),
    /// A copy on every shard.
    Reference,
    /// All of it on this shard.
    Single(usize),
}

/// A group of tables with the same key.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// Its name.
    pub name: String,
    /// How it is spread.
    pub kind: Kind,
    /// Types of the key's columns.
    pub key_types: Vec<String>,
    /// Tables of the schema `public`, and the columns of their key.
    pub tables: Vec<(String, Vec<String>)>,
}

/// All distributions of a test's database. Other tables live on the first shard.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// In the order they were added.
    pub distributions: Vec<Distribution>,
    /// Tables whose unique constraints need not contain the key.
    pub unchecked: Vec<String>,
    /// Keys on their way, which the configuration file does not tell of.
    pub moved: Vec<Moved>,
}

/// Keys that go from one shard to another; both may have rows of theirs.
#[derive(Debug, Clone)]
pub struct Moved {
    /// Name of their distribution.
    pub distribution: String,
    /// Which.
    pub keys: Keys,
    /// Who had them.
    pub source: usize,
    /// Who is to have them.
    pub target: usize,
    /// The target has them.
    pub handed_over: bool,
}

impl Moved {
    /// The shard that has rows of the keys and is not their owner.
    pub fn hider(&self) -> usize {
        if self.handed_over { self.source } else { self.target }
    }
}

impl Layout {
    /// No table is sharded.
    pub fn new() -> Self {
        Self::default()
    }

    fn add(mut self, name: &str, kind: Kind, key_types: &[&str]) -> Self {
        let key_types = key_types.iter().map(|kind| (*kind).to_owned()).collect();
        let name = name.to_owned();
        self.distributions.push(Distribution { name, kind, key_types, tables: Vec::new() });
        self
    }

    /// Adds a distribution by hash.
    #[must_use]
    pub fn hash(self, name: &str, key_types: &[&str]) -> Self {
        self.add(name, Kind::Hash, key_types)
    }

    /// Adds a distribution by ranges of values, with the borders between the shards.
    #[must_use]
    pub fn range(self, name: &str, key_type: &str, borders: &[&str]) -> Self {
        let borders = borders.iter().map(|border| (*border).to_owned()).collect();
        self.add(name, Kind::Range(borders), &[key_type])
    }

    /// Adds a distribution by single values.
    #[must_use]
    pub fn list(self, name: &str, key_type: &str, values: &[(&str, usize)]) -> Self {
        let values = values.iter().map(|(value, shard)| ((*value).to_owned(), *shard)).collect();
        self.add(name, Kind::List(values), &[key_type])
    }

    /// Adds a group of tables that every shard has a copy of.
    #[must_use]
    pub fn reference(self, name: &str) -> Self {
        self.add(name, Kind::Reference, &[])
    }

    /// Adds a group of tables that live on one shard.
    #[must_use]
    pub fn single(self, name: &str, shard: usize) -> Self {
        self.add(name, Kind::Single(shard), &[])
    }

    /// Adds a table to the last distribution.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn table(mut self, name: &str, key: &[&str]) -> Self {
        let last = self.distributions.last_mut().expect("a distribution comes first");
        last.tables.push((name.into(), key.iter().map(|column| (*column).to_owned()).collect()));
        self
    }

    /// The last table's unique constraints need not contain the key.
    #[must_use]
    pub fn unchecked(mut self) -> Self {
        let tables = self.distributions.last().map(|last| &last.tables);
        self.unchecked
            .extend(tables.and_then(|tables| tables.last()).map(|(name, _)| name.clone()));
        self
    }

    /// The distribution and the key's columns of a table.
    pub fn of_table(&self, table: &str) -> Option<(&Distribution, &[String])> {
        self.distributions.iter().find_map(|distribution| {
            let (_, key) = distribution.tables.iter().find(|(name, _)| name == table)?;
            Some((distribution, key.as_slice()))
        })
    }

    /// The condition that a row of `table` belongs to the shard of this number.
    pub fn belongs(&self, table: &str, shard: usize, shards: usize) -> String {
        let Some((distribution, key)) = self.of_table(table) else {
            return (shard == 0).to_string();
        };
        let mut belongs = declared(distribution, key, shard, shards);
        for moved in self.moved.iter().filter(|moved| moved.distribution == distribution.name) {
            let keys = of_keys(distribution, key, &moved.keys);
            match (moved.handed_over, shard) {
                (true, shard) if shard == moved.source => {
                    belongs = format!("({belongs} and ({keys}) is not true)");
                }
                (true, shard) if shard == moved.target => {
                    belongs = format!("({belongs} or {keys})");
                }
                _ => {}
            }
        }
        belongs
    }

    /// The condition that a row of `table` is one that the shard of this number has besides its
    /// owner.
    pub fn hides(&self, table: &str, shard: usize) -> String {
        let Some((distribution, key)) = self.of_table(table) else { return "false".into() };
        let of_table = |moved: &&Moved| moved.distribution == distribution.name;
        let hidden = self.moved.iter().filter(of_table).filter(|moved| moved.hider() == shard);
        let hidden: String = hidden
            .map(|moved| format!(" or {}", of_keys(distribution, key, &moved.keys)))
            .collect();
        format!("(false{hidden})")
    }

    /// Sections of the configuration file.
    pub fn toml(&self, database: &str, shards: &[String]) -> String {
        let mut text = String::new();
        for distribution in &self.distributions {
            let _ = write!(text, "[[distribution]]\nname = {:?}\n", distribution.name);
            let _ = writeln!(text, "database = {database:?}");
            if !distribution.key_types.is_empty() {
                let _ = writeln!(text, "key_types = {:?}", distribution.key_types);
            }
            text += &placement(&distribution.kind, shards);
            for (table, key) in &distribution.tables {
                let _ = write!(text, "\n[[table]]\nname = {:?}\n", format!("public.{table}"));
                let _ = writeln!(text, "database = {database:?}");
                let _ = writeln!(text, "distribution = {:?}", distribution.name);
                if !key.is_empty() {
                    let _ = writeln!(text, "key = {key:?}");
                }
                if self.unchecked.contains(table) {
                    text += "unchecked_unique = true\n";
                }
            }
            text.push('\n');
        }
        text
    }
}

/// The condition that a row belongs to a shard as the file says.
fn declared(distribution: &Distribution, key: &[String], shard: usize, shards: usize) -> String {
    match &distribution.kind {
        Kind::Hash => {
            let hash = hash(&distribution.key_types, key);
            format!("{hash} between {} and {}", lower(shard, shards), upper(shard, shards))
        }
        Kind::Range(borders) => {
            let kind = &distribution.key_types[0];
            // Ranges of text are ranges of its bytes.
            let is_text = matches!(kind.as_str(), "text" | "varchar");
            let collation = if is_text { " collate \"C\"" } else { "" };
            let column = format!("{}{collation}", key[0]);
            let from = shard.checked_sub(1).and_then(|at| borders.get(at));
            let from = from.map_or("true".into(), |b| format!("{column} >= '{b}'::{kind}"));
            let to = borders.get(shard);
            let to = to.map_or("true".into(), |border| format!("{column} < '{border}'::{kind}"));
            format!("({from} and {to})")
        }
        Kind::List(values) => {
            let own = values.iter().filter(|(_, owner)| *owner == shard);
            let own: String =
                own.map(|(value, _)| format!(", '{}'", value.replace('\'', "''"))).collect();
            // A list is never empty.
            format!("{}::text collate \"C\" in ('\u{1}'{own})", key[0])
        }
        Kind::Reference => "true".into(),
        Kind::Single(home) => (*home == shard).to_string(),
    }
}

/// The condition that a row is one of these keys.
fn of_keys(distribution: &Distribution, key: &[String], keys: &Keys) -> String {
    let kind = &distribution.key_types[0];
    let column = match distribution.kind {
        Kind::Hash => hash(&distribution.key_types, key),
        _ if matches!(kind.as_str(), "text" | "varchar") => {
            format!("{}::text collate \"C\"", key[0])
        }
        _ => key[0].clone(),
    };
    let literal = |value: &KeyValue| format!("'{}'", value.to_string().replace('\'', "''"));
    let border = |bound: &Bound| match bound {
        Bound::Hash(hash) => format!("'{hash}'::bigint"),
        Bound::Value(value) => format!("{}::{kind}", literal(value)),
    };
    match keys {
        Keys::Between(from, to) => {
            let from = from.as_ref().map(|from| format!(" and {column} >= {}", border(from)));
            let to = to.as_ref().map(|to| format!(" and {column} < {}", border(to)));
            format!("(true{}{})", from.unwrap_or_default(), to.unwrap_or_default())
        }
        Keys::Values(values) => {
            let values: Vec<String> = values.iter().map(literal).collect();
            format!("({}::text collate \"C\" in ({}))", key[0], values.join(", "))
        }
    }
}

fn placement(kind: &Kind, shards: &[String]) -> String {
    match kind {
        Kind::Hash => "kind = \"hash\"\n".into(),
        Kind::Range(borders) => {
            let mut ranges = format!("{{ shard = {:?} }}", shards[0]);
            for (border, shard) in borders.iter().zip(&shards[1..]) {
                let _ = write!(ranges, ", {{ from = {border:?}, shard = {shard:?} }}");
            }
            format!("kind = \"range\"\nranges = [{ranges}]\n")
        }
        Kind::List(values) => {
            let values = values.iter().map(|(value, shard)| {
                format!("{{ values = [{value:?}], shard = {:?} }}", shards[*shard])
            });
            format!("kind = \"list\"\nlists = [{}]\n", values.collect::<Vec<_>>().join(", "))
        }
        Kind::Reference => "kind = \"reference\"\n".into(),
        Kind::Single(shard) => format!("kind = \"single\"\nhome = {:?}\n", shards[*shard]),
    }
}

/// The hash of a key in SQL: PostgreSQL's own, of the type itself.
fn hash(types: &[String], key: &[String]) -> String {
    let one = |(kind, column): (&String, &String)| match kind.as_str() {
        "smallint" | "integer" | "bigint" => format!("hashint8extended({column}::bigint, 0)"),
        "uuid" => format!("uuid_hash_extended({column}, 0)"),
        "bytea" => format!("hashvarlenaextended({column}, 0)"),
        "date" => format!(
            "hashint4extended(case when isfinite({column}) then {column} - date '2000-01-01' \
             when {column} > '2000-01-01' then 2147483647 else -2147483648 end, 0)"
        ),
        "timestamptz" => format!("timestamp_hash_extended({column} at time zone 'UTC', 0)"),
        _ => format!("hashtextextended({column}, 0)"),
    };
    match types.len() {
        1 => types.iter().zip(key).map(one).collect(),
        _ => format!("hash_record_extended(row({}), 0)", key.join(", ")),
    }
}

/// The first hash of a shard when the space is split evenly.
fn lower(shard: usize, shards: usize) -> i64 {
    let width = (1_i128 << 64) / i128::try_from(shards).unwrap_or(1);
    let from = i128::from(i64::MIN) + width * i128::try_from(shard).unwrap_or(0);
    i64::try_from(from).unwrap_or(i64::MAX)
}

fn upper(shard: usize, shards: usize) -> i64 {
    if shard + 1 >= shards { i64::MAX } else { lower(shard + 1, shards) - 1 }
}

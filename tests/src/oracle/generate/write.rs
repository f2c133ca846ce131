//! Owns random writes: INSERT in all forms, UPDATE, DELETE, MERGE, TRUNCATE. What they do does not
//! depend on the order in which rows are visited.

use super::super::compare::{Check, Order};
use super::relations::Relation;
use super::values::Ty;
use super::world::{Role, Table};
use super::{Generator, Statement};

impl Generator<'_> {
    /// A random write.
    pub fn write(&mut self) -> Statement {
        let (kind, sql, check) = match self.dice.below(100) {
            0..34 => self.insert(),
            34..42 => self.upsert(),
            42..50 => self.insert_select(),
            50..70 => self.update(),
            70..74 => self.update_key(),
            74..80 => self.update_from(),
            80..90 => self.delete(),
            90..93 => self.delete_using(),
            93..96 => self.write_in_cte(),
            96..98 => self.merge(),
            _ => self.truncate(),
        };
        self.finish(kind, sql, check, true)
    }

    fn any_written_table(&mut self) -> usize {
        self.any_table()
    }

    /// Columns an INSERT names: the key and the row's number nearly always.
    fn columns(&mut self, table: &Table) -> Vec<usize> {
        let mut columns: Vec<usize> = Vec::new();
        for at in 0..table.columns.len() {
            if at < 2 && !self.dice.chance(1) || self.dice.chance(50) {
                columns.push(at);
            }
        }
        if self.dice.chance(25) {
            columns.reverse();
        }
        columns
    }

    /// `(…), (…)`: rows for these columns.
    fn rows_for(&mut self, table: &Table, columns: &[usize], count: usize) -> String {
        let mut rows = Vec::new();
        for _ in 0..count {
            let mut values = Vec::new();
            for at in columns {
                values.push(self.new_value(table, *at));
            }
            rows.push(format!("({})", values.join(", ")));
        }
        rows.join(", ")
    }

    fn new_value(&mut self, table: &Table, at: usize) -> String {
        let ty = table.columns[at].1;
        if at == 1 {
            let number = match self.dice.below(20) {
                0 => self.value(ty),
                _ => self.next_row().to_string(),
            };
            return self.known(ty, &number);
        }
        if at == 0 {
            let value = self.new_key(ty);
            return match self.dice.below(60) {
                0 => "null".into(),
                1 => "default".into(),
                2 => format!("coalesce({}, null)", self.typed(ty, &value)),
                3 if matches!(ty, Ty::Int4 | Ty::Int8) => format!("{value} + 0"),
                _ => self.known(ty, &value),
            };
        }
        let value = self.value(ty);
        match self.dice.below(12) {
            0 => "null".into(),
            1 => "default".into(),
            2 if ty == Ty::Int4 => format!("{} + 1", self.typed(ty, &value)),
            3 if ty.is_text() => format!("upper({})", self.typed(ty, &value)),
            4 if ty == Ty::Int4 => "(select max(i) from refs)".into(),
            _ => self.known(ty, &value),
        }
    }

    /// A key that may be new.
    fn new_key(&mut self, ty: Ty) -> String {
        if self.dice.chance(60) {
            return self.value(ty);
        }
        let number = self.dice.below(60);
        match ty {
            Ty::Int4 | Ty::Int8 => (i64::try_from(number).unwrap_or(0) - 20).to_string(),
            Ty::Uuid => format!("{number:08x}-0000-4000-8000-00000000000{}", number % 10),
            Ty::Date => format!("2024-0{}-{:02}", 1 + number % 4, 1 + number / 4),
            Ty::Char => format!("{number}"),
            _ => format!("k{number}é"),
        }
    }

    fn names(table: &Table, columns: &[usize]) -> String {
        let names: Vec<&str> = columns.iter().map(|at| table.columns[*at].0.as_str()).collect();
        names.join(", ")
    }

    fn returning(&mut self, table: &Table, alias: &str) -> String {
        match self.dice.below(10) {
            0 => " returning *".into(),
            1 => format!(" returning {alias}.*, 1 as one"),
            2 => format!(" returning {}, i", table.columns[0].0),
            3 => " returning i * 2 as twice".into(),
            _ => String::new(),
        }
    }

    fn insert(&mut self) -> (&'static str, String, Check) {
        let at = self.any_written_table();
        let world = self.world;
        let table = &world.tables[at];
        let columns = self.columns(table);
        let count = if self.dice.chance(45) { 1 } else { 1 + self.dice.below(7) };
        let rows = self.rows_for(table, &columns, count);
        let all =
            columns.len() == table.columns.len() && columns.is_sorted() && self.dice.chance(60);
        let list = if all { String::new() } else { format!(" ({})", Self::names(table, &columns)) };
        let returning = self.returning(table, &table.name);
        let sql = format!("insert into {}{list} values {rows}{returning}", table.name);
        let kind = if count == 1 { "insert one" } else { "insert several" };
        (kind, sql, Check::sequence())
    }

    fn upsert(&mut self) -> (&'static str, String, Check) {
        let at = self.any_written_table();
        let world = self.world;
        let table = &world.tables[at];
        let mut columns = vec![0, 1];
        columns.extend((2..table.columns.len()).filter(|_| self.dice.chance(40)));
        let count = 1 + self.dice.below(5);
        let rows = self.rows_for(table, &columns, count);
        let key = &table.columns[0].0;
        let target = if table.key_is_unique { format!("({key})") } else { format!("({key}, i)") };
        let other = self.dice.pick(&columns[1..]);
        let column = &table.columns[*other].0;
        let action = match self.dice.below(6) {
            0 | 1 => "do nothing".to_owned(),
            2 => format!("do update set {column} = excluded.{column}"),
            3 => format!("do update set {column} = excluded.{column} where x.i > 5"),
            4 => format!("do update set {key} = excluded.{key}, {column} = excluded.{column}"),
            _ => format!("do update set ({column}) = row(x.{column})"),
        };
        let target =
            if action == "do nothing" && self.dice.chance(40) { String::new() } else { target };
        let returning = self.returning(table, "x");
        let names = Self::names(table, &columns);
        let sql = format!(
            "insert into {} as x ({names}) values {rows} on conflict {target} {action}{returning}",
            table.name
        );
        // Which rows were left out is not known where the order is made.
        let skips = action == "do nothing" || action.contains(" where ");
        ("upsert", sql, if skips { Check::bag() } else { Check::sequence() })
    }

    fn insert_select(&mut self) -> (&'static str, String, Check) {
        let into = self.any_written_table();
        let from = if self.dice.chance(65) { self.same_role(into) } else { self.any_table() };
        let world = self.world;
        let table = &world.tables[into];
        let (relation, text) = self.relation(from);
        let relations = [relation];
        let key_type = table.columns[0].1;
        let fits = super::relations::comparable(relations[0].columns[0].1, key_type);
        let own_key = fits && self.dice.chance(85);
        let key = match own_key {
            true => relations[0].column(0),
            false => {
                let value = self.value(key_type);
                self.typed(key_type, &value)
            }
        };
        self.next_row += 1000;
        let number = format!("{}.i + {}", relations[0].alias, self.next_row);
        self.next_row += 1000;
        let mut columns = vec![0, 1];
        let mut targets = vec![key, number];
        for at in 2..table.columns.len() {
            if self.dice.chance(40) {
                columns.push(at);
                targets.push(self.expression(&relations, table.columns[at].1, 1));
            }
        }
        let condition = self.key_condition(&relations[0]);
        let filter =
            if self.dice.chance(70) { format!(" where {condition}") } else { String::new() };
        // Which of several rows with one key is taken depends on their order.
        let one_each = own_key && world.tables[from].key_is_unique;
        let tail = match self.dice.chance(10) && one_each {
            true => " on conflict do nothing",
            false => "",
        };
        let returning = self.returning(table, &table.name);
        let sql = format!(
            "insert into {} ({}) select {} from {text}{filter}{tail}{returning}",
            table.name,
            Self::names(table, &columns),
            targets.join(", ")
        );
        ("insert select", sql, Check::bag())
    }

    fn same_role(&mut self, table: usize) -> usize {
        let role = self.world.tables[table].role;
        let tables = &self.world.tables;
        let same: Vec<usize> = (0..tables.len()).filter(|at| tables[*at].role == role).collect();
        *self.dice.pick(&same)
    }

    /// `SET …` of columns that are not the key.
    fn assignments(&mut self, table: &Table, relation: &Relation) -> String {
        let mut parts = Vec::new();
        for at in 2..table.columns.len() {
            let (name, ty) = &table.columns[at];
            if self.dice.chance(30) {
                let own = std::slice::from_ref(relation);
                let value = match self.dice.below(3) {
                    0 => {
                        let value = self.value(*ty);
                        self.known(*ty, &value)
                    }
                    1 => "default".into(),
                    _ => self.expression(own, *ty, 2),
                };
                parts.push(format!("{name} = {value}"));
            }
        }
        if parts.is_empty() {
            // The row's number, to itself: an UPDATE that changes nothing.
            parts.push("i = i".replace("= i", &format!("= {}.i", relation.alias)));
        }
        parts.join(", ")
    }

    fn conditions_of(&mut self, relation: &Relation) -> String {
        let own = std::slice::from_ref(relation);
        match self.dice.below(10) {
            0..5 => format!(" where {}", self.key_condition(relation)),
            5 | 6 => format!(" where {}", self.condition(own, 2)),
            7 | 8 => {
                format!(" where {} and {}", self.key_condition(relation), self.condition(own, 1))
            }
            _ => String::new(),
        }
    }

    fn update(&mut self) -> (&'static str, String, Check) {
        let at = self.any_written_table();
        let world = self.world;
        let (relation, text) = self.relation(at);
        let assignments = self.assignments(&world.tables[at], &relation);
        let condition = self.conditions_of(&relation);
        let returning = self.returning(&world.tables[at], &relation.alias);
        let sql = format!("update {text} set {assignments}{condition}{returning}");
        ("update", sql, Check::bag())
    }

    fn update_key(&mut self) -> (&'static str, String, Check) {
        let at = self.any_written_table();
        let world = self.world;
        let (relation, text) = self.relation(at);
        let (name, ty) = &world.tables[at].columns[0];
        let value = self.value(*ty);
        let value = match self.dice.below(3) {
            0 => relation.column(0),
            _ => self.known(*ty, &value),
        };
        let condition = self.key_condition(&relation);
        let sql = match self.dice.below(3) {
            0 => format!(
                "update {text} set i = {}.i, {name} = {value} where {condition}",
                relation.alias
            ),
            1 => format!(
                "update {text} set ({name}, i) = ({value}, {}.i) where {condition}",
                relation.alias
            ),
            _ => format!("update {text} set {name} = {value} where {condition}"),
        };
        ("update key", sql, Check::bag())
    }

    fn update_from(&mut self) -> (&'static str, String, Check) {
        let at = self.any_written_table();
        let world = self.world;
        let (relation, text) = self.relation(at);
        let other = if self.dice.chance(60) { self.same_role(at) } else { self.any_table() };
        let (second, from) = self.relation(other);
        let tie = self.tie(&relation, &second);
        // Several rows may match: what is set depends on the row itself only.
        let assignments = self.assignments(&world.tables[at], &relation);
        let condition = match self.dice.chance(60) {
            true => format!(" and {}", self.key_condition(&second)),
            false => String::new(),
        };
        let sql = format!("update {text} set {assignments} from {from} where {tie}{condition}");
        ("update from", sql, Check::bag())
    }

    fn delete(&mut self) -> (&'static str, String, Check) {
        let at = self.any_written_table();
        let world = self.world;
        let (relation, text) = self.relation(at);
        let own = std::slice::from_ref(&relation);
        let condition = match self.dice.below(10) {
            0..6 => self.key_condition(&relation),
            6 | 7 => self.condition(own, 1),
            _ => format!("{} and {}", self.key_condition(&relation), self.condition(own, 2)),
        };
        let returning = self.returning(&world.tables[at], &relation.alias);
        let sql = format!("delete from {text} where {condition}{returning}");
        ("delete", sql, Check::bag())
    }

    fn delete_using(&mut self) -> (&'static str, String, Check) {
        let at = self.any_written_table();
        let (relation, text) = self.relation(at);
        let other = if self.dice.chance(60) { self.same_role(at) } else { self.any_table() };
        let (second, from) = self.relation(other);
        let tie = self.tie(&relation, &second);
        let condition = self.key_condition(&second);
        let sql = format!("delete from {text} using {from} where {tie} and {condition}");
        ("delete using", sql, Check::bag())
    }

    fn write_in_cte(&mut self) -> (&'static str, String, Check) {
        let at = self.any_written_table();
        let world = self.world;
        let table = &world.tables[at];
        let key = &table.columns[0].0;
        let inner = match self.dice.below(3) {
            0 => {
                let rows = self.rows_for(table, &[0, 1], 1);
                format!("insert into {} ({key}, i) values {rows} returning {key}, i", table.name)
            }
            1 => {
                let (relation, text) = self.relation(at);
                let condition = self.key_condition(&relation);
                format!("delete from {text} where {condition} returning {}.*", relation.alias)
            }
            _ => {
                let (relation, text) = self.relation(at);
                let assignments = self.assignments(table, &relation);
                let condition = self.key_condition(&relation);
                format!(
                    "update {text} set {assignments} where {condition} returning {}.*",
                    relation.alias
                )
            }
        };
        let sql = format!("with w as ({inner}) select count(*), count({key}) from w");
        ("write in cte", sql, Check::bag())
    }

    fn merge(&mut self) -> (&'static str, String, Check) {
        let at = self.any_written_table();
        let world = self.world;
        let table = &world.tables[at];
        let (key, ty) = (&table.columns[0].0, table.columns[0].1);
        let value = self.new_key(ty);
        let value = self.typed(ty, &value);
        let number = self.next_row();
        let (relation, text) = self.relation(at);
        let alias = &relation.alias;
        let source = format!("(values ({value}, {number})) v (key, number)");
        let matched = match self.dice.below(3) {
            0 => "delete".to_owned(),
            1 => "do nothing".into(),
            _ => format!("update set i = {alias}.i"),
        };
        let sql = format!(
            "merge into {text} using {source} on {alias}.{key} = v.key when matched then {matched} \
             when not matched then insert ({key}, i) values (v.key, v.number)"
        );
        let check = Check { order: Order::Bag, ..Check::default() };
        ("merge", sql, check)
    }

    fn truncate(&mut self) -> (&'static str, String, Check) {
        let at = self.any_written_table();
        let sql = match self.world.tables[at].role {
            // Not too often: empty tables show little.
            Role::Spread(_) if self.dice.chance(70) => {
                let (relation, text) = self.relation(at);
                format!("delete from {text} where {}.i > 20", relation.alias)
            }
            _ => format!("truncate {}", self.world.tables[at].name),
        };
        ("truncate", sql, Check::bag())
    }
}

//! Owns random schemas and statements for the comparison with one plain server. Everything comes
//! from one seed. It must not know how statements are routed: shapes that a router may mistake are
//! written because they exist in SQL, not because they are known to work.

pub mod conditions;
pub mod copy;
pub mod expressions;
pub mod relations;
pub mod select;
pub mod shapes;
pub mod values;
pub mod world;
pub mod write;

use super::compare::Check;
use super::request::{Call, Parameter, Request, binary, oid};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use values::Ty;
use world::World;

/// Dice with a seed.
#[derive(Debug)]
pub struct Dice(StdRng);

impl Dice {
    /// With this seed.
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number from 0 to `count`, not included; 0 when there is none.
    pub fn below(&mut self, count: usize) -> usize {
        if count == 0 { 0 } else { self.0.random_range(0..count) }
    }

    /// True in `percent` of all cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }

    /// A seed for other dice.
    pub fn seed(&mut self) -> u64 {
        self.0.random()
    }
}

/// A parameter's type and value; `None` is NULL.
pub type Value = (Ty, Option<String>);

/// A random statement and how it is compared.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Its kind, for statistics.
    pub kind: &'static str,
    /// What is sent.
    pub request: Request,
    /// How the answers are compared.
    pub check: Check,
    /// Whether it may change tables.
    pub writes: bool,
    /// Its parts, when it can be made smaller.
    pub parts: Option<select::Select>,
    /// Values of the parameters in the text of the parts.
    pub values: Vec<Value>,
    /// Values of the parameters of the request.
    pub bound: Vec<Value>,
}

/// Makes statements about one world.
#[derive(Debug)]
pub struct Generator<'a> {
    /// Where chance comes from.
    pub dice: Dice,
    world: &'a World,
    /// Values so far of the statement in the making; `None`: all values are literals.
    parameters: Option<Vec<Value>>,
    /// The statement shows or compares values of which equal ones may look different.
    unruly: bool,
    /// Aliases given in the statement.
    aliases: usize,
    /// The next row's number.
    next_row: i64,
}

impl<'a> Generator<'a> {
    /// With this seed.
    pub fn new(world: &'a World, seed: u64) -> Self {
        let next_row = world::FIRST_NEW_ROW;
        let dice = Dice::new(seed);
        Self { dice, world, parameters: None, unruly: false, aliases: 0, next_row }
    }

    /// The next statement.
    pub fn statement(&mut self) -> Statement {
        self.aliases = 0;
        self.unruly = false;
        self.parameters = self.dice.chance(35).then(Vec::new);
        if self.dice.chance(2) {
            return self.several();
        }
        match self.dice.below(100) {
            0..66 => self.query(),
            66..95 => self.write(),
            _ => {
                self.parameters = None;
                self.copy()
            }
        }
    }

    /// Several statements in one text.
    fn several(&mut self) -> Statement {
        let mut texts = Vec::new();
        let mut writes = false;
        while texts.len() < 2 {
            self.parameters = None;
            let one = if self.dice.chance(50) { self.query() } else { self.write() };
            // Rows are compared in any order.
            if let Request::Simple(sql) = one.request
                && one.check.within.is_none()
                && one.parts.is_none_or(|parts| parts.limit.is_none())
            {
                writes |= one.writes;
                texts.push(sql);
            }
        }
        let check = Check { loose: true, ..Check::bag() };
        let request = Request::Simple(texts.join("; "));
        Statement {
            kind: "several",
            request,
            check,
            writes,
            parts: None,
            values: Vec::new(),
            bound: Vec::new(),
        }
    }

    /// The same prepared statement with other values.
    pub fn again(&mut self, call: &Call, values: &[Value]) -> Call {
        let (declare, encode) = (false, self.dice.chance(50));
        let mut parameters = Vec::new();
        for (number, (ty, _)) in values.iter().enumerate() {
            let value = if self.dice.chance(8) { None } else { Some(self.value(*ty)) };
            let mut bound = parameter(&(*ty, value), declare, encode);
            bound.declared = call.parameters.get(number).map_or(0, |old| old.declared);
            parameters.push(bound);
        }
        Call { sql: None, parameters, describe: false, ..call.clone() }
    }

    /// The statement with its parameters, by one of the protocols.
    fn finish(&mut self, kind: &'static str, sql: String, check: Check, writes: bool) -> Statement {
        let values = self.parameters.take().unwrap_or_default();
        let mut check = check.for_sql(&sql);
        let (mut sql, bound) = compact(&sql, &values);
        if self.dice.chance(6) {
            sql = commented(&sql);
        }
        // What was bound, in its own numbering: it may be executed again with other values.
        let values_bound = bound.clone();
        let request = if bound.is_empty() && self.dice.chance(85) {
            Request::Simple(sql)
        } else {
            // What has no rows cannot be executed again.
            let is_limitable = (!writes || sql.contains(" returning ")) && !sql.starts_with("copy");
            let mut call = self.call(sql, &bound);
            call.row_limit = if is_limitable { call.row_limit } else { 0 };
            // Numbers that look different in text are not told apart from others in binary.
            call.binary_results &= !self.unruly;
            if call.binary_results {
                // The rows it is compared with come as text.
                check.within = None;
            }
            Request::Call(call)
        };
        Statement { kind, request, check, writes, parts: None, values, bound: values_bound }
    }

    fn call(&mut self, sql: String, values: &[Value]) -> Call {
        let (declare, encode) = (self.dice.chance(50), self.dice.chance(50));
        let parameters = values.iter().map(|value| parameter(value, declare, encode)).collect();
        let name = if self.dice.chance(30) { "named".to_owned() } else { String::new() };
        let binary_results = self.dice.chance(20);
        let row_limit = if self.dice.chance(10) { 3 } else { 0 };
        let describe = self.dice.chance(30);
        Call { name, sql: Some(sql), parameters, binary_results, row_limit, describe }
    }

    /// A literal, or a parameter where the type is known from what it is compared with.
    fn known(&mut self, ty: Ty, text: &str) -> String {
        match &mut self.parameters {
            Some(values) if self.dice.chance(45) && ty.is_bindable() => {
                values.push((ty, Some(text.into())));
                format!("${}", values.len())
            }
            _ => self.literal(ty, text),
        }
    }

    /// A literal, or a parameter with a cast.
    fn typed(&mut self, ty: Ty, text: &str) -> String {
        match &mut self.parameters {
            Some(values) if self.dice.chance(45) && ty.is_bindable() => {
                values.push((ty, Some(text.into())));
                format!("${}::{}", values.len(), ty.sql())
            }
            _ => format!("{}::{}", quoted(text), ty.sql()),
        }
    }

    fn next_row(&mut self) -> i64 {
        self.next_row += 1;
        self.next_row
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("x{}", self.aliases)
    }
}

fn parameter((ty, value): &Value, declare: bool, encode: bool) -> Parameter {
    let name = ty.parameter_name();
    let text = value.as_deref();
    let encoded = text.map(|text| binary(name, &ty.binary_text(text)));
    // What cannot be encoded here goes as text.
    let encode = encode && !matches!(encoded, Some(None));
    let value = match encoded {
        Some(Some(bytes)) if encode => Some(bytes),
        _ => text.map(|text| text.as_bytes().to_vec()),
    };
    let declared = if declare { oid(name) } else { 0 };
    Parameter { declared, binary: encode, value }
}

/// Leaves out values that no text uses any more: parts of a statement may have been thrown away.
fn compact(sql: &str, values: &[Value]) -> (String, Vec<Value>) {
    let mut bound = Vec::new();
    let mut numbers = vec![0; values.len()];
    let text = with_parameters(sql, |at| {
        if numbers[at] == 0 {
            bound.push(values[at].clone());
            numbers[at] = bound.len();
        }
        format!("${}", numbers[at])
    });
    (text, bound)
}

/// The same text with comments, one of them at the end: nothing may be lost in them.
fn commented(sql: &str) -> String {
    let mut text = sql.to_owned();
    for (word, with) in [
        (" where ", " -- where '\n where /* (-- */ "),
        (" from ", "\n--\nfrom "),
        (" group by ", " /* /* group */ */ group by "),
        (" order by ", " -- order\norder by "),
    ] {
        // The values of random tables have none of these words.
        text = text.replace(word, with);
    }
    text + " -- end"
}

/// The text with something else in the place of each parameter, counted from 0.
pub fn with_parameters(sql: &str, mut put: impl FnMut(usize) -> String) -> String {
    let mut parts = sql.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        match part[..digits].parse::<usize>() {
            Ok(number) => {
                text += &put(number - 1);
                text += &part[digits..];
            }
            Err(_) => {
                text.push('$');
                text += part;
            }
        }
    }
    text
}

/// Text as a literal.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

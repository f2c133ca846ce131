//! Owns the list of functions and operators, and the choice among those of one name. Operators
//! stand in it under their signs, casts under `CAST`. Each is a function of SQLite when used.

mod arrays;
mod casts;
mod introspection;
mod numbers;
mod patterns;
mod system;
mod texts;
mod times;

use super::cell::Cell;
use super::error::{EngineError, Outcome};
use super::session::Session;
use super::types::Type;
use std::sync::LazyLock;

pub(crate) use arrays::{
    AMONG, ARRAY, ELEMENT, ELEMENTS, SERIES, build as array_text, read as array_elements,
};
pub(crate) use casts::CAST;
pub(crate) use times::EPOCH;

/// What a function is called with.
pub(crate) struct Call<'c> {
    /// Of the statement.
    pub(crate) session: &'c Session,
    /// Itself.
    pub(crate) function: &'c Function,
    /// Its arguments, of the types it says.
    pub(crate) args: &'c [Cell],
}

impl Call<'_> {
    /// An argument; NULL when it was not given.
    pub(crate) fn arg(&self, at: usize) -> &Cell {
        self.args.get(at).unwrap_or(&Cell::Null)
    }

    /// The text of an argument.
    pub(crate) fn str(&self, at: usize) -> &str {
        self.arg(at).str()
    }

    /// The whole number of an argument.
    pub(crate) fn int(&self, at: usize) -> i64 {
        self.arg(at).int()
    }

    /// The float of an argument.
    pub(crate) fn real(&self, at: usize) -> f64 {
        self.arg(at).real()
    }

    /// An error when a text of this length would be too long.
    pub(crate) fn room(&self, bytes: usize) -> Outcome<()> {
        let most = self.session.value_bytes_max;
        if bytes <= most {
            return Ok(());
        }
        Err(EngineError::limit(format!("a value is longer than {most} bytes")))
    }
}

/// What a function does.
pub(crate) type Run = fn(&Call<'_>) -> Outcome<Cell>;

/// One function of one signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it takes; `Unknown` takes anything, as text.
    pub(crate) args: &'static [Type],
    /// Whether the last of `args` may be given more than once.
    pub(crate) is_variadic: bool,
    /// What it returns.
    pub(crate) returns: Type,
    /// Whether it is NULL when an argument is.
    pub(crate) is_strict: bool,
    /// What it does.
    pub(crate) run: Run,
}

/// A strict function.
pub(crate) const fn strict(
    name: &'static str,
    args: &'static [Type],
    returns: Type,
    run: Run,
) -> Function {
    Function { name, args, is_variadic: false, returns, is_strict: true, run }
}

impl Function {
    /// Also called when an argument is NULL.
    const fn loose(mut self) -> Self {
        self.is_strict = false;
        self
    }

    /// With any number of the last argument.
    const fn variadic(mut self) -> Self {
        self.is_variadic = true;
        self
    }

    /// The type of an argument, when so many are given.
    pub(crate) fn arg(&self, at: usize) -> Option<Type> {
        let last = if self.is_variadic { self.args.last() } else { None };
        self.args.get(at).or(last).copied()
    }

    fn takes(&self, count: usize) -> bool {
        let least = self.args.len();
        if self.is_variadic { count >= least } else { count == least }
    }
}

/// All of them. The place of one is its name in SQLite.
pub(crate) static FUNCTIONS: LazyLock<Vec<Function>> = LazyLock::new(|| {
    let groups: [&[Function]; 7] = [
        numbers::FUNCTIONS,
        texts::FUNCTIONS,
        patterns::FUNCTIONS,
        arrays::FUNCTIONS,
        times::FUNCTIONS,
        system::FUNCTIONS,
        introspection::FUNCTIONS,
    ];
    let mut all = groups.concat();
    all.extend(casts::functions());
    all
});

/// The names of functions that users call, without operators and casts; sorted, each once.
pub(crate) fn names() -> Vec<&'static str> {
    let is_word = |name: &&str| name.starts_with(|first: char| first.is_ascii_lowercase());
    let mut names: Vec<_> =
        FUNCTIONS.iter().map(|function| function.name).filter(is_word).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The place of the function that PostgreSQL would take for arguments of these types.
///
/// # Errors
/// When there is none, in PostgreSQL's words.
pub(crate) fn choose(name: &str, given: &[Type]) -> Outcome<usize> {
    let mut best: Option<(usize, (usize, u32))> = None;
    for (at, function) in FUNCTIONS.iter().enumerate() {
        if function.name != name || !function.takes(given.len()) {
            continue;
        }
        let Some(distance) = distance(function, given) else { continue };
        if best.is_none_or(|(_, least)| distance < least) {
            best = Some((at, distance));
        }
    }
    best.map(|(at, _)| at).ok_or_else(|| no_such(name, given))
}

/// How many arguments are not exactly of the type, and how far the others are; less is nearer.
fn distance(function: &Function, given: &[Type]) -> Option<(usize, u32)> {
    let (mut inexact, mut far) = (0, 0);
    for (at, from) in given.iter().enumerate() {
        let to = function.arg(at)?;
        if to == Type::Unknown {
            inexact += usize::from(*from != Type::Unknown);
            far += 10;
            continue;
        }
        far += u32::from(from.implicit(to)?);
        // PostgreSQL prefers float8 to numeric for a whole number.
        let whole = matches!(from, Type::Int4 | Type::Int8);
        far += if whole && to == Type::Numeric { 3 } else { 0 };
        let same_as_other = *from == Type::Unknown && given.contains(&to);
        inexact += usize::from(*from != to && !same_as_other);
        // Between two of the same distance PostgreSQL takes text for a constant in quotes.
        far += u32::from(*from == Type::Unknown && to != Type::Text);
    }
    Some((inexact, far))
}

fn no_such(name: &str, given: &[Type]) -> EngineError {
    let types: Vec<_> = given.iter().map(|ty| ty.name()).collect();
    let is_word = name.starts_with(|first: char| first.is_alphabetic() || first == '_');
    let (what, hint) = match (is_word, types.as_slice()) {
        (true, _) => {
            let known = FUNCTIONS.iter().any(|function| function.name == name);
            let hint = if known {
                "It is there for other types of arguments: add casts."
            } else {
                "The console has no such function."
            };
            (format!("function {name}({})", types.join(", ")), hint)
        }
        (false, [one]) => (format!("operator {name} {one}"), "Add a cast."),
        (false, all) => {
            (format!("operator {}", all.join(&format!(" {name} "))), "Add a cast to one side.")
        }
    };
    EngineError::new("42883", format!("{what} does not exist")).hint(hint)
}

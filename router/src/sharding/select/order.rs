//! Owns ORDER BY over several shards: what each item means, as an expression that may stand in the
//! target list, and whether values of it can be compared here.

use super::refused;
use super::types::{Fitness, fitness};
use crate::lexer::TokenKind;
use crate::planner::{Text, is_call, keywords};
use crate::sharding::Refusal;
use crate::sharding::SortKey;
use crate::sharding::levels::Levels;
use crate::sharding::named::Refused;
use crate::sharding::query::{self, Label, OrderItem, Query, Select, Span, Target};
use std::borrow::Cow;

/// An ORDER BY that was read.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// SQL of each key.
    pub(super) expressions: Vec<String>,
    pub(super) keys: Vec<SortKey>,
    /// Some key has a type that cannot be compared here.
    pub(super) is_unfit: bool,
    /// Some key's type is not known here: a server compares better.
    pub(super) needs_server: bool,
}

/// Reads ORDER BY of a SELECT.
pub(super) fn read(
    levels: &Levels<'_>,
    query: &Query,
    select: &Select,
    scope: usize,
) -> Refused<Order> {
    let mut order = Order::default();
    for item in &query.order_by {
        if item.using {
            return Err(refused("order-by-using", "It has ORDER BY … USING.", ""));
        }
        let (expression, at) = meaning(levels, select, scope, item)?;
        let fit = match &at {
            Some(at) => {
                repeatable(levels, at.clone())?;
                fitness(levels, scope, at.clone())
            }
            None => Fitness::Unknown,
        };
        order.is_unfit |= fit == Fitness::No;
        order.needs_server |= fit == Fitness::Unknown;
        order.expressions.push(expression);
        order.keys.push(SortKey {
            descending: item.descending,
            nulls_first: item.nulls_first,
            byte_order: fit == Fitness::Bytes,
        });
    }
    Ok(order)
}

/// The expression an item stands for, and its tokens.
fn meaning(
    levels: &Levels<'_>,
    select: &Select,
    scope: usize,
    item: &OrderItem,
) -> Refused<(String, Option<Span>)> {
    let text = levels.text;
    let at = query::unwrapped(text, item.at.clone());
    if at.len() == 1 && text.is_kind(at.start, TokenKind::Integer) {
        return numbered(levels, select, scope, at.start);
    }
    let named = (at.len() == 1).then(|| text.name(at.start)).flatten();
    let named = named.filter(|_| !keywords::is_reserved(text.word(at.start)));
    if let Some(name) = &named
        && let Some(target) = labelled(text, select, name)?
    {
        if !matches!(target.label, Label::Column(_)) {
            not_of_a_star(levels, select, scope, name)?;
        }
        return Ok((source(text, target.at.clone()), Some(target.at.clone())));
    }
    if let Some(name) = &named
        && let Some(sql) = in_star(levels, select, scope, name)
    {
        return Ok((sql, Some(at)));
    }
    // With its parentheses: a sub-select needs them.
    Ok((source(text, item.at.clone()), Some(at)))
}

/// `ORDER BY 2`
fn numbered(
    levels: &Levels<'_>,
    select: &Select,
    scope: usize,
    at: usize,
) -> Refused<(String, Option<Span>)> {
    let text = levels.text;
    let digits = String::from_utf8_lossy(text.raw(at)).into_owned();
    let mut left: usize = digits.parse().map_err(|_| position(&digits))?;
    for target in &select.targets {
        if target.label == Label::Star {
            let Some(columns) = levels.star_columns(target.at.clone(), scope) else {
                let why = "ORDER BY names a column by its number behind a *.";
                return Err(refused("order-by-ordinal", why, "Name the column."));
            };
            match left.checked_sub(1).and_then(|index| columns.get(index)) {
                Some(column) => {
                    let sql = format!("{}.{}", quoted(&column.alias), quoted(&column.name));
                    let fits = super::types::column_fits(column.column.as_ref());
                    return match fits {
                        Fitness::Yes => Ok((sql, None)),
                        // Without its tokens nothing more can be said of it.
                        _ => Err(refused(
                            "order-by-ordinal",
                            "ORDER BY names a column of text by its number behind a *.",
                            "Name the column.",
                        )),
                    };
                }
                None => left = left.saturating_sub(columns.len()),
            }
        } else if left == 1 {
            return Ok((source(text, target.at.clone()), Some(target.at.clone())));
        } else {
            left = left.saturating_sub(1);
        }
        if left == 0 {
            break;
        }
    }
    Err(position(&digits))
}

fn position(digits: &str) -> Box<Refusal> {
    let message = format!("ORDER BY position {digits} is not in select list");
    let mut refusal = Refusal::new("order-by-ordinal", message);
    refusal.sqlstate = "42P10";
    Box::new(refusal)
}

/// The item of the target list whose column has this name.
fn labelled<'s>(text: &Text<'_>, select: &'s Select, name: &str) -> Refused<Option<&'s Target>> {
    let mut found: Option<&Target> = None;
    for target in &select.targets {
        let is_it = match &target.label {
            Label::Named(label) | Label::Column(label) | Label::Call(label) => **label == *name,
            Label::Star => false,
            Label::Unsure => {
                if target.at.clone().any(|at| text.name(at).is_some_and(|word| *word == *name))
                    || made_up(name)
                {
                    let why = format!("ORDER BY {name} may mean a column of the answer.");
                    return Err(refused("order-by-name", &why, "Give the column a name with AS."));
                }
                false
            }
        };
        if is_it {
            let same =
                |known: &&Target| source(text, known.at.clone()) == source(text, target.at.clone());
            if let Some(known) = found.filter(|known| !same(known)) {
                let columns = (column(text, known), column(text, target));
                let differ = matches!(&columns, (Some(one), Some(other)) if one != other);
                if !differ {
                    // `k` and `t.k` may be the same column, and `k + 1` the same as `t.k + 1`.
                    let why = format!("ORDER BY {name} means several columns of the answer.");
                    return Err(refused("order-by-name", &why, "Give the column's number."));
                }
                let mut refusal =
                    Refusal::new("order-by-name", format!("ORDER BY \"{name}\" is ambiguous"));
                refusal.sqlstate = "42702";
                return Err(Box::new(refusal));
            }
            found = Some(target);
        }
    }
    Ok(found)
}

/// The name of the column that the item is, when it is nothing else.
fn column<'t>(text: &'t Text<'_>, target: &Target) -> Option<Cow<'t, str>> {
    let at = target.at.clone();
    let mut dots = at.clone().skip(1).step_by(2);
    let is_path = at.len() % 2 == 1 && dots.all(|dot| text.is_kind(dot, TokenKind::Dot));
    let mut names = at.step_by(2).map(|part| text.name(part));
    if is_path && names.clone().all(|name| name.is_some()) { names.next_back()? } else { None }
}

/// The column that `*` gives the answer under this name, when it is one. Among the columns of all
/// tables there may be several of the name.
fn in_star(levels: &Levels<'_>, select: &Select, scope: usize, name: &str) -> Option<String> {
    let stars = select.targets.iter().filter(|target| target.label == Label::Star);
    let mut found = None;
    for target in stars {
        for column in levels.star_columns(target.at.clone(), scope)? {
            if *column.name == *name {
                let sql = format!("{}.{}", quoted(&column.alias), quoted(&column.name));
                if found.replace(sql).is_some() {
                    return None;
                }
            }
        }
    }
    found
}

/// A name of an expression must not be one of a column of `*` as well.
fn not_of_a_star(levels: &Levels<'_>, select: &Select, scope: usize, name: &str) -> Refused<()> {
    for target in select.targets.iter().filter(|target| target.label == Label::Star) {
        let columns = levels.star_columns(target.at.clone(), scope);
        if columns.is_none_or(|columns| columns.iter().any(|column| *column.name == *name)) {
            let why = format!("ORDER BY {name} may mean several columns of the answer.");
            return Err(refused("order-by-name", &why, "Give the column another name with AS."));
        }
    }
    Ok(())
}

/// Names that PostgreSQL gives to columns without a word of theirs being in the text.
fn made_up(name: &str) -> bool {
    matches!(
        name,
        "?column?"
            | "bool"
            | "int2"
            | "int4"
            | "int8"
            | "float4"
            | "float8"
            | "bpchar"
            | "varchar"
            | "numeric"
            | "timetz"
            | "timestamptz"
            | "timestamp"
            | "time"
            | "interval"
            | "varbit"
            | "timezone"
            | "array"
            | "row"
            | "case"
            | "exists"
            | "date_part"
            | "extract"
            | "btrim"
    )
}

/// Refuses an expression that may give another value, or another number of values, when it is
/// computed once more.
fn repeatable(levels: &Levels<'_>, at: Span) -> Refused<()> {
    let text = levels.text;
    for here in at {
        if !text.is_identifier(here)
            || !text.is_kind(here + 1, TokenKind::OpenParen)
            || !is_call(text, here)
        {
            continue;
        }
        let Some(name) = text.name(here) else { continue };
        let sets = super::types::is_set_returning(&name);
        let volatile =
            matches!(&*name, "random" | "random_normal" | "clock_timestamp" | "timeofday")
                || name.starts_with("gen_random")
                || name.starts_with("uuid");
        let own = levels.catalog.facts.schema().mentions(&name).is_some();
        if sets || volatile || own {
            let why = format!("ORDER BY computes {name}, which may not give the same again.");
            return Err(refused("order-by-function", &why, ""));
        }
    }
    Ok(())
}

fn source(text: &Text<'_>, at: Span) -> String {
    String::from_utf8_lossy(text.raw_range(at.start, at.end)).into_owned()
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
